"""Sizes of the structure factors of a frame, at the shortest vectors of its own reciprocal lattice.

Shifts, wrapping and another order of the atoms leave ``|S(G)|`` alone, and a rotation takes it along with G: sorted
among vectors G of one length, the sizes are the same for every description of a structure. Unlike means over the atoms
they keep nearly all that displacements say, so that they tell frames of one cold trajectory apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.checks.overlay import Structure

_VECTORS = 180
"""Enough for a hundred atoms that are displaced by 0.005 Angstrom."""
_PER_ATOM = 2
"""Three degrees of freedom have little more to say."""
_ITERATIONS = 8
_BALLS = (1.0, 2.0, pi, 4.0 * pi / 3.0)
"""Volumes of unit balls in 0 to 3 dimensions."""


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Spectrum:
    """Structure factors of n atoms at the M shortest vectors of the reciprocal lattice, one of G and -G.

    Attributes
    ----------
    vectors
        (M, 3) ascending in length, 1/Angstrom; M is 0 if no direction is periodic.
    phases
        (M, n) G·r, radian.
    weights
        (n,) of the atoms, 1 for the heaviest.
    strain
        How much a lattice vector's end that moves by 1 Angstrom may change a length in the lattice, as a share of it.
    """

    vectors: np.ndarray
    phases: np.ndarray
    weights: np.ndarray
    strain: float

    @cached_property
    def lengths(self) -> np.ndarray:
        """(M,) natural logarithms of the lengths of the vectors."""
        logarithms: np.ndarray = np.log(np.linalg.norm(self.vectors, axis=1))
        return logarithms

    @cached_property
    def sizes(self) -> np.ndarray:
        """(M,) ``|S(G)|``."""
        parts = self._waves @ self.weights
        sizes: np.ndarray = np.hypot(*np.split(parts, 2))
        return sizes

    def by_shells(self, ends: Sequence[int]) -> np.ndarray:
        """Return the sizes sorted within shells, (m,); a shell ends before each place named, the last at m."""
        parts = np.split(self.sizes, ends)[:-1]
        return np.concatenate([np.sort(part) for part in parts]) if parts else np.zeros(0)

    def reach(self, displacement: float) -> float:
        """Return how far `by_shells` can move, as a vector, if no atom moves farther than so many Angstrom.

        Sorting brings vectors no farther apart, and sizes differ no more than the complex numbers do. With atoms
        displaced by d_j these change by sum_j w_j (exp(i G·d_j) - 1) exp(i G·r_j): by a linear map of the d_j, and
        by (G·d_j)^2 / 2 per atom at most besides.
        """
        if not len(self.vectors):
            return 0.0
        farthest = float(np.exp(self.lengths[-1])) * displacement
        atoms = len(self.weights)
        return sqrt(atoms) * self._steepest * displacement + 0.5 * sqrt(len(self.vectors)) * atoms * farthest**2

    @cached_property
    def _steepest(self) -> float:
        """A bound of the norm of the linear map, close to it on a lattice.

        Its square is the largest eigenvalue of the Gram matrix of the map's rows, and of a matrix A no eigenvalue is
        larger than max(|A| v / v), whatever the positive v (Collatz 1942).
        """
        waves = self._waves * self.weights
        size = np.abs((waves @ waves.T) * np.tile(self.vectors @ self.vectors.T, (2, 2)))
        v = np.ones(len(size))
        for _ in range(_ITERATIONS):
            v = size @ v
            v = v / v.max() + 1e-3
        return sqrt(float((size @ v / v).max()))

    @cached_property
    def _waves(self) -> np.ndarray:
        """(2M, n) real and imaginary parts."""
        return np.vstack([np.cos(self.phases), np.sin(self.phases)])


def spectrum_of(structure: Structure) -> Spectrum:
    """Return the structure factors of a frame or of its primitive cell."""
    lattice, n = structure.lattice, len(structure.numbers)
    charge = np.maximum(structure.numbers, 1)  # placeholders have number 0
    weights = np.sqrt(charge / charge.max())
    rank = len(lattice)
    if rank == 0:
        return Spectrum(np.zeros((0, 3)), np.zeros((0, n)), weights, 0.0)
    inverse = np.linalg.pinv(lattice)
    # a vector's end that moves by d strains the cell by d / height, and r of them may move
    strain = sqrt(rank) * float(np.linalg.norm(inverse, 2))
    vectors = _shortest(lattice, 2.0 * pi * inverse.T, min(_VECTORS, _PER_ATOM * n))
    return Spectrum(vectors, vectors @ structure.positions.T, weights, strain)


def shell_ends(lengths: np.ndarray, gap: float) -> list[int]:
    """Return where shells of vectors end: places before which the length grows by more than a share `gap`.

    Vectors after the last one belong to a shell that may be incomplete.
    """
    ends: list[int] = (np.flatnonzero(np.diff(lengths) > gap) + 1).tolist()
    return ends


def _shortest(lattice: np.ndarray, reciprocal: np.ndarray, count: int) -> np.ndarray:
    """Return the shortest vectors of the reciprocal lattice but zero, one of G and -G, (count, 3), ascending."""
    rank = len(lattice)
    size = sqrt(float(np.linalg.det(lattice @ lattice.T)))  # of the cell: there are size / (2 pi)^r vectors per volume
    radius = 2.0 * pi * (2.5 * count / size / _BALLS[rank]) ** (1.0 / rank)
    while True:
        # the multiple along b_i is G·a_i / 2 pi
        farthest = [ceil(radius * float(length) / (2.0 * pi)) for length in np.linalg.norm(lattice, axis=1)]
        steps = np.indices([2 * far + 1 for far in farthest]).reshape(rank, -1).T - farthest
        vectors: np.ndarray = steps[len(steps) // 2 + 1 :] @ reciprocal  # the first half holds the opposites
        length = np.linalg.norm(vectors, axis=1)
        if np.count_nonzero(length <= radius) >= count:
            return vectors[np.argsort(length, kind="stable")[:count]]
        radius *= 1.2
