"""Frames that are a crystal, strained or at a temperature, and what their labels tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import GIVEN, Crystal
from mlff_curate.validation.equation_of_state import EquationOfState, fitted_equation_of_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels

_MOST_STRAIN = 0.12
"""Beyond this a frame is taken for another crystal."""
_ON_SITE = 0.05
"""Angstrom: an atom nearer than this is on its site."""
_MOST_ATOMS = 500
"""Nobody strains larger cells, and all pairs of atoms and sites are looked at."""
_EOS_STRETCH = 0.06
_EOS_SHEAR = 1e-3
_EOS_VOLUMES = 5
ELASTIC_STRAIN = 0.015
"""Largest strain of frames that elastic constants are fitted to."""
_ELASTIC_FRAMES = 8
_MD_FRAMES = 10
_MD_ATOMS = 16
_SAME_CELL = 1e-3


@dataclass(frozen=True, eq=False)
class Placement:
    """A frame as a repetition of a crystal.

    Attributes
    ----------
    strain
        (3, 3) symmetric, against the crystal.
    sites
        The perfect crystal in the frame's cell.
    """

    strain: np.ndarray
    sites: Atoms


@dataclass(frozen=True, eq=False)
class MotionFrames:
    """Frames of one group that are a crystal in one cell at about one temperature.

    Attributes
    ----------
    group
        Configuration group.
    frames
        Indices.
    sites
        The perfect crystal in their cell.
    temperature
        K.
    """

    group: str
    frames: tuple[int, ...]
    sites: Atoms
    temperature: float


def placement(frame: Atoms, crystal: Crystal) -> Placement | None:
    """Return how a frame repeats a crystal; None: it does not, or is strained or turned too far.

    Parameters
    ----------
    frame
        Atoms may be off their sites.
    crystal
        Its lattice, along the same axes as the frame's.
    """
    from ase import Atoms

    if not frame.pbc.all() or len(frame) == 0 or frame.get_volume() < 1e-6:
        return None
    unit = _primitive(crystal)
    size = float((frame.get_volume() / len(frame)) / (unit.get_volume() / len(unit))) ** (1 / 3)
    lattice = unit.cell[:] * size
    repeats = np.rint(frame.cell[:] @ np.linalg.inv(lattice))  # (3, 3)
    if round(abs(np.linalg.det(repeats))) * len(unit) != len(frame):
        return None
    cell = np.linalg.solve(repeats, frame.cell[:])  # (3, 3) the unit's, in the frame
    gradient = np.linalg.solve(unit.cell[:], cell)
    left, stretches, right = np.linalg.svd(gradient)
    turn = left @ right
    if np.abs(turn - np.eye(3)).max() > _MOST_STRAIN or np.abs(stretches / size - 1).max() > _MOST_STRAIN:
        return None
    strain = right.T @ np.diag(stretches) @ right - np.eye(3)
    places = _lattice_points(repeats) @ cell  # (R, 3)
    positions = (places[:, None] + (unit.get_scaled_positions() @ cell)[None]).reshape(-1, 3)
    numbers = np.tile(unit.numbers, len(places))
    if sorted(numbers) != sorted(frame.numbers):
        return None
    return Placement(strain, Atoms(numbers=numbers, positions=positions, cell=frame.cell, pbc=True))


def _primitive(crystal: Crystal) -> Atoms:
    from ase.build import bulk

    if crystal.structure in (GIVEN, "hcp"):
        return crystal.atoms
    out = bulk(crystal.elements[0], crystal.structure, a=crystal.constants()["a"])
    out.set_initial_magnetic_moments(None)
    return out


def _lattice_points(repeats: np.ndarray) -> np.ndarray:
    """Return the whole-number points (R, 3) inside the cell that whole-number vectors (3, 3) span."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ repeats
    low, high = corners.min(axis=0), corners.max(axis=0)
    grid = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    points = grid.reshape(-1, 3)
    inside = points @ np.linalg.inv(repeats)
    return np.asarray(points[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)])


def strained_frames(frames: Sequence[Atoms], crystal: Crystal) -> dict[int, np.ndarray]:
    """Return the frames that are nothing but the crystal under a strain: index to strain (3, 3)."""
    out = {}
    for i, frame in enumerate(frames):
        place = placement(frame, crystal) if len(frame) <= _MOST_ATOMS else None
        if place is not None and _off_sites(frame, place.sites) < _ON_SITE:
            out[i] = place.strain
    return out


