"""Energies, forces and stresses of a potential network, and how far they are from labels.

Forces and virial are derivatives by the vectors of the edges: of these alone an energy depends, so forces sum to zero
and the virial is symmetric without further ado. Shapes: N atoms, E edges, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.graphs.vectors import VectorGraph

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Rows and columns of xx, yy, zz, yz, xz, xy in a matrix."""


@dataclass(frozen=True)
class PotentialBatch:
    """Frames as tensors.

    Attributes
    ----------
    vector
        (E, 3) Angstrom.
    species
        (N,) places among the network's elements.
    centre, neighbour
        (E,).
    frame
        (N,).
    atoms
        (F,) of each frame, in the dtype of the vectors.
    """

    vector: torch.Tensor
    species: torch.Tensor
    centre: torch.Tensor
    neighbour: torch.Tensor
    frame: torch.Tensor
    atoms: torch.Tensor


def batch_of(graph: VectorGraph, elements: Sequence[int], dtype: torch.dtype, device: str) -> PotentialBatch:
    """Return a graph as tensors; all its elements are known."""
    species = np.searchsorted(np.asarray(elements), graph.numbers)
    return PotentialBatch(
        vector=torch.from_numpy(graph.vector).to(device, dtype),
        species=torch.from_numpy(species).to(device),
        centre=torch.from_numpy(graph.centre).to(device),
        neighbour=torch.from_numpy(graph.neighbour).to(device),
        frame=torch.from_numpy(graph.frame).to(device),
        atoms=torch.from_numpy(graph.atoms).to(device, dtype),
    )


@dataclass(frozen=True)
class Terms:
    """What a network says of a batch, in its own unit of energy.

    Attributes
    ----------
    energies
        (N,) of atoms.
    forces
        (N, 3), per Angstrom.
    virial
        (F, 3, 3): derivative of the energy by strain.
    """

    energies: torch.Tensor
    forces: torch.Tensor
    virial: torch.Tensor

    def virial_per_atom(self, batch: PotentialBatch) -> torch.Tensor:
        """Return the virials over the atoms of each frame, (F, 6) in ASE's order."""
        return self.virial[:, VOIGT[0], VOIGT[1]] / batch.atoms[:, None]


class EnergyFunction(Protocol):
    """Energies of atoms from the vectors of edges: a network, or a formula."""

    def __call__(
        self, vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
    ) -> torch.Tensor:
        """Return (N,); see :meth:`mlff_curate.cgcnn.potential_network.PotentialNetwork.forward`."""


def terms_of(network: EnergyFunction, batch: PotentialBatch, *, training: bool = False) -> Terms:
    """Return energies and their derivatives; `training` keeps what is needed to differentiate these once more."""
    vector = batch.vector.detach().requires_grad_()
    energies = network(vector, batch.species, batch.centre, batch.neighbour)
    # a free atom's energy has no vector to depend on
    (slope,) = torch.autograd.grad(energies.sum(), vector, create_graph=training, materialize_grads=True)
    forces = vector.new_zeros(len(batch.species), 3)
    forces = forces.index_add(0, batch.centre, slope).index_add(0, batch.neighbour, -slope)
    strain = vector[:, :, None] * slope[:, None, :]
    virial = vector.new_zeros(len(batch.atoms), 3, 3).index_add(0, batch.frame[batch.centre], strain)
    if training:
        return Terms(energies, forces, virial)
    return Terms(energies.detach(), forces.detach(), virial.detach())


@dataclass(frozen=True, eq=False)
class PotentialLabels:
    """Labels of F frames with N atoms in all; nan where there is none.

    Attributes
    ----------
    energy
        (F,) eV.
    forces
        (N, 3) eV/Angstrom.
    virial
        (F, 6) stress times volume, eV, in ASE's order and sign.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[Atoms], labels: Sequence[Labels]) -> PotentialLabels:
        """Collect the labels of frames; a stress counts only of a frame that is periodic in three directions."""
        energy = np.array([np.nan if item.energy is None else item.energy for item in labels], dtype=np.float64)
        forces = [
            np.full((len(atoms), 3), np.nan) if item.forces is None else item.forces
            for atoms, item in zip(frames, labels, strict=True)
        ]
        virial = [
            np.full(6, np.nan) if item.stress is None or not atoms.pbc.all() else item.stress * atoms.get_volume()
            for atoms, item in zip(frames, labels, strict=True)
        ]
        return cls(energy, np.concatenate(forces), np.array(virial))

    def part(self, frames: np.ndarray, graph: VectorGraph) -> PotentialLabels:
        """Return those of some frames of a graph, in the order that they are given in."""
        return PotentialLabels(self.energy[frames], self.forces[graph.nodes_of(frames)], self.virial[frames])


@dataclass(frozen=True)
class Weights:
    """Of the terms of the loss: energy per atom, components of forces, stress times volume per atom.

    All in units of the root mean square force times an Angstrom, so that they are comparable.
    """

    energy: float
    forces: float
    stress: float


@dataclass(frozen=True)
class Bends:
    """Residuals of each kind, in units of the root mean square force, from which on the loss is the absolute value."""

    energy: float
    forces: float
    stress: float


@dataclass(frozen=True)
class Wanted:
    """Labels of a batch in the network's unit, less the energies of free elements; nan where there is none."""

    energy: torch.Tensor  # (F,) per atom
    forces: torch.Tensor  # (N, 3)
    virial: torch.Tensor  # (F, 6) per atom


@dataclass(frozen=True)
class Residuals:
    """How far the terms of a batch are from the labels that there are, in the network's unit.

    Attributes
    ----------
    energy
        Per atom, of each frame with an energy.
    forces, stress
        Of each known component; the second times volume, per atom.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor

    @classmethod
    def of(cls, terms: Terms, batch: PotentialBatch, wanted: Wanted) -> Residuals:
        """Take the differences."""
        total = terms.energies.new_zeros(len(batch.atoms)).index_add(0, batch.frame, terms.energies)
        return cls(
            _off(total / batch.atoms, wanted.energy),
            _off(terms.forces, wanted.forces),
            _off(terms.virial_per_atom(batch), wanted.virial),
        )

    def absolute(self) -> torch.Tensor:
        """Return sums of absolute residuals of energies and of force components, and how many they are: (4,)."""
        kinds = (self.energy.detach(), self.forces.detach())
        return torch.stack(
            [*(part.abs().sum() for part in kinds), *(part.new_tensor(float(part.numel())) for part in kinds)]
        )

    def loss(self, weights: Weights, bends: Bends) -> torch.Tensor:
        """Return the mean Huber loss of each kind of label, weighted; kinds that no frame has count nothing.

        Parameters
        ----------
        weights
            Of the kinds.
        bends
            Where the loss of each turns from squares to absolute values.
        """
        loss = self.energy.new_zeros(())
        for kind in ("energy", "forces", "stress"):
            off, weight = getattr(self, kind), getattr(weights, kind)
            if weight > 0 and off.numel():
                loss = loss + weight * functional.huber_loss(off, torch.zeros_like(off), delta=getattr(bends, kind))
        return loss


def _off(found: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    known = torch.isfinite(label)
    return found[known] - label[known]
