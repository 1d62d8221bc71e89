"""One visit to one page, for many visits at once: what is looked at, clicked, found enough.

All visits take their next step together: step t is the t-th element in each user's own order of reading.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.impressions import MODALITIES
from wholepage.evaluation.users.settings import UserSettings
from wholepage.pages.errors import InputError, ShapeError

_Floats = NDArray[np.float64]
_Flags = NDArray[np.bool_]
_Codes = NDArray[np.int64]
_NOBODY = -1
"""The place of the element that draws the eye when none does."""


class Visits(NamedTuple):
    """Who looks at what, n visits to pages of at most d places.

    Shapes:
        modality: [n, d] int, place in ``impressions.MODALITIES``; -1 = padding, only at the end
        relevance: [n, d] float, 0 = the worst grade, 1 = the best; unread in padding
        patience: [n] float, of the user
        taste: [n, 4] float, the user's log-odds by modality
    """

    modality: _Codes
    relevance: _Floats
    patience: _Floats
    taste: _Floats


class Behaviour(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What happened on n visits, and what a log would not tell.

    Shapes:
        clicked, examined: [n, d] bool; click_at_s, dwell_s: [n, d] float, NaN without click
        satisfied: [n] bool; satisfied_without_click: [n] bool, by the page and without any click
        reformulated: [n] bool
        drawn_to: [n] int, the place that drew the eye; -1 = none; began_there: [n] bool
    """

    clicked: _Flags
    examined: _Flags
    click_at_s: _Floats
    dwell_s: _Floats
    satisfied: _Flags
    satisfied_without_click: _Flags
    reformulated: _Flags
    drawn_to: _Codes
    began_there: _Flags


def behave(visits: Visits, settings: UserSettings, seed: int | np.random.Generator) -> Behaviour:
    """Let users visit pages.

    Each kind of draw has a stream of its own, taken visit by visit: more visits change nothing about the first ones.

    Raises:
        ShapeError: shapes that do not fit each other.
        InputError: a relevance outside 0 to 1.
    """
    _check(visits)
    n, d = visits.modality.shape
    draw = np.random.default_rng(seed).spawn(7)
    there = visits.modality >= 0
    heights = np.where(there, settings.heights.table()[visits.modality], 0.0)
    top = np.cumsum(heights, axis=1) - heights
    head = draw[0].random((n, 3))  # patience, beginning at the pull, reformulating
    drawn_to = _drawn_to(visits.modality, top, settings, draw[1].random((n, d)))
    began = (drawn_to != _NOBODY) & (head[:, 1] < settings.begin_at_pull)
    order = _reading_order(visits.modality, drawn_to, began)
    looked = draw[2].random((n, d)) < _notice(visits.modality, top, drawn_to, settings)
    enough = settings.chance(settings.satisfies, visits.relevance)
    by_sight = draw[3].random((n, d)) < settings.sight_satisfies.table()[visits.modality] * enough
    wanted = draw[4].random((n, d)) < _attraction(visits, settings)
    content = draw[5].random((n, d)) < enough
    median = np.where(content, settings.dwell_satisfied_s, settings.dwell_other_s)
    dwell = median * np.exp(settings.dwell_spread * draw[6].standard_normal((n, d)))
    endless = np.isinf(visits.patience)
    budget = np.where(endless, np.inf, -np.where(endless, 1.0, visits.patience) * np.log1p(-head[:, 0]))
    page = _Page(there, heights, looked, by_sight, wanted, content, dwell)
    walked = _walk(page, order, budget, settings)
    without = walked.satisfied & ~walked.clicked.any(axis=1)
    return Behaviour(
        clicked=walked.clicked, examined=walked.examined, click_at_s=walked.click_at_s,
        dwell_s=np.where(walked.clicked, dwell, np.nan), satisfied=walked.satisfied, satisfied_without_click=without,
        reformulated=~walked.satisfied & (head[:, 2] < settings.reformulates), drawn_to=drawn_to, began_there=began,
    )  # fmt: skip


class _Page(NamedTuple):
    """What would happen at each place, if the user came to it."""

    there: _Flags
    heights: _Floats
    looked: _Flags
    by_sight: _Flags
    wanted: _Flags
    content: _Flags
    dwell: _Floats


class _Walked(NamedTuple):
    examined: _Flags
    clicked: _Flags
    click_at_s: _Floats
    satisfied: _Flags


