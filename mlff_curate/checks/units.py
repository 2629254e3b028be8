"""Units and conventions that labels are often in, and what undoes them. Factors are ASE's (CODATA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units

if TYPE_CHECKING:
    from typing import Literal

_EV_PER_HARTREE_PER_BOHR = units.Hartree / units.Bohr

ENERGY_UNITS: dict[str, float] = {
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "Hartree": units.Hartree,
    "Rydberg": units.Rydberg,
    "meV": 1e-3,
}
"""Name -> eV in one of it."""

FORCE_UNITS: dict[str, float] = {
    "Hartree/Bohr": _EV_PER_HARTREE_PER_BOHR,
    "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "kcal/mol/\u00c5": units.kcal / units.mol,
    "kJ/mol/\u00c5": units.kJ / units.mol,
    "kJ/mol/nm": units.kJ / units.mol / units.nm,
    "meV/\u00c5": 1e-3,
    "eV/Bohr": 1 / units.Bohr,
}
"""Name -> eV/Angstrom in one of it."""

STRESS_UNITS: dict[str, float] = {
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
    "bar": units.bar,
    "Pa": units.Pascal,
    "MPa": 1e6 * units.Pascal,
    "Hartree/Bohr^3": units.Hartree / units.Bohr**3,
    "Rydberg/Bohr^3": units.Rydberg / units.Bohr**3,
}
"""Name -> eV/Angstrom^3 in one of it."""

ORDERS: dict[str, tuple[int, ...]] = {
    "xx yy zz xy yz zx": (0, 1, 2, 4, 5, 3),
    "xx yy zz xy xz yz": (0, 1, 2, 5, 4, 3),
    "xx yy zz xz yz xy": (0, 1, 2, 4, 3, 5),
    "xx yy zz yz xy xz": (0, 1, 2, 3, 5, 4),
    "xx yy zz xz xy yz": (0, 1, 2, 5, 3, 4),
    "xx xy xz yy yz zz": (0, 3, 5, 4, 2, 1),
    "xx xy yy xz yz zz": (0, 2, 5, 4, 3, 1),
}
"""Order that the components came in -> where ASE's xx, yy, zz, yz, xz, xy are among them."""


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong with the labels of one kind, and what undoes it.

    Attributes
    ----------
    kind
        ``energy``, ``forces`` or ``stress``.
    rule
        What the finding is called.
    name
        What it is, in words: ``in kcal/mol``.
    factor
        What undoes it: right label = factor x label.
    per_atom
        The energy of an atom was given for that of the cell: multiply by the atoms.
    order
        Of a stress: right component i = component ``order[i]`` of the label.
    per_volume
        1: the label is for the cell, divide by its volume; -1: multiply.
    """

    kind: Literal["energy", "forces", "stress"]
    rule: str
    name: str
    factor: float = 1.0
    per_atom: bool = False
    order: tuple[int, ...] | None = None
    per_volume: Literal[-1, 0, 1] = 0

    @property
    def sign(self) -> float:
        """Sign of the factor."""
        return float(np.sign(self.factor))

    def undone(self, labels: np.ndarray, n_atoms: np.ndarray, volume: np.ndarray) -> np.ndarray:
        """Return what the labels were, if this is their fault.

        Parameters
        ----------
        labels
            (F,) energies of cells, (3 N,) forces or (F, 6) stresses.
        n_atoms, volume
            (F,) atoms and volume of each cell.
        """
        out = np.asarray(labels * self.factor)
        if self.per_atom:
            out = out * n_atoms
        if self.order is not None:
            out = out[:, list(self.order)]
        if self.per_volume:
            out = out / (volume**self.per_volume)[:, None]
        return out


def _signed(kind: Literal["energy", "forces", "stress"], known: dict[str, float]) -> list[Fault]:
    word = {"energy": "energy", "forces": "force", "stress": "stress"}[kind]
    faults = [Fault(kind, f"{word}-sign", "of the opposite sign", -1.0)]
    for name, factor in known.items():
        faults.append(Fault(kind, f"{word}-unit", f"in {name}", factor))
        faults.append(Fault(kind, f"{word}-unit", f"in {name} and of the opposite sign", -factor))
    return faults


ENERGY_FAULTS: tuple[Fault, ...] = (
    *_signed("energy", ENERGY_UNITS),
    Fault("energy", "energy-unit", "per atom instead of per cell", per_atom=True),
)
FORCE_FAULTS: tuple[Fault, ...] = tuple(_signed("forces", FORCE_UNITS))
STRESS_FAULTS: tuple[Fault, ...] = (
    *_signed("stress", STRESS_UNITS),
    Fault("stress", "stress-virial", "a virial per cell, positive under compression, in eV", -1.0, per_volume=1),
    Fault("stress", "stress-virial", "per cell instead of per volume, in eV", 1.0, per_volume=1),
    Fault("stress", "stress-virial", "a stress that was taken for a virial per cell", -1.0, per_volume=-1),
    Fault("stress", "stress-virial", "divided by the volume once too often", 1.0, per_volume=-1),
)
ORDER_FAULTS: tuple[Fault, ...] = tuple(
    Fault("stress", "stress-order", f"in the order {name}", order=order) for name, order in ORDERS.items()
)
