"""The three convolutions of a crystal graph, on sparse edges.

Source: Xie & Grossman, PRL 120, 145301, equations 4 and 5. v_i is the state of node i, u_ij the expansion of the
distance of neighbour j; ``(+)`` is written for putting vectors end to end. w_ij is the edge's weight, 1 unless
neighbours share a place (:mod:`mlff_curate.graphs.crystal`).
Shapes: N nodes, E edges, H channels, D numbers per edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from mlff_curate.graphs.crystal import NEIGHBOURS

if TYPE_CHECKING:
    from collections.abc import Iterable


_MOMENTUM = 0.1
"""Share of the newest batch in the statistics of a batch norm."""


@dataclass(frozen=True)
class Edges:
    """Who hears whom.

    Attributes
    ----------
    centre, neighbour
        (E,) int64, nodes.
    weight
        (E, 1) float32.
    expansion
        (E, D) float32, u.
    """

    centre: torch.Tensor
    neighbour: torch.Tensor
    weight: torch.Tensor
    expansion: torch.Tensor

    def gather(self, messages: torch.Tensor, nodes: int) -> torch.Tensor:
        """Return the weighted sum of the messages, (E, C), at each of N centres."""
        return messages.new_zeros(nodes, messages.shape[1]).index_add_(0, self.centre, self.weight * messages)


class GatedConvolution(nn.Module):
    """Equation 5, with the authors' batch norms.

    ``z_ij = v_i (+) v_j (+) u_ij``; ``(f, c) = BN(z W + b)``, one norm over all edges for both halves;
    ``v_i' = softplus(v_i + BN(sum_j w_ij sigmoid(f) softplus(c)))``.

    W is three matrices, one each for v_i, v_j and u_ij: the products with nodes are made once per node instead of once
    per edge, which saves most of the work.

    Parameters
    ----------
    channels
        H.
    edge_size
        D.
    """

    def __init__(self, channels: int, edge_size: int) -> None:
        super().__init__()
        whole = nn.Linear(2 * channels + edge_size, 2 * channels)
        centre, neighbour, edge = torch.split(whole.weight.detach(), [channels, channels, edge_size], dim=1)
        self.centre_weight = nn.Parameter(centre.clone())
        self.neighbour_weight = nn.Parameter(neighbour.clone())
        self.edge_weight = nn.Parameter(edge.clone())
        self.bias = nn.Parameter(whole.bias.detach().clone())
        self.edge_norm = BatchNorm(2 * channels)
        self.node_norm = BatchNorm(channels)

    def forward(self, v: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return the new states, (N, H), of states (N, H)."""
        own = functional.linear(v, self.centre_weight, self.bias)  # (N, 2H)
        others = functional.linear(v, self.neighbour_weight)  # (N, 2H)
        # embedding() is indexing whose gradient adds up fast
        z = functional.embedding(edges.centre, own) + functional.embedding(edges.neighbour, others)
        z = self.edge_norm(z + functional.linear(edges.expansion, self.edge_weight))  # (E, 2H)
        gate, core = z.chunk(2, dim=1)
        message = torch.sigmoid(gate) * functional.softplus(core)  # (E, H)
        return functional.softplus(v + self.node_norm(edges.gather(message, len(v))))


class SharedConvolution(nn.Module):
    """Equation 4: one matrix for all neighbours, whatever their distance.

    ``v_i' = softplus((sum_j w_ij v_j (+) u_ij) W_c + v_i W_s + b)``. The sum comes first, so no matrix meets an edge.

    Parameters
    ----------
    channels
        H.
    edge_size
        D.
    """

    def __init__(self, channels: int, edge_size: int) -> None:
        super().__init__()
        self.own = nn.Linear(channels, channels)
        self.others = nn.Linear(channels + edge_size, channels, bias=False)
        with torch.no_grad():  # a sum over neighbours begins no larger than one of them: it would grow with each layer
            self.others.weight /= NEIGHBOURS

    def forward(self, v: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return the new states, (N, H), of states (N, H)."""
        states = edges.gather(functional.embedding(edges.neighbour, v), len(v))  # (N, H)
        distances = edges.gather(edges.expansion, len(v))  # (N, D)
        return functional.softplus(self.others(torch.cat([states, distances], dim=1)) + self.own(v))


class NoConvolution(nn.Module):
    """What is left of equation 4 without neighbours: ``v_i' = softplus(v_i W_s + b)``.

    Parameters
    ----------
    channels
        H.
    edge_size
        Not used; the three are made alike.
    """

    def __init__(self, channels: int, edge_size: int) -> None:  # noqa: ARG002
        super().__init__()
        self.own = nn.Linear(channels, channels)

    def forward(self, v: torch.Tensor, edges: Edges) -> torch.Tensor:  # noqa: ARG002
        """Return the new states, (N, H), of states (N, H)."""
        return functional.softplus(self.own(v))


class BatchNorm(nn.Module):
    """Batch norm of columns, which leaves a batch of fewer than two rows to the statistics of those before.

    A column of one number has no variance, and of a free atom's edges there are none.

    Parameters
    ----------
    channels
        C.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.momentum = _MOMENTUM
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised rows, (M, C)."""
        if len(x) == 0:
            return x
        training = self.training and len(x) > 1
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum
        )


def renew_statistics(network: nn.Module, batches: Iterable[object]) -> None:
    """Give a network's batch norms the mean statistics of some batches, for the weights as they are.

    While training they lag ten steps behind the weights: on a small set that is many epochs, and what was learned looks
    bad without the batch to norm by.
    """
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)]
    if not norms:
        return
    before = network.training
    network.train()
    with torch.no_grad():
        for k, batch in enumerate(batches):
            for norm in norms:
                norm.momentum = 1.0 / (k + 1)
            network(batch)
    for norm in norms:
        norm.momentum = _MOMENTUM
    network.train(before)


CONVOLUTIONS: dict[str, type[GatedConvolution | SharedConvolution | NoConvolution]] = {
    "gated": GatedConvolution,
    "shared": SharedConvolution,
    "none": NoConvolution,
}
"""By the name of ``--conv``."""
