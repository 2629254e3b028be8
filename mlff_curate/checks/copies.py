"""Which frames hold the structure of an earlier one: exactly, nearly, or turned.

Unlike :mod:`mlff_curate.pruning.copies`, which asks whether a fit would see a difference, a yes is proved here by
laying the frames over each other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlff_curate.checks.invariants import invariants
from mlff_curate.checks.overlay import motion_between, shift_between, structure_of
from mlff_curate.checks.structure_factors import shell_ends, spectrum_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms

    from mlff_curate.checks.overlay import Structure
    from mlff_curate.checks.structure_factors import Spectrum

EXACT = 1e-4
"""Angstrom. What files that print four decimals leave of a position."""
NEAR = 1e-3
"""Angstrom. Changes a force by some meV/Angstrom, which is what DFT labels are good for."""
TWIN = 2.0 * EXACT
"""Angstrom. Symmetry is exact: what is left of it is the rounding of cell and positions."""
_ROUNDING = 1e-6
_LENGTHS = 12
"""Shortest reciprocal lattice vectors whose lengths are compared one by one: six numbers make a lattice."""
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
        self._cells: defaultdict[tuple[object, ...], _Lattices] = defaultdict(lambda: _Lattices(NEAR))
        self._crystals: defaultdict[tuple[object, ...], _Lattices] = defaultdict(lambda: _Lattices(TWIN))

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
            crystal = replace(structure, tolerance=TWIN).primitive
            spectrum = spectrum_of(structure)
            own = spectrum if len(crystal.numbers) == len(structure.numbers) else spectrum_of(crystal)
            cells = self._cells[*numbers.kind, len(structure.numbers)]
            crystals = self._crystals[*numbers.kind, len(crystal.numbers)]
            unturned = np.append(numbers.whole, numbers.turned), np.append(numbers.whole_bound, numbers.turned_bound)
            as_cell = _Mark(*unturned, spectrum)
            as_crystal = _Mark(numbers.whole, numbers.whole_bound, own)
            copy = self._same_cell(place, structure, cells.around(as_cell))
            if copy is None:
                copy = self._same_crystal(place, crystal, crystals.around(as_crystal))
            if copy is not None:
                copies.append(copy)
            if not keep or (copy is not None and copy.kind != "twin"):
                continue
            self._structures[place] = structure
            cells.add(place, as_cell)
            if copy is None:
                self._primitives[place] = crystal
                crystals.add(place, as_crystal)
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


@dataclass(frozen=True)
class _Mark:
    """What tells a structure from others before they are laid over each other.

    Attributes
    ----------
    numbers, bound
        (d,) numbers, and how far each may move if atoms and lattice vectors move by 1 Angstrom.
    spectrum
        Of the structure factors.
    """

    numbers: np.ndarray
    bound: np.ndarray
    spectrum: Spectrum


class _Lattices:
    """Marks of structures, apart by lattice; those of one lattice have the same shells of structure factors.

    Within `reach`, Angstrom, of one another lengths in two lattices differ by some share. Each lattice here lies within
    twice that of the first of its kind, and what it repeats lies within three times that; shells that are eight times
    that apart cannot mix.
    """

    def __init__(self, reach: float) -> None:
        self._reach = reach
        self._kinds = _Near()
        self._shells: list[list[int]] = []
        self._members: list[_Near] = []

    def add(self, name: int, mark: _Mark) -> None:
        lengths, strain = self._lattice(mark)
        kind = next(iter(self._kinds.around(lengths, 2.0 * strain, _NONE, 0.0)), len(self._members))
        if kind == len(self._members):
            self._kinds.add(kind, lengths, 2.0 * strain, _NONE, 0.0)
            self._shells.append(shell_ends(mark.spectrum.lengths, 8.0 * float(strain.max(initial=0.0))))
            self._members.append(_Near())
        self._members[kind].add(name, *self._place(mark, kind))

    def around(self, mark: _Mark) -> list[int]:
        """Return the names of the structures that this one may repeat, ascending."""
        lengths, strain = self._lattice(mark)
        found: list[int] = []
        for kind in self._kinds.around(lengths, 3.0 * strain, _NONE, 0.0):
            found += self._members[kind].around(*self._place(mark, kind))
        return sorted(found)

    def _lattice(self, mark: _Mark) -> tuple[np.ndarray, np.ndarray]:
        lengths = mark.spectrum.lengths
        return lengths, np.full(len(lengths), 1.1 * self._reach * mark.spectrum.strain + _ROUNDING)

    def _place(self, mark: _Mark, kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        lengths, strain = (part[:_LENGTHS] for part in self._lattice(mark))
        width = 1.1 * self._reach * mark.bound + _ROUNDING
        sizes = mark.spectrum.by_shells(self._shells[kind])
        radius = mark.spectrum.reach(1.01 * self._reach) + _ROUNDING * len(mark.spectrum.weights)
        return np.append(mark.numbers, lengths), np.append(width, strain), sizes, radius


_NONE = np.zeros(0)


class _Near:
    """Points and, for each new one, which of them lie both in a box and, by further coordinates, in a ball around it.

    Search trees of doubling sizes: adding costs a logarithm of the number of points, on average.
    """

    def __init__(self) -> None:
        self._scale = _NONE
        self._trees: list[tuple[Any, np.ndarray]] = []
        self._names: list[int] = []
        self._points: list[np.ndarray] = []

    def add(self, name: int, box: np.ndarray, width: np.ndarray, ball: np.ndarray, radius: float) -> None:
        from scipy.spatial import cKDTree

        if not self._names and not self._trees:
            # box and ball of the first point are no larger than 1 in these units
            self._scale = np.append(sqrt(len(width)) * width, np.full(len(ball), radius))
        self._names.append(name)
        self._points.append(np.append(box, ball) / self._scale)
        if len(self._names) < _LEAF:
            return
        names, points = np.array(self._names), np.array(self._points)
        while self._trees and len(self._trees[-1][1]) <= len(names):
            tree, more = self._trees.pop()
            names, points = np.append(more, names), np.vstack([tree.data, points])
        self._trees.append((cKDTree(points), names))
        self._names, self._points = [], []

    def around(self, box: np.ndarray, width: np.ndarray, ball: np.ndarray, radius: float) -> list[int]:
        """Return the names of the points in box and ball, ascending."""
        if not self._names and not self._trees:
            return []
        d = len(box)
        point = np.append(box, ball) / self._scale
        width = width / self._scale[:d]
        radius = float((radius / self._scale[d:]).max(initial=0.0))
        found: list[int] = []

        def take(names: np.ndarray, points: np.ndarray) -> None:
            inside = (np.abs(points[:, :d] - point[:d]) <= width).all(axis=1)
            inside &= np.square(points[:, d:] - point[d:]).sum(axis=1) <= radius**2
            found.extend(names[inside].tolist())

        for tree, names in self._trees:
            rows = tree.query_ball_point(point, sqrt(d * float(width.max(initial=0.0)) ** 2 + radius**2))
            take(names[rows], tree.data[rows])
        if self._names:
            take(np.array(self._names), np.array(self._points))
        return sorted(found)
