"""Bytes from files that may be zipped, cut off or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.data.opening import DAMAGED
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from typing import BinaryIO


def read_some(stream: BinaryIO, count: int) -> bytes:
    """Read at most so many bytes.

    Raises
    ------
    DataError
        The gzip data are damaged, or the disk is.
    """
    try:
        return stream.read(count)
    except DAMAGED as error:
        raise DataError(f"the gzip data are damaged or truncated ({error})") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from None


def read_line(stream: BinaryIO, longest: int) -> bytes:
    """Read a line with its end, empty at the end of the file.

    Raises
    ------
    DataError
        The line is longer, the gzip data are damaged, or the disk is.
    """
    try:
        line = stream.readline(longest + 1)
    except DAMAGED as error:
        raise DataError(f"the gzip data are damaged or truncated ({error})") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from None
    if len(line) > longest:
        raise DataError(f"has a line of more than {longest} bytes")
    return line
