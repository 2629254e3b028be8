"""Files and folders out: whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from mlff_curate.data.opening import is_folder
from mlff_curate.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

LISTING = ".mlff-curate-files"
"""In every folder that was written here: the paths of its files, one a line. What is not on it is the user's."""


def require_free(
    outputs: Sequence[Path], inputs: Sequence[Path], *, overwrite: bool, folders: Collection[Path] = ()
) -> None:
    """Refuse outputs before any work is done.

    Parameters
    ----------
    outputs
        Files and folders to be written.
    inputs
        Files and folders that are read.
    overwrite
        What exists may be replaced.
    folders
        Those of `outputs` that are folders.

    Raises
    ------
    OutputError
        An output has a name that no file can have, is an input, holds one or lies in one, two outputs are one, an
        output exists and is not to be replaced, or is a device or the like, a folder to be replaced holds something
        that was not written here, or the folder that an output stands in does not exist.
    """
    read = {path.resolve() for path in inputs}
    seen: set[Path] = set()
    for path in outputs:
        _require_possible(path)
        place = path.resolve()
        _require_no_input(path, read, folder=path in folders)
        if place in seen:
            raise OutputError("would be written twice", file=str(path))
        seen.add(place)
        if place.is_dir() and path not in folders:
            raise OutputError("is a folder", file=str(path))
        if place.exists() and not place.is_dir() and not place.is_file():
            raise OutputError("is no regular file, and is never replaced", file=str(path))
        if place.exists() and not overwrite:
            raise OutputError("exists already: say --overwrite to replace it", file=str(path))
        if path in folders:
            _require_ours(path)
        if not place.parent.is_dir():
            raise OutputError("its folder does not exist", file=str(path))
        if not os.access(place.parent, os.W_OK):
            raise OutputError("its folder cannot be written to", file=str(path))


def _require_possible(path: Path) -> None:
    """Refuse a name that no file can have, and one that cannot be looked at."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", file=str(path)) from None


def _require_no_input(path: Path, read: set[Path], *, folder: bool) -> None:
    place = path.resolve()
    if place in read:
        raise OutputError("is an input: an input is never replaced", file=str(path))
    if folder and any(place in one.parents for one in read):
        raise OutputError("holds an input: an input is never replaced", file=str(path))
    if any(one in place.parents for one in read if is_folder(one)):
        raise OutputError("lies in an input, which is never changed", file=str(path))


def files_written_here(folder: Path) -> set[str]:
    """Return the paths in a folder of what was written to it by :func:`whole_outputs`, none in a folder of others."""
    listing = folder / LISTING
    if not listing.is_file():
        return set()
    return set(listing.read_text(errors="surrogateescape").split("\n"))  # file names need not be UTF-8


def _require_ours(folder: Path) -> None:
    """Refuse to replace anything but a folder that holds only what was written here."""
    place = folder.resolve()
    if not place.exists():
        return
    if not place.is_dir():
        raise OutputError("is a file, and a folder is to be written: remove it", file=str(folder))
    listing, ours = place / LISTING, files_written_here(place)
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in ours and path != listing:
            raise OutputError(
                f"holds {name}, which was not written here: only a folder of ours is replaced", file=str(folder)
            )


@contextmanager
def whole_outputs(*paths: Path) -> Iterator[list[Path]]:
    """Yield places at which files or folders are to be made; they appear under their names together, once complete.

    They are made in temporary folders beside `paths`, under their own names. On any exception, Ctrl-C included, nothing
    is left; what was there before stays. A folder gets a list of its files.

    Raises
    ------
    OutputError
        The disk does not take them.
    """
    places = [path.resolve() for path in paths]  # an output that is a link stays one
    temporary: list[Path] = []
    try:
        for place in places:
            # named before it is made, so that no signal comes between
            temporary.append(place.with_name(f".mlff-curate-{secrets.token_hex(8)}.part"))
            temporary[-1].mkdir()
        parts = [folder / place.name for folder, place in zip(temporary, places, strict=True)]
        yield parts
        for part in parts:
            _settle(part)
        _place(parts, places)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", file=str(paths[0])) from error
    finally:
        for folder in temporary:
            shutil.rmtree(folder, ignore_errors=True)


def _settle(part: Path) -> None:
    """Bring a file to the disk; give a folder the list of its files."""
    if not part.is_dir():
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        return
    files = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if not path.is_dir())
    (part / LISTING).write_text("".join(f"{name}\n" for name in files), errors="surrogateescape")


def _place(parts: list[Path], places: list[Path]) -> None:
    """Move all to where they belong; if one fails, none is moved."""
    placed: list[tuple[Path, Path | None]] = []
    with _undisturbed():
        try:
            for part, place in zip(parts, places, strict=True):
                old = _set_aside(place, part) if place.exists() else None
                placed.append((place, old))
                part.replace(place)
        except (OSError, OutputError):
            for place, old in reversed(placed):
                if old is None or place.is_dir():
                    _remove(place)
                if old is not None:
                    old.replace(place)
            raise


def _set_aside(place: Path, part: Path) -> Path:
    """Keep what stands at a place under another name; a file stays where it is until it is replaced."""
    if place.is_dir() != part.is_dir():
        raise OutputError("cannot be written: something else stands there now", file=str(place))
    old = part.with_name(f"{secrets.token_hex(8)}.old")
    if not place.is_dir():
        with suppress(OSError):  # not every disk has links
            os.link(place, old)
            return old
    place.rename(old)
    return old


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole_files(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Open files for writing that appear under their names together, once all are complete; see :func:`whole_outputs`.

    Raises
    ------
    OutputError
        The disk does not take them.
    """
    with whole_outputs(*paths) as parts, ExitStack() as stack:
        streams: list[BinaryIO] = []
        for part in parts:
            streams.append(part.open("xb"))
            stack.callback(_close, streams[-1])
        yield streams
        for stream in streams:
            stream.close()


def write_whole(path: Path, contents: bytes, *, overwrite: bool) -> None:
    """Write one file that appears whole or not at all.

    Raises
    ------
    OutputError
        The file exists and is not to be replaced, or cannot be written.
    """
    require_free([path], [], overwrite=overwrite)
    with whole_files(path) as (stream,):
        stream.write(contents)


def _close(stream: BinaryIO) -> None:
    with suppress(OSError):  # a full disk is full again when the rest of the buffer goes out
        stream.close()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: between two renames, new and old outputs would stand side by side."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
