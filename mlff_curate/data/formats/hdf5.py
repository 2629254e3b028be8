"""Frames in HDF5: a layout of our own that holds all that a frame has.

``/frames`` has one row per frame: ``n_atoms``, ``cell`` (3, 3), ``pbc`` (3,); ``/atoms`` one row per atom, frame after
frame: ``number``, ``position``. Whatever else there is stands in a column of its own under ``/info`` (one value per
frame), ``/arrays`` (one row per atom) or ``/results`` (of a calculation, either way): ``frame`` says which frames have
it, 0-based and ascending, ``value`` what it is. The attribute ``key`` is its name, ``kind`` how it is stored:
``number``, ``text``, or ``json`` for what HDF5 has no type for. A name whose values change in type or shape has several
columns. Measured numbers have a ``unit``, labels are called so in ``label``. ``/origins`` has where each label came
from, ``/remarks`` what readers noticed. Nothing in such a file can run code.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlff_curate import __version__
from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.frames import Remark, calculator_results
from mlff_curate.data.renaming import chosen_names, with_label_names
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions

VERSION = 1
"""Of the layout."""
_PROGRAM = "mlff-curate frames"
_MAGIC = b"\x89HDF\r\n\x1a\n"
_BUFFER = 2**23
"""Bytes, about, that wait to be written."""
_CHUNK, _LEAST_CHUNK = 2**18, 2**12
"""Bytes per chunk: few enough to read a few frames without the rest, enough that chunks are few."""
_READ_ROWS = 2**12
"""Rows of a column that are held while reading."""
_TEXT_BYTES = 64
"""What a text is taken to need."""
_WIDEST = 8
"""Bytes of a number: what is wider has no type that all machines share."""
_UNITS = {"energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3", "energies": "eV", "magmoms": "mu_B"}

Kind = Literal["number", "text", "json"]
_FIXED = ("frames/n_atoms", "frames/cell", "frames/pbc", "atoms/number", "atoms/position")


class Hdf5Writer:
    """Writes HDF5; equal frames give equal bytes.

    Parameters
    ----------
    path
        Of the file.
    options
        Names to write labels under.
    """

    def __init__(self, path: Path, options: WriteOptions) -> None:
        import h5py

        self._file = h5py.File(path, "w-", track_order=False)
        self._file.attrs.update({"program": _PROGRAM, "format": VERSION, "version": __version__, "frames": 0})
        self._names = chosen_names(options)
        self._columns: dict[object, _Column] = {}
        self._count = 0
        self._waiting = 0
        for name, row, words, unit in (
            ("frames/n_atoms", np.zeros(0, np.int64), "number of atoms", ""),
            ("frames/cell", np.zeros((0, 3, 3)), "cell vectors as rows", "Angstrom"),
            ("frames/pbc", np.zeros((0, 3), bool), "periodic along each vector", ""),
            ("atoms/number", np.zeros(0, np.int64), "atomic number", ""),
            ("atoms/position", np.zeros((0, 3)), "Cartesian position", "Angstrom"),
        ):
            self._columns[name] = _Column(self._file, name, row, {"description": words, **_unit(unit)})

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write a frame; see :class:`mlff_curate.data.formats.base.Writer`."""
        atoms, lost = with_label_names(frame, self._names)
        n = len(atoms)
        fixed = (n, atoms.cell.array[None], atoms.pbc[None], atoms.numbers, atoms.positions)
        for name, value in zip(_FIXED, fixed, strict=True):
            self._waiting += self._columns[name].add(np.atleast_1d(np.asarray(value, self._columns[name].dtype)))
        described = _descriptions(frame, self._names)
        for place, values in (
            ("info", atoms.info),
            ("arrays", {key: v for key, v in atoms.arrays.items() if key not in ("numbers", "positions")}),
            ("results", calculator_results(atoms)),
        ):
            for key, value in values.items():
                if (
                    not isinstance(key, str)
                    or not _is_plain(key)
                    or not self._put(place, key, value, described.get(key, {}))
                ):
                    lost = (*lost, str(key))
        for label, words in frame.frame.origins.items():
            self._put("origins", label, words, {})
        if frame.frame.remarks:
            self._put("remarks", "remarks", [asdict(remark) for remark in frame.frame.remarks], {})
        self._count += 1
        if self._waiting > _BUFFER:
            self._flush()
        return (*lost, "constraints") if atoms.constraints else lost

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._flush()
        self._file.attrs["frames"] = self._count
        try:
            self._file.close()
        except RuntimeError as error:  # what HDF5 has to say of a full disk
            raise OSError(str(error)) from error

    def _put(self, place: str, key: str, value: object, attributes: Mapping[str, str]) -> bool:
        """Add a value to the column of its name, type and shape; tell whether it could be."""
        stored = _stored(value)
        if stored is None:
            return False
        kind, rows = stored
        per_atom = (
            kind != "json" and rows.ndim > 0 and (place == "arrays" or (place == "results" and key in _per_atom()))
        )
        rows = rows if per_atom else rows[None]
        what = (place, key, kind, per_atom, rows.dtype.str, rows.shape[1:])
        if what not in self._columns:
            name = self._free_name(place, key)
            attributes = {"key": key, "kind": kind, "rows": "atoms" if per_atom else "frames", **attributes}
            self._columns[what] = _Column(self._file, f"{name}/value", rows[:0], {}, attributes)
            self._columns[what, "frame"] = _Column(self._file, f"{name}/frame", np.zeros(0, np.int64), {})
        self._waiting += self._columns[what].add(rows)
        self._waiting += self._columns[what, "frame"].add(np.array([self._count]))
        return True

    def _free_name(self, place: str, key: str) -> str:
        plain = "".join(c if c.isalnum() or c in "_-+ " else "_" for c in key) or "_"
        names = (f"{place}/{plain}{end}" for end in chain([""], (f"~{i}" for i in count(2))))
        taken = {column.group for column in self._columns.values()}
        return next(name for name in names if name not in taken)

    def _flush(self) -> None:
        for column in self._columns.values():
            column.flush()
        self._waiting = 0


