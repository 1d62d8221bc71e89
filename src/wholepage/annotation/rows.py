"""Rows of a log as they lie in the database, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, select, type_coerce
from sqlalchemy.types import NullType

from wholepage.annotation.chain import Row
from wholepage.annotation.tables import EVENTS, HEADS
from wholepage.pages.errors import ChainBroken, InputError

BATCH = 1_000
"""Rows of a log that are read at once."""


class Head(NamedTuple):
    """Where a log ends: the place and hash of its last entry."""

    seq: int
    hash: str


def read_head(connection: Connection, campaign_id: str, *, alone: bool = False) -> Head:
    """Where a log ends; ``alone`` waits for other writers of it and keeps them out.

    Raises:
        InputError: no such campaign.
        ChainBroken: the head itself cannot be read.
    """
    asked = select(HEADS.c.seq, raw(HEADS.c.hash)).where(HEADS.c.campaign == campaign_id)
    found = connection.execute(asked.with_for_update() if alone else asked).first()
    if found is None:
        raise InputError(f"campaign: got {campaign_id!r}; allowed: a campaign of this store; see the list of them")
    seq, digest = found
    if not isinstance(seq, int) or not isinstance(digest, bytes):
        raise ChainBroken(0, "unreadable", "got a head that is no place and hash", log=campaign_id)
    return Head(seq, digest.hex())


def read_rows(connection: Connection, campaign_id: str, after: int, until: int | None = None) -> Iterator[Row]:
    """Rows of a log in order, as they are stored; ``until`` = the last one wanted.

    Raises:
        ChainBroken: a row that lies among those of the campaign names another.
    """
    columns = raw(EVENTS.c.campaign), EVENTS.c.seq, raw(EVENTS.c.body), raw(EVENTS.c.hash)
    asked = select(*columns).where(EVENTS.c.campaign == campaign_id).order_by(EVENTS.c.seq).limit(BATCH)
    if until is not None:
        asked = asked.where(EVENTS.c.seq <= until)
    while True:
        found = connection.execute(asked.where(EVENTS.c.seq > after)).all()
        for name, seq, body, digest in found:
            if name != campaign_id:  # the database found it by its neighbours, not by what it says
                raise ChainBroken(after + 1, "gap", f"got a row of {name!r}; allowed: its own", log=campaign_id)
            after = seq
            yield Row(seq, body, digest.hex() if isinstance(digest, bytes) else digest)
        if len(found) < BATCH:
            return


def check_goes_on(seen: Head, head: Head, campaign_id: str) -> None:
    """Whether a log still has, or may have, the entry that was its last when it was seen before.

    Raises:
        ChainBroken: it ends before that, or there with another hash.
    """
    if seen.seq > head.seq or (seen.seq == head.seq and seen != head):
        wrong, at = ("hash", head.seq) if seen.seq == head.seq else ("gap", head.seq + 1)
        raise ChainBroken(
            at, wrong, f"got a log that ends at row {head.seq} with the hash {head.hash}; allowed: one that goes on "
            f"from row {seen.seq} with {seen.hash}, which was there before", log=campaign_id,
        )  # fmt: skip


def check_end(last: Head, head: Head, campaign_id: str) -> None:
    """Whether a log whose last row was read ends where its head says.

    Raises:
        ChainBroken: it ends elsewhere.
    """
    if last != head:
        wrong, at = ("hash", head.seq) if last.seq == head.seq else ("gap", min(last.seq, head.seq) + 1)
        raise ChainBroken(
            at, wrong, f"got the last row {last.seq} with the hash {last.hash}; allowed: row {head.seq} with "
            f"{head.hash}, where the log ends", log=campaign_id,
        )  # fmt: skip


def raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column as the driver gives it: what is damaged may have another type, which no converter expects."""
    return type_coerce(column, NullType())
