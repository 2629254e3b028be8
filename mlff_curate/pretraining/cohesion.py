"""Cohesion: frames are labelled with forces and virials of potentials that are made up, of the bonds in them.

Training on labels of a cheaper model before those that are dear (J. L. A. Gardner et al., Mach. Learn.: Sci. Technol.
5, 015003 (2024)) needs no model of the material: bonds are much alike everywhere, but for a unit of length and one of
energy (J. H. Rose et al., Phys. Rev. B 29, 2963 (1984)). The unit of length is taken from the frames. Energies are
linear in terms of the forms that empirical potentials have, with coefficients drawn at random in each step; whoever
begins from the encoder takes the coefficients that bring forces nearest to the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlff_curate.cgcnn.potential_network import SphericalHarmonics
from mlff_curate.cgcnn.potential_terms import terms_of
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining.tasks import COHESION
from mlff_curate.pretraining.unlabelled import have_neighbours, sample_of
from mlff_curate.pretraining.views import enlarged, noisy

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.cgcnn.potential_terms import EnergyFunction, PotentialBatch
    from mlff_curate.pretraining.network import PretrainingNetwork
    from mlff_curate.pretraining.unlabelled import Unlabelled

_PUSH = (4.0, 6.0, 8.0, 10.0, 12.0)
_PULL = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
"""How fast repulsion of pairs and hopping fall off per bond length, p and q of Cleri and Rosato."""
_SHAPED = tuple((q, degree, sign) for q in (1.5, 3.0) for degree in (1, 2, 3, 4) for sign in (-3.0, 3.0))
"""Hopping, degree and weight of densities with angles."""
_DEGREE = 4
_FADING = 0.2
"""Share of the cutoff over which bonds fade out."""
_FAINT = 1e-6
"""Density below which roots are cut."""
_NOISY = 0.5
"""Chance of a frame to be displaced and strained."""
_DRAWS = 8
"""Of what a network that does nothing is off by."""


TERMS = len(_PUSH) + len(_PULL) + len(_SHAPED)


@dataclass(frozen=True, eq=False)
class Bonds:
    """Terms of empirical potentials, T of them.

    Of an atom with neighbours at distances r: repulsions ``sum exp(-p (r / r0 - 1))`` of pairs and roots of densities,
    ``sqrt(rho)`` with ``rho = sum exp(-2 q (r / r0 - 1))``: the second-moment model (R. P. Gupta, Phys. Rev. B 23, 6265
    (1981)), with p and q of the size that most have which F. Cleri and V. Rosato, Phys. Rev. B 48, 22 (1993), found for
    metals. Some densities depend on angles: times ``2 / (1 + exp(-t rho_l^2 / rho^2))`` with the square of their part
    of degree l, after the modified embedded atom method (M. I. Baskes, Phys. Rev. B 46, 2727 (1992)).

    Attributes
    ----------
    radii
        (S,) of elements, Angstrom: ``r0`` of a pair is the sum of theirs.
    cutoff
        Angstrom.
    harmonics
        Of directions.
    """

    radii: torch.Tensor
    cutoff: float
    harmonics: SphericalHarmonics

    def energies(self, coefficients: torch.Tensor) -> EnergyFunction:
        """Return the energies of atoms as a function of their bonds, by the (N, T) coefficients of each atom."""

        def of(
            vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
        ) -> torch.Tensor:
            return (self._terms(vector, species, centre, neighbour) * coefficients).sum(dim=1)

        return of

    def _terms(
        self, vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
    ) -> torch.Tensor:
        """Return (N, T)."""
        distance = vector.norm(dim=1, keepdim=True)
        radius = self.radii.to(vector)
        stretch = distance / (radius[species[centre]] + radius[species[neighbour]])[:, None] - 1
        x = ((distance / self.cutoff - 1 + _FADING) / _FADING).clamp(0, 1)
        fading = 1 - x**3 * (10 - x * (15 - 6 * x))
        falls = vector.new_tensor([*_PUSH, *(2 * q for q in _PULL)])
        bonds = torch.exp(-falls * stretch) * fading
        sums = vector.new_zeros(len(species), len(falls)).index_add(0, centre, bonds)
        push, density = sums[:, : len(_PUSH)], sums[:, len(_PUSH) :]
        harmonics = self.harmonics((vector / distance).T).T
        parts = [push, density]
        shapes = {}
        for q in sorted({q for q, _, _ in _SHAPED}):
            column = bonds[:, [len(_PUSH) + _PULL.index(q)]]
            shapes[q] = vector.new_zeros(len(species), harmonics.shape[1]).index_add(0, centre, column * harmonics)
        for q, degree, sign in _SHAPED:
            isotropic = density[:, [_PULL.index(q)]]
            square = shapes[q][:, degree**2 : (degree + 1) ** 2].square().sum(dim=1, keepdim=True) / (2 * degree + 1)
            parts.append(2 * isotropic * torch.sigmoid(sign * square / (isotropic + _FAINT).square()))
        densities = torch.cat(parts[1:], dim=1)
        return torch.cat([push, (densities + _FAINT).sqrt()], dim=1)


def radii(data: Unlabelled, frames: np.ndarray) -> np.ndarray:
    """Return half the median distance to the nearest neighbour of the atoms of S elements in some frames, Angstrom.

    Of an element without neighbours there, the mean of the others.
    """
    nodes = data.graph.nodes_of(frames)
    nearest, numbers = data.nearest[nodes], data.graph.numbers[nodes]
    bound = np.isfinite(nearest)
    of = [nearest[bound & (numbers == z)] for z in data.elements]
    medians = np.array([np.median(part) if len(part) else np.nan for part in of])
    return np.where(np.isfinite(medians), medians, np.nanmean(medians)) / 2


@dataclass(frozen=True, eq=False)
class Views:
    """Frames with noise and without, as tensors.

    Attributes
    ----------
    batch
        F frames, N atoms.
    felt
        (N,) whether an atom has neighbours that could push it.
    bound
        (F,) whether any atom of a frame has.
    """

    batch: PotentialBatch
    felt: torch.Tensor
    bound: torch.Tensor


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of views, and the answers.

    Attributes
    ----------
    views
        Of F frames, N atoms.
    coefficients
        (F, T) of the potential that each frame is labelled by, of terms whose forces are of one size.
    forces, virial
        (N, 3) and (F, 6), the second per atom.
    """

    views: Views
    coefficients: torch.Tensor
    forces: torch.Tensor
    virial: torch.Tensor

    @property
    def each(self) -> torch.Tensor:
        """(N, T) coefficients of each atom."""
        return self.coefficients[self.views.batch.frame]


