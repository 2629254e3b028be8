"""What all pages share: the frame around them, colours, and figures as plain values.

Whatever comes from the user's files may hold markup. jinja2 escapes it in the text, `json_text` in the embedded data,
and `plot_text` where plotly would read markup of its own; the page's content security policy forbids all loading.
"""

from __future__ import annotations

import html
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlff_curate.report.run import RunReport

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/) without its yellow, which vanishes on white paper.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def render_page(template: str, report: RunReport, figures: Mapping[str, Any], **values: Any) -> str:
    """Return a page as HTML: a function of the arguments and of the installed plotly alone, always fit for UTF-8.

    Parameters
    ----------
    template
        File in the folder of templates.
    report
        What all pages say.
    figures
        Name of a place on the page to its figure; with none, plotly stays out.
    values
        What the template asks for besides.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    environment = Environment(
        loader=PackageLoader("mlff_curate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(
        report=report,
        figures=figures,
        # Escaped by json_text; plotly.js is the installed package's own code.
        data=Markup(json_text(figures)),  # noqa: S704
        plotlyjs=Markup(get_plotlyjs() if figures else ""),  # noqa: S704
        **values,
    )
    # File names that are no valid text reach Python as lone surrogates, which no encoder takes.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def plot_text(text: str) -> str:
    """Escape what plotly would read as markup in hover texts and legends."""
    return html.escape(text, quote=False)


def json_text(value: Any) -> str:
    """Return JSON that neither closes the script element around it nor holds nan."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def numbers(values: np.ndarray, digits: int = 6) -> list[float | None]:
    """Return the values for JSON, rounded to `digits` of the largest; None where there is no finite number."""
    x = np.asarray(values, dtype=float)
    finite = np.isfinite(x)
    largest = float(np.abs(x[finite]).max(initial=0.0))
    if largest > 0.0:
        # 300: ten to the power of the decimals must stay a finite number.
        x = np.round(x, min(300, max(0, digits - 1 - math.floor(math.log10(largest)))))
    numbers: list[float | None] = x.tolist()
    if not finite.all():
        numbers = [v if ok else None for v, ok in zip(numbers, finite.tolist(), strict=True)]
    return numbers


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis of plotly."""
    frame = {"showline": True, "linecolor": "#555", "ticks": "outside", "gridcolor": "#e4e4e4", "zeroline": False}
    return {"title": {"text": title}, "automargin": True, **frame, **more}


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Return the layout of a figure of this height in pixels."""
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 60, "r": 40, "t": 30, "b": 50},
        # Upright at the right edge, where it hides neither legend nor curve.
        "modebar": {"orientation": "v"},
        "font": {"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 13, "color": "#222"},
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "hovermode": "closest",
        # Decimal point, no thousands separator: numbers look as they do in the text.
        "separators": ".",
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        **more,
    }
