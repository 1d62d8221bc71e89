"""What may happen in a campaign now, and why not.

Every event is checked before it is written and again whenever the log is read. Nothing here asks an engine, so that a
log that was right once is right on every machine.
"""

from __future__ import annotations

import math

from wholepage.annotation.answers import RESERVED, is_model
from wholepage.annotation.engines import engine_of
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
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State
from wholepage.pages.errors import BudgetSpent, Halted, InputError


def check(state: State, event: Event) -> None:
    """Refuse an event that may not happen now.

    Raises:
        InputError: it may not; the message says why.  Halted: its author, or everybody, is paused, or the campaign is
            closed.
        BudgetSpent: it would cost a question or money that is not there.
    """
    if not event.who or event.who in RESERVED:
        raise InputError(
            f"campaign: {_name(event)}: got who={event.who!r}; allowed: any name but {', '.join(RESERVED)}; say who "
            "did it"
        )
    if isinstance(event, Opened):
        _check_opened(state, event)
        return
    if state.settings is None:
        raise InputError(f"campaign: got {_name(event)} first; allowed: 'opened' is the first event; open it")
    if state.closed:
        raise Halted(f"campaign {state.settings.name!r} is closed; allowed: reading it; open another one")
    if is_model(event.who) and not isinstance(event, (Answered, Skipped, Undone)):
        raise InputError(
            f"campaign: got {_name(event)} of {event.who!r}; allowed: models answer, skip and undo; let a person do it"
        )
    if isinstance(event, (Answered, Skipped, Postponed, Escalated, Undone)):
        check_at_work(state, event.who)
    match event:
        case Answered():
            _check_answered(state, event, state.settings)
        case Skipped() | Postponed() | Escalated():
            _check_set_aside(state, event)
        case Undone():
            _check_undone(state, event)
        case GoldSet():
            _check_gold(state, event, state.settings)
        case Adjudicated():
            _check_adjudicated(state, event, state.settings)
        case GuidelineChanged():
            if not event.text.strip():
                raise InputError("campaign: got an empty guideline; allowed: any text; write what annotators need")
        case BudgetChanged():
            _check_budget(event)
        case Paused() | Resumed() | Closed():
            return


def check_at_work(state: State, who: str) -> None:
    """Refuse annotators who may not go on now.

    Raises:
        Halted: the campaign is closed or paused, or the annotator is, by a manager or by gold.
    """
    if state.closed:
        raise Halted("the campaign is closed; allowed: reading it; nothing is left to do")
    if state.halted:
        why = f" ({state.paused})" if state.paused else ""
        raise Halted(f"the campaign is paused{why}; allowed: nothing until a manager resumes it; come back later")
    paused = state.person(who).paused
    if paused is not None:
        why = f" ({paused})" if paused else ""
        raise Halted(f"{who!r} is paused{why}; allowed: nothing until a manager resumes them; ask a manager")
    if who in state.failed:
        right, asked = state.gold_results(who, since=state.person(who).resumed)
        raise Halted(
            f"{who!r} is paused, with {right} of {asked} test questions right; allowed: nothing until a manager "
            "resumes them; ask a manager, and read the guideline again"
        )


def check_budget(state: State, held: int = 0) -> None:
    """Refuse to ask one more.

    Args:
        held: questions that are before somebody now.
    Raises:
        BudgetSpent: the answers, with these, are as many as may be asked, or the money is spent.
    """
    limit = state.budget_questions
    if limit is not None and state.asked + held >= limit:
        before = f" and {held} being answered" if held else ""
        raise BudgetSpent(
            f"campaign: got {state.asked} questions asked{before}; allowed: {limit}; raise the budget, or close the "
            "campaign"
        )
    if state.budget_money is not None and state.money() >= state.budget_money:
        raise BudgetSpent(
            f"campaign: got {state.money():.2f} spent; allowed: {state.budget_money:.2f}; raise the budget, or close "
            "the campaign"
        )


def check_task(state: State, task: Task) -> None:
    """Refuse a task on what the plan does not hold.

    Raises:
        InputError: no such page, result or order of the page.
    """
    page = state.page_of.get(task.query_id)
    if page is None:
        raise InputError(
            f"campaign: got a task on query {task.query_id!r}; allowed: the {len(state.page_of)} queries of the plan; "
            "take tasks from next_task"
        )
    sides = [task.left_id, *([task.right_id] if task.right_id else [])]
    if task.kind is Kind.PAGES:
        strange = [side for side in sides if side not in state.plan.page_orders.get(task.query_id, {})]
    else:
        strange = [side for side in sides if (task.query_id, side) not in state.list_of]
    if strange:
        what = "orders" if task.kind is Kind.PAGES else "results"
        raise InputError(
            f"campaign: query {task.query_id!r}: got a task on {strange[0]!r}; allowed: {what} of its page; take tasks "
            "from next_task"
        )


