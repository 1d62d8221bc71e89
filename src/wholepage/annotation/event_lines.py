"""A campaign's log as a file of lines: nothing is lost, and any change shows at its line.

One entry a line, as ``{"seq":1,"event":{...},"hash":"..."}``. Equal logs make equal files. Read back, the entries are
the same, and with the same plan so is the campaign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from wholepage.annotation.chain import GENESIS, Row, entry_hash, verify_rows
from wholepage.annotation.events import Entry, Event, encode_event
from wholepage.pages.errors import RecordError
from wholepage.pages.lines import decode, read_lines, write_lines


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """An entry whose event is left as it was written: its hash is over those bytes."""

    seq: int
    event: msgspec.Raw
    hash: str


_LINE = msgspec.json.Decoder(_Line)
_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def linked(events: Iterable[Event]) -> Iterator[Entry]:
    """Events in their places in a new log, each with its hash."""
    previous = GENESIS
    for seq, event in enumerate(events, start=1):
        previous = entry_hash(previous, encode_event(event))
        yield Entry(seq, event, previous)


def entry_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A log as lines without their ends.

    Raises:
        ChainBroken: an entry is out of place or has a wrong hash.
    """
    rows = (Row(entry.seq, encode_event(entry.event), entry.hash) for entry in entries)
    for entry in verify_rows(rows):
        yield msgspec.json.encode(entry)


def read_entry_lines(lines: Iterable[tuple[int, bytes]], path: str | Path) -> Iterator[Entry]:
    """The entries of numbered lines, each checked before it is handed out.

    Args:
        lines: number, from 1, and bytes of each.
        path: what the lines are called in errors.
    Raises:
        RecordError: a line that is no entry, an entry out of place, or one that is not as it was written.
    """
    previous = GENESIS
    for seq, (number, raw) in enumerate(lines, start=1):
        line = decode(_LINE, path, number, raw)
        if line.seq != seq:
            raise RecordError(
                path, number, "seq", str(line.seq), f"{seq}, no entry twice or gone", "bring the whole log"
            )
        computed = entry_hash(previous, bytes(line.event))
        if line.hash != computed:
            raise RecordError(
                path, number, "hash", repr(line.hash[:64]), f"{computed}, of the hash before it and the event's bytes",
                "bring the log as it was written, and trust no line from here on",
            )  # fmt: skip
        yield Entry(seq, decode(_EVENT, path, number, bytes(line.event), place="event."), computed)
        previous = computed


def write_entries(path: str | Path, entries: Iterable[Entry]) -> int:
    """Write a log, whole or not at all; returns how many entries it has.

    Raises:
        ChainBroken: an entry is out of place or has a wrong hash; nothing is written then.
        RecordError: the folder is missing, or may not be written to.
    """
    return write_lines(path, entry_lines(entries))


def read_entries(path: str | Path, *, last_hash: str | None = None) -> list[Entry]:
    """Read a log and check its chain.

    Args:
        last_hash: what the log must end with, where it is known; only so is a missing end found.
    Raises:
        RecordError: as ``read_entry_lines``; there is no entry; or the log ends with another hash.
    """
    entries = list(read_entry_lines(read_lines(path), path))
    if not entries:
        raise RecordError(path, 0, "file", "no entry", "one at least, the opening", "bring the whole log")
    if last_hash is not None and entries[-1].hash != last_hash:
        raise RecordError(
            path, len(entries), "hash", f"{entries[-1].hash} at the end", last_hash, "bring the whole log"
        )
    return entries
