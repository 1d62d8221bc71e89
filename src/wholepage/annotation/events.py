"""What can happen in a campaign of annotation, as records: the log of these is its only state.

Whatever a campaign knows (who said what, what it cost, what to ask next) is found by reading its events from the first
to the last. Events are never changed or removed; taking something back is an event of its own. Each is one line of JSON
whose ``event`` names its kind, strict both ways.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from wholepage.annotation.settings import Settings
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Choice


class Kind(StrEnum):
    """What a task asks for: the grade of a result, the better of two results, the better of two whole pages."""

    GRADE = "grade"
    PREFERENCE = "preference"
    PAGES = "pages"


class Purpose(StrEnum):
    """Why a task was put: for its label, to test the annotator, to test inferred labels, to end a disagreement."""

    WORK = "work"
    GOLD = "gold"
    AUDIT = "audit"
    ADJUDICATION = "adjudication"


class SkipReason(StrEnum):
    """Why somebody could not answer."""

    BROKEN = "broken"
    UNCLEAR_QUERY = "unclear-query"
    LANGUAGE = "language"
    OFFENSIVE = "offensive"
    OTHER = "other"


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, order=True):
    """One thing to ask, the same for everybody who is asked it.

    Attributes:
        kind: what is asked for.
        query_id: of which page.
        left_id: the result; of ``PAGES`` the name of an order of the page.
        right_id: the result or order compared with; empty for ``GRADE``. ``left_id`` is the smaller of the two, so that
            a pair has one task: which of them is shown on the left is the screen's choice, never the task's.

    Raises:
        InputError: one side where two are needed or the reverse, the same on both sides, or in the wrong order.
    """

    kind: Kind
    query_id: str
    left_id: str
    right_id: str = ""

    def __post_init__(self) -> None:
        if (self.kind is Kind.GRADE) != (not self.right_id):
            raise InputError(
                f"task {self.kind.value!r} on {self.query_id!r}: got right_id={self.right_id!r}; allowed: none for "
                "grade, one for preference and pages; name as many sides as the question has"
            )
        if self.right_id and self.left_id >= self.right_id:
            raise InputError(
                f"task {self.kind.value!r} on {self.query_id!r}: got left_id={self.left_id!r} and "
                f"right_id={self.right_id!r}; allowed: two different ones, the smaller on the left; use Task.pair"
            )

    @classmethod
    def grade(cls, query_id: str, result_id: str) -> Task:
        """To grade one result."""
        return cls(Kind.GRADE, query_id, result_id)

    @classmethod
    def pair(cls, kind: Kind, query_id: str, one: str, other: str) -> Task:
        """To compare two, named in any order."""
        return cls(kind, query_id, min(one, other), max(one, other))

    @property
    def key(self) -> str:
        """The task as a string, as databases, forms and addresses carry it; ``Task.from_key`` reads it."""
        parts = [self.kind.value, self.query_id, self.left_id, self.right_id]
        return msgspec.json.encode(parts[: 3 if not self.right_id else 4]).decode()

    @classmethod
    def from_key(cls, key: str) -> Task:
        """The task of a key.

        Raises:
            InputError: not a key.
        """
        try:
            kind, *ids = msgspec.json.decode(key, type=list[str])
            return cls(Kind(kind), *ids)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise InputError(
                f"task: got the key {key[:80]!r} ({error}); allowed: a key that Task.key gave; use it unchanged"
            ) from error


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="event"):
    """What all events have.

    Attributes:
        who: the person or model that did it.
        at: when, ISO 8601 in UTC, such as ``2026-11-21T12:30:00.250Z``.
    """

    who: str
    at: str


class Opened(_Event, frozen=True, tag="opened"):
    """The campaign begins: always the first event, and only the first.

    Attributes:
        settings: what is asked, of whom, at what cost.
        pages_sha256: of the file of pages, so that a log is never read with other pages.
        guideline: what annotators are told (Markdown); its version is 1.
    """

    settings: Settings
    pages_sha256: str
    guideline: str


class Answered(_Event, frozen=True, tag="answered"):
    """Somebody answered a task.

    Attributes:
        grade: of a ``GRADE`` task, a whole number from 0.
        choice: of the others, the better side of the *task* (not of the screen), or ``same``.
        seconds: how long it took, 0 or more.
        purpose: why it was asked.
        guideline: the version that the annotator had before them.
        source: a person at the desk, a model, or a file that was imported.
    """

    task: Task
    grade: int | None = None
    choice: Choice | None = None
    seconds: float = 0.0
    purpose: Purpose = Purpose.WORK
    guideline: int = 1
    source: Literal["person", "model", "import"] = "person"

    def __post_init__(self) -> None:
        _check_said(self.task, self.grade, self.choice)
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise InputError(f"answer to {self.task.key}: got seconds={self.seconds}; allowed: 0 or more, finite")


class Skipped(_Event, frozen=True, tag="skipped"):
    """Somebody could not answer, and says why; they are not asked again."""

    task: Task
    reason: SkipReason
    note: str = ""
    seconds: float = 0.0


class Postponed(_Event, frozen=True, tag="postponed"):
    """Somebody wants to be asked again later, after everything else."""

    task: Task


class Undone(_Event, frozen=True, tag="undone"):
    """Somebody takes back an answer, skip or postponement of their own, named by its place in the log."""

    seq: int


class GoldSet(_Event, frozen=True, tag="gold-set"):
    """A manager says the right answer to a task, which tests annotators from now on; no answer = no longer gold."""

    task: Task
    grade: int | None = None
    choice: Choice | None = None

    def __post_init__(self) -> None:
        if self.grade is not None or self.choice is not None:
            _check_said(self.task, self.grade, self.choice)


class Escalated(_Event, frozen=True, tag="escalated"):
    """Somebody asks a reviewer to decide a task."""

    task: Task
    note: str = ""


class Adjudicated(_Event, frozen=True, tag="adjudicated"):
    """A reviewer decides a task: their answer stands above all others."""

    task: Task
    grade: int | None = None
    choice: Choice | None = None
    seconds: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        _check_said(self.task, self.grade, self.choice)


class Paused(_Event, frozen=True, tag="paused"):
    """A manager stops an annotator; ``person`` empty = the whole campaign."""

    person: str = ""
    reason: str = ""


class Resumed(_Event, frozen=True, tag="resumed"):
    """A manager lets an annotator, or the whole campaign, go on; what gold told of them before counts no more."""

    person: str = ""


class GuidelineChanged(_Event, frozen=True, tag="guideline"):
    """A new version of what annotators are told; answers name the version they were given under."""

    text: str


class BudgetChanged(_Event, frozen=True, tag="budget"):
    """A manager buys more, or stops earlier; ``None`` = no limit of this kind."""

    questions: int | None = None
    money: float | None = None


class Closed(_Event, frozen=True, tag="closed"):
    """The campaign is over: nothing is asked any more."""


Event: TypeAlias = (
    Opened
    | Answered
    | Skipped
    | Postponed
    | Undone
    | GoldSet
    | Escalated
    | Adjudicated
    | Paused
    | Resumed
    | GuidelineChanged
    | BudgetChanged
    | Closed
)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event in its place in the log.

    Attributes:
        seq: 1 for the first event, without gaps.
        event: what happened.
        hash: hex SHA-256 of the hash before it (64 zeros before the first), a newline and the event's bytes.
    """

    seq: int
    event: Event
    hash: str


def encode_event(event: Event) -> bytes:
    """An event as its one line of JSON, keys in the order of the class: the same bytes every time."""
    return msgspec.json.encode(event)


def decode_event(line: bytes | str) -> Event:
    """The event of a line.

    Raises:
        InputError: not an event, or one that breaks its own rules.
    """
    try:
        event: Event = msgspec.json.decode(line, type=Event)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"event: {error}; allowed: one event of this program's version as JSON; do not edit logs"
        ) from error
    return event


def _check_said(task: Task, grade: int | None, choice: Choice | None) -> None:
    wrong_kind = (grade is None) == (task.kind is Kind.GRADE) or (choice is None) != (task.kind is Kind.GRADE)
    if wrong_kind or (grade is not None and grade < 0):
        raise InputError(
            f"answer to {task.key}: got grade={grade}, choice={choice}; allowed: a grade from 0 for a grade task, a "
            "choice for the others; answer the question asked"
        )
