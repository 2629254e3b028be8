"""Which frames hold the structure of an earlier one: exactly, nearly, or turned.

Unlike :mod:`mlff_curate.pruning.copies`, which asks whether a fit would see a difference, a yes is proved here by
laying the frames over each other.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_ROUNDING = 1e-6
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
        EXACT; ``near``: within NEAR; ``twin``: within NEAR after a rotation or reflection, or as another supercell.
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
    """Structures seen so far, one of each."""

    def __init__(self) -> None:
        self._shelves: dict[tuple[object, ...], _Shelf] = {}

    def take(self, frames: Iterable[Atoms]) -> list[Copy]:
        return self._go_through(frames, keep=True)

    def find(self, frames: Iterable[Atoms]) -> list[Copy]:
        return self._go_through(frames, keep=False)

    def _go_through(self, frames: Iterable[Atoms], keep: bool) -> list[Copy]:
        copies = []
        for place, (atoms, numbers) in enumerate(invariants(frames)):
            shelf = self._shelves.setdefault(numbers.kind, _Shelf())
            structure = structure_of(atoms, numbers.local, numbers.local_bound, NEAR)
            copy = shelf.find(place, structure, numbers)
            if copy is not None:
                copies.append(copy)
            if keep:
                shelf.add(place, structure, numbers, None if copy is None else copy.kind)
        return copies


class _Shelf:
    """Structures of one composition."""

    def __init__(self) -> None:
        self._oriented = _Boxes()
        self._turned = _Boxes()
        self._structures: dict[int, Structure] = {}

    def find(self, place: int, structure: Structure, numbers: Invariants) -> Copy | None:
        """Return what a structure repeats, the nearest where there are several in its own orientation."""
        near: Copy | None = None
        for other in self._oriented.around(*_oriented(numbers)):
            distance = shift_between(self._structures[other], structure)
            if distance is None or (near is not None and distance >= near.distance):
                continue
            near = Copy(place, other, "exact" if distance <= EXACT else "near", distance)
            if near.kind == "exact":
                return near
        if near is not None:
            return near
        for other in self._turned.around(numbers.whole, numbers.whole_bound):
            distance = motion_between(self._structures[other], structure)
            if distance is not None:
                return Copy(place, other, "twin", distance)
        return None

    def add(self, place: int, structure: Structure, numbers: Invariants, repeats: str | None) -> None:
        """Keep a structure, unless it is there: piles of copies stay one structure."""
        if repeats in {"exact", "near"}:
            return
        self._structures[place] = structure
        self._oriented.add(place, *_oriented(numbers))
        if repeats is None:
            self._turned.add(place, numbers.whole, numbers.whole_bound)


def _oriented(numbers: Invariants) -> tuple[np.ndarray, np.ndarray]:
    return np.append(numbers.whole, numbers.turned), np.append(numbers.whole_bound, numbers.turned_bound)


class _Boxes:
    """Points and, for each new one, which of them lie in a box around it.

    Search trees of doubling sizes: adding costs a logarithm of the number of points, on average, and so does asking.
    """

    def __init__(self) -> None:
        self._scale: np.ndarray | None = None
        self._trees: list[tuple[Any, np.ndarray, np.ndarray]] = []
        self._names: list[int] = []
        self._points: list[np.ndarray] = []

    def add(self, name: int, point: np.ndarray, bound: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        if self._scale is None:
            self._scale = _half_width(bound)
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
        width = _half_width(bound)
        found: list[int] = []
        radius = float((width / self._scale).max())
        for tree, names, points in self._trees:
            rows = np.array(tree.query_ball_point(point / self._scale, radius, p=np.inf), dtype=np.int64)
            found += names[rows[(np.abs(points[rows] - point) <= width).all(axis=1)]].tolist()
        if self._points:
            inside = (np.abs(np.array(self._points) - point) <= width).all(axis=1)
            found += [self._names[row] for row in np.flatnonzero(inside)]
        return sorted(found)


def _half_width(bound: np.ndarray) -> np.ndarray:
    return 1.1 * NEAR * bound + _ROUNDING
