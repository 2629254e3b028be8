"""Linear force fields by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.linear.rows import LinearModel

MODELS = ("snap", "power-spectrum")


def require_model(name: str | None) -> None:
    """Refuse a name that is no linear model's; None is the default.

    Raises
    ------
    UsageError
        The message lists the models.
    """
    if name is not None and name not in MODELS:
        raise UsageError(f"{name!r} is unknown; available: {', '.join(MODELS)}", key="--model")


def linear_model(name: str | None, species: Sequence[int], cutoff: float) -> tuple[LinearModel, tuple[str, ...]]:
    """Return a linear force field for these species, and what the user should know about it.

    Parameters
    ----------
    name
        One of MODELS; None: ``snap``, or ``power-spectrum`` where LAMMPS cannot be loaded.
    species
        Atomic numbers.
    cutoff
        Radius of an environment in Angstrom.

    Raises
    ------
    MissingDependencyError
        ``snap`` was asked for and LAMMPS is missing.
    UsageError
        An unknown name.
    """
    require_model(name)
    notes: tuple[str, ...] = ()
    if name != "power-spectrum":
        from mlff_curate.lammps_session import import_lammps

        try:
            import_lammps()
        except MissingDependencyError:
            if name is not None:
                raise
            notes = ("LAMMPS cannot be loaded: the fits are made on a small power spectrum instead of SNAP.",)
            name = "power-spectrum"
    if name == "power-spectrum":
        from mlff_curate.linear.power_spectrum import LinearPowerSpectrum

        return LinearPowerSpectrum(species, cutoff), notes
    from mlff_curate.linear.snap import LinearSnap

    return LinearSnap(species, cutoff), notes
