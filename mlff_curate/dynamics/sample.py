"""What a step of molecular dynamics is summed up in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa, kB

from mlff_curate.calculators.computed import computed

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.dynamics.conditions import Conditions


@dataclass(frozen=True)
class Sample:
    """One step.

    Attributes
    ----------
    step
        Counted from the start, which is 0.
    time
        fs.
    temperature
        K, of the degrees of freedom that are free.
    potential, kinetic, total
        eV, of all atoms.
    pressure
        GPa, positive under compression, with the motion of the atoms; nan where not all directions are periodic.
    volume
        Angstrom^3; nan likewise.
    disagreement
        eV/Angstrom: the largest ``forces_std`` of an atom; nan without a committee.
    """

    step: int
    time: float
    temperature: float
    potential: float
    kinetic: float
    total: float
    pressure: float
    volume: float
    disagreement: float


def sample_of(atoms: Atoms, step: int, conditions: Conditions) -> Sample:
    """Sum up atoms whose calculator has computed them."""
    potential = float(computed(atoms, "energy"))
    kinetic = float(atoms.get_kinetic_energy())
    pressure = volume = disagreement = math.nan
    if atoms.pbc.all():
        volume = float(atoms.get_volume())
        stress = computed(atoms, "stress")  # potential part, ASE's sign
        pressure = float((2.0 * kinetic / volume - np.sum(stress[:3])) / 3.0 / GPa)
    assert atoms.calc is not None
    if "forces_std" in atoms.calc.results:
        disagreement = float(atoms.calc.results["forces_std"].max(initial=0.0))
    return Sample(
        step=step,
        time=step * conditions.timestep,
        temperature=2.0 * kinetic / (kB * conditions.degrees_of_freedom(len(atoms))),
        potential=potential,
        kinetic=kinetic,
        total=potential + kinetic,
        pressure=pressure,
        volume=volume,
        disagreement=disagreement,
    )
