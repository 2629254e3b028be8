"""Files to frames, as a stream."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlff_curate.data.checkpoints import looks_like_model
from mlff_curate.data.extxyz import parse_and_remark, split_frames
from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.ase_formats import read_with_ase
from mlff_curate.data.formats.base import PLAIN, Content, Format, ReadOptions
from mlff_curate.data.formats.lammps_types import is_element
from mlff_curate.data.formats.lammps_units import refusal
from mlff_curate.data.frames import Frame, Remark, content_digest
from mlff_curate.data.opening import DAMAGED, damaged, is_folder, open_binary
from mlff_curate.data.outputs import files_written_here
from mlff_curate.data.soundness import require_sound
from mlff_curate.errors import DataError, UsageError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ase import Atoms

from mlff_curate.data.extxyz import FrameText

_REFUSED = {"bundletrajectory", "mysql", "postgresql", "lammps-dump-binary"}
"""Formats of ASE that are no file (a folder, a server's address), or that do not tell what their numbers are."""
_NAMED = 5
"""Files that are named of those not read."""
_CELL_MISSING = Remark(
    "cell-missing",
    "note",
    "cell",
    "no cell: taken as non-periodic",
    'if it is periodic, put Lattice="ax ay az bx by bz cx cy cz" into the comment line, otherwise pbc="F F F"',
)


def read_frames(
    paths: str | Path | Iterable[str | Path],
    type_map: Sequence[str] = (),
    *,
    units: str | None = None,
    log: str | Path | None = None,
    types_written: bool = False,
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
        LAMMPS unit style of files that do not tell theirs.
    log
        LAMMPS log file to take the energies of dumps from.
    types_written
        The type_map is for what is written as well: inputs that have no use for it are not remarked on.
    faults
        Told of each file or frame that cannot be read or is no frame, which is then left out; ``ends_file`` of the
        error tells that the rest of the file is. None: the first one is raised.

    Yields
    ------
    Frame
        In the order of the files and of the frames in them.

    Raises
    ------
    DataError
        A file is missing, empty or unreadable, or holds a frame that is no frame; see :mod:`mlff_curate.data`.
    UsageError
        A type is no element, or the units are no style that can be converted.
    """
    options = ReadOptions(tuple(type_map), units, log, types_written)
    require_reading(options.type_map, options.units)
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        frames = _read_file(Path(path), options, faults)
        if faults is None:
            yield from frames
            continue
        try:
            yield from frames
        except DataError as error:
            error.ends_file = True
            faults(error)


def require_reading(type_map: Sequence[str], units: str | None) -> None:
    """Refuse what no file could be read with; see :func:`read_frames`.

    Raises
    ------
    UsageError
        A type is no element, or the units are no style that can be converted.
    """
    for symbol in type_map:
        if not is_element(symbol):
            raise UsageError(f"{symbol!r} is no chemical symbol", key="--type-map")
    if units is not None and (why := refusal(units)):
        raise UsageError(why, key="--units")


def _read_file(path: Path, options: ReadOptions, faults: Callable[[DataError], None] | None) -> Iterator[Frame]:
    count = 0
    for frame in _whole_frames(path, options, faults):
        count += 1
        try:
            require_sound(frame.atoms, frame.source, frame.index)
        except DataError as error:
            if faults is None:
                error.one_frame = True
                raise
            faults(error)
            continue
        yield frame
    if count == 0:
        raise DataError("the file holds no frame", file=str(path))


def _whole_frames(path: Path, options: ReadOptions, faults: Callable[[DataError], None] | None) -> Iterator[Frame]:
    name = str(path)
    kind = _kind_of(path)
    unused = (*_about_unused(kind, options), *_about_unread(kind, path))  # said once, at the first frame
    if kind != "extxyz":
        for index, content in enumerate(_contents(path, kind, options)):
            digest = content_digest(content.atoms)
            yield Frame(content.atoms, name, index, digest, None, content.origins, (*unused, *content.remarks))
            unused = ()
        return
    with open_binary(path) as stream:
        for part in _split(stream, path):
            try:
                atoms, remarks = parse_and_remark(part.text, name, part.index, part.line)
            except DataError as error:
                if faults is None:
                    error.one_frame = True
                    raise
                faults(error)
                continue
            yield _own_text(atoms, name, part, (*unused, *remarks))
            unused = ()


def _own_text(atoms: Atoms, name: str, part: FrameText, remarks: tuple[Remark, ...]) -> Frame:
    if not atoms.pbc.any():
        remarks = (*remarks, *_missing_cell(atoms, part.text))
    return Frame(atoms, name, part.index, None, part.text, remarks=remarks)


def _missing_cell(atoms: Atoms, text: bytes) -> tuple[Remark, ...]:
    """Remark on a frame of which the file does not say that it is not periodic; a free atom needs no cell."""
    if len(atoms) == 1 or atoms.cell.any() or re.search(rb"(?<!\S)pbc\s*=", text.split(b"\n", 2)[1]):
        return ()
    return (_CELL_MISSING,)


def _split(stream: BinaryIO, path: Path) -> Iterator[FrameText]:
    try:
        yield from split_frames(stream, str(path))
    except DAMAGED as error:
        raise damaged(path, error) from None


def _kind_of(path: Path) -> Format | str:
    """Tell the format, by content where that is telling: one of ours, or the name of one of ASE's."""
    if is_folder(path):
        found = next((f for f in FORMATS if f.read and not f.suffix and f.recognises(path, b"")), None)
        if found is None:
            raise _no_set(path)
        return found
    head = _head(path)
    ours = next((f for f in FORMATS if f.read and f.suffix and f.recognises(path, head)), None)
    if ours is not None:
        return ours
    first = head.lstrip().split(b"\n", 1)[0].strip()
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    if first.isdigit() or suffixes[-1:] in ([".xyz"], [".extxyz"]):
        return "extxyz"
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        kind = str(filetype(str(path.absolute()), read=True))  # absolute: never taken for a server's address
    except UnknownFileTypeError:
        kind = ""
    if kind not in ioformats:  # or a suffix that means nothing
        raise DataError("the format is not recognised; ASE does not know it either", file=str(path))
    if kind in _REFUSED:
        raise DataError(f"ASE's format {kind} is not read", file=str(path))
    return kind


def _head(path: Path) -> bytes:
    """Return the first bytes of a file that may hold frames."""
    with open_binary(path) as stream:
        try:
            head: bytes = stream.peek(4096)[:4096]  # type: ignore[attr-defined]
        except DAMAGED as error:
            raise damaged(path, error) from None
    if not head.strip():
        raise DataError("the file is empty", file=str(path))
    if looks_like_model(head):
        raise DataError("is a model file: frames are wanted", file=str(path))
    return head


def _no_set(folder: Path) -> DataError:
    """Return the error of a folder that no format takes; where files in it can be read, how to name them is said."""
    known = ", ".join(f.title for f in FORMATS if f.read and not f.suffix)
    _, _, names = next(_walk(folder), ("", [], []))
    files = (folder / name for name in names if (folder / name).is_file())  # a pipe would wait for its writer
    hint = f"; its files are read one by one if they are named: {folder / '*'}" if any(map(_readable, files)) else ""
    return DataError(
        f"is a folder, not a file, and not laid out as any that is read whole ({known}){hint}", file=str(folder)
    )


def _readable(path: Path) -> bool:
    """Tell whether a file is of a format that is read."""
    try:
        _kind_of(path)
    except DataError:
        return False
    return True


def _contents(path: Path, kind: Format | str, options: ReadOptions) -> Iterator[Content]:
    try:
        if isinstance(kind, Format):
            assert kind.read is not None
            yield from kind.read(path, options)
            return
        for atoms in read_with_ase(path, kind):
            yield Content(atoms)
    except DAMAGED as error:
        raise damaged(path, error) from None


def _about_unused(kind: Format | str, options: ReadOptions) -> tuple[Remark, ...]:
    """Tell of what a user said about files of another format than this one."""
    used = kind.uses if isinstance(kind, Format) else ()
    type_map = () if options.types_written else options.type_map
    given = {"type_map": type_map, "units": options.units, "log": options.log}
    return tuple(
        Remark(
            "option-unused",
            "note",
            None,
            f"--{name.replace('_', '-')} means nothing to this format",
            "leave it out, unless it is meant for another input",
        )
        for name, value in given.items()
        if value and name not in used
    )


def _about_unread(kind: Format | str, path: Path) -> tuple[Remark, ...]:
    """Tell what a folder was taken for where it holds files that are not read, but for those written with the set."""
    if not isinstance(kind, Format) or kind.files is None:
        return ()
    taken = {str(file) for file in kind.files(path)}
    ours = files_written_here(path)
    others = (Path(root, name) for root, _, names in _walk(path) for name in sorted(names))
    unread = [
        place for file in others if str(file) not in taken and (place := file.relative_to(path).as_posix()) not in ours
    ]
    if not unread:
        return ()
    named = ", ".join(unread[:_NAMED]) + (", ..." if unread[_NAMED:] else "")
    return (
        Remark(
            "files-unread",
            "note",
            None,
            f"the folder is taken for {kind.title}: {counted(len(taken), 'file')} of that format "
            f"{'is' if len(taken) == 1 else 'are'} read, {counted(len(unread), 'other')} not ({named})",
            "name the files, or the folder, that are meant, if these are not",
        ),
    )


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as os.walk does, in order and past what is hidden."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield root, folders, [name for name in names if not name.startswith(".")]


def read_again(path: str | Path, indices: Iterable[int], options: ReadOptions = PLAIN) -> Iterator[Frame]:
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
                    atoms, remarks = parse_and_remark(part.text, str(path), part.index, part.line)
                    yield _own_text(atoms, str(path), part, remarks)
        return
    for index, content in enumerate(_contents(path, kind, options)):
        if index in wanted:
            digest = content_digest(content.atoms)
            yield Frame(content.atoms, str(path), index, digest, None, content.origins, content.remarks)


def lacks_last_line_end(path: Path) -> bool:
    """Tell whether an uncompressed extxyz file ends within a line."""
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":  # gzip tells by itself when it is cut off
            return False
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
    return last != b"\n" and [s.lower() for s in path.suffixes[-1:]] in ([".xyz"], [".extxyz"])
