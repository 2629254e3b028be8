"""What a property model learns: one number per frame, under a name that the user gives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.frames import named_values
from mlff_curate.data.labels import PREDICTED
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms


def target_of(atoms: Atoms, key: str) -> float | None:
    """Return the number that a frame has under a name: an info key, or a result of a calculator.

    Parameters
    ----------
    atoms
        The frame.
    key
        The name as the file has it.

    Returns
    -------
    float or None
        None where the frame has nothing of that name. True counts as 1.

    Raises
    ------
    DataError
        It is no number, one per atom, or not finite; names the key.
    """
    value = named_values(atoms).get(key)
    if value is None:
        return None
    array = np.asarray(value)
    if key in atoms.arrays:
        raise DataError("has a value for each atom; a property of the whole frame is wanted", key=key)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise DataError(f"one number per frame is wanted, found {str(value)[:40]!r}", key=key)
    number = float(array.reshape(()))
    if not math.isfinite(number):
        raise DataError(f"is {number}: a target must be finite", key=key)
    return number


def targets_of(frames: Sequence[Atoms], key: str) -> np.ndarray:
    """Return the numbers of frames that all have one, (F,) float64.

    Raises
    ------
    DataError
        As :func:`target_of`, or a frame has none; names frame and key.
    """
    found = []
    for i, atoms in enumerate(frames):
        try:
            value = target_of(atoms, key)
        except DataError as error:
            error.frame = i
            raise
        if value is None:
            raise DataError(f"the frame has no such target; {available(candidates(atoms))}", frame=i, key=key)
        found.append(value)
    return np.array(found, np.float64)


def candidates(atoms: Atoms) -> list[str]:
    """Return the names under which a frame has one number that is no model's prediction."""
    return [
        name
        for name, value in named_values(atoms).items()
        if name not in (*atoms.arrays, *PREDICTED)
        and np.asarray(value).size == 1
        and np.asarray(value).dtype.kind in "biuf"
    ]


def available(names: Iterable[str]) -> str:
    """Return which names there are, in words."""
    known = sorted(set(names))
    if not known:
        return "there is no number under any name"
    return f"available: {', '.join(known[:12])}" + (", ..." if known[12:] else "")
