"""The multi-kernel edge-attention graph autoencoder exactly as published, on a sparse list of edges.

Source: Sun, Vita, Samanta, Lordi, arXiv:2509.12358. All environments of a call talk to each other: columns are scaled
over the call and similarities between its extremes, so that an environment's embedding depends on its company. The
inductive variant that `prune` uses is in :mod:`mlff_curate.meagraph.layers`.

Shapes: N environments, D descriptor components, C channels, K kernels, E edges. Edges are int64 (2, E): row 0 the
target i, row 1 the neighbour j, sorted by (i, j), both directions and the self-loops included. Nothing here has a unit
but the descriptor, and its scale cancels in the first column scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mlff_curate.graphs.similarity import components, nearest_anchors
from mlff_curate.meagraph.assignment import Assignment
from mlff_curate.meagraph.training import TrainingRecord
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIMILAR = 0.9
"""Scaled similarity above which two environments share an edge."""
_OFFSET = 1e-5
"""Added to both sides of every scaling between extremes, and the tolerance of the similarity's threshold."""
_LEARNING_RATE = 1e-3
"""Adam's default."""
_RECORDED = 10
"""Epochs between two records of the loss with all edges."""
_SCORED = 31
"""Nearest descriptors, itself among them, that the outlier score looks at."""
_CHUNK = 2**16
"""Edges whose (edges, C) rows are held at a time, or N if that is more."""


def unit_columns(x: torch.Tensor) -> torch.Tensor:
    """Divide the columns of x, (N, C), by their norm over the N rows; a zero column stays, with a zero gradient."""
    squared = x.pow(2).sum(dim=0)
    zero = squared == 0
    # The root is taken of 1 where the column is zero: a root's slope at zero is infinite, and 0 * inf is not a number.
    return torch.where(zero, 0.0, x / torch.where(zero, 1.0, squared).sqrt())


def similarity_graph(X: torch.Tensor, block: int = 1024) -> torch.Tensor:
    """Join the environments whose descriptors are near.

    ``s_ij = exp(-|x_i - x_j|)`` with x the descriptors with unit columns; s is scaled from its extremes over all pairs
    to (0, 1], and pairs above 0.9 get an edge. Self-loops are added. In float64 whatever X is, as the distances of many
    environments differ little and rounding would decide.

    Parameters
    ----------
    X
        (N, D) descriptors.
    block
        Rows whose distances to all N are held at a time: the memory is block x N, the time N x N x D.

    Returns
    -------
    edges
        (2, E).
    """
    x = unit_columns(X.detach().double())
    shortest, longest = torch.inf, 0.0
    for first in range(0, len(x) - 1, block):  # each pair once
        distance = _distances(x[first : first + block], x[first:])
        longest = max(longest, float(distance.max()))
        shortest = min(shortest, float(distance.fill_diagonal_(torch.inf).min()))
    high, low = float(np.exp(-shortest)), float(np.exp(-longest))
    found = []
    for first in range(0, len(x), block):
        similarity = _distances(x[first : first + block], x).neg_().exp_()
        scaled = similarity.sub_(low - _OFFSET).div_(high - low + _OFFSET)
        linked = (scaled > _SIMILAR - _OFFSET) & (scaled < 1.0 + _OFFSET)
        linked.diagonal(first).fill_(True)
        rows, columns = linked.nonzero(as_tuple=True)
        found.append(torch.stack([rows + first, columns]))
    return torch.cat(found, dim=1) if found else torch.zeros((2, 0), dtype=torch.int64, device=X.device)


def pool(edges: torch.Tensor, attention: torch.Tensor, rate: float, size: int) -> torch.Tensor:
    """Keep the edges that are attended to.

    Parameters
    ----------
    edges
        (2, E).
    attention
        (E,); scaled from its extremes over the edges that are no self-loops to (0, 1].
    rate
        An edge survives if its scaled attention is above; 0 keeps all, 1 none.
    size
        N: every environment gets its self-loop back.

    Returns
    -------
    edges
        (2, E').
    """
    between = edges[0] != edges[1]
    edges, attention = edges[:, between], attention.detach()[between]
    if attention.numel():
        low, high = attention.min(), attention.max()
        edges = edges[:, (attention - low + _OFFSET) / (high - low + _OFFSET) > rate]
    loops = torch.arange(size, device=edges.device)
    key = torch.cat([edges[0] * size + edges[1], loops * (size + 1)]).sort()[0]
    return torch.stack([key.div(size, rounding_mode="floor"), key.remainder(size)])


