"""What stands on one task after everything that was said, taken back and decided, and what it comes to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

from wholepage.annotation.events import Adjudicated, Answered, GoldSet, Purpose, Task
from wholepage.pages.judgments import Choice

Value: TypeAlias = int | Choice
"""A grade, or the better side of the task."""

MODEL = "model:"
"""How names of annotators begin that are no people."""

ADJUDICATED, GOLD, INFERRED, PEOPLE = "adjudicated", "gold", "inferred", "people"
"""Who labels go by that no single annotator gave."""

RESERVED = (ADJUDICATED, GOLD, INFERRED, PEOPLE)
SKIPS_TO_REVIEW = 2
_SIDES = (Choice.LEFT, Choice.SAME, Choice.RIGHT)


class Reply(NamedTuple):
    """An answer in its place in the log."""

    seq: int
    event: Answered


class Why(StrEnum):
    """Why a task waits for a reviewer."""

    ESCALATED = "escalated"
    SKIPPED = "skipped"
    SPREAD = "spread"


class Escalation(msgspec.Struct, frozen=True):
    """A task that waits for a reviewer.

    Attributes:
        why: asked for by hand, skipped by two people, or answered too differently.
        answers: by whom and what, in the order of the log.
        notes: by whom and what was written, or the reason of a skip.
    """

    task: Task
    why: Why
    answers: tuple[tuple[str, Value], ...]
    notes: tuple[tuple[str, str], ...]


class Record:
    """What stands on one task.

    Attributes:
        replies: by who.  skips: by who: place in the log and reason.  escalations: who and their note.
        gold: the right answer that a manager has set; None = no gold.
        decided: a reviewer's decision, with its place in the log.
    """

    __slots__ = ("decided", "escalations", "gold", "replies", "skips")

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.skips: dict[str, tuple[int, str]] = {}
        self.escalations: list[tuple[str, str]] = []
        self.gold: Value | None = None
        self.decided: tuple[int, Adjudicated] | None = None

    def acted(self, who: str) -> bool:
        """Whether somebody has answered, skipped or escalated: they are not asked again."""
        return who in self.replies or who in self.skips or any(who == by for by, _ in self.escalations)

    def known(self) -> Value | None:
        """What is beyond doubt: the reviewer's decision, else gold."""
        return value_of(self.decided[1]) if self.decided else self.gold

    def people(self, ignored: Collection[str]) -> list[Reply]:
        """The answers of people that count, in the order of the log."""
        return [reply for who, reply in self.replies.items() if who not in ignored and not is_model(who)]

    def label(self, ignored: Collection[str]) -> Value | None:
        """What the task comes to: decided, else gold, else the middle of people's answers; None = nobody answered."""
        known = self.known()
        if known is not None:
            return known
        return middle([value_of(reply.event) for reply in self.people(ignored)])

    def audited(self, ignored: Collection[str]) -> bool:
        """Whether people's answers to it were all asked for to test an inferred label."""
        given = self.people(ignored)
        return bool(given) and all(reply.event.purpose is Purpose.AUDIT for reply in given)

    def waits(self, ignored: Collection[str], spread: int) -> Why | None:
        """Why the task needs a reviewer; None = it does not."""
        if self.decided:
            return None
        if self.escalations:
            return Why.ESCALATED
        if sum(who not in ignored and not is_model(who) for who in self.skips) >= SKIPS_TO_REVIEW:
            return Why.SKIPPED
        if self.gold is None and too_wide([value_of(reply.event) for reply in self.people(ignored)], spread):
            return Why.SPREAD
        return None


def is_model(who: str) -> bool:
    """Whether a name is a model's."""
    return who.startswith(MODEL)


def value_of(event: Answered | Adjudicated | GoldSet) -> Value | None:
    """The grade or choice of an event; None = a gold answer is taken away."""
    return event.choice if event.grade is None else event.grade


def middle(values: Sequence[Value | None]) -> Value | None:
    """The median; of two in the middle the lower grade, of two choices the one nearer to ``same``."""
    grades = sorted(value for value in values if isinstance(value, int))
    if grades:
        return grades[(len(grades) - 1) // 2]
    places = sorted(_SIDES.index(value) for value in values if isinstance(value, Choice))
    if not places:
        return None
    low, high = places[(len(places) - 1) // 2], places[len(places) // 2]
    return _SIDES[low] if low == high else Choice.SAME


def too_wide(values: Iterable[Value | None], spread: int) -> bool:
    """Whether grades differ by as much or more, or choices are left and right."""
    given = list(values)
    grades = [value for value in given if isinstance(value, int)]
    if grades:
        return max(grades) - min(grades) >= spread
    return Choice.LEFT in given and Choice.RIGHT in given
