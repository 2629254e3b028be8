"""The page of `validate`: every number with its verdict, and the curves behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.report.parts import PALETTE, axis, layout, numbers, plot_text, render_page
from mlff_curate.report.run import RunReport
from mlff_curate.validation.verdicts import FAIL, NO_REFERENCE, PASS
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlff_curate.validation.equation_of_state import EquationOfState
    from mlff_curate.validation.verdicts import Row

MODEL_COLOR, REFERENCE_COLOR, DATA_COLOR = PALETTE[0], PALETTE[1], "#444"
_SEVERITIES = {PASS: "passed", FAIL: "failed", NO_REFERENCE: "open"}
_ERRORS = (("energy", 1e3, "meV/atom"), ("force", 1e3, "meV/A"))


@dataclass(frozen=True, eq=False)
class ValidationReport(RunReport):
    """Everything that the page shows, besides what all pages say.

    Attributes
    ----------
    crystal
        What was tested, in words.
    reference
        Name of the reference potential; empty: there is none.
    rows
        All quantities, judged.
    titles, how
        Test to its title, and to what it was run with.
    skipped
        Test to why it was not run.
    results, reference_results
        Test to its result, of the potential and of the reference.
    labelled_eos
        Of the data, if it has one.
    notes
        Sentences.
    """

    crystal: str
    reference: str
    rows: tuple[Row, ...]
    titles: Mapping[str, str]
    how: Mapping[str, str]
    skipped: Mapping[str, str]
    results: Mapping[str, Any]
    reference_results: Mapping[str, Any]
    labelled_eos: EquationOfState | None
    notes: tuple[str, ...]


def counts_text(rows: Sequence[Row]) -> str:
    """Return how many numbers passed, failed, and had nothing to be held to."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (PASS, FAIL, NO_REFERENCE)}
    return f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[NO_REFERENCE]} without reference"


def value_text(value: float | str | None, unit: str = "") -> str:
    """Return a value with its unit."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return f"{rounded(value, 4)} {unit}".strip()


def render_validation(report: ValidationReport) -> str:
    """Return the page as HTML; see :func:`mlff_curate.report.parts.render_page`."""
    figures = _figures(report)
    tests = [name for name in report.titles if any(row.test == name for row in report.rows)]
    return render_page(
        "validation.html.j2",
        report,
        {name: figure for name, (_, figure) in figures.items()},
        headline=f"{report.crystal}: {counts_text(report.rows)}",
        tests=[(report.titles[name], report.how[name], [r for r in report.rows if r.test == name]) for name in tests],
        figure_titles=[(name, title) for name, (title, _) in figures.items()],
        severity=_SEVERITIES,
        value_text=value_text,
        percent=lambda share: "" if share is None else f"{rounded(100 * share, signed=True)} %",
        matrix=_matrix(report.results.get("elasticity")),
        groups=_groups(report.results.get("errors")),
    )


def _matrix(elasticity: Any) -> list[list[str]]:
    return [] if elasticity is None else [[f"{value:.1f}" for value in row] for row in elasticity.matrix]


def _groups(errors: Any) -> list[tuple[str, str, list[str]]]:
    """Return group, frames, and its mean absolute errors of energies and forces."""
    if errors is None:
        return []
    return [
        (
            name,
            counted(int(some["frames"]), "frame"),
            [
                f"{some[f'{kind}_mae'] * factor:.4g} {unit}" if f"{kind}_mae" in some else ""
                for kind, factor, unit in _ERRORS
            ],
        )
        for name, some in errors.groups.items()
    ]


# --- figures -----------------------------------------------------------------------------------------------------


def _figures(report: ValidationReport) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return place to title and figure."""
    found, other = report.results, report.reference_results
    out: dict[str, tuple[str, dict[str, Any]]] = {}
    if "equation-of-state" in found:
        out["eos"] = ("Equation of state", _eos(report))
    if "surfaces" in found:
        out["surfaces"] = ("Surface energies", _surfaces(found["surfaces"], other.get("surfaces")))
    if "migration" in found:
        out["migration"] = ("The way into a vacancy", _migration(found["migration"], other.get("migration")))
    if "drift" in found:
        out["drift"] = ("Total energy without a thermostat", _drift(found["drift"]))
    if "stability" in found and len(found["stability"].times):
        out["stability"] = ("At half the melting point", _stability(found["stability"]))
    for k, run in enumerate(found["rdf"].runs if "rdf" in found else ()):
        title = f"Radial distribution, {run.group}, {run.temperature:.0f} K: overlap {run.overlap:.3f}"
        out[f"rdf-{k}"] = (title, _distances(run))
    return out


def _line(name: str, x: Any, y: Any, color: str, *, mode: str = "lines", **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": mode,
        "name": plot_text(name),
        "x": numbers(np.asarray(x), 9),
        "y": numbers(np.asarray(y), 9),
        "line": {"color": color, "width": 2},
        "marker": {"color": color, "size": 8},
        **more,
    }


