"""Kept frames in another format than extxyz, through ASE."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.frames import label_keys
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ase import Atoms


def require_format(to: str) -> str:
    """Check that ASE can write several frames in a format, and return the suffix of such files.

    Raises
    ------
    UsageError
        Unknown, or for single frames only; the message lists what there is.
    """
    if to == "extxyz":
        return "extxyz"
    from ase.io.formats import ioformats

    fit = sorted(
        name for name, f in ioformats.items() if (f.can_write and not f.single and not f.isbinary) or name == "traj"
    )
    if to not in fit:
        raise UsageError(f"{to!r} cannot hold several frames or is unknown; available: {', '.join(fit)}", key="--to")
    extensions = ioformats[to].extensions
    return str(extensions[0]) if extensions else to


def convert_texts(texts: Iterable[bytes], to: str) -> Iterator[bytes]:
    """Turn extxyz texts into a file of another format, in pieces; extxyz passes through bit for bit.

    The file is read back and compared: a format that loses a frame, or a key that looks like a label, is refused.

    Raises
    ------
    DataError
        The format cannot hold these frames.
    """
    if to == "extxyz":
        yield from texts
        return
    from ase.io import iread, write

    frames = [parse_frame(text, "kept frames", i) for i, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frames")
        try:
            write(str(path), frames, format=to)
            back = list(iread(str(path), index=":", format=to))
        except Exception as error:  # noqa: BLE001 - each format of ASE has its own
            raise DataError(f"these frames cannot be written as {to} ({error})", key="--to") from None
        _require_same(frames, back, to)
        yield path.read_bytes()


def _require_same(frames: list[Atoms], back: list[Atoms], to: str) -> None:
    if len(back) != len(frames):
        raise DataError(f"{to} holds {len(back)} of {len(frames)} frames", key="--to")
    for index, (before, after) in enumerate(zip(frames, back, strict=True)):
        lost = sorted(set(label_keys(before)) - set(label_keys(after)))
        if lost:
            raise DataError(
                f"{to} cannot hold the labels {', '.join(lost)}: nothing is dropped in silence, use extxyz or traj",
                frame=index,
                key="--to",
            )
