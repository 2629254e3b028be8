"""Selectors that draw at random: from all, from groups in turn, from clusters in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.selectors.base import CountedSelector

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool
    from mlff_curate.pruning.selectors.base import Progress


class RandomSelector(CountedSelector):
    """Choose frames at random: the baseline."""

    name = "random"

    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:  # noqa: ARG002
        return rng.permutation(pool.candidates)[:limit]


class StratifiedSelector(CountedSelector):
    """Choose at random within each configuration group, the groups taking turns."""

    name = "stratified"

    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:  # noqa: ARG002
        return _in_turns(pool, pool.group, limit, rng)


class ClusterQuotaSelector(CountedSelector):
    """Choose at random within each cluster of frames, the clusters taking turns: an equal quota each, while it lasts.

    A frame belongs to the cluster that most of its environments are in (the lower number, if two hold as many); the
    frames without any clustered environment are a class of their own.
    """

    name = "cluster-quota"

    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:  # noqa: ARG002
        return _in_turns(pool, frame_clusters(pool), limit, rng)


def frame_clusters(pool: Pool) -> np.ndarray:
    """Return (F,) the cluster that most environments of each frame are in; -1: none of them is in any."""
    inside = pool.cluster >= 0
    clusters = np.full(pool.frames, -1)
    pairs, counts = np.unique(np.column_stack([pool.owner[inside], pool.cluster[inside]]), axis=0, return_counts=True)
    order = np.lexsort((-pairs[:, 1], counts))  # the last one written stays: the largest, then the lowest number
    clusters[pairs[order, 0]] = pairs[order, 1]
    return clusters


def _in_turns(pool: Pool, classes: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return (limit,) candidates, random within their class, the class that has fewest frames so far coming next.

    Given frames count, so that a set grown in two steps has the quotas of one grown at once. Among classes with as many
    frames the order is drawn once: with a budget of less than one round, none is favoured.
    """
    candidates = rng.permutation(pool.candidates)
    labels, of = np.unique(classes, return_inverse=True)
    turn = np.zeros(len(candidates), np.int64)
    for label in range(len(labels)):
        here = of[candidates] == label
        turn[here] = pool.given[of == label].sum() + np.arange(here.sum())
    place = rng.permutation(len(labels))
    return candidates[np.lexsort((place[of[candidates]], turn))][:limit]
