"""Which frames hold the structure of an earlier one: exactly, nearly, or turned.

Unlike :mod:`mlff_curate.pruning.copies`, which asks whether a fit would see a difference, a yes is proved here by
laying the frames over each other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlff_curate.checks.invariants import invariants
from mlff_curate.checks.overlay import motion_between, shift_between, structure_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms

    from mlff_curate.checks.invariants import Invariants
    from mlff_curate.checks.overlay import Structure

EXACT = 1e-4
"""Angstrom. What files that print four decimals leave of a position."""
NEAR = 1e-3
"""Angstrom. Changes a force by some meV/Angstrom, which is what DFT labels are good for."""
TWIN = 2.0 * EXACT
"""Angstrom. Symmetry is exact: what is left of it is the rounding of cell and positions."""
_ROUNDING = 1e-6
_FARTHEST_STEP = 4.0
"""Lattice vectors that a short one is the sum of, and by how much more it may change than one of them."""
_LEAF = 256


@dataclass(frozen=True)
class Copy:
    """A frame that holds the structure of an earlier one.

    Attributes
    ----------
    frame, original
        Places in the sequences of frames.
    kind
        ``exact``: atom upon atom after shifts, wrapping, another choice of cell and another order of the atoms, within
        EXACT; ``near``: within NEAR; ``twin``: within TWIN after a rotation or reflection, or as another supercell.
    distance
        Angstrom, the largest that is left between two atoms or lattice vectors.
    """

    frame: int
    original: int
    kind: Literal["exact", "near", "twin"]
    distance: float


def copies_within(frames: Sequence[Atoms]) -> list[Copy]:
    """Return the frames that hold the structure of an earlier one, in order; the first of its kind is the original."""
    return _Library().take(frames)


def copies_across(frames: Sequence[Atoms], known: Sequence[Atoms]) -> list[Copy]:
    """Return the frames that hold the structure of a known one, in order; originals are places in `known`."""
    library = _Library()
    library.take(known)
    return library.find(frames)


class _Library:
    """Structures seen so far, one of each: piles of copies stay one structure."""

    def __init__(self) -> None:
        self._structures: dict[int, Structure] = {}
        self._primitives: dict[int, Structure] = {}
        self._cells: defaultdict[tuple[object, ...], _Boxes] = defaultdict(lambda: _Boxes(NEAR))
        self._crystals: defaultdict[tuple[object, ...], _Boxes] = defaultdict(lambda: _Boxes(TWIN))

    def take(self, frames: Iterable[Atoms]) -> list[Copy]:
        """Find copies of what is there and keep what is new."""
        return self._go_through(frames, keep=True)

    def find(self, frames: Iterable[Atoms]) -> list[Copy]:
        """Find copies of what is there."""
        return self._go_through(frames, keep=False)

    def _go_through(self, frames: Iterable[Atoms], keep: bool) -> list[Copy]:
        copies = []
        for place, (atoms, numbers) in enumerate(invariants(frames)):
            structure = structure_of(atoms, numbers.local, numbers.local_bound, NEAR)
            cells = self._cells[*numbers.kind, len(structure.numbers)]
            crystal = replace(structure, tolerance=TWIN).primitive
            crystals = self._crystals[*numbers.kind, len(crystal.numbers)]
            as_cell, as_crystal = _as_cell(structure, numbers), _with_lengths(crystal, numbers)
            copy = self._same_cell(place, structure, cells.around(*as_cell))
            if copy is None:
                copy = self._same_crystal(place, crystal, crystals.around(*as_crystal))
            if copy is not None:
                copies.append(copy)
            if not keep or (copy is not None and copy.kind != "twin"):
                continue
            self._structures[place] = structure
            cells.add(place, *as_cell)
            if copy is None:
                self._primitives[place] = crystal
                crystals.add(place, *as_crystal)
        return copies

    def _same_cell(self, place: int, structure: Structure, others: list[int]) -> Copy | None:
        """Return what a structure repeats without being turned, the nearest if there are several."""
        best: Copy | None = None
        for other in others:
            distance = shift_between(self._structures[other], structure)
            if distance is None or (best is not None and distance >= best.distance):
                continue
            best = Copy(place, other, "exact" if distance <= EXACT else "near", distance)
            if best.kind == "exact":
                break
        return best

    def _same_crystal(self, place: int, crystal: Structure, others: list[int]) -> Copy | None:
        for other in others:
            distance = motion_between(self._primitives[other], crystal)
            if distance is not None:
                return Copy(place, other, "twin", distance)
        return None


_Point = tuple[np.ndarray, np.ndarray]
"""Numbers of a structure, and how far they may move if its atoms move by 1 Angstrom."""


def _as_cell(structure: Structure, numbers: Invariants) -> _Point:
    """Return what does not change unless a structure is turned."""
    point, bound = _with_lengths(structure, numbers)
    return np.append(point, numbers.turned), np.append(bound, numbers.turned_bound)


def _with_lengths(structure: Structure, numbers: Invariants) -> _Point:
    """Return what does not change if a structure is turned; of a primitive cell, nor if it is repeated."""
    lengths = structure.lengths
    return np.append(numbers.whole, lengths), np.append(numbers.whole_bound, np.full(len(lengths), _FARTHEST_STEP))


class _Boxes:
    """Points and, for each new one, which of them lie in a box around it.

    The box is what displacements of `reach`, Angstrom, can change. Search trees of doubling sizes: adding costs a
    logarithm of the number of points, on average, and so does asking.
    """

    def __init__(self, reach: float) -> None:
        self._reach = reach
        self._scale: np.ndarray | None = None
        self._trees: list[tuple[Any, np.ndarray, np.ndarray]] = []
        self._names: list[int] = []
        self._points: list[np.ndarray] = []

    def add(self, name: int, point: np.ndarray, bound: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        if self._scale is None:
            self._scale = self._half_width(bound)
        self._names.append(name)
        self._points.append(point)
        if len(self._names) < _LEAF:
            return
        names, points = np.array(self._names), np.array(self._points)
        while self._trees and len(self._trees[-1][1]) <= len(names):
            _, more_names, more_points = self._trees.pop()
            names, points = np.append(more_names, names), np.vstack([more_points, points])
        self._trees.append((cKDTree(points / self._scale), names, points))
        self._names, self._points = [], []

    def around(self, point: np.ndarray, bound: np.ndarray) -> list[int]:
        """Return the names of the points in the box, ascending."""
        if self._scale is None:
            return []
        width = self._half_width(bound)
        found: list[int] = []
        radius = float((width / self._scale).max())
        for tree, names, points in self._trees:
            rows = np.array(tree.query_ball_point(point / self._scale, radius, p=np.inf), dtype=np.int64)
            found += names[rows[(np.abs(points[rows] - point) <= width).all(axis=1)]].tolist()
        if self._points:
            inside = (np.abs(np.array(self._points) - point) <= width).all(axis=1)
            found += [self._names[row] for row in np.flatnonzero(inside)]
        return sorted(found)

    def _half_width(self, bound: np.ndarray) -> np.ndarray:
        return 1.1 * self._reach * bound + _ROUNDING