def _walk(page: _Page, order: _Codes, budget: _Floats, settings: UserSettings) -> _Walked:
    n, d = order.shape
    examined, clicked = np.zeros((n, d), dtype=bool), np.zeros((n, d), dtype=bool)
    click_at_s = np.full((n, d), np.nan)
    reading, satisfied = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    spent, clock, row = np.zeros(n), np.zeros(n), np.arange(n)
    for step in range(d):
        at = (row, order[:, step])
        # Strictly less: a budget that is just spent does not buy the next element; at the top it is always above 0.
        reading &= page.there[at] & (spent < budget)
        seen = reading & page.looked[at]
        found = seen & page.by_sight[at]
        click = seen & ~found & page.wanted[at]
        height = np.where(reading, page.heights[at], 0.0)
        clock += settings.read_s * height
        examined[at], clicked[at] = seen, click
        click_at_s[at] = np.where(click, clock, np.nan)
        clock += np.where(click, page.dwell[at], 0.0)
        spent += height + settings.click_effort * click
        done = found | (click & page.content[at])
        satisfied |= done
        reading &= ~done
    return _Walked(examined, clicked, click_at_s, satisfied)


def _drawn_to(modality: _Codes, top: _Floats, settings: UserSettings, chance: _Floats) -> _Codes:
    """The first place of the block that draws the eye, ``[n]``."""
    n, d = modality.shape
    if d == 0:
        return np.full(n, _NOBODY, dtype=np.int64)
    begins = np.ones((n, d), dtype=bool)
    begins[:, 1:] = modality[:, 1:] != modality[:, :-1]
    pull = np.where((modality >= 0) & begins & (top < settings.screen), settings.pull.table()[modality], 0.0)
    draws = chance < pull
    return np.where(draws.any(axis=1), draws.argmax(axis=1), _NOBODY).astype(np.int64)


def _reading_order(modality: _Codes, drawn_to: _Codes, began: _Flags) -> _Codes:
    """The places in the order they are read, ``[n, d]``: downwards, but for the block that reading begins at."""
    n, d = modality.shape
    place = np.arange(d)
    if d == 0:
        return np.zeros((n, 0), dtype=np.int64)
    block = np.zeros((n, d), dtype=np.int64)
    block[:, 1:] = np.cumsum(modality[:, 1:] != modality[:, :-1], axis=1)
    first = began[:, None] & (block == block[np.arange(n), drawn_to][:, None])
    order: _Codes = np.argsort(np.where(first, place - d, place), axis=1, kind="stable")
    return order


def _notice(modality: _Codes, top: _Floats, drawn_to: _Codes, settings: UserSettings) -> _Floats:
    """The chance that what is read past is looked at, ``[n, d]``: more near what draws the eye."""
    chance = settings.notice.table()[modality]
    if top.shape[1] == 0:
        return chance
    away = np.abs(top - top[np.arange(len(top)), drawn_to][:, None])
    gain = np.where(drawn_to[:, None] != _NOBODY, settings.near_gain * np.exp(-away / settings.near_reach), 0.0)
    return chance + (1.0 - chance) * gain


def _attraction(visits: Visits, settings: UserSettings) -> _Floats:
    """The chance of a click on what is looked at, ``[n, d]``: by relevance, moved by the user's taste."""
    chance = settings.chance(settings.clicks, visits.relevance)
    odds = np.exp(np.take_along_axis(visits.taste, np.maximum(visits.modality, 0), axis=1))
    return chance * odds / (chance * odds + (1.0 - chance))


def _check(visits: Visits) -> None:
    n, d = visits.modality.shape
    wanted = {"relevance": (n, d), "patience": (n,), "taste": (n, len(MODALITIES))}
    for name, shape in wanted.items():
        got = getattr(visits, name).shape
        if got != shape:
            raise ShapeError(f"visits.{name}: got shape {got}; allowed: {shape} beside modality [{n}, {d}]; mend it")
    padding = visits.modality < 0
    if bool((padding[:, :-1] & ~padding[:, 1:]).any()):
        raise InputError("visits.modality: got padding before an element; allowed: at the end only; close the gaps")
    relevance = visits.relevance[~padding]
    if not bool(((relevance >= 0.0) & (relevance <= 1.0)).all()):
        raise InputError(
            f"visits.relevance: got {relevance.min():g} to {relevance.max():g}; allowed: 0 (the worst grade) to 1 (the "
            "best); divide grades by the best one, and give ungraded results 0"
        )
