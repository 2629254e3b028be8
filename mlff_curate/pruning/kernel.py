"""A kernel between environments as explicit features, so that sums over a frame are sums of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

WAVES = 400
"""Random waves in all, shared among the views."""


@dataclass(frozen=True)
class View:
    """Features of one view of the environments; see :class:`KernelFeatures`.

    Attributes
    ----------
    mean
        (d,) of the descriptors.
    inverse
        One over their root mean square distance from the mean; 0 if all are equal.
    waves
        (d, K) wave vectors, in units of ``inverse``.
    phase
        (K,).
    """

    mean: np.ndarray
    inverse: float
    waves: np.ndarray
    phase: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, waves: int, rng: np.random.Generator) -> View:
        """Take units from descriptors (N, d) and draw the waves."""
        mean = X.mean(axis=0, dtype=np.float64)
        variance = float(np.einsum("nd,nd->", X, X, dtype=np.float64) / len(X) - mean @ mean)
        inverse = 1.0 / np.sqrt(variance) if variance > 1e-12 * float(mean @ mean) else 0.0
        vectors = rng.normal(size=(X.shape[1], waves)).astype(np.float32)
        phase = rng.uniform(0.0, 2.0 * np.pi, waves).astype(np.float32)
        return cls(mean.astype(np.float32), float(inverse), vectors, phase)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the features (N, d + K) of descriptors (N, d)."""
        y = (X - self.mean) * np.float32(self.inverse)
        waves = y @ self.waves
        waves += self.phase
        np.cos(waves, out=waves)
        waves *= np.float32(np.sqrt(2.0 / max(len(self.phase), 1)))
        return np.concatenate([y, waves], axis=1)


@dataclass(frozen=True)
class KernelFeatures:
    """Vectors whose products are a kernel between environments.

    The kernel is the mean over the views of ``x.y + exp(-|x - y|^2 / 2)``, with each view in units of the root mean
    square distance of its environments from their mean: a linear part for trends that go on beyond the data, and a
    Gaussian for what is local. The Gaussian is a sum over random waves (Rahimi and Recht, NIPS 2007, eq. 1).

    Attributes
    ----------
    views
        One per descriptor of the environments.
    """

    views: tuple[View, ...]

    @classmethod
    def fit(cls, views: Sequence[np.ndarray], rng: np.random.Generator) -> KernelFeatures:
        """Take units from the views, (N, d) each, and draw WAVES waves in all."""
        return cls(tuple(View.fit(X, WAVES // len(views), rng) for X in views))

    @property
    def size(self) -> int:
        """D."""
        return sum(sum(view.waves.shape) for view in self.views)

    def transform(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) float32 features of N environments."""
        parts = [view.transform(X) for view, X in zip(self.views, views, strict=True)]
        features: np.ndarray = np.concatenate(parts, axis=1)
        features *= np.float32(1.0 / np.sqrt(len(self.views)))
        return features
