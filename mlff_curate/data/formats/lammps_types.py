"""Elements of LAMMPS' numbered types: told by the user, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.frames import Remark
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def mapped(types: np.ndarray, type_map: Sequence[str], file: str, frame: int) -> list[str]:
    """Return the chemical symbols of the types (n,) of n atoms.

    Raises
    ------
    DataError
        A type is beyond the map.
    """
    known = len(type_map)
    for number in np.unique(types):
        if not 1 <= number <= known:
            raise DataError(f"there is a type {number}, but --type-map has types 1 to {known}", file=file, frame=frame)
    return [type_map[number - 1] for number in types]


def about_surplus(types: np.ndarray, type_map: Sequence[str]) -> list[Remark]:
    """Tell of types of the map that no atom has: LAMMPS allows that, but it may be another run's map."""
    unused = [f"{n} ({symbol})" for n, symbol in enumerate(type_map, 1) if n not in types]
    if not unused:
        return []
    message = f"no atom of the first frame has type {', '.join(unused)} of --type-map"
    return [Remark("type-map-surplus", "note", "species", message, "make sure that the map is that of this run")]


def require_elements(words: np.ndarray, where: str, file: str, frame: int) -> list[str]:
    """Return words (n,) as the chemical symbols that they are.

    Raises
    ------
    DataError
        One is none.
    """
    for word in set(words.tolist()):
        if not is_element(word):
            raise DataError(f"{word[:20]!r} in {where} is no chemical symbol", file=file, frame=frame, key="species")
    return [str(word) for word in words]


def is_element(word: str) -> bool:
    """Tell a chemical symbol."""
    from ase.data import atomic_numbers

    return word in atomic_numbers and word != "X"
