"""An ASE calculator that moves the atoms of a LAMMPS session: a trained potential, a committee, or any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.calculators.computed import computed

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.lammps_session import LammpsSession


class LammpsDriver:
    """The potential of a LAMMPS session that has loaded a frame; see :meth:`LammpsSession.drive`.

    The calculator sees the frame move: in its own frame of reference and order, and not wrapped, so that neighbours
    that were searched once stay good for as long as atoms have not moved far.

    Parameters
    ----------
    session
        With the frame loaded, or a state of it.
    atoms
        The frame with its calculator; where its atoms are is where LAMMPS has them, but for whole cell vectors.
        Positions follow at every step.
    cell_moves
        The cell follows too; otherwise it is left as it is, to the last bit.
    """

    def __init__(self, session: LammpsSession, atoms: Atoms, *, cell_moves: bool = False) -> None:
        self.atoms = atoms
        self._cell_moves = cell_moves
        self._periodic = np.asarray(atoms.pbc, dtype=bool)
        session.drive(self._compute)

    def _compute(self, positions: np.ndarray, lattice: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return energy, forces (N, 3) and virial (3, 3) for positions and k periodic vectors from LAMMPS."""
        from ase.stress import voigt_6_to_full_3x3_stress

        atoms = self.atoms
        before = np.asarray(atoms.cell)[self._periodic]
        if not self._cell_moves:
            lattice = before
        # Between two steps no atom moves by half a cell: what is more is LAMMPS' wrapping.
        wrapped = np.rint(positions @ np.linalg.pinv(lattice) - atoms.positions @ np.linalg.pinv(before))
        if self._cell_moves:
            cell = np.array(atoms.cell)
            cell[self._periodic] = lattice
            atoms.set_cell(cell)
        atoms.positions = positions - wrapped @ lattice
        forces = atoms.get_forces()
        energy = computed(atoms, "energy")
        if not self._periodic.all():
            return energy, forces, np.zeros((3, 3))
        stress = voigt_6_to_full_3x3_stress(computed(atoms, "stress"))
        return energy, forces, -np.asarray(stress) * atoms.get_volume()
