"""Radial distribution functions, and how alike two are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.neighbours import neighbour_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Distances between all pairs of atoms of some frames, up to a radius.

    Attributes
    ----------
    edges
        (B + 1,) of the bins, Angstrom.
    counts
        (B,) pairs in each, over all frames; a pair counts from both of its atoms.
    ideal
        (B,) what an ideal gas of the same densities would have.
    """

    edges: np.ndarray
    counts: np.ndarray
    ideal: np.ndarray

    @property
    def r(self) -> np.ndarray:
        """Middles of the bins, (B,) Angstrom."""
        return np.asarray(0.5 * (self.edges[1:] + self.edges[:-1]))

    @property
    def g(self) -> np.ndarray:
        """The radial distribution function, (B,): 1 for an ideal gas."""
        return np.asarray(self.counts / self.ideal)


def pair_distances(frames: Sequence[Atoms], *, radius: float, width: float) -> PairDistances:
    """Count pairs by their distance, periodic images included, so that cells may be smaller than the radius.

    Parameters
    ----------
    frames
        Periodic in three directions.
    radius
        Angstrom, up to which.
    width
        Of a bin, Angstrom; the last bin ends at or beyond the radius.
    """
    bins = max(1, int(np.ceil(radius / width - 1e-9)))
    edges = np.arange(bins + 1) * width
    counts = np.zeros(bins)
    ideal = np.zeros(bins)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    for atoms in frames:
        distances = np.linalg.norm(neighbour_list([atoms], float(edges[-1])).vector, axis=1)
        counts += np.histogram(distances, edges)[0]
        ideal += len(atoms) * len(atoms) / atoms.get_volume() * shells
    return PairDistances(edges, counts, ideal)


def overlap(one: PairDistances, other: PairDistances) -> float:
    """Return the area that two distributions of distances share, in [0, 1]; 1: they are the same.

    Each is the share of pairs in each bin, g(r) r^2 but for a factor, with area 1; of the two the smaller value counts.
    It is one minus their distance in total variation.
    """
    p, q = one.counts / max(one.counts.sum(), 1.0), other.counts / max(other.counts.sum(), 1.0)
    return float(np.minimum(p, q).sum())
