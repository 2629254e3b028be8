"""Labels under the names that a format has for them, or that a user wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.frames import calculator_results
from mlff_curate.data.labels import SAME_RATIO, SAME_VALUE, labels_of
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, WriteOptions
    from mlff_curate.data.labels import Labels

_PLAIN = {"energy": "energy", "forces": "forces", "stress": "stress"}


def chosen_names(options: WriteOptions, usual: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the names to write labels under, by kind: those chosen, else those usual; no entry: as they are found."""
    chosen = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    return {**(usual or {}), **{kind: name for kind, name in chosen.items() if name is not None}}


def stands_as(labels: Labels, names: Mapping[str, str]) -> bool:
    """Tell whether the labels of a frame are in normal form under these names already."""
    for kind, name in names.items():
        if getattr(labels, kind) is None:
            if name in labels.not_finite:
                return False
        elif getattr(labels, f"{kind}_key") != name or (kind == "stress" and labels.from_virial):
            return False
    return True


def with_label_names(frame: NormalFrame, names: Mapping[str, str]) -> tuple[Atoms, tuple[str, ...]]:
    """Return a copy of a frame with its labels, in normal form, as info and array keys of these names.

    Parameters
    ----------
    frame
        It is not changed.
    names
        ``energy``, ``forces``, ``stress`` to the name wanted; what is not named stays where it is.

    Returns
    -------
    atoms, lost
        The frame, and names of values that had to go: NaN that stood where a label belongs.

    Raises
    ------
    DataError
        The frame has another value of such a name, which would be overwritten.
    """
    labels, original = frame.labels, frame.frame.atoms
    atoms = original.copy()
    results = calculator_results(original)
    places: tuple[dict[Any, Any], ...] = (results, atoms.info, atoms.arrays)
    moved = {k: n for k, n in names.items() if not stands_as(labels, {k: n})}
    lost = []
    for kind, name in moved.items():
        if name in labels.not_finite:
            lost.append(name)
        elif getattr(labels, f"{kind}_key") != name and any(name in place for place in places):
            _require_same(original, labels, kind, name)
    for kind, name in moved.items():
        for key in (getattr(labels, f"{kind}_key"), name):
            for place in places:
                place.pop(key, None)
    for kind, name in moved.items():
        value = getattr(labels, kind)
        if value is not None:
            (atoms.arrays if kind == "forces" else atoms.info)[name] = _matrix(value) if kind == "stress" else value
    _attach(atoms, results)
    return atoms, tuple(lost)


def with_label_results(frame: NormalFrame) -> tuple[Atoms, tuple[str, ...]]:
    """Return a copy of a frame with its labels, in normal form, as results of a calculator.

    The rest is as in :func:`with_label_names`, for the names ``energy``, ``forces`` and ``stress``.
    """
    atoms, lost = with_label_names(frame, _PLAIN)
    results = calculator_results(atoms)
    for kind in _PLAIN:
        value = getattr(frame.labels, kind)
        if value is not None:
            (atoms.arrays if kind == "forces" else atoms.info).pop(kind, None)
            results[kind] = value
    _attach(atoms, results)
    return atoms, lost


def _attach(atoms: Atoms, results: dict[str, object]) -> None:
    atoms.calc = None
    if results:
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results.update(results)


def _require_same(atoms: Atoms, labels: Labels, kind: str, name: str) -> None:
    try:
        there = getattr(labels_of(atoms, **{f"{kind}_key": name}), kind)
    except DataError:
        there = None
    if there is None or not np.allclose(there, getattr(labels, kind), rtol=SAME_RATIO, atol=SAME_VALUE):
        raise DataError(
            f"holds another value than the {kind} found under {getattr(labels, f'{kind}_key')}, which is to have this "
            f"name: choose another one (--to extxyz --write-{kind}-key NAME)",
            key=name,
        )


def _matrix(stress: np.ndarray) -> np.ndarray:
    """Return a stress (6,) as (3, 3), which no reader can take in another order."""
    from ase.stress import voigt_6_to_full_3x3_stress

    full: np.ndarray = voigt_6_to_full_3x3_stress(stress)
    return full
