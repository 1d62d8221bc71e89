"""What the desk's templates are given: plain values that say everything a page shows, and nothing more.

What is not in a view cannot leak: views of a card hold no gold, no answers of others, no scores, no names of rankers.
Strings are text as it came; templates escape them. Numbers are raw, None = not known; templates format them. What only
managers see is in ``board_views``.
"""

from __future__ import annotations

import msgspec


class PersonView(msgspec.Struct, frozen=True):
    """Who is signed in, and what they may do."""

    name: str
    role: str
    works: bool
    reviews: bool
    manages: bool
    administers: bool


class Shell(msgspec.Struct, frozen=True):
    """What every page has around its content.

    Attributes:
        title: of the page.
        csrf: the hidden field ``csrf`` of every form, and the header ``X-CSRF-Token`` of scripts.
        person: who is signed in; None = nobody.
        notice: something that just went well, to say once; empty = nothing.
        warning: something that just went wrong; empty = nothing.
        path: of this page, to mark the place in the navigation.
    """

    title: str
    csrf: str
    person: PersonView | None = None
    notice: str = ""
    warning: str = ""
    path: str = "/"


class CampaignView(msgspec.Struct, frozen=True):
    """A campaign by name, and where its parts are.

    Attributes:
        status: ``open``, ``paused`` or ``closed``.
        work_url, review_url, board_url, manage_url, gold_url, guideline_url: empty = not for this person.
    """

    campaign_id: str
    name: str
    status: str
    work_url: str = ""
    review_url: str = ""
    board_url: str = ""
    manage_url: str = ""
    gold_url: str = ""
    guideline_url: str = ""


class HomeRow(msgspec.Struct, frozen=True):
    """A campaign in the list of campaigns.

    Attributes:
        mine: answers given by this person.  share: of the campaign that is done, 0 to 1; None = not for this person.
        waiting: tasks that wait for a reviewer; None = not for this person.
    """

    campaign: CampaignView
    mine: int
    share: float | None = None
    waiting: int | None = None


class HomeView(msgspec.Struct, frozen=True):
    """The campaigns of somebody who is signed in."""

    campaigns: tuple[HomeRow, ...]


class SignInView(msgspec.Struct, frozen=True):
    """The form to sign in; ``name`` as typed before, ``next_url`` where to go then, ``problem`` what went wrong."""

    name: str = ""
    next_url: str = "/"
    problem: str = ""


class InviteView(msgspec.Struct, frozen=True):
    """The form of an invitation: ``post_url`` takes it; ``name`` as typed before; ``problem`` what went wrong."""

    post_url: str
    name: str = ""
    problem: str = ""
    shortest_password: int = 10


class Span(msgspec.Struct, frozen=True):
    """A run of text of a guideline: ``kind`` is ``text``, ``strong``, ``em`` or ``code``."""

    kind: str
    text: str


class Block(msgspec.Struct, frozen=True):
    """A block of a guideline.

    Attributes:
        kind: ``heading``, ``paragraph``, ``list``, ``numbers``, ``quote``, ``code`` or ``rule``.
        level: of a heading, 1 to 4; otherwise 0.
        items: the lines of a list; one item for everything else, none for a rule.
    """

    kind: str
    level: int
    items: tuple[tuple[Span, ...], ...]


class GuidelineView(msgspec.Struct, frozen=True):
    """What annotators are told; ``changed`` = since this person's last answer."""

    version: int
    blocks: tuple[Block, ...]
    changed: bool = False


class PictureView(msgspec.Struct, frozen=True):
    """A picture: ``src`` small, ``large`` for a closer look; ``problem`` = why it cannot be shown, if so."""

    src: str
    large: str
    alt: str
    problem: str = ""


class QueryView(msgspec.Struct, frozen=True):
    """What was asked."""

    query_id: str
    text: str
    picture: PictureView | None = None


class ResultView(msgspec.Struct, frozen=True):
    """One result as users see it.

    Attributes:
        anchor: an id for the element, unique on the page.
        position: its place, 1 = first.
        modality: ``text``, ``image``, ``video`` or ``answer``.
        pictures: the picture, or the frames of a video in time order.
        asked: the task is about it.
        side: ``left`` or ``right`` of the screen when two are compared, else empty.
    """

    anchor: str
    position: int
    modality: str
    text: str
    pictures: tuple[PictureView, ...] = ()
    asked: bool = False
    side: str = ""


