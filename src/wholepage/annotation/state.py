"""The state of a campaign: what its events come to, folded in one by one.

Nothing here asks an engine anything: folding is cheap, and notes which pages and lists are no longer as they were.
Whether an event may happen is ``rules``' to say; what to ask next is found by ``tasks``.
"""

from __future__ import annotations

from typing import TypeAlias

from wholepage.annotation.answers import Record, Reply, Why, is_model, value_of
from wholepage.annotation.certificate import wilson_interval
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    BudgetChanged,
    Closed,
    Escalated,
    Event,
    GoldSet,
    GuidelineChanged,
    Kind,
    Opened,
    Paused,
    Postponed,
    Purpose,
    Resumed,
    Skipped,
    Task,
    Undone,
)
from wholepage.annotation.plan import Plan
from wholepage.annotation.selection import ListKey
from wholepage.annotation.settings import Settings

Act: TypeAlias = Answered | Skipped | Postponed
"""What its author may take back."""


class Person:
    """What stands of one annotator.

    Attributes:
        acts: answers, skips and postponements that were not taken back, by place in the log.
        later: postponed tasks, with the places in the log at which that was said.
        turns: tasks answered or skipped.
        seconds: all time spent, also on what was taken back.
        taken_back: acts that were.
        gold: gold tasks that were answered as such, with the place in the log.
        resumed: place in the log from which gold counts.
        paused: why a manager stopped them; None = not.
    """

    __slots__ = ("acts", "gold", "later", "paused", "resumed", "seconds", "taken_back", "turns")

    def __init__(self) -> None:
        self.acts: dict[int, Act] = {}
        self.later: dict[Task, list[int]] = {}
        self.turns = 0
        self.seconds = 0.0
        self.taken_back = 0
        self.gold: dict[Task, int] = {}
        self.resumed = 0
        self.paused: str | None = None

    @property
    def page(self) -> str | None:
        """The query of the page they were on last."""
        return self.acts[next(reversed(self.acts))].task.query_id if self.acts else None


