"""Our own selector: what tells most, on a floor of clusters and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.floor import Floor
from mlff_curate.pruning.information import Information
from mlff_curate.pruning.problem import Selection
from mlff_curate.pruning.selectors.base import Selector

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool
    from mlff_curate.pruning.selectors.base import Progress


class CoverageSelector(Selector):
    """Choose what tells most (:class:`Information`), on the floor of clusters and groups (:class:`Floor`).

    The objective chooses as long as the rest of the budget can still represent every cluster and group; then that is
    what the rest is spent on. With a budget below the floor, every choice must represent something new.

    Coverage is the share of what all frames would tell about energies and forces that the kept ones tell. Without a
    count, frames are added up to the knee of the coverage, where it lies highest above the straight line from none to
    all (Satopaa et al., ICDCSW 2011); then what the floor lacks. The line begins where nothing is kept, given frames
    included: they are a first part of the way. Where they lead past the knee, or so near to it that what is added would
    bring less than one average frame more than it takes, nothing is added. A line that began at them would have a knee
    of its own, and every new run would find more to keep.
    """

    name = "coverage"

    def _select(self, pool: Pool, rng: np.random.Generator, progress: Progress) -> Selection:
        candidates = len(pool.candidates)
        if candidates == 0:
            return Selection(np.zeros(0, np.int64), np.zeros(0), np.ones(1))
        objective, floor = Information(pool, rng), Floor(pool)
        limit = candidates if self.count is None else min(self.count, candidates)
        needed = floor.fill(pool.given)
        if self.count is not None and len(needed) > limit:
            free, share = objective.greedy(limit, 0.0, progress, floor.missing(pool.given))
            fill = np.zeros(0, np.int64)
        else:
            slope = 1.0 / max(int(pool.demanding.sum()), 1) if self.count is None else 0.0
            greedy, share = objective.greedy(limit, slope, progress)
            free, fill = _with_floor(pool, floor, greedy, limit, needed)
        chosen = np.concatenate([free, fill])
        if len(chosen) < limit and self.count is not None:
            chosen = np.concatenate([chosen, objective.greedy(limit - len(chosen), after=chosen)[0]])
        share = share[: len(chosen) + 1] if len(chosen) == len(free) else objective.shares(chosen)
        for_floor = np.zeros(len(chosen), bool)
        for_floor[len(free) : len(free) + len(fill)] = True
        kept = pool.given.copy()
        kept[chosen] = True
        return Selection(chosen, np.diff(share), share, len(needed), for_floor, floor.missing(kept).count)


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
