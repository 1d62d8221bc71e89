"""What all plots share: inks, axes without a frame, names at line ends, and SVG that is the same bytes each time.

Colours are CSS variables with a fallback that can be read on white and on black. Text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from wholepage.evaluation.markup import clean_svg

# Name of the CSS variable -> fallback; each fallback stands for its name, so no two are equal.
INKS = {"ink": "#6f7680", "faint": "#9aa1ab"}
SERIES = {
    "1": "#3f7fd6",
    "2": "#c96f1e",
    "3": "#1f9573",
    "4": "#b455a8",
    "5": "#7f8f2e",
    "6": "#2492ad",
}
MARKERS = "osD^vPX"
SETTINGS: Any = {
    "svg.hashsalt": "wholepage",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": True,
}
INCH_PER_LETTER = 0.077
WIDTH_INCH = 7.4


class LineEnd(NamedTuple):
    """The name of a line, to stand beside its end.

    Attributes:
        value: where the line ends.  tag: the name, in one line or several.  ink: of the line.
        marker: of the line; empty or ``"-"`` = it has none, and is dashed or solid.
    """

    value: float
    tag: str
    ink: str
    marker: str


def name_ends(axes: Any, ends: Sequence[LineEnd], gap: float) -> None:
    """Write each line's name beside its end, moved apart as far as the letters need.

    Args:
        axes: matplotlib's, with their limits as they will be.
        ends: of all lines.
        gap: height of one line of letters, as a share of the axes.
    """
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    order = sorted(range(len(ends)), key=lambda i: (ends[i].value, i))
    heights = [gap * (1 + ends[i].tag.count("\n")) for i in order]
    places = [(ends[i].value - bottom) / (top - bottom) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + (heights[i - 1] + heights[i]) / 2)
    ceiling = 1.0 + gap / 2
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling - heights[i] / 2)
        ceiling = places[i] - heights[i] / 2
    for i, place in zip(order, places, strict=True):
        _, tag, ink, marker = ends[i]
        style: dict[str, Any] = (
            {"marker": marker, "markersize": 6}
            if marker not in ("", "-")
            else {"linestyle": "-" if marker else (0, (2.5, 2)), "linewidth": 1.2}
        )
        x = [1.03] if "marker" in style else [1.015, 1.045]
        axes.plot(x, [place] * len(x), color=ink, transform=axes.transAxes, clip_on=False, **style)
        axes.text(1.06, place, tag, transform=axes.transAxes, va="center", fontsize=9.2)


def blank_axes(height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Any]:
    """A figure, with axes that show their lower edge only; sizes in inches, the four edges' room included in them."""
    width = max(WIDTH_INCH, left + right + 2.5)
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INKS["faint"])
    axes.tick_params(which="both", color=INKS["faint"], length=3)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def svg_text(figure: Figure) -> str:
    """The figure as an ``<svg>`` element whose colours a page can set."""
    for text in figure.findobj(matplotlib.text.Text):
        text.set_color(INKS["ink"])
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = clean_svg(written.getvalue(), "plot")
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif").replace(
        "&#x27;DejaVu Sans&#x27;", "system-ui, sans-serif"
    )
    for name, fallback in (INKS | SERIES).items():
        svg = re.sub(f"(?<=: ){fallback}", f"var(--plot-{name}, {fallback})", svg)
    return svg
