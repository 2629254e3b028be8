"""Families of frames, splits that keep them whole, and regressors of numbers of atoms that choose by such splits."""

from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate.descriptors.scaling import Standard
from mlff_curate.validation.families import families, held_out_families, inner_split
from mlff_curate.validation.feature_network import FeatureNetwork
from mlff_curate.validation.kernel_ridge import KernelRidge, draw_evenly


def displaced(seed, factor=1.0, size=2):
    atoms = bulk("Fe", cubic=True) * (size, size, size)
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return atoms


def test_volumes_of_one_set_of_displacements_are_one_family_and_no_copies():
    frames = [displaced(1), displaced(2), displaced(1, 1.05), displaced(2, 0.9), displaced(1), displaced(3, size=1)]
    assert families(frames).tolist() == [0, 1, 0, 1, 0, 2]
    assert families(frames, scaled=False).tolist() == [0, 1, 2, 3, 0, 4]


def test_neither_a_shift_nor_images_make_another_family():
    frames = [displaced(1), displaced(1)]
    frames[1].positions += [0.3, -0.2, 7.0]
    frames[1].positions[4] += frames[1].cell.array[1]
    frames[1].wrap()
    assert families(frames, scaled=False).tolist() == [0, 0]


def test_shape_elements_and_periodicity_tell_apart():
    strained, other, slab = displaced(1), displaced(1), displaced(1)
    strained.set_cell(strained.cell.array * [1.0, 1.0, 1.01], scale_atoms=True)
    other.numbers[0] = 28
    slab.pbc = (True, True, False)
    assert families([displaced(1), strained, other, slab]).tolist() == [0, 1, 2, 3]


def test_molecules_and_slabs():
    water, large = molecule("H2O"), molecule("H2O")
    large.positions *= 1.1
    bent = molecule("H2O")
    bent.positions[1] += [0.0, 0.1, 0.0]
    slab, taller = displaced(1), displaced(1)
    slab.pbc = taller.pbc = (True, True, False)
    taller.cell[2] *= 2  # a vector in an open direction means nothing
    assert families([water, large, bent, slab, taller]).tolist() == [0, 0, 1, 2, 2]
    assert families([water, large], scaled=False).tolist() == [0, 1]
    assert families([Atoms("Fe"), Atoms("Fe")]).tolist() == [0, 0]


def test_no_family_is_on_both_sides_and_each_group_gives_its_share():
    rng = np.random.default_rng(0)
    family = rng.integers(0, 100, 500)
    group = np.where(family < 60, "a", "b")
    group[family == 7] = np.where(np.arange((family == 7).sum()) % 2, "a", "b")  # a family in both
    for seed in range(5):
        learned, held_out = held_out_families(group, family, 0.2, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.sort(np.concatenate([learned, held_out])), np.arange(500))
        assert not set(family[learned]) & set(family[held_out])
        for name in "ab":
            assert np.mean(group[held_out] == name) > 0
            share = np.isin(np.flatnonzero(group == name), held_out).mean()
            assert share == pytest.approx(0.2, abs=0.05)
    again = held_out_families(group, family, 0.2, np.random.default_rng(4))
    np.testing.assert_array_equal(again[1], held_out)


def test_a_group_of_two_families_gives_one_and_the_last_of_all_stays():
    group = np.array(["a"] * 10 + ["b"])
    family = np.array([0] * 9 + [1, 2])
    learned, held_out = held_out_families(group, family, 0.2, np.random.default_rng(0))
    assert len(np.unique(family[held_out])) == 2
    assert len(np.unique(family[learned])) == 1
    learned, held_out = held_out_families(group[:9], family[:9], 0.2, np.random.default_rng(0))
    assert (len(learned), len(held_out)) == (9, 0)


def test_atoms_are_drawn_in_turn_from_the_frames():
    frame = np.repeat([5, 3, 9], [100, 2, 50])
    drawn = draw_evenly(frame, 22, np.random.default_rng(0))
    assert (np.diff(drawn) > 0).all()
    assert {k: int((frame[drawn] == k).sum()) for k in (3, 5, 9)} == {3: 2, 5: 10, 9: 10}
    np.testing.assert_array_equal(draw_evenly(frame, 152, np.random.default_rng(0)), np.arange(152))


def test_columns_that_do_not_vary_become_zero():
    X = np.array([[1.0, 1e6, 2.0], [3.0, 1e6 + 0.1, 2.0]])
    np.testing.assert_allclose(Standard.of(X)(X), [[-1, 0, 0], [1, 0, 0]])


