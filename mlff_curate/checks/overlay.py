"""Laying one structure over another: a motion that takes every atom to an atom of its element, if there is one.

A yes is proved by the motion itself: it maps the lattice to the lattice and the atoms one to one, and the largest
distance left over is told. Lattices are compared as lattices, so the choice of cell does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

_STEPS = np.array(list(product(range(-2, 3), repeat=3)))
"""(125, 3). Of a reduced cell, vectors as short as one of its own have no larger coefficients."""

_SAME_PLACE = 1e-9


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Structure:
    """A frame made ready to be laid over others: n atoms, periodic in r directions.

    Attributes
    ----------
    numbers
        (n,) atomic numbers.
    positions
        (n, 3), Angstrom.
    lattice
        (r, 3) reduced lattice vectors, Angstrom.
    local, local_bound
        (n, K) of :class:`~mlff_curate.checks.invariants.Invariants`: which atoms can be mapped to which.
    tolerance
        Angstrom that an atom or a lattice vector may be off.
    span
        Length of the longest vector of the cell as it came, Angstrom: a strain moves the atoms at its ends.
    """

    numbers: np.ndarray
    positions: np.ndarray
    lattice: np.ndarray
    local: np.ndarray
    local_bound: np.ndarray
    tolerance: float
    span: float

    @cached_property
    def start(self) -> int:
        """An atom of the element with the fewest atoms, one whose surroundings stand out."""
        elements, counts = np.unique(self.numbers, return_counts=True)
        rows = np.flatnonzero(self.numbers == elements[counts.argmin()])
        apart = np.abs(self.local[rows] - np.median(self.local[rows], axis=0)).sum(axis=1)
        return int(rows[apart.argmax()])

    @cached_property
    def primitive(self) -> Structure:
        """The smallest cell that repeats to the structure, or the structure itself."""
        return _primitive(self)


def structure_of(atoms: Atoms, local: np.ndarray, local_bound: np.ndarray, tolerance: float) -> Structure:
    """Return a frame with its lattice reduced."""
    from ase.geometry import minkowski_reduce

    lattice = np.zeros((0, 3))
    if atoms.pbc.any():
        lattice = minkowski_reduce(atoms.cell.complete().array, pbc=atoms.pbc)[0][atoms.pbc]
    return Structure(atoms.numbers, atoms.positions, lattice, local, local_bound, tolerance, _longest(lattice))


def shift_between(a: Structure, b: Structure) -> float | None:
    """Lay structures over each other by shifts, changes of cell and new orders of the atoms, but not turned.

    Returns
    -------
    float or None
        The largest distance left between two atoms or two lattice vectors, Angstrom; None: more than the tolerance.
    """
    if len(a.numbers) != len(b.numbers) or len(a.lattice) != len(b.lattice):
        return None
    rank = len(a.lattice)
    across = _across(a.lattice)
    mine = np.vstack([a.lattice, across])
    steps = np.rint(mine @ np.linalg.pinv(np.vstack([b.lattice, across])))[:rank, :rank]
    if rank and abs(round(float(np.linalg.det(steps)))) != 1:
        return None
    other = steps @ b.lattice
    misfit = _longest(a.lattice - other)
    if misfit > a.tolerance:
        return None
    pairing = a.start, _alike(a, b, a.start)
    left = _atoms_apart(a, b, pairing, (mine, np.vstack([other, across])), turn=False)
    return None if left is None else max(left, misfit)


def motion_between(a: Structure, b: Structure) -> float | None:
    """Lay structures over each other by any motion: turned and mirrored too, and in cells that hold more atoms.

    Returns
    -------
    float or None
        As of :func:`shift_between`.
    """
    a, b = a.primitive, b.primitive
    if len(a.lattice) != len(b.lattice) or len(a.numbers) != len(b.numbers):
        return None
    return _turned(a, b)


def _primitive(structure: Structure) -> Structure:
    rank = len(structure.lattice)
    alike = _alike(structure, structure, structure.start)
    if rank == 0 or len(alike) == 1:
        return structure
    basis = np.vstack([structure.lattice, _across(structure.lattice)])
    offset = (structure.positions[alike] - structure.positions[structure.start]) @ np.linalg.inv(basis)
    offset = offset[(np.abs(offset[:, rank:]) <= structure.tolerance).all(axis=1)]  # open directions have unit vectors
    offset[:, rank:] = 0.0
    offset[:, :rank] -= np.rint(offset[:, :rank])
    moves = (np.abs(offset) > _SAME_PLACE).any(axis=1)

    @cache
    def repeats(shift: int) -> bool:
        if not moves[shift]:
            return True
        return _one_to_one(structure, structure, (basis, basis), offset[shift]) is not None

    if not any(repeats(shift) for shift in np.flatnonzero(moves).tolist()):
        return structure
    steps = _STEPS[(np.abs(_STEPS) <= 1).all(axis=1) & (_STEPS[:, rank:] == 0).all(axis=1)]
    vectors = (offset[:, None, :] + steps).reshape(-1, 3) @ basis
    found = np.zeros((0, 3))
    for k in np.argsort(np.linalg.norm(vectors, axis=1), kind="stable").tolist():
        # in up to three dimensions the shortest independent vectors of a lattice are a basis of it
        if not _independent(found, vectors[k], structure.tolerance) or not repeats(k // len(steps)):
            continue
        found = np.vstack([found, vectors[k]])
        if len(found) == rank:
            break
    copies = _size(structure.lattice) / _size(found)
    if round(copies) < 2 or abs(copies - round(copies)) > 0.01 or len(structure.numbers) % round(copies):
        return structure
    chosen = _first_of_each(structure.positions, np.vstack([found, _across(found)]), rank, structure.tolerance)
    if len(chosen) * round(copies) != len(structure.numbers):
        return structure
    return Structure(
        structure.numbers[chosen],
        structure.positions[chosen],
        found,
        structure.local[chosen],
        structure.local_bound[chosen],
        structure.tolerance,
        structure.span,
    )


def _turned(a: Structure, b: Structure) -> float | None:
    """Try every motion that takes one lattice to the other, and some atoms too where that leaves freedom."""
    rank = len(a.lattice)
    start = a.start
    targets = _alike(a, b, start)
    if len(targets) == 0:
        return None
    for mine, other in _matching_frames(a, b):
        stretched = np.linalg.inv(mine) @ other
        u, _, vt = np.linalg.svd(stretched)
        turn = u @ vt
        turned = mine @ turn
        misfit = _strain(a.lattice, other[:rank]) * max(a.span, b.span)
        if misfit > a.tolerance:
            continue
        moved = np.vstack([other[:rank], turned[rank:]])
        left = _atoms_apart(a, b, (start, targets), (mine, moved), turn=True)
        if left is not None:
            return max(left, misfit)
    return None


def _matching_frames(a: Structure, b: Structure) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of three independent vectors, (3, 3) rows, of `a` and of `b`, that have the same lengths and angles.

    The first r are basis vectors of the lattices, the others directions to atoms, seen across the lattice.
    """
    rank = len(a.lattice)
    mine, picks = _own_frame(a)
    lattice_vectors = _STEPS[(_STEPS[:, rank:] == 0).all(axis=1), :rank] @ b.lattice if rank else np.zeros((0, 3))
    basis = np.vstack([b.lattice, _across(b.lattice)])
    starts = _alike(a, b, picks[0]) if picks else [-1]
    for start in starts:
        options = [lattice_vectors] * rank
        if start >= 0:
            away = ((b.positions - b.positions[start]) @ np.linalg.inv(basis))[:, rank:] @ basis[rank:]
            options += [away[_alike(a, b, pick)] for pick in picks[1:]]
        for found in _same_shape(mine[: len(options)], options, a.tolerance):
            missing = 3 - len(found)
            if rank and abs(_size(found[:rank]) / _size(b.lattice) - 1.0) > 0.1:
                continue
            if missing == 0:
                yield mine, found
            elif missing == 1:
                normal = _across(found)
                yield mine, np.vstack([found, normal])
                yield mine, np.vstack([found, -normal])
            else:
                yield mine, np.vstack([found, _across(found)])


