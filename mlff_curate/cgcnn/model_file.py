"""A trained property model as a file, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_curate.cgcnn.elements import LAST_ELEMENT, ElementEncoding
from mlff_curate.cgcnn.expansion import STEP
from mlff_curate.cgcnn.network_file import network_arrays, read_network, sizes_setting
from mlff_curate.cgcnn.node_encoder import NodeEncoder
from mlff_curate.cgcnn.potential import DTYPES
from mlff_curate.cgcnn.property_model import CGCNN, FittedProperty
from mlff_curate.cgcnn.property_network import NetworkSizes, PropertyNetwork
from mlff_curate.cgcnn.training import PropertyTraining
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from mlff_curate.data.checkpoints import Checkpoint

KIND = "cgcnn-property"
_MOST_LAYERS = 64
_UNITS = ("mean", "spread")
"""Arrays that an encoder's states are put into units by."""


def to_bytes(model: CGCNN) -> bytes:
    """Return the bytes of a model file, the same for the same model.

    Raises
    ------
    ValueError
        The model is not fitted.
    """
    fitted = getattr(model, "fitted_", None)
    if fitted is None:
        message = "the model is not trained: there is nothing to save yet"
        raise ValueError(message)
    arrays = {f"network.{name}": value.detach().cpu().numpy() for name, value in fitted.network.state_dict().items()}
    encoder = fitted.encoder
    settings: dict[str, Any] = {
        # where it was trained is no part of a model
        "parameters": {**{k: _plain(v) for k, v in model.get_params().items()}, "device": "cpu"},
        "sizes": asdict(fitted.network.sizes),
        "mean": fitted.mean,
        "std": fitted.std,
        "neighbours": int(fitted.neighbours),
        "radius": float(fitted.radius),
        "padded": fitted.padded,
        "elements": [int(z) for z in fitted.elements],
        "target": fitted.target,
        "encoding": None if fitted.encoding is None else fitted.encoding.origin,
        "encoder": None,
        "training": None if model.training_ is None else asdict(model.training_),
    }
    if fitted.encoding is not None:
        arrays["encoding.numbers"] = fitted.encoding.numbers.astype(np.int64)
        arrays["encoding.rows"] = fitted.encoding.rows.astype(np.float32)
    if encoder is not None:
        settings["encoder"] = {
            "sizes": sizes_setting(encoder.trunk.sizes),
            "layers": encoder.layers,
            "dtype": encoder.dtype,
        }
        own = network_arrays(encoder.trunk) | {k: v.cpu().numpy() for k, v in encoder.units.state_dict().items()}
        arrays |= {f"encoder.{name}": value for name, value in own.items()}
    return checkpoint_bytes(KIND, arrays, settings)


def read_model(path: str | Path, device: str = "cpu") -> CGCNN:
    """Return the model in a file.

    Raises
    ------
    DataError
        The file is missing, damaged, of another kind, or does not make a model; names array or setting.
    """
    try:
        checkpoint = read_checkpoint(path, KIND)
    except DataError as error:
        if str(path).endswith(".pth.tar") and Path(path).is_file():
            error.message += "; the CGCNN authors' models are read by CGCNN.from_published, and saved as one of these"
        raise
    return _unpack(checkpoint, device)


def _unpack(checkpoint: Checkpoint, device: str) -> CGCNN:
    model = checkpoint.untrained(CGCNN, device)
    sizes = _sizes(checkpoint)
    encoder = _encoder(checkpoint)
    wanted: dict[str, tuple[str, tuple[int | str, ...]]] = {}
    origin = checkpoint.setting("encoding", (str, type(None)))
    of_elements = sizes.node_size - (0 if encoder is None else encoder.size)
    if of_elements < 0 or (encoder is not None and (origin is None) != (of_elements == 0)):
        checkpoint.fail("the setting sizes.node_size does not fit the encoder")
    if origin is not None:
        wanted |= {"encoding.numbers": ("int64", ("Z",)), "encoding.rows": ("float32", ("Z", of_elements))}
    checkpoint.require_arrays(wanted)
    # settings could ask for a network of any size: none is made that the file cannot fill
    held = sum(array.size for name, array in checkpoint.arrays.items() if name.startswith("network."))
    layers = sizes.convolutions * sizes.channels**2 + (sizes.hidden_layers - 1) * sizes.hidden**2
    if sizes.node_size * sizes.channels + sizes.channels * sizes.hidden + layers > held:
        checkpoint.fail("the setting sizes does not fit the arrays")
    std, radius = checkpoint.setting("std", float), checkpoint.setting("radius", float)
    neighbours = checkpoint.setting("neighbours", int)
    if not (std > 0 and 0 < radius <= 100 and 0 < neighbours < 2**31):
        checkpoint.fail("the setting std, radius or neighbours is out of range")
    if sizes.edge_size != round(radius / STEP) + 1:  # no array tells it where there is no convolution
        checkpoint.fail("the setting sizes.edge_size does not fit the radius")
    network = PropertyNetwork(sizes)
    own = network.state_dict()
    wanted |= {f"network.{name}": ("float32", tuple(value.shape)) for name, value in own.items()}
    checkpoint.require_arrays(wanted)
    of_encoder = [] if encoder is None else [name for name in checkpoint.arrays if name.startswith("encoder.")]
    checkpoint.require_no_more({**wanted, **dict.fromkeys(of_encoder)})
    # a copy in torch's own memory, aligned like that of the model that was trained: sums have the same bits
    network.load_state_dict({name: torch.from_numpy(checkpoint.arrays[f"network.{name}"]).clone() for name in own})
    network.eval()
    elements = checkpoint.setting("elements", list)
    if not all(type(z) is int and 0 <= z < 2**31 for z in elements):
        checkpoint.fail("the setting elements holds other than atomic numbers")
    model.fitted_ = FittedProperty(
        network=network.to(device),
        encoding=None if origin is None else _encoding(checkpoint, origin),
        mean=checkpoint.setting("mean", float),
        std=std,
        neighbours=neighbours,
        radius=radius,
        padded=checkpoint.setting("padded", bool),
        elements=tuple(elements),
        target=checkpoint.setting("target", (str, type(None))),
        encoder=None if encoder is None else encoder.to(device),
    )
    model.training_ = _training(checkpoint)
    return model


