"""Held-out errors as tables of text, for a page and for the screen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.validation.learning_curve import percent, short

if TYPE_CHECKING:
    from mlff_curate.validation.learning_curve import Estimate, HeldOutError, LearningCurve

_DECIMALS = {"entropy": 2, "diversity": 2, "coverage": 3}
"""On the screen, of what comes with the mean over groups."""
_SCREEN_TITLES = {"group_mean": "mean over groups", "pooled": "all frames pooled", "worst": "worst group"}


@dataclass(frozen=True)
class Table:
    """A table of text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def error_table(curve: LearningCurve, which: str, *, screen: bool = False) -> Table:
    """Return held-out errors, a row per selector and fraction.

    Parameters
    ----------
    which
        ``group_mean``, which comes with variety and coverage, ``pooled`` or ``worst``.
    screen
        In fewer words: short heads, and variety and coverage without errors.
    """
    variety = tuple(_DECIMALS) if which == "group_mean" else ()
    if screen:
        heads = [_SCREEN_TITLES[which], "kept", "frames", *(f"{q.name}, {q.unit}" for q in curve.known), *variety]
    else:
        errors = (f"{q.name.capitalize()} MAE ({q.unit})" for q in curve.known)
        heads = ["Frames chosen", "Share", "Frames in the fit", *errors, *map(str.capitalize, variety)]
    rows = [
        (
            p.selector,
            percent(p.fraction),
            str(p.frames),
            *(_error(getattr(p, q.name), which) for q in curve.known),
            *(_variety(getattr(p, name), _DECIMALS[name] if screen else None) for name in variety),
        )
        for p in curve.points
    ]
    return Table(tuple(heads), tuple(rows))


def verdict_table(curve: LearningCurve, *, screen: bool = False) -> Table:
    """Return how each selector fares against random, a row per selector and fraction.

    Behind each word (see :class:`Verdict`) stands the selector's error over random's, mean over groups: its geometric
    mean over splits and the interval that holds it at 95 %.
    """
    heads = ["against random" if screen else "Against random", "kept" if screen else "Share"]
    heads += ["frames" if screen else "Frames in the fit"]
    names = list(dict.fromkeys(v.quantity for v in curve.verdicts))
    rows: dict[tuple[str, float], list[str]] = {}
    for v in curve.verdicts:
        # not every fraction need have all: a label that is rare may not be held out in two splits
        blank = [v.selector, percent(v.fraction), str(v.frames), *[""] * len(names)]
        row = rows.setdefault((v.selector, v.fraction), blank)
        low, high = v.ratio
        between = f" ({low:.3g} to {high:.3g})" if math.isfinite(low) and math.isfinite(high) else ""
        row[3 + names.index(v.quantity)] = f"{v.word}, x {math.exp(-v.gain.mean):.3g}{between}"
    return Table((*heads, *(name if screen else name.capitalize() for name in names)), tuple(map(tuple, rows.values())))


def table_lines(curve: LearningCurve, which: str) -> list[str]:
    """Return :func:`error_table`, or :func:`verdict_table` for ``verdicts``, as lines for the screen."""
    table = verdict_table(curve, screen=True) if which == "verdicts" else error_table(curve, which, screen=True)
    if not table.rows:
        return []
    rows = [table.heads, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _error(error: HeldOutError, which: str) -> str:
    return short(getattr(error, which)) + (f" {error.worst_group}" if which == "worst" else "")


def _variety(value: Estimate, decimals: int | None) -> str:
    return short(value) if decimals is None else f"{value.mean:.{decimals}f}"
