"""How ``wholepage ab analyse`` says what it found: notes, tables or JSON, and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from wholepage.apps.ab_analysis import ArmsFound, MergedFound, Plan
from wholepage.apps.ab_report import arms_in_short, arms_sections, merged_in_short, merged_sections
from wholepage.apps.console import deliver, note, number, print_json, print_table
from wholepage.apps.evaluation_outputs import made_with
from wholepage.evaluation.report import Section, write_report


class Written(NamedTuple):
    """The report that was asked for (None = none), the files it is made from, and a remark."""

    report: Path | None
    files: tuple[tuple[str, Path], ...]
    remark: str


def deliver_arms(found: ArmsFound, plan: Plan, log: Path, written: Written, *, json_: bool) -> None:
    """What an A/B test found."""
    title = f"A/B test: {found.treatment} against {found.control}"
    _report(written, title, lambda made: arms_sections(found, plan, made))
    for line in arms_in_short(found, plan):
        note(line)
    if _printed(found, log, json_):
        return
    rows = []
    for row in found.rows:
        one = row.change.change
        needed = row.sizes.for_effect
        rows.append([
            row.change.name, number(one.control), number(one.treatment), f"{one.difference:+.4f}",
            f"{number(one.low)} .. {number(one.high)}", f"{row.change.p_holm:.2g}",
            "-" if row.change.variance_saved is None else f"{row.change.variance_saved:.0%}",
            "-" if needed is None else f"{needed:,}",
            *([f"{row.looks[-1].p:.2g}" if row.looks and row.looks[-1].p is not None else "-"] * plan.sequential),
        ])  # fmt: skip
    columns = ["indicator", found.control, found.treatment, "difference", f"{plan.level:.0%}", "p (Holm)", "CUPED"]
    columns += [f"users an arm for {plan.effect:.0%}", *(["p, any time"] * plan.sequential)]
    print_table(f"{title}, {sum(found.split.counts):,} users", columns, rows)


def deliver_merged(found: MergedFound, plan: Plan, log: Path, written: Written, *, json_: bool) -> None:
    """What interleaved pages say."""
    title = f"Interleaving: {', '.join(found.credits)}"
    _report(written, title, lambda made: merged_sections(found, plan, made))
    for line in merged_in_short(found, plan):
        note(line)
    if _printed(found, log, json_):
        return
    rows = [
        [
            f"{one.first} - {one.second}", str(one.users), str(one.wins), str(one.ties), str(one.losses),
            f"{one.delta:+.4f}", f"{one.low:+.4f} .. {one.high:+.4f}", f"{one.p_holm:.2g}",
            "-" if needed is None else f"{needed:,}",
        ]
        for one, needed in zip(found.verdicts, found.needed, strict=True)
    ]  # fmt: skip
    columns = [
        "rankers",
        "users",
        "first",
        "neither",
        "second",
        "delta",
        f"{plan.level:.0%}",
        "p (Holm)",
        "users needed",
    ]
    print_table(title, columns, rows)


def _report(written: Written, title: str, sections: Callable[[Sequence[tuple[str, str]]], list[Section]]) -> None:
    if written.report is not None:
        made = made_with(written.files, written.remark)
        deliver(str(written.report), "report.html", lambda place: write_report(place, title, sections(made)))


def _printed(found: ArmsFound | MergedFound, log: Path, json_: bool) -> bool:
    if json_:
        print_json({"log": str(log), **msgspec.to_builtins(found)})
    return json_
