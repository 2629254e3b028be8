"""Design rows of a linear SNAP force field, computed by LAMMPS (`compute snap`).

The model's energy is a repulsive reference plus one constant per species plus a linear function of the bispectrum
components of all atoms, with one set of coefficients per species. So energies and forces are linear in the
coefficients, and fitting them is one least-squares problem.

Source: Thompson, Swiler, Trott, Foiles, Tucker, J. Comput. Phys. 285, 316 (2015);
https://docs.lammps.org/compute_sna_atom.html. Reference: Ziegler, Biersack, Littmark, "The Stopping and Range of Ions
in Solids" (1985); https://docs.lammps.org/pair_zbl.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import CurateError, DataError, UsageError
from mlff_curate.lammps_session import LammpsSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ase import Atoms

# Share of the half sphere angle that the cutoff is mapped to; the value of the published SNAP potentials.
RFAC0 = 0.99363
TWOJMAX = 6

# Where the repulsion of the nuclei is switched off, Angstrom; the values of the published tantalum potential.
ZBL_INNER, ZBL_OUTER = 4.0, 4.8

# A neighbour's weight in the density tells its species: evenly spread between these, by atomic number. Published SNAP
# alloys have 0.93 to 1 (InP, WBe in LAMMPS). On random Cu-Ni, Co-Al and Cu-Ta with EAM labels 0.9 to 0.95 was best or
# nearly so; 0.5 doubled the errors, and equal weights, blind to the neighbours' species, cost Co-Al a factor of two.
_LARGEST_WEIGHT, _SMALLEST_WEIGHT = 1.0, 0.93


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class SnapRows:
    """What the model needs to know of one frame: n atoms, S species, K coefficients.

    The model is `energy per atom = reference_energy + composition @ constants + energy @ coefficients` and
    `forces = reference_forces + forces @ coefficients`.

    Attributes
    ----------
    composition
        (S,) share of each species among the atoms.
    energy
        (K,) sums of the bispectrum components over the atoms of each species, per atom of the frame.
    forces
        (n, 3, K) minus the derivatives of n times `energy` by the positions, 1/Angstrom.
    reference_energy
        Of the repulsion, eV/atom.
    reference_forces
        (n, 3), eV/Angstrom.
    """

    composition: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    reference_energy: float
    reference_forces: np.ndarray


@dataclass(frozen=True)
class LinearSnap:
    """A linear SNAP model without its coefficients.

    An atom without neighbours has zero components, so that the constant of its species is the energy of the free atom.

    Parameters
    ----------
    species
        Atomic numbers; kept in ascending order.
    cutoff
        Radius of an environment in Angstrom, the same for all species.
    twojmax
        Twice the largest angular momentum: 6 gives 30 components, 8 gives 55.

    Raises
    ------
    UsageError
        No species, or a cutoff that is not positive.

    Examples
    --------
    >>> from ase.build import bulk
    >>> rows = next(LinearSnap([73], 4.7).rows([bulk("Ta", a=3.3, cubic=True)]))
    >>> rows.energy.shape, rows.forces.shape
    ((30,), (2, 3, 30))
    """

    species: tuple[int, ...]
    cutoff: float
    twojmax: int = TWOJMAX

    def __init__(self, species: Sequence[int], cutoff: float, twojmax: int = TWOJMAX) -> None:
        numbers = tuple(sorted({int(number) for number in species}))
        if not numbers:
            raise UsageError("a SNAP model needs at least one species")
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise UsageError(f"a cutoff is a positive length in Angstrom, got {cutoff}")
        object.__setattr__(self, "species", numbers)
        object.__setattr__(self, "cutoff", float(cutoff))
        object.__setattr__(self, "twojmax", int(twojmax))

    @property
    def size(self) -> int:
        """K, the number of coefficients without the constants."""
        from mlff_curate.descriptors.bispectrum import n_components

        return n_components(self.twojmax) * len(self.species)

    def rows(self, frames: Iterable[Atoms]) -> Iterator[SnapRows]:
        """Yield the rows of one frame after the other.

        Numbers are not finite where atoms sit on top of each other.

        Raises
        ------
        DataError
            A frame holds other species or cannot be set up; the message carries its index.
        MissingDependencyError
            LAMMPS is missing.
        """
        commands = self._commands()
        with _SnapSession() as session:
            for index, frame in enumerate(frames):
                try:
                    session.load(frame, self.species, commands)
                    session.run(0)
                    yield self._collect(session, frame)
                except CurateError as error:
                    error.frame = index
                    raise

    def _collect(self, session: _SnapSession, frame: Atoms) -> SnapRows:
        n, K = len(frame), self.size
        table = session.table("snap")  # (1 + 3 n + 6, K + 1): energy, forces by atom, virial; last column: reference
        if table.shape != (3 * n + 7, K + 1):
            raise DataError(f"LAMMPS gives a table of {table.shape} instead of {(3 * n + 7, K + 1)}")
        return SnapRows(
            composition=np.array([np.count_nonzero(frame.numbers == number) for number in self.species]) / n,
            energy=table[0, :K] / n,
            forces=session.rotate_back(table[1 : 3 * n + 1, :K].reshape(n, 3, K)),
            reference_energy=session.energy() / n,
            reference_forces=session.forces(),
        )

    def _commands(self) -> list[str]:
        S = len(self.species)
        # LAMMPS takes the sum of two radii as the cutoff of a pair: halves make it the same for all.
        radii = " ".join(["0.5"] * S)
        weights = " ".join(f"{w:.17g}" for w in np.linspace(_LARGEST_WEIGHT, _SMALLEST_WEIGHT, S))
        # Repulsion beyond the cutoff is out of the bispectrum's reach, so the fit could not take it back.
        outer = min(ZBL_OUTER, self.cutoff)
        inner = outer * ZBL_INNER / ZBL_OUTER
        zbl = [
            f"pair_coeff {i + 1} {j + 1} zbl {self.species[i]} {self.species[j]}" for i in range(S) for j in range(i, S)
        ]
        shape = f"{self.cutoff:.17g} {RFAC0} {self.twojmax} {radii} {weights}"
        return [
            # `zero` does nothing but make the neighbour list reach as far as the bispectrum does.
            f"pair_style hybrid/overlay zero {self.cutoff:.17g} zbl {inner:.17g} {outer:.17g}",
            "pair_coeff * * zero",
            *zbl,
            f"compute snap all snap {shape} rmin0 0.0 bzeroflag 1 quadraticflag 0",
        ]


class _SnapSession(LammpsSession):
    """A session that also gives the table of a global compute."""

    def table(self, compute: str) -> np.ndarray:
        """Copy of a global compute's array, after `run`, in LAMMPS' frame of reference."""
        try:
            return np.array(self._lammps.numpy.extract_compute(compute, 0, 2), dtype=np.float64)
        except Exception as error:  # LAMMPS raises plain exceptions
            raise DataError(f"LAMMPS: {error}") from error

    def rotate_back(self, rows: np.ndarray) -> np.ndarray:
        """Turn vectors along axis 1 of (n, 3, K) into ASE's frame of reference."""
        return np.asarray(np.einsum("dc,nck->ndk", self._rotation(), rows))
