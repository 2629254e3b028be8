"""The authors' trained models, read without running anything that a file may hold.

Their files (github.com/txie-93/cgcnn) are what ``torch.save`` makes of a dictionary: weights, the settings of the run
as ``args``, mean and spread of the target as ``normalizer``. That is a pickle, which could run any code. Here torch's
restricted reader (``weights_only``) reads it, and of what numpy's scalars are pickled with it is given stand-ins that
can make plain numbers and nothing else.
"""

from __future__ import annotations

import math
import pickle
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch

from mlff_curate.cgcnn.expansion import STEP
from mlff_curate.cgcnn.property_network import CLASSIFICATION, TASKS, NetworkSizes, PropertyNetwork
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import CurateError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONVOLUTION = re.compile(r"convs\.(\d{1,4})\.")
_MOST_LAYERS = 64
_MOST_RADIUS = 100.0
_LEAST_EDGE_SIZE = 3
_KINDS_OF_WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_HUGE = 1e300
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


@dataclass(frozen=True)
class PublishedModel:
    """What one of the authors' files holds.

    Attributes
    ----------
    network
        With their weights, ready to predict.
    mean, std
        Of the target, which the network was trained on less the mean and over the spread.
    radius
        Angstrom, of the neighbours.
    target
        Name of the property in their data, if the file tells it.
    """

    network: PropertyNetwork
    mean: float
    std: float
    radius: float
    target: str | None


def read_published(path: str | Path) -> PublishedModel:
    """Read one of the authors' models.

    Parameters
    ----------
    path
        Their ``.pth.tar``. Sizes come from its ``args`` and its weights, which must agree.

    Raises
    ------
    DataError
        The file is missing, is no such model, is damaged, or holds something that only code could make.
    """
    contents = _load(Path(path))
    name = str(path)
    try:
        return _model(contents, name)
    except CurateError:
        raise
    except Exception:  # noqa: BLE001 - tensors and numbers made to do harm fail in any way; each is the file's fault
        raise DataError("is no model of the CGCNN authors, or damaged: it cannot be made use of", file=name) from None


def _model(contents: Mapping[str, Any], name: str) -> PublishedModel:
    weights = _weights(contents, name)
    args = contents.get("args", {})
    if not isinstance(args, dict):
        raise DataError("is no table of settings", file=name, key="args")
    sizes = _sizes(weights, args, name)
    ours = _renamed(weights, sizes, name)
    # two sizes that the file tells may ask for a matrix that it does not hold: shapes first, memory later
    with torch.device("meta"):
        own = PropertyNetwork(sizes).state_dict()
    for key in sorted(own.keys() ^ ours.keys()):
        what = "is missing" if key in own else "is not known"
        raise DataError(f"the weights do not make a CGCNN: {key} {what}", file=name, key="state_dict")
    for key, value in own.items():
        if ours[key].shape != value.shape:
            raise DataError(
                f"the weights do not fit together: {key} has the shape {tuple(ours[key].shape)}, "
                f"{tuple(value.shape)} is expected",
                file=name,
                key="state_dict",
            )
    network = PropertyNetwork(sizes)
    network.load_state_dict(ours)
    network.eval()
    mean, std = _normalizer(contents, sizes.task, name)
    return PublishedModel(network, mean, std, _radius(sizes.edge_size), _target(args))


