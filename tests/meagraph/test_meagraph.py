"""MEAGraph as a user meets it: parameters, inputs, reproducibility, and crystals told apart."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.errors import UsageError
from mlff_curate.meagraph.model import MEAGraph

SMALL = {"channels": (16, 16), "neighbours": 12, "anchors": 160, "epochs": 2}


def blobs(per_blob=60):
    """Three clouds, the last of another element."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3 * per_blob, 8))
    X[per_blob : 2 * per_blob, 0] += 40.0
    return X.astype(np.float32), np.repeat([73, 73, 74], per_blob)


@pytest.fixture(scope="module")
def fitted():
    return MEAGraph(**SMALL).fit(*blobs())


def bits(model):
    found = model.assign(*blobs())
    return found.embedding.tobytes() + found.cluster.tobytes() + found.outlier_score.tobytes()


def test_parameters_are_those_of_the_constructor():
    model = MEAGraph(kernels=2, **SMALL, seed=4)
    parameters = model.get_params()
    assert parameters == {
        "kernels": 2,
        **SMALL,
        "rate": "auto",
        "training_rate": "random",
        "mode": "inductive",
        "gross": 5.0,
        "seed": 4,
        "device": "cpu",
    }
    assert MEAGraph(**parameters).get_params() == parameters
    assert repr(model) == (
        "MEAGraph(kernels=2, channels=(16, 16), rate='auto', training_rate='random', mode='inductive', epochs=2, "
        "neighbours=12, anchors=160, gross=5.0, seed=4, device='cpu')"
    )
    assert eval(repr(model)).get_params() == parameters


def test_parameters_are_set_by_name():
    model = MEAGraph()
    assert model.set_params(kernels=1, rate=0.3) is model
    assert (model.kernels, model.rate) == (1, 0.3)
    with pytest.raises(ValueError, match="unknown parameter 'kernel'; available: kernels, channels, rate,"):
        model.set_params(kernel=1)


def test_scikit_learn_clones_it():
    base = pytest.importorskip("sklearn.base")
    model = MEAGraph(**SMALL, seed=7).fit(*blobs(per_blob=10))
    twin = base.clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "fitted_")


def test_fitting_returns_the_model_and_leaves_its_parameters():
    model = MEAGraph(**SMALL)
    before = copy.deepcopy(model.get_params())
    assert model.fit(*blobs(per_blob=10)) is model
    assert model.get_params() == before
    assert MEAGraph(epochs=0).fit(*blobs(per_blob=10)).channels is None, "a default is not written back"
    assert {name for name in vars(model) if name not in before} == {"fitted_", "size_", "training_"}


def test_embed_and_clusters_are_parts_of_assign(fitted):
    found = fitted.assign(*blobs())
    assert fitted.embed(*blobs()).tobytes() == found.embedding.tobytes()
    assert fitted.clusters(*blobs()).tobytes() == found.cluster.tobytes()
    assert (found.embedding.dtype, found.cluster.dtype, found.outlier_score.dtype) == ("f4", "i8", "f4")


def test_the_same_seed_gives_the_same_bits(fitted):
    again, other = (MEAGraph(**SMALL, seed=seed).fit(*blobs()) for seed in (0, 1))
    assert bits(again) == bits(fitted)
    assert again.training_ == fitted.training_
    assert bits(other) != bits(fitted)


def test_fitting_again_forgets_the_first_fit(fitted):
    model = MEAGraph(**SMALL).fit(np.random.default_rng(1).normal(size=(50, 3)))
    assert bits(model.fit(*blobs())) == bits(fitted)


