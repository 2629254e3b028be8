"""Layers of the edge-attention graph autoencoder, on a sparse graph from environments to anchors.

Source: Sun, Vita, Samanta, Lordi, arXiv:2509.12358. Where this version departs from the paper, the docstring says so.
Shapes: N environments, A anchors, k edges per environment, C channels, K kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

_SOFT = 1e-6
"""Added to squared lengths, whose rounding is of this size, so that the gradient stays finite at length zero."""


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


class AttentionKernel(nn.Module):
    """One linear map and the attention of its image.

    ``h = X W``, ``u = h`` with unit root-mean-square columns, ``a_ij = exp(-beta |u_i - u_j| / s)``,
    ``m_i = sum_j a_ij h_j / sum_j a_ij``. The paper divides columns by their norm over all environments of the call;
    here the column scales and the median edge length s are those of the anchors, so that the attention of an
    environment does not depend on the company in which it is embedded, and beta = 1 means the same at any size.

    Parameters
    ----------
    weight
        (C_in, C_out) initial map.
    """

    column_scale: torch.Tensor
    edge_scale: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.beta = nn.Parameter(torch.ones(()))
        self.register_buffer("column_scale", torch.ones(weight.shape[1]))
        self.register_buffer("edge_scale", torch.ones(()))

    def calibrate(self, anchors: torch.Tensor, edges: Edges) -> None:
        """Take the column and edge scales from the anchors, (A, C_in), and their edges among themselves."""
        with torch.no_grad():
            h = anchors @ self.weight
            self.column_scale.copy_(h.pow(2).mean(dim=0).sqrt().clamp_min(1e-6))
            u = h / self.column_scale
            length = (u[edges.index] - u[:, None]).pow(2).sum(dim=-1).sqrt()
            length = length[edges.mask & (length > 0)]
            self.edge_scale.fill_(float(length.median()) if len(length) else 1.0)

    def forward(
        self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return h (N, C_out), its attention-weighted neighbour mean (N, C_out) and the attention (N, k)."""
        h = x @ self.weight
        u, anchor_u = h / self.column_scale, (anchors @ self.weight) / self.column_scale
        # The few anchors make one dense product cheaper than gathering (N, k, C_out) rows and adding up their gradients
        # (docs/benchmarks.md); what is learned from is still the k edges alone.
        squared = u.pow(2).sum(dim=1, keepdim=True) + anchor_u.pow(2).sum(dim=1) - 2.0 * u @ anchor_u.T
        length = (squared.gather(1, edges.index).clamp_min(0.0) + _SOFT).sqrt()
        logit = -self.beta * length / self.edge_scale
        share = torch.softmax(logit.masked_fill(~edges.mask, -torch.inf), dim=1)
        weights = torch.zeros_like(squared).scatter_add(1, edges.index, share)  # (N, A)
        return h, (weights @ anchor_u) * self.column_scale, torch.exp(logit) * edges.mask


class MultiKernelLayer(nn.Module):
    """Encoder layer: K attention kernels, their mean, one linear map, leaky ReLU, unit columns.

    The paper adds the neighbour mean to h; here they are averaged, which is the same but for a factor.

    Parameters
    ----------
    c_in, c_out
        Channels.
    kernels
        K.
    initial
        ``initial(rows, columns)`` returns an initial matrix.
    """

    column_scale: torch.Tensor

    def __init__(self, c_in: int, c_out: int, kernels: int, initial: Callable[[int, int], torch.Tensor]) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(AttentionKernel(initial(c_in, c_out)) for _ in range(kernels))
        self.mix = nn.Parameter(initial(c_out, c_out))
        self.register_buffer("column_scale", torch.ones(c_out))

    def calibrate(self, anchors: torch.Tensor, edges: Edges) -> None:
        """Take all scales from the anchors, (A, c_in)."""
        for kernel in self.kernels:
            cast("AttentionKernel", kernel).calibrate(anchors, edges)
        with torch.no_grad():
            self.column_scale.fill_(1.0)
            out, _ = self(anchors, anchors, edges)
            # One scale for all columns: distances keep their proportions, which unit columns would undo.
            self.column_scale.fill_(float(out.pow(2).mean().sqrt().clamp_min(1e-6)))

    def forward(self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new state (N, c_out) and the attention averaged over kernels (N, k)."""
        states, attentions = [], []
        for kernel in self.kernels:
            h, mean, attention = kernel(x, anchors, edges)
            states.append(nn.functional.leaky_relu(0.5 * (h + mean), 0.2))
            attentions.append(attention)
        state = torch.stack(states).mean(dim=0) @ self.mix
        return nn.functional.leaky_relu(state, 0.2) / self.column_scale, torch.stack(attentions).mean(dim=0)


class DecoderLayer(nn.Module):
    """Decoder layer: one kernel, on the edges that the encoder's mirror layer saw.

    Parameters
    ----------
    c_in, c_out
        Channels.
    initial
        ``initial(rows, columns)`` returns an initial matrix.
    last
        Linear, so that the reconstruction can have any sign and size.
    """

    def __init__(self, c_in: int, c_out: int, initial: Callable[[int, int], torch.Tensor], *, last: bool) -> None:
        super().__init__()
        self.kernel = AttentionKernel(initial(c_in, c_out))
        self.mix = nn.Parameter(initial(c_out, c_out))
        self.last = last

    def calibrate(self, anchors: torch.Tensor, edges: Edges) -> None:
        """Take all scales from the anchors, (A, c_in)."""
        self.kernel.calibrate(anchors, edges)

    def forward(self, x: torch.Tensor, anchors: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return the new state (N, c_out)."""
        h, mean, _ = self.kernel(x, anchors, edges)
        out = mean @ self.mix + h
        return out if self.last else nn.functional.leaky_relu(out, 0.2)


def pool_edges(edges: Edges, attention: torch.Tensor, rate: torch.Tensor | float, low: float, high: float) -> Edges:
    """Drop edges whose attention, scaled from (low, high) to (0, 1), is not above the rate; the nearest edge stays.

    The paper scales by the smallest and largest attention of the call and re-adds self-loops; here the bounds are
    handed in, and the first edge, to the nearest anchor, stands for the self-loop.
    """
    scaled = (attention - low + 1e-5) / (high - low + 1e-5)
    kept = edges.mask & (scaled > rate)
    kept[:, 0] = True
    return Edges(edges.index, kept)
