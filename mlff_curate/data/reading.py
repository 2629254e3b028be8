"""Files to frames, as a stream."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import stat
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from mlff_curate.data.extxyz import parse_frame, split_frames
from mlff_curate.data.foreign import dump_options, require_configurations, require_symbols, with_mapped_types
from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.base import Content, Format, ReadOptions
from mlff_curate.data.frames import Frame, Remark, content_digest
from mlff_curate.data.soundness import require_sound
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ase import Atoms

    from mlff_curate.data.extxyz import FrameText

_REFUSED = {"bundletrajectory", "mysql", "postgresql"}
"""Formats of ASE that are no file: a folder, or a server's address."""
_CELL_MISSING = Remark(
    "cell-missing",
    "note",
    "cell",
    "no cell: taken as non-periodic",
    'if it is periodic, put Lattice="ax ay az bx by bz cx cy cz" into the comment line, otherwise pbc="F F F"',
)
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading gzipped data raises if they are truncated or altered."""


def read_frames(
    paths: str | Path | Iterable[str | Path],
    type_map: Sequence[str] = (),
    *,
    units: str | None = None,
    log: str | Path | None = None,
    faults: Callable[[DataError], None] | None = None,
) -> Iterator[Frame]:
    """Read the frames of one or more files or folders, one at a time.

    Parameters
    ----------
    paths
        Extxyz (also gzipped), a format of :mod:`mlff_curate.data.formats`, or anything else that ASE reads.
    type_map
        Chemical symbols of the types 1, 2, ... of files that know types only, such as LAMMPS dumps.
    units
        Unit style of LAMMPS dumps that do not say it.
    log
        LAMMPS log file that has the energies of a dump.
    faults
        Told of each file or frame that cannot be read or is no frame, which is then left out; None: the first one is
        raised.

    Yields
    ------
    Frame
        In the order of the files and of the frames in them.

    Raises
    ------
    DataError
        A file is missing, empty or unreadable, or holds a frame that is no frame; see :mod:`mlff_curate.data`.
    """
    require_symbols(type_map)
    options = ReadOptions(tuple(type_map), units, None if log is None else Path(log))
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        frames = _read_file(Path(path), options, faults)
        if faults is None:
            yield from frames
            continue
        try:
            yield from frames
        except DataError as error:
            faults(error)


def _read_file(path: Path, options: ReadOptions, faults: Callable[[DataError], None] | None) -> Iterator[Frame]:
    count = 0
    for frame in _whole_frames(path, options, faults):
        count += 1
        try:
            require_sound(frame.atoms, frame.source, frame.index)
        except DataError as error:
            if faults is None:
                raise
            faults(error)
            continue
        yield frame
    if count == 0:
        raise DataError("the file holds no frame", file=str(path))


def _whole_frames(path: Path, options: ReadOptions, faults: Callable[[DataError], None] | None) -> Iterator[Frame]:
    name = str(path)
    kind = _kind_of(path)
    if kind != "extxyz":
        for index, content in enumerate(_contents(path, kind, options)):
            digest = content_digest(content.atoms)
            yield Frame(content.atoms, name, index, digest, None, content.origins, content.remarks)
        return
    with open_binary(path) as stream:
        for part in _split(stream, path):
            try:
                atoms = parse_frame(part.text, name, part.index, part.line)
            except DataError as error:
                if faults is None:
                    raise
                faults(error)
                continue
            yield _own_text(atoms, name, part)


def _own_text(atoms: Atoms, name: str, part: FrameText) -> Frame:
    remarks = () if atoms.pbc.any() else _missing_cell(atoms, part.text)
    return Frame(atoms, name, part.index, hashlib.sha256(part.text).hexdigest(), part.text, remarks=remarks)


def _missing_cell(atoms: Atoms, text: bytes) -> tuple[Remark, ...]:
    """Remark on a frame of which the file does not say that it is not periodic; a free atom needs no cell."""
    if len(atoms) == 1 or atoms.cell.any() or re.search(rb"(?<!\S)pbc\s*=", text.split(b"\n", 2)[1]):
        return ()
    return (_CELL_MISSING,)


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, gunzipping it if it is gzipped.

    Raises
    ------
    DataError
        No such file, a folder, a pipe, or not readable.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise DataError("no such file", file=str(path)) from None
    except IsADirectoryError:
        raise DataError("is a folder, not a file", file=str(path)) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=str(path)) from None
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise DataError("is no regular file: files are read twice, which a pipe cannot be", file=str(path))
    magic = stream.peek(2)[:2]
    return cast("BinaryIO", gzip.open(stream)) if magic == b"\x1f\x8b" else stream


def _split(stream: BinaryIO, path: Path) -> Iterator[FrameText]:
    try:
        yield from split_frames(stream, str(path))
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"the gzip data are damaged or truncated ({error})", file=str(path))


def _kind_of(path: Path) -> Format | str:
    """Tell the format, by content where that is telling: one of ours, or the name of one of ASE's."""
    if path.is_dir():
        found = next((f for f in FORMATS if f.read and not f.suffix and f.recognises(path, b"")), None)
        if found is None:
            known = ", ".join(f.title for f in FORMATS if f.read and not f.suffix)
            raise DataError(
                f"is a folder, not a file, and none of {known}" if known else "is a folder, not a file", file=str(path)
            )
        return found
    with open_binary(path) as stream:
        try:
            head = stream.peek(4096)[:4096]  # type: ignore[attr-defined]
        except _DAMAGED as error:
            raise _damaged(path, error) from None
    if not head.strip():
        raise DataError("the file is empty", file=str(path))
    first = head.lstrip().split(b"\n", 1)[0].strip()
    ours = next((f for f in FORMATS if f.read and f.suffix and f.recognises(path, head)), None)
    if ours is not None:
        return ours
    if first.startswith(b"ITEM:"):
        return "lammps-dump-text"
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    if first.isdigit() or suffixes[-1:] in ([".xyz"], [".extxyz"]):
        return "extxyz"
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        kind = str(filetype(str(path.absolute()), read=True))  # absolute: never taken for a server's address
    except UnknownFileTypeError:
        raise DataError("the format is not recognised; ASE does not know it either", file=str(path)) from None
    if kind in _REFUSED:
        raise DataError(f"ASE's format {kind} is not read", file=str(path))
    return kind


