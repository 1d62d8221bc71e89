"""The searches of a campaign: an engine over each list, told what people said of its results.

What an engine makes of a list is kept until something is said of that list again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.answers import GOLD, Record
from wholepage.annotation.engines import Engine, Said, engine_of
from wholepage.annotation.events import Task
from wholepage.annotation.selection import ListKey
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State
from wholepage.annotation.weighing import Confusion


class Inferred(msgspec.Struct, frozen=True):
    """A grade nobody gave.

    Attributes:
        grade: the likeliest; of equally likely ones the lowest.
        posterior: its probability.
    """

    grade: int
    posterior: float


class Found:
    """What a search knows at one moment.

    Results that wait for a reviewer are taken out of the list until they are decided. What is decided or gold is
    certain. Answers of audits tell the engine nothing, for they test it, unless it asks for that very result.

    Args:
        tasks: of the results of the list, best first.
    """

    def __init__(self, state: State, searches: Searches, tasks: tuple[Task, ...]) -> None:
        self.tasks = tasks
        self.said: list[Said] = []
        self.certain: set[int] = set()
        self.audits: dict[int, list[Said]] = {}
        self._engine, self._searches = searches.engine(len(tasks)), searches
        self._asked: dict[frozenset[int], int | None] = {}
        for index, task in enumerate(tasks):
            record = state.records.get(task)
            if record is not None:
                self._take_in(index, record, state.failed)
        while (first := self._question(frozenset(self.certain))) in self.audits:
            promoted = self.audits.pop(first)
            self.said += promoted
            self.certain |= {one.index for one in promoted if one.who == GOLD}
        self.done = first is None
        self._asked[frozenset((*self.certain, *self.audits))] = first

    def _take_in(self, index: int, record: Record, ignored: Collection[str]) -> None:
        known = record.known()
        if known is None:
            told = [Said(index, int(reply.event.grade or 0), reply.event.who) for reply in record.people(ignored)]
        else:
            told = [Said(index, int(known), GOLD)]
        if record.audited(ignored):
            self.audits[index] = told
            return
        self.said += told
        if known is not None:
            self.certain.add(index)

    def question(self, but: Iterable[int]) -> int | None:
        """The index to ask about next, none of ``but``; None = none is left."""
        barred = frozenset((*but, *self.certain, *self.audits))
        if barred not in self._asked:
            self._asked[barred] = self._question(barred)
        return self._asked[barred]

    def _question(self, but: frozenset[int]) -> int | None:
        if not self.said:
            return self._searches.first_question(len(self.tasks), but)
        found = self._engine.questions(self.said, 1, but)
        return found[0] if found else None

    @cached_property
    def posterior(self) -> NDArray[np.float64]:
        """Of every result: ``[n, levels]``."""
        return self._engine.posterior(self.said)

    @cached_property
    def claimed_error(self) -> float:
        """Mean over the results of what the posterior leaves to other grades than the likeliest; 0 of no results."""
        return float((1.0 - self.posterior.max(1)).mean()) if self.tasks else 0.0

    @property
    def started(self) -> bool:
        """Whether anything is known of the list."""
        return bool(self.said)


class Search:
    """One list of a campaign: the results of one modality on one page, best first."""

    def __init__(self, state: State, searches: Searches, key: ListKey, ids: tuple[str, ...]) -> None:
        self.key = key
        self.tasks = tuple(Task.grade(key[0], result_id) for result_id in ids)
        self._state, self._searches = state, searches
        self._seen = -1
        self._found: Found | None = None
        self._inferred: dict[Task, Inferred] | None = None
        self._without: dict[frozenset[Task], Found] = {}

    @property
    def version(self) -> int:
        """Grows whenever the list changes."""
        return self._state.lists[self.key]

    @property
    def found(self) -> Found:
        """What is known now."""
        if self._found is None or self._seen != self.version:
            waiting, failed = self._state.waiting, self._state.failed
            kept = self.tasks
            if any(task in waiting for task in kept):
                kept = tuple(t for t in kept if t not in waiting or self._state.record(t).audited(failed))
            self._found, self._inferred, self._without = Found(self._state, self._searches, kept), None, {}
            self._seen = self.version
        return self._found

    @property
    def inferred(self) -> dict[Task, Inferred]:
        """Grades that nobody was asked for, those audited among them.

        All of a list that is done; of one that is not, those whose posterior is ``1 - tau`` or more.
        """
        if not self.version:
            return {}  # nothing was said of it
        found = self.found
        if self._inferred is None:
            told = {one.index for one in found.said}
            least = 0.0 if found.done else 1.0 - self._searches.settings.tau
            self._inferred = {}
            for index, task in enumerate(found.tasks if found.started else ()):
                row = found.posterior[index]
                grade = int(np.argmax(row))
                if index not in told and row[grade] >= least:
                    self._inferred[task] = Inferred(grade, min(float(row[grade]), 1.0))
        return self._inferred

    def without(self, tasks: frozenset[Task]) -> Found:
        """What would be known if some results were not in the list."""
        left = tuple(task for task in self.found.tasks if task not in tasks)
        if tasks not in self._without:
            self._without[tasks] = Found(self._state, self._searches, left)
        return self._without[tasks]


class Searches:
    """All lists of a campaign; none for the engine ``selected``."""

    def __init__(self, state: State, settings: Settings) -> None:
        self.settings = settings
        self._plan = state.plan
        self._confusions: dict[str, Confusion] = {**state.plan.confusions, GOLD: np.eye(settings.levels)}
        self._engines: dict[int, Engine] = {}
        self._first: dict[tuple[int, frozenset[int]], int | None] = {}
        self._of_page: dict[str, tuple[Search, ...]] = {}
        if settings.engine != "selected":
            for page in state.plan.pages:
                lists = state.plan.orders.get(page.query_id, {})
                self._of_page[page.query_id] = tuple(
                    Search(state, self, (page.query_id, m), lists[m].result_ids) for m in page.modalities
                )
        self.by_key: dict[ListKey, Search] = {search.key: search for search in self}

    def __iter__(self) -> Iterator[Search]:
        for found in self._of_page.values():
            yield from found

    def of_page(self, query_id: str) -> tuple[Search, ...]:
        """The lists of a page, in the order of ``Modality``."""
        return self._of_page.get(query_id, ())

    def first_question(self, n: int, but: frozenset[int]) -> int | None:
        """What to ask about a list of which nothing is known: the same for all lists of a length."""
        if (n, but) not in self._first:
            found = self.engine(n).questions([], 1, but) if n else []
            self._first[n, but] = found[0] if found else None
        return self._first[n, but]

    def engine(self, n: int) -> Engine:
        """The engine of all lists of a length."""
        if n not in self._engines:
            self._engines[n] = engine_of(self.settings, n, hmm=self._plan.hmm, confusions=self._confusions)
        return self._engines[n]
