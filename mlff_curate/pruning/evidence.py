"""Why each frame stayed or went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlff_curate.pruning.problem import Pool

_BLOCK = 1024


@dataclass(frozen=True)
class Representation:
    """The kept frame nearest to each frame.

    Attributes
    ----------
    frame
        (F,) index of that frame; -1 if none is kept.
    distance
        (F,) distance between mean and standard deviation of the two frames' environments.
    """

    frame: np.ndarray
    distance: np.ndarray


def represent(pool: Pool, kept: np.ndarray) -> Representation:
    """Find the nearest kept frame of every frame.

    Parameters
    ----------
    pool
        F frames.
    kept
        (F,) bool, given frames included.
    """
    frame = np.full(pool.frames, -1)
    distance = np.full(pool.frames, np.inf)
    candidates = np.flatnonzero(kept)
    if len(candidates) == 0:
        return Representation(frame, distance)
    origin = pool.frame_vectors.mean(axis=0, dtype=np.float64)
    supply = pool.frame_vectors[candidates] - origin
    squares = (supply**2).sum(axis=1)
    for first in range(0, pool.frames, _BLOCK):
        block = pool.frame_vectors[first : first + _BLOCK] - origin
        squared = squares - 2.0 * block @ supply.T
        nearest = squared.argmin(axis=1)
        frame[first : first + len(block)] = candidates[nearest]
        exact = ((block - supply[nearest]) ** 2).sum(axis=1)
        distance[first : first + len(block)] = np.sqrt(exact)
    return Representation(frame, distance)
