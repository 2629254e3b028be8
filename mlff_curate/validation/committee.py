"""Several potentials as one: their mean, how far they disagree, and whether that tells where they are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from mlff_curate.cgcnn.potential import Predicted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.data.labels import Labels

_LEAST_TO_RANK = 3
"""Pairs. Two are always in the same order or the opposite one."""


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Standard deviations over K potentials, of F frames with N atoms in all.

    Attributes
    ----------
    energy
        (F,) of the energy per atom, eV.
    forces
        (N,) of the force on an atom, eV/Angstrom: the root of the summed variances of its components.
    """

    energy: np.ndarray
    forces: np.ndarray


def mean_prediction(predictions: Sequence[Predicted]) -> Predicted:
    """Return the means of what K potentials say of the same frames."""
    return Predicted(
        *(
            np.mean([getattr(one, name) for one in predictions], axis=0)
            for name in ("energy", "energies", "forces", "stress")
        )
    )


def disagreement(predictions: Sequence[Predicted], n_atoms: np.ndarray) -> Disagreement:
    """Return how far two potentials or more are apart.

    Parameters
    ----------
    predictions
        Of K potentials, for the same F frames.
    n_atoms
        (F,) atoms of each.
    """
    energy = np.array([one.energy for one in predictions]) / n_atoms
    forces = np.array([one.forces for one in predictions])
    return Disagreement(energy.std(axis=0, ddof=1), np.sqrt(forces.var(axis=0, ddof=1).sum(axis=1)))


def disagreement_and_error(
    apart: Disagreement, mean: Predicted, labels: Sequence[Labels], n_atoms: np.ndarray
) -> dict[str, float]:
    """Sum up a committee's disagreement, and how it goes with the error of its mean.

    Parameters
    ----------
    apart
        See :func:`disagreement`.
    mean
        See :func:`mean_prediction`.
    labels
        (F,).
    n_atoms
        (F,).

    Returns
    -------
    dict
        ``energy_mean`` and ``energy_max`` of the disagreement in eV/atom, over frames; ``force_mean`` and ``force_max``
        in eV/Angstrom, over atoms. ``energy_spearman``: Spearman's rank correlation of a frame's disagreement and the
        size of its error per atom; ``force_spearman``: of an atom's and the length of the error of its force. Over
        what has labels; nan where less than three do, or all of one of the two are equal.
    """
    first = np.concatenate([[0], np.cumsum(n_atoms)])
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"energy": [], "force": []}
    for i, label in enumerate(labels):
        rows = slice(first[i], first[i + 1])
        if label.energy is not None:
            off = np.abs(mean.energy[[i]] - label.energy) / n_atoms[i]
            pairs["energy"].append((apart.energy[[i]], off))
        if label.forces is not None:
            pairs["force"].append((apart.forces[rows], np.linalg.norm(mean.forces[rows] - label.forces, axis=1)))
    out = {}
    for kind, values in (("energy", apart.energy), ("force", apart.forces)):
        out[f"{kind}_mean"] = float(values.mean())
        out[f"{kind}_max"] = float(values.max())
        out[f"{kind}_spearman"] = _rank_correlation(pairs[kind])
    return out


def _rank_correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    if not pairs:
        return math.nan
    one, other = (np.concatenate(values) for values in zip(*pairs, strict=True))
    if len(one) < _LEAST_TO_RANK or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(one, other).statistic)
