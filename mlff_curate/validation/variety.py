"""How varied a set of environments is, and how much of another it covers.

Entropy and diversity are those of quests (Schwalbe-Koda, Hamel, Sadigh, Zhou, Lordi, Nat. Commun. 16, 4014 (2025)), on
our scaled descriptors instead of theirs, so that their values can be compared within one run but not with published
ones.
"""

from __future__ import annotations

import numpy as np

from mlff_curate.graphs.similarity import distinct_rows, exact_index

SAMPLE = 2000
"""Environments whose sums are averaged; each sum runs over all environments of the set."""

_BLOCK = 4096


def bandwidth(X: np.ndarray, rng: np.random.Generator) -> float:
    """Return the width of the kernel: the median distance to the nearest different environment.

    Taken over a sample of 2 SAMPLE environments, of which those that agree to five digits count once.

    Parameters
    ----------
    X
        (N, D) float32, all environments.
    rng
        Draws the sample.

    Returns
    -------
    float
        In units of X; 1 where no two environments differ.
    """
    sample = X[_rows(len(X), 2 * SAMPLE, rng)]
    sample = np.ascontiguousarray(sample[distinct_rows(sample)], dtype=np.float32)
    if len(sample) < 2:
        return 1.0
    squared, _ = exact_index(sample).search(sample, 2)
    return float(np.sqrt(np.median(squared[:, 1]))) or 1.0


def entropy_and_diversity(X: np.ndarray, width: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return ``H = -mean_i log(1/N sum_j K_ij)`` and ``D = log sum_i 1 / sum_j K_ij`` in nats.

    ``K_ij = exp(-|x_i - x_j|^2 / (2 h^2))``. H is zero where all environments are the same and log N where all differ;
    D is the logarithm of the number of different environments. Beyond SAMPLE environments, i runs over a sample, and
    the sum of D is scaled up.

    Parameters
    ----------
    X
        (N, D) float32.
    width
        h.
    rng
        Draws the sample.
    """
    N = len(X)
    sample = _rows(N, SAMPLE, rng)
    weight = np.zeros(len(sample))  # sum_j K_ij
    for first in range(0, N, _BLOCK):
        weight += np.exp(-_squared(X[sample], X[first : first + _BLOCK]) / (2 * width**2)).sum(axis=1)
    weight = np.maximum(weight, 1.0)  # each counts itself; rounding may lose a little of it
    return float(-np.log(weight / N).mean()), float(np.log(N / len(sample) * (1.0 / weight).sum()))


def covered(demands: np.ndarray, kept: np.ndarray, radius: float) -> float:
    """Return the share of environments (M, D) that have a kept one (N, D) within a radius; any of 0 to 1."""
    nearest = np.full(len(demands), np.inf)
    for first in range(0, len(kept), _BLOCK):
        nearest = np.minimum(nearest, _squared(demands, kept[first : first + _BLOCK]).min(axis=1))
    # float32 leaves equal environments a little apart
    return float(np.mean(nearest <= radius**2 * (1 + 1e-6)))


def sample_rows(N: int, rng: np.random.Generator) -> np.ndarray:
    """Return ascending indices of at most SAMPLE of N environments."""
    return _rows(N, SAMPLE, rng)


def _rows(N: int, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(N) if most >= N else np.sort(rng.choice(N, most, replace=False))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (A, B) squared distances, in float64: the products cancel between near environments."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = np.einsum("ad,ad->a", a, a)[:, None] + np.einsum("bd,bd->b", b, b) - 2.0 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))
