"""Our own selector: coverage on a floor of clusters and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.coverage import Coverage
from mlff_curate.pruning.floor import Floor
from mlff_curate.pruning.problem import Selection
from mlff_curate.pruning.selectors.base import Selector

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool
    from mlff_curate.pruning.selectors.base import Progress


class CoverageSelector(Selector):
    """Choose by coverage (:class:`Coverage`), on the floor of clusters and groups (:class:`Floor`).

    The coverage chooses as long as the rest of the budget can still represent every cluster and group; then that is
    what the rest is spent on. With a budget below the floor, every choice must represent something new.

    Without a count, frames are added while one brings more than the average frame would: the knee of the coverage,
    where its slope falls below that of the straight line from none to all (Satopaa et al., ICDCSW 2011); then what the
    floor lacks. The line begins where nothing is kept, given frames included: they are a first part of the way. Where
    they lead past the knee, nothing is added. A line that began at them would have a knee of its own, and every new
    run would find more to keep.
    """

    name = "coverage"

    def _select(self, pool: Pool, rng: np.random.Generator, progress: Progress) -> Selection:
        candidates = len(pool.candidates)
        if candidates == 0:
            return Selection(np.zeros(0, np.int64), np.zeros(0), np.ones(1))
        objective, floor = Coverage(pool, rng), Floor(pool)
        limit = candidates if self.count is None else min(self.count, candidates)
        needed = floor.fill(pool.given)
        if self.count is not None and len(needed) > limit:
            free, _ = objective.greedy(limit, 0.0, progress, floor.missing(pool.given))
            fill = np.zeros(0, np.int64)
        else:
            knee = 1.0 / max(int(pool.demanding.sum()), 1) if self.count is None else 0.0
            greedy, gains = objective.greedy(limit, knee, progress)
            if self.count is None and pool.given.any() and len(gains) and gains[0] < knee:
                greedy = greedy[:0]
            free, fill = _with_floor(pool, floor, greedy, limit, needed)
        chosen = np.concatenate([free, fill])
        if len(chosen) < limit and self.count is not None:
            chosen = np.concatenate([chosen, _rest(pool, chosen, limit)])
        gain, share = objective.after(chosen)
        for_floor = np.zeros(len(chosen), bool)
        for_floor[len(free) : len(free) + len(fill)] = True
        kept = pool.given.copy()
        kept[chosen] = True
        return Selection(chosen, gain, share, len(needed), for_floor, floor.missing(kept).count)


def _with_floor(
    pool: Pool, floor: Floor, greedy: np.ndarray, limit: int, needed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return as many greedy choices as leave room for the floor, and the frames that the floor then needs."""
    rank = np.full(pool.frames, pool.frames)
    rank[greedy] = np.arange(len(greedy))

    def fill_after(taken: int) -> np.ndarray:
        kept = pool.given.copy()
        kept[greedy[:taken]] = True
        return floor.fill(kept, prefer=rank)

    low, high = 0, len(greedy)  # bisection: a longer greedy part leaves less to fill, never much more
    fill = fill_after(high)
    if high + len(fill) <= limit:
        return greedy, fill
    while high - low > 1:
        middle = (low + high) // 2
        if middle + len(fill_after(middle)) <= limit:
            low = middle
        else:
            high = middle
    fill = fill_after(low)
    return greedy[:low], fill if low + len(fill) <= limit else needed  # ties taken otherwise may need more


def _rest(pool: Pool, chosen: np.ndarray, limit: int) -> np.ndarray:
    """Return frames to reach the limit, in input order; only where nothing is left to gain."""
    return np.setdiff1d(pool.candidates, chosen)[: limit - len(chosen)]
