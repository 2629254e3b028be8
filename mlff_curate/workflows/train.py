"""``train``: frames and targets in, one model file out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.encoder import read_encoder
from mlff_curate.cgcnn.model_file import to_bytes
from mlff_curate.cgcnn.property_model import CGCNN
from mlff_curate.cgcnn.property_network import CLASSIFICATION
from mlff_curate.data.outputs import whole_files
from mlff_curate.errors import DataError, OutputError
from mlff_curate.validation.property_errors import classification_errors, regression_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.model_results import Trained
from mlff_curate.workflows.property_data import read_property_data
from mlff_curate.workflows.training_checkpoint import (
    PROPERTY_TRAINING,
    checkpoint_beside,
    origin_of,
    require_interval,
    where_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlff_curate.workflows.property_data import Progress, PropertyInput

_LEAST_TO_JUDGE = 5
"""Frames held out. Of fewer, chance decides whether a model beats the mean."""


def train_property_files(
    what: PropertyInput,
    output: str | Path,
    parameters: Mapping[str, Any],
    *,
    encoder: str | Path | None = None,
    freeze_encoder: bool = False,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a property model on files, and write it.

    Parameters
    ----------
    what
        Inputs and target.
    output
        The model file. While training lasts, its checkpoint lies beside it under its name and ``.checkpoint``.
    parameters
        Of :class:`CGCNN`.
    encoder
        File of an encoder or of a potential, whose states of atoms are learned from.
    freeze_encoder
        Leave its weights as they are.
    checkpoint_every
        Seconds between two checkpoints at least.
    resume
        Go on from the checkpoint, where there is one.
    overwrite
        Replace a file that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.
    say
        With `resume`, called with a sentence on where training goes on, before it does.

    Raises
    ------
    CurateError
        From reading and training; an output that exists or cannot be written; a checkpoint of another training. No
        model is written then.
    KeyboardInterrupt, InterruptedRunError
        Ctrl-C, SIGTERM: the state after the last epoch is written, unless `checkpoint_every` is infinite.
    """
    model = CGCNN(**parameters)
    model.require_parameters()
    begin = None if encoder is None else read_encoder(encoder)
    model.require_encoder(begin, frozen=freeze_encoder)
    what.require()
    path = Path(output)
    if not path.name:
        raise OutputError("is a folder", file=str(output))
    require_interval(checkpoint_every)
    read = [*what.files, *([] if encoder is None else [Path(encoder)])]
    beside = checkpoint_beside(path, read, checkpoint_every, resume=resume, overwrite=overwrite, kind=PROPERTY_TRAINING)
    start = time.perf_counter()
    data = read_property_data(what, progress=progress)
    data = data.part(np.flatnonzero(~np.isnan(data.targets)))
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    beside.origin = origin_of(model, data.frames, [data.targets], encoder, frozen=freeze_encoder)
    with data.naming_frames(), beside.ending_well():
        before = beside.found() if resume else None
        if resume and say is not None:
            say(where_from(before))
        try:
            model.fit(
                data.frames,
                data.targets,
                encoder=begin,
                freeze_encoder=freeze_encoder,
                resume=before,
                keep=beside.keep,
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
    learner = "" if begin is None else ", encoder frozen" if freeze_encoder else ", encoder trained too"
    contents = to_bytes(model)
    with whole_files(path) as (stream,):
        stream.write(contents)
    beside.discard()
    seconds["write"] = time.perf_counter() - start
    assert model.training_ is not None
    return Trained(
        model=model,
        training=model.training_,
        output=path,
        title=f"{model.task} of {data.target}, {model.conv} convolution{learner}",
        kind={"task": model.task, "conv": model.conv, "target": data.target},
        frames=len(data.frames),
        errors=errors,
        words=error_words,
        seconds=seconds,
        notes=(
            *data.notes,
            *([where_from(before, over=True)] if resume else []),
            *_about_validation(model, predicted, data.targets),
        ),
    )


def error_words(errors: Mapping[str, float]) -> str:
    """Return errors of a property as a person reads them."""
    return ", ".join(
        f"{name} {value:.4g}" for name, value in errors.items() if name != "frames" and not np.isnan(value)
    )


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
    words = f"{name} {found:.4g}, by the mean of the others {guessed:.4g}"
    if len(guess) < _LEAST_TO_JUDGE:
        verb = "tells" if len(guess) == 1 else "tell"
        return [f"{counted(len(guess), 'frame')} held out {verb} little: {words}"]
    return [] if found < guessed else [f"of the frames held out the model knows no more than a guess: {words}"]


def _mean_error(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(predicted - true).mean())


def _surprise(probability: np.ndarray, true: np.ndarray) -> float:
    """Return the mean negative log-likelihood of the classes."""
    return float(-np.log(np.clip(np.where(true > 0.5, probability, 1 - probability), 1e-12, 1)).mean())
