"""Which environments are linked: the pooling of the last layer's edges, and the clusters that it leaves."""

from __future__ import annotations

import numpy as np

LEAST_LINK, MOST_LINK = 5.0, 8.0
"""Bounds of the link length in noise units. Below, noise itself splits a phase; above, defects and phases merge that
the noise of two environments could not bridge (docs/benchmarks.md has how clusters change between them)."""
_SIZE = 5
"""Fewer anchors than this are no cluster whose merging with another would mean anything."""


def link_length(embedding: np.ndarray, species: np.ndarray) -> float:
    """Find the length in the widest gap between the merges of clusters, within the bounds.

    As the length grows, clusters of anchors merge, one pair at a time (single linkage: the connected components of the
    graph of all shorter edges). Merges that join two clusters of five anchors or more are those that matter: noise
    holds a phase together below the gap, phases merge above it. Time and memory go with the square of the anchors.

    Parameters
    ----------
    embedding, species
        (A, C) in noise units, and (A,) central elements, which never share a cluster.

    Returns
    -------
    float
        Geometric middle of the gap; that of the bounds where no merge lies between them.
    """
    heights: list[float] = []
    for z in np.unique(species):
        points = embedding[species == z]
        if len(points) > 1:
            heights += _merges(points)
    inside = sorted(height for height in heights if LEAST_LINK < height < MOST_LINK)
    ends = np.array([LEAST_LINK, *inside, MOST_LINK])
    widest = int((ends[1:] / ends[:-1]).argmax())
    return float(np.sqrt(ends[widest] * ends[widest + 1]))


def linked_clusters(embedding: np.ndarray, species: np.ndarray, length: float) -> np.ndarray:
    """Return the connected component of each anchor, (A,), in the graph of edges up to a length within an element."""
    from scipy.cluster.hierarchy import fcluster

    cluster = np.zeros(len(embedding), np.int64)
    used = 0
    for z in np.unique(species):
        rows = np.flatnonzero(species == z)
        if len(rows) > 1:
            cluster[rows] = used + fcluster(_tree(embedding[rows]), length, "distance") - 1
        else:
            cluster[rows] = used
        used = int(cluster[rows].max()) + 1
    return _by_first(cluster)


def _tree(points: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import linkage

    tree: np.ndarray = linkage(points.astype(np.float64), "single")
    return tree


def _merges(points: np.ndarray) -> list[float]:
    """Return the lengths at which two clusters of some size become one."""
    tree = _tree(points)
    size = np.concatenate([np.ones(len(points)), tree[:, 3]])
    both = np.minimum(size[tree[:, 0].astype(int)], size[tree[:, 1].astype(int)])
    return [float(height) for height in tree[both >= _SIZE, 2]]


def _by_first(cluster: np.ndarray) -> np.ndarray:
    """Renumber clusters by their first member."""
    first, inverse = np.unique(cluster, return_index=True, return_inverse=True)[1:]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
