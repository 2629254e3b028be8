"""How well kept frames stand for all: squared distances of environments and of frames to the nearest kept one."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.similarity import importance_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_curate.pruning.floor import Missing
    from mlff_curate.pruning.problem import Pool

_DEMANDS = 4000
"""Environments, and frames, that the coverage is measured on: a weighted sample beyond so many."""
_BLOCK_ELEMENTS = 2**25


class Coverage:
    """The facility-location objective on environments and frames.

    ``J(S) = sum_e w_e min_{f in S} d(e, f)^2 / Z_1 + sum_g v_g min_{f in S} d(g, f)^2 / Z_2``: e runs over
    environments, d(e, f) being the distance to the nearest environment of frame f, since forces see single
    environments; g runs over frames, described by mean and standard deviation of their environments, since energies
    see sums over a frame. The weights of each configuration group add up to the same. Z_1 and Z_2 are the values of
    the two sums when each demand is served by a frame drawn at random, so that both halves count alike.

    ``J`` falls with diminishing returns, so the greedy choice is within 1 - 1/e of the best (Nemhauser, Wolsey,
    Fisher, Math. Program. 14, 265 (1978)), and a gain once computed bounds all later ones (Minoux, 1978), which is
    what makes the greedy choice lazy.

    Parameters
    ----------
    pool
        The frames.
    rng
        Draws the sample of demands, if there are more than can be measured.
    """

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        self.pool = pool
        sizes = np.diff(pool.first)
        usable = pool.given | pool.eligible
        demanding = pool.demanding  # a curated set is there to serve, not to be served
        frames = np.flatnonzero(demanding)
        frame_weight = 1.0 / np.maximum(np.bincount(pool.group[frames], minlength=pool.group.max() + 1), 1)[pool.group]
        environments = np.flatnonzero(demanding[pool.owner])
        per_group = np.bincount(pool.group[frames], weights=sizes[frames], minlength=pool.group.max() + 1)
        environment_weight = 1.0 / np.maximum(per_group, 1)[pool.group[pool.owner[environments]]]

        rows, weights = importance_sample(pool.X[environments], _DEMANDS, rng, environment_weight)
        by_environment = self._to_frames(pool.X[environments[rows]], pool.X, pool.first)
        vectors = pool.frame_vectors
        some, frame_weights = importance_sample(vectors[frames], _DEMANDS, rng, frame_weight[frames])
        by_frame = self._to_frames(vectors[frames[some]], vectors, np.arange(pool.frames + 1))
        # (F, M): one frame's costs lie together, since a gain reads one frame and all demands
        self.cost = np.concatenate(
            [self._normalised(by_environment, weights, usable), self._normalised(by_frame, frame_weights, usable)],
            axis=1,
        )
        self.worst = self.cost[usable].max(axis=0)
        self.reference = float(self.cost[demanding].sum(axis=1, dtype=np.float64).min()) if demanding.any() else 0.0

    @staticmethod
    def _to_frames(demands: np.ndarray, supply: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return (F, M) squared distances from M demands to the nearest of each frame's rows of ``supply``."""
        out = np.empty((len(first) - 1, len(demands)), np.float32)
        origin = supply.mean(axis=0)  # keeps |a|^2 + |b|^2 - 2 a.b from cancelling
        demands = demands - origin
        squares = np.einsum("md,md->m", demands, demands)
        step = max(1, _BLOCK_ELEMENTS // max(len(demands), 1))
        frame = 0
        while frame < len(out):
            last = int(np.searchsorted(first, first[frame] + step, side="right")) - 1
            last = min(max(last, frame + 1), len(out))
            rows = supply[first[frame] : first[last]] - origin
            distance = rows @ demands.T
            distance *= -2.0
            distance += np.einsum("nd,nd->n", rows, rows)[:, None]
            np.minimum.reduceat(distance, first[frame:last] - first[frame], axis=0, out=out[frame:last])
            frame = last
        out += squares
        np.maximum(out, 0.0, out=out)
        return out

    @staticmethod
    def _normalised(cost: np.ndarray, weights: np.ndarray, usable: np.ndarray) -> np.ndarray:
        scale = float(cost[usable].mean(axis=0, dtype=np.float64) @ weights)
        cost *= (weights / (2.0 * scale) if scale > 0 else weights * 0.0).astype(np.float32)
        return cost

    def start(self) -> np.ndarray:
        """Return (M,) what each demand costs with the given frames alone."""
        given = self.pool.given
        cost: np.ndarray = self.cost[given].min(axis=0) if given.any() else self.worst.copy()
        return cost

    def share(self, cost: np.ndarray) -> float:
        """Return the coverage in [0, 1]: 0 for the best single frame, 1 when everything is kept."""
        if self.reference <= 0:
            return 1.0
        return float(np.clip(1.0 - cost.sum(dtype=np.float64) / self.reference, 0.0, 1.0))

    def greedy(
        self,
        limit: int,
        stop_below: float = 0.0,
        progress: Callable[[int, int, str], None] | None = None,
        missing: Missing | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose eligible frames one by one, each time the one that lowers the cost most.

        Parameters
        ----------
        limit
            At most so many.
        stop_below
            Stop before a frame whose gain, as a share of the coverage, is below this.
        progress
            Called with frames chosen, limit, and the coverage in words.
        missing
            If given, choose only among frames that represent something not yet represented.

        Returns
        -------
        chosen, gain
            (K,) frames and their gains as shares of the coverage.
        """
        current = self.start()
        candidates = self.pool.candidates
        heap = [(-self._gain(int(f), current), int(f)) for f in candidates]
        heapq.heapify(heap)
        scale = self.reference if self.reference > 0 else 1.0
        chosen: list[int] = []
        gains: list[float] = []
        while heap and len(chosen) < limit:
            _, frame = heapq.heappop(heap)
            if missing is not None and not missing.helped_by(frame):
                continue
            gain = self._gain(frame, current)
            if heap and -gain > heap[0][0]:
                heapq.heappush(heap, (-gain, frame))
                continue
            if gain < stop_below * scale and chosen:
                break
            chosen.append(frame)
            gains.append(gain / scale)
            np.minimum(current, self.cost[frame], out=current)
            if missing is not None:
                missing.take(frame)
            if progress is not None and len(chosen) % 16 == 0:
                progress(len(chosen), limit, f"coverage {self.share(current):.4f}")
        return np.array(chosen, dtype=np.int64), np.array(gains)

    def _gain(self, frame: int, current: np.ndarray) -> float:
        saved = current - self.cost[frame]
        return float(np.maximum(saved, 0.0, out=saved).sum(dtype=np.float64))

    def after(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gains (K,) and coverage (K + 1,) of frames chosen in this order."""
        current = self.start()
        shares = [self.share(current)]
        for frame in chosen:
            np.minimum(current, self.cost[frame], out=current)
            shares.append(self.share(current))
        return np.diff(shares), np.array(shares)
