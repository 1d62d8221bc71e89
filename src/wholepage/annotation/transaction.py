"""A campaign held alone, to write its log and its leases."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from wholepage.annotation.chain import entry_hash, verify_rows
from wholepage.annotation.events import Entry, Event, Task, encode_event
from wholepage.annotation.moments import moment_of, stamp
from wholepage.annotation.rows import Head, check_end, check_goes_on, read_head, read_rows
from wholepage.annotation.tables import EVENTS, HEADS, LEASES
from wholepage.pages.errors import InputError

KEPT_AFTER = timedelta(days=1)
"""Leases that ended longer ago are forgotten."""


class Lease(NamedTuple):
    """Somebody has been given a task, and it is kept for them until a moment."""

    until: datetime
    task: Task
    who: str


class Transaction:
    """A campaign held alone from ``Store.transaction`` on: what is written is there at its end, all or nothing.

    Attributes:
        campaign_id: whose log it is.
        head: where the log ends now.
        written: what was appended in this transaction.
    """

    def __init__(self, connection: Connection, campaign_id: str) -> None:
        self._connection, self.campaign_id = connection, campaign_id
        self.head = read_head(connection, campaign_id, alone=True)
        self.written: list[Entry] = []
        self._bodies: list[bytes] = []
        self._leases: dict[tuple[Task, str], Lease] | None = None
        self._changed: dict[tuple[Task, str], None] = {}

    def entries(self, after: Head) -> list[Entry]:
        """What was written before this transaction, after a head that was seen then.

        Raises:
            ChainBroken: the log does not go on from there.
        """
        if after == self.head:
            return []
        check_goes_on(after, self.head, self.campaign_id)
        rows = read_rows(self._connection, self.campaign_id, after.seq, self.head.seq)
        entries = list(verify_rows(rows, after=after.seq, previous=after.hash, log=self.campaign_id))
        check_end(Head(entries[-1].seq, entries[-1].hash) if entries else after, self.head, self.campaign_id)
        return entries

    def append(self, event: Event) -> Entry:
        """Write an event at the end of the log; nobody may be told of it before the transaction has ended.

        Raises:
            InputError: its text is none that can be written (half of a pair of UTF-16).
        """
        try:
            body = encode_event(event)
        except UnicodeEncodeError as error:
            raise InputError(f"event: got text that is not Unicode ({error}); allowed: any other; drop it") from error
        entry = Entry(self.head.seq + 1, event, entry_hash(self.head.hash, body))
        self.head = Head(entry.seq, entry.hash)
        self.written.append(entry)
        self._bodies.append(body)
        return entry

    def leases(self, now: datetime | None = None) -> list[Lease]:
        """The leases that hold at a moment, those that end first, first; ``None`` = those that have ended too."""
        return sorted(lease for lease in self._known().values() if now is None or lease.until > now)

    def lease(self, task: Task, who: str, until: datetime) -> None:
        """Keep a task for somebody until a moment; a lease they have of it gets the new end."""
        self._known()[task, who] = Lease(until, task, who)
        self._changed[task, who] = None

    def release(self, task: Task, who: str) -> None:
        """Give a task back; nothing happens to one that is not leased."""
        if self._known().pop((task, who), None) is not None:
            self._changed[task, who] = None

    def forget_leases(self, now: datetime) -> None:
        """Drop the leases that ended more than a day ago."""
        for lease in self.leases():
            if lease.until < now - KEPT_AFTER:
                self.release(lease.task, lease.who)

    def flush(self) -> None:
        """Send what was written to the database; the store does so before the commit."""
        if self.written:
            rows = [
                {"campaign": self.campaign_id, "seq": e.seq, "body": body, "hash": bytes.fromhex(e.hash)}
                for e, body in zip(self.written, self._bodies, strict=True)
            ]
            self._connection.execute(insert(EVENTS), rows)
            end = {"seq": self.head.seq, "hash": rows[-1]["hash"]}
            self._connection.execute(update(HEADS).where(HEADS.c.campaign == self.campaign_id), end)
        if self._changed:
            keys = [{"of": self.campaign_id, "digest": _digest(task), "by": who} for task, who in self._changed]
            self._connection.execute(_DROP, keys)
            kept = [lease for at in self._changed if (lease := self._known().get(at)) is not None]
            if kept:
                self._connection.execute(insert(LEASES), [self._row(lease) for lease in kept])

    def _known(self) -> dict[tuple[Task, str], Lease]:
        if self._leases is None:
            found = read_leases(self._connection, self.campaign_id)
            self._leases = {(lease.task, lease.who): lease for lease in found}
        return self._leases

    def _row(self, lease: Lease) -> dict[str, object]:
        key = {"campaign": self.campaign_id, "task_sha256": _digest(lease.task), "who": lease.who}
        return {**key, "task": lease.task.key, "until": stamp(lease.until)}


def read_leases(connection: Connection, campaign_id: str) -> list[Lease]:
    """All leases of a campaign, those that have ended too, those that end first, first."""
    asked = select(LEASES.c.until, LEASES.c.task, LEASES.c.who).where(LEASES.c.campaign == campaign_id)
    return sorted(Lease(moment_of(u), Task.from_key(key), who) for u, key, who in connection.execute(asked))


_DROP = delete(LEASES).where(
    LEASES.c.campaign == bindparam("of"), LEASES.c.task_sha256 == bindparam("digest"), LEASES.c.who == bindparam("by")
)


def _digest(task: Task) -> bytes:
    return hashlib.sha256(task.key.encode()).digest()
