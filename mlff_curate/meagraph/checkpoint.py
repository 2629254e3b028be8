"""A trained MEAGraph as arrays and settings, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_curate.errors import UsageError
from mlff_curate.meagraph.inductive import Inductive
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.meagraph.network import AutoEncoder
from mlff_curate.meagraph.noise import NoiseUnits
from mlff_curate.meagraph.training import TrainingRecord

if TYPE_CHECKING:
    from mlff_curate.data.checkpoints import Checkpoint

KIND = "meagraph"
_MOST_NEIGHBOURS = 65_536
_NOISE: dict[str, tuple[int | str, ...]] = {
    "mean": ("D",),
    "axes": ("D", "d"),
    "rest": ("D", "rest"),
    "ratio": ("d",),
    "noise": ("D", "D"),
}


def require_savable(mode: str) -> None:
    """Refuse a mode whose model is no function of the environment.

    Raises
    ------
    UsageError
        The message says why.
    """
    if mode != "inductive":
        raise UsageError(
            "a model of the published mode cannot be saved: in that mode an environment's embedding depends on the "
            "others that it is embedded with, so a stored model would not embed new data as it did the old",
            key="--save-model",
        )


def pack(model: MEAGraph) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and settings from which :func:`unpack` makes the same model.

    Raises
    ------
    UsageError
        The model is not trained, or of the published mode.
    """
    require_savable(model.mode)
    fitted = getattr(model, "fitted_", None)
    if not isinstance(fitted, Inductive):
        raise UsageError("the model is not trained: there is nothing to save yet", key="MEAGraph")
    arrays = {
        **{f"noise.{name}": getattr(fitted.noise, name).astype(np.float64) for name in _noise_shapes()},
        "anchor.species": fitted.anchor_species.astype(np.int64),
        "anchor.cluster": fitted.anchor_cluster.astype(np.int64),
        **{f"stage.{i}": stage.detach().cpu().numpy() for i, stage in enumerate(fitted.stages)},
        **{f"network.{name}": value.detach().cpu().numpy() for name, value in fitted.network.state_dict().items()},
    }
    settings = {
        "parameters": {name: _plain(value) for name, value in model.get_params().items()},
        "channels": [int(stage.shape[1]) for stage in fitted.stages],
        "neighbours": int(fitted.neighbours),
        "link": float(fitted.link),
        "reach": float(fitted.reach),
        "ordinary": float(fitted.ordinary),
        "residual": float(fitted.residual),
        "training": asdict(model.training_),
    }
    return arrays, settings


def unpack(checkpoint: Checkpoint, device: str = "cpu") -> MEAGraph:
    """Return the model that :func:`pack` took apart; on the same machine it assigns the same bits.

    Parameters
    ----------
    checkpoint
        What was read from a file.
    device
        Torch device of the embedding, whatever the model was trained on.

    Raises
    ------
    DataError
        Arrays or settings do not make a model; the message names file and array or setting.
    """
    model = _model(checkpoint, device)
    channels = [_whole(checkpoint, c, "channels") for c in checkpoint.setting("channels", list)]
    if len(channels) < 2:
        checkpoint.fail("the setting channels is too short")
    kernels = _whole(checkpoint, model.kernels, "parameters.kernels")
    sizes = {"d": channels[0]}
    wanted: dict[str, tuple[str, tuple[int | str, ...]]] = {
        **{f"noise.{name}": ("float64", shape) for name, shape in _noise_shapes().items()},
        "anchor.species": ("int64", ("A",)),
        "anchor.cluster": ("int64", ("A",)),
        **{f"stage.{i}": ("float32", ("A", c)) for i, c in enumerate(channels)},
    }
    checkpoint.require_arrays(wanted, sizes)
    if sizes["A"] < 1:
        checkpoint.fail("there is no anchor")
    # settings could ask for a network of any size: none is made that the file cannot fill
    held = sum(array.size for array in checkpoint.arrays.values())
    if sum(kernels * a * b + b * b for a, b in pairwise(channels)) > held:
        checkpoint.fail("the setting channels does not fit the arrays")
    network = AutoEncoder(channels, kernels, torch.Generator().manual_seed(0))
    own = network.state_dict()
    wanted |= {f"network.{name}": ("float32", tuple(value.shape)) for name, value in own.items()}
    checkpoint.require_arrays(wanted, sizes)
    checkpoint.require_no_more(wanted)
    network.load_state_dict({name: _tensor(checkpoint.arrays[f"network.{name}"]) for name in own})
    where = torch.device(device)
    arrays = checkpoint.arrays
    if (arrays["anchor.cluster"] < 0).any():
        checkpoint.fail("the array anchor.cluster holds negative numbers")
    ordinary, residual = checkpoint.setting("ordinary", float), checkpoint.setting("residual", float)
    link, reach = checkpoint.setting("link", float), checkpoint.setting("reach", float)
    for name, value in (("ordinary", ordinary), ("residual", residual), ("link", link), ("reach", reach)):
        if value <= 0:
            checkpoint.fail(f"the setting {name} is {value}")
    neighbours = _whole(checkpoint, checkpoint.setting("neighbours", int), "neighbours")
    if neighbours != model.neighbours or neighbours > _MOST_NEIGHBOURS:
        checkpoint.fail(f"the setting neighbours is {neighbours}")
    model.fitted_ = Inductive(
        noise=NoiseUnits(**{name: arrays[f"noise.{name}"] for name in _noise_shapes()}),
        network=network.to(where),
        stages=tuple(_tensor(arrays[f"stage.{i}"]).to(where) for i in range(len(channels))),
        anchor_species=arrays["anchor.species"],
        anchor_cluster=arrays["anchor.cluster"],
        neighbours=neighbours,
        link=link,
        reach=reach,
        ordinary=ordinary,
        residual=residual,
    )
    record = TrainingRecord(
        epochs=checkpoint.setting("training.epochs", int),
        train_loss=_losses(checkpoint, "training.train_loss"),
        held_out_loss=_losses(checkpoint, "training.held_out_loss"),
        best=checkpoint.setting("training.best", float),
    )
    if len(record.train_loss) != record.epochs or len(record.held_out_loss) != record.epochs + 1:
        checkpoint.fail("the setting training holds other than one loss per epoch")
    model.training_ = record
    model.size_ = len(arrays["noise.mean"])
    return model


def _noise_shapes() -> dict[str, tuple[int | str, ...]]:
    return {field.name: _NOISE[field.name] for field in fields(NoiseUnits)}


def _model(checkpoint: Checkpoint, device: str) -> MEAGraph:
    """Return the untrained model with the parameters stored."""
    model = checkpoint.untrained(MEAGraph, device)
    if model.mode != "inductive":
        checkpoint.fail("its mode is not inductive")
    return model


def _whole(checkpoint: Checkpoint, value: object, name: str) -> int:
    if type(value) is not int or value < 1:
        checkpoint.fail(f"{name}: a whole number of 1 or more is expected, found {str(value)[:40]!r}")
    return value


def _losses(checkpoint: Checkpoint, name: str) -> tuple[float, ...]:
    values = checkpoint.setting(name, list)
    if not all(type(value) in (int, float) for value in values):
        checkpoint.fail(f"the setting {name} is no list of numbers")
    return tuple(float(value) for value in values)


def _tensor(array: np.ndarray) -> torch.Tensor:
    # a copy in torch's own memory, aligned like that of the model that was trained: sums have the same bits
    return torch.from_numpy(array).clone()


def _plain(value: Any) -> Any:
    """Return a parameter as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
