"""The sparse similarity graph: nodes are environments, edges join those whose descriptors are near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NearestAnchors:
    """For each of N environments its k nearest anchors of the same element, nearest first.

    Attributes
    ----------
    index
        (N, k) int64 into the anchors; where an element has fewer than k anchors the first is repeated.
    distance
        (N, k) Euclidean distance, float32; infinite where repeated.
    """

    index: np.ndarray
    distance: np.ndarray


def nearest_anchors(
    X: np.ndarray, species: np.ndarray, anchors: np.ndarray, anchor_species: np.ndarray, k: int
) -> NearestAnchors:
    """Search exactly, element by element: an edge never joins environments of different central elements.

    Parameters
    ----------
    X
        (N, D) float32.
    species
        (N,) atomic number at the centre.
    anchors, anchor_species
        (A, D) float32 and (A,).
    k
        Edges per environment.

    Raises
    ------
    ValueError
        An element of ``species`` has no anchor.
    """
    index = np.zeros((len(X), k), np.int64)
    distance = np.full((len(X), k), np.inf, np.float32)
    for z in np.unique(species):
        rows, columns = np.flatnonzero(species == z), np.flatnonzero(anchor_species == z)
        if len(columns) == 0:
            message = f"no anchor for element {int(z)}"
            raise ValueError(message)
        base = np.ascontiguousarray(anchors[columns], dtype=np.float32)
        search = exact_index(base)
        width = min(k, len(columns))
        squared, found = search.search(np.ascontiguousarray(X[rows], dtype=np.float32), width)
        index[rows, :width] = columns[found]
        index[rows, width:] = columns[found[:, :1]]
        distance[rows, :width] = np.sqrt(np.maximum(squared, 0.0))
    return NearestAnchors(index, distance)


def exact_index(base: np.ndarray) -> Any:
    """Return faiss' exact index of vectors (A, D), float32, squared Euclidean distances."""
    import faiss

    # Large batches would go through |x|^2 + |a|^2 - 2 x.a, which cancels: a vector were no longer its own neighbour,
    # and the neighbours found would depend on the size of the batch.
    faiss.cvar.distance_compute_blas_threshold = 2**31 - 1
    index = faiss.IndexFlatL2(base.shape[1])
    index.add(np.ascontiguousarray(base, dtype=np.float32))
    return index