@dataclass(frozen=True, eq=False)
class Cohesion:
    """Forces and virials of potentials made up, of frames as they are and with noise.

    Attributes
    ----------
    noise
        Least and most of the standard deviation of displacements, Angstrom, as of
        :class:`mlff_curate.pretraining.denoising.Denoising`.
    strain
        Standard deviation of each component of the strain of frames with noise.
    bonds
        The terms.
    unit
        (T,) what makes the mean square of the forces of each term one.
    virial
        Mean square of the virials per atom of these.
    guess
        Loss of a network that does nothing.
    """

    noise: tuple[float, float]
    strain: float
    bonds: Bonds
    unit: np.ndarray
    virial: float
    guess: float
    name = COHESION
    of_several = False

    @classmethod
    def of(cls, data: Unlabelled, frames: np.ndarray, noise: tuple[float, float], strain: float, seed: int) -> Cohesion:
        """Return the task for the bonds that some frames have."""
        rng = np.random.default_rng([seed, 8])
        some = np.sort(sample_of(data.graph, rng.permutation(frames)))
        bonds = Bonds(torch.from_numpy(radii(data, frames)), data.cutoff, SphericalHarmonics(_DEGREE))
        made = cls(noise, strain, bonds, np.ones(TERMS), 1.0, 1.0)
        views = made.views(data, some, rng, share=1.0)  # crystals at rest would give no unit
        forces, virial = [], []
        for one in data.real(np.eye(TERMS)):
            terms = terms_of(bonds.energies(one.expand(len(views.felt), -1)), views.batch)
            forces.append(_bounded(terms.forces[views.felt]).double().cpu().numpy().ravel())
            virial.append(terms.virial_per_atom(views.batch)[views.bound].double().cpu().numpy().ravel())
        unit = 1 / np.sqrt(np.mean(np.square(forces), axis=1)).clip(_FAINT)
        made = replace(made, unit=unit, virial=float(np.mean(np.square(unit[:, None] * virial))))
        return replace(made, guess=made.off_by_nothing(data, some, rng))

    def off_by_nothing(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator) -> float:
        """Return the loss of a network that does nothing, over some draws."""
        found = []
        for _ in range(_DRAWS):
            asked = self.ask(data, self.views(data, frames, rng), rng)
            found.append(self.off(asked, torch.zeros_like(asked.forces), torch.zeros_like(asked.virial)))
        return float(torch.stack(found).mean())

    def head(self, channels: int) -> nn.Module:
        """Return the last rows of a readout for each term; what is before them is the trunk's readout."""
        return nn.Linear(channels, TERMS, bias=False)

    def views(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator, *, share: float = _NOISY) -> Views:
        """Add noise to about half of the frames."""
        views: list[Atoms] = []
        low, high = (math.log(x) for x in self.noise)
        for i in frames:
            atoms = enlarged(data.frames[i])
            sigma = math.exp(rng.uniform(low, high))
            views.append(noisy(atoms, sigma, self.strain, rng).atoms if rng.random() < share else atoms)
        graph = vector_graph(views, data.cutoff)
        return Views(data.batch(graph), *(torch.from_numpy(part).to(data.device) for part in have_neighbours(graph)))

    def ask(self, data: Unlabelled, views: Views, rng: np.random.Generator) -> Asked:
        """Draw a potential for each frame, and have it label the frame."""
        drawn = rng.normal(scale=1 / math.sqrt(TERMS), size=(len(views.bound), TERMS))
        terms = terms_of(self.bonds.energies(data.real(drawn * self.unit)[views.batch.frame]), views.batch)
        return Asked(views, data.real(drawn), terms.forces, terms.virial_per_atom(views.batch))

    def off(self, asked: Asked, forces: torch.Tensor, virial: torch.Tensor) -> torch.Tensor:
        """Return how far answers are off: squares, of each atom and frame by what is usual and its own together.

        So that atoms which noise has brought close to each other do not count for all others.
        """
        of_forces = (forces - asked.forces).square().mean(dim=1) / (asked.forces.square().mean(dim=1) + 1)
        of_virial = (virial - asked.virial).square().mean(dim=1) / (asked.virial.square().mean(dim=1) + self.virial)
        return of_forces[asked.views.felt].mean() + of_virial[asked.views.bound].mean()

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return how far forces and virials of the network are off, see :class:`mlff_curate.pretraining.tasks.Task`."""
        views = self.views(data, frames, rng)
        if not views.felt.any():
            return torch.zeros((), device=data.device), 0
        asked = self.ask(data, views, rng)
        terms = terms_of(network.readouts(COHESION, asked.each), views.batch, training=training)
        return self.off(asked, terms.forces, terms.virial_per_atom(views.batch)), int(views.felt.sum())


def _bounded(forces: torch.Tensor) -> torch.Tensor:
    """Return (N, 3) forces, those of atoms that noise has brought too close cut to ten times the median."""
    size = forces.norm(dim=1, keepdim=True)
    bounded: torch.Tensor = forces * (10 * size.median().clamp(min=1e-12) / size.clamp(min=1e-12)).clamp(max=1)
    return bounded
