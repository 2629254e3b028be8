"""Structures are laid over each other whatever their orientation, order, cell and place, if they are the same."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from made_frames import (
    MAKERS,
    hot_crystal,
    in_another_cell,
    nudged,
    shifted_and_wrapped,
    shuffled,
    structure,
    turned,
)

from mlff_curate.checks.copies import NEAR
from mlff_curate.checks.invariants import invariants
from mlff_curate.checks.overlay import motion_between, shift_between


def disguised(atoms, rng, turn=False):
    moved = in_another_cell(atoms, rng) if atoms.pbc.any() else atoms
    moved = shifted_and_wrapped(moved, rng)
    moved, _ = shuffled(moved, rng)
    return turned(moved, rng)[0] if turn else moved


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(5))
class TestSameStructure:
    def test_shift_order_wrapping_and_cell_do_not_count(self, kind, seed):
        atoms = MAKERS[kind](seed)
        moved = disguised(atoms, np.random.default_rng(seed))
        assert shift_between(structure(atoms), structure(moved)) < 1e-9

    def test_nor_do_rotation_and_reflection_where_any_motion_is_allowed(self, kind, seed):
        atoms = MAKERS[kind](seed)
        moved = disguised(atoms, np.random.default_rng(seed), turn=True)
        assert shift_between(structure(atoms), structure(moved)) is None
        assert motion_between(structure(atoms), structure(moved)) < 1e-9

    def test_the_distance_left_is_that_of_the_atom_moved_most(self, kind, seed):
        rng = np.random.default_rng(seed)
        atoms = MAKERS[kind](seed)
        moved = atoms.copy()
        moved.positions[seed % len(atoms)] += [0.0, 0.0, 5e-4]
        expected = 5e-4 * (1 - 1 / len(atoms))  # the others give way: the whole may be shifted
        assert shift_between(structure(atoms), structure(disguised(moved, rng))) == pytest.approx(expected, rel=1e-6)

    def test_small_displacements_pass_turned_as_well(self, kind, seed):
        rng = np.random.default_rng(seed)
        atoms = MAKERS[kind](seed)
        moved = nudged(disguised(atoms, rng, turn=True), rng, 0.3 * NEAR)
        assert motion_between(structure(atoms), structure(moved)) < NEAR

    def test_larger_displacements_do_not(self, kind, seed):
        rng = np.random.default_rng(seed)
        atoms = MAKERS[kind](seed)
        moved = nudged(disguised(atoms, rng), rng, 5 * NEAR)
        assert shift_between(structure(atoms), structure(moved)) is None
        assert motion_between(structure(atoms), structure(moved)) is None

    def test_the_numbers_compared_first_stay_within_their_bounds(self, kind, seed):
        rng = np.random.default_rng(seed)
        atoms = MAKERS[kind](seed)
        moved = nudged(disguised(atoms, rng, turn=True), rng, NEAR)
        ((_, a),), ((_, b),) = invariants([atoms]), invariants([moved])
        assert a.kind == b.kind
        assert (np.abs(a.whole - b.whole) <= 1.1 * NEAR * b.whole_bound + 1e-6).all()


def test_frames_of_one_trajectory_are_different_structures():
    frames = [structure(hot_crystal(seed, amplitude=0.02)) for seed in range(6)]
    assert all(motion_between(a, b) is None for i, a in enumerate(frames) for b in frames[:i])


def test_an_element_swapped_is_another_structure():
    a = hot_crystal(1)
    b = a.copy()
    a.numbers[3] = b.numbers[4] = 41
    assert motion_between(structure(a), structure(b)) is None


def test_mirror_images_of_a_chiral_molecule_are_one_by_reflection():
    atoms = molecule("CH3CH2OH")
    atoms.positions += np.random.default_rng(0).normal(0, 0.05, atoms.positions.shape)
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    assert shift_between(structure(atoms), structure(mirrored)) is None
    assert motion_between(structure(atoms), structure(mirrored)) < 1e-9


@pytest.mark.parametrize("name", ["CO2", "H2O", "CH4", "C6H6", "N2"])
def test_linear_planar_and_round_molecules_are_found_in_any_orientation(name):
    atoms = molecule(name)
    rng = np.random.default_rng(3)
    assert motion_between(structure(atoms), structure(disguised(atoms, rng, turn=True))) < 1e-5


@pytest.mark.parametrize("crystal", ["bcc", "fcc", "hcp", "diamond", "rocksalt"])
def test_supercells_of_a_crystal_are_one_crystal(crystal):
    names = {"hcp": "Ti", "diamond": "Si", "rocksalt": "NaCl"}
    unit = bulk(names.get(crystal, "Ta"), crystal, a=4.0)
    rng = np.random.default_rng(5)
    supercell = disguised(unit.repeat((1, 2, 3)), rng, turn=True)
    assert len(structure(supercell).primitive.numbers) == len(structure(unit).primitive.numbers)
    assert motion_between(structure(unit), structure(supercell)) < 1e-6


def test_a_supercell_with_one_atom_displaced_is_another_structure():
    unit = bulk("Ta", "bcc", a=3.3)
    supercell = unit.repeat((2, 2, 2))
    supercell.positions[0] += 0.05
    assert motion_between(structure(unit), structure(supercell)) is None


def test_a_strain_of_a_thousandth_is_another_structure():
    atoms = bulk("Nb", "bcc", a=3.32, cubic=True)
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ np.diag([1.001, 1, 1]), scale_atoms=True)
    assert motion_between(structure(atoms), structure(strained)) is None


def test_equal_strains_along_different_axes_of_a_cubic_crystal_are_twins():
    atoms = bulk("Nb", "bcc", a=3.32, cubic=True)
    along = []
    for axis in range(2):
        strain = np.ones(3)
        strain[axis] = 1.01
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ np.diag(strain), scale_atoms=True)
        along.append(structure(moved))
    assert shift_between(*along) is None
    assert motion_between(*along) < 1e-9
