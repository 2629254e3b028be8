"""The network of the energy model: vectors to all neighbours inside a cutoff to an energy for each atom.

The gated convolution of Xie & Grossman, PRL 120, 145301 (equation 5), made smooth: every message is multiplied by an
envelope that goes to zero with slope and curvature at the cutoff, sums take the place of means, and there is no batch
norm, so that an atom's energy depends on its surroundings alone. Distances say nothing of angles; with `degree` above
-1 each convolution also sees the density of neighbours in spherical harmonics, of which the squared lengths for each
degree l are kept (the power spectrum: three-body information; A. P. Bartok et al., Phys. Rev. B 87, 184115 (2013),
with radial functions that are learned, as in R. Drautz, Phys. Rev. B 99, 014104 (2019)).

Shapes: N atoms, E directed edges, F frames, H channels, K radial functions, C angular channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_SPREAD = 0.01
"""Share of the usual spread that each is increased by."""

_LEAST_SHARE = 1e-3
"""The same of the usual value."""

_SMOOTHNESS = 6
"""Power of the envelope (J. Gasteiger et al., ICLR 2020, equation 8)."""


@dataclass(frozen=True)
class PotentialSizes:
    """All that decides the shapes of the weights, and what is computed with them.

    Attributes
    ----------
    elements
        Atomic numbers the network knows, ascending.
    cutoff
        Angstrom.
    channels
        H, the state of an atom.
    radial
        K, Bessel functions per distance.
    convolutions
        How many, one after the other.
    angular
        C, channels of the neighbour density.
    degree
        Largest l of its spherical harmonics; -1: none, distances alone.
    neighbours
        Mean number of neighbours inside the cutoff of the frames learned from: sums are measured by its square root.
    """

    elements: tuple[int, ...]
    cutoff: float
    channels: int
    radial: int
    convolutions: int
    angular: int
    degree: int
    neighbours: float


def envelope(x: torch.Tensor) -> torch.Tensor:
    """Return 1 at 0, falling to 0 with zero slope and curvature at 1; 0 beyond."""
    p = _SMOOTHNESS
    inside = 1 - x**p * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))
    return torch.where(x < 1, inside, torch.zeros_like(x))


class RadialFunctions(nn.Module):
    """Spherical Bessel functions of order 0 that vanish at the cutoff, times the envelope.

    ``sqrt(2 / r_c) sin(k pi r / r_c) / r``, k = 1 ... K (J. Gasteiger et al., ICLR 2020, equation 7).
    """

    wave_numbers: torch.Tensor

    def __init__(self, radial: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("wave_numbers", torch.arange(1, radial + 1) * (math.pi / cutoff), persistent=False)

    def forward(self, distance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (E, K) radial functions and the (E, 1) envelope of (E, 1) distances."""
        fading = envelope(distance / self.cutoff)
        waves = math.sqrt(2 / self.cutoff) * torch.sin(self.wave_numbers * distance) / distance
        return waves * fading, fading


def _size(values: torch.Tensor) -> torch.Tensor:
    return values.square().mean().sqrt()


class Standardised(nn.Module):
    """Values of atoms less their mean, by their spread, both as they were over the first batch seen.

    The surroundings of an atom in a solid vary by a few per cent about those of its crystal: as they are, weights
    would have to grow large to tell them apart, and training would be slow. No statistics are taken later.

    Parameters
    ----------
    width
        Values per atom.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.learning = False
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (N, width) of the same."""
        if self.learning and len(values):
            self.mean = values.detach().mean(dim=0)
            spread = (values.detach() - self.mean).square().mean(dim=0).sqrt()
            # what hardly varies, as in a perfect crystal, is not blown up
            least = _LEAST_SPREAD * _size(spread) + _LEAST_SHARE * _size(values.detach())
            self.spread = spread + least if least > 0 else torch.ones_like(spread)
        return (values - self.mean) / self.spread


