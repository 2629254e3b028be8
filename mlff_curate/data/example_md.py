"""Example data: short real MD of Ta, Nb or Fe with a potential that LAMMPS ships.

The sets look like what people bring: mostly closely spaced frames of a crystal at room temperature, and a little
of what teaches a force field something (hot crystal, melt, vacancy, surface, strained cells). The labels are those
of the classical potential, evaluated for the very positions that are written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import OutputError, UsageError
from mlff_curate.lammps_session import LammpsSession, potential_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in total, and the stage in words."""

TIMESTEP = 0.002  # ps; a tenth of the fastest period of these metals is 0.01 ps
DAMPING = 0.1  # ps, Langevin
STEPS_PER_CALL = 100  # so that progress moves while a stage settles
VACUUM = 12.0  # Angstrom, more than any of the cutoffs (4.8, 8.0, 5.3)
DECIMALS = 8  # of positions in the file: that many `ase.io.write` keeps
MIN_FRAMES = 12
LAMMPS_SEED_LIMIT = 900_000_000  # of its Marsaglia generator


@dataclass(frozen=True)
class Metal:
    """A bcc metal and its potential.

    Attributes
    ----------
    symbol
        Chemical symbol.
    lattice_constant
        Of the potential at 0 K, Angstrom.
    melting_temperature
        K, experiment (CRC Handbook of Chemistry and Physics).
    interactions
        LAMMPS commands; `{name}` stands for the path of a potential file.
    files
        The potential files named there.
    """

    symbol: str
    lattice_constant: float
    melting_temperature: float
    interactions: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def number(self) -> int:
        """Atomic number."""
        from ase.data import atomic_numbers

        return int(atomic_numbers[self.symbol])

    def commands(self) -> list[str]:
        """LAMMPS commands with the paths of this machine."""
        paths = [str(potential_file(name)) for name in self.files]
        return [line.format(*paths) for line in self.interactions]


METALS = {
    metal.symbol: metal
    for metal in (
        Metal(
            "Ta",
            3.316,
            3290.0,
            # as Ta06A.snap has it, with paths in place of bare names
            (
                "pair_style hybrid/overlay zbl 4 4.8 snap",
                "pair_coeff 1 1 zbl 73 73",
                'pair_coeff * * snap "{0}" "{1}" Ta',
            ),
            ("Ta06A.snapcoeff", "Ta06A.snapparam"),
        ),
        Metal("Nb", 3.342, 2750.0, ("pair_style uf3 3", 'pair_coeff * * "{0}" Nb'), ("Nb.uf3",)),
        Metal("Fe", 2.855, 1811.0, ("pair_style eam/fs", 'pair_coeff * * "{0}" Fe'), ("Fe_mm.eam.fs",)),
    )
}


@dataclass(frozen=True)
class Stage:
    """One part of the set: a structure, a temperature, and how often it is looked at.

    Attributes
    ----------
    name
        The `config_type` of its frames.
    share
        Part of all frames.
    settle
        MD steps before the first frame.
    spacing
        MD steps between frames.
    heat
        K in units of the melting temperature, or None for 300 K.
    overheat
        Temperature of the first half of `settle`, same units: it melts a small perfect crystal within a ps.
    """

    name: str
    share: float
    settle: int = 500
    spacing: int = 50
    heat: float | None = None
    overheat: float | None = None

    def temperature(self, metal: Metal) -> float:
        """Temperature in K."""
        return 300.0 if self.heat is None else self.heat * metal.melting_temperature


# At 1.2 times its melting temperature 54 atoms of iron freeze within a ps; at 1.4 none of 20 seeds did.
# Frames 20 fs apart are near-copies of each other, as in the sets people have; the others are 100 fs apart.
STAGES = (
    Stage("bcc_300K", 0.65, spacing=10),
    Stage("bcc_hot", 0.08, heat=0.6),
    Stage("melt", 0.08, settle=2000, heat=1.4, overheat=2.2),
    Stage("vacancy", 0.07, heat=0.35),
    Stage("surface", 0.06),
    Stage("strained", 0.06, settle=0, spacing=0),
)


@dataclass(frozen=True)
class ExampleSet:
    """What was written.

    Attributes
    ----------
    path
        The file.
    element
        Chemical symbol.
    groups
        Number of frames by `config_type`.
    """

    path: Path
    element: str
    groups: dict[str, int]

    @property
    def frames(self) -> int:
        """Number of frames, F."""
        return sum(self.groups.values())


