"""LAMMPS data files, one frame each: a file, or a folder of numbered ones.

Source of the layout: LAMMPS manual, command ``read_data``, 22 Jul 2025.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.lammps_data_writer import DataFile, DataFolder
from mlff_curate.data.formats.lammps_types import about_surplus, is_element, mapped
from mlff_curate.data.formats.lammps_units import in_ase_units, refusal
from mlff_curate.data.frames import Remark
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mlff_curate.data.formats.base import ReadOptions

_ATOMS = re.compile(rb"^\s*\d+\s+atoms\s*(#.*)?$", re.MULTILINE)
_BOX = re.compile(rb"\b(xlo\s+xhi|avec)\s*(#.*)?$", re.MULTILINE)
_UNITS = re.compile(r"\bunits = (\w+)")  # in the first line of what LAMMPS itself writes
_COLUMNS = {
    "atomic": ("id", "type", "x", "y", "z"),
    "charge": ("id", "type", "q", "x", "y", "z"),
    "bond": ("id", "mol", "type", "x", "y", "z"),
    "angle": ("id", "mol", "type", "x", "y", "z"),
    "molecular": ("id", "mol", "type", "x", "y", "z"),
    "full": ("id", "mol", "type", "q", "x", "y", "z"),
}
"""By atom style; three image flags may follow."""
_IMAGES = ("ix", "iy", "iz")
_HEADER = re.compile(r"^(.+?) (atoms|atom types|[xyz]lo [xyz]hi|xy xz yz|[abc]vec|abc origin)$")
_SECTIONS = frozenset({"Atoms", "Velocities", "Masses", "Atom Type Labels"})
_SECTION = re.compile(r"^[A-Z][A-Za-z0-9]*( [A-Z][A-Za-z0-9]*)*$")
_NEAR = 0.05
"""u. Elements differ by more (cobalt and nickel by 0.24), tables of their masses by less."""

_UNITS_ASSUMED = Remark(
    "units-assumed",
    "note",
    None,
    "the data file does not tell its units: taken as metal (eV, Angstrom)",
    "say --units if it is another style",
)
_PBC_ASSUMED = Remark(
    "pbc-assumed",
    "note",
    "pbc",
    "a data file does not tell its boundaries: taken as periodic in three directions",
    "set pbc, unless the run says boundary p p p",
)


def _recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001 - by content alone
    return _ATOMS.search(head) is not None and _BOX.search(head) is not None


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.data"))


def _recognises_folder(path: Path, head: bytes) -> bool:  # noqa: ARG001 - a folder has none
    first = next(iter(_files(path)), None)
    if first is None:
        return False
    try:
        with first.open("rb") as stream:
            return _recognises(first, stream.read(4096))
    except OSError:
        return False


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:
    yield _content(path, options, str(path), 0)


def _read_folder(path: Path, options: ReadOptions) -> Iterator[Content]:
    for index, file in enumerate(_files(path)):
        yield _content(file, options, str(path), index)


_USES = frozenset({"type_map", "units"})
LAMMPS_DATA = Format("lammps-data", "LAMMPS data file", ".data", _recognises, _read, DataFile, _USES, types_chosen=True)
LAMMPS_DATA_FOLDER = Format(
    "lammps-data-folder",
    "folders of LAMMPS data files",
    "",
    _recognises_folder,
    _read_folder,
    DataFolder,
    _USES,
    files=_files,
    types_chosen=True,
)


def _content(path: Path, options: ReadOptions, file: str, index: int) -> Content:
    with open_binary(path) as stream:
        return _Frame(file, index, options, _parts(stream)).content()


@dataclass
class _Parts:
    """What stands in a data file."""

    title: str = ""
    header: dict[str, list[str]] = field(default_factory=dict)
    sections: dict[str, list[list[str]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # comments behind sections, and behind masses
    whole: bool = True


def _parts(lines: Iterable[bytes]) -> _Parts:
    parts = _Parts()
    section = ""
    for number, line in enumerate(lines):
        parts.whole = line.endswith(b"\n")
        text, _, comment = line.decode("latin-1").partition("#")
        words = text.split()
        if number == 0:
            parts.title = line.decode("latin-1")
        elif not words:
            continue
        elif _SECTION.match(" ".join(words)):
            section = " ".join(words)
            parts.sections[section] = []
            parts.notes[section] = comment.strip()
        elif section in _SECTIONS:
            parts.sections[section].append(words)
            if section == "Masses":
                parts.notes[words[0]] = comment.strip()
        elif not section and (found := _HEADER.match(" ".join(words))):
            parts.header[found[2]] = found[1].split()
    return parts


@dataclass
class _Frame:
    """One data file on its way to a frame."""

    file: str
    index: int
    options: ReadOptions
    parts: _Parts
    remarks: list[Remark] = field(default_factory=list)

    def error(self, message: str, key: str | None = None) -> DataError:
        return DataError(message, file=self.file, frame=self.index, key=key)

    def content(self) -> Content:
        from ase import Atoms

        units = self.units()
        columns = self.columns()
        order = np.argsort(columns["id"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        if (np.diff(columns["id"]) == 0).any():
            raise self.error("two atoms have the same id", "id")
        length = in_ase_units("distance", units)
        atoms = Atoms(
            numbers=self.elements(columns["type"], units),
            positions=np.stack([columns.pop(x) for x in "xyz"], axis=1) * length,
            cell=self.cell() * length,
            pbc=True,
        )
        if self.masses():
            masses = self.masses()
            atoms.set_masses([masses[t] * in_ase_units("mass", units) for t in columns["type"].tolist()])
        if "q" in columns:
            atoms.set_initial_charges(columns.pop("q") * in_ase_units("charge", units))
        if "Velocities" in self.parts.sections:
            rows = self.table("Velocities", 4, len(atoms))
            rows = rows[np.argsort(rows[:, 0])]
            if not np.array_equal(rows[:, 0], columns["id"]):
                raise self.error("the velocities are of other atoms than the section Atoms has", "id")
            atoms.set_velocities(rows[:, 1:] * in_ase_units("velocity", units))
        for name, values in columns.items():
            atoms.set_array(name, values)
        others = [name for name in self.parts.sections if name not in _SECTIONS and not name.endswith("Coeffs")]
        if others:
            message = f"not taken: {', '.join(others)}"
            self.remarks.append(Remark("section-ignored", "note", None, message, ""))
        return Content(atoms, {}, (*self.remarks, _PBC_ASSUMED))

    def units(self) -> str:
        found = _UNITS.search(self.parts.title)
        told, said = None if found is None else found[1], self.options.units
        if told is None and said is None:
            self.remarks.append(_UNITS_ASSUMED)
        elif None not in (told, said) and told != said:
            message = f"--units {said} is not used: the data file tells that its units are {told}"
            self.remarks.append(Remark("units-ignored", "warning", None, message, "leave --units out"))
        units = told or said or "metal"
        if why := refusal(units):
            raise self.error(why, "units")
        return units

    def numbers(self, words: Sequence[str], count: int, what: str) -> list[float]:
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != count:
            raise self.error(f"{what}: {count} numbers expected, found {' '.join(words)[:60]!r}")
        return values

    def header(self, name: str, count: int) -> list[float]:
        if name not in self.parts.header:
            raise self.error(f"the header lacks {name}: truncated")
        return self.numbers(self.parts.header[name], count, name)

    def cell(self) -> np.ndarray:
        if "avec" in self.parts.header:
            return np.array([self.header(name, 3) for name in ("avec", "bvec", "cvec")])
        sides = [self.header(name, 2) for name in ("xlo xhi", "ylo yhi", "zlo zhi")]
        xy, xz, yz = self.header("xy xz yz", 3) if "xy xz yz" in self.parts.header else (0.0, 0.0, 0.0)
        x, y, z = (high - low for low, high in sides)
        return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])

    def table(self, section: str, width: int, rows: int) -> np.ndarray:
        """Return a section of numbers (rows, width)."""
        lines = self.parts.sections[section]
        if len(lines) != rows:
            raise self.error(f"{section} has {len(lines)} rows instead of {rows}: truncated, or the count is wrong")
        return np.array([self.numbers(line, width, section) for line in lines]).reshape(rows, width)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the section Atoms, types as numbers."""
        lines = self.parts.sections.get("Atoms")
        if lines is None:
            raise self.error("the file has no section Atoms: truncated")
        if not self.parts.whole:
            raise self.error("the last line has no end: truncated in the middle of it")
        width = len(lines[0]) if lines else 0
        style = self.parts.notes["Atoms"].split("/")[0].strip()
        if not style and width in (5, 8):
            style = "atomic"
            message = f"the atom style is not told: taken as atomic, since there are {width} columns"
            self.remarks.append(Remark("style-assumed", "note", None, message, "write it behind: Atoms # atomic"))
        names = _COLUMNS.get(style)
        if names is None:
            said = f"the atom style {style!r} is not read" if style else "the atom style is not told"
            raise self.error(f"{said}: write one of {', '.join(_COLUMNS)} behind Atoms, such as: Atoms # atomic")
        if width == len(names) + 3:
            names = (*names, *_IMAGES)
        labels = {words[1]: words[0] for words in self.parts.sections.get("Atom Type Labels", []) if len(words) == 2}
        place = names.index("type")
        for words in lines:
            if len(words) > place:
                words[place] = labels.get(words[place], words[place])
        rows = self.table("Atoms", len(names), self.count("atoms"))
        columns = dict(zip(names, rows.T, strict=True))
        for name in {"id", "type", "mol", *_IMAGES} & columns.keys():
            if not (columns[name] == np.floor(columns[name])).all() or np.abs(columns[name]).max(initial=0) > 2**53:
                raise self.error("the column holds a number that is not whole", name)
            columns[name] = columns[name].astype(np.int64)
        return columns

    def count(self, name: str) -> int:
        (value,) = self.header(name, 1)
        if not value.is_integer() or value < 0:
            raise self.error(f"{value:g} {name} is no count")
        return int(value)

    def masses(self) -> dict[int, float]:
        """Return the mass of each type, in the file's unit."""
        if "Masses" not in self.parts.sections:
            return {}
        rows = self.table("Masses", 2, self.count("atom types"))
        if rows[:, 0].tolist() != list(range(1, len(rows) + 1)):
            raise self.error("the masses are not those of the types 1, 2, ...", "masses")
        return {int(number): float(mass) for number, mass in rows}

    def elements(self, types: np.ndarray, units: str) -> np.ndarray:
        """Return atomic numbers: as the user tells, else as labels, comments or masses of the types do."""
        type_map: Sequence[str] = self.options.type_map
        if type_map:
            self.remarks += about_surplus(types, type_map)
            return mapped(types, type_map, self.file, self.index)
        n = self.count("atom types")
        labels = dict(words for words in self.parts.sections.get("Atom Type Labels", []) if len(words) == 2)
        for what, words in (
            ("the type labels", [labels.get(str(t), "") for t in range(1, n + 1)]),
            ("the comments behind the masses", [self.parts.notes.get(str(t), "") for t in range(1, n + 1)]),
            ("the masses", _by_mass([m * in_ase_units("mass", units) for m in self.masses().values()])),
        ):
            if n and len(words) == n and all(map(is_element, words)):
                message = f"elements are taken from {what}: {', '.join(words)}"
                self.remarks.append(Remark("elements-inferred", "note", "species", message, "say --type-map if not so"))
                return mapped(types, words, self.file, self.index, giver="the file")
        raise DataError(
            "the data file has types but no elements: say --type-map, such as --type-map Ta,W", file=self.file
        )


def _by_mass(masses: Iterable[float]) -> list[str]:
    """Return the element of each mass (u), empty where there is none or more than one so near."""
    from ase.data import atomic_masses, chemical_symbols

    found = []
    for mass in masses:
        near = np.flatnonzero(np.abs(atomic_masses[1:] - mass) < _NEAR) + 1
        found.append(chemical_symbols[near[0]] if len(near) == 1 else "")
    return found
