"""Numbers of a frame that rotation, order of atoms, wrapping and choice of cell leave alone.

Frames whose numbers differ by more than small displacements can cause are not the same structure; only the others need
to be laid over each other (:mod:`mlff_curate.checks.overlay`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.neighbours import default_cutoff, neighbour_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ase import Atoms

FUNCTIONS = 6
"""K, functions of the distance to each neighbour."""
SHELLS = 8
"""Distances per atom that are compared one by one, so to speak."""
_SHELL_BOUND = np.full(SHELLS, 4.0)
"""Both atoms move, and so do the lattice vectors between their images."""
_BLOCK_ATOMS = 4096
TENSOR = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Where the components of a (3, 3) tensor stand in ASE's Voigt order xx, yy, zz, yz, xz, xy."""


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Invariants:
    """What tells structures apart without laying them over each other; n atoms.

    Attributes
    ----------
    kind
        Composition in lowest terms and which directions are periodic: frames of different kinds are not the same.
    whole
        (d,) of the frame: means of the atoms' numbers, its shortest distances,
        how its elements are ordered, and its extent: volume, area or length
        per atom and the second moments along open directions.
    whole_bound
        (d,) how far these can move if every atom moves by 1 Angstrom, to first order.
    turned
        (6,) like `whole`, but of the orientation in space: they change if the frame is rotated.
    turned_bound
        (6,) as `whole_bound`.
    local
        (n, K) of each atom: its neighbours' distances.
    local_bound
        (n, K) as `whole_bound`.
    """

    kind: tuple[object, ...]
    whole: np.ndarray
    whole_bound: np.ndarray
    turned: np.ndarray
    turned_bound: np.ndarray
    local: np.ndarray
    local_bound: np.ndarray


def invariants(frames: Iterable[Atoms]) -> Iterator[tuple[Atoms, Invariants]]:
    """Yield each frame with its invariants; a block of frames is held at a time."""
    block: list[Atoms] = []
    cutoff, size = 0.0, 0
    for atoms in frames:
        own = default_cutoff(sorted(set(atoms.numbers.tolist())))
        if block and (own != cutoff or size + len(atoms) > _BLOCK_ATOMS):
            yield from _of_block(block, cutoff)
            block, size = [], 0
        block.append(atoms)
        cutoff, size = own, size + len(atoms)
    if block:
        yield from _of_block(block, cutoff)


def _of_block(frames: list[Atoms], cutoff: float) -> Iterator[tuple[Atoms, Invariants]]:
    neighbours = neighbour_list(frames, cutoff)
    distance = np.linalg.norm(neighbours.vector, axis=1)
    weight = np.sqrt(neighbours.number)
    value, slope = _bumps(distance / cutoff)
    value, slope = weight[:, None] * value, weight[:, None] * slope * (2.0 / cutoff)  # both ends of a pair move
    total = len(neighbours.count)
    local, local_bound = _sums(neighbours.centre, value, total), _sums(neighbours.centre, np.abs(slope), total)
    unit = neighbours.vector / np.where(distance > 0, distance, 1.0)[:, None]
    dyad = unit[:, (0, 1, 2, 1, 0, 0)] * unit[:, (0, 1, 2, 2, 2, 1)]
    smooth = weight * (1.0 - distance / cutoff) ** 2
    turned = _sums(neighbours.centre, smooth[:, None] * dyad, total)
    steepness = weight * (4.0 / cutoff + 4.0 * (1.0 - distance / cutoff) ** 2 / np.maximum(distance, 1e-3))
    turned_bound = _sums(neighbours.centre, steepness[:, None], total)
    bumps, slopes = value, np.abs(slope)
    contrast = np.concatenate([_contrast(atoms) for atoms in frames])
    edge = np.concatenate([[0], np.cumsum(neighbours.count)])
    start = 0
    for atoms in frames:
        own = slice(start, start + len(atoms))
        edges = slice(edge[start], edge[start + len(atoms)])
        shells = _shells(distance[edges], len(atoms), cutoff)
        pairs = contrast[neighbours.centre[edges]] * contrast[neighbours.neighbour[edges]] / len(atoms)
        order, order_bound = pairs @ bumps[edges], np.abs(pairs) @ slopes[edges]
        start += len(atoms)
        charge = np.sqrt(atoms.numbers)[:, None]
        extent, extent_bound = _extent(atoms)
        tensor = (charge * turned[own]).mean(axis=0)
        tensor_bound = np.repeat((charge * turned_bound[own]).mean(), 6)
        shape = np.linalg.eigvalsh(tensor[TENSOR])
        yield (
            atoms,
            Invariants(
                _kind(atoms),
                np.concatenate([(charge * local[own]).mean(axis=0), shape, shells, order, extent]),
                np.concatenate(
                    [
                        (charge * local_bound[own]).mean(axis=0),
                        tensor_bound[:3],
                        _SHELL_BOUND,
                        order_bound,
                        extent_bound,
                    ]
                ),
                tensor,
                tensor_bound,
                local[own],
                local_bound[own],
            ),
        )


