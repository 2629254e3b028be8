"""The network of the energy model: vectors to all neighbours inside a cutoff to an energy for each atom.

The gated convolution of Xie & Grossman, PRL 120, 145301 (equation 5), made smooth: every message is multiplied by an
envelope that goes to zero with slope and curvature at the cutoff, sums take the place of means, and there is no batch
norm, so that an atom's energy depends on its surroundings alone. Distances say nothing of angles; with `degree` above
-1 each convolution also sees the density of neighbours in spherical harmonics, of which for each degree l the products
of two mixtures of its channels are kept (the power spectrum: three-body information; A. P. Bartok et al., Phys. Rev. B
87, 184115 (2013), with radial functions that are learned, as in R. Drautz, Phys. Rev. B 99, 014104 (2019)).

Shapes: N atoms, E directed edges, F frames, H channels, K radial functions, C angular channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from mlff_curate.errors import UsageError

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
    layers
        Digits of the states that energies are made from, 0 before the first convolution; empty: the last.
    """

    elements: tuple[int, ...]
    cutoff: float
    channels: int
    radial: int
    convolutions: int
    angular: int
    degree: int
    neighbours: float
    layers: str = ""

    @property
    def deepest(self) -> int:
        """The last layer that energies are made from; what is behind no training of energies has fitted."""
        return max(self.read)

    @property
    def read(self) -> list[int]:
        """Numbers of the states that energies are made from."""
        return layers_of(self.layers, self.convolutions) if self.layers else [self.convolutions]


def layers_of(layers: str | None, convolutions: int, whose: str = "the encoder's") -> list[int]:
    """Return the numbers of layers that are written as digits; None: all. `whose` they are is for the message.

    Raises
    ------
    UsageError
        There is none of that number, or one comes twice.
    """
    if layers is None:
        return list(range(convolutions + 1))
    if not (isinstance(layers, str) and layers.isascii() and layers.isdigit() and len(set(layers)) == len(layers)):
        raise UsageError(f"digits such as 012 are expected, each once, got {layers!r}", key="--layers")
    wanted = [int(digit) for digit in layers]
    if max(wanted) > convolutions:
        raise UsageError(f"there is no layer {max(wanted)}: {whose} are 0 to {convolutions}", key="--layers")
    return wanted


def require_surroundings(layers: list[int]) -> None:
    """Refuse layer 0 alone.

    Raises
    ------
    UsageError
        There is no other.
    """
    if max(layers) == 0:
        raise UsageError("layer 0 knows the element of an atom and nothing of its surroundings", key="--layers")


def envelope(x: torch.Tensor) -> torch.Tensor:
    """Return 1 at 0, falling to 0 with zero slope and curvature at 1; 0 beyond."""
    p = _SMOOTHNESS
    inside = 1 - x**p * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))
    return torch.where(x < 1, inside, torch.zeros_like(x))


