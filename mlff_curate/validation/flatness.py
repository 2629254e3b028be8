"""Where a learning curve becomes flat: the fewest frames that fit as well as any larger number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.validation.learning_curve import (
    CONFIDENCE,
    CurvePoint,
    Estimate,
    LearningCurve,
    Quantity,
    chance,
    percent,
    short,
)
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARGIN = 0.05
"""By how much errors may exceed those of a larger set, in the mean, where chance might explain it: a test that sees
little calls anything flat. Settings of the fit that nobody would argue about, such as a tenfold penalty, change
held-out errors by more (up to 25 %: ``linear.ridge.RIDGE``), while a curve that falls as one over the root of the
frames falls by 16 % at every step of the ladder: 5 % lies between."""

NEGLIGIBLE = 0.02
"""An excess up to this is none, were it beyond chance: where splits agree, a test tells any set from a part of it. On a
curve that falls as one over the root of the frames, 4 % of the frames make as much."""

UNSEEN = {"energy": 1.0, "forces": 5e-3, "stress": 0.05}
"""An excess up to this is none, in meV/atom, eV/Angstrom and GPa: about what the settings of a DFT calculation leave
open in its labels. Where a fit errs by a tenth of it, no relative difference matters."""

STEP = math.sqrt(2)
"""Between neighbouring sizes of the ladder: what is kept is at most so many times what would have done."""

FEWEST = 25
"""Frames in the smallest fit of the ladder: with fewer, errors differ between splits by factors."""


def ladder(frames: int) -> tuple[float, ...]:
    """Return fractions from 1 down to about FEWEST frames in even steps of their logarithm, ascending.

    Examples
    --------
    >>> [round(100 * fraction) for fraction in ladder(100)]
    [25, 35, 50, 71, 100]
    """
    steps = math.floor(math.log(max(frames / FEWEST, 1.0), STEP) + 1e-9)
    return tuple(STEP**-k for k in range(steps, -1, -1))


@dataclass(frozen=True)
class Flat:
    """Where a learning curve becomes flat.

    Attributes
    ----------
    frames
        The fewest in a fit that no larger fit is better than; None: there is no such number below the whole pool.
    why
        One sentence, without its subject, with the numbers.
    falls
        Whether errors still fall up to all frames; else, without a number, it could not be told.
    """

    frames: int | None
    why: str
    falls: bool = False


@dataclass(frozen=True)
class _Excess:
    """How far the errors of one point are above those of a larger one, as logarithms of their ratio per split.

    Attributes
    ----------
    mean
        Over the splits.
    chance
        What it would exceed in one of twenty curves that are flat.
    """

    quantity: Quantity
    mine: CurvePoint
    other: CurvePoint
    mean: float
    chance: float

    @property
    def too_large(self) -> bool:
        mine, other = (getattr(p, self.quantity.name).group_mean.mean for p in (self.mine, self.other))
        if mine - other <= UNSEEN[self.quantity.name]:
            return False
        by_test = self.mean > max(self.chance, math.log1p(NEGLIGIBLE))
        return by_test or self.mean > math.log1p(MARGIN)

    @property
    def figures(self) -> str:
        return f"{_share(self.mean)}, chance up to {_share(self.chance)}"

    @property
    def words(self) -> str:
        q = self.quantity
        mine, other = (short(getattr(p, q.name).group_mean) for p in (self.mine, self.other))
        return f"{q.plural} {mine}, at best {other} {q.unit} with {self.other.frames} ({self.figures})"


def smallest_flat(curve: LearningCurve, selector: str) -> Flat:
    """Find the smallest choice that is as good as any larger one, the whole pool included.

    As good: for every quantity that has labels, no larger choice has lower errors by a one-sided t test of the
    logarithm of the ratio of group means, split by split, unless by no more than NEGLIGIBLE; and over none do errors
    exceed MARGIN in the mean. Differences up to UNSEEN do not count. The splits are the same for both, so that what
    they have in common cancels, which it does not between the error bars of two means. The test is at 95 % for all
    comparisons of one choice together (Bonferroni): of some twenty, with each larger choice in each quantity, one would
    else tell apart what is equal. The margin holds where the test has little to say.

    What counts is the number of frames in the fit. A share would not do: where the curve is made on a sample, the same
    share of all frames is many more, and nothing says that a set must grow with the pile it is chosen from. That no
    set larger than all training frames of the curve would be better is not tested.
    """
    points = curve.of(selector)
    known = [q for q in curve.known if _splits(points[-1], q) > 1]
    if curve.splits < 2:
        return Flat(None, "one split has no error bars")
    if not {"energy", "forces"} <= {q.name for q in known}:
        return Flat(None, "energies and forces are needed in two splits or more, and the labels have not both")
    if len(points) < 2:
        return Flat(None, "there is no smaller set in the curve to compare with")
    everything = points[-1].frames
    sample = ""
    if curve.sample_of:
        sample = (
            f"; the curve is of a sample of the {curve.sample_of} usable frames: what counts is the number of frames "
            f"in the fits, not their share, and more than {everything} were not tried"
        )
    smaller: _Excess | None = None
    for i, point in enumerate(points[:-1]):
        larger = points[i + 1 :]
        tests = len(larger) * len(known)
        excesses = [_largest(_excess(point, other, q, tests) for other in larger) for q in known]
        failed = [e for e in excesses if e.too_large]
        if failed:
            smaller = _largest(failed)
            continue
        before = ""
        if smaller is not None:
            before = (
                f"; with {smaller.mine.frames}, {smaller.quantity.plural} are {_share(smaller.mean)} from those with "
                f"{smaller.other.frames} (chance up to {_share(smaller.chance)})"
            )
        return Flat(
            point.frames,
            f"with {counted(point.frames, 'frame')} in the fits ({percent(point.fraction)}) no larger number, up to "
            f"all {everything}, is better by more than {100 * NEGLIGIBLE:g} % and chance, or than {100 * MARGIN:g} %, "
            f"where that is more than {_unseen(known)}: "
            f"{'; '.join(e.words for e in excesses)}{before}{sample}",
        )
    last = [_excess(points[-2], points[-1], q, len(known)) for q in known]
    parts = [
        f"{e.quantity.plural} {short(getattr(e.mine, e.quantity.name).group_mean)} and "
        f"{short(getattr(e.other, e.quantity.name).group_mean)} {e.quantity.unit} ({e.figures})"
        for e in last
    ]
    return Flat(
        None,
        f"held-out errors still fall up to all {everything} frames; with {points[-2].frames} and with all: "
        f"{'; '.join(parts)}{sample}",
        falls=True,
    )


def _excess(mine: CurvePoint, other: CurvePoint, q: Quantity, tests: int) -> _Excess:
    """Compare two points, as one of so many tests."""
    ratio = _logs(mine, q) - _logs(other, q)
    return _Excess(q, mine, other, Estimate.of(ratio).mean, chance(ratio, 1.0 - (1.0 - CONFIDENCE) / tests))


def _logs(point: CurvePoint, q: Quantity) -> np.ndarray:
    errors: np.ndarray = np.maximum(np.array(getattr(point, q.name).by_split), np.finfo(float).tiny)
    return np.asarray(np.log(errors))


def _splits(point: CurvePoint, q: Quantity) -> int:
    return int(np.isfinite(_logs(point, q)).sum())


def _largest(excesses: Iterable[_Excess]) -> _Excess:
    """Return the one that speaks most against the smaller set: too large before not, then by its mean."""
    return max(excesses, key=lambda e: (e.too_large, e.mean))


def _unseen(known: Sequence[Quantity]) -> str:
    amounts = [f"{UNSEEN[q.name]:g} {q.unit}" for q in known]
    return f"{', '.join(amounts[:-1])} or {amounts[-1]}"


def _share(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.1f} %"
