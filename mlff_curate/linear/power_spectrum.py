"""Design rows of a linear force field on a small power spectrum, for machines without LAMMPS.

The model's energy is one constant per species plus a linear function of the power spectrum of each atom's neighbour
density and of the density's radial part: pairs and triplets, with one set of coefficients per species of the centre.

Derivatives are torch's: a neighbour enters by its own vector alone, so three tangents in forward mode (Baydin,
Pearlmutter, Radul, Siskind, J. Mach. Learn. Res. 18, 1 (2018)), one per direction, move every neighbour of every atom
at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.neighbours import neighbour_list
from mlff_curate.linear.rows import ROW_OF, LinearRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from ase import Atoms

N_MAX, L_MAX = 5, 3

CONTACT = 0.2
"""Angstrom: the rows of frames with atoms nearer than this are not finite."""

_NEIGHBOURS = 8192
"""Neighbours per batch: bounds the memory at some 100 MB for two species."""


@dataclass(frozen=True, init=False)
class LinearPowerSpectrum:
    """A linear power-spectrum model without its coefficients.

    There is no reference: repulsion at short range is the fit's business.

    Parameters
    ----------
    species
        Atomic numbers; kept in ascending order.
    cutoff
        Radius of an environment in Angstrom.
    n_max, l_max
        Radial functions, and highest degree of the spherical harmonics.

    Raises
    ------
    UsageError
        No species, or a cutoff that is not positive.
    """

    species: tuple[int, ...]
    cutoff: float
    n_max: int
    l_max: int

    def __init__(self, species: Iterable[int], cutoff: float, n_max: int = N_MAX, l_max: int = L_MAX) -> None:
        numbers = tuple(sorted({int(number) for number in species}))
        if not numbers:
            raise UsageError("a power-spectrum model needs at least one species")
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise UsageError(f"a cutoff is a positive length in Angstrom, got {cutoff}")
        object.__setattr__(self, "species", numbers)
        object.__setattr__(self, "cutoff", float(cutoff))
        object.__setattr__(self, "n_max", int(n_max))
        object.__setattr__(self, "l_max", int(l_max))

    @property
    def kind(self) -> str:
        """Its name among :data:`mlff_curate.linear.models.MODELS`."""
        return "power-spectrum"

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return f"linear power spectrum (n_max {self.n_max}, l_max {self.l_max}, cutoff {self.cutoff:g} \u00c5)"

    @property
    def size(self) -> int:
        """K, the number of coefficients without the constants."""
        S = len(self.species)
        return S * (self._spectrum.size + S * self.n_max)

    @property
    def _spectrum(self) -> PowerSpectrum:
        return PowerSpectrum(self.species, self.cutoff, self.n_max, self.l_max, order=2)

    def rows(self, frames: Iterable[Atoms]) -> Iterator[LinearRows]:
        """Yield the rows of one frame after the other.

        Numbers are not finite where atoms are nearer than CONTACT.

        Raises
        ------
        DataError
            A frame holds other species, or numbers that are not finite; the message carries its index.
        """
        for index, frame in enumerate(frames):
            strange = sorted({int(z) for z in frame.numbers} - set(self.species))
            if strange:
                raise DataError(f"{', '.join(chemical_symbols[z] for z in strange)} is not set up", frame=index)
            if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell[:]).all()):
                raise DataError("positions or cell hold numbers that are not finite", frame=index)
            yield self._rows_of(frame)

    def _rows_of(self, frame: Atoms) -> LinearRows:
        """Return the rows of n atoms, in batches of neighbours."""
        n, S, K = len(frame), len(self.species), self.size
        D = K // S
        neighbours = neighbour_list([frame], self.cutoff)
        kind = np.searchsorted(self.species, frame.numbers)  # (n,)
        energy, forces, strain = np.zeros((S, D)), np.zeros((n * S, 3, D)), np.zeros((6, S, D))
        ends = np.cumsum(neighbours.count)
        first = 0
        while first < n:
            start = int(ends[first] - neighbours.count[first])
            last = max(first + 1, int(np.searchsorted(ends, start + _NEIGHBOURS, side="right")))
            edges = slice(start, int(ends[last - 1]))
            centre, vector = neighbours.centre[edges], neighbours.vector[edges]
            channel = np.searchsorted(self.species, neighbours.number[edges])
            values, slopes = self._features(vector, centre - first, channel, last - first)  # (B, D), (3, E, D)
            np.add.at(energy, kind[first:last], values)
            for k in range(3):
                np.subtract.at(forces[:, k], neighbours.neighbour[edges] * S + kind[centre], slopes[k])
                np.add.at(forces[:, k], centre * S + kind[centre], slopes[k])
            for s in range(S):
                mine = kind[centre] == s
                tensor = np.einsum("ea,bed->abd", vector[mine], slopes[:, mine])
                strain[:, s] += 0.5 * (tensor[ROW_OF] + tensor[ROW_OF[::-1]])
            first = last
        if len(neighbours.vector) and np.linalg.norm(neighbours.vector, axis=1).min() < CONTACT:
            energy[:] = np.nan
        periodic = bool(frame.pbc.all())
        return LinearRows(
            composition=np.bincount(kind, minlength=S) / n,
            energy=energy.ravel() / n,
            forces=forces.reshape(n, S, 3, D).transpose(0, 2, 1, 3).reshape(n, 3, K),
            strain=strain.reshape(6, K) / n if periodic else None,
            reference_energy=0.0,
            reference_forces=np.zeros((n, 3)),
            reference_strain=np.zeros(6) if periodic else None,
        )

    def _features(
        self, vector: np.ndarray, centre: np.ndarray, channel: np.ndarray, B: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of B atoms, (B, D), and their derivatives by the E neighbours' vectors, (3, E, D)."""
        import torch
        from e3nn import o3
        from torch.func import jvp

        spectrum, S = self._spectrum, len(self.species)
        r = torch.from_numpy(np.ascontiguousarray(vector))
        owner, kind = torch.from_numpy(centre), torch.from_numpy(channel)
        degrees = list(range(self.l_max + 1))

        def angular(r: torch.Tensor) -> torch.Tensor:
            harmonics: torch.Tensor = o3.spherical_harmonics(degrees, r, normalize=True, normalization="component")
            return harmonics

        def features(density: torch.Tensor) -> torch.Tensor:
            """Return triplets and pairs of a density (., S, n, lm)."""
            pairs = density[..., 0].flatten(1)
            return torch.cat([spectrum.invariants(density), pairs], dim=1)

        # e3nn's bumps know backward mode only: one pass per bump, since each distance moves its own bumps alone
        distance = r.norm(dim=1).requires_grad_()
        bumps = spectrum.radial(distance)
        steepness = [torch.autograd.grad(bumps[:, a].sum(), distance, retain_graph=True)[0] for a in range(self.n_max)]
        bumps, ascent = bumps.detach(), torch.stack(steepness, dim=1)  # (E, n)
        direction, Y = r / distance.detach()[:, None], angular(r)
        single = bumps[:, :, None] * Y[:, None, :]  # (E, n, lm), what each neighbour adds to the density of its centre
        density = single.new_zeros(B, S, *single.shape[1:]).index_put_((owner, kind), single, accumulate=True)
        slopes = []
        for k in range(3):
            ahead = torch.zeros_like(r)
            ahead[:, k] = 1.0
            turned = jvp(angular, (r,), (ahead,))[1]
            moved = (ascent * direction[:, k, None])[:, :, None] * Y[:, None, :] + bumps[:, :, None] * turned[
                :, None, :
            ]
            tangent = moved.new_zeros(len(r), S, *moved.shape[1:])
            tangent[torch.arange(len(r)), kind] = moved
            slopes.append(jvp(features, (density[owner],), (tangent,))[1].numpy())
        return features(density).numpy(), np.stack(slopes)
