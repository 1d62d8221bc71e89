"""Which inferred labels people are asked for after all, so that their error is known and not only claimed."""

from __future__ import annotations

import math
from bisect import insort

from wholepage.annotation.draws import as_written, drawn
from wholepage.annotation.events import Kind, Task
from wholepage.annotation.searches import Inferred, Search, Searches
from wholepage.annotation.selection import ListKey
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State


class Audits:
    """The audits of a campaign: floor(audit_share * inferred labels), the first in the order of a seeded hash.

    Drawn from are the inferred labels of lists that are done; when the budget leaves no more work, those of lists
    broken off too. The hash knows nothing of the labels, so that what is drawn is a random sample of them. A label once
    audited stays in the sample for as long as it is inferred.
    """

    def __init__(self, state: State, searches: Searches, settings: Settings) -> None:
        self._state, self._searches, self._settings = state, searches, settings
        self._versions: dict[ListKey, tuple[int, bool]] = {}
        self._of_list: dict[ListKey, dict[Task, Inferred]] = {}
        self._order: list[tuple[int, Task]] = []
        self._count = 0
        self._open: tuple[int, list[Task]] = (-1, [])
        self._by_page: dict[str, list[Task]] = {}

    def room(self, held: int = 0) -> float:
        """Questions that may still go to work, so that floor(audit_share * budget) are left for audits.

        Args:
            held: questions that are before somebody now.
        """
        limit = self._state.budget_questions
        if limit is None:
            return math.inf
        kept = 0
        if self._settings.engine != "selected":
            kept = max(math.floor(as_written(self._settings.audit_share) * limit) - self._state.audits, 0)
        return limit - kept - self._state.asked - held

    def spare(self, held: int) -> float:
        """Questions that neither work nor gold, nor an open audit, nor somebody who has them now is in need of."""
        limit = self._state.budget_questions
        wanted = sum(self._settings.overlap - self._state.answers_to(task) for task in self.open())
        return math.inf if limit is None else limit - self._state.asked - held - wanted

    @property
    def inferred(self) -> int:
        """How many labels are drawn from."""
        self._refresh()
        return self._count

    @property
    def quota(self) -> int:
        """How many labels are audited in all, as far as the budget goes."""
        return math.floor(as_written(self._settings.audit_share) * self.inferred)

    def done(self) -> list[tuple[Task, Inferred, int]]:
        """Audited labels: the task, what was inferred for it, and the grade people gave."""
        self._refresh()
        found = []
        for task in sorted(self._state.audited):
            inferred, record = self._inferred(task), self._state.records[task]
            label = record.label(self._state.failed)
            if inferred is not None and task not in self._state.waiting and record.audited(self._state.failed):
                found.append((task, inferred, int(label or 0)))
        return found

    def open(self) -> list[Task]:
        """Audits that still want answers: those begun, then the others in the order of the hash."""
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
        key = self._state.list_of.get((task.query_id, task.left_id)) if task.kind is Kind.GRADE else None
        search = self._searches.by_key.get(key) if key else None
        if search is None or task not in self._drawn_from(search):
            return False
        return task in self.open()

    def _drawn_from(self, search: Search) -> dict[Task, Inferred]:
        return search.inferred if search.found.done or self.room() <= 0 else {}

    def _inferred(self, task: Task) -> Inferred | None:
        return self._of_list.get(self._state.list_of[task.query_id, task.left_id], {}).get(task)

    def _find_open(self) -> list[Task]:
        state, quota = self._state, self.quota
        begun = [task for task in state.audited if task in state.labelled and self._inferred(task) is not None]
        found = [task for task in begun if task not in state.settled]
        most = len(found) + quota - len(begun)
        for _, task in self._order:
            if len(found) >= most:
                break
            if task not in state.labelled and task not in state.settled:
                found.append(task)
        return found

    def notice(self, search: Search) -> None:
        """Take in what a list infers now; called when one is done, so that not all lists come at once in the end."""
        now = (search.version, self.room() <= 0)
        if self._versions.get(search.key) == now or not search.version:
            return
        self._versions[search.key] = now
        before, after = self._of_list.get(search.key, {}), self._drawn_from(search)
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
