"""Plots for the report, as SVG text: rankers with their intervals, and quality against the labels paid for.

The same numbers give the same bytes. Colours are CSS variables with a fallback that can be read on white and on black,
so that the report's theme colours them and a plot alone still shows. Text stays text, to be selected and searched.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import msgspec
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from wholepage.evaluation.drawing import (
    INCH_PER_LETTER,
    INKS,
    MARKERS,
    SERIES,
    SETTINGS,
    LineEnd,
    blank_axes,
    name_ends,
    svg_text,
)
from wholepage.evaluation.markup import plain_text
from wholepage.pages.errors import InputError


class Interval(msgspec.Struct, frozen=True):
    """A ranker's value of a measure, and where its true mean may lie.

    Raises:
        InputError: a number is not finite, or the value is outside its interval.
    """

    name: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _check(f"Interval({self.name!r})", self.value, self.low, self.high)


class CostPoint(msgspec.Struct, frozen=True):
    """The value reached with so many page labels, by one way of choosing them.

    Attributes:
        series: the strategy or ranker; its points are joined.
        labels: bought, at least 1.
        value: of the measure.
        low, high: of its interval, when known.
    Raises:
        InputError: no labels, a number that is not finite, half an interval, or the value outside of it.
    """

    series: str
    labels: int
    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.labels < 1:
            raise InputError(
                f"CostPoint({self.series!r}): got labels={self.labels}; allowed: 1 or more, as the axis is "
                "logarithmic; give what costs no label as a baseline"
            )
        if (self.low is None) != (self.high is None):
            raise InputError(f"CostPoint({self.series!r}): got half an interval; allowed: both ends or neither")
        ends = () if self.low is None or self.high is None else (self.low, self.high)
        _check(f"CostPoint({self.series!r})", self.value, *ends)


def interval_plot(rows: Sequence[Interval], *, measure: str = "", reference: str | None = None) -> str:
    """A dot and an interval for each ranker, in the order given, first on top.

    Args:
        rows: one a ranker.
        measure: what is measured, written under the axis.
        reference: a ranker to compare with: a dashed line goes through its value.
    Returns:
        An ``<svg>`` element.
    Raises:
        InputError: no rows, or the reference is not one of them.
    """
    named = {row.name: row for row in rows}
    if not rows or (reference is not None and reference not in named):
        raise InputError(
            f"interval_plot: got reference={reference!r} of {list(named)}; allowed: one of one or more rows"
        )
    names = [textwrap.fill(plain_text(row.name), 34) for row in rows]
    numbers = [f"{row.value:.3f}  [{row.low:.3f}, {row.high:.3f}]".replace("-", "\u2212") for row in rows]
    left = 0.25 + INCH_PER_LETTER * max(len(line) for name in names for line in name.split("\n"))
    right = 0.2 + 0.92 * INCH_PER_LETTER * max(map(len, numbers))
    height = (0.22 + 0.18 * max(name.count("\n") + 1 for name in names)) * len(rows) + 0.65
    with matplotlib.rc_context(SETTINGS):
        figure, axes = blank_axes(height, left=left, right=right, top=0.1, bottom=0.55)
        axes.grid(axis="x", color=INKS["faint"], alpha=0.3, linewidth=0.7)
        if reference is not None:
            axes.axvline(named[reference].value, color=INKS["ink"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for place, row in enumerate(rows):
            ink = INKS["ink"] if row.name == reference else SERIES["1"]
            axes.plot([row.low, row.high], [place, place], color=ink, linewidth=2.2, solid_capstyle="round", zorder=2)
            axes.plot([row.value], [place], marker="o", markersize=7.5, color=ink, zorder=3)
            axes.text(1.02, place, numbers[place], transform=axes.get_yaxis_transform(), va="center", fontsize=9.2)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0, pad=8)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(plain_text(measure))
        return svg_text(figure)


def cost_plot(
    points: Sequence[CostPoint], *, measure: str = "nDCG@10", baselines: Mapping[str, float] | None = None
) -> str:
    """Quality against page labels bought, on a logarithmic axis; one line a series.

    Args:
        points: of all series, in any order; series are coloured in the order they first come.
        measure: what is measured.
        baselines: what costs no page label, as dashed lines, by name.
    Returns:
        An ``<svg>`` element.
    Raises:
        InputError: no points, two points of a series with the same labels, or a baseline that is not finite.
    """
    lines = _lines(points)
    levels = dict(baselines or {})
    for name, level in levels.items():
        _check(f"cost_plot: baseline {name!r}", level)
    tags = {name: textwrap.fill(plain_text(name), 26) for name in [*lines, *levels]}
    right = 0.4 + 0.95 * INCH_PER_LETTER * max(len(line) for tag in tags.values() for line in tag.split("\n"))
    with matplotlib.rc_context(SETTINGS):
        height = max(3.9, 0.23 * sum(tag.count("\n") + 1 for tag in tags.values()) + 1.0)
        figure, axes = blank_axes(height, left=0.62, right=right, top=0.4, bottom=0.6)
        axes.grid(color=INKS["faint"], alpha=0.3, linewidth=0.7)
        axes.set_xscale("log")
        axes.set_xlim(*_label_range(points))
        ends = []
        for index, (name, line) in enumerate(lines.items()):
            ink, marker = list(SERIES.values())[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            _draw_line(axes, line, ink, marker)
            ends.append(LineEnd(line[-1].value, tags[name], ink, marker))
        for name, level in levels.items():
            axes.axhline(level, color=INKS["ink"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            ends.append(LineEnd(level, tags[name], INKS["ink"], ""))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if _decades(points) < 2.5 else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda labels, _: f"{labels:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("page labels bought (logarithmic)")
        axes.text(0, 1.0 + 0.13 / (height - 1.0), plain_text(measure), transform=axes.transAxes, fontweight="bold")
        name_ends(axes, ends, gap=0.21 / (height - 1.0))
        return svg_text(figure)


def _lines(points: Sequence[CostPoint]) -> dict[str, list[CostPoint]]:
    if not points:
        raise InputError("cost_plot: got no points; allowed: one or more; give a point a run")
    lines: dict[str, list[CostPoint]] = {}
    for point in points:
        lines.setdefault(point.series, []).append(point)
    for name, line in lines.items():
        line.sort(key=lambda point: point.labels)
        if len({point.labels for point in line}) != len(line):
            raise InputError(
                f"cost_plot: series {name!r}: got labels {[point.labels for point in line]}; allowed: each cost once; "
                "average repeated runs first"
            )
    return lines


def _draw_line(axes: Any, line: Sequence[CostPoint], ink: str, marker: str) -> None:
    axes.plot(
        [p.labels for p in line], [p.value for p in line], color=ink, marker=marker, markersize=6, linewidth=2, zorder=3
    )
    bounds = [(p.labels, p.low, p.high) for p in line if p.low is not None and p.high is not None]
    if len(bounds) == len(line) > 1:
        costs, lows, highs = zip(*bounds, strict=True)
        axes.fill_between(costs, lows, highs, color=ink, alpha=0.13, linewidth=0, zorder=2)
    else:
        for labels, low, high in bounds:
            axes.plot([labels, labels], [low, high], color=ink, linewidth=1.3, zorder=2)


def _decades(points: Sequence[CostPoint]) -> float:
    costs = [point.labels for point in points]
    return math.log10(max(costs) / min(costs))


def _label_range(points: Sequence[CostPoint]) -> tuple[float, float]:
    """The costs, with some room on both sides; more for a single cost, so that a tick falls inside."""
    room = 10 ** max(0.05 * _decades(points), 0.06) if _decades(points) else 2.0
    return min(point.labels for point in points) / room, max(point.labels for point in points) * room


def _check(where: str, value: float, low: float | None = None, high: float | None = None) -> None:
    numbers = [number for number in (low, value, high) if number is not None]
    if not all(map(math.isfinite, numbers)) or numbers != sorted(numbers):
        raise InputError(
            f"{where}: got value={value}, low={low}, high={high}; allowed: finite numbers, low <= value <= high; "
            "leave out what is undefined"
        )
