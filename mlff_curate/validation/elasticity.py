"""Elastic constants, and whether they keep a crystal in shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress

NAMED = {
    "cubic": ("C11", "C12", "C44"),
    "hexagonal": ("C11", "C12", "C13", "C33", "C44"),
    "triclinic": ("C11", "C22", "C33", "C12", "C13", "C23", "C44", "C55", "C66"),
}
"""Symmetry to the constants with a row of their own; the whole matrix is kept besides."""


@dataclass(frozen=True)
class Elasticity:
    """Elastic constants of a crystal.

    Attributes
    ----------
    matrix
        (6, 6) GPa, in Voigt's notation, in the axes of the crystal: :attr:`Crystal.axes`.
    errors
        (6, 6) GPa, standard errors of the slopes.
    symmetry
        ``cubic``, ``hexagonal`` or ``triclinic``.
    """

    matrix: Sequence[Sequence[float]]
    errors: Sequence[Sequence[float]]
    symmetry: str

    @property
    def named(self) -> dict[str, float]:
        """The constants that have a row of their own, GPa."""
        return {name: float(self.matrix[int(name[1]) - 1][int(name[2]) - 1]) for name in NAMED[self.symmetry]}

    @property
    def bulk_modulus(self) -> float:
        """Voigt's, GPa: of the same strain in all directions."""
        return float(np.array(self.matrix)[:3, :3].mean())

    @property
    def shear_modulus(self) -> float:
        """Voigt's, GPa."""
        c = np.array(self.matrix)
        off = c[0, 1] + c[0, 2] + c[1, 2]
        return float((np.trace(c[:3, :3]) - off + 3 * np.trace(c[3:, 3:])) / 15)

    @property
    def least(self) -> float:
        """Smallest eigenvalue of the matrix, GPa.

        Born's criteria for any symmetry: the crystal is stable where it is positive (F. Mouhat and F.-X. Coudert,
        Phys. Rev. B 90, 224104, condition i).
        """
        c = np.array(self.matrix)
        return float(np.linalg.eigvalsh(0.5 * (c + c.T)).min())


def elasticity(
    crystal: Crystal,
    calculator: Calculator,
    *,
    strain: float,
    points: int,
    fmax: float,
    steps: int,
    progress: Progress | None = None,
) -> Elasticity:
    """Fit stresses against strains with matscipy.

    Parameters
    ----------
    crystal
        Relaxed.
    calculator
        Any of ASE's that has stresses.
    strain
        Largest strain, either way.
    points
        Strains of each pattern.
    fmax, steps
        Atoms relax in every strained cell.
    progress
        Called with strained cells done and in all.

    Raises
    ------
    DataError
        Atoms do not come to rest, or stresses are no numbers.
    """
    from ase.units import GPa
    from matscipy.elasticity import fit_elastic_constants, generate_strained_configs

    delta = 2 * strain / (points - 1)
    upright = crystal.atoms.copy()
    upright.set_cell(upright.cell[:] @ crystal.axes.T, scale_atoms=True)
    strained = list(generate_strained_configs(upright, crystal.symmetry, points, delta))
    done = [_relaxed(atoms, calculator, fmax, steps, k, len(strained), progress) for k, atoms in enumerate(strained)]
    matrix, errors = fit_elastic_constants(
        done, crystal.symmetry, N_steps=points, delta=delta, verbose=False, graphics=False
    )
    if not np.isfinite(matrix).all():
        raise DataError("stresses of the strained crystal are no numbers")
    return Elasticity((matrix / GPa).tolist(), (np.asarray(errors) / GPa).tolist(), crystal.symmetry)


def _relaxed(
    atoms: Atoms, calculator: Calculator, fmax: float, steps: int, k: int, total: int, progress: Progress | None
) -> Atoms:
    """Return the strained crystal with its atoms at rest, and its stress at hand: they share one calculator."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from mlff_curate.validation.crystals import relaxed_positions

    out = relaxed_positions(atoms, calculator, fmax=fmax, steps=steps)
    out.info["strain"] = atoms.info["strain"]
    out.calc = SinglePointCalculator(out, stress=out.get_stress())
    if progress is not None:
        progress(k + 1, total)
    return out