class SmoothConvolution(nn.Module):
    """One round of messages.

    Parameters
    ----------
    sizes
        See :class:`PotentialSizes`.
    """

    def __init__(self, sizes: PotentialSizes) -> None:
        super().__init__()
        H, K, C = sizes.channels, sizes.radial, sizes.angular
        self.scale = 1 / math.sqrt(sizes.neighbours)
        self.degree = sizes.degree
        self.centre = nn.Linear(H, 2 * H)
        self.neighbour = nn.Linear(H, 2 * H, bias=False)
        self.edge = nn.Linear(K, 2 * H, bias=False)
        self.message_units = Standardised(H)
        self.heard = nn.Linear(H, H)
        if sizes.degree >= 0:
            self.radial = nn.Linear(K, C, bias=False)
            self.strength = nn.Linear(H, C, bias=False)
            self.mixing = nn.Parameter(torch.randn(sizes.degree + 1, C, C) / math.sqrt(C))
            self.shape_units = Standardised((sizes.degree + 1) * C)
            self.shape = nn.Sequential(nn.Linear((sizes.degree + 1) * C, 2 * H), nn.SiLU(), nn.Linear(2 * H, H))

    def forward(self, v: torch.Tensor, edges: VectorEdges) -> torch.Tensor:
        """Return the new states, (N, H), of states (N, H)."""
        own, others = self.centre(v), self.neighbour(v)  # (N, 2H): no matrix meets the states of edges
        z = functional.embedding(edges.centre, own) + functional.embedding(edges.neighbour, others)
        gate, core = (z + self.edge(edges.radial)).chunk(2, dim=1)
        message = torch.sigmoid(gate) * functional.silu(core) * edges.envelope  # (E, H)
        new = self.heard(self.message_units(edges.gather(message, len(v)) * self.scale))
        if self.degree >= 0:
            new = new + self.shape(self.shape_units(self._power_spectrum(v, edges)))
        return v + functional.silu(new)

    def _power_spectrum(self, v: torch.Tensor, edges: VectorEdges) -> torch.Tensor:
        """Return (N, (degree + 1) C): for each l the products of two mixtures of the density, summed over m."""
        weight = self.radial(edges.radial) * functional.embedding(edges.neighbour, self.strength(v))  # (E, C)
        # atom by atom, a small matrix product: the products of each edge never lie in memory
        density = edges.harmonics @ edges.by_atom(weight, len(v)) * self.scale  # (N, (degree + 1)^2, C)
        out, first = [density[:, 0]], 1
        for degree in range(1, self.degree + 1):
            part = density[:, first : first + 2 * degree + 1]
            out.append((part * (part @ self.mixing[degree])).sum(dim=1))
            first += 2 * degree + 1
        return torch.cat(out, dim=1)


@dataclass(frozen=True)
class VectorEdges:
    """Who hears whom, from where.

    Attributes
    ----------
    centre, neighbour
        (E,) int64, atoms.
    radial
        (E, K) radial functions.
    envelope
        (E, 1).
    harmonics
        (N, (degree + 1)^2, M) spherical harmonics of the directions to an atom's neighbours, 0 where it has fewer than
        M, the most that any has; empty without angles.
    place
        (E,) of each edge among the N M places of neighbours.
    """

    centre: torch.Tensor
    neighbour: torch.Tensor
    radial: torch.Tensor
    envelope: torch.Tensor
    harmonics: torch.Tensor
    place: torch.Tensor

    def by_atom(self, values: torch.Tensor, atoms: int) -> torch.Tensor:
        """Return values of edges, (E, C), as (N, M, C)."""
        return _by_atom(values, self.place, atoms, self.harmonics.shape[2])

    def gather(self, messages: torch.Tensor, atoms: int) -> torch.Tensor:
        """Return the sum of the messages, (E, C), at each of N centres."""
        return messages.new_zeros(atoms, messages.shape[1]).index_add(0, self.centre, messages)


