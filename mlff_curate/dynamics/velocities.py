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
    if conditions.ensemble == NVE:
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
        kinetic = 0.5 * float(np.sum(momenta**2 / masses))
        wanted = 0.5 * conditions.degrees_of_freedom(len(atoms)) * kB * conditions.temperature
        momenta *= np.sqrt(wanted / kinetic) if kinetic > 0 else 0.0
    atoms.set_momenta(momenta)
