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


def l1_0():
    atoms = alloy(0)
    atoms.symbols[[0, 3]] = "Au"
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
    "L1_0": (l1_0(), "tetragonal"),
    "quartz": (
        crystal(
            ["Si", "O"], [(0.47, 0, 0), (0.414, 0.267, 0.119)], spacegroup=152, cellpar=[4.91, 4.91, 5.4, *HEX]
        ),
        "trigonal",
    ),
    "calcite": (
        crystal(
            ["Ca", "C", "O"], [(0, 0, 0), (0, 0, 0.25), (0.257, 0, 0.25)], spacegroup=167,
            cellpar=[4.99, 4.99, 17.06, *HEX],
        ),
        "trigonal",
    ),
    "dolomite": (
        crystal(
            ["Ca", "Mg", "C", "O"], [(0, 0, 0), (0, 0, 0.5), (0, 0, 0.243), (0.248, -0.035, 0.244)], spacegroup=148,
            cellpar=[4.81, 4.81, 16.01, *HEX],
        ),
        "trigonal (-3)",
    ),
    "off the centre": (off_centre(), "tetragonal"),
    "stretched": (Atoms("Cu", cell=[2.5, 2.5, 2.52], pbc=True), "tetragonal"),
    "rutile": (
        crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, *CUBE]),
        "tetragonal",
    ),
    "scheelite": (
        crystal(
            ["Ca", "W", "O"], [(0, 0.25, 0.625), (0, 0.25, 0.125), (0.15, 0.009, 0.211)], spacegroup=88,
            setting=2, cellpar=[5.24, 5.24, 11.37, *CUBE],
        ),
        "tetragonal (4/m)",
    ),
    "olivine": (
        crystal(
            ["Mg", "Mg", "Si", "O"], [(0, 0, 0), (0.99, 0.277, 0.25), (0.43, 0.094, 0.25), (0.28, 0.163, 0.03)],
            spacegroup=62, setting=1, cellpar=[4.76, 10.2, 5.98, *CUBE],
        ),
        "orthorhombic",
    ),
    "monoclinic": (
        crystal(["Zr", "O"], [(0.276, 0.041, 0.208), (0.07, 0.332, 0.345)], spacegroup=14,
                cellpar=[5.15, 5.21, 5.32, 90, 99.2, 90]),
        "monoclinic",
    ),
    "triclinic": (
        crystal(["Zr", "O"], [(0.276, 0.041, 0.208), (0.07, 0.332, 0.345)], spacegroup=2,
                cellpar=[5.15, 5.21, 5.32, 81, 99.2, 95]),
        "triclinic",
    ),
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
    # of the others, axes are the crystal's own: those of the cell turn with it
    turned = atoms.copy()
    turned.set_cell(turned.cell[:] @ turn.T, scale_atoms=True)
    if symmetry not in ("cubic", "hexagonal", "triclinic"):
        np.testing.assert_allclose(elastic_symmetry(turned)[1] @ turn, np.eye(3), atol=1e-6)
        if symmetry.startswith(("tetragonal", "trigonal")):
            assert np.abs(back[2, 2]) == pytest.approx(1, abs=1e-3)
        if symmetry == "monoclinic":
            assert np.abs(back[1, 1]) == pytest.approx(1, abs=1e-3)
        if symmetry == "orthorhombic":
            assert np.abs(back).max(axis=1) == pytest.approx(1, abs=1e-3)


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
    assert Crystal(alloy(2), "given").symmetry == "tetragonal"


def test_axes_are_named_after_the_vectors_of_the_cell():
    atoms = Atoms("Cu", cell=[2.5, 2.7, 2.6], pbc=True)
    swapped = atoms.copy()
    swapped.set_cell(atoms.cell[[1, 2, 0]])
    assert elastic_symmetry(swapped)[0] == "orthorhombic"
    np.testing.assert_allclose(elastic_symmetry(swapped)[1], np.eye(3)[[1, 2, 0]], atol=1e-12)
    body = Atoms("Cu", cell=2.5 * np.array([[-0.5, 0.5, 0.7], [0.5, -0.5, 0.7], [0.5, 0.5, -0.7]]), pbc=True)
    symmetry, axes = elastic_symmetry(body)
    assert symmetry == "tetragonal"
    assert np.abs(axes).max(axis=1) == pytest.approx(1)  # along the edges, not across them
