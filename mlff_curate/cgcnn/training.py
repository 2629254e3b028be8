"""How a property network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mlff_curate.cgcnn.convolutions import renew_statistics
from mlff_curate.cgcnn.node_encoder import TunedNetwork
from mlff_curate.cgcnn.potential_share import in_parts
from mlff_curate.cgcnn.property_network import CLASSIFICATION, Batch, PropertyNetwork, batch_of
from mlff_curate.cgcnn.property_state import PropertyState, weights_of
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.graphs.crystal import CrystalGraph
    from mlff_curate.graphs.vectors import VectorGraph

    Network = PropertyNetwork | TunedNetwork

OPTIMISERS = ("adam", "sgd")
_MOMENTUM = 0.9
_DROP_AT, _DROP_BY = 0.8, 0.1
"""The learning rate falls to a tenth after four fifths of the epochs, as in the runs of the authors' models."""
_LEAST_HELD_OUT_OF = 5
"""With fewer frames, all are learned from."""

_CALIBRATION_BATCHES = 32
"""So many give the batch norms their statistics."""

STOPPED_EARLY, DIVERGED, ALL_EPOCHS = "early", "diverged", "all epochs"


@dataclass(frozen=True)
class PropertyTraining:
    """How training went.

    Attributes
    ----------
    epochs
        Epochs run.
    train_loss, validation_error
        After each epoch, (epochs,). The first is what is made small: the mean squared error of the normalised target,
        or the negative log-likelihood. The second is what the best epoch is chosen by, as the authors do: the mean
        absolute error of the normalised target, which a single odd frame does not decide, or the negative
        log-likelihood; empty where no frame was held out.
    best_epoch
        Counted from 1: the epoch whose weights were kept.
    ended
        ``all epochs``; ``early``, as the validation error fell no more; ``diverged``, as a loss was no number.
    validation_frames
        Indices of the frames held out.
    """

    epochs: int
    train_loss: tuple[float, ...]
    validation_error: tuple[float, ...]
    best_epoch: int
    ended: str
    validation_frames: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """What is learned from, F frames with N atoms in all.

    Attributes
    ----------
    graph
        Of all frames.
    features
        (N, D) of the nodes; without those of an encoder that is trained too.
    target
        (F,) normalised.
    surroundings
        What such an encoder sees; None: there is none.
    """

    graph: CrystalGraph
    features: np.ndarray
    target: np.ndarray
    surroundings: VectorGraph | None = None

    def batch(self, frames: np.ndarray, network: Network, device: str) -> Batch:
        """Return some frames, (f,) indices, as the network takes them."""
        features = self.features[self.graph.nodes_of(frames)]
        batch = batch_of(self.graph.part(frames), features, network.sizes.edge_size, device)
        if not isinstance(network, TunedNetwork):
            return batch
        seen = self.surroundings
        assert seen is not None
        parts = in_parts(seen.atoms, seen.crowd, frames)
        return replace(batch, surroundings=[network.encoder.batch_of(seen.part(part)) for part in parts])


