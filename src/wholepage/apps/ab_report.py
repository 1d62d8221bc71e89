"""The report of ``wholepage ab analyse``: what was found in a log, in words, tables and plots."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wholepage.apps.ab_analysis import ArmsFound, Look, MergedFound, Plan
from wholepage.evaluation.online.interleaving.verdict import Verdict
from wholepage.evaluation.online.means import Difference, Mean
from wholepage.evaluation.plots import Interval, interval_plot
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.tables import Column, Marked

_MADE = "How this report was made."


def arms_sections(found: ArmsFound, plan: Plan, made: Sequence[tuple[str, str]] = ()) -> list[Section]:
    """The report of an A/B test.

    Args:
        made: how it was made, in pairs of what and how.
    """
    sections: list[Section] = [Heading("In short"), Prose("\n\n".join(arms_in_short(found, plan)))]
    sections += [*_plot(found, plan), Heading("Was the split right"), _split(found), Heading("What changed")]
    sections += [_changes(found, plan), _sizes(found, plan)]
    for row in found.rows:
        if row.looks:
            sections += [Heading(f"{row.change.name}, look by look", 3), *_looks(row.looks, row.change.name, plan)]
    return [*sections, *_made(made)]


def merged_sections(found: MergedFound, plan: Plan, made: Sequence[tuple[str, str]] = ()) -> list[Section]:
    """The report of an interleaving.

    Args:
        made: how it was made, in pairs of what and how.
    """
    sections: list[Section] = [Heading("In short"), Prose("\n\n".join(merged_in_short(found, plan)))]
    rows = tuple(
        (
            f"{one.first} - {one.second}", one.users, one.wins, one.ties, one.losses,
            Marked(one.delta, "", one.low, one.high), p_text(one.p_sign), p_text(one.p_holm), needed,
        )
        for one, needed in zip(found.verdicts, found.needed, strict=True)
    )  # fmt: skip
    columns = (
        "rankers", "users", "prefer first", "neither", "prefer second", "delta", "p (sign test)", "p (Holm)",
        "users needed",
    )  # fmt: skip
    sections += [
        Heading("Who is preferred"),
        Table(
            columns, rows, caption="Users, by whose results they clicked more.",
            note="delta: (wins + ties / 2) / users - 1/2, with its interval. Users needed: for the sign test to decide "
            "with power 0.8, if people stay as they are; it comes from the same log and is no plan.",
        ),
        Table(
            ("ranker", Column("credit", 4)), tuple(found.credits.items()), caption="Credit for each page.",
        ),
    ]  # fmt: skip
    if found.looks:
        sections += [Heading("Look by look"), *_looks(found.looks, "share of users who prefer the first", plan)]
    return [*sections, *_made(made)]


def arms_in_short(found: ArmsFound, plan: Plan) -> list[str]:
    """What an A/B test says, a sentence each; first of all whether its split was right."""
    said = []
    counts = f"{found.split.counts[0]:,} users saw {found.control}, {found.split.counts[1]:,} saw {found.treatment}"
    if found.split.mismatch:
        said.append(
            f"SAMPLE RATIO MISMATCH: {counts}; planned were {found.split.expected[0]:,.0f} and "
            f"{found.split.expected[1]:,.0f} (p = {found.split.p:.2g}). The split is broken: find out where users were "
            "lost, or counted twice. Nothing below means anything until then."
        )
    else:
        said.append(f"{counts}; the split is as planned (p = {found.split.p:.2g}).")
    sure = [row.change for row in found.rows if row.change.p_holm < plan.alpha]
    for one in sure:
        said.append(f"{one.name} is {_more(one.change)} with {found.treatment} (p = {one.p_holm:.2g} after Holm).")
    if not sure:
        said.append(f"No indicator of {len(found.rows)} tested changed beyond chance.")
    share, most = max((row.change.variance_saved or 0.0, row.change.name) for row in found.rows)
    if share > 0:
        said.append(f"The time before the test took up to {share:.0%} of the variance ({most}).")
    return said


def merged_in_short(found: MergedFound, plan: Plan) -> list[str]:
    """What an interleaving says, a sentence for each pair."""
    return [_verdict(one, plan) for one in found.verdicts]


def p_text(value: float) -> str:
    """A p-value as written in a table."""
    return f"{value:.2g}"


def _verdict(one: Verdict, plan: Plan) -> str:
    counts = f"{one.wins:,} of {one.users:,} users clicked more of {one.first}, {one.losses:,} more of {one.second}"
    if one.p_holm >= plan.alpha:
        return f"Undecided: {counts} (p = {one.p_holm:.2g})."
    return f"{one.first if one.delta > 0 else one.second} is preferred: {counts} (p = {one.p_holm:.2g})."


def _more(one: Difference) -> str:
    way = "higher" if one.difference > 0 else "lower"
    return f"{way} by {abs(one.difference):.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def _plot(found: ArmsFound, plan: Plan) -> list[Section]:
    rows = []
    for row in found.rows:
        one = row.change.change
        if all(map(math.isfinite, (one.relative, one.relative_low, one.relative_high))):
            rows.append(Interval(row.change.name, 100 * one.relative, 100 * one.relative_low, 100 * one.relative_high))
    if not rows:
        return []
    caption = f"Change from {found.control} to {found.treatment} in percent, with {plan.level:.0%} intervals."
    said = "; ".join(f"{row.name}: {row.value:.2f}, from {row.low:.2f} to {row.high:.2f}" for row in rows)
    return [Figure(interval_plot(rows, measure="change, %"), caption, f"{caption} {said}.")]


def _split(found: ArmsFound) -> Table:
    names = (found.control, found.treatment)
    rows = tuple(zip(names, found.split.counts, found.split.expected, strict=True))
    watched = ""
    if found.split_looks:
        lowest = min(p for _, p in found.split_looks)
        watched = f" Looked at {len(found.split_looks)} times, at all looks together: p = {lowest:.2g}."
    return Table(
        ("arm", "users", Column("planned", 1)), rows, caption="Users of each arm.",
        note=f"p of a split as uneven: {found.split.p:.2g}; below 0.001 the test is broken.{watched}",
    )  # fmt: skip


def _changes(found: ArmsFound, plan: Plan) -> Table:
    rows = []
    for row in found.rows:
        one, mark = row.change.change, "*" if row.change.p_holm < plan.alpha else ""
        saved = row.change.variance_saved
        rows.append(
            (
                row.change.name, *map(_mean, row.arms), Marked(one.difference, mark, one.low, one.high),
                f"{one.relative:+.2%}" if math.isfinite(one.relative) else None, p_text(one.p),
                p_text(row.change.p_holm), None if saved is None else f"{saved:.0%}",
            )
        )  # fmt: skip
    columns = (
        "indicator", Column(found.control, 4), Column(found.treatment, 4), Column("difference", 4), "relative", "p",
        "p (Holm)", "variance saved",
    )  # fmt: skip
    return Table(
        columns, tuple(rows), caption="Indicators, with intervals over users.",
        note=f"* p below {plan.alpha:g} after Holm's correction for all indicators here. Users, not pages, are what is "
        "drawn at random (delta method). Variance saved is by what was known from before the test (CUPED): the "
        "difference is rid of it, the values of the arms are not.",
    )  # fmt: skip


def _sizes(found: ArmsFound, plan: Plan) -> Table:
    rows = []
    for row in found.rows:
        relative = row.sizes.smallest_relative
        share = f"{relative:.2%}" if relative is not None else None
        rows.append((row.change.name, row.sizes.smallest, share, row.sizes.for_effect, row.sizes.for_seen))
    columns = (
        "indicator", Column("smallest found", 4), "of control", f"users an arm for {plan.effect:.0%}",
        "users an arm for the change seen",
    )  # fmt: skip
    return Table(
        columns, tuple(rows), caption="What so many users can see, and how many it takes (power 0.8).",
        note="The last column takes the change seen for the true one: it helps to plan the next test, and says nothing "
        "about this one.",
    )  # fmt: skip


def _looks(looks: Sequence[Look], name: str, plan: Plan) -> list[Section]:
    crossed = next((one for one in looks if one.p is not None and one.p < plan.alpha), None)
    told = "The sequential test (mSPRT) " + (
        f"decided after {crossed.users:,} users." if crossed else "did not decide."
    )
    rows = tuple(
        (f"{one.users:,}", Marked(one.value, "", one.low, one.high), None if one.p is None else p_text(one.p))
        for one in looks
    )
    tested = any(one.p is not None for one in looks)
    sections: list[Section] = [Prose(told)] if tested else []
    wide = [one for one in looks if math.isfinite(one.low) and math.isfinite(one.high)]
    if wide:
        named = [Interval(f"{one.users:,} users", one.value, min(one.low, one.value), max(one.high, one.value))
                 for one in wide]  # fmt: skip
        caption = f"{name}: intervals that hold at all looks together ({plan.level:.0%})."
        said = "; ".join(f"{row.name}: {row.value:.4f}, from {row.low:.4f} to {row.high:.4f}" for row in named)
        sections.append(Figure(interval_plot(named, measure=name), caption, f"{caption} {said}."))
    table = Table(
        ("after users", Column("value", 4), "p, at any time"), rows, caption=f"{name}, as often as it is looked at.",
        note="Users in the order they first came, each with all their pages.",
    )  # fmt: skip
    return [*sections, table]


def _mean(one: Mean) -> Marked:
    return Marked(one.value, "", one.low, one.high)


def _made(made: Sequence[tuple[str, str]]) -> list[Section]:
    return [Heading("How it was measured"), Table(("made with", ""), tuple(made), caption=_MADE)] if made else []
