"""``train``: frames and targets in, one model file out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.model_file import to_bytes
from mlff_curate.cgcnn.property_model import CGCNN
from mlff_curate.cgcnn.property_network import CLASSIFICATION
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import DataError, OutputError
from mlff_curate.validation.property_errors import classification_errors, regression_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.property_data import read_property_data
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlff_curate.cgcnn.training import PropertyTraining
    from mlff_curate.workflows.property_data import Progress, PropertyInput

_LEAST_TO_JUDGE = 5
"""Frames held out. Of fewer, chance decides whether a model beats the mean."""
ENDED = {
    "all epochs": "",
    "early": "stopped, as the validation error fell no more",
    "diverged": "stopped, as the loss was no number any more: the last good weights were kept, a smaller "
    "--learning-rate may help",
}


@dataclass(frozen=True)
class PropertyTrained:
    """A finished ``train`` of a property.

    Attributes
    ----------
    model
        The trained model.
    output
        Where it lies.
    frames
        How many were learned from or held out.
    target
        What the target is called.
    errors
        ``train`` and, where frames were held out, ``validation``: name of an error to its value.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    """

    model: CGCNN
    output: Path
    frames: int
    target: str | None
    errors: Mapping[str, Mapping[str, float]]
    seconds: dict[str, float]
    notes: tuple[str, ...]

    @property
    def training(self) -> PropertyTraining:
        """How training went."""
        assert self.model.training_ is not None
        return self.model.training_

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "task": self.model.task,
            "conv": self.model.conv,
            "target": self.target,
            "frames": self.frames,
            "validation_frames": len(self.training.validation_frames),
            "epochs": self.training.epochs,
            "best_epoch": self.training.best_epoch,
            "ended": self.training.ended,
            **{f"{part}_{name}": value for part, some in self.errors.items() for name, value in some.items()},
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.output),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        training = self.training
        lines = [
            (
                f"{self.output}: {self.model.task} of {self.target}, {self.model.conv} convolution, trained on "
                f"{counted(self.frames - len(training.validation_frames), 'frame')}"
            ),
            *(
                f"{part}: {', '.join(f'{name} {value:.4g}' for name, value in some.items() if not np.isnan(value))}"
                for part, some in self.errors.items()
            ),
            f"{counted(training.epochs, 'epoch')}, the weights of epoch {training.best_epoch} were kept",
        ]
        return lines + [f"note: {note}" for note in self.notes]


def train_property_files(
    what: PropertyInput,
    output: str | Path,
    parameters: Mapping[str, Any],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PropertyTrained:
    """Train a property model on files, and write it.

    Parameters
    ----------
    what
        Inputs and target.
    output
        The model file.
    parameters
        Of :class:`CGCNN`.
    overwrite
        Replace a file that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.

    Raises
    ------
    CurateError
        From reading and training; also an output that exists or cannot be written. Nothing is written then.
    """
    model = CGCNN(**parameters)
    model.require_parameters()
    path = Path(output)
    if not path.name:
        raise OutputError("is a folder", file=str(output))
    require_free([path], what.files, overwrite=overwrite)
    start = time.perf_counter()
    data = read_property_data(what, progress=progress)
    data = data.part(np.flatnonzero(~np.isnan(data.targets)))
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    with data.naming_frames():
        try:
            model.fit(
                data.frames,
                data.targets,
                progress=None if progress is None else lambda done, all_, words: progress("train", done, all_, words),
            )
        except DataError as error:
            error.key = error.key or (data.target if error.frame is not None else None)
            raise
    model.name_target(data.target)
    seconds["train"] = time.perf_counter() - start
    start = time.perf_counter()
    predicted = model.predict(data.frames)
    errors = _errors(model, predicted, data.targets)
    contents = to_bytes(model)
    with whole_files(path) as (stream,):
        stream.write(contents)
    seconds["write"] = time.perf_counter() - start
    assert model.training_ is not None
    ended = ENDED[model.training_.ended]
    notes = (*data.notes, *([ended] if ended else []), *_about_validation(model, predicted, data.targets))
    return PropertyTrained(model, path, len(data.frames), data.target, errors, seconds, notes)


def _errors(model: CGCNN, predicted: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    assert model.training_ is not None
    held_out = np.zeros(len(true), bool)
    held_out[list(model.training_.validation_frames)] = True
    measure = classification_errors if model.task == CLASSIFICATION else regression_errors
    parts = {"train": ~held_out, "validation": held_out}
    return {name: measure(predicted[rows], true[rows]) for name, rows in parts.items() if rows.any()}


def _about_validation(model: CGCNN, predicted: np.ndarray, true: np.ndarray) -> list[str]:
    """Say what the frames held out do not show, or show against the model."""
    assert model.training_ is not None
    rows = np.zeros(len(true), bool)
    rows[list(model.training_.validation_frames)] = True
    if not rows.any():
        return [
            "no frame was held out: nothing is known of errors on other frames, and the last epoch's weights were kept"
        ]
    guess = np.full(int(rows.sum()), true[~rows].mean())
    is_class = model.task == CLASSIFICATION
    measure, name = (_surprise, "log-loss") if is_class else (_mean_error, "mae")
    found, guessed = measure(predicted[rows], true[rows]), measure(guess, true[rows])
    if len(guess) < _LEAST_TO_JUDGE or found < guessed:
        return []
    words = f"{name} {found:.4g}, of the mean {guessed:.4g}"
    return [f"of the frames held out the model knows no more than the mean of the others: {words}"]


def _mean_error(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(predicted - true).mean())


def _surprise(probability: np.ndarray, true: np.ndarray) -> float:
    """Return the mean negative log-likelihood of the classes."""
    return float(-np.log(np.clip(np.where(true > 0.5, probability, 1 - probability), 1e-12, 1)).mean())
