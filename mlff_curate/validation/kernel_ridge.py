"""Kernel ridge regression of a number of each atom on features of each atom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.descriptors.scaling import Standard
from mlff_curate.validation.families import inner_split

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_ATOMS = 4_000
"""Time grows with the cube of their number and memory with its square: 4 000 take about ten seconds and 0.8 GB."""
LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Times the median distance."""
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

_BLOCK = 4_096


@dataclass(frozen=True, eq=False)
class KernelRidge:
    """A sum of Gaussians around atoms that were learned from.

    Attributes
    ----------
    standard
        What features are measured in.
    atoms
        (M, D) standardised features.
    weights
        (M,) of the Gaussians, in units of the target.
    mean
        Of the target; far from all atoms this is what is predicted.
    length
        Of the Gaussians, in standardised features.
    ridge
        Added to the diagonal of the kernel, whose own is 1.
    """

    standard: Standard
    atoms: np.ndarray
    weights: np.ndarray
    mean: float
    length: float
    ridge: float

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        frame: np.ndarray,
        family: np.ndarray | None = None,
        *,
        seed: int = 0,
        most: int = MOST_ATOMS,
        lengths: Sequence[float] = LENGTHS,
        ridges: Sequence[float] = RIDGES,
    ) -> KernelRidge:
        """Fit; length and ridge are those with the least mean absolute error on a fifth of the frames.

        The kernel is exp(-|x - x'|^2 / (2 length^2)) (C. Saunders, A. Gammerman, V. Vovk, ICML 1998); lengths are
        multiples of the median distance of two atoms (D. Garreau, W. Jitkrittum, M. Kanagawa, arXiv 1707.07269).

        Parameters
        ----------
        X, y
            (N, D) features and (N,) target.
        frame
            (N,) the number of each atom's frame.
        family
            (N,) that of its family of frames, if more than one frame is to be on the same side of the inner split.
        seed
            Of the atoms that are drawn and of the inner split.
        most
            Atoms that are learned from. Of more, each frame gives one atom in turn until there are as many.
        lengths, ridges
            What is tried.
        """
        drawn = draw_evenly(frame, most, np.random.default_rng([seed, 0]))
        standard = Standard.of(X[drawn])
        Z, target = standard(X[drawn]), y[drawn].astype(np.float64)
        learned, held_out = inner_split((frame if family is None else family)[drawn], seed)
        squared = _squared(Z, Z)
        median = _median(squared) ** 0.5 or 1.0
        best = (np.inf, lengths[0] * median, ridges[-1])
        for length in [share * median for share in lengths] if len(held_out) else ():
            kernel = np.exp(-0.5 * squared / length**2)
            own, other = kernel[np.ix_(learned, learned)], kernel[np.ix_(held_out, learned)]
            mean = float(target[learned].mean())
            for ridge in ridges:
                weights = _solve(own, target[learned] - mean, ridge)
                error = float(np.abs(mean + other @ weights - target[held_out]).mean())
                best = min(best, (error, length, ridge))
        _, length, ridge = best
        mean = float(target.mean())
        weights = _solve(np.exp(-0.5 * squared / length**2), target - mean, ridge)
        return cls(standard, Z, weights, mean, length, ridge)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the target of atoms with features (N, D), (N,)."""
        parts = [np.zeros(0)]
        for start in range(0, len(X), _BLOCK):
            squared = _squared(self.standard(X[start : start + _BLOCK]), self.atoms)
            parts.append(self.mean + np.exp(-0.5 * squared / self.length**2) @ self.weights)
        return np.concatenate(parts)


def draw_evenly(frame: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of at most so many atoms, ascending: each frame, (N,) numbers, gives one in turn."""
    if len(frame) <= most:
        return np.arange(len(frame))
    order = rng.permutation(len(frame))
    by_frame = order[np.argsort(frame[order], kind="stable")]
    _, first, counts = np.unique(frame[by_frame], return_index=True, return_counts=True)
    turn = np.empty(len(frame), np.int64)
    turn[by_frame] = np.arange(len(frame)) - np.repeat(first, counts)
    return np.sort(order[np.argsort(turn[order], kind="stable")][:most])


def _squared(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.square(A).sum(axis=1)[:, None] + np.square(B).sum(axis=1) - 2.0 * (A @ B.T)
    np.maximum(out, 0.0, out=out)
    return out


def _median(squared: np.ndarray) -> float:
    """Return the median off the diagonal that is not zero; 0 if all are."""
    some = squared[np.triu_indices(len(squared), 1)] if len(squared) < 1_000 else squared[::7, 1::7].ravel()
    positive = some[some > 0]
    return float(np.median(positive)) if len(positive) else 0.0


def _solve(kernel: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    padded = kernel.copy()
    padded[np.diag_indices_from(padded)] += ridge
    out: np.ndarray = cho_solve(cho_factor(padded, lower=True, overwrite_a=True), target)
    return out
