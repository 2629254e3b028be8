"""Rows of a linear force field for the checks, in few columns that are free of labels.

The columns of quadratic SNAP are nearly dependent, so the rows are turned to the principal axes of their own normal
matrix and only the leading ones are kept: fits become a matter of tenths of a second, and many hypotheses about the
labels can be tried. The repulsive reference of the model is a column among the others: labels in another unit then stay
linear in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.graphs.neighbours import default_cutoff
from mlff_curate.linear.models import linear_model
from mlff_curate.linear.ridge import ENERGY_WEIGHT, LARGEST_REFERENCE, STRESS_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase import Atoms

    from mlff_curate.linear.rows import LinearModel, LinearRows

MOST_COLUMNS = 250
"""Principal axes kept. Of the 496 columns on the Ta, Nb and Fe sets these leave shares below 1e-5 of a column's own."""

MOST_ENVIRONMENTS = 40_000
"""Atoms of the frames that are fitted to; the other frames are judged, but not learned from."""

PROBES = 12
"""Frames that the model's stiffness is taken from."""

PROBE_STEP = 0.04
"""Angstrom, the standard deviation of the displacements that probe the stiffness."""

_MOST_VALUES = 60_000_000  # float32 values of force rows before they are turned: 240 MB


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of F frames with N atoms: S species, M columns.

    Attributes
    ----------
    frames
        (F,) which of the frames given these are.
    offset
        (F + 1,) first atom of each, and N.
    composition
        (F, S) share of each species.
    energy
        (F, M) per atom.
    forces
        (3 N, M) float32.
    strain
        (F, 6, M) per atom; zero where there is no stress.
    volume
        (F,) per atom, Angstrom^3; nan: not periodic in three directions.
    sound
        (F,) False: atoms on top of each other, not to be used.
    """

    frames: np.ndarray
    offset: np.ndarray
    composition: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    strain: np.ndarray
    volume: np.ndarray
    sound: np.ndarray

    @property
    def n_atoms(self) -> np.ndarray:
        """(F,) atoms of each frame."""
        return np.diff(self.offset)

    def atoms_of(self, frame: int) -> slice:
        """Rows of one frame among `forces`."""
        return slice(3 * int(self.offset[frame]), 3 * int(self.offset[frame + 1]))


@dataclass(frozen=True, eq=False)
class Basis:
    """A linear force field in few columns, and its rows for the frames that are learned from.

    Attributes
    ----------
    model
        The force field whose rows these are.
    axes
        (K + 1, M) float64: from the model's columns, the reference the last of them, to those of the rows.
    level
        (S, K + 1) what is taken off energy rows by composition, so that they are about zero.
    rows
        Of the frames learned from.
    stiffness
        (P, M) second derivative of a probe's energy along a random displacement of all its atoms, eV/Angstrom^2.
    notes
        What the user should know about the model.
    """

    model: LinearModel
    axes: np.ndarray
    level: np.ndarray
    rows: Rows
    stiffness: np.ndarray
    notes: tuple[str, ...]

    def rows_of(self, frames: Sequence[Atoms], at_once: int = 2_000) -> Iterator[Rows]:
        """Yield the rows of frames that are not learned from, some `at_once` atoms at a time; `frames` count from 0."""
        start = 0
        while start < len(frames):
            stop, atoms = start, 0
            while stop < len(frames) and (stop == start or atoms + len(frames[stop]) <= at_once):
                atoms += len(frames[stop])
                stop += 1
            part = frames[start:stop]
            raw = _Raw.of(part, self.model)
            yield raw.turned(self.axes, self.level, np.arange(start, stop))
            start = stop


@dataclass(frozen=True, eq=False)
class _Raw:
    """Rows as the model gives them, the reference as the last of K + 1 columns."""

    offset: np.ndarray
    composition: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    strain: np.ndarray
    volume: np.ndarray
    sound: np.ndarray

    @classmethod
    def of(
        cls, frames: Sequence[Atoms], model: LinearModel, progress: Callable[[int, int], None] | None = None
    ) -> _Raw:
        F, K = len(frames), model.size + 1
        offset = np.concatenate([[0], np.cumsum([len(frame) for frame in frames])]).astype(np.int64)
        raw = cls(
            offset=offset,
            composition=np.zeros((F, len(model.species))),
            energy=np.zeros((F, K)),
            forces=np.zeros((3 * int(offset[-1]), K), dtype=np.float32),
            strain=np.zeros((F, 6, K)),
            volume=np.full(F, np.nan),
            sound=np.ones(F, dtype=bool),
        )
        for i, rows in enumerate(_rows(frames, model)):
            if rows is None:
                raw.sound[i] = False
                continue
            raw.composition[i] = rows.composition
            raw.sound[i] = _is_sound(rows)
            if raw.sound[i]:
                raw.energy[i] = np.append(rows.energy, rows.reference_energy)
                part = slice(3 * int(offset[i]), 3 * int(offset[i + 1]))
                raw.forces[part, :-1] = rows.forces.reshape(-1, K - 1)
                raw.forces[part, -1] = rows.reference_forces.ravel()
                if rows.strain is not None and rows.reference_strain is not None:
                    raw.strain[i] = np.column_stack([rows.strain, rows.reference_strain])
            if rows.strain is not None:
                raw.volume[i] = frames[i].get_volume() / len(frames[i])
            if progress is not None:
                progress(i + 1, F)
        return raw

    def turned(self, axes: np.ndarray, level: np.ndarray, frames: np.ndarray) -> Rows:
        """Return the rows in the columns of `axes`."""
        return Rows(
            frames=frames,
            offset=self.offset,
            composition=self.composition,
            energy=(self.energy - self.composition @ level) @ axes,
            forces=self.forces @ axes.astype(np.float32),
            strain=self.strain @ axes,
            volume=self.volume,
            sound=self.sound,
        )


def basis_of(
    frames: Sequence[Atoms], group: np.ndarray, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Basis:
    """Compute the rows of a sample of the frames, and the columns that they ask for.

    Parameters
    ----------
    frames
        F frames.
    group
        (F,) group numbers; of each a sample is taken, see `sample_of`.
    seed
        Of the sample and the probes.
    progress
        Told the frames done and in total.

    """
    species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    model, notes = linear_model(None, species, default_cutoff(species))
    most = min(MOST_ENVIRONMENTS, _MOST_VALUES // (3 * (model.size + 1)))
    sample = sample_of(np.array([len(frame) for frame in frames]), group, most, seed)
    raw = _Raw.of([frames[i] for i in sample], model, progress)
    level, axes = _axes(raw)
    rng = np.random.default_rng([seed, 1])
    probes = probes_of(frames, sample[raw.sound], rng)
    return Basis(model, axes, level, raw.turned(axes, level, sample), _stiffness(model, probes, axes, rng), notes)


def sample_of(n_atoms: np.ndarray, group: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return ascending indices of frames with at most `most` atoms together, of every group some.

    The first few frames of each group are taken, then of each a number of atoms by the square root of how many it has:
    small frames, of which many are needed, cost little. A single frame is always there.
    """
    if n_atoms.sum() <= most:
        return np.arange(len(n_atoms))
    rng = np.random.default_rng([seed, 0])
    rank = np.empty(len(n_atoms))
    for g in np.unique(group):
        members = rng.permutation(np.flatnonzero(group == g))
        place = np.arange(len(members), dtype=np.float64)
        atoms = np.cumsum(n_atoms[members])
        rank[members] = np.where(place < _FIRST_OF_GROUP, place - _FIRST_OF_GROUP, atoms / np.sqrt(atoms[-1]))
    order = np.argsort(rank, kind="stable")
    fits = np.cumsum(n_atoms[order]) <= most
    fits[0] = True
    return np.sort(order[fits])


