"""Learning curves on a page: figures and tables, in the report of `prune --prove` and on a page of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.report.parts import PALETTE, axis, layout, numbers, plot_text, render_page
from mlff_curate.report.run import RunReport
from mlff_curate.report.tables import Table, error_table, verdict_table
from mlff_curate.validation.learning_curve import ALL, Estimate, LearningCurve, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEFT, _RIGHT = (0.0, 0.45), (0.55, 1.0)
_THIRDS = ((0.0, 0.27), (0.365, 0.635), (0.73, 1.0))
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
_VARIETY = (("entropy", "entropy (nats)"), ("diversity", "diversity (nats)"), ("coverage", "coverage (fraction)"))
_TABLES = {"group_mean": "Mean over groups", "pooled": "All held-out frames pooled", "worst": "Worst group"}
_VARIETY_TEXT = (
    "Entropy: how evenly the environments in the fit are spread, 0 if all are the same. Diversity: the logarithm of "
    "the number of different ones. Coverage: the share of all environments that could be kept that have one in the fit "
    "nearer than the kernel's bandwidth; the selector of this name counts otherwise."
)


@dataclass(frozen=True)
class CurveReport(RunReport):
    """Everything that the page of a learning curve shows, besides what all pages say.

    Attributes
    ----------
    curve
        What was measured.
    """

    curve: LearningCurve


@dataclass(frozen=True)
class CurveTables:
    """What the section says besides its sentences: (place, title, text) of each figure, (title, table)."""

    figures: tuple[tuple[str, str, str], ...]
    tables: tuple[tuple[str, Table], ...]


def render_curve(report: CurveReport) -> str:
    """Return the page of a learning curve as HTML; see :func:`mlff_curate.report.parts.render_page`."""
    return render_page(
        "learning_curve.html.j2",
        report,
        curve_figures(report.curve),
        curve=report.curve,
        curve_tables=curve_tables(report.curve),
    )


def curve_tables(curve: LearningCurve) -> CurveTables:
    """Return what stands around the figures."""
    figures = [(f"curve-{q.name}", f"Held-out {q.plural}", "") for q in curve.known]
    tables = [(title, error_table(curve, which)) for which, title in _TABLES.items()]
    if curve.verdicts:
        tables.insert(0, ("Against random: error over random's, mean over groups", verdict_table(curve)))
    return CurveTables((*figures, ("curve-variety", "What is in the fits", _VARIETY_TEXT)), tuple(tables))


def curve_figures(curve: LearningCurve) -> dict[str, Any]:
    """Return the figures by place: errors of each quantity, then variety and coverage."""
    figures = {}
    for q in curve.known:
        left = _lines(curve, [[getattr(p, q.name).group_mean for p in curve.of(s)] for s in curve.selectors], 1)
        right = _lines(curve, [[getattr(p, q.name).worst for p in curve.of(s)] for s in curve.selectors], 2)
        figures[f"curve-{q.name}"] = {
            "data": left + right,
            "layout": layout(
                380,
                xaxis=_frames_axis(curve, _LEFT, "y"),
                xaxis2=_frames_axis(curve, _RIGHT, "y2"),
                yaxis=axis(f"mean over groups, MAE ({q.unit})", type="log", **_ticks(left)),
                yaxis2=axis(f"worst group, MAE ({q.unit})", anchor="x2", type="log", **_ticks(right)),
            ),
        }
    data, axes = [], {}
    for k, (name, title) in enumerate(_VARIETY, start=1):
        suffix = "" if k == 1 else str(k)
        data += _lines(curve, [[getattr(p, name) for p in curve.of(s)] for s in curve.selectors], k)
        axes[f"xaxis{suffix}"] = _frames_axis(curve, _THIRDS[k - 1], f"y{suffix}")
        limits = {"range": [0, 1.04]} if name == "coverage" else {}
        axes[f"yaxis{suffix}"] = axis(title, anchor=f"x{suffix}", **limits)
    figures["curve-variety"] = {"data": data, "layout": layout(340, **axes)}
    return figures


def _ticks(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the range of a log axis with the numbers 1, 2, 5, 10 ... written out: plotly would drop their zeros."""
    values = [v for line in lines for v in line["y"] if v]
    bars = [v + e for line in lines for v, e in zip(line["y"], line["error_y"]["array"], strict=True) if v]
    if not values:
        return {}
    low, high = 0.7 * min(values), 1.2 * max(bars)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # over many decades, one number for each is enough
    steps = (1, 2, 5) if high < 300 * low else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    shown = [t for t in ticks if low <= t <= high]
    return {
        "tickvals": shown,
        "ticktext": [f"{t:g}" for t in shown],
        "range": [round(math.log10(low), 4), round(math.log10(high), 4)],
    }


def _frames_axis(curve: LearningCurve, domain: tuple[float, float], anchor: str) -> dict[str, Any]:
    ticks = sorted({p.frames for p in curve.points})
    # on the log axis numbers nearer than this would be printed over each other
    shown = [t for i, t in enumerate(ticks) if i == len(ticks) - 1 or ticks[-1] / t > 1.3]
    shown = [t for i, t in enumerate(shown) if i == 0 or i == len(shown) - 1 or t / shown[i - 1] > 1.3]
    return axis("frames in the fit (number, log scale)", type="log", tickvals=shown, domain=list(domain), anchor=anchor)


def _lines(curve: LearningCurve, values: Sequence[Sequence[Estimate]], place: int) -> list[dict[str, Any]]:
    """Return a line with error bars per selector, all ending at the whole pool, in the place-th pair of axes."""
    suffix = "" if place == 1 else str(place)
    lines = []
    for i, (selector, estimates) in enumerate(zip(curve.selectors, values, strict=True)):
        frames = [p.frames for p in curve.of(selector)]
        error = np.nan_to_num(np.array([e.error for e in estimates]))
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": plot_text(selector),
                "legendgroup": str(i),
                "showlegend": place == 1,
                "x": frames,
                "y": numbers(np.array([e.mean for e in estimates])),
                "error_y": {"type": "data", "array": numbers(error), "thickness": 1.3, "width": 4},
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "line": {"color": PALETTE[i % len(PALETTE)], "width": 2},
                "marker": {"symbol": _MARKERS[i % len(_MARKERS)], "size": 8},
                "text": [percent(p.fraction) + (f" ({ALL})" if p.selector == ALL else "") for p in curve.of(selector)],
                "hovertemplate": "%{text}, %{x} frames: %{y:.4g}<extra>%{fullData.name}</extra>",
            }
        )
    return lines
