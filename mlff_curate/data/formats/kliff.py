"""Folders of extended XYZ files as KLIFF takes them: one frame a file, name ending ``.xyz``.

KLIFF's ``Dataset.from_path`` looks for the words Lattice, PBC, Energy and Stress anywhere in the comment line, first as
written here, then in lower case, and takes what follows the first one it meets for the value; the atoms' lines have
exactly four or seven columns, the last three being forces. So the labels come first, and whatever it would mistake for
one is left out and named. ``Stress`` has KLIFF's six numbers (xx, yy, zz, yz, xz, xy) and ``stress`` ASE's nine, for
``Dataset.from_ase(..., energy_key="Energy", forces_key="Forces")``.

KLIFF inverts the cell matrix: cell vectors that are missing, in directions that are not periodic, are made up.

Files are numbered in the order of the frames, in a subfolder per configuration group, so that KLIFF can weigh groups.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.extxyz import parse_and_remark, split_frames
from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.extxyz import text_of
from mlff_curate.data.frames import calculator_results
from mlff_curate.data.renaming import with_label_names
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions

_GROUP = "config_type"
_LONGEST_NAME = 100
_TRIED = 1000
"""Subfolders that are looked into before a folder is taken for somebody else's."""
_FORCES = ("Forces", "forces", "for", "force")
"""What the three last columns are called: by us, by others, by KLIFF itself."""


class KliffWriter:
    """Writes a folder; see the module.

    Parameters
    ----------
    path
        Of the folder.
    options
        Not used: KLIFF has names of its own.
    """

    def __init__(self, path: Path, options: WriteOptions) -> None:  # noqa: ARG002
        path.mkdir()
        self._path = path
        self._folders: dict[str | None, Path] = {None: path}
        self._count = 0

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write a frame; see :class:`mlff_curate.data.formats.base.Writer`."""
        labels = frame.labels
        given, lost = with_label_names(frame, {"energy": "Energy", "forces": "Forces", "stress": "stress"})
        results = calculator_results(given)
        info = {**{key: value for key, value in results.items() if _is_of_frame(key)}, **given.info}
        lost += tuple(key for key in results if not _is_of_frame(key))
        lost += tuple(key for key in given.arrays if key not in ("numbers", "positions", "Forces"))
        lost += ("constraints",) if given.constraints else ()
        first = {"Energy": info.pop("Energy", None)}
        info.pop("stress", None)
        if labels.stress is not None:
            info.pop("Stress", None)
            first |= {"Stress": labels.stress, "stress": labels.stress}
        mistaken = tuple(str(key) for key, value in info.items() if _is_mistaken(f"{key}={value}", labels))
        atoms = _bare(given)
        if atoms.cell.rank < 3:
            atoms.cell = atoms.cell.complete()
            lost += ("cell",)
        atoms.info = {key: value for key, value in first.items() if value is not None}
        atoms.info |= {key: value for key, value in info.items() if str(key) not in mistaken}
        if labels.forces is not None:
            atoms.set_array("Forces", labels.forces)
        text, without = text_of(atoms, {"Energy", "Forces", "Stress", "stress"})
        folder = self._folder(frame.group)
        (folder / f"{self._count:07d}.xyz").write_bytes(text)
        self._count += 1
        return (*lost, *mistaken, *without)

    def close(self) -> None:
        """Nothing stands at the end."""

    def _folder(self, group: str | None) -> Path:
        if group not in self._folders:
            assert group is not None
            plain = (
                "".join(c if c.isalnum() or c in "_-+.,=" else "_" for c in group).lstrip(".")[:_LONGEST_NAME] or "_"
            )
            taken = {folder.name.casefold() for folder in self._folders.values()}  # some disks know no upper case
            names = (f"{plain}{end}" for end in chain([""], (f"~{i}" for i in count(2))))
            self._folders[group] = self._path / next(name for name in names if name.casefold() not in taken)
            self._folders[group].mkdir()
        return self._folders[group]


def _is_of_frame(key: str) -> bool:
    from ase.io.extxyz import per_atom_properties

    return key not in per_atom_properties


def _is_mistaken(entry: str, labels: object) -> bool:
    """Tell whether KLIFF would read this entry of the comment line as something else."""
    if any(word in entry for word in ("Lattice", "PBC", "pbc")):
        return True
    of_label = (("energy", "energy" not in entry.lower()), ("stress", "stress" not in entry.lower()))
    return any(getattr(labels, label) is None and not fine for label, fine in of_label)


def _bare(atoms: Atoms) -> Atoms:
    from ase import Atoms as BareAtoms

    return BareAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)


def _recognises(path: Path, head: bytes) -> bool:
    if head:
        return False
    folders = islice(os.walk(path), _TRIED)
    return any(name.endswith(".xyz") for _, _, names in folders for name in names)


def _files(path: Path) -> Iterator[Path]:
    return (Path(root, name) for root, _, names in os.walk(path) for name in names if name.endswith(".xyz"))


def read_kliff(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001
    """Read the frames of all files ending ``.xyz`` in a folder and below.

    By number where the files are numbered, else in the order of their paths. A frame without ``config_type`` gets the
    name of its subfolder.

    Raises
    ------
    DataError
        A file cannot be read; names it.
    """
    files = sorted(_files(path))
    numbers = {file.stem for file in files}
    if len(numbers) == len(files) and all(number.isascii() and number.isdigit() for number in numbers):
        files.sort(key=lambda file: int(file.stem))
    for file in files:
        try:
            with file.open("rb") as stream:
                for part in split_frames(stream, str(file)):
                    atoms, remarks = parse_and_remark(part.text, str(file), part.index, part.line)
                    yield replace(_content(atoms, file, path), remarks=remarks)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", file=str(file)) from None


def _content(atoms: Atoms, file: Path, root: Path) -> Content:
    from ase.calculators.singlepoint import SinglePointCalculator

    results: dict[str, Any] = calculator_results(atoms)
    origins: dict[str, str] = {}
    if "Energy" in atoms.info:
        results["energy"] = atoms.info.pop("Energy")
        origins["energy"] = "Energy of the file"
    six = np.asarray(atoms.info.get("Stress", 0.0))
    if six.shape == (6,) and ("stress" not in results or np.array_equal(results["stress"], six)):
        results["stress"] = atoms.info.pop("Stress")
        origins["stress"] = "Stress of the file"
    column = next((name for name in _FORCES if name in atoms.arrays), None)
    if column is not None and "forces" not in results:
        results["forces"] = atoms.arrays.pop(column)
        origins["forces"] = f"column {column}"
    if results:
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results.update(results)
    if _GROUP not in atoms.info and file.parent != root:
        atoms.info[_GROUP] = file.parent.name
    return Content(atoms, origins)


KLIFF = Format(
    name="kliff",
    title="folders of extended XYZ files for KLIFF",
    suffix="",
    recognises=_recognises,
    read=read_kliff,
    write=KliffWriter,
    label_names={"energy": "Energy", "forces": "Forces", "stress": "Stress"},
    files=_files,
)
