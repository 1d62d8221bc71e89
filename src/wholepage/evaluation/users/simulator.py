"""Logs of users who do not exist: pages, what people judged of them, and orders, made into impressions.

Users differ, and come back: each has a patience and a taste for every modality, kept over all visits, and belongs to
one arm. What they do on a page is in ``behaviour``, the numbers of it in ``settings``. The same seed gives the same
log, whatever else runs; more impressions continue the log of fewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.behaviour import Behaviour, Visits, behave
from wholepage.evaluation.users.impressions import MODALITIES, ImpressionTable
from wholepage.evaluation.users.settings import UserSettings
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking

_DAY_S = 86_400.0


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many come, and when.

    Attributes:
        impressions: pages shown.  users: people who may come.
        depth: results of a ranking that are shown, at most.
        activity_spread: standard deviation of the logarithm of how often a user comes; 0 = all as often.
        days: visits fall into, at any moment alike; the log is in no order of time.  start_s: the first moment, seconds
            since 1970.
    Raises:
        InputError: a number out of its range.
    """

    impressions: int = 10_000
    users: int = 1_000
    depth: int = 10
    activity_spread: float = 1.0
    days: float = 14.0
    start_s: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("impressions", 0), ("users", 1), ("depth", 1)):
            if getattr(self, name) < least:
                raise InputError(f"Traffic.{name}: got {getattr(self, name)}; allowed: {least} or more; ask for some")
        for name in ("activity_spread", "days"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"Traffic.{name}: got {getattr(self, name)}; allowed: finite, 0 or more; mend it")


class MadePage(NamedTuple):
    """What one visit is shown: result ids in order, and who brought each (nothing = nobody is told)."""

    shown: Sequence[str]
    teams: Sequence[str] = ()


class Simulated(NamedTuple):
    """A log, and beside it what a log cannot tell."""

    log: ImpressionTable
    truth: Behaviour


PageMaker = Callable[[Page, np.random.Generator], MadePage]
"""Makes the page of one visit, such as an interleaving of two rankings."""


def simulate(
    pages: Iterable[Page],
    judgments: Judgments,
    rankings: Mapping[str, Iterable[Ranking]],
    *,
    seed: int,
    settings: UserSettings | None = None,
    traffic: Traffic | None = None,
    top_grade: float | None = None,
) -> ImpressionTable:
    """The log of users who see ranked pages.

    Args:
        judgments: mean grades by result say how relevant it is; a result without a grade counts as the worst.
        rankings: by arm, an order of each page; of more results than are shown, or fewer than the page has. Users are
            given to arms at random, for good; ``{"": rankings}`` is a log without a test.
        settings, traffic: None = the defaults.
        top_grade: the grade that is fully relevant; None = the best in ``judgments``.
    Raises:
        InputError: no pages or arms, an arm lacks a page or has it twice.
        PageError: a ranking has a result that its page has not.
    """
    return simulate_with_truth(
        pages, judgments, rankings, seed=seed, settings=settings, traffic=traffic, top_grade=top_grade
    ).log


def simulate_with_truth(
    pages: Iterable[Page],
    judgments: Judgments,
    rankings: Mapping[str, Iterable[Ranking]],
    *,
    seed: int,
    settings: UserSettings | None = None,
    traffic: Traffic | None = None,
    top_grade: float | None = None,
) -> Simulated:
    """As ``simulate``, with what each user looked at and whether they were satisfied.

    Args:
        pages, judgments, rankings, settings, traffic, top_grade: as for ``simulate``.
    Raises:
        InputError, PageError: as ``simulate``.
    """
    traffic = traffic or Traffic()
    ground = _ground(pages, judgments, top_grade)
    if not rankings:
        raise InputError('rankings: got no arm; allowed: one or more; pass {"": rankings} for a log without a test')
    items = np.stack([_ranked(ground, arm, of, traffic.depth) for arm, of in rankings.items()])
    crowd = _crowd(len(ground.pages), tuple(rankings), traffic, settings or UserSettings(), seed)
    return _lived(ground, crowd, items[crowd.arm, crowd.query], settings or UserSettings(), ((), None))