class PublishedKernel(nn.Module):
    """One linear map and the attention of its image.

    ``h = X W``, ``u = h`` with unit columns, ``a_ij = exp(-beta |u_i - u_j|)``,
    ``out_i = h_i + sum_j a_ij h_j / sum_j a_ij``.

    Parameters
    ----------
    weight
        (C_in, C_out) initial map.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.beta = nn.Parameter(weight.new_ones(()))

    def attention(self, x: torch.Tensor, edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return h (N, C_out), its attention-weighted neighbour mean (N, C_out) and the attention (E,).

        Every environment needs its self-loop among the edges.
        """
        h = x @ self.weight
        a = torch.exp(-self.beta * _lengths(unit_columns(h), edges))
        total = a.new_zeros(len(h)).index_add(0, edges[0], a)
        return h, _weighted_sums(h, edges, a) / total[:, None], a

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new state (N, C_out) and the attention (E,)."""
        h, mean, a = self.attention(x, edges)
        return h + mean, a


class PublishedLayer(nn.Module):
    """Encoder layer: K attention kernels, leaky ReLU, their mean, one linear map, leaky ReLU, unit columns.

    Parameters
    ----------
    c_in, c_out
        Channels.
    kernels
        K.
    generator
        Source of the initial weights.
    """

    def __init__(self, c_in: int, c_out: int, kernels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(PublishedKernel(_glorot(c_in, c_out, generator)) for _ in range(kernels))
        self.mix = nn.Parameter(_glorot(c_out, c_out, generator))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new state (N, c_out), its activation and unit columns included, and the mean attention (E,)."""
        states, attentions = zip(*(kernel(x, edges) for kernel in self.kernels), strict=True)
        state = torch.stack([nn.functional.leaky_relu(s) for s in states]).mean(dim=0) @ self.mix
        return unit_columns(nn.functional.leaky_relu(state)), torch.stack(attentions).mean(dim=0)


class PublishedDecoderLayer(nn.Module):
    """Decoder layer: one kernel, whose neighbour mean alone goes through a linear map before h is added.

    Parameters
    ----------
    c_in, c_out
        Channels.
    generator
        Source of the initial weights.
    last
        Linear, so that the reconstruction can have any sign and size; else leaky ReLU and unit columns follow.
    """

    def __init__(self, c_in: int, c_out: int, generator: torch.Generator, *, last: bool) -> None:
        super().__init__()
        self.kernel = PublishedKernel(_glorot(c_in, c_out, generator))
        self.mix = nn.Parameter(_glorot(c_out, c_out, generator))
        self.last = last

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Return the new state (N, c_out)."""
        h, mean, _ = self.kernel.attention(x, edges)
        out = mean @ self.mix + h
        return out if self.last else unit_columns(nn.functional.leaky_relu(out))


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of N environments; L layers.

    Attributes
    ----------
    states
        (N, C_l) after each layer.
    layers
        (2, E_l), the edges that each layer ran on.
    attentions
        (E_l,) over those edges.
    pooled
        (2, E'), the edges left after the last layer: their components are the clusters.
    """

    states: tuple[torch.Tensor, ...]
    layers: tuple[torch.Tensor, ...]
    attentions: tuple[torch.Tensor, ...]
    pooled: torch.Tensor