def _own_frame(a: Structure) -> tuple[np.ndarray, list[int]]:
    """Return three independent vectors, the lattice's first, and the atoms that those after it come from.

    The first atom named is where the vectors to the others start.
    """
    rank = len(a.lattice)
    if rank == 3 or len(a.numbers) == 1:
        return np.vstack([a.lattice, _across(a.lattice)]), []
    start = a.start
    across = _across(a.lattice)
    away = (a.positions - a.positions[start]) @ across.T @ across
    vectors, picks = a.lattice, [start]
    while len(vectors) < 3:
        rest = away - away @ np.linalg.pinv(vectors[rank:]) @ vectors[rank:] if len(vectors) > rank else away
        height = np.linalg.norm(rest, axis=1)
        far = int(height.argmax())
        if height[far] <= 10.0 * a.tolerance:
            break
        vectors = np.vstack([vectors, away[far]])
        picks.append(far)
    return np.vstack([vectors, _across(vectors)]), picks if len(picks) > 1 else []


def _same_shape(mine: np.ndarray, options: list[np.ndarray], tolerance: float) -> Iterator[np.ndarray]:
    """Yield choices of one vector from each option, with the lengths and angles that `mine` have among each other."""
    if not options:
        yield np.zeros((0, 3))
        return
    length = np.linalg.norm(mine, axis=1)
    fitting = [
        vectors[np.abs(np.linalg.norm(vectors, axis=1) - size) <= 2.0 * tolerance]
        for vectors, size in zip(options, length, strict=True)
    ]

    def grow(chosen: list[np.ndarray]) -> Iterator[np.ndarray]:
        k = len(chosen)
        if k == len(fitting):
            yield np.array(chosen)
            return
        vectors = fitting[k]
        good = np.ones(len(vectors), bool)
        for i, earlier in enumerate(chosen):
            good &= np.abs(vectors @ earlier - mine[k] @ mine[i]) <= 3.0 * tolerance * (length[i] + length[k])
        for vector in vectors[good]:
            yield from grow([*chosen, vector])

    yield from grow([])


