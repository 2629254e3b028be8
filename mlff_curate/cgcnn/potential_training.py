"""How a potential is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.cgcnn.network_state import Callbacks
from mlff_curate.cgcnn.potential_share import Sharing, mean_error
from mlff_curate.cgcnn.potential_state import TrainingState
from mlff_curate.cgcnn.soap import share_of_rate
from mlff_curate.cgcnn.training import ALL_EPOCHS, DIVERGED, STOPPED_EARLY
from mlff_curate.errors import DataError
from mlff_curate.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.cgcnn.potential_share import Material
    from mlff_curate.cgcnn.potential_terms import Weights
    from mlff_curate.data.checkpoints import Checkpoint

_LATE, _TURNED = 0.6, 0.7
"""Shares of the steps between which the weight of energies rises to its last value."""

_LATE_ENERGY = 20.0
"""What it is multiplied by: forces shape the network first, and are many; energies are then fitted by it."""

_LONGEST_STEP = 10.0
"""Norm of the gradient that it is cut to."""


@dataclass(frozen=True)
class PotentialTraining:
    """How training went.

    Attributes
    ----------
    epochs
        Epochs run.
    loss
        (epochs,) mean over the batches.
    energy_mae, force_mae
        (epochs,) of the frames held out: eV/atom and eV/Angstrom; nan where there are none, or no such labels.
    best_epoch
        Counted from 1: the epoch whose weights were kept.
    ended
        ``all epochs``, ``early`` or ``diverged``.
    validation_frames
        Indices of the frames held out.
    """

    epochs: int
    loss: tuple[float, ...]
    energy_mae: tuple[float, ...]
    force_mae: tuple[float, ...]
    best_epoch: int
    ended: str
    validation_frames: tuple[int, ...]


def train_potential(
    network: PotentialNetwork,
    material: Material,
    training: np.ndarray,
    validation: np.ndarray,
    *,
    weights: Weights,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    seed: int,
    dtype: torch.dtype,
    team: Team | None = None,
    resume: Checkpoint | None = None,
    keep: Callable[[TrainingState], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> PotentialTraining:
    """Fit the weights; of the epochs in which energies count fully, the moving average that predicts best is kept.

    Parameters
    ----------
    network
        On the device; changed in place.
    material
        Frames and labels.
    training, validation
        Indices of frames; the second may be empty: then the weights after the last epoch are kept.
    weights
        Of the terms of the loss, as training begins; that of energies rises later.
    learning_rate
        Of SOAP; rises over the first steps and falls along a cosine.
    batch_size, epochs
        Frames per step, in an order drawn anew each epoch.
    patience
        Epochs without a smaller validation error before training stops.
    seed
        Of the batches.
    dtype
        Of the computation.
    team
        Those that compute; None: this process alone. The bits are the same.
    resume
        What :meth:`TrainingState.pack` said after some step: training goes on from there to the same end.
    keep
        Called after each step, and after each epoch, with the state.
    progress
        Called with steps done, steps in all, and the errors in words.

    Raises
    ------
    DataError
        The loss was no number before one epoch was done, or what is to be resumed does not fit the network. Where a
        loss is no number later, training stops and keeps the last good weights.
    WorkerError
        A process of the team is gone.
    """
    state = TrainingState.new(network, learning_rate)
    per_epoch = math.ceil(len(training) / batch_size)
    if resume is not None:
        state.restore(resume, per_epoch)
    sharing = Sharing.begin(team or Team(device=str(next(network.parameters()).device)), network, material, dtype)
    callbacks = Callbacks(keep, progress, per_epoch, epochs)
    ended = ALL_EPOCHS
    while state.epochs < epochs and state.epochs - state.best_epoch < patience:
        epoch = state.epochs + 1
        order = np.random.default_rng([seed, 2, epoch]).permutation(training)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        well = _rest_of_epoch(state, sharing, batches, weights, learning_rate, epochs * per_epoch, callbacks)
        errors = sharing.errors(state.average, validation) if well else (math.inf, math.inf)
        if math.inf in errors:
            if state.best_epoch == 0:
                raise DataError("training diverged in its first epoch: a smaller --learning-rate may help")
            ended = DIVERGED
            break
        counts = (weights.energy, weights.forces)
        known = [
            error / material.scale
            for error, weight in zip(errors, counts, strict=True)
            if weight > 0 and not math.isnan(error)
        ]
        # a product has no favourite among units; weights from before energies counted fully stand in until then
        if not known or math.prod(known) < state.best_error or epoch == math.ceil(_TURNED * epochs):
            state.set_best(math.prod(known) if known else math.inf)
        learned = (
            mean_error(state.off[0], state.off[2]) * material.scale,
            mean_error(state.off[1], state.off[3]) * material.scale,
        )
        state.end_epoch(errors)
        told = (errors, "held out") if len(validation) else (learned, "learned")
        callbacks.after_epoch(state, _words(state.loss[-1], *told))
    if ended == ALL_EPOCHS and state.epochs - state.best_epoch >= patience:
        ended = STOPPED_EARLY
    network.load_state_dict(state.best_weights)
    network.eval()
    return PotentialTraining(
        state.epochs,
        tuple(state.loss),
        tuple(state.energy_mae),
        tuple(state.force_mae),
        state.best_epoch,
        ended,
        tuple(int(i) for i in validation),
    )


def _rest_of_epoch(
    state: TrainingState,
    sharing: Sharing,
    batches: Sequence[np.ndarray],
    weights: Weights,
    learning_rate: float,
    steps: int,
    callbacks: Callbacks[TrainingState],
) -> bool:
    """Take the steps of an epoch that are not done; return whether all was finite. Of all epochs there are `steps`."""
    for batch in batches[state.steps :]:
        step = state.epochs * len(batches) + state.steps
        loss, off = sharing.gradient(state.network, batch, _weights_at(weights, step / steps))
        length = torch.nn.utils.clip_grad_norm_(state.network.parameters(), _LONGEST_STEP)
        if not math.isfinite(loss) or not math.isfinite(float(length)):
            return False
        state.move(learning_rate * share_of_rate(step, steps), step)
        state.steps += 1
        state.total += loss
        state.off += off
        if state.steps < len(batches):
            callbacks.after_step(state)
    return True


def _weights_at(weights: Weights, done: float) -> Weights:
    """Return the weights of the loss after a share of all steps."""
    share = min(1.0, max(0.0, (done - _LATE) / (_TURNED - _LATE)))
    return replace(weights, energy=weights.energy * _LATE_ENERGY**share)


def _words(loss: float, errors: tuple[float, float], of: str) -> str:
    words = []
    if math.isfinite(errors[0]):
        words.append(f"energies {1000 * errors[0]:.3g} meV/atom")
    if math.isfinite(errors[1]):
        words.append(f"forces {1000 * errors[1]:.4g} meV/A")
    return "; ".join([f"loss {loss:.4g}", *([f"{of}: {', '.join(words)}"] if words else [])])
