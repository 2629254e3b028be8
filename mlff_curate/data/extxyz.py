"""Extended XYZ: the frames' own text, and ASE's reading of it.

A frame is passed on as the bytes it came as, so that no digit and no key of it can change. ASE says what a frame is,
through :mod:`mlff_curate.data.quick_extxyz` where the frame is plain; what ASE would accept in silence (extra columns,
an atom count that lies) is checked here.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mlff_curate.data.extxyz_comment import read_comment
from mlff_curate.data.frames import Remark
from mlff_curate.data.labels import asymmetry_of
from mlff_curate.data.quick_extxyz import DEFAULT_COLUMNS, read_quickly, without_clash
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

_LONGEST_COUNT = 18  # digits: more is no number of atoms, and Python refuses to read thousands of them
_LONGEST_QUOTE = 60  # characters of a bad line that an error message repeats
_BLOCK = 2**18  # bytes
_LINE_END = ord("\n")
_STRESS = re.compile(rb"""stress(?<![\w-]stress)["']?\s*=(?:"([^"]*)")?""")
_RESULT_COLUMNS = (b"energy:", b"stress:", b"magmom:")
_LINES_TO_TELL = 4  # atoms whose lines have one length: the file has fixed columns


@dataclass(frozen=True)
class FrameText:
    """The text of one frame.

    Attributes
    ----------
    index
        0-based place in the file.
    line
        1-based line of its atom count.
    text
        Its bytes, from the atom count to the end of the last atom's line, with that line's end.
    """

    index: int
    line: int
    text: bytes


def split_frames(stream: BinaryIO, file: str) -> Iterator[FrameText]:
    """Cut a stream into frames, one at a time; blank lines between frames are skipped.

    Raises
    ------
    DataError
        An atom count that is no count, or more or fewer atoms than it says.
    """
    index, number = 0, 0
    before = b""
    lines = _Lines(stream)
    while first := lines.take(1):
        number += 1
        if not first.strip():
            continue
        count = _atom_count(first, file, index, number)
        text = first + lines.take(count + 1)
        missing = count + 2 - text.count(b"\n")
        if missing > 1 or (missing == 1 and text.endswith(b"\n")):
            there = count + 2 - missing + (not text.endswith(b"\n"))
            raise DataError(
                f"the file ends after {max(there - 2, 0)} of {count} atoms (line {number + there - 1}): "
                "truncated, or the atom count is wrong",
                file=file,
                frame=index,
            )
        if missing:
            _require_whole_line([*_atom_lines(before), *_atom_lines(text)], file, index, number + count + 1)
            text += b"\n"
        yield FrameText(index, number, text)
        before = text
        number += count + 1
        index += 1


class _Lines:
    """Lines of a stream, many at a time, of which only a block is held."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._block = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next lines with their ends; fewer where the stream ends before."""
        while True:
            end = _after_lines(self._block, self._at, count)
            if end < 0:
                left = len(self._block) - self._at
                # at the file's own pace, as a count may lie; doubled, so that long frames are not copied many times
                more = self._stream.read(max(_BLOCK, left))
                if more:
                    self._block, self._at = self._block[self._at :] + more, 0
                    continue
                end = len(self._block)
            lines, self._at = self._block[self._at : end], end
            return lines


def _after_lines(block: bytes, at: int, count: int) -> int:
    """Return where `count` lines end, negative if the block has fewer."""
    if count > _LINES_TO_TELL:
        # Mostly the lines after the first, the comment, have one length: then there is no need to look for each.
        second = block.find(b"\n", at) + 1
        width = block.find(b"\n", second) + 1 - second
        end = second + width * (count - 1)
        if 0 < end <= len(block) and block[end - 1] == _LINE_END and block.count(b"\n", second, end) == count - 1:
            return end
    for _ in range(count):
        at = block.find(b"\n", at) + 1
        if at == 0:
            return -1
    return at


def _atom_lines(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n")[2:]


def _atom_count(line: bytes, file: str, index: int, number: int) -> int:
    word = line.strip()
    if word.isdigit() and len(word) <= _LONGEST_COUNT:
        return int(word)
    quoted = word[:_LONGEST_QUOTE].decode("utf-8", "replace")
    found = repr(quoted) if quoted.isprintable() and "\ufffd" not in quoted else "bytes that are no text"
    why = "not an extxyz file" if index == 0 else f"the atom count of frame {index - 1} is wrong"
    raise DataError(
        f"line {number} should be the number of atoms, found {found}: {why}",
        file=file,
        frame=index or None,
    )


def _require_whole_line(atoms: list[bytes], file: str, index: int, number: int) -> None:
    """Refuse a last line without an end that is shorter than all others: digits of its last number are missing.

    The others are those of this frame and of the one before. Without fixed columns nothing tells such a number from a
    whole one.
    """
    *others, last = [line.rstrip() for line in atoms]
    lengths = {len(line) for line in others}
    if len(others) < _LINES_TO_TELL or len(lengths) > 1 or len(last) >= lengths.pop():
        return
    if all(b"." in line.split()[-1] for line in others):
        raise DataError(
            f"line {number}, the last, is cut off: the file is truncated (if it is whole, end it with a line end)",
            file=file,
            frame=index,
        )


def parse_frame(text: bytes, file: str, index: int, line: int = 1) -> Atoms:
    """Read one frame's text as ASE reads it.

    Parameters
    ----------
    text
        As :class:`FrameText` has it.
    file, index, line
        Where it stands, for messages.

    Raises
    ------
    DataError
        Columns that are not as declared, and what ASE cannot read, with its reason.
    """
    return parse_and_remark(text, file, index, line)[0]


def parse_and_remark(text: bytes, file: str, index: int, line: int = 1) -> tuple[Atoms, tuple[Remark, ...]]:
    """Read as :func:`parse_frame`, and tell what the text says and the frame read from it no longer does.

    Of nine numbers of a ``stress`` ASE keeps one triangle; a column may have had to be renamed, see
    :func:`mlff_curate.data.quick_extxyz.without_clash`. Both kinds of frame are left to ASE, and only they are
    remarked on.
    """
    remarks: tuple[Remark, ...] = ()

    def read_with_ase() -> Atoms:
        nonlocal remarks
        atoms = _parse_with_ase(text, file, index, line)
        remarks = _remarks_on(text)
        return atoms

    atoms = read_quickly(text, read_with_ase)
    return atoms, remarks


def _remarks_on(text: bytes) -> tuple[Remark, ...]:
    start = text.find(b"\n") + 1
    comment = text[start : text.find(b"\n", start)]
    stress = _STRESS.search(comment) if b"stress" in comment else None
    doubtful = stress is not None and not _is_plainly_symmetric((stress[1] or b"").split())
    if not doubtful and not any(column in comment for column in _RESULT_COLUMNS):
        return ()
    info = read_comment(comment.decode().strip())
    return (*_column_remarks(info), *(_stress_remarks(info) if doubtful else ()))


def _column_remarks(info: dict[str, Any]) -> Iterator[Remark]:
    declared = str(info.get("Properties", DEFAULT_COLUMNS))
    names = without_clash(declared, tuple(info)).split(":")[::3]
    for name, now in zip(declared.split(":")[::3], names, strict=True):
        if name != now:
            yield Remark(
                "label-column",
                "warning",
                now,
                f"{name} is a column and a key of the comment line: the column is read as {now}, of the atoms",
                f"call the column {now} in the file, or whatever else it is",
            )


def _stress_remarks(info: dict[str, Any]) -> Iterator[Remark]:
    value = np.asarray(info.get("stress"))
    asymmetry = asymmetry_of(value) if value.shape == (3, 3) and value.dtype.kind in "if" else None
    if asymmetry is not None:
        yield Remark(
            "stress-asymmetric",
            "error",
            "stress",
            f"the stress {asymmetry}: one triangle is taken",
            "mend what wrote the file: a stress is symmetric",
        )


def _is_plainly_symmetric(words: list[bytes]) -> bool:
    return len(words) == 9 and words[1::4] == words[3:8:4] and words[2] == words[6]


def _parse_with_ase(text: bytes, file: str, index: int, line: int) -> Atoms:
    from ase.io.extxyz import key_val_str_to_dict, read_xyz

    def parse_comment(comment: str) -> dict[str, Any]:
        info: dict[str, Any] = key_val_str_to_dict(comment)
        _require_seen(comment, info, file, index)
        _check_columns(text, info.get("Properties"), file, index, line)
        if "Properties" in info:
            info["Properties"] = _without_clash(info, file, index)
        return info

    try:
        content = text.decode("utf-8")
        if not content.split("\n", 2)[1].strip():  # ASE parses no empty comment
            _check_columns(text, None, file, index, line)
        stream = io.StringIO(content)
        frames: Iterator[Atoms] = iter(read_xyz(stream, index=slice(0, 1), properties_parser=parse_comment))
        return next(frames)
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"unknown element {error.args[0]!r}", file=file, frame=index, key="species") from None
    except UnicodeDecodeError:
        raise DataError("the text is not UTF-8", file=file, frame=index) from None
    except Exception as error:  # noqa: BLE001 - ASE raises many kinds for bad text; each is the data's fault
        raise DataError(f"ASE cannot read it ({type(error).__name__}: {error})", file=file, frame=index) from None


def _without_clash(info: dict[str, Any], file: str, index: int) -> str:
    try:
        return without_clash(str(info["Properties"]), tuple(info))
    except ValueError as error:
        raise DataError(
            "is both a column and a key of the comment line, and one of them would be lost: rename one",
            file=file,
            frame=index,
            key=str(error),
        ) from None


def _require_seen(comment: str, info: dict[str, Any], file: str, index: int) -> None:
    """Refuse a comment line whose cell or columns ASE would overlook: it would read another frame."""
    for key in ("Lattice", "Properties"):
        if key in info:
            continue
        if re.search(rf"(?<!\S){key}\s*=", comment):
            raise DataError("ASE cannot see it: a quote before it is not closed", file=file, frame=index, key=key)
        for other, value in info.items():
            meant = np.shape(value) == (9,) if key == "Lattice" else ":" in str(value)
            if other.lower() == key.lower() and meant:
                raise DataError(f"the key is spelled {key}", file=file, frame=index, key=other)


def _check_columns(text: bytes, declared: object, file: str, index: int, number: int) -> None:
    """Hold the atoms' lines to the declared columns: ASE passes over too many, and over a lack of positions."""
    fields = str(declared or DEFAULT_COLUMNS).split(":")
    names, counts = fields[::3], fields[2::3]
    if len(fields) % 3 or not all(count.isdigit() for count in counts):
        raise DataError(f"{declared} is not name:type:count triples", file=file, frame=index, key="Properties")
    expected = sum(map(int, counts))
    for what, known in (("positions", {"pos", "positions"}), ("species", {"species", "symbols", "Z", "numbers"})):
        if not known & set(names):
            raise DataError(f"no column holds the {what}: {', '.join(names)}", file=file, frame=index, key="Properties")
    for offset, line in enumerate(_atom_lines(text), 2):
        found = len(line.split())
        if found < expected or (declared and found > expected):
            raise DataError(
                f"line {number + offset} has {found} columns instead of {expected}: "
                "truncated, or the atom count is wrong",
                file=file,
                frame=index,
            )