def _eos(report: ValidationReport) -> dict[str, Any]:
    some = [("this potential", report.results["equation-of-state"], MODEL_COLOR, "circle")]
    if "equation-of-state" in report.reference_results:
        some.append(("reference", report.reference_results["equation-of-state"], REFERENCE_COLOR, "square"))
    if report.labelled_eos is not None:
        some.append(("data", report.labelled_eos, DATA_COLOR, "diamond-open"))
    data = []
    for name, eos, color, symbol in some:
        above = 1e3 * (np.asarray(eos.energies) - eos.energy)
        data.append(
            _line(name, eos.volumes, above, color, mode="markers", marker={"color": color, "size": 8, "symbol": symbol})
        )
        x = np.linspace(min(eos.volumes), max(eos.volumes), 101)
        data.append(_line(f"{name}, fit", x, 1e3 * _birch_murnaghan(eos, x), color, showlegend=False))
    axes = {"xaxis": axis("volume per atom (A^3)"), "yaxis": axis("energy above the minimum (meV/atom)")}
    return {"data": data, "layout": layout(380, **axes)}


def _birch_murnaghan(eos: EquationOfState, volumes: np.ndarray) -> np.ndarray:
    from ase.eos import birchmurnaghan
    from ase.units import GPa

    return np.asarray(birchmurnaghan(volumes, 0.0, eos.bulk_modulus * GPa, eos.derivative, eos.volume))


def _surfaces(found: Any, other: Any) -> dict[str, Any]:
    data = []
    for name, some, color in (("this potential", found, MODEL_COLOR), ("reference", other, REFERENCE_COLOR)):
        if some is not None:
            faces, energies = zip(*some.energies.items(), strict=True)
            data.append(
                {"type": "bar", "name": name, "x": [f"({face})" for face in faces],
                 "y": numbers(np.array(energies)), "marker": {"color": color}}
            )  # fmt: skip
    axes = {"xaxis": axis("face", type="category"), "yaxis": axis("energy (J/m^2)", rangemode="tozero")}
    return {"data": data, "layout": layout(340, barmode="group", showlegend=True, **axes)}


def _migration(found: Any, other: Any) -> dict[str, Any]:
    data = [_line("this potential", found.path, found.energies, MODEL_COLOR, mode="lines+markers")]
    if other is not None:
        data.append(_line("reference", other.path, other.energies, REFERENCE_COLOR, mode="lines+markers"))
    for trace in data:
        trace["line"]["shape"] = "spline"
    axes = {"xaxis": axis("distance along the band (A)"), "yaxis": axis("energy (eV)")}
    return {"data": data, "layout": layout(340, showlegend=True, **axes)}


def _drift(found: Any) -> dict[str, Any]:
    t = np.asarray(found.times)
    centre = float(np.mean(found.energies))
    data = [
        _line("total energy", t, found.energies, MODEL_COLOR),
        _line(
            f"{found.slope:+.2g} meV/atom/ps", t, centre + found.slope * (t - t.mean()), PALETTE[3],
            line={"color": PALETTE[3], "width": 2, "dash": "dash"},
        ),
    ]  # fmt: skip
    axes = {"xaxis": axis("time (ps)"), "yaxis": axis("total energy above the start (meV/atom)")}
    return {"data": data, "layout": layout(340, showlegend=True, **axes)}


def _stability(found: Any) -> dict[str, Any]:
    data = [
        _line("temperature", found.times, found.temperatures, MODEL_COLOR),
        _line("displacement", found.times, found.displacements, PALETTE[2], xaxis="x2", yaxis="y2"),
    ]
    ends = [found.times[0], found.times[-1]]
    data.append(
        _line("asked for", ends, [found.target] * 2, PALETTE[3], line={"color": PALETTE[3], "width": 2, "dash": "dash"})
    )
    return {
        "data": data,
        "layout": layout(
            340,
            showlegend=True,
            xaxis=axis("time (ps)", domain=[0.0, 0.45]),
            yaxis=axis("temperature (K)"),
            xaxis2=axis("time (ps)", domain=[0.55, 1.0], anchor="y2"),
            yaxis2=axis("displacement / neighbours' distance", anchor="x2", rangemode="tozero"),
        ),
    }


def _distances(run: Any) -> dict[str, Any]:
    data = [
        _line("data", run.r, run.data, DATA_COLOR),
        _line("this potential", run.r, run.model, MODEL_COLOR),
    ]
    filled = np.flatnonzero((np.asarray(run.data) > 0) | (np.asarray(run.model) > 0))
    start = run.r[int(filled[0])] if len(filled) else 0.0
    axes = {"xaxis": axis("distance (A)", range=[max(0.0, start - 0.3), run.r[-1]]), "yaxis": axis("g(r)")}
    return {"data": data, "layout": layout(340, showlegend=True, **axes)}
