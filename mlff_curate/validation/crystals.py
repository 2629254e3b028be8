"""Crystals that a potential is validated on: which one, and relaxing it."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.errors import DataError, MissingDependencyError, UsageError
from mlff_curate.validation.symmetry import elastic_symmetry
from mlff_curate.wording import rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    Progress = Callable[[int, int | None], None]

STRUCTURES = ("bcc", "fcc", "hcp", "diamond", "sc")
GIVEN = "given"
"""The structure of a crystal that came from a file."""
_IDEAL_RATIO = float(np.sqrt(8 / 3))
_ATOMS_PER_CUBE = {"bcc": 2, "fcc": 4, "diamond": 8, "sc": 1}
_DISTANCE_IN_CUBES = {"bcc": np.sqrt(3) / 2, "fcc": np.sqrt(1 / 2), "diamond": np.sqrt(3) / 4, "sc": 1.0}
_FARTHEST = 1.3
"""Volume per atom over that of the start, either way: beyond this a relaxed crystal is another one."""
_FARTHEST_ATOM = 3.0
"""Angstrom: about a neighbour's distance. What goes farther does not relax but falls apart, and would for hours."""
_NEAREST = 0.6
"""Of the shortest distance of the start: atoms nearer than this fall into each other."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A perfect crystal.

    Attributes
    ----------
    atoms
        The cubic cell, the primitive one of hcp with c along z, or what was given; without a calculator.
    structure
        One of STRUCTURES, or ``given``.
    """

    atoms: Atoms
    structure: str

    @property
    def symmetry(self) -> str:
        """What symmetry its elastic constants have; see :func:`elastic_symmetry`."""
        return self._elastic[0]

    @property
    def axes(self) -> np.ndarray:
        """Directions (3, 3), rows, that elastic constants count from; see :func:`elastic_symmetry`."""
        return self._elastic[1]

    @cached_property
    def _elastic(self) -> tuple[str, np.ndarray]:
        if self.structure == GIVEN:
            return elastic_symmetry(self.atoms)
        return "hexagonal" if self.structure == "hcp" else "cubic", np.eye(3)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols, sorted."""
        return tuple(sorted(set(self.atoms.get_chemical_symbols())))

    @property
    def neighbour_distance(self) -> float:
        """Shortest distance between two atoms, Angstrom."""
        return shortest_distance(self.atoms)

    def constants(self) -> dict[str, float]:
        """Return the lattice constants by name, Angstrom; of a given crystal the angles too, degrees."""
        a, b, c, alpha, beta, gamma = map(float, self.atoms.cell.cellpar())
        if self.structure == GIVEN:
            return {"a": a, "b": b, "c": c, "alpha": alpha, "beta": beta, "gamma": gamma}
        return {"a": a, "c": c} if self.structure == "hcp" else {"a": a}

    def supercell(self, width: float) -> Atoms:
        """Return the smallest repetition whose faces are at least so far apart, Angstrom."""
        repeats = np.maximum(1, np.ceil(width / face_distances(self.atoms) - 1e-6)).astype(int)
        out: Atoms = self.atoms.repeat(tuple(repeats.tolist()))
        return out


def shortest_distance(atoms: Atoms) -> float:
    """Return the shortest distance between two atoms or an atom and its image, Angstrom; inf: there is none."""
    from mlff_curate.graphs.neighbours import neighbour_list

    for cutoff in (3.0, 6.0, 12.0):
        vectors = neighbour_list([atoms], cutoff).vector
        if len(vectors):
            return float(np.linalg.norm(vectors, axis=1).min())
    return float("inf")


def face_distances(atoms: Atoms) -> np.ndarray:
    """Return the distances between opposite faces of the cell, (3,) Angstrom."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0))


def require_structure(structure: str) -> None:
    """Refuse what is none of STRUCTURES.

    Raises
    ------
    UsageError
        The message lists them.
    """
    if structure not in STRUCTURES:
        raise UsageError(f"{structure!r} is none of {', '.join(STRUCTURES)}", key="--structure")


