"""The autoencoder: encoder, decoder and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.layers import DecoderLayer, Edges, MultiKernelLayer, pool_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEARNING_RATE = 3e-3
_REFRESH = 10
"""Epochs between searches for new edges: the states move slowly, the search is the dearest part of an epoch."""
_PATIENCE = 3
"""Refreshes without a better held-out reconstruction before training stops."""


@dataclass(frozen=True)
class TrainingRecord:
    """How training went.

    Attributes
    ----------
    epochs
        Epochs run.
    train_loss, held_out_loss
        Mean squared error of the reconstruction over the input's variance, (epochs,) and one per refresh. The
        held-out environments are none of the anchors; without any, the anchors stand in.
    best
        Held-out loss of the weights kept.
    """

    epochs: int
    train_loss: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    best: float


class AutoEncoder(nn.Module):
    """Multi-kernel encoder and mirrored decoder between environments and anchors (arXiv:2509.12358).

    Edges are searched anew in the state before each layer, so that environments that the layer before drew together
    talk to each other; the paper keeps the edges that its pooling left.

    Parameters
    ----------
    channels
        (D, C_1, ..., C_L): input size and the size after each layer.
    kernels
        K.
    generator
        Source of the initial weights.
    """

    def __init__(self, channels: Sequence[int], kernels: int, generator: torch.Generator) -> None:
        super().__init__()

        def initial(rows: int, columns: int) -> torch.Tensor:
            # Orthogonal maps keep distances: training starts from the geometry of the descriptor, not from noise.
            tall = torch.randn(max(rows, columns), min(rows, columns), generator=generator)
            q = torch.linalg.qr(tall)[0]
            out: torch.Tensor = q if rows >= columns else q.T.contiguous()
            return out

        pairs = list(pairwise(channels))
        self.encoder = nn.ModuleList(MultiKernelLayer(a, b, kernels, initial) for a, b in pairs)
        self.decoder = nn.ModuleList(
            DecoderLayer(b, a, initial, last=i == len(pairs) - 1) for i, (a, b) in enumerate(reversed(pairs))
        )

    @property
    def encoder_layers(self) -> list[MultiKernelLayer]:
        """The encoder's layers, first to last."""
        return cast("list[MultiKernelLayer]", list(self.encoder))

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        """The decoder's layers, first to last: the mirror of the encoder's last to first."""
        return cast("list[DecoderLayer]", list(self.decoder))

    def reconstruct(
        self,
        layers: Sequence[Edges],
        x: torch.Tensor,
        anchor_states: Sequence[torch.Tensor] | None,
        rates: Sequence[float],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Encode, pool and decode.

        Parameters
        ----------
        layers
            The edges at each encoder layer.
        x
            (N, D) environments.
        anchor_states
            What the anchors are at each stage of encoder and decoder; None if ``x`` are the anchors themselves.
        rates
            Pooling rate of each layer; an edge with a scaled attention of at most the rate is not decoded over.

        Returns
        -------
        reconstruction, stages
            (N, D), and the state at every stage: the input, after each encoder and each decoder layer.
        """
        stages, pooled, state = [x], [], x
        for edges, layer, rate in zip(layers, self.encoder_layers, rates, strict=True):
            anchors = state if anchor_states is None else anchor_states[len(stages) - 1]
            state, attention = layer(state, anchors, edges)
            with torch.no_grad():
                low, high = float(attention.min()), float(attention.max())
            pooled.append(pool_edges(edges, attention.detach(), rate, low, high))
            stages.append(state)
        for edges, decoder in zip(reversed(pooled), self.decoder_layers, strict=True):
            anchors = state if anchor_states is None else anchor_states[len(stages) - 1]
            state = decoder(state, anchors, edges)
            stages.append(state)
        return state, stages


def search_edges(
    state: torch.Tensor, species: np.ndarray, anchors: torch.Tensor, anchor_species: np.ndarray, k: int
) -> Edges:
    """Find the k nearest anchors of each state, (N, C); see :func:`nearest_anchors`."""
    near = nearest_anchors(state.detach().cpu().numpy(), species, anchors.detach().cpu().numpy(), anchor_species, k)
    return Edges(
        torch.from_numpy(near.index).to(state.device), torch.from_numpy(np.isfinite(near.distance)).to(state.device)
    )


def train(
    network: AutoEncoder,
    anchors: torch.Tensor,
    anchor_species: np.ndarray,
    held_out: torch.Tensor,
    held_out_species: np.ndarray,
    *,
    neighbours: int,
    epochs: int,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrainingRecord:
    """Fit the weights to reconstruct the anchors from their neighbourhood, and calibrate the scales.

    The paper's recipe: mean squared error, a pooling rate drawn from U(0, 1) for each layer and step.

    Parameters
    ----------
    network
        Changed in place; the weights with the best held-out reconstruction are kept.
    anchors, anchor_species
        (A, D) and (A,).
    held_out, held_out_species
        (V, D) and (V,) environments that are no anchors; V may be 0.
    neighbours
        k.
    epochs
        At most so many. Not seconds: a clock would make the result depend on the machine's load.
    seed
        Source of the random rates.
    progress
        Called with epochs done, epochs in all, and the losses in words.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    rng = np.random.default_rng(seed)
    variance = float(anchors.var(dim=0, unbiased=False).sum() / anchors.shape[1]) or 1.0
    losses: list[float] = []
    held_out_losses: list[float] = []
    best, best_weights, since_best = np.inf, _weights(network), 0
    layers: list[Edges] = []
    for epoch in range(epochs + 1):
        if epoch % _REFRESH == 0 or epoch == epochs:
            layers, states = calibrate(network, anchors, anchor_species, neighbours)
            loss = _held_out_loss(network, layers, states, anchor_species, held_out, held_out_species, neighbours)
            held_out_losses.append(loss / variance)
            if loss < best * (1 - 1e-3):
                best, best_weights, since_best = loss, _weights(network), 0
            else:
                since_best += 1
            if progress is not None:
                progress(epoch, epochs, f"held-out loss {loss / variance:.4f}")
            if since_best >= _PATIENCE or epoch == epochs:
                break
        rates = rng.random(len(layers))
        optimiser.zero_grad()
        out, _ = network.reconstruct(layers, anchors, None, rates.tolist())
        objective = (out - anchors).pow(2).mean()
        objective.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(objective.item() / variance)
    network.load_state_dict(best_weights)
    return TrainingRecord(len(losses), tuple(losses), tuple(held_out_losses), float(best) / variance)


def calibrate(
    network: AutoEncoder, anchors: torch.Tensor, anchor_species: np.ndarray, k: int
) -> tuple[list[Edges], list[torch.Tensor]]:
    """Set every scale of the network from the anchors.

    Returns
    -------
    layers, states
        The anchors' edges at each encoder layer, and their states: the input and after each encoder layer.
    """
    layers, states = [], [anchors]
    with torch.no_grad():
        for layer in network.encoder_layers:
            edges = search_edges(states[-1], anchor_species, states[-1], anchor_species, k)
            layer.calibrate(states[-1], edges)
            layers.append(edges)
            states.append(layer(states[-1], states[-1], edges)[0])
        state = states[-1]
        for edges, decoder in zip(reversed(layers), network.decoder_layers, strict=True):
            decoder.calibrate(state, edges)
            state = decoder(state, state, edges)
    return layers, states


def _held_out_loss(
    network: AutoEncoder,
    layers: Sequence[Edges],
    states: Sequence[torch.Tensor],
    anchor_species: np.ndarray,
    held_out: torch.Tensor,
    held_out_species: np.ndarray,
    k: int,
) -> float:
    rates = [-1.0] * len(layers)  # below every scaled attention: nothing is pooled away
    with torch.no_grad():
        out, stages = network.reconstruct(layers, states[0], None, rates)
        if len(held_out) == 0:
            return float((out - states[0]).pow(2).mean())
        own_layers, state = [], held_out
        for i, layer in enumerate(network.encoder_layers):
            edges = search_edges(state, held_out_species, states[i], anchor_species, k)
            own_layers.append(edges)
            state = layer(state, states[i], edges)[0]
        out, _ = network.reconstruct(own_layers, held_out, stages, rates)
        return float((out - held_out).pow(2).mean())


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