_FIRST_OF_GROUP = 12


def _rows(frames: Sequence[Atoms], model: LinearModel) -> Iterator[LinearRows | None]:
    """Yield the rows of each frame, None where the model cannot take it."""
    start = 0
    while start < len(frames):
        try:
            for rows in model.rows(frames[start:]):
                start += 1
                yield rows
        except DataError:
            start += 1
            yield None


def _is_sound(rows: LinearRows) -> bool:
    return bool(
        np.isfinite(rows.energy).all()
        and np.isfinite(rows.forces).all()
        and (rows.strain is None or np.isfinite(rows.strain).all())
        and abs(rows.reference_energy) < LARGEST_REFERENCE
        and np.abs(rows.reference_forces).max(initial=0.0) < LARGEST_REFERENCE  # False for nan
    )


def _axes(raw: _Raw) -> tuple[np.ndarray, np.ndarray]:
    """Return what to take off energy rows by composition, (S, K + 1), and the principal axes, (K + 1, M)."""
    level = np.linalg.pinv(raw.composition[raw.sound]) @ raw.energy[raw.sound]
    energy = (raw.energy - raw.composition @ level)[raw.sound]
    strain = raw.strain.reshape(-1, raw.strain.shape[2])
    normal = ENERGY_WEIGHT**2 * energy.T @ energy + STRESS_WEIGHT**2 * strain.T @ strain
    for start in range(0, len(raw.forces), 20_000):
        block = raw.forces[start : start + 20_000]
        normal += block.T @ block
    scale = np.sqrt(np.diag(normal))
    used = scale > 1e-12 * max(float(scale.max(initial=0.0)), 1e-300)
    scale = np.where(used, scale, 1.0)
    share, axes = np.linalg.eigh(normal / np.outer(scale, scale))
    kept = np.argsort(-share, kind="stable")[:MOST_COLUMNS]
    kept = kept[share[kept] > 1e-8 * max(float(share.max(initial=0.0)), 1e-300)]
    turned = np.where(used[:, None], axes[:, kept], 0.0)
    turned *= np.where(turned[np.abs(turned).argmax(axis=0), np.arange(len(kept))] < 0, -1.0, 1.0)
    return level, turned / scale[:, None]


def probes_of(frames: Sequence[Atoms], among: np.ndarray, rng: np.random.Generator) -> list[Atoms]:
    """Return up to PROBES frames of more than one atom, the small ones of each composition first."""
    many = among[[len(frames[i]) > 1 for i in among]] if len(among) else among
    if len(many) == 0:
        return []
    drawn = rng.permutation(many)[: 4 * PROBES]
    return [frames[i] for i in sorted(drawn, key=lambda i: len(frames[i]))[:PROBES]]


def _stiffness(model: LinearModel, probes: list[Atoms], axes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (P, M) second differences of the energy rows for a random displacement of all atoms."""
    if not probes:
        return np.zeros((0, axes.shape[1]))
    moved, squares = [], []
    for probe in probes:
        step = rng.normal(scale=PROBE_STEP, size=(len(probe), 3))
        squares.append(float((step**2).sum()))
        for sign in (1.0, 0.0, -1.0):
            copy = probe.copy()
            copy.positions += sign * step
            moved.append(copy)
    raw = _Raw.of(moved, model)
    total = (raw.energy * raw.offset[1:, None] - raw.energy * raw.offset[:-1, None]) @ axes  # energies of cells
    second = (total[0::3] - 2 * total[1::3] + total[2::3]) / np.array(squares)[:, None]
    sound = raw.sound.reshape(-1, 3).all(axis=1)
    return np.asarray(second[sound])
