"""The power spectrum of the neighbour density: the default descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.descriptors.base import require_species
from mlff_curate.graphs.neighbours import Neighbours, default_cutoff, neighbour_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from ase import Atoms

_BATCH = 512
"""Environments per batched product: bounds memory at about 100 MB for 200 neighbours."""


class PowerSpectrum:
    """Rotation invariants of the neighbour density, told apart by element.

    With the expansion ``c[s, n, l, m] = sum_j R_n(r_ij) Y_lm(r_ij)`` over the neighbours j of element s,

        p[n, s, n', l] = sum_m (sum_s' c[s', n, l, m]) c[s, n', l, m] / sqrt(2 l + 1)

    (Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013), eq. 33, with one of the two densities summed over the
    elements, so that the size grows with the number of elements and not with its square: Darby, Kermode, Csanyi,
    npj Comput. Mater. 8, 166 (2022)). Each vector is divided by the root of its length, which makes it linear in the
    density: a compressed crystal is far from the others, but not quadratically so. Of ``order`` 3 it is multiplied by
    the root instead, and cubic.

    The radial functions are e3nn's smooth finite bumps, zero with all derivatives at the cutoff.

    Parameters
    ----------
    species
        Atomic numbers that may occur, in any order.
    cutoff
        Angstrom; by default a multiple of the elements' nearest-neighbour distances.
    n_max
        Number of radial functions.
    l_max
        Highest degree of the spherical harmonics.
    order
        Power of the density that the numbers grow with; 2 is the power spectrum itself.
    """

    name = title = "power-spectrum"

    def __init__(
        self, species: Sequence[int], cutoff: float | None = None, n_max: int = 6, l_max: int = 4, order: int = 1
    ) -> None:
        self.species = tuple(sorted({int(z) for z in species}))
        self.cutoff = float(default_cutoff(self.species) if cutoff is None else cutoff)
        self.n_max = n_max
        self.l_max = l_max
        self.order = order
        n, s = n_max, len(self.species)
        self.size = (l_max + 1) * (n * (n + 1) // 2 if s == 1 else n * n * s)

    def settings(self) -> dict[str, Any]:
        """Return name, species, cutoff and expansion; the order is 1 in all that is stored."""
        return {
            "name": self.name,
            "species": list(self.species),
            "cutoff": self.cutoff,
            "n_max": self.n_max,
            "l_max": self.l_max,
        }

    def compute(self, frames: Sequence[Atoms], neighbours: Neighbours | None = None) -> np.ndarray:
        """Return the descriptors.

        Parameters
        ----------
        frames
            F frames with N atoms in all, of the descriptor's elements only.
        neighbours
            Their neighbours within the cutoff, if they are known already.

        Returns
        -------
        numpy.ndarray
            (N, D) float32, ordered by frame and atom. An atom without neighbours has the zero vector.

        Raises
        ------
        ValueError
            A frame has an element that the descriptor was not made for.
        """
        require_species(frames, self.species)
        if neighbours is None:
            neighbours = neighbour_list(frames, self.cutoff)
        out = np.zeros((len(neighbours.count), self.size), np.float32)
        ends = np.cumsum(neighbours.count)
        for first in range(0, len(out), _BATCH):
            last = min(first + _BATCH, len(out))
            edges = slice(ends[first] - neighbours.count[first], ends[last - 1])
            out[first:last] = self._batch(neighbours, first, last, edges)
        return out

    def _batch(self, neighbours: Neighbours, first: int, last: int, edges: slice) -> np.ndarray:
        import torch
        from e3nn import o3

        vector = torch.from_numpy(np.ascontiguousarray(neighbours.vector[edges]))
        count = neighbours.count[first:last]
        centre = torch.from_numpy(neighbours.centre[edges] - first)
        starts = np.cumsum(count) - count
        place = torch.from_numpy(np.arange(len(vector)) - np.repeat(starts, count))
        channel = torch.from_numpy(np.searchsorted(self.species, neighbours.number[edges]))
        B, M, S, n = last - first, max(1, int(count.max())), len(self.species), self.n_max

        angular = o3.spherical_harmonics(list(range(self.l_max + 1)), vector, normalize=True, normalization="component")
        radial = self.radial(vector.norm(dim=1))
        padded_angular = angular.new_zeros(B, M, angular.shape[1])
        padded_angular[centre, place] = angular
        padded_radial = radial.new_zeros(B, M, S, n)
        padded_radial[centre, place, channel] = radial
        density = torch.einsum("bmx,bmy->bxy", padded_radial.view(B, M, S * n), padded_angular)  # (B, S n, lm)
        return self.invariants(density.view(B, S, n, -1)).to(torch.float32).numpy()

    def radial(self, distance: torch.Tensor) -> torch.Tensor:
        """Return the radial functions, (E, n_max)."""
        from e3nn.math import soft_one_hot_linspace

        bumps: torch.Tensor = soft_one_hot_linspace(
            distance, 0.0, self.cutoff, self.n_max, basis="smooth_finite", cutoff=True
        )
        return bumps

    def invariants(self, density: torch.Tensor) -> torch.Tensor:
        """Contract a density (B, S, n, (l_max + 1)^2) to invariants (B, D) of the order asked for."""
        import torch

        _, S, n, _ = density.shape
        total = density.sum(dim=1)
        every = density.flatten(1, 2)
        upper = torch.triu_indices(n, n) if S == 1 else None
        blocks, start = [], 0
        for degree in range(self.l_max + 1):
            width = 2 * degree + 1
            part = slice(start, start + width)
            product = total[:, :, part] @ every[:, :, part].transpose(1, 2) / width**0.5
            blocks.append(product[:, upper[0], upper[1]] if upper is not None else product.flatten(1))
            start += width
        p = torch.cat(blocks, dim=1)
        if self.order == 2:
            return p
        length = p.norm(dim=1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
        out: torch.Tensor = p * length ** (self.order / 2 - 1)
        return out
