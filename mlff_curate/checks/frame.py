"""What checks are given of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.data.labels import Labels


@dataclass(frozen=True, eq=False)
class CheckedFrame:
    """One frame as checks see it: n atoms.

    Attributes
    ----------
    file
        Path of the input, as the user wrote it.
    index
        0-based place in that file.
    atoms
        Elements, positions, cell and pbc alone.
    labels
        In normal form; what is missing or cannot be used is None.
    group
        Its configuration group; empty: none.
    """

    file: str
    index: int
    atoms: Atoms
    labels: Labels
    group: str = ""
