"""What the templates of managers and admins are given: the board, settings, gold, people.

As ``views``: plain values, raw numbers, None = not known.
"""

from __future__ import annotations

import msgspec

from wholepage.apps.desk.views import CampaignView, ColumnView, GuidelineView, QueryView, ReasonView, ResultView


class CountRow(msgspec.Struct, frozen=True):
    """A line of the ledger: of a purpose, a modality or a person."""

    name: str
    questions: int
    seconds: float | None = None
    money: float | None = None


class ModalityRow(msgspec.Struct, frozen=True):
    """How far the lists of one modality are."""

    name: str
    done: int
    total: int
    asked: int
    claimed_error: float | None = None


class AgreementRow(msgspec.Struct, frozen=True):
    """Krippendorff's alpha with its interval; ``name`` is ``all``, a modality, or a pair such as ``image / text``.

    Attributes:
        alpha, low, high: None where fewer than two people answered the same.
        units: tasks with two answers or more.
    """

    name: str
    units: int
    alpha: float | None = None
    low: float | None = None
    high: float | None = None


class QualityRow(msgspec.Struct, frozen=True):
    """An annotator on the board.

    Attributes:
        who: the id that forms carry.  name: what is shown.
        gold_low, gold_high: 95 % Wilson interval of the share of right gold answers.
        agreement: share of their answers that agree with others'.
        error: estimated chance of a wrong answer.
    """

    who: str
    name: str
    answers: int
    gold_right: int
    gold_asked: int
    gold_low: float | None = None
    gold_high: float | None = None
    agreement: float | None = None
    median_seconds: float | None = None
    error: float | None = None
    paused: bool = False


class SavingRow(msgspec.Struct, frozen=True):
    """What the campaign saves against grading every result once, never without the error beside it.

    Attributes:
        asked: questions for labels.  full: one grade for every result.  saving: 1 - asked / full.
        inferred: labels nobody gave.  claimed_error: mean posterior error, by the engine's own reckoning.
        audited, wrong: inferred labels asked for after all, and how many were wrong.
        error_high: with ``confidence`` the share of wrong inferred labels is no higher (Clopper-Pearson); None before
            the first audit.
    """

    asked: int
    full: int
    saving: float
    inferred: int
    claimed_error: float | None = None
    audited: int = 0
    wrong: int = 0
    error_high: float | None = None
    confidence: float = 0.95


class BoardView(msgspec.Struct, frozen=True):
    """What a manager sees of a campaign; ``board.json`` is this."""

    campaign: CampaignView
    guideline_version: int
    answers: int
    share: float
    lists_done: int
    lists_total: int
    modalities: tuple[ModalityRow, ...]
    questions_left: int | None
    money_left: float | None
    purposes: tuple[CountRow, ...]
    by_modality: tuple[CountRow, ...]
    by_person: tuple[CountRow, ...]
    seconds: float
    money: float
    agreement: tuple[AgreementRow, ...]
    pairs: tuple[AgreementRow, ...]
    annotators: tuple[QualityRow, ...]
    saving: SavingRow
    waiting: int
    broken_pictures: int
    at: str


class BoardPage(msgspec.Struct, frozen=True):
    """The board and the address of its numbers."""

    board: BoardView
    json_url: str
    pause_url: str
    resume_url: str


class Fact(msgspec.Struct, frozen=True):
    """A setting and its value."""

    name: str
    value: str


class ExportView(msgspec.Struct, frozen=True):
    """A file to download."""

    name: str
    words: str
    url: str


class GoldRow(msgspec.Struct, frozen=True):
    """A task whose right answer is known: ``task`` is its key for forms."""

    task: str
    kind: str
    query: str
    about: str
    said: str
    page_url: str


class ManageView(msgspec.Struct, frozen=True):
    """Everything a manager may change in a campaign."""

    campaign: CampaignView
    settings: tuple[Fact, ...]
    guideline: GuidelineView
    guideline_text: str
    budget_questions: int | None
    budget_money: float | None
    gold: tuple[GoldRow, ...]
    exports: tuple[ExportView, ...]
    annotators: tuple[QualityRow, ...]
    guideline_url: str
    budget_url: str
    gold_post_url: str
    pause_url: str
    resume_url: str
    close_url: str


class GoldPageRow(msgspec.Struct, frozen=True):
    """A page on which gold can be set."""

    query: str
    results: int
    gold: int
    url: str


class GoldListView(msgspec.Struct, frozen=True):
    """Pages on which gold can be set, a screenful at a time; ``search`` as typed; empty addresses = no such screen."""

    campaign: CampaignView
    rows: tuple[GoldPageRow, ...]
    search: str
    total: int
    first: int
    earlier_url: str = ""
    later_url: str = ""


class GoldTask(msgspec.Struct, frozen=True):
    """A task of a page, with the results it is about and its right answer so far.

    Attributes:
        task: the hidden field ``task``.
        results: one to grade, or the two compared, left first; none for whole pages.
        columns: the two orders, only for whole pages.
        answers: what can be chosen (field ``answer``), as value and word.
        answer: what is chosen, or empty.
    """

    task: str
    kind: str
    results: tuple[ResultView, ...]
    answers: tuple[ReasonView, ...]
    answer: str = ""
    columns: tuple[ColumnView, ...] = ()


class GoldPageView(msgspec.Struct, frozen=True):
    """A page with a form of gold for each of its tasks; ``page`` is the forms' hidden field of that name."""

    campaign: CampaignView
    query: QueryView
    tasks: tuple[GoldTask, ...]
    gold_post_url: str
    back_url: str
    page: int


class PersonRow(msgspec.Struct, frozen=True):
    """Somebody in the list of people; empty addresses = not for whoever looks."""

    person_id: str
    name: str
    role: str
    active: bool
    me: bool
    role_url: str = ""
    deactivate_url: str = ""
    activate_url: str = ""
    renew_url: str = ""


class PeopleView(msgspec.Struct, frozen=True):
    """People and invitations: the roles that whoever looks may invite, and those they may give."""

    people: tuple[PersonRow, ...]
    invitable: tuple[str, ...]
    roles: tuple[str, ...]
    invite_url: str


class InvitedView(msgspec.Struct, frozen=True):
    """An invitation just made; its link is shown once."""

    role: str
    link: str
    expires: str
