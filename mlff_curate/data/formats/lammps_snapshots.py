"""LAMMPS dumps, text and binary, as they stand: columns and boxes, nothing converted.

Source of the layouts: LAMMPS manual, command ``dump`` (text) and ``tools/binary2txt.cpp`` (binary), 22 Jul 2025.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WORDS = frozenset({"element", "typelabel"})
"""Columns that hold words; all others hold numbers."""
_WHOLE = frozenset({"id", "type", "mol", "proc", "procp1", "ix", "iy", "iz"})
"""Columns that hold whole numbers."""
_EXACT = 2.0**53  # whole numbers beyond are not held by float64
_LONGEST_COUNT = 18  # digits
_PIECE = 2**22  # bytes read at a time: a damaged count must not ask for all memory at once
_MAGIC = (b"DUMPCUSTOM", b"DUMPATOM")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One frame of a dump with n atoms, in the order and the units of the file.

    Attributes
    ----------
    step
        Timestep.
    time
        Simulated time, None: not told.
    units
        Unit style, None: not told.
    cell
        (3, 3), a vector per row.
    origin
        (3,) lower corner of the box.
    pbc
        (3,) periodic or not; None: not told.
    columns
        Name -> (n,) numbers (int64 where they are whole by their nature, else float64) or words (bytes).
    """

    step: int
    time: float | None
    units: str | None
    cell: np.ndarray
    origin: np.ndarray
    pbc: np.ndarray | None
    columns: dict[str, np.ndarray]


def is_binary(head: bytes) -> bool:
    """Tell a binary dump that describes itself, from its first bytes."""
    return _byte_order(head) is not None


def text_snapshots(lines: Iterable[bytes], file: str) -> Iterator[Snapshot]:
    """Read a text dump.

    Raises
    ------
    DataError
        More or fewer atoms or columns than declared, no box, no number where one should be. Names the frame.
    """
    index = 0
    units: str | None = None
    items: dict[str, list[bytes]] = {}
    for number, title, body in _sections(lines):
        name = title[5:].decode(errors="replace").strip()
        kind = next((known for known in _ITEMS if name == known or name.startswith(f"{known} ")), None)
        if kind is None:
            raise DataError(f"line {number}, ITEM: {name[:40]}, belongs to no dump of atoms", file=file, frame=index)
        if kind == "UNITS":
            units = body[0].decode(errors="replace").strip() if body else None
        elif kind != "ATOMS":
            items[kind] = [title, *body]
        else:
            parse = _TextFrame(file, index, number, items)
            columns = parse.columns(title.decode(errors="replace").split()[2:], body)
            yield Snapshot(parse.step(), parse.time(), units, *parse.box(), columns)
            items = {}
            index += 1
    if items:
        raise DataError("the frame ends before its atoms: truncated", file=file, frame=index)


_ITEMS = ("TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS", "ATOMS", "UNITS", "TIME")


def _sections(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Yield the line number of each ``ITEM:``, that line, and the lines below it."""
    number, title = 0, b""
    body: list[bytes] = []
    for n, line in enumerate(lines, 1):
        if line[:5] != b"ITEM:":
            body.append(line)
            continue
        if title:
            yield number, title, body
        number, title, body = n, line, []
    if title:
        yield number, title, body


@dataclass(frozen=True)
class _TextFrame:
    """The lines of one frame, and where they stand."""

    file: str
    index: int
    line: int
    items: dict[str, list[bytes]]

    def error(self, message: str) -> DataError:
        return DataError(message, file=self.file, frame=self.index)

    def columns(self, names: list[str], body: list[bytes]) -> dict[str, np.ndarray]:
        word = (self.items.get("NUMBER OF ATOMS") or [b"", b""])[1:2]
        digits = word[0].strip() if word else b""
        count = int(digits) if digits.isdigit() and len(digits) <= _LONGEST_COUNT else -1
        if len(body) != count:
            body = [line for line in body if line.strip()]
        if len(body) != count:
            raise self.error(
                f"line {self.line} is followed by {len(body)} atoms instead of {count if count >= 0 else 'a number'}: "
                "truncated, or the atom count is wrong"
            )
        if not names:
            raise self.error("the dump does not name its columns: write it with a LAMMPS of this century, or name them")
        if len(set(names)) < len(names):
            raise self.error(f"a column is there twice: {' '.join(names)[:200]}")
        rows = [line.split() for line in body]
        if not {len(names)} >= set(map(len, rows)):
            wrong = next(i for i, row in enumerate(rows) if len(row) != len(names))
            raise self.error(
                f"line {self.line + wrong + 1} has {len(rows[wrong])} columns instead of {len(names)}: truncated"
            )
        if body and not body[-1].endswith(b"\n"):
            raise self.error("the last line has no end: truncated in the middle of it")
        by_column = zip(*rows, strict=True) if rows else (() for _ in names)
        return {name: self._values(name, words) for name, words in zip(names, by_column, strict=True)}

    def _values(self, name: str, words: tuple[bytes, ...]) -> np.ndarray:
        if name in _WORDS:
            return np.array(words, dtype=bytes)
        try:
            if name in _WHOLE:
                return np.fromiter(map(int, words), np.int64, len(words))
            return np.fromiter(map(float, words), np.float64, len(words))
        except (ValueError, OverflowError):
            kind = "whole number" if name in _WHOLE else "number"
            raise self.error(f"column {name} holds a word that is no {kind} (below line {self.line})") from None

    def _number(self, item: str, kind: type[int | float]) -> int | float:
        lines = self.items.get(item, [])
        try:
            return kind(lines[1])
        except (IndexError, ValueError):
            raise self.error(f"ITEM: {item} is not followed by a number") from None

    def step(self) -> int:
        return int(self._number("TIMESTEP", int))

    def time(self) -> float | None:
        return float(self._number("TIME", float)) if "TIME" in self.items else None

    def box(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        title, *lines = self.items.get("BOX BOUNDS", [b""])
        words = title.decode(errors="replace").split()[3:]
        general, tilted = words[:2] == ["abc", "origin"], words[:3] == ["xy", "xz", "yz"]
        flags = words[2:] if general else words[3:] if tilted else words
        width = 4 if general else 3 if tilted else 2
        try:
            numbers = np.array([[float(word) for word in line.split()] for line in lines])
        except ValueError:
            numbers = np.empty(0)
        if numbers.shape != (3, width):
            raise self.error(f"ITEM: BOX BOUNDS is not followed by three lines of {width} numbers")
        pbc = np.array([flag[0] == "p" for flag in flags]) if len(flags) == 3 else None
        if general:
            return numbers[:, :3], numbers[:, 3], pbc
        return *_restricted(numbers[:, :2], numbers[:, 2] if tilted else np.zeros(3)), pbc


def _restricted(bounds: np.ndarray, tilts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cell and origin of a box with its vectors along x, in the xy plane, and above it.

    Parameters
    ----------
    bounds
        (3, 2) of the box around the tilted one, as dumps have them.
    tilts
        xy, xz, yz.
    """
    xy, xz, yz = tilts
    low = bounds[:, 0] - (min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0)
    high = bounds[:, 1] - (max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0)
    (x, y, z) = high - low
    return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]]), low


