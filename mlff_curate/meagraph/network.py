"""The autoencoder between environments and anchors: encoder, decoder and their scales."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.layers import SLOPE, DecoderLayer, Edges, MultiKernelLayer, pool_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.graphs.similarity import NearestAnchors

_SPARK = 0.05
"""Size of the random part of the initial maps: it makes the kernels differ, training does the rest."""


class AutoEncoder(nn.Module):
    """Multi-kernel encoder and mirrored decoder between environments and anchors (arXiv:2509.12358).

    Edges are searched anew in the state before each layer, so that environments that the layer before drew together
    talk to each other; the paper keeps the edges that its pooling left.

    The initial maps carry every input column z as the pair (z, -z), from which ``leaky_relu(z) - leaky_relu(-z) =
    (1 + slope) z`` gives it back: before training, a layer does nothing but average an environment with its
    neighbours, and distances are those of the input within a few per cent. Random initial maps would fold phases
    onto each other, differently for each seed (docs/benchmarks.md).

    Parameters
    ----------
    channels
        (d, C_1, ..., C_L): input size and the size after each layer. Columns of the input beyond half the smallest
        C are not carried by the initial maps.
    kernels
        K.
    generator
        Source of the random part of the initial weights.
    """

    def __init__(self, channels: Sequence[int], kernels: int, generator: torch.Generator) -> None:
        super().__init__()
        carried = min(channels[0], min(channels[1:]) // 2)

        def spark(rows: int, columns: int) -> torch.Tensor:
            small: torch.Tensor = torch.randn(rows, columns, generator=generator) * (_SPARK / rows**0.5)
            return small

        def read(rows: int, *, paired: bool) -> torch.Tensor:
            """Return (rows, carried), which takes z from rows of z, or of the pair leaky_relu(z), leaky_relu(-z)."""
            z = torch.eye(rows, carried)
            if paired:
                z = (z - torch.eye(rows).roll(carried, dims=0)[:, :carried]) / (1.0 + SLOPE)
            return z

        def write(z: torch.Tensor, columns: int, *, paired: bool) -> torch.Tensor:
            """Return (rows, columns), which gives the pair (z, -z), or z alone."""
            out = torch.zeros(len(z), columns)
            out[:, :carried] = z
            if paired:
                out[:, carried : 2 * carried] = -z
            return out + spark(len(z), columns)

        def first(rows: int, columns: int) -> torch.Tensor:
            return write(read(rows, paired=False), columns, paired=True)

        def inner(rows: int, columns: int) -> torch.Tensor:
            return write(read(rows, paired=True), columns, paired=True)

        def last(rows: int, columns: int) -> torch.Tensor:
            return write(read(rows, paired=True), columns, paired=False)

        pairs = list(pairwise(channels))
        self.encoder = nn.ModuleList(
            MultiKernelLayer(a, b, kernels, inner if i else first, inner) for i, (a, b) in enumerate(pairs)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(b, a, inner if i else last, spark, last=i == 0)
            for i, (a, b) in reversed(list(enumerate(pairs)))
        )

    @property
    def encoder_layers(self) -> list[MultiKernelLayer]:
        """The encoder's layers, first to last."""
        return cast("list[MultiKernelLayer]", list(self.encoder))

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        """The decoder's layers, first to last: the mirror of the encoder's last to first."""
        return cast("list[DecoderLayer]", list(self.decoder))

    def encode(
        self,
        x: torch.Tensor,
        species: np.ndarray,
        stages: Sequence[torch.Tensor],
        anchor_species: np.ndarray,
        k: int,
        first: Edges | None = None,
    ) -> tuple[torch.Tensor, list[Edges]]:
        """Return the embedding (N, C_L) of environments (N, d), and the edges that each layer found.

        ``stages`` are the anchors' states, see :func:`calibrate`; ``first`` are the first layer's edges, if known.
        """
        state = x
        layers: list[Edges] = []
        for layer, anchors in zip(self.encoder_layers, stages, strict=False):
            known = first if not layers else None
            edges = known or search_edges(state, species, anchors, anchor_species, k)
            layers.append(edges)
            state = layer(state, anchors, edges)[0]
        return state, layers

    def reconstruct(
        self, x: torch.Tensor, layers: Sequence[Edges], stages: Sequence[torch.Tensor], rates: Sequence[float] | None
    ) -> torch.Tensor:
        """Encode, pool and decode environments (N, d) with the edges given for each encoder layer.

        Parameters
        ----------
        x, layers
            Environments and their edges at each encoder layer.
        stages
            What the anchors are at each stage of encoder and decoder, see :func:`calibrate`.
        rates
            Pooling rate of each layer; an edge whose scaled attention is at most the rate is not decoded over. None:
            no pooling.
        """
        pooled, state = [], x
        for i, (edges, layer) in enumerate(zip(layers, self.encoder_layers, strict=True)):
            state, attention = layer(state, stages[i], edges)
            pooled.append(edges if rates is None else pool_edges(edges, attention.detach(), rates[i]))
        rest = stages[len(layers) :]
        for edges, decoder, anchors in zip(reversed(pooled), self.decoder_layers, rest, strict=False):
            state = decoder(state, anchors, edges)
        return state


def search_edges(
    state: torch.Tensor, species: np.ndarray, anchors: torch.Tensor, anchor_species: np.ndarray, k: int
) -> Edges:
    """Find the k nearest anchors of each state, (N, C); see :func:`nearest_anchors`."""
    near = nearest_anchors(state.detach().cpu().numpy(), species, anchors.detach().cpu().numpy(), anchor_species, k)
    return edges_to(near, state.device)


def edges_to(near: NearestAnchors, device: torch.device) -> Edges:
    """Return the edges to the anchors found."""
    return Edges(torch.from_numpy(near.index).to(device), torch.from_numpy(np.isfinite(near.distance)).to(device))


def calibrate(network: AutoEncoder, anchors: torch.Tensor, anchor_species: np.ndarray, k: int) -> list[torch.Tensor]:
    """Set every scale of the network from the anchors, (A, d), and return what they are at each stage.

    Returns
    -------
    stages
        The input, the states after each encoder layer, and after each decoder layer.
    """
    stages, layers = [anchors], []
    variance = float(anchors.var(dim=0, unbiased=False).sum())
    with torch.no_grad():
        for layer in network.encoder_layers:
            edges = search_edges(stages[-1], anchor_species, stages[-1], anchor_species, k)
            layer.calibrate(stages[-1], edges, variance)
            layers.append(edges)
            stages.append(layer(stages[-1], stages[-1], edges)[0])
        for edges, decoder in zip(reversed(layers), network.decoder_layers, strict=True):
            decoder.calibrate(stages[-1], edges)
            stages.append(decoder(stages[-1], stages[-1], edges))
    return stages
