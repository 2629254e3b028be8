"""Which frames are near copies of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.similarity import components, exact_index

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool

_BLOCK = 256
NEAR = 5e-4
"""Near copies differ by at most this share of the root-mean-square distance of a frame from the mean of all.

Rotated twins and repeats with rounded numbers are found. Densely spaced strains of an elastic set can be linked into
one family as well (docs/benchmarks.md): a proof then trains on fewer frames than it might, never on a copy."""


def near_copies(pool: Pool) -> np.ndarray:
    """Return a number per frame, (F,), equal for frames that are near copies or linked by a chain of them.

    Frames are compared by mean and standard deviation of their environments.
    """
    vectors = np.ascontiguousarray(pool.frame_vectors - pool.frame_vectors.mean(axis=0), dtype=np.float32)
    size = float(np.sqrt(np.einsum("fd,fd->", vectors, vectors, dtype=np.float64) / len(vectors)))
    search = exact_index(vectors)
    radius = float((NEAR * size) ** 2 + np.finfo(np.float32).tiny)
    family = np.arange(len(vectors))
    for first in range(0, len(vectors), _BLOCK):  # a pile of copies has as many pairs as frames squared
        limits, _, found = search.range_search(vectors[first : first + _BLOCK], radius)
        lengths: np.ndarray = np.diff(limits).astype(np.int64)
        rows = np.repeat(np.arange(first, first + len(lengths)), lengths)
        pairs = np.unique(np.column_stack([family[rows], family[found]]), axis=0)
        family = components(pairs, len(vectors))[family]
    return family
