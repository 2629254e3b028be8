"""DeePMD-kit's folders of NumPy files.

A system is a folder with the types of its atoms (type.raw, type_map.raw) and sets of frames of just these atoms:
positions in Angstrom, cells, energies in eV, forces in eV/Angstrom and virials in eV, which are minus the stress times
the volume. A folder of systems is read as one. What is not labelled has no file: frames of the same atoms with
different labels are written as different systems.

Systems come in natural order of their names; where each says, as those written here do, which frame of the whole
each of its frames was (source_index.npy, which DeePMD-kit does not look at), the frames come in that order. Files are
mapped, not loaded, and nothing pickled is ever read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.deepmd_writer import DeepmdWriter
from mlff_curate.data.formats.names import natural
from mlff_curate.data.formats.remarks import unknown_label
from mlff_curate.data.frames import Remark, looks_like_label, with_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlff_curate.data.formats.base import ReadOptions

_DEPTH = 4
"""Folders below the one given in which systems are looked for."""
_OURS = "source_index"
_REAL_TYPES = "real_atom_types"
_LARGEST_LIST = 10**8
"""Bytes of a type.raw: ten million atoms."""


def _recognises(path: Path, _head: bytes) -> bool:
    try:
        return next(_systems(path, _DEPTH), None) is not None
    except OSError:
        return False


def _systems(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "type.raw").is_file():
        yield folder
    elif depth:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _systems(Path(entry.path), depth - 1)


def _files(path: Path) -> Iterator[Path]:
    """Yield all that lies in the systems."""
    for system in _systems(path, _DEPTH):
        yield from (Path(root, name) for root, _, names in os.walk(system) for name in names)


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:
    try:
        systems = [_System.open(folder, options) for folder in _systems(path, _DEPTH)]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=str(path)) from None
    order = _given_order(systems)
    for index, (system, frame) in enumerate(order):
        try:
            yield system.content(frame)
        except DataError as error:
            error.file, error.frame = str(system.folder), index
            raise


def _given_order(systems: list[_System]) -> Iterator[tuple[_System, int]]:
    """Yield system and frame in the order that the systems tell, else one system after the other."""
    starts = np.cumsum([0, *(system.count for system in systems)])
    told = [index for system in systems if (index := system.source_index()) is not None]
    order = np.arange(starts[-1])
    if len(told) == len(systems) > 0:
        places = np.concatenate(told)
        if np.array_equal(np.sort(places), order):
            order = np.argsort(places)
    for frame in order:
        number = int(np.searchsorted(starts, frame, side="right")) - 1
        yield systems[number], int(frame - starts[number])


@dataclass(frozen=True)
class _Set:
    """One set.* folder: F frames."""

    count: int
    arrays: dict[str, np.ndarray]
    """File's name without suffix -> mapped array whose first axis is F."""


@dataclass(frozen=True)
class _System:
    """Frames of n atoms."""

    folder: Path
    types: np.ndarray
    names: tuple[str, ...]
    periodic: bool
    sets: tuple[_Set, ...]

    @property
    def count(self) -> int:
        return sum(item.count for item in self.sets)

    @staticmethod
    def open(folder: Path, options: ReadOptions) -> _System:
        try:
            types = np.array([_type(word) for word in _words(folder / "type.raw")], dtype=np.int64)
            map_file = folder / "type_map.raw"
            names = tuple(_words(map_file)) if map_file.is_file() else options.type_map
            sets = tuple(_open_set(path) for path in _set_folders(folder))
            mixed = all(_REAL_TYPES in item.arrays for item in sets)
            _require_names(types, names, given=map_file.is_file(), mixed=mixed)
        except DataError as error:
            error.file = error.file or str(folder)
            raise
        return _System(folder, types, names, not (folder / "nopbc").is_file(), sets)

    def source_index(self) -> np.ndarray | None:
        parts = [item.arrays.get(_OURS) for item in self.sets]
        found = [part for part in parts if part is not None and part.dtype.kind in "iu" and part.ndim == 1]
        return np.concatenate(found) if len(found) == len(parts) else None

    def content(self, frame: int) -> Content:
        for item in self.sets:
            if frame < item.count:
                return self._content({name: array[frame] for name, array in item.arrays.items()})
            frame -= item.count
        raise IndexError(frame)

    def _content(self, values: dict[str, np.ndarray]) -> Content:
        from ase import Atoms

        n = len(self.types)
        types = self.types if _REAL_TYPES not in values else _real_types(values[_REAL_TYPES], n)
        there = types >= 0  # others are padding
        if (types >= len(self.names)).any():
            raise DataError(f"has type {types.max()}, type_map.raw names {len(self.names)}", key=_REAL_TYPES)
        symbols = [self.names[number] for number in types[there]]
        positions = _row(values, "coord", (n, 3))[there]
        cell = _row(values, "box", (3, 3)) if "box" in values else np.zeros((3, 3))
        atoms = Atoms(symbols, positions=positions, cell=cell, pbc=self.periodic)
        results: dict[str, object] = {}
        origins: dict[str, str] = {}
        remarks: list[Remark] = []
        if "energy" in values:
            results["energy"] = float(_row(values, "energy", (1,))[0])
        if "force" in values:
            results["forces"] = _row(values, "force", (n, 3))[there]
            origins["forces"] = "force.npy"
        if "atom_ener" in values:
            results["energies"] = _row(values, "atom_ener", (n,))[there]
            origins["energies"] = "atom_ener.npy"
        if "virial" in values:
            atoms.info["virial"] = _row(values, "virial", (3, 3))
            origins["virial"] = "virial.npy, minus the stress times the volume"
        known = {"coord", "box", "energy", "force", "virial", "atom_ener", _REAL_TYPES, _OURS}
        for name in sorted(set(values) - known):
            atoms.info[name] = np.array(values[name])
            if looks_like_label(name):
                remarks.append(unknown_label(name))
        return Content(with_results(atoms, **results) if results else atoms, origins, tuple(remarks))


