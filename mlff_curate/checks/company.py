"""Other values in a frame that hold what a label holds: a free energy beside the energy, a virial beside the stress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.finding import Finding
from mlff_curate.checks.units import ENERGY_UNITS
from mlff_curate.data.frames import named_values
from mlff_curate.data.labels import is_label_name, stress_names, usable_labels
from mlff_curate.wording import rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mlff_curate.data.frames import Frame
    from mlff_curate.data.labels import Labels

_ALIKE = 0.1
"""Relative. Smeared occupations and zero-point terms move an energy by less, every unit by more."""
_SAME_FACTOR = 0.02
_ENTROPY = 0.2
"""eV/atom. Electronic entropy parts energy and free energy by less."""

_ABSURD = 1e12
"""eV/atom. No energy is so large in any unit."""


@dataclass(frozen=True)
class Companion:
    """A value that holds what a label holds.

    Attributes
    ----------
    key
        Its name.
    value
        In the form of the label: energy of the cell, (), or stress, (6,) in ASE's order.
    """

    key: str
    value: np.ndarray

    def like(self, label: np.ndarray) -> bool:
        """Tell whether it is the label but for a few percent."""
        return bool(np.abs(self.value - label).max() <= _ALIKE * np.abs(label).max())


def companions(atoms: Atoms, kind: str, besides: list[str]) -> list[Companion]:
    """Return the values of a frame of n atoms that hold what a label holds.

    Parameters
    ----------
    atoms
        The frame.
    kind
        ``energy``: what has "energy" or "energies" in its name, also the sum of the atoms' energies; ``stress``: what
        is named like a stress or a virial. There are none of forces.
    besides
        Names that are known already.
    """
    values = {key: value for key, value in named_values(atoms).items() if key not in besides}
    if kind == "stress":
        same = {key: _stress(atoms, key) for key in stress_names(values)}
    elif kind == "energy":
        same = {key: _total(key, values[key], len(atoms)) for key in values if "energ" in key.lower()}
    else:
        same = {}
    return [Companion(key, v) for key, v in sorted(same.items()) if v is not None and np.isfinite(v).all()]


def _stress(atoms: Atoms, key: str) -> np.ndarray | None:
    return usable_labels(atoms, stress_key=key)[0].stress


def _total(key: str, value: object, n: int) -> np.ndarray | None:
    """Return the energy of the cell that a value says; None: it says none."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        return None
    array = array.astype(float)
    if array.size == 1:
        per_atom = "per_atom" in key.lower().replace("-", "_")
        return np.asarray(array.reshape(()) * (n if per_atom else 1))
    if array.shape != (n,):
        return None
    with np.errstate(over="ignore"):  # what is infinite then is no companion
        return np.asarray(array.sum())


def parted(
    label: np.ndarray, change: Callable[[np.ndarray], np.ndarray], others: list[Companion]
) -> tuple[list[str], list[str]]:
    """Return which values a correction of the label has to change too, and of which that cannot be told.

    Parameters
    ----------
    label
        As it is in the frame, in the form of the companions.
    change
        The correction.
    others
        Of :func:`companions`.

    Returns
    -------
    along, unclear
        Names of those that are what the label is, and of those that are neither that nor what it becomes.
    """
    new = change(label)
    along = [other.key for other in others if other.like(label)]
    return along, [other.key for other in others if not other.like(label) and not other.like(new)]


def energies_apart(frame: Frame, labels: Labels) -> list[Finding]:
    """Find energies of a frame that are in another unit than its energy, or of the opposite sign (``label-energies``).

    Looked at are the names that are known for energies; a ratio that is no unit's is no finding.
    """
    energy, key, n = labels.energy, labels.energy_key, len(frame.atoms)
    if not energy or key is None:
        return []
    found = []
    for other in companions(frame.atoms, "energy", [key]):
        with np.errstate(over="ignore"):
            ratio, gap = float(np.divide(other.value, energy)), abs(float(other.value) - energy) / n
        if not is_label_name(other.key) or gap < _ENTROPY:
            continue
        why = "beyond anything physical" if gap > _ABSURD and abs(energy) < n * _ABSURD else _explained(ratio, n)
        if why is None:
            continue
        message = f"{other.key} is {rounded(ratio, 5)} times {key}: {why}"
        fix = f"find out which one is right; --energy-key {other.key} uses the other"
        found.append(Finding(frame.source, frame.index, other.key, "label-energies", "warning", ratio, message, fix))
    return found


def _explained(ratio: float, n: int) -> str | None:
    sign = ", with the opposite sign" if ratio < 0 else ""
    if abs(ratio + 1) < _SAME_FACTOR:
        return "the opposite sign"
    for name, factor in ENERGY_UNITS.items():
        if abs(abs(ratio) * factor - 1) < _SAME_FACTOR:
            return f"{name} beside eV{sign}"
        if abs(abs(ratio) / factor - 1) < _SAME_FACTOR:
            return f"eV beside {name}{sign}"
    if n > 1 and abs(ratio * n - 1) < _SAME_FACTOR:
        return "an atom's beside the cell's"
    if n > 1 and abs(ratio / n - 1) < _SAME_FACTOR:
        return "the cell's beside an atom's"
    return None