def _atoms_apart(
    a: Structure, b: Structure, pairing: tuple[int, np.ndarray], bases: tuple[np.ndarray, np.ndarray], turn: bool
) -> float | None:
    """Map the atoms with one basis to the atoms with the other by some shift; the largest distance left over."""
    start, targets = pairing
    rank, (mine, other) = len(a.lattice), bases
    own = (a.positions - a.positions[start]) @ np.linalg.inv(mine)
    origin = a.positions[start] @ np.linalg.inv(mine)
    there = b.positions @ np.linalg.inv(other)
    probe = own[start - 1]  # any other atom, if there is one
    reach = a.tolerance * (4.0 if rank == 3 else 20.0)  # where atoms set the orientation, it is as uncertain as they
    for target in targets:
        gap = probe + there[target] - there
        gap[:, :rank] -= np.rint(gap[:, :rank])
        if np.square(gap @ other).sum(axis=1).min() > reach**2:
            continue
        left = _one_to_one(a, b, bases, there[target] - origin, turn)
        if left is not None:
            return left
    return None


def _one_to_one(
    a: Structure, b: Structure, bases: tuple[np.ndarray, np.ndarray], shift: np.ndarray, turn: bool = False
) -> float | None:
    from scipy.spatial import cKDTree

    rank, (mine, other) = len(a.lattice), bases
    placed = a.positions @ np.linalg.inv(mine) + shift
    there = b.positions @ np.linalg.inv(other)
    box = np.zeros(3)
    box[:rank] = 1.0
    for places in (placed, there):
        places[:, :rank] -= np.floor(places[:, :rank])
        places[:, :rank][places[:, :rank] >= 1.0] = 0.0
    target = cKDTree(there, boxsize=box).query(placed)[1]
    if len(np.unique(target)) != len(target) or (a.numbers != b.numbers[target]).any():
        return None
    gap = placed - there[target]
    gap[:, :rank] -= np.rint(gap[:, :rank])
    gap = gap @ other
    gap -= gap.mean(axis=0)
    if turn:
        gap = _turned_closer(gap, b.positions[target], other[rank:])
    left = _longest(gap)
    return left if left <= a.tolerance else None


