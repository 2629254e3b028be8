"""What each process of a training computes: gradients on pieces of a batch, and errors of frames.

A batch is cut into pieces by its frames alone, and the pieces' gradients are added in their order. So a training gives
the same bits whether one process computes all pieces or several share them.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from mlff_curate.cgcnn.potential_terms import Bends, PotentialLabels, Residuals, Wanted, Weights, batch_of, terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.graphs.vectors import VectorGraph
    from mlff_curate.team import Team

_BENDS = Bends(energy=1.0, forces=1.0, stress=0.1)
"""Of stresses earlier: else the few frames under high pressure decide, and elastic constants go wrong."""

_EDGES_OF_A_PIECE = {"cpu": 4096, "cuda": 32768}
"""Of fewer, the fixed cost of a piece is too much of it: on a CPU it is that of some 1000 edges, as measured on Nb."""

_PLACES_OF_AN_EDGE = 8
"""Of a piece of several frames there are at most so many places in rows for each edge of the number above."""

_ATOMS_AT_ONCE = 1024
_PLACES_AT_ONCE = 256 * _ATOMS_AT_ONCE
"""Rows of 256 neighbours for all: solids under no pressure have some 100 at most inside 5 A."""

_GRADIENT, _ERRORS = 1, 2


@dataclass(frozen=True, eq=False)
class Material:
    """What is learned from: F frames.

    Attributes
    ----------
    graph
        All frames.
    labels
        Theirs.
    level
        (F,) energy of each frame's free elements, eV.
    scale
        eV, the network's unit of energy.
    """

    graph: VectorGraph
    labels: PotentialLabels
    level: np.ndarray
    scale: float

    def wanted(self, frames: np.ndarray, dtype: torch.dtype, device: str) -> Wanted:
        """Return the labels of some frames in the network's unit."""
        atoms = self.graph.atoms[frames]
        energy = (self.labels.energy[frames] - self.level[frames]) / atoms / self.scale
        forces = self.labels.forces[self.graph.nodes_of(frames)] / self.scale
        virial = self.labels.virial[frames] / atoms[:, None] / self.scale
        return Wanted(*(torch.from_numpy(values).to(device, dtype) for values in (energy, forces, virial)))

    def known(self) -> np.ndarray:
        """Return how many numbers each frame has as energy, forces and virial, (F, 3)."""
        forces = np.isfinite(self.labels.forces).sum(axis=1)
        return np.stack(
            [
                np.isfinite(self.labels.energy).astype(np.float64),
                np.bincount(self.graph.frame, forces, self.graph.frames),
                np.isfinite(self.labels.virial).sum(axis=1).astype(np.float64),
            ],
            axis=1,
        )


