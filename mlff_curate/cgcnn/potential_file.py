"""A trained potential as a file, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.network_file import POTENTIAL_KIND, network_arrays, read_network, sizes_setting
from mlff_curate.cgcnn.potential import FittedPotential, Potential
from mlff_curate.cgcnn.potential_training import PotentialTraining
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.checkpoints import Checkpoint


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
    arrays = {**network_arrays(fitted.network), "level": fitted.level.astype(np.float64)}
    training = potential.training_
    settings: dict[str, Any] = {
        # where it was trained is no part of a model
        "parameters": {**potential.get_params(), "device": "cpu"},
        "sizes": sizes_setting(fitted.network.sizes),
        "scale": float(fitted.scale),
        "training": None if training is None else _plain(training),
    }
    return checkpoint_bytes(POTENTIAL_KIND, arrays, settings)


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
    checkpoint = read_checkpoint(path, POTENTIAL_KIND)
    potential = checkpoint.untrained(Potential, device)
    network = read_network(checkpoint, potential.dtype, {"level": ("float64", ("elements",))})
    if network.sizes.cutoff != potential.cutoff:
        checkpoint.fail("the setting sizes.cutoff is not the parameter cutoff")
    if network.sizes.layers != (potential.layers or ""):
        checkpoint.fail("the setting sizes.layers is not the parameter layers")
    scale = checkpoint.setting("scale", float)
    if not scale > 0:
        checkpoint.fail("the setting scale is out of range")
    potential.fitted_ = FittedPotential(network.to(device), checkpoint.arrays["level"], scale)
    potential.training_ = _training(checkpoint)
    return potential


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
