"""Elastic constants, and whether they keep a crystal in shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.symmetry import (
    CUBIC,
    HEXAGONAL,
    MONOCLINIC,
    ORTHORHOMBIC,
    TETRAGONAL,
    TETRAGONAL_LOW,
    TRICLINIC,
    TRIGONAL,
    TRIGONAL_LOW,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress

_TETRAGONAL = ("C11", "C12", "C13", "C33", "C44", "C66")
_TRIGONAL = ("C11", "C12", "C13", "C33", "C44", "C14")
_ORTHORHOMBIC = ("C11", "C22", "C33", "C12", "C13", "C23", "C44", "C55", "C66")
_MONOCLINIC = (*_ORTHORHOMBIC, "C15", "C25", "C35", "C46")
NAMED = {
    CUBIC: ("C11", "C12", "C44"),
    HEXAGONAL: ("C11", "C12", "C13", "C33", "C44"),
    TETRAGONAL: _TETRAGONAL,
    TETRAGONAL_LOW: (*_TETRAGONAL, "C16"),
    TRIGONAL: _TRIGONAL,
    TRIGONAL_LOW: (*_TRIGONAL, "C15"),
    ORTHORHOMBIC: _ORTHORHOMBIC,
    MONOCLINIC: _MONOCLINIC,
    TRICLINIC: (*_MONOCLINIC, "C14", "C16", "C24", "C26", "C34", "C36", "C45", "C56"),
}
"""Symmetry to its independent constants (J. F. Nye, Physical Properties of Crystals, table 9)."""

_IN_MATSCIPY = {
    TETRAGONAL: "tetragonal_high",
    TETRAGONAL_LOW: "tetragonal_low",
    TRIGONAL: "trigonal_low",
    TRIGONAL_LOW: "trigonal_low",
}
"""What matscipy calls a symmetry, where it has another word. Its ``trigonal_high`` lacks C56 = C14."""

_OF_TRIGONAL_LOW = ((0, 4), (1, 4), (3, 5))
"""Where C15 stands, which a twofold axis along x makes zero."""


def couples(name: str) -> bool:
    """Tell whether an elastic constant, such as ``C14``, couples a shear to stretches or to another shear.

    It may be anything about zero, and its sign may be that of the axes.
    """
    return name[1] != name[2] and int(name[2]) > 3


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
        As in :func:`mlff_curate.validation.symmetry.elastic_symmetry`.
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
    symmetry = _IN_MATSCIPY.get(crystal.symmetry, crystal.symmetry)
    strained = list(generate_strained_configs(upright, symmetry, points, delta))
    done = [_relaxed(atoms, calculator, fmax, steps, k, len(strained), progress) for k, atoms in enumerate(strained)]
    matrix, errors = fit_elastic_constants(done, symmetry, N_steps=points, delta=delta, verbose=False, graphics=False)
    if crystal.symmetry == TRIGONAL:
        for i, j in _OF_TRIGONAL_LOW:
            matrix[i, j] = matrix[j, i] = errors[i, j] = errors[j, i] = 0.0
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
