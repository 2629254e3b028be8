"""DeePMD-kit's folders of NumPy files out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mlff_curate.data.formats.leftovers import leftovers
from mlff_curate.data.formats.vacuum import repeatable_cell
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.formats.base import NormalFrame, WriteOptions

_REACH = 10.0
"""Angstrom, beyond the cutoffs in use."""
_LABELS = ("energy", "forces", "stress", "energies")


@dataclass
class _System:
    """A folder that is being written: frames of the same atoms with the same labels."""

    folder: Path
    count: int = 0
    shapes: dict[str, tuple[tuple[int, ...], Any]] = field(default_factory=dict)
    """File's name without suffix -> shape of a frame's values, and their kind."""


class DeepmdWriter:
    """Appends each frame to the files of its system, so that none is held.

    Systems are named by formula; the order of the atoms is kept, and atoms in another order are another system.

    Parameters
    ----------
    path
        Folder to make.
    options
        Its type_map is what every type_map.raw will hold; without one each system names its own elements.
    """

    def __init__(self, path: Path, options: WriteOptions) -> None:
        self._path = path
        self._map = options.type_map
        self._systems: dict[tuple[object, ...], _System] = {}
        self._count = 0
        path.mkdir()

    def add(self, item: NormalFrame) -> tuple[str, ...]:
        """Write a frame; return the names of what is lost: all but labels, atoms, cell and whether it is periodic.

        Raises
        ------
        DataError
            An element is not in the type map, or the frame is periodic in some directions and cannot be in all.
        """
        values, lost, periodic = self._values(item)
        system = self._system(item, tuple(values), periodic=periodic)
        for name, value in values.items():
            array = np.asarray(value)
            system.shapes[name] = (array.shape, array.dtype)
            file = system.folder / "set.000" / f"{name}.npy"
            with file.open("r+b" if file.exists() else "x+b") as stream:
                if system.count == 0:
                    _write_header(stream, array, 0)
                stream.seek(0, 2)
                stream.write(np.ascontiguousarray(array).tobytes())
        system.count += 1
        self._count += 1
        return lost

    def close(self) -> None:
        """Write down how many frames each file has.

        Raises
        ------
        DataError
            Nothing was written.
        """
        if not self._count:
            raise DataError("there is no frame to write", file=str(self._path))
        for system in self._systems.values():
            for name, (shape, dtype) in system.shapes.items():
                with (system.folder / "set.000" / f"{name}.npy").open("r+b") as stream:
                    _write_header(stream, np.empty(shape, dtype), system.count)

    def _values(self, item: NormalFrame) -> tuple[dict[str, Any], tuple[str, ...], bool]:
        """Return what goes into the files, the names of what is lost, and whether the frame is periodic."""
        atoms, labels = item.frame.atoms, item.labels
        periodic = bool(atoms.pbc.any())
        lost: list[str] = []
        values: dict[str, Any] = {"source_index": np.int64(self._count), "coord": atoms.positions.reshape(-1)}
        cell = np.array(atoms.cell.array)
        if periodic:
            cell = repeatable_cell(atoms, _REACH, "DeePMD-kit", stress=labels.stress is not None)
            if not atoms.pbc.all():
                lost.append("pbc")
            if not np.array_equal(cell, atoms.cell.array):
                lost.append("cell")
        if periodic or cell.any():
            values["box"] = cell.reshape(-1)
        if labels.energy is not None:
            values["energy"] = np.float64(labels.energy)
        if labels.forces is not None:
            values["force"] = labels.forces.reshape(-1)
        if labels.energies is not None:
            values["atom_ener"] = labels.energies
        if labels.stress is not None:
            tensor = labels.stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
            values["virial"] = (-tensor * abs(float(np.linalg.det(cell)))).reshape(-1)
        rest = leftovers(item, _LABELS)
        return (
            {k: np.asarray(v, dtype=np.int64 if k == "source_index" else np.float64) for k, v in values.items()},
            (
                *lost,
                *rest.names(),
            ),
            periodic,
        )

    def _system(self, item: NormalFrame, names: tuple[str, ...], *, periodic: bool) -> _System:
        numbers = item.frame.atoms.numbers
        key = (numbers.tobytes(), periodic, names)
        if key not in self._systems:
            self._systems[key] = self._new_system(item, periodic=periodic)
        return self._systems[key]

    def _new_system(self, item: NormalFrame, *, periodic: bool) -> _System:
        atoms = item.frame.atoms
        symbols = atoms.get_chemical_symbols()
        elements = self._map or tuple(dict.fromkeys(sorted(symbols)))
        missing = sorted(set(symbols) - set(elements))
        if missing:
            raise DataError(f"the type map lacks {', '.join(missing)}", key="--type-map")
        formula = re.sub(r"[^A-Za-z0-9]", "", atoms.get_chemical_formula(mode="hill"))[:60]
        number, folder = 1, self._path / formula
        while folder.exists():
            number += 1
            folder = self._path / f"{formula}.{number}"
        (folder / "set.000").mkdir(parents=True)
        types = [elements.index(symbol) for symbol in symbols]
        (folder / "type.raw").write_text("".join(f"{type_}\n" for type_ in types), encoding="ascii")
        (folder / "type_map.raw").write_text("".join(f"{name}\n" for name in elements), encoding="ascii")
        if not periodic:
            (folder / "nopbc").write_text("", encoding="ascii")
        return _System(folder)


def _write_header(stream: BinaryIO, like: np.ndarray, count: int) -> None:
    """Write NumPy's header for so many frames over the one that is there: it has room for any count."""
    stream.seek(0)
    header = np.lib.format.header_data_from_array_1_0(like[None])
    header["shape"] = (count, *like.shape)
    np.lib.format.write_array_header_1_0(stream, header)
