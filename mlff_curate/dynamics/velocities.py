"""Velocities to start with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import kB

from mlff_curate.dynamics.conditions import NVE

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.dynamics.conditions import Conditions


def draw_velocities(atoms: Atoms, conditions: Conditions) -> None:
    """Give atoms velocities of the Maxwell-Boltzmann distribution.

    For an NVE run the centre of mass is put at rest and the temperature is met exactly; a thermostat needs neither.

    Parameters
    ----------
    atoms
        Changed in place.
    conditions
        Ensemble, temperature and seed.
    """
    rng = np.random.default_rng([conditions.seed, 0])
    masses = atoms.get_masses()[:, None]
    momenta = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * kB * conditions.temperature)
    atoms.set_momenta(momenta)
    if conditions.ensemble == NVE:
        rest_centre(atoms)
        kinetic = float(atoms.get_kinetic_energy())
        wanted = 0.5 * conditions.degrees_of_freedom(len(atoms)) * kB * conditions.temperature
        atoms.set_momenta(atoms.get_momenta() * (np.sqrt(wanted / kinetic) if kinetic > 0 else 0.0))


def rest_centre(atoms: Atoms) -> None:
    """Put the centre of mass at rest, in place."""
    masses = atoms.get_masses()[:, None]
    momenta = atoms.get_momenta()
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