class PublishedAutoEncoder(nn.Module):
    """Multi-kernel encoder that pools edges as it goes, and mirrored single-kernel decoder.

    Parameters
    ----------
    channels
        (D, C_1, ..., C_L): input size and the size after each layer.
    kernels
        K.
    generator
        Source of the initial weights, Glorot uniform.
    """

    def __init__(self, channels: Sequence[int], kernels: int, generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.encoder = nn.ModuleList(PublishedLayer(a, b, kernels, generator) for a, b in pairs)
        self.decoder = nn.ModuleList(
            PublishedDecoderLayer(b, a, generator, last=i == len(pairs) - 1) for i, (a, b) in enumerate(reversed(pairs))
        )

    def encode(self, x: torch.Tensor, edges: torch.Tensor, rates: Sequence[float]) -> Encoded:
        """Run the encoder.

        Parameters
        ----------
        x
            (N, D) descriptors.
        edges
            (2, E), see :func:`similarity_graph`.
        rates
            Pooling rate after each layer.
        """
        states, layers, attentions = [], [], []
        for layer, rate in zip(self.encoder, rates, strict=True):
            x, attention = layer(x, edges)
            states.append(x)
            layers.append(edges)
            attentions.append(attention)
            edges = pool(edges, attention, rate, len(x))
        return Encoded(tuple(states), tuple(layers), tuple(attentions), edges)

    def forward(self, x: torch.Tensor, edges: torch.Tensor, rates: Sequence[float]) -> torch.Tensor:
        """Return the reconstruction (N, D); each decoder layer runs on the edges of its mirror layer."""
        encoded = self.encode(x, edges, rates)
        state = encoded.states[-1]
        for decoder, own in zip(self.decoder, reversed(encoded.layers), strict=True):
            state = decoder(state, own)
        return state


@dataclass(frozen=True)
class Published:
    """The fitted model.

    Attributes
    ----------
    network
        Computes in the type of its weights, float32 unless converted.
    rate
        Pooling rate after each layer.
    """

    network: PublishedAutoEncoder
    rate: float

    def assign(
        self, X: np.ndarray, species: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> Assignment:
        """Embed and cluster environments that are looked at together.

        Parameters
        ----------
        X
            (N, D) descriptors.
        species
            (N,) central elements, to which the published model is blind.
        progress
            Called once, at the end.

        Returns
        -------
        Assignment
            Clusters are connected components of the pooled edges, numbered by first environment; one without edges is
            a cluster of its own. The outlier score, which the paper does not have, is the distance of the k-th nearest
            descriptor over its median.
        """
        weight = next(self.network.parameters())
        if len(X) == 0:
            width = cast("PublishedLayer", self.network.encoder[-1]).mix.shape[0]
            return Assignment(np.zeros((0, width), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
        with one_thread(), torch.no_grad():
            x = torch.as_tensor(np.ascontiguousarray(X)).to(weight)
            rates = [self.rate] * len(self.network.encoder)
            edges = similarity_graph(torch.as_tensor(np.asarray(X))).to(x.device)
            encoded = self.network.encode(x, edges, rates)
        cluster = components(encoded.pooled.T.cpu().numpy(), len(X)).astype(np.int64)
        one = np.zeros_like(species)
        k = min(_SCORED, len(X))
        far = nearest_anchors(np.asarray(X, dtype=np.float32), one, np.asarray(X, dtype=np.float32), one, k).distance
        score = far[:, -1] / (float(np.median(far[:, -1])) or 1.0)
        if progress is not None:
            progress(len(X), len(X))
        return Assignment(encoded.states[-1].cpu().numpy(), cluster, score.astype(np.float32))


def fit_published(
    X: np.ndarray,
    *,
    kernels: int,
    channels: Sequence[int],
    rate: float,
    training_rate: float | None,
    epochs: int,
    seed: int,
    device: str,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[Published, TrainingRecord]:
    """Train on all environments at once to reconstruct them: mean squared error, Adam.

    The published recipe holds nothing out and keeps the last weights. The record's "held-out" losses are therefore
    those of the training data themselves, with pooling rate 0 (all edges), every 10 epochs and at the end; ``best`` is
    the last of them. As for the inductive network, all losses are over the input's variance.

    Parameters
    ----------
    X
        (N, D) descriptors; N at least 1.
    kernels
        K attention kernels per encoder layer.
    channels
        Size of the state after each encoder layer.
    rate
        Pooling rate of the fitted model.
    training_rate
        Pooling rate while training; None: drawn from U(0, 1) for each layer and step.
    epochs
        Training steps; 0 leaves the initial weights.
    seed
        Initial weights and pooling rates while training.
    device
        Torch device of training and embedding.
    progress
        Called with epochs done, epochs in all, and the loss in words.
    """
    network = PublishedAutoEncoder((X.shape[1], *channels), kernels, torch.Generator().manual_seed(seed)).to(device)
    x = torch.as_tensor(np.ascontiguousarray(X)).to(next(network.parameters()))
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    rng = np.random.default_rng(seed)
    variance = float(x.var(dim=0, unbiased=False).mean()) or 1.0
    losses: list[float] = []
    recorded: list[float] = []
    with one_thread():  # so that sums have the same bits on every machine
        edges = similarity_graph(torch.as_tensor(np.asarray(X))).to(x.device)
        for epoch in range(epochs + 1):
            if epoch % _RECORDED == 0 or epoch == epochs:
                with torch.no_grad():
                    out = network(x, edges, [0.0] * len(channels))
                recorded.append(float((out - x).pow(2).mean()) / variance)
                if progress is not None:
                    progress(epoch, epochs, f"loss {recorded[-1]:.4f}")
            if epoch == epochs:
                break
            rates = rng.random(len(channels)).tolist() if training_rate is None else [training_rate] * len(channels)
            optimiser.zero_grad()
            loss = (network(x, edges, rates) - x).pow(2).mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item() / variance)
    return Published(network, rate), TrainingRecord(epochs, tuple(losses), tuple(recorded), recorded[-1])


def _glorot(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    bound = float(np.sqrt(6.0 / (rows + columns)))
    return (2.0 * torch.rand(rows, columns, generator=generator) - 1.0) * bound


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # Not by |a|^2 + |b|^2 - 2 a.b, which cancels.
    distance: torch.Tensor = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return distance


def _chunk(size: int) -> int:
    return max(_CHUNK, size)  # each chunk's gradient is (N, C): with fewer edges than that, it would dominate


def _lengths(u: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return |u_i - u_j| of each edge, (E,), for u (N, C), with a zero gradient at length zero."""
    # The (E, C) differences are never held, and are computed again for the gradient.
    parts = [
        checkpoint(_some_lengths, u, part, use_reentrant=False, preserve_rng_state=False)
        for part in torch.split(edges, _chunk(len(u)), dim=1)
    ]
    return torch.cat(cast("list[torch.Tensor]", parts))


def _some_lengths(u: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    squared = (u.index_select(0, edges[0]) - u.index_select(0, edges[1])).pow(2).sum(dim=1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def _weighted_sums(h: torch.Tensor, edges: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Return sum_j a_ij h_j, (N, C), for h (N, C) and a (E,)."""
    total = torch.zeros_like(h)
    size = _chunk(len(h))
    for part, weights in zip(torch.split(edges, size, dim=1), torch.split(a, size), strict=True):
        total = total + checkpoint(_add_weighted, h, part, weights, use_reentrant=False, preserve_rng_state=False)
    return total


def _add_weighted(h: torch.Tensor, edges: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(h).index_add(0, edges[0], a[:, None] * h.index_select(0, edges[1]))
