"""Least squares that a few wrong labels cannot drag.

Iteratively reweighted: the weights begin as Huber's, which have one minimum, and end falling faster, so that what is
far off loses its say (P. J. Huber, E. M. Ronchetti, "Robust Statistics" (2009), chapter 7). A frame whose labels are
off as a whole is weighed as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIDGE = 1e-7
"""Of the mean diagonal of the normal matrix; columns are principal axes of decreasing share."""

PLAIN = 1e-6
"""Of each element of the diagonal, where all labels count alike."""

NORMAL = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""

_ROUNDS = 8
_HUBER_ROUNDS = 4
_LOST = 8.0  # residuals beyond that, in the same units, have none
_FREE = 1.5  # residuals up to so many standard deviations have full weight


@dataclass(frozen=True, eq=False)
class Block:
    """Labels of one kind: R rows of M columns.

    Attributes
    ----------
    rows
        (R, M).
    labels
        (R,); finite.
    frame
        (R,) frame of each row.
    scale
        (R,) what a residual of this row is expected to be, relative to the others of this kind; None: all alike.
    """

    rows: np.ndarray
    labels: np.ndarray
    frame: np.ndarray
    scale: np.ndarray | None = None


def spread(values: np.ndarray) -> float:
    """Return the standard deviation about zero by the median, or by the mean square where more than half are zero."""
    values = np.abs(values)
    some = values[values > 0]
    if len(some) == 0:
        return 0.0
    large = float(np.quantile(values, 0.75)) or float(np.median(some))
    there = values > 1e-9 * large  # the others are zeros, up to rounding
    return NORMAL * float(np.median(values[there] if there.mean() < 0.5 else values))


def robust_fit(blocks: list[Block], rounds: int = _ROUNDS) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Fit coefficients to labels of one or several kinds, each weighted by the scatter that the fit finds for it.

    Parameters
    ----------
    blocks
        One per kind; all with the same M columns.

    Returns
    -------
    coefficients, covariance, scales
        (M,), (M, M) and the residual scale of each kind.
    """
    M = blocks[0].rows.shape[1]
    base = [np.ones(len(b.labels)) if b.scale is None else 1 / b.scale for b in blocks]
    sigma = [max(spread(b.labels * s), 1e-300) for b, s in zip(blocks, base, strict=True)]
    weight = [
        1 / np.maximum(np.abs(b.labels * s) / (3 * sg), 1) ** 2 for b, s, sg in zip(blocks, base, sigma, strict=True)
    ]
    coefficients, inverse = np.zeros(M), np.eye(M)
    for turn in range(rounds):
        normal, right = np.zeros((M, M)), np.zeros(M)
        for block, w, s, sg in zip(blocks, weight, base, sigma, strict=True):
            q = np.sqrt(w) * s / sg
            part = block.rows * q[:, None].astype(block.rows.dtype)
            normal += part.T @ part
            right += part.T @ (block.labels * q).astype(part.dtype)
        normal[np.diag_indices(M)] += RIDGE * np.trace(normal) / M + 1e-300
        inverse = _inverse(normal)
        coefficients = inverse @ right
        for k, (block, s) in enumerate(zip(blocks, base, strict=True)):
            residual = np.abs(block.labels - block.rows @ coefficients) * s
            sigma[k] = max(spread(residual), 1e-6 * sigma[k], 1e-300)
            off = np.maximum(_by_frame(residual, block.frame), 0.5 * residual) / (_FREE * sigma[k])
            weight[k] = 1 / np.maximum(off, 1) ** (1 if turn < _HUBER_ROUNDS else 2)
    return coefficients, inverse, sigma


def plain_fit(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Fit coefficients by least squares, each label weighted by its scale.

    Returns
    -------
    coefficients, covariance
        (M,) and (M, M).
    """
    M = blocks[0].rows.shape[1]
    normal, right, squares, count = np.zeros((M, M)), np.zeros(M), 0.0, 0
    weighted = []
    for block in blocks:
        q = np.ones(len(block.labels)) if block.scale is None else 1 / block.scale
        part, labels = (block.rows * q[:, None]).astype(np.float64), block.labels * q
        weighted.append((part, labels))
        normal += part.T @ part
        right += part.T @ labels
    normal[np.diag_indices(M)] += PLAIN * np.diag(normal) + 1e-12 * float(np.diag(normal).max()) + 1e-300
    inverse = _inverse(normal)
    coefficients = inverse @ right
    for part, labels in weighted:
        squares += float(((labels - part @ coefficients) ** 2).sum())
        count += len(labels)
    return coefficients, inverse * squares / max(count, 1)


def _inverse(normal: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    d = np.sqrt(np.diag(normal))
    scaled = normal / np.outer(d, d)
    for jitter in (0.0, 1e-10, 1e-8, 1e-6):
        try:
            factor = cho_factor(scaled + jitter * np.eye(len(d)))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(cho_solve(factor, np.eye(len(d))) / np.outer(d, d))
    return np.asarray(np.linalg.pinv(scaled) / np.outer(d, d))


def _by_frame(residual: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Root mean square over each row's frame, (R,)."""
    count = np.bincount(frame)
    mean = np.bincount(frame, residual**2, minlength=len(count)) / np.maximum(count, 1)
    return np.asarray(np.sqrt(mean)[frame])


@dataclass(frozen=True)
class Line:
    """A straight line through the origin: labels = slope x predictions.

    Attributes
    ----------
    slope, error
        And its standard error.
    r
        Correlation.
    n
        Points.
    """

    slope: float
    error: float
    r: float
    n: int


def robust_line(x: np.ndarray, y: np.ndarray, frame: np.ndarray | None = None) -> Line:
    """Return the line y = slope x; points are weighed by how far off they are, and by frame where that is given."""
    n = len(x)
    if n < 2 or not x.any() or not y.any():
        return Line(0.0, float("inf"), 0.0, n)
    weight = 1 / np.maximum(np.abs(y) / (3 * max(spread(y), 1e-300)), 1) ** 2
    weight /= np.maximum(np.abs(x) / (3 * max(spread(x), 1e-300)), 1) ** 2
    slope = 0.0
    for turn in range(20):
        slope = float((weight * x * y).sum() / max(float((weight * x * x).sum()), 1e-300))
        residual = np.abs(y - slope * x)
        sigma = max(spread(residual), 1e-12 * spread(y), 1e-300)
        # at last what is far off counts for nothing, or its square would rule the correlation
        off = residual / (_FREE * sigma)
        weight = 1 / np.maximum(off, 1) if turn < 12 else np.where(off > _LOST, 0.0, 1 / np.maximum(off, 1))
    xx, yy = float((weight * x * x).sum()), float((weight * y * y).sum())
    r = float(np.clip((weight * x * y).sum() / max(np.sqrt(xx * yy), 1e-300), -1, 1))
    independent = n if frame is None else len(np.unique(frame))
    error = np.sqrt(max(1 - r * r, 0.0) * yy / max(xx, 1e-300) / max(independent - 1, 1))
    return Line(slope, float(error), r, n)
