"""Neighbours of moving atoms: searched with a skin, and again only when an atom may have crossed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.soundness import require_sound
from mlff_curate.graphs.neighbours import neighbour_list
from mlff_curate.graphs.vectors import VectorGraph, require_apart

if TYPE_CHECKING:
    from ase import Atoms


class MovingNeighbours:
    """The graph of one frame after another, of the same atoms as they move.

    Parameters
    ----------
    cutoff
        Angstrom.
    skin
        Angstrom that the search goes beyond; 0: a search for every frame.

    Attributes
    ----------
    searches
        How often neighbours were searched.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.searches = 0
        self._atoms: Atoms | None = None  # as they were searched

    def graph(self, atoms: Atoms) -> VectorGraph:
        """Return the graph of a frame, the same as if it were searched, but for the order of its edges.

        Raises
        ------
        DataError
            No atoms, positions or a cell that are no numbers or make no sense, or two atoms in one place.
        """
        if self._atoms is None or not self._still_good(self._atoms, atoms):
            self._search(atoms)
        ends = atoms.positions[self._neighbour] - atoms.positions[self._centre]
        vector = ends + self._image @ np.asarray(atoms.cell)
        near = np.einsum("ek,ek->e", vector, vector) < self.cutoff**2
        return VectorGraph(
            numbers=atoms.numbers,
            frame=np.zeros(len(atoms), np.int64),
            centre=self._centre[near],
            neighbour=self._neighbour[near],
            frames=1,
            vector=vector[near],
        )

    def _still_good(self, before: Atoms, atoms: Atoms) -> bool:
        if len(before) != len(atoms) or (before.pbc != atoms.pbc).any() or (before.numbers != atoms.numbers).any():
            return False
        moved = np.sqrt(((atoms.positions - before.positions) ** 2).sum(axis=1).max(initial=0.0))
        # Two atoms that have come within the cutoff are images of each other by at most that and the distance of the
        # atoms themselves: so far apart, the cell has moved them by the strain since the search.
        cell = np.asarray(atoms.cell) * atoms.pbc[:, None]
        strain = np.linalg.norm(np.linalg.pinv(cell) @ (cell - np.asarray(before.cell) * atoms.pbc[:, None]), 2)
        apart = np.linalg.norm(np.ptp(atoms.positions, axis=0)) if strain > 0 else 0.0
        return bool(2 * moved + strain * (self.cutoff + apart) < self.skin)

    def _search(self, atoms: Atoms) -> None:
        require_sound(atoms, None, 0)
        found = neighbour_list([atoms], self.cutoff + self.skin)
        require_apart(found)
        offset = found.vector - (atoms.positions[found.neighbour] - atoms.positions[found.centre])
        cell = np.asarray(atoms.cell) * atoms.pbc[:, None]
        image = np.rint(offset @ np.linalg.pinv(cell)) * atoms.pbc
        self._centre, self._neighbour, self._image = found.centre, found.neighbour, image
        self._atoms = atoms.copy()
        self.searches += 1
