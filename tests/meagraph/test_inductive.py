"""The fitted model: an environment's embedding and cluster depend on the environment and the model alone."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph import inductive as module
from mlff_curate.meagraph.inductive import _choose, _ordinary, _reach
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.meagraph.noise import NoiseUnits

SMALL = {"channels": (24, 24), "neighbours": 12, "anchors": 160, "epochs": 3}
SIZE = 10


def blobs(per_blob=60, distance=30.0, seed=0):
    """Three phases in two elements: Gaussian clouds, 3 x N environments of element 73, then N of element 74."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((4, SIZE))
    centres[1, 0] = centres[2, 1] = distance
    X = np.concatenate([rng.normal(size=(per_blob, SIZE)) + centre for centre in centres])
    return X.astype(np.float32), np.repeat([73, 73, 73, 74], per_blob), np.repeat([0, 1, 2, 3], per_blob)


@pytest.fixture(scope="module")
def fitted():
    X, species, _ = blobs()
    return MEAGraph(**SMALL).fit(X, species)


def same(a, b):
    np.testing.assert_allclose(a.embedding, b.embedding, rtol=0, atol=1e-5 * np.abs(b.embedding).max())
    np.testing.assert_array_equal(a.cluster, b.cluster)
    np.testing.assert_allclose(a.outlier_score, b.outlier_score, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epochs", [0, 5])
@pytest.mark.parametrize("distance", [20.0, 100.0])
def test_clouds_are_clusters(seed, epochs, distance):
    X, species, truth = blobs(distance=distance)
    cluster = MEAGraph(**{**SMALL, "epochs": epochs, "seed": seed}).fit(X, species).clusters(X, species)
    for b in range(4):
        values, counts = np.unique(cluster[truth == b], return_counts=True)
        assert counts.max() >= 58, "a cloud is one cluster, but for a straggler or two"
        assert not set(values) & set(cluster[truth != b]) - {-1}, "no cluster holds parts of two clouds"


def test_new_environments_join_the_clusters_of_the_old(fitted):
    X, species, truth = blobs()
    old, new = fitted.clusters(X, species), fitted.clusters(blobs(seed=9)[0], species)
    for b in range(4):
        assert (new[truth == b] == np.bincount(old[(truth == b) & (old >= 0)]).argmax()).mean() > 0.95


@pytest.mark.parametrize(("link", "reach"), [(None, None), (0.7, 1e9), (1e9, 1.0)])
def test_what_is_said_of_an_environment_is_a_function_of_the_stages(fitted, link, reach):
    """Nearest anchor's cluster within link, reach and residual; distance to the k-th nearest over the ordinary."""
    X, species, _ = blobs(seed=4)
    X[::3] += np.random.default_rng(0).normal(scale=6.0, size=X[::3].shape).astype(np.float32)
    model = fitted.fitted_
    model = dataclasses.replace(model, link=link or model.link, reach=reach or model.reach)
    found = model.assign(X, species)
    x, stages = model.noise.transform(X), [stage.numpy() for stage in model.stages]
    rest = np.linalg.norm((X.astype(float) - model.noise.mean) @ model.noise.rest, axis=1) / model.residual
    outside = 0
    for i in range(len(X)):
        own = model.anchor_species == species[i]
        before = np.sort(np.linalg.norm(stages[0][own] - x[i], axis=1))
        after = np.linalg.norm(stages[-1][own] - found.embedding[i], axis=1)
        near = after.min() <= model.link and before[0] <= model.reach and rest[i] <= 2
        outside += not near
        assert found.cluster[i] == (model.anchor_cluster[own][after.argmin()] if near else -1)
        assert found.outlier_score[i] == pytest.approx(max(before[11] / model.ordinary, rest[i]), rel=1e-3)
    assert 5 < outside < len(X) - 5


def test_an_environment_alone_is_as_among_many(fitted):
    X, species, _ = blobs()
    crowd = np.concatenate([np.full((50, SIZE), 80.0, np.float32), X])
    together = fitted.assign(X, species)
    among = fitted.assign(crowd, np.concatenate([np.full(50, 73), species]))
    np.testing.assert_allclose(among.embedding[50:], together.embedding, atol=1e-5 * np.abs(together.embedding).max())
    np.testing.assert_array_equal(among.cluster[50:], together.cluster)
    for i in range(0, len(X), 7):
        alone = fitted.assign(X[i : i + 1], species[i : i + 1])
        np.testing.assert_allclose(
            alone.embedding[0], together.embedding[i], atol=1e-5 * np.abs(together.embedding).max()
        )
        assert alone.cluster[0] == together.cluster[i]


def test_permuting_environments_permutes_what_is_said_of_them(fitted):
    X, species, _ = blobs()
    order = np.random.default_rng(0).permutation(len(X))
    there, back = fitted.assign(X, species), fitted.assign(X[order], species[order])
    np.testing.assert_allclose(back.embedding, there.embedding[order], atol=1e-5 * np.abs(there.embedding).max())
    np.testing.assert_array_equal(back.cluster, there.cluster[order])


def test_batches_do_not_show(fitted, monkeypatch):
    X, species, _ = blobs()
    whole, told = fitted.assign(X, species), []
    monkeypatch.setattr(module, "_BATCH", 37)
    same(fitted.assign(X, species, lambda *step: told.append(step)), whole)
    assert told == [(min(done, 240), 240) for done in range(37, 277, 37)]


def test_nothing_is_assigned_to_nothing(fitted):
    found = fitted.assign(np.zeros((0, SIZE), np.float32), np.zeros(0, int))
    assert (found.embedding.shape, found.cluster.shape, found.outlier_score.shape) == ((0, 24), (0,), (0,))


def test_the_anchors_are_embedded_as_their_stages_say():
    X, species, _ = blobs(per_blob=30)
    model = MEAGraph(**{**SMALL, "anchors": 240}).fit(X, species)
    state = model.fitted_
    found = model.assign(X, species)
    assert len(state.anchor_species) == len(X), "all are anchors"
    near = nearest_anchors(found.embedding, species, state.stages[-1].numpy(), state.anchor_species, 1)
    assert near.distance.max() < 1e-4
    np.testing.assert_array_equal(found.cluster, state.anchor_cluster[near.index[:, 0]])


def test_a_far_environment_is_new(fitted):
    """Along an axis that the noise units keep, in units of the noise."""
    X, species, _ = blobs()
    noise = fitted.fitted_.noise
    for axis in range(noise.axes.shape[1]):
        step = noise.axes[:, axis] / (noise.axes[:, axis] @ noise.axes[:, axis])
        for sign in (-1, 1):
            for far in (300.0, 1e3, 1e5):
                found = fitted.assign(X[:1] + sign * far * step.astype(np.float32), species[:1])
                assert found.cluster[0] == -1
                assert np.isfinite(found.embedding).all()


def test_between_two_phases_is_neither():
    """40 units of noise from either; the way by which two phases would be joined."""
    X, species, _ = blobs(distance=100.0)
    model = MEAGraph(**SMALL).fit(X, species)
    middle = np.zeros((1, SIZE), np.float32)
    middle[0, 0] = 50.0
    assert model.clusters(middle, species[:1])[0] == -1


def test_the_outlier_score_is_one_for_the_ordinary_and_grows_with_distance(fitted):
    X, species, truth = blobs(seed=5)
    assert 0.7 < np.median(fitted.assign(X, species).outlier_score) < 1.5
    away = np.repeat(X[truth == 1][:1], 7, axis=0)
    away[:, 0] += [0, 10, 30, 100, 300, 1000, 10000]
    score = fitted.assign(away, np.full(7, 73)).outlier_score
    assert np.all(np.diff(score) > 0)
    assert score[1] > 2
    assert score[-1] / score[-2] == pytest.approx(10, rel=0.05), "in proportion, far out"


def test_what_differs_where_the_data_never_did_is_new():
    """Along axes that are not kept, too: a column constant in training, and one that held nothing but noise."""
    X, species, _ = blobs()
    flat = np.column_stack([X, np.zeros(len(X), np.float32), np.random.default_rng(5).normal(size=len(X))])
    flat = flat.astype(np.float32)
    model = MEAGraph(**SMALL).fit(flat, species)
    before = model.assign(flat[:1], species[:1])
    assert before.cluster[0] >= 0
    for column in (-2, -1):
        moved = flat[:1].copy()
        moved[0, column] += 60.0
        after = model.assign(moved, species[:1])
        assert after.cluster[0] == -1
        assert after.outlier_score[0] > 2 * before.outlier_score[0]


@pytest.mark.parametrize("anchors", [1, 2, 50, 100])
def test_no_more_anchors_than_asked_for_and_every_element_among_them(anchors):
    X, species, _ = blobs()
    species = species.copy()
    species[:2] = 41  # a rare element
    model = MEAGraph(**{**SMALL, "anchors": anchors, "epochs": 1}).fit(X, species).fitted_
    assert len(model.anchor_species) <= max(anchors, 3)
    assert set(model.anchor_species) == {41, 73, 74}
    assert len(np.unique(model.stages[0].numpy(), axis=0)) == len(model.anchor_species)


def choose(X, species, anchors, seed=0):
    noise = NoiseUnits.fit(X[:400], species[:400], 12)
    return _choose(X, species, noise, anchors, np.random.default_rng(seed))


def test_anchors_and_others_are_distinct_environments():
    X, species, _ = blobs(per_blob=300)
    X = np.concatenate([X, X[:600]])
    species = np.concatenate([species, species[:600]])
    chosen, others = choose(X, species, 100)
    rows = np.concatenate([chosen, others])
    assert len(chosen) == 100
    assert len(np.unique(X[rows], axis=0)) == len(rows), "no copy of an anchor is held out"
    assert len(others) == 100 * module._LEARNT_PER_ANCHOR
    assert set(species[chosen]) == {73, 74}


@pytest.mark.parametrize("seed", range(5))
def test_the_rare_is_among_the_anchors(seed):
    X = np.random.default_rng(0).normal(size=(3000, SIZE)).astype(np.float32)
    X[1234] += 40.0
    chosen, others = choose(X, np.full(3000, 26), 100, seed)
    assert 1234 in chosen
    assert len(set(chosen) & set(others)) == 0


def test_the_noise_is_that_of_a_plain_sample_and_the_axes_those_of_the_anchors(monkeypatch):
    """A sample in which the rare is as rare as in the data, and each environment there once."""
    X = np.random.default_rng(0).normal(size=(3000, SIZE)).astype(np.float32)
    X[:30] += 40.0
    X[1000:1500] = X[500:1000]
    rows = {row.tobytes(): i for i, row in reversed(list(enumerate(X)))}
    seen, fit = [], NoiseUnits.fit

    def record(sample, *others):
        seen.append(np.array([rows[row.tobytes()] for row in sample]))
        return fit(sample, *others)

    monkeypatch.setattr(NoiseUnits, "fit", record)
    for seed in range(6):
        state = MEAGraph(**{**SMALL, "epochs": 0, "anchors": 300}, seed=seed).fit(X).fitted_
        assert len(set(seen[-1])) == len(seen[-1])
        measured = fit(X[seen[-1]], np.zeros(len(seen[-1])), 12, 5.0)
        np.testing.assert_array_equal(state.noise.noise, measured.noise)
        assert np.abs(state.stages[0].numpy().mean(axis=0)).max() < 1e-2, "the anchors' own mean"
        np.testing.assert_allclose(state.stages[0].var(dim=0, unbiased=False), state.noise.ratio, rtol=1e-3)
    assert np.mean([(plain < 30).mean() for plain in seen]) == pytest.approx(0.01, abs=0.007)


def test_what_is_held_out_is_not_learnt_from(monkeypatch):
    X, species, _ = blobs(per_blob=300)
    seen = []

    def train(*arguments, **others):
        seen.extend({row.numpy().tobytes() for row in arguments[i]} for i in (1, 3, 5))
        return module_train(*arguments, **others)

    module_train = module.train
    monkeypatch.setattr(module, "train", train)
    MEAGraph(**{**SMALL, "epochs": 0}).fit(X, species)
    anchors, learnt, held_out = seen
    assert anchors < learnt
    assert not learnt & held_out
    assert len(anchors) == 160
    assert len(held_out) == (len(learnt) - len(anchors) + len(held_out)) // 4


def test_reach_and_ordinary_are_their_docstrings():
    inf = np.inf
    distance = np.array([[0, 2, 3], [0, 1, 4], [0.5, 1, 2], [0, inf, inf]])
    assert _reach(distance, 0.1) == pytest.approx(2 * np.quantile([2, 1, 0.5], 0.99))
    assert _reach(distance, 7.0) == 7.0
    assert _ordinary(distance) == pytest.approx(3.0)
    assert _ordinary(distance[3:]) == 1.0
    assert _ordinary(np.zeros((4, 1))) == 1.0
    assert _reach(np.zeros((4, 1)), 6.0) == 6.0


@pytest.mark.parametrize("rate", [1e-9, 0.01, 0.9])
def test_a_rate_is_a_length(rate):
    X, species, _ = blobs()
    model = MEAGraph(**SMALL, rate=rate).fit(X, species)
    assert model.fitted_.link == pytest.approx(-np.log(rate))


def test_a_higher_rate_leaves_fewer_links():
    X, species, _ = blobs()
    counts = [MEAGraph(**SMALL, rate=rate).fit(X, species).fitted_.anchor_cluster.max() for rate in (1e-30, 1e-3, 0.9)]
    assert counts[0] == 1, "two elements"
    assert counts[0] < counts[1] < counts[2]


def test_every_environment_twice_gives_the_same_clusters():
    X, species, _ = blobs(per_blob=35)
    once = MEAGraph(**SMALL).fit(X, species).clusters(X, species)
    twice = MEAGraph(**SMALL).fit(np.repeat(X, 2, axis=0), np.repeat(species, 2)).clusters(X, species)
    np.testing.assert_array_equal(twice, once)


def test_elements_never_share_a_cluster():
    """Even if their descriptors are the same."""
    X = np.concatenate([blobs()[0][:60]] * 2)
    cluster = MEAGraph(**SMALL).fit(X, np.repeat([73, 74], 60)).clusters(X, np.repeat([73, 74], 60))
    assert not set(cluster[:60]) & set(cluster[60:]) - {-1}


def test_an_unknown_element_is_an_error(fitted):
    with pytest.raises(ValueError, match="no anchor for element 26"):
        fitted.assign(np.zeros((2, SIZE), np.float32), np.array([73, 26]))


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
    model = MEAGraph(channels=(6, 4), anchors=64, epochs=2).fit(X, species)
    found = model.assign(X, species)
    assert found.embedding.shape == (len(X), 4)
    assert found.embedding.dtype == found.outlier_score.dtype == np.float32
    assert found.cluster.shape == (len(X),)
    for values in (found.embedding, found.outlier_score, model.training_.held_out_loss):
        assert np.isfinite(values).all()
    assert np.all(found.cluster >= 0), "every environment of the data is near an anchor: itself, or a copy of it"
    first = {row.tobytes(): c for row, c in zip(X, found.cluster, strict=True)}
    assert all(first[row.tobytes()] == c for row, c in zip(X, found.cluster, strict=True)), "equal rows, equal clusters"


@pytest.mark.parametrize("name", ["one", "one at the origin", "all the same", "all zero"])
def test_what_there_is_only_one_of_is_a_cluster(name):
    X = DEGENERATE[name].astype(np.float32)
    model = MEAGraph(channels=(6, 4), epochs=2).fit(X)
    np.testing.assert_array_equal(model.clusters(X), 0)


def test_an_element_with_one_environment_stands_beside_one_with_many():
    X, species, _ = blobs(per_blob=30)
    species = species.copy()
    species[0] = 1
    found = MEAGraph(**SMALL).fit(X, species).assign(X, species)
    assert found.cluster[0] not in set(found.cluster[1:])
    assert found.cluster[0] >= 0
    assert np.isfinite(found.embedding).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(fitted, value):
    X, species, _ = blobs()
    X[3, 2] = value
    for method in (MEAGraph(**SMALL).fit, fitted.assign):
        with pytest.raises(ValueError, match=r"not finite, the first in row 3$"):
            method(X, species)


def test_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    X, species, _ = blobs(per_blob=10)
    MEAGraph(**SMALL).fit(X, species).embed(X, species)
    assert torch.get_num_threads() == before


def test_an_atom_far_off_its_site_is_alone_among_many_in_place():
    """Its neighbours are few and far: with gross differences shortened they do not pass for noise."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(20):
        frame = bulk("Nb", cubic=True) * (3, 3, 3)
        frame.positions += rng.normal(0, 0.08, frame.positions.shape)
        frames.append(frame)
    frames[1].positions[5, 0] += 1.36
    odd = 54 + 5
    raw = PowerSpectrum([41]).compute(frames)
    X, species = Scaling.fit(raw).transform(raw), np.full(len(raw), 41)
    found = MEAGraph(epochs=1).fit(X, species).assign(X, species)
    assert (found.cluster == found.cluster[odd]).sum() == 1
    assert found.outlier_score[odd] > 4 * np.quantile(found.outlier_score, 0.99)
    assert (found.cluster == np.bincount(found.cluster[found.cluster >= 0]).argmax()).mean() > 0.98
    plain = MEAGraph(epochs=1, gross=None).fit(X, species).assign(X, species)
    assert plain.outlier_score[odd] < found.outlier_score[odd] / 2, "the test is not about nothing"
