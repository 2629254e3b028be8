"""Tasks that hide something of a frame and ask for it: elements, distances, numbers of nearest neighbours.

What is hidden is not in what the network is given: the state of a masked atom is a learned vector in place of its
element's, a hidden pair has no edge in either direction. So no answer can leak (in the reference of J.-G. Kong et al.,
arXiv 2211.03563, the distance asked for stays in the features of its edge).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mlff_curate.cgcnn.elements import group_of, period_of
from mlff_curate.pretraining.network import small_network
from mlff_curate.pretraining.tasks import COORDINATION, DISTANCE, ELEMENT
from mlff_curate.pretraining.unlabelled import pairs_of, some_of, without

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_curate.graphs.vectors import VectorGraph
    from mlff_curate.pretraining.network import PretrainingNetwork
    from mlff_curate.pretraining.unlabelled import Unlabelled

_MASKED = 0.15
"""Share of the atoms that are masked, as published."""
_CLASSES = 41
"""Of distances, as published."""
_HIDDEN = 0.05
"""Share of the pairs whose distance is asked for: more would make sums over neighbours other than a potential's."""
_HIDDEN_OF_ATOM = 0.25
"""Share of an atom's pairs that are hidden where its number of nearest neighbours is asked for."""
_GROUPS, _PERIODS = 19, 7
_WIDTH = 0.05
"""Angstrom, of the classes of distances that a first shell is looked for in."""
_BLUR = 2
"""Of these, standard deviation of what they are smoothed with."""
_VALLEY = 0.7
"""Share of the first peak that the minimum behind it may have at most."""
_BEHIND_PEAK = 1.25
"""Times the first peak: the end of the first shell where no minimum is found."""


@dataclass(frozen=True, eq=False)
class Masked:
    """A question about frames.

    Attributes
    ----------
    graph
        What may be seen.
    atoms
        (A,) those that are asked about; of pairs one end.
    others
        (A,) of pairs the other end; else the same.
    answer
        (A,) or (A, Q) classes.
    """

    graph: VectorGraph
    atoms: np.ndarray
    others: np.ndarray
    answer: np.ndarray


class ElementHead(nn.Module):
    """Group, period and element of a masked atom, and the state that stands for it."""

    def __init__(self, channels: int, elements: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.randn(channels))
        self.group = small_network(channels, channels, _GROUPS)
        self.period = small_network(channels, channels, _PERIODS)
        self.element = small_network(channels, channels, elements)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits of the three."""
        return self.group(states), self.period(states), self.element(states)


@dataclass(frozen=True)
class MaskedElement:
    """Group, period and element of atoms, from their surroundings.

    Attributes
    ----------
    elements
        Atomic numbers, ascending.
    guess
        See :class:`mlff_curate.pretraining.tasks.Task`.
    """

    elements: tuple[int, ...]
    guess: float
    name = ELEMENT
    of_several = False

    @classmethod
    def of(cls, data: Unlabelled, frames: np.ndarray) -> MaskedElement:
        """Return the task for frames of some elements."""
        classes = _classes_of(data.graph.numbers[data.graph.nodes_of(frames)], data.elements)
        return cls(data.elements, float(np.mean([_entropy(column) for column in classes.T])))

    def head(self, channels: int) -> ElementHead:
        """Return its layers."""
        return ElementHead(channels, len(self.elements))

    def ask(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator) -> Masked:
        """Draw atoms."""
        graph = data.graph.part(frames)
        atoms = some_of(len(graph.numbers), _MASKED, rng)
        return Masked(graph, atoms, atoms, _classes_of(graph.numbers[atoms], self.elements))

    def answers(self, network: PretrainingNetwork, data: Unlabelled, asked: Masked) -> tuple[torch.Tensor, ...]:
        """Return (A, ...) logits of group, period and element; `first` holds nothing of a masked element."""
        head = network.heads[ELEMENT]
        assert isinstance(head, ElementHead)
        batch = data.batch(asked.graph)
        masked = torch.zeros(len(batch.species), 1, dtype=torch.bool, device=data.device)
        masked[data.whole(asked.atoms)] = True
        first = torch.where(masked, head.mask, network.trunk.embedding(batch.species))
        found: tuple[torch.Tensor, ...] = head(network.last_states(batch, first)[data.whole(asked.atoms)])
        return found

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean cross-entropy of the three; see :class:`mlff_curate.pretraining.tasks.Task`."""
        asked = self.ask(data, frames, rng)
        answer = data.whole(asked.answer)
        with torch.set_grad_enabled(training):
            parts = [
                functional.cross_entropy(logits, answer[:, k])
                for k, logits in enumerate(self.answers(network, data, asked))
            ]
        return torch.stack(parts).mean(), len(asked.atoms)


