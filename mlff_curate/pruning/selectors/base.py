"""What all selectors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mlff_curate.errors import UsageError
from mlff_curate.parameters import Parameters
from mlff_curate.pruning.problem import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from mlff_curate.pruning.problem import Pool

    Progress = Callable[[int, int, str], None]

_STREAM = 2
"""Which of the seed's random streams is the selectors': 1 draws the scaling's sample, 3 the map of the report."""


@dataclass(eq=False, repr=False)
class Selector(Parameters, ABC):
    """Choose frames from a pool, in scikit-learn's manners.

    Parameters are kept as given and looked at by :meth:`fit`; what :meth:`fit` found ends in an underscore.

    Parameters
    ----------
    count
        Frames to choose besides the given ones, fewer where there are not so many; None: as many as it takes, which
        not every selector can tell.
    seed
        Of every random choice.

    Attributes
    ----------
    selection_
        The :class:`Selection`, once fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from mlff_curate.pruning.problem import Pool
    >>> from mlff_curate.pruning.selectors import SELECTORS
    >>> no, yes = np.zeros(3, bool), np.ones(3, bool)
    >>> X = np.array([[0.0], [0.1], [5.0]], np.float32)  # three frames of one environment each
    >>> pool = Pool(X, first=np.arange(4), group=np.zeros(3, int), cluster=np.array([0, 0, 1]), given=no, eligible=yes)
    >>> SELECTORS["coverage"](2).fit(pool).chosen_
    array([1, 2])
    """

    name: ClassVar[str]

    count: int | None = None
    seed: int = field(default=0, kw_only=True)
    selection_: Selection = field(init=False)

    def fit(self, pool: Pool, progress: Progress | None = None) -> Self:
        """Choose, and return itself.

        Parameters
        ----------
        pool
            The frames.
        progress
            Called with frames chosen, frames to choose, and a word on the state.

        Raises
        ------
        UsageError
            A parameter has a value that no pool could make right.
        """
        if self.count is not None and (self.count != int(self.count) or self.count < 0):
            raise UsageError(f"count must be a number of frames from 0 on, or None, got {self.count}")
        if self.seed < 0:
            raise UsageError(f"must be a whole number from 0 on, got {self.seed}", key="--seed")
        self.selection_ = self._select(pool, np.random.default_rng([self.seed, _STREAM]), progress or (lambda *_: None))
        return self

    @property
    def chosen_(self) -> np.ndarray:
        """(K,) frames in the order of choice, given frames not among them."""
        return self.selection_.chosen

    @abstractmethod
    def _select(self, pool: Pool, rng: np.random.Generator, progress: Progress) -> Selection:
        """Return the selection from a pool."""


class CountedSelector(Selector):
    """A selector that has to be told how many frames to choose."""

    def _select(self, pool: Pool, rng: np.random.Generator, progress: Progress) -> Selection:
        if self.count is None:
            raise UsageError(f"auto needs --selector coverage: {self.name} cannot tell when it is enough", key="--keep")
        limit = min(self.count, len(pool.candidates))
        chosen = self._choose(pool, limit, rng, progress)
        return Selection(chosen, np.zeros(len(chosen)), np.full(len(chosen) + 1, np.nan))

    @abstractmethod
    def _choose(self, pool: Pool, limit: int, rng: np.random.Generator, progress: Progress) -> np.ndarray:
        """Return (limit,) candidates of the pool in the order of choice."""
