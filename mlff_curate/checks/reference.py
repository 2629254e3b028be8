"""Whether all energies are counted from the same level.

Energies of several calculations (other pseudopotentials, other functionals, with and without the atoms' own energy) in
one file differ by an offset per atom. A group that has one stands off from what a fit to forces, stresses and the other
energies expects; frames here and there that share one are outliers by the same amount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.robust import NORMAL, Block, robust_fit, spread
from mlff_curate.checks.units import ENERGY_FAULTS

if TYPE_CHECKING:
    from mlff_curate.checks.agreement import Question
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.outliers import Suspect
    from mlff_curate.checks.units import Fault

LEAST_OFFSET = 0.3
"""eV/atom: between phases and surfaces a quick force field is off by up to 0.2 (tantalum, zirconium, silicon)."""

TIMES_SCATTER = 8.0
"""Of the error of a level, widened so that it covers the offsets of three in four others."""

FEWEST_GROUPS = 4
"""With fewer levels there is no scatter to compare with, and only ..."""

ABSURD_OFFSET = 5.0
"""... more eV/atom than a force field is off by between bound phases are told, from three levels on."""

FEWEST_SHARING = 3
"""Frames that share an offset, for it to be called one."""

FEWEST_FRAMES = 60
"""With fewer energies levels are not compared."""

OF_LEVEL = 0.02
"""Of an energy per atom: how near a known fault has to bring it to what is expected."""

SAME_OFFSET = 0.1
"""Offsets within this share of each other are the same."""

COHESION = (-0.5, 13.0)
"""eV/atom between a free atom and the best bound frame: tungsten and tantalum, the strongest, have 8 to 9; energies of
free atoms without spin lie up to 4 too high."""


@dataclass(frozen=True)
class Offset:
    """A level of energies that stands off.

    Attributes
    ----------
    level
        Number of the level.
    offset
        From the others, eV/atom.
    scatter
        Of the others.
    sharing
        Which frames have it, ascending: of those compared.
    others
        Which of the level do not.
    fault
        A known fault, without which they would be where the others expect them; None: there is none.
    rest
        What they are off without it, eV/atom; the offset where there is none.
    """

    level: int
    offset: float
    scatter: float
    sharing: np.ndarray
    others: np.ndarray
    fault: Fault | None
    rest: float

    def shared_by(self, frames: int, compared: np.ndarray) -> np.ndarray:
        """Tell frames that have the offset, (frames,) bool; those of other levels are as may be.

        Of frames that were not compared nothing is known but what all of the level have.

        Parameters
        ----------
        frames
            How many there are.
        compared
            (C,) which of these were compared; the numbers of `sharing` count among them.
        """
        out = np.full(frames, len(self.others) == 0)
        out[compared[self.sharing]] = True
        return out


def level_offsets(question: Question) -> list[Offset]:
    """Compare the levels of energies that a fit to all labels finds, one free constant each."""
    known, rows = question.known, question.rows
    energy = question.block("energy", known)
    if energy is None:
        return []
    M = rows.energy.shape[1]
    levels, number, count = np.unique(question.level[energy.frame], return_inverse=True, return_counts=True)
    if len(levels) < FEWEST_GROUPS - 1 or len(energy.labels) < FEWEST_FRAMES:
        return []
    width = M + len(levels)
    blocks = [energy]
    for kind in ("forces", "stress"):
        block = question.block(kind, known)
        if block is not None:
            some = slice(None, None, 1 + len(block.labels) // 15_000)
            padded = np.pad(block.rows[some], ((0, 0), (0, width - M)))
            blocks.append(Block(padded, block.labels[some], block.frame[some]))
    if len(blocks) < 2:
        return []
    coefficients, covariance, _ = robust_fit(blocks)
    error = np.maximum(np.sqrt(np.diag(covariance)[M:]), 1e-6)
    per_atom = known.energy[energy.frame] / known.n_atoms[energy.frame]
    middle = np.array([np.median((per_atom - energy.labels)[number == k]) for k in range(len(levels))])
    composition = np.array([rows.composition[energy.frame[number == k]].mean(axis=0) for k in range(len(levels))])
    off, free = _off_composition(middle + coefficients[M:], composition)
    if free < FEWEST_GROUPS - 2:
        return []
    least = LEAST_OFFSET if free >= FEWEST_GROUPS - 1 else ABSURD_OFFSET
    found = []
    for k in range(len(levels)):
        others = np.delete(off, k)
        # the fit's own errors are too small by what the force field leaves out, which the other levels tell
        beyond = max(1.0, float(np.quantile(np.abs(others) / np.delete(error, k), 0.75)))
        limit = max(least, TIMES_SCATTER * beyond * float(error[k]))
        if abs(off[k]) > limit and count[k] >= FEWEST_SHARING:
            scatter = NORMAL * float(np.median(np.abs(others)))
            mine = energy.frame[number == k]
            shape = rows.energy[mine] @ coefficients[:M]
            own = energy.labels[number == k] - shape - coefficients[M + k]  # beyond the level's
            shares = np.abs(own) < 0.5 * abs(off[k])
            if shares.sum() < FEWEST_SHARING:
                continue
            expected = per_atom[number == k] - off[k]
            told = _explaining(known, mine[shares], expected[shares], shape[shares], max(float(limit), scatter))
            fault, rest = told or (None, float(off[k]))
            sharing, rest_of_level = mine[shares], mine[~shares]
            found.append(Offset(int(levels[k]), float(off[k]), scatter, sharing, rest_of_level, fault, rest))
    return found


def _explaining(
    known: Known, members: np.ndarray, expected: np.ndarray, shape: np.ndarray, width: float
) -> tuple[Fault, float] | None:
    """Return the fault without which the energies of a level are as expected, and what is left then.

    A mere shift may bring energies near a known unit, too. But a unit changes their differences as well: these have to
    go with the fit at least twice as well without the fault. None: no fault does, or several.

    Parameters
    ----------
    members
        (R,) frames.
    expected, shape
        (R,) eV/atom: where they should lie, and what the fit says up to a constant.
    width
        Distance that is near, eV/atom.
    """
    n = known.n_atoms[members]
    labels = known.energy[members]
    undone = [f.undone(labels, n, known.volume[members]) / n for f in ENERGY_FAULTS]
    off = [float(np.median(np.abs(values - expected))) for values in undone]
    best, second = np.partition(off, 1)[:2]
    right = int(np.argmin(off))
    near = best < max(width, OF_LEVEL * float(np.median(np.abs(expected)))) and second > 3 * best
    better = spread(_about(undone[right] - shape)) < 0.5 * spread(_about(labels / n - shape))
    if not (near and better):
        return None
    return ENERGY_FAULTS[right], float(np.median(undone[right] - expected))


def _about(values: np.ndarray) -> np.ndarray:
    return np.asarray(values - np.median(values))


def _off_composition(constant: np.ndarray, composition: np.ndarray) -> tuple[np.ndarray, int]:
    """Take off what each element has, by least absolute residuals; return what is left and its degrees of freedom."""
    weight = np.ones(len(constant))
    left = constant
    for _ in range(50):
        level = np.linalg.pinv(composition * weight[:, None]) @ (constant * weight)
        left = constant - composition @ level
        weight = 1 / np.sqrt(np.maximum(np.abs(left), 1e-3))
    return left, len(constant) - int(np.linalg.matrix_rank(composition, tol=1e-3))


def shared_offsets(outliers: list[Suspect], lean: np.ndarray, n_atoms: np.ndarray) -> dict[int, tuple[float, bool]]:
    """Find energies that are off by the same amount.

    Parameters
    ----------
    outliers
        Energies that no known fault explains.
    lean
        Of each of them, label minus prediction, eV/atom.
    n_atoms
        Atoms of each.

    Returns
    -------
    dict
        Place in `outliers` -> the offset it shares, and whether it is per atom (else per cell).
    """
    shared: dict[int, tuple[float, bool]] = {}
    error = np.array([s.scale for s in outliers])
    for per_atom in (True, False):
        value = lean if per_atom else lean * n_atoms
        width = 3 * (error if per_atom else error * n_atoms)
        for i in range(len(outliers)):
            middle = float(np.median(value[np.abs(value - value[i]) <= np.maximum(width, SAME_OFFSET * abs(value[i]))]))
            same = np.abs(value - middle) <= np.maximum(width, SAME_OFFSET * abs(middle))
            sharp = same & (width < 0.5 * abs(middle))
            if i not in shared and same[i] and sharp.sum() >= FEWEST_SHARING:
                shared[i] = (middle, per_atom)
    return shared


@dataclass(frozen=True)
class FreeAtom:
    """A free atom whose energy does not go with the others'.

    Attributes
    ----------
    frame
        Which one.
    cohesion
        Energy of the free atoms minus that of the best bound frame made of them, eV/atom.
    twin
        Another free atom of the same element with another energy, and by how much it differs, eV; None: there is none.
    """

    frame: int
    cohesion: float | None
    twin: tuple[int, float] | None


def free_atoms(
    isolated: dict[int, int], energy: np.ndarray, composition: np.ndarray, species: list[int]
) -> list[FreeAtom]:
    """Judge energies of free atoms by the cohesion that they would give the bound frames, and by each other.

    Parameters
    ----------
    isolated
        Frame -> atomic number.
    energy
        (F,) energy per atom of all frames, nan where not known.
    composition
        (F, S) shares of the species.
    species
        Atomic numbers by column of `composition`.
    """
    found = {}
    atom: dict[int, tuple[int, float]] = {}
    for frame, number in isolated.items():
        if not np.isfinite(energy[frame]):
            continue
        if number in atom and abs(atom[number][1] - energy[frame]) > 0.01:
            found[frame] = FreeAtom(frame, None, (atom[number][0], float(energy[frame] - atom[number][1])))
        atom.setdefault(number, (frame, float(energy[frame])))
    bound = np.isfinite(energy)
    bound[list(isolated)] = False
    level = np.array([atom[z][1] if z in atom else np.nan for z in species])
    for number, (frame, _) in atom.items():
        mine = bound & (composition[:, species.index(number)] > 0)
        apart = (
            np.array(
                [
                    np.nansum(np.where(c > 0, c * level, 0.0)) if np.isfinite(level[c > 0]).all() else np.nan
                    for c in composition[mine]
                ]
            )
            - energy[mine]
        )
        if not np.isfinite(apart).any():
            continue
        cohesion = float(np.nanmax(apart))
        if not COHESION[0] < cohesion < COHESION[1]:
            found[frame] = FreeAtom(frame, cohesion, None)
    return [found[i] for i in sorted(found)]
