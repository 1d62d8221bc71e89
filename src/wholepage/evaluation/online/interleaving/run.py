"""Run an interleaving experiment: merge, show, collect clicks, judge; or judge what a log holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np

from wholepage.evaluation.online.interleaving.shown import Interleaving, Outcome, Shown, from_impression
from wholepage.evaluation.online.interleaving.verdict import Verdict, verdicts
from wholepage.evaluation.users.impressions import Impression
from wholepage.pages.errors import InputError
from wholepage.pages.model import Page, Ranking

ClickSource = Callable[[Sequence[Shown], np.random.Generator], Sequence[Iterable[int]]]
"""The users: for each merged page the places they clicked, from 0. It is asked once for all pages of a run."""


class InterleavingRun(msgspec.Struct, frozen=True, eq=False):
    """An experiment: what was shown, what it was worth, and who won.

    Attributes:
        method: its name.  shown, outcomes: page by page.
        verdicts: one for each pair of rankers.
    """

    method: str
    shown: tuple[Shown, ...]
    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]


def run_interleaving(
    rankings: Sequence[Sequence[Ranking]],
    clicks: ClickSource,
    method: Interleaving,
    *,
    seed: int,
    pages: Sequence[Page] | None = None,
    impressions: int | None = None,
    depth: int | None = None,
    users: Sequence[str] | None = None,
    level: float = 0.95,
) -> InterleavingRun:
    """Show merged pages to users and say whose results they clicked.

    Args:
        rankings: for each query the rankings to compare, of the same rankers in the same order.
        clicks: who clicks.
        pages: of each query; needed by methods that look at modalities.
        impressions: how many pages to show, query after query and from the start again; None = each query once.
        depth: how many places of a merged page are shown; None = all.
        users: of each impression; None = each somebody else.
    Raises:
        InputError: no query, rankers that differ between queries, pages that are not one for each query, fewer
            impressions than 2, a depth below 1, or a source that does not answer for each page.
    """
    _check(rankings, pages)
    count = len(rankings) if impressions is None else impressions
    if count < 2:
        raise InputError(f"impressions: got {count}; allowed: 2 or more; show more pages")
    merging, clicking = np.random.default_rng(seed).spawn(2)
    shown = [
        method.interleave(rankings[i], rng=merging, page=pages[i] if pages is not None else None)
        for i in (number % len(rankings) for number in range(count))
    ]
    shown = shown if depth is None else [one.top(depth) for one in shown]
    answers = clicks(shown, clicking)
    if len(answers) != count:
        raise InputError(
            f"clicks: got answers for {len(answers)} pages; allowed: one for each of {count}; answer () where nothing "
            "was clicked"
        )
    outcomes = [method.credit(one, places) for one, places in zip(shown, answers, strict=True)]
    found = verdicts(outcomes, shown[0].rankers, users=users, level=level)
    return InterleavingRun(method.name, tuple(shown), tuple(outcomes), tuple(found))


def judge_log(
    impressions: Iterable[Impression],
    rankings: Mapping[str, Sequence[Ranking]],
    method: Interleaving,
    *,
    level: float = 0.95,
) -> InterleavingRun:
    """Judge merged pages that were shown some time ago, by the method that made them.

    Args:
        rankings: by query id, what was merged, of the same rankers in the same order.
    Raises:
        InputError: fewer than two users, a query without rankings, rankers that differ between queries, or an
            impression that does not fit its rankings.
    """
    records = list(impressions)
    missing = sorted({one.query_id for one in records}.difference(rankings))
    if missing:
        raise InputError(
            f"rankings: got none of queries {missing[:5]}; allowed: those of each query logged; keep what was merged"
        )
    _check([rankings[query] for query in dict.fromkeys(one.query_id for one in records)], None)
    shown = [from_impression(one, rankings[one.query_id]) for one in records]
    outcomes = [
        method.credit(page, (click.place for click in one.clicks)) for one, page in zip(records, shown, strict=True)
    ]
    found = verdicts(outcomes, shown[0].rankers, users=[one.user for one in records], level=level)
    return InterleavingRun(method.name, tuple(shown), tuple(outcomes), tuple(found))


def _check(rankings: Sequence[Sequence[Ranking]], pages: Sequence[Page] | None) -> None:
    if not rankings:
        raise InputError("rankings: got no query; allowed: one or more; rank some pages first")
    rankers = {tuple(ranking.by for ranking in own) for own in rankings}
    if len(rankers) > 1:
        raise InputError(
            f"rankings: got rankers {sorted(rankers)[:3]}; allowed: the same in the same order everywhere; sort them"
        )
    if pages is not None and len(pages) != len(rankings):
        raise InputError(
            f"pages: got {len(pages)} for {len(rankings)} queries; allowed: one each, in the same order; pair them"
        )
