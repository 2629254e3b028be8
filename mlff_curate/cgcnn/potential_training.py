"""How a potential is trained."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.cgcnn.potential_terms import PotentialLabels, Wanted, Weights, batch_of, loss_of, terms_of
from mlff_curate.cgcnn.training import ALL_EPOCHS, DIVERGED, STOPPED_EARLY
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.graphs.vectors import VectorGraph

_BEND = 0.1
"""Residual, in units of the root mean square force, from which on the loss is the absolute value."""

_WARM_UP = 100
"""Steps over which the learning rate rises to its own."""

_LAST_RATE = 0.01
"""Share of the learning rate that is left at the end."""

_LONGEST_STEP = 10.0
"""Norm of the gradient that it is cut to."""

_MEMORY = 0.995
"""Of the moving average of the weights, which is what is kept."""

_ATOMS_AT_ONCE = 1024


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


@dataclass(frozen=True, eq=False)
class Material:
    """What is learned from: F frames.

    Attributes
    ----------
    graph
        All frames.
    labels
        Theirs.
    level
        (F,) energy of each frame's free elements, eV.
    scale
        eV, the network's unit of energy.
    """

    graph: VectorGraph
    labels: PotentialLabels
    level: np.ndarray
    scale: float

    def wanted(self, frames: np.ndarray, dtype: torch.dtype, device: str) -> Wanted:
        """Return the labels of some frames in the network's unit."""
        atoms = self.graph.atoms[frames]
        energy = (self.labels.energy[frames] - self.level[frames]) / atoms / self.scale
        forces = self.labels.forces[self.graph.nodes_of(frames)] / self.scale
        virial = self.labels.virial[frames] / atoms[:, None] / self.scale
        return Wanted(*(torch.from_numpy(values).to(device, dtype) for values in (energy, forces, virial)))


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
    device: str,
    progress: Callable[[int, int, str], None] | None = None,
) -> PotentialTraining:
    """Fit the weights; the moving average of those with the least validation error is kept.

    Parameters
    ----------
    network
        On the device; changed in place.
    material
        Frames and labels.
    training, validation
        Indices of frames; the second may be empty: then the weights after the last epoch are kept.
    weights
        Of the terms of the loss.
    learning_rate
        Of Adam; rises over the first steps and falls along a cosine.
    batch_size, epochs
        Frames per step, in an order drawn anew each epoch.
    patience
        Epochs without a smaller validation error before training stops.
    seed
        Of the batches.
    dtype, device
        Of the computation.
    progress
        Called with epochs done, epochs in all, and the errors in words.

    Raises
    ------
    DataError
        The loss was no number before one epoch was done. Later, training stops and keeps the last good weights.
    """
    adam = torch.optim.Adam(network.parameters(), lr=learning_rate, amsgrad=True)
    average = copy.deepcopy(network)
    per_epoch = math.ceil(len(training) / batch_size)
    losses: list[float] = []
    energy_mae: list[float] = []
    force_mae: list[float] = []
    best, best_epoch, best_weights = math.inf, 0, copy.deepcopy(average.state_dict())
    ended = ALL_EPOCHS
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng([seed, 2, epoch]).permutation(training)
        total = 0.0
        for k, start in enumerate(range(0, len(order), batch_size)):
            step = (epoch - 1) * per_epoch + k
            for group in adam.param_groups:
                group["lr"] = learning_rate * _share_of_rate(step, epochs * per_epoch)
            value = _step(network, adam, material, order[start : start + batch_size], weights, dtype, device)
            total += value
            if not math.isfinite(value):
                break
            _follow(average, network, min(_MEMORY, (1 + step) / (10 + step)))
        errors = _errors(average, material, validation, dtype, device)
        check = sum(x / material.scale for x in errors if math.isfinite(x))
        if not math.isfinite(total) or (len(validation) and not math.isfinite(sum(np.nan_to_num(errors)))):
            if best_epoch == 0:
                raise DataError("training diverged in its first epoch: a smaller --learning-rate may help")
            ended = DIVERGED
            break
        losses.append(total / per_epoch)
        energy_mae.append(errors[0])
        force_mae.append(errors[1])
        if progress is not None:
            progress(epoch, epochs, _words(losses[-1], errors))
        if check < best or not len(validation):
            best, best_epoch, best_weights = check, epoch, copy.deepcopy(average.state_dict())
        if epoch - best_epoch >= patience:
            ended = STOPPED_EARLY
            break
    network.load_state_dict(best_weights)
    network.eval()
    return PotentialTraining(
        len(losses),
        tuple(losses),
        tuple(energy_mae),
        tuple(force_mae),
        best_epoch,
        ended,
        tuple(int(i) for i in validation),
    )


def _share_of_rate(step: int, steps: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    return min(1.0, (step + 1) / _WARM_UP) * (_LAST_RATE + (1 - _LAST_RATE) * falling)


def _step(
    network: PotentialNetwork,
    adam: torch.optim.Optimizer,
    material: Material,
    frames: np.ndarray,
    weights: Weights,
    dtype: torch.dtype,
    device: str,
) -> float:
    batch = batch_of(material.graph.part(frames), network.sizes.elements, dtype, device)
    loss = loss_of(
        terms_of(network, batch, training=True), batch, material.wanted(frames, dtype, device), weights, _BEND
    )
    value = float(loss.item())
    if math.isfinite(value):
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_STEP)
        adam.step()
    return value


def _follow(average: PotentialNetwork, network: PotentialNetwork, memory: float) -> None:
    with torch.no_grad():
        for mine, its in zip(average.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, 1 - memory)


def _errors(
    network: PotentialNetwork, material: Material, frames: np.ndarray, dtype: torch.dtype, device: str
) -> tuple[float, float]:
    """Return mean absolute errors of energies per atom, eV, and of force components, eV/Angstrom; nan: no labels."""
    energy: list[np.ndarray] = []
    forces: list[np.ndarray] = []
    graph, labels = material.graph, material.labels
    for some in in_parts(graph.atoms, frames):
        batch = batch_of(graph.part(some), network.sizes.elements, dtype, device)
        terms = terms_of(network, batch)
        atoms = graph.atoms[some]
        total = np.bincount(batch.frame.cpu().numpy(), terms.energies.cpu().double().numpy(), len(some))
        energy.append((total * material.scale + material.level[some] - labels.energy[some]) / atoms)
        found = terms.forces.cpu().double().numpy() * material.scale
        forces.append((found - labels.forces[graph.nodes_of(some)]).ravel())
    return _mean(energy), _mean(forces)


def in_parts(atoms: np.ndarray, frames: np.ndarray, at_once: int = _ATOMS_AT_ONCE) -> list[np.ndarray]:
    """Split frames into runs of at most so many atoms, one frame at least."""
    part = (np.cumsum(atoms[frames]) - 1) // at_once
    return np.split(frames, np.flatnonzero(np.diff(part)) + 1) if len(frames) else []


def _mean(parts: list[np.ndarray]) -> float:
    values = np.abs(np.concatenate(parts)) if parts else np.zeros(0)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _words(loss: float, errors: tuple[float, float]) -> str:
    words = [f"loss {loss:.4g}"]
    if math.isfinite(errors[0]):
        words.append(f"energies {1000 * errors[0]:.3g} meV/atom")
    if math.isfinite(errors[1]):
        words.append(f"forces {1000 * errors[1]:.4g} meV/A")
    return ", ".join(words)
