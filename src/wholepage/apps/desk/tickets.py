"""Tickets: what a card carries to say which task it shows, how and since when, without saying it.

The names of orders would tell who made them, and the side shown first would tell one order from the other, so a ticket
holds neither: only the page, the guideline's version, the time, and a keyed digest of everything. The desk finds the
task again by trying those of the page. Nobody can make a ticket for a task that they were not given.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

import msgspec

from wholepage.annotation.events import Task
from wholepage.pages.errors import InputError, shorten


class Ticket(msgspec.Struct, frozen=True):
    """What a card was made of.

    Attributes:
        campaign_id, who: of which campaign, for whom.
        page: the page's place in the plan, from 0.
        task: what is asked.
        left_first: the screen shows the task's left side on the left.
        guideline: the version beside the card.
        since_ms: when the card was first shown, in milliseconds of Unix time.
    """

    campaign_id: str
    who: str
    page: int
    task: Task
    left_first: bool
    guideline: int
    since_ms: int

    def written(self, key: bytes) -> str:
        """The ticket as forms carry it.

        Args:
            key: of the browser it is for.
        """
        return f"{self.page}.{self.guideline}.{self.since_ms}.{_digest(self, key)}"


class Stub(msgspec.Struct, frozen=True):
    """The part of a ticket that can be read: ``Stub.read`` takes it apart, ``Stub.ticket`` finds the rest."""

    page: int
    guideline: int
    since_ms: int
    digest: str

    @classmethod
    def read(cls, text: str) -> Stub:
        """The parts of a ticket.

        Raises:
            InputError: not a ticket.
        """
        parts = text.split(".")
        numbers = parts[:3]
        if len(parts) != 4 or not all(n.isascii() and n.isdigit() and len(n) <= 16 for n in numbers):
            raise InputError(f"ticket: got {shorten(text)!r}; allowed: the ticket of a card; open the card again")
        page, guideline, since_ms = map(int, numbers)
        return cls(page, guideline, since_ms, parts[3])

    def ticket(self, key: bytes, campaign_id: str, who: str, tasks: Iterable[Task]) -> Ticket | None:
        """The whole ticket, if it was made with this key for one of the tasks; None otherwise."""
        for task in tasks:
            for left_first in (True, False):
                ticket = Ticket(campaign_id, who, self.page, task, left_first, self.guideline, self.since_ms)
                if hmac.compare_digest(_digest(ticket, key).encode(), self.digest.encode()):
                    return ticket
        return None


def _digest(ticket: Ticket, key: bytes) -> str:
    return hmac.digest(key, msgspec.json.encode(ticket), "sha256").hex()
