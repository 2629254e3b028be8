"""``XDATCAR``: positions of an MD run of VASP, with one cell or with one for each configuration; no labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.vasp import element, numbers
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlff_curate.data.formats.base import ReadOptions

_CONFIGURATION = re.compile(rb"^\s*Direct\s+configuration\s*=", re.IGNORECASE)
_HEADER = 7  # lines: comment, scale, three vectors, elements, counts
_LONGEST_COUNT = 7  # digits: a damaged count must not ask for all memory


def _recognises(path: Path, head: bytes) -> bool:
    there = any(_CONFIGURATION.match(line) for line in head.splitlines()[_HEADER : _HEADER + 1])
    return there or path.name.upper().startswith("XDATCAR")


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001 - it tells everything itself
    with open_binary(path) as stream:
        yield from _contents(iter(stream), str(path))


XDATCAR = Format("xdatcar", "XDATCAR of VASP", ".XDATCAR", _recognises, _read)


@dataclass(frozen=True, eq=False)
class _Header:
    """What stands above configurations: n elements and the cell (3, 3) in Angstrom."""

    symbols: list[str]
    cell: np.ndarray


def _contents(lines: Iterator[bytes], file: str) -> Iterator[Content]:
    from ase import Atoms

    index = 0
    header: _Header | None = None
    while line := next(lines, b""):
        if not _CONFIGURATION.match(line):
            header = _header_of([line, *islice(lines, _HEADER - 1)], file, index)
            line = next(lines, b"")
        if header is None or not _CONFIGURATION.match(line):
            raise DataError(
                f"{_shown(line)} should be the beginning of a configuration: {_WRONG}", file=file, frame=index
            )
        rows = list(islice(lines, len(header.symbols)))
        places = [row for row in rows if not _CONFIGURATION.match(row)]
        if len(places) < len(header.symbols):
            raise DataError(
                f"the configuration has {len(places)} positions instead of {len(header.symbols)}: {_WRONG}",
                file=file,
                frame=index,
            )
        what = f"positions ({_WRONG})"
        scaled = np.array([numbers(row.decode("latin-1"), 3, what, file, index) for row in rows])
        if not rows[-1].endswith(b"\n"):
            raise DataError("the last line has no end: truncated in the middle of it", file=file, frame=index)
        yield Content(Atoms(header.symbols, positions=scaled @ header.cell, cell=header.cell, pbc=True))
        index += 1


_WRONG = "truncated, or the atom count is wrong"


def _header_of(lines: list[bytes], file: str, index: int) -> _Header:
    texts = [line.decode("latin-1") for line in lines]
    if len(texts) < _HEADER:
        raise DataError(f"{_shown(lines[0])} is followed by no header: {_WRONG}", file=file, frame=index)
    (scale,) = numbers(texts[1], 1, f"the scale ({_WRONG})", file, index)
    cell = np.array([numbers(text, 3, f"the cell ({_WRONG})", file, index) for text in texts[2:5]])
    names, counts = texts[5].split(), texts[6].split()
    if all(word.isdigit() for word in names):
        raise DataError(
            "the header does not name its elements, as VASP 4 wrote it: add a line with them above the atom counts",
            file=file,
            frame=index,
        )
    if len(names) != len(counts) or not all(word.isdigit() and len(word) <= _LONGEST_COUNT for word in counts):
        raise DataError(f"there are {len(names)} elements but the counts {_shown(lines[6])}", file=file, frame=index)
    symbols = [symbol for name, n in zip(names, counts, strict=True) for symbol in [element(name, file)] * int(n)]
    if not symbols:
        raise DataError("the configuration has no atoms", file=file, frame=index)
    if scale < 0:  # then it is the volume
        scale = float(np.cbrt(-scale / max(abs(np.linalg.det(cell)), np.finfo(float).tiny)))
    return _Header(symbols, scale * cell)


def _shown(line: bytes) -> str:
    return repr(line.decode("latin-1").strip()[:40])
