"""Units by the words that files have for them."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlff_curate.errors import DataError


@cache
def _factors() -> dict[str, dict[str, float]]:
    from ase import units

    hartree, rydberg, bohr, bar = units.Hartree, units.Rydberg, units.Bohr, 1e5 * units.Pascal
    words: dict[str, tuple[tuple[str, float], ...]] = {
        "length": (("metal angstrom angstroms ang", 1.0), ("atomic bohr au", bohr)),
        "energy": (
            ("metal electronvolt electron_volt ev", 1.0),
            ("atomic hartree ha eh", hartree),
            ("rydberg ryd ry", rydberg),
        ),
        "force": (
            ("metal electronvoltperangstrom ev_per_angstrom ev_per_ang", 1.0),
            ("atomic hartree_per_bohr ha_per_bohr ha_per_au", hartree / bohr),
            ("rydberg_per_bohr ry_per_bohr", rydberg / bohr),
        ),
        "pressure": (
            ("metal bar bars", bar),
            ("kbar kb", 1e3 * bar),
            ("atm", 1.01325 * bar),
            ("pa", units.Pascal),
            ("kpa", 1e3 * units.Pascal),
            ("mpa", 1e6 * units.Pascal),
            ("gpa", units.GPa),
        ),
    }
    return {
        kind: {word: float(factor) for names, factor in rows for word in names.split()} for kind, rows in words.items()
    }


def unit_factor(kind: str, word: Any, key: str) -> float:
    """Return what a number is to be multiplied with to be in Angstrom, eV, eV/Angstrom or eV/Angstrom^3.

    Parameters
    ----------
    kind
        length, energy, force or pressure.
    word
        As the file has it; upper and lower case are the same.
    key
        The field with the word, for the message.

    Raises
    ------
    DataError
        The word is unknown; lists those that are known.
    """
    known = _factors()[kind]
    found = known.get(str(word).lower().replace("/", "_per_"))
    if found is None:
        raise DataError(f"{str(word)[:40]!r} is unknown; known: {', '.join(known)}", key=key)
    return found
