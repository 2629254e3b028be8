"""The orbital field matrix: valence electrons of an atom and of its Voronoi neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.descriptors.base import require_species
from mlff_curate.descriptors.valence import valence_vector
from mlff_curate.errors import DataError
from mlff_curate.graphs.neighbours import default_cutoff
from mlff_curate.graphs.voronoi import voronoi_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


_CUTOFF_IN_DEFAULTS = 1.5
"""Half of that is 1.3 nearest-neighbour distances: the cells of all simple crystals are closed, diamond's too."""


class OrbitalFieldMatrix:
    """Valence subshells of an atom times those of its neighbours, weighted by how much of it they cover.

    With o the one-hot vector of an element's valence subshells (s1, s2, p1 ... f14: 32), the sum over the faces k of
    the atom's Voronoi cell

        X = sum_k o (theta_k / theta_max) (1 / r_k) o_k^T

    where theta is the solid angle of a face and r the distance of the atom behind it (T. L. Pham et al., Sci. Technol.
    Adv. Mater. 18, 756 (2017)); beside it o itself, as in the authors' later papers (J. Chem. Phys. 148, 204106
    (2018)). Rows and columns of subshells that none of the elements has are left out: they are zero in every atom.

    Of one element every number is a constant or the same sum, an inverse distance times a coordination: the matrix is
    made for alloys and compounds.

    Cells are cut off at half the cutoff from the atom (:func:`mlff_curate.graphs.voronoi.voronoi_faces`).

    Parameters
    ----------
    species
        Atomic numbers that may occur, in any order.
    cutoff
        Angstrom; by default a multiple of the elements' nearest-neighbour distances.
    """

    name = title = "orbital-field-matrix"

    def __init__(self, species: Sequence[int], cutoff: float | None = None) -> None:
        self.species = tuple(sorted({int(z) for z in species}))
        self.cutoff = float(_CUTOFF_IN_DEFAULTS * default_cutoff(self.species) if cutoff is None else cutoff)
        rows = np.array([valence_vector(z) for z in self.species])
        self.rows = rows[:, rows.any(axis=0)]
        """(Z, S) one-hot vectors of the elements, without what none has."""
        self.size = self.rows.shape[1] * (self.rows.shape[1] + 1)

    def settings(self) -> dict[str, Any]:
        """Return name, species and cutoff."""
        return {"name": self.name, "species": list(self.species), "cutoff": self.cutoff}

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the descriptors of F frames with N atoms in all.

        Returns
        -------
        numpy.ndarray
            (N, S + S S) float32, ordered by frame and atom: the atom's own subshells, then the matrix row by row. That
            of an atom without neighbours is zero.

        Raises
        ------
        DataError
            Two atoms are in one place; names the frame.
        ValueError
            A frame has an element that the descriptor was not made for.
        """
        require_species(frames, self.species)
        parts = [np.zeros((0, self.size), np.float32)]
        for index, atoms in enumerate(frames):
            try:
                parts.append(self._frame(atoms))
            except DataError as error:
                error.frame = index
                raise
        return np.concatenate(parts)

    def _frame(self, atoms: Atoms) -> np.ndarray:
        faces = voronoi_faces(atoms, self.cutoff)
        n, Z = len(atoms), len(self.species)
        own = np.searchsorted(self.species, atoms.numbers)
        largest = np.zeros(n)
        np.maximum.at(largest, faces.centre, faces.solid_angle)
        weight = faces.solid_angle / (largest[faces.centre] * faces.distance)
        place = faces.centre * Z + own[faces.neighbour]
        around = np.bincount(place, weight, n * Z).reshape(n, Z) @ self.rows
        matrix = self.rows[own][:, :, None] * around[:, None, :]
        return np.concatenate([self.rows[own], matrix.reshape(n, -1)], axis=1).astype(np.float32)
