"""What a selector is given and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Pool:
    """The frames to choose from, as arrays.

    Attributes
    ----------
    X
        (N, D) float32, one vector per environment, ordered by frame.
    first
        (F + 1,) where each frame's environments begin.
    group
        (F,) configuration group of each frame, as 0, 1, ...
    cluster
        (N,) cluster of each environment; -1: none.
    given
        (F,) bool, kept before anything is chosen: isolated atoms, must-keep frames, a curated set.
    eligible
        (F,) bool, may be chosen.
    asking
        (F,) bool, frames that what is kept must stand for; None: those that may be chosen. A near copy of a curated
        frame asks though it may not be chosen: what is asked for does then not depend on how much of it is there.
    detail
        (N, D2) float32, a finer description of the same environments that our own selector looks at beside X.
    same
        (F,) int, equal for frames of the same geometry; None: all differ.
    species
        (N,) central element of each environment; None: one element.
    """

    X: np.ndarray
    first: np.ndarray
    group: np.ndarray
    cluster: np.ndarray
    given: np.ndarray
    eligible: np.ndarray
    asking: np.ndarray | None = None
    detail: np.ndarray | None = None
    same: np.ndarray | None = None
    species: np.ndarray | None = None

    @property
    def views(self) -> tuple[np.ndarray, ...]:
        """All descriptions of the environments, (N, d) each."""
        return (self.X,) if self.detail is None else (self.X, self.detail)

    @property
    def frames(self) -> int:
        """F."""
        return len(self.group)

    @cached_property
    def composition(self) -> np.ndarray:
        """(F, S) share of each element among the environments of a frame."""
        if self.species is None:
            return np.ones((self.frames, 1))
        elements, element = np.unique(self.species, return_inverse=True)
        amount = np.bincount(self.owner * len(elements) + element, minlength=self.frames * len(elements))
        composition: np.ndarray = amount.reshape(self.frames, -1) / np.diff(self.first)[:, None]
        return composition

    @cached_property
    def candidates(self) -> np.ndarray:
        """Frames that may be chosen and are not given, ascending."""
        return np.flatnonzero(self.eligible & ~self.given)

    @cached_property
    def demanding(self) -> np.ndarray:
        """(F,) bool, frames that what is kept must stand for."""
        demanding: np.ndarray = self.eligible & ~self.given if self.asking is None else self.asking
        return demanding

    @cached_property
    def owner(self) -> np.ndarray:
        """(N,) frame of each environment."""
        return np.repeat(np.arange(self.frames), np.diff(self.first))

    @cached_property
    def frame_vectors(self) -> np.ndarray:
        """(F, 2 D) float32: mean and standard deviation over each frame's environments."""
        n = np.diff(self.first)[:, None]
        mean = np.add.reduceat(self.X, self.first[:-1], axis=0, dtype=np.float64) / n
        deviation = np.empty_like(mean)
        for a in range(0, self.frames, 1024):  # a float64 copy of every environment would double the memory
            b = min(a + 1024, self.frames)
            rows = slice(self.first[a], self.first[b])
            off = self.X[rows] - mean[self.owner[rows]]
            deviation[a:b] = np.sqrt(np.add.reduceat(off * off, self.first[a:b] - self.first[a], axis=0) / n[a:b])
        return np.concatenate([mean, deviation], axis=1).astype(np.float32)

    def part(self, frames: np.ndarray) -> Pool:
        """Return the pool of these frames alone, (T,) ascending, all of them eligible and none given."""
        rows = np.isin(self.owner, frames)
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[frames])])
        group = np.unique(self.group[frames], return_inverse=True)[1]
        everything = np.ones(len(frames), bool)
        return Pool(
            self.X[rows],
            first,
            group,
            self.cluster[rows],
            given=~everything,
            eligible=everything,
            detail=None if self.detail is None else self.detail[rows],
            same=None if self.same is None else self.same[frames],
            species=None if self.species is None else self.species[rows],
        )


def species_columns(X: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Append columns that set environments of different central elements apart, (N, D + S) for S > 1 elements.

    Two elements are as far apart as two random environments (``E |x - y|^2 = 2 E |x|^2`` about the mean): an
    environment then never stands for one of another element as well as one of its own would, and frames of different
    composition differ.
    """
    elements = np.unique(species)
    if len(elements) == 1:
        return X
    centred = X - X.mean(axis=0)
    size = float(np.sqrt(np.einsum("nd,nd->", centred, centred, dtype=np.float64) / len(X))) or 1.0
    return np.concatenate([X, size * (species[:, None] == elements).astype(np.float32)], axis=1, dtype=np.float32)


@dataclass(frozen=True)
class Selection:
    """Which frames a selector chose.

    Attributes
    ----------
    chosen
        (K,) frames in the order of choice, given frames not among them.
    gain
        (K,) share of the coverage that each brought; 0 where a selector has no such notion.
    coverage
        (K + 1,) coverage before the first and after each choice, in [0, 1]; nan where not measured.
    floor
        Frames needed, besides the given ones, to represent every cluster and group.
    for_floor
        (K,) bool, chosen only to represent a cluster or group.
    unrepresented
        Clusters and groups that neither given nor chosen frames represent, though frames could.
    """

    chosen: np.ndarray
    gain: np.ndarray
    coverage: np.ndarray
    floor: int = 0
    for_floor: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    unrepresented: int = 0
