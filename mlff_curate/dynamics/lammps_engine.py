"""Molecular dynamics by LAMMPS, driven by a calculator of ASE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa, fs, kB

from mlff_curate.calculators.lammps_driver import LammpsDriver
from mlff_curate.dynamics.conditions import AXES, FREE, ISOTROPIC, LANGEVIN, NOSE_HOOVER, NPT
from mlff_curate.dynamics.engine import EngineState
from mlff_curate.dynamics.sample import sample_of
from mlff_curate.errors import DataError
from mlff_curate.lammps_session import LammpsSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.dynamics.conditions import Conditions
    from mlff_curate.dynamics.sample import Sample

_PS = 1000.0 * fs
"""ASE's units of time in a ps."""
_NO_PAIRS = ("pair_style zero 1.0", "pair_coeff * *")
_SKIN = 1.0
"""Angstrom. LAMMPS has no neighbours to look for, but needs to know when to wrap atoms."""
_SEED_LIMIT = 900_000_000
"""Of LAMMPS' Marsaglia generator."""
_COUPLING = {ISOTROPIC: "iso", AXES: "aniso", FREE: "tri"}


class LammpsEngine:
    """Atoms moved by LAMMPS; see :class:`~mlff_curate.dynamics.engine.Engine`.

    Parameters
    ----------
    atoms
        With momenta; moved in place.
    conditions
        How.
    calculator
        Makes a calculator that remembers nothing.

    Raises
    ------
    DataError
        Atoms of an element have different masses, or LAMMPS refuses the frame.
    MissingDependencyError
        LAMMPS is missing.
    """

    def __init__(self, atoms: Atoms, conditions: Conditions, calculator: Callable[[], Calculator]) -> None:
        self.atoms = atoms
        self.conditions = conditions
        self.steps_done = 0
        self._calculator = calculator
        self._start = atoms.copy()  # tells how LAMMPS' box is turned, whatever becomes of the cell
        self._species, self._masses = _species_of(atoms)
        self._session = LammpsSession()
        # LAMMPS rounds its constants to eight digits. Masses in its own unit of energy make it move atoms as ASE does.
        unit = _PS**2 * self._session.constant("mvv2e")
        self._session.load(
            self._start,
            self._species,
            _NO_PAIRS,
            skin=_SKIN,
            masses=[mass / unit for mass in self._masses],
            velocities=atoms.get_velocities() * _PS,
        )
        self._set_up()

    def step(self) -> None:
        """Take one step."""
        self._session.run(1, setup=False)
        self.steps_done += 1
        self.atoms.set_velocities(self._session.velocities() / _PS)

    def sample(self) -> Sample:
        """Sum up where the atoms are."""
        return sample_of(self.atoms, self.steps_done, self.conditions)

    def settle(self) -> EngineState:
        """Return the state, and start LAMMPS anew from it; see :meth:`Engine.settle`."""
        state = self._session.restart()
        padded = np.frombuffer(state + bytes(-len(state) % 8), np.dtype("<i8")).astype(np.int64)
        arrays = {
            "lammps": padded,
            "positions": self.atoms.get_positions(),
            "momenta": self.atoms.get_momenta(),
            "cell": np.array(self.atoms.cell),
        }
        settled = EngineState(self.steps_done, arrays, {"bytes": str(len(state))})
        self.restore(settled)
        return settled

    def restore(self, state: EngineState) -> None:
        """Go to a state; see :meth:`Engine.restore`."""
        self.steps_done = state.step
        self.atoms.set_cell(state.arrays["cell"])
        self.atoms.positions = state.arrays["positions"].copy()
        self.atoms.set_momenta(state.arrays["momenta"])
        contents = state.arrays["lammps"].astype("<i8").tobytes()[: int(state.words["bytes"])]
        self._session.load_restart(self._start, contents, self._species, _NO_PAIRS, skin=_SKIN)
        self._set_up()

    def close(self) -> None:
        """Free LAMMPS."""
        self._session.close()

    def _set_up(self) -> None:
        """Give LAMMPS potential and integrator, and compute where the atoms are."""
        self.atoms.calc = self._calculator()
        LammpsDriver(self._session, self.atoms, cell_moves=self.conditions.ensemble == NPT)
        self._session.commands(*self._integrator())
        self._session.run(0)

    def _integrator(self) -> list[str]:
        wanted = self.conditions
        kelvin = wanted.temperature * kB / self._session.constant("boltz")
        damping = wanted.damping / 1000.0
        lines = [f"timestep {wanted.timestep / 1000.0:.17g}", "neigh_modify delay 0 every 1 check yes"]
        # All 3N velocities count, as in ASE; LAMMPS would leave out the centre of mass.
        count = "compute_modify md_temp extra/dof 0"
        temperature = f"temp {kelvin:.17g} {kelvin:.17g} {damping:.17g}"
        if wanted.ensemble == NOSE_HOOVER:
            return [*lines, f"fix md all nvt {temperature}", count]
        if wanted.ensemble == NPT:
            bar = wanted.pressure * GPa * self._session.constant("nktv2p")
            coupling = f"{_COUPLING[wanted.shape]} {bar:.17g} {bar:.17g} {wanted.pressure_damping / 1000.0:.17g}"
            return [*lines, f"fix md all npt {temperature} {coupling} flip no", count]
        lines.append("fix md all nve")
        if wanted.ensemble == LANGEVIN:
            # a seed for every stretch between two states: LAMMPS does not keep the generator's
            seed = int(np.random.default_rng([wanted.seed, 2, self.steps_done]).integers(1, _SEED_LIMIT))
            lines.append(f"fix noise all langevin {kelvin:.17g} {kelvin:.17g} {damping:.17g} {seed}")
        return lines


def _species_of(atoms: Atoms) -> tuple[list[int], list[float]]:
    """Return the elements and their masses, u."""
    species = np.unique(atoms.numbers)
    masses = []
    for number in species:
        some = np.unique(atoms.get_masses()[atoms.numbers == number])
        if len(some) > 1:
            from ase.data import chemical_symbols

            raise DataError(
                f"atoms of {chemical_symbols[number]} have {len(some)} different masses, which --engine lammps cannot "
                "have: use --engine ase",
                key="masses",
            )
        masses.append(float(some[0]))
    return species.tolist(), masses
