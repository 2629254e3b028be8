"""A trained potential as a file, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_curate.cgcnn.elements import LAST_ELEMENT
from mlff_curate.cgcnn.potential import DTYPES, MOST_CUTOFF, FittedPotential, Potential
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.cgcnn.potential_training import PotentialTraining
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.checkpoints import Checkpoint

KIND = "cgcnn-potential"
_MOST = 2**20


def to_bytes(potential: Potential) -> bytes:
    """Return the bytes of a model file, the same for the same model.

    Raises
    ------
    ValueError
        The potential is not fitted.
    """
    fitted = getattr(potential, "fitted_", None)
    if fitted is None:
        message = "the potential is not trained: there is nothing to save yet"
        raise ValueError(message)
    arrays = {f"network.{name}": value.detach().cpu().numpy() for name, value in fitted.network.state_dict().items()}
    arrays["level"] = fitted.level.astype(np.float64)
    training = potential.training_
    settings: dict[str, Any] = {
        # where it was trained is no part of a model
        "parameters": {**potential.get_params(), "device": "cpu"},
        "sizes": asdict(fitted.network.sizes) | {"elements": list(fitted.network.sizes.elements)},
        "scale": float(fitted.scale),
        "training": None if training is None else _plain(training),
    }
    return checkpoint_bytes(KIND, arrays, settings)


def _plain(training: PotentialTraining) -> dict[str, Any]:
    """Return it as JSON has it, which knows no nan."""
    return {
        name: [None if np.isnan(x) else x for x in value] if isinstance(value, tuple) else value
        for name, value in asdict(training).items()
    }


def read_potential(path: str | Path, device: str = "cpu") -> Potential:
    """Return the potential in a file.

    Raises
    ------
    DataError
        The file is missing, damaged, of another kind, or does not make a potential; names array or setting.
    """
    checkpoint = read_checkpoint(path, KIND)
    potential = checkpoint.untrained(Potential, device)
    sizes = _sizes(checkpoint)
    if sizes.cutoff != potential.cutoff:
        checkpoint.fail("the setting sizes.cutoff is not the parameter cutoff")
    # settings could ask for a network of any size: none is made that the file cannot fill
    held = sum(array.size for array in checkpoint.arrays.values())
    least = sizes.convolutions * (sizes.channels**2 + max(sizes.degree, 0) * sizes.angular**2)
    if least + len(sizes.elements) * sizes.channels > held:
        checkpoint.fail("the setting sizes does not fit the arrays")
    dtype = DTYPES[potential.dtype]
    network = PotentialNetwork(sizes).to(dtype)
    own = network.state_dict()
    wanted: dict[str, tuple[str, tuple[int | str, ...]]] = {
        f"network.{name}": (potential.dtype, tuple(value.shape)) for name, value in own.items()
    }
    wanted["level"] = ("float64", (len(sizes.elements),))
    checkpoint.require_arrays(wanted)
    checkpoint.require_no_more(wanted)
    network.load_state_dict({name: torch.from_numpy(checkpoint.arrays[f"network.{name}"]).clone() for name in own})
    network.eval()
    scale = checkpoint.setting("scale", float)
    if not scale > 0:
        checkpoint.fail("the setting scale is out of range")
    potential.fitted_ = FittedPotential(network.to(device), checkpoint.arrays["level"], scale)
    potential.training_ = _training(checkpoint)
    return potential


def _sizes(checkpoint: Checkpoint) -> PotentialSizes:
    values: dict[str, Any] = {}
    for field in fields(PotentialSizes):
        name = field.name
        kind = list if name == "elements" else float if name in ("cutoff", "neighbours") else int
        values[name] = checkpoint.setting(f"sizes.{name}", kind)
    elements = values["elements"]
    ascending = all(type(z) is int and 0 <= z <= LAST_ELEMENT for z in elements) and elements == sorted(set(elements))
    if not elements or not ascending:
        checkpoint.fail("the setting sizes.elements holds other than atomic numbers, ascending")
    whole = [values[name] for name in ("channels", "radial", "convolutions", "angular")]
    if not all(1 <= value < _MOST for value in whole) or values["convolutions"] > 64:
        checkpoint.fail("the setting sizes asks for a network of no sensible size")
    if not -1 <= values["degree"] <= 6 or not 0 < values["cutoff"] <= MOST_CUTOFF or not values["neighbours"] > 0:
        checkpoint.fail("the setting sizes is out of range")
    return PotentialSizes(**{**values, "elements": tuple(elements)})


def _training(checkpoint: Checkpoint) -> PotentialTraining | None:
    if checkpoint.setting("training", (dict, type(None))) is None:
        return None

    def numbers(name: str) -> tuple[float, ...]:
        values = checkpoint.setting(f"training.{name}", list)
        if not all(value is None or type(value) in (int, float) for value in values):
            checkpoint.fail(f"the setting training.{name} is no list of numbers")
        return tuple(float("nan") if value is None else float(value) for value in values)

    return PotentialTraining(
        epochs=checkpoint.setting("training.epochs", int),
        loss=numbers("loss"),
        energy_mae=numbers("energy_mae"),
        force_mae=numbers("force_mae"),
        best_epoch=checkpoint.setting("training.best_epoch", int),
        ended=checkpoint.setting("training.ended", str),
        validation_frames=tuple(int(value) for value in numbers("validation_frames")),
    )
