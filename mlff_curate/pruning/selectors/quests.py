"""Set cover of environments under a Gaussian kernel, in the manner of quests."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.similarity import exact_index
from mlff_curate.pruning.selectors.base import CountedSelector

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool
    from mlff_curate.pruning.selectors.base import Progress

_DEMANDS = 2000
"""Environments to be covered: a plain random sample beyond so many, of (F, 2000) float32."""
_PROBES = 256
"""Environments that the bandwidth is measured on."""
_BLOCK_ELEMENTS = 2**24
_NOTHING = 1e-6
"""A gain below this share of the environments is rounding."""


class QuestsSelector(CountedSelector):
    """Choose frames whose environments cover most of what is not covered yet: a greedy minimum set cover.

    In the manner of quests' ``compress``: environments are compared by a Gaussian kernel, and the frame that tells
    most about the others comes next. With ``K(x, y) = exp(-|x - y|^2 / 2 h^2)``, an environment e is covered by kept
    frames S to

        c_e(S) = min(1, sum_{y in S} K(e, y))

    Up to the cap this sum is what quests' differential entropy, ``-log sum_y K(e, y)``, is the logarithm of: covered
    means that it is at most zero. ``sum_e c_e`` has diminishing returns, so old gains bound new ones and the search is
    lazy. Once no frame adds anything, the rest are chosen by a cover from nothing, as if there were none yet.

    What is not as there: the descriptor is ours instead of distances to k nearest neighbours, and knows elements; h is
    measured (the median distance of an environment to the nearest one of another frame) instead of a constant of that
    descriptor; the sum is capped instead of its logarithm taken, so that environments far from everything do not lead;
    and at most 2 000 environments, drawn by the seed, are to be covered. Its scores are not those of quests.
    """

    name = "quests"

    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:
        candidates = pool.candidates
        demands = np.flatnonzero(pool.demanding[pool.owner])
        if len(demands) > _DEMANDS:
            demands = np.sort(rng.choice(demands, _DEMANDS, replace=False))
        width = _bandwidth(pool, demands[rng.permutation(len(demands))[:_PROBES]]) if len(demands) else 1.0
        cover = _covers(pool, demands, width)
        covered = np.minimum(cover[pool.given].sum(axis=0, dtype=np.float32), 1.0)
        chosen: list[int] = []
        while len(chosen) < limit:
            added = _greedy(cover, covered, np.setdiff1d(candidates, chosen), limit - len(chosen))
            if not added and not covered.any():  # what is left covers none of the sample: input order
                added = np.setdiff1d(candidates, chosen)[: limit - len(chosen)].tolist()
            chosen += added
            progress(len(chosen), limit, "")
            covered = np.zeros(len(demands), np.float32)
        return np.array(chosen, dtype=np.int64)


def _greedy(cover: np.ndarray, covered: np.ndarray, candidates: np.ndarray, limit: int) -> list[int]:
    """Return candidates, at most ``limit``, that add most to ``covered`` (M,) one after the other; none adds nothing.

    Among equals the first is taken.
    """

    def gain(frame: int) -> float:
        return float((np.minimum(covered + cover[frame], 1.0) - covered).sum(dtype=np.float64))

    heap = [(-gain(int(f)), int(f)) for f in candidates]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < limit:
        _, frame = heapq.heappop(heap)
        now = gain(frame)
        if heap and (-now, frame) > heap[0]:
            heapq.heappush(heap, (-now, frame))
            continue
        if now <= _NOTHING * len(covered):
            break
        chosen.append(frame)
        covered = np.minimum(covered + cover[frame], 1.0)
    return chosen


def _bandwidth(pool: Pool, probes: np.ndarray) -> float:
    """Return the median distance of environments, (P,) rows of X, to the nearest one of another frame; 1 if all 0."""
    search = exact_index(pool.X)
    found, rows = search.search(np.ascontiguousarray(pool.X[probes]), min(len(pool.X), _PROBES))
    other = pool.owner[rows] != pool.owner[probes][:, None]
    nearest = np.sqrt(np.where(other, found, np.inf).min(axis=1))
    positive = nearest[np.isfinite(nearest) & (nearest > 0)]
    return float(np.median(positive)) if len(positive) else 1.0


def _covers(pool: Pool, demands: np.ndarray, width: float) -> np.ndarray:
    """Return (F, M) float32: the sum of the kernel between each frame's environments and M others, rows of X."""
    out = np.empty((pool.frames, len(demands)), np.float32)
    origin = pool.X.mean(axis=0)  # keeps |a|^2 + |b|^2 - 2 a.b from cancelling
    targets = (pool.X[demands] - origin) / np.float32(width)
    squares = np.einsum("md,md->m", targets, targets)
    step = max(1, _BLOCK_ELEMENTS // max(len(demands), 1))
    frame = 0
    while frame < pool.frames:
        last = int(np.searchsorted(pool.first, pool.first[frame] + step, side="right")) - 1
        last = min(max(last, frame + 1), pool.frames)
        rows = (pool.X[pool.first[frame] : pool.first[last]] - origin) / np.float32(width)
        kernel = rows @ targets.T
        kernel -= 0.5 * np.einsum("nd,nd->n", rows, rows)[:, None]
        kernel -= 0.5 * squares
        np.minimum(kernel, 0.0, out=kernel)
        np.exp(kernel, out=kernel)
        np.add.reduceat(kernel, pool.first[frame:last] - pool.first[frame], axis=0, out=out[frame:last])
        frame = last
    return out