class RadialFunctions(nn.Module):
    """Spherical Bessel functions of order 0 that vanish at the cutoff, times the envelope.

    ``sqrt(2 / r_c) sin(k pi r / r_c) / r``, k = 1 ... K (J. Gasteiger et al., ICLR 2020, equation 7).
    """

    def __init__(self, radial: int, cutoff: float) -> None:
        super().__init__()
        self.radial = radial
        self.cutoff = cutoff

    def forward(self, distance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (E, K) radial functions and the (E, 1) envelope of (E, 1) distances."""
        fading = envelope(distance / self.cutoff)
        # not kept: a network is made in single precision, and may be moved to double
        wave_numbers = torch.arange(1, self.radial + 1).to(distance) * (math.pi / self.cutoff)
        waves = math.sqrt(2 / self.cutoff) * torch.sin(wave_numbers * distance) / distance
        return waves * fading, fading


def _size(values: torch.Tensor) -> torch.Tensor:
    return values.square().mean().sqrt()


class Standardised(nn.Module):
    """Values of atoms less their mean, by their spread, both as they were over a sample of what is learned from.

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
        z = own[:, None] + functional.embedding(edges.neighbour, others) + self.edge(edges.radial)
        gate, core = z.chunk(2, dim=2)
        message = torch.sigmoid(gate) * functional.silu(core) * edges.envelope  # (N, M, H)
        new = self.heard(self.message_units(message.sum(dim=1) * self.scale))
        if self.degree >= 0:
            new = new + self.shape(self.shape_units(self._power_spectrum(v, edges)))
        return v + functional.silu(new)

    def _power_spectrum(self, v: torch.Tensor, edges: VectorEdges) -> torch.Tensor:
        """Return (N, (degree + 1) C): for each l the products of two mixtures of the density, summed over m."""
        weight = self.radial(edges.radial) * functional.embedding(edges.neighbour, self.strength(v))  # (N, M, C)
        # atom by atom, a small matrix product: the products of each edge never lie in memory
        density = edges.harmonics @ weight * self.scale  # (N, (degree + 1)^2, C)
        out, first = [density[:, 0]], 1
        for degree in range(1, self.degree + 1):
            part = density[:, first : first + 2 * degree + 1]
            out.append((part * (part @ self.mixing[degree])).sum(dim=1))
            first += 2 * degree + 1
        return torch.cat(out, dim=1)


@dataclass(frozen=True)
class VectorEdges:
    """Who hears whom, from where: a row of M places for each of N atoms, M the most neighbours that any has.

    A row that is not full ends in places beyond the cutoff, where radial functions and envelope are 0: they are silent.

    Attributes
    ----------
    neighbour
        (N, M) int64, atoms.
    radial
        (N, M, K) radial functions.
    envelope
        (N, M, 1).
    harmonics
        (N, (degree + 1)^2, M) spherical harmonics of the directions to the neighbours; empty without angles.
    """

    neighbour: torch.Tensor
    radial: torch.Tensor
    envelope: torch.Tensor
    harmonics: torch.Tensor


class PotentialNetwork(nn.Module):
    """States of atoms from their elements, convolutions, and an energy per atom from the last states, or several.

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
        self.harmonics = SphericalHarmonics(sizes.degree)
        self.embedding = nn.Embedding(len(sizes.elements), H)
        self.convolutions = nn.ModuleList(SmoothConvolution(sizes) for _ in range(sizes.convolutions))
        self.energy = nn.Sequential(nn.Linear(len(sizes.read) * H, H), nn.SiLU(), nn.Linear(H, 1))

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
        states = self.states(self.embedding(species), vector, centre, neighbour, self.sizes.deepest)
        return self.energy(self.read_states(states))[:, 0]  # type: ignore[no-any-return]

    def read_states(self, states: list[torch.Tensor]) -> torch.Tensor:
        """Return what energies are made from, (N, L H) of L of the states."""
        parts = [states[k] for k in self.sizes.read]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def states(
        self,
        first: torch.Tensor,
        vector: torch.Tensor,
        centre: torch.Tensor,
        neighbour: torch.Tensor,
        convolutions: int | None = None,
    ) -> list[torch.Tensor]:
        """Return the states of atoms before the first convolution and after each, every one (N, H).

        Parameters
        ----------
        first
            (N, H) before the first: in a potential the embedding of each atom's element.
        vector, centre, neighbour
            As for :meth:`forward`.
        convolutions
            How many of the first; None: all.
        """
        out = [first]
        edges = self._edges(vector, centre, neighbour, len(first))
        for convolution in self.convolutions[:convolutions]:
            out.append(convolution(out[-1], edges))
        return out

    def knowing(self, elements: tuple[int, ...]) -> PotentialNetwork:
        """Return one with the same weights that knows some of the elements only, ascending."""
        own = next(self.parameters())
        made = PotentialNetwork(replace(self.sizes, elements=elements)).to(own.device, own.dtype)
        weights = self.state_dict()
        rows = [self.sizes.elements.index(z) for z in elements]
        made.load_state_dict({**weights, "embedding.weight": weights["embedding.weight"][rows]})
        return made.eval()

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
        place, most = _places(centre, atoms)
        table = vector.new_zeros(atoms * most, 3).index_copy(0, place, vector)
        empty = torch.ones(atoms * most, 1, dtype=torch.bool, device=vector.device).index_fill(0, place, value=False)
        # the root has no derivative at 0
        distance = torch.where(empty, 2 * self.sizes.cutoff, torch.where(empty, 1.0, table).norm(dim=1, keepdim=True))
        radial, fading = self.radial(distance)
        others = neighbour.new_zeros(atoms * most).index_copy(0, place, neighbour)
        harmonics = self.harmonics((table / distance).T)
        return VectorEdges(
            others.view(atoms, most),
            radial.view(atoms, most, radial.shape[1]),
            fading.view(atoms, most, 1),
            harmonics.view(len(harmonics), atoms, most).transpose(0, 1),
        )


def _places(centre: torch.Tensor, atoms: int) -> tuple[torch.Tensor, int]:
    """Return where each of E edges goes in a table with a row for each atom, and how many places rows have."""
    order = torch.argsort(centre, stable=True)
    counts = torch.bincount(centre, minlength=atoms)
    # a silent place where no atom has a neighbour: what is empty cannot be derived
    most = int(counts.max()) if len(centre) else 1
    first = torch.cumsum(counts, 0) - counts
    place = torch.empty_like(centre)
    place[order] = torch.arange(len(centre), device=centre.device)
    return place - first[centre] + centre * most, most


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics with e3nn's constants, each degree from the one before.

    The product of a direction with the harmonics of degree l, contracted by Wigner's 3j symbols (e3nn's), is those of
    degree l + 1 but for a factor. A few matrix products over all edges take less than half of the time of e3nn's own
    function, which has some hundred products of its own for degree 4 (docs/benchmarks.md).

    Parameters
    ----------
    degree
        Largest; -1: none.
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        for last, step in enumerate(_steps(degree), start=1):
            self.register_buffer(f"from_{last}", step, persistent=False)

    def forward(self, direction: torch.Tensor) -> torch.Tensor:
        """Return ((degree + 1)^2, E) of (3, E) unit vectors, with component normalisation."""
        if self.degree < 0:
            return direction.new_zeros(0, direction.shape[1])
        out = [torch.ones_like(direction[:1])]
        if self.degree > 0:
            out.append(math.sqrt(3) * direction)
        for last in range(1, self.degree):
            products = (out[-1][:, None] * direction[None]).flatten(0, 1)  # ((2 last + 1) 3, E)
            out.append(getattr(self, f"from_{last}").to(direction) @ products)
        return torch.cat(out)


def _steps(degree: int) -> list[torch.Tensor]:
    """Return the matrices, (2 l + 3, (2 l + 1) 3) float64, that lead from degree l to l + 1, l = 1 ... degree - 1."""
    if degree < 2:  # e3nn takes a second to import
        return []
    from e3nn.o3 import spherical_harmonics, wigner_3j

    axis = torch.tensor([0.36, 0.48, 0.8], dtype=torch.float64)  # any unit vector
    steps, values = [], math.sqrt(3) * axis
    for last in range(1, degree):
        step = wigner_3j(last, 1, last + 1, dtype=torch.float64).flatten(0, 1).T
        following = step @ torch.outer(values, axis).flatten()
        known = spherical_harmonics(last + 1, axis, normalize=False, normalization="component")
        factor = (known @ following) / (following @ following)
        steps.append((factor * step).contiguous())
        values = factor * following
    return steps