def test_the_callers_random_numbers_are_neither_used_nor_moved(fitted):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state().clone(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = MEAGraph(**SMALL).fit(*blobs())
    assert bits(model) == bits(fitted)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_the_weights_matter(fitted):
    other = copy.deepcopy(fitted)
    with torch.no_grad():
        other.fitted_.network.encoder[0].mix += 0.1
    assert np.abs(other.embed(*blobs()) - fitted.embed(*blobs())).max() > 0.01
    untrained = MEAGraph(**{**SMALL, "epochs": 0}).fit(*blobs())
    assert untrained.training_.epochs == 0
    assert np.abs(untrained.embed(*blobs()) - fitted.embed(*blobs())).max() > 0.01


def test_inputs_of_any_kind_are_accepted_and_left_alone(fitted):
    X, species = blobs()
    wide = np.zeros((len(X), 2 * X.shape[1]), np.float32)
    wide[:, ::2] = X
    kinds = (X.astype(np.float64), wide[:, ::2], np.asfortranarray(X), X.tolist())
    for kind in kinds:
        before = copy.deepcopy(kind)
        model = MEAGraph(**SMALL).fit(kind, species.tolist())
        np.testing.assert_allclose(model.embed(kind, species), fitted.embed(X, species), atol=2e-2)
        np.testing.assert_array_equal(model.clusters(X, species), fitted.clusters(X, species))
        np.testing.assert_array_equal(kind, before)
    assert np.array_equal(species, blobs()[1])
    X.setflags(write=False)
    MEAGraph(**SMALL).fit(X, species).assign(X, species)


def test_without_species_all_are_of_one():
    X, species = blobs()
    a, b = MEAGraph(**SMALL).fit(X), MEAGraph(**SMALL).fit(X, np.full(len(X), 26))
    assert a.embed(X).tobytes() == b.embed(X, np.full(len(X), 26)).tobytes()
    assert a.clusters(X)[0] == a.clusters(X)[-1]
    assert len(species) == len(X)


@pytest.mark.parametrize(
    ("X", "species", "shapes"),
    [
        (np.zeros(5), None, r"\(5,\) and \(5,\)"),
        (np.zeros((5, 2)), np.zeros(4), r"\(5, 2\) and \(4,\)"),
        (np.zeros((5, 2, 2)), np.zeros(5), r"\(5, 2, 2\) and \(5,\)"),
    ],
)
def test_shapes_that_do_not_match_are_an_error(fitted, X, species, shapes):
    wanted = rf"X of shape \(N, D\) and species of shape \(N,\) are wanted, got {shapes}"
    for method in (MEAGraph(**SMALL).fit, fitted.assign):
        with pytest.raises(ValueError, match=wanted):
            method(X, species)


def test_progress_is_told():
    X, species = blobs()
    trained, embedded = [], []
    model = MEAGraph(**SMALL).fit(X, species, lambda *step: trained.append(step))
    model.assign(X, species, lambda *step: embedded.append(step))
    assert [step[:2] for step in trained] == [(0, 2), (1, 2), (2, 2)]
    assert "held-out loss" in trained[-1][2]
    assert embedded == [(180, 180)]


def test_a_fitted_model_pickles(fitted):
    assert bits(pickle.loads(pickle.dumps(fitted))) == bits(fitted)


NUMBER = "auto, or a number above 0 and below 1, got "
FRACTION = "a number from 0 to 1, got "
WRONG = [
    ({"mode": "other"}, "--mode: 'other' is unknown; available: inductive, published"),
    ({"kernels": 0}, "--kernels: at least 1, got 0"),
    ({"epochs": -1}, "--epochs: at least 0, got -1"),
    ({"neighbours": 0}, "--neighbours: at least 1, got 0"),
    ({"anchors": 0}, "--anchors: at least 1, got 0"),
    ({"channels": ()}, "--channels: sizes of two or more, got ()"),
    ({"channels": (8, 1)}, "--channels: sizes of two or more, got (8, 1)"),
    ({"rate": 0.0}, f"--rate: {NUMBER}0.0"),
    ({"rate": 1}, f"--rate: {NUMBER}1"),
    ({"rate": -0.5}, f"--rate: {NUMBER}-0.5"),
    ({"rate": float("nan")}, f"--rate: {NUMBER}nan"),
    ({"rate": "often"}, f"--rate: {NUMBER}'often'"),
    ({"rate": True}, f"--rate: {NUMBER}True"),
    ({"rate": None}, f"--rate: {NUMBER}None"),
    ({"gross": 0.5}, "--gross: None, or at least 1, got 0.5"),
    ({"seed": -1}, "--seed: at least 0, got -1"),
    ({"anchors": 20.5}, "--anchors: a whole number is wanted, got 20.5"),
    ({"kernels": None}, "--kernels: a whole number is wanted, got None"),
    ({"training_rate": 1.5}, f"--training-rate: {FRACTION}1.5"),
    ({"training_rate": "auto"}, f"--training-rate: {FRACTION}'auto'"),
    ({"mode": "published"}, "--rate: the published mode has no automatic rate: give one, 0 to 1"),
    ({"mode": "published", "rate": 1.1}, f"--rate: {FRACTION}1.1"),
    (
        {"mode": "published", "rate": 0.5, "training_rate": None},
        "--training-rate: the published mode pools while training: give a number or random",
    ),
    ({"device": "nosuch"}, "--device: 'nosuch' is not supported; available: cpu, cuda"),
]


@pytest.mark.parametrize(("parameters", "words"), WRONG, ids=[words for _, words in WRONG])
def test_parameters_out_of_range_are_wrong_usage(parameters, words):
    with pytest.raises(UsageError, match=f"^{re.escape(words)}") as caught:
        MEAGraph(**parameters).fit(*blobs(per_blob=5))
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"rate": np.float32(0.5)},
        {"training_rate": None},
        {"training_rate": 0},
        {"training_rate": 1},
        {"mode": "published", "rate": 0},
        {"mode": "published", "rate": 1, "training_rate": 0.5},
        {"channels": [2]},
        {"epochs": 0},
    ],
)
def test_parameters_in_range_are_accepted(parameters):
    MEAGraph(**parameters).require_parameters()


def test_a_training_rate_of_zero_is_not_a_random_one():
    models = [MEAGraph(**SMALL, training_rate=rate).fit(*blobs()) for rate in (0, "random", None, 0.5)]
    assert len({bits(model) for model in models}) == 4


