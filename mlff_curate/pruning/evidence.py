"""Why each frame stayed or went: which kept frames stand for it, and what each kept frame alone brings.

The evidence looks at the kept frames and not at how they were chosen: it is the same for any selector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.similarity import CloseSearch
from mlff_curate.pruning.floor import Floor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlff_curate.pruning.problem import Pool

NAMED = 3
"""Kept frames that are named as representatives of a dropped one."""
_PER_FRAME = 256
"""Environments looked at per frame: a seeded sample of larger frames."""
_MANY_KEPT = 2**17
_PER_MANY = 8
"""Environments looked at per kept frame, where these have more than ``_MANY_KEPT`` in all: what each brings is then
small, and searched among many."""
_NEIGHBOURS = 8
"""Kept environments looked at for the two nearest kept frames, before a search that leaves the nearest frame out."""
_BLOCK = 65536


@dataclass(frozen=True)
class Evidence:
    """How F frames are represented by the kept ones, environment by environment.

    A kept environment is near or far in units of the root-mean-square distance of the environments from their mean: 1
    is as far as an environment is from the average one. The mean square of the distances to the nearest kept
    environment, in this unit, is the **uncovered share**: 0 when everything is kept, 1 when all that is kept is one
    average environment (the share of the variance that is not explained, were the kept environments cluster centres).

    Attributes
    ----------
    representatives
        (F, 3) kept frames that are nearest to most of each frame's environments, most first; -1 where there are fewer.
    share
        (F, 3) the share of the frame's environments that each is nearest to.
    distance, farthest
        (F,) mean and largest distance of the frame's environments to the nearest kept one; nan where not asked for.
    stands_for
        (F,) environments of other frames that a frame is nearest to, nan where not kept.
    brings
        (F,) by how much the uncovered share would rise without this frame alone, nan where not kept.
    uncovered
        The uncovered share; nan where nothing is asked for.
    clusters_alone
        Kept frame to the clusters that only it represents.
    group_alone
        (F,) bool, the only kept frame of its group.
    """

    representatives: np.ndarray
    share: np.ndarray
    distance: np.ndarray
    farthest: np.ndarray
    stands_for: np.ndarray
    brings: np.ndarray
    uncovered: float
    clusters_alone: dict[int, tuple[int, ...]]
    group_alone: np.ndarray


def gather_evidence(pool: Pool, kept: np.ndarray, asking: np.ndarray, rng: np.random.Generator) -> Evidence:
    """Find which kept frames stand for each frame, and what each brings.

    The nearest kept environment of every environment is searched, and the nearest of another kept frame than that: the
    second serves where the first is taken away. Environments of different central elements are far apart by
    :func:`species_columns`. Frames of more than 256 environments are judged by that many, drawn evenly; kept frames by
    8, where more than 2^17 environments are kept. The search is exact for up to 2^26 pairs; beyond, see
    :class:`CloseSearch`.

    Parameters
    ----------
    pool
        F frames.
    kept
        (F,) bool, frames that stand for others, given frames included.
    asking
        (F,) bool, frames to be represented; the kept ones among them represent themselves.
    rng
        Draws the environments of large frames.
    """
    F = pool.frames
    clusters_alone, group_alone = _alone(pool, kept)
    nothing = Evidence(
        representatives=np.full((F, NAMED), -1),
        share=np.zeros((F, NAMED)),
        distance=np.where(asking, np.inf, np.nan),
        farthest=np.where(asking, np.inf, np.nan),
        stands_for=np.full(F, np.nan),
        brings=np.full(F, np.nan),
        uncovered=np.nan,
        clusters_alone=clusters_alone,
        group_alone=group_alone,
    )
    if not kept.any() or not asking.any():
        return nothing
    rows, weight = _rows(pool, kept, asking, rng)
    frame = pool.owner[rows]
    spread = _squares_from_mean(pool, rows, weight)
    near, first, second = _two_nearest(pool, kept, rows)
    if kept.sum() == 1:
        second = spread  # without the only kept frame, the average environment is all that is known
    total = float(weight @ spread)
    unit = float(np.sqrt(total / weight.sum())) or 1.0

    def per_frame(values: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=values, minlength=F)

    squares_to_share = 1.0 / total if total > 0 else 0.0
    lengths = np.sqrt(first) / unit
    farthest = np.full(F, -np.inf)
    np.maximum.at(farthest, frame, lengths)
    others = near != frame
    representatives, share = _most(frame, near, weight, lengths, F)
    sums = np.maximum(per_frame(weight, frame), 1.0)
    return Evidence(
        representatives=representatives,
        share=share,
        distance=np.where(asking, per_frame(weight * lengths, frame) / sums, np.nan),
        farthest=np.where(asking, farthest, np.nan),
        stands_for=np.where(kept, per_frame(weight[others], near[others]), np.nan),
        brings=np.where(kept, per_frame(weight * (second - first), near) * squares_to_share, np.nan),
        uncovered=float(weight @ first) * squares_to_share,
        clusters_alone=clusters_alone,
        group_alone=group_alone,
    )


def _rows(pool: Pool, kept: np.ndarray, asking: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return environments (R,) of the asking frames, ascending, and how many of its frame's each stands for."""
    sizes = np.diff(pool.first)
    many = sizes[kept].sum() > _MANY_KEPT
    limit = np.where(kept & many, _PER_MANY, _PER_FRAME)
    taken = asking[pool.owner]
    for frame in np.flatnonzero(asking & (sizes > limit)):
        left_out = rng.permutation(sizes[frame])[limit[frame] :]
        taken[pool.first[frame] + left_out] = False
    rows = np.flatnonzero(taken)
    return rows, (sizes / np.minimum(sizes, limit))[pool.owner[rows]]


