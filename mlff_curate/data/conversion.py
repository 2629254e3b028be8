"""Kept frames in another format than extxyz, through ASE."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.frames import calculator_results, label_keys
from mlff_curate.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ase import Atoms

_NO_FILE = {"bundletrajectory", "mysql", "postgresql"}
_ROUNDING = 1e-5
"""Angstrom, eV and so on: formats with few digits are fit for looking at."""


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

    fit = _formats_of_several_frames()
    if to not in fit:
        raise UsageError(f"{to!r} cannot hold several frames or is unknown; available: {', '.join(fit)}", key="--to")
    extensions = ioformats[to].extensions
    return str(extensions[0]) if extensions else to


def _formats_of_several_frames() -> list[str]:
    from ase.io.formats import ioformats

    return sorted(
        name
        for name, f in ioformats.items()
        if f.can_read and f.can_write and not f.single and name not in _NO_FILE and (not f.isbinary or name == "traj")
    )


def require_suffix(path: Path, to: str) -> None:
    """Refuse a file name that says another format than the one to be written: ASE would misread the file.

    Raises
    ------
    OutputError
        The message names the format that the suffix stands for.
    """
    from ase.io.formats import UnknownFileTypeError, filetype

    if path.suffix in (".gz", ".bz2", ".xz"):
        raise OutputError("compressed output is not written: leave the suffix out", file=str(path))
    try:
        said = filetype(path.name, read=False, guess=False)
    except UnknownFileTypeError:
        return
    if said != to and {said, to} != {"xyz", "extxyz"} and said in _formats_of_several_frames():
        raise OutputError(f"the name says {said}, what is to be written is {to}: say --to {said}", file=str(path))


def convert_texts(texts: Iterable[bytes], to: str) -> Iterator[bytes]:
    """Turn extxyz texts into a file of another format, in pieces; extxyz passes through bit for bit.

    The file is read back and compared: a format that loses a frame, its cell, or a key that looks like a label, is
    refused.

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
        path = Path(folder, f"frames.{to}")  # db and json go by the suffix
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
        same = {
            "elements": np.array_equal(before.numbers, after.numbers),
            "positions": np.allclose(before.positions, after.positions, rtol=0, atol=_ROUNDING),
            "cell": np.allclose(before.cell.array, after.cell.array, rtol=0, atol=_ROUNDING),
            "pbc": np.array_equal(before.pbc, after.pbc),
        }
        told, kept = _labels(before), _labels(after)
        same |= {key: key in kept and _close(value, kept[key]) for key, value in told.items()}
        lost = [key for key, fine in same.items() if not fine]
        if lost:
            raise DataError(
                f"{to} cannot hold {', '.join(lost)}: nothing is dropped in silence, use extxyz or traj",
                frame=index,
                key="--to",
            )


def _labels(atoms: Atoms) -> dict[str, object]:
    values = {**atoms.info, **atoms.arrays, **calculator_results(atoms)}
    return {key: values[key] for key in label_keys(atoms)}


def _close(one: object, other: object) -> bool:
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return str(one) == str(other)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=_ROUNDING, equal_nan=True)
