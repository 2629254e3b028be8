"""Weighted ridge regression of energies, forces and stresses at once, and its errors.

The design rows of all frames are computed once; a fit is then a matter of milliseconds, so that many choices of frames
can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.linear.rows import LinearModel

ENERGY_WEIGHT = 100.0
"""Residuals of 0.01 eV/atom and of 1 eV/Angstrom cost the same; a frame has one energy but three forces per atom."""

STRESS_WEIGHT = 3.0
"""Of stress times volume per atom, which is an energy per atom, so that the weight depends neither on the size of a
cell nor on the element: 0.33 eV/atom, 3 GPa in tantalum, cost as much as 1 eV/Angstrom. Against a fit without stress it
lowers held-out stress errors on Ta, Nb and Fe by 29 to 54 %; forces change by 1 %, energies by 44 % for the better (Ta)
to 8 % for the worse (Nb). A weight of 30 costs energies another 70 and 90 % on Ta and Nb (quadratic SNAP, four random
splits, 80 % of the frames)."""

RIDGE = 1e-6
"""Strength of the penalty, in units of each column's own share of the normal equations.

Columns are scaled before the penalty is added, to one over the frames of the fit or, where that is larger, over all
frames of the design, so that the strength depends neither on the units of a descriptor nor on the number of frames; and
so that a column that the fit hardly sees, such as a short distance, gets no large coefficient that a held-out frame
would then multiply. The value is fixed, so that no choice of frames is favoured by tuning. On Ta and Nb, 1e-5 and 1e-8
change held-out errors by less than 25 % where a fit has 80 % of the frames; with a tenth of them the weaker penalty
doubles energy and force errors on Ta, the stronger lowers energies by a
quarter."""

LARGEST_REFERENCE = 1e3
"""eV/atom and eV/Angstrom; atoms 0.2 Angstrom apart. No labels that could be fitted go with it."""

_VALUES_AT_ONCE = 4_000_000  # of the cached float32 rows that are turned to float64 for a product: 32 MB


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Design:
    """Rows and labels of F frames, N atoms in all: S species, K coefficients.

    Attributes
    ----------
    composition
        (F, S) share of each species.
    energy_rows
        (F, K) float64, per atom.
    force_rows
        (3 N, K) float32, the 3 n rows of one frame after those of the other.
    energy
        (F,) eV/atom without the reference; nan: not labelled.
    forces
        (3 N,) eV/Angstrom without the reference; nan: not labelled.
    offset
        (F + 1,) first atom of each frame, and N.
    strain_rows
        (F, 6, K) float64, per atom; zero where there is no stress.
    stress
        (F, 6) stress times volume per atom, eV, without the reference; nan: not labelled, or no stress.
    volume
        (F,) per atom, Angstrom^3; nan: no stress.
    sound
        (F,) bool, False where the reference is beyond LARGEST_REFERENCE or a number is not finite, because atoms sit on
        top of each other: not to be used.
    """

    composition: np.ndarray
    energy_rows: np.ndarray
    force_rows: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    offset: np.ndarray
    strain_rows: np.ndarray
    stress: np.ndarray
    volume: np.ndarray
    sound: np.ndarray

    @cached_property
    def labelled(self) -> np.ndarray:
        """(F,) bool, frames that have any label."""
        forces = np.logical_or.reduceat(np.isfinite(self.forces), 3 * self.offset[:-1])
        return np.asarray(np.isfinite(self.energy) | forces | np.isfinite(self.stress).any(axis=1))

    @cached_property
    def column_scale(self) -> np.ndarray:
        """(K,) norm of each column over the weighted rows of all sound labels, by the root of the number of frames."""
        frames = np.flatnonzero(self.sound & self.labelled)
        energy = self.energy_rows[frames[np.isfinite(self.energy[frames])]]
        stressed, _ = _stresses(self, frames)
        squares = ENERGY_WEIGHT**2 * ((energy - energy.mean(axis=0)) ** 2).sum(axis=0) if len(energy) else 0.0
        squares = squares + STRESS_WEIGHT**2 * (stressed**2).sum(axis=0)
        for rows, _ in _force_blocks(self, frames):
            squares += (rows**2).sum(axis=0)
        return np.asarray(np.sqrt(squares / max(len(frames), 1)))

    def atoms_of(self, frame: int) -> slice:
        """Rows of one frame among `force_rows` and `forces`."""
        return slice(3 * int(self.offset[frame]), 3 * int(self.offset[frame + 1]))


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A fitted linear force field.

    Attributes
    ----------
    constants
        (S,) energy per atom of each species, eV.
    coefficients
        (K,) eV.
    """

    constants: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors; nan where there is nothing to compare with.

    Attributes
    ----------
    energy_mae, energy_rmse
        meV/atom, over frames.
    force_mae, force_rmse
        eV/Angstrom, over Cartesian components.
    stress_mae, stress_rmse
        GPa, over the six components.
    """

    energy_mae: float
    energy_rmse: float
    force_mae: float
    force_rmse: float
    stress_mae: float
    stress_rmse: float


@dataclass(frozen=True)
class GroupErrors:
    """Errors over several configuration groups.

    Attributes
    ----------
    pooled
        Over all frames and components alike, so that large groups dominate.
    group_mean
        Mean of the groups' errors, so that a rare group counts as much as a large one.
    groups
        Group number -> its errors.
    """

    pooled: Errors
    group_mean: Errors
    groups: dict[int, Errors]


def design_of(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    model: LinearModel,
    progress: Callable[[int, int], None] | None = None,
) -> Design:
    """Compute the rows of F frames.

    Takes 12 K bytes per atom, 0.4 kB for one species.

    Parameters
    ----------
    frames, labels
        (F,) each; a frame may lack any label.
    progress
        Told the frames done and in total.

    Raises
    ------
    DataError
        A frame cannot be set up; carries its index.
    MissingDependencyError
        LAMMPS is missing and the model needs it.
    """
    F, K = len(frames), model.size
    offset = np.concatenate([[0], np.cumsum([len(frame) for frame in frames])]).astype(np.int64)
    design = Design(
        composition=np.zeros((F, len(model.species))),
        energy_rows=np.zeros((F, K)),
        force_rows=np.zeros((3 * int(offset[-1]), K), dtype=np.float32),
        energy=np.full(F, np.nan),
        forces=np.full(3 * int(offset[-1]), np.nan),
        offset=offset,
        strain_rows=np.zeros((F, 6, K)),
        stress=np.full((F, 6), np.nan),
        volume=np.full(F, np.nan),
        sound=np.ones(F, dtype=bool),
    )
    for i, (rows, label) in enumerate(zip(model.rows(frames), labels, strict=True)):
        part = design.atoms_of(i)
        design.composition[i] = rows.composition
        design.energy_rows[i] = rows.energy
        with np.errstate(over="ignore", invalid="ignore"):  # atoms on top of each other; see `sound`
            design.force_rows[part] = rows.forces.reshape(-1, K)
        design.sound[i] = (
            np.isfinite(rows.energy).all()
            and np.isfinite(design.force_rows[part]).all()
            and (rows.strain is None or np.isfinite(rows.strain).all())
            and abs(rows.reference_energy) < LARGEST_REFERENCE
            and np.abs(rows.reference_forces).max() < LARGEST_REFERENCE  # False for nan
        )
        if label.energy is not None:
            design.energy[i] = label.energy / len(frames[i]) - rows.reference_energy
        if label.forces is not None:
            design.forces[part] = (label.forces - rows.reference_forces).ravel()
        if rows.strain is not None and rows.reference_strain is not None:
            design.strain_rows[i] = rows.strain
            design.volume[i] = frames[i].get_volume() / len(frames[i])
            if label.stress is not None:
                design.stress[i] = label.stress * design.volume[i] - rows.reference_strain
        if progress is not None:
            progress(i + 1, F)
    return design


def fit(design: Design, frames: np.ndarray) -> LinearFit:
    """Fit constants and coefficients to the energies, forces and stresses of some frames.

    The constants are not penalised: they are eliminated from the energy rows first (Frisch and Waugh,
    Econometrica 1, 387 (1933)). Where the compositions do not determine them, the smallest are taken.

    Parameters
    ----------
    frames
        (T,) indices of the frames to fit to, each with at least one label.

    Raises
    ------
    DataError
        None of these frames has a label.
    """
    with_energy = frames[np.isfinite(design.energy[frames])]
    A = design.energy_rows[with_energy]  # (T, K)
    y = design.energy[with_energy]  # (T,)
    C = design.composition[with_energy]  # (T, S)
    to_constants = np.linalg.pinv(C)  # (S, T)
    free = ENERGY_WEIGHT * (A - C @ (to_constants @ A))
    normal = free.T @ free  # (K, K)
    right = free.T @ (ENERGY_WEIGHT * (y - C @ (to_constants @ y)))  # (K,)
    stressed, stress = _stresses(design, frames)
    normal += STRESS_WEIGHT**2 * stressed.T @ stressed
    right += STRESS_WEIGHT**2 * stressed.T @ stress
    labelled = len(with_energy) + len(stress)
    for rows, forces in _force_blocks(design, frames):
        normal += rows.T @ rows
        right += rows.T @ forces
        labelled += len(forces)
    if labelled == 0:
        raise DataError("none of the frames to fit to has an energy, forces or a stress")
    coefficients = _solve(normal, right, design.column_scale * math.sqrt(np.count_nonzero(design.labelled[frames])))
    return LinearFit(to_constants @ (y - A @ coefficients), coefficients)


def _force_blocks(design: Design, frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labelled force rows (R, K) and forces (R,) of some frames in float64, a bounded number at a time."""
    rows = 3 * np.diff(design.offset)[frames]
    most = _VALUES_AT_ONCE // max(design.force_rows.shape[1], 1)
    start = 0
    while start < len(frames):
        stop = start + max(1, int(np.searchsorted(np.cumsum(rows[start:]), most, side="right")))
        parts = [design.atoms_of(int(i)) for i in frames[start:stop]]
        index = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        index = index[np.isfinite(design.forces[index])]
        yield design.force_rows[index].astype(np.float64), design.forces[index]
        start = stop