class State:
    """Everything a campaign knows.

    Attributes:
        settings: None before the campaign is opened.
        records: by task, of all tasks that something was said of.
        people: annotators and models, by name.  who: everybody who did anything.
        failed: whose gold answers are too bad: their answers do not count until they are resumed.
        gold: tasks that are gold now.  waiting: tasks that wait for a reviewer, and why.
        labelled: tasks that people, gold or a decision have given a label.
        settled: tasks asked of nobody any more: with all their answers, decided, gold or waiting.
        audited: tasks answered to test inferred labels, with how many such answers.
        asked: answers that stand, adjudications included.
        pages, lists: numbers that grow with every change of a page (by query) or list.
        stale: queries of pages that changed since ``tasks`` looked.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.page_of = {page.query_id: page for page in plan.pages}
        self.list_of: dict[tuple[str, str], ListKey] = {
            (page.query_id, result.result_id): (page.query_id, result.modality)
            for page in plan.pages
            for result in page.results
        }
        self.settings: Settings | None = None
        self.seq = 0
        self.guideline, self.guideline_version = "", 0
        self.closed, self.paused = False, ""
        self.halted = False
        self.budget_questions: int | None = None
        self.budget_money: float | None = None
        self.records: dict[Task, Record] = {}
        self.people: dict[str, Person] = {}
        self.who: dict[str, None] = {}
        self.failed: set[str] = set()
        self.gold: dict[Task, None] = {}
        self.waiting: dict[Task, Why] = {}
        self.labelled: set[Task] = set()
        self.settled: set[Task] = set()
        self.audited: dict[Task, int] = {}
        self.asked = self.asked_of_models = self.audits = 0
        self.paid_answers = self.paid_of_models = 0
        self.seconds = 0.0
        self.pages = dict.fromkeys(self.page_of, 0)
        self.lists: dict[ListKey, int] = dict.fromkeys(self.list_of.values(), 0)
        self.stale: set[str] = set(self.page_of)

    # -------------------------------------------------------------- reading

    def record(self, task: Task) -> Record:
        """What stands on a task; an empty record where nothing does."""
        return self.records.get(task) or Record()

    def person(self, who: str) -> Person:
        """What stands of an annotator; nothing where they have done nothing."""
        return self.people.get(who) or Person()

    def answers_to(self, task: Task) -> int:
        """People's answers that count."""
        record = self.records.get(task)
        return 0 if record is None else len(record.people(self.failed))

    def stopped(self, who: str) -> bool:
        """Whether an annotator is paused, by a manager or by gold."""
        return who in self.failed or self.person(who).paused is not None

    def money(self) -> float:
        """What was spent."""
        if self.settings is None:
            return 0.0
        costs = self.settings.costs
        by_time = costs.hourly * self.seconds / 3600.0
        return by_time + costs.per_answer * self.paid_answers + costs.per_model_answer * self.paid_of_models

    # -------------------------------------------------------------- folding

    def fold(self, event: Event) -> None:
        """Take in the next event, which has been checked."""
        self.seq += 1
        self.who.setdefault(event.who)
        match event:
            case Opened():
                self.settings, self.guideline, self.guideline_version = event.settings, event.guideline, 1
                self.budget_questions = event.settings.budget_questions
                self.budget_money = event.settings.budget_money
            case Answered():
                self._answer(event)
            case Skipped():
                self._act(event)
                self._spend(event.who, event.seconds)
                self._changing(event.task).skips[event.who] = (self.seq, event.note or event.reason.value)
            case Postponed():
                self._act(event).later.setdefault(event.task, []).append(self.seq)
            case Undone():
                self._undo(event)
            case GoldSet():
                self._set_gold(event)
            case Escalated():
                self._changing(event.task).escalations.append((event.who, event.note))
            case Adjudicated():
                self._adjudicate(event)
            case Paused() | Resumed():
                self._pause(event)
            case GuidelineChanged():
                self.guideline, self.guideline_version = event.text, self.guideline_version + 1
            case BudgetChanged():
                self.budget_questions, self.budget_money = event.questions, event.money
            case Closed():
                self.closed = True
        task = getattr(event, "task", None)
        if task is not None:
            self._touch(task, told=not isinstance(event, Postponed) and not is_model(event.who))

    def _changing(self, task: Task) -> Record:
        return self.records.setdefault(task, Record())

    def _act(self, event: Act) -> Person:
        person = self.people.setdefault(event.who, Person())
        person.acts[self.seq] = event
        person.turns += not isinstance(event, Postponed)
        return person

    def _answer(self, event: Answered) -> None:
        person = self._act(event)
        self._changing(event.task).replies[event.who] = Reply(self.seq, event)
        if event.source != "import":  # was paid for elsewhere
            self._spend(event.who, event.seconds)
        self._count(event, 1)
        if event.purpose is Purpose.GOLD:
            person.gold[event.task] = self.seq
            self._judge(event.who)

    def _count(self, event: Answered, one: int) -> None:
        self.asked += one
        model = is_model(event.who)
        self.asked_of_models += one * model
        self.paid_answers += one * (event.source == "person")
        self.paid_of_models += one * (event.source == "model")
        if event.purpose is Purpose.AUDIT and not model:
            self.audits += one
            self.audited[event.task] = self.audited.get(event.task, 0) + one
            if not self.audited[event.task]:
                del self.audited[event.task]

    def _undo(self, event: Undone) -> None:
        person = self.people[event.who]
        act = person.acts.pop(event.seq)
        person.taken_back += 1
        person.turns -= not isinstance(act, Postponed)
        match act:
            case Answered():
                del self._changing(act.task).replies[event.who]
                self._count(act, -1)
                if person.gold.pop(act.task, None) is not None:
                    self._judge(event.who)
            case Skipped():
                del self._changing(act.task).skips[event.who]
            case Postponed():
                person.later[act.task].remove(event.seq)
                if not person.later[act.task]:
                    del person.later[act.task]
        self._touch(act.task, told=not is_model(event.who))

    def _set_gold(self, event: GoldSet) -> None:
        record = self._changing(event.task)
        record.gold = value_of(event)
        if record.gold is None:
            self.gold.pop(event.task, None)
        else:
            self.gold.setdefault(event.task)
        self._judge_all(event.task)

    def _adjudicate(self, event: Adjudicated) -> None:
        record = self._changing(event.task)
        record.decided = (self.seq, event)
        self.asked += 1
        self.paid_answers += 1
        self._spend(event.who, event.seconds)
        self._judge_all(event.task)

    def _pause(self, event: Paused | Resumed) -> None:
        reason = None if isinstance(event, Resumed) else event.reason
        if not event.person:
            self.halted, self.paused = reason is not None, reason or ""
            return
        person = self.people.setdefault(event.person, Person())
        person.paused = reason
        if isinstance(event, Resumed):
            person.resumed = self.seq
            self._judge(event.person)

    def _spend(self, who: str, seconds: float) -> None:
        """Time that was spent stays spent, whatever is taken back."""
        counted = 0.0 if self.settings is None else min(seconds, self.settings.costs.longest_s)
        self.people.setdefault(who, Person()).seconds += counted
        if not is_model(who):
            self.seconds += counted

    # -------------------------------------------------------------- what follows

    def gold_results(self, who: str, *, since: int = 0) -> tuple[int, int]:
        """Right gold answers of an annotator and all of them, of those after a place in the log."""
        person, right, asked = self.person(who), 0, 0
        for task, seq in person.gold.items():
            record = self.records[task]
            known = record.known()
            if seq > since and known is not None:
                asked += 1
                right += value_of(record.replies[who].event) == known
        return right, asked

    def _judge_all(self, task: Task) -> None:
        for who in list(self._changing(task).replies):
            self._judge(who)

    def _judge(self, who: str) -> None:
        """Find out anew whether gold speaks against an annotator; if that changes, so does all they answered."""
        if self.settings is None:
            return
        right, asked = self.gold_results(who, since=self.person(who).resumed)
        failed = bool(asked) and wilson_interval(right, asked)[1] < self.settings.gold_floor
        if failed == (who in self.failed):
            return
        (self.failed.add if failed else self.failed.discard)(who)
        for act in self.people[who].acts.values():
            self._touch(act.task, told=True)

    def _touch(self, task: Task, *, told: bool) -> None:
        """Note that a task is not as it was; ``told`` = what is known of its list may have changed too."""
        self.pages[task.query_id] += 1
        self.stale.add(task.query_id)
        if told and task.kind is Kind.GRADE:
            self.lists[self.list_of[task.query_id, task.left_id]] += 1
        record, settings = self.records.get(task), self.settings
        if record is None or settings is None:
            return
        why = record.waits(self.failed, settings.escalate_spread)
        if why is None:
            self.waiting.pop(task, None)
        else:
            self.waiting[task] = why
        answers, known = len(record.people(self.failed)), record.known() is not None
        (self.labelled.add if known or answers else self.labelled.discard)(task)
        full = known or why is not None or answers >= settings.overlap
        (self.settled.add if full else self.settled.discard)(task)
