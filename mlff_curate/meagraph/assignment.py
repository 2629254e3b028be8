"""What a fitted model says about environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Assignment:
    """Embeddings, clusters and outlier scores of N environments.

    Attributes
    ----------
    embedding
        (N, C) float32.
    cluster
        (N,) int64; -1: far from all that the model was trained on.
    outlier_score
        (N,) float32: 1 is ordinary, larger is rarer.
    """

    embedding: np.ndarray
    cluster: np.ndarray
    outlier_score: np.ndarray
