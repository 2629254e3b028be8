"""A potential against labelled frames: errors, and pair distances of its own MD beside theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.cgcnn.potential import Predicted
from mlff_curate.dynamics import Conditions
from mlff_curate.dynamics.conditions import LANGEVIN
from mlff_curate.errors import DataError
from mlff_curate.validation.crystal_frames import frames_in_motion
from mlff_curate.validation.pair_distances import overlap, pair_distances
from mlff_curate.validation.potential_errors import errors_of_groups, potential_errors
from mlff_curate.validation.short_runs import run_crystal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.data.labels import Labels
    from mlff_curate.validation.crystals import Crystal, Progress

_SETTLED = 0.2
"""Share of a run that is not looked at."""


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """F frames, their labels and groups."""

    frames: Sequence[Atoms]
    labels: Sequence[Labels]
    groups: Sequence[str]


@dataclass(frozen=True)
class LabelledErrors:
    """Errors on labelled frames; see :func:`mlff_curate.validation.potential_errors.potential_errors`.

    Attributes
    ----------
    frames
        How many.
    all
        Over all of them.
    groups
        Of each group, with ``frames``.
    """

    frames: int
    all: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class GroupDistances:
    """Pair distances of one group and of the potential's own MD in the same cell.

    Attributes
    ----------
    group
        Configuration group.
    frames, atoms
        How many frames of it, of how many atoms.
    temperature
        K, by equipartition; see :func:`frames_in_motion`.
    overlap
        Of the two distributions of distances, in [0, 1].
    itself
        Of the even and the odd frames of the data: what statistics alone leave.
    r, data, model
        Angstrom, and the two radial distribution functions.
    stopped
        Why the run ended early; empty: it did not.
    """

    group: str
    frames: int
    atoms: int
    temperature: float
    overlap: float
    itself: float
    r: Sequence[float]
    data: Sequence[float]
    model: Sequence[float]
    stopped: str = ""


@dataclass(frozen=True)
class Comparison:
    """Pair distances of some groups."""

    runs: Sequence[GroupDistances]


def labelled_errors(
    calculator: Calculator, data: LabelledFrames, *, progress: Progress | None = None
) -> LabelledErrors:
    """Compare what a calculator says of frames with their labels.

    Parameters
    ----------
    calculator
        Any of ASE's.
    data
        F frames.
    progress
        Called with frames done and in all.
    """
    energy, forces, stress = [], [np.zeros((0, 3))], []
    for i, frame in enumerate(data.frames, start=1):
        atoms = frame.copy()
        atoms.calc = calculator
        energy.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        stress.append(atoms.get_stress() if atoms.pbc.all() else np.full(6, np.nan))
        if progress is not None:
            progress(i, len(data.frames))
    found = Predicted(
        energy=np.array(energy), energies=np.zeros(0), forces=np.concatenate(forces), stress=np.array(stress)
    )
    n_atoms = np.array([len(atoms) for atoms in data.frames])
    groups = errors_of_groups(found, data.labels, n_atoms, data.groups)
    return LabelledErrors(
        len(data.frames), potential_errors(found, data.labels, n_atoms, np.arange(len(data.frames))), groups
    )


def compare_distances(
    crystal: Crystal,
    calculator: Calculator,
    data: LabelledFrames,
    *,
    hottest: float,
    runs: int,
    length: float,
    timestep: float,
    radius: float,
    width: float,
    seed: int,
    progress: Progress | None = None,
) -> Comparison:
    """Run Langevin dynamics as the data's frames in motion were, and compare the distances of pairs.

    Parameters
    ----------
    crystal
        Relaxed.
    calculator
        Of the potential; gives the energy of the crystal at rest too.
    data
        F frames.
    hottest
        K, the melting point: beyond it there is no crystal to begin with.
    runs
        Groups with most frames that are compared.
    length, timestep
        ps and fs.
    radius, width
        Of :func:`pair_distances`.
    seed
        Of velocities and noise.
    progress
        Called with steps done and in all.

    Raises
    ------
    DataError
        No frames of the data are this crystal in motion.
    """

    def at_rest(atoms: Atoms) -> float:
        atoms.calc = calculator
        return float(atoms.get_potential_energy())

    found = frames_in_motion(data.frames, data.labels, data.groups, crystal, at_rest, hottest)
    if not found:
        raise NothingToCompareError(
            "no ten frames of the data are this crystal in one cell at one temperature below its melting point"
        )
    out = []
    for motion in found[:runs]:
        conditions = Conditions(LANGEVIN, temperature=motion.temperature, timestep=timestep, seed=seed)
        run = run_crystal(motion.sites, calculator, conditions, length=length, progress=progress)
        frames = []
        for positions in run.positions[int(_SETTLED * len(run.positions)) :]:
            atoms = motion.sites.copy()
            atoms.positions[:] = positions
            frames.append(atoms)
        theirs = [data.frames[i] for i in motion.frames]
        ours, labelled, even, odd = (
            pair_distances(some, radius=radius, width=width) for some in (frames, theirs, theirs[::2], theirs[1::2])
        )
        out.append(
            GroupDistances(
                group=motion.group,
                frames=len(theirs),
                atoms=len(motion.sites),
                temperature=motion.temperature,
                overlap=overlap(ours, labelled),
                itself=overlap(even, odd),
                r=labelled.r.tolist(),
                data=labelled.g.tolist(),
                model=ours.g.tolist(),
                stopped=run.stopped,
            )
        )
    return Comparison(tuple(out))


class NothingToCompareError(DataError):
    """The data have nothing that a test could be held against: it is skipped, and not failed."""
