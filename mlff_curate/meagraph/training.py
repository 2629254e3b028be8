"""How the autoencoder is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.meagraph.layers import Edges
from mlff_curate.meagraph.network import AutoEncoder, calibrate

if TYPE_CHECKING:
    from collections.abc import Callable

_LEARNING_RATE = 1e-3
_BATCH = 256
_PATIENCE = 3
"""Epochs without a better held-out reconstruction before training stops."""
_BETTER = 1e-3
"""Relative fall of the held-out loss that counts."""
_TARGETS = 4
"""Neighbours drawn as targets per environment and step."""
_ENCODED = 4096


@dataclass(frozen=True)
class TrainingRecord:
    """How training went.

    Attributes
    ----------
    epochs
        Epochs run.
    train_loss, held_out_loss
        Mean squared error of the reconstruction, (epochs,) and (epochs + 1,), the first before training. In units of
        the noise for the model with anchors; over the input's variance for the published one, whose recipe holds
        nothing out: there it is the training data's loss at rate 0.
    best
        Held-out loss of the weights kept.
    """

    epochs: int
    train_loss: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    best: float


def train(
    network: AutoEncoder,
    anchors: torch.Tensor,
    anchor_species: np.ndarray,
    X: torch.Tensor,
    species: np.ndarray,
    held_out: torch.Tensor,
    held_out_species: np.ndarray,
    *,
    neighbours: int,
    epochs: int,
    rate: float | None,
    pooling: bool = True,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrainingRecord:
    """Fit the weights to reconstruct environments from their neighbourhood, and calibrate the scales.

    As in the paper: mean squared error, a pooling rate drawn from U(0, 1) for each layer and step. Unlike it: the
    target is not the environment itself but neighbours of it, drawn anew at each step. They show the same site with
    other thermal noise, and the best guess of a noisy copy is the noiseless original (Lehtinen et al., Noise2Noise,
    ICML 2018, sect. 2): what can be learned is what neighbours share. A loss of 1 is noise alone. Mini-batches attend
    to anchors whose states are refreshed once per epoch.

    Parameters
    ----------
    network
        Changed in place; the weights with the best held-out reconstruction are kept.
    anchors, anchor_species
        (A, d) in noise units, and (A,).
    X, species
        (M, d) and (M,) environments to learn from; anchors may be among them.
    held_out, held_out_species
        (V, d) and (V,) environments that are neither; V may be 0, then the anchors stand in.
    neighbours
        k.
    epochs
        At most so many. Not seconds: a clock would make the result depend on the machine's load.
    rate
        Pooling rate while training, or None for a random one.
    pooling
        Whether edges are pooled while training.
    seed
        Source of batches, targets and rates.
    progress
        Called with epochs done, epochs in all, and the losses in words.
    """
    if len(held_out) == 0:
        held_out, held_out_species = anchors, anchor_species
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    rng = np.random.default_rng([seed, 3])
    losses: list[float] = []
    held_out_losses: list[float] = []
    best, best_weights, since_best = np.inf, _weights(network), 0
    for epoch in range(epochs + 1):
        stages = calibrate(network, anchors, anchor_species, neighbours)
        loss = _held_out_loss(network, stages, anchor_species, held_out, held_out_species, neighbours)
        held_out_losses.append(loss)
        if loss < best * (1 - _BETTER):
            best, best_weights, since_best = loss, _weights(network), 0
        else:
            since_best += 1
        if progress is not None:
            shown = f"training loss {losses[-1]:.3f}, " if losses else ""
            progress(epoch, epochs, f"{shown}held-out loss {loss:.3f}")
        if since_best >= _PATIENCE or epoch == epochs:
            break
        layers = _edges(network, X, species, stages, anchor_species, neighbours)
        order = torch.from_numpy(rng.permutation(len(X))).to(X.device)
        total = 0.0
        for first in range(0, len(X), _BATCH):
            rows = order[first : first + _BATCH]
            edges = [layer.rows(rows) for layer in layers]
            rates = (rng.random(len(edges)) if rate is None else np.full(len(edges), rate)).tolist()
            target, there = _targets(X[rows], edges[0], anchors, rng)
            out = network.reconstruct(X[rows], edges, stages, rates if pooling else None)
            objective = ((out[:, None] - target).pow(2).mean(dim=2) * there).sum() / there.sum().clamp_min(1)
            optimiser.zero_grad()
            objective.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += objective.item() * len(rows)
        losses.append(total / len(X))
    network.load_state_dict(best_weights)
    return TrainingRecord(len(losses), tuple(losses), tuple(held_out_losses), float(best))


def _edges(
    network: AutoEncoder,
    X: torch.Tensor,
    species: np.ndarray,
    stages: list[torch.Tensor],
    anchor_species: np.ndarray,
    k: int,
) -> list[Edges]:
    """Return the edges of all environments at each encoder layer; done in parts, for the memory's sake."""
    parts = []
    with torch.no_grad():
        for first in range(0, len(X), _ENCODED):
            part = slice(first, first + _ENCODED)
            parts.append(network.encode(X[part], species[part], stages, anchor_species, k)[1])
    return [
        Edges(torch.cat([e.index for e in layer]), torch.cat([e.mask for e in layer]))
        for layer in zip(*parts, strict=True)
    ]


def _targets(
    x: torch.Tensor, edges: Edges, anchors: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw neighbours of each environment, never itself: (N, t, d), and (N, t) whether there was one."""
    picks = torch.from_numpy(rng.integers(edges.index.shape[1], size=(len(x), _TARGETS))).to(x.device)
    target = anchors[edges.index.gather(1, picks)]
    there = edges.mask.gather(1, picks) & (target != x[:, None]).any(dim=2)
    return target, there


def _held_out_loss(
    network: AutoEncoder,
    stages: list[torch.Tensor],
    anchor_species: np.ndarray,
    held_out: torch.Tensor,
    held_out_species: np.ndarray,
    k: int,
) -> float:
    with torch.no_grad():
        layers = network.encode(held_out, held_out_species, stages, anchor_species, k)[1]
        out = network.reconstruct(held_out, layers, stages, None)
        target = stages[0][layers[0].index]
        there = layers[0].mask & (target != held_out[:, None]).any(dim=2)
        error = (out[:, None] - target).pow(2).mean(dim=2)
        return float((error * there).sum() / there.sum().clamp_min(1))


def _weights(network: AutoEncoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
