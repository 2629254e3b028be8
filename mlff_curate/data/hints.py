"""What could be a label under a name that nobody knows: a misspelt key is to be asked about, not passed over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.labels import PREDICTED, names_of_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ase import Atoms

_NO_FORCES = {
    "positions",
    "scaled_positions",
    "unwrapped_positions",
    "displacements",
    "momenta",
    "velocities",
    "velocity",
    "velo",
    "vel",
    "initial_magmoms",
    "magmoms",
    "spins",
    "dipoles",
    "mulliken_dipoles",
}
"""Arrays of three numbers per atom that are known for something else."""
_ENERGY = re.compile(r"e|e0|etot|toten|e[-_].+|.+[-_]e", re.IGNORECASE)
"""What people and codes call an energy: E0, TOTEN, E_dft."""


def of_that_shape(atoms: Atoms, kind: str, present: Iterable[str]) -> list[str]:
    """Name what could be a missing label, going by its shape.

    Parameters
    ----------
    atoms
        The frame, n atoms.
    kind
        ``energy``, ``forces`` or ``stress``.
    present
        Names that look like labels; they are told of elsewhere. Predictions are never named.
    """
    known = {*present, *PREDICTED}
    shapes: tuple[tuple[int, ...], ...]
    if kind == "forces":
        places = {key: value for key, value in atoms.arrays.items() if key.lower() not in _NO_FORCES}
        shapes = ((len(atoms), 3),)
    else:
        places = {str(key): value for key, value in atoms.info.items()}
        shapes = ((),) if kind == "energy" else ((6,), (9,), (3, 3))
    return [
        key
        for key, value in places.items()
        if key not in known and np.asarray(value).dtype.kind == "f" and np.shape(value) in shapes
    ]


def likely(kind: str, names: Iterable[str]) -> list[str]:
    """Return those of some names of the right shape that are likely enough to warn of.

    Three numbers per atom that are no known property are hardly ever anything but forces; of the many numbers that a
    frame may have only those are taken that are called as energies are.
    """
    if kind == "forces":
        return list(names)
    return [name for name in names if kind == "energy" and _ENERGY.fullmatch(name)]


def likely_labels(atoms: Atoms, present: Iterable[str], given: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Return kind and name of what could be the energy or the forces of a frame that has none under a known name.

    Parameters
    ----------
    atoms
        The frame.
    present
        Names in it that look like labels.
    given
        Kind of label to the name that the user gave; there is nothing to guess then.
    """
    return [
        (kind, name)
        for kind in ("energy", "forces")
        if given.get(kind) is None and not names_of_kind(atoms, kind)
        for name in likely(kind, of_that_shape(atoms, kind, present))
    ]


def hint(kind: str, name: str) -> str:
    """Say what a name could be, and how to say so."""
    return (
        f"no {kind} under a usual name; {name} has {'their' if kind == 'forces' else 'its'} shape: --{kind}-key {name}"
    )


def predictions_unused(name: str) -> str:
    """Say why what looks like a label is none."""
    return f"{name} is a model's prediction, written by evaluate --predictions: it is not used"


def predictions_used(kind: str, name: str) -> str:
    """Say that a user has predictions taken for labels."""
    verb = "are" if kind == "forces" else "is"
    return f"the {kind} {verb} read from {name}: a model's prediction, written by evaluate --predictions"
