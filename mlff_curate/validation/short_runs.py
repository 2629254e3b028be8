"""Short runs of a perfect crystal, and what they tell of the potential."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.units import kB

from mlff_curate.dynamics import AseEngine, Conditions, RunStoppedError, StopRules, Watch, draw_velocities, simulate
from mlff_curate.dynamics.conditions import LANGEVIN, NVE
from mlff_curate.errors import DataError
from mlff_curate.graphs.neighbours import neighbour_list
from mlff_curate.validation.crystals import shortest_distance
from mlff_curate.validation.motion import drift, lindemann

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress

COLLISION = 0.6
"""Of the distance between neighbours in the crystal: atoms nearer than this have collided. In a crystal at half its
melting point the shortest distance is about 0.8 of it."""
EXPLOSION = 1.0
"""eV/atom of potential energy above what equipartition gives: several times a heat of fusion, which no solid stores."""
_EVERY = 10
"""Steps between two looks."""


@dataclass(frozen=True, eq=False)
class Motion:
    """T looks at N atoms in motion.

    Attributes
    ----------
    times
        (T,) ps.
    total, potential
        (T,) eV/atom.
    temperature
        (T,) K.
    shortest
        (T,) shortest distance between two atoms, Angstrom.
    positions
        (T, N, 3) Angstrom, not wrapped.
    stopped
        Why it ended early; empty: it did not.
    """

    times: np.ndarray
    total: np.ndarray
    potential: np.ndarray
    temperature: np.ndarray
    shortest: np.ndarray
    positions: np.ndarray
    stopped: str


@dataclass(frozen=True)
class EnergyDrift:
    """Motion without a thermostat.

    Attributes
    ----------
    slope, error
        Of the total energy, meV/atom/ps, and its standard error.
    noise
        Root mean square of what a line leaves, meV/atom.
    temperature
        K, in the mean.
    length
        ps.
    atoms
        How many.
    times, energies
        ps, and meV/atom above the first: for a plot.
    """

    slope: float
    error: float
    noise: float
    temperature: float
    length: float
    atoms: int
    times: Sequence[float]
    energies: Sequence[float]


@dataclass(frozen=True)
class Stability:
    """Motion with a thermostat at half the melting point.

    Attributes
    ----------
    target, temperature
        K: asked for, and in the mean of the second half.
    lindemann
        Displacement from the sites over the distance between neighbours, in the mean of the second half.
    coordination, perfect
        Neighbours within the middle between two shells, in the mean of the last tenth, and of the crystal at rest.
    shortest
        Least distance between two atoms over that between neighbours in the crystal.
    length
        ps.
    atoms
        How many.
    stopped
        Why it ended early; empty: it did not.
    times, temperatures, displacements
        ps, K, and Lindemann's measure: for a plot.
    """

    target: float
    temperature: float
    lindemann: float
    coordination: float
    perfect: float
    shortest: float
    length: float
    atoms: int
    stopped: str
    times: Sequence[float]
    temperatures: Sequence[float]
    displacements: Sequence[float]


def run_crystal(
    sites: Atoms,
    calculator: Calculator,
    conditions: Conditions,
    *,
    length: float,
    progress: Progress | None = None,
) -> Motion:
    """Move atoms that begin on the sites of a crystal, and stop where they collide or their energy explodes.

    Parameters
    ----------
    sites
        N atoms at rest. Velocities begin at twice the temperature, as half of the energy goes into displacements.
    calculator
        Any of ASE's that has stresses.
    conditions
        Ensemble, temperature, time step, seed.
    length
        ps.
    progress
        Called with steps done and in all.
    """
    atoms = sites.copy()
    draw_velocities(atoms, replace(conditions, temperature=2 * conditions.temperature))
    engine = AseEngine(atoms, conditions, lambda: calculator)
    n = len(atoms)
    near = 1.5 * COLLISION * shortest_distance(sites)
    steps = max(1, round(1000 * length / conditions.timestep))
    rules = StopRules(max_energy_change=1.5 * kB * conditions.temperature + EXPLOSION)
    watch = Watch(rules, atoms, engine.sample(), conditions.temperature)
    samples, positions, shortest = [], [], []
    stopped = ""
    try:
        for sample in simulate(engine, steps, watch=watch):
            if sample.step % _EVERY and sample.step != steps:
                continue
            samples.append(sample)
            positions.append(atoms.get_positions())
            shortest.append(_shortest(atoms, near))
            if progress is not None:
                progress(sample.step, steps)
    except RunStoppedError as error:
        stopped = error.message
    return Motion(
        times=np.array([s.time for s in samples]) / 1000,
        total=np.array([s.total for s in samples]) / n,
        potential=np.array([s.potential for s in samples]) / n,
        temperature=np.array([s.temperature for s in samples]),
        shortest=np.array(shortest),
        positions=np.array(positions).reshape(-1, n, 3),
        stopped=stopped,
    )


def energy_drift(
    crystal: Crystal,
    calculator: Calculator,
    *,
    width: float,
    temperature: float,
    timestep: float,
    length: float,
    seed: int,
    progress: Progress | None = None,
) -> EnergyDrift:
    """Measure the drift of the total energy in NVE.

    Parameters
    ----------
    crystal
        Relaxed.
    calculator
        Any of ASE's.
    width
        Between opposite faces of the supercell at least, Angstrom.
    temperature
        K, about which it will be.
    timestep
        fs.
    length
        ps.
    seed
        Of the velocities.
    progress
        Called with steps done and in all.

    Raises
    ------
    DataError
        Atoms collide or the energy explodes.
    """
    sites = crystal.supercell(width)
    conditions = Conditions(NVE, temperature=temperature, timestep=timestep, seed=seed)
    motion = run_crystal(sites, calculator, conditions, length=length, progress=progress)
    if motion.stopped:
        raise DataError(motion.stopped)
    line = drift(motion.times, motion.total)
    return EnergyDrift(
        slope=1e3 * line.slope,
        error=1e3 * line.error,
        noise=1e3 * line.noise,
        temperature=float(motion.temperature[len(motion.times) // 4 :].mean()),
        length=float(motion.times[-1]),
        atoms=len(sites),
        times=_thin(motion.times),
        energies=_thin(1e3 * (motion.total - motion.total[0])),
    )


def stability(
    crystal: Crystal,
    calculator: Calculator,
    *,
    width: float,
    temperature: float,
    timestep: float,
    length: float,
    seed: int,
    progress: Progress | None = None,
) -> Stability:
    """Run Langevin dynamics in the cell of the crystal at rest, and look whether it is still that crystal.

    Parameters
    ----------
    crystal, calculator, width, temperature, timestep, length, seed, progress
        See :func:`energy_drift`; at this temperature, K.

    Raises
    ------
    DataError
        The first step makes no sense: there is no motion to look at.
    """
    sites = crystal.supercell(width)
    conditions = Conditions(LANGEVIN, temperature=temperature, timestep=timestep, seed=seed)
    motion = run_crystal(sites, calculator, conditions, length=length, progress=progress)
    if not len(motion.times):
        raise DataError(motion.stopped)
    distance = crystal.neighbour_distance
    moved = lindemann(motion.positions, sites.positions, distance)
    half, last = len(moved) // 2, max(1, len(moved) // 10)
    radius = _between_shells(crystal)
    at_end = []
    for positions in motion.positions[-last:]:
        atoms = sites.copy()
        atoms.positions[:] = positions
        at_end.append(len(neighbour_list([atoms], radius).centre) / len(atoms))
    return Stability(
        target=temperature,
        temperature=float(motion.temperature[half:].mean()),
        lindemann=float(moved[half:].mean()),
        coordination=float(np.mean(at_end)),
        perfect=len(neighbour_list([sites], radius).centre) / len(sites),
        shortest=float(motion.shortest.min() / distance),
        length=float(motion.times[-1]),
        atoms=len(sites),
        stopped=motion.stopped,
        times=_thin(motion.times),
        temperatures=_thin(motion.temperature),
        displacements=_thin(moved),
    )


def _shortest(atoms: Atoms, near: float) -> float:
    """Return the shortest distance, or the one up to which is looked where there is nothing."""
    vectors = neighbour_list([atoms], near).vector
    return float(np.linalg.norm(vectors, axis=1).min()) if len(vectors) else near


def _between_shells(crystal: Crystal) -> float:
    """Return the radius in the middle of the widest gap that follows the first shells, Angstrom.

    Between the first two shells, but for bcc, whose second shell is only 15 % farther than the first: behind that.
    """
    distance = crystal.neighbour_distance
    vectors = neighbour_list([crystal.atoms], 2.0 * distance).vector
    shells = np.unique(np.round(np.linalg.norm(vectors, axis=1), 3))
    shells = shells[shells < 1.8 * distance]
    if len(shells) < 2:
        return 1.2 * distance
    widest = int(np.argmax(np.diff(shells)))
    return float(shells[widest : widest + 2].mean())


def _thin(values: np.ndarray, most: int = 500) -> list[float]:
    """Return at most so many values, evenly taken."""
    step = max(1, -(-len(values) // most))
    return [float(v) for v in values[::step]]
