"""MEAGraph separates what is separate, and embeds an environment as a function of it and the model alone.

"The same embedding" means to 1e-4 of the embedding's root mean square: float32, through two layers.
"""

import copy
import pickle

import numpy as np
import pytest
import torch

from mlff_curate.errors import UsageError
from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.meagraph.network import AutoEncoder

SMALL = {"channels": (16, 8), "neighbours": 12, "anchors": 160, "epochs": 20}


def blobs(per_blob=150, size=10, distance=12.0, seed=0):
    """Three phases in two elements: Gaussian clouds, 3 x N environments of element 73, then N of element 74."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((4, size))
    centres[1, 0] = centres[2, 1] = distance
    X = np.concatenate([rng.normal(size=(per_blob, size)) + centre for centre in centres])
    X -= X.mean(axis=0)
    return X.astype(np.float32), np.repeat([73, 73, 73, 74], per_blob), np.repeat([0, 1, 2, 3], per_blob)


@pytest.fixture(scope="module")
def fitted():
    X, species, _ = blobs()
    return MEAGraph(**SMALL).fit(X, species)


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.sqrt(np.mean(np.square(b))))


def test_separate_clouds_are_separate_clusters(fitted):
    X, species, truth = blobs()
    cluster = fitted.clusters(fitted.embed(X, species), species)
    assert (cluster >= 0).mean() > 0.99
    inside = cluster >= 0
    pairs = {(int(a), int(b)) for a, b in zip(cluster[inside], truth[inside], strict=True)}
    largest = {b: np.bincount(cluster[inside & (truth == b)]).argmax() for b in range(4)}
    assert len(set(largest.values())) == 4, "no two clouds share a cluster"
    assert all((cluster[truth == b] == largest[b]).mean() > 0.98 for b in range(4))
    assert len({a for a, _ in pairs}) == len(pairs), "no cluster holds parts of two clouds"


def test_new_environments_join_the_clusters_of_the_old(fitted):
    X, species, truth = blobs()
    old = fitted.clusters(fitted.embed(X, species), species)
    new, new_species, new_truth = blobs(seed=99)
    new -= new[new_truth == 3].mean(axis=0) - X[truth == 3].mean(axis=0)
    found = fitted.clusters(fitted.embed(new, new_species), new_species)
    for b in range(4):
        assert (found[new_truth == b] == np.bincount(old[(truth == b) & (old >= 0)]).argmax()).mean() > 0.95


def test_elements_never_share_a_cluster():
    """Even if their descriptors are the same."""
    X, _, _ = blobs(per_blob=60)
    X = np.concatenate([X[:60], X[:60]])
    species = np.repeat([73, 74], 60)
    model = MEAGraph(**SMALL).fit(X, species)
    cluster = model.clusters(model.embed(X, species), species)
    assert not set(cluster[:60]) & set(cluster[60:]) - {-1}


def test_an_environment_alone_is_embedded_as_among_many(fitted):
    X, species, _ = blobs()
    together = fitted.embed(X, species)
    alone = np.concatenate([fitted.embed(X[i : i + 1], species[i : i + 1]) for i in range(0, len(X), 7)])
    same(alone, together[::7])
    outliers = np.full((50, X.shape[1]), 80.0, np.float32)
    crowd = fitted.embed(np.concatenate([outliers, X]), np.concatenate([np.full(50, 73), species]))
    same(crowd[50:], together)


def test_permuting_environments_permutes_embeddings(fitted):
    X, species, _ = blobs()
    order = np.random.default_rng(0).permutation(len(X))
    same(fitted.embed(X[order], species[order]), fitted.embed(X, species)[order])


def test_batches_do_not_show(fitted, monkeypatch):
    X, species, _ = blobs()
    whole = fitted.embed(X, species)
    monkeypatch.setattr("mlff_curate.meagraph.model._BATCH", 37)
    same(fitted.embed(X, species), whole)


def test_the_anchors_are_embedded_as_their_states_say(fitted):
    same(fitted.embed(fitted.anchors_, fitted.anchor_species_), fitted.states_[-1].numpy())
    own = fitted.clusters(fitted.embed(fitted.anchors_, fitted.anchor_species_), fitted.anchor_species_)
    np.testing.assert_array_equal(own, fitted.anchor_cluster_)


def test_the_same_seed_gives_the_same_bits():
    X, species, _ = blobs(per_blob=80)
    a, b, other = (MEAGraph(**SMALL, seed=seed).fit(X, species) for seed in (3, 3, 4))
    assert a.embed(X, species).tobytes() == b.embed(X, species).tobytes()
    np.testing.assert_array_equal(a.anchor_cluster_, b.anchor_cluster_)
    assert (a.link_length_, a.training_) == (b.link_length_, b.training_)
    assert a.embed(X, species).tobytes() != other.embed(X, species).tobytes()


def test_the_callers_random_numbers_do_not_matter():
    X, species, _ = blobs(per_blob=40)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        results.append(MEAGraph(**SMALL).fit(X, species).embed(X, species).tobytes())
    assert results[0] == results[1]


def test_training_lowers_the_reconstruction_of_held_out_environments(fitted):
    record = fitted.training_
    assert record.best < 0.9 * record.held_out_loss[0]
    assert record.best == min(record.held_out_loss)
    assert record.epochs == len(record.train_loss) <= SMALL["epochs"]
    assert record.train_loss[-1] < record.train_loss[0]


def test_the_encoder_that_embeds_is_the_trained_one(fitted):
    """The published reference rebuilds the encoder with fresh weights before it runs."""
    X, species, _ = blobs()
    fresh = AutoEncoder((X.shape[1], *SMALL["channels"]), 3, torch.Generator().manual_seed(0))
    trained = dict(fitted.network_.encoder.named_parameters())
    for name, initial in fresh.encoder.named_parameters():
        assert not torch.equal(trained[name], initial), name
    untrained = MEAGraph(**{**SMALL, "epochs": 0}).fit(X, species)
    assert untrained.training_.epochs == 0
    a, b = fitted.embed(X, species), untrained.embed(X, species)
    assert np.abs(a - b).max() > 0.05
    weights_matter = copy.deepcopy(fitted)
    with torch.no_grad():
        weights_matter.network_.encoder[0].mix += 0.1
    assert np.abs(weights_matter.embed(X, species) - a).max() > 0.01


def test_no_more_anchors_than_asked_for_and_all_elements_among_them():
    X, species, _ = blobs()
    species = species.copy()
    species[:2] = 41  # a rare element
    model = MEAGraph(**SMALL).fit(X, species)
    assert len(model.anchors_) <= SMALL["anchors"]
    assert set(model.anchor_species_) == {41, 73, 74}
    assert len(np.unique(model.anchors_, axis=0)) == len(model.anchors_)
    rows = {(int(z), *row) for z, row in zip(species, X.tolist(), strict=True)}
    assert all((int(z), *row) in rows for z, row in zip(model.anchor_species_, model.anchors_.tolist(), strict=True))


def test_a_far_environment_is_in_no_cluster(fitted):
    for far in (60.0, 1e3, 1e5):
        X = np.full((2, 10), far, np.float32)
        embedding = fitted.embed(X, np.array([73, 74]))
        assert np.isfinite(embedding).all()
        np.testing.assert_array_equal(fitted.clusters(embedding, np.array([73, 74])), [-1, -1])


def test_farther_in_the_descriptor_is_farther_in_the_embedding(fitted):
    """No far environment comes back near the data, in whatever direction it went."""
    X, species, _ = blobs()
    for column in range(10):
        far = np.repeat(X[:1], 5, axis=0)
        far[:, column] += [0, 80, 160, 320, 640]
        embedding = fitted.embed(far, species[:5])
        states = fitted.states_[-1].numpy()
        distance = nearest_anchors(embedding, species[:5], states, fitted.anchor_species_, 1).distance[:, 0]
        assert np.all(np.diff(distance) > 0)


def test_an_unknown_element_is_an_error(fitted):
    with pytest.raises(ValueError, match="no anchor for element 26"):
        fitted.embed(np.zeros((1, 10), np.float32), np.array([26]))


DEGENERATE = {
    "one": np.ones((1, 5)),
    "one at the origin": np.zeros((1, 5)),
    "two": np.array([[0.0, 0, 0, 0, 0], [1, 2, 3, 4, 5]]),
    "all the same": np.full((60, 5), 0.3),
    "all zero": np.zeros((60, 5)),
    "fewer than neighbours": np.random.default_rng(0).normal(size=(7, 5)),
    "one column": np.random.default_rng(1).normal(size=(40, 1)),
    "constant columns": np.random.default_rng(2).normal(size=(40, 5)) * [1, 0, 0, 0, 0],
    "repeated": np.repeat(np.random.default_rng(3).normal(size=(4, 5)), 50, axis=0),
    "very large": 1e4 * np.random.default_rng(4).normal(size=(50, 5)),
    "very small": 1e-4 * np.random.default_rng(5).normal(size=(50, 5)),
}


@pytest.mark.parametrize("X", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_data_have_embeddings_and_clusters(X):
    X, species = X.astype(np.float32), np.full(len(X), 26)
    model = MEAGraph(channels=(6, 4), neighbours=30, anchors=64, epochs=10).fit(X, species)
    embedding = model.embed(X, species)
    assert embedding.shape == (len(X), 4)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    assert np.isfinite(model.training_.held_out_loss).all()
    cluster = model.clusters(embedding, species)
    assert cluster.shape == (len(X),)
    first = {row.tobytes(): c for row, c in zip(X, cluster, strict=True)}
    assert all(first[row.tobytes()] == c for row, c in zip(X, cluster, strict=True)), "equal rows, equal clusters"


@pytest.mark.parametrize("name", ["one", "all the same"])
def test_what_there_is_only_one_of_is_a_cluster(name):
    X = DEGENERATE[name].astype(np.float32)
    species = np.full(len(X), 26)
    model = MEAGraph(channels=(6, 4), epochs=5).fit(X, species)
    np.testing.assert_array_equal(model.clusters(model.embed(X, species), species), 0)


def test_an_element_with_one_environment_stands_beside_one_with_many():
    X, species, _ = blobs(per_blob=30)
    species = species.copy()
    species[0] = 1
    model = MEAGraph(**SMALL).fit(X, species)
    cluster = model.clusters(model.embed(X, species), species)
    assert cluster[0] not in set(cluster[1:]) - {-1}
    assert np.isfinite(model.embed(X, species)).all()


@pytest.mark.parametrize("rate", [0.01, 0.9])
def test_a_higher_rate_leaves_fewer_links(rate):
    X, species, _ = blobs(per_blob=60)
    model = MEAGraph(**{**SMALL, "epochs": 5}, rate=rate).fit(X, species)
    states = model.states_[-1].numpy()
    near = nearest_anchors(states, model.anchor_species_, states, model.anchor_species_, 2).distance[:, 1]
    # a link of length d survives if exp(-d / s) > rate, s being the median distance between nearest anchors
    assert model.link_length_ == pytest.approx(-np.log(rate) * np.median(near), rel=1e-3)
    looser = MEAGraph(**{**SMALL, "epochs": 5}).fit(X, species)
    assert model.anchor_cluster_.max() >= looser.anchor_cluster_.max()


def test_progress_is_told():
    X, species, _ = blobs(per_blob=30)
    trained, embedded = [], []
    model = MEAGraph(**SMALL).fit(X, species, lambda *step: trained.append(step))
    model.embed(X, species, lambda *step: embedded.append(step))
    assert [done for done, _, _ in trained] == [0, 10, 20]
    assert trained[-1][1] == 20
    assert "held-out loss" in trained[-1][2]
    assert embedded[-1] == (120, 120)


def test_fitting_leaves_the_data_alone():
    X, species, _ = blobs(per_blob=30)
    before = X.copy(), species.copy()
    model = MEAGraph(**SMALL).fit(X, species)
    model.embed(X, species)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(species, before[1])


def test_a_fitted_model_pickles(fitted):
    X, species, _ = blobs()
    back = pickle.loads(pickle.dumps(fitted))
    assert back.embed(X, species).tobytes() == fitted.embed(X, species).tobytes()


@pytest.mark.parametrize("device", ["no-such-device", "cuda:99"])
def test_a_device_that_cannot_be_used_is_wrong_usage(device):
    X, species, _ = blobs(per_blob=10)
    with pytest.raises(UsageError, match=f"--device: '{device}' cannot be used"):
        MEAGraph(**SMALL, device=device).fit(X, species)
