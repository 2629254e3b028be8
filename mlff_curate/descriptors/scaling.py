"""Descriptor columns to comparable units and few axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_KEPT_VARIANCE = 0.9999
_MOST_AXES = 64


@dataclass(frozen=True)
class Scaling:
    """Standardise the columns of a descriptor, then turn to its principal axes.

    Distances between scaled descriptors are those of the standardised columns but for the variance that the axes
    left out hold, at most 0.01 % unless 64 axes do not suffice.

    Attributes
    ----------
    mean
        (D,) column means.
    axes
        (D, d) principal axes of the standardised columns, each row divided by its column's standard deviation.
    variance
        (d,) variance along each axis, descending; the D standardised columns have 1 each.
    """

    mean: np.ndarray
    axes: np.ndarray
    variance: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray) -> Scaling:
        """Take the constants from descriptors (N, D); columns that do not vary are left out."""
        mean = X.mean(axis=0, dtype=np.float64)
        centred = X - mean
        deviation = np.sqrt(np.mean(centred**2, axis=0))
        noise = 1e-6 * float(np.abs(X).max(initial=0.0))  # float32 rounding of a column that should be constant
        varies = deviation > noise
        inverse = np.zeros_like(deviation)
        inverse[varies] = 1.0 / deviation[varies]
        covariance = (centred * inverse).T @ (centred * inverse) / max(len(X), 1)
        variance, axes = np.linalg.eigh(covariance)
        variance, axes = np.maximum(variance[::-1], 0.0), axes[:, ::-1]
        share = np.cumsum(variance) / max(float(variance.sum()), np.finfo(float).tiny)
        count = min(int(np.searchsorted(share, _KEPT_VARIANCE)) + 1, _MOST_AXES, len(variance))
        axes = axes[:, :count]
        # An axis has no sign of its own: fix it, so that equal data give equal bytes on any LAPACK.
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)
        return cls(mean, axes * inverse[:, None], variance[:count])

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 scaled descriptors."""
        out = np.empty((len(X), self.axes.shape[1]), np.float32)
        for first in range(0, len(X), 65536):  # a float64 copy of everything would double the memory
            part = slice(first, first + 65536)
            out[part] = (X[part] - self.mean) @ self.axes
        return out
