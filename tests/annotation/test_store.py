"""The store of campaigns, the same on SQLite and PostgreSQL: what is written is what is read, alone or not at all."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest
from sqlalchemy import text

from wholepage.annotation import database
from wholepage.annotation.chain import GENESIS, entry_hash
from wholepage.annotation.database import database_url, open_engine, reading, writing
from wholepage.annotation.events import Answered, Closed, Entry, Kind, Paused, Task, encode_event
from wholepage.annotation.moments import moment_of, stamp
from wholepage.annotation.rows import Head
from wholepage.annotation.store import Store
from wholepage.pages.errors import ChainBroken, InputError, StoreError

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
AT = stamp(NOW)
TASK = Task.grade("q000", "r00")


def said(number: int) -> Answered:
    return Answered(f"p{number}", AT, Task.grade("q000", "r01"), grade=number % 4, seconds=0.1 * number)


# --- campaigns and their logs -----------------------------------------------------------------------------------------


def test_what_is_written_is_read(begin: Begin) -> None:
    begun = begin()
    store, plan, first = begun.store, begun.plan, begun.first
    assert (first.seq, first.hash) == (1, entry_hash(GENESIS, encode_event(first.event)))
    with store.transaction("shoes") as held:
        written = [held.append(event) for event in (said(1), Paused("boss", AT, "Zoë\u2028\x00🙂"), Closed("boss", AT))]
    assert [e.seq for e in written] == [2, 3, 4]
    with Store.open(begun.address) as again:
        assert again.campaign_ids() == ["shoes"]
        assert again.plan("shoes") == plan
        assert list(again.entries("shoes")) == [first, *written]
        assert list(again.entries("shoes", after=2)) == written[1:]
        assert list(again.entries("shoes", after=4)) == []
        assert again.head("shoes") == (4, written[-1].hash)
        assert again.verify("shoes") == 4


def test_bytes_are_stored_as_they_were_encoded(begin: Begin) -> None:
    begun = begin()
    with begun.store.transaction("shoes") as held:
        held.append(said(3))
    engine = open_engine(begun.address)
    with reading(engine) as connection:
        stored = connection.execute(text("SELECT body, hash FROM events WHERE seq = 2")).one()
    engine.dispose()
    assert bytes(stored.body) == encode_event(said(3))
    assert bytes(stored.hash).hex() == begun.store.head("shoes").hash


def test_a_long_log_is_read_in_batches(begin: Begin) -> None:
    begun = begin()
    with begun.store.transaction("shoes") as held:
        for number in range(2_345):
            held.append(said(number))
    entries = list(begun.store.entries("shoes"))
    assert [e.seq for e in entries] == list(range(1, 2_347))
    assert [e.event for e in entries[1:]] == [said(number) for number in range(2_345)]
    assert list(begun.store.entries("shoes", after=1_500)) == entries[1_500:]
    assert begun.store.verify("shoes") == 2_346


def test_an_error_undoes_the_whole_transaction(begin: Begin) -> None:
    store = begin().store
    before = store.head("shoes")

    def fails() -> None:
        with store.transaction("shoes") as held:
            held.append(said(1))
            held.lease(TASK, "ann", NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert store.head("shoes") == before
    assert store.verify("shoes") == 1
    with store.transaction("shoes") as held:
        assert held.leases() == []


def test_campaigns_do_not_mix(begin: Begin) -> None:
    begun = begin()
    begun.store.create_campaign("Hats_2.1", begun.plan, begun.first.event)
    with begun.store.transaction("Hats_2.1") as held:
        held.append(said(1))
        held.lease(TASK, "ann", NOW)
    with begun.store.transaction("shoes") as held:
        assert held.leases() == []
        assert held.head.seq == 1
    assert begun.store.campaign_ids() == ["Hats_2.1", "shoes"]
    assert (begun.store.verify("shoes"), begun.store.verify("Hats_2.1")) == (1, 2)


@pytest.mark.parametrize("campaign_id", ["", ".hidden", "a/b", "a b", "x" * 65, "é", "a\n"])
def test_odd_campaign_ids_are_refused(begin: Begin, campaign_id: str) -> None:
    begun = begin()
    with pytest.raises(InputError, match="1 to 64 letters"):
        begun.store.create_campaign(campaign_id, begun.plan, begun.first.event)


def test_a_taken_id_another_plan_and_another_beginning_are_refused(begin: Begin) -> None:
    begun = begin()
    with pytest.raises(InputError, match="'shoes', which is taken"):
        begun.store.create_campaign("shoes", begun.plan, begun.first.event)
    other = type(begun.plan)(pages=begun.plan.pages[:1])
    with pytest.raises(InputError, match="bring the two that belong together"):
        begun.store.create_campaign("hats", other, begun.first.event)
    closed = Closed("boss", AT)
    with pytest.raises(InputError, match="begins with Closed"):
        begun.store.restore_campaign("hats", begun.plan, [Entry(1, closed, entry_hash(GENESIS, encode_event(closed)))])
    with pytest.raises(InputError, match="begins with NoneType"):
        begun.store.restore_campaign("hats", begun.plan, [])
    assert begun.store.campaign_ids() == ["shoes"]


def test_an_exported_log_is_restored_byte_for_byte(begin: Begin, kind: str, new_database: Callable[[str], str]) -> None:
    begun = begin()
    with begun.store.transaction("shoes") as held:
        for number in range(5):
            held.append(said(number))
    entries = list(begun.store.entries("shoes"))
    with Store.open(new_database(kind)) as other:
        assert other.restore_campaign("copy", begun.store.plan("shoes"), entries) == 6
        assert list(other.entries("copy")) == entries
        assert other.head("copy") == begun.store.head("shoes")
        with pytest.raises(ChainBroken, match="row 3"):
            other.restore_campaign("bad", begun.plan, [*entries[:2], *entries[3:]])
        assert other.campaign_ids() == ["copy"]


def test_what_is_not_there_is_said(begin: Begin) -> None:
    store = begin().store
    for ask in (store.plan, store.head, store.entries, store.verify, store.leases):
        with pytest.raises(InputError, match="got 'hats'"):
            ask("hats")
    with pytest.raises(InputError, match="got 'hats'"), store.transaction("hats"):
        pass
    for after in (-1, 2):
        with pytest.raises(InputError, match="0 to 1"):
            store.entries("shoes", after=after)


def test_a_log_that_does_not_go_on_from_what_was_seen_is_broken(begin: Begin) -> None:
    store = begin().store
    with store.transaction("shoes") as held:
        held.append(said(1))
    head = store.head("shoes")
    assert list(store.entries("shoes", head)) == []
    for seen, seq, wrong in ((Head(2, "0" * 64), 2, "hash"), (Head(3, "0" * 64), 3, "gap")):
        with pytest.raises(ChainBroken) as broken:
            store.entries("shoes", seen)
        assert (broken.value.seq, broken.value.wrong) == (seq, wrong)
        with store.transaction("shoes") as held, pytest.raises(ChainBroken):
            held.entries(seen)
    with pytest.raises(ChainBroken, match="row 2"):
        list(store.entries("shoes", Head(1, "0" * 64)))


# --- leases -----------------------------------------------------------------------------------------------------------


def test_leases_hold_until_their_end(begin: Begin) -> None:
    store = begin().store
    other = Task.pair(Kind.PREFERENCE, "q000", "r01", "r00")
    soon, late = NOW + timedelta(seconds=10), NOW + timedelta(seconds=20)
    with store.transaction("shoes", durable=False) as held:
        held.lease(TASK, "bob", late)
        held.lease(TASK, "ann", soon)
        held.lease(other, "ann", late)
        assert [(x.task, x.who) for x in held.leases(NOW)] == [(TASK, "ann"), (TASK, "bob"), (other, "ann")]
    with store.transaction("shoes") as held:
        assert [(x.task, x.who, x.until) for x in held.leases(NOW)] == [
            (TASK, "ann", soon), (TASK, "bob", late), (other, "ann", late),
        ]  # fmt: skip
        assert [(x.task, x.who) for x in held.leases(soon)] == [(TASK, "bob"), (other, "ann")]
        assert held.leases(late) == []
        assert len(held.leases()) == 3
        held.lease(TASK, "ann", late)
        held.release(TASK, "bob")
        held.release(TASK, "nobody")
    with store.transaction("shoes") as held:
        assert [(x.task, x.who, x.until) for x in held.leases()] == [(TASK, "ann", late), (other, "ann", late)]
        assert held.leases() == store.leases("shoes")
        held.forget_leases(late + timedelta(hours=23))
        assert len(held.leases()) == 2
        held.forget_leases(late + timedelta(hours=25))
    with store.transaction("shoes") as held:
        assert held.leases() == []


def test_task_keys_may_be_long_and_odd(begin: Begin) -> None:
    store = begin().store
    tasks = [Task.grade("q" * 9_000, "r"), Task.grade("\x00'\"\\\n", "É🙂"), Task.grade("\x00'\"\\\n", "é🙂")]
    with store.transaction("shoes") as held:
        for task in tasks:
            held.lease(task, "ann", NOW)
    with store.transaction("shoes") as held:
        assert {x.task for x in held.leases()} == set(tasks)


# --- alone ------------------------------------------------------------------------------------------------------------


def test_many_threads_write_one_log_without_gap_or_loss(begin: Begin) -> None:
    begun = begin()
    got: list[int] = []

    def write(number: int) -> None:
        for _ in range(10):
            with begun.store.transaction("shoes") as held:
                entry = held.append(said(number))
            got.append(entry.seq)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(2, 82))
    assert begun.store.verify("shoes") == 81


def test_who_waits_too_long_is_told(begin: Begin) -> None:
    begun = begin()
    with (
        Store.open(begun.address, busy_s=0.2) as other,
        begun.store.transaction("shoes"),
        pytest.raises(StoreError, match="try again; if it goes on"),
        other.transaction("shoes"),
    ):
        pass
    with Store.open(begun.address, busy_s=0.2) as other, other.transaction("shoes") as held:
        held.append(said(1))


def test_readers_do_not_wait_for_a_writer(begin: Begin) -> None:
    begun = begin()
    with Store.open(begun.address, busy_s=0.2) as other, begun.store.transaction("shoes") as held:
        held.append(said(1))
        assert other.verify("shoes") == 1
        assert [e.seq for e in other.entries("shoes")] == [1]
    assert begun.store.verify("shoes") == 2


# --- the database under it --------------------------------------------------------------------------------------------


def test_durability_is_what_the_database_says_it_is(address: str) -> None:
    Store.open(address).close()
    engine = open_engine(address)
    asked = {
        "sqlite": ("PRAGMA synchronous", {True: 2, False: 1}),
        "postgresql": ("SHOW synchronous_commit", {True: "on", False: "off"}),
    }
    show, levels = asked[engine.dialect.name]
    for _ in range(2):
        for durable, level in levels.items():
            with writing(engine, durable=durable) as connection:
                assert connection.execute(text(show)).scalar() == level
    if engine.dialect.name == "sqlite":
        with reading(engine) as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    else:
        with reading(engine) as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        with reading(engine, snapshot=True) as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar() == "repeatable read"
    engine.dispose()


def test_a_file_of_answers_is_private(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db").close()
    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("/data/a.db", "sqlite:////data/a.db"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
        ("postgresql://ann:secret@host:5433/x?sslmode=require", "postgresql+psycopg://ann:***@host:5433/x?sslmode=require"),
        ("postgres://host/x", "postgresql+psycopg://host/x"),
        ("postgresql+psycopg:///x?host=/tmp/s", "postgresql+psycopg:///x?host=%2Ftmp%2Fs"),
    ],
)  # fmt: skip
def test_addresses(address: str, meant: str) -> None:
    assert database_url(address).render_as_string(hide_password=True) == meant


def test_a_relative_path_is_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_url("a.db") == database_url(Path("a.db")) == database_url(tmp_path / "a.db")
    assert database_url("sqlite:///a.db") == database_url(tmp_path / "a.db")


@pytest.mark.parametrize(
    "address",
    ["mysql://ann:secret@host/x", "sqlite://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "nonsense://", "://"],
)
def test_other_addresses_are_refused_without_their_password(address: str) -> None:
    with pytest.raises(InputError, match=r"allowed: a file's path, sqlite:///path or postgresql://") as refused:
        Store.open(address)
    assert "secret" not in str(refused.value)


def test_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make "):
        Store.open(tmp_path / "nowhere" / "a.db")
    with pytest.raises(InputError, match="a file that may be written"):
        Store.open(tmp_path)
    (tmp_path / "notes.txt").write_text("these are no answers, only some lines of text\n" * 50)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("these are no answers")


def test_a_server_that_does_not_answer_is_said_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"got: connection.*failed") as refused:
        Store.open("postgresql://ann:secret@127.0.0.1:1/x")
    assert "secret" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value)


def test_moments() -> None:
    zone = datetime.fromisoformat("2026-11-21T14:30:00.250999+02:00")
    assert stamp(zone) == "2026-11-21T12:30:00.250Z"
    assert moment_of("2026-11-21T12:30:00.250Z") == datetime(2026, 11, 21, 12, 30, 0, 250_000, tzinfo=UTC)
    for odd in ("yesterday", "2026-11-21T12:30:00", ""):
        with pytest.raises(InputError, match="allowed: such as"):
            moment_of(odd)
    with pytest.raises(InputError, match="without a zone"):
        stamp(datetime(2026, 11, 21))


class Answers:
    """A driver's connection and cursor that answer settings as told."""

    OperationalError = sqlite3.OperationalError

    def __init__(self, **told: object) -> None:
        self.told, self.isolation_level, self.last = told, "", None

    def cursor(self) -> Answers:
        return self

    def execute(self, statement: str) -> Answers:
        self.last = self.told.get(statement.removeprefix("PRAGMA ").split(" ")[0], 0)
        return self

    def fetchone(self) -> list[object]:
        return [self.last]

    def close(self) -> None:
        return


@pytest.mark.parametrize(
    "told",
    [
        {"journal_mode": "delete", "synchronous": 2, "foreign_keys": 1},
        {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1},
        {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 0},
    ],
)
def test_a_sqlite_that_does_not_do_as_told_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(StoreError, match=f"journal_mode={told['journal_mode']}, synchronous={told['synchronous']}"):
        database._set_up_sqlite(Answers(**told), None)
    database._set_up_sqlite(Answers(journal_mode="wal", synchronous=2, foreign_keys=1), None)


def test_a_postgresql_database_that_is_not_utf8_is_refused(cluster: Any) -> None:
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(StoreError, match="server_encoding=SQL_ASCII; allowed: on, UTF8"):
        Store.open(cluster.dsn("ascii"))
