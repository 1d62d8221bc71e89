"""All that a study found, worked out once, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from wholepage.evaluation.report import Table
from wholepage.evaluation.study import Curve, Difference, Draw, Half, Needed, curves, half, needed
from wholepage.evaluation.study_ablation import Ablated, ablation
from wholepage.evaluation.study_samples import Arm
from wholepage.evaluation.study_table import Measured
from wholepage.evaluation.study_words import (
    EXPERIMENTS,
    MEASURE,
    count,
    experiment_name,
    in_order,
    method_name,
    percent,
)
from wholepage.evaluation.tables import NOTHING, Cell, Column, Marked
from wholepage.pages.errors import InputError

COST = "cost"
CROSS = "cross-modal pairs right"


class Findings(msgspec.Struct, frozen=True):
    """What a study found.

    Attributes:
        studies: their names.  collections: in the order of all that follows.
        draw: how chance was estimated.
        curves, needed, half: of the experiment ``"cost"``.
        ablations: by experiment, the others.
    """

    studies: tuple[str, ...]
    collections: tuple[str, ...]
    draw: Draw
    curves: tuple[Curve, ...]
    needed: tuple[Needed, ...]
    half: tuple[Half, ...]
    ablations: dict[str, tuple[Ablated, ...]]


def find_out(rows: Iterable[Measured], *, draw: Draw, references: Mapping[str, str] | None = None) -> Findings:
    """Everything there is to say of the rows.

    Args:
        rows: of one study or several.
        draw: how chance is estimated.
        references: by experiment, what its arms are compared with; see ``study_ablation.ablation``.
    Raises:
        InputError: no rows, rows that do not fit together, or a reference that was not measured.
    """
    rows = list(rows)
    if not rows:
        raise InputError("study: got no rows; allowed: one or more; run some cells first")
    names = {row.experiment for row in rows} - {COST}
    known = [name for name in EXPERIMENTS if name in names]
    others = {
        name: _by_method(ablation(rows, name, reference=(references or {}).get(name), draw=draw))
        for name in [*known, *sorted(names.difference(known))]
    }
    lines = curves(rows, COST, draw=draw)
    places = {line.collection for line in lines} | {one.collection for found in others.values() for one in found}
    return Findings(
        tuple(sorted({row.study for row in rows})),
        tuple(sorted(places)),
        draw,
        tuple(lines),
        tuple(needed(rows, experiment=COST, draw=draw)),
        tuple(half(rows, experiment=COST, draw=draw)),
        others,
    )


def verdict(one: Difference, draw: Draw) -> str:
    """A difference in a word or two."""
    if one.better:
        return "better"
    if one.not_worse:
        return "not worse"
    return "worse" if one.high < -draw.margin else "open"


def needed_table(found: Findings) -> Table:
    """For each collection: the share of labels with which SMAR is not worse, and better, than SFT with all of them."""
    several = len({one.variant for one in found.needed}) > 1
    rows: list[tuple[Cell, ...]] = []
    for one in found.needed:
        halves = [h.against for h in found.half if (h.collection, h.variant) == (one.collection, one.variant)]
        rows.append(
            (
                f"{one.collection}, {one.variant}" if several else one.collection,
                _first(one, one.not_worse_at, one.not_worse_from),
                _first(one, one.better_at, one.better_from),
                f"{sum(h.not_worse for h in halves)} of {len(halves)}" if halves else NOTHING,
                round(one.full_labels),
                one.reference,
            )
        )
    return Table(
        ("collection", "not worse with", "better with", "half: holds in", "all labels", f"SFT with all: {MEASURE}"),
        tuple(rows),
        caption="The smallest share of the page labels with which SMAR matches SFT that has all of them.",
        note=f"Not worse: the {percent(found.draw.level)} interval of the difference, over queries, lies above "
        f"−{found.draw.margin:g}; better: above 0. In brackets, where it differs: from which share on this holds at "  # noqa: RUF001
        "every larger share measured. Half: in how many pairs of shares SMAR is not worse than SFT with twice its "
        "labels.",
    )


def cost_table(found: Findings, collection: str) -> Table:
    """What each method reached with each share, on one collection."""
    lines = _ordered(found.curves, collection)
    shares = sorted({point.share for line in lines for point in line.points})
    marks = {
        (one.variant, d.share): "‡" if d.better else "†" if d.not_worse else ""
        for one in found.needed
        if one.collection == collection
        for d in one.differences
    }
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        points = {point.share: point for point in line.points}
        cells: list[Cell] = []
        for share in shares:
            mark = marks.get((line.variant, share), "") if line.method == "smar" else ""
            cells.append(Marked(points[share].ndcg, mark) if share in points else None)
        rows.append((method_name(line.method, line.variant), *cells))
    return Table(
        ("method", *(Column(percent(share), best="highest") for share in shares)),
        tuple(rows),
        caption=f"{collection}: mean {MEASURE} by share of the page labels.",
        note="† not worse, ‡ better than SFT with all labels (SMAR's lines alone are tested). "
        f"The share is of {count(max(line.full_labels for line in lines))} labels; 0 % needs none. "
        f"{sizes(found, collection)}",
    )


def difference_table(one: Needed, draw: Draw) -> Table:
    """SMAR at each share against SFT with all labels."""
    rows: list[tuple[Cell, ...]] = [
        (
            percent(d.share),
            round(d.labels),
            d.ndcg,
            Marked(d.difference, "", d.low, d.high),
            Marked(d.seed_low, "", None, None),
            Marked(d.seed_high, "", None, None),
            verdict(d, draw),
        )
        for d in one.differences
    ]
    return Table(
        ("share", "labels", MEASURE, "difference", "lowest seed", "highest seed", ""),
        tuple(rows),
        caption=f"{one.collection}: {method_name('smar', one.variant)} against SFT with all {count(one.full_labels)} "
        "labels.",
        note=f"Difference of the means with its {percent(draw.level)} interval over queries, and the difference of the "
        "seeds furthest apart. Each share is tested on its own; not corrected for looking at several.",
    )


def half_table(halves: Sequence[Half], draw: Draw) -> Table:
    """SMAR against SFT with twice the labels, on one collection."""
    several = len({one.variant for one in halves}) > 1
    rows: list[tuple[Cell, ...]] = [
        (
            method_name("smar", one.variant if several else "") + f", {percent(one.against.share)}",
            round(one.against.labels),
            one.against.ndcg,
            f"SFT, {percent(one.double)}",
            round(one.double_labels),
            one.against.other,
            Marked(one.against.difference, "", one.against.low, one.against.high),
            verdict(one.against, draw),
        )
        for one in halves
    ]
    return Table(
        ("SMAR", "labels", MEASURE, "against", "labels", MEASURE, "difference", ""),
        tuple(rows),
        caption=f"{halves[0].collection}: what alignment is worth: SMAR against SFT with twice the labels.",
        note="Each pair is tested on its own; not corrected for looking at several.",
    )


def ablation_table(arms: Sequence[Ablated], experiment: str, draw: Draw) -> Table:
    """The arms of one experiment on one collection, each with its difference from the reference."""
    names = arm_names(arms)
    against = {Arm(one.method, one.variant, one.point.share): _against(one, names) for one in arms}
    different = sorted(set(against.values()) - {NOTHING})
    rows: list[tuple[Cell, ...]] = []
    for one in arms:
        arm, difference = Arm(one.method, one.variant, one.point.share), None
        if one.difference is not None:
            mark = "†" if one.p_holm is not None and one.p_holm < 1 - draw.level else ""
            difference = Marked(one.difference, mark, one.low, one.high)
        point = one.point
        rows.append(
            (
                names[arm],
                round(point.labels),
                Marked(point.ndcg, "", point.low, point.high),
                point.seed_std,
                point.cross,
                difference,
                one.p_holm,
                *([against[arm]] if len(different) > 1 else []),
            )
        )
    columns: tuple[str | Column, ...] = (
        "",
        "labels",
        Column(MEASURE, best="highest"),
        "std of seeds",
        Column(CROSS, best="highest"),
        "difference",
        Column("p (Holm)", digits=4),
        *(["from"] if len(different) > 1 else []),
    )
    title = experiment_name(experiment)
    known = f" Difference: from {different[0]}." if len(different) == 1 else ""
    return Table(
        columns,
        tuple(rows),
        caption=f"{arms[0].collection}: {title[0].lower()}{title[1:]}.",
        note=f"Intervals: {percent(draw.level)}, over queries.{known} † p < {1 - draw.level:.2g}: paired permutation "
        "test over queries, with Holm's correction for all comparisons of this table.",
    )


def arm_names(arms: Sequence[Ablated]) -> dict[Arm, str]:
    """What the arms of one table are called: with their share where they differ in it and do not say it themselves."""
    several = len({one.point.share for one in arms if one.point.share > 0}) > 1
    names = {}
    for one in arms:
        name = method_name(one.method, one.variant)
        told = not several or "(" in one.variant or one.point.share == 0
        names[Arm(one.method, one.variant, one.point.share)] = name if told else f"{name}, {percent(one.point.share)}"
    return names


def _against(one: Ablated, names: Mapping[Arm, str]) -> str:
    """What the arm is compared with: of its name, what differs from the arm's own."""
    other = one.reference
    if other is None:
        return NOTHING
    if other.method == one.method and other.share == one.point.share and other.variant:
        return other.variant
    if other.variant == one.variant and (other.share == one.point.share or one.point.share == 0):
        return method_name(other.method)
    return names[other]