def _set_folders(folder: Path) -> list[Path]:
    names = [entry.name for entry in os.scandir(folder) if entry.name.startswith("set.") and entry.is_dir()]
    if not names:
        raise DataError("has no set.000 with NumPy files (those of text, coord.raw, are not read)")
    return [folder / name for name in sorted(names, key=natural)]


def _words(path: Path) -> list[str]:
    if path.stat().st_size > _LARGEST_LIST:
        raise DataError(f"is larger than {_LARGEST_LIST} bytes", file=str(path))
    try:
        return path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        raise DataError("is no text", file=str(path)) from None


def _type(word: str) -> int:
    if not word.isascii() or not word.isdigit() or len(word) > 9:
        raise DataError(f"has {word[:20]!r} instead of a type's number", key="type.raw")
    return int(word)


def _require_names(types: np.ndarray, names: tuple[str, ...], *, given: bool, mixed: bool) -> None:
    from ase.data import atomic_numbers

    if not len(types):
        raise DataError("names no atom", key="type.raw")
    if not names:
        raise DataError("there is no type_map.raw: say the elements of the types with --type-map", key="type_map.raw")
    if not mixed and types.max() >= len(names):
        raise DataError(
            f"type {types.max()} is beyond the {len(names)} elements of {'type_map.raw' if given else '--type-map'}",
            key="type.raw",
        )
    for name in names:
        if name not in atomic_numbers or name == "X":
            raise DataError(f"{name[:20]!r} is no chemical symbol", key="type_map.raw")


def _open_set(folder: Path) -> _Set:
    arrays: dict[str, np.ndarray] = {}
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if not entry.name.endswith(".npy") or not entry.is_file():
            continue
        arrays[entry.name.removesuffix(".npy")] = _mapped(Path(entry.path))
    if "coord" not in arrays:
        raise DataError("has no coord.npy", file=str(folder))
    count = len(arrays["coord"])
    for name, array in arrays.items():
        if len(array) != count:
            raise DataError(f"has {len(array)} frames, coord.npy has {count}", file=str(folder / f"{name}.npy"))
    return _Set(count, arrays)


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001 - NumPy's reader of headers raises what its parser of Python raises
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(f"is no NumPy file, or truncated ({reason})", file=str(path)) from None
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "iuf":
        raise DataError("is to hold numbers, a row for each frame", file=str(path))
    return array


def _real_types(values: np.ndarray, n: int) -> np.ndarray:
    if values.dtype.kind not in "iu" or values.shape != (n,):
        raise DataError(f"is to hold {n} integers a frame", key=f"{_REAL_TYPES}.npy")
    return np.array(values, dtype=np.int64)


def _row(values: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one frame's values as float64 of a shape."""
    value = np.array(values[name], dtype=np.float64)
    if value.size != int(np.prod(shape)):
        raise DataError(f"has {value.size} values a frame instead of {int(np.prod(shape))}", key=f"{name}.npy")
    return value.reshape(shape)


DEEPMD = Format(
    "deepmd",
    "DeePMD-kit's NumPy files in folders",
    "",
    _recognises,
    _read,
    DeepmdWriter,
    frozenset({"type_map"}),
    label_names={"energy": "energy.npy", "forces": "force.npy", "stress": "virial.npy"},
    files=_files,
    types_chosen=True,
)
