"""Descriptors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from mlff_curate.descriptors.given import GivenFeatures
from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlff_curate.descriptors.base import Descriptor

_SETTINGS = {"power-spectrum": ("n_max", "l_max"), "bispectrum": ("twojmax",), "orbital-field-matrix": ()}
"""Settings of each descriptor besides elements and cutoff: whole numbers, attributes of these names."""
DESCRIPTORS = tuple(_SETTINGS)
_RANGE = {"n_max": (1, 64), "l_max": (0, 11), "twojmax": (0, 14)}
"""Of these settings: e3nn has spherical harmonics up to 11."""
_LARGEST_CUTOFF = 50.0
"""Angstrom; far beyond any descriptor, and small enough that no damaged file makes a neighbour list without end."""
_HEAVIEST = 118
_MOST_COLUMNS = 2**20


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
    if name == "orbital-field-matrix":
        from mlff_curate.descriptors.orbital_field import OrbitalFieldMatrix

        return OrbitalFieldMatrix(species)
    raise UsageError(f"{name!r} is unknown; available: {', '.join(DESCRIPTORS)}", key="--descriptor")


def detailed_descriptor(species: Sequence[int]) -> Descriptor:
    """Return the finer descriptor that our own selector looks at beside the chosen one.

    Cubic in the density, so that compressed and expanded cells, whose energies differ most, are far apart; and with
    narrower radial functions.
    """
    from mlff_curate.descriptors.power_spectrum import PowerSpectrum

    return PowerSpectrum(species, n_max=8, order=3)


def restore_descriptor(settings: Mapping[str, Any]) -> Descriptor:
    """Return the descriptor that has these :meth:`Descriptor.settings`; not one that was handed in.

    Raises
    ------
    ValueError
        Settings that no descriptor has; the message names the setting.
    """
    name = settings.get("name")
    if name == GivenFeatures.name:
        return _restore_given(settings)
    others = _SETTINGS.get(str(name), ())
    for key in sorted({"name", "species", "cutoff", *others} ^ set(settings)):
        _refuse(key, settings.get(key))
    species, cutoff = settings["species"], settings["cutoff"]
    if name not in _SETTINGS:
        _refuse("name", name)
    _require_species(species)
    if type(cutoff) not in (int, float) or not 0 < cutoff <= _LARGEST_CUTOFF:
        _refuse("cutoff", cutoff)
    for key in others:
        if not _whole([settings[key]], *_RANGE[key]):
            _refuse(key, settings[key])
    numbers = {key: settings[key] for key in others}
    if name == "power-spectrum":
        from mlff_curate.descriptors.power_spectrum import PowerSpectrum

        return PowerSpectrum(species, cutoff, **numbers)
    if name == "orbital-field-matrix":
        from mlff_curate.descriptors.orbital_field import OrbitalFieldMatrix

        return OrbitalFieldMatrix(species, cutoff)
    from mlff_curate.descriptors.bispectrum import Bispectrum

    return Bispectrum(species, cutoff, **numbers)


def _restore_given(settings: Mapping[str, Any]) -> GivenFeatures:
    for key in sorted({"name", "species", "key", "size"} ^ set(settings)):
        _refuse(key, settings.get(key))
    _require_species(settings["species"])
    if not isinstance(settings["key"], str) or not settings["key"]:
        _refuse("key", settings["key"])
    if not _whole([settings["size"]], 1, _MOST_COLUMNS):
        _refuse("size", settings["size"])
    return GivenFeatures(settings["species"], settings["key"], settings["size"])


def _require_species(species: object) -> None:
    if not _whole(species, 0, _HEAVIEST) or species != sorted(set(species)):  # type: ignore[call-overload]
        _refuse("species", species)


def _whole(values: object, least: int, most: int) -> bool:
    """Tell a list of one or more whole numbers within bounds."""
    return isinstance(values, list) and bool(values) and all(type(v) is int and least <= v <= most for v in values)


def _refuse(key: str, value: object) -> NoReturn:
    message = f"the descriptor's {key} is {str(value)[:40]!r}"
    raise ValueError(message)
