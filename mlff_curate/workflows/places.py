"""Where frames of several inputs came from, for messages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlff_curate.errors import CurateError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Placed:
    """Something of frames whose files (`sources`) and places in there (`indices`) are known."""

    sources: list[str]
    indices: list[int]

    @contextmanager
    def naming_frames(self) -> Iterator[None]:
        """Give errors that count frames over all inputs the file of the frame and its place there."""
        try:
            yield
        except CurateError as error:
            if error.frame is not None and error.file is None:
                error.file, error.frame = self.sources[error.frame], self.indices[error.frame]
            raise
