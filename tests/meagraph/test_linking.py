"""Which anchors are linked: against all pairs, and blobs whose gap is known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from mlff_curate.graphs.similarity import components
from mlff_curate.meagraph import linking as module
from mlff_curate.meagraph.linking import LEAST_LINK, MOST_LINK, link_length, linked_clusters


def one(points, z=26):
    return np.full(len(points), z)


def line_of_blobs(gaps, members=8, size=3, seed=0):
    """Tight blobs on a line, whose nearest members are exactly so far apart; row order mixed up."""
    rng = np.random.default_rng(seed)
    blob = 0.5 * rng.uniform(-1, 1, (members, size))
    blob[0], blob[1] = [0.5, *[0] * (size - 1)], [-0.5, *[0] * (size - 1)]
    starts = np.concatenate([[0.0], np.cumsum(np.asarray(gaps) + 1.0)])
    points = np.concatenate([blob + start * np.eye(size)[0] for start in starts])
    label = np.repeat(np.arange(len(starts)), members)
    order = rng.permutation(len(points))
    return points[order].astype(np.float32), label[order]


LEAST, MOST = 4.0, 9.0
NOTHING = 6.0
"""Where nothing merges between these bounds."""


@pytest.fixture(autouse=True)
def _bounds(monkeypatch):
    """Wide ones, so that there is room for gaps, whatever those in use."""
    monkeypatch.setattr(module, "LEAST_LINK", LEAST)
    monkeypatch.setattr(module, "MOST_LINK", MOST)


def middle(a, b):
    return pytest.approx((a * b) ** 0.5, rel=1e-5)


def test_the_bounds_in_use_are_in_the_range_that_noise_leaves():
    """Two environments of one phase are about six units apart at most."""
    assert 4.0 <= LEAST_LINK < MOST_LINK <= 9.0
    assert LEAST_LINK < 6.0 < MOST_LINK


@pytest.mark.parametrize(
    ("gaps", "ends"),
    [
        ([], (LEAST, MOST)),
        ([1.0], (LEAST, MOST)),
        ([30.0], (LEAST, MOST)),
        ([LEAST - 0.1, MOST + 0.1], (LEAST, MOST)),
        ([5.0], (5.0, MOST)),
        ([7.5], (LEAST, 7.5)),
        ([4.6, 7.5], (4.6, 7.5)),
        ([4.6, 5.0, 7.5, 20.0], (5.0, 7.5)),
        ([4.7, 4.9, 5.1, 5.6, 7.0, 8.0], (5.6, 7.0)),
        ([4.9, 6.0, 7.3, 8.2], (LEAST, 4.9)),  # 0.9, and 1.3 to 7.3: it is the ratio that counts
    ],
)
def test_the_length_is_the_geometric_middle_of_the_widest_gap(gaps, ends):
    points, _ = line_of_blobs(gaps)
    assert link_length(points, one(points)) == middle(*ends)


@pytest.mark.parametrize("seed", range(5))
def test_the_length_is_within_its_bounds(seed):
    points = 8.0 * np.random.default_rng(seed).normal(size=(200, 3))
    assert LEAST <= link_length(points.astype(np.float32), one(points)) <= MOST


@pytest.mark.parametrize(("members", "low"), [(4, LEAST), (5, 5.0)])
def test_merges_of_fewer_than_five_do_not_count(members, low):
    points, _ = line_of_blobs([5.0], members=members)
    assert link_length(points, one(points)) == middle(low, MOST)


def test_a_few_beside_many_do_not_count():
    points, label = line_of_blobs([5.0])
    few = np.sort(np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:4]]))
    assert link_length(points[few], one(few)) == pytest.approx(NOTHING)


def test_merges_of_all_elements_count_and_none_between_them():
    a, _ = line_of_blobs([5.0])
    b, _ = line_of_blobs([7.5])
    species = np.concatenate([one(a, 26), one(b, 74)])
    assert link_length(np.concatenate([a, b]), species) == middle(5.0, 7.5)
    points, label = line_of_blobs([5.0])
    assert link_length(points, np.where(label == 0, 26, 74)) == pytest.approx(NOTHING), "two elements never merge"


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.zeros((2, 3)), np.zeros((20, 3)), np.ones((3, 1))])
def test_where_nothing_merges_the_length_is_the_middle_of_the_bounds(points):
    assert link_length(points, one(points)) == pytest.approx(NOTHING)
    np.testing.assert_array_equal(linked_clusters(points, one(points), 6.0), 0)


@pytest.mark.parametrize("gaps", [[5.5, 20.0], [30.0], [7.0, 7.0, 7.0]])
def test_blobs_farther_apart_than_the_length_are_clusters(gaps):
    points, label = line_of_blobs(gaps)
    for length in (2.0, 5.0):
        cluster = linked_clusters(points, one(points), length)
        first = {int(b): int(np.flatnonzero(label == b)[0]) for b in np.unique(label)}
        rank = {b: i for i, b in enumerate(sorted(first, key=first.get))}
        np.testing.assert_array_equal(cluster, [rank[b] for b in label])
    np.testing.assert_array_equal(linked_clusters(points, one(points), 31.0), 0)


@pytest.mark.parametrize("length", [0.1, 0.4, 0.6, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_are_the_components_of_all_pairs_up_to_the_length(length, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(150, 2)).astype(np.float32)
    species = rng.choice([22, 26, 73], 150)
    linked = (cdist(points.astype(float), points.astype(float)) <= length) & (species[:, None] == species)
    # numbered by first member too
    np.testing.assert_array_equal(
        linked_clusters(points, species, length), components(np.argwhere(linked), len(points))
    )


def test_a_pair_exactly_the_length_apart_is_linked():
    points = np.array([[0.0], [4.0], [8.5]])
    np.testing.assert_array_equal(linked_clusters(points, one(points), 4.0), [0, 0, 1])


def test_elements_never_share_a_cluster():
    points = np.zeros((12, 3), np.float32)
    species = np.array([74, 26, 74, 26, 26, 22, 74, 22, 26, 74, 26, 6])
    cluster = linked_clusters(points, species, 6.0)
    np.testing.assert_array_equal(cluster, [0, 1, 0, 1, 1, 2, 0, 2, 1, 0, 1, 3])


def test_the_length_does_not_depend_on_order_or_place():
    points, _ = line_of_blobs([4.6, 6.5])
    order = np.random.default_rng(3).permutation(len(points))
    wanted = link_length(points, one(points))
    assert link_length(points[order], one(points)) == pytest.approx(wanted, rel=1e-6)
    assert link_length(points + 50.0, one(points)) == pytest.approx(wanted, rel=1e-4)
    assert pdist(points).max() > 10
