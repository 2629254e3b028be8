"""The fewest frames that represent every cluster of environments and every configuration group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from mlff_curate.pruning.problem import Pool


class Floor:
    """Which frames represent what: clusters (their environments) and groups (the frames themselves).

    Only what an eligible or given frame holds can be represented; the rest does not count.

    Parameters
    ----------
    pool
        The frames.

    Attributes
    ----------
    units
        (F, U) incidence of frames and units, 0 or 1: the clusters come first, then the groups.
    clusters
        How many of the units are clusters.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clusters = int(pool.cluster.max(initial=-1)) + 1
        self.units = self._incidence(pool, self.clusters)
        usable = pool.given | pool.eligible
        self.wanted = np.asarray(self.units[usable].sum(axis=0)).ravel() > 0

    @staticmethod
    def _incidence(pool: Pool, clusters: int) -> csr_matrix:
        """Return the (F, U) incidence of frames and units, 0 or 1."""
        from scipy.sparse import csr_matrix

        inside = pool.cluster >= 0
        groups = int(pool.group.max(initial=-1)) + 1
        rows = np.concatenate([pool.owner[inside], np.arange(pool.frames)])
        columns = np.concatenate([pool.cluster[inside], clusters + pool.group])
        matrix = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(pool.frames, clusters + groups))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def _missing(self, kept: np.ndarray) -> np.ndarray:
        """Return (U,) bool, the units that none of the kept frames (F,) bool represents."""
        seen = np.asarray(self.units[kept].sum(axis=0)).ravel() > 0
        missing: np.ndarray = self.wanted & ~seen
        return missing

    def missing(self, kept: np.ndarray) -> Missing:
        """Return what the kept frames (F,) bool do not represent, to be followed while frames are taken."""
        return Missing(self.units, self._missing(kept))

    def fill(self, kept: np.ndarray, limit: int | None = None, prefer: np.ndarray | None = None) -> np.ndarray:
        """Return frames that represent what the kept ones do not, by greedy set cover.

        Parameters
        ----------
        kept
            (F,) bool.
        limit
            At most so many frames.
        prefer
            (F,) rank of each frame; the lowest wins among frames that represent equally many missing units.
        """
        open_units = self._missing(kept).astype(np.int32)
        candidates = np.flatnonzero(self.pool.eligible & ~kept)
        if prefer is not None:
            candidates = candidates[np.argsort(prefer[candidates], kind="stable")]
        units = self.units[candidates]
        news = units @ open_units
        by_unit = units.tocsc()
        chosen: list[int] = []
        while open_units.any() and (limit is None or len(chosen) < limit):
            best = int(news.argmax())
            if news[best] == 0:
                break
            chosen.append(int(candidates[best]))
            for unit in units.indices[units.indptr[best] : units.indptr[best + 1]]:
                if open_units[unit]:
                    open_units[unit] = 0
                    news[by_unit.indices[by_unit.indptr[unit] : by_unit.indptr[unit + 1]]] -= 1
        return np.array(chosen, dtype=np.int64)


class Missing:
    """What is not represented yet.

    Parameters
    ----------
    units
        (F, U) incidence of frames and units.
    open_units
        (U,) bool.
    """

    def __init__(self, units: csr_matrix, open_units: np.ndarray) -> None:
        self._units = units
        self._open = open_units

    @property
    def count(self) -> int:
        """Number of units that are missing."""
        return int(self._open.sum())

    def helped(self) -> np.ndarray:
        """Return (F,) bool, frames that represent anything that is missing."""
        helped: np.ndarray = self._units @ self._open.astype(np.int32) > 0
        return helped

    def take(self, frame: int) -> None:
        """Count what a frame represents as represented."""
        self._open[self._units.indices[self._units.indptr[frame] : self._units.indptr[frame + 1]]] = False
