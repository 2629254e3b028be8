"""The model with anchors: what an environment becomes depends on the environment and the model alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_curate.graphs.similarity import NearestAnchors, distinct_rows, importance_sample, nearest_anchors
from mlff_curate.meagraph.assignment import Assignment
from mlff_curate.meagraph.linking import link_length, linked_clusters
from mlff_curate.meagraph.network import AutoEncoder, calibrate, edges_to
from mlff_curate.meagraph.noise import NoiseUnits
from mlff_curate.meagraph.training import TrainingRecord, train
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Progress = Callable[[int, int, str], None]

_BATCH = 2048
_STRANGE = 2.0
"""Environments so many times as far off as 99 % of the data are new."""
_LEAST_PLAIN = 256
_CANDIDATES = 20_000
_HELD_OUT = 1024
_LEARNT_PER_ANCHOR = 2
_NOISE_PER_ANCHOR = 2
"""Environments to learn from, and to measure the noise on, per anchor: they bound the time of training."""


@dataclass(frozen=True)
class Inductive:
    """A fitted model.

    Attributes
    ----------
    noise
        Descriptors to noise units.
    network
        The trained autoencoder.
    stages
        The anchors in noise units and after each encoder layer, (A, C) each.
    anchor_species, anchor_cluster
        (A,) central element and cluster.
    neighbours
        k.
    link
        Length in the embedding up to which an environment belongs to its nearest anchor's cluster, noise units.
    reach
        Distance in noise units, before any averaging, beyond which no anchor is near: the environment is new.
    ordinary
        Median distance of an anchor from its k-th nearest, the unit of the outlier score.
    residual
        What 99 % of the data stay below along the axes that were not kept, noise units; twice that is new.
    """

    noise: NoiseUnits
    network: AutoEncoder
    stages: tuple[torch.Tensor, ...]
    anchor_species: np.ndarray
    anchor_cluster: np.ndarray
    neighbours: int
    link: float
    reach: float
    ordinary: float
    residual: float

    def assign(
        self, X: np.ndarray, species: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> Assignment:
        """Embed environments with descriptors (N, D) and central elements (N,), and find their clusters.

        Raises
        ------
        ValueError
            A central element was not in the training data.
        """
        species = np.asarray(species)
        states = [stage.cpu().numpy() for stage in self.stages]
        embedding = np.empty((len(X), states[-1].shape[1]), np.float32)
        cluster = np.empty(len(X), np.int64)
        score = np.empty(len(X), np.float32)
        with one_thread():  # batches are small: a second thread waits more than it works
            for first in range(0, len(X), _BATCH):
                part = slice(first, first + _BATCH)
                x, z = self.noise.transform(X[part]), species[part]
                before = nearest_anchors(x, z, states[0], self.anchor_species, self.neighbours)
                embedding[part] = self._embed(x, z, before)
                after = nearest_anchors(embedding[part], z, states[-1], self.anchor_species, 1)
                strange = self.noise.residual(X[part]) / self.residual
                near = (after.distance[:, 0] <= self.link) & (before.distance[:, 0] <= self.reach)
                known = near & (strange <= _STRANGE)
                cluster[part] = np.where(known, self.anchor_cluster[after.index[:, 0]], -1)
                score[part] = np.maximum(_farthest(before.distance) / self.ordinary, strange)
                if progress is not None:
                    progress(min(first + _BATCH, len(X)), len(X))
        return Assignment(embedding, cluster, score)

    def _embed(self, x: np.ndarray, species: np.ndarray, near: NearestAnchors) -> np.ndarray:
        where = self.stages[0].device
        with torch.no_grad():
            state = torch.from_numpy(x).to(where)
            first = edges_to(near, where)
            embedded = self.network.encode(state, species, self.stages, self.anchor_species, self.neighbours, first)[0]
            out: np.ndarray = embedded.cpu().numpy()
            return out


def fit_inductive(
    X: np.ndarray,
    species: np.ndarray,
    *,
    kernels: int,
    channels: Sequence[int],
    neighbours: int,
    anchors: int,
    gross: float | None,
    epochs: int,
    rate: float | None,
    training_rate: float | None,
    pooling: bool,
    seed: int,
    device: str,
    progress: Progress | None = None,
) -> tuple[Inductive, TrainingRecord]:
    """Choose anchors, measure the noise, train, and cluster the anchors.

    Parameters are those of :class:`mlff_curate.meagraph.model.MEAGraph`; ``rate`` None is chosen from the data,
    ``training_rate`` None is drawn at random.
    """
    rng = np.random.default_rng([seed, 0])
    plain = np.sort(rng.permutation(len(X))[: max(_NOISE_PER_ANCHOR * anchors, _LEAST_PLAIN)])
    plain = np.concatenate([_distinct(X, plain[species[plain] == z]) for z in np.unique(species[plain])])
    noise = NoiseUnits.fit(X[plain], species[plain], neighbours, gross)
    chosen, others = _choose(X, species, noise, anchors, rng)
    noise = noise.spread_over(X[chosen])
    rows = np.concatenate([chosen, others])
    where = torch.device(device)
    x = torch.from_numpy(noise.transform(X[rows])).to(where)
    z = np.asarray(species)[rows]
    held_out = slice(len(rows) - min(_HELD_OUT, len(others) // 4), len(rows))
    learnt = slice(0, held_out.start)
    anchor_x, anchor_z = x[: len(chosen)], z[: len(chosen)]
    generator = torch.Generator().manual_seed(seed)
    network = AutoEncoder((x.shape[1], *channels), kernels, generator).to(where)
    # Many small products: more threads would wait for each other, and for whatever else the machine does.
    with one_thread():
        record = train(
            network,
            anchor_x,
            anchor_z,
            x[learnt],
            z[learnt],
            x[held_out],
            z[held_out],
            neighbours=neighbours,
            epochs=epochs,
            rate=training_rate,
            pooling=pooling,
            seed=seed,
            progress=progress,
        )
        stages = calibrate(network, anchor_x, anchor_z, neighbours)[: len(channels) + 1]
    state = stages[-1].cpu().numpy()
    link = link_length(state, anchor_z) if rate is None else -float(np.log(rate))
    among = nearest_anchors(
        x[learnt].cpu().numpy(), z[learnt], anchor_x.cpu().numpy(), anchor_z, neighbours + 1
    ).distance
    model = Inductive(
        noise=noise,
        network=network,
        stages=tuple(stages),
        anchor_species=anchor_z,
        anchor_cluster=linked_clusters(state, anchor_z, link),
        neighbours=neighbours,
        link=link,
        reach=_reach(among, link),
        ordinary=_ordinary(among[: len(chosen)]),
        residual=float(np.quantile(noise.residual(X[rows[learnt]]), 0.99)) or 1.0,
    )
    return model, record


def _choose(
    X: np.ndarray, species: np.ndarray, noise: NoiseUnits, anchors: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw anchors, and others to learn from: distinct environments, every element present.

    The rare, which is what is far from the mean in noise units, is not missed.
    """
    chosen, others = [], []
    elements = np.unique(species)
    room = max(1, anchors // len(elements))
    for z in elements:
        rows = np.flatnonzero(species == z)
        rows = rows[importance_sample(noise.transform(X[rows]), _CANDIDATES, rng)[0]]
        rows = _distinct(X, rows)
        picked = importance_sample(noise.transform(X[rows]), room, rng)[0]
        chosen.append(rows[picked])
        others.append(rng.permutation(np.delete(rows, picked))[: _LEARNT_PER_ANCHOR * room])
    return np.concatenate(chosen), rng.permutation(np.concatenate(others))


def _distinct(X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    out: np.ndarray = rows[distinct_rows(X[rows])]
    return out


def _farthest(distance: np.ndarray) -> np.ndarray:
    """Return the largest finite distance of each row, (N,): that of the last neighbour that there is."""
    largest: np.ndarray = np.where(np.isfinite(distance), distance, 0.0).max(axis=1)
    return largest


def _ordinary(distance: np.ndarray) -> float:
    far = _farthest(distance[:, 1:]) if distance.shape[1] > 1 else np.zeros(0)
    far = far[far > 0]
    return float(np.median(far)) if len(far) else 1.0


def _reach(distance: np.ndarray, link: float) -> float:
    """Return twice what nearly all the data need to reach an anchor other than themselves, and the link at least."""
    other = np.where(distance[:, 0] > 0, distance[:, 0], distance[:, 1] if distance.shape[1] > 1 else 0.0)
    other = other[np.isfinite(other)]
    return max(link, _STRANGE * float(np.quantile(other, 0.99)) if len(other) else 0.0)
