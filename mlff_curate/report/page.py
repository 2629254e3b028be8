"""The report of `prune` as one HTML page that works from a file, without any network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.report.curve import curve_figures, curve_tables
from mlff_curate.report.model import GroupCounts
from mlff_curate.report.parts import PALETTE, axis, layout, numbers, plot_text, render_page
from mlff_curate.wording import counted, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlff_curate.report.model import PruneReport, ReasonCount

KEPT, REJECTED, GREY = PALETTE[0], PALETTE[3], "#949494"
MAX_ROWS = 50
MAX_NAME = 40
MANY_CLUSTERS = 200


def render(report: PruneReport) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    report
        What to show.

    Returns
    -------
    str
        The page: a function of the report and of the installed plotly alone, and always fit for UTF-8.
    """
    figures = {}
    if len(report.map_xy):
        figures["map"] = _map_figure(report)
    if len(report.cluster_sizes):
        figures["clusters"] = _cluster_figure(report)
    if len(report.curve_frames):
        figures["coverage"] = _coverage_figure(report)

    if report.proof is not None:
        figures |= curve_figures(report.proof)
    return render_page(
        "page.html.j2",
        report,
        figures,
        headline=_headline(report),
        labels_text=_labels_text(report.labels),
        groups=_group_table(report.groups),
        reasons=_reason_table(report.reasons),
        map_text=_map_text(report) if "map" in figures else "",
        cluster_text=_cluster_text(report),
        distance_text=_distance_text(report),
        coverage_text=_coverage_text(report),
        curve=report.proof,
        curve_tables=curve_tables(report.proof) if report.proof is not None else (),
    )


# --- words and numbers -------------------------------------------------------------------------------------------


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}\N{NO-BREAK SPACE}%" if whole else "no share"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _headline(report: PruneReport) -> str:
    total = _sum_groups("all", report.groups)
    share = f" ({_percent(total.kept, total.frames)})" if total.frames else ""
    return (
        f"{total.kept} of {counted(total.frames, 'frame')} kept{share}, {total.dropped} dropped, "
        f"{total.rejected} rejected; {counted(report.environments, 'environment')} in "
        f"{counted(len(report.cluster_sizes), 'cluster')}, {counted(report.outliers, 'outlier')}"
    )


def _labels_text(labels: Mapping[str, int]) -> str:
    if not labels:
        return "The frames carry no labels."
    return "Labels: " + ", ".join(f"{key} on {counted(n, 'frame')}" for key, n in labels.items()) + "."


def _map_text(report: PruneReport) -> str:
    P, N = len(report.map_xy), report.environments
    shown = (
        f"A sample of {P} of the {counted(N, 'environment')}."
        if P < N
        else f"All {counted(N, 'environment')}."
        if N != 1
        else "The one environment."
    )
    elsewhere = (
        "" if report.distances_in == "meagraph" else f" Distances are measured in {spelled(report.distances_in)}."
    )
    return (
        f"{shown} Each point is one atom with its neighbours; points close to each other are similar. "
        f"Filled: in a kept frame; open: in a frame that was not kept. The map shows two axes of MEAGraph's embedding, "
        f"which clusters come from, in units of the thermal noise.{elsewhere}{_outside_text(report)}"
    )


def _outside_text(report: PruneReport) -> str:
    (left, right), (bottom, top) = (_window(report.map_xy[:, k]) for k in (0, 1))
    x, y = report.map_xy.T
    outside = int(np.count_nonzero((x < left) | (x > right) | (y < bottom) | (y > top)))
    if outside == 0:
        return ""
    verb = "lies" if outside == 1 else "lie"
    return f" {counted(outside, 'point')} far from the rest {verb} outside this view; double-click it to see all."


