"""Bispectrum components of the neighbour density, computed by LAMMPS (`compute sna/atom`).

Source: Bartok, Payne, Kondor, Csanyi, Phys. Rev. Lett. 104, 136403 (2010); Thompson, Swiler, Trott, Foiles, Tucker,
J. Comput. Phys. 285, 316 (2015); https://docs.lammps.org/compute_sna_atom.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlff_curate.errors import CurateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms

# Share of the half sphere angle that the cutoff is mapped to; the value of the published SNAP potentials.
RFAC0 = 0.99363
MAX_TWOJMAX = 14  # 204 components; beyond that a frame takes seconds and the components tell nothing new


@dataclass(frozen=True)
class Bispectrum:
    """SNAP's bispectrum components as a `Descriptor`.

    One species gives one block of components. Several give a block for each, in which only neighbours of that
    species count, and a last block in which all count alike. The blocks see the composition of an environment and,
    through the last one, the angles between neighbours of different species. LAMMPS' own way (`chem`) has
    components for each triple of species, so their number grows with the cube of the species where this one
    grows linearly: 240 against 90 for two, 810 against 120 for three.

    The components of an environment without neighbours are zero, to rounding. The species of the central atom is
    not part of the vector.

    Parameters
    ----------
    species
        Atomic numbers that the descriptor tells apart; kept in ascending order.
    cutoff
        Radius of an environment in Angstrom.
    twojmax
        Twice the largest angular momentum: 6 gives 30 components, 8 gives 55.

    Raises
    ------
    UsageError
        No species, a cutoff that is not positive, or `twojmax` out of [0, 14].

    Examples
    --------
    >>> from ase.build import bulk
    >>> Bispectrum([73], 4.7).compute([bulk("Ta", a=3.316), bulk("Ta", a=3.316, cubic=True)]).shape
    (3, 30)
    """

    species: tuple[int, ...]
    cutoff: float
    twojmax: int = 6
    name: ClassVar[str] = "bispectrum"
    title: ClassVar[str] = name

    def __init__(self, species: Sequence[int], cutoff: float, twojmax: int = 6) -> None:
        numbers = tuple(sorted({int(number) for number in species}))
        if not numbers:
            raise UsageError("a bispectrum needs at least one species")
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise UsageError(f"a cutoff is a positive length in Angstrom, got {cutoff}")
        if not 0 <= twojmax <= MAX_TWOJMAX:
            raise UsageError(f"twojmax is a whole number in [0, {MAX_TWOJMAX}], got {twojmax}")
        object.__setattr__(self, "species", numbers)
        object.__setattr__(self, "cutoff", float(cutoff))
        object.__setattr__(self, "twojmax", int(twojmax))

    @property
    def size(self) -> int:
        """D, the numbers per environment."""
        return n_components(self.twojmax) * len(self._weights())

    def settings(self) -> dict[str, Any]:
        """Return name, species, cutoff and order."""
        return {"name": self.name, "species": list(self.species), "cutoff": self.cutoff, "twojmax": self.twojmax}

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the descriptors, (N, D) float32, ordered by frame and atom.

        Raises
        ------
        DataError
            A frame holds other species or cannot be set up; the message carries its index.
        MissingDependencyError
            LAMMPS is missing.
        """
        rows = list(self._per_frame(frames))  # F arrays (n_atoms, D)
        return np.concatenate([np.empty((0, self.size), dtype=np.float32), *rows])

    def _per_frame(self, frames: Sequence[Atoms]) -> Iterator[np.ndarray]:
        from mlff_curate.lammps_session import LammpsSession

        commands = self._commands()
        names = [f"block{i}" for i in range(len(self._weights()))]
        with LammpsSession() as session:
            for index, frame in enumerate(frames):
                if len(frame) == 0:
                    continue
                try:
                    session.load(frame, self.species, commands)
                    session.run(0)
                    blocks = [session.per_atom(name) for name in names]
                except CurateError as error:
                    error.frame = index
                    raise
                yield np.concatenate(blocks, axis=1).astype(np.float32)

    def _weights(self) -> list[tuple[float, ...]]:
        """Weight of a neighbour of each species, one tuple per block."""
        everything = (1.0,) * len(self.species)
        if len(self.species) == 1:
            return [everything]
        return [*(tuple(map(float, row)) for row in np.eye(len(self.species))), everything]

    def _commands(self) -> list[str]:
        # LAMMPS takes the sum of two radii as the cutoff of a pair: halves make it the same for all.
        radii = " ".join(["0.5"] * len(self.species))
        lines = [f"pair_style zero {self.cutoff:.17g} full", "pair_coeff * *"]
        for i, weights in enumerate(self._weights()):
            shape = f"{self.cutoff:.17g} {RFAC0} {self.twojmax} {radii} {' '.join(f'{w:g}' for w in weights)}"
            lines.append(f"compute block{i} all sna/atom {shape}")
        return lines


def n_components(twojmax: int) -> int:
    """Count the distinct bispectrum components, those with 0 <= j2 <= j1 <= j <= twojmax.

    Examples
    --------
    >>> [n_components(twojmax) for twojmax in (2, 6, 8)]
    [5, 30, 55]
    """
    return sum(
        1
        for j1 in range(twojmax + 1)
        for j2 in range(j1 + 1)
        for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2)
        if j >= j1
    )
