"""Reviewing: what waits for a decision, and deciding it."""

from __future__ import annotations

from fastapi.responses import Response

from wholepage.annotation.answers import Escalation, Value, Why
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Task
from wholepage.apps.desk import cards
from wholepage.apps.desk.access import Conflict
from wholepage.apps.desk.present import Presenter, campaign_view, turned
from wholepage.apps.desk.urls import campaign_url, with_query
from wholepage.apps.desk.views import DecideView, ReviewView, SaidView, WaitingRow
from wholepage.apps.desk.visits import Guest
from wholepage.pages.errors import BudgetSpent, InputError, shorten
from wholepage.pages.judgments import Choice

_WHY = {
    Why.ESCALATED: "somebody asked for a reviewer",
    Why.SKIPPED: "several people skipped it",
    Why.SPREAD: "the answers differ",
}
_CHOICES = {Choice.LEFT: "left is better", Choice.SAME: "about the same", Choice.RIGHT: "right is better"}


def show_waiting(visit: Guest, campaign: str) -> Response:
    """The tasks that wait for a reviewer."""
    state, table = visit.desk.live(campaign).read(), visit.desk.table(campaign)
    rows = tuple(
        WaitingRow(
            found.task.kind.value,
            shorten(table.page(table.place(found.task.query_id)).query.text, 120),
            _WHY[found.why],
            len(found.answers),
            with_query(campaign_url(campaign, "review", "task"), key=found.task.key),
        )
        for found in state.waiting()
    )
    return visit.page("review.html", "To review", ReviewView(campaign_view(campaign, state, visit.who), rows))


def show_task(visit: Guest, campaign: str) -> Response:
    """A task with everything that was said of it."""
    task = visit.desk.table(campaign).check(Task.from_key(visit.asked("key")))
    state, who = visit.desk.live(campaign).read(), visit.who.person_id
    waiting = state.waiting()
    found = next((found for found in waiting if found.task == task), None)
    if found is None:
        raise Conflict("This task waits for no reviewer any more: it was decided, or the answers to it have changed.")
    left_first = state.assignment(who, task).left_first
    ticket, written = cards.issue(visit, campaign, task, left_first=left_first, guideline=state.guideline_version)
    presenter = Presenter(campaign, visit.desk.table(campaign), visit.desk.pictures)
    view = DecideView(
        card=presenter.card(state, visit.who, ticket, written),
        why=_WHY[found.why],
        said=_said(state, found, left_first),
        decide_url=campaign_url(campaign, "review", "decide"),
        review_url=campaign_url(campaign, "review"),
        waiting=len(waiting),
    )
    return visit.page("decide.html", "Decide", view)


def decide(visit: Guest, campaign: str) -> Response:
    """Take a reviewer's decision."""
    ticket = cards.read(visit, campaign)
    grade, choice = cards.said(visit, ticket, visit.desk.table(campaign).levels)
    live, who = visit.desk.live(campaign), visit.who.person_id
    seconds, note = cards.seconds(visit, ticket), visit.fields.text("note")
    back = campaign_url(campaign, "review")
    try:
        entry = live.adjudicate(who, ticket.task, grade=grade, choice=choice, seconds=seconds, note=note)
    except (BudgetSpent, InputError) as error:
        decided = live.read().decision(ticket.task)
        if decided is None:
            raise Conflict(_why_not(live.read(), who, ticket.task, error)) from error
        if decided != (choice if grade is None else grade):
            raise Conflict("Another reviewer has decided this in the meantime, and a decision is final.") from error
        return visit.done(back, "decided")
    visit.desk.answered(campaign, who, ticket.task)
    return visit.done(back, "decided", seq=entry.seq)


def _why_not(campaign: Campaign, who: str, task: Task, error: Exception) -> str:
    if isinstance(error, BudgetSpent):
        return "The budget is spent, and a decision counts as a question. A manager can raise it."
    if campaign.closed:
        return "The campaign is closed: nothing is decided any more."
    if who in campaign.replies(task):
        return "You have answered this task yourself, so another reviewer is to decide it."
    return "This task cannot be decided now."


def _said(campaign: Campaign, found: Escalation, left_first: bool) -> tuple[SaidView, ...]:
    """What was said of a task by people without names, in the order of the log."""
    order = dict.fromkeys([*(who for who, _ in found.answers), *(who for who, _ in found.notes)])
    names = {who: f"annotator {number}" for number, who in enumerate(order, start=1)}
    replies = campaign.replies(found.task)
    answers = [
        SaidView(names[who], _words(value, left_first), guideline=replies[who].guideline)
        for who, value in found.answers
    ]
    return (*answers, *(SaidView(names[who], "wrote", note=note) for who, note in found.notes))


def _words(value: Value, left_first: bool) -> str:
    return _CHOICES[turned(value, left_first)] if isinstance(value, Choice) else f"grade {value}"
