"""Simulated users of ``ab_smar``: how they behave, and what they did, one value for each user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ab_smar_rankers import SMAR, ZSCORE, World
from wholepage.evaluation.online.indicators import Indicator, indicators
from wholepage.evaluation.online.interleaving.block_draft import BlockAwareTeamDraft
from wholepage.evaluation.online.interleaving.shown import Interleaving
from wholepage.evaluation.online.interleaving.team_draft import TeamDraft
from wholepage.evaluation.users.settings import (
    ByModality,
    UserSettings,
    informational_users,
    position_biased_users,
    random_users,
)
from wholepage.evaluation.users.simulator import MadePage, Traffic, simulate, simulate_made
from wholepage.pages.model import Page

DEPTH = 10
VISITS = 4
"""Pages a user sees, on average."""
SENSE = {"sat-CTR": 1, "CTR": 1, "clicks": 1, "bad-abandonment": -1, "reformulation": -1, "first-click_s": -1}
"""Indicators, and whether more is better."""
METHODS: tuple[Interleaving, ...] = (BlockAwareTeamDraft(), TeamDraft())
DRAWN = 128
"""Pairs of merged pages of each query, drawn beforehand; each visit is shown one of them."""


def behaviours() -> dict[str, UserSettings]:
    """What is varied, one thing at a time."""

    def but(**changes: Any) -> UserSettings:
        return msgspec.structs.replace(UserSettings(), **changes)

    none = ByModality(text=0.0, image=0.0, video=0.0, answer=0.0)
    return {
        "default": UserSettings(),
        "position bias strong (patience 4)": but(patience=4.0),
        "position bias none (patience inf)": but(patience=math.inf),
        "vertical attraction strong": but(
            pull=ByModality(text=0.0, image=0.9, video=0.9, answer=0.9), begin_at_pull=0.9, near_gain=0.8
        ),
        "vertical attraction none": but(pull=none, near_gain=0.0),
        "good abandonment strong": but(sight_satisfies=ByModality(text=0.3, image=0.8, video=0.5, answer=0.95)),
        "good abandonment none": but(sight_satisfies=none),
        "informational": informational_users(),
        "null: clicks by place alone": position_biased_users(),
        "null: clicks at random": random_users(),
    }


class Crowd(NamedTuple):
    """Users who came, one value each: their arm (or 0), their pages, and the sums of each question asked."""

    arm: NDArray[np.int64]
    pages: NDArray[np.float64]
    sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def joined(crowds: Sequence[Crowd]) -> Crowd:
    """Users of several crowds, one after another."""
    sums = {
        name: tuple(np.concatenate([crowd.sums[name][k] for crowd in crowds]) for k in (0, 1))
        for name in crowds[0].sums
    }
    return Crowd(np.concatenate([c.arm for c in crowds]), np.concatenate([c.pages for c in crowds]), sums)  # type: ignore[arg-type]


def in_arms(given: World, settings: UserSettings, users: int, seed: int) -> Crowd:
    """Users of an A/B test: arm 0 is z-score, arm 1 SMAR."""
    rankings = {name: given.rankings[name] for name in (ZSCORE, SMAR)}
    traffic = Traffic(impressions=VISITS * users, users=users, depth=DEPTH)
    log = simulate(given.pages, given.judgments, rankings, seed=seed, settings=settings, traffic=traffic)
    arm = np.zeros(len(log.users), dtype=np.int64)
    arm[log.user] = log.arm
    pages = np.bincount(log.user, minlength=len(log.users)).astype(float)
    nothing = Indicator("", np.zeros(len(pages)), np.zeros(len(pages)))
    found = {name: one for name, one in indicators(log, ranks=0).items() if name in SENSE}
    came = pages > 0
    sums = {name: found.get(name, nothing).rows(came) for name in SENSE}
    return Crowd(arm[came], pages[came], {name: (one.numerator, one.denominator) for name, one in sums.items()})


def merged_pages(given: World, method: Interleaving, seed: int) -> dict[str, list[MadePage]]:
    """Merged pages of each query, drawn in pairs: with the same coins, once for either ranker as the first.

    In a pair each ranker brings what the other does in the other page, so that a finite number of pages favours nobody.
    """
    ranked = [{one.query_id: one for one in given.rankings[name]} for name in (SMAR, ZSCORE)]
    made: dict[str, list[MadePage]] = {}
    for number, page in enumerate(given.pages):
        pair = [of[page.query.query_id] for of in ranked]
        drawn = [
            method.interleave(order, rng=np.random.default_rng([seed, number, coin]), page=page).top(DEPTH)
            for coin in range(DRAWN)
            for order in (pair, pair[::-1])
        ]
        made[page.query.query_id] = [MadePage(shown.order, shown.team_names) for shown in drawn]
    return made


def on_merged(
    given: World, made: dict[str, list[MadePage]], settings: UserSettings, users: int, seed: int, name: str
) -> Crowd:
    """Users of an interleaving: their summed preference for SMAR, in clicks, over their pages."""

    def maker(page: Page, rng: np.random.Generator) -> MadePage:
        return made[page.query.query_id][int(rng.random() * 2 * DRAWN)]

    traffic = Traffic(impressions=VISITS * users, users=users, depth=DEPTH)
    log = simulate_made(given.pages, given.judgments, maker, seed=seed, settings=settings, traffic=traffic).log
    signs = np.array([{SMAR: 1, ZSCORE: -1}.get(team, 0) for team in log.teams])
    preference = (log.clicked * signs[log.team] * (log.team >= 0)).sum(axis=1)
    pages = np.bincount(log.user, minlength=len(log.users)).astype(float)
    summed = np.bincount(log.user, weights=preference, minlength=len(log.users))
    came = pages > 0
    return Crowd(np.zeros(int(came.sum()), dtype=np.int64), pages[came], {name: (summed[came], pages[came])})
