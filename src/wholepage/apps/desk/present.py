"""From a campaign to what cards show: only what whoever sits before them may know."""

from __future__ import annotations

from urllib.parse import quote

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Answered, Event, Kind, Postponed, Skipped, SkipReason, Task
from wholepage.annotation.people import Person
from wholepage.apps.desk.access import MANAGERS, REVIEWERS
from wholepage.apps.desk.grade_words import grade_words
from wholepage.apps.desk.guideline import blocks
from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.table import Table
from wholepage.apps.desk.tickets import Ticket
from wholepage.apps.desk.urls import campaign_url
from wholepage.apps.desk.views import (
    CampaignView,
    CardView,
    ChoiceView,
    ColumnView,
    GradeView,
    GuidelineView,
    PictureView,
    ProgressView,
    QueryView,
    ReasonView,
    ResultView,
    UndoView,
)
from wholepage.pages.errors import shorten
from wholepage.pages.judgments import Choice
from wholepage.pages.model import ImageRef, Page, Result

_ALT_LENGTH = 120
_REASONS = {
    SkipReason.BROKEN: "Cannot be shown",
    SkipReason.UNCLEAR_QUERY: "The query is unclear",
    SkipReason.LANGUAGE: "Not a language I read",
    SkipReason.OFFENSIVE: "Offensive",
    SkipReason.OTHER: "Another reason",
}
REASONS = tuple(ReasonView(reason.value, word) for reason, word in _REASONS.items())
"""The reasons to skip, as people read them."""

_OTHER_SIDE = {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT, Choice.SAME: Choice.SAME}


class Presenter:
    """Makes the views of one campaign.

    Args:
        campaign_id: as addresses name it.
        table: what the campaign works on.
        pictures: knows which of them cannot be shown.
    """

    def __init__(self, campaign_id: str, table: Table, pictures: Pictures) -> None:
        self._campaign_id, self._table, self._pictures = campaign_id, table, pictures

    def card(self, campaign: Campaign, person: Person, ticket: Ticket, written: str) -> CardView:
        """A task as it is put to somebody.

        Args:
            campaign: as it stands.
            person: before whom the card is.
            ticket: what is shown, and how.
            written: the ticket as the form carries it.
        """
        task, page = ticket.task, self._table.page(ticket.page)
        sides = self.pair(ticket.page, task, ticket.left_first) if task.kind is Kind.PREFERENCE else ()
        columns = self.columns(ticket.page, task, ticket.left_first) if task.kind is Kind.PAGES else ()
        results = () if columns else self._whole_page(ticket.page, page, task, sides)
        asked = [r for c in columns for r in c.results] or [r for r in results if r.asked]
        return CardView(
            campaign=campaign_view(self._campaign_id, campaign, person),
            kind=task.kind.value,
            ticket=written,
            query=self.query(ticket.page),
            guideline=guideline(campaign, person.person_id),
            results=results,
            sides=sides,
            columns=columns,
            grades=grades(campaign) if task.kind is Kind.GRADE else (),
            choices=() if task.kind is Kind.GRADE else choices(task.kind),
            reasons=REASONS,
            broken=any(picture.problem for result in asked for picture in result.pictures),
        )

    def _whole_page(self, place: int, page: Page, task: Task, sides: tuple[ResultView, ...]) -> tuple[ResultView, ...]:
        side_of = {side.position: side.side for side in sides}
        about = (task.left_id, task.right_id)
        return tuple(
            self._result(
                place, page, index, f"r{index + 1}", index + 1,
                asked=result.result_id in about, side=side_of.get(index + 1, ""),
            )
            for index, result in enumerate(page.results)
        )  # fmt: skip

    def query(self, place: int) -> QueryView:
        """The query of a page."""
        query = self._table.page(place).query
        picture = None
        if query.image is not None:
            picture = self._picture(query.image, f"{place}/query", "the picture of the query")
        return QueryView(query.query_id, query.text, picture)

    def pair(self, place: int, task: Task, left_first: bool) -> tuple[ResultView, ...]:
        """The two results of a comparison, as the screen shows them."""
        page = self._table.page(place)
        at = {result_id: index for index, result_id in enumerate(page.result_ids)}
        ids = (task.left_id, task.right_id) if left_first else (task.right_id, task.left_id)
        return tuple(
            self._result(place, page, at[result_id], f"side-{side}", at[result_id] + 1, asked=True, side=side)
            for side, result_id in zip(("left", "right"), ids, strict=True)
        )

    def columns(self, place: int, task: Task, left_first: bool) -> tuple[ColumnView, ...]:
        """The two orders of a page, as the screen shows them, without their names."""
        page = self._table.page(place)
        at = {result_id: index for index, result_id in enumerate(page.result_ids)}
        names = (task.left_id, task.right_id) if left_first else (task.right_id, task.left_id)
        orders = self._table.plan.page_orders[page.query_id]
        return tuple(
            ColumnView(
                side,
                letter,
                tuple(
                    self._result(place, page, at[result_id], f"{letter.lower()}{rank}", rank, side=side)
                    for rank, result_id in enumerate(orders[name].result_ids, start=1)
                ),
            )
            for side, letter, name in zip(("left", "right"), "AB", names, strict=True)
        )

    def result(self, place: int, result_id: str) -> ResultView:
        """One result that a task is about."""
        page = self._table.page(place)
        index = page.result_ids.index(result_id)
        return self._result(place, page, index, f"r{index + 1}", index + 1, asked=True)

    def _result(
        self, place: int, page: Page, index: int, anchor: str, position: int, *, asked: bool = False, side: str = ""
    ) -> ResultView:
        result = page.results[index]
        pictures = tuple(
            self._picture(ref, f"{place}/{index}/{number}", _alt(result, number))
            for number, ref in enumerate(result.images)
        )
        return ResultView(anchor, position, result.modality.value, result.text, pictures, asked, side)

    def _picture(self, ref: ImageRef, path: str, alt: str) -> PictureView:
        src = f"/pictures/{quote(self._campaign_id, safe='')}/{path}"
        return PictureView(src, f"{src}?size=large", alt, self._pictures.problem(ref))

    def undo(self, campaign: Campaign, who: str) -> UndoView | None:
        """What somebody would take back; None = there is nothing."""
        latest = next(iter(campaign.history(who)), None)
        return UndoView(self._words(latest[1]), latest[0]) if latest else None

    def _words(self, event: Event) -> str:
        task = getattr(event, "task", None)
        if not isinstance(task, Task):
            return "your latest answer"
        about = f"“{shorten(self._about(task), 60)}”"
        match event:
            case Answered(grade=int(grade)):
                return f"grade {grade} for {about}"
            case Answered():
                return f"your comparison for {about}"
            case Skipped():
                return f"skipping {about}"
            case Postponed():
                return f"putting off {about}"
        return f"asking a reviewer about {about}"

    def _about(self, task: Task) -> str:
        text = self._table.result(task.query_id, task.left_id).text if task.kind is Kind.GRADE else ""
        return " ".join((text or self._table.page(self._table.place(task.query_id)).query.text).split()) or "a picture"


