"""The network: features of nodes and edges to one number, or the two classes' log-probabilities, per frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from mlff_curate.cgcnn.convolutions import CONVOLUTIONS, Edges
from mlff_curate.cgcnn.expansion import STEP, gaussian_centres, gaussian_expansion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from mlff_curate.cgcnn.potential_terms import PotentialBatch
    from mlff_curate.graphs.crystal import CrystalGraph

REGRESSION, CLASSIFICATION = "regression", "classification"
TASKS = (REGRESSION, CLASSIFICATION)
_DROPOUT = 0.5


@dataclass(frozen=True)
class NetworkSizes:
    """All that decides the shapes of the weights, and what is computed with them.

    Attributes
    ----------
    task
        ``regression``, one output, or ``classification``, two.
    conv
        ``gated``, ``shared`` or ``none``.
    node_size
        Numbers per node, of the element encoding, of an encoder's states behind it, or of features from elsewhere.
    edge_size
        Gaussians per distance, 0.2 Angstrom apart from 0 on.
    channels
        H, the state of a node.
    convolutions
        How many, one after the other.
    hidden
        Width of the layers after pooling.
    hidden_layers
        How many of these, at least 1.
    """

    task: str
    conv: str
    node_size: int
    edge_size: int
    channels: int
    convolutions: int
    hidden: int
    hidden_layers: int

    @property
    def outputs(self) -> int:
        """1, or 2 classes."""
        return 2 if self.task == CLASSIFICATION else 1


@dataclass(frozen=True)
class Batch:
    """Frames as tensors; E edges, N nodes, F frames.

    Attributes
    ----------
    features
        (N, node_size) float32.
    edges
        See :class:`Edges`.
    frame
        (N,) the frame of each node.
    atoms
        (F, 1) nodes of each frame.
    surroundings
        The same nodes, in parts, as an encoder sees them that is trained with the network; empty: there is none.
    """

    features: torch.Tensor
    edges: Edges
    frame: torch.Tensor
    atoms: torch.Tensor
    surroundings: Sequence[PotentialBatch] = ()


def batch_of(graph: CrystalGraph, features: np.ndarray, edge_size: int, device: str) -> Batch:
    """Return a crystal graph and the features of its nodes, (N, node_size), as tensors."""
    centres = gaussian_centres((edge_size - 1) * STEP).to(device)
    distance = torch.from_numpy(graph.distance).to(device)
    edges = Edges(
        centre=torch.from_numpy(graph.centre).to(device),
        neighbour=torch.from_numpy(graph.neighbour).to(device),
        weight=torch.from_numpy(graph.weight).to(device, torch.float32)[:, None],
        expansion=gaussian_expansion(distance, centres),
    )
    atoms = torch.from_numpy(graph.atoms).to(device, torch.float32)[:, None]
    return Batch(
        torch.from_numpy(features).to(device, torch.float32), edges, torch.from_numpy(graph.frame).to(device), atoms
    )


class PropertyNetwork(nn.Module):
    """Linear map of the nodes, convolutions, mean over each frame's nodes, layers with softplus, linear output.

    A classifier has dropout after the first of these layers, and log-softmax at the end.

    Parameters
    ----------
    sizes
        See :class:`NetworkSizes`.
    """

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        convolution = CONVOLUTIONS[sizes.conv]
        self.embedding = nn.Linear(sizes.node_size, sizes.channels)
        self.convolutions = nn.ModuleList(
            convolution(sizes.channels, sizes.edge_size) for _ in range(sizes.convolutions)
        )
        self.pooled = nn.Linear(sizes.channels, sizes.hidden)
        self.hidden = nn.ModuleList(nn.Linear(sizes.hidden, sizes.hidden) for _ in range(sizes.hidden_layers - 1))
        self.output = nn.Linear(sizes.hidden, sizes.outputs)
        self.dropout = nn.Dropout(_DROPOUT if sizes.task == CLASSIFICATION else 0.0)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (F, 1) normalised targets, or (F, 2) log-probabilities."""
        v = self.node_states(batch)
        mean = v.new_zeros(len(batch.atoms), v.shape[1]).index_add_(0, batch.frame, v) / batch.atoms
        h = self.dropout(functional.softplus(self.pooled(functional.softplus(mean))))
        for layer in self.hidden:
            h = functional.softplus(layer(h))
        out: torch.Tensor = self.output(h)
        return torch.log_softmax(out, dim=1) if self.sizes.task == CLASSIFICATION else out

    def node_states(self, batch: Batch) -> torch.Tensor:
        """Return the state of each node after the last convolution, (N, H)."""
        v: torch.Tensor = self.embedding(batch.features)
        for convolution in self.convolutions:
            v = convolution(v, batch.edges)
        return v
