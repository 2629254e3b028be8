"""Results that an ASE calculator has at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms


def computed(atoms: Atoms, name: str) -> Any:
    """Return a result of the calculator of atoms that it has already computed something of where they are.

    It is taken as it lies there: ASE would compare all atoms with those that were computed, each time.
    """
    calculator: Any = atoms.calc
    return calculator.results[name] if name in calculator.results else calculator.get_property(name, atoms)