def simulate_made(
    pages: Iterable[Page],
    judgments: Judgments,
    maker: PageMaker,
    *,
    seed: int,
    settings: UserSettings | None = None,
    traffic: Traffic | None = None,
    top_grade: float | None = None,
) -> Simulated:
    """The log of users for each of whom a page is made on the spot, with what it cannot tell.

    Args:
        pages, judgments, settings, top_grade: as for ``simulate``.
        maker: called once for each impression, in their order, with the page of the query and its own generator.
        traffic: its depth is not looked at: what the maker returns is shown.
    Raises:
        InputError: no pages, or teams that are not one for each shown result.
        PageError: a made page has a result that the page has not, or twice.
    """
    settings, traffic = settings or UserSettings(), traffic or Traffic()
    ground = _ground(pages, judgments, top_grade)
    crowd = _crowd(len(ground.pages), ("",), traffic, settings, seed)
    rng = np.random.default_rng([seed, 1])
    made = [maker(ground.pages[query], rng) for query in crowd.query.tolist()]
    depth = max((len(one.shown) for one in made), default=0)
    item = np.full((len(made), depth), -1, dtype=np.int64)
    team, names = np.full((len(made), depth), -1, dtype=np.int64), dict[str, int]()
    for row, (query, one) in enumerate(zip(crowd.query.tolist(), made, strict=True)):
        places = len(one.shown)
        if one.teams and len(one.teams) != places:
            raise InputError(
                f"maker, query {ground.pages[query].query_id!r}: got {len(one.teams)} teams for {places} results; "
                "allowed: one each, or none; mend the maker"
            )
        item[row, :places] = _items_of(ground, query, one.shown, "maker")
        team[row, :places] = [names.setdefault(name, len(names)) for name in one.teams or ("",) * places]
    return _lived(ground, crowd, item, settings, (tuple(names), team))


class _Ground(NamedTuple):
    """The results of all pages in one row, page after page."""

    pages: list[Page]
    numbers: list[dict[str, int]]
    item_query: NDArray[np.int64]
    modality: NDArray[np.int64]
    relevance: NDArray[np.float64]


class _Crowd(NamedTuple):
    """Who comes when for what, ``[n]`` each; patience and taste are the users'."""

    user: NDArray[np.int64]
    query: NDArray[np.int64]
    arm: NDArray[np.int64]
    at_s: NDArray[np.float64]
    patience: NDArray[np.float64]
    taste: NDArray[np.float64]
    arms: tuple[str, ...]
    users: tuple[str, ...]
    behaviour: np.random.Generator


def _ground(pages: Iterable[Page], judgments: Judgments, top_grade: float | None) -> _Ground:
    pages = list(pages)
    if not pages:
        raise InputError("pages: got none; allowed: one or more; nobody can look at no page")
    twice = len(pages) - len({page.query_id for page in pages})
    if twice:
        raise InputError(f"pages: got {twice} query ids more than once; allowed: each once; rename or drop them")
    best = top_grade
    if best is None:
        best = max((g for q in judgments.query_ids for g in judgments.by_result(q).values()), default=0.0)
    if not 0.0 <= best < math.inf:
        raise InputError(f"top_grade: got {best}; allowed: finite grades from 0 up, or None; pass the best grade")
    numbers: list[dict[str, int]] = []
    query, modality, grade = list[int](), list[int](), list[float]()
    codes = {one: code for code, one in enumerate(MODALITIES)}
    for number, page in enumerate(pages):
        numbers.append({result_id: len(grade) + at for at, result_id in enumerate(page.result_ids)})
        grades = judgments.by_result(page.query_id)
        query += [number] * len(page)
        modality += [codes[result.modality] for result in page.results]
        grade += [grades.get(result_id, 0.0) for result_id in page.result_ids]
    relevance = np.array(grade, dtype=np.float64) / best if best > 0.0 else np.zeros(len(grade))
    if bool((relevance > 1.0).any()):
        raise InputError(
            f"top_grade: got {best:g} below the grade {relevance.max() * best:g} of a result; allowed: the best grade "
            "or more; pass a higher one, or None"
        )
    return _Ground(pages, numbers, np.array(query, dtype=np.int64), np.array(modality, dtype=np.int64), relevance)


