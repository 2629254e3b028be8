"""Labels that are exactly zero, and cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlff_curate.checks.agreement import KindName
    from mlff_curate.checks.known import Known


@dataclass(frozen=True, eq=False)
class Zeros:
    """Which labels of F frames are exactly zero.

    Attributes
    ----------
    energy, forces, stress
        (F,) bool each; all components of a frame.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray

    def all_of(self, kind: KindName, known: Known) -> bool:
        """Whether there are labels of a kind and all are zero."""
        zero: np.ndarray = getattr(self, kind)
        return bool(zero.any()) and bool((zero == there(known, kind)).all())


def there(known: Known, kind: KindName) -> np.ndarray:
    """(F,) bool: frames that have a label of this kind."""
    if kind == "energy":
        return np.asarray(np.isfinite(known.energy))
    if kind == "stress":
        return np.asarray(np.isfinite(known.stress).all(axis=1))
    return np.asarray(np.isfinite(known.forces[3 * known.offset[:-1]]))


def find_zeros(known: Known) -> Zeros:
    """Find the labels that are exactly zero."""
    largest = np.maximum.reduceat(np.abs(known.forces), 3 * known.offset[:-1])
    return Zeros(known.energy == 0, largest == 0, (known.stress == 0).all(axis=1))


def without(known: Known, zeros: Zeros, free: np.ndarray) -> Known:
    """Return the labels without zeros that may stand for missing ones: a fit is not to learn them.

    Parameters
    ----------
    free
        (F,) bool: frames with force components that symmetry does not keep at zero.
    """
    energy, forces, stress = known.energy.copy(), known.forces.copy(), known.stress.copy()
    energy[zeros.energy] = np.nan
    stress[zeros.stress] = np.nan
    forces[(zeros.forces & free)[known.frame_of_row]] = np.nan
    return replace(known, energy=energy, forces=forces, stress=stress)