def _window(values: np.ndarray) -> tuple[float, float]:
    """Return the range to begin with: all values, but for those far outside where nearly all of them are."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return -1.0, 1.0
    low, high = np.quantile(values, [0.01, 0.99])
    margin = 0.5 * (high - low) or 1.0
    return float(max(low - margin, values.min() - 0.1 * margin)), float(min(high + margin, values.max() + 0.1 * margin))


def _cluster_text(report: PruneReport) -> str:
    return f"{_seen_text(report)}{_outlier_text(report)}"


def _outlier_text(report: PruneReport) -> str:
    n, inside = report.outliers, report.outliers_kept
    if n == 0:
        return ""
    return (
        f" {counted(n, 'outlier')}, in no cluster: {inside} in kept frames, {n - inside} in frames not kept. Only "
        "clusters and groups are sure of a kept frame, and only where the budget allows."
    )


def _seen_text(report: PruneReport) -> str:
    C = len(report.cluster_sizes)
    if not C:
        return "There are no clusters."
    unseen = int(np.count_nonzero(np.asarray(report.cluster_kept) == 0))
    if unseen == 0:
        seen = "It has" if C == 1 else "Each has"
        return f"{counted(C, 'cluster')}. {seen} at least one environment in a kept frame."
    if unseen == C:
        none = "It has no" if C == 1 else "None has an"
        return f"{counted(C, 'cluster')}. {none} environment in a kept frame."
    verb = "has" if unseen == 1 else "have"
    return f"{counted(C, 'cluster')}, of which {unseen} {verb} no environment in a kept frame."


def _coverage_text(report: PruneReport) -> str:
    needed = "is" if report.floor == 1 else "are"
    kept = "is" if report.chosen == 1 else "are"
    fewer = ", which is fewer" if report.chosen < report.floor else ""
    needs = f"{counted(report.floor, 'frame')} {needed} needed to represent every cluster and group"
    parts = [f"{needs}; {counted(report.chosen, 'frame')} {kept} kept{fewer}."]
    at = _coverage_at(report, report.chosen)
    if at is not None:
        about = "" if np.any(np.asarray(report.curve_frames) == report.chosen) else "about "
        share = "above 0.999" if 0.9995 <= at < 1 else f"{about}{at:.3f}"
        parts.append(f"Coverage at {counted(report.chosen, 'kept frame')}: {share}.")
    if len(report.curve_frames):
        parts.append(
            "Coverage is the share of what all frames would tell a model about energies and forces that the kept ones "
            "tell. It is worked out from the environments alone, for a Gaussian process; no label plays a part in it. "
            "Where it levels out, the errors of a force field may still fall."
        )
    else:
        parts.append("No coverage curve was computed.")
    return " ".join(parts)


def _distance_text(report: PruneReport) -> str:
    if report.uncovered is None:
        return ""
    far = (
        f" The farthest environment of a frame not kept is {report.farthest:.3g} from the nearest kept one."
        if report.farthest is not None and math.isfinite(report.farthest)
        else ""
    )
    return (
        f"Distances are measured in {spelled(report.distances_in)}, in units of the root-mean-square distance of "
        f"environments from their mean. Uncovered share: {report.uncovered:.3g}, the mean square distance of "
        f"environments to the nearest kept one.{far} The manifest has them frame by frame."
    )


def _coverage_at(report: PruneReport, frames: int) -> float | None:
    """Coverage at a number of frames, linear between the points of the curve; None: outside it or not finite."""
    x = np.asarray(report.curve_frames, dtype=float)
    if not len(x) or not x[0] <= frames <= x[-1]:
        return None
    y = float(np.interp(frames, x, np.asarray(report.curve_coverage, dtype=float)))
    return y if math.isfinite(y) else None


# --- tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    """A row of numbers with the widths of its bar in per cent."""

    row: GroupCounts
    kept: str
    dropped: str
    rejected: str
    share: str


@dataclass(frozen=True)
class _Table:
    rows: tuple[Any, ...]
    total: Any
    note: str


def _sum_groups(name: str, groups: Iterable[GroupCounts]) -> GroupCounts:
    rows = [(g.frames, g.kept, g.dropped, g.rejected, g.environments) for g in groups]
    return GroupCounts(name, *(sum(column) for column in zip(*rows, strict=True))) if rows else _NOTHING


_NOTHING = GroupCounts("all", 0, 0, 0, 0, 0)


def _bar(g: GroupCounts) -> _Bar:
    def width(n: int) -> str:
        return f"{100 * n / g.frames:.2f}" if g.frames else "0"

    return _Bar(g, width(g.kept), width(g.dropped), width(g.rejected), _percent(g.kept, g.frames))


def _group_table(groups: Sequence[GroupCounts]) -> _Table:
    """Return the groups, most frames first, with the smallest of more than `MAX_ROWS` summed in one row."""
    ordered = sorted(groups, key=lambda g: (-g.frames, g.group))
    rows, note = [_bar(g) for g in ordered[:MAX_ROWS]], ""
    if rest := ordered[MAX_ROWS:]:
        rows.append(_bar(_sum_groups(f"({counted(len(rest), 'other group')})", rest)))
        note = f"The {MAX_ROWS} groups with most frames, of {len(ordered)}; the manifest has every frame's group."
    return _Table(tuple(rows), _bar(_sum_groups("All", ordered)) if len(ordered) > 1 else None, note)


def _reason_table(reasons: Sequence[ReasonCount]) -> _Table:
    rank = {"kept": 0, "dropped": 1, "rejected": 2}
    ordered = sorted(reasons, key=lambda r: (rank.get(r.decision, 3), -r.frames, r.reason))
    total = sum(r.frames for r in ordered)
    rows = tuple((r, _percent(r.frames, total)) for r in ordered[:MAX_ROWS])
    note = ""
    if rest := ordered[MAX_ROWS:]:
        frames = counted(sum(r.frames for r in rest), "frame")
        note = f"{counted(len(rest), 'more reason')} for {frames}: see the manifest."
    return _Table(rows, None, note)


# --- figures -----------------------------------------------------------------------------------------------------


def _map_figure(report: PruneReport) -> dict[str, Any]:
    """Return the points once, and for each colouring the traces as lists of point indices."""
    P = len(report.map_xy)
    kept = np.asarray(report.map_kept, dtype=bool)
    group = np.asarray(report.map_group).astype(str)
    cluster = np.asarray(report.map_cluster).astype(int)
    text = [
        f"{plot_text(label)}<br>group: {plot_text(_short(name))}<br>{'no cluster' if c < 0 else f'cluster {c}'}"
        f"<br>{'in a kept frame' if k else 'frame not kept'}"
        for label, name, c, k in zip(
            np.asarray(report.map_label).astype(str).tolist(),
            group.tolist(),
            cluster.tolist(),
            kept.tolist(),
            strict=True,
        )
    ]
    return {
        "x": numbers(report.map_xy[:, 0]),
        "y": numbers(report.map_xy[:, 1]),
        "text": text,
        "size": 10 if P <= 100 else 7 if P <= 1500 else 5,
        "views": {
            "decision": _decision_view(kept),
            "cluster": _cluster_view(cluster, kept),
            "group": _group_view(group, kept),
        },
        "layout": layout(
            560,
            xaxis=axis(plot_text(report.map_axes[0]), range=_window(report.map_xy[:, 0])),
            yaxis=axis(plot_text(report.map_axes[1]), range=_window(report.map_xy[:, 1])),
        ),
    }


def _decision_view(kept: np.ndarray) -> list[dict[str, Any]]:
    rows = ((~kept, "in frames not kept", GREY, "circle-open"), (kept, "in kept frames", KEPT, "circle"))
    return [
        _trace(f"{name} ({np.count_nonzero(mask)})", color, symbol, np.flatnonzero(mask))
        for mask, name, color, symbol in rows
        if mask.any()
    ]


def _cluster_view(cluster: np.ndarray, kept: np.ndarray) -> list[dict[str, Any]]:
    """Colour by cluster; few clusters get a legend, many share the colours in turn."""
    ids, sizes = np.unique(cluster[cluster >= 0], return_counts=True)
    shown: list[tuple[str | None, str, np.ndarray]]
    if len(ids) <= len(PALETTE):
        shown = [
            (f"cluster {c} ({n})", color, cluster == c)
            for c, n, color in zip(ids.tolist(), sizes.tolist(), PALETTE, strict=False)
        ]
    else:
        turn = np.where(cluster >= 0, cluster % len(PALETTE), -1)
        shown = [(None, color, turn == i) for i, color in enumerate(PALETTE)]
    return _split([*shown, (f"no cluster ({np.count_nonzero(cluster < 0)})", GREY, cluster < 0)], kept)


def _group_view(group: np.ndarray, kept: np.ndarray) -> list[dict[str, Any]]:
    """Colour by configuration group; beyond the palette the groups with fewest points share the grey."""
    names, index, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    first, rest = order[: len(PALETTE)], order[len(PALETTE) :]
    shown: list[tuple[str | None, str, np.ndarray]] = [
        (f"{plot_text(_short(str(names[g])))} ({sizes[g]})", color, index == g)
        for g, color in zip(first, PALETTE, strict=False)
    ]
    other = np.isin(index, rest)
    return _split([*shown, (f"{counted(len(rest), 'other group')} ({np.count_nonzero(other)})", GREY, other)], kept)


def _split(shown: Iterable[tuple[str | None, str, np.ndarray]], kept: np.ndarray) -> list[dict[str, Any]]:
    """Split each colour into open (not kept) and filled (kept) points, the kept ones drawn last."""
    open_, filled = [], []
    for i, (name, color, mask) in enumerate(shown):
        has_kept = bool((mask & kept).any())
        if (mask & ~kept).any():
            # One legend entry per colour: the filled one where there is one.
            legend = None if has_kept else name
            open_.append(_trace(legend, color, "circle-open", np.flatnonzero(mask & ~kept), str(i)))
        if has_kept:
            filled.append(_trace(name, color, "circle", np.flatnonzero(mask & kept), str(i)))
    return open_ + filled


def _trace(name: str | None, color: str, symbol: str, points: np.ndarray, legend: str = "") -> dict[str, Any]:
    return {"name": name, "color": color, "symbol": symbol, "legend": legend, "points": points.tolist()}


def _cluster_figure(report: PruneReport) -> dict[str, Any]:
    """Return sizes on a log axis above, the kept share below."""
    sizes = np.asarray(report.cluster_sizes, dtype=int)
    inside = np.asarray(report.cluster_kept, dtype=int)
    C = len(sizes)
    rank = list(range(1, C + 1))
    share = numbers(100.0 * inside / np.maximum(sizes, 1), 5)
    many = C > MANY_CLUSTERS
    # WebGL keeps thousands of points quick.
    kind = "scattergl" if many else "scatter"
    size = 4 if many else 7

    def points(name: str, y: list[Any], symbol: str, color: str, hover: str) -> dict[str, Any]:
        marker = {"symbol": symbol, "color": color, "size": size}
        return {
            "type": kind, "mode": "markers", "name": name, "x": rank, "y": y, "marker": marker, "hovertemplate": hover,
        }  # fmt: skip

    # A log axis has no zero: a cluster without kept environments has no filled point, and 0 % below.
    data = [
        points(
            "all environments", sizes.tolist(), "circle-open", "#444", "rank %{x}: %{y} environments<extra></extra>"
        ),
        points(
            "in kept frames",
            [n or None for n in inside.tolist()],
            "circle",
            KEPT,
            "rank %{x}: %{y} in kept frames<extra></extra>",
        ),
    ]
    hover = "rank %{x}: %{y:.1f} % in kept frames<extra></extra>"
    below: dict[str, Any] = (
        points("share in kept frames", share, "circle", KEPT, hover)
        if many
        else {"type": "bar", "x": rank, "y": share, "marker": {"color": KEPT}, "hovertemplate": hover}
    )
    data.append({**below, "yaxis": "y2", "showlegend": False})
    top = max(int(sizes.max()), 1)
    ticks: dict[str, Any] = {"dtick": 1} if top >= 300 else {"dtick": "D2"}
    xticks: dict[str, Any] = {"dtick": 1} if C <= 20 else {}
    return {
        "data": data,
        "layout": layout(
            460,
            bargap=0.15,
            xaxis=axis("cluster, by size (rank, 1 is the largest)", range=[0.4, C + 0.6], anchor="y2", **xticks),
            yaxis=axis(
                "environments<br>(number, log scale)",
                type="log",
                range=[math.log10(0.7), math.log10(top * 1.6)],
                domain=[0.4, 1.0],
                exponentformat="none",
                **ticks,
            ),
            yaxis2=axis("in kept<br>frames (%)", range=[0, 104], domain=[0.0, 0.3], tickvals=[0, 50, 100]),
        ),
    }


def _coverage_figure(report: PruneReport) -> dict[str, Any]:
    frames = np.asarray(report.curve_frames, dtype=int)
    # numpy integers are no JSON.
    chosen, floor = int(report.chosen), int(report.floor)
    end = max(int(frames.max()), chosen, floor, 1)
    xticks: dict[str, Any] = {"dtick": 1} if end <= 12 else {}
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(frames) <= 60 else "lines",
            "x": frames.tolist(),
            "y": numbers(report.curve_coverage),
            "line": {"color": "#444", "width": 2},
            "marker": {"size": 5},
            "hovertemplate": "%{x} frames: coverage %{y:.3f}<extra></extra>",
            "showlegend": False,
        }
    ]
    at = _coverage_at(report, chosen)
    if at is not None:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [chosen],
                "y": [round(at, 6)],
                "marker": {"size": 11, "color": KEPT},
                "hovertemplate": "kept: %{x} frames, coverage %{y:.3f}<extra></extra>",
                "showlegend": False,
            }
        )
    marks = ((floor, f"needed for every cluster and group: {floor}", REJECTED, "dash", 20),
             (chosen, f"kept: {chosen}", KEPT, "solid", 2))  # fmt: skip
    shapes, annotations = [], []
    for x, text, color, dash, lift in marks:
        shapes.append(
            {
                "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
                "line": {"color": color, "width": 2, "dash": dash},
            }
        )  # fmt: skip
        side = "left" if x < end / 3 else "right" if x > 2 * end / 3 else "center"
        annotations.append(
            {
                "x": x, "xref": "x", "xanchor": side, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": lift,
                "text": text, "showarrow": False, "font": {"color": color},
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            380,
            margin={"l": 60, "r": 40, "t": 56, "b": 50},
            xaxis=axis("kept frames (number)", range=[-0.02 * end, 1.03 * end], **xticks),
            yaxis=axis("coverage (fraction)", range=[0, 1.04]),
            shapes=shapes,
            annotations=annotations,
        ),
    }