class Share:
    """A process's part of a training: a :class:`mlff_curate.team.Service`.

    The state that it is asked with is three weights of the loss and the parameters of the network.

    Parameters
    ----------
    network
        A copy of it is kept.
    material
        Frames and labels.
    dtype
        Of the computation.
    """

    def __init__(self, network: PotentialNetwork, material: Material, dtype: torch.dtype) -> None:
        self._network = copy.deepcopy(network)
        self._material = material
        self._known = material.known()
        self._dtype = dtype
        self._device = "cpu"

    def to(self, device: str) -> None:
        """Move the network to a torch device."""
        self._device = device
        self._network.to(device)

    def answer(
        self, question: int, state: torch.Tensor, tasks: Sequence[np.ndarray], mine: Sequence[int]
    ) -> list[torch.Tensor]:
        """Return gradients and losses of pieces, or errors of frames; see :class:`mlff_curate.team.Service`."""
        _set_parameters(self._network, state[3:])
        if question == _ERRORS:
            return [self._errors(tasks[i]).to(state) for i in mine]
        weights = state[:3].tolist()
        whole = self._known[np.concatenate(tasks)].sum(axis=0)
        return [self._gradient(tasks[i], whole, weights) for i in mine]

    def _gradient(self, frames: np.ndarray, whole: np.ndarray, weights: Sequence[float]) -> torch.Tensor:
        """Return what some frames add to the gradient of their batch's loss, and last to the loss and to the errors.

        The loss is a mean over labels of each kind: a piece has its share of them.
        """
        share = self._known[frames].sum(axis=0) / np.maximum(whole, 1)
        batch = batch_of(self._material.graph.part(frames), self._network.sizes.elements, self._dtype, self._device)
        wanted = self._material.wanted(frames, self._dtype, self._device)
        off = Residuals.of(terms_of(self._network, batch, training=True), batch, wanted)
        loss = off.loss(Weights(*(float(weight * part) for weight, part in zip(weights, share, strict=True))), _BENDS)
        own = list(self._network.parameters())
        if loss.requires_grad:  # not where no frame has a label
            slopes = torch.autograd.grad(loss, own, materialize_grads=True)
        else:
            slopes = tuple(torch.zeros_like(value) for value in own)
        return torch.cat([*(slope.flatten() for slope in slopes), loss.detach()[None], off.absolute()])

    def _errors(self, frames: np.ndarray) -> torch.Tensor:
        """Return the sums of absolute errors of energies per atom, eV, and of forces, eV/A, and their numbers."""
        graph, labels, scale = self._material.graph, self._material.labels, self._material.scale
        batch = batch_of(graph.part(frames), self._network.sizes.elements, self._dtype, self._device)
        terms = terms_of(self._network, batch)
        total = np.bincount(batch.frame.cpu().numpy(), terms.energies.cpu().double().numpy(), len(frames))
        energy = (total * scale + self._material.level[frames] - labels.energy[frames]) / graph.atoms[frames]
        forces = terms.forces.cpu().double().numpy() * scale - labels.forces[graph.nodes_of(frames)]
        known = (np.isfinite(labels.energy[frames]), np.isfinite(labels.forces[graph.nodes_of(frames)]))
        sums = [np.abs(off[there]).sum() for off, there in zip((energy, forces), known, strict=True)]
        return torch.tensor([*sums, *(there.sum() for there in known)], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Sharing:
    """The leading process's view of a training that several may share.

    Attributes
    ----------
    team
        Those that compute.
    edges
        (F,) of each frame: what a frame costs.
    atoms
        (F,) of each frame.
    crowd
        (F,) the most neighbours of an atom of each frame.
    """

    team: Team
    edges: np.ndarray
    atoms: np.ndarray
    crowd: np.ndarray

    @classmethod
    def begin(cls, team: Team, network: PotentialNetwork, material: Material, dtype: torch.dtype) -> Sharing:
        """Give every process network and material.

        Raises
        ------
        WorkerError
            One is gone.
        """
        graph = material.graph
        team.share(Share(network, material, dtype))
        return cls(team, np.bincount(graph.frame[graph.centre], minlength=graph.frames), graph.atoms, graph.crowd)

    def gradient(self, network: PotentialNetwork, frames: np.ndarray, weights: Weights) -> tuple[float, np.ndarray]:
        """Set the gradients of the network's parameters on a batch; return its loss and the errors behind it.

        These are sums of absolute errors of energies per atom and of force components, in the network's unit, and how
        many they are.

        Raises
        ------
        WorkerError
            A process is gone.
        """
        vector = parameters_to_vector(network.parameters()).detach()
        least = _EDGES_OF_A_PIECE[vector.device.type]
        pieces = [
            part
            for piece in pieces_of(self.edges, frames, least)
            for part in narrow(self.atoms, self.crowd, piece, _PLACES_OF_AN_EDGE * least)
        ]
        state = torch.cat([vector.new_tensor([weights.energy, weights.forces, weights.stress]), vector])
        answers = self.team.ask(_GRADIENT, state, pieces, len(vector) + 5)
        total = answers[0]
        for answer in answers[1:]:  # in this order, whoever gave them
            total = total + answer
        first = 0
        for value in network.parameters():
            value.grad = total[first : first + value.numel()].view_as(value)
            first += value.numel()
        return float(total[-5]), total[-4:].double().cpu().numpy()

    def errors(self, network: PotentialNetwork, frames: np.ndarray) -> tuple[float, float]:
        """Return mean absolute errors of energies per atom, eV, and of force components, eV/A.

        nan where there are no labels, infinite where the network says what is no number.

        Raises
        ------
        WorkerError
            A process is gone.
        """
        parts = in_parts(self.atoms, self.crowd, frames)
        if not parts:
            return math.nan, math.nan
        vector = parameters_to_vector(network.parameters()).detach().double()
        sums = self.team.ask(_ERRORS, torch.cat([vector.new_zeros(3), vector]), parts, 4).cpu().numpy().sum(axis=0)
        return mean_error(sums[0], sums[2]), mean_error(sums[1], sums[3])


def mean_error(total: float, count: float) -> float:
    """Return a mean: nan of none, infinite where the sum is no number."""
    if not count:
        return math.nan
    return float(total / count) if math.isfinite(total) else math.inf


def _set_parameters(network: PotentialNetwork, vector: torch.Tensor) -> None:
    """Copy a vector into the parameters: each stays where it lies, aligned, so that sums have the same bits."""
    first = 0
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(vector[first : first + value.numel()].view_as(value))
            first += value.numel()


def pieces_of(edges: np.ndarray, frames: np.ndarray, least: int) -> list[np.ndarray]:
    """Split frames into pieces that are alike in edges, each of at least so many if there is more than one.

    Parameters
    ----------
    edges
        (F,) of all frames.
    frames
        Indices of those to be split.
    least
        Mean number of edges of a piece at least.
    """
    count = int(np.clip(edges[frames].sum() // least, 1, len(frames)))
    pieces: list[list[int]] = [[] for _ in range(count)]
    filled = np.zeros(count)
    for frame in frames[np.argsort(-edges[frames], kind="stable")]:  # the largest first, each to the emptiest piece
        emptiest = int(np.argmin(filled))
        pieces[emptiest].append(int(frame))
        filled[emptiest] += max(edges[frame], 1)
    return [np.array(piece) for piece in pieces]


def in_parts(
    atoms: np.ndarray,
    crowd: np.ndarray,
    frames: np.ndarray,
    at_once: int = _ATOMS_AT_ONCE,
    places: int = _PLACES_AT_ONCE,
) -> list[np.ndarray]:
    """Split frames into runs of at most so many atoms and places for neighbours, one frame at least.

    Parameters
    ----------
    atoms, crowd
        (F,) atoms of all frames, and the most neighbours that any of these has.
    frames
        Indices of those to be split.
    at_once, places
        Atoms of a run, and atoms times the most neighbours: as much memory takes what is computed with its edges.
    """
    part = (np.cumsum(atoms[frames]) - 1) // at_once
    runs = np.split(frames, np.flatnonzero(np.diff(part)) + 1) if len(frames) else []
    return [small for run in runs for small in narrow(atoms, crowd, run, places)]


def narrow(atoms: np.ndarray, crowd: np.ndarray, frames: np.ndarray, places: int) -> list[np.ndarray]:
    """Split frames into runs whose atoms times most neighbours are at most so many, one frame at least.

    Edges lie in rows as long as the most crowded atom's (:class:`mlff_curate.cgcnn.potential_network.VectorEdges`), so
    that one dense frame makes those of all frames beside it long.
    """
    if atoms[frames].sum() * crowd[frames].max(initial=0) <= places:
        return [frames]
    runs: list[list[int]] = []
    height = width = 0
    for frame in frames:
        height, width = height + int(atoms[frame]), max(width, int(crowd[frame]))
        if not runs or height * width > places:
            runs.append([])
            height, width = int(atoms[frame]), int(crowd[frame])
        runs[-1].append(int(frame))
    return [np.array(run) for run in runs]
