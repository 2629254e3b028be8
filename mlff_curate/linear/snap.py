"""Design rows of a SNAP force field, computed by LAMMPS (`compute snap`).

The model's energy is a repulsive reference plus one constant per species plus a linear function of the bispectrum
components of all atoms and of their products in pairs, with one set of coefficients per species. So energies, forces
and stresses are linear in the coefficients, and fitting them is one least-squares problem.

Without the products the model is too stiff to judge a choice of frames by: on Ta its force errors are larger with all
frames than with a tenth of them, and its errors with all are three to five times those with the products.

Source: Thompson, Swiler, Trott, Foiles, Tucker, J. Comput. Phys. 285, 316 (2015); products: Wood,
Thompson, J. Chem. Phys. 148, 241721 (2018);
https://docs.lammps.org/compute_sna_atom.html. Reference: Ziegler, Biersack, Littmark, "The Stopping and Range of Ions
in Solids" (1985); https://docs.lammps.org/pair_zbl.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import CurateError, DataError, UsageError
from mlff_curate.lammps_session import LammpsSession
from mlff_curate.linear.rows import ROW_OF, LinearRows

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
    quadratic
        With the products of components: 495 coefficients per species instead of 30.

    Raises
    ------
    UsageError
        No species, or a cutoff that is not positive.

    Examples
    --------
    >>> from ase.build import bulk
    >>> rows = next(LinearSnap([73], 4.7).rows([bulk("Ta", a=3.3, cubic=True)]))
    >>> rows.energy.shape, rows.forces.shape
    ((495,), (2, 3, 495))
    """

    species: tuple[int, ...]
    cutoff: float
    twojmax: int = TWOJMAX
    quadratic: bool = True

    def __init__(
        self, species: Sequence[int], cutoff: float, twojmax: int = TWOJMAX, *, quadratic: bool = True
    ) -> None:
        numbers = tuple(sorted({int(number) for number in species}))
        if not numbers:
            raise UsageError("a SNAP model needs at least one species")
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise UsageError(f"a cutoff is a positive length in Angstrom, got {cutoff}")
        object.__setattr__(self, "species", numbers)
        object.__setattr__(self, "cutoff", float(cutoff))
        object.__setattr__(self, "twojmax", int(twojmax))
        object.__setattr__(self, "quadratic", bool(quadratic))

    @property
    def kind(self) -> str:
        """Its name among :data:`mlff_curate.linear.models.MODELS`."""
        return "snap"

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        kind = "quadratic" if self.quadratic else "linear"
        return f"{kind} SNAP (twojmax {self.twojmax}, cutoff {self.cutoff:g} \u00c5, ZBL reference)"

    @property
    def size(self) -> int:
        """K, the number of coefficients without the constants."""
        from mlff_curate.descriptors.bispectrum import n_components

        n = n_components(self.twojmax)
        return (n + n * (n + 1) // 2 if self.quadratic else n) * len(self.species)

    def rows(self, frames: Iterable[Atoms]) -> Iterator[LinearRows]:
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

    def _collect(self, session: _SnapSession, frame: Atoms) -> LinearRows:
        n, K = len(frame), self.size
        table = session.table("snap")  # (1 + 3 n + 6, K + 1): energy, forces by atom, virial; last column: reference
        if table.shape != (3 * n + 7, K + 1):
            raise DataError(f"LAMMPS gives a table of {table.shape} instead of {(3 * n + 7, K + 1)}")
        periodic = bool(frame.pbc.all())
        return LinearRows(
            composition=np.array([np.count_nonzero(frame.numbers == number) for number in self.species]) / n,
            energy=table[0, :K] / n,
            forces=session.rotate_back(table[1 : 3 * n + 1, :K].reshape(n, 3, K)),
            # the virial in eV, whatever the units of the pressure column are: minus the derivative by strain
            strain=-session.rotate_tensor_back(table[3 * n + 1 :, :K]) / n if periodic else None,
            reference_energy=session.energy() / n,
            reference_forces=session.forces(),
            reference_strain=-session.virial()[ROW_OF] / n if periodic else None,
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
            f"compute snap all snap {shape} rmin0 0.0 bzeroflag 1 quadraticflag {int(self.quadratic)}",
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

    def rotate_tensor_back(self, rows: np.ndarray) -> np.ndarray:
        """Turn symmetric tensors (6, K) into ASE's frame of reference; `compute snap` has ASE's Voigt order."""
        rotation = self._rotation()
        tensor = np.empty((3, 3, rows.shape[1]))
        tensor[ROW_OF] = tensor[ROW_OF[::-1]] = rows
        return np.asarray(np.einsum("ac,bd,cdk->abk", rotation, rotation, tensor)[ROW_OF])
