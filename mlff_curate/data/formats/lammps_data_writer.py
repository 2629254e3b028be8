"""Frames as LAMMPS data files of atom style atomic, in metal units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.lammps_units import in_ase_units
from mlff_curate.data.frames import calculator_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, WriteOptions

_MARGIN = 1.0
"""Angstrom between the outermost atoms and the box, along directions without a cell vector."""
_HELD = frozenset({"numbers", "positions", "momenta", "masses"})


class DataFile:
    """Writes one frame to a file."""

    def __init__(self, path: Path, options: WriteOptions) -> None:
        self._path = path
        self._types = options.type_map
        self._used = False

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write the frame; a second one is refused."""
        if self._used:
            raise DataError(
                "a LAMMPS data file holds one frame: write a folder of them with --to lammps-data-folder",
                file=frame.frame.source,
                frame=frame.frame.index,
                key="--to",
            )
        self._used = True
        return _write(self._path, frame, self._types or _by_number(frame.frame.atoms))

    def close(self) -> None:
        """Nothing stands at the end."""


class DataFolder:
    """Writes frames to a folder of numbered files, with the same types in all."""

    def __init__(self, path: Path, options: WriteOptions) -> None:
        path.mkdir()
        self._path = path
        self._types = options.type_map
        self._count = 0

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write the frame; one with elements beyond those of the first is refused, unless the user told all."""
        self._types = self._types or _by_number(frame.frame.atoms)
        lost = _write(self._path / f"{self._count:06d}.data", frame, self._types)
        self._count += 1
        return lost

    def close(self) -> None:
        """Nothing stands at the end."""


def _by_number(atoms: Atoms) -> tuple[str, ...]:
    from ase.data import chemical_symbols

    return tuple(chemical_symbols[number] for number in np.unique(atoms.numbers))


def _write(path: Path, frame: NormalFrame, types: Sequence[str]) -> tuple[str, ...]:
    atoms = frame.frame.atoms
    symbols = atoms.get_chemical_symbols()
    beyond = sorted(set(symbols) - set(types))
    if beyond:
        raise DataError(
            f"the frame has {', '.join(beyond)}, the types are {', '.join(types)}: say --type-map with all elements",
            file=frame.frame.source,
            frame=frame.frame.index,
            key="--type-map",
        )
    masses, lost = _masses(atoms, types)
    cell, origin = _box(atoms)
    turn = _to_triangular(cell)
    box, low = cell @ turn, origin @ turn
    numbers = {symbol: number for number, symbol in enumerate(types, 1)}
    high = low + np.diag(box)
    text = f"{', '.join(types)}: atom types 1 to {len(types)}; units = metal; written by mlff-curate\n\n"
    text += f"{len(atoms)} atoms\n{len(types)} atom types\n\n"
    text += "".join(f"{a!r} {b!r} {x}lo {x}hi\n" for a, b, x in zip(low.tolist(), high.tolist(), "xyz", strict=True))
    text += f"{box[1, 0]:.17g} {box[2, 0]:.17g} {box[2, 1]:.17g} xy xz yz\n\nMasses\n\n"
    text += "".join(f"{n} {mass!r} # {s}\n" for n, (s, mass) in enumerate(zip(types, masses, strict=True), 1))
    text += "\nAtoms # atomic\n\n"
    text += "".join(
        f"{i} {numbers[symbol]} {x:.17g} {y:.17g} {z:.17g}\n"
        for i, (symbol, (x, y, z)) in enumerate(zip(symbols, (atoms.positions @ turn).tolist(), strict=True), 1)
    )
    if atoms.has("momenta"):
        velocities = atoms.get_velocities() @ turn / in_ase_units("velocity", "metal")
        text += "\nVelocities\n\n"
        text += "".join(f"{i} {x:.17g} {y:.17g} {z:.17g}\n" for i, (x, y, z) in enumerate(velocities.tolist(), 1))
    path.write_text(text)
    kept = {*_HELD} - set(lost)
    names = [*calculator_results(atoms), *map(str, atoms.info), *(set(atoms.arrays) - kept)]
    made_up = [] if atoms.cell.rank == 3 else ["cell"]
    return tuple(sorted({*names, *([] if atoms.pbc.all() else ["pbc"]), *made_up}))


def _masses(atoms: Atoms, types: Sequence[str]) -> tuple[list[float], list[str]]:
    """Return the mass of each type in u, and ``masses`` where the atoms of a type have several."""
    from ase.data import atomic_masses, atomic_numbers

    own = atoms.get_masses()
    masses, lost = [], []
    for symbol in types:
        values = np.unique(own[atoms.numbers == atomic_numbers[symbol]])
        masses.append(float(values[0] if len(values) == 1 else atomic_masses[atomic_numbers[symbol]]))
        lost += ["masses"] * (len(values) > 1)
    return masses, lost


def _box(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return a right-handed cell (3, 3) of the same lattice, and its origin; missing vectors span the atoms."""
    from ase.geometry import complete_cell

    missing = np.linalg.norm(atoms.cell.array, axis=1) == 0
    cell = complete_cell(atoms.cell.array).astype(float)
    origin = np.zeros(3)
    for i in np.flatnonzero(missing):  # unit vectors, normal to all others
        along = atoms.positions @ cell[i]
        origin += (along.min() - _MARGIN) * cell[i]
        cell[i] *= np.ptp(along) + 2 * _MARGIN
    return (cell if np.linalg.det(cell) > 0 else -cell), origin


def _to_triangular(cell: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) that turns a right-handed cell's rows to lower triangular with a positive diagonal."""
    if np.array_equal(cell, np.tril(cell)) and (np.diag(cell) > 0).all():
        return np.eye(3)
    q, r = np.linalg.qr(cell.T)
    return np.asarray(q * np.sign(np.diag(r)))