def _blocks(size: int) -> Iterator[slice]:
    return (slice(a, min(a + _BLOCK, size)) for a in range(0, size, _BLOCK))


def _squares_from_mean(pool: Pool, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return (R,) squared distances of environments from their weighted mean."""
    mean = np.zeros(pool.X.shape[1])
    for part in _blocks(len(rows)):
        mean += weight[part] @ pool.X[rows[part]]
    mean /= weight.sum()
    squares = np.empty(len(rows))
    for part in _blocks(len(rows)):
        off = pool.X[rows[part]] - mean
        squares[part] = np.einsum("rd,rd->r", off, off)
    return squares


def _two_nearest(pool: Pool, kept: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest kept frame of R environments and the squared distances to it and to the next kept frame.

    Returns
    -------
    near, first, second
        (R,) frame, (R,) squared distance to its nearest environment, (R,) that to the nearest of another kept frame,
        infinite where there is none.
    """
    supply = np.flatnonzero(kept[pool.owner])
    owner = pool.owner[supply]
    search = CloseSearch(pool.X[supply], len(rows))
    near = pool.owner[rows].copy()
    first, second = np.zeros(len(rows)), np.full(len(rows), np.inf)
    dropped = np.flatnonzero(~kept[near])
    for part in _blocks(len(dropped)):
        place = dropped[part]
        squared, found = search.nearest(pool.X[rows[place]], min(_NEIGHBOURS, len(supply)))
        frames = owner[found]
        near[place], first[place] = frames[:, 0], squared[:, 0]
        second[place] = np.where(frames != frames[:, :1], squared, np.inf).min(axis=1)
    # what a kept frame's own environments would have without it, and those that only saw one frame, is searched apart
    starts = np.searchsorted(owner, np.arange(pool.frames + 1))
    open_rows = np.flatnonzero(np.isinf(second))
    order = open_rows[np.argsort(near[open_rows], kind="stable")]
    if kept.sum() > 1:
        for place in np.split(order, np.flatnonzero(np.diff(near[order])) + 1):
            if len(place):
                own = near[place[0]]
                second[place] = search.without(pool.X[rows[place]], int(starts[own]), int(starts[own + 1]))
    # approximate searches may miss by chance what another finds
    return near, first, np.maximum(second, first)


def _most(
    frame: np.ndarray, near: np.ndarray, weight: np.ndarray, lengths: np.ndarray, F: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return per frame the kept frames nearest to most of its environments, (F, 3), and their shares (F, 3).

    Among kept frames with equal shares the nearer one comes first, then the earlier one.
    """
    pairs, of = np.unique(frame * F + near, return_inverse=True)
    amount = np.bincount(of, weights=weight)
    distance = np.bincount(of, weights=weight * lengths) / amount
    asked, stands = pairs // F, pairs % F
    amount = amount / np.bincount(asked, weights=amount, minlength=F)[asked]
    order = np.lexsort((stands, distance, -amount, asked))
    place = np.arange(len(order)) - np.searchsorted(asked, asked)  # rank among the pairs of its frame
    representatives, share = np.full((F, NAMED), -1), np.zeros((F, NAMED))
    first = place < NAMED
    representatives[asked[first], place[first]] = stands[order][first]
    share[asked[first], place[first]] = amount[order][first]
    return representatives, share


def _alone(pool: Pool, kept: np.ndarray) -> tuple[dict[int, tuple[int, ...]], np.ndarray]:
    """Return the clusters that one kept frame alone represents, by frame, and (F,) the only kept ones of a group."""
    floor = Floor(pool)
    frames = np.flatnonzero(kept)
    units = floor.units[frames].tocsc()
    alone = np.flatnonzero(np.diff(units.indptr) == 1)
    clusters: dict[int, tuple[int, ...]] = {}
    group = np.zeros(pool.frames, bool)
    for unit, frame in zip(alone.tolist(), frames[units.indices[units.indptr[alone]]].tolist(), strict=True):
        if unit < floor.clusters:
            clusters[frame] = (*clusters.get(frame, ()), unit)
        else:
            group[frame] = True
    return clusters, group
