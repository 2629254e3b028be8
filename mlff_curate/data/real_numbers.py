"""Many decimal numbers of a text to float64 at once: a JSON parser in C is the quickest that rounds right."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Parsers(threading.local):
    """One parser a thread: it is reused, which two threads must not do at a time."""

    def __init__(self) -> None:
        import simdjson

        self.parser: Any = simdjson.Parser()


_parsers: _Parsers | None = None


def read_array(text: str | bytes, count: int, points: int) -> np.ndarray:
    """Read a JSON array of numbers that all have a decimal point, without which JSON's would be integers (of -0: 0).

    Parameters
    ----------
    text
        Begins with ``[``, ends with ``]``, holds no other bracket.
    count
        How many numbers there must be.
    points
        How many points there are in the text.

    Returns
    -------
    ndarray
        (count,) float64, each the nearest to its decimal number, as Python's `float` gives it.

    Raises
    ------
    ValueError
        It is something else; what Python reads but JSON does not (``5.``, ``+1.0``, ``nan``) is refused, too.
    """
    global _parsers  # noqa: PLW0603 - loaded by the first use
    if _parsers is None:
        _parsers = _Parsers()
    if points != count:
        raise ValueError("not all numbers have a point")
    try:
        numbers = np.frombuffer(_parsers.parser.parse(text).as_buffer(of_type="d"))
    except TypeError as error:
        raise ValueError(str(error)) from None
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers instead of {count}")
    return numbers


def read_words(words: Sequence[bytes]) -> np.ndarray:
    """Read words as Python's `float` does.

    Raises
    ------
    ValueError
        One is no number.
    """
    text = b",".join(words)
    if text.count(b",") == len(words) - 1 and b"[" not in text:
        try:
            return read_array(b"[" + text + b"]", len(words), text.count(b"."))
        except ValueError:
            pass  # perhaps notations that only Python reads
    return np.array(list(map(float, words)))
