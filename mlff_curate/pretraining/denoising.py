"""Denoising: atoms are displaced, and the network's forces are to pull them back.

S. Zaidi et al., Pre-training via denoising for molecular property prediction, ICLR 2023: to predict the noise that was
added to structures is to learn the score of the smoothed distribution that they are drawn from, which is a force field.
Here it is a conservative one: what pulls is the derivative of the network's energy, by positions and, for crystals, by
strain. So the readout of energies is trained as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlff_curate.cgcnn.potential_terms import VOIGT, terms_of
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining.tasks import DENOISE
from mlff_curate.pretraining.unlabelled import have_neighbours, sample_of
from mlff_curate.pretraining.views import enlarged, noisy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.graphs.vectors import VectorGraph
    from mlff_curate.pretraining.network import PretrainingNetwork
    from mlff_curate.pretraining.unlabelled import Unlabelled
    from mlff_curate.pretraining.views import View

_UNIT = 0.1
"""Angstrom: the displacement that a force of one pulls back."""


@dataclass(frozen=True, eq=False)
class Noised:
    """Frames with noise, which are to be rid of it.

    Attributes
    ----------
    graph
        F frames, N atoms.
    sigma
        (F,) Angstrom.
    displacement
        (N, 3) Angstrom.
    strain
        (F, 6).
    felt
        (N,) whether an atom has neighbours that could pull it.
    """

    graph: VectorGraph
    sigma: np.ndarray
    displacement: np.ndarray
    strain: np.ndarray
    felt: np.ndarray


@dataclass(frozen=True)
class Denoising:
    """Noise of positions and strain.

    Attributes
    ----------
    noise
        Least and most of its standard deviation, Angstrom; each frame's is drawn between, its logarithm evenly.
    strain
        Standard deviation of each component of the strain; 0: none.
    bond
        Mean distance of nearest neighbours, Angstrom.
    guess
        Loss of a network that does nothing. Displacements have lost their mean: in frames of few atoms, less than 1.
    """

    noise: tuple[float, float]
    strain: float
    bond: float
    guess: float
    name = DENOISE
    of_several = False

    @classmethod
    def of(cls, data: Unlabelled, frames: np.ndarray, noise: tuple[float, float], strain: float) -> Denoising:
        """Return the task for the distances that some frames have."""
        nearest = data.nearest[data.graph.nodes_of(frames)]
        views = [enlarged(data.frames[i]) for i in sample_of(data.graph, frames)]
        guess = [1 - len(views) / sum(map(len, views))]
        guess += [1.0] if strain > 0 and any(atoms.pbc.all() for atoms in views) else []
        return cls(noise, strain, float(nearest[np.isfinite(nearest)].mean()), float(np.mean(guess)))

    @property
    def stiffness(self) -> float:
        """Derivative of the virial per atom by strain that the pull on atoms makes natural.

        A spring of one force per `_UNIT` between neighbours a bond apart, in one of three directions each.
        """
        return self.bond**2 / (3 * _UNIT)

    def head(self, channels: int) -> nn.Module:  # noqa: ARG002 (the trunk's own readout answers)
        """Return no layers."""
        return nn.Identity()

    def ask(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator) -> Noised:
        """Add noise."""
        views, sigma = [], []
        low, high = (math.log(x) for x in self.noise)
        for i in frames:
            sigma.append(math.exp(rng.uniform(low, high)))
            views.append(noisy(enlarged(data.frames[i]), sigma[-1], self.strain, rng))
        return _noised(views, np.array(sigma), data.cutoff)

    def residuals(
        self, trunk: PotentialNetwork, data: Unlabelled, asked: Noised, *, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how far off the pull is, (n, 3) of atoms and (f, 6) of strained frames, in units of the noise."""
        batch = data.batch(asked.graph)
        terms = terms_of(trunk, batch, training=training)
        sigma = data.real(asked.sigma[asked.graph.frame])[:, None]
        pull = (terms.forces * _UNIT + data.real(asked.displacement)) / sigma
        found = terms.virial_per_atom(batch) / self.stiffness
        strained = have_neighbours(asked.graph)[1] & (np.abs(asked.strain).max(axis=1) > 0)
        squeeze = (found - data.real(asked.strain)) / max(self.strain, 1e-9)
        return pull[torch.from_numpy(asked.felt).to(data.device)], squeeze[torch.from_numpy(strained).to(data.device)]

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean square of pull and squeeze; see :class:`mlff_curate.pretraining.tasks.Task`.

        In units of each frame's own noise, so that all sizes of it count.
        """
        asked = self.ask(data, frames, rng)
        parts = [
            part.square().mean()
            for part in self.residuals(network.trunk, data, asked, training=training)
            if part.numel()
        ]
        if not parts:
            return torch.zeros((), device=data.device), 0
        return torch.stack(parts).mean(), int(asked.felt.sum())


def _noised(views: Sequence[View], sigma: np.ndarray, cutoff: float) -> Noised:
    graph = vector_graph([view.atoms for view in views], cutoff)
    return Noised(
        graph,
        sigma,
        np.concatenate([view.displacement for view in views]),
        np.stack([view.strain[VOIGT[0], VOIGT[1]] for view in views]),
        have_neighbours(graph)[0],
    )
