"""Energy against volume."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import relaxed_positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress


@dataclass(frozen=True)
class EquationOfState:
    """A Birch-Murnaghan fit to energies at several volumes.

    Attributes
    ----------
    volumes, energies
        (V,) Angstrom^3 and eV, per atom: what was fitted.
    volume, energy
        At the minimum of the fit, per atom.
    bulk_modulus
        GPa, there.
    derivative
        Of the bulk modulus by pressure.
    misfit
        Root mean square of energies less the fit, eV/atom.
    errors
        Standard errors of ``volume``, ``energy``, ``bulk_modulus`` and ``derivative`` by what the fit leaves, in their
        units; 0 where as many energies as parameters were fitted.
    """

    volumes: Sequence[float]
    energies: Sequence[float]
    volume: float
    energy: float
    bulk_modulus: float
    derivative: float
    misfit: float
    errors: Mapping[str, float]


def equation_of_state(
    crystal: Crystal,
    calculator: Calculator,
    *,
    strain: float,
    points: int,
    fmax: float,
    steps: int,
    progress: Progress | None = None,
) -> EquationOfState:
    """Compute and fit energies of a relaxed crystal at volumes around its own.

    Parameters
    ----------
    crystal
        Relaxed. Its shape is held, so that the bulk modulus is Voigt's; atoms relax.
    calculator
        Any of ASE's.
    strain
        Largest linear strain, either way.
    points
        V, how many volumes.
    fmax, steps
        Of :func:`relaxed_positions`.
    progress
        Called with points done and in all.

    Raises
    ------
    DataError
        The energies have no minimum, or atoms do not come to rest.
    """
    volumes, energies = [], []
    for done, stretch in enumerate(np.linspace(1 - strain, 1 + strain, points), start=1):
        atoms = crystal.atoms.copy()
        atoms.set_cell(atoms.cell[:] * stretch, scale_atoms=True)
        atoms = relaxed_positions(atoms, calculator, fmax=fmax, steps=steps)
        volumes.append(float(atoms.get_volume()) / len(atoms))
        energies.append(float(atoms.get_potential_energy()) / len(atoms))
        if progress is not None:
            progress(done, points)
    return fitted_equation_of_state(volumes, energies)


def fitted_equation_of_state(volumes: Sequence[float], energies: Sequence[float]) -> EquationOfState:
    """Fit Birch and Murnaghan's equation (F. Birch, Phys. Rev. 71, 809) with ASE.

    Parameters
    ----------
    volumes, energies
        (V,) Angstrom^3 and eV, per atom; five or more.

    Raises
    ------
    DataError
        The energies have no minimum.
    """
    from ase.eos import EquationOfState as Fit
    from ase.eos import birchmurnaghan
    from ase.units import GPa

    try:
        fit = Fit(volumes, energies, eos="birchmurnaghan")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is refused below
            volume, energy, modulus = fit.fit()
    except (ValueError, RuntimeError, TypeError, np.linalg.LinAlgError):
        raise DataError("the energies have no minimum between the volumes tried") from None
    parameters = np.asarray(fit.eos_parameters, float)
    if not np.isfinite(parameters).all() or not min(volumes) < volume < max(volumes):
        raise DataError("the energies have no minimum between the volumes tried")
    off = np.asarray(energies) - birchmurnaghan(np.asarray(volumes), *parameters)
    scales = np.maximum(np.abs(parameters), 1e-6)
    steps = 1e-5 * np.diag(scales)
    slopes = [birchmurnaghan(np.asarray(volumes), *(parameters + h)) for h in steps]
    slopes = [a - birchmurnaghan(np.asarray(volumes), *(parameters - h)) for a, h in zip(slopes, steps, strict=True)]
    design = np.array(slopes).T / 2e-5  # (V, 4) by parameters over their scales
    spread = float(np.sum(off**2)) / max(1, len(off) - 4)
    error = scales * np.sqrt(np.diag(np.linalg.pinv(design.T @ design)) * spread)
    return EquationOfState(
        volumes=tuple(volumes),
        energies=tuple(energies),
        volume=float(volume),
        energy=float(energy),
        bulk_modulus=float(modulus / GPa),
        derivative=float(parameters[2]),
        misfit=float(np.sqrt(np.mean(off**2))),
        errors={
            "volume": float(error[3]),
            "energy": float(error[0]),
            "bulk_modulus": float(error[1] / GPa),
            "derivative": float(error[2]),
        },
    )
