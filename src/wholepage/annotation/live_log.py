"""The log of a campaign as it goes on: followed in memory, written with the campaign held alone.

Whoever acts holds the campaign alone in the database, first reads what others have written since, then checks and
writes; people of one process who come at the same time do so together (``batches``). What is returned has been
committed.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar, cast

import msgspec

from wholepage.annotation.batches import Batches, Job
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.chain import GENESIS
from wholepage.annotation.events import Entry, Event
from wholepage.annotation.moments import Clock, utc_now
from wholepage.annotation.rows import Head
from wholepage.annotation.store import Store
from wholepage.annotation.transaction import Transaction
from wholepage.pages.errors import StoreError, WholepageError

_T = TypeVar("_T")
_READERS_KEPT = 4


class LiveLog:
    """A campaign of a store, followed; ``LiveCampaign`` says what may be done with it.

    Args:
        store: where it is kept.
        campaign_id: which.
        clock: what time it is; times in the log come from it alone.
    Raises:
        InputError: no such campaign, or its log holds what may not happen.
        ChainBroken: its log is not as it was written.
        StoreError: its plan is not as it was written.
    """

    def __init__(self, store: Store, campaign_id: str, clock: Clock = utc_now) -> None:
        self.campaign_id = campaign_id
        self._store, self._clock = store, clock
        self._batches = Batches(self._serve)
        self._campaign, self._head = Campaign(store.plan(campaign_id)), Head(0, GENESIS)
        self._log: list[Entry] = []  # committed
        self._written: list[Entry] = []  # in the transaction that is under way
        self._latest: dict[str, Entry] = {}
        self._readers: list[Campaign] = []
        self._take(list(store.entries(campaign_id)))

    def read(self) -> Campaign:
        """The campaign as it is now, of which the caller may ask anything, for as long as they like.

        It is theirs alone and stays as it is while others go on answering; nobody waits for who reads.
        """
        if self._store.head(self.campaign_id) != self._head:
            self._alone(lambda transaction, now: None, durable=False)  # others have written
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = Campaign(self._campaign.plan)
        for entry in self._log[reader.seq :]:
            reader.apply(entry)
        # When the caller has let go of theirs, what it was made of serves the next reader.
        theirs = copy.copy(reader)
        weakref.finalize(theirs, _give_back, self._readers, reader).atexit = False
        return theirs

    def _alone(self, work: Callable[[Transaction, datetime], _T], *, durable: bool = True) -> _T:
        """Do something with the campaign held alone and up to date; on return it has been committed.

        ``work`` shares its transaction with that of others: what it finds wrong it must say before it changes anything.
        """
        job = Job(work, durable=durable)
        self._batches.do(cast(Job[object], job))
        if job.error is not None:
            raise job.error
        return cast(_T, job.result)

    def _serve(self, jobs: list[Job[object]]) -> None:
        """Do jobs one after the other in one transaction; each sees what those before it have written."""
        committed = False
        try:
            with self._store.transaction(self.campaign_id, durable=any(job.durable for job in jobs)) as transaction:
                self._take(transaction.entries(self._head))
                self._written = transaction.written
                for job in jobs:
                    so_far = len(self._written)
                    with job:
                        job.result = job.work(transaction, self._clock())
                    if job.error is not None and len(self._written) != so_far:
                        raise self._unwritten() from job.error
            self._keep(self._written)
            committed = True
        except WholepageError as error:
            for job in jobs:
                job.error = job.error or error
        finally:
            self._written = []
            if not committed:
                self._forget(jobs)

    def _forget(self, jobs: list[Job[object]]) -> None:
        """What was not committed has not happened."""
        for job in jobs:
            job.error = job.error or self._unwritten()
        if self._campaign.seq != len(self._log):
            self._campaign = Campaign.replay(self._campaign.plan, self._log)
            self._latest = {entry.event.who: entry for entry in self._log}

    def _unwritten(self) -> StoreError:
        return StoreError(f"campaign {self.campaign_id!r}: got an error while writing; nothing was kept; try again")

    def _take(self, entries: list[Entry]) -> None:
        """Take in what was written by others."""
        for entry in entries:
            self._fold(entry)
        self._keep(entries)

    def _fold(self, entry: Entry) -> None:
        self._campaign.apply(entry)
        self._latest[entry.event.who] = entry

    def _keep(self, entries: list[Entry]) -> None:
        """Count entries as committed."""
        self._log.extend(entries)
        if entries:
            self._head = Head(entries[-1].seq, entries[-1].hash)

    def _write(self, transaction: Transaction, event: Event) -> Entry:
        """Append an event that may happen."""
        self._campaign.check(event)
        entry = transaction.append(event)
        self._fold(entry)
        return entry

    def _again(self, event: Event) -> Entry | None:
        """Their latest entry if it says the same and nothing that undoes it came after: it was sent twice."""
        entry = self._latest.get(event.who)
        if entry is None or _timeless(entry.event) != _timeless(event):
            return None
        later = self._entries()[entry.seq :]
        overtaken = not hasattr(event, "task") and any(type(e.event) is type(event) for e in later)
        return None if overtaken else entry

    def _entries(self) -> list[Entry]:
        """The log with what this transaction has written."""
        return self._log + self._written


def _timeless(event: Event) -> Event:
    """An event without when it was and how long it took."""
    timed = {"at": ""} | ({"seconds": 0.0} if hasattr(event, "seconds") else {})
    return msgspec.structs.replace(event, **timed)


def _give_back(readers: list[Campaign], reader: Campaign) -> None:
    if len(readers) < _READERS_KEPT:
        readers.append(reader)
