"""One changed byte of a log is found at its row: whichever column, whichever row, on either database or in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text

from wholepage.annotation.database import open_engine, writing
from wholepage.annotation.events import Answered, Task, encode_event
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store
from wholepage.pages.errors import ChainBroken, StoreError

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest
AT = "2026-11-21T12:30:00.250Z"
ROWS = 7


@pytest.fixture
def written(begin: Begin) -> Any:
    """A store whose log has ``ROWS`` rows."""
    begun = begin(2, 6)
    with begun.store.transaction("shoes") as held:
        for number in range(ROWS - 1):
            held.append(Answered("ann", AT, Task.grade("q000", f"r{number:02d}"), grade=number % 4, seconds=1.5))
    return begun


def change(address: str, statement: str, **values: object) -> None:
    """Change the database behind the store's back."""
    engine = open_engine(address)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign keys, as for a disk
        else:
            connection.connection.rollback()
            connection.connection.execute("PRAGMA foreign_keys = OFF")
            connection.connection.execute("BEGIN IMMEDIATE")
        assert connection.execute(text(statement), values).rowcount == 1
    engine.dispose()


def broken(store: Store) -> ChainBroken:
    """The error that every way of reading the log ends with."""
    found = []
    for read in (
        lambda: store.verify("shoes"),
        lambda: list(store.entries("shoes")),
        lambda: LiveCampaign(store, "shoes"),
    ):
        with pytest.raises(ChainBroken) as error:
            read()
        found.append((error.value.seq, error.value.wrong))
    assert len(set(found)) == 1, found
    return error.value


