"""Working: the campaigns, the next card, and everything that can be done with it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi.responses import Response

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Answered, Entry, Postponed, Skipped, SkipReason, Task
from wholepage.annotation.live import LiveCampaign
from wholepage.apps.desk import cards
from wholepage.apps.desk.access import MANAGERS, REVIEWERS, Conflict
from wholepage.apps.desk.present import Presenter, campaign_view, guideline, own_progress
from wholepage.apps.desk.tickets import Ticket
from wholepage.apps.desk.urls import campaign_url
from wholepage.apps.desk.views import CampaignView, GuidelinePage, HomeRow, HomeView, RestView, WorkView
from wholepage.apps.desk.visits import Guest, Visit
from wholepage.pages.errors import BudgetSpent, ChainBroken, Halted, InputError

_LOG = logging.getLogger("wholepage.desk")


def home(visit: Guest) -> Response:
    """The campaigns: of annotators those that go on or that they had a part in."""
    rows = []
    for campaign_id in visit.desk.store.campaign_ids():
        try:
            campaign = visit.desk.live(campaign_id).read()
        except ChainBroken as error:  # the others go on
            _LOG.error("campaign %s: %s", campaign_id, error)
            rows.append(HomeRow(CampaignView(campaign_id, campaign_id, "damaged"), 0))
            continue
        row = _home_row(visit, campaign_id, campaign)
        if row.mine or not campaign.closed or visit.who.role in REVIEWERS:
            rows.append(row)
    return visit.page("home.html", "Campaigns", HomeView(tuple(rows)))


def _home_row(visit: Visit, campaign_id: str, campaign: Campaign) -> HomeRow:
    person = visit.who
    return HomeRow(
        campaign_view(campaign_id, campaign, person),
        campaign.done_by(person.person_id),
        visit.desk.share(campaign_id, campaign) if person.role in MANAGERS else None,
        len(campaign.waiting()) if person.role in REVIEWERS else None,
    )


def show_guideline(visit: Guest, campaign: str) -> Response:
    """What annotators are told."""
    state = visit.desk.live(campaign).read()
    view = GuidelinePage(campaign_view(campaign, state, visit.who), guideline(state, visit.who.person_id))
    return visit.page("guideline.html", "Guideline", view)


def show(visit: Guest, campaign: str) -> Response:
    """The next card of somebody, or why there is none."""
    live, who = visit.desk.live(campaign), visit.who.person_id
    try:
        assignment = live.next(who)
        reason = "nothing"
    except BudgetSpent:
        assignment, reason = None, "budget"
    except Halted:
        assignment, reason = None, _halted(live.read())
    state = live.read()
    presenter = Presenter(campaign, visit.desk.table(campaign), visit.desk.pictures)
    undo, mine = presenter.undo(state, who), own_progress(state, who, visit.desk.share(campaign, state))
    undo_url = campaign_url(campaign, "undo")
    if assignment is None:
        view = RestView(campaign_view(campaign, state, visit.who), reason, mine, undo_url, undo)
        return visit.page("rest.html", "Nothing to do", view)
    visit.desk.join(campaign, who)
    task = assignment.task
    ticket, written = cards.issue(
        visit, campaign, task, left_first=assignment.left_first, guideline=state.guideline_version
    )
    return visit.page(
        f"{task.kind.value}.html",
        state.settings.name,
        WorkView(
            card=presenter.card(state, visit.who, ticket, written),
            progress=mine,
            answer_url=campaign_url(campaign, "answer"),
            skip_url=campaign_url(campaign, "skip"),
            later_url=campaign_url(campaign, "later"),
            escalate_url=campaign_url(campaign, "escalate"),
            undo_url=undo_url,
            undo=undo,
        ),
    )


def answer(visit: Guest, campaign: str) -> Response:
    """Take a grade or a choice."""
    live, who, ticket = visit.desk.live(campaign), visit.who.person_id, cards.read(visit, campaign)
    grade, choice = cards.said(visit, ticket, visit.desk.table(campaign).levels)
    seconds = cards.seconds(visit, ticket)
    return _taken(
        visit, live, ticket, "",
        lambda: live.answer(
            who, ticket.task, grade=grade, choice=choice, seconds=seconds, guideline=ticket.guideline
        ),
        lambda act: isinstance(act, Answered) and (act.grade, act.choice) == (grade, choice),
    )  # fmt: skip


def skip(visit: Guest, campaign: str) -> Response:
    """Take a reason why there is no answer."""
    ticket, reason = cards.read(visit, campaign), visit.fields.word("reason", SkipReason)
    note, seconds = visit.fields.text("note"), cards.seconds(visit, ticket)
    live, who = visit.desk.live(campaign), visit.who.person_id
    return _taken(
        visit, live, ticket, "skipped",
        lambda: live.skip(who, ticket.task, reason, note=note, seconds=seconds),
        lambda act: isinstance(act, Skipped) and act.reason is reason,
    )  # fmt: skip


def later(visit: Guest, campaign: str) -> Response:
    """Put a card off."""
    ticket = cards.read(visit, campaign)
    live, who = visit.desk.live(campaign), visit.who.person_id
    return _taken(
        visit, live, ticket, "later", lambda: live.later(who, ticket.task), lambda act: isinstance(act, Postponed)
    )


def escalate(visit: Guest, campaign: str) -> Response:
    """Ask a reviewer to decide."""
    ticket, note = cards.read(visit, campaign), visit.fields.text("note")
    live, who = visit.desk.live(campaign), visit.who.person_id
    if _asked_review(live.read(), who, ticket.task):
        return visit.done(campaign_url(campaign, "work"), "escalated")
    return _taken(visit, live, ticket, "escalated", lambda: live.escalate(who, ticket.task, note), lambda act: False)


def undo(visit: Guest, campaign: str) -> Response:
    """Take back what somebody did: what their page named, else the latest."""
    live, who, seq = visit.desk.live(campaign), visit.who.person_id, visit.fields.whole("seq")
    try:
        entry = live.undo(who, seq)
    except InputError as error:
        raise Conflict(_why_stopped(live.read(), error) or "There is nothing of yours to take back.") from error
    return visit.done(campaign_url(campaign, "work"), "undone", seq=entry.seq)


def _taken(
    visit: Visit,
    live: LiveCampaign,
    ticket: Ticket,
    notice: str,
    act: Callable[[], Entry],
    same: Callable[[object], bool],
) -> Response:
    """Do something with a card; what was done already in just this way is done.

    Raises:
        Conflict: it cannot be done any more.
    """
    who, task = visit.who.person_id, ticket.task
    try:
        seq = act().seq
    except (BudgetSpent, InputError) as error:
        before = next(((seq, done) for seq, done in live.read().history(who) if done.task == task), None)
        if before is None or not same(before[1]):
            raise Conflict(_why_not(live.read(), who, task, error)) from error
        seq = before[0]
    visit.desk.answered(ticket.campaign_id, who, task)
    return visit.done(campaign_url(ticket.campaign_id, "work"), notice, seq=seq)


def _why_not(campaign: Campaign, who: str, task: Task, error: Exception) -> str:
    """Why a card cannot be taken any more, in words that tell nothing of others, nor names that a task may hold."""
    stopped = _why_stopped(campaign, error)
    if stopped:
        return stopped
    if any(done.task == task for _, done in campaign.history(who)):
        return "You have done something else with this card already. Undo that first if you want to change it."
    if _settled(campaign, task):
        return "Others have answered this card while it was open here, so it needs no answer any more."
    return "This card is not kept for you any more: it was open here for too long, and somebody else has it now."


def _why_stopped(campaign: Campaign, error: Exception) -> str:
    if isinstance(error, Halted):
        return _HALTED[_halted(campaign)]
    if isinstance(error, BudgetSpent):
        return "The budget was spent in the meantime, so this answer was not taken. Thank you all the same."
    return ""


def _settled(campaign: Campaign, task: Task) -> bool:
    enough = len(campaign.replies(task)) >= campaign.settings.overlap
    return enough or campaign.decision(task) is not None


def _asked_review(campaign: Campaign, who: str, task: Task) -> bool:
    return any(found.task == task and who in dict(found.notes) for found in campaign.waiting())


def _halted(campaign: Campaign) -> str:
    """``closed``, ``stopped`` (everybody) or ``paused`` (whoever asks)."""
    if campaign.closed:
        return "closed"
    return "paused" if campaign.paused() is None else "stopped"


_HALTED = {
    "closed": "The campaign was closed in the meantime. Thank you for your work.",
    "stopped": "The campaign was paused in the meantime. Please come back later.",
    "paused": "Your work is paused. Please ask a manager, and read the guideline again.",
}
