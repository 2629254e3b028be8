"""Unit styles of LAMMPS, in ASE's units."""

from __future__ import annotations

from functools import cache

STYLES = ("metal", "real", "si", "cgs", "electron", "micro", "nano")
"""Of LAMMPS manual, command ``units``; lj is left out, since its units are those of nothing."""


def refusal(style: str) -> str | None:
    """Say why a unit style is not read, None: it is."""
    if style in STYLES:
        return None
    if style == "lj":
        return "lj units stand for no eV and no Angstrom: write the run in metal or real units"
    return f"{style!r} is no unit style of LAMMPS; available: {', '.join(STYLES)}"


@cache
def in_ase_units(quantity: str, style: str) -> float:
    """Return what one unit of a style is in ASE's units.

    Parameters
    ----------
    quantity
        ``distance`` (Angstrom), ``energy`` (eV), ``force`` (eV/Angstrom), ``velocity`` (ASE's), ``mass`` (u) or
        ``charge`` (elementary charges).
    style
        One of STYLES.
    """
    if style == "metal" and quantity in {"distance", "energy", "force", "mass", "charge"}:
        return 1.0  # the same by definition: no digit changes
    if style == "real" and quantity in {"distance", "mass", "charge"}:
        return 1.0
    from ase.calculators.lammps import convert

    return float(convert(1.0, quantity, style, "ASE"))
