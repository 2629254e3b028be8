"""Layers of the edge-attention graph autoencoder, on a sparse graph from environments to anchors.

Source: Sun, Vita, Samanta, Lordi, arXiv:2509.12358; :mod:`mlff_curate.meagraph.published` has the paper's layers to the
letter. What this version does differently, and why, is in the docstrings and in docs/method.md.
Shapes: N environments, A anchors, k edges per environment, C channels, K kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    Initial = Callable[[int, int], torch.Tensor]

_SOFT = 1e-6
"""Added to squared lengths, so that the gradient stays finite at length zero."""
SLOPE = 0.2
"""Of the leaky ReLU below zero."""


@dataclass(frozen=True)
class Edges:
    """The k edges of each of N environments to anchors.

    Attributes
    ----------
    index
        (N, k) int64, the anchor at the other end.
    mask
        (N, k) bool, False for an edge that is padding or was pooled away.
    """

    index: torch.Tensor
    mask: torch.Tensor

    def rows(self, rows: torch.Tensor) -> Edges:
        """Return the edges of some environments."""
        return Edges(self.index[rows], self.mask[rows])


class AttentionKernel(nn.Module):
    """One linear map and the attention of its image.

    ``h = X W``, ``a_ij = exp(-beta |h_i - h_j| / s)``, ``w_i = 1 - max_j a_ij``,
    ``m_i = (w_i h_i + sum_j a_ij h_j) / (w_i + sum_j a_ij)``.

    w is the self-loop: an anchor finds itself among the anchors, at a = 1, and needs no other; an environment far from
    all anchors has only itself and stays where it is. The paper divides columns of h by their norm over all
    environments of the call; here the input is in noise units already, and s, the median edge length, is the anchors':
    the attention of an environment does not depend on the company in which it is embedded, and beta = 1 means the same
    at any size.

    Parameters
    ----------
    weight
        (C_in, C_out) initial map.
    """

    edge_scale: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.beta = nn.Parameter(torch.ones(()))
        self.register_buffer("edge_scale", torch.ones(()))

    def calibrate(self, anchors: torch.Tensor, edges: Edges) -> None:
        """Take the edge scale from the anchors, (A, C_in), and their edges among themselves."""
        with torch.no_grad():
            h = anchors @ self.weight
            length = (h[edges.index] - h[:, None]).pow(2).sum(dim=-1).sqrt()
            length = length[edges.mask & (length > 0)]
            self.edge_scale.fill_(float(length.median()) if len(length) else 1.0)

    def forward(
        self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return h (N, C_out), its attention-weighted neighbour mean (N, C_out) and the attention (N, k)."""
        h = x @ self.weight
        # embedding() is indexing whose gradient adds up fast: rows[index] takes three times as long
        neighbours = nn.functional.embedding(edges.index, anchors @ self.weight)  # (N, k, C_out)
        length = ((h[:, None] - neighbours).pow(2).sum(dim=2) + _SOFT).sqrt()
        attention = torch.exp(-self.beta * length / self.edge_scale) * edges.mask
        alone = 1.0 - attention.amax(dim=1, keepdim=True)
        total = alone + attention.sum(dim=1, keepdim=True)
        return h, (alone * h + torch.bmm(attention[:, None], neighbours)[:, 0]) / total, attention


class MultiKernelLayer(nn.Module):
    """Encoder layer: K attention kernels, their mean, one linear map, leaky ReLU.

    The paper adds the neighbour mean to h and divides the columns by their norm; here the two are averaged, and one
    scale for all columns keeps the total variance that of the layer's input, so that distances stay in noise units.

    Parameters
    ----------
    c_in, c_out
        Channels.
    kernels
        K.
    initial_kernel, initial_mix
        ``initial(rows, columns)`` returns an initial matrix.
    """

    scale: torch.Tensor

    def __init__(self, c_in: int, c_out: int, kernels: int, initial_kernel: Initial, initial_mix: Initial) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(AttentionKernel(initial_kernel(c_in, c_out)) for _ in range(kernels))
        self.mix = nn.Parameter(initial_mix(c_out, c_out))
        self.register_buffer("scale", torch.ones(()))

    def calibrate(self, anchors: torch.Tensor, edges: Edges, variance: float) -> None:
        """Take all scales from the anchors, (A, c_in), whose states shall have this total variance."""
        for kernel in self.kernels:
            cast("AttentionKernel", kernel).calibrate(anchors, edges)
        with torch.no_grad():
            self.scale.fill_(1.0)
            out, _ = self(anchors, anchors, edges)
            own = float(out.var(dim=0, unbiased=False).sum())
            self.scale.fill_((own / variance) ** 0.5 if own > 0 and variance > 0 else 1.0)

    def forward(self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new state (N, c_out) and the attention averaged over kernels (N, k)."""
        states, attentions = [], []
        for kernel in self.kernels:
            h, mean, attention = kernel(x, anchors, edges)
            states.append(nn.functional.leaky_relu(0.5 * (h + mean), SLOPE))
            attentions.append(attention)
        state = torch.stack(states).mean(dim=0) @ self.mix
        return nn.functional.leaky_relu(state, SLOPE) / self.scale, torch.stack(attentions).mean(dim=0)


class DecoderLayer(nn.Module):
    """Decoder layer: one kernel, on the edges that the encoder's mirror layer saw.

    Parameters
    ----------
    c_in, c_out
        Channels.
    initial_kernel, initial_mix
        ``initial(rows, columns)`` returns an initial matrix.
    last
        Linear, so that the reconstruction can have any sign and size.
    """

    def __init__(self, c_in: int, c_out: int, initial_kernel: Initial, initial_mix: Initial, *, last: bool) -> None:
        super().__init__()
        self.kernel = AttentionKernel(initial_kernel(c_in, c_out))
        self.mix = nn.Parameter(initial_mix(c_out, c_out))
        self.last = last

    def calibrate(self, anchors: torch.Tensor, edges: Edges) -> None:
        """Take all scales from the anchors, (A, c_in)."""
        self.kernel.calibrate(anchors, edges)

    def forward(self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return the new state (N, c_out)."""
        h, mean, _ = self.kernel(x, anchors, edges)
        out = mean @ self.mix + h
        return out if self.last else nn.functional.leaky_relu(out, SLOPE)


def pool_edges(edges: Edges, attention: torch.Tensor, rate: float) -> Edges:
    """Drop edges whose attention, min-max scaled over all edges, is not above the rate; the nearest edge stays.

    The paper re-adds self-loops; here the first edge, to the nearest anchor, stands for the self-loop.
    """
    there = attention[edges.mask]
    if there.numel() == 0:
        return edges
    low, high = there.min(), there.max()
    kept = edges.mask & ((attention - low + 1e-5) / (high - low + 1e-5) > rate)
    kept[:, 0] = edges.mask[:, 0]
    return Edges(edges.index, kept)
