"""What ``wholepage annotate simulate`` does: whole campaigns, answered by stand-ins for people, with the truth at hand.

A simulated campaign is a real one: the same plan, rules, engine, gold, audit and budget, in memory. Only who answers is
made up. The truth is the collection's own judgments; nobody but the stand-ins sees it, and a pilot pays for what it
asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from wholepage.annotation.answers import is_model
from wholepage.annotation.campaign import Assignment, Campaign
from wholepage.annotation.chain import GENESIS, entry_hash
from wholepage.annotation.draws import drawn
from wholepage.annotation.events import Answered, Entry, Event, GoldSet, Opened, Task, encode_event
from wholepage.annotation.moments import stamp
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.apps.campaigns import GUIDELINE, Orders, hmm_of, make_plan
from wholepage.evaluation.label_quality import cross_pair_accuracy, label_error, list_pair_accuracy
from wholepage.pages.errors import BudgetSpent, Halted, InputError
from wholepage.pages.judgments import Grade, Judgments, Question
from wholepage.pages.model import Page
from wholepage.pages.protocols import Annotator

MANAGER = "manager"
SECONDS = 8.0
"""What a stand-in takes for one answer; people differ, questions do not hang on it."""

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Crowd = Mapping[str, Annotator]
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ground:
    """What campaigns are simulated on.

    Attributes:
        pages, orders: the pages, and the order of each of their lists.
        truth: a grade for every result, whole numbers.
    """

    pages: list[Page]
    orders: list[Orders]
    truth: Judgments

    def first(self, count: int | None, seed: int) -> Ground:
        """A part of it, drawn by a hash of the queries; None = all."""
        rows = sorted(range(len(self.pages)), key=lambda row: drawn(seed, "simulate", self.pages[row].query_id))
        kept = sorted(rows[:count])
        return Ground([self.pages[row] for row in kept], [self.orders[row] for row in kept], self.truth)

    def only(self, pages: Sequence[Page]) -> Ground:
        """The part of these pages."""
        wanted = {page.query_id for page in pages}
        rows = [row for row, page in enumerate(self.pages) if page.query_id in wanted]
        return Ground([self.pages[row] for row in rows], [self.orders[row] for row in rows], self.truth)


class MemoryLog:
    """A campaign whose log is in memory, with a clock of its own."""

    def __init__(self, plan: Plan, settings: Settings, guideline: str = GUIDELINE) -> None:
        self.campaign, self.entries = Campaign(plan), list[Entry]()
        self._now = _BEGIN
        self.write(Opened(MANAGER, self.later(), settings, plan.sha256, guideline))

    def later(self, seconds: float = 0.0) -> str:
        """The moment so long after the last one, from which the clock goes on."""
        self._now += timedelta(seconds=seconds)
        return stamp(self._now)

    def write(self, event: Event) -> Entry:
        """Let something happen.

        Raises:
            InputError, BudgetSpent: it may not happen.
        """
        last = self.entries[-1].hash if self.entries else GENESIS
        entry = Entry(len(self.entries) + 1, event, entry_hash(last, encode_event(event)))
        self.campaign.apply(entry)
        self.entries.append(entry)
        return entry


def run_campaign(
    plan: Plan, settings: Settings, crowd: Crowd, *, gold: Judgments | None = None, report: Report | None = None
) -> MemoryLog:
    """Let a crowd answer until nothing is left to ask, or the budget is spent; they take turns.

    Args:
        crowd: by the name they go by; those of models begin with ``model:``.
        gold: grades that test the annotators.
    Raises:
        InputError: nobody answers, or somebody gives no answer to what was asked.
    """
    if not crowd:
        raise InputError("simulation: got nobody who answers; allowed: one annotator at least; name some")
    log = MemoryLog(plan, settings)
    for said in gold or ():
        if not isinstance(said, Grade):
            raise InputError(f"simulation: got gold {said!r}; allowed: grades; leave comparisons out")
        task = Task.grade(said.query_id, said.result_id)
        log.write(GoldSet(MANAGER, log.later(), task, grade=int(said.grade)))
    pages = {page.query_id: page for page in plan.pages}
    at_work = dict(crowd)
    while at_work:
        for who, annotator in list(at_work.items()):
            try:
                given = log.campaign.next_task(who)
            except (BudgetSpent, Halted):
                given = None
            if given is None:
                del at_work[who]
                continue
            log.write(_answer(log.later(SECONDS), who, given, annotator, pages))
            if report is not None:
                report(log.campaign.questions, plan.results, f"{settings.engine}: questions, of one a result")
        if not at_work and _something_for(log.campaign, crowd):
            at_work = dict(crowd)  # what somebody else answered, or left, may have opened a question
    return log


def simulate(
    ground: Ground,
    settings: Settings,
    crowd: Crowd,
    *,
    pilot_pages: int = 0,
    gold_items: int = 0,
    report: Report | None = None,
) -> dict[str, Any]:
    """One campaign, and what became of it.

    With a pilot, some pages are graded whole first, by the same crowd, and teach the engine ``hmm`` what lists look
    like; their questions count.

    Returns:
        ``questions``, ``full_annotation``, ``saving``, ``claimed_error``, ``real_error``, ``ranker_pair_accuracy``,
        ``cross_pair_accuracy`` and what else there is to know, as ``--json`` prints it.
    """
    gold = Judgments.from_mapping(some_gold(ground, gold_items, settings.seed), MANAGER)
    labels, questions, claimed_wrong, rest, hmm = Judgments(), 0, 0.0, ground, None
    if pilot_pages:
        first = ground.first(pilot_pages, settings.seed)
        whole = msgspec.structs.replace(settings, engine="selected", audit_share=0.0)
        test = Judgments.from_mapping(some_gold(first, gold_items, settings.seed), MANAGER)
        log = run_campaign(make_plan(first.pages, first.orders, whole), whole, crowd, gold=test, report=report)
        labels, questions = log.campaign.labels().judgments, log.campaign.questions
        claimed_wrong = settings.annotator_error * len(labels)
        hmm, left = hmm_of(ground.pages, ground.orders, labels, settings.levels, error=settings.annotator_error)
        rest = ground.only(left)
    log = run_campaign(
        make_plan(rest.pages, rest.orders, settings, hmm=hmm),
        settings,
        crowd,
        gold=_of(gold, rest.pages),
        report=report,
    )
    found = log.campaign.labels(models=any(map(is_model, crowd)))
    searched = len(found.judgments)
    claimed = None if found.claimed_error is None else (claimed_wrong + found.claimed_error * searched)
    labels = labels.merge(found.judgments)
    full = sum(map(len, ground.pages))
    total = questions + log.campaign.questions
    ledger = log.campaign.ledger()
    certificate = found.certificate
    return {
        "engine": settings.engine,
        "annotators": {who: annotator.name for who, annotator in crowd.items()},
        "pages": len(ground.pages),
        "questions": total,
        "full_annotation": full,
        "saving": 1 - total / full,
        "claimed_error": None if claimed is None else claimed / max(len(labels), 1),
        "real_error": label_error(labels, ground.truth),
        "ranker_pair_accuracy": list_pair_accuracy(ground.orders, ground.pages, ground.truth),
        "cross_pair_accuracy": cross_pair_accuracy(labels, ground.pages, ground.truth),
        "labels": len(labels),
        "inferred": found.inferred,
        "audited": certificate.audited if certificate else 0,
        "audited_wrong": certificate.wrong if certificate else 0,
        "inferred_error_bound": certificate.bound if certificate else None,
        "pilot_questions": questions,
        "by_purpose": {purpose.value: count for purpose, count in ledger.by_purpose.items()},
        "hours": ledger.seconds / 3600 + questions * SECONDS / 3600,
        "money": ledger.money,
        "paused": sorted(who for who in crowd if log.campaign.paused(who) is not None),
    }


def _answer(at: str, who: str, given: Assignment, annotator: Annotator, pages: Mapping[str, Page]) -> Answered:
    task = given.task
    verdict = annotator.answer(Question(pages[task.query_id], task.left_id, task.right_id or None))
    return Answered(
        who,
        at,
        task,
        grade=None if verdict.grade is None else int(verdict.grade),
        choice=verdict.choice,
        seconds=SECONDS,
        purpose=given.purpose,
        source="model" if is_model(who) else "person",
    )


def _something_for(campaign: Campaign, crowd: Crowd) -> bool:
    for who in crowd:
        try:
            if campaign.next_task(who) is not None:
                return True
        except (BudgetSpent, Halted):
            continue
    return False


def some_gold(ground: Ground, count: int, seed: int) -> dict[str, dict[str, float]]:
    """Results whose grade is told beforehand: the same number of each grade, as far as there are any."""
    by_grade: dict[float, list[tuple[int, str, str]]] = {}
    for page in ground.pages:
        for result_id, grade in ground.truth.by_result(page.query_id).items():
            place = drawn(seed, "gold", page.query_id, result_id)
            by_grade.setdefault(grade, []).append((place, page.query_id, result_id))
    chosen: dict[str, dict[str, float]] = {}
    for grade, items in sorted(by_grade.items()):
        for _, query_id, result_id in sorted(items)[: -(-count // len(by_grade)) if count else 0]:
            chosen.setdefault(query_id, {})[result_id] = grade
    return chosen


def _of(said: Judgments, pages: Sequence[Page]) -> Judgments:
    return said.restrict({page.query_id: page.result_ids for page in pages})