def _off_sites(frame: Atoms, sites: Atoms) -> float:
    """Return how far the atom farthest from the sites of its element is, Angstrom; a shift of all is no matter."""
    shift = frame.positions[0] - sites.positions[int(np.flatnonzero(sites.numbers == frame.numbers[0])[0])]
    inverse, worst = np.linalg.inv(frame.cell[:]), 0.0
    for number in set(frame.numbers.tolist()):
        mine, places = frame.positions[frame.numbers == number], sites.positions[sites.numbers == number]
        scaled = (mine[:, None] - shift - places[None]) @ inverse
        # right for atoms near their sites, which is all that is asked
        apart = np.linalg.norm((scaled - np.rint(scaled)) @ frame.cell[:], axis=2)
        worst = max(worst, float(apart.min(axis=1).max()), float(apart.min(axis=0).max()))
    return worst


def labelled_equation_of_state(
    frames: Sequence[Atoms], labels: Sequence[Labels], strained: dict[int, np.ndarray]
) -> EquationOfState | None:
    """Fit the labelled energies of crystals that are stretched alike in all directions; None: they are too few.

    Only volumes within a linear stretch of 6 % around the lowest energy count, and at least five of them.
    """
    known = []
    for i, strain in strained.items():
        energy = labels[i].energy
        if energy is not None and np.abs(strain - np.trace(strain) / 3 * np.eye(3)).max() < _EOS_SHEAR:
            known.append((frames[i].get_volume() / len(frames[i]), energy / len(frames[i])))
    if not known:
        return None
    lowest = min(known, key=lambda pair: pair[1])[0]
    near = sorted(pair for pair in known if abs((pair[0] / lowest) ** (1 / 3) - 1) <= _EOS_STRETCH)
    volumes = np.array([volume for volume, _ in near])
    if len(np.unique(np.round(volumes, 4))) < _EOS_VOLUMES or lowest in (volumes.min(), volumes.max()):
        return None
    try:
        return fitted_equation_of_state(volumes.tolist(), [energy for _, energy in near])
    except DataError:
        return None


@dataclass(frozen=True)
class LabelledElasticity:
    """Elastic constants of a cubic crystal by labelled stresses.

    Attributes
    ----------
    c11, c12, c44
        GPa.
    errors
        (3,) standard errors of theirs, GPa.
    inner
        (3,) the same constants by the half of the frames that are strained less, GPa; None: those do not tell all
        three. Where stresses are linear in the strain they are the same.
    stretch, stretch_error
        Lattice constant without stress over that of the crystal that strains count from, and its standard error.
    frames
        How many were fitted.
    """

    c11: float
    c12: float
    c44: float
    errors: tuple[float, float, float]
    inner: tuple[float, float, float] | None
    stretch: float
    stretch_error: float
    frames: int


def labelled_elasticity(
    labels: Sequence[Labels], strained: dict[int, np.ndarray], axes: np.ndarray
) -> LabelledElasticity | None:
    """Fit the labelled stresses of a strained cubic crystal: a pressure and C11, C12, C44 by least squares.

    Parameters
    ----------
    labels
        (F,).
    strained
        Index to strain (3, 3), of :func:`strained_frames`.
    axes
        (3, 3) directions of the cube's edges, rows.

    Returns
    -------
    LabelledElasticity or None
        None: frames with strains up to ELASTIC_STRAIN beyond the mean are too few, or do not tell all three.
    """
    from ase.units import GPa

    begin = _no_stress(labels, strained)
    if begin is None:
        return None
    centre = begin
    for last in (False, True):  # strains count from where there is no stress, which the first pass finds
        about = {i: (strain - centre * np.eye(3)) / (1 + centre) for i, strain in strained.items()}
        about = {i: e for i, e in about.items() if labels[i].stress is not None and np.abs(e).max() <= ELASTIC_STRAIN}
        fit = _hooke(labels, about, axes) if len(about) >= _ELASTIC_FRAMES else None
        if fit is None:
            return None
        (pressure, c11, c12, c44), errors = fit
        if not c11 + 2 * c12 > 0:
            return None
        stretch = (1 + centre) * (1 - pressure / (c11 + 2 * c12))
        if not last:
            centre = stretch - 1
    middle = float(np.median([np.abs(e).max() for e in about.values()]))
    less = {i: e for i, e in about.items() if np.abs(e).max() <= middle}
    inner = _hooke(labels, less, axes) if len(less) < len(about) else None
    return LabelledElasticity(
        c11 / GPa,
        c12 / GPa,
        c44 / GPa,
        errors=(errors[1] / GPa, errors[2] / GPa, errors[3] / GPa),
        inner=None if inner is None else (inner[0][1] / GPa, inner[0][2] / GPa, inner[0][3] / GPa),
        stretch=stretch,
        stretch_error=(1 + centre) * errors[0] / (c11 + 2 * c12),
        frames=len(about),
    )


def _hooke(
    labels: Sequence[Labels], strains: dict[int, np.ndarray], axes: np.ndarray
) -> tuple[list[float], list[float]] | None:
    """Return pressure, C11, C12 and C44 by least squares and their standard errors, eV/Angstrom^3; None: no shear."""
    from ase.stress import voigt_6_to_full_3x3_stress

    rows, values = [], []
    for i, strain in strains.items():
        e = axes @ strain @ axes.T
        trace = np.trace(e)
        rows += [[1.0, e[k, k], trace - e[k, k], 0.0] for k in range(3)]
        rows += [[0.0, 0.0, 0.0, 2 * e[a, b]] for a, b in ((1, 2), (0, 2), (0, 1))]
        stress = axes @ voigt_6_to_full_3x3_stress(labels[i].stress) @ axes.T
        values += stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)].tolist()
    design = np.array(rows)
    if not rows or np.linalg.matrix_rank(design, tol=1e-3) < 4:
        return None
    found = np.linalg.lstsq(design, np.array(values), rcond=None)[0]
    spread = float(np.sum((design @ found - values) ** 2)) / max(1, len(values) - 4)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * spread)
    return found.tolist(), errors.tolist()


def _no_stress(labels: Sequence[Labels], strained: dict[int, np.ndarray]) -> float | None:
    """Return the mean strain at which the labelled pressure is least."""
    known = [(abs(float(s[:3].mean())), i) for i in strained if (s := labels[i].stress) is not None]
    return float(np.trace(strained[min(known)[1]]) / 3) if known else None


def frames_in_motion(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    groups: Sequence[str],
    crystal: Crystal,
    static_energy: Callable[[Atoms], float],
    hottest: float,
) -> list[MotionFrames]:
    """Find frames that look like MD of the crystal: one group, one cell, about one temperature.

    The temperature is that of equipartition, (E - E0) / N = 3/2 k T, with E0 of the crystal at rest in the same cell:
    files seldom tell it, and what they tell may be that of the electrons. A frame of N atoms scatters by
    sqrt(2 / 3N) of it; where sorted temperatures have a gap of more than three times that, they are two.

    Parameters
    ----------
    frames, labels, groups
        (F,).
    crystal
        Relaxed.
    static_energy
        Gives E0 of the crystal at rest in a cell, eV, on the scale of the labels.
    hottest
        K; hotter ones are left out.

    Returns
    -------
    list
        Most frames first; each at least ten frames of at least 16 atoms, not all at rest.
    """
    from ase.units import kB

    cells: dict[tuple[object, ...], list[int]] = {}
    for i, frame in enumerate(frames):
        if len(frame) >= _MD_ATOMS and frame.pbc.all() and labels[i].energy is not None:
            key = (groups[i], len(frame), tuple(np.round(frame.cell[:].ravel() / _SAME_CELL).astype(int).tolist()))
            cells.setdefault(key, []).append(i)
    out = []
    for (group, *_), members in cells.items():
        if len(members) < _MD_FRAMES or (place := placement(frames[members[0]], crystal)) is None:
            continue
        rest = static_energy(place.sites)
        n = len(place.sites)
        kelvin = np.array([(float(labels[i].energy or 0.0) - rest) / n / (1.5 * kB) for i in members])
        for some in _alike(kelvin, 3 * np.sqrt(2 / (3 * n))):
            mean = float(kelvin[some].mean())
            if len(some) >= _MD_FRAMES and 20.0 < mean < hottest:
                out.append(MotionFrames(str(group), tuple(members[k] for k in some), place.sites, mean))
    return sorted(out, key=lambda found: -len(found.frames))


def _alike(kelvin: np.ndarray, gap: float) -> list[np.ndarray]:
    """Split temperatures where, sorted, one is more than so much, relative, above the one before."""
    order = np.argsort(kelvin, kind="stable")
    warm = order[kelvin[order] > 0]
    if len(warm) == 0:
        return []
    return np.split(warm, np.flatnonzero(np.diff(np.log(kelvin[warm])) > np.log1p(gap)) + 1)