class PotentialNetwork(nn.Module):
    """States of atoms from their elements, convolutions, and an energy per atom from the last states.

    Parameters
    ----------
    sizes
        See :class:`PotentialSizes`.
    """

    def __init__(self, sizes: PotentialSizes) -> None:
        super().__init__()
        self.sizes = sizes
        H = sizes.channels
        self.radial = RadialFunctions(sizes.radial, sizes.cutoff)
        self.embedding = nn.Embedding(len(sizes.elements), H)
        self.convolutions = nn.ModuleList(SmoothConvolution(sizes) for _ in range(sizes.convolutions))
        self.energy = nn.Sequential(nn.Linear(H, H), nn.SiLU(), nn.Linear(H, 1))

    def forward(
        self, vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
    ) -> torch.Tensor:
        """Return (N,) energies of atoms, in units that the caller scales.

        Parameters
        ----------
        vector
            (E, 3) from centre to neighbour, Angstrom.
        species
            (N,) int64, places in ``sizes.elements``.
        centre, neighbour
            (E,) int64.
        """
        states = self.states(self.embedding(species), vector, centre, neighbour)
        return self.energy(states[-1])[:, 0]  # type: ignore[no-any-return]

    def states(
        self, first: torch.Tensor, vector: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the states of atoms before the first convolution and after each, every one (N, H).

        Parameters
        ----------
        first
            (N, H) before the first: in a potential the embedding of each atom's element.
        vector, centre, neighbour
            As for :meth:`forward`.
        """
        out = [first]
        edges = self._edges(vector, centre, neighbour, len(first))
        for convolution in self.convolutions:
            out.append(convolution(out[-1], edges))
        return out

    def take_units(
        self, vector: torch.Tensor, species: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor
    ) -> None:
        """Take means and spreads from one batch, layer after layer; see :class:`Standardised`."""
        layers = [module for module in self.modules() if isinstance(module, Standardised)]
        for layer in layers:
            layer.learning = True
        with torch.no_grad():
            self(vector, species, centre, neighbour)
        for layer in layers:
            layer.learning = False

    def _edges(self, vector: torch.Tensor, centre: torch.Tensor, neighbour: torch.Tensor, atoms: int) -> VectorEdges:
        distance = vector.norm(dim=1, keepdim=True)
        radial, fading = self.radial(distance)
        place, most = _places(centre, atoms)
        harmonics = spherical_harmonics(vector / distance, self.sizes.degree)
        harmonics = _by_atom(harmonics, place, atoms, most).transpose(1, 2)
        return VectorEdges(centre, neighbour, radial, fading, harmonics, place)


def _places(centre: torch.Tensor, atoms: int) -> tuple[torch.Tensor, int]:
    """Return where each of E edges goes in a table with a row for each atom, and how many places rows have."""
    order = torch.argsort(centre, stable=True)
    counts = torch.bincount(centre, minlength=atoms)
    most = int(counts.max()) if len(centre) else 0
    first = torch.cumsum(counts, 0) - counts
    place = torch.empty_like(centre)
    place[order] = torch.arange(len(centre), device=centre.device)
    return place - first[centre] + centre * most, most


def _by_atom(values: torch.Tensor, place: torch.Tensor, atoms: int, most: int) -> torch.Tensor:
    table = values.new_zeros(atoms * most, values.shape[1])
    return table.index_copy(0, place, values).view(atoms, most, values.shape[1])


def spherical_harmonics(direction: torch.Tensor, degree: int) -> torch.Tensor:
    """Return the real spherical harmonics of unit vectors, (E, (degree + 1)^2), with e3nn's component normalisation."""
    if degree < 0:
        return direction.new_zeros(len(direction), 0)
    from e3nn.o3 import spherical_harmonics as of_e3nn

    degrees: Sequence[int] = list(range(degree + 1))
    out: torch.Tensor = of_e3nn(degrees, direction, normalize=False, normalization="component")
    return out