def _turned_closer(gap: np.ndarray, positions: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Turn atoms about their centre in the open directions until the gaps are least (Kabsch 1976).

    The orientation came from one or two atoms, whose own displacements it must not hand on to all others.
    """
    if len(plane) < 2:
        return gap
    axes: np.ndarray = np.linalg.svd(plane, full_matrices=False)[2]
    there = (positions - positions.mean(axis=0)) @ axes.T
    here = there + gap @ axes.T
    u, _, vt = np.linalg.svd(here.T @ there)
    closer: np.ndarray = gap + (here @ (u @ vt) - here) @ axes
    return closer


def _alike(a: Structure, b: Structure, atom: int) -> np.ndarray:
    """Return the atoms of `b` that an atom of `a` could be mapped to."""
    bound = 1.5 * a.tolerance * (a.local_bound[atom] + b.local_bound) / 2.0 + 1e-6 * (1.0 + np.abs(a.local[atom]))
    fits = (b.numbers == a.numbers[atom]) & (np.abs(b.local - a.local[atom]) <= bound).all(axis=1)
    return np.flatnonzero(fits)


def _across(vectors: np.ndarray) -> np.ndarray:
    """Return unit vectors orthogonal to k independent ones and to each other, (3 - k, 3); right-handed with them."""
    k = len(vectors)
    if k == 3:
        return np.zeros((0, 3))
    if k == 0:
        return np.eye(3)
    if k == 2:
        normal: np.ndarray = np.cross(vectors[0], vectors[1])[None]
        return normal / float(np.linalg.norm(normal))
    rows: np.ndarray = np.linalg.svd(vectors)[2]
    return rows[1:]


def _independent(vectors: np.ndarray, new: np.ndarray, tolerance: float) -> bool:
    rest = new - np.linalg.lstsq(vectors.T, new, rcond=None)[0] @ vectors if len(vectors) else new
    return float(np.linalg.norm(rest)) > 10.0 * tolerance


def _first_of_each(positions: np.ndarray, basis: np.ndarray, rank: int, tolerance: float) -> list[int]:
    """Return the first atom of each set that the lattice maps onto each other."""
    places = positions @ np.linalg.inv(basis)
    kept: list[int] = []
    taken = np.zeros(len(places), bool)
    for i in range(len(places)):
        if taken[i]:
            continue
        gap = places - places[i]
        gap[:, :rank] -= np.rint(gap[:, :rank])
        taken |= np.linalg.norm(gap @ basis, axis=1) <= 5.0 * tolerance
        kept.append(i)
    return kept


def _strain(lattice: np.ndarray, other: np.ndarray) -> float:
    """Return the largest principal strain that takes one lattice to another, by absolute value."""
    mine, theirs = (np.vstack([vectors, _across(vectors)]) for vectors in (lattice, other))
    stretches: np.ndarray = np.linalg.svd(np.linalg.inv(mine) @ theirs)[1]
    return float(np.abs(stretches - 1.0).max())


def _size(vectors: np.ndarray) -> float:
    return float(np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0)))


def _longest(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1).max(initial=0.0))
