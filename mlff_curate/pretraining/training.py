"""How an encoder is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_curate.cgcnn.network_state import Callbacks, NetworkState, numbers_of, plain_numbers
from mlff_curate.cgcnn.potential_share import narrow
from mlff_curate.cgcnn.soap import share_of_rate
from mlff_curate.cgcnn.training import ALL_EPOCHS, DIVERGED, STOPPED_EARLY
from mlff_curate.errors import DataError
from mlff_curate.pretraining.network import PretrainingNetwork
from mlff_curate.pretraining.views import enlarged_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.pretraining.course import Course
    from mlff_curate.pretraining.tasks import Task
    from mlff_curate.pretraining.unlabelled import Unlabelled

_LONGEST_STEP = 10.0
"""Norm of the gradient that it is cut to."""
_PLACES = 1 << 17
"""Atoms times the most neighbours of any that are learned from at once; of solids some 2 500 atoms."""
_OF_TRAINING, _OF_VALIDATION = 5, 6
"""What a step's and a held-out batch's randomness is called, so that they share none."""


@dataclass(frozen=True)
class EncoderTraining:
    """How training went.

    Attributes
    ----------
    epochs
        Epochs run.
    loss
        (epochs,) mean over the batches of the weighted sum.
    held_out
        Task to (epochs,) mean loss over the frames held out; nan where they ask nothing.
    guesses
        Task to the loss of the best answer that looks at no atom's surroundings.
    best_epoch
        Counted from 1: the epoch whose weights were kept.
    ended
        ``all epochs``, ``early`` or ``diverged``.
    validation_frames
        Indices of the frames held out.
    """

    epochs: int
    loss: tuple[float, ...]
    held_out: Mapping[str, tuple[float, ...]]
    guesses: Mapping[str, float]
    best_epoch: int
    ended: str
    validation_frames: tuple[int, ...]


@dataclass(eq=False)
class EncoderState(NetworkState[PretrainingNetwork]):
    """Weights and all that goes with them, see :class:`NetworkState`.

    Attributes
    ----------
    loss, held_out
        As in :class:`EncoderTraining`.
    """

    loss: list[float] = field(default_factory=list)
    held_out: dict[str, list[float]] = field(default_factory=dict)

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Write down an epoch, with the losses of the frames held out."""
        self.loss.append(self.total / max(self.steps, 1))
        for name, value in losses.items():
            self.held_out.setdefault(name, []).append(value)
        self.epochs, self.steps, self.total = self.epochs + 1, 0, 0.0

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays, settings = super().pack()
        held_out = {name: plain_numbers(values) for name, values in self.held_out.items()}
        return arrays, {**settings, "loss": plain_numbers(self.loss), "held_out": held_out}

    def _restore_more(self, checkpoint: Checkpoint) -> None:
        self.loss = numbers_of(checkpoint, "loss", self.epochs)
        names = checkpoint.setting("held_out", dict)
        self.held_out = {name: numbers_of(checkpoint, f"held_out.{name}", self.epochs) for name in names}


