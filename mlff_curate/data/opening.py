"""Files opened as bytes, unzipped where they are zipped."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading gzipped data raises if they are truncated or altered."""


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


def is_folder(path: Path) -> bool:
    """Tell whether a folder has this name; one that no file can have, as it is too long, names none."""
    with suppress(OSError):
        return path.is_dir()
    return False


def is_file(path: Path) -> bool:
    """Tell whether a file has this name; one that no file can have, as it is too long, names none."""
    with suppress(OSError):
        return path.is_file()
    return False


def damaged(path: Path, error: Exception) -> DataError:
    """Say that a gzipped file cannot be unzipped."""
    return DataError(f"the gzip data are damaged or truncated ({error})", file=str(path))
