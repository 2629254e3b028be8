"""FitSNAP's JSON: one configuration a file, in a folder for each group, in an archive of such folders, or alone.

Units are what the file's style words say; a stress is positive under compression. Cell vectors are rows. The group is
the name of the folder, the source the name of the file. Folders and files in them come in natural order (config_2
before config_10), or, where each file says so as those written here do, in the order that they were written in; the
members of an archive in the archive's order, since they are read as they stream past.
"""

from __future__ import annotations

import os
import re
import tarfile
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.fitsnap_writer import OURS, is_result, open_writer
from mlff_curate.data.formats.jsonvalues import LARGEST, decode, numbers, parse
from mlff_curate.data.formats.names import natural
from mlff_curate.data.formats.remarks import assumed_units
from mlff_curate.data.formats.streams import read_some
from mlff_curate.data.formats.units import unit_factor
from mlff_curate.data.frames import Remark, looks_like_label, with_results
from mlff_curate.data.opening import DAMAGED, open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ase import Atoms

    from mlff_curate.data.formats.base import ReadOptions

_KINDS = {"Lattice": "length", "Positions": "length", "Energy": "energy", "Forces": "force", "Stress": "pressure"}
_REQUIRED = ("Lattice", "Positions", "AtomTypes")
_ASSUMED = {"length": "angstrom", "energy": "electronvolt", "force": "electronvoltperangstrom", "pressure": "bar"}
"""What FitSNAP takes a number for where a file does not say: LAMMPS' metal units."""
_BOILERPLATE = re.compile(r"Example containing \d+ configurations?\b.*")
_DATASET = re.compile(rb'\s*\{\s*"Dataset"\s*:')
_PLACE = re.compile(rb'\s*\{\s*"Dataset"\s*:\s*\{\s*"%s"\s*:\s*\{\s*"place"\s*:\s*(\d{1,18})\s*[,}]' % OURS.encode())
_PLACE_WITHIN = 256
"""Bytes at the beginning of a file."""
_ASYMMETRY = 1e-3
"""Share of a stress's largest value. More is no rounding."""
_SPINS = "total x y z"
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
_BLOCK = 512
_DEPTH = 4
"""Folders below the one given in which files are looked for."""
_TRIED = 20
"""JSON files that are looked into before a folder is taken for somebody else's."""


def _is_file(_path: Path, head: bytes) -> bool:
    return head[257:262] == b"ustar" or _DATASET.match(_without_comment(head)) is not None


def _is_folder(path: Path, _head: bytes) -> bool:
    try:
        for file in islice(_json_files(path), _TRIED):
            with file.open("rb") as stream:
                if _DATASET.match(_without_comment(stream.read(4096))):
                    return True
    except OSError:
        return False
    return False


def _without_comment(text: bytes) -> bytes:
    return text.partition(b"\n")[2] if text.startswith(b"#") else text


def _json_files(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """Yield the JSON files of a folder and its subfolders in natural order; links to folders are not followed."""
    entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    yield from (Path(entry.path) for entry in entries if entry.name.endswith(".json") and entry.is_file())
    for entry in entries:
        if depth and entry.is_dir(follow_symlinks=False):
            yield from _json_files(Path(entry.path), depth - 1)


def _in_order(folder: Path) -> list[Path]:
    """Return the files in the order that all of them tell, as those written here do, else in natural order."""
    files: dict[int, Path] = {}
    for file in (found := list(_json_files(folder))):
        with file.open("rb") as stream:
            place = _PLACE.match(stream.read(_PLACE_WITHIN))
        if place is None or int(place[1]) in files:  # not from here, or of several sets
            return found
        files[int(place[1])] = file
    return [files[place] for place in sorted(files)]


def _read_folder(path: Path, options: ReadOptions) -> Iterator[Content]:
    index = 0
    try:
        for file in _in_order(path):
            with open_binary(file) as stream:
                for content in _contents(
                    _text(stream, str(file)), file.parent.name, file.name, str(file), options, index
                ):
                    yield content
                    index += 1
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=str(path)) from None


