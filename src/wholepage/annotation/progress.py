"""How far a campaign is."""

from __future__ import annotations

import msgspec

from wholepage.annotation.audits import Audits
from wholepage.annotation.events import Kind, Task
from wholepage.annotation.searches import Searches
from wholepage.annotation.selection import ListKey
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State


class Part(msgspec.Struct, frozen=True):
    """How far the lists of one modality are, or all of them.

    Attributes:
        lists, lists_done: a list is done when nothing is asked about its results any more.
        results: on these lists.  answered: of these, with a grade by people.  inferred: with an inferred grade alone.
        claimed_error: mean posterior error of the lists begun, by results; None = the engine has no opinion.
    """

    lists: int
    lists_done: int
    results: int
    answered: int
    inferred: int
    claimed_error: float | None


class Progress(msgspec.Struct, frozen=True):
    """How far a campaign is.

    Attributes:
        all, by_modality: of the lists.
        comparisons, comparisons_done: preferences and page comparisons of the plan; done with all their answers.
        audits, audits_done: inferred labels to ask for after all, and those asked for.
        waiting: tasks for a reviewer.
        questions, questions_left: asked, and what the budget leaves; None = no limit.
        money, money_left: likewise.
        finished: nothing is left to ask anybody.
    """

    all: Part
    by_modality: dict[str, Part]
    comparisons: int
    comparisons_done: int
    audits: int
    audits_done: int
    waiting: int
    questions: int
    questions_left: int | None
    money: float
    money_left: float | None
    finished: bool


class _Sums:
    """The parts of ``Part`` while they are counted."""

    def __init__(self) -> None:
        self.lists = self.done = self.results = self.answered = self.inferred = self.begun = 0
        self.error = 0.0

    def part(self, *, searched: bool) -> Part:
        claimed = self.error / self.begun if searched and self.begun else None
        return Part(self.lists, self.done, self.results, self.answered, self.inferred, claimed)


def progress_of(state: State, searches: Searches, audits: Audits, settings: Settings) -> Progress:
    """How far the campaign is now."""
    total, by_modality = _Sums(), dict[str, _Sums]()
    for page in state.plan.pages:
        for modality in page.modalities:
            for sums in (total, by_modality.setdefault(modality.value, _Sums())):
                sums.lists += 1
        for result in page.results:
            for sums in (total, by_modality[result.modality.value]):
                sums.results += 1
    for task in state.labelled:
        if task.kind is Kind.GRADE:
            for sums in (total, by_modality[state.list_of[task.query_id, task.left_id][1].value]):
                sums.answered += 1
    for (_, modality), done in lists_done(state, searches, settings).items():
        for sums in (total, by_modality[modality.value]):
            sums.done += done
    for search in searches:
        inferred = sum(task not in state.labelled for task in search.inferred)
        found = search.found
        for sums in (total, by_modality[search.key[1].value]):
            sums.inferred += inferred
            if found.started:
                sums.begun += len(found.tasks)
                sums.error += found.claimed_error * len(found.tasks)
    searched = settings.engine != "selected"
    comparisons = [task in state.settled for task in state.plan.comparisons()]
    open_audits = len(audits.open()) if searched else 0
    left, money = state.budget_questions, state.money()
    return Progress(
        all=total.part(searched=searched),
        by_modality={name: sums.part(searched=searched) for name, sums in sorted(by_modality.items())},
        comparisons=len(comparisons),
        comparisons_done=sum(comparisons),
        audits=audits.quota if searched else 0,
        audits_done=len(audits.done()),
        waiting=len(state.waiting),
        questions=state.asked,
        questions_left=None if left is None else max(left - state.asked, 0),
        money=money,
        money_left=None if state.budget_money is None else max(state.budget_money - money, 0.0),
        finished=total.done == total.lists and all(comparisons) and not open_audits,
    )


def lists_done(state: State, searches: Searches, settings: Settings) -> dict[ListKey, bool]:
    """Of every list, whether nothing is asked about its results any more."""
    if settings.engine != "selected":
        return {search.key: search.found.done for search in searches}
    done = dict.fromkeys(state.lists, True)
    for page in state.plan.pages:
        for result_id in state.plan.graded(page):
            if Task.grade(page.query_id, result_id) not in state.settled:
                done[state.list_of[page.query_id, result_id]] = False
    return done
