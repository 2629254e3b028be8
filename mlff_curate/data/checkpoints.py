"""Models as files: named arrays and JSON settings in one safetensors file, which can never run code.

Format: https://github.com/huggingface/safetensors#format: eight bytes with the length of the header, the header in
JSON, the numbers. What the arrays mean stands in the header under one key, ``mlff_curate``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

import numpy as np

from mlff_curate import __version__
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    Shape = tuple[int | str, ...]


class _Model(Protocol):
    """A class of models with parameters in scikit-learn's manners."""

    def __init__(self, **parameters: Any) -> None: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...

    def require_parameters(self) -> None: ...


_M = TypeVar("_M", bound=_Model)

FORMAT = 1
"""Version of what the header says. A reader refuses another one."""
KINDS = {
    "cgcnn-potential": "a potential (of train)",
    "cgcnn-encoder": "an encoder (of pretrain)",
    "cgcnn-property": "a model of a property (of train --task regression or classification)",
    "cgcnn-potential-training": "the checkpoint of a training (train --resume makes a potential of it)",
    "cgcnn-property-training": "the checkpoint of a training (train --resume makes a model of a property of it)",
    "cgcnn-encoder-training": "the checkpoint of a pretraining (pretrain --resume makes an encoder of it)",
    "md-checkpoint": "the checkpoint of a run (for md --resume)",
    "meagraph": "a model of embeddings (of embed --save-model)",
}
"""What a file is that says so of itself, and where it comes from."""
_KEY = "mlff_curate"
_MOST_HEADER = 16 * 2**20
"""Bytes. A header of ours has some ten thousand; a length beyond this is no length, and is not read into memory."""
_MOST_WHOLE = 2**63
_ENOUGH = 4096
"""Bytes by which text is told."""
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
_NEVER = "such a file can run code and is never opened, but for those of CGCNN's authors by CGCNN.from_published"
_STRANGERS = (
    (
        b"PK\x03\x04",
        f"a zip archive, as torch.save writes: {_NEVER}",
    ),
    (
        b"\x80",
        f"a pickle: {_NEVER}",
    ),
    (b"\x89HDF", "an HDF5 file, such as the output of embed"),
)


