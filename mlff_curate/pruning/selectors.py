"""Selectors by name: which frames to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlff_curate.errors import UsageError
from mlff_curate.pruning.coverage import Coverage
from mlff_curate.pruning.floor import Floor
from mlff_curate.pruning.problem import Pool, Selection

if TYPE_CHECKING:
    from collections.abc import Callable


class Selector(Protocol):
    """Choose frames from a pool.

    Called with the pool, the number of frames to choose besides the given ones (None: as many as it takes), the
    source of randomness and a progress callback.
    """

    def __call__(
        self,
        pool: Pool,
        count: int | None,
        rng: np.random.Generator,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Selection:
        """Return the selection."""
        ...


def coverage(
    pool: Pool,
    count: int | None,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] | None = None,
) -> Selection:
    """Choose by coverage (:class:`Coverage`), on the floor of clusters and groups (:class:`Floor`).

    The coverage chooses as long as the rest of the budget can still represent every cluster and group; then that is
    what the rest is spent on. With a budget below the floor, every choice must represent something new.

    Without a count, frames are added while one brings more than the average over all frames would: the knee of the
    coverage, where its slope falls below that of the straight line from none to all (Satopaa et al., ICDCSW 2011);
    then what the floor lacks.
    """
    candidates = int((pool.eligible & ~pool.given).sum())
    if candidates == 0:
        return Selection(np.zeros(0, np.int64), np.zeros(0), np.ones(1))
    objective, floor = Coverage(pool, rng), Floor(pool)
    limit = candidates if count is None else min(count, candidates)
    knee = 1.0 / max(candidates, 1) if count is None else 0.0
    needed = floor.fill(pool.given)
    if count is not None and len(needed) > limit:
        free, _ = objective.greedy(limit, 0.0, progress, floor.missing(pool.given))
        fill = np.zeros(0, np.int64)
    else:
        greedy, gains = objective.greedy(limit, knee, progress)
        if count is None and pool.given.any() and len(gains) and gains[0] < knee:
            greedy = greedy[:0]
        free, fill = _with_floor(pool, floor, greedy, limit, needed)
    chosen = np.concatenate([free, fill])
    if len(chosen) < limit and count is not None:
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
    left = pool.eligible & ~pool.given
    left[chosen] = False
    return np.flatnonzero(left)[: limit - len(chosen)]


def random(
    pool: Pool,
    count: int | None,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] | None = None,  # noqa: ARG001
) -> Selection:
    """Choose frames at random: the baseline."""
    candidates = np.flatnonzero(pool.eligible & ~pool.given)
    return _plain(rng.permutation(candidates)[: _count(count, "random")])


def stratified(
    pool: Pool,
    count: int | None,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] | None = None,  # noqa: ARG001
) -> Selection:
    """Choose at random within each configuration group, the groups taking turns."""
    candidates = rng.permutation(np.flatnonzero(pool.eligible & ~pool.given))
    group = pool.group[candidates]
    turn = np.zeros(len(candidates), np.int64)
    for g in np.unique(group):
        turn[group == g] = np.arange((group == g).sum())
    return _plain(candidates[np.lexsort((group, turn))][: _count(count, "stratified")])


def fps(
    pool: Pool,
    count: int | None,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] | None = None,
) -> Selection:
    """Choose the frame farthest from those chosen, by their mean vectors (farthest point sampling)."""
    candidates = np.flatnonzero(pool.eligible & ~pool.given)
    limit = min(_count(count, "fps"), len(candidates))
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
        if progress is not None and len(chosen) % 64 == 0:
            progress(len(chosen), limit, "")
    return _plain(np.array(chosen, dtype=np.int64))


def _count(count: int | None, name: str) -> int:
    if count is None:
        raise UsageError(f"auto needs --selector coverage: {name} cannot tell when it is enough", key="--keep")
    return count


def _plain(chosen: np.ndarray) -> Selection:
    return Selection(chosen, np.zeros(len(chosen)), np.full(len(chosen) + 1, np.nan))


SELECTORS: dict[str, Selector] = {"coverage": coverage, "random": random, "stratified": stratified, "fps": fps}