def train_encoder(
    network: PretrainingNetwork,
    data: Unlabelled,
    tasks: Sequence[Task],
    weights: Mapping[str, float],
    course: Course,
    validation: np.ndarray,
    *,
    learning_rate: float,
    patience: int,
    resume: Checkpoint | None = None,
    keep: Callable[[EncoderState], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> EncoderTraining:
    """Fit the weights; the moving average of the epoch with the least loss on the frames held out is kept.

    Parameters
    ----------
    network
        On the device; changed in place.
    data
        Frames.
    tasks, weights
        What is asked, and how much each counts by name.
    course
        The frames of each step. Of its seed is also what is hidden or displaced: by epoch, step and task, so that none
        depends on another.
    validation
        Indices of frames held out; may be empty: then the weights after the last epoch are kept.
    learning_rate
        Of SOAP; rises over the first steps and falls along a cosine.
    patience
        Epochs without a smaller loss before training stops.
    resume
        What :meth:`EncoderState.pack` said after some step: training goes on from there to the same end.
    keep
        Called after each step, and after each epoch, with the state.
    progress
        Called with steps done, steps in all, and the losses in words.

    Raises
    ------
    DataError
        The loss was no number before one epoch was done, or what is to be resumed does not fit the network. Where a
        loss is no number later, training stops and keeps the last good weights.
    """
    state = EncoderState.new(network, learning_rate)
    if resume is not None:
        state.restore(resume, course.per_epoch)
    callbacks = Callbacks(keep, progress, course.per_epoch, course.epochs)
    ended = ALL_EPOCHS
    while state.epochs < course.epochs and state.epochs - state.best_epoch < patience:
        epoch = state.epochs + 1
        first = state.epochs * course.per_epoch
        rates = [learning_rate * share_of_rate(first + k, course.steps) for k in range(course.per_epoch)]
        well = _rest_of_epoch(state, data, tasks, weights, course.batches(epoch), rates, course.seed, callbacks)
        losses = held_out_losses(state.average, data, tasks, validation, course.batch_size, course.seed) if well else {}
        error = sum(weights[name] * value for name, value in losses.items() if not math.isnan(value))
        if not well or not math.isfinite(error):
            if state.best_epoch == 0:
                raise DataError("training diverged in its first epoch: a smaller --learning-rate may help")
            ended = DIVERGED
            break
        known = any(not math.isnan(value) for value in losses.values())
        if not known or error < state.best_error:
            state.set_best(error if known else math.inf)
        state.end_epoch(losses)
        callbacks.after_epoch(state, _words(state.loss[-1], losses))
    if ended == ALL_EPOCHS and state.epochs - state.best_epoch >= patience:
        ended = STOPPED_EARLY
    network.load_state_dict(state.best_weights)
    network.eval()
    return EncoderTraining(
        state.epochs,
        tuple(state.loss),
        {name: tuple(values) for name, values in state.held_out.items()},
        {task.name: task.guess for task in tasks},
        state.best_epoch,
        ended,
        tuple(int(i) for i in validation),
    )


def _rest_of_epoch(
    state: EncoderState,
    data: Unlabelled,
    tasks: Sequence[Task],
    weights: Mapping[str, float],
    batches: Sequence[np.ndarray],
    rates: Sequence[float],
    seed: int,
    callbacks: Callbacks[EncoderState],
) -> bool:
    """Take the steps of an epoch that are not done; return whether all was finite."""
    epoch = state.epochs + 1
    for batch, rate in zip(batches[state.steps :], rates[state.steps :], strict=True):
        for value in state.network.parameters():
            value.grad = torch.zeros_like(value)  # of a head that this batch asks nothing, too
        total = 0.0
        for k, task in enumerate(tasks):
            rng = np.random.default_rng([seed, _OF_TRAINING, epoch, state.steps, k])
            for piece in _pieces(task, data, batch):
                loss, count = task.loss(state.network, data, piece, rng, training=True)
                if count:
                    weight = weights[task.name] * (len(piece) / len(batch))
                    (weight * loss).backward()  # type: ignore[no-untyped-call]
                    total += weight * float(loss.detach())
        length = torch.nn.utils.clip_grad_norm_(state.network.parameters(), _LONGEST_STEP)
        if not math.isfinite(total) or not math.isfinite(float(length)):
            return False
        state.move(rate, (epoch - 1) * len(batches) + state.steps)
        state.steps += 1
        state.total += total
        if state.steps < len(batches):
            callbacks.after_step(state)
    return True


def _pieces(task: Task, data: Unlabelled, frames: np.ndarray) -> list[np.ndarray]:
    """Split a batch of large frames, so that memory is bounded, where a task asks each frame by itself."""
    if task.of_several:
        return [frames]
    return narrow(enlarged_sizes(data.graph.atoms), data.graph.crowd, frames, _PLACES)


def held_out_losses(
    network: PretrainingNetwork,
    data: Unlabelled,
    tasks: Sequence[Task],
    frames: np.ndarray,
    batch_size: int,
    seed: int,
) -> dict[str, float]:
    """Return the mean loss of each task over some frames; what is hidden there is the same each time.

    nan where the frames ask nothing.
    """
    out = {}
    batches = np.array_split(frames, math.ceil(len(frames) / batch_size)) if len(frames) else []
    for k, task in enumerate(tasks):
        total = answers = 0.0
        for b, batch in enumerate(batches):
            rng = np.random.default_rng([seed, _OF_VALIDATION, b, k])
            for piece in _pieces(task, data, batch):
                loss, count = task.loss(network, data, piece, rng, training=False)
                total += float(loss.detach()) * count
                answers += count
        out[task.name] = total / answers if answers else math.nan
    return out


def _words(loss: float, losses: Mapping[str, float]) -> str:
    held_out = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if not math.isnan(value))
    return "; ".join([f"loss {loss:.4g}", *([f"held out: {held_out}"] if held_out else [])])