def _load(path: Path) -> dict[str, Any]:
    name = str(path)
    with open_binary(path) as stream, _allowed(*_STAND_INS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of odd pickles is for its developers
        try:
            contents = torch.load(stream, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            if found:
                raise DataError(
                    f"holds {found[1][:80]}, which is no plain number or array: nothing of it is run, it is not read",
                    file=name,
                ) from None
            raise DataError("is no model of the CGCNN authors: torch cannot read it safely", file=name) from None
        except Exception:  # noqa: BLE001 - a damaged pickle can fail in any way; each is the file's fault
            raise DataError("is no model of the CGCNN authors, or damaged: torch cannot read it", file=name) from None
    if not isinstance(contents, dict) or not isinstance(contents.get("state_dict"), dict):
        raise DataError("is no model of the CGCNN authors: it has no state_dict", file=name)
    return contents


@contextmanager
def _allowed(*stand_ins: object) -> Iterator[None]:
    """Let torch's restricted reader use these, and nothing that was allowed elsewhere, for a while."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(stand_ins))  # type: ignore[arg-type]
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


class _DType:
    """In place of numpy's dtype: the name of a kind of number."""

    def __init__(self, kind: object, *_: object) -> None:
        word = str(kind).lstrip("<>=|")
        if word not in _NUMBERS:
            message = f"{word[:20]!r} is no kind of number"
            raise ValueError(message)
        self.kind = word

    def __setstate__(self, state: object) -> None:
        """Take the byte order; all else is about records, which these are not."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
        self.kind = (">" if order == ">" else "<") + self.kind.lstrip("<>")


def _scalar(dtype: _DType, data: bytes = b"") -> float:
    """In place of numpy's scalar: the number."""
    return float(np.frombuffer(data, np.dtype(dtype.kind), count=1)[0])


def _scalar_of_numpy_2(dtype: _DType, data: bytes = b"") -> float:
    """In place of numpy 2's, which lives elsewhere."""
    return _scalar(dtype, data)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """In place of the codecs' encode: text to bytes, as pickles of Python 3 write bytes for Python 2."""
    if encoding != "latin1":
        message = f"{encoding[:20]!r} is not expected"
        raise ValueError(message)
    return text.encode("latin1")


def _named(stand_in: Any, module: str, name: str) -> Any:
    """Give a stand-in the name by which torch looks up what is allowed."""
    stand_in.__module__, stand_in.__qualname__, stand_in.__name__ = module, name, name
    return stand_in


_STAND_INS = (
    _named(_scalar, "numpy.core.multiarray", "scalar"),
    _named(_scalar_of_numpy_2, "numpy._core.multiarray", "scalar"),
    _named(_DType, "numpy", "dtype"),
    _named(_encode, "_codecs", "encode"),
)


def _weights(contents: Mapping[str, Any], name: str) -> dict[str, torch.Tensor]:
    weights = {}
    asked, held = 0, {}
    for key, value in contents["state_dict"].items():
        word = str(key).removeprefix("module.")  # DataParallel's
        if word.endswith("num_batches_tracked"):
            continue
        if not _is_array(value) or value.dtype not in _KINDS_OF_WEIGHTS:
            raise DataError(f"{word[:80]} is no array of numbers", file=name, key="state_dict")
        # an array may repeat its numbers, by strides of 0: a small file could ask for any memory
        asked += value.numel() * value.element_size()
        held[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        if asked > sum(held.values()):
            raise DataError(f"{word[:80]} has more numbers than the file holds", file=name, key="state_dict")
        weights[word] = value.detach().to(torch.float32)
        if not bool(torch.isfinite(weights[word]).all()):
            raise DataError(f"{word[:80]} is not finite", file=name, key="state_dict")
    return weights


def _is_array(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _radius(edge_size: int) -> float:
    return round((edge_size - 1) * STEP, 6)


def _sizes(weights: Mapping[str, torch.Tensor], args: Mapping[str, Any], name: str) -> NetworkSizes:
    """Return the sizes that the weights have, after a look at whether the settings say the same."""

    def shape(key: str) -> tuple[int, int]:
        if key not in weights or weights[key].ndim != 2:
            raise DataError(f"the weights do not make a CGCNN: {key} is missing", file=name, key="state_dict")
        return int(weights[key].shape[0]), int(weights[key].shape[1])

    channels, node_size = shape("embedding.weight")
    convolutions = 1 + max((int(found[1]) for key in weights if (found := _CONVOLUTION.match(key))), default=-1)
    edge_size = shape("convs.0.fc_full.weight")[1] - 2 * channels
    hidden = shape("conv_to_fc.weight")[0]
    hidden_layers = 1 + sum(bool(re.fullmatch(r"fcs\.\d+\.weight", key)) for key in weights)
    outputs = shape("fc_out.weight")[0]
    task = args.get("task", CLASSIFICATION if outputs == 2 else TASKS[0])
    if not isinstance(task, str) or task not in TASKS:
        raise DataError(f"{str(task)[:40]!r} is unknown; available: {', '.join(TASKS)}", file=name, key="args: task")
    held = {"atom_fea_len": channels, "h_fea_len": hidden, "n_conv": convolutions, "n_h": hidden_layers}
    for key, size in held.items():
        value = args.get(key, size)
        if not isinstance(value, (int, float)) or value != size:
            raise DataError(f"is {str(value)[:40]}, the weights have {size}", file=name, key=f"args: {key}")
    least = min(channels, node_size, hidden)
    if edge_size < _LEAST_EDGE_SIZE or max(convolutions, hidden_layers) > _MOST_LAYERS or least < 1:
        raise DataError("the weights do not make a CGCNN", file=name, key="state_dict")
    if _radius(edge_size) > _MOST_RADIUS:
        raise DataError(
            f"the weights want neighbours within {_radius(edge_size):g} Angstrom, {_MOST_RADIUS:g} is the most",
            file=name,
            key="state_dict",
        )
    return NetworkSizes(task, "gated", node_size, edge_size, channels, convolutions, hidden, hidden_layers)


def _renamed(weights: Mapping[str, torch.Tensor], sizes: NetworkSizes, name: str) -> dict[str, torch.Tensor]:
    """Return the weights under our names, the big matrix of each convolution cut in three."""
    renamed = {}
    heads = {"embedding": "embedding", "conv_to_fc": "pooled", "fc_out": "output", "fcs": "hidden"}
    norms = {"bn1": "edge_norm", "bn2": "node_norm"}
    for key, value in weights.items():
        words = key.split(".")
        if words[0] in heads:
            renamed[".".join([heads[words[0]], *words[1:]])] = value
        elif words[0] == "convs" and len(words) == 4 and words[2] in norms:
            renamed[f"convolutions.{words[1]}.{norms[words[2]]}.{words[3]}"] = value
        elif words[0] == "convs" and words[2:] == ["fc_full", "weight"]:
            parts = [sizes.channels, sizes.channels, sizes.edge_size]
            if value.ndim != 2 or value.shape[1] != sum(parts):
                raise DataError(f"the weights do not fit together: {key}", file=name, key="state_dict")
            for part, matrix in zip(("centre", "neighbour", "edge"), torch.split(value, parts, dim=1), strict=True):
                renamed[f"convolutions.{words[1]}.{part}_weight"] = matrix
        elif words[0] == "convs" and words[2:] == ["fc_full", "bias"]:
            renamed[f"convolutions.{words[1]}.bias"] = value
        else:
            renamed[key] = value  # is told of as not known
    return renamed


def _normalizer(contents: Mapping[str, Any], task: str, name: str) -> tuple[float, float]:
    """Return mean and spread of the target; a classifier has none."""
    if task == CLASSIFICATION:
        return 0.0, 1.0
    table = contents.get("normalizer")
    if not isinstance(table, dict):
        raise DataError("is missing: the predictions have no unit without it", file=name, key="normalizer")
    numbers = []
    for key in ("mean", "std"):
        value = table.get(key)
        if _is_array(value) and value.numel() == 1:
            value = value.item()
        number = float(value) if isinstance(value, (int, float)) and abs(value) < _HUGE else math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise DataError(f"{key} is no finite number", file=name, key="normalizer")
        numbers.append(number)
    mean, std = numbers
    if std <= 0:
        raise DataError(f"std is {std:g}: a spread is above 0", file=name, key="normalizer")
    return mean, std


def _target(args: Mapping[str, Any]) -> str | None:
    options = args.get("data_options")
    if isinstance(options, (list, tuple)) and len(options) == 3 and isinstance(options[2], str):
        return options[2][:80]
    return None
