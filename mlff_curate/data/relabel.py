"""Change the values of a label in a frame's own extxyz text, and nothing else in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.frames import named_values
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_CLOSING = {'"': '"', "'": "'", "{": "}", "[": "]"}
_SAME = 1e-12
"""Relative. What is read back is what was meant, but for the last digits of a product."""


def relabel(text: bytes, key: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """Replace the values of a label where they stand; every other byte stays.

    Parameters
    ----------
    text
        One frame, as :class:`mlff_curate.data.extxyz.FrameText` has it.
    key
        Name of the label, in the comment line or a column of the atoms' lines.
    change
        Takes the values, an array of the shape that the frame has, and returns the new ones in the same shape.

    Returns
    -------
    text
        Read back and compared: nothing but this label differs.

    Raises
    ------
    DataError
        The text has no such label, or it stands there in a way that cannot be changed without touching more.
    """
    before = parse_frame(text, "frame", 0)
    values = named_values(before)
    if key not in values:
        raise DataError("the frame's text has no label of this name", key=key)
    new = change(np.asarray(values[key], dtype=float)) + 0.0  # no minus zero
    for candidate in _candidates(text, key, new):
        try:
            after = parse_frame(candidate, "frame", 0)
        except DataError:
            continue
        if _differ_in(before, after, key, new):
            return candidate
    raise DataError("the label stands in the text in a way that cannot be changed alone", key=key)


def _candidates(text: bytes, key: str, new: np.ndarray) -> Iterator[bytes]:
    """Yield texts with the new values at each place that may be the label's."""
    content = text.decode("utf-8")
    count, comment, rest = content.split("\n", 2)
    for match in re.finditer(rf"(?<!\S){re.escape(key)}\s*=\s*", comment):
        start = match.end()
        closing = _CLOSING.get(comment[start : start + 1])
        end = (
            comment.find(closing, start + 1) if closing else start + len((comment[start:].split(maxsplit=1) or [""])[0])
        )
        with_numbers = _with_numbers(comment[start : max(start, end)], new)
        if with_numbers is not None:
            yield f"{count}\n{comment[:start]}{with_numbers}{comment[max(start, end) :]}\n{rest}".encode()
    declared = re.search(r"(?<!\S)Properties\s*=\s*[\"']?([^\s\"']+)", comment)
    fields = declared.group(1).split(":") if declared else []
    names, counts = fields[::3], [int(n) for n in fields[2::3]]
    if key in names:
        first = sum(counts[: names.index(key)])
        yield f"{count}\n{comment}\n{_with_columns(rest, first, new)}".encode()


def _with_numbers(value: str, new: np.ndarray) -> str | None:
    """Put numbers in the places of those that are there; None where there are more or fewer."""
    count = len(_NUMBER.findall(value))
    if count == 9 and new.shape == (6,):  # ASE gives a stress of nine numbers as six
        new = new[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
    if count != new.size:
        return None
    numbers = iter(new.ravel(order="F"))  # ASE reads 3 by 3 column by column
    return _NUMBER.sub(lambda _: repr(float(next(numbers))), value)


def _with_columns(lines: str, first: int, new: np.ndarray) -> str:
    """Put values, one row per line, into the columns from the first on."""
    rows = new.reshape(len(new), -1)
    out = []
    for line, row in zip(lines.split("\n"), rows, strict=False):
        words = list(re.finditer(r"\S+", line))[first : first + len(row)]
        parts, at = [], 0
        for word, value in zip(words, row, strict=True):
            parts += [line[at : word.start()], repr(float(value))]
            at = word.end()
        out.append("".join([*parts, line[at:]]))
    return "\n".join([*out, *lines.split("\n")[len(rows) :]])


def _differ_in(before: Atoms, after: Atoms, key: str, new: np.ndarray) -> bool:
    """Tell whether two frames are alike but for one label, which has its new values."""
    a, b = named_values(before), named_values(after)
    if a.keys() != b.keys() or not np.array_equal(before.pbc, after.pbc):
        return False
    same = np.array_equal(before.cell.array, after.cell.array) and all(_alike(a[k], b[k]) for k in a if k != key)
    scale = float(np.abs(new).max(initial=0.0))
    found = np.asarray(b[key], dtype=float)
    return same and found.shape == new.shape and np.allclose(found, new, rtol=_SAME, atol=_SAME * scale)


def _alike(a: object, b: object) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    if x.dtype.kind in "fiub" and y.dtype.kind in "fiub":
        return np.array_equal(x, y, equal_nan=x.dtype.kind == "f" and y.dtype.kind == "f")
    return str(a) == str(b)
