"""Moments as they are written everywhere in annotation: ISO 8601 in UTC, to the millisecond, ending in Z."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from wholepage.pages.errors import InputError

Clock: TypeAlias = Callable[[], datetime]
"""Tells the time, with its zone; tests and simulations bring their own."""


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """A moment as text, such as ``2026-11-21T12:30:00.250Z``; later moments sort later.

    Raises:
        InputError: a time without a zone, which could be anywhere.
    """
    if moment.tzinfo is None:
        raise InputError(
            f"time: got {moment.isoformat()} without a zone; allowed: times with one; use datetime.now(UTC)"
        )
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def moment_of(text: str) -> datetime:
    """The moment of what ``stamp`` wrote.

    Raises:
        InputError: something else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"time: got {text!r} ({error}); allowed: such as 2026-11-21T12:30:00.250Z") from error
    if moment.tzinfo is None:
        raise InputError(f"time: got {text!r} without a zone; allowed: such as 2026-11-21T12:30:00.250Z")
    return moment.astimezone(UTC)
