"""Cells for programs that repeat every frame without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


def repeatable_cell(atoms: Atoms, reach: float, program: str, *, stress: bool) -> np.ndarray:
    """Return a cell, (3, 3), whose images do not see each other along directions that are not periodic.

    The frame's own cell, where it is periodic or has vacuum enough; else vectors that are not periodic are replaced,
    and the vacuum along them is twice the reach.

    Parameters
    ----------
    atoms
        The frame; it stays as it is.
    reach
        How far atoms see, Angstrom.
    program
        That repeats it, for the message.
    stress
        The frame has a stress, which is per volume of its own cell.

    Raises
    ------
    DataError
        The cell must change and the frame has a stress.
    """
    from ase.geometry import Cell

    cell = np.array(atoms.cell.array)
    free = [int(axis) for axis in np.flatnonzero(~atoms.pbc)]
    if abs(np.linalg.det(cell)) > 0 and all(_gap(atoms, cell, axis) >= reach for axis in free):
        return cell
    if stress:
        raise DataError(
            f"is not periodic and has less than {reach:g} Angstrom of vacuum: {program} would repeat it, and its "
            "stress is per volume of this cell; leave out the stress or the frame",
            key="cell",
        )
    cell[free] = 0.0
    cell = np.array(Cell(cell).complete().array)
    for axis in free:
        direction = cell[axis] / np.linalg.norm(cell[axis])
        cell[axis] = direction * (float(np.ptp(atoms.positions @ direction)) + 2 * reach)
    return cell


def _gap(atoms: Atoms, cell: np.ndarray, axis: int) -> float:
    """Return the vacuum between a frame and its image along a cell vector, Angstrom."""
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    normal /= np.linalg.norm(normal)
    return abs(float(cell[axis] @ normal)) - float(np.ptp(atoms.positions @ normal))
