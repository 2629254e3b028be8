"""Neighbour lists of frames, and the length scale that sets the radius of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, covalent_radii, reference_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

CUTOFF_IN_NEIGHBOUR_DISTANCES = 1.75
"""Radius of an environment over the nearest-neighbour distance: three shells of bcc, two and a half of fcc."""

_SHORTEST_CUTOFF = 4.0
_LONGEST_CUTOFF = 9.0
_MOST_BINS = 1e6


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of every atom of some frames, as one list sorted by centre.

    Attributes
    ----------
    centre
        (E,) index of the centre atom, counted over all frames.
    neighbour
        (E,) index of the neighbour, or of the atom that it is an image of, counted likewise.
    vector
        (E, 3) from centre to neighbour, Angstrom.
    number
        (E,) atomic number of the neighbour.
    count
        (N,) neighbours of each atom.
    """

    centre: np.ndarray
    neighbour: np.ndarray
    vector: np.ndarray
    number: np.ndarray
    count: np.ndarray


def neighbour_list(frames: Sequence[Atoms], cutoff: float) -> Neighbours:
    """List all neighbours within a cutoff, periodic images included.

    Parameters
    ----------
    frames
        F frames with N atoms in all; any mix of periodic and open directions.
    cutoff
        Angstrom.

    Returns
    -------
    Neighbours
        Centres are numbered in the order of frames and atoms.
    """
    from ase.neighborlist import neighbor_list as ase_list
    from matscipy.neighbours import neighbour_list as matscipy_list

    centres, others, vectors, numbers, start = [], [], [], [], 0
    for atoms in frames:
        whole = _with_full_cell(atoms, cutoff)
        # matscipy makes one bin per cutoff cubed however empty the cell is; ASE's list bounds the number of bins.
        search = matscipy_list if whole.cell.volume < _MOST_BINS * cutoff**3 else ase_list
        i, j, vector = search("ijD", whole, float(cutoff))
        centres.append(i.astype(np.int64) + start)
        others.append(j.astype(np.int64) + start)
        vectors.append(vector)
        numbers.append(atoms.numbers[j])
        start += len(atoms)
    centre = np.concatenate(centres) if centres else np.zeros(0, np.int64)
    other = np.concatenate(others) if others else np.zeros(0, np.int64)
    vector = np.concatenate(vectors) if vectors else np.zeros((0, 3))
    number = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
    if np.any(np.diff(centre) < 0):
        order = np.argsort(centre, kind="stable")
        centre, other, vector, number = centre[order], other[order], vector[order], number[order]
    return Neighbours(centre, other, vector, number, np.bincount(centre, minlength=start))


def _with_full_cell(atoms: Atoms, cutoff: float) -> Atoms:
    """Give open directions a cell vector that holds all atoms, since matscipy sorts atoms into cells.

    Open directions get a vector orthogonal to all others, whatever vector the file had there: atoms may lie outside
    the file's cell. Gaps wider than the cutoff are narrowed to just above it, which changes no neighbour; an atom that
    has flown far away would else ask for a cell, and memory, as large as its distance.
    """
    if atoms.pbc.all():
        return atoms
    copy: Atoms = atoms.copy()
    copy.calc = None
    basis = copy.cell.new(copy.cell.array * atoms.pbc[:, None]).complete().array
    positions = copy.positions.copy()
    for k in np.flatnonzero(~atoms.pbc):
        axis = basis[k] / np.linalg.norm(basis[k])
        place = positions @ axis
        order = np.argsort(place, kind="stable")
        excess = np.maximum(np.diff(place[order], prepend=place[order[:1]]) - 1.01 * cutoff, 0.0)
        shift = np.empty_like(place)
        shift[order] = np.cumsum(excess) + place.min() - 0.5 * cutoff
        positions -= shift[:, None] * axis
        basis[k] = axis * ((positions @ axis).max() + 0.5 * cutoff)
    copy.cell = basis
    copy.positions = positions
    return copy


def neighbour_distance(number: int) -> float:
    """Return the nearest-neighbour distance of an element in its reference crystal, Angstrom.

    From the lattice constants in ``ase.data.reference_states``; twice the covalent radius (``ase.data``) where the
    reference is no simple crystal.
    """
    shortest_over_a = {"fcc": 0.5**0.5, "bcc": 0.75**0.5, "diamond": 0.75**0.5 / 2, "sc": 1.0, "hcp": 1.0}
    state = reference_states[number] if number < len(reference_states) else None
    if state and state["symmetry"] in shortest_over_a:
        return float(state["a"] * shortest_over_a[state["symmetry"]])
    radius = covalent_radii[number] if number < len(covalent_radii) else covalent_radii[atomic_numbers["Pu"]]
    return float(2.0 * radius)


def default_cutoff(species: Sequence[int]) -> float:
    """Return the radius of an environment for a set of elements, Angstrom.

    Scales with the elements' mean nearest-neighbour distance, so that light and heavy elements see the same number of
    shells; a function of the elements alone, so that it does not change with the data set.
    """
    mean = float(np.mean([neighbour_distance(z) for z in species]))
    return round(float(np.clip(CUTOFF_IN_NEIGHBOUR_DISTANCES * mean, _SHORTEST_CUTOFF, _LONGEST_CUTOFF)), 3)
