"""Frames to learn from without labels, and the one thing that tasks ask of their neighbours: what is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.cgcnn.potential_terms import batch_of
from mlff_curate.graphs.vectors import VectorGraph
from mlff_curate.pretraining.views import enlarged_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.cgcnn.potential_terms import PotentialBatch

_GENERIC = np.array([0.8164965809, 0.4714045207, 0.3333333333]) + np.array([0.0137, -0.0291, 0.0173])
"""A direction along which no two neighbours of a crystal are equally far."""
_OPPOSITE = 1e-6
"""Angstrom."""
_SAMPLE = 2048
"""Atoms that units are taken from."""


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """What is learned from: F frames.

    Attributes
    ----------
    frames
        Elements, positions, cell, pbc.
    graph
        All of them, joined inside the cutoff.
    elements
        Atomic numbers, ascending.
    cutoff
        Angstrom.
    dtype, device
        Of the computation.
    """

    frames: Sequence[Atoms]
    graph: VectorGraph
    elements: tuple[int, ...]
    cutoff: float
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @cached_property
    def distances(self) -> np.ndarray:
        """(E,) lengths of all edges, Angstrom."""
        found: np.ndarray = np.linalg.norm(self.graph.vector, axis=1)
        return found

    @cached_property
    def nearest(self) -> np.ndarray:
        """(N,) distance of each atom's nearest neighbour, Angstrom; infinite where it has none."""
        found = np.full(len(self.graph.numbers), np.inf)
        np.minimum.at(found, self.graph.centre, self.distances)
        return found

    def batch(self, graph: VectorGraph) -> PotentialBatch:
        """Return a graph of these elements as tensors."""
        return batch_of(graph, self.elements, self.dtype, self.device)

    def whole(self, values: np.ndarray) -> torch.Tensor:
        """Return whole numbers as a tensor on the device."""
        return torch.from_numpy(np.asarray(values, np.int64)).to(self.device)

    def real(self, values: np.ndarray) -> torch.Tensor:
        """Return numbers as a tensor on the device, in the dtype of the computation."""
        return torch.from_numpy(np.asarray(values, np.float64)).to(self.device, self.dtype)


def have_neighbours(graph: VectorGraph) -> tuple[np.ndarray, np.ndarray]:
    """Tell which atoms, (N,), have neighbours, and in which frames, (F,), there are any."""
    atoms = np.bincount(graph.centre, minlength=len(graph.numbers)) > 0
    return atoms, np.bincount(graph.frame, atoms, graph.frames) > 0


def sample_of(graph: VectorGraph, frames: np.ndarray) -> np.ndarray:
    """Return the first of some frames in which atoms have neighbours, of 2048 atoms or a few more once enlarged.

    The frame that crosses the number is among them: small crystals before a large frame have no spread of their own.
    """
    bound: np.ndarray = frames[have_neighbours(graph)[1][frames]]
    count = int(np.searchsorted(np.cumsum(enlarged_sizes(graph.atoms[bound])), _SAMPLE)) + 1
    return bound[:count]


def pairs_of(graph: VectorGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of each pair of an atom and a neighbour, as one has it and as the other has it, (P,) and (P,).

    A cell smaller than the cutoff has several pairs of the same two atoms, and pairs of an atom and its own images:
    they are told apart by where they lie along one direction.
    """
    along = graph.vector @ _GENERIC
    forward = (graph.centre < graph.neighbour) | ((graph.centre == graph.neighbour) & (along > 0))
    there, back = np.flatnonzero(forward), np.flatnonzero(~forward)
    there = there[np.lexsort((along[there], graph.neighbour[there], graph.centre[there]))]
    back = back[np.lexsort((-along[back], graph.centre[back], graph.neighbour[back]))]
    assert len(there) == len(back)
    assert np.abs(graph.vector[there] + graph.vector[back]).max(initial=0.0) < _OPPOSITE
    order = np.argsort(there)  # as the edges come: which pair is the k-th says nothing of where it lies
    return there[order], back[order]


def without(graph: VectorGraph, edges: np.ndarray) -> VectorGraph:
    """Return a graph that lacks some edges, given by their indices; its atoms are the same."""
    kept = np.ones(len(graph.centre), bool)
    kept[edges] = False
    return VectorGraph(
        numbers=graph.numbers,
        frame=graph.frame,
        centre=graph.centre[kept],
        neighbour=graph.neighbour[kept],
        frames=graph.frames,
        vector=graph.vector[kept],
    )


def some_of(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which of so many things are drawn, ascending: each with the same chance, one at least if there is one."""
    if not count:
        return np.zeros(0, np.int64)
    drawn = np.flatnonzero(rng.random(count) < share)
    surely = rng.integers(count)
    return drawn if len(drawn) else np.array([surely])