def element_crystal(symbol: str, structure: str | None = None) -> Crystal:
    """Return the crystal of an element.

    Parameters
    ----------
    symbol
        Chemical symbol.
    structure
        One of STRUCTURES; None: the element's own at room temperature, as ASE has it.

    Raises
    ------
    UsageError
        There is no such structure or element, or the element's own is none of them.
    """
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    if symbol not in atomic_numbers or symbol == "X":
        raise UsageError(f"{symbol!r} is no chemical element", key="--element")
    state: dict[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    if structure is None:
        structure = str(state.get("symmetry"))
        if structure not in STRUCTURES:
            raise UsageError(
                f"{symbol} is none of {', '.join(STRUCTURES)} at room temperature: name one of them, or give the "
                "crystal with --start",
                key="--structure",
            )
    require_structure(structure)
    if state.get("symmetry") == structure:
        a, ratio = float(state["a"]), float(state.get("c/a", _IDEAL_RATIO))
    else:
        a, ratio = _guess(symbol, structure, state), _IDEAL_RATIO
    if structure == "hcp":
        atoms = bulk(symbol, "hcp", a=a, c=ratio * a)
    else:
        atoms = bulk(symbol, structure, a=a, cubic=structure != "sc")
    atoms.set_initial_magnetic_moments(None)  # ASE gives iron some, and no potential here knows them
    return Crystal(atoms, structure)


def _guess(symbol: str, structure: str, state: dict[str, Any]) -> float:
    """Return a lattice constant to begin with: the volume per atom of the element's own crystal, or touching atoms."""
    from ase.data import atomic_numbers, covalent_radii

    own = state.get("symmetry")
    if own in _ATOMS_PER_CUBE and own != "diamond" and structure != "diamond":
        volume = float(state["a"]) ** 3 / _ATOMS_PER_CUBE[own]
    elif own == "hcp" and structure != "diamond":
        volume = float(state["a"]) ** 3 * float(state["c/a"]) * np.sqrt(3) / 4
    else:  # an open structure has another volume
        distance = 2.0 * float(covalent_radii[atomic_numbers[symbol]])
        return float(distance / _DISTANCE_IN_CUBES.get(structure, 1.0))
    if structure == "hcp":
        return float((volume * 4 / np.sqrt(3) / _IDEAL_RATIO) ** (1 / 3))
    return float((volume * _ATOMS_PER_CUBE[structure]) ** (1 / 3))


def relaxed_positions(
    atoms: Atoms, calculator: Calculator, *, fmax: float, steps: int, progress: Progress | None = None
) -> Atoms:
    """Return a copy with its atoms at rest in their cell, and its calculator.

    Parameters
    ----------
    atoms
        N atoms.
    calculator
        Any of ASE's.
    fmax
        Largest force on an atom, eV/Angstrom.
    steps
        At most so many.
    progress
        Called with steps done and None.

    Raises
    ------
    DataError
        The forces did not fall below `fmax`, or are no numbers.
    """
    from ase.optimize import BFGS

    out: Atoms = atoms.copy()
    out.calc = calculator
    optimizer = BFGS(out, logfile=None, maxstep=0.1)
    if progress is not None:
        optimizer.attach(lambda: progress(optimizer.nsteps, None))

    def keep_to_the_sites() -> None:
        farthest = float(np.linalg.norm(out.positions - atoms.positions, axis=1).max())
        if not np.isfinite(farthest):
            raise DataError("atoms cannot be relaxed: their positions become no numbers")
        if farthest > _FARTHEST_ATOM:
            raise DataError(f"an atom goes {rounded(farthest)} A away from its site: the structure is not stable")

    optimizer.attach(keep_to_the_sites)
    _converge(optimizer, fmax, steps, out.get_forces)
    return out


def relaxed_crystal(
    crystal: Crystal, calculator: Calculator, *, fmax: float, steps: int, progress: Progress | None = None
) -> Crystal:
    """Return the crystal without stress and forces; a cubic one stays cubic.

    Raises
    ------
    DataError
        It does not come to rest, or far from where it began: it is not stable.
    """
    from ase.optimize import BFGS

    out = crystal.atoms.copy()
    out.calc = calculator
    before, apart, sites = out.get_volume(), shortest_distance(out), out.get_scaled_positions(wrap=False)
    cell_and_atoms = _cell_filter()(out, hydrostatic_strain=crystal.symmetry == "cubic")
    optimizer = BFGS(cell_and_atoms, logfile=None, maxstep=0.05)
    if progress is not None:
        optimizer.attach(lambda: progress(optimizer.nsteps, None))

    def keep_to_the_crystal() -> None:
        ratio = out.get_volume() / before
        if not 1 / _FARTHEST < ratio < _FARTHEST:
            raise DataError(
                f"the crystal goes to {rounded(ratio)} times the volume that it began with: it is not stable"
            )
        moved = (out.get_scaled_positions(wrap=False) - sites) @ out.cell[:]
        farthest = float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max())
        if not farthest <= _FARTHEST_ATOM:
            raise DataError(f"an atom goes {rounded(farthest)} A away from its site: the crystal is not stable")
        nearest = shortest_distance(out)
        if nearest < _NEAREST * apart:
            raise DataError(f"atoms fall into each other, to {rounded(nearest)} A: the crystal is not stable")

    optimizer.attach(keep_to_the_crystal)
    _converge(optimizer, fmax, steps, cell_and_atoms.get_forces)
    out.calc = None
    return Crystal(out, crystal.structure)


def _converge(optimizer: Any, fmax: float, steps: int, forces: Callable[[], np.ndarray]) -> None:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, of the logarithm of a strain
            optimizer.run(fmax=fmax, steps=steps)
            largest = float(np.linalg.norm(np.asarray(forces()).reshape(-1, 3), axis=1).max())
    except (np.linalg.LinAlgError, ValueError, FloatingPointError, OverflowError) as error:
        raise DataError(f"atoms cannot be relaxed: {' '.join(str(error).split())[:120]}") from None
    if not largest <= fmax:
        raise DataError(
            f"atoms did not come to rest within {steps} steps: the largest force is {rounded(largest)} eV/A, and "
            f"{rounded(fmax)} are asked for"
        )


def _cell_filter() -> Any:
    """Return the filter that lets a cell relax with its atoms; ASE has moved it and made a better one."""
    return moved_in_ase(("ase.filters", "FrechetCellFilter"), ("ase.constraints", "ExpCellFilter"))


def moved_in_ase(*places: tuple[str, str]) -> Any:
    """Return what stands at the first place, module and name, that the installed ASE has."""
    for module, name in places:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise MissingDependencyError(f"the installed ASE has no {places[0][1]}: pip install --upgrade ase")
