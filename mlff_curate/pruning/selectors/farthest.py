"""Farthest point sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.selectors.base import CountedSelector

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool
    from mlff_curate.pruning.selectors.base import Progress


class FarthestSelector(CountedSelector):
    """Choose the frame farthest from those chosen and given, by their mean vectors; the first at random."""

    name = "fps"

    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:
        candidates = pool.candidates
        mean = pool.frame_vectors[:, : pool.X.shape[1]].astype(np.float64)
        distance = np.full(len(candidates), np.inf)
        for frame in np.flatnonzero(pool.given):
            distance = np.minimum(distance, ((mean[candidates] - mean[frame]) ** 2).sum(axis=1))
        chosen: list[int] = []
        taken = np.zeros(len(candidates), bool)
        while len(chosen) < limit:
            nothing_yet = np.isinf(distance).all()
            best = int(rng.integers(len(candidates))) if nothing_yet else int(np.where(taken, -1.0, distance).argmax())
            taken[best] = True
            chosen.append(int(candidates[best]))
            distance = np.minimum(distance, ((mean[candidates] - mean[candidates[best]]) ** 2).sum(axis=1))
            if len(chosen) % 64 == 0:
                progress(len(chosen), limit, "")
        return np.array(chosen, dtype=np.int64)
