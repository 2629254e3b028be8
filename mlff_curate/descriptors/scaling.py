"""Descriptor columns to comparable units and few axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_KEPT_VARIANCE = 0.9999
_MOST_AXES = 64
_EXTREME = 3.0
"""Environments this many times farther from the mean than the median one are extremes: no phase of a real set is,
but crushed and exploded cells are."""
_TRIMS = 3
_LEAST_SPREAD = 0.02
"""Spread of a column among the ordinary environments over that of all, at least: where nearly all are one perfect
crystal, what differs from it must stay visible."""
_CONSTANT = 1e-6
"""Spread of a column over the largest entry that is float32 rounding."""


@dataclass(frozen=True, eq=False)
class Standard:
    """Columns to mean 0 and standard deviation 1; those that do not vary become 0.

    Attributes
    ----------
    mean, spread
        (D,) column means and standard deviations.
    inverse
        (D,) one over the second; 0 for columns that do not vary.
    """

    mean: np.ndarray
    spread: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, largest: float | None = None) -> Standard:
        """Take them from features (N, D).

        Parameters
        ----------
        X
            Features.
        largest
            Entry whose float32 rounding is no variation of a column; None: the largest of the column itself.
        """
        X = X.astype(np.float64)
        spread = X.std(axis=0)
        varies = spread > _CONSTANT * (np.abs(X).max(axis=0) if largest is None else largest)
        return cls(X.mean(axis=0), spread, np.divide(1.0, spread, out=np.zeros_like(spread), where=varies))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return standardised features, (N, D)."""
        out: np.ndarray = (X - self.mean) * self.inverse
        return out


@dataclass(frozen=True)
class Scaling:
    """Standardise the columns of a descriptor, draw in the extremes, turn to principal axes.

    Columns are standardised by the mean and standard deviation of the ordinary environments, those within three times
    the median distance from the mean. A vector z longer than that, ``|z| > r``, is shortened to the length
    ``r (1 + log(|z| / r))``: a few crushed cells would else set the scale in which all others look alike. Distances
    between ordinary environments are those of the standardised columns but for the variance that the axes left out
    hold, at most 0.01 % unless 64 axes do not suffice.

    Attributes
    ----------
    mean
        (D,) column means.
    inverse
        (D,) one over the columns' standard deviation; 0 for columns that do not vary.
    radius
        r, the length beyond which vectors are shortened.
    axes
        (D, d) principal axes of the standardised, shortened vectors.
    """

    mean: np.ndarray
    inverse: np.ndarray
    radius: float
    axes: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, *, draw_in: bool = True) -> Scaling:
        """Take the constants from descriptors (N, D); columns that do not vary are left out.

        With ``draw_in`` off, all environments count as ordinary and none is shortened.
        """
        X = X.astype(np.float64)
        of_all = Standard.of(X, float(np.abs(X).max(initial=0.0)))  # columns are sums of one size, and share rounding
        ordinary, radius = np.ones(len(X), bool), 0.0
        mean, inverse = of_all.mean, of_all.inverse
        for _ in range(_TRIMS if draw_in else 0):
            mean = X[ordinary].mean(axis=0)
            deviation = np.maximum(X[ordinary].std(axis=0), _LEAST_SPREAD * of_all.spread)
            inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=of_all.inverse > 0)
            length = np.linalg.norm((X - mean) * inverse, axis=1)
            radius = _EXTREME * float(np.median(length))
            ordinary = length <= radius
        plain = cls(mean, inverse, radius, np.eye(X.shape[1]))
        standard = plain._standardise(X)
        variance, axes = np.linalg.eigh(standard.T @ standard / len(X))
        variance, axes = np.maximum(variance[::-1], 0.0), axes[:, ::-1]
        share = np.cumsum(variance) / max(float(variance.sum()), np.finfo(float).tiny)
        count = min(int(np.searchsorted(share, _KEPT_VARIANCE)) + 1, _MOST_AXES, len(variance))
        axes = axes[:, :count]
        # An axis has no sign of its own: fix it, so that equal data give equal bytes on any LAPACK.
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)
        # rows in a row, as a stored model has them: a product has other bits with columns in a row
        return cls(mean, inverse, radius, np.ascontiguousarray(axes))

    def _standardise(self, X: np.ndarray) -> np.ndarray:
        standard: np.ndarray = (X - self.mean) * self.inverse
        if self.radius > 0:
            ratio = np.maximum(np.linalg.norm(standard, axis=1, keepdims=True) / self.radius, 1.0)
            standard *= (1.0 + np.log(ratio)) / ratio
        return standard

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 scaled descriptors."""
        out = np.empty((len(X), self.axes.shape[1]), np.float32)
        for first in range(0, len(X), 65536):  # a float64 copy of everything would double the memory
            part = slice(first, first + 65536)
            out[part] = self._standardise(X[part]) @ self.axes
        return out
