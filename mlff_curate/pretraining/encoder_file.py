"""A trained encoder as a file, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_curate.cgcnn.network_file import ENCODER_KIND, ROWS, network_arrays, read_encoder_network, sizes_setting
from mlff_curate.cgcnn.network_state import numbers_of, plain_numbers
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.pretraining.model import FittedEncoder, Pretraining
from mlff_curate.pretraining.tasks import OF_READOUT, TASKS
from mlff_curate.pretraining.training import EncoderTraining

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.checkpoints import Checkpoint


def to_bytes(model: Pretraining) -> bytes:
    """Return the bytes of an encoder file, the same for the same encoder. Of heads it has the last rows of readouts.

    Raises
    ------
    ValueError
        The encoder is not trained.
    """
    fitted = getattr(model, "fitted_", None)
    if fitted is None:
        message = "the encoder is not trained: there is nothing to save yet"
        raise ValueError(message)
    parameters = model.get_params()
    for name in ("tasks", "noise"):
        parameters[name] = None if parameters[name] is None else list(parameters[name])
    settings: dict[str, Any] = {
        # where it was trained is no part of a model
        "parameters": {**parameters, "device": "cpu"},
        "sizes": sizes_setting(fitted.network.sizes),
        "tasks": list(fitted.tasks),
        "readouts": 0 if fitted.rows is None else len(fitted.rows),
        "frames": fitted.frames,
        "atoms": fitted.atoms,
        "training": None if model.training_ is None else _plain(model.training_),
    }
    arrays = network_arrays(fitted.network)
    if fitted.rows is not None:
        arrays[ROWS] = fitted.rows.cpu().numpy()
    return checkpoint_bytes(ENCODER_KIND, arrays, settings)


def _plain(training: EncoderTraining) -> dict[str, Any]:
    return {
        "epochs": training.epochs,
        "loss": plain_numbers(list(training.loss)),
        "held_out": {name: plain_numbers(list(values)) for name, values in training.held_out.items()},
        "guesses": dict(training.guesses),
        "best_epoch": training.best_epoch,
        "ended": training.ended,
        "validation_frames": list(training.validation_frames),
    }


def read_pretraining(path: str | Path, device: str = "cpu") -> Pretraining:
    """Return the encoder in a file.

    Raises
    ------
    DataError
        The file is missing, damaged, of another kind, or does not make an encoder; names array or setting.
    """
    checkpoint = read_checkpoint(path, ENCODER_KIND)
    model = checkpoint.untrained(Pretraining, device)
    network, rows = read_encoder_network(checkpoint, model.dtype)
    if network.sizes.cutoff != model.cutoff:
        checkpoint.fail("the setting sizes.cutoff is not the parameter cutoff")
    tasks = tuple(checkpoint.setting("tasks", list))
    if not tasks or not set(tasks) <= set(TASKS):
        checkpoint.fail("the setting tasks names other than tasks")
    if (rows is None) == any(name in OF_READOUT for name in tasks):
        checkpoint.fail("the setting readouts does not fit the tasks")
    counts = [checkpoint.setting(name, int) for name in ("frames", "atoms")]
    if min(counts) < 1:
        checkpoint.fail("the setting frames or atoms is below 1")
    model.fitted_ = FittedEncoder(network.to(device), rows, tasks, *counts)
    model.training_ = _training(checkpoint)
    return model


def _training(checkpoint: Checkpoint) -> EncoderTraining | None:
    if checkpoint.setting("training", (dict, type(None))) is None:
        return None
    epochs = checkpoint.setting("training.epochs", int)
    frames = checkpoint.setting("training.validation_frames", list)
    if not all(type(i) is int for i in frames):
        checkpoint.fail("the setting training.validation_frames holds other than whole numbers")
    held_out = checkpoint.setting("training.held_out", dict)
    guesses = checkpoint.setting("training.guesses", dict)
    return EncoderTraining(
        epochs=epochs,
        loss=tuple(numbers_of(checkpoint, "training.loss", epochs)),
        held_out={name: tuple(numbers_of(checkpoint, f"training.held_out.{name}", epochs)) for name in held_out},
        guesses={name: checkpoint.setting(f"training.guesses.{name}", float) for name in guesses},
        best_epoch=checkpoint.setting("training.best_epoch", int),
        ended=checkpoint.setting("training.ended", str),
        validation_frames=tuple(frames),
    )
