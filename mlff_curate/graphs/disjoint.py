"""Graphs of several frames as one whose parts are not joined, so that a network takes them as one batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class DisjointGraph:
    """F frames with N atoms and E directed edges in all.

    Attributes
    ----------
    numbers
        (N,) atomic numbers.
    frame
        (N,) index of each atom's frame, ascending.
    centre, neighbour
        (E,) atoms at the ends of each edge, the first ascending. An image is its atom.
    frames
        F.
    """

    numbers: np.ndarray
    frame: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    frames: int

    @cached_property
    def atoms(self) -> np.ndarray:
        """(F,) atoms of each frame."""
        return np.bincount(self.frame, minlength=self.frames)

    @cached_property
    def _first_node(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.atoms)])

    @cached_property
    def _first_edge(self) -> np.ndarray:
        return np.searchsorted(self.centre, np.arange(len(self.numbers) + 1))

    def nodes_of(self, frames: np.ndarray) -> np.ndarray:
        """Return the atoms of some frames, one frame after the other."""
        return _ranges(self._first_node[frames], self.atoms[frames])

    def _edges_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges of some frames, and what to add to their atoms' numbers where these frames stand alone."""
        nodes, atoms = self.nodes_of(frames), self.atoms[frames]
        degree = np.diff(self._first_edge)[nodes]
        # a frame may be asked for twice: the shift belongs to the place, not to the frame
        shift = np.repeat(np.repeat(np.cumsum(atoms) - atoms - self._first_node[frames], atoms), degree)
        return _ranges(self._first_edge[nodes], degree), shift


def _ranges(first: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the whole numbers from each first on, so many of each, one range after the other."""
    ends = np.cumsum(length)
    out: np.ndarray = np.arange(int(length.sum())) + np.repeat(first - (ends - length), length)
    return out