def _classes_of(numbers: np.ndarray, elements: tuple[int, ...]) -> np.ndarray:
    """Return group (0: none), period and place among the elements of atoms, (N, 3)."""
    rows = np.array([(group_of(z) or 0, period_of(z) - 1, k) for k, z in enumerate(elements)], np.int64)
    found: np.ndarray = rows[np.searchsorted(elements, numbers)]
    return found


class PairHead(nn.Module):
    """Classes of pairs of atoms, whichever is named first."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = small_network(2 * channels, 2 * channels, classes)

    def forward(self, states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return (P, classes) logits of two (P, H)."""
        found: torch.Tensor = self.layers(torch.cat([states + others, states * others], dim=1))
        return found


@dataclass(frozen=True)
class MaskedDistance:
    """How far the atoms of a pair are from each other, from all that is known of both but the pair itself.

    Attributes
    ----------
    shortest
        Angstrom: the classes lie between this and the cutoff.
    cutoff
        Angstrom.
    guess
        See :class:`mlff_curate.pretraining.tasks.Task`.
    """

    shortest: float
    cutoff: float
    guess: float
    name = DISTANCE
    of_several = False

    @classmethod
    def of(cls, data: Unlabelled, frames: np.ndarray) -> MaskedDistance:
        """Return the task for the distances that some frames have."""
        known = _distances_of(data, frames)
        shortest = float(known.min())
        return cls(shortest, data.cutoff, _entropy(_distance_class(known, shortest, data.cutoff)))

    def head(self, channels: int) -> PairHead:
        """Return its layers."""
        return PairHead(channels, _CLASSES)

    def ask(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator) -> Masked:
        """Draw pairs; the graph lacks both edges of each."""
        graph = data.graph.part(frames)
        there, back = pairs_of(graph)
        hidden = some_of(len(there), _HIDDEN, rng)
        edges = there[hidden]
        distance = np.linalg.norm(graph.vector[edges], axis=1)
        return Masked(
            without(graph, np.concatenate([edges, back[hidden]])),
            graph.centre[edges],
            graph.neighbour[edges],
            _distance_class(distance, self.shortest, self.cutoff),
        )

    def answers(self, network: PretrainingNetwork, data: Unlabelled, asked: Masked) -> torch.Tensor:
        """Return (A, classes) logits."""
        states = network.last_states(data.batch(asked.graph))
        found: torch.Tensor = network.heads[DISTANCE](states[data.whole(asked.atoms)], states[data.whole(asked.others)])
        return found

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean cross-entropy; see :class:`mlff_curate.pretraining.tasks.Task`."""
        asked = self.ask(data, frames, rng)
        with torch.set_grad_enabled(training):
            return _cross_entropy(asked, data, lambda: self.answers(network, data, asked))


def _cross_entropy(asked: Masked, data: Unlabelled, answers: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """Return the mean cross-entropy of (A, classes) logits, and A; no network is asked where nothing is hidden."""
    if not len(asked.atoms):
        return torch.zeros((), device=data.device), 0
    return functional.cross_entropy(answers(), data.whole(asked.answer)), len(asked.atoms)


def _distance_class(distance: np.ndarray, shortest: float, cutoff: float) -> np.ndarray:
    place = (distance - shortest) / max(cutoff - shortest, 1e-9) * _CLASSES
    found: np.ndarray = np.clip(place.astype(np.int64), 0, _CLASSES - 1)
    return found


@dataclass(frozen=True)
class MaskedCoordination:
    """How many nearest neighbours an atom has, while a share of its pairs is hidden.

    Attributes
    ----------
    radius
        Angstrom: who is nearer is a nearest neighbour.
    most
        Neighbours; more count as so many.
    guess
        See :class:`mlff_curate.pretraining.tasks.Task`.
    """

    radius: float
    most: int
    guess: float
    name = COORDINATION
    of_several = False

    @classmethod
    def of(cls, data: Unlabelled, frames: np.ndarray) -> MaskedCoordination:
        """Return the task for the neighbours that some frames have."""
        radius = first_shell(_distances_of(data, frames), data.cutoff)
        atoms = np.intersect1d(data.graph.nodes_of(frames), np.unique(data.graph.centre))  # those that are asked for
        counts = _coordination(data.graph, radius)[atoms]
        return cls(radius, int(counts.max()), _entropy(counts))

    def head(self, channels: int) -> nn.Module:
        """Return its layers."""
        return small_network(channels, 2 * channels, self.most + 1)

    def ask(self, data: Unlabelled, frames: np.ndarray, rng: np.random.Generator) -> Masked:
        """Draw atoms that have neighbours, and pairs of theirs; the graph lacks both edges of each of these."""
        graph = data.graph.part(frames)
        near = np.unique(graph.centre)
        atoms = near[some_of(len(near), _MASKED, rng)]
        there, back = pairs_of(graph)
        chosen = np.zeros(len(graph.numbers), bool)
        chosen[atoms] = True
        touching = np.flatnonzero(chosen[graph.centre[there]] | chosen[graph.neighbour[there]])
        hidden = touching[some_of(len(touching), _HIDDEN_OF_ATOM, rng)]
        answer = np.minimum(_coordination(graph, self.radius)[atoms], self.most)
        return Masked(without(graph, np.concatenate([there[hidden], back[hidden]])), atoms, atoms, answer)

    def answers(self, network: PretrainingNetwork, data: Unlabelled, asked: Masked) -> torch.Tensor:
        """Return (A, most + 1) logits."""
        states = network.last_states(data.batch(asked.graph))
        found: torch.Tensor = network.heads[COORDINATION](states[data.whole(asked.atoms)])
        return found

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean cross-entropy; see :class:`mlff_curate.pretraining.tasks.Task`."""
        asked = self.ask(data, frames, rng)
        with torch.set_grad_enabled(training):
            return _cross_entropy(asked, data, lambda: self.answers(network, data, asked))


