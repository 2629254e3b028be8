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
    def of(cls, training: np.ndarray, batch_size: int, seed: int, *, steps: int, passes: int | None) -> Course:
        """Return one of so many steps, or of so many passes through all frames in place of them.

        An epoch is a pass, and the last is run to its end. Where a pass has more than 1 000 steps, or more than there
        are to be, epochs have 1 000 steps at most, and all together as many as are asked for, or one more each.
        """
        whole = math.ceil(len(training) / batch_size)
        wanted = steps if passes is None else passes * whole
        if whole <= min(wanted, _MOST_STEPS):
            return cls(training, batch_size, seed, whole, math.ceil(wanted / whole))
        epochs = math.ceil(wanted / _MOST_STEPS)
        return cls(training, batch_size, seed, math.ceil(wanted / epochs), epochs)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.per_epoch * self.epochs

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the frames of each step of an epoch, counted from 1; it goes on where the one before it ended."""
        places = [divmod(step, self._whole) for step in range((epoch - 1) * self.per_epoch, epoch * self.per_epoch)]
        passes = {which: self._pass(which) for which in {which for which, _ in places}}
        return [passes[which][place] for which, place in places]

    def drawn(self, epochs: int) -> np.ndarray:
        """Return the frames of the first so many epochs, ascending."""
        steps = epochs * self.per_epoch
        return np.sort(np.concatenate(self._pass(0)[:steps])) if steps else self.training[:0]

    @property
    def _whole(self) -> int:
        """Steps that go through all frames."""
        return math.ceil(len(self.training) / self.batch_size)

    def _pass(self, which: int) -> list[np.ndarray]:
        order = np.random.default_rng([self.seed, 2, which + 1]).permutation(self.training)
        return np.array_split(order, self._whole)