def _read_file(path: Path, options: ReadOptions) -> Iterator[Content]:
    with open_binary(path) as stream:
        if stream.peek(_BLOCK)[257:262] == b"ustar":  # type: ignore[attr-defined]
            yield from _read_archive(stream, str(path), options)
        else:
            yield from _contents(
                _text(stream, str(path)), path.absolute().parent.name, path.name, str(path), options, 0
            )


def _text(stream: BinaryIO, file: str) -> bytes:
    try:
        text = read_some(stream, LARGEST + 1)
    except DataError as error:
        error.file = file
        raise
    if len(text) > LARGEST:
        raise DataError(f"is larger than {LARGEST} bytes: no JSON file of one configuration", file=file)
    return text


def _read_archive(stream: BinaryIO, file: str, options: ReadOptions) -> Iterator[Content]:
    """Read the members as they pass; nothing is unpacked to disk."""
    tail = _Tail(stream)
    index = 0
    try:
        with tarfile.open(fileobj=cast("Any", tail), mode="r|") as archive:
            while (member := archive.next()) is not None:
                cast("Any", archive).members.clear()  # else it remembers them all
                _require_plain(member, file)
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix != ".json":
                    continue
                if member.size > LARGEST:
                    raise DataError(f"member {member.name!r} is larger than {LARGEST} bytes", file=file)
                extracted = archive.extractfile(member)
                assert extracted is not None
                text = extracted.read()
                for content in _contents(text, name.parent.name, name.name, f"{file}:{name}", options, index):
                    yield content
                    index += 1
        while tail.read(2**16):  # to the end, where a gzip file has its checksum
            pass
    except DAMAGED as error:
        raise DataError(f"the gzip data are damaged or truncated ({error})", file=file) from None
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"the archive is damaged or truncated ({error})", file=file) from None
    if any(tail.last):
        raise DataError("the archive ends without its end mark: truncated", file=file)


