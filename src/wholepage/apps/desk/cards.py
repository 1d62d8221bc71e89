"""What the cards of annotators and of reviewers have in common: tickets out and in, answers, seconds."""

from __future__ import annotations

import math

from wholepage.annotation.events import Kind, Task
from wholepage.apps.desk.access import Conflict
from wholepage.apps.desk.present import turned
from wholepage.apps.desk.security import derived
from wholepage.apps.desk.tickets import Stub, Ticket
from wholepage.apps.desk.visits import Visit
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Choice

_SLACK_S = 2.0  # clocks of browsers may run faster than ours


def issue(visit: Visit, campaign_id: str, task: Task, *, left_first: bool, guideline: int) -> tuple[Ticket, str]:
    """A ticket for a task that is shown to somebody now, and how the form carries it."""
    desk, who = visit.desk, visit.who.person_id
    since_ms = desk.first_shown(campaign_id, who, task)
    place = desk.table(campaign_id).place(task.query_id)
    ticket = Ticket(campaign_id, who, place, task, left_first, guideline, since_ms)
    return ticket, ticket.written(_key(visit))


def read(visit: Visit, campaign_id: str) -> Ticket:
    """The ticket that a form brings back.

    Raises:
        InputError: not a ticket.
        Conflict: a ticket of another session, person or campaign.
    """
    stub, table = Stub.read(visit.fields.needed("ticket")), visit.desk.table(campaign_id)
    tasks = table.tasks(table.pages[stub.page]) if stub.page < len(table.pages) else ()
    ticket = stub.ticket(_key(visit), campaign_id, visit.who.person_id, tasks)
    if ticket is None:
        raise Conflict("this card was not given to you in this session; your next card is waiting")
    return ticket


def said(visit: Visit, ticket: Ticket, levels: int) -> tuple[int | None, Choice | None]:
    """Grade or choice of a form; the choice is of the task's sides, whatever the screen showed where.

    Args:
        visit: that brought the form.
        ticket: of the form.
        levels: grades run from 0 to ``levels - 1``.
    Raises:
        InputError: neither, or not what the task asks for.
    """
    if ticket.task.kind is Kind.GRADE:
        grade = visit.fields.whole("grade")
        if grade is None or grade >= levels:
            raise InputError(f"grade: got {grade}; allowed: 0 to {levels - 1}; choose one of them")
        return grade, None
    return None, turned(visit.fields.word("choice", Choice), ticket.left_first)


def seconds(visit: Visit, ticket: Ticket) -> float:
    """How long it took: the time since the card was first shown, or the shorter time that the browser saw activity."""
    passed = max(visit.desk.now_ms() - ticket.since_ms, 0) / 1000
    try:
        active = float(visit.fields.text("active_ms")) / 1000
    except ValueError:
        active = math.nan
    return round(min(active, passed) if 0 < active <= passed + _SLACK_S else passed, 3)


def _key(visit: Visit) -> bytes:
    return derived(visit.secrets.session, b"ticket")