def atoms_of_frames(frames=60, per_frame=10, noise=0.0, seed=0):
    """Features, a smooth function of them, and frames."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(frames * per_frame, 4)) * [1.0, 10.0, 0.1, 1.0]
    y = np.sin(X[:, 0]) + 0.1 * X[:, 1] * np.cos(10 * X[:, 2]) + 3.0
    return X, y + noise * rng.normal(size=len(y)), np.repeat(np.arange(frames), per_frame)


FITS = {"ridge": KernelRidge.fit, "network": partial(FeatureNetwork.fit, epochs=100)}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_smooth_function_is_learned(fit):
    X, y, frame = atoms_of_frames()
    other, true, _ = atoms_of_frames(seed=1)
    model = fit(X, y, frame)
    assert np.abs(model.predict(other) - true).mean() < 0.15 * np.abs(true - true.mean()).mean()


@pytest.mark.parametrize("fit", [partial(KernelRidge.fit, most=100), partial(FeatureNetwork.fit, epochs=3)])
def test_the_same_seed_gives_the_same_bits_and_leaves_torch_alone(fit):
    X, y, frame = atoms_of_frames(20)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = fit(X, y, frame, seed=1).predict(X)
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(fit(X, y, frame, seed=1).predict(X), first)
    assert (fit(X, y, frame, seed=2).predict(X) != first).any()


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_features_that_say_nothing_give_the_mean(fit):
    y = np.random.default_rng(0).normal(5.0, 1.0, 200)
    model = fit(np.full((200, 3), 7.0), y, np.repeat(np.arange(20), 10))
    found = model.predict(np.full((4, 3), 7.0))
    np.testing.assert_allclose(found, y.mean(), atol=0.2)
    assert model.predict(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_one_frame_and_one_value_are_enough(fit):
    X = np.random.default_rng(0).normal(size=(30, 2))
    np.testing.assert_allclose(fit(X, np.full(30, 2.5), np.zeros(30, int)).predict(X), 2.5, atol=0.05)


def test_noise_is_met_by_a_larger_ridge():
    X, y, frame = atoms_of_frames()
    quiet = KernelRidge.fit(X, y, frame)
    loud = KernelRidge.fit(X, y + np.random.default_rng(1).normal(size=len(y)), frame)
    assert loud.ridge > quiet.ridge


def test_prediction_is_that_of_the_formula():
    X, y, frame = atoms_of_frames(10)
    model = KernelRidge.fit(X, y, frame, most=40)
    assert model.atoms.shape == (40, 4)
    z = model.standard(X[:1])[0]
    kernel = np.exp(-np.square(model.atoms - z).sum(axis=1) / (2 * model.length**2))
    assert model.predict(X[:1])[0] == pytest.approx(model.mean + kernel @ model.weights)


def test_frames_whose_atoms_are_alike_choose_nothing_for_one_another():
    """Each family's atoms are all but the same, their targets noise: by atoms learning by heart would look perfect."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(40), 10)
    X = np.repeat(rng.normal(size=(40, 3)), 10, axis=0) + 1e-4 * rng.normal(size=(400, 3))
    y = np.repeat(rng.normal(size=40), 10)
    by_frame = KernelRidge.fit(X, y, np.arange(400))
    by_family = KernelRidge.fit(X, y, np.arange(400), family)
    assert by_frame.ridge < by_family.ridge
    new = rng.normal(size=(500, 3))
    assert np.std(by_family.predict(new)) < np.std(by_frame.predict(new))
    learned, held_out = inner_split(family, 0)
    assert not set(family[learned]) & set(family[held_out])


@pytest.mark.parametrize("by_family", [False, True])
def test_a_network_learns_nothing_from_what_it_is_stopped_by(by_family):
    """After one epoch there is no choice yet: what is held out may be anything."""
    X, y, frame = atoms_of_frames(20)
    family = frame // 4 if by_family else None
    learned, held_out = inner_split(frame if family is None else family, 0)
    assert len(held_out) == 40
    model = FeatureNetwork.fit(X, y, frame, family, epochs=1)
    for some, same in ((held_out, True), (learned[:10], False)):
        other, wild = X.copy(), y.copy()
        other[some] += 100.0
        wild[some] += 1e3
        again = FeatureNetwork.fit(other, wild, frame, family, epochs=1)
        assert ((again.mean, again.spread) == (model.mean, model.spread)) == same
        assert np.array_equal(again.predict(X), model.predict(X)) == same


@pytest.mark.parametrize("by_family", [False, True])
def test_a_network_is_stopped_by_what_it_does_not_learn_from(by_family):
    """Held out is the opposite of what is learned: the more of it, the worse."""
    X, y, frame = atoms_of_frames(20)
    family = frame // 4 if by_family else None
    held_out = inner_split(frame if family is None else family, 0)[1]
    y = 3 * X[:, 0]
    assert FeatureNetwork.fit(X, y, frame, family, epochs=40, patience=10).epochs > 10
    y[held_out] *= -1
    assert FeatureNetwork.fit(X, y, frame, family, epochs=40, patience=10).epochs <= 3
