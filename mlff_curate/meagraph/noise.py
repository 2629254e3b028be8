"""Descriptors in units of thermal noise: how large a difference is, seen against that between neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlff_curate.graphs.similarity import nearest_anchors

_ROUNDS = 3
"""Neighbours are searched in the raw descriptor, then in the units found, ...: after three rounds little changes."""
_REWEIGHTINGS = 3
_LEAST = 3.0
"""Axes whose variance over all environments is at least so many times the noise are kept."""
_MOST = 16


@dataclass(frozen=True)
class NoiseUnits:
    """Axes along which environments differ by more than noise, each in units of the noise.

    An environment differs from the mean of its nearest neighbours in the similarity graph by noise: neighbours are
    the same site of the same phase at another moment. With S the covariance of these differences and C that of all
    environments, the axes solve ``C v = ratio S v`` with ``v' S v = 1`` (Fisher's discriminant with neighbourhoods
    for classes; also the principal axes, that is the best linear autoencoder, of descriptors whose noise was made
    white). A distance of 1 is one standard deviation of the noise, whatever the element, descriptor or temperature.

    S is shrunk towards a multiple of the unit matrix (Chen, Wiesel, Eldar, Hero, IEEE Trans. Signal Process. 58, 5016
    (2010), eq. 23), so that few environments in many dimensions do not look free of noise by accident.

    Attributes
    ----------
    mean
        (D,) of the environments.
    axes
        (D, d) in descending order of their ratio.
    rest
        (D, D - d), the axes that were not kept, in noise units too.
    ratio
        (d,) variance over noise.
    noise
        S, (D, D).
    """

    mean: np.ndarray
    axes: np.ndarray
    rest: np.ndarray
    ratio: np.ndarray
    noise: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, species: np.ndarray, neighbours: int, gross: float | None = None) -> NoiseUnits:
        """Measure the noise of descriptors (N, D) with central elements (N,) over so many nearest neighbours.

        Differences longer than ``gross`` times the median one count for no more than that; None: all count in full.
        """
        X = np.asarray(X, dtype=np.float64)
        size = X.shape[1]
        units = cls(X.mean(axis=0), np.eye(size), np.zeros((size, 0)), np.ones(size), np.eye(size))
        for _ in range(_ROUNDS):
            away = _differences(X - units.mean, units.transform(X), species, neighbours)
            units = cls._solve(X, _covariance(away, gross))
        return units

    def spread_over(self, X: np.ndarray) -> NoiseUnits:
        """Return the axes that these (M, D) environments call for: the same noise, but C is theirs.

        The noise must be measured on the data as they are, since the neighbours of the rare are far; but what sets the
        rare apart is an axis only if C is taken from a sample in which the rare is not rare.
        """
        return self._solve(np.asarray(X, dtype=np.float64), self.noise)

    @classmethod
    def _solve(cls, X: np.ndarray, noise: np.ndarray) -> NoiseUnits:
        from scipy.linalg import eigh

        mean = X.mean(axis=0)
        covariance = (X - mean).T @ (X - mean) / len(X)
        # Without any spread, as in a perfect crystal, every direction has the same tiny noise.
        floor = 1e-6 * max(float(np.trace(covariance)) / X.shape[1], 1e-12) * np.eye(X.shape[1])
        ratio, axes = eigh(covariance, noise + floor)
        ratio, axes = ratio[::-1], axes[:, ::-1]
        count = int(np.clip((ratio >= _LEAST).sum(), min(2, X.shape[1]), _MOST))
        # An axis has no sign of its own: fix it, so that equal data give equal bytes on any LAPACK.
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(ratio))] < 0, -1.0, 1.0)
        kept, rest = np.ascontiguousarray(axes[:, :count]), np.ascontiguousarray(axes[:, count:])
        return cls(mean, kept, rest, ratio[:count], noise)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 descriptors in noise units."""
        out: np.ndarray = ((np.asarray(X, dtype=np.float64) - self.mean) @ self.axes).astype(np.float32)
        return out

    def residual(self, X: np.ndarray) -> np.ndarray:
        """Return how far environments (N, D) are from the mean along the axes that were not kept, (N,) float32.

        Along these the training data hardly differ by more than noise: who does is a stranger to them.
        """
        off = (np.asarray(X, dtype=np.float64) - self.mean) @ self.rest
        out: np.ndarray = np.sqrt(np.einsum("nd,nd->n", off, off)).astype(np.float32)
        return out


def _differences(X: np.ndarray, seen: np.ndarray, species: np.ndarray, neighbours: int) -> np.ndarray:
    """Return (M, D) differences of X from the mean over its k nearest in ``seen``, with the variance of one of them.

    Left out are environments that are the only one of their element.
    """
    near = nearest_anchors(seen, species, seen, species, neighbours + 1)
    there = np.isfinite(near.distance[:, 1:])
    count = there.sum(axis=1)
    alone = count == 0
    away = np.empty_like(X)
    for first in range(0, len(X), 4096):  # (N, k, D) rows at once would be the largest array of the whole model
        part = slice(first, first + 4096)
        sums = np.einsum("nk,nkd->nd", there[part].astype(float), X[near.index[part, 1:]])
        away[part] = X[part] - sums / np.maximum(count[part], 1)[:, None]
    # the mean of k neighbours has noise of its own: var(x - mean) = (1 + 1 / k) var(x)
    scaled: np.ndarray = (away * np.sqrt(count / (count + 1.0))[:, None])[~alone]
    return scaled


def _covariance(away: np.ndarray, gross: float | None) -> np.ndarray:
    """Return the covariance (D, D) of differences (M, D), gross ones counting for no more than a large ordinary one.

    Huber's weights (Robust Statistics, 1981, sect. 8): a difference longer than so many times the median one, in units
    of the covariance itself, is shortened to that. A defect's neighbours are far: they must not pass for noise.
    """
    S = _shrunk(away.T @ away / max(len(away), 1), len(away))
    if gross is None or len(away) == 0 or not S.any():
        return S
    for _ in range(_REWEIGHTINGS):
        squared = np.einsum("md,md->m", away @ np.linalg.pinv(S, hermitian=True), away)
        weight = np.minimum(1.0, gross**2 * np.median(squared) / np.maximum(squared, np.finfo(float).tiny))
        S = _shrunk((away * weight[:, None]).T @ away / len(away), len(away))
    return S


def _shrunk(S: np.ndarray, samples: int) -> np.ndarray:
    """Return a covariance (D, D) of so many samples, shrunk towards its mean variance."""
    size, trace, square = len(S), float(np.trace(S)), float((S * S).sum())
    if samples == 0 or trace == 0:
        return S
    above = (1.0 - 2.0 / size) * square + trace**2
    below = (samples + 1.0 - 2.0 / size) * (square - trace**2 / size)
    share = 1.0 if below <= 0 else min(1.0, above / below)
    return (1.0 - share) * S + share * trace / size * np.eye(size)