class CloseSearch:
    """The nearest of M vectors for many queries: exact while that is cheap, by inverted lists beyond.

    Beyond 2^26 pairs of a query and a vector, vectors are sorted into about 4 sqrt(M) lists (2 048 at most) by k-means
    (Sivic and Zisserman, ICCV 2003) and the 16 lists nearest to a query are looked through, so that time goes with the
    queries times sqrt(M). Queries that are far from all they found, one in 256, are searched exactly: in the outskirts
    the nearest lists say little. Of the environments of ten noisy copies of the Fe set in MEAGraph's embedding, a tenth
    of the frames kept, more than 99.9 % find the nearest. What is found does not depend on the number of threads.

    Parameters
    ----------
    base
        (M, D) float32.
    queries
        How many there will be.
    """

    _EXACT_PAIRS = 2**26
    _LISTS_LOOKED_AT = 16
    _MOST_LISTS = 2048
    _FAR = 256

    def __init__(self, base: np.ndarray, queries: int) -> None:
        import faiss

        base = np.ascontiguousarray(base, dtype=np.float32)
        self._index: Any = exact_index(base)
        self._lists = 0
        if len(base) * queries > self._EXACT_PAIRS:
            self._lists = int(min(4 * len(base) ** 0.5, len(base), self._MOST_LISTS))
            self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(base.shape[1]), base.shape[1], self._lists)
            self._index.cp.niter = 5
            self._index.cp.min_points_per_centroid = 1
            self._index.cp.max_points_per_centroid = 64
            self._index.train(base)
            self._index.add(base)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (Q, k) squared distances to the k nearest of the M vectors, nearest first, and their indices."""
        squared, found = self._search(queries, k, None)
        far = np.argsort(-squared[:, 0], kind="stable")[: len(queries) // self._FAR]
        if self._lists and len(far):
            rows = np.ascontiguousarray(queries[far], dtype=np.float32)
            squared[far], found[far] = self._index.search(rows, k, params=self._parameters(None, self._lists))
        return squared, found

    def without(self, queries: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return (Q,) squared distances to the nearest vector that is not one of ``start`` to ``stop`` - 1."""
        return self._search(queries, 1, (start, stop))[0][:, 0]

    def _search(self, queries: np.ndarray, k: int, left_out: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        squared, found = self._index.search(queries, k, params=self._parameters(left_out, self._LISTS_LOOKED_AT))
        short = np.flatnonzero(found[:, -1] < 0)
        if len(short):  # the lists looked at held too few
            every = self._parameters(left_out, self._lists)
            squared[short], found[short] = self._index.search(queries[short], k, params=every)
        return np.maximum(squared, 0.0), found

    def _parameters(self, left_out: tuple[int, int] | None, lists: int) -> Any:
        import faiss

        kind: Any = faiss.SearchParametersIVF if self._lists else faiss.SearchParameters
        options: dict[str, Any] = {"nprobe": lists} if self._lists else {}
        if left_out is not None:
            options["sel"] = faiss.IDSelectorNot(faiss.IDSelectorRange(*left_out))
        return kind(**options) if options else None


def components(edges: np.ndarray, size: int) -> np.ndarray:
    """Return the connected component of each of ``size`` nodes, numbered by first node; edges (E, 2)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    matrix = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    labels: np.ndarray = connected_components(matrix, directed=False)[1]
    return labels


def distinct_rows(X: np.ndarray) -> np.ndarray:
    """Return the index of the first of each set of rows that agree to five digits of the largest entry, ascending."""
    step = 1e-5 * float(np.abs(X).max(initial=0.0)) or 1.0
    rounded = np.ascontiguousarray(np.round(X / step).astype(np.int32))
    keys = rounded.view(np.dtype((np.void, rounded.dtype.itemsize * rounded.shape[1]))).ravel()
    return np.sort(np.unique(keys, return_index=True)[1])


def importance_sample(
    X: np.ndarray, size: int, rng: np.random.Generator, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows so that weighted sums of squared distances over the sample estimate those over all rows.

    Half of the probability goes to each row's weight, half to its weighted squared distance from the mean, so that
    rare, far rows are not missed: the lightweight coreset of Bachem, Lucic, Krause (KDD 2018), algorithm 1. Rows are
    drawn without replacement by systematic sampling in random order, with inclusion probabilities in proportion (at
    most 1) and weights one over them (Horvitz and Thompson, J. Am. Stat. Assoc. 47, 663 (1952)): unbiased.

    Parameters
    ----------
    X
        (N, D).
    size
        Rows to draw; all rows are returned, with their own weights, if there are no more than that.
    rng
        Source of randomness.
    weight
        (N,) weight of each row; 1 by default.

    Returns
    -------
    rows, weights
        (M,) ascending indices and their weights.
    """
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=np.float64)
    if len(X) <= size:
        return np.arange(len(X)), weight
    share = weight / weight.sum()
    centre = share @ X
    squared = np.einsum("nd,nd->n", X - centre, X - centre, dtype=np.float64) * weight
    total = squared.sum()
    probability = share if total == 0 else 0.5 * share + 0.5 * squared / total
    inclusion = np.zeros(len(X))
    certain = np.zeros(len(X), bool)
    while True:  # a row that would be drawn more than once is drawn for certain, the others share what is left
        left = np.where(certain, 0.0, probability)
        inclusion = np.where(certain, 1.0, (size - certain.sum()) * left / left.sum())
        if not (inclusion > 1.0).any():
            break
        certain |= inclusion > 1.0
    order = rng.permutation(len(X))
    ends = np.cumsum(inclusion[order])
    ends *= size / ends[-1]
    rows = np.sort(order[np.searchsorted(ends, np.arange(size) + rng.random(), side="right")])
    return rows, weight[rows] / inclusion[rows]
