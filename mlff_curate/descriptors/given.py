"""Features from elsewhere: an array of each frame in place of a descriptor that is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


class GivenFeatures:
    """A row of numbers for each atom that the frames bring along, such as the node features of a NequIP or a MACE.

    Parameters
    ----------
    species
        Atomic numbers that may occur, in any order.
    key
        Name of the array.
    size
        D, its columns.
    """

    name = "array"
    cutoff = None

    def __init__(self, species: Sequence[int], key: str, size: int) -> None:
        self.species = tuple(sorted({int(z) for z in species}))
        self.key = key
        self.size = int(size)

    @property
    def title(self) -> str:
        """As on the command line."""
        return f"array:{self.key}"

    def settings(self) -> dict[str, Any]:
        """Return name, species, key and size."""
        return {"name": self.name, "species": list(self.species), "key": self.key, "size": self.size}

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the arrays of F frames, (N, D) float32, as they are; all were looked at when the frames were read."""
        rows = [np.asarray(atoms.arrays[self.key], np.float32) for atoms in frames]
        return np.concatenate([np.empty((0, self.size), np.float32), *rows])
