"""Molecular dynamics by ASE's integrators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa, fs

from mlff_curate.dynamics.conditions import AXES, FREE, ISOTROPIC, LANGEVIN, NOSE_HOOVER, NPT, NVE
from mlff_curate.dynamics.engine import EngineState
from mlff_curate.dynamics.sample import sample_of
from mlff_curate.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.dynamics.conditions import Conditions
    from mlff_curate.dynamics.sample import Sample

_MTK = {ISOTROPIC: "IsotropicMTKNPT", AXES: "MaskedMTKNPT", FREE: "MTKNPT"}


class AseEngine:
    """Atoms moved by ASE; see :class:`~mlff_curate.dynamics.engine.Engine`.

    Parameters
    ----------
    atoms
        With momenta; moved in place.
    conditions
        How.
    calculator
        Makes a calculator that remembers nothing, neighbours for example.

    Raises
    ------
    MissingDependencyError
        The installed ASE lacks the integrator.
    """

    def __init__(self, atoms: Atoms, conditions: Conditions, calculator: Callable[[], Calculator]) -> None:
        self.atoms = atoms
        self.conditions = conditions
        self.steps_done = 0
        self._calculator = calculator
        self._rng = np.random.default_rng([conditions.seed, 1])
        atoms.calc = calculator()
        self._integrator = _integrator(atoms, conditions, self._rng)
        atoms.get_forces()

    def step(self) -> None:
        """Take one step."""
        self._integrator.step()
        self.steps_done += 1

    def sample(self) -> Sample:
        """Sum up where the atoms are."""
        return sample_of(self.atoms, self.steps_done, self.conditions)

    def settle(self) -> EngineState:
        """Return the state, with the calculator made anew; see :meth:`Engine.settle`."""
        self._compute_anew()
        numbers = {
            "positions": self.atoms.get_positions(),
            "momenta": self.atoms.get_momenta(),
            "cell": np.array(self.atoms.cell),
        }
        for name, holder, key in _numbers_of(self._integrator):
            numbers[f"integrator{name}"] = np.array(getattr(holder, key), dtype=np.float64)
        words = {"rng": json.dumps(self._rng.bit_generator.state)} if self.conditions.ensemble == LANGEVIN else {}
        return EngineState(self.steps_done, numbers, words)

    def restore(self, state: EngineState) -> None:
        """Go to a state; see :meth:`Engine.restore`."""
        self.steps_done = state.step
        self.atoms.set_cell(state.arrays["cell"])
        self.atoms.positions = state.arrays["positions"].copy()
        self.atoms.set_momenta(state.arrays["momenta"])
        self._compute_anew()
        self._integrator = _integrator(self.atoms, self.conditions, self._rng)
        for name, holder, key in list(_numbers_of(self._integrator)):
            # what an integrator only makes in its first step, it does not read before it has made it again
            value = state.arrays[f"integrator{name}"]
            setattr(holder, key, value.copy() if value.ndim else float(value))
        if "rng" in state.words:
            self._rng.bit_generator.state = json.loads(state.words["rng"])

    def close(self) -> None:
        """Nothing is held."""

    def _compute_anew(self) -> None:
        self.atoms.calc = self._calculator()
        self.atoms.get_forces()


def _integrator(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Any:
    """Return ASE's integrator for an ensemble."""
    step, kelvin = conditions.timestep * fs, conditions.temperature
    if conditions.ensemble == NVE:
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(atoms, step)
    if conditions.ensemble == LANGEVIN:
        from ase.md.langevin import Langevin

        friction = 1.0 / (conditions.damping * fs)
        # fixcm would take the random motion of the centre of mass away, and with it the canonical ensemble
        return Langevin(atoms, step, temperature_K=kelvin, friction=friction, fixcm=False, rng=rng)
    damping = conditions.damping * fs
    if conditions.ensemble == NOSE_HOOVER:
        return _found("NoseHooverChainNVT", conditions)(atoms, step, temperature_K=kelvin, tdamp=damping)
    assert conditions.ensemble == NPT
    mask = {"mask": (True, True, True)} if conditions.shape == AXES else {}
    return _found(_MTK[conditions.shape], conditions)(
        atoms,
        step,
        temperature_K=kelvin,
        pressure_au=conditions.pressure * GPa,
        tdamp=damping,
        pdamp=conditions.pressure_damping * fs,
        **mask,
    )


def _found(name: str, conditions: Conditions) -> Any:
    """Return an integrator that came to ASE later than the oldest version that we run with."""
    import importlib

    import ase

    try:
        return getattr(importlib.import_module("ase.md.nose_hoover_chain"), name)
    except (ImportError, AttributeError):
        raise MissingDependencyError(
            f"--ensemble {conditions.ensemble} needs a newer ASE than {ase.__version__}, with "
            f"ase.md.nose_hoover_chain.{name}: pip install --upgrade ase, or use --engine lammps"
        ) from None


def _numbers_of(integrator: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield name, holder and attribute of all numbers that an integrator and its thermostats and barostats hold.

    ASE's integrators offer no state. What changes from step to step is kept in attributes whose names differ between
    versions; all of them are taken, constants too.
    """
    for key, value in sorted(vars(integrator).items()):
        if isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            yield f"{path}.{key}", integrator, key
        elif type(value).__module__ == "ase.md.nose_hoover_chain":
            yield from _numbers_of(value, f"{path}.{key}")