class _Column:
    """A data set that grows.

    Parameters
    ----------
    file
        Of h5py.
    name
        Of the data set.
    like
        (0, ...) with its type and shape.
    attributes, of_group
        What it and its group are described by.
    """

    def __init__(
        self, file: Any, name: str, like: np.ndarray, attributes: Mapping[str, str], of_group: Mapping[str, str] = {}
    ) -> None:
        self.name = name
        self.group = name.rpartition("/")[0]
        self.dtype = like.dtype
        self._file = file
        self._like = like
        self._attributes = attributes
        self._of_group = of_group
        self._blocks: list[np.ndarray] = []
        self._row = max(1, int(np.prod(like.shape[1:])) * (_TEXT_BYTES if like.dtype == object else like.itemsize))

    def add(self, rows: np.ndarray) -> int:
        """Let rows wait; return how many bytes they are, about."""
        self._blocks.append(rows.copy())
        return self._row * len(rows)

    def flush(self) -> None:
        """Write what waits."""
        rows = np.concatenate([self._like, *self._blocks])
        self._blocks = []
        if self.name not in self._file:
            self._make(len(rows))
        data = self._file[self.name]
        if len(rows):
            data.resize(len(data) + len(rows), axis=0)
            data[len(data) - len(rows) :] = rows

    def _make(self, rows: int) -> None:
        import h5py

        chunk = min(max(rows, _LEAST_CHUNK // self._row), max(1, _CHUNK // self._row))
        data = self._file.create_dataset(
            self.name,
            shape=self._like.shape,
            maxshape=(None, *self._like.shape[1:]),
            chunks=(max(1, chunk), *self._like.shape[1:]),
            dtype=h5py.string_dtype("utf-8") if self.dtype == object else self.dtype,
            track_times=False,
        )
        data.attrs.update(self._attributes)
        data.parent.attrs.update(self._of_group)


def _per_atom() -> list[str]:
    from ase.io.extxyz import per_atom_properties

    names: list[str] = per_atom_properties
    return names


def _unit(unit: str) -> dict[str, str]:
    return {"unit": unit} if unit else {}


def _descriptions(frame: NormalFrame, names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what is known of the keys that hold the frame's labels: which label, and its unit."""
    out: dict[str, dict[str, str]] = {}
    for label, unit in _UNITS.items():
        key = getattr(frame.labels, f"{label}_key")
        if key is None:
            continue
        virial = label == "stress" and frame.labels.from_virial and label not in names
        out[names.get(label, key)] = {"label": "virial" if virial else label, "unit": "eV" if virial else unit}
    return out


def _stored(value: object) -> tuple[Kind, np.ndarray] | None:
    """Return a value as HDF5 holds it, and how; None: it cannot be held."""
    if isinstance(value, str) and _is_plain(value):
        return "text", np.array(value, dtype=object)
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic, bool, int, float)) else np.zeros(0)
    if array.dtype.kind in "fiub" and array.dtype.itemsize <= _WIDEST and array.size:
        return "number", array
    if array.dtype.kind in "UO" and array.size:
        texts = array.ravel().tolist()
        if all(isinstance(text, str) and _is_plain(text) for text in texts):
            return "text", array.astype(object)
    try:
        return "json", np.array(json.dumps(_plain(value)), dtype=object)
    except (TypeError, ValueError):
        return None


def _is_plain(text: str) -> bool:
    """Tell whether HDF5 gives a text back: one that is UTF-8 and does not hold the character that ends it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _plain(value: object) -> object:
    """Return containers with names that are texts, lists for arrays and Python's numbers for numpy's.

    Raises
    ------
    TypeError
        A name is no text, which JSON would change.
    """
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _recognises(path: Path, head: bytes) -> bool:
    return head.startswith(_MAGIC) or (not head and path.suffix.lower() in (".h5", ".hdf5"))


def read_hdf5(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001
    """Read frames, one at a time.

    Raises
    ------
    DataError
        Another program's file, a newer layout, or damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("program") != _PROGRAM:
                raise DataError("is HDF5, but not frames written by mlff-curate", file=str(path))
            if file.attrs["format"] > VERSION:
                raise DataError("was written by a newer mlff-curate", file=str(path))
            yield from _Reader(file)
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise DataError(f"the HDF5 file is damaged ({words})", file=str(path)) from None


class _Reader:
    """Goes through an open file frame by frame."""

    def __init__(self, file: Any) -> None:
        self._count = int(file.attrs["frames"])
        self._fixed = [_Rows(file[name]) for name in _FIXED]
        self._held = {
            place: [_HeldColumn(file[place][name]) for name in file[place]]
            for place in ("info", "arrays", "results", "origins", "remarks")
            if place in file
        }
        if len(file[_FIXED[0]]) != self._count:
            raise ValueError("frames are missing")

    def __iter__(self) -> Iterator[Content]:
        for index in range(self._count):
            yield self._content(index)

    def _content(self, index: int) -> Content:
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        n = int(self._fixed[0].take(1)[0])
        cell, pbc = self._fixed[1].take(1)[0], self._fixed[2].take(1)[0]
        atoms: Atoms = Atoms(numbers=self._fixed[3].take(n), positions=self._fixed[4].take(n), cell=cell, pbc=pbc)
        found = {place: {c.key: c.take(n) for c in columns if c.has(index)} for place, columns in self._held.items()}
        atoms.info.update(found.get("info", {}))
        for key, values in found.get("arrays", {}).items():
            atoms.set_array(key, values)
        if found.get("results"):
            atoms.calc = SinglePointCalculator(atoms)
            atoms.calc.results.update(found["results"])
        remarks = tuple(Remark(**remark) for remark in found.get("remarks", {}).get("remarks", ()))
        return Content(atoms, found.get("origins", {}), remarks)


class _Rows:
    """A data set read in order, a bounded number of rows at a time."""

    def __init__(self, data: Any) -> None:
        self._data = data.asstr() if data.dtype.kind == "O" else data
        self._length = len(data)
        self._next = 0
        self._block = self._data[:0]

    def take(self, n: int) -> np.ndarray:
        """Return the next n rows."""
        if len(self._block) < n:
            end = min(self._length, self._next + max(n, _READ_ROWS))
            self._block = np.concatenate([self._block, self._data[self._next : end]])
            self._next = end
        rows: np.ndarray = self._block[:n]
        self._block = self._block[n:]
        if len(rows) < n:
            raise ValueError("rows are missing")
        return rows


class _HeldColumn:
    """A column that some frames have."""

    def __init__(self, group: Any) -> None:
        self.key = str(group.attrs["key"])
        self._kind: Kind = group.attrs["kind"]
        self._per_atom = group.attrs["rows"] == "atoms"
        self._frames, self._values = _Rows(group["frame"]), _Rows(group["value"])
        self._left = len(group["frame"])
        self._frame = self._next_frame()

    def _next_frame(self) -> int:
        if not self._left:
            return -1
        self._left -= 1
        return int(self._frames.take(1)[0])

    def has(self, frame: int) -> bool:
        """Tell whether this frame, or the next one that was not asked for, has a value here."""
        return self._frame == frame

    def take(self, n: int) -> Any:
        """Return the value of the frame of n atoms that has it, and go on."""
        self._frame = self._next_frame()
        value: Any = self._values.take(n) if self._per_atom else self._values.take(1)[0]
        if self._kind == "json":
            return json.loads(value)
        if self._kind == "text":
            return np.array(value.tolist()) if isinstance(value, np.ndarray) else value
        return value.item() if isinstance(value, np.generic) else value.copy()


HDF5 = Format(
    name="hdf5",
    title="HDF5 of mlff-curate",
    suffix=".h5",
    recognises=_recognises,
    read=read_hdf5,
    write=Hdf5Writer,
    names_open=True,
)
