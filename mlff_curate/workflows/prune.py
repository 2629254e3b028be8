"""``prune``: a pile of frames to the few that are worth keeping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.errors import UsageError
from mlff_curate.pruning.budget import Budget
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.workflows.decide import PruneResult, decide, is_automatic, require_budget, select
from mlff_curate.workflows.survey import (
    Pile,
    Progress,
    Stages,
    SurveyOptions,
    read_pile,
    require_known,
    require_survey_options,
    survey,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["PruneOptions", "PruneResult", "prune"]


@dataclass(frozen=True, kw_only=True)
class PruneOptions(SurveyOptions):
    """What may be asked of ``prune``; the defaults are the command line's.

    Attributes
    ----------
    keep
        An int is a count, a float a fraction of all input frames, as on the command line; ``"auto"`` finds the knee of
        the coverage and represents every cluster. With ``against`` it counts new frames.
    selector
        One of ``SELECTORS``.

    The others are those of :class:`SurveyOptions`.
    """

    keep: str | float = "auto"
    selector: str = "coverage"


def prune(
    inputs: str | Path | Iterable[str | Path],
    options: PruneOptions | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> PruneResult:
    """Decide which frames to keep; nothing is written (see :func:`mlff_curate.workflows.prune_files.prune_files`).

    Parameters
    ----------
    inputs
        File or files, extxyz or anything that ASE reads.
    options
        See :class:`PruneOptions`; single options can be given by name as well, ``prune("md.extxyz", keep=0.2)``.
    progress
        Called with stage, steps done, steps in all (None: unknown) and a word on the state.

    Raises
    ------
    CurateError
        Data that cannot be read or make no sense, a budget that cannot be met, or an option out of range.
    """
    o = replace(options or PruneOptions(), **changes)
    budget = require_options(o)
    surveyed = survey(pile_within(budget, inputs, o, progress), o, progress)
    clock = Stages()
    with clock("select"):
        selection = select(surveyed, budget, o.selector, o.seed, progress)
        result = decide(surveyed, selection, budget, o.seed)
    result.seconds.update(clock.seconds)
    return result


def pile_within(
    budget: Budget, inputs: str | Path | Iterable[str | Path], o: SurveyOptions, progress: Progress | None = None
) -> Pile:
    """Read files; a budget that they cannot meet is refused before the work.

    Raises
    ------
    CurateError
        As :func:`prune`.
    """
    pile = read_pile(inputs, o, progress)
    require_budget(budget, pile)
    return pile


def require_options(o: PruneOptions) -> Budget:
    """Check what can be checked before any file is read, and return the budget.

    Raises
    ------
    UsageError
        An option has a value that no data could make right.
    """
    budget = Budget.parse(_keep_text(o.keep))
    require_known(o.selector, SELECTORS, "--selector")
    require_survey_options(o)
    if o.selector != "coverage" and is_automatic(budget):
        raise UsageError(f"auto needs --selector coverage: {o.selector} cannot tell when it is enough", key="--keep")
    return budget


def _keep_text(keep: str | float) -> str:
    """Return a budget as it would be typed: a float keeps its point, and has no exponent."""
    return np.format_float_positional(keep, trim="0") if isinstance(keep, float) else str(keep)
