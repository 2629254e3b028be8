"""JSON from outside as checked values, and Python's values as JSON that gives every digit back."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

LARGEST = 2**28
"""Characters that one JSON value may take: a frame of a million atoms, not a list of all frames."""
_CHUNK = 2**16
_UNDECIDED = 64
"""A fault within so many characters of what was read so far may be a value that is merely cut by the buffer's end."""
_ARRAY, _DTYPE = "@array", "@dtype"
_DTYPES = re.compile(r"bool|str|(float|u?int)(8|16|32|64)")


def parse(text: bytes | str) -> Any:
    """Parse one JSON text.

    Raises
    ------
    DataError
        It is no JSON, or holds what no sane JSON holds; says where.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(decoded)
        _require_text(decoded, value)
    except UnicodeError as error:
        raise DataError(f"is no JSON: the text is not UTF-8 ({error})") from None
    except RecursionError:
        raise DataError("is no JSON that can be read: brackets within brackets without end") from None
    except json.JSONDecodeError as error:
        raise DataError(f"is no JSON, or truncated: {error.msg} (line {error.lineno})") from None
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"is no JSON that can be read: {error}") from None
    return value


def _require_text(source: str, value: Any) -> None:
    """Refuse half characters, which JSON can spell and no file can hold."""
    if "\\ud" in source or "\\uD" in source:
        json.dumps(value, ensure_ascii=False).encode()


def objects(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list one by one, or the one object that there is instead of a list.

    No more of the file is in memory than one object and some.

    Raises
    ------
    DataError
        It is no list of objects, or broken; the objects before the fault have been yielded.
    """
    buffer = _Buffer(stream)
    first = buffer.next_sign()
    if first == "{":
        yield buffer.take_object()
    elif first == "[":
        buffer.skip_sign()
        sign = buffer.next_sign()
        while sign == "{":
            yield buffer.take_object()
            sign = buffer.next_sign()
            if sign == ",":
                buffer.skip_sign()
                sign = buffer.next_sign()
                if sign != "{":
                    raise DataError(_expected("an object", sign))
            elif sign != "]":
                raise DataError(_expected("',' or ']'", sign))
        if sign != "]":
            raise DataError(_expected("an object", sign))
        buffer.skip_sign()
    else:
        raise DataError(_expected("a list of objects", first))
    sign = buffer.next_sign()
    if sign:
        raise DataError(_expected("the end of the file", sign))


def _expected(what: str, found: str) -> str:
    return f"the JSON has {found!r} instead of {what}" if found else f"the JSON ends before {what}: truncated"


class _Buffer:
    """The part of a text that is in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._text = ""
        self._start = 0
        self._ended = False

    def next_sign(self) -> str:
        """Return the next character that is no blank, empty at the end; it stays."""
        while True:
            while self._start < len(self._text) and self._text[self._start] in " \t\r\n":
                self._start += 1
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._read(_CHUNK):
                return ""

    def skip_sign(self) -> None:
        self._start += 1

    def take_object(self) -> dict[str, Any]:
        wanted = _CHUNK
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                near_end = error.pos > len(self._text) - _UNDECIDED or error.msg.startswith("Unterminated string")
                if len(self._text) - self._start > LARGEST:
                    raise DataError(f"one entry of the JSON takes more than {LARGEST} characters") from None
                if not near_end or not self._read(wanted):
                    raise DataError(f"is no JSON, or truncated: {error.msg}") from None
                wanted = len(self._text)  # doubling: each object is parsed a few times at most
            except RecursionError:
                raise DataError("is no JSON that can be read: brackets within brackets without end") from None
            except ValueError as error:
                raise DataError(f"is no JSON that can be read: {error}") from None
            else:
                try:
                    _require_text(self._text[self._start : end], value)
                except UnicodeError as error:
                    raise DataError(f"is no JSON: the text is not UTF-8 ({error})") from None
                self._start = end
                assert isinstance(value, dict)
                return value

    def _read(self, count: int) -> bool:
        if self._ended:
            return False
        from mlff_curate.data.formats.streams import read_some

        data = read_some(self._stream, count)
        self._ended = not data
        try:
            more = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise DataError(f"is no JSON: the text is not UTF-8 ({error.reason})") from None
        self._text = self._text[self._start :] + more
        self._start = 0
        return bool(more) or not self._ended


def numbers(value: Any, shape: tuple[int | None, ...], key: str) -> np.ndarray:
    """Return a JSON value as float64 of a shape; None in the shape: any size.

    Raises
    ------
    DataError
        It holds something else than numbers, or has another shape; names the key.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise DataError(f"is to hold numbers of shape {_words(shape)}, got {str(value)[:40]!r}", key=key)
    if array.ndim != len(shape) or any(s not in (None, n) for s, n in zip(shape, array.shape, strict=True)):
        raise DataError(f"is to have shape {_words(shape)}, got {array.shape}", key=key)
    return array.astype(np.float64)


def _words(shape: tuple[int | None, ...]) -> str:
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def encode(value: object) -> Any:
    """Return what `json.dumps` writes so that `decode` gives it back, arrays included.

    Raises
    ------
    TypeError
        JSON cannot hold it: NaN, infinity, complex numbers, objects.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise TypeError("JSON has no NaN and no infinity")
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubU":
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise TypeError("JSON has no NaN and no infinity")
        return {_ARRAY: value.tolist(), _DTYPE: "str" if value.dtype.kind == "U" else value.dtype.name}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: encode(item) for key, item in value.items()}
    raise TypeError(f"JSON has no {type(value).__name__}")


def decode(value: Any, key: str) -> Any:
    """Return what was given to `encode`.

    Raises
    ------
    DataError
        It does not come from there; names the key.
    """
    if isinstance(value, list):
        return [decode(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {_ARRAY, _DTYPE}:
        return {name: decode(item, key) for name, item in value.items()}
    if not isinstance(value[_DTYPE], str) or not _DTYPES.fullmatch(value[_DTYPE]):
        raise DataError("holds an array of unknown kind", key=key)
    try:
        return np.array(value[_ARRAY], dtype=value[_DTYPE])
    except (ValueError, TypeError, OverflowError):
        raise DataError("holds an array with rows of different lengths, or of something else", key=key) from None


def encode_all(values: Mapping[Any, object]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Encode a mapping; return it with the names of what JSON cannot hold left out, and these names."""
    held: dict[str, Any] = {}
    lost: list[str] = []
    for key, value in values.items():
        if not isinstance(key, str):
            lost.append(str(key))
            continue
        try:
            held[key] = encode(value)
        except TypeError:
            lost.append(key)
    return held, tuple(lost)