def _bumps(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return K functions of the distance over the cutoff, zero with their slopes at 1, and their slopes; (E, K)."""
    centres = np.linspace(0.3, 0.9, FUNCTIONS)
    gap = (x[:, None] - centres) / 0.12
    bell = np.exp(-0.5 * gap**2)
    fade = ((1.0 - x) ** 2)[:, None]
    return bell * fade, bell * (-gap / 0.12 * fade - 2.0 * (1.0 - x)[:, None])


def _sums(centre: np.ndarray, values: np.ndarray, total: int) -> np.ndarray:
    """Sum rows by centre, (total, columns)."""
    return np.stack([np.bincount(centre, values[:, k], total) for k in range(values.shape[1])], axis=1)


def _contrast(atoms: Atoms) -> np.ndarray:
    """Return a number per atom that differs from element to element and is zero on average.

    Products of it over pairs tell one order of an alloy's atoms on its lattice from another.
    """
    rank = np.unique(atoms.numbers, return_inverse=True)[1].reshape(-1)
    contrast: np.ndarray = rank - rank.mean()
    return contrast


def _shells(distance: np.ndarray, n: int, cutoff: float) -> np.ndarray:
    """Return means of the n shortest distances, of the n next ones and so on, none longer than the cutoff.

    Unlike smooth functions of the distances these change to first order where an atom leaves a centre of symmetry.
    """
    ends = np.full(SHELLS * n, cutoff)
    shortest = np.sort(distance)[: SHELLS * n]
    ends[: len(shortest)] = shortest
    means: np.ndarray = ends.reshape(SHELLS, n).mean(axis=1)
    return means


def _kind(atoms: Atoms) -> tuple[object, ...]:
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    common = reduce(gcd, counts.tolist()) if atoms.pbc.any() else 1
    return (int(atoms.pbc.sum()), *zip(numbers.tolist(), (counts // common).tolist(), strict=True))


def _extent(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return the size per atom along periodic directions and the spread along open ones, with their bounds."""
    n = len(atoms)
    lattice = atoms.cell.array[atoms.pbc]
    rank = len(lattice)
    values, bounds = [], []
    if rank:
        length = np.linalg.norm(lattice, axis=1)
        size = float(np.sqrt(max(np.linalg.det(lattice @ lattice.T), 0.0)))
        values.append((size / n) ** (1.0 / rank))
        # a vector of length l that ends d away changes the size by the share d / l at most, if the cell is not skewed
        bounds.append(2.0 * values[0] * np.sum(1.0 / length) / rank * float(np.prod(length)) / max(size, 1e-12))
    if rank < 3:
        basis = np.linalg.svd(np.vstack([lattice, np.zeros((1, 3))]))[2]
        apart = (atoms.positions - atoms.positions.mean(axis=0)) @ basis[rank:].T
        spread = np.sqrt(np.maximum(np.linalg.eigvalsh(apart.T @ apart / n), 0.0))
        values += spread.tolist()
        bounds += [1.0] * len(spread)
    return np.array(values), np.array(bounds)