class GradeView(msgspec.Struct, frozen=True):
    """A grade that can be given: its value, its key, and a word for the worst and the best."""

    value: int
    key: str
    word: str = ""


class ChoiceView(msgspec.Struct, frozen=True):
    """An answer to a comparison: ``value`` is of the screen (left, same, right), ``key`` its key, ``word`` its name."""

    value: str
    key: str
    word: str


class ReasonView(msgspec.Struct, frozen=True):
    """A reason to skip."""

    value: str
    word: str


class ColumnView(msgspec.Struct, frozen=True):
    """One order of a whole page: ``side`` of the screen, its letter (``A`` left, ``B`` right), its results."""

    side: str
    letter: str
    results: tuple[ResultView, ...]


class ProgressView(msgspec.Struct, frozen=True):
    """How far this person and the campaign are: ``share`` 0 to 1, ``left`` questions of the budget, None = no limit."""

    mine: int
    share: float
    left: int | None = None


class UndoView(msgspec.Struct, frozen=True):
    """What undo would take back, in words, such as ``grade 3 for “red shoe”``; ``seq`` is the form's hidden field."""

    words: str
    seq: int


class CardView(msgspec.Struct, frozen=True):
    """A task to answer.

    Attributes:
        kind: ``grade``, ``preference`` or ``pages``.
        ticket: the hidden field ``ticket``: which task, how it was shown, when; signed.
        results: the whole page as users see it, the asked results marked; empty for ``pages``.
        sides: the two results compared, as the screen shows them, left first; only for ``preference``.
        columns: the two orders, as the screen shows them, left first; only for ``pages``.
        grades: only for ``grade``.  choices: for the others.
        broken: a picture that the task is about cannot be shown.
    """

    campaign: CampaignView
    kind: str
    ticket: str
    query: QueryView
    guideline: GuidelineView
    results: tuple[ResultView, ...] = ()
    sides: tuple[ResultView, ...] = ()
    columns: tuple[ColumnView, ...] = ()
    grades: tuple[GradeView, ...] = ()
    choices: tuple[ChoiceView, ...] = ()
    reasons: tuple[ReasonView, ...] = ()
    broken: bool = False


class WorkView(msgspec.Struct, frozen=True):
    """A card before an annotator."""

    card: CardView
    progress: ProgressView
    answer_url: str
    skip_url: str
    later_url: str
    escalate_url: str
    undo_url: str
    undo: UndoView | None = None


class RestView(msgspec.Struct, frozen=True):
    """Nothing to do now, and why.

    Attributes:
        reason: ``nothing`` (all asked, or all taken), ``budget``, ``paused`` (this person), ``stopped`` (the campaign)
            or ``closed``.
    """

    campaign: CampaignView
    reason: str
    progress: ProgressView
    undo_url: str
    undo: UndoView | None = None


class GuidelinePage(msgspec.Struct, frozen=True):
    """The guideline on a page of its own."""

    campaign: CampaignView
    guideline: GuidelineView


class WaitingRow(msgspec.Struct, frozen=True):
    """A task that waits for a reviewer: why, ``grade``/``preference``/``pages``, the query, and where to decide it."""

    kind: str
    query: str
    why: str
    answers: int
    url: str


class ReviewView(msgspec.Struct, frozen=True):
    """The tasks that wait for a reviewer."""

    campaign: CampaignView
    rows: tuple[WaitingRow, ...]


class SaidView(msgspec.Struct, frozen=True):
    """What somebody said of a task: ``by`` is ``annotator 1`` and so on, never a name; ``said`` as the screen shows it.

    Attributes:
        said: such as ``grade 3``, ``left is better``, ``skipped: unclear query``, ``asked for a reviewer``.
        note: what they wrote, or empty.
        guideline: the version before them; None = not known.
    """

    by: str
    said: str
    note: str = ""
    guideline: int | None = None


class DecideView(msgspec.Struct, frozen=True):
    """A card before a reviewer, with the answers so far."""

    card: CardView
    why: str
    said: tuple[SaidView, ...]
    decide_url: str
    review_url: str
    waiting: int


class ProblemView(msgspec.Struct, frozen=True):
    """Something that could not be done: the status, what it means, what to do, and where to go on."""

    status: int
    title: str
    message: str
    back_url: str = "/"
    back_word: str = "Back to the campaigns"