def _stresses(design: Design, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labelled stress rows (R, K) and stresses times volumes per atom (R,) of some frames."""
    stress = design.stress[frames].ravel()
    known = np.isfinite(stress)
    return design.strain_rows[frames].reshape(len(stress), -1)[known], stress[known]


def _solve(normal: np.ndarray, right: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Ridge solution (K,); a column that is zero in every row gets the coefficient zero.

    Columns are scaled by their norm in the fit, but at least by `least` (K,).
    """
    from scipy.linalg import solve

    scale = np.sqrt(np.diag(normal))
    used = scale > 1e-12 * max(float(scale.max(initial=0.0)), 1e-300)
    coefficients = np.zeros(len(right))
    if used.any():
        d = np.maximum(scale, least)[used]
        correlation = normal[np.ix_(used, used)] / np.outer(d, d)
        correlation[np.diag_indices(len(d))] += RIDGE
        coefficients[used] = solve(correlation, right[used] / d, assume_a="pos") / d
    return coefficients


def predict(design: Design, model: LinearFit, frames: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Predict T frames, without the reference.

    Returns
    -------
    energy, forces, stress
        (T,) in eV/atom, (n, 3) in eV/Angstrom for each of T frames, and (T, 6) times the volume per atom, in eV.
    """
    coefficients = model.coefficients
    energy = design.composition[frames] @ model.constants + design.energy_rows[frames] @ coefficients
    forces = [(design.force_rows[design.atoms_of(int(i))] @ coefficients).reshape(-1, 3) for i in frames]
    return energy, forces, design.strain_rows[frames] @ coefficients


def errors(design: Design, model: LinearFit, frames: np.ndarray, group: np.ndarray) -> GroupErrors:
    """Compare predictions with labels.

    Parameters
    ----------
    frames
        (T,) indices of the frames to predict.
    group
        (F,) group number of every frame of the design.
    """
    energy, forces, stress = predict(design, model, frames)
    d_energy = 1e3 * (energy - design.energy[frames])  # (T,) meV/atom; nan: no label
    d_forces = [f.ravel() - design.forces[design.atoms_of(int(i))] for f, i in zip(forces, frames, strict=True)]
    d_stress = (stress - design.stress[frames]) / design.volume[frames][:, None] / GPa  # (T, 6)
    groups = {}
    for g in np.unique(group[frames]):
        members = np.flatnonzero(group[frames] == g)
        groups[int(g)] = _errors(d_energy[members], np.concatenate([d_forces[m] for m in members]), d_stress[members])
    pooled = _errors(d_energy, np.concatenate([*d_forces, np.empty(0)]), d_stress)
    means = {f.name: _mean(np.array([getattr(e, f.name) for e in groups.values()])) for f in fields(Errors)}
    return GroupErrors(pooled, Errors(**means), groups)


def _errors(*differences: np.ndarray) -> Errors:
    """Return the errors of energies, forces and stresses."""
    return Errors(*(e for d in differences for e in (_mean(np.abs(d)), float(np.sqrt(_mean(d**2))))))


def _mean(values: np.ndarray) -> float:
    """Mean of what is known; nan where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
