"""The rotations that a crystal looks the same after, and what they leave of its elastic constants."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

CUBIC, HEXAGONAL, ORTHORHOMBIC, MONOCLINIC, TRICLINIC = (
    "cubic", "hexagonal", "orthorhombic", "monoclinic", "triclinic",
)  # fmt: skip
TETRAGONAL, TETRAGONAL_LOW = "tetragonal", "tetragonal (4/m)"
TRIGONAL, TRIGONAL_LOW = "trigonal", "trigonal (-3)"
"""The second of each pair is of the Laue class without twofold axes, whose elastic constants are more."""
_ON_SITE = 5e-3
"""Angstrom. Files give thirds with four digits; ferroelectrics are off a cubic crystal's sites by tens of this."""
_SAME_LENGTH = 2e-3
"""Relative, of lengths and products of lattice vectors."""
_ALONG = 1e-2
"""Axes off those of space by less, in sine, are meant to be along them."""
_SIX_FOLD, _FOUR_FOLD, _THREE_FOLD, _TWO_FOLD = 2.0, 1.0, 0.0, -1.0
"""Traces of rotations."""
_LIKE = 1e-2
"""Sines and cosines that differ by less are the same."""
_PROBE = 4
"""Atoms of each element that are looked at first."""
_STEPS = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)))
"""Whole-number coordinates of lattice vectors that may be as long as those of a reduced cell."""


def elastic_symmetry(atoms: Atoms) -> tuple[str, np.ndarray]:
    """Return what symmetry a crystal's elastic constants have, and the axes that they count from.

    Parameters
    ----------
    atoms
        Any cell of the crystal, in any orientation, periodic in three directions.

    Returns
    -------
    symmetry, axes
        One of the names above; and (3, 3) rows of the axes, right-handed. Of a cube, its edges; of all others they hang
        on the crystal and on the vectors of its cell, not on how it lies: a single axis of three, four or six is the
        third, of two the second. Across it the first is along the first vector of the cell that lies across it (of a
        tetragonal or trigonal crystal, a twofold axis nearest to that), else along a shortest vector of the lattice; of
        an orthorhombic crystal they are named after the vectors of the cell. A crystal without any axis has those of
        space, and a cubic or hexagonal one that lies along these has them already.

    Notes
    -----
    Rotations of a reduced primitive cell are whole-number matrices that keep its metric; those count that, with some
    shift, take every atom to one of its element. An inversion changes no elastic constant.
    """
    primitive = _primitive(atoms)
    lattice = _lattice_rotations(primitive.cell[:])
    if len(lattice) <= 2:  # no basis has more symmetry than its lattice
        return TRICLINIC, np.eye(3)
    return _says([turn for turn in lattice if _keeps(primitive, turn)], primitive.cell[:], atoms.cell[:])


def _says(turns: list[np.ndarray], primitive: np.ndarray, cell: np.ndarray) -> tuple[str, np.ndarray]:
    """Return symmetry and axes by rotations in the basis of a primitive cell; `cell` is the crystal's own."""
    rotations = [np.linalg.inv(primitive) @ turn @ primitive * round(np.linalg.det(turn)) for turn in turns]
    of = {trace: _axes(rotations, trace) for trace in (_SIX_FOLD, _FOUR_FOLD, _THREE_FOLD, _TWO_FOLD)}
    if len(of[_THREE_FOLD]) == 4:
        return CUBIC, _cube(of[_THREE_FOLD])
    if of[_SIX_FOLD]:
        return HEXAGONAL, _upright(of[_SIX_FOLD][0])
    two = of[_TWO_FOLD]
    for fold, low, high in ((_FOUR_FOLD, TETRAGONAL_LOW, TETRAGONAL), (_THREE_FOLD, TRIGONAL_LOW, TRIGONAL)):
        if of[fold]:
            up = _along_cell(of[fold][0], cell)
            across = [axis for axis in two if abs(axis @ up) < _LIKE]
            first = _first_across(up, across, primitive, cell)
            return high if across else low, _square(np.array([first, np.cross(up, first), up]))
    if len(two) == 3:
        best = max(permutations(two), key=lambda axes: _likeness(np.array(axes), cell))
        axes = np.array([_along_cell(axis, cell) for axis in best])
        axes[2] *= np.sign(np.linalg.det(axes))
        return ORTHORHOMBIC, _square(axes)
    if two:
        second = _along_cell(two[0], cell)
        first = _first_across(second, [], primitive, cell)
        return MONOCLINIC, _square(np.array([first, second, np.cross(first, second)]))
    return TRICLINIC, np.eye(3)


