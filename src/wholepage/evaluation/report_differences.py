"""Where two rankers differ, query by query: how often, how far, and on which queries most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import msgspec
import numpy as np
from matplotlib.ticker import MaxNLocator

from wholepage.evaluation.drawing import (
    INCH_PER_LETTER,
    INKS,
    SERIES,
    SETTINGS,
    LineEnd,
    blank_axes,
    name_ends,
    svg_text,
)
from wholepage.evaluation.markup import plain_text
from wholepage.evaluation.measure_words import higher_is_better, signed
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.run_comparison import EvaluatedRun, RunComparison
from wholepage.evaluation.tables import Cell, Column
from wholepage.pages.errors import InputError, shorten

_DRAWN = 400
_LISTED = 5
_SAME = 1e-12


class QueryDifference(msgspec.Struct, frozen=True):
    """One query: the value of the first ranker, of the other, and how much better the other is (below 0 = worse)."""

    query_id: str
    first: float
    other: float
    gain: float


class Differences(msgspec.Struct, frozen=True):
    """All queries on which two rankers have a value of a measure.

    Attributes:
        queries: from the largest loss of the other to its largest gain; queries of equal gain by id.
        left_out: queries where either has none.
    """

    first: str
    other: str
    measure: str
    queries: tuple[QueryDifference, ...]
    left_out: int

    @property
    def worse(self) -> int:
        """On how many queries the other is worse."""
        return sum(one.gain < -_SAME for one in self.queries)

    @property
    def better(self) -> int:
        """On how many queries the other is better."""
        return sum(one.gain > _SAME for one in self.queries)

    @property
    def equal(self) -> int:
        """On how many queries neither is."""
        return len(self.queries) - self.worse - self.better

    def losses(self, count: int) -> tuple[QueryDifference, ...]:
        """The queries on which the other is worse by most, largest loss first."""
        return self.queries[: min(count, self.worse)]

    def gains(self, count: int) -> tuple[QueryDifference, ...]:
        """The queries on which the other is better by most, largest gain first."""
        return self.queries[::-1][: min(count, self.better)]


def differences(first: EvaluatedRun, other: EvaluatedRun, measure: str) -> Differences:
    """How the other ranker differs from the first on each query that both have a value for.

    Raises:
        InputError: the measure was not measured.
    """
    for run in (first, other):
        if measure not in run.values:
            raise InputError(f"measure: got {measure!r}; allowed: {', '.join(run.values)}; measure it first")
    one, two = first.values[measure], other.values[measure]
    sign = 1.0 if higher_is_better(measure) else -1.0
    shared = [q for q in one if not math.isnan(one[q]) and not math.isnan(two.get(q, math.nan))]
    rows = [QueryDifference(q, one[q], two[q], sign * (two[q] - one[q])) for q in shared]
    rows.sort(key=lambda row: (row.gain, row.query_id))
    return Differences(first.name, other.name, measure, tuple(rows), len(set(one) | set(two)) - len(rows))


def differences_section(comparison: RunComparison) -> list[Section]:
    """For each other ranker: the differences in order, and the queries where they are largest; none for one ranker."""
    if not comparison.others:
        return []
    measure, first = comparison.asked[0], comparison.first
    told = (
        f"The mean hides who wins where. Each plot shows all queries in order of the difference in {measure}: left "
        f"those on which the ranker is worse than {first.name}, right those on which it is better."
    )
    if not higher_is_better(measure):
        told += f" Less is better in {measure}, so a difference below 0 is a gain."
    sections: list[Section] = [Heading("Query by query"), Prose(told)]
    texts = {page.query_id: page.query.text for page in comparison.pages or ()}
    for other in comparison.others:
        found = differences(first, other, measure)
        sections.append(Heading(f"{other.name} against {first.name}", level=3))
        if not found.queries:
            sections.append(Prose("No query has a value for both."))
            continue
        sections.append(_figure(found))
        sections += _table(found, texts)
    return sections


def difference_curve(found: Differences) -> str:
    """The gains of all queries in order, as an area below and above 0, as an ``<svg>`` element.

    Of more than 400 queries, 400 at equal distances in the order are drawn.

    Raises:
        InputError: there is no query.
    """
    if not found.queries:
        raise InputError("difference_curve: got no queries; allowed: one or more; compare runs that share queries")
    gains = np.array([one.gain for one in found.queries])
    mean, count = math.fsum(gains.tolist()) / len(gains), len(gains)
    places = np.linspace(0, count - 1, min(count, _DRAWN)).round().astype(int)
    drawn = np.repeat(gains[places], 2)
    edges = np.append(places, count).astype(float) / count * 100.0
    edges[0] = 0.0
    x = np.repeat(edges, 2)[1:-1]
    height, tag = 2.9, f"mean {signed(mean)}"
    with matplotlib.rc_context(SETTINGS):
        right = 0.45 + 0.95 * INCH_PER_LETTER * len(tag)
        figure, axes = blank_axes(height, left=0.75, right=right, top=0.55, bottom=0.55)
        axes.grid(axis="y", color=INKS["faint"], alpha=0.3, linewidth=0.7)
        axes.fill_between(x, np.minimum(drawn, 0.0), 0.0, color=SERIES["2"], alpha=0.85, linewidth=0, zorder=2)
        axes.fill_between(x, 0.0, np.maximum(drawn, 0.0), color=SERIES["3"], alpha=0.85, linewidth=0, zorder=2)
        axes.axhline(0.0, color=INKS["ink"], linewidth=0.9, zorder=3)
        axes.axhline(mean, color=INKS["ink"], linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        reach = float(np.abs(gains).max()) or 0.1
        axes.set_ylim(min(float(gains.min()), -0.12 * reach) * 1.06, max(float(gains.max()), 0.12 * reach) * 1.06)
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel(f"share of the {count:,} queries, worst to best")
        top = 1.0 + 0.33 / (height - 1.1)
        axes.text(
            0, top, plain_text(shorten(f"gain in {found.measure}", 40)), transform=axes.transAxes, fontweight="bold"
        )
        _counts(axes, found, 1.0 + 0.1 / (height - 1.1))
        name_ends(axes, [LineEnd(mean, tag, INKS["ink"], "")], gap=0.21 / (height - 1.1))
        return svg_text(figure)


def _counts(axes: object, found: Differences, y: float) -> None:
    """How many are worse, equal and better, written above the areas they stand over."""
    write = axes.text  # type: ignore[attr-defined]
    style = {"transform": axes.transAxes, "fontsize": 9.2}  # type: ignore[attr-defined]
    write(0, y, f"◀ worse on {found.worse:,}", ha="left", **style)
    write(0.5, y, f"equal on {found.equal:,}", ha="center", **style)
    write(1, y, f"better on {found.better:,} ▶", ha="right", **style)


def _figure(found: Differences) -> Figure:
    gains = [one.gain for one in found.queries]
    count = len(gains)
    told = (
        f"{found.other} is better than {found.first} on {found.better:,} of {count:,} queries, equal on "
        f"{found.equal:,}, worse on {found.worse:,}"
    )
    rest = f" {found.left_out:,} queries without a value for both are left out." if found.left_out else ""
    alt = (
        f"{told}. Largest loss {signed(min(gains))}, median {signed(float(np.median(gains)))}, largest gain "
        f"{signed(max(gains))}."
    )
    return Figure(difference_curve(found), f"{told}.{rest}", alt)


def _table(found: Differences, texts: Mapping[str, str]) -> list[Table]:
    listed = [*found.losses(_LISTED), *reversed(found.gains(_LISTED))]
    if not listed:
        return []
    rows = tuple(_row(one, texts) for one in listed)
    named = ("query", "asked") if texts else ("query",)
    columns = (*named, found.first, found.other, Column("gain"))
    return [
        Table(
            columns,
            rows,
            caption=f"The largest losses and gains of {found.other} in {found.measure}.",
            note=f"Up to {_LISTED} of each; queries of equal gain in the order of their ids.",
        )
    ]


def _row(one: QueryDifference, texts: Mapping[str, str]) -> tuple[Cell, ...]:
    values: Sequence[Cell] = (one.first, one.other, one.gain)
    named: tuple[Cell, ...] = (one.query_id,)
    if texts:
        named = (shorten(one.query_id, 40), clip(texts.get(one.query_id, ""), 90))
    return (*named, *values)


def clip(text: str, limit: int) -> str:
    """The beginning of a text, in one line, with an ellipsis where more was cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
