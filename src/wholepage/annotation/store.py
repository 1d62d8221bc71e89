"""Where campaigns, their logs and the people of the desk are kept: SQLite or PostgreSQL, one behaviour.

The log of a campaign is append-only and hash-chained (``chain``); whatever else is known of it is found by replaying
the log. Leases are kept beside it: they may be lost without harm. A ``Store`` may be used by many threads and, on one
database, by many processes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from wholepage.annotation.accounts import Accounts
from wholepage.annotation.chain import GENESIS, entry_hash, verify_entries, verify_rows
from wholepage.annotation.database import BUSY_S, open_engine, reading, writing
from wholepage.annotation.events import Entry, Opened, encode_event
from wholepage.annotation.migrations import migrate
from wholepage.annotation.moments import Clock, stamp, utc_now
from wholepage.annotation.people import ScryptCost
from wholepage.annotation.plan import Plan
from wholepage.annotation.rows import BATCH, Head, check_end, check_goes_on, raw, read_head, read_rows
from wholepage.annotation.tables import CAMPAIGNS, EVENTS, HEADS, PLANS
from wholepage.annotation.transaction import Lease, Transaction, read_leases
from wholepage.pages.errors import ChainBroken, InputError, StoreError

_CAMPAIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Store(Accounts):
    """A store that is open; ``Store.open`` opens it. People, invites and sessions are as in ``Accounts``."""

    @classmethod
    def open(
        cls,
        address: str | Path,
        *,
        clock: Clock = utc_now,
        busy_s: float = BUSY_S,
        session_s: float = 12 * 3600,
        cost: ScryptCost | None = None,
    ) -> Store:
        """Open a store, made or brought to this program's version where needed.

        Args:
            address: ``postgresql://...``, ``sqlite:///...``, or a SQLite file's path.
            clock: what time it is.
            busy_s: how long a writer waits for another.
            session_s: how long somebody stays signed in.
            cost: what hashing a password costs; None = what is right for people.
        Raises:
            InputError: an address of nothing that is supported.
            StoreError: the database does not answer, is not a store, or is newer than this program.
        """
        engine = open_engine(address, busy_s=busy_s)
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            migrate(engine)
            undo.pop_all()
        return cls(engine, clock=clock, session_s=session_s, cost=cost or ScryptCost())

    def close(self) -> None:
        """Let all connections go."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def create_campaign(self, campaign_id: str, plan: Plan, opened: Opened) -> Entry:
        """Begin a campaign: its plan, and the first entry of its log, which is returned.

        Raises:
            InputError: an id that is taken or none, or an event that names another plan.
        """
        entry = Entry(1, opened, entry_hash(GENESIS, encode_event(opened)))
        self.restore_campaign(campaign_id, plan, [entry])
        return entry

    def restore_campaign(self, campaign_id: str, plan: Plan, entries: Iterable[Entry]) -> int:
        """Write a whole log that was exported, byte for byte as it was; returns how many entries it has.

        Whether the events may follow each other is not looked at: replay them first (``Campaign.replay``).

        Raises:
            InputError: an id that is taken or none, no entry, or a first one that does not open the plan's campaign.
            ChainBroken: an entry is out of place or has a wrong hash; nothing is written then.
        """
        if not _CAMPAIGN_ID.fullmatch(campaign_id):
            raise InputError(
                f"campaign: got the id {campaign_id[:100]!r}; allowed: 1 to 64 letters, digits and . _ -, a letter or "
                "digit first; such as shoes-2026"
            )
        log = list(entries)
        verify_entries(log, log=campaign_id)
        body = plan.to_json()
        sha256 = hashlib.sha256(body).hexdigest()
        first = log[0].event if log else None
        if not isinstance(first, Opened) or first.pages_sha256 != sha256:
            got = first.pages_sha256 if isinstance(first, Opened) else f"a log that begins with {type(first).__name__}"
            raise InputError(
                f"campaign {campaign_id!r}: got {got}; allowed: a log that opens the plan {sha256}; bring the two that "
                "belong together"
            )
        rows = [
            {"campaign": campaign_id, "seq": entry.seq, "body": encode_event(entry.event), "hash": _digest(entry)}
            for entry in log
        ]
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(CAMPAIGNS), {"campaign": campaign_id, "created": stamp(self._clock())})
                connection.execute(insert(PLANS), {"campaign": campaign_id, "body": body})
                connection.execute(insert(EVENTS), rows)
                connection.execute(
                    insert(HEADS), {"campaign": campaign_id, "seq": log[-1].seq, "hash": _digest(log[-1])}
                )
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise InputError(
                    f"campaign: got the id {campaign_id!r}, which is taken; allowed: a new one; choose another"
                ) from error
            raise
        return len(log)

    def campaign_ids(self) -> list[str]:
        """All campaigns, sorted by id."""
        with reading(self._engine) as connection:
            return sorted(connection.execute(select(CAMPAIGNS.c.campaign)).scalars())

    def plan(self, campaign_id: str) -> Plan:
        """The plan of a campaign.

        Raises:
            InputError: no such campaign.
            StoreError: the plan is not as it was written.
        """
        with reading(self._engine) as connection:
            read_head(connection, campaign_id)
            body = connection.execute(select(raw(PLANS.c.body)).where(PLANS.c.campaign == campaign_id)).scalar()
            rows = read_rows(connection, campaign_id, 0, 1)
            first = next(verify_rows(rows, log=campaign_id), None)
        return _checked_plan(campaign_id, body, first)

    def head(self, campaign_id: str) -> Head:
        """Where the log of a campaign ends.

        Raises:
            InputError: no such campaign.
        """
        with reading(self._engine) as connection:
            return read_head(connection, campaign_id)

    def entries(self, campaign_id: str, after: int | Head = 0) -> Iterator[Entry]:
        """The entries of a log up to where it ends now, each one checked before it is handed out.

        Args:
            campaign_id: whose log.
            after: the place of an entry, those that follow are read; with the hash it must have, from a ``Head``.
        Raises:
            InputError: no such campaign, or no such place in its log; at once.
            ChainBroken: at the first bad row, when it is reached; the log no longer reaches to a ``Head``, at once.
        """
        end = self.head(campaign_id)
        if isinstance(after, Head):
            check_goes_on(after, end, campaign_id)
        elif not 0 <= after <= end.seq:
            raise InputError(f"campaign {campaign_id!r}: got after={after}; allowed: 0 to {end.seq}, where it ends")
        return self._entries(campaign_id, after, end)

    def verify(self, campaign_id: str) -> int:
        """Read a whole log and its plan, and check every byte; returns how many entries there are.

        Raises:
            InputError: no such campaign.
            ChainBroken: the log is not as it was written; the first bad row is named.
            StoreError: the plan is not as it was written.
        """
        first: Entry | None = None
        last: Entry | None = None
        with reading(self._engine, snapshot=True) as connection:
            head = read_head(connection, campaign_id)
            try:
                for last in verify_rows(read_rows(connection, campaign_id, 0), log=campaign_id):
                    first = first or last
            except DBAPIError as error:
                raise self._located(campaign_id, last.seq if last else 0, head.seq, error) from error
            check_end(Head(last.seq, last.hash) if last else Head(0, GENESIS), head, campaign_id)
            body = connection.execute(select(raw(PLANS.c.body)).where(PLANS.c.campaign == campaign_id)).scalar()
        _checked_plan(campaign_id, body, first)
        return head.seq

    def leases(self, campaign_id: str) -> list[Lease]:
        """Who has which task of a campaign before them, and until when; those whose time is over included.

        Raises:
            InputError: no such campaign.
        """
        with reading(self._engine) as connection:
            read_head(connection, campaign_id)
            return read_leases(connection, campaign_id)

    @contextmanager
    def transaction(self, campaign_id: str, *, durable: bool = True) -> Iterator[Transaction]:
        """Hold a campaign alone, among all threads and processes; what is written is kept when the block ends well.

        Args:
            campaign_id: which.
            durable: what is written is on the disk at the end; if not, a power cut may undo it (leases alone).
        Raises:
            InputError: no such campaign.
            StoreError: another holds it for too long, or the database cannot be written.
        """
        with writing(self._engine, durable=durable) as connection:
            transaction = Transaction(connection, campaign_id)
            yield transaction
            transaction.flush()

    def _entries(self, campaign_id: str, after: int | Head, head: Head) -> Iterator[Entry]:
        # A connection for each batch: who reads slowly holds none, and no snapshot that the database must keep.
        seen = after if isinstance(after, Head) else self._head_at(campaign_id, after) if after else Head(0, GENESIS)
        while seen.seq < head.seq:
            with reading(self._engine) as connection:
                until = min(seen.seq + BATCH, head.seq)
                try:
                    rows = list(read_rows(connection, campaign_id, seen.seq, until))
                except DBAPIError as error:
                    raise self._located(campaign_id, seen.seq, head.seq, error) from error
            if not rows:
                break
            yield from verify_rows(rows, after=seen.seq, previous=seen.hash, log=campaign_id)
            seen = Head(rows[-1].seq, rows[-1].hash)
        check_end(seen, head, campaign_id)

    def _head_at(self, campaign_id: str, seq: int) -> Head:
        """The log's head when the row was its last."""
        with reading(self._engine) as connection:
            for row in read_rows(connection, campaign_id, seq - 1, seq):
                return Head(row.seq, row.hash)
        raise ChainBroken(seq, "gap", "got no such row; allowed: all up to the log's end", log=campaign_id)

    def _located(self, campaign_id: str, after: int, until: int, error: DBAPIError) -> StoreError:
        """The row that a database could not read, found by reading one at a time."""
        for seq in range(after + 1, until + 1):
            try:
                with self._engine.connect() as connection:
                    list(read_rows(connection, campaign_id, seq - 1, seq))
            except DBAPIError as found:
                return ChainBroken(seq, "unreadable", f"got {found.orig}", log=campaign_id)
        return StoreError(f"store: campaign {campaign_id!r}: got {error.orig}, at no row; try again, or restore a copy")


def _digest(entry: Entry) -> bytes:
    return bytes.fromhex(entry.hash)


def _checked_plan(campaign_id: str, body: object, first: Entry | None) -> Plan:
    """The plan of a body that is the one the log's first entry names."""
    if first is None or not isinstance(first.event, Opened):
        wrong = "gap" if first is None else "unreadable"
        raise ChainBroken(1, wrong, "got no event that opens the campaign; allowed: one, first", log=campaign_id)
    sha256 = hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else "of nothing"
    if not isinstance(body, bytes) or sha256 != first.event.pages_sha256:
        raise StoreError(
            f"campaign {campaign_id!r}: got a plan with SHA-256 {sha256}; allowed: {first.event.pages_sha256}, which "
            "its log names; somebody changed it: restore it from a copy"
        )
    return Plan.from_json(body)
