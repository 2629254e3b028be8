"""Features that frames bring along: an array with a row of numbers for each atom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from ase import Atoms

_NO_FEATURES = ("numbers", "positions")
_LISTED = 20


class FeatureReader:
    """Take one array from each of many frames; all have to have the same width.

    Parameters
    ----------
    key
        Name of the array.
    width
        Its columns; None: those of the first frame.

    Raises
    ------
    UsageError
        An empty name, or that of positions or elements.
    """

    def __init__(self, key: str, width: int | None = None) -> None:
        if not key:
            raise UsageError("array:KEY is expected, with the name of an array of the frames", key="--descriptor")
        if key in _NO_FEATURES:
            raise UsageError(f"{key} of atoms say nothing of their surroundings: no features", key="--descriptor")
        self.key = key
        self.width = width

    def read(self, atoms: Atoms) -> np.ndarray:
        """Return the features of the n atoms of one frame, (n, D) float32.

        Raises
        ------
        DataError
            There are none, or of another width than before, or other than finite numbers; names the key.
        """
        if self.key not in atoms.arrays:
            there = sorted(name for name in atoms.arrays if name not in _NO_FEATURES)
            names = ", ".join(there[:_LISTED]) or "none"
            raise DataError(f"the frame has no array of this name; there are: {names}", key=self.key)
        given = np.asarray(atoms.arrays[self.key])
        if given.dtype.kind not in "iuf":
            raise DataError("the array holds other than numbers: no features", key=self.key)
        with np.errstate(over="ignore"):
            values = given.reshape(len(atoms), -1).astype(np.float32)
        if self.width is None:
            self.width = values.shape[1]
        if values.shape[1] != self.width:
            raise DataError(
                f"{values.shape[1]} numbers for each atom, {self.width} are expected: all frames have to have as many",
                key=self.key,
            )
        strange = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(strange):
            raise DataError(f"the features of atom {strange[0]} are not all finite numbers", key=self.key)
        return values
