"""Which inferred labels people are asked for after all, so that their error is known and not only claimed."""

from __future__ import annotations

import math
from bisect import insort

from wholepage.annotation.draws import as_written, drawn
from wholepage.annotation.events import Task
from wholepage.annotation.searches import Inferred, Search, Searches
from wholepage.annotation.selection import ListKey
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State


class Audits:
    """The audits of a campaign: floor(audit_share * inferred labels), the first in the order of a seeded hash.

    The hash knows nothing of the labels, so that what is drawn is a random sample of them. A label once audited stays
    in the sample for as long as it is inferred.
    """

    def __init__(self, state: State, searches: Searches, settings: Settings) -> None:
        self._state, self._searches, self._settings = state, searches, settings
        self._versions: dict[ListKey, int] = {}
        self._of_list: dict[ListKey, dict[Task, Inferred]] = {}
        self._order: list[tuple[int, Task]] = []
        self._count = 0
        self._open: tuple[int, list[Task]] = (-1, [])
        self._by_page: dict[str, list[Task]] = {}

    def inferred(self, task: Task) -> Inferred | None:
        """What is inferred for a task; None = nothing."""
        key = self._state.list_of.get((task.query_id, task.left_id))
        search = self._searches.by_key.get(key) if key else None
        return search.inferred.get(task) if search else None

    @property
    def quota(self) -> int:
        """How many labels are audited in all, as far as the budget goes."""
        self._refresh()
        return math.floor(as_written(self._settings.audit_share) * self._count)

    def done(self) -> list[tuple[Task, Inferred, int]]:
        """Audited labels: the task, what was inferred for it, and the grade people gave."""
        found = []
        for task in sorted(self._state.audited):
            inferred, record = self.inferred(task), self._state.records[task]
            label = record.label(self._state.failed)
            if inferred is not None and task not in self._state.waiting and record.audited(self._state.failed):
                found.append((task, inferred, int(label or 0)))
        return found

    @property
    def outstanding(self) -> int:
        """Answers that open audits still want."""
        return sum(self._settings.overlap - self._state.answers_to(task) for task in self.open())

    def open(self) -> list[Task]:
        """Audits that still want answers, in the order of the hash."""
        if self._open[0] != self._state.seq:
            self._open, self._by_page = (self._state.seq, self._find_open()), {}
            for task in self._open[1]:
                self._by_page.setdefault(task.query_id, []).append(task)
        return self._open[1]

    def by_page(self) -> dict[str, list[Task]]:
        """The same by query."""
        self.open()
        return self._by_page

    def wanted(self, task: Task) -> bool:
        """Whether an answer to a task is an audit now."""
        if task.kind != "grade" or self._settings.engine == "selected" or self.inferred(task) is None:
            return False
        return task in self._state.audited or task in self.open()

    def _find_open(self) -> list[Task]:
        state, left, found = self._state, self.quota, list[Task]()
        for task in state.audited.keys() & state.labelled:
            left -= task in self._of_list.get(state.list_of[task.query_id, task.left_id], ())
        for _, task in self._order:
            if task in state.settled:
                continue
            if task not in state.labelled:
                left -= 1
                if left < 0:
                    break
            found.append(task)
        return found

    def notice(self, search: Search) -> None:
        """Take in what a list infers now; called when one is done, so that not all lists come at once in the end."""
        if self._versions.get(search.key, 0) == search.version:
            return
        self._versions[search.key] = search.version
        before, after = self._of_list.get(search.key, {}), search.inferred
        gone = before.keys() - after.keys()
        if gone:
            self._order = [one for one in self._order if one[1] not in gone]
        for task in after.keys() - before.keys():
            insort(self._order, (drawn(self._settings.seed, "audit", task.query_id, task.left_id), task))
        self._count += len(after) - len(before)
        self._of_list[search.key] = after

    def _refresh(self) -> None:
        for search in self._searches:
            self.notice(search)
