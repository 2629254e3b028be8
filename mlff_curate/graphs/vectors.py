"""Graphs of all neighbours inside a cutoff with the vectors to them: what a potential sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.graphs.disjoint import DisjointGraph
from mlff_curate.graphs.neighbours import neighbour_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.graphs.neighbours import Neighbours

_ONE_PLACE = 1e-6
"""Angstrom."""


@dataclass(frozen=True, eq=False)
class VectorGraph(DisjointGraph):
    """Frames whose atoms are joined to all neighbours inside a cutoff, periodic images included.

    Attributes
    ----------
    vector
        (E, 3) from centre to neighbour, Angstrom.
    """

    vector: np.ndarray

    @cached_property
    def crowd(self) -> np.ndarray:
        """Neighbours of the atom of each frame that has most, (F,): as wide is each row of the frame's edges."""
        out = np.zeros(self.frames, np.int64)
        np.maximum.at(out, self.frame, np.bincount(self.centre, minlength=len(self.frame)))
        return out

    def part(self, frames: np.ndarray) -> VectorGraph:
        """Return the graph of some frames, (f,) indices, in that order; its nodes are :meth:`nodes_of` them here."""
        frames = np.asarray(frames, np.int64)
        edges, shift = self._edges_of(frames)
        return VectorGraph(
            numbers=self.numbers[self.nodes_of(frames)],
            frame=np.repeat(np.arange(len(frames)), self.atoms[frames]),
            centre=self.centre[edges] + shift,
            neighbour=self.neighbour[edges] + shift,
            vector=self.vector[edges],
            frames=len(frames),
        )


def require_apart(found: Neighbours, frame: int | None = None) -> None:
    """Refuse atoms in one place: the direction from one to the other is undefined.

    Raises
    ------
    DataError
        Names the frame, if told, and two atoms.
    """
    together = np.flatnonzero(np.einsum("ek,ek->e", found.vector, found.vector) < _ONE_PLACE**2)
    if len(together):
        edge = together[0]
        raise DataError(
            f"atoms {found.centre[edge]} and {found.neighbour[edge]} are in one place", frame=frame, key="positions"
        )


def vector_graph(
    frames: Sequence[Atoms], cutoff: float, progress: Callable[[int, int], None] | None = None
) -> VectorGraph:
    """Join each atom of F frames to all neighbours inside a cutoff in Angstrom; `progress` is told the frames done.

    Raises
    ------
    DataError
        Two atoms are in one place; names frame and atoms.
    """
    none = np.zeros(0, np.int64)
    centres, neighbours, vectors, start = [none], [none], [np.zeros((0, 3))], 0
    for done, atoms in enumerate(frames, 1):
        found = neighbour_list([atoms], cutoff)
        require_apart(found, done - 1)
        centres.append(found.centre + start)
        neighbours.append(found.neighbour + start)
        vectors.append(found.vector)
        start += len(atoms)
        if progress is not None:
            progress(done, len(frames))
    return VectorGraph(
        numbers=np.concatenate([none, *(atoms.numbers for atoms in frames)]),
        frame=np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames]),
        centre=np.concatenate(centres),
        neighbour=np.concatenate(neighbours),
        frames=len(frames),
        vector=np.concatenate(vectors),
    )