def sizes(found: Findings, collection: str) -> str:
    """On how many queries and with how many seeds a collection was measured."""
    points = [point for line in found.curves if line.collection == collection for point in line.points]
    points += [one.point for arms in found.ablations.values() for one in arms if one.collection == collection]
    queries, seeds = ({getattr(point, name) for point in points} for name in ("queries", "seeds"))
    return f"{_span(queries)} queries, {_span(seeds)} seeds."


def _span(numbers: set[int]) -> str:
    return f"{min(numbers):,}" if len(numbers) == 1 else f"{min(numbers):,} to {max(numbers):,}"


def _first(one: Needed, at: float | None, since: float | None) -> str:
    if one.reference is None:
        return "not measured"
    if at is None:
        return "none measured"
    if at == since:
        return percent(at)
    return f"{percent(at)} (from {percent(since)} on)" if since is not None else f"{percent(at)} (alone)"


def _by_method(arms: Sequence[Ablated]) -> tuple[Ablated, ...]:
    order = in_order(one.method for one in arms)
    return tuple(sorted(arms, key=lambda one: (one.collection, order.index(one.method))))


def _ordered(lines: Iterable[Curve], collection: str) -> list[Curve]:
    here = [line for line in lines if line.collection == collection]
    order = in_order(line.method for line in here)
    return sorted(here, key=lambda line: order.index(line.method))