def binary_snapshots(stream: BinaryIO, file: str) -> Iterator[Snapshot]:
    """Read a binary dump that describes itself, as LAMMPS has written them since 2021.

    Raises
    ------
    DataError
        Truncated, or counts that contradict each other. Names the frame.
    """
    index, units = 0, None
    while head := stream.read(_MAGIC_END):
        order = _byte_order(head)
        if order is None:
            fault = "truncated" if len(head) < _MAGIC_END else "damaged"
            raise DataError(f"a frame does not begin as binary dumps do: {fault}", file=file, frame=index)
        rest = head[8 - struct.unpack(f"{order}q", head[:8])[0] :]
        snapshot = _BinaryFrame(stream, order, rest, file, index).read()
        units = snapshot.units or units  # told by the first frame only
        yield replace(snapshot, units=units)
        index += 1


_MAGIC_END = 8 + max(map(len, _MAGIC))


def _byte_order(head: bytes) -> str | None:
    """Return how numbers are stored, None: this is no binary dump that describes itself."""
    for order in "<>":
        if any(head.startswith(struct.pack(f"{order}q", -len(magic)) + magic) for magic in _MAGIC):
            return order
    return None


@dataclass
class _BinaryFrame:
    stream: BinaryIO
    order: str
    ahead: bytes
    file: str
    index: int

    def error(self, message: str) -> DataError:
        return DataError(message, file=self.file, frame=self.index)

    def take(self, size: int) -> bytes:
        pieces, self.ahead = [self.ahead[:size]], self.ahead[size:]
        left = size - len(pieces[0])
        while left > 0:
            piece = self.stream.read(min(left, _PIECE))
            if not piece:
                raise self.error("the frame ends before its atoms: truncated")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def integers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(self.order + form, self.take(struct.calcsize(self.order + form)))

    def reals(self, count: int) -> np.ndarray:
        return np.frombuffer(self.take(8 * count), f"{self.order}f8").astype(np.float64)

    def text(self) -> str:
        (size,) = self.integers("i")
        if not 0 <= size <= _PIECE:
            raise self.error("the header makes no sense: damaged")
        return self.take(size).decode(errors="replace")

    def read(self) -> Snapshot:
        _, revision, step, n, tilt, *boundary = self.integers("iiqqi6i")
        if revision < 2:
            raise self.error("a binary dump this old does not name its columns: write text instead")
        if tilt not in (0, 1, 2) or n < 0:
            raise self.error("the header makes no sense: damaged")
        box = self.reals((6, 9, 12)[tilt])
        (width,) = self.integers("i")
        units = self.text()
        time = float(self.reals(1)[0]) if self.integers("b")[0] else None
        names = self.text().split()
        if width != len(names) or width == 0 or len(set(names)) < width:
            raise self.error(f"there are {width} columns but {len(set(names))} names: damaged")
        columns = dict(zip(names, self.rows(n, width).T, strict=True))
        for name in (_WHOLE | _WORDS) & columns.keys():
            values = columns[name]
            if not ((values == np.floor(values)) & (np.abs(values) < _EXACT)).all():
                raise self.error(f"column {name} holds a number that is not whole: damaged")
            columns[name] = values.astype(np.int64)
        for name in _WORDS & columns.keys():  # where text has the word, binary has the number of the type
            types = columns.pop(name)
            columns.setdefault("type", types)
        if tilt == 2:
            cell, origin = box[:9].reshape(3, 3), box[9:]
        else:
            cell, origin = _restricted(box[:6].reshape(3, 2), box[6:] if tilt else np.zeros(3))
        return Snapshot(step, time, units or None, cell, origin, np.array(boundary[::2]) == 0, columns)

    def rows(self, n: int, width: int) -> np.ndarray:
        """Read the chunks that the processes of the run wrote one after the other."""
        (chunks,) = self.integers("i")
        parts = [np.empty(0)]
        left = n * width
        for _ in range(chunks):
            (size,) = self.integers("i")
            if not 0 <= size <= left:
                raise self.error(f"there are more numbers than {n} atoms with {width} columns have: damaged")
            parts.append(self.reals(size))
            left -= size
        if left:
            raise self.error(f"{left} numbers are missing of {n} atoms with {width} columns: damaged")
        return np.concatenate(parts).reshape(n, width)
