"""States of atoms as vectors that stand for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.potential_network import layers_of
from mlff_curate.cgcnn.potential_share import in_parts
from mlff_curate.cgcnn.potential_terms import batch_of
from mlff_curate.data.soundness import require_sound
from mlff_curate.errors import DataError
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.cgcnn.potential_terms import PotentialBatch

_FRAMES_AT_ONCE = 64


def representation(
    network: PotentialNetwork,
    frames: Sequence[Atoms],
    layers: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the states of all atoms of F frames, (N, L H), layer beside layer.

    Parameters
    ----------
    network
        The trunk of an encoder, or the network of a potential.
    frames
        Any, of elements that the network knows. At most 64 frames lie in memory as graphs, and the states of edges
        for about 1 000 atoms, or one frame.
    layers
        L digits: ``"0"`` is the state of the atom's own element, ``"1"`` that after the first convolution; more see
        further. ``"012"`` has these three, in this order. None: all.
    progress
        Called with frames done and in all.

    Raises
    ------
    UsageError
        A layer that there is not.
    DataError
        A frame has no atoms, or positions or a cell that are no numbers; an element that the network does not know;
        two atoms in one place.
    """
    wanted = layers_of(layers, network.sizes.deepest)
    elements = network.sizes.elements
    for index, atoms in enumerate(frames):
        require_sound(atoms, None, index)
        unknown = np.setdiff1d(atoms.numbers, elements)
        if len(unknown):
            names = ", ".join(symbol_of(int(z)) for z in unknown)
            raise DataError(f"the encoder never saw {names}", frame=index)
    weight = network.embedding.weight
    parts = [np.zeros((0, len(wanted) * network.sizes.channels))]
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        some = frames[start : start + _FRAMES_AT_ONCE]
        try:
            graph = vector_graph(some, network.sizes.cutoff)
        except DataError as error:
            error.frame = None if error.frame is None else start + error.frame
            raise
        for part in in_parts(graph.atoms, graph.crowd, np.arange(graph.frames)):
            batch = batch_of(graph.part(part), elements, weight.dtype, str(weight.device))
            with one_thread(), torch.no_grad():
                parts.append(states_of(network, batch, wanted).cpu().double().numpy())
        if progress is not None:
            progress(start + len(some), len(frames))
    return np.concatenate(parts)


def states_of(network: PotentialNetwork, batch: PotentialBatch, layers: Sequence[int]) -> torch.Tensor:
    """Return the states of the N atoms of a batch, (N, L H), layer beside layer; they have gradients."""
    states = network.states(network.embedding(batch.species), batch.vector, batch.centre, batch.neighbour)
    return torch.cat([states[k] for k in layers], dim=1)


def mean_over_frames(values: np.ndarray, frames: Sequence[Atoms]) -> np.ndarray:
    """Return the mean over the atoms of each of F frames, (F, D), of (N, D)."""
    counts = np.array([len(atoms) for atoms in frames])
    if not len(counts):
        return values[:0]
    sums: np.ndarray = np.add.reduceat(values, np.cumsum(counts) - counts, axis=0)
    out: np.ndarray = sums / counts[:, None]
    return out
