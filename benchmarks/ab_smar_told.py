"""What ``ab_smar`` found, as a page of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from ab_smar_rankers import SMAR, ZSCORE
from ab_smar_users import SENSE, VISITS

MEASURE, ALPHA, POWER = "nDCG@10", 0.05, 0.8


class Row(msgspec.Struct, frozen=True):
    """One behaviour and one way to ask.

    Attributes:
        difference, low, high: for SMAR, over all users: of the indicator, or delta of an interleaving.
        winner: by that interval; empty = none.
        users: the smallest size with power 0.8; None = more than ``largest``.  pages: that they see.
        power, power_low, power_high: there, or at the largest size.  below: power at the size before.
        wrong: share of experiments of that size that found the other one better.
        formula: the users that the usual arithmetic says, from the change and spread of all who came; None = no change.
    """

    behaviour: str
    asked: str
    difference: float
    low: float
    high: float
    winner: str
    users: int | None
    pages: float
    largest: int
    power: float
    power_low: float
    power_high: float
    below: float
    wrong: float
    experiments: int
    formula: int | None


def told(rows: Sequence[Row], found: dict[str, Any], shown: dict[str, str]) -> str:
    """The page of results."""
    lines = [f"# SMAR against z-score, offline and online: {shown['collection']}", "", f"`{shown['command']}` · commit "
             f"{shown['commit']} · {shown['machine']} · {shown['seconds']} s", ""]  # fmt: skip
    lines += [
        "Users are SIMULATED and click by the grades that nDCG is computed from. That the online winner is the offline "
        "one is therefore partly by construction: it shows that position bias, vertical attraction and good "
        "abandonment, as set here, do not turn the verdict (or where they do), and how many users it takes; it does "
        "not show that real people prefer SMAR.",
        "",
        f"Offline, {found['queries']} pages: " + ", ".join(
            f"{name} {MEASURE} {found[name]['mean']:.4f} [{found[name]['interval'][0]:.4f}, "
            f"{found[name]['interval'][1]:.4f}]" for name in (SMAR, ZSCORE)
        ) + f"; paired permutation test p = {found['p']:.2g}; winner: {found['winner'] or 'none'}.",
        "",
        f"{VISITS} pages a user on average, 10 results a page, alpha {ALPHA}, two-sided, one question at a time. Users "
        f"are those who came, both arms together; `users` is the smallest of the sizes tried (each 1.41 times the one "
        f"before) from which on power is {POWER} or more, with its Wilson 95 % interval over experiments of users who "
        "never meet; `by formula` is what the change and the spread of all users say (t-test, sign test). `before` is "
        "the power at the size before. `wrong`: experiments that found the other one better. The change is "
        "that of all users who came, with its 95 % interval: of the indicator (SMAR - z-score), or of an interleaving "
        "wins less losses, halved, as a share of users.",
        "",
        "The last two behaviours do not look at grades. Clicks by place alone go by height: whoever puts low results "
        "first gets more clicks in an A/B test, and fewer in an interleaving, where the other's results below are seen "
        "more (team draft is fair by rank, not by height). The time to the first click goes by height even at random.",
        "",
    ]  # fmt: skip
    lines += [verdict_line(rows, found), "", *_table(rows)]
    return "\n".join(lines) + "\n"


def verdict_line(rows: Sequence[Row], found: dict[str, Any]) -> str:
    """How often online agrees, counted."""
    real = [row for row in rows if not row.behaviour.startswith("null")]
    agree = sum(row.winner == found["winner"] for row in real)
    differ = [f"{row.asked} ({row.behaviour})" for row in real if row.winner not in ("", found["winner"])]
    none = [f"{row.asked} ({row.behaviour})" for row in real if not row.winner]
    nulls = [row for row in rows if row.behaviour.startswith("null")]
    merged = [row for row in nulls if row.asked not in SENSE]
    return (
        f"Of {len(real)} questions to users who care, {agree} name the offline winner, {len(differ)} the other one"
        f"{': ' + ', '.join(differ) if differ else ''}; {len(none)} name nobody"
        f"{': ' + ', '.join(none) if none else ''}. Of users who do not care, {sum(bool(row.winner) for row in nulls)} "
        f"of {len(nulls)} questions name somebody at 95 %, of interleavings "
        f"{sum(bool(row.winner) for row in merged)} of {len(merged)}."
    )


def _table(rows: Sequence[Row]) -> list[str]:
    head = "behaviour | asked | change (95 %) | winner | users | by formula | pages | power (95 %) | before | wrong"
    lines = [f"| {head} | experiments |", "|---|---|---|---|---:|---:|---:|---|---:|---:|---:|"]
    for row in rows:
        users = f"{row.users:,}" if row.users else f"> {row.largest:,}"
        pages = f"{row.pages:,.0f}" if row.users else f"> {row.pages:,.0f}"
        before = "" if math.isnan(row.below) else f"{row.below:.3f}"
        formula = f"{row.formula:,}" if row.formula else ""
        cells = [
            row.behaviour, row.asked, f"{row.difference:+.4f} ({row.low:+.4f} .. {row.high:+.4f})",
            row.winner or "none", users, formula, pages,
            f"{row.power:.3f} ({row.power_low:.3f} .. {row.power_high:.3f})",
            before, f"{row.wrong:.3f}", str(row.experiments),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines
