"""A missing atom: what it costs, and what it costs to move."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import moved_in_ase, relaxed_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress


@dataclass(frozen=True)
class Vacancy:
    """A vacancy in a crystal of one element.

    Attributes
    ----------
    energy
        Of formation, eV, with its neighbours relaxed in the cell of the crystal.
    unrelaxed
        The same with all atoms on their sites.
    atoms
        In the cell, the missing one not counted.
    displacement
        How far the atom that moved most did, Angstrom.
    """

    energy: float
    unrelaxed: float
    atoms: int
    displacement: float


@dataclass(frozen=True)
class Migration:
    """The way of a neighbour into a vacancy.

    Attributes
    ----------
    barrier
        eV.
    path, energies
        (I,) images: distance along the way, Angstrom, and energy above the first image, eV.
    atoms
        In the cell.
    """

    barrier: float
    path: Sequence[float]
    energies: Sequence[float]
    atoms: int


def vacancy(
    crystal: Crystal,
    calculator: Calculator,
    *,
    width: float,
    fmax: float,
    steps: int,
    progress: Progress | None = None,
) -> Vacancy:
    """Take an atom out of a supercell: E(N - 1 atoms) - (N - 1) / N E(N atoms).

    Parameters
    ----------
    crystal
        Relaxed, of one element.
    calculator
        Any of ASE's.
    width
        Between opposite faces of the supercell at least, Angstrom.
    fmax, steps, progress
        Of :func:`relaxed_positions`.

    Raises
    ------
    DataError
        The crystal is of several elements, or atoms do not come to rest.
    """
    _require_one_element(crystal)
    whole = crystal.supercell(width)
    whole.calc = calculator
    per_atom = whole.get_potential_energy() / len(whole)
    lacking, _ = _lacking(crystal.supercell(width))
    lacking.calc = calculator
    unrelaxed = lacking.get_potential_energy()
    relaxed = relaxed_positions(lacking, calculator, fmax=fmax, steps=steps, progress=progress)
    moved = np.linalg.norm(relaxed.positions - lacking.positions, axis=1)
    return Vacancy(
        energy=float(relaxed.get_potential_energy() - len(relaxed) * per_atom),
        unrelaxed=float(unrelaxed - len(lacking) * per_atom),
        atoms=len(relaxed),
        displacement=float(moved.max()),
    )


def migration(
    crystal: Crystal,
    calculator: Calculator,
    *,
    width: float,
    images: int,
    fmax: float,
    steps: int,
    progress: Progress | None = None,
) -> Migration:
    """Follow a nearest neighbour into the vacancy with a climbing nudged elastic band (ASE's).

    Parameters
    ----------
    crystal, calculator, width, fmax, steps, progress
        See :func:`vacancy`.
    images
        Between the two ends.

    Raises
    ------
    DataError
        The crystal is of several elements, or the band does not come to rest.
    """
    from ase.optimize import FIRE

    _require_one_element(crystal)
    start, site = _lacking(crystal.supercell(width))
    first = relaxed_positions(start, calculator, fmax=fmax, steps=steps)
    away = _vectors(start, site)
    jumper = int(np.argmin(np.linalg.norm(away, axis=1)))
    end = start.copy()
    end.positions[jumper] -= away[jumper]
    last = relaxed_positions(end, calculator, fmax=fmax, steps=steps)
    band = [first, *(first.copy() for _ in range(images)), last]
    for image in band[1:-1]:
        image.calc = calculator
    ends = [first.get_potential_energy(), last.get_potential_energy()]
    chain = moved_in_ase(("ase.mep", "NEB"), ("ase.neb", "NEB"))(
        band, climb=True, allow_shared_calculator=True, method="improvedtangent"
    )
    chain.interpolate(method="idpp")
    optimizer = FIRE(chain, logfile=None)
    if progress is not None:
        optimizer.attach(lambda: progress(optimizer.nsteps, None))
    optimizer.run(fmax=fmax, steps=steps)
    residual = float(np.linalg.norm(chain.get_forces().reshape(-1, 3), axis=1).max())
    if not residual <= fmax:
        raise DataError(f"the band did not come to rest within {steps} steps: the largest force is {residual:.3g} eV/A")
    energies = np.array([ends[0], *(image.get_potential_energy() for image in band[1:-1]), ends[1]])
    between = [np.linalg.norm(b.positions - a.positions) for a, b in pairwise(band)]
    return Migration(
        barrier=float(energies.max() - energies[0]),
        path=np.cumsum([0.0, *between]).tolist(),
        energies=(energies - energies[0]).tolist(),
        atoms=len(first),
    )


def _require_one_element(crystal: Crystal) -> None:
    if len(crystal.elements) > 1:
        raise DataError("the energy of a vacancy in a compound depends on chemical potentials, which nobody has given")


def _lacking(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """Return the cell without its middle atom, and where that was, (3,)."""
    middle = int(np.argmin(np.linalg.norm(atoms.positions - atoms.cell[:].sum(axis=0) / 2, axis=1)))
    site = atoms.positions[middle].copy()
    del atoms[middle]
    return atoms, site


def _vectors(atoms: Atoms, site: np.ndarray) -> np.ndarray:
    """Return the vector from a place to the nearest image of each atom, (N, 3) Angstrom."""
    from ase.geometry import find_mic

    return np.asarray(find_mic(atoms.positions - site, atoms.cell, atoms.pbc)[0])
