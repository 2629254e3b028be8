"""Descriptors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.descriptors.base import Descriptor

DESCRIPTORS = ("power-spectrum", "bispectrum")


def make_descriptor(name: str, species: Sequence[int]) -> Descriptor:
    """Return the descriptor of this name for these elements (atomic numbers), with default settings.

    Raises
    ------
    UsageError
        Unknown name; the message lists those known.
    MissingDependencyError
        ``bispectrum`` without LAMMPS.
    """
    if name == "power-spectrum":
        from mlff_curate.descriptors.power_spectrum import PowerSpectrum

        return PowerSpectrum(species)
    if name == "bispectrum":
        from mlff_curate.descriptors.bispectrum import Bispectrum
        from mlff_curate.graphs.neighbours import default_cutoff

        return Bispectrum(species, default_cutoff(species))
    raise UsageError(f"{name!r} is unknown; available: {', '.join(DESCRIPTORS)}", key="--descriptor")
