"""Judging in place: grades that people give on the result page go into the log of a campaign, like those of the desk.

The campaign's own rules hold: people of its store who are signed in, each result once a person, as many people as its
overlap says, budget, gold, pauses. What differs is who chooses: at the desk the campaign does; here somebody takes the
result that they look at (``LiveCampaign.take``), and sees where a ranker has put it. Such grades lean towards what
rankers put first. Where grades must not, a campaign of its own keeps the two apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from time import monotonic

import msgspec

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Skipped, Task
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.moments import Clock, utc_now
from wholepage.annotation.people import Person
from wholepage.annotation.store import Store
from wholepage.apps.desk.access import Conflict
from wholepage.apps.desk.present import grades
from wholepage.apps.desk.views import GradeView
from wholepage.pages.errors import BudgetSpent, Halted, InputError
from wholepage.pages.model import Page, Result

_MOST_WATCHED = 20_000

_CLOSED = "The campaign is closed."
_PAUSED = "Grading is paused. Please ask a manager of the campaign."
_SPENT = "The budget of the campaign is spent."
_ELSEWHERE = "This query is not part of the campaign."
_DECIDED = "A reviewer has decided it."
_SET_ASIDE = "You have set it aside at the desk."
_ENOUGH = "It has been graded."


class Judging(msgspec.Struct, frozen=True):
    """What somebody may grade on a page.

    Attributes:
        grades: that can be given.
        mine: what they gave, by result.
        closed: why no grade can be given or changed, by result; results without a line are open.
        why_not: why none can be on this page at all; empty = some can.
    """

    grades: tuple[GradeView, ...] = ()
    mine: Mapping[str, int] = {}
    closed: Mapping[str, str] = {}
    why_not: str = ""


class JudgeInto:
    """A campaign that takes grades from the result page.

    Args:
        store: of the campaign and of the people who may sign in.
        campaign_id: which.
        clock: tells the time; the store should have the same.
    Raises:
        InputError: no such campaign.
        StoreError: its log or its plan is not as it was written.
    """

    def __init__(self, store: Store, campaign_id: str, *, clock: Clock = utc_now) -> None:
        self.store, self.campaign_id = store, campaign_id
        self._live = LiveCampaign(store, campaign_id, clock)
        self._watched: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = Lock()

    @property
    def name(self) -> str:
        """Of the campaign, as people read it."""
        return self._live.read().settings.name

    def judging(self, page: Page, person: Person) -> Judging:
        """What somebody may grade on a page that they look at from now on."""
        campaign, who = self._live.read(), person.person_id
        planned = _planned(campaign, page)
        if not planned:
            return Judging(why_not=_ELSEWHERE)
        why_not = _halted(campaign, who)
        if why_not:
            return Judging(why_not=why_not)
        self._watch(who, page.query_id)
        aside = {act.task for _, act in campaign.history(who) if isinstance(act, Skipped)}
        mine: dict[str, int] = {}
        closed: dict[str, str] = {}
        for result in page.results:
            task = Task.grade(page.query_id, result.result_id)
            if planned.get(result.result_id) is None:
                closed[result.result_id] = _ELSEWHERE
                continue
            replies = campaign.replies(task)
            given = replies[who].grade if who in replies else None
            if given is not None:
                mine[result.result_id] = given
            if campaign.decision(task) is not None:
                closed[result.result_id] = _DECIDED
            elif task in aside:
                closed[result.result_id] = _SET_ASIDE
            elif who not in replies and len(_people(campaign, task)) >= campaign.settings.overlap:
                closed[result.result_id] = _ENOUGH
        return Judging(grades(campaign), mine, closed)

    def judge(self, page: Page, result: Result, person: Person, grade: int | None) -> None:
        """Write a grade; another than before takes the one before back first, None only takes it back.

        The same grade sent again writes nothing.

        Raises:
            InputError: a result or a grade that the campaign does not have.
            Conflict: it cannot be graded any more.
        """
        campaign, who = self._live.read(), person.person_id
        if result.result_id not in _planned(campaign, page):
            raise InputError(f"result {result.result_id!r}: {_ELSEWHERE} Open the page again.")
        if grade is not None and not 0 <= grade < campaign.settings.levels:
            raise InputError(f"grade: got {grade}; allowed: 0 to {campaign.settings.levels - 1}; choose one of them")
        task = Task.grade(page.query_id, result.result_id)
        before = campaign.replies(task).get(who)
        if (None if before is None else before.grade) == grade:
            return
        seconds = self._since(who, page.query_id)
        try:
            if before is not None:
                self._live.undo(who, next(seq for seq, act in campaign.history(who) if act == before))
            if grade is not None:
                self._live.take(who, task)
                version = self._live.read().guideline_version
                self._live.answer(who, task, grade=grade, seconds=seconds, guideline=version)
        except (BudgetSpent, InputError, StopIteration) as error:
            raise Conflict(_why_not(self._live.read(), who, task, error)) from error

    def _watch(self, who: str, query_id: str) -> None:
        with self._lock:
            self._watched[who, query_id] = monotonic()
            self._watched.move_to_end((who, query_id))
            while len(self._watched) > _MOST_WATCHED:
                self._watched.popitem(last=False)

    def _since(self, who: str, query_id: str) -> float:
        """Seconds since somebody was shown the page, or graded on it last; 0 = not known."""
        with self._lock:
            began = self._watched.get((who, query_id))
        self._watch(who, query_id)
        return round(monotonic() - began, 3) if began is not None else 0.0


def _planned(campaign: Campaign, page: Page) -> dict[str, Result]:
    """The results of a page that are in the plan just so: what is graded must be what the campaign asks about."""
    try:
        planned = {result.result_id: result for result in campaign.page(page.query_id).results}
    except InputError:
        return {}
    return {r.result_id: r for r in page.results if _same(r, planned.get(r.result_id))}


def _same(shown: Result, planned: Result | None) -> bool:
    # Not the pictures' addresses: the same collection may lie in another folder here.
    return planned is not None and (shown.modality, shown.text, len(shown.images)) == (
        planned.modality, planned.text, len(planned.images),
    )  # fmt: skip


def _people(campaign: Campaign, task: Task) -> list[str]:
    return [who for who, reply in campaign.replies(task).items() if reply.source != "model"]


def _halted(campaign: Campaign, who: str) -> str:
    if campaign.closed:
        return _CLOSED
    return _PAUSED if campaign.paused(who) is not None else ""


def _why_not(campaign: Campaign, who: str, task: Task, error: Exception) -> str:
    """Why a grade was not taken, in words that tell nothing of others."""
    if isinstance(error, BudgetSpent):
        return _SPENT
    if isinstance(error, Halted):
        return _halted(campaign, who) or _PAUSED
    if campaign.decision(task) is not None:
        return _DECIDED
    return "Others are grading it, or have done so in the meantime. Thank you all the same."