def _sizes(checkpoint: Checkpoint) -> NetworkSizes:
    values: dict[str, Any] = {}
    for field in fields(NetworkSizes):
        kind = str if field.name in ("task", "conv") else int
        values[field.name] = checkpoint.setting(f"sizes.{field.name}", kind)
        if kind is int and not 1 <= values[field.name] < 2**24:
            checkpoint.fail(f"the setting sizes.{field.name} is {values[field.name]}")
    parameters = checkpoint.settings["parameters"]
    for name in ("task", "conv"):
        if values[name] != parameters[name]:
            checkpoint.fail(f"the setting sizes.{name} is not the parameter")
    sizes = NetworkSizes(**values)
    if max(sizes.convolutions, sizes.hidden_layers) > _MOST_LAYERS:
        checkpoint.fail("the setting sizes asks for too many layers")
    return sizes


def _encoding(checkpoint: Checkpoint, origin: str) -> ElementEncoding:
    numbers = checkpoint.arrays["encoding.numbers"]
    if len(numbers) == 0 or numbers[0] < 0 or numbers[-1] > LAST_ELEMENT or (np.diff(numbers) <= 0).any():
        checkpoint.fail("the array encoding.numbers holds other than atomic numbers, ascending")
    return ElementEncoding(numbers, checkpoint.arrays["encoding.rows"], origin)


def _encoder(whole: Checkpoint) -> NodeEncoder | None:
    if whole.setting("encoder", (dict, type(None))) is None:
        return None
    checkpoint = whole.part("encoder")
    dtype = checkpoint.setting("dtype", str)
    if dtype not in DTYPES:
        checkpoint.fail(f"the setting encoder.dtype is {dtype[:40]!r}")
    network = read_network(checkpoint, dtype, dict.fromkeys(_UNITS, (dtype, ("W",))))
    try:
        encoder = NodeEncoder(network, checkpoint.setting("layers", str))
    except UsageError as error:
        checkpoint.fail(f"the setting encoder.layers: {error.message}")
    if len(checkpoint.arrays["mean"]) != encoder.size or not (checkpoint.arrays["spread"] > 0).all():
        checkpoint.fail("the arrays encoder.mean and encoder.spread do not fit the layers")
    encoder.units.load_state_dict({name: torch.from_numpy(checkpoint.arrays[name]).clone() for name in _UNITS})
    return encoder


def _training(checkpoint: Checkpoint) -> PropertyTraining | None:
    if checkpoint.setting("training", (dict, type(None))) is None:
        return None

    def numbers(name: str, kind: type) -> tuple[Any, ...]:
        values = checkpoint.setting(f"training.{name}", list)
        if not all(type(value) in (int, kind) for value in values):
            checkpoint.fail(f"the setting training.{name} is no list of numbers")
        return tuple(kind(value) for value in values)

    return PropertyTraining(
        epochs=checkpoint.setting("training.epochs", int),
        train_loss=numbers("train_loss", float),
        validation_error=numbers("validation_error", float),
        best_epoch=checkpoint.setting("training.best_epoch", int),
        ended=checkpoint.setting("training.ended", str),
        validation_frames=numbers("validation_frames", int),
    )


def _plain(value: Any) -> Any:
    """Return a parameter as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value
