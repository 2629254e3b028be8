"""The bispectrum is a function of the environment alone."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate.descriptors.bispectrum import Bispectrum, n_components
from mlff_curate.errors import DataError, UsageError


def tungsten_tantalum():
    """Rattled, strained, triclinic cell of four atoms, smaller than the cutoff."""
    alloy = bulk("Ta", a=3.316) * (2, 2, 1)
    alloy.numbers[[0, 3]] = 74
    alloy.rattle(0.15, seed=3)
    alloy.set_cell(alloy.cell[:] @ (np.eye(3) + 0.05 * np.random.default_rng(1).normal(size=(3, 3))), scale_atoms=True)
    return alloy


@pytest.fixture
def describe():
    descriptor = Bispectrum([73, 74], cutoff=4.7)
    return lambda *frames: descriptor.compute(frames)


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_rotation_changes_nothing(describe):
    turned = tungsten_tantalum()
    turned.rotate(51, (1, -2, 0.5), rotate_cell=True)
    same(describe(turned), describe(tungsten_tantalum()))


def test_reflection_changes_nothing(describe):
    mirrored = tungsten_tantalum()
    mirror = np.diag([1, 1, -1])
    mirrored.cell[:] = mirrored.cell[:] @ mirror
    mirrored.positions = mirrored.positions @ mirror
    same(describe(mirrored), describe(tungsten_tantalum()))


def test_translation_changes_nothing(describe):
    moved = tungsten_tantalum()
    moved.positions += (1.3, -20.7, 400.1)
    same(describe(moved), describe(tungsten_tantalum()))


def test_permutation_permutes(describe):
    order = [2, 0, 3, 1]
    same(describe(tungsten_tantalum()[order]), describe(tungsten_tantalum())[order])


def test_supercell_repeats(describe):
    alloy = tungsten_tantalum()
    same(describe(alloy * (2, 1, 3)), np.tile(describe(alloy), (6, 1)))


def test_lattice_may_be_named_by_skewed_vectors(describe):
    skewed = tungsten_tantalum()
    a, b, c = skewed.cell[:].copy()
    skewed.cell[:] = [b, a + 7 * b, c - 9 * a + 4 * b]
    same(describe(skewed), describe(tungsten_tantalum()))


@pytest.mark.parametrize("pbc", [(1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_open_directions_have_no_images(describe, pbc):
    alloy = tungsten_tantalum()
    alloy.pbc = pbc
    # The same atoms as a finite piece: images along the periodic directions only, as many as the cutoff reaches
    images = [np.array(shift) for shift in np.ndindex(*(7 if periodic else 1 for periodic in pbc))]
    middle = np.array([3 if periodic else 0 for periodic in pbc])
    images.sort(key=lambda shift: (shift != middle).any())
    positions = [alloy.positions + (shift - middle) @ alloy.cell[:] for shift in images]
    piece = Atoms(np.tile(alloy.numbers, len(images)), np.concatenate(positions))
    same(describe(alloy), describe(piece)[:4])


def test_one_atom_cell_much_smaller_than_the_cutoff_is_the_crystal():
    descriptor = Bispectrum([73], cutoff=9.0, twojmax=4)
    one, many = bulk("Ta", a=3.316), bulk("Ta", a=3.316, cubic=True) * (4, 4, 4)
    rows = descriptor.compute([one, many])
    same(rows[1:], np.tile(rows[:1], (128, 1)))


def test_isolated_atom_has_none():
    for lonely in (Atoms("Ta"), Atoms("Ta", cell=np.eye(3) * 20, pbc=True), Atoms("Ta2", [(0, 0, 0), (0, 0, 9)])):
        np.testing.assert_allclose(Bispectrum([73], cutoff=4.7).compute([lonely]), 0.0, atol=1e-12)


def test_moving_one_atom_changes_its_neighbours_and_nothing_beyond_the_cutoff():
    row = Atoms("Ta4", [(0, 0, 0), (2.8, 0, 0), (5.6, 0, 0), (8.4, 0.3, 0)])
    moved = row.copy()
    moved.positions[0, 1] += 0.2
    before, after = (Bispectrum([73], cutoff=4.0).compute([frame]) for frame in (row, moved))
    changed = np.abs(after - before).max(axis=1)
    assert (changed[:2] > 1e-2).all()
    np.testing.assert_array_equal(changed[2:], 0.0)


def test_fades_to_nothing_at_the_cutoff():
    descriptor = Bispectrum([73], cutoff=4.0)
    pairs = [Atoms("Ta2", [(0, 0, 0), (4.0 - gap, 0, 0)]) for gap in (0.5, 1e-1, 1e-2, 1e-3)]
    heights = [np.abs(descriptor.compute([pair])).max() for pair in pairs]
    assert heights[0] > 0.1
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] < 1e-4


def test_species_of_a_neighbour_counts(describe):
    alloy = tungsten_tantalum()
    swapped = alloy.copy()
    swapped.numbers = np.where(alloy.numbers == 73, 74, 73)
    assert (np.abs(describe(swapped) - describe(alloy)).max(axis=1) > 0.1).all()


def test_blocks_of_a_pure_frame_are_the_bispectrum_of_one_species(describe):
    pure = bulk("Ta", a=3.316, cubic=True)
    pure.rattle(0.1, seed=5)
    of_tantalum, of_tungsten, of_all = np.split(describe(pure), 3, axis=1)
    alone = Bispectrum([73], cutoff=4.7).compute([pure])
    same(of_tantalum, alone)
    same(of_all, alone)
    np.testing.assert_allclose(of_tungsten, 0.0, atol=1e-12)


def test_angle_between_neighbours_of_different_species_counts(describe):
    def triangle(angle):
        end = (2.9 * np.cos(angle), 2.9 * np.sin(angle), 0)
        return Atoms("TaTaW", [(0, 0, 0), (2.9, 0, 0), end])

    narrow, wide = describe(triangle(np.pi / 2))[0], describe(triangle(2.5))[0]
    same(narrow[:60], wide[:60])  # each species alone sees a single neighbour
    assert np.abs(narrow[60:] - wide[60:]).max() > 0.1


def test_environment_does_not_depend_on_the_other_frames(describe):
    frames = [tungsten_tantalum(), bulk("Ta", a=3.3), molecule_of_tantalum(), tungsten_tantalum()]
    rows = describe(*frames)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.concatenate([describe(frame) for frame in frames]))


def molecule_of_tantalum():
    water = molecule("H2O")
    water.numbers[:] = 73
    water.positions *= 2.0
    return water


def test_no_frames_give_no_rows(describe):
    assert describe().shape == (0, 90)
    assert describe(Atoms()).shape == (0, 90)


@pytest.mark.parametrize("species", [[73], [26, 73], [1, 6, 8]])
@pytest.mark.parametrize("twojmax", [3, 6])
def test_size_is_the_width_of_the_rows(species, twojmax):
    descriptor = Bispectrum(species, cutoff=3.5, twojmax=twojmax)
    frame = Atoms(numbers=[species[0]] * 2, positions=[(0, 0, 0), (0, 0, 2)])
    assert descriptor.compute([frame]).shape == (2, descriptor.size)
    assert descriptor.size == n_components(twojmax) * (len(species) + (len(species) > 1))


def test_order_of_species_does_not_matter_and_it_travels_to_workers(describe):
    descriptor = Bispectrum([74, 73, 73], cutoff=4.7)
    assert descriptor == Bispectrum([73, 74], cutoff=4.7)
    assert descriptor.species == (73, 74)
    copy = pickle.loads(pickle.dumps(descriptor))
    np.testing.assert_array_equal(copy.compute([tungsten_tantalum()]), describe(tungsten_tantalum()))


def test_frame_at_fault_is_named(describe):
    with pytest.raises(DataError, match="frame 1: the frame holds H, O, but only Ta, W are set up"):
        describe(tungsten_tantalum(), molecule("H2O"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 4.0), "at least one species"),
        (([73], 0.0), "positive length in Angstrom, got 0.0"),
        (([73], float("nan")), "positive length in Angstrom, got nan"),
        (([73], 4.0, 15), r"in \[0, 14\], got 15"),
    ],
)
def test_wrong_settings_name_the_rule_and_the_value(arguments, message):
    with pytest.raises(UsageError, match=message):
        Bispectrum(*arguments)
