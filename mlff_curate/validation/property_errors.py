"""How far predicted properties are from the true ones."""

from __future__ import annotations

import numpy as np


def regression_errors(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return mean absolute and root mean square error, ``mae`` and ``rmse``, in the target's unit.

    Parameters
    ----------
    predicted, true
        (F,), F at least 1.
    """
    error = predicted - true
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}


def classification_errors(probability: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return ``accuracy``, at a probability of one half, and ``auc``, not a number where there is but one class.

    Parameters
    ----------
    probability
        (F,) of class 1; F at least 1.
    true
        (F,) 0 or 1.
    """
    return {
        "accuracy": float(((probability > 0.5) == (true > 0.5)).mean()),
        "auc": area_under_curve(probability, true),
    }


def area_under_curve(probability: np.ndarray, true: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a frame of class 1 has the higher probability; ties count half."""
    from scipy.stats import rankdata

    positive = true > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rankdata(probability)[positive].sum() - n * (n + 1) / 2) / (n * m))
