"""ASE's own formats: the database, row by row and with all that a frame has, and the others as ASE writes them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.frames import calculator_results, content_digest
from mlff_curate.data.opening import open_binary
from mlff_curate.data.renaming import with_label_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions

_NAMES = {"energy": "energy", "forces": "forces", "stress": "stress"}
"""As results of a calculation, which is what ASE writes of labels: most of its formats hold no keys of other names."""
_NO_FILE = {"bundletrajectory", "mysql", "postgresql"}
_ROUNDING = 1e-5
"""Angstrom, eV and so on: formats with few digits are fit for looking at."""
_SQLITE = b"SQLite format 3\0"
_OURS = "mlff_curate"
_IN_ROWS = {"numbers", "positions", "initial_magmoms", "initial_charges", "masses", "tags", "momenta"}
"""Arrays that a row of the database has columns for; all others go into its data."""
_RESULTS = {"energy", "free_energy", "forces", "stress", "dipole", "magmoms", "magmom", "charges"}
"""Results that a row has columns for."""


class _DatabaseWriter:
    """Writes rows in one transaction.

    Labels are in the columns that ASE has for them. Info, other arrays and other results are in the row's data; info
    that is a number or a text can be searched for as a key-value pair as well. Times are zero and identifiers are made
    of the content, so that equal frames give equal bytes.
    """

    def __init__(self, path: Path, options: WriteOptions) -> None:  # noqa: ARG002
        from ase.db import connect

        self._path = path
        self._base = connect(str(path.absolute()), type="db", serial=True, use_lock_file=False)
        self._base.__enter__()
        self._count = 0

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write a frame; see :class:`mlff_curate.data.formats.base.Writer`."""
        from ase.db.row import AtomsRow

        atoms, lost = with_label_results(frame)
        results = calculator_results(atoms)
        rest = {
            "info": dict(atoms.info),
            "arrays": {
                # ASE's data hold arrays of numbers, and lists of texts
                key: value.tolist() if value.dtype.kind in "UO" else value
                for key, value in atoms.arrays.items()
                if key not in _IN_ROWS
            },
            "results": {key: value for key, value in results.items() if key not in _RESULTS},
        }
        for values in rest.values():
            for key in [key for key, value in values.items() if not _can_be_data(key, value)]:
                del values[key]
                lost = (*lost, str(key))
        digest = hashlib.md5(f"{self._count} {content_digest(atoms)}".encode(), usedforsecurity=False)
        if atoms.calc is not None:
            atoms.calc.results = {key: value for key, value in results.items() if key in _RESULTS}
        row: Any = AtomsRow(atoms)
        row.unique_id, row.ctime, row.user = digest.hexdigest(), 0.0, ""
        pairs = {key: value for key, value in rest["info"].items() if _can_be_pair(key, value)}
        self._base.write(row, pairs, data={_OURS: 1, **{place: values for place, values in rest.items() if values}})
        self._count += 1
        return lost

    def close(self) -> None:
        """Commit, and take the time of writing out."""
        self._base.__exit__(None, None, None)
        with sqlite3.connect(self._path) as base:
            base.execute("UPDATE systems SET mtime = 0")
        base.close()


def _can_be_data(key: object, value: object) -> bool:
    """Tell whether ASE gives a value back as it was."""
    from ase.db.core import bytes_to_object, object_to_bytes

    if not isinstance(key, str):
        return False
    try:
        return _same(value, bytes_to_object(object_to_bytes(value)))
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError):
        return False


def _can_be_pair(key: str, value: object) -> bool:
    from ase.db.core import check

    if not isinstance(value, (str, int, float, bool, np.integer, np.floating)):
        return False
    try:
        check({key: value})
    except (ValueError, TypeError):
        return False
    return bool(value == value)  # noqa: PLR0124 - SQLite keeps no NaN


def _is_database(_path: Path, head: bytes) -> bool:
    return head.startswith(_SQLITE)


