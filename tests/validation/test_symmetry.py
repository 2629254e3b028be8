"""Symmetry of elastic constants, of crystals whose space groups are known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import cellpar_to_cell
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from mlff_curate.validation.crystals import Crystal
from mlff_curate.validation.symmetry import elastic_symmetry

CUBE = [90, 90, 90]
HEX = [90, 90, 120]


def alloy(n):
    atoms = bulk("Cu", cubic=True, a=3.75)
    atoms.symbols[:n] = "Au"
    return atoms


def off_centre():
    atoms = crystal(
        ["Ba", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[4, 4, 4, *CUBE]
    )
    atoms.positions[1, 2] += 0.08
    return atoms


CRYSTALS = {
    "NaCl": (bulk("NaCl", "rocksalt", a=5.64), "cubic"),
    "NaCl, eight atoms": (bulk("NaCl", "rocksalt", a=5.64, cubic=True), "cubic"),
    "B2": (bulk("CsCl", "cesiumchloride", a=4.1), "cubic"),
    "L1_2": (alloy(1), "cubic"),
    "zincblende": (bulk("GaAs", "zincblende", a=5.65), "cubic"),
    "pyrite": (crystal(["Fe", "S"], [(0, 0, 0), (0.384,) * 3], spacegroup=205, cellpar=[5.41] * 3 + CUBE), "cubic"),
    "FeSi": (crystal(["Fe", "Si"], [(0.137,) * 3, (0.842,) * 3], spacegroup=198, cellpar=[4.49] * 3 + CUBE), "cubic"),
    "A15": (crystal(["Nb", "Sn"], [(0.25, 0, 0.5), (0, 0, 0)], spacegroup=223, cellpar=[5.29] * 3 + CUBE), "cubic"),
    "supercell": (alloy(1) * (3, 2, 1), "cubic"),
    "wurtzite": (bulk("ZnO", "wurtzite", a=3.25, c=5.2), "hexagonal"),
    "MoS2": (
        crystal(
            ["Mo", "S"], [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)], spacegroup=194, cellpar=[3.16, 3.16, 12.3, *HEX]
        ),
        "hexagonal",
    ),
    "rounded thirds": (
        Atoms("Mg2", scaled_positions=[(0.3333, 0.6667, 0.25), (0.6667, 0.3333, 0.75)], pbc=True,
              cell=cellpar_to_cell([3.2, 3.2, 5.2, *HEX])),
        "hexagonal",
    ),
    "L1_0": (alloy(2), "triclinic"),
    "quartz": (
        crystal(
            ["Si", "O"], [(0.47, 0, 0), (0.414, 0.267, 0.119)], spacegroup=152, cellpar=[4.91, 4.91, 5.4, *HEX]
        ),
        "triclinic",
    ),
    "off the centre": (off_centre(), "triclinic"),
    "stretched": (Atoms("Cu", cell=[2.5, 2.5, 2.52], pbc=True), "triclinic"),
}  # fmt: skip


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_symmetry_is_that_of_the_space_group_in_any_orientation_and_cell(name):
    atoms, symmetry = CRYSTALS[name]
    found, axes = elastic_symmetry(atoms)
    assert found == symmetry
    np.testing.assert_allclose(axes, np.eye(3), atol=1e-12)  # all of these lie along the axes of space
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    moved = atoms.copy()
    moved.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 1, 1]]) @ atoms.cell[:])
    moved.positions += 0.37
    moved.set_cell(moved.cell[:] @ turn.T, scale_atoms=True)
    found, axes = elastic_symmetry(moved)
    assert found == symmetry
    assert np.linalg.det(axes) == pytest.approx(1)
    back = axes @ turn
    if symmetry == "cubic":
        assert np.abs(back).max(axis=1) == pytest.approx(1, abs=1e-3)
    if symmetry == "hexagonal":
        assert np.abs(back[2, 2]) == pytest.approx(1, abs=1e-3)


def test_noise_has_no_symmetry_and_rounding_does_no_harm():
    atoms = alloy(1) * 3
    atoms.rattle(0.001, seed=0)
    assert elastic_symmetry(atoms)[0] == "cubic"
    atoms.rattle(0.03, seed=1)
    assert elastic_symmetry(atoms)[0] == "triclinic"
    mixed = bulk("Cu", cubic=True) * 3
    mixed.numbers[np.random.default_rng(0).permutation(108)[:54]] = 79
    assert elastic_symmetry(mixed)[0] == "triclinic"


def test_a_given_crystal_is_what_its_atoms_say():
    assert Crystal(alloy(1), "given").symmetry == "cubic"
    assert Crystal(bulk("ZnO", "wurtzite", a=3.25, c=5.2), "given").symmetry == "hexagonal"
    assert Crystal(alloy(2), "given").symmetry == "triclinic"