def _contents(path: Path, kind: Format | str, options: ReadOptions) -> Iterator[Content]:
    try:
        if isinstance(kind, Format):
            assert kind.read is not None
            yield from kind.read(path, options)
            return
        for index, atoms in enumerate(_read_with_ase(path, kind, options.type_map)):
            if kind == "cif" and not atoms.cell.any():
                raise DataError(
                    "the file has no cell, and fractional coordinates are no positions without one",
                    file=str(path),
                    frame=index,
                    key="cell",
                )
            yield Content(atoms)
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def _read_with_ase(path: Path, kind: str, type_map: Sequence[str]) -> Iterator[Atoms]:
    from ase.io import iread

    options: dict[str, Any] = {}
    if kind == "lammps-dump-text":
        with open_binary(path) as stream:
            options = dump_options(stream, type_map, str(path))
    frames = iread(str(path.absolute()), index=":", format=kind, do_not_split_by_at_sign=True, **options)
    index = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 - ASE raises many kinds for bad files; each is the data's fault
            raise DataError(
                f"ASE cannot read it as {kind} ({type(error).__name__}: {error})", file=str(path), frame=index
            ) from None
        yield with_mapped_types(atoms, options.get("specorder", ())) if kind == "lammps-dump-text" else atoms
        index += 1
    if kind == "vasp-xdatcar":
        with open_binary(path) as stream:
            require_configurations(stream, index, str(path))


def read_again(path: str | Path, indices: Iterable[int], options: ReadOptions | None = None) -> Iterator[Frame]:
    """Read some frames of a file or folder again.

    Parameters
    ----------
    path
        What :func:`read_frames` has read.
    indices
        0-based frames wanted.
    options
        What :func:`read_frames` was told.

    Yields
    ------
    Frame
        In the file's order; only these are parsed.
    """
    wanted = set(indices)
    path = Path(path)
    kind = _kind_of(path)
    if kind == "extxyz":
        with open_binary(path) as stream:
            for part in _split(stream, path):
                if part.index in wanted:
                    yield _own_text(parse_frame(part.text, str(path), part.index, part.line), str(path), part)
        return
    for index, content in enumerate(_contents(path, kind, options or ReadOptions())):
        if index in wanted:
            digest = content_digest(content.atoms)
            yield Frame(content.atoms, str(path), index, digest, None, content.origins, content.remarks)


def lacks_last_line_end(path: Path) -> bool:
    """Tell whether an uncompressed extxyz file ends within a line."""
    with path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":  # gzip tells by itself when it is cut off
            return False
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
    return last != b"\n" and [s.lower() for s in path.suffixes[-1:]] in ([".xyz"], [".extxyz"])
