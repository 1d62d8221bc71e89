"""Reliability for the report: a table, and one small plot a modality."""

from __future__ import annotations

import matplotlib

from wholepage.evaluation.drawing import INKS, SERIES, SETTINGS, WIDTH_INCH, blank_axes, svg_text
from wholepage.evaluation.markup import plain_text
from wholepage.evaluation.reliability import Reliability, ReliabilityReport
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.tables import Cell, Column

_SIDE_INCH = 2.6
_READING = (
    "Results are grouped by the probability of being relevant that the reranker gave them. Points on the dashed line "
    "are as often relevant as it said; below the line it was too sure, above not sure enough. Bars are 95 % intervals "
    "(Wilson): where a bar crosses the line, chance alone explains the distance."
)


def reliability_section(report: ReliabilityReport, *, title: str = "Calibration") -> tuple[Section, ...]:
    """A heading, how to read it, the table, and a plot of all results and of each modality.

    The same report gives the same bytes.
    """
    parts = (report.overall, *report.modalities)
    gap = report.modality_gap
    told = "" if gap is None else f"\n\nLargest difference of bias between two modalities: {gap:.3f}."
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (one.name, one.count, one.predicted, one.observed, one.bias, one.ece, one.brier, one.log_loss) for one in parts
    )
    table = Table(
        ("results", "count", "predicted", "observed", "bias", Column("ECE"), Column("Brier"), Column("log loss")),
        rows,
        caption="Probabilities and what people said.",
        note="bias: mean predicted less observed; ECE: expected calibration error over bins of like count.",
    )
    figures = [_figure(one) for one in (parts if len(report.modalities) > 1 else parts[:1])]
    return (Heading(title), Prose(_READING + told), table, *figures)


def reliability_plot(one: Reliability) -> str:
    """Observed share against mean prediction, a point a bin with its interval, as an ``<svg>`` element."""
    right = WIDTH_INCH - 0.75 - _SIDE_INCH
    with matplotlib.rc_context(SETTINGS):
        figure, axes = blank_axes(_SIDE_INCH + 0.75, left=0.75, right=right, top=0.2, bottom=0.55)
        axes.grid(color=INKS["faint"], alpha=0.3, linewidth=0.7)
        axes.plot([0, 1], [0, 1], color=INKS["ink"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for part in one.bins:
            axes.plot([part.predicted] * 2, [part.low, part.high], color=SERIES["1"], linewidth=1.6, zorder=2)
        places = [part.predicted for part in one.bins], [part.observed for part in one.bins]
        axes.plot(*places, marker="o", markersize=5.5, linestyle="none", color=SERIES["1"], zorder=3)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        told = f"{one.count:,} results\nECE {one.ece:.3f}\nBrier {one.brier:.3f}\nbias {one.bias:+.3f}"
        axes.text(1.1, 0.98, plain_text(one.name), transform=axes.transAxes, va="top", fontweight="bold")
        axes.text(1.1, 0.88, told, transform=axes.transAxes, va="top", linespacing=1.5)
        return svg_text(figure)


def _figure(one: Reliability) -> Figure:
    name = "all results" if one.name == "all" else f"results of modality {one.name}"
    worst = max(one.bins, key=lambda part: abs(part.predicted - part.observed))
    alt = (
        f"Reliability of {name}: {one.count} results in {len(one.bins)} bins; furthest from the line, predicted "
        f"{worst.predicted:.2f} and observed {worst.observed:.2f}."
    )
    return Figure(reliability_plot(one), f"Predicted and observed share of relevant results: {name}.", alt)