def _axes(rotations: list[np.ndarray], trace: float) -> list[np.ndarray]:
    """Return the directions (3,) of all axes of rotations with a trace; of an axis and its reverse, one."""
    found: list[np.ndarray] = []
    for turn in rotations:
        if abs(np.trace(turn) - trace) > 0.1:
            continue
        axis = np.array([turn[1, 2] - turn[2, 1], turn[2, 0] - turn[0, 2], turn[0, 1] - turn[1, 0]])
        if trace == _TWO_FOLD:  # no turn has a sense: what stays is twice the projection on the axis
            stays = turn + np.eye(3)
            axis = stays[int(np.argmax(np.linalg.norm(stays, axis=1)))]
        axis /= np.linalg.norm(axis)
        if all(abs(axis @ other) < 0.9 for other in found):
            found.append(axis)
    return found


def _directions(cell: np.ndarray) -> np.ndarray:
    out: np.ndarray = cell / np.linalg.norm(cell, axis=1)[:, None]
    return out


def _likeness(axes: np.ndarray, cell: np.ndarray) -> float:
    """Return how well axes go along the vectors of a cell, one by one."""
    return float(np.abs(np.einsum("ij,ij->i", axes, _directions(cell))).sum())


def _along_cell(axis: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return an axis with the sign that takes it along the vector of the cell that it is nearest to."""
    along = _directions(cell) @ axis
    nearest = int(np.argmax(np.abs(along) > np.abs(along).max() - _LIKE))
    return axis if along[nearest] > 0 else -axis


def _first_across(axis: np.ndarray, twofold: list[np.ndarray], primitive: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the first direction across an axis; `twofold` are axes across it, of which it is one if there are any."""
    lattice = _STEPS @ primitive
    lattice = lattice[np.abs(lattice).max(axis=1) > 0]
    lengths = np.linalg.norm(lattice, axis=1)
    across = np.abs(lattice @ axis) < _LIKE * lengths
    shortest = across & (lengths < lengths[across].min(initial=np.inf) * (1 + 2 * _SAME_LENGTH))
    own, short = _directions(cell), lattice[shortest] / lengths[shortest][:, None]
    either_way = np.concatenate([own, -own])
    candidates = [
        either_way[np.abs(either_way @ axis) < _LIKE],
        short,
        [sign * one for one in twofold for sign in (1, -1)],
    ]
    for some in candidates:
        fit = [one for one in some if not twofold or max(abs(one @ two) for two in twofold) > 1 - _LIKE**2]
        if fit:
            return max(fit, key=lambda one: tuple(np.rint(own @ one / _LIKE).tolist()))
    first: np.ndarray = _upright(axis)[0]  # of a lattice far from what it should be
    return first


def _square(axes: np.ndarray) -> np.ndarray:
    """Return axes (3, 3) perpendicular to the last bit; those of space where they are meant."""
    left, _, right = np.linalg.svd(axes)
    out: np.ndarray = left @ right
    return np.eye(3) if np.abs(out - np.eye(3)).max() < _ALONG else out


def _cube(diagonals: list[np.ndarray]) -> np.ndarray:
    """Return the edges (3, 3) of a cube with four diagonals, as near to the axes of space as they can be named."""
    edges: list[np.ndarray] = []
    for one, other in combinations(diagonals, 2):
        edge = one - np.sign(one @ other) * other
        edge /= np.linalg.norm(edge)
        if all(abs(edge @ known) < 0.5 for known in edges):
            edges.append(edge)
    return _named_like_space(np.array(edges))


def _named_like_space(edges: np.ndarray) -> np.ndarray:
    """Return three perpendicular directions in the order and with the signs that turn space least, right-handed."""
    left, _, right = np.linalg.svd(edges)
    edges = left @ right
    best = np.eye(3)
    most = -np.inf
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)):
        for signs in product((1, -1), repeat=3):
            axes = edges[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(axes) > 0 and np.trace(axes) > most + 1e-6:
                best, most = axes, float(np.trace(axes))
    return np.eye(3) if np.abs(best - np.eye(3)).max() < _ALONG else best


def _upright(axis: np.ndarray) -> np.ndarray:
    """Return axes (3, 3) whose third is the one given."""
    axis = axis * (np.sign(axis[2]) or 1.0)
    if np.hypot(axis[0], axis[1]) < _ALONG:
        return np.eye(3)
    across = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    across /= np.linalg.norm(across)
    return np.array([across, np.cross(axis, across), axis])


def _primitive(atoms: Atoms) -> Atoms:
    """Return the smallest cell of a crystal, reduced, with its atoms."""
    from ase import Atoms as BareAtoms
    from ase.geometry import minkowski_reduce

    cell = minkowski_reduce(atoms.cell[:])[0]
    out = BareAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
    shifts = [shift for shift in _shifts(out, np.eye(3)) if np.abs(shift - np.rint(shift)).max() > 1e-6]
    if not shifts:
        return out
    inside = np.array([(shift - np.floor(shift)) @ cell for shift in shifts])
    vectors = np.concatenate([_STEPS @ cell, *(inside + step @ cell for step in _STEPS)])
    vectors = vectors[np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")][1:]
    smallest = np.array(_shortest(vectors, abs(np.linalg.det(cell)) / (len(shifts) + 1)))
    if len(smallest) < 3:  # positions too far from what they should be
        return out
    scaled = out.positions @ np.linalg.inv(smallest)
    keep: list[int] = []
    for i in range(len(out)):
        apart = scaled[keep] - scaled[i]
        apart = (apart - np.rint(apart)) @ smallest
        same = out.numbers[keep] == out.numbers[i]
        if not (same & (np.linalg.norm(apart, axis=1) < 2 * _ON_SITE)).any():
            keep.append(i)
    if len(keep) * (len(shifts) + 1) != len(out):
        return out
    small = out[keep]
    small.set_cell(smallest)
    return small


def _shortest(vectors: np.ndarray, volume: float) -> list[np.ndarray]:
    """Return the three shortest vectors, of some in the order of their lengths, that span a volume."""
    found: list[np.ndarray] = []
    for vector in vectors:
        if len(found) == 0 or (
            len(found) == 1 and np.linalg.norm(np.cross(found[0], vector)) > 0.1 * np.linalg.norm(vector) ** 2
        ):
            found.append(vector)
        elif len(found) == 2 and abs(abs(np.linalg.det([*found, vector])) / volume - 1) < 0.1:
            return [*found, vector]
    return found


def _lattice_rotations(cell: np.ndarray) -> list[np.ndarray]:
    """Return the rotations of a reduced lattice, whole-number matrices M (3, 3): M cell are the turned vectors."""
    metric = cell @ cell.T
    size = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    lengths = np.einsum("ij,jk,ik->i", _STEPS, metric, _STEPS)
    images = [_STEPS[np.abs(lengths - metric[k, k]) < 2 * _SAME_LENGTH * metric[k, k]] for k in range(3)]
    out = []
    for rows in product(*images):
        turn = np.array(rows)
        if (
            round(abs(np.linalg.det(turn))) == 1
            and (np.abs(turn @ metric @ turn.T - metric) < 2 * _SAME_LENGTH * size).all()
        ):
            out.append(turn)
    return out


def _keeps(atoms: Atoms, turn: np.ndarray) -> bool:
    """Return whether a rotation of the lattice and some shift take the crystal to itself."""
    return next(_shifts(atoms, turn), None) is not None


def _shifts(atoms: Atoms, turn: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the shifts (3,), in the basis of the cell, that take the turned crystal to itself."""
    scaled = atoms.get_scaled_positions(wrap=False)
    turned = scaled @ turn
    kinds = {number: np.flatnonzero(atoms.numbers == number) for number in set(atoms.numbers.tolist())}
    trees = {number: cKDTree(_wrapped(scaled[some]), boxsize=1.0) for number, some in kinds.items()}
    rare = min(kinds.values(), key=len)
    for i in rare:
        shift = scaled[i] - turned[rare[0]]
        if all(
            _fits(scaled[some], turned[probe] + shift, trees[n], atoms.cell[:])
            for few in (_PROBE, None)  # a few tell most shifts that do not
            for n, some in kinds.items()
            for probe in (some[:few],)
        ):
            yield shift


def _fits(sites: np.ndarray, moved: np.ndarray, tree: cKDTree, cell: np.ndarray) -> bool:
    """Return whether each moved atom is on a site of its own."""
    _, nearest = tree.query(_wrapped(moved))
    apart = moved - sites[nearest]
    apart = (apart - np.rint(apart)) @ cell
    return len(set(nearest.tolist())) == len(moved) and bool(np.linalg.norm(apart, axis=1).max() < 2 * _ON_SITE)


def _wrapped(scaled: np.ndarray) -> np.ndarray:
    out = scaled - np.floor(scaled)
    return np.asarray(np.where(out >= 1.0, 0.0, out))