def _check_opened(state: State, event: Opened) -> None:
    if state.settings is not None:
        raise InputError("campaign: got 'opened' again; allowed: once, as the first event; open another campaign")
    if event.pages_sha256 != state.plan.sha256:
        raise InputError(
            f"campaign: got the pages {event.pages_sha256[:12]!r}; allowed: {state.plan.sha256[:12]}..., the SHA-256 "
            "of this plan; read the log with the plan it was opened with"
        )
    if event.settings.engine == "selected":
        return
    engine_of(event.settings, 1, hmm=state.plan.hmm, confusions=state.plan.confusions)
    for page in state.plan.pages:
        missing = [m.value for m in page.modalities if m not in state.plan.orders.get(page.query_id, {})]
        if missing:
            raise InputError(
                f"campaign: query {page.query_id!r}: got no order of its {missing} results; allowed: one for each "
                f"modality, as the engine {event.settings.engine!r} searches lists; rank them, or take 'selected'"
            )


def _check_answered(state: State, event: Answered, settings: Settings) -> None:
    task, who = event.task, event.who
    check_task(state, task)
    if (event.source == "model" and not is_model(who)) or (event.source == "person" and is_model(who)):
        raise InputError(
            f"campaign: got an answer of {who!r} with source {event.source!r}; allowed: names that begin with 'model:' "
            "for models alone; mend one of the two"
        )
    _check_grade(event.task, event.grade, settings)
    if not 1 <= event.guideline <= state.guideline_version:
        raise InputError(
            f"campaign: got an answer under guideline {event.guideline}; allowed: 1 to {state.guideline_version}; name "
            "the version that was shown"
        )
    record = state.records.get(task)
    if record and who in record.replies:
        raise InputError(f"{task.key}: {who!r} has answered it; allowed: once; undo the answer first")
    _check_open(state, task, who)
    gold = task in state.gold
    if (event.purpose is Purpose.GOLD) != gold or event.purpose is Purpose.ADJUDICATION:
        raise InputError(
            f"{task.key}: got the purpose {event.purpose.value!r}; allowed: {'gold' if gold else 'work or audit'}; "
            "take it from Campaign.purpose"
        )
    if event.purpose is Purpose.AUDIT and (settings.engine == "selected" or task.kind is not Kind.GRADE):
        raise InputError(
            f"{task.key}: got the purpose 'audit'; allowed: for grades of an engine that infers; take it from "
            "Campaign.purpose"
        )
    if not gold and not is_model(who) and state.answers_to(task) >= settings.overlap:
        raise InputError(
            f"{task.key}: it has its {settings.overlap} answers; allowed: no more; take another task from next_task"
        )
    check_budget(state)


def _check_open(state: State, task: Task, who: str) -> None:
    record = state.records.get(task)
    if record is None:
        return
    if record.decided and not is_model(who):  # models are held against what is known
        raise InputError(f"{task.key}: a reviewer has decided it; allowed: no more answers; take another task")
    if record.acted(who):
        raise InputError(
            f"{task.key}: {who!r} has answered, skipped or escalated it; allowed: once; undo that first, or take "
            "another"
        )


def _check_set_aside(state: State, event: Skipped | Postponed | Escalated) -> None:
    check_task(state, event.task)
    if isinstance(event, Skipped):
        _check_seconds(event)
    record = state.records.get(event.task)
    if record and isinstance(event, Escalated) and event.who in record.replies and not record.decided:
        return  # somebody may doubt what they have answered
    _check_open(state, event.task, event.who)


def _check_undone(state: State, event: Undone) -> None:
    act = state.person(event.who).acts.get(event.seq)
    if act is None:
        raise InputError(
            f"campaign: {event.who!r} takes back entry {event.seq}; allowed: answers, skips and postponements of their "
            "own that were not taken back; take it from Campaign.history"
        )
    record = state.records.get(act.task)
    if record and record.decided:
        raise InputError(f"{act.task.key}: a reviewer has decided it; allowed: no undo any more; leave it")


def _check_gold(state: State, event: GoldSet, settings: Settings) -> None:
    check_task(state, event.task)
    if event.grade is None and event.choice is None:
        if event.task not in state.gold:
            raise InputError(f"{event.task.key}: it is no gold; allowed: taking gold away where there is; leave it")
        return
    _check_grade(event.task, event.grade, settings)


def _check_adjudicated(state: State, event: Adjudicated, settings: Settings) -> None:
    check_task(state, event.task)
    _check_grade(event.task, event.grade, settings)
    record = state.records.get(event.task)
    if record and record.decided:
        raise InputError(f"{event.task.key}: a reviewer has decided it; allowed: once, it is final; leave it")
    if record and event.who in record.replies:
        raise InputError(
            f"{event.task.key}: {event.who!r} has answered it; allowed: a reviewer who has not; leave it to another"
        )
    _check_seconds(event)
    check_budget(state)


def _check_seconds(event: Skipped | Adjudicated) -> None:
    if not (math.isfinite(event.seconds) and event.seconds >= 0):
        raise InputError(f"{event.task.key}: got seconds={event.seconds}; allowed: 0 or more, finite; mend it")


def _check_grade(task: Task, grade: int | None, settings: Settings) -> None:
    if grade is not None and grade >= settings.levels:
        raise InputError(f"{task.key}: got grade {grade}; allowed: 0 to {settings.levels - 1}; choose one of these")


def _check_budget(event: BudgetChanged) -> None:
    money = event.money
    if (event.questions is not None and event.questions < 0) or (
        money is not None and not (math.isfinite(money) and money >= 0)
    ):
        raise InputError(
            f"campaign: got a budget of questions={event.questions}, money={money}; allowed: 0 or more, or none; "
            "mend it"
        )


def _name(event: Event) -> str:
    return repr(type(event).__struct_config__.tag)
