"""LAMMPS dumps, text and binary: whole, with elements that somebody told, in ASE's units; energies from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.lammps_log import Log, read_log
from mlff_curate.data.formats.lammps_snapshots import Snapshot, binary_snapshots, is_binary, text_snapshots
from mlff_curate.data.formats.lammps_types import about_surplus, mapped, numbers_of
from mlff_curate.data.formats.lammps_units import in_ase_units, refusal
from mlff_curate.data.frames import Remark, with_results
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.formats.base import ReadOptions

_PLAIN = (("x", "y", "z"), ("xu", "yu", "zu"))
_SCALED = (("xs", "ys", "zs"), ("xsu", "ysu", "zsu"))
_DEFAULT_ELEMENT = b"C"
"""What LAMMPS writes into every row of the element column of a dump that was told no elements."""

_UNITS_ASSUMED = Remark(
    "units-assumed",
    "note",
    None,
    "the dump does not tell its units: taken as metal (eV, Angstrom)",
    "say --units if it is another style, or write dumps with dump_modify ... units yes",
)
_PBC_ASSUMED = Remark(
    "pbc-assumed",
    "warning",
    "pbc",
    "the dump does not tell its boundaries: taken as periodic in three directions",
    "add the flags to ITEM: BOX BOUNDS, such as pp pp ff, if they are others",
)
_NO_IDS = Remark(
    "ids-missing",
    "note",
    "id",
    "the dump has no column id: atoms stay in the order of the file, which changes from frame to frame in LAMMPS",
    "dump the ids where atoms have to be followed",
)
_SORTED = Remark("atoms-sorted", "note", "id", "the atoms are sorted by id: the file has another order", "")
_NO_STRESS = Remark(
    "pressure-not-taken",
    "note",
    "stress",
    "the pressure in the log holds the kinetic part, so that it is no label: no stress is taken",
    "compute it without (compute v all pressure NULL virial) and add it yourself where it is needed",
)
_ALL_DEFAULT = Remark(
    "element-default",
    "warning",
    "species",
    "every atom of every type is C, which LAMMPS writes where dump_modify ... element was not given",
    "say --type-map with the elements, which then count",
)


def _recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001 - by content alone
    return head.lstrip().startswith(b"ITEM:") or is_binary(head)


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:
    reader = _Reader(str(path), options)
    with open_binary(path) as stream:
        head = stream.peek(32)  # type: ignore[attr-defined]
        snapshots = binary_snapshots if is_binary(head) else text_snapshots
        for index, snapshot in enumerate(snapshots(stream, str(path))):
            yield reader.content(index, snapshot)


LAMMPS_DUMP = Format(
    "lammps-dump", "LAMMPS dump", ".lammpstrj", _recognises, _read, uses=frozenset({"type_map", "units", "log"})
)


class _Reader:
    """Turns the snapshots of one dump into frames; remarks on the whole dump stand at its first frame."""

    def __init__(self, file: str, options: ReadOptions) -> None:
        self._file = file
        self._options = options
        self._log: Log | None = None if options.log is None else read_log(options.log)
        self._ids: np.ndarray | None = None
        self._said_sorted = False
        self._told: str | None = None
        self._seen: list[np.ndarray] = []
        self._numbers = np.empty(0)
        self._units = self._log_units = "metal"

    def content(self, index: int, snapshot: Snapshot) -> Content:
        """Return the frame.

        Raises
        ------
        DataError
            Units or elements that are not known, other atoms than before, no positions.
        """
        from ase import Atoms

        remarks: list[Remark] = []
        self._settle_units(index, snapshot, remarks)
        columns = self._sorted(index, snapshot.columns, remarks)
        elements = self._elements(index, columns, remarks)
        if snapshot.pbc is None and index == 0:
            remarks.append(_PBC_ASSUMED)
        length = self._factor("distance")
        atoms = Atoms(
            numbers=elements,
            positions=self._positions(index, snapshot, columns) * length,
            cell=snapshot.cell * length,
            pbc=True if snapshot.pbc is None else snapshot.pbc,
        )
        atoms.info["timestep"] = snapshot.step
        if snapshot.time is not None:
            atoms.info["time"] = snapshot.time
        origins: dict[str, str] = {}
        self._move(atoms, columns, origins)
        results: dict[str, object] = {}
        if (forces := _taken(columns, ("fx", "fy", "fz"))) is not None:
            results["forces"] = forces * self._factor("force")
            origins["forces"] = f"columns fx fy fz, {self._units} units"
        if self._log is not None and (energy := self._energy(self._log, index, snapshot, remarks)) is not None:
            results["energy"] = energy
            what = f"{self._log.what} of step {snapshot.step}"
            origins["energy"] = f"{what} in {self._options.log}, {self._log_units} units"
        if results:
            with_results(atoms, **results)
        for name, values in columns.items():  # what else there is keeps the name that it has
            if atoms.has(name) or name in _OURS:
                raise self._error(index, "a column of the dump has the name of something else", name)
            atoms.set_array(name, np.char.decode(values, errors="replace") if values.dtype.kind == "S" else values)
        return Content(atoms, origins, tuple(remarks))

    def _move(self, atoms: Atoms, columns: dict[str, np.ndarray], origins: dict[str, str]) -> None:
        """Take masses, velocities and charges out of the columns."""
        if "mass" in columns:
            atoms.set_masses(columns.pop("mass") * self._factor("mass"))
            origins["masses"] = f"column mass, {self._units} units"
        if (velocities := _taken(columns, ("vx", "vy", "vz"))) is not None:
            atoms.set_velocities(velocities * self._factor("velocity"))
            origins["momenta"] = f"columns vx vy vz, {self._units} units, times the masses"
        if "q" in columns:
            atoms.set_initial_charges(columns.pop("q") * self._factor("charge"))
            origins["initial_charges"] = f"column q, {self._units} units"

    def _error(self, index: int, message: str, key: str | None = None) -> DataError:
        return DataError(message, file=self._file, frame=index, key=key)

    def _factor(self, quantity: str) -> float:
        return in_ase_units(quantity, self._units)

    def _settle_units(self, index: int, snapshot: Snapshot, remarks: list[Remark]) -> None:
        """Choose the unit styles of dump and log: the dump's own word counts most, then the user's, then the log's."""
        if index:
            if snapshot.units != self._told:
                raise self._error(index, "the units change in the middle of the dump: split it there", "units")
            return
        said, in_log = self._options.units, None if self._log is None else self._log.units
        self._told = snapshot.units
        found = snapshot.units or said or in_log
        if found is None:
            remarks.append(_UNITS_ASSUMED)
        self._units = found or "metal"
        if why := refusal(self._units):
            raise self._error(index, why, "units")
        self._log_units = in_log or self._units
        if self._log_units != self._units:
            raise self._error(
                index,
                f"the dump has {self._units} units, {self._options.log} {in_log}: they are not of one run",
                "units",
            )
        if said is not None and said != self._units:
            message = f"--units {said} is not used: the dump tells that its units are {self._units}"
            remarks.append(Remark("units-ignored", "warning", None, message, "leave --units out"))

    def _sorted(self, index: int, columns: dict[str, np.ndarray], remarks: list[Remark]) -> dict[str, np.ndarray]:
        """Sort the atoms by id: LAMMPS writes them in the order of its cells, another one in every frame."""
        if "id" not in columns:
            if index == 0:
                remarks.append(_NO_IDS)
            return columns
        order = np.argsort(columns["id"], kind="stable")
        ids = columns["id"][order]
        if self._ids is None:
            twice = np.flatnonzero(np.diff(ids) == 0)
            if len(twice):
                raise self._error(index, f"two atoms have the id {ids[twice[0]]}", "id")
            self._ids = ids
            remarks += _about_gaps(ids)
        elif not np.array_equal(ids, self._ids):
            gone, new = len(np.setdiff1d(self._ids, ids)), len(np.setdiff1d(ids, self._ids))
            raise self._error(
                index,
                f"{gone} atoms of frame 0 are gone and {new} are new: split the dump where its atoms change",
                "id",
            )
        if not self._said_sorted and (np.diff(order) < 0).any():
            self._said_sorted = True
            remarks.append(_SORTED)
        return {name: values[order] for name, values in columns.items()}

    def _elements(self, index: int, columns: dict[str, np.ndarray], remarks: list[Remark]) -> np.ndarray:
        """Return atomic numbers: those of the elements that the dump tells, else those of the user's types."""
        types, element = columns.get("type"), columns.pop("element", None)
        told = [np.empty(0) if column is None else column for column in (types, element)]
        if index == 0 or not all(map(np.array_equal, told, self._seen)):  # mostly, nothing changes
            self._numbers = self._elements_of(index, types, element, remarks)
            self._seen = told
        return self._numbers

    def _elements_of(
        self, index: int, types: np.ndarray | None, element: np.ndarray | None, remarks: list[Remark]
    ) -> np.ndarray:
        type_map = self._options.type_map
        if element is not None:
            untold = types is not None and bool((element == _DEFAULT_ELEMENT).all())
            if not (untold and type_map):
                numbers = numbers_of(element, "the column element", self._file, index)
                if index == 0:
                    remarks += _about_elements(element, types, type_map)
                return numbers
            if index == 0:
                message = "every atom is C in the column element, LAMMPS' word for not told: --type-map is used instead"
                remarks.append(Remark("element-ignored", "note", "species", message, ""))
        if types is None:
            raise self._error(index, "the dump has neither a column element nor a column type")
        if not type_map:
            raise DataError(
                "the dump has types but no element column: say --type-map, such as --type-map Ta,W", file=self._file
            )
        if index == 0:
            remarks += about_surplus(types, type_map)
        return mapped(types, type_map, self._file, index)

    def _positions(self, index: int, snapshot: Snapshot, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return positions (n, 3) in the dump's unit, scaled ones only where there are no others."""
        for names in _PLAIN:
            if (found := _taken(columns, names)) is not None:
                return found
        for names in _SCALED:
            if (found := _taken(columns, names)) is not None:
                return np.asarray(found @ snapshot.cell + snapshot.origin)
        raise self._error(index, "the dump has no positions: none of x y z, xu yu zu, xs ys zs, xsu ysu zsu")

    def _energy(self, log: Log, index: int, snapshot: Snapshot, remarks: list[Remark]) -> float | None:
        """Return the potential energy in eV, None where there is none."""
        if index == 0 and log.has_pressure:
            remarks.append(_NO_STRESS)
        atoms = len(next(iter(snapshot.columns.values())))
        energy = log.energy(snapshot.step, atoms, self._file, index)
        if energy is None:
            message = f"{log.file} has no row for step {snapshot.step}: the frame has no energy"
            remarks.append(
                Remark("energy-missing", "warning", "energy", message, "let thermo print at the dump's interval")
            )
            return None
        return energy * in_ase_units("energy", self._log_units)


_OURS = frozenset({"forces", "energy", "cell", "pbc"})


def _taken(columns: dict[str, np.ndarray], names: tuple[str, str, str]) -> np.ndarray | None:
    """Take three columns out, (n, 3); None: they are not all there."""
    if not all(name in columns for name in names):
        return None
    return np.stack([columns.pop(name) for name in names], axis=1)


def _about_gaps(ids: np.ndarray) -> list[Remark]:
    if len(ids) == 0 or ids[-1] - ids[0] + 1 == len(ids):
        return []
    message = (
        f"{len(ids)} atoms have ids from {ids[0]} to {ids[-1]}: some were deleted, or the dump is of a group, "
        "which leaves neighbours out"
    )
    return [Remark("ids-with-gaps", "warning", "id", message, "make sure that all atoms were dumped")]


def _about_elements(symbols: np.ndarray, types: np.ndarray | None, type_map: Sequence[str]) -> list[Remark]:
    if not type_map:
        untold = types is not None and len(np.unique(types)) > 1 and bool((symbols == _DEFAULT_ELEMENT).all())
        return [_ALL_DEFAULT] if untold else []
    agree = types is None or all(
        1 <= number <= len(type_map) and type_map[number - 1].encode() == symbol
        for number, symbol in zip(types.tolist(), symbols.tolist(), strict=True)
    )
    message = "--type-map is not used: the dump has a column element" + ("" if agree else ", which says otherwise")
    return [Remark("type-map-ignored", "note" if agree else "warning", "species", message, "leave --type-map out")]