@dataclass(frozen=True)
class Checkpoint:
    """What a model file holds.

    Attributes
    ----------
    file
        Path, for messages.
    arrays
        By name; all numbers are finite.
    settings
        Plain JSON.
    program
        Version of the program that wrote it; empty: not known.
    """

    file: str
    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]
    program: str = ""

    def untrained(self, kind: type[_M], device: str) -> _M:
        """Return a model with the parameters stored, checked, on a device.

        Raises
        ------
        DataError
            A parameter is missing, not known, or not what it may be.
        UsageError
            The device cannot be used.
        """
        parameters = self.setting("parameters", dict)
        names = set(kind().get_params())
        odd = sorted(names ^ set(parameters))
        if odd:
            self.fail(f"the parameter {odd[0][:40]} is {'missing' if odd[0] in names else 'not known'}")
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}
        model = kind(**{**given, "device": device})
        try:
            model.require_parameters()
        except UsageError as error:
            if error.key == "--device":
                raise
            self.fail(f"parameter {error}")
        except TypeError:
            self.fail("a parameter is of the wrong type")
        return model

    def fail(self, message: str) -> NoReturn:
        """Refuse the file: its checksum is right, so it is as it was written, and nothing of ours.

        Raises
        ------
        DataError
            Always.
        """
        own = self.program in ("", __version__)
        who = (
            f"another state of mlff-curate {__version__}"
            if own
            else f"mlff-curate {self.program}; this is {__version__}"
        )
        raise DataError(
            f"was written by {who}: make it again with this one, or use that one; what does not fit: {message}",
            file=self.file,
        )

    def setting(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """Return a setting.

        Parameters
        ----------
        name
            Key, or keys with points between, ``training.best``.
        kind
            What it must be. A float may be written as a whole number; a bool is no number.

        Raises
        ------
        DataError
            It is missing or something else.
        """
        kinds = kind if isinstance(kind, tuple) else (kind,)
        value: Any = self.settings
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                self.fail(f"the setting {name} is missing")
            value = value[key]
        if float in kinds and type(value) is int:
            return float(value)
        if type(value) not in kinds:
            self.fail(f"the setting {name} is {str(value)[:40]!r}")
        return value

    def require_arrays(self, wanted: Mapping[str, tuple[str, Shape]], sizes: dict[str, int] | None = None) -> None:
        """Refuse arrays that are missing, too many, or of the wrong type or shape.

        Parameters
        ----------
        wanted
            Name to dtype and shape. A word in a shape is a size that the arrays choose, all the same: ``("A", 16)``.
        sizes
            Words whose size is known already; those found are added.

        Raises
        ------
        DataError
            The message names the array.
        """
        sizes = {} if sizes is None else sizes
        missing = sorted(set(wanted) - set(self.arrays))
        if missing:
            self.fail(f"the array {missing[0]} is missing")
        for name, (dtype, shape) in wanted.items():
            array = self.arrays[name]
            if array.dtype != np.dtype(dtype):
                self.fail(f"the array {name} holds {array.dtype}, not {dtype}")
            fits = len(array.shape) == len(shape) and all(
                size == (sizes.setdefault(word, size) if isinstance(word, str) else word)
                for word, size in zip(shape, array.shape, strict=True)
            )
            if not fits:
                expected = tuple(sizes.get(word, word) if isinstance(word, str) else word for word in shape)
                self.fail(f"the array {name} has the shape {array.shape}, not {expected}")

    def require_no_more(self, wanted: Mapping[str, object]) -> None:
        """Refuse arrays that nobody asked for.

        Raises
        ------
        DataError
            The message names the first.
        """
        extra = sorted(set(self.arrays) - set(wanted))
        if extra:
            self.fail(f"the array {extra[0][:80]} is not known")

    def part(self, prefix: str) -> Checkpoint:
        """Return the arrays whose names begin with a prefix, without it, and the settings of that name."""
        start = f"{prefix}."
        arrays = {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}
        return Checkpoint(self.file, arrays, self.setting(prefix, dict), self.program)


def checkpoint_bytes(kind: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> bytes:
    """Return the bytes of a model file; the same for the same contents.

    Parameters
    ----------
    kind
        What the file is a model of, such as ``meagraph``.
    arrays
        float32, float64 or int64, of any shape.
    settings
        What JSON can hold.

    Raises
    ------
    DataError
        A number is not finite: training diverged.
    """
    from safetensors.numpy import save

    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(f"{name} is not finite: training diverged, the model cannot be saved")
    about = {"kind": kind, "format": FORMAT, "program": __version__, "settings": settings}
    try:
        text = json.dumps({**about, "sha256": _digest(arrays, settings)}, sort_keys=True, allow_nan=False)
    except ValueError:
        raise DataError("a setting is not finite: training diverged, the model cannot be saved") from None
    # One key: safetensors writes several in an order that changes from run to run.
    out: bytes = save({name: _little(array) for name, array in sorted(arrays.items())}, metadata={_KEY: text})
    return out


def _digest(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> str:
    """Return the sha256 of all that a model is: a flipped bit in a weight would else embed without a word."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, allow_nan=False).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(_little(array).tobytes())
    return digest.hexdigest()


def _little(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")


def read_checkpoint(path: str | Path, kind: str) -> Checkpoint:
    """Read a model file.

    Parameters
    ----------
    path
        File that :func:`checkpoint_bytes` made.
    kind
        What it must be a model of.

    Raises
    ------
    DataError
        There is no such file, or it is damaged, or of another program, kind or format.
    """
    import safetensors

    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    name = str(path)
    with open_binary(Path(path)) as stream:
        if isinstance(cast("object", stream), gzip.GzipFile):
            raise DataError("is no model file but gzipped", file=name)
        header, head = _header(stream, name, kind)
        about = _about(header, kind, name)
        ends = [_end(entry) for key, entry in header.items() if key != "__metadata__"]
        size = len(head) + max([0, *ends])
        # never more than there is: a damaged header may ask for any amount of memory
        body = stream.read(min(size, Path(path).stat().st_size) - len(head) + 1)
    if len(head) + len(body) != size:
        cut = len(head) + len(body) < size
        raise DataError(
            f"the model file is {'truncated' if cut else 'longer than its header says'}: {size} bytes are expected",
            file=name,
        )
    try:
        tensors = deserialize(head + body)
    except safetensors.SafetensorError as error:
        raise DataError(f"the model file is damaged ({error})", file=name) from None
    arrays = {}
    for key, tensor in tensors:
        if tensor["dtype"] not in _DTYPES:
            raise DataError(f"the array {key[:80]} holds {tensor['dtype']}, which no model has", file=name)
        # a copy: numpy's own memory is aligned and writable
        array = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"]).copy()
        if not np.isfinite(array).all():
            raise DataError(f"the model file is damaged: the array {key[:80]} is not finite", file=name)
        arrays[key] = array
    if about.get("sha256") != _digest(arrays, about["settings"]):
        raise DataError("the model file is damaged: its contents do not match its checksum", file=name)
    return Checkpoint(name, arrays, about["settings"], str(about.get("program"))[:20])


def kind_of(path: str | Path, *wanted: str) -> str:
    """Return what a model file says that it is a model of, without reading its arrays.

    Parameters
    ----------
    path
        File that :func:`checkpoint_bytes` made.
    wanted
        Kinds that it may be; none: any.

    Raises
    ------
    DataError
        There is no such file, or it is none of this program's, or of another kind.
    """
    name = str(path)
    with open_binary(Path(path)) as stream:
        if isinstance(cast("object", stream), gzip.GzipFile):
            raise DataError("is no model file but gzipped", file=name)
        header, _ = _header(stream, name, *wanted)
    metadata = header.get("__metadata__")
    about = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(about, str):
        raise DataError("is a safetensors file of another program", file=name)
    try:
        kind = str(json.loads(about, parse_constant=_no_constant).get("kind"))
    except (ValueError, RecursionError, AttributeError):
        raise DataError("the model file is damaged: its settings are no JSON", file=name) from None
    if wanted and kind not in wanted:
        raise DataError(f"is {_named(kind)}: {_wish(wanted)}", file=name)
    return kind


def looks_like_model(head: bytes) -> bool:
    """Tell whether a file that begins so is a model file, or says that it is one."""
    return head[8:].startswith(b'{"__metadata__":{"mlff_curate"')


def _named(kind: str) -> str:
    return KINDS.get(kind) or f"a model of the kind {kind[:40]!r}"


def _wish(kinds: Sequence[str]) -> str:
    return f"{' or '.join(map(_named, kinds))} is wanted"


def _header(stream: BinaryIO, name: str, *wanted: str) -> tuple[dict[str, Any], bytes]:
    """Return the header, and the bytes up to its end."""
    length = stream.read(8)
    if not length:
        raise DataError("the file is empty", file=name)
    for magic, words in _STRANGERS:
        # eight bytes that begin so and are a length after all would be a header of gigabytes, or one of 128 bytes
        if length.startswith(magic) and int.from_bytes(length.ljust(8, b"\0"), "little") > _MOST_HEADER:
            raise DataError(f"is no model file but {words}", file=name)
    size = int.from_bytes(length, "little")
    if len(length) < 8 or not 2 <= size <= _MOST_HEADER:
        raise _no_model(length + stream.read(_ENOUGH), name, wanted)
    text = stream.read(size)
    if not text.startswith(b"{"):
        raise _no_model(length + text, name, wanted)
    if len(text) < size:
        raise DataError("the model file is truncated: it ends within its header", file=name)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("the model file is damaged: its header is no JSON", file=name) from None
    return cast("dict[str, Any]", header), length + text


def _no_model(head: bytes, name: str, wanted: Sequence[str]) -> DataError:
    """Return the error of a file that begins so, with what it may be."""
    words = "is no model file"
    if re.match(rb"\s*\d+[ \t]*\r?\n.*\n[ \t]*[A-Z][a-z]?[ \t]", head):
        words += " but frames, as in extxyz"
    elif head.isascii() and b"\0" not in head:
        words += " but text"
    return DataError(words + (f": {_wish(wanted)}" if wanted else ""), file=name)


def _about(header: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """Return what the header says of the file as a whole."""
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise DataError("is a safetensors file of another program", file=name)
    try:
        about = json.loads(metadata[_KEY], parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DataError("the model file is damaged: its settings are no JSON", file=name) from None
    if not isinstance(about, dict) or type(about.get("format")) is not int:
        raise DataError("the model file is damaged: its format has no version", file=name)
    if about["format"] != FORMAT:
        raise DataError(
            f"has the format {about['format']}, written by mlff-curate {str(about.get('program'))[:20]}; "
            f"this version ({__version__}) reads format {FORMAT}: make it again with this one, or use that one",
            file=name,
        )
    if about.get("kind") != kind:
        raise DataError(f"is {_named(str(about.get('kind')))}: {_wish([kind])}", file=name)
    if not isinstance(about.get("settings"), dict):
        raise DataError("the model file is damaged: it has no settings", file=name)
    _require_finite(about["settings"], name)
    return about


def _no_constant(word: str) -> NoReturn:
    message = f"{word} is no JSON"
    raise ValueError(message)


def _require_finite(value: object, name: str) -> None:
    """Refuse 1e999, which JSON allows and Python reads as infinite."""
    if isinstance(value, dict):
        for item in value.values():
            _require_finite(item, name)
    elif isinstance(value, list):
        for item in value:
            _require_finite(item, name)
    elif isinstance(value, float) and not math.isfinite(value):
        raise DataError("the model file is damaged: a setting is not finite", file=name)
    elif isinstance(value, int) and abs(value) >= _MOST_WHOLE:
        raise DataError("the model file is damaged: a setting is a number of no sensible size", file=name)


def _end(entry: object) -> int:
    """Return where an array ends, or 0 where the header does not say: safetensors will refuse it."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    last = offsets[-1] if isinstance(offsets, list) and offsets else 0
    return last if type(last) is int and 0 <= last < 2**40 else 0