def split(frames: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames to learn from and those held out, ascending; none is held out of fewer than five."""
    held_out = 0 if frames < _LEAST_HELD_OUT_OF or share == 0 else min(frames - 1, max(1, round(share * frames)))
    order = np.random.default_rng([seed, 1]).permutation(frames)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def train(
    network: Network,
    examples: Examples,
    training: np.ndarray,
    validation: np.ndarray,
    *,
    optimiser: str,
    learning_rate: float,
    encoder_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    seed: int,
    device: str,
    resume: Checkpoint | None = None,
    keep: Callable[[PropertyState], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> PropertyTraining:
    """Fit the weights; those with the least validation error are kept.

    Parameters
    ----------
    network
        On the device; changed in place.
    examples
        All frames; the target of a classifier is 0 or 1.
    training, validation
        Indices of frames; the second may be empty: then the weights after the last epoch are kept.
    optimiser
        ``adam``, or ``sgd`` with a momentum of 0.9.
    learning_rate, encoder_rate
        The second is the share of the first that the weights of an encoder are moved by, where one is trained too.
    batch_size, epochs
        Batches are frames, in an order drawn anew each epoch.
    patience
        Epochs without a better validation error before training stops.
    seed
        Of the batches and of dropout; it sets torch's own state.
    device
        Torch device.
    resume
        What :meth:`PropertyState.pack` said after some epoch: training goes on from there to the same end.
    keep
        Called with the state after each epoch.
    progress
        Called with epochs done, epochs in all, and the losses in words.

    Raises
    ------
    DataError
        The loss was no number before one epoch was done: there are no good weights to keep. Later, training stops and
        keeps the last good ones. Or what is to be resumed does not fit the network.
    """
    state = PropertyState(network, _optimiser(optimiser, network, learning_rate, encoder_rate), weights_of(network))
    if resume is not None:
        state.restore(resume)
    rng = np.random.default_rng([seed, 2])
    calibration = rng.permutation(training)[: _CALIBRATION_BATCHES * batch_size]
    for _ in range(state.epochs):
        rng.permutation(training)  # of epochs that are done
    ended = ALL_EPOCHS
    while state.epochs < epochs and state.epochs - state.best_epoch < patience:
        epoch = state.epochs + 1
        _set_rate(state.optimiser, learning_rate * (1.0 if epoch <= _DROP_AT * epochs else _DROP_BY))
        torch.manual_seed(int(np.random.default_rng([seed, 3, epoch]).integers(2**63)))
        loss = _run(network, examples, rng.permutation(training), batch_size, device, state.optimiser)
        if len(validation):
            renew_statistics(network, _batches(network, examples, calibration, batch_size, device))
            with torch.no_grad():
                check = _run(network, examples, validation, batch_size, device, None)
        else:
            check = loss if _is_finite(network) else math.nan
        if not math.isfinite(loss) or not math.isfinite(check):
            if state.best_epoch == 0:
                raise DataError("training diverged in its first epoch: a smaller --learning-rate may help")
            ended = DIVERGED
            break
        state.end_epoch(loss, check if len(validation) else None)
        _tell(progress, epoch, epochs, state.train_loss, state.validation_error)
        if keep is not None:
            keep(state)
    if ended == ALL_EPOCHS and state.epochs - state.best_epoch >= patience:
        ended = STOPPED_EARLY
    network.load_state_dict(state.best_weights)
    if not len(validation):
        renew_statistics(network, _batches(network, examples, calibration, batch_size, device))
    network.eval()
    return PropertyTraining(
        state.epochs,
        tuple(state.train_loss),
        tuple(state.validation_error),
        state.best_epoch,
        ended,
        tuple(int(i) for i in validation),
    )


def _optimiser(name: str, network: Network, learning_rate: float, encoder_rate: float) -> torch.optim.Optimizer:
    parts: list[tuple[nn.Module, float]] = [(network, 1.0)]
    if isinstance(network, TunedNetwork):
        parts = [(network.network, 1.0), (network.encoder, encoder_rate)]
    groups = [{"params": list(part.parameters()), "share": share} for part, share in parts]
    if name == "adam":
        return torch.optim.Adam(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=_MOMENTUM)


def _set_rate(steps: torch.optim.Optimizer, rate: float) -> None:
    for group in steps.param_groups:
        group["lr"] = rate * group["share"]


def _is_finite(network: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def _tell(
    progress: Callable[[int, int, str], None] | None,
    epoch: int,
    epochs: int,
    losses: list[float],
    held_out: list[float],
) -> None:
    if progress is not None:
        words = f"training loss {losses[-1]:.4g}" + (f", validation error {held_out[-1]:.4g}" if held_out else "")
        progress(epoch, epochs, words)


def _run(
    network: Network,
    examples: Examples,
    frames: np.ndarray,
    batch_size: int,
    device: str,
    steps: torch.optim.Optimizer | None,
) -> float:
    """Return the mean loss over some frames, taking a step after each batch; without an optimiser, the mean error."""
    network.train(steps is not None)
    total = 0.0
    parts = _parts(frames, batch_size)
    for some, batch in zip(parts, _batches(network, examples, frames, batch_size, device), strict=True):
        wanted = torch.from_numpy(examples.target[some]).to(device)
        out = network(batch)
        if network.sizes.task == CLASSIFICATION:
            loss = functional.nll_loss(out, wanted.to(torch.int64))
        else:
            measure = functional.l1_loss if steps is None else functional.mse_loss
            loss = measure(out[:, 0], wanted.to(torch.float32))
        value = float(loss.item())
        total += value * len(wanted)
        if not math.isfinite(value):
            return value
        if steps is not None:
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
    return total / len(frames)


def _batches(network: Network, examples: Examples, frames: np.ndarray, size: int, device: str) -> Iterator[Batch]:
    for some in _parts(frames, size):
        yield examples.batch(some, network, device)


def _parts(frames: np.ndarray, size: int) -> list[np.ndarray]:
    """Return frames in parts of at most `size`, alike in size.

    A last part of a few frames would weigh as much as a full one: as a step, and in the statistics of the batch norms.
    """
    return np.array_split(frames, max(1, math.ceil(len(frames) / size)))
