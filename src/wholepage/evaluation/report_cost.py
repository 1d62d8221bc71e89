"""What each ranker's labels cost, beside what it reached."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from wholepage.evaluation.plots import CostPoint, cost_plot
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.report_pairs import marked, marks_note
from wholepage.evaluation.run_comparison import RunComparison
from wholepage.evaluation.tables import Cell, Column
from wholepage.pages.errors import InputError


class LabelCost(msgspec.Struct, frozen=True):
    """What people were asked for one ranker.

    Attributes:
        labels: questions they answered about whole pages.
        hours: that this took; None = not told.
        money: that it cost; None = not told.
        full: one label for every result; None = not told.
        source: where the numbers come from, in words.
    Raises:
        InputError: a number below 0 or not finite.
    """

    labels: int
    hours: float | None = None
    money: float | None = None
    full: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("labels", "hours", "money", "full"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"LabelCost.{name}: got {value}; allowed: 0 or more, finite; mend the ledger")


def cost_section(comparison: RunComparison, costs: Mapping[str, LabelCost]) -> list[Section]:
    """The labels, hours and money of each ranker that has them told, beside the first measure; nothing without costs.

    Raises:
        InputError: a cost is of no ranker here.
    """
    names = [run.name for run in comparison.runs]
    unknown = sorted(set(costs).difference(names))
    if unknown:
        raise InputError(f"cost: got {unknown[0]!r}; allowed: {', '.join(names)}; name a ranker of this report")
    if not costs:
        return []
    measure = comparison.asked[0]
    facts: tuple[tuple[str, str, int], ...] = (("hours", "hours", 1), ("money", "money", 2))
    told = [fact for fact in facts if any(getattr(cost, fact[0]) is not None for cost in costs.values())]
    shares = any(cost.full for cost in costs.values())
    rows: list[tuple[Cell, ...]] = []
    for run in comparison.runs:
        cost = costs.get(run.name)
        share: Cell = None if cost is None or not cost.full else 100.0 * cost.labels / cost.full
        rows.append(
            (
                run.name,
                None if cost is None else cost.labels,
                *([share] if shares else []),
                *(None if cost is None else getattr(cost, name) for name, _, _ in told),
                marked(run, measure),
                None if cost is None else cost.source or None,
            )
        )
    columns: tuple[str | Column, ...] = (
        "ranker",
        "labels",
        *([Column("% of all", 1)] if shares else []),
        *(Column(name, digits) for _, name, digits in told),
        Column(measure, best="highest"),
        "told by",
    )
    table = Table(columns, tuple(rows), caption="Labels that people gave for each ranker.", note=marks_note(comparison))
    words = "Labels are questions about results of whole pages that people answered to train or tune the ranker."
    missing = [name for name in names if name not in costs]
    if missing:
        words += f" Not told for {', '.join(missing)}."
    return [Heading("Cost"), Prose(words), *_figure(comparison, costs), table]


def _figure(comparison: RunComparison, costs: Mapping[str, LabelCost]) -> list[Section]:
    measure = comparison.asked[0]
    points, free = [], {}
    for run in comparison.runs:
        cost, one = costs.get(run.name), run.estimates[measure]
        if cost is None or math.isnan(one.mean):
            continue
        if cost.labels == 0:
            free[run.name] = one.mean
        elif math.isnan(one.low):
            points.append(CostPoint(run.name, cost.labels, one.mean))
        else:
            points.append(CostPoint(run.name, cost.labels, one.mean, min(one.low, one.mean), max(one.high, one.mean)))
    if len(points) < 2:  # a plot of one cost says no more than the table
        return []
    alt = "; ".join(f"{point.series}: {point.labels:,} labels, {measure} {point.value:.3f}" for point in points)
    caption = f"{measure} against the labels bought." + (" Dashed: rankers that needed none." if free else "")
    return [Figure(cost_plot(points, measure=measure, baselines=free), caption, f"{caption} {alt}.")]
