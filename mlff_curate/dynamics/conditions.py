"""What is to be simulated: ensemble, temperature, pressure, time step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlff_curate.errors import UsageError

NVE, LANGEVIN, NOSE_HOOVER, NPT = "nve", "langevin", "nose-hoover", "npt"
ENSEMBLES = (NVE, LANGEVIN, NOSE_HOOVER, NPT)
ISOTROPIC, AXES, FREE = "isotropic", "axes", "free"
SHAPES = (ISOTROPIC, AXES, FREE)


@dataclass(frozen=True)
class Conditions:
    """How atoms are moved.

    Parameters
    ----------
    ensemble
        ``"nve"`` (velocity Verlet), ``"langevin"``, ``"nose-hoover"`` (a chain of three) or ``"npt"`` (Martyna, Tobias
        and Klein, J. Chem. Phys. 101, 4177 (1994)).
    temperature
        K: of the thermostat, and of the velocities at the start.
    pressure
        GPa, of the barostat.
    timestep
        fs.
    damping
        fs: the time in which the thermostat acts. Of Langevin the inverse of the friction.
    pressure_damping
        fs: the time in which the barostat acts.
    shape
        What a barostat may change: ``"isotropic"``, the volume; ``"axes"``, the lengths of perpendicular cell vectors;
        ``"free"``, all of the cell.
    seed
        Of velocities and of Langevin's noise.
    """

    ensemble: str = LANGEVIN
    temperature: float = 300.0
    pressure: float = 0.0
    timestep: float = 1.0
    damping: float = 100.0
    pressure_damping: float = 1000.0
    shape: str = ISOTROPIC
    seed: int = 0

    def require(self) -> None:
        """Refuse what has no meaning.

        Raises
        ------
        UsageError
            Names the option.
        """
        for name, known in (("ensemble", ENSEMBLES), ("shape", SHAPES)):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"{value!r} is unknown; available: {', '.join(known)}", key=f"--{name}")
        for name in ("timestep", "damping", "pressure_damping"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"a time above 0 fs, got {getattr(self, name):g}", key="--" + name.replace("_", "-"))
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"a temperature of at least 0 K, got {self.temperature:g}", key="--temperature")
        if self.temperature == 0 and self.ensemble in (NOSE_HOOVER, NPT):
            raise UsageError(f"above 0 K with --ensemble {self.ensemble}", key="--temperature")
        if not math.isfinite(self.pressure):
            raise UsageError(f"a pressure in GPa, got {self.pressure:g}", key="--pressure")
        if self.seed < 0:
            raise UsageError(f"a seed is a whole number from 0 on, got {self.seed}", key="--seed")

    def degrees_of_freedom(self, n_atoms: int) -> int:
        """Return how many velocities are free.

        Without a thermostat the centre of mass rests. With one it moves like everything else: thermostats count all
        of them.
        """
        return 3 * n_atoms - 3 if self.ensemble == NVE and n_atoms > 1 else 3 * n_atoms
