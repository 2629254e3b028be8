"""Which frames are near copies of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.similarity import components

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool

NEAR = 5e-4
"""Near copies differ by at most this share of the root-mean-square distance of a frame from the mean of all.

Rotated twins and repeats with rounded numbers are found; neighbouring strains of an elastic set, which differ in
earnest, are not taken for copies (docs/benchmarks.md)."""


def near_copies(pool: Pool) -> np.ndarray:
    """Return a number per frame, (F,), equal for frames that are near copies or linked by a chain of them.

    Frames are compared by mean and standard deviation of their environments.
    """
    import faiss

    vectors = np.ascontiguousarray(pool.frame_vectors - pool.frame_vectors.mean(axis=0), dtype=np.float32)
    size = float(np.sqrt(np.einsum("fd,fd->", vectors, vectors, dtype=np.float64) / len(vectors)))
    search = faiss.IndexFlatL2(vectors.shape[1])
    search.add(vectors)
    limits, _, found = search.range_search(vectors, float((NEAR * size) ** 2 + np.finfo(np.float32).tiny))
    lengths: np.ndarray = np.diff(limits).astype(np.int64)
    rows = np.repeat(np.arange(len(vectors)), lengths)
    return components(np.column_stack([rows, found]), len(vectors))
