"""Is a frame a frame at all? What no descriptor could make sense of is refused while reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

_FLAT = 1e-6
"""Periodic vectors that span less than this share of the product of their lengths are flat."""
_LAST_ELEMENT = 118


def require_sound(atoms: Atoms, file: str, index: int) -> None:
    """Refuse a frame that has no meaning.

    Raises
    ------
    DataError
        No atoms, unknown elements, positions or cell that are no numbers, or a cell without volume in periodic
        directions; names file, frame and key.
    """
    if len(atoms) == 0:
        raise DataError("the frame has no atoms", file=file, frame=index)
    unknown = np.flatnonzero((atoms.numbers < 1) | (atoms.numbers > _LAST_ELEMENT))
    if len(unknown):
        raise DataError(f"atom {unknown[0]} is of an unknown element", file=file, frame=index, key="species")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise DataError(
            f"atom {bad[0]} has a position that is not a number ({len(bad)} such atoms)",
            file=file,
            frame=index,
            key="positions",
        )
    if not np.isfinite(atoms.cell.array).all():
        raise DataError("the cell holds a value that is not a number", file=file, frame=index, key="cell")
    periodic = atoms.cell.array[atoms.pbc]
    if len(periodic):
        lengths = np.linalg.norm(periodic, axis=1)
        span = float(np.sqrt(max(np.linalg.det(periodic @ periodic.T), 0.0)))
        if lengths.min() == 0 or span < _FLAT * float(lengths.prod()):
            raise DataError(
                f"pbc is {' '.join('FT'[b] for b in atoms.pbc)} but the cell has no volume there: "
                "set the cell or switch pbc off",
                file=file,
                frame=index,
                key="cell",
            )
