"""Which frames look like a frame, and whether it lies among them or beyond."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LOOK_ALIKES = 14
"""Frames that a residual is measured by."""

AMONG = 2.0
"""A frame that lies between others counts as no further off than that: in units of its look-alikes' own distances."""

FEWEST_BEYOND = 3
"""Frames more compressed, or more stretched, without which a frame is an end, if no look-alike has its volume."""

_OUTSIDE = 0.02  # of a volume
_MOST_BEHIND = 2_000  # frames looked among for one that lies behind another
_BEHIND, _WITHIN = 0.7, 3.0  # cosine, and distance over that of the closest
_OPPOSITE = -0.5  # cosine between two look-alikes: series are bent where they pass a crowd by
_ITSELF = 0.05  # of the distance to the closest: less is no distance
_COPIES = 0.1  # of the median distance to look-alikes: no frame has a smaller one
_CLOSEST = 3  # look-alikes that say where the others are
_AT_ONCE = 1_000


def nearest(features: np.ndarray, among: np.ndarray, k: int, *, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices of the k nearest, (F, k) each.

    Parameters
    ----------
    features, among
        (F, d) of frames, and (G, d) of those that they are compared with.
    own
        They are the same; a frame is no neighbour of itself.
    """
    from scipy.spatial import cKDTree

    k = min(k, len(among) - int(own))
    distance, index = cKDTree(among).query(features, k=k + int(own))
    if own:
        at = np.arange(len(features))[:, None]
        self_last = np.argsort(index == at, axis=1, kind="stable")[:, :k]  # a copy may come before the frame itself
        distance, index = np.take_along_axis(distance, self_last, 1), np.take_along_axis(index, self_last, 1)
    return distance.reshape(len(features), -1), index.reshape(len(features), -1)


def crowding(features: np.ndarray) -> np.ndarray:
    """(F,) median distance to the look-alikes; copies of each other count as near, not as one."""
    distance, _ = nearest(features, features, LOOK_ALIKES, own=True)
    middle = np.asarray(np.median(distance, axis=1))
    return np.asarray(np.maximum(middle, _COPIES * float(np.median(middle))))


def beyond(
    features: np.ndarray, among: np.ndarray, index: np.ndarray, distance: np.ndarray, crowded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tell how far frames are from their look-alikes, and which of them nothing lies behind.

    What ends a series is an extrapolation; what is between a crowd and the rest of a series is none.

    Parameters
    ----------
    features, among
        (F, d) of frames, and (G, d) of those that they are compared with.
    index, distance
        (F, k) look-alikes among these.
    crowded
        (F, k) how far those are from their own look-alikes.

    Returns
    -------
    far, end
        (F,) in units of those distances, 1 or more, and bool.
    """
    middle = np.median(distance, axis=1)
    far = np.maximum(middle / np.maximum(np.median(crowded, axis=1), 1e-12), 1.0)
    end = np.ones(len(features), dtype=bool)
    some = among[:: 1 + len(among) // _MOST_BEHIND]
    for start in range(0, len(features), _AT_ONCE):
        here, at = features[start : start + _AT_ONCE], index[start : start + _AT_ONCE]
        towards = among[at[:, :_CLOSEST]].mean(axis=1) - here
        towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)
        along = towards @ some.T - (towards * here).sum(axis=1, keepdims=True)
        squares = (some**2).sum(axis=1) + (here**2).sum(axis=1)[:, None] - 2 * here @ some.T
        apart = np.sqrt(np.maximum(squares, 0))
        close = distance[start : start + _AT_ONCE, :_CLOSEST].max(axis=1)[:, None]
        # a frame does not lie behind itself, nor do its copies
        behind = (along < -np.maximum(_BEHIND * apart, _ITSELF * close)) & (apart < _WITHIN * close)
        between = _are_opposite(among[at] - here[:, None], distance[start : start + _AT_ONCE], close)
        end[start : start + _AT_ONCE] = ~(behind.any(axis=1) | between)
    return np.where(end, far, np.minimum(far, AMONG)), end


def _are_opposite(arms: np.ndarray, length: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Tell frames with two look-alikes on opposite sides, as where a series passes a crowd by; (A, k, d), (A, k)."""
    near = (length < _WITHIN * close) & (length > _ITSELF * close)
    unit = arms / np.maximum(length, 1e-12)[:, :, None] * near[:, :, None]
    return np.asarray((unit @ unit.transpose(0, 2, 1) < _OPPOSITE).any(axis=(1, 2)))


def outermost(volume: np.ndarray, among: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Tell frames that are more compressed or more stretched than all others but a few, (F,).

    Parameters
    ----------
    volume, among
        (F,) and (G,) volumes per atom; nan: none, and no end.
    index
        (F, k) look-alikes among these.
    """
    known = np.sort(among[np.isfinite(among)])
    smaller, larger = volume * (1 - _OUTSIDE), volume * (1 + _OUTSIDE)
    below = np.searchsorted(known, smaller) < FEWEST_BEYOND
    above = len(known) - np.searchsorted(known, larger) < FEWEST_BEYOND
    with np.errstate(invalid="ignore"):
        apart = ~(np.abs(among[index] - volume[:, None]) < _OUTSIDE * volume[:, None]).any(axis=1)
    return np.asarray(np.isfinite(volume) & apart & (below | above))


@dataclass(frozen=True, eq=False)
class Company:
    """Look-alikes of A frames.

    Attributes
    ----------
    index
        (A, k) among the frames learned from.
    far
        (A,) how far these are, in units of their own distances.
    end
        (A,) bool: nothing lies behind the frame.
    """

    index: np.ndarray
    far: np.ndarray
    end: np.ndarray


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Finds look-alikes among those of the frames learned from that have a label, once for each such subset.

    Attributes
    ----------
    features
        (F, d) of the frames that are asked for.
    learned
        (G, d) of those learned from.
    crowded
        (G,) how far these are from their own look-alikes.
    own
        The frames asked for are those learned from.
    """

    features: np.ndarray
    learned: np.ndarray
    crowded: np.ndarray
    own: bool
    _known: dict[bytes, Company] = field(default_factory=dict)

    @classmethod
    def of(cls, learned: np.ndarray) -> Neighbours:
        """Compare frames with each other."""
        return cls(learned, learned, crowding(learned), own=True)

    def others(self, features: np.ndarray) -> Neighbours:
        """Compare other frames with the same."""
        return Neighbours(features, self.learned, self.crowded, own=False)

    def among(self, there: np.ndarray) -> Company:
        """Return the look-alikes among the frames `there`: of these themselves, or of all others that are asked for."""
        key = there.tobytes()
        if key not in self._known:
            k = max(1, min(LOOK_ALIKES, len(there) // 3))
            asked = self.features[there] if self.own else self.features
            distance, index = nearest(asked, self.learned[there], k, own=self.own)
            far, end = beyond(asked, self.learned[there], index, distance, self.crowded[there[index]])
            self._known[key] = Company(there[index], far, end)
        return self._known[key]
