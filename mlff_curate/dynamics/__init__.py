"""Molecular dynamics with any ASE calculator, by ASE or by LAMMPS."""

from mlff_curate.dynamics.ase_engine import AseEngine
from mlff_curate.dynamics.conditions import Conditions
from mlff_curate.dynamics.engine import Engine, EngineState
from mlff_curate.dynamics.lammps_engine import LammpsEngine
from mlff_curate.dynamics.running import Every, simulate
from mlff_curate.dynamics.sample import Sample
from mlff_curate.dynamics.stopping import RunStoppedError, StopRules, Watch
from mlff_curate.dynamics.velocities import draw_velocities, rest_centre

__all__ = [
    "AseEngine",
    "Conditions",
    "Engine",
    "EngineState",
    "Every",
    "LammpsEngine",
    "RunStoppedError",
    "Sample",
    "StopRules",
    "Watch",
    "draw_velocities",
    "rest_centre",
    "simulate",
]
