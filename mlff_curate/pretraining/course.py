"""Which frames an encoder learns from in which step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MOST_STEPS = 1000
"""Of an epoch, so that a large pile is looked at and its training told of before all of it was gone through."""


@dataclass(frozen=True, eq=False)
class Course:
    """Batches of frames, in an order drawn anew each time that all were gone through.

    Attributes
    ----------
    training
        Indices of the frames to learn from.
    batch_size
        Frames per step, at most.
    seed
        Of their order.
    per_epoch, epochs
        Steps of an epoch, and epochs.
    """

    training: np.ndarray
    batch_size: int
    seed: int
    per_epoch: int
    epochs: int

    @classmethod
    def of_steps(cls, training: np.ndarray, batch_size: int, seed: int, steps: int) -> Course:
        """Return one of so many steps: exactly, if they end before all frames are gone through; else a few more."""
        whole = math.ceil(len(training) / batch_size)
        if steps < whole:
            per_epoch = math.ceil(steps / math.ceil(steps / _MOST_STEPS))
        else:
            per_epoch = whole // math.ceil(whole / _MOST_STEPS)
        return cls(training, batch_size, seed, per_epoch, math.ceil(steps / per_epoch))

    @classmethod
    def of_epochs(cls, training: np.ndarray, batch_size: int, seed: int, epochs: int) -> Course:
        """Return one of so many epochs, each of which goes through all frames."""
        return cls(training, batch_size, seed, math.ceil(len(training) / batch_size), epochs)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.per_epoch * self.epochs

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the frames of each step of an epoch, counted from 1.

        Epochs that have not steps enough for all frames share them; the few that are left over are left out this time.
        """
        whole = math.ceil(len(self.training) / self.batch_size)
        times, part = divmod(epoch - 1, whole // self.per_epoch)
        order = np.random.default_rng([self.seed, 2, times + 1]).permutation(self.training)
        return np.array_split(order, whole)[part * self.per_epoch : (part + 1) * self.per_epoch]

    def drawn(self, epochs: int) -> np.ndarray:
        """Return the frames of the first so many epochs, ascending."""
        found = np.empty(0, np.int64)
        for epoch in range(1, epochs + 1):
            found = np.union1d(found, np.concatenate(self.batches(epoch)))
            if len(found) == len(self.training):
                break
        return found