@pytest.mark.parametrize("seq", [1, 4, ROWS])
def test_a_flipped_bit_of_an_event_is_found_at_its_row(written: Any, seq: int) -> None:
    body = bytearray(encode_event(list(written.store.entries("shoes"))[seq - 1].event))
    body[len(body) // 2] ^= 0x04
    change(written.address, "UPDATE events SET body = :body WHERE seq = :seq", body=bytes(body), seq=seq)
    error = broken(written.store)
    assert (error.seq, error.wrong, error.log) == (seq, "hash", "shoes")


@pytest.mark.parametrize("seq", [1, 4, ROWS])
def test_a_flipped_bit_of_a_hash_is_found_at_its_row(written: Any, seq: int) -> None:
    digest = bytearray.fromhex(list(written.store.entries("shoes"))[seq - 1].hash)
    digest[31] ^= 0x80
    change(written.address, "UPDATE events SET hash = :hash WHERE seq = :seq", hash=bytes(digest), seq=seq)
    error = broken(written.store)
    assert (error.seq, error.wrong) == (seq, "hash")


@pytest.mark.parametrize("seq", [1, 4, ROWS])
@pytest.mark.parametrize("bit", [0x08, 0x40, 1 << 40])
def test_a_flipped_bit_of_a_place_is_found_at_the_row_that_is_gone(written: Any, seq: int, bit: int) -> None:
    change(written.address, "UPDATE events SET seq = :other WHERE seq = :seq", other=seq ^ bit, seq=seq)
    error = broken(written.store)
    assert (error.seq, error.wrong) == (seq, "gap")


@pytest.mark.parametrize("seq", [1, 4, ROWS])
def test_a_row_that_left_for_another_campaign_is_found_where_it_was(written: Any, seq: int) -> None:
    change(written.address, "UPDATE events SET campaign = 'shoer' WHERE seq = :seq", seq=seq)
    error = broken(written.store)
    assert (error.seq, error.wrong) == (seq, "gap")


@pytest.mark.parametrize("seq", [1, 4, ROWS])
def test_a_row_that_was_deleted_is_found_also_at_the_end(written: Any, seq: int) -> None:
    change(written.address, "DELETE FROM events WHERE seq = :seq", seq=seq)
    error = broken(written.store)
    assert (error.seq, error.wrong) == (seq, "gap")


def test_a_changed_end_of_the_log_is_found(written: Any) -> None:
    head = written.store.head("shoes")
    for statement, values, seq in (
        ("UPDATE heads SET seq = :seq", {"seq": ROWS - 1}, ROWS - 1),
        ("UPDATE heads SET seq = :seq", {"seq": ROWS + 4}, ROWS + 1),
        ("UPDATE heads SET hash = :hash", {"hash": bytes(32)}, ROWS),
    ):
        change(written.address, statement, **values)
        with pytest.raises(ChainBroken) as error:
            list(written.store.entries("shoes"))
        assert error.value.seq == seq
        with pytest.raises(ChainBroken):
            written.store.verify("shoes")
        change(written.address, "UPDATE heads SET seq = :s, hash = :h", s=ROWS, h=bytes.fromhex(head.hash))
    assert written.store.verify("shoes") == ROWS


def test_a_row_more_than_the_log_has_is_found(written: Any) -> None:
    again = "INSERT INTO events (campaign, seq, body, hash) SELECT campaign, seq + 1, body, hash FROM events"
    change(written.address, f"{again} WHERE seq = :seq", seq=ROWS)
    with pytest.raises(ChainBroken, match=f"row {ROWS + 1}"):
        written.store.verify("shoes")


def test_an_answer_upon_a_changed_row_is_refused(written: Any) -> None:
    live = LiveCampaign(written.store, "shoes")
    with Store.open(written.address) as other, other.transaction("shoes") as held:
        held.append(Answered("bob", AT, Task.grade("q001", "r00"), grade=1))
    change(written.address, "UPDATE events SET body = body WHERE seq = 1")  # nothing changed
    change(written.address, "UPDATE events SET hash = :hash WHERE seq = :seq", hash=bytes(32), seq=ROWS + 1)
    with pytest.raises(ChainBroken) as error:
        live.next("ann")
    assert error.value.seq == ROWS + 1
    with pytest.raises(ChainBroken):
        live.read()


def test_a_log_that_lost_rows_while_it_was_followed_is_refused(written: Any) -> None:
    live = LiveCampaign(written.store, "shoes")
    row = list(written.store.entries("shoes"))[-2]
    change(written.address, "DELETE FROM events WHERE seq = :seq", seq=ROWS)
    change(written.address, "UPDATE heads SET seq = :seq, hash = :h", seq=row.seq, h=bytes.fromhex(row.hash))
    assert written.store.verify("shoes") == ROWS - 1  # a copy from before would look like this
    with pytest.raises(ChainBroken, match=f"row {ROWS}"):
        live.next("ann")


def test_a_changed_plan_is_found(written: Any) -> None:
    body = written.plan.to_json().replace(b"result 3", b"result 4", 1)
    change(written.address, "UPDATE plans SET body = :body", body=body)
    for read in (written.store.plan, written.store.verify):
        with pytest.raises(StoreError, match="got a plan with SHA-256"):
            read("shoes")


def record_of(file: bytes, body: bytes) -> range:
    """Where the record of an event lies in a database file of SQLite's: its header, its columns."""
    assert file.count(body) == 1
    at = file.index(body)
    # Before the body stand the campaign's name and the place, before these the header that tells the types.
    return range(file.rindex(b"shoes", 0, at) - 7, at + len(body) + 32)


def flips(path: Path, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The file with one bit of a record changed, in each byte in turn."""
    file = path.read_bytes()
    for at in record_of(file, body):
        yield at, file[:at] + bytes([file[at] ^ 1 << at % 8]) + file[at + 1 :]


@pytest.mark.parametrize("seq", [1, 4, ROWS])
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_every_flipped_byte_of_a_row_in_the_file_is_found(written: Any, seq: int) -> None:
    body = encode_event(list(written.store.entries("shoes"))[seq - 1].event)
    written.store.close()
    with sqlite3.connect(written.address) as connection:  # all into the one file
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    whole = Path(written.address).read_bytes()
    tried, elsewhere = 0, 0
    with Store.open(written.address) as store:
        for at, flipped in flips(Path(written.address), body):
            Path(written.address).write_bytes(flipped)
            store.close()  # no connection remembers a page
            with pytest.raises(StoreError) as error:
                store.verify("shoes")
            tried += 1
            if not isinstance(error.value, ChainBroken) or error.value.seq != seq:
                elsewhere += 1  # a changed header can hide where a row begins and ends
                assert at < whole.index(body), error.value
    assert tried == len(record_of(whole, body))
    assert elsewhere <= 14