def make_example(
    element: str,
    directory: str | Path,
    *,
    frames: int = 100,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExampleSet:
    """Run the MD and write `<element>_md.extxyz`, whole or not at all.

    Parameters
    ----------
    element
        "Ta", "Nb" or "Fe".
    directory
        Folder of the file; made where it is missing.
    frames
        Number of frames, F; at least 12.
    seed
        The same seed gives the same file on the same machine.
    overwrite
        Replace an existing file.
    progress
        Told how far the MD is.

    Raises
    ------
    UsageError
        There is no potential for the element, or too few frames or a negative seed are asked for.
    OutputError
        The file exists, or cannot be written.
    MissingDependencyError
        LAMMPS is missing.
    """
    metal = find_metal(element)
    path = Path(directory) / f"{metal.symbol.lower()}_md.extxyz"
    if path.exists() and not overwrite:
        raise OutputError("exists already; use --overwrite to replace it", file=str(path))
    made = sample_frames(metal.symbol, frames=frames, seed=seed, progress=progress)
    _write_whole(path, made)
    groups: dict[str, int] = {}
    for frame in made:
        groups[frame.info["config_type"]] = groups.get(frame.info["config_type"], 0) + 1
    return ExampleSet(path, metal.symbol, groups)


def find_metal(element: str) -> Metal:
    """Look up an element by its symbol, in any case.

    Raises
    ------
    UsageError
        There is none; the message names those there are.
    """
    try:
        return METALS[element.capitalize()]
    except KeyError:
        raise UsageError(f"no example for {element!r}; available: {', '.join(METALS)}", key="element") from None


def sample_frames(element: str, *, frames: int = 100, seed: int = 0, progress: Progress | None = None) -> list[Atoms]:
    """Run the MD and return the labelled frames, stage by stage.

    Each frame has `info["config_type"]` and a calculator that holds energy (eV), forces (N, 3) (eV/Angstrom) and
    stress (eV/Angstrom^3, Voigt, tension positive, without the kinetic part).

    Raises
    ------
    UsageError
        There is no potential for the element, or too few frames or a negative seed are asked for.
    MissingDependencyError
        LAMMPS is missing.
    """
    metal = find_metal(element)
    counts = _share_out(frames)
    if seed < 0:
        raise UsageError(f"a seed is a whole number from 0 on, got {seed}", key="seed")
    tell = _Counter(sum(_steps(stage, counts[stage.name]) for stage in STAGES), progress)
    seeds = np.random.SeedSequence([seed, metal.number]).spawn(len(STAGES))
    made: list[Atoms] = []
    with LammpsSession() as session:
        for stage, stage_seed in zip(STAGES, seeds, strict=True):
            rng = np.random.default_rng(stage_seed)
            if stage.name == "strained":
                structures = [_strained(metal, rng) for _ in range(counts[stage.name])]
            else:
                structures = list(_run_md(session, metal, stage, count=counts[stage.name], rng=rng, tell=tell))
            made += [label(session, metal, structure, stage.name) for structure in structures]
    return made


def label(session: LammpsSession, metal: Metal, structure: Atoms, config_type: str) -> Atoms:
    """Copy of a structure, rounded as it will be written, with its labels."""
    from ase.calculators.singlepoint import SinglePointCalculator

    frame: Atoms = structure.copy()
    frame.positions[:] = np.round(frame.positions, DECIMALS)
    session.load(frame, [metal.number], metal.commands())
    session.run(0)
    stress = session.stress()
    frame.info["config_type"] = config_type
    frame.calc = SinglePointCalculator(
        frame,
        energy=session.energy(),
        forces=np.round(session.forces(), DECIMALS),
        stress=stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)],  # ASE's Voigt order: xx, yy, zz, yz, xz, xy
    )
    return frame


def _share_out(frames: int) -> dict[str, int]:
    """Frames per stage: at least one of each, the rounding goes to the first, largest one."""
    if frames < MIN_FRAMES:
        raise UsageError(f"an example has at least {MIN_FRAMES} frames, got {frames}", key="frames")
    counts = {stage.name: max(1, round(stage.share * frames)) for stage in STAGES[1:]}
    return {STAGES[0].name: frames - sum(counts.values()), **counts}


