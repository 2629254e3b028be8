"""Elements of LAMMPS' numbered types: told by the user, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.frames import Remark
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def mapped(types: np.ndarray, type_map: Sequence[str], file: str, frame: int, giver: str = "--type-map") -> np.ndarray:
    """Return the atomic numbers of the types (n,) of n atoms by a map, and name its giver where it falls short.

    Raises
    ------
    DataError
        A type is beyond the map.
    """
    known = len(type_map)
    for number in np.unique(types):
        if not 1 <= number <= known:
            raise DataError(f"there is a type {number}, but {giver} has types 1 to {known}", file=file, frame=frame)
    from ase.data import atomic_numbers

    return np.asarray(np.array([atomic_numbers[symbol] for symbol in type_map])[types - 1])


def about_surplus(types: np.ndarray, type_map: Sequence[str]) -> list[Remark]:
    """Tell of types of the map that no atom has: LAMMPS allows that, but it may be another run's map."""
    unused = [f"{n} ({symbol})" for n, symbol in enumerate(type_map, 1) if n not in types]
    if not unused:
        return []
    message = f"no atom of the first frame has type {', '.join(unused)} of --type-map"
    return [Remark("type-map-surplus", "note", "species", message, "make sure that the map is that of this run")]


def numbers_of(words: np.ndarray, where: str, file: str, frame: int) -> np.ndarray:
    """Return the atomic numbers of chemical symbols (n,), as bytes.

    Raises
    ------
    DataError
        One is none.
    """
    from ase.data import atomic_numbers

    there, places = np.unique(words, return_inverse=True)
    symbols = [word.decode(errors="replace") for word in there.tolist()]
    for word in symbols:
        if not is_element(word):
            raise DataError(f"{word[:20]!r} in {where} is no chemical symbol", file=file, frame=frame, key="species")
    return np.array([atomic_numbers[word] for word in symbols], dtype=np.int64)[places.reshape(-1)]


def is_element(word: str) -> bool:
    """Tell a chemical symbol."""
    from ase.data import atomic_numbers

    return word in atomic_numbers and word != "X"