def _coordination(graph: VectorGraph, radius: float) -> np.ndarray:
    near = np.einsum("ek,ek->e", graph.vector, graph.vector) < radius**2
    return np.bincount(graph.centre[near], minlength=len(graph.numbers))


def first_shell(distance: np.ndarray, cutoff: float) -> float:
    """Return where the first shell of neighbours ends, Angstrom: at the first minimum of their density.

    Parameters
    ----------
    distance
        (E,) of all neighbours inside the cutoff, Angstrom.
    cutoff
        Angstrom. Where no minimum is found below it, the shell ends at 1.25 times the first peak.
    """
    count = max(1, math.ceil(cutoff / _WIDTH))
    edges = np.linspace(0.0, cutoff, count + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    density = np.histogram(distance, edges)[0] / middle**2
    reach = np.arange(-4 * _BLUR, 4 * _BLUR + 1)
    density = np.convolve(density, np.exp(-0.5 * (reach / _BLUR) ** 2), mode="same")[:count]
    # what is a tenth of the highest is no peak, but a few odd contacts
    rising = np.diff(density, prepend=0.0) > 0
    falling = np.diff(density, append=0.0) <= 0
    peaks = np.flatnonzero(rising & falling & (density > 0.1 * density.max()))
    if not len(peaks):
        return cutoff
    peak = int(peaks[0])
    behind = density[peak:]
    turns = np.flatnonzero((np.diff(behind, prepend=np.inf) < 0) & (np.diff(behind, append=-np.inf) >= 0))
    turns = turns[behind[turns] < _VALLEY * density[peak]]
    end = float(middle[peak + turns[0]]) if len(turns) else float(_BEHIND_PEAK * middle[peak])
    return min(end, cutoff)


def _distances_of(data: Unlabelled, frames: np.ndarray) -> np.ndarray:
    wanted = np.zeros(data.graph.frames, bool)
    wanted[frames] = True
    found: np.ndarray = data.distances[wanted[data.graph.frame[data.graph.centre]]]
    return found


def _entropy(classes: np.ndarray) -> float:
    """Return the cross-entropy of guessing each class as often as it comes."""
    share = np.unique(classes, return_counts=True)[1] / len(classes)
    return float(abs((share * np.log(share)).sum()))
