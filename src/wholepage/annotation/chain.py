"""The hash chain of a log of events: any change of a row, or a row gone from the middle, shows at its place.

Each entry's hash is over the hash before it and the bytes of its event, so that the last hash stands for the whole log.
The chain finds accidents and edits by hand. Somebody who rewrites the log *and* every hash after the change is found
only by who kept a later hash elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wholepage.annotation.events import Entry, decode_event, encode_event
from wholepage.pages.errors import ChainBroken, InputError, shorten

GENESIS = "0" * 64
"""The hash before the first entry."""


class Row(NamedTuple):
    """An entry as it is stored: the event's bytes, not read yet.

    Attributes:
        seq: its place in the log, from 1.  body: the event's bytes.  hash: 64 hex digits.
    """

    seq: int
    body: bytes
    hash: str


def entry_hash(previous_hash: str, body: bytes) -> str:
    """The hash of an entry: hex SHA-256 of the hash before it, a newline and the event's bytes."""
    return hashlib.sha256(previous_hash.encode() + b"\n" + body).hexdigest()


def verify_rows(rows: Iterable[Row], *, after: int = 0, previous: str = GENESIS, log: str = "") -> Iterator[Entry]:
    """The entries of stored rows, each one handed out only when its place, its hash and its event are right.

    Args:
        rows: in the order of the log.
        after, previous: place and hash of the entry before the first row; as given, the log begins here.
        log: what the log is called in errors, such as the campaign's name.
    Raises:
        ChainBroken: at the first bad row: another row than the next (``gap``), bytes that are not those written
            (``hash``), or an event that this program cannot read (``unreadable``).
    """
    for seq, row in enumerate(rows, start=after + 1):
        if row.seq != seq:
            raise ChainBroken(
                seq, "gap", f"got row {row.seq!r} next; allowed: row {seq}, no row twice or gone", log=log
            )
        if not isinstance(row.body, bytes):  # what is damaged in a database may come as anything
            kind = type(row.body).__name__
            raise ChainBroken(seq, "unreadable", f"got an event of type {kind}; allowed: bytes", log=log)
        computed = entry_hash(previous, row.body)
        if row.hash != computed:
            raise ChainBroken(
                seq, "hash", f"got the hash {shorten(str(row.hash), 70)}; allowed: {computed}, of the hash before it "
                "and the event's bytes", log=log,
            )  # fmt: skip
        try:
            event = decode_event(row.body)
        except InputError as error:
            raise ChainBroken(seq, "unreadable", f"got {error}", log=log) from error
        yield Entry(seq, event, computed)
        previous = computed


def verify_entries(entries: Iterable[Entry], *, after: int = 0, previous: str = GENESIS, log: str = "") -> int:
    """Check entries that are read already, such as those of a file; returns how many there are.

    Args:
        entries: in the order of the log.
        after, previous: place and hash of the entry before them; as given, the log begins here.
        log: what the log is called in errors.
    Raises:
        ChainBroken: at the first entry that is out of place or has a wrong hash.
    """
    rows = (Row(entry.seq, encode_event(entry.event), entry.hash) for entry in entries)
    return sum(1 for _ in verify_rows(rows, after=after, previous=previous, log=log))
