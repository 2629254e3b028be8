"""Whether the forces on the atoms of a frame sum to zero, as they must without an outer field.

What electronic-structure codes leave is a property of their settings, so a frame is judged against the others; only a
remainder that matters for a fit is told of a whole set. Net forces of 1 meV/Angstrom per atom and more go with errors
of single components that can be far larger (Kuryla, Berger, Csanyi, Michaelides, arXiv 2510.19774 (2025)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlff_curate.checks.known import Known

WORTH_KNOWING = 1e-3
"""eV/Angstrom per atom; the source above."""

TOO_MUCH = 1e-2
"""eV/Angstrom per atom: of the order of what fitted force fields are off by."""

TIMES_USUAL = 20.0
"""A frame stands out if its remainder is so many times that of nineteen in twenty others."""


@dataclass(frozen=True, eq=False)
class Balance:
    """Net forces of F frames.

    Attributes
    ----------
    net
        (F,) norm of the sum of the forces over the atoms, eV/Angstrom; nan: no forces.
    usual
        What one atom adds to it as a rule, as if they added at random: the median of net / sqrt(n).
    whole
        All frames together have a remainder worth telling.
    frames
        Those that stand out, ascending.
    """

    net: np.ndarray
    usual: float
    whole: bool
    frames: np.ndarray


def judge_balance(known: Known) -> Balance:
    """Sum the forces of F frames and find those whose sum is not zero for what is usual here."""
    n = known.n_atoms
    sums = np.add.reduceat(known.forces.reshape(-1, 3), known.offset[:-1], axis=0)
    net = np.linalg.norm(sums, axis=1)
    there = np.isfinite(net)
    if not there.any():
        return Balance(net, 0.0, False, np.empty(0, dtype=int))
    per_root = net / np.sqrt(n)
    usual = float(np.median(per_root[there]))
    most = float(np.quantile(per_root[there], 0.9))
    matters = there & (net > WORTH_KNOWING * n)
    # forces of one frame are printed with so many digits: symmetric frames have no remainder, others that of rounding
    whole = bool(np.mean(matters[there]) > 0.5)
    out = matters & (net > TOO_MUCH) & (per_root > TIMES_USUAL * (usual if whole else min(most, 10 * usual + 1e-4)))
    return Balance(net, usual, whole, np.flatnonzero(out))