def _items_of(ground: _Ground, query: int, shown: Sequence[str], by: str) -> list[int]:
    numbers = ground.numbers[query]
    if len(set(shown)) != len(shown) or not numbers.keys() >= set(shown):
        # Says which id is wrong, in the words that the ranking of a page has for it.
        Ranking(ground.pages[query].query_id, tuple(shown), by=by)
        ground.pages[query].keep(shown)
    return [numbers[result_id] for result_id in shown]


def _ranked(ground: _Ground, arm: str, rankings: Iterable[Ranking], depth: int) -> NDArray[np.int64]:
    """Items in shown order for each page, ``[pages, depth]``; -1 = padding."""
    by_query: dict[str, Ranking] = {}
    for ranking in rankings:
        if ranking.query_id in by_query:
            raise InputError(
                f"arm {arm!r}: got two rankings of query {ranking.query_id!r}; allowed: one each; keep one ranker"
            )
        by_query[ranking.query_id] = ranking
    items = np.full((len(ground.pages), depth), -1, dtype=np.int64)
    for query, page in enumerate(ground.pages):
        if page.query_id not in by_query:
            raise InputError(f"arm {arm!r}: got no ranking of query {page.query_id!r}; allowed: one each; rank all")
        shown = by_query[page.query_id].result_ids[:depth]
        items[query, : len(shown)] = _items_of(ground, query, shown, by_query[page.query_id].by)
    return items


def _crowd(queries: int, arms: tuple[str, ...], traffic: Traffic, settings: UserSettings, seed: int) -> _Crowd:
    people, visits, behaviour = np.random.default_rng([seed, 0]).spawn(3)
    who, when, what = visits.spawn(3)
    n, users = traffic.impressions, traffic.users
    traits = people.standard_normal((users, 2 + len(MODALITIES)))
    arm = people.integers(len(arms), size=users)
    often = np.cumsum(np.exp(traffic.activity_spread * traits[:, 0]))
    user = np.searchsorted(often / often[-1], who.random(n), side="right").astype(np.int64)
    patience = settings.patience * np.exp(settings.patience_spread * traits[:, 1])
    return _Crowd(
        user, what.integers(queries, size=n), arm[user], traffic.start_s + traffic.days * _DAY_S * when.random(n),
        patience[user], (settings.taste_spread * traits[:, 2:])[user], arms,
        tuple(f"u{number}" for number in range(users)), behaviour,
    )  # fmt: skip


def _lived(
    ground: _Ground,
    crowd: _Crowd,
    item: NDArray[np.int64],
    settings: UserSettings,
    teams: tuple[tuple[str, ...], NDArray[np.int64] | None],
) -> Simulated:
    there = item >= 0
    modality = _of_item(ground.modality, item, -1)
    relevance = _of_item(ground.relevance, item, 0.0)
    truth = behave(Visits(modality, relevance, crowd.patience, crowd.taste), settings, crowd.behaviour)
    names, team = teams
    if team is None:
        names, team = ("",), np.where(there, 0, -1)
    block = np.zeros(item.shape, dtype=np.int64)
    block[:, 1:] = np.cumsum(modality[:, 1:] != modality[:, :-1], axis=1)
    known = truth.satisfied_without_click.astype(np.int64)
    log = ImpressionTable(
        query=crowd.query, user=crowd.user, arm=crowd.arm, length=there.sum(axis=1), item=item, modality=modality,
        clicked=truth.clicked, click_at_s=truth.click_at_s, dwell_s=truth.dwell_s, block=np.where(there, block, -1),
        team=team, at_s=crowd.at_s, reformulated=truth.reformulated, satisfied_without_click=known,
        item_query=ground.item_query, query_ids=tuple(page.query_id for page in ground.pages), users=crowd.users,
        arms=crowd.arms, teams=names, result_ids=tuple(r for page in ground.pages for r in page.result_ids),
    )  # fmt: skip
    return Simulated(log, truth)


def _of_item(column: NDArray[np.generic], item: NDArray[np.int64], padding: float) -> NDArray:  # type: ignore[type-arg]
    """The values of items, with another in padding."""
    if len(column) == 0:
        return np.full(item.shape, padding, dtype=column.dtype)
    return np.where(item >= 0, column[item], column.dtype.type(padding))