def campaign_view(campaign_id: str, campaign: Campaign, person: Person) -> CampaignView:
    """A campaign with the addresses that somebody may open."""
    reviews, manages = person.role in REVIEWERS, person.role in MANAGERS
    return CampaignView(
        campaign_id=campaign_id,
        name=campaign.settings.name,
        status=status(campaign),
        work_url=campaign_url(campaign_id, "work") if not campaign.closed else "",
        review_url=campaign_url(campaign_id, "review") if reviews else "",
        board_url=campaign_url(campaign_id, "board") if manages else "",
        manage_url=campaign_url(campaign_id, "manage") if manages else "",
        gold_url=campaign_url(campaign_id, "gold") if manages else "",
        guideline_url=campaign_url(campaign_id, "guideline"),
    )


def own_progress(campaign: Campaign, who: str, share: float) -> ProgressView:
    """How far somebody is, with how far the campaign is."""
    limit = campaign.budget_questions
    return ProgressView(campaign.done_by(who), share, None if limit is None else max(limit - campaign.questions, 0))


def status(campaign: Campaign) -> str:
    """``open``, ``paused`` or ``closed``."""
    if campaign.closed:
        return "closed"
    return "open" if campaign.paused() is None else "paused"


def guideline(campaign: Campaign, who: str) -> GuidelineView:
    """What somebody is told; whether it has changed since their last answer."""
    answers = (event for _, event in campaign.history(who) if isinstance(event, Answered))
    last = next(answers, None)
    version = campaign.guideline_version
    return GuidelineView(version, blocks(campaign.guideline), last is not None and last.guideline < version)


def grades(campaign: Campaign) -> tuple[GradeView, ...]:
    """The grades that can be given, from the worst, each with what the guideline says of it."""
    levels = campaign.settings.levels
    words = {0: "worst", levels - 1: "best"} | grade_words(blocks(campaign.guideline), levels)
    return tuple(GradeView(value, str(value), words.get(value, "")) for value in range(levels))


def choices(kind: Kind) -> tuple[ChoiceView, ...]:
    """The answers to a comparison, as the screen shows them."""
    left, right = ("A is better", "B is better") if kind is Kind.PAGES else ("Left is better", "Right is better")
    return (ChoiceView("left", "1", left), ChoiceView("same", "2", "About the same"), ChoiceView("right", "3", right))


def turned(choice: Choice, left_first: bool) -> Choice:
    """A side of the screen as a side of the task, and back."""
    return choice if left_first else _OTHER_SIDE[choice]


def _alt(result: Result, number: int) -> str:
    words = shorten(" ".join(result.text.split()), _ALT_LENGTH) if result.text else f"{result.modality.value} result"
    return f"{words}, frame {number + 1}" if len(result.images) > 1 else words