def rand_index(a, b):
    """Adjusted Rand index (Hubert and Arabie, J. Classif. 2, 193 (1985))."""
    table = np.zeros((a.max() + 2, b.max() + 2))
    np.add.at(table, (a + 1, b + 1), 1)

    def pairs(n):
        return (n * (n - 1) / 2).sum()

    both, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    chance = first * second / pairs(np.array([len(a)]))
    return (both - chance) / ((first + second) / 2 - chance)


@pytest.mark.parametrize(
    ("a", "b", "index"),
    [([0, 0, 1, 1], [1, 1, 0, 0], 1.0), ([0, 0, 1, 1], [0, 1, 0, 1], -0.5), ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7)],
)
def test_the_rand_index_is_right(a, b, index):
    assert rand_index(np.array(a), np.array(b)) == pytest.approx(index)


def displaced(atoms, size, spread, rng):
    """Thermally displaced supercell."""
    atoms = atoms * size
    atoms.positions += rng.normal(0, spread, atoms.positions.shape)
    return atoms


def described(frames):
    raw = PowerSpectrum(np.unique(np.concatenate([atoms.numbers for atoms in frames]))).compute(frames)
    return Scaling.fit(raw).transform(raw), np.concatenate([atoms.numbers for atoms in frames])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("element", "volume"), [("Cu", 11.76), ("W", 15.78)])
def test_bcc_and_fcc_are_two_clusters(element, volume, seed):
    """At one volume per atom, hot."""
    rng = np.random.default_rng(seed)
    frames = [
        displaced(bulk(element, "bcc", a=(2 * volume) ** (1 / 3), cubic=True), (4, 4, 5), 0.1, rng),
        displaced(bulk(element, "fcc", a=(4 * volume) ** (1 / 3), cubic=True), (3, 3, 4), 0.1, rng),
    ]
    X, species = described(frames)
    cluster = MEAGraph(seed=seed).fit(X, species).clusters(X, species)
    assert rand_index(cluster, np.repeat([0, 1], [len(atoms) for atoms in frames])) >= 0.98
    assert (cluster >= 0).mean() > 0.98


def test_what_is_of_another_phase_is_new():
    """Trained on bcc and fcc, then shown a simple cubic crystal."""
    rng = np.random.default_rng(0)
    known = [
        displaced(bulk("W", "bcc", a=3.16, cubic=True), 4, 0.08, rng),
        displaced(bulk("W", "fcc", a=3.98, cubic=True), 3, 0.08, rng),
    ]
    strange = displaced(bulk("W", "sc", a=2.5, cubic=True), 4, 0.08, rng)
    descriptor = PowerSpectrum([74])
    raw = descriptor.compute(known)
    scaling = Scaling.fit(raw)
    model = MEAGraph().fit(scaling.transform(raw), np.full(len(raw), 74))
    found = model.assign(scaling.transform(descriptor.compute([strange])), np.full(64, 74))
    assert (found.cluster == -1).mean() > 0.8
    assert np.median(found.outlier_score) > 4


def test_the_sublattices_of_an_ordered_alloy_are_clusters():
    """L1_2: the corner has another element; among the faces there is one site only."""
    rng = np.random.default_rng(0)
    cell = bulk("Cu", "fcc", a=3.75, cubic=True)
    cell.symbols[0] = "Au"
    frames = [displaced(cell, 4, 0.06, rng)]
    X, species = described(frames)
    cluster = MEAGraph().fit(X, species).clusters(X, species)
    assert rand_index(cluster, (species == 79).astype(int)) >= 0.98


def test_sites_of_one_element_in_an_ordered_alloy_are_clusters():
    """Fe3Al-like D0_3 of Cu and W: W has one site, Cu has two, with four and with no W around it among the nearest."""
    rng = np.random.default_rng(0)
    cell = bulk("Cu", "bcc", a=3.0, cubic=True) * 2
    corner = np.round(cell.positions / 3.0 * 2).astype(int)
    kind = np.where(corner[:, 0] % 2 == 0, 0, 1)  # corners and centres
    sites = (corner // 2).sum(axis=1) % 2
    alloyed = (kind == 1) & (sites == 0)
    cell.numbers[alloyed] = 74
    truth = np.where(alloyed, 2, kind)
    X, species = described([displaced(cell, 3, 0.05, rng)])
    cluster = MEAGraph().fit(X, species).clusters(X, species)
    assert rand_index(cluster, np.tile(truth, 27)) >= 0.98


def test_another_number_of_columns_is_refused(fitted):
    X, species = blobs()
    with pytest.raises(ValueError, match=r"fitted to \d+ numbers per environment, got 3$"):
        fitted.embed(X[:, :3], species)


def test_a_model_that_is_not_fitted_says_so():
    with pytest.raises(ValueError, match="not fitted yet: call fit first"):
        MEAGraph().embed(np.zeros((3, 4)))
