"""Embeddings as HDF5: what `embed` writes.

``/environments`` has one row per environment, ordered by frame and atom; ``/frames`` one per frame. Every data set says
what it holds in its attribute ``description``; measured numbers have a ``unit``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mlff_curate import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1
"""Version of the layout."""
_CHUNK = 2**18
"""Bytes per chunk, about: a few frames can be read without the rest, and chunks are few."""
_COLUMNS = {
    "frame": ("frame, 0-based over all inputs in order", ""),
    "atom": ("atom, 0-based in its frame", ""),
    "species": ("atomic number of the central atom", ""),
    "descriptor": ("scaled descriptor", "1"),
    "embedding": ("MEAGraph embedding", "1"),
    "cluster": ("cluster; -1: far from all that the model was trained on, or an isolated atom", ""),
    "outlier_score": ("how far the environment is from its neighbours: 1 is ordinary, larger is rarer", "1"),
}
_FRAMES = {
    "source": "file, as given on the command line",
    "index": "frame, 0-based in that file",
    "sha256": "of the frame's text or, for other formats than extxyz, of its content in float64",
    "group": "configuration group",
    "n_atoms": "number of atoms, which is that of the frame's rows in /environments",
}


@dataclass(frozen=True)
class EmbeddingTable:
    """N environments of F frames.

    Attributes
    ----------
    first
        (F + 1,) where each frame's environments begin.
    species
        (N,) atomic number at the centre.
    descriptor
        (N, d) scaled descriptors.
    embedding
        (N, C).
    cluster
        (N,), -1 for none.
    outlier_score
        (N,), 1 is ordinary.
    source, index, sha256, group
        (F,) each; see :class:`mlff_curate.data.frames.Frame`.
    attributes
        More attributes: name of a data set of ``/environments``, ``"training"``, or ``""`` for the file, to name to
        value.
    losses
        What ``/training`` holds, by name: HDF5 has no room for thousands of numbers in an attribute.
    """

    first: np.ndarray
    species: np.ndarray
    descriptor: np.ndarray
    embedding: np.ndarray
    cluster: np.ndarray
    outlier_score: np.ndarray
    source: Sequence[str]
    index: Sequence[int]
    sha256: Sequence[str]
    group: Sequence[str]
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    losses: Mapping[str, Sequence[float]] = field(default_factory=dict)


def write_table(stream: BinaryIO, table: EmbeddingTable) -> None:
    """Write HDF5 to an open file; equal tables give equal bytes.

    The file is made in memory, some 400 bytes per environment, and goes out in one piece: HDF5 ends the process if the
    disk is full or Ctrl-C comes while it writes to a Python file itself.
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", track_order=False) as file:
        file.attrs["format"] = FORMAT
        file.attrs["program"] = "mlff-curate"
        file.attrs["version"] = __version__
        _describe(file, table.attributes.get("", {}))
        counts = np.diff(table.first)
        environments = file.create_group("environments")
        environments.attrs["description"] = "one row per environment, ordered by frame and atom"
        # made one after the other, so that no more than one column stands beside the file
        for name, (words, unit) in _COLUMNS.items():
            column = environments.create_dataset(name, **_layout(_column(table, name, counts)))
            column.attrs["description"] = words
            column.attrs["unit"] = unit
            _describe(column, table.attributes.get(name, {}))
        frames = file.create_group("frames")
        frames.attrs["description"] = "one row per frame, over all inputs in order"
        for name, words in _FRAMES.items():
            if name in ("source", "sha256", "group"):
                # a file name need not be UTF-8: its bytes are kept
                texts = np.array([text.encode(errors="surrogateescape") for text in getattr(table, name)], dtype=object)
                column = frames.create_dataset(name, data=texts, dtype=h5py.string_dtype("utf-8"))
            else:
                numbers = counts if name == "n_atoms" else np.asarray(table.index)
                column = frames.create_dataset(name, **_layout(numbers.astype(np.int64)))
            column.attrs["description"] = words
        training = file.create_group("training")
        training.attrs["description"] = "losses of the model's training, epoch by epoch"
        _describe(training, table.attributes.get("training", {}))
        for name, values in table.losses.items():
            training.create_dataset(name, data=np.asarray(values, dtype=np.float64), track_times=False)
    stream.write(image.getbuffer())


def _column(table: EmbeddingTable, name: str, counts: np.ndarray) -> np.ndarray:
    if name == "frame":
        return np.repeat(np.arange(len(counts)), counts)
    if name == "atom":
        within: np.ndarray = np.arange(int(counts.sum())) - np.repeat(table.first[:-1], counts)
        return within
    given: np.ndarray = getattr(table, name)
    column: np.ndarray = given.astype(np.int64 if given.dtype.kind in "iu" else np.float32, copy=False)
    return column


def _layout(data: np.ndarray) -> dict[str, Any]:
    """Return how a column is stored: whole numbers shrink to almost nothing at no cost, measured numbers do not."""
    row = max(1, data.itemsize * int(np.prod(data.shape[1:])))
    chunks = (min(max(1, len(data)), max(1, _CHUNK // row)), *(max(1, size) for size in data.shape[1:]))
    packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if data.dtype.kind == "i" else {}
    return {"data": data, "chunks": chunks, "track_times": False, **packing}


def _describe(node: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        node.attrs[key] = value.encode(errors="replace").decode() if isinstance(value, str) else value
