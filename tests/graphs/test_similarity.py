"""Sparse similarity graphs: exact neighbours, honest samples."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.graphs.similarity import (
    CloseSearch,
    components,
    distinct_rows,
    importance_sample,
    nearest_anchors,
)


def brute_force(X, species, anchors, anchor_species, k):
    """Indices and distances in float64; (N, min(k, anchors of the rarest element))."""
    distance = cdist(X.astype(np.float64), anchors.astype(np.float64))
    distance[species[:, None] != anchor_species] = np.inf
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12)).astype(np.float32)
    anchors = rng.normal(size=(120, 12)).astype(np.float32)
    return X, rng.choice([22, 26, 73], 300), anchors, rng.choice([22, 26, 73], 120)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_nearest_anchors_are_the_nearest(cloud, k):
    found = nearest_anchors(*cloud, k)
    index, distance = brute_force(*cloud, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-5)
    assert found.index.dtype == np.int64
    assert found.distance.dtype == np.float32


def test_edges_never_cross_elements(cloud):
    X, species, anchors, anchor_species = cloud
    found = nearest_anchors(X, species, anchors, anchor_species, 10)
    assert np.all(anchor_species[found.index] == species[:, None])


def test_too_few_anchors_are_padded_with_the_nearest(cloud):
    X, species, anchors, _ = cloud
    few = np.full(len(anchors), 26)
    few[:3], few[3] = 22, 73
    found = nearest_anchors(X, species, anchors, few, 5)
    for z, many in ((22, 3), (73, 1)):
        rows = species == z
        assert np.isfinite(found.distance[rows, :many]).all()
        assert np.isinf(found.distance[rows, many:]).all()
        assert np.all(found.index[rows, many:] == found.index[rows, :1]), "the first is repeated"
        assert np.all(few[found.index[rows]] == z)
    assert np.isfinite(found.distance[species == 26]).all()


def test_an_element_without_anchors_is_an_error(cloud):
    X, species, anchors, _ = cloud
    with pytest.raises(ValueError, match="no anchor for element 22"):
        nearest_anchors(X, species, anchors, np.full(len(anchors), 26), 3)


def test_nothing_has_no_anchors(cloud):
    *_, anchors, anchor_species = cloud
    found = nearest_anchors(np.zeros((0, 12), np.float32), np.zeros(0, int), anchors, anchor_species, 3)
    assert found.index.shape == found.distance.shape == (0, 3)


def test_a_common_offset_does_not_blur_distances(cloud):
    """Descriptors far from the origin keep their float32 precision."""
    X, species, anchors, anchor_species = cloud
    shift = np.float32(64.0)
    X, anchors = X + shift, anchors + shift
    found = nearest_anchors(X, species, anchors, anchor_species, 5)
    index, distance = brute_force(X, species, anchors, anchor_species, 5)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-4)


def test_distances_inside_tight_clusters_far_apart_are_distances():
    """|x|^2 + |a|^2 - 2 x.a loses what is smaller than 1e-7 |x|^2: a crystal at low temperature beside a gas."""
    rng = np.random.default_rng(0)
    X = (3e-3 * rng.normal(size=(6000, 32)) + np.arange(6000)[:, None] % 2 * 30.0).astype(np.float32)
    anchors, species = X[:512], np.ones(6000, int)
    found = nearest_anchors(X, species, anchors, species[:512], 4)
    np.testing.assert_array_equal(found.index[:512, 0], np.arange(512), "an anchor is nearest to itself")
    assert not found.distance[:512, 0].any()
    distance = brute_force(X, species, anchors, species[:512], 4)[1]
    np.testing.assert_allclose(found.distance[512:], distance[512:], rtol=0.01)


def test_neighbours_do_not_depend_on_who_else_is_searched():
    rng = np.random.default_rng(1)
    X, one = rng.normal(size=(4000, 32)).astype(np.float32) * 3, np.ones(4000, int)
    together = nearest_anchors(X, one, X[:512], one[:512], 8)
    alone = [nearest_anchors(X[i : i + 1], one[:1], X[:512], one[:512], 8) for i in range(100)]
    np.testing.assert_array_equal(np.concatenate([a.index for a in alone]), together.index[:100])
    np.testing.assert_allclose(np.concatenate([a.distance for a in alone]), together.distance[:100], atol=1e-4)


@pytest.mark.parametrize(
    ("edges", "size", "labels"),
    [
        ([[0, 1], [3, 1], [4, 2]], 6, [0, 0, 1, 0, 1, 2]),
        ([[2, 2]], 3, [0, 1, 2]),
        (np.zeros((0, 2), int), 3, [0, 1, 2]),
        (np.zeros((0, 2), int), 0, []),
        ([[0, 1], [1, 0], [0, 1]], 2, [0, 0]),
        ([[i, i + 1] for i in range(300)], 301, [0] * 301),
    ],
)
def test_components_are_numbered_by_first_node(edges, size, labels):
    np.testing.assert_array_equal(components(np.asarray(edges), size), labels)


def test_edges_repeated_very_often_still_join():
    """A count kept in eight bits would come round to zero."""
    np.testing.assert_array_equal(components(np.tile([0, 1], (256, 1)), 2), [0, 0])


def test_distinct_rows_keeps_the_first_of_each():
    X = np.array([[1, 2], [3, 4], [1, 2], [1, 2 + 1e-7], [3, 4.1], [3, 4]], np.float32)
    np.testing.assert_array_equal(distinct_rows(X), [0, 1, 4])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_distinct_means_to_five_digits_of_the_largest_entry(scale):
    X = np.array([[1.0, 0.0], [1.0, 2e-6], [1.0, 5e-5], [-1.0, 0.0]], np.float32) * np.float32(scale)
    np.testing.assert_array_equal(distinct_rows(X), [0, 2, 3])


@pytest.mark.parametrize(("X", "kept"), [(np.zeros((5, 3)), [0]), (np.ones((4, 2)), [0]), (np.zeros((0, 3)), [])])
def test_distinct_rows_of_nothing_new(X, kept):
    np.testing.assert_array_equal(distinct_rows(X.astype(np.float32)), kept)


def skewed_data():
    """Many like rows and a few far away, as crystals and a handful of melts: the case the sample is for."""
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(size=(495, 3)), rng.normal(size=(5, 3)) + 200.0])


@pytest.mark.parametrize("size", [20, 100, 400, 499])
@pytest.mark.parametrize("weighted", [False, True])
def test_weighted_sums_over_the_sample_are_those_over_all_rows(size, weighted):
    X = skewed_data()
    weight = np.random.default_rng(2).uniform(0.1, 2.0, len(X)) if weighted else np.ones(len(X))
    questions = {
        "number": np.ones(len(X)),
        "squared distance from the origin": (X**2).sum(axis=1),
        "squared distance from a far point": ((X - 100.0) ** 2).sum(axis=1),
        "number of the far rows": (X[:, 0] > 100).astype(float),
    }
    estimates = {name: [] for name in questions}
    for seed in range(400):
        rows, weights = importance_sample(X, size, np.random.default_rng(seed), weight)
        for name, value in questions.items():
            estimates[name].append(weights @ value[rows])
    for name, value in questions.items():
        truth, found = weight @ value, np.array(estimates[name])
        error = found.std(ddof=1) / len(found) ** 0.5
        assert abs(found.mean() - truth) <= 4 * error + 1e-9 * truth, name


def test_the_sample_has_the_size_asked_for_no_row_twice_in_order():
    X = skewed_data()
    rows, weights = importance_sample(X, 50, np.random.default_rng(0))
    assert len(rows) == len(weights) == 50
    assert np.all(np.diff(rows) > 0)
    assert np.all(weights > 0)


def test_rare_far_rows_are_in_the_sample():
    X = skewed_data()
    for seed in range(20):
        rows, _ = importance_sample(X, 100, np.random.default_rng(seed))
        assert (rows >= 495).sum() == 5


@pytest.mark.parametrize("size", [500, 501, 10_000])
def test_no_more_rows_than_the_size_are_all_taken_with_their_own_weights(size):
    X = skewed_data()
    weight = np.linspace(1, 2, len(X))
    rows, weights = importance_sample(X, size, np.random.default_rng(0), weight)
    np.testing.assert_array_equal(rows, np.arange(len(X)))
    np.testing.assert_array_equal(weights, weight)
    np.testing.assert_array_equal(importance_sample(X, size, np.random.default_rng(0))[1], 1.0)


def test_the_same_seed_draws_the_same_rows():
    X = skewed_data().astype(np.float32)
    a, b, other = (importance_sample(X, 50, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(a[0], other[0])


def test_equal_rows_are_drawn_evenly():
    rows, weights = importance_sample(np.full((100, 3), 0.1, np.float32), 20, np.random.default_rng(0))
    assert len(rows) == 20
    np.testing.assert_allclose(weights, 5.0, rtol=1e-6)


def test_rows_of_no_weight_are_not_drawn():
    weight = np.ones(500)
    weight[::2] = 0.0
    rows, weights = importance_sample(skewed_data(), 100, np.random.default_rng(0), weight)
    assert np.all(rows % 2 == 1)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("exact_pairs", [2**26, 0], ids=["exact", "lists"])
@pytest.mark.parametrize("left_out", [None, (0, 40), (100, 120), (0, 119)])
def test_close_search_finds_the_nearest_that_is_not_left_out(cloud, monkeypatch, exact_pairs, left_out):
    """With so few vectors 16 lists of 43 hold nearly all neighbours, and all lists are asked where they hold none."""
    monkeypatch.setattr(CloseSearch, "_EXACT_PAIRS", exact_pairs)
    queries, _, base, _ = cloud
    search = CloseSearch(base, len(queries))
    distance = cdist(queries.astype(np.float64), base.astype(np.float64)) ** 2
    if left_out is None:
        squared, found = search.nearest(queries, 3)
        np.testing.assert_allclose(squared, np.take_along_axis(distance, found, axis=1), rtol=1e-4)
        wanted, got = distance.min(axis=1), squared[:, 0]
    else:
        distance[:, left_out[0] : left_out[1]] = np.inf
        wanted, got = distance.min(axis=1), search.without(queries, *left_out)
    assert (got >= wanted * (1 - 1e-4)).all()
    assert np.isclose(got, wanted, rtol=1e-4).mean() >= (1.0 if exact_pairs else 0.9)


def test_the_queries_farthest_from_what_the_lists_hold_are_searched_exactly(monkeypatch):
    monkeypatch.setattr(CloseSearch, "_EXACT_PAIRS", 0)
    monkeypatch.setattr(CloseSearch, "_LISTS_LOOKED_AT", 1)
    rng = np.random.default_rng(3)
    base = rng.normal(size=(400, 8)).astype(np.float32)
    queries = rng.normal(size=(1024, 8)).astype(np.float32)
    queries[:3] *= 50
    squared = CloseSearch(base, 1024).nearest(queries, 1)[0][:, 0]
    exact = cdist(queries, base).min(axis=1) ** 2
    np.testing.assert_allclose(squared[:3], exact[:3], rtol=1e-4)
    assert (squared > 1.01 * exact).any(), "one list alone does miss"
