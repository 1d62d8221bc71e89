"""Which task is next, for whom: page by page, by seeded hashes, and nothing that somebody else has before them.

A person stays on a page while it has questions for them, then goes to the next page in the order of a seeded hash on
which nobody else is. First come the questions of the plan or of the engines, then audits, then what was postponed, then
whatever else can be asked. Gold is put in between by a hash of the person and of how many tasks they have done, so that
its place tells nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from wholepage.annotation.answers import is_model
from wholepage.annotation.audits import Audits
from wholepage.annotation.draws import drawn, drawn_share
from wholepage.annotation.events import Kind, Purpose, Task
from wholepage.annotation.rules import check_at_work, check_budget
from wholepage.annotation.searches import Search, Searches
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State


class Assignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody is asked.

    Attributes:
        purpose: not for the annotator's eyes.
        left_first: whether the task's left side is shown on the left; drawn anew for each person and task.
    """

    task: Task
    purpose: Purpose
    left_first: bool


class _Held(NamedTuple):
    """What others have before them: people by task, people by page, and how many questions that is in all."""

    people: Counter[Task]
    pages: Counter[str]
    questions: int


class Queue:
    """Finds the next task of everybody.

    Kept between calls: which pages have anything open, what is open on each, and on which of them a person has nothing
    to do; all of it until something is said on that page.
    """

    def __init__(self, state: State, searches: Searches, audits: Audits, settings: Settings) -> None:
        self._state, self._searches, self._audits, self._settings = state, searches, audits, settings
        queries = sorted(state.page_of, key=lambda query_id: drawn(settings.seed, query_id))
        self._queries, self._rank = queries, {query_id: rank for rank, query_id in enumerate(queries)}
        self._pages: list[int] = []
        self._comparisons: dict[str, list[Task]] = {}
        for task in state.plan.comparisons():
            self._comparisons.setdefault(task.query_id, []).append(task)
        self._fixed: dict[str, tuple[int, list[Task]]] = {}
        self._nothing: dict[tuple[str, bool], dict[str, int]] = {}

    def assignment(self, who: str, task: Task, purpose: Purpose) -> Assignment:
        """A task as it is put to somebody."""
        return Assignment(task, purpose, task.kind is Kind.GRADE or not drawn(self._settings.seed, who, task.key) & 1)

    def purpose(self, task: Task) -> Purpose:
        """Why a task would be asked now."""
        if task in self._state.gold:
            return Purpose.GOLD
        return Purpose.AUDIT if self._audits.wanted(task) else Purpose.WORK

    def next(self, who: str, leased: Mapping[Task, Collection[str]]) -> Assignment | None:
        """The next task of an annotator; None = nothing for them now.

        Raises:
            Halted: the campaign is closed, or it or the annotator is paused.
            BudgetSpent: answers and leases are as many as may be asked, or the money is spent.
        """
        check_at_work(self._state, who)
        held = self._held(who, leased)
        check_budget(self._state, held.questions)
        work = self._audits.room(held.questions) > 0
        if is_model(who):
            task = self._of_model(who) if work else None
            return None if task is None else self.assignment(who, task, self._work_or_gold(task))
        found = self._find(who, held, work)
        if found is None:
            return None
        gold = self._gold_turn(who, found[0].query_id) if work else None  # what is kept for audits is not for gold
        return self.assignment(who, *(found if gold is None else (gold, Purpose.GOLD)))

    # -------------------------------------------------------------- what comes in which order

    def _find(self, who: str, held: _Held, work: bool) -> tuple[Task, Purpose] | None:
        if work and (task := self._work(who, held, further=False)):
            return task, Purpose.WORK
        if task := self._audit(who, held):
            return task, Purpose.AUDIT
        if not work:
            if self._audits.room() > 0 or self._audits.spare(held.questions) <= 0:
                return None  # others have the last of the work before them, or the rest is for audits by others
            # So little is inferred that not all is needed that was kept for audits.
            if task := self._work(who, held, further=False):
                return task, Purpose.WORK
        if task := self._postponed(who, held):
            return task, self.purpose(task)
        task = self._work(who, held, further=True)
        return None if task is None else (task, Purpose.WORK)

    def _gold_turn(self, who: str, query_id: str) -> Task | None:
        """A gold task in place of the one that was found, if it is the turn of one and one is left."""
        state, seed = self._state, self._settings.seed
        person = state.person(who)
        if drawn_share(seed, "gold", who, str(person.turns)) >= self._settings.gold_share:
            return None
        left = [t for t in state.gold if self._open_to(who, t) and t not in person.later]
        return min(left, key=lambda t: (t.query_id != query_id, drawn(seed, "gold", who, t.key)), default=None)

    def _postponed(self, who: str, held: _Held) -> Task | None:
        later = self._state.person(who).later
        for task in sorted(later, key=lambda task: later[task][-1]):
            if not self._open_to(who, task):
                continue
            if task in self._state.gold or self._free(task, held):
                return task
        return None

    def _audit(self, who: str, held: _Held) -> Task | None:
        if self._settings.engine == "selected":
            return None
        person, pages = self._state.person(who), self._audits.by_page()
        for query_id in sorted(pages, key=lambda q: (q != person.page, held.pages[q], self._rank[q])):
            for task in pages[query_id]:
                if self._open_to(who, task) and task not in person.later and self._free(task, held):
                    return task
        return None

    # -------------------------------------------------------------- work, page by page

    def _work(self, who: str, held: _Held, *, further: bool) -> Task | None:
        """The next question on the person's page, else on the first page with fewest others on it."""
        while self._state.stale:
            rank = self._rank[self._state.stale.pop()]
            place = bisect_left(self._pages, rank)
            if place == len(self._pages) or self._pages[place] != rank:
                insort(self._pages, rank)
        here = self._state.person(who).page
        if here is not None and (task := self._offer(here, who, held, further)):
            return task
        crowded = []
        for rank in tuple(self._pages):
            query_id = self._queries[rank]
            if held.pages[query_id]:
                crowded.append(rank)
            elif task := self._offer(query_id, who, held, further):
                return task
        for rank in sorted(crowded, key=lambda rank: (held.pages[self._queries[rank]], rank)):
            if task := self._offer(self._queries[rank], who, held, further):
                return task
        return None

    def _offer(self, query_id: str, who: str, held: _Held, further: bool) -> Task | None:
        """A question of a page, for one person; a page that has none for them is not looked at until it changes."""
        version = self._state.pages[query_id]
        nothing = self._nothing.setdefault((who, further), {})
        if nothing.get(query_id) == version:
            return None
        person, open_there, for_me = self._state.person(who), False, False
        for task in self._fixed_open(query_id):
            open_there = True
            if self._open_to(who, task) and task not in person.later:
                for_me = True
                if self._free(task, held):
                    return task
        for search in self._searches.of_page(query_id):
            if search.found.done:
                self._audits.notice(search)
                continue
            open_there = True
            found, mine = self._searched(search, who, held, further)
            for_me = for_me or mine
            if found is not None:
                return found
        if not for_me:
            nothing[query_id] = version
        if not open_there:
            place = bisect_left(self._pages, self._rank[query_id])
            if self._pages[place : place + 1] == [self._rank[query_id]]:
                del self._pages[place]
        return None

    def _fixed_open(self, query_id: str) -> list[Task]:
        """Tasks of a page that do not depend on answers to others, and want more answers."""
        version = self._state.pages[query_id]
        if self._fixed.get(query_id, (-1,))[0] != version:
            state, tasks = self._state, []
            if self._settings.engine == "selected":
                tasks = [Task.grade(query_id, i) for i in state.plan.graded(state.page_of[query_id])]
            tasks += self._comparisons.get(query_id, [])
            self._fixed[query_id] = (version, [task for task in tasks if task not in state.settled])
        return self._fixed[query_id][1]

    def _searched(self, search: Search, who: str, held: _Held, further: bool) -> tuple[Task | None, bool]:
        """The engine's question for one person, and whether it might have one if others had nothing before them."""
        state, found = self._state, search.found
        later = state.person(who).later
        mine, taken = set(), set()
        for index, task in enumerate(found.tasks):
            record = state.records.get(task)
            if task in later or (record is not None and record.acted(who)):
                # The engine itself leaves out what has its answers: not to name it keeps one question for everybody.
                if state.answers_to(task) < self._settings.overlap:
                    mine.add(index)
            elif task in held.people and not self._free(task, held):
                taken.add(index)
        if self._settings.engine == "bisect":
            # Open stretches do not wait for one another.
            best = found.question(mine | taken)
            if best is None and further:
                around = self._around_skipped(search, who, held)
                return around, bool(taken) or around is not None
            return (None if best is None else found.tasks[best]), bool(taken) or best is not None
        best = found.question(mine)
        if best in taken:
            best = found.question(mine | taken) if further else None
            return (None if best is None else found.tasks[best]), True
        return (None if best is None else found.tasks[best]), best is not None

    def _around_skipped(self, search: Search, who: str, held: _Held) -> Task | None:
        """Where bisection waits for a result that somebody could not grade: what it would ask if that was not there."""
        state = self._state
        skipped = frozenset(t for t in search.found.tasks if state.record(t).skips and not state.answers_to(t))
        if not skipped:
            return None
        found = search.without(skipped)
        barred = {i for i, t in enumerate(found.tasks) if not self._open_to(who, t) or not self._free(t, held)}
        index = found.question(barred)
        return None if index is None else found.tasks[index]

    # -------------------------------------------------------------- one task, one person

    def _open_to(self, who: str, task: Task) -> bool:
        """Whether somebody may still be asked a task, as far as they and reviewers are concerned."""
        record = self._state.records.get(task)
        return record is None or not (record.decided or task in self._state.waiting or record.acted(who))

    def _free(self, task: Task, held: _Held) -> bool:
        """Whether a task wants more answers than it has and is about to have."""
        if task in self._state.gold:
            return False
        return self._state.answers_to(task) + held.people[task] < self._settings.overlap

    def _work_or_gold(self, task: Task) -> Purpose:
        return Purpose.GOLD if task in self._state.gold else Purpose.WORK

    def _of_model(self, who: str) -> Task | None:
        """The first task of the plan that a model has not been asked; models answer all, gold included."""
        state, nothing = self._state, self._nothing.setdefault((who, False), {})
        for query_id in self._queries:
            if nothing.get(query_id) == state.pages[query_id]:
                continue
            page = state.page_of[query_id]
            ids = state.plan.graded(page) if self._settings.engine == "selected" else page.result_ids
            tasks = [Task.grade(query_id, result_id) for result_id in ids] + self._comparisons.get(query_id, [])
            for task in tasks + [task for task in state.gold if task.query_id == query_id]:
                record = state.records.get(task)
                if record is None or not record.acted(who):
                    return task
            nothing[query_id] = state.pages[query_id]
        return None

    def _held(self, who: str, leased: Mapping[Task, Collection[str]]) -> _Held:
        """What others have before them; not those who are paused, whose answers would not be taken."""
        people: Counter[Task] = Counter()
        pages: Counter[str] = Counter()
        questions = 0
        for task, holders in leased.items():
            others = [holder for holder in set(holders) if holder != who and not self._state.stopped(holder)]
            questions += len(others)
            present = sum(not is_model(holder) for holder in others)
            if present:
                people[task] += present
                pages[task.query_id] += present
        return _Held(people, pages, questions)