def read_database(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001
    """Read rows one at a time; key-value pairs and data become info keys, but what was written here is put back.

    Raises
    ------
    DataError
        No database of ASE.
    """
    from ase.db import connect

    try:
        base = connect(str(path.absolute()), type="db", serial=True, use_lock_file=False)
        for row in base.select():
            yield Content(_atoms_of(row))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - ASE and SQLite raise many kinds; each is the data's fault
        words = " ".join(str(error).split())
        raise DataError(f"ASE cannot read it as db ({type(error).__name__}: {words})", file=str(path)) from None


def _atoms_of(row: Any) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms: Atoms = row.toatoms()
    data = row.data
    if data.get(_OURS) != 1:
        atoms.info.update(data)
        atoms.info.update(row.key_value_pairs)
        return atoms
    atoms.info.update(data.get("info", {}))
    for key, value in data.get("arrays", {}).items():
        atoms.set_array(key, np.asarray(value))
    if data.get("results"):
        atoms.calc = atoms.calc or SinglePointCalculator(atoms)
        atoms.calc.results.update(data["results"])
    return atoms


def read_with_ase(path: Path, kind: str) -> Iterator[Atoms]:
    """Read the frames of a file in one of ASE's formats, by its name.

    Raises
    ------
    DataError
        ASE cannot read it.
    """
    from ase.io import iread

    frames = iread(str(path.absolute()), index=":", format=kind, do_not_split_by_at_sign=True)
    index = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 - ASE raises many kinds for bad files; each is the data's fault
            known = _fault_of_json(path, error) if kind == "json" else None
            raise known or DataError(
                f"ASE cannot read it as {kind} ({type(error).__name__}: {error})", file=str(path), frame=index
            ) from None
        yield atoms
        index += 1


def _fault_of_json(path: Path, error: Exception) -> DataError | None:
    """Return the error of what is no JSON, or neither one of our formats nor ASE's; None: ASE's, with another fault."""
    from ase.io.formats import UnknownFileTypeError

    if isinstance(error, json.JSONDecodeError):
        return DataError(f"is no JSON, or truncated: {error.msg} (line {error.lineno})", file=str(path))
    if not isinstance(error, UnknownFileTypeError):
        return None
    with open_binary(path) as stream:
        if b"".join(stream.read(4096).split()) == b"[]":
            return DataError("the file holds an empty list: there is no frame in it", file=str(path))
    return DataError(
        'JSON is read as a list of pymatgen structures ([{"structure": {...}, "energy": ...}, ...]), as FitSNAP has it '
        '({"Dataset": {"Data": [...]}}) or as ASE writes it, and this is none of them',
        file=str(path),
    )


DATABASE = Format(
    name="db",
    title="ASE database",
    suffix=".db",
    recognises=_is_database,
    read=read_database,
    write=_DatabaseWriter,
    label_names=_NAMES,
)


def ase_format(name: str) -> Format | None:
    """Return a format of ASE's that holds several frames, for writing; None: there is none of this name."""
    if name not in ase_names():
        return None
    from ase.io.formats import ioformats

    extensions = ioformats[name].extensions
    writer = _TrajectoryWriter if name == "traj" else _AseWriter
    return Format(
        name=name,
        title=f"{ioformats[name].description} (ASE)",
        suffix=f".{extensions[0] if extensions else name}",
        recognises=lambda _path, _head: False,  # ASE is asked
        write=lambda path, _options: writer(path, name),
        label_names=_NAMES,
    )


def ase_names() -> list[str]:
    """Return the names of ASE's formats that hold several frames and nothing that could be run."""
    from ase.io.formats import ioformats

    return sorted(
        name
        for name, f in ioformats.items()
        if f.can_read and f.can_write and not f.single and name not in _NO_FILE and (not f.isbinary or name == "traj")
    )


class _AseWriter:
    """Collects frames, and has ASE write them together: most of its formats cannot be written frame by frame.

    Each frame is written and read back alone first, which tells what the format cannot hold.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._frames: list[Atoms] = []
        self._lost: list[tuple[str, ...]] = []

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Take a frame; see :class:`mlff_curate.data.formats.base.Writer`."""
        atoms, lost = with_label_results(frame)
        alone = self._losses(atoms)
        self._write(atoms, alone)
        return lost + alone

    def _write(self, atoms: Atoms, lost: tuple[str, ...]) -> None:
        self._frames.append(atoms)
        self._lost.append(lost)

    def close(self) -> None:
        """Write all frames.

        Raises
        ------
        DataError
            The format cannot hold them together.
        """
        from ase.io import iread, write

        try:
            write(str(self._path), self._frames, format=self._name)
            back: list[Any] = list(iread(str(self._path), index=":", format=self._name))
        except Exception as error:  # noqa: BLE001 - each format of ASE has its own
            raise _cannot(self._name, error) from None
        if len(back) != len(self._frames):
            raise DataError(f"{self._name} holds {len(back)} of {len(self._frames)} frames", key="--to")
        for before, after, alone in zip(self._frames, back, self._lost, strict=True):
            more = set(_different(before, after)) - set(alone)
            if more:
                raise DataError(
                    f"{self._name} cannot hold these frames together: {', '.join(sorted(more))}", key="--to"
                )

    def _losses(self, atoms: Atoms) -> tuple[str, ...]:
        from ase.io import read, write

        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, f"frame.{self._name}"))  # db and json go by the suffix
            try:
                write(path, [atoms], format=self._name)
                back: Any = read(path, format=self._name)
            except Exception as error:  # noqa: BLE001 - each format of ASE has its own
                raise _cannot(self._name, error) from None
        lost = _different(atoms, back)
        for what in ("elements", "positions"):
            if what in lost:
                raise DataError(f"the {what} would not come back", key=f"--to {self._name}")
        return lost


class _TrajectoryWriter(_AseWriter):
    """Writes ``.traj`` frame by frame."""

    def __init__(self, path: Path, name: str) -> None:
        from ase.io.trajectory import TrajectoryWriter

        super().__init__(path, name)
        self._file = TrajectoryWriter(str(path))

    def _write(self, atoms: Atoms, lost: tuple[str, ...]) -> None:  # noqa: ARG002
        self._file.write(atoms)

    def close(self) -> None:
        self._file.close()


def _cannot(name: str, error: Exception) -> DataError:
    return DataError(f"these frames cannot be written as {name} ({error})", key="--to")


def _values(atoms: Atoms) -> dict[str, object]:
    """Return all that a frame has, by the name a user knows it by."""
    values: dict[str, object] = {"elements": atoms.numbers, "cell": atoms.cell.array, "pbc": atoms.pbc}
    values |= {str(key): value for key, value in atoms.info.items()}
    values |= {key: value for key, value in atoms.arrays.items() if key != "numbers"}
    return values | calculator_results(atoms)


def _different(before: Atoms, after: Atoms) -> tuple[str, ...]:
    """Return the names of what does not come back."""
    told, kept = _values(before), _values(after)
    return tuple(key for key, value in told.items() if key not in kept or not _same(value, kept[key], _ROUNDING))


def _same(one: object, other: object, rounding: float = 0.0) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], rounding) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b, rounding) for a, b in zip(one, other, strict=True))
    if one is None or other is None or isinstance(one, str) != isinstance(other, str):
        return one is other
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return a.shape == b.shape and bool(np.all(a == b))
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=rounding, equal_nan=True)
