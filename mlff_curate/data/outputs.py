"""Files out: whole or not at all."""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from mlff_curate.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def require_free(outputs: Sequence[Path], inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse outputs before any work is done.

    Raises
    ------
    OutputError
        An output is an input, two outputs are one, an output exists and is not to be replaced, or its folder does
        not.
    """
    read = {path.resolve() for path in inputs}
    seen: set[Path] = set()
    for path in outputs:
        place = path.resolve()
        if place in read:
            raise OutputError("is an input: an input is never replaced", file=str(path))
        if place in seen:
            raise OutputError("would be written twice", file=str(path))
        seen.add(place)
        if place.is_dir():
            raise OutputError("is a folder", file=str(path))
        if place.exists() and not overwrite:
            raise OutputError("exists already: say --overwrite to replace it", file=str(path))
        if not place.parent.is_dir():
            raise OutputError("its folder does not exist", file=str(path))
        if not os.access(place.parent, os.W_OK):
            raise OutputError("its folder cannot be written to", file=str(path))


@contextmanager
def whole_files(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Open files for writing that appear under their names together, once all are complete.

    They are written under temporary names in the same folders. On any exception, Ctrl-C included, nothing is left; what
    was there before stays.
    """
    places = [path.resolve() for path in paths]  # an output that is a link stays one
    temporary: list[Path] = []
    placed: list[Path] = []
    streams: list[BinaryIO] = []
    try:
        for place in places:
            # named before it is made, so that no signal comes between
            temporary.append(place.with_name(f".mlff-curate-{secrets.token_hex(8)}.part"))
            streams.append(temporary[-1].open("xb"))
        yield streams
        for stream in streams:
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        with _undisturbed():
            for part, place in zip(temporary, places, strict=True):
                if not place.exists():
                    placed.append(place)
                part.replace(place)
            placed.clear()
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", file=str(paths[0])) from error
    finally:
        for stream in streams:
            with suppress(OSError):  # a full disk is full again when the rest of the buffer goes out
                stream.close()
        for part in (*temporary, *placed):
            part.unlink(missing_ok=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: between two renames, new and old outputs would stand side by side."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
