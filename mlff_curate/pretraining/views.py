"""Frames as they might have been: displaced, strained, turned, repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

_SMALL = 16
"""Atoms. Smaller periodic frames are repeated: the atoms of a cell of one could not be displaced at all."""


@dataclass(frozen=True, eq=False)
class View:
    """A frame that noise was added to.

    Attributes
    ----------
    atoms
        n atoms.
    displacement
        (n, 3) what was added to the positions of the strained frame, Angstrom; its mean is zero.
    strain
        (3, 3) symmetric, what cell and positions were multiplied by less one; zero where it is not drawn.
    """

    atoms: Atoms
    displacement: np.ndarray
    strain: np.ndarray


def enlarged_sizes(atoms: np.ndarray) -> np.ndarray:
    """Return about how many atoms frames of so many have once they are :func:`enlarged`, (F,)."""
    sizes: np.ndarray = np.maximum(atoms, _SMALL)
    return sizes


def enlarged(atoms: Atoms, rng: np.random.Generator | None = None) -> Atoms:
    """Return a frame repeated along its periodic directions until it has 16 atoms, the shortest first.

    With a generator, along one more of them drawn from those, or none.
    """
    repeat = np.ones(3, np.int64)
    lengths = atoms.cell.lengths()
    periodic = np.flatnonzero(atoms.pbc)
    while len(periodic) and len(atoms) * repeat.prod() < _SMALL:
        repeat[periodic[np.argmin((repeat * lengths)[periodic])]] += 1
    if rng is not None and len(periodic) and repeat.prod() > 1:
        more = rng.integers(len(periodic) + 1)
        if more < len(periodic):
            repeat[periodic[more]] += 1
    larger: Atoms = atoms.repeat(tuple(repeat.tolist())) if repeat.prod() > 1 else atoms.copy()
    return larger


def noisy(atoms: Atoms, sigma: float, strain: float, rng: np.random.Generator) -> View:
    """Strain and displace a frame.

    Parameters
    ----------
    atoms
        n atoms.
    sigma
        Standard deviation of each component of the displacements, Angstrom.
    strain
        Standard deviation of each of the six components of the strain; only of frames periodic in three directions.
    rng
        Of both.
    """
    displacement = sigma * rng.normal(size=(len(atoms), 3))
    displacement -= displacement.mean(axis=0)
    drawn = rng.normal(size=(3, 3))
    tensor = np.zeros((3, 3))
    if strain > 0 and atoms.pbc.all():
        tensor = strain * (np.tril(drawn) + np.tril(drawn, -1).T)
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=False)
    changed.positions = atoms.positions @ (np.eye(3) + tensor) + displacement
    return View(changed, displacement, tensor)


def turned(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return a frame in a random orientation."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    changed: Atoms = atoms.copy()
    changed.set_cell(atoms.cell.array @ turn.T, scale_atoms=False)
    changed.positions = atoms.positions @ turn.T
    return changed
