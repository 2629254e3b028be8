"""The network of a pretraining: the trunk, which is the encoder, and a head for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.cgcnn.potential_terms import PotentialBatch
    from mlff_curate.pretraining.tasks import Task


class PretrainingNetwork(nn.Module):
    """Trunk and heads.

    Parameters
    ----------
    trunk
        The network of a potential.
    tasks
        Those whose heads there are.
    """

    def __init__(self, trunk: PotentialNetwork, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict({task.name: task.head(trunk.sizes.channels) for task in tasks})

    def last_states(self, batch: PotentialBatch, first: torch.Tensor | None = None) -> torch.Tensor:
        """Return the states of atoms after the last convolution, (N, H), from those before the first.

        Parameters
        ----------
        batch
            Atoms, and the edges that may be seen.
        first
            (N, H); None: the embedding of each atom's element.
        """
        begin = self.trunk.embedding(batch.species) if first is None else first
        return self.trunk.states(begin, batch.vector, batch.centre, batch.neighbour)[-1]


def small_network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Return a head with one layer of `width` between."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
