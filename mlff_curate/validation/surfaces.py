"""Energies of low-index surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import relaxed_positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Crystal, Progress

_CUBIC = {"100": (1, 0, 0), "110": (1, 1, 0), "111": (1, 1, 1)}
FACES: dict[str, dict[str, tuple[int, int, int]]] = {
    "bcc": _CUBIC,
    "fcc": _CUBIC,
    "diamond": _CUBIC,
    "sc": _CUBIC,
    "hcp": {"0001": (0, 0, 1), "10-10": (1, 0, 0), "11-20": (1, 1, 0)},
}
"""Structure to its faces, and to their indices in the cell of :class:`Crystal`."""
_SAME_GAP = 1e-3


@dataclass(frozen=True)
class Surface:
    """One face of a crystal, as the program cuts it, not reconstructed.

    Attributes
    ----------
    face
        As in FACES.
    energy, unrelaxed
        J/m^2, of one of two equal sides; atoms at rest, and on their sites.
    atoms
        In the slab.
    thickness
        Angstrom.
    """

    face: str
    energy: float
    unrelaxed: float
    atoms: int
    thickness: float


def surface(
    crystal: Crystal,
    calculator: Calculator,
    face: str,
    *,
    thickness: float,
    vacuum: float,
    fmax: float,
    steps: int,
    progress: Progress | None = None,
) -> Surface:
    """Compute (E(slab) - N E(crystal)) / 2 A of a slab that is periodic in two directions.

    Parameters
    ----------
    crystal
        Relaxed, of one element.
    calculator
        Any of ASE's.
    face
        One of FACES of its structure.
    thickness
        Angstrom, at least.
    vacuum
        Angstrom on either side. The slab is not periodic there, so any number would do.
    fmax, steps, progress
        Of :func:`relaxed_positions`.

    Raises
    ------
    DataError
        Atoms do not come to rest.
    """
    from ase import units

    bulk_atoms = crystal.atoms.copy()
    bulk_atoms.calc = calculator
    per_atom = bulk_atoms.get_potential_energy() / len(bulk_atoms)
    atoms = slab(crystal, face, thickness, vacuum)
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
    height = float(np.ptp(atoms.positions[:, 2]))
    atoms.calc = calculator
    unrelaxed = atoms.get_potential_energy() - len(atoms) * per_atom
    relaxed = relaxed_positions(atoms, calculator, fmax=fmax, steps=steps, progress=progress)
    cost = relaxed.get_potential_energy() - len(relaxed) * per_atom
    to_unit = units.m**2 / units.J / (2 * area)
    return Surface(face, float(cost * to_unit), float(unrelaxed * to_unit), len(relaxed), height)


def slab(crystal: Crystal, face: str, thickness: float, vacuum: float) -> Atoms:
    """Cut a slab of at least this thickness, Angstrom, with the face along x and y, where planes are farthest apart.

    Raises
    ------
    DataError
        No faces are known of this structure.
    """
    from ase.build import surface as cut

    if face not in FACES.get(crystal.structure, {}):
        raise DataError(f"no face {face} is known of {crystal.structure}")
    indices = FACES[crystal.structure][face]
    whole = crystal.atoms.copy()
    normal = np.linalg.inv(whole.cell[:]) @ np.array(indices, float)
    normal /= np.linalg.norm(normal)
    # one period of planes along the normal
    height = abs(float(cut(whole, indices, 1, periodic=True).cell[2, 2]))
    planes = np.sort(whole.positions @ normal % height)
    gaps = np.diff(np.append(planes, planes[0] + height))
    widest = int(np.flatnonzero(gaps > gaps.max() - _SAME_GAP)[0])
    whole.positions -= (planes[widest] + gaps[widest] / 2) * normal
    layers = 1
    out: Atoms = cut(whole, indices, layers, vacuum=vacuum)
    while np.ptp(out.positions[:, 2]) < thickness:
        layers += 1
        out = cut(whole, indices, layers, vacuum=vacuum)
    out.pbc = (True, True, False)
    return out


def in_order(energies: Mapping[str, float], other: Mapping[str, float], same: float) -> tuple[str, ...]:
    """Return the pairs of faces that two sets of energies have in a different order.

    Parameters
    ----------
    energies, other
        Face to energy.
    same
        Faces whose energies in `other` differ by less than this share are in no order.

    Returns
    -------
    tuple
        ``110 and 100`` and the like; none: the order is the same.
    """
    swapped = []
    for a, b in combinations(sorted(set(energies) & set(other)), 2):
        apart = other[b] - other[a]
        if abs(apart) >= same * max(abs(other[a]), abs(other[b])) and (energies[b] - energies[a]) * apart < 0:
            swapped.append(f"{a} and {b}")
    return tuple(swapped)
