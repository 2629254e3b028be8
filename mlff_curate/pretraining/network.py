"""The network of a pretraining: the trunk, which is the encoder, and a head for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mlff_curate.pretraining.tasks import COHESION, DENOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.cgcnn.potential_terms import EnergyFunction, PotentialBatch
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

    def rows(self) -> torch.Tensor | None:
        """Return the last rows of all readouts that tasks have trained, (R, H), the trunk's own last."""
        last = [self.heads[COHESION]] if COHESION in self.heads else []
        last += [self.trunk.energy[-1]] if DENOISE in self.heads else []
        rows = [layer.get_parameter("weight").detach().cpu() for layer in last]
        return torch.cat(rows) if rows else None

    def readouts(self, task: str, coefficients: torch.Tensor) -> EnergyFunction:
        """Return the energies of atoms that a task's readouts make, times (N, R) coefficients of each atom."""

        def of(
            vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
        ) -> torch.Tensor:
            states = self.trunk.states(self.trunk.embedding(species), vector, centre, neighbour)
            each: torch.Tensor = self.heads[task](self.trunk.energy[:-1](self.trunk.read_states(states)))
            return (each * coefficients).sum(dim=1)

        return of


def small_network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Return a head with one layer of `width` between."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