class _Tail:
    """Hands a stream on and remembers the last block, which tells whether an archive is whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.last = b"\1"

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if data:
            self.last = (self.last + data)[-_BLOCK:]
        return data


def _require_plain(member: tarfile.TarInfo, file: str) -> None:
    if not (member.isfile() or member.isdir()):
        raise DataError(f"member {member.name!r} is a link or a device: only files are read", file=file)
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"member {member.name!r} has a name that leads out of the archive", file=file)


def _contents(text: bytes, group: str, source: str, file: str, options: ReadOptions, first: int) -> Iterator[Content]:
    """Yield the configurations of one JSON file; FitSNAP itself takes one."""
    try:
        header, entries = _dataset(parse(_without_comment(text)))
    except DataError as error:
        error.file, error.frame = file, first
        raise
    for offset, entry in enumerate(entries):
        name = source if len(entries) == 1 else f"{source}#{offset}"
        try:
            yield _content(header, entry, {"config_type": group, "source": name}, options)
        except DataError as error:
            error.file, error.frame = file, first + offset
            raise


def _dataset(value: Any) -> tuple[dict[str, Any], list[Any]]:
    dataset = value.get("Dataset") if isinstance(value, dict) else None
    entries = dataset.get("Data") if isinstance(dataset, dict) else None
    if not isinstance(entries, list) or not isinstance(dataset, dict):
        raise DataError('is no FitSNAP file: {"Dataset": {"Data": [...]}} is expected', key="Dataset")
    return {key: item for key, item in dataset.items() if key != "Data"}, entries


def _content(header: dict[str, Any], entry: Any, place: dict[str, str], options: ReadOptions) -> Content:
    from ase import Atoms

    if not isinstance(entry, dict):
        raise DataError("a configuration is a JSON object", key="Data")
    # a value that is null is not there
    fields = {**{k: v for k, v in header.items() if v is not None}, **{k: v for k, v in entry.items() if v is not None}}
    for key in _REQUIRED:
        if key not in fields:
            raise DataError("is missing", key=key)
    remarks: list[Remark] = []
    origins = {"config_type": "name of the folder", "source": "name of the file"}
    symbols = _symbols(fields.pop("AtomTypes"), fields.pop("AtomTypeStyle", None), options)
    if "NumAtoms" in fields and fields.pop("NumAtoms") != len(symbols):
        raise DataError(f"differs from the {len(symbols)} atoms of AtomTypes", key="NumAtoms")
    values = _values(fields, len(symbols), origins, remarks)
    ours = fields.pop(OURS, None)
    atoms = Atoms(symbols, positions=values["Positions"], cell=values["Lattice"], pbc=True, info=dict(place))
    results: dict[str, object] = {}
    if "Energy" in values:
        results["energy"] = float(values["Energy"])
    if "Forces" in values:
        results["forces"] = values["Forces"]
    if "Stress" in values:
        results["stress"] = _stress(values["Stress"], remarks)
    _take_others(atoms, fields, remarks)
    if ours is not None:
        _restore(atoms, results, ours)
    return Content(with_results(atoms, **results) if results else atoms, origins, tuple(remarks))


def _values(fields: dict[str, Any], n: int, origins: dict[str, str], remarks: list[Remark]) -> dict[str, np.ndarray]:
    """Take what has a unit out of the fields of n atoms, in Angstrom, eV, eV/Angstrom and eV/Angstrom^3."""
    shapes: dict[str, tuple[int, ...]] = {
        "Lattice": (3, 3),
        "Positions": (n, 3),
        "Energy": (),
        "Forces": (n, 3),
        "Stress": (3, 3),
    }
    values: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        style = fields.pop(f"{key}Style", None)
        if key in fields:
            values[key] = numbers(fields.pop(key), shape, key) * _factor(key, style, origins, remarks)
    return values


def _symbols(types: Any, style: Any, options: ReadOptions) -> list[str]:
    from ase.data import atomic_numbers

    if style is not None and str(style).lower() != "chemicalsymbol":
        raise DataError(f"{str(style)[:40]!r} is unknown; known: chemicalsymbol", key="AtomTypeStyle")
    if not isinstance(types, list) or not types:
        raise DataError("is to be a list of one type for each atom", key="AtomTypes")
    symbols: list[str] = []
    for type_ in types:
        if isinstance(type_, int) and not isinstance(type_, bool) and 1 <= type_ <= len(options.type_map):
            symbols.append(options.type_map[type_ - 1])
        elif isinstance(type_, str) and type_ in atomic_numbers and type_ != "X":
            symbols.append(type_)
        else:
            raise DataError(
                f"{str(type_)[:20]!r} is no chemical symbol; numbers from 1 need a --type-map that reaches so far",
                key="AtomTypes",
            )
    return symbols


def _factor(key: str, style: Any, origins: dict[str, str], remarks: list[Remark]) -> float:
    kind = _KINDS[key]
    if style is None:
        style = _ASSUMED[kind]
        message = f"the file has no {key}Style: {style} is assumed, as FitSNAP does"
        remarks.append(assumed_units(key, message, f"add {key}Style to the file", may_say=True))
    factor = unit_factor(kind, style, f"{key}Style")
    if kind != "length":
        sign = ", its sign turned (a file's stress is positive under compression)" if key == "Stress" else ""
        origins[key.lower()] = f"{key} in {style}{sign}"
    return factor


def _stress(tensor: np.ndarray, remarks: list[Remark]) -> np.ndarray:
    skew = float(np.abs(tensor - tensor.T).max())
    if skew > _ASYMMETRY * float(np.abs(tensor).max()):
        remarks.append(
            Remark(
                "stress-asymmetric",
                "warning",
                "stress",
                f"the stress differs from its transpose by up to {skew:.3g} eV/Angstrom^3; the mean is taken",
                "look at the calculation: a stress is symmetric",
            )
        )
    return np.array(-(0.5 * tensor + 0.5 * tensor.T)[_VOIGT])


def _take_others(atoms: Atoms, fields: dict[str, Any], remarks: list[Remark]) -> None:
    """Keep what linear fits do not use under its own name, and what looks like a label under no usual one."""
    if _BOILERPLATE.fullmatch(str(fields.get("Label", ""))):
        del fields["Label"]
    for key, value in fields.items():
        name = key
        if looks_like_label(key) and not key.endswith("Style"):
            name = f"Data.{key}"
            remarks.append(
                Remark(
                    "label-unknown", "warning", name, "looks like a label and is not used", "say what it is, or drop it"
                )
            )
        elif key in atoms.info or key in atoms.arrays:
            name = f"Data.{key}"
        array = _per_atom(value, len(atoms))
        if array is None:
            atoms.info[name] = value
        else:
            atoms.arrays[name] = array
    moments = spin_moments(atoms.arrays.get("Spins"), atoms.info.get("SpinsStyle"))
    if moments is not None:
        atoms.arrays["initial_magmoms"] = moments


def _per_atom(value: Any, n: int) -> np.ndarray | None:
    if not isinstance(value, list) or len(value) != n:
        return None
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.dtype.kind in "iufbU" and array.ndim in (1, 2) and array.size else None


def spin_moments(spins: Any, style: Any) -> np.ndarray | None:
    """Return the moments that spins (size and direction of each) stand for, None where they cannot be told.

    Returns
    -------
    moments
        (n,) where all are along one axis, positive towards +x (+y, +z if it has no x), else (n, 3), Bohr magnetons.
    """
    if not isinstance(spins, np.ndarray) or spins.dtype.kind not in "iuf" or spins.shape[1:] != (4,) or style != _SPINS:
        return None
    size, direction = spins[:, 0].astype(np.float64), spins[:, 1:].astype(np.float64)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(direction, axis=1)
    if not np.isfinite(size).all() or not np.isfinite(length).all() or (length[size != 0] == 0).any():
        return None
    unit = direction / np.where(length > 0, length, 1.0)[:, None]
    axis = unit[np.argmax(length > 0)]
    axis = axis * (1.0 if axis[np.argmax(axis != 0)] >= 0 else -1.0)
    along = unit @ axis
    if np.allclose(unit, along[:, None] * axis):
        return cast("np.ndarray", size * np.where(along < 0, -1.0, 1.0))
    return cast("np.ndarray", size[:, None] * unit)


def _restore(atoms: Atoms, results: dict[str, object], ours: Any) -> None:
    """Give back what our writer noted beside FitSNAP's own fields."""
    if not isinstance(ours, dict):
        raise DataError("is to be a JSON object", key=OURS)
    for key, value in _part(ours, "arrays").items():
        if not isinstance(value, np.ndarray) or value.shape[:1] != (len(atoms),) or key in ("numbers", "positions"):
            raise DataError(f"its array {key[:40]!r} has no value for each of the {len(atoms)} atoms", key=OURS)
        atoms.arrays[key] = value
    atoms.info.update(_part(ours, "info"))
    for key in _words(ours.get("unlabelled", [])):
        results.pop(key, None)
    for key, value in _part(ours, "results").items():
        if not is_result(key, value) or key in results:
            raise DataError(f"its result {key[:40]!r} is none that a calculator gives beside the labels", key=OURS)
        results[key] = value
    if "cell" in ours:
        atoms.set_cell(numbers(ours["cell"], (3, 3), OURS))
    if "pbc" in ours:
        flags = ours["pbc"]
        if not isinstance(flags, list) or len(flags) != 3:
            raise DataError("its pbc is to have three flags", key=OURS)
        atoms.pbc = [bool(flag) for flag in flags]


def _part(ours: dict[str, Any], part: str) -> dict[str, Any]:
    found = decode(ours.get(part, {}), OURS)
    if not isinstance(found, dict):
        raise DataError(f"its {part} is to be a JSON object", key=OURS)
    return found


def _words(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DataError("its unlabelled is to be a list of names", key=OURS)
    return value


_USES = frozenset({"type_map"})
FITSNAP = Format(
    "fitsnap",
    "FitSNAP's JSON in folders",
    "",
    _is_folder,
    _read_folder,
    open_writer,
    _USES,
    label_names={"energy": "Energy", "forces": "Forces", "stress": "Stress"},
    files=_json_files,
    types_chosen=True,
)
FITSNAP_FILE = Format("fitsnap-json", "FitSNAP's JSON, or an archive of it", ".json", _is_file, _read_file, uses=_USES)
