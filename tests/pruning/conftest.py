"""Small pools of frames."""

import numpy as np
import pytest

from mlff_curate.pruning.problem import Pool


def build_pool(frames=30, *, atoms=3, size=4, groups=3, clusters=5, seed=0, given=(), excluded=(), scale=None):
    """A random pool; frames have 1 to 2 x atoms - 1 environments, clusters count from -1."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * atoms, frames)
    first = np.concatenate([[0], np.cumsum(sizes)])
    X = rng.normal(size=(first[-1], size)).astype(np.float32)
    group = rng.integers(0, groups, frames)
    cluster = rng.integers(-1, clusters, first[-1])
    kept, may = np.zeros(frames, bool), np.ones(frames, bool)
    kept[list(given)] = True
    may[[*given, *excluded]] = False
    if scale is not None:
        X *= np.asarray(scale, np.float32)[np.repeat(np.arange(frames), sizes)][:, None]
    return Pool(X, first, group, cluster, kept, may)


@pytest.fixture
def make_pool():
    return build_pool


def represented_by(pool, kept):
    """Clusters and groups of these frames, by plain sets."""
    kept = np.asarray(kept, dtype=int)
    clusters = set(pool.cluster[np.isin(pool.owner, kept)].tolist()) - {-1}
    return {("cluster", c) for c in clusters} | {("group", g) for g in pool.group[kept].tolist()}


def missed_by(pool, chosen):
    """What given and eligible frames could represent and given and chosen ones do not."""
    given = np.flatnonzero(pool.given)
    possible = represented_by(pool, np.flatnonzero(pool.given | pool.eligible))
    return possible - represented_by(pool, np.concatenate([given, chosen]))


@pytest.fixture
def represented():
    return represented_by


@pytest.fixture
def missed():
    return missed_by