def _steps(stage: Stage, count: int) -> int:
    return stage.settle + count * stage.spacing


class _Counter:
    """Adds up steps for the progress callback."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def add(self, steps: int, stage: str) -> None:
        self._done += steps
        if self._progress is not None:
            self._progress(self._done, self._total, stage)


def _run_md(
    session: LammpsSession, metal: Metal, stage: Stage, *, count: int, rng: np.random.Generator, tell: _Counter
) -> Iterator[Atoms]:
    """Langevin MD of a stage at constant volume, yielding unlabelled frames."""
    structure = _starting_structure(metal, stage)
    temperature = stage.temperature(metal)
    session.load(structure, [metal.number], metal.commands(), skin=1.0)
    # A lattice at rest takes half of the kinetic energy for itself, so it starts with twice as much.
    start, *thermostats = (int(seed) for seed in rng.integers(1, LAMMPS_SEED_LIMIT, size=3))
    session.commands(
        f"timestep {TIMESTEP}", f"velocity all create {2 * temperature:g} {start} mom yes", "fix integrate all nve"
    )
    settling = [(temperature, stage.settle)]
    if stage.overheat is not None:
        half = stage.settle // 2
        settling = [(stage.overheat * metal.melting_temperature, half), (temperature, stage.settle - half)]
    for (kelvin, steps), seed in zip(settling, thermostats, strict=False):
        session.commands(f"fix thermostat all langevin {kelvin:g} {kelvin:g} {DAMPING} {seed} zero yes")
        for chunk in _chunks(steps):
            session.run(chunk)
            tell.add(chunk, stage.name)
    for _ in range(count):
        session.run(stage.spacing)
        tell.add(stage.spacing, stage.name)
        frame: Atoms = structure.copy()
        frame.positions[:] = session.positions()
        frame.wrap()
        yield frame


def _chunks(steps: int) -> list[int]:
    whole, rest = divmod(steps, STEPS_PER_CALL)
    return [STEPS_PER_CALL] * whole + [rest] * (rest > 0)


def _lattice_constant(metal: Metal, temperature: float) -> float:
    """Lattice constant in Angstrom with thermal expansion.

    The two factors keep the three potentials within 5 GPa of zero pressure in every stage and the melt of iron from
    freezing again, which it does at the density of the crystal (both measured).
    """
    ratio = temperature / metal.melting_temperature
    melted = 1.02 if ratio > 1.0 else 1.0
    return metal.lattice_constant * (1.0 + 0.012 * ratio) * melted


def _starting_structure(metal: Metal, stage: Stage) -> Atoms:
    """54 atoms of bcc (53 with the vacancy), periodic; the surface is a (100) slab of six layers."""
    a = _lattice_constant(metal, stage.temperature(metal))
    crystal: Atoms = _bcc(metal, a) * (3, 3, 3)
    if stage.name == "vacancy":
        del crystal[len(crystal) // 2]
    if stage.name == "surface":
        crystal.center(vacuum=VACUUM / 2, axis=2)
    return crystal


def _bcc(metal: Metal, a: float) -> Atoms:
    """Cubic cell of two atoms, without the magnetic moments that ASE gives iron and no potential here knows."""
    from ase.build import bulk

    crystal: Atoms = bulk(metal.symbol, "bcc", a=a, cubic=True)
    crystal.set_initial_magnetic_moments(None)
    return crystal


def _strained(metal: Metal, rng: np.random.Generator) -> Atoms:
    """Two-atom bcc cell under a random strain of a few per cent, its atoms a little off their sites."""
    crystal = _bcc(metal, metal.lattice_constant)
    strain = rng.uniform(-0.05, 0.05, size=(3, 3))
    deformation = np.eye(3) + 0.5 * (strain + strain.T)
    crystal.set_cell(crystal.cell[:] @ deformation, scale_atoms=True)
    crystal.positions += rng.normal(scale=0.05, size=(2, 3))
    crystal.wrap()
    return crystal


def _write_whole(path: Path, frames: list[Atoms]) -> None:
    """Write under a temporary name beside the file, then rename."""
    from ase.io import write

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
            unfinished = Path(folder) / path.name
            write(unfinished, frames, format="extxyz")
            os.replace(unfinished, path)  # noqa: PTH105 (the same call; says what it does)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
