"""The proof of ``prune --prove``: the learning curve of a pruning, and how many frames it asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.validation.flatness import ladder, smallest_flat
from mlff_curate.validation.learning_curve import FRACTIONS, RANDOM, LearningCurve
from mlff_curate.validation.splitting import TooFewFramesError, usable_frames
from mlff_curate.wording import counted
from mlff_curate.workflows.decide import PruneResult, decide, is_automatic, select
from mlff_curate.workflows.learning_curve import CurveOptions, LabelledFrames, curve_of
from mlff_curate.workflows.survey import Stages, Survey

if TYPE_CHECKING:
    from mlff_curate.pruning.budget import Budget
    from mlff_curate.pruning.problem import Selection
    from mlff_curate.workflows.prune import PruneOptions
    from mlff_curate.workflows.survey import Progress


@dataclass(frozen=True)
class Proved:
    """A pruning that was tested.

    Attributes
    ----------
    result
        With ``keep="auto"`` of the count that the labels ask for.
    curve
        None: too few labels, and the count was left to us; or nothing is kept.
    """

    result: PruneResult
    curve: LearningCurve | None


def prove_pruning(
    surveyed: Survey,
    labelled: LabelledFrames,
    budget: Budget,
    options: PruneOptions,
    progress: Progress | None = None,
) -> Proved:
    """Prune and make the learning curve of it; with ``keep="auto"`` keep as many frames as make it flat.

    Parameters
    ----------
    surveyed
        What the frames are to each other.
    labelled
        The frames of the inputs that were surveyed, in their order.
    budget
        How many to keep.
    options
        The selector, the seed, and whether there are curated frames.
    progress
        Told how far the work is.

    Raises
    ------
    DataError
        Too few labels for a count that the user gave.
    """
    clock = Stages()
    with clock("select"):
        selection = select(surveyed, budget, options.selector, options.seed, progress)
    kept = int(surveyed.pile.mandatory.sum()) + len(selection.chosen)
    with clock("prove"):
        curve, notes = _curve_of_pruning(surveyed, labelled, kept, budget, options, progress)
    with clock("select"):
        if curve is not None and is_automatic(budget):
            asked, fitted = _asked_for(curve, kept, selection, surveyed, options), _fitted(surveyed, labelled)
            if asked.count is not None:
                budget = replace(budget, count=asked.count)
                budget, selection = _enough(surveyed, fitted, asked.fitted, budget, options, progress)
            frames = _kept(surveyed, selection)
            notes.append(asked.note(int(frames.sum())))
            notes += _note_on_unfitted(int((frames & ~fitted).sum()))
        result = decide(surveyed, selection, budget, options.seed, notes)
    result.seconds.update(clock.seconds)
    return Proved(result, curve)


def _curve_of_pruning(
    surveyed: Survey,
    labelled: LabelledFrames,
    kept: int,
    budget: Budget,
    options: PruneOptions,
    progress: Progress | None,
) -> tuple[LearningCurve | None, list[str]]:
    """Return the curve with the number of kept frames on it, and what to say."""
    if kept == 0:
        return None, ["--prove: no frame is kept, so there is nothing to prove"]
    notes = []
    if options.against and not is_automatic(budget):  # which has a sentence of its own on it
        notes = ["--prove: the curve does not know the curated frames: its fits are to frames of the inputs alone"]

    def fractions(training: int) -> tuple[float, ...]:
        """As many frames as are kept, where so many can be trained on, among others."""
        own = min(kept / training, 1.0)
        others = ladder(training) if is_automatic(budget) and not options.against else FRACTIONS
        return tuple(sorted({own, *(f for f in others if abs(f - own) * training >= 0.5)}))

    settings = CurveOptions(selectors=tuple(dict.fromkeys((options.selector, RANDOM))))
    try:
        curve = curve_of(surveyed, labelled, settings, options.seed, progress, fractions=fractions)
    except TooFewFramesError as error:
        if not is_automatic(budget):
            raise
        return None, [f"--prove: {error.message}; --keep auto stays at the knee"]
    most = curve.points[-1].frames
    if kept > most:
        notes.append(f"--prove: {counted(kept, 'frame')} are kept, but a fit has at most {most} to train on")
    return curve, notes


@dataclass(frozen=True)
class _Asked:
    """What the labels ask ``auto`` to keep.

    Attributes
    ----------
    count
        At least so many frames; None: the knee.
    fitted
        So many of them of a kind that fits can use: the curve counts no others.
    how, why
        ``--keep auto`` and what it does, before and after the number.
    """

    count: int | None
    fitted: int
    how: str
    why: str

    def note(self, kept: int) -> str:
        """Return the sentence for the user."""
        number = "" if self.count is None else f" {counted(kept, 'frame')}"
        return f"{self.how}{number}{self.why}"


def _asked_for(
    curve: LearningCurve, kept: int, selection: Selection, surveyed: Survey, options: PruneOptions
) -> _Asked:
    """Look where the curve is flat.

    Where errors still fall up to all frames, no smaller set trains the same force field, and all are kept; repeats of
    a geometry are not.
    """
    knee = "--keep auto stays at the knee of the coverage"
    if options.against:
        return _Asked(None, 0, knee, ": the curve does not know the curated frames")
    flat = smallest_flat(curve, options.selector)
    if flat.frames is None and not flat.falls:
        return _Asked(None, 0, knee, f": {flat.why}")
    if flat.frames is None and curve.sample_of:
        most = curve.points[-1].frames
        return _Asked(
            max(kept, most), most, "--prove: --keep auto keeps", f", as many as the largest fit had: {flat.why}"
        )
    if flat.frames is None:
        pool, mandatory = surveyed.pool, int(surveyed.pile.mandatory.sum())
        same = np.arange(pool.frames) if pool.same is None else pool.same
        differ = len(np.setdiff1d(same[pool.eligible], same[pool.given]))
        return _Asked(mandatory + differ, 0, "--prove: --keep auto keeps all", f" that differ: {flat.why}")
    count = max(flat.frames, kept - len(selection.chosen) + selection.floor)
    raised = f"; raised from {flat.frames}, too few for what must be kept and for every cluster and group"
    why = f"{raised if count > flat.frames else ''}: {flat.why}"
    return _Asked(count, flat.frames, "--prove: --keep auto stopped at", why)


def _fitted(surveyed: Survey, labelled: LabelledFrames) -> np.ndarray:
    """Return (F,) bool, the frames that fits can use: with labels, not extreme, not rejected."""
    place = np.flatnonzero(~surveyed.pile.flags("rejected") & ~surveyed.pile.flags("curated"))
    usable, _ = usable_frames([labelled.frames[i] for i in place], [labelled.labels[i] for i in place])
    fitted = np.zeros(len(surveyed.pile.records), bool)
    fitted[place[usable]] = True
    return fitted


def _kept(surveyed: Survey, selection: Selection) -> np.ndarray:
    """Return (F,) bool, the frames of the inputs that are kept."""
    kept = surveyed.pile.mandatory.copy()
    kept[selection.chosen] = True
    return kept


def _enough(
    surveyed: Survey,
    fitted: np.ndarray,
    wanted: int,
    budget: Budget,
    options: PruneOptions,
    progress: Progress | None,
) -> tuple[Budget, Selection]:
    """Raise a count until so many of the kept frames are fitted ones, (F,) bool, as far as there are.

    A selector takes extreme frames first, and would else leave fewer than made the curve flat.
    """
    available = surveyed.pile.mandatory | surveyed.pool.eligible
    wanted, most = min(wanted, int((fitted & available).sum())), int(available.sum())
    while True:
        selection = select(surveyed, budget, options.selector, options.seed, progress)
        short = wanted - int((_kept(surveyed, selection) & fitted).sum())
        count = min((budget.count or 0) + short, most)
        if short <= 0 or count == budget.count:
            return budget, selection
        budget = replace(budget, count=count)


def _note_on_unfitted(unfitted: int) -> list[str]:
    """Say how many kept frames no fit of the curve can use."""
    if not unfitted:
        return []
    frames = counted(unfitted, "kept frame")
    return [f"--prove: {frames} of a kind that the fits set aside (extreme, or without labels): the curve counts none"]
