"""Is a frame a frame at all? What no descriptor could make sense of is refused while reading."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from ase import Atoms

_FLAT = 1e-6
"""Periodic vectors that span less than this share of the product of their lengths are flat."""
_LAST_ELEMENT = 118
_FARTHEST = 1e8
"""Angstrom. Farther from the origin float64 does not resolve a bond's strain, and squares overflow in the end."""
_DENSEST = 0.01
"""Angstrom^3 per atom. Hundreds of times denser than any solid: a unit is wrong, and neighbours are without number."""
_THINNEST = 0.01
"""Angstrom. A shorter periodic vector is as good as none."""


def require_sound(atoms: Atoms, file: str | None, index: int) -> None:
    """Refuse a frame that has no meaning.

    Raises
    ------
    DataError
        No atoms, unknown elements, positions or cell that are no numbers, or a cell without volume in periodic
        directions; names file, frame and key.
    """
    if _is_plainly_sound(atoms):
        return
    if len(atoms) == 0:
        raise DataError("the frame has no atoms", file=file, frame=index)
    unknown = np.flatnonzero((atoms.numbers < 1) | (atoms.numbers > _LAST_ELEMENT))
    if len(unknown):
        raise DataError(f"atom {unknown[0]} is of an unknown element", file=file, frame=index, key="species")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise DataError(
            f"atom {bad[0]} has a position that is not a number ({counted(len(bad), 'such atom')})",
            file=file,
            frame=index,
            key="positions",
        )
    if not np.isfinite(atoms.cell.array).all():
        raise DataError("the cell holds a value that is not a number", file=file, frame=index, key="cell")
    for key, values in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if np.abs(values).max() > _FARTHEST:
            raise DataError(
                f"holds {np.abs(values).max():.3g} Angstrom: is the unit right?", file=file, frame=index, key=key
            )
    _require_volume(atoms, file, index)


def _is_plainly_sound(atoms: Atoms) -> bool:
    """Tell the usual frames, periodic and far from every limit, with few operations: sets have many small frames."""
    numbers = atoms.arrays["numbers"]
    if len(numbers) == 0 or not all(atoms.pbc.tolist()):
        return False
    if not _are_elements(numbers):
        return False
    positions = atoms.arrays["positions"]
    if not np.vdot(positions, positions) <= _FARTHEST**2:  # nor is NaN
        return False
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell = atoms.cell.array.tolist()
    lengths = [math.hypot(*vector) for vector in cell]
    volume = abs(ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx))
    return all(2 * _THINNEST < length <= _FARTHEST for length in lengths) and volume > 2 * max(
        _FLAT * math.prod(lengths), _DENSEST * len(numbers)
    )


def _are_elements(numbers: np.ndarray) -> bool:
    first = int(numbers[0])
    if numbers.tobytes() == numbers[:1].tobytes() * len(numbers):  # of one element: quicker than two reductions
        return 0 < first <= _LAST_ELEMENT
    return bool(np.minimum.reduce(numbers) > 0 and np.maximum.reduce(numbers) <= _LAST_ELEMENT)


def _require_volume(atoms: Atoms, file: str | None, index: int) -> None:
    periodic = atoms.cell.array[atoms.pbc]
    if len(periodic) == 0:
        return
    lengths = np.linalg.norm(periodic, axis=1)
    unit = periodic / np.where(lengths > 0, lengths, 1.0)[:, None]
    span = float(np.sqrt(max(np.linalg.det(unit @ unit.T), 0.0)))
    if lengths.min() < _THINNEST or span < _FLAT:
        raise DataError(
            f"pbc is {' '.join('FT'[int(b)] for b in atoms.pbc)} but the cell has no volume there: "
            "set the cell or switch pbc off",
            file=file,
            frame=index,
            key="cell",
        )
    if len(periodic) == 3 and span * lengths.prod() < _DENSEST * len(atoms):
        raise DataError(
            f"{span * lengths.prod() / len(atoms):.3g} Angstrom^3 per atom: is the unit right?",
            file=file,
            frame=index,
            key="cell",
        )
