"""The history of the tables: every old store opens with all it held, newer and foreign databases are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from wholepage.annotation.chain import GENESIS, entry_hash
from wholepage.annotation.database import open_engine, reading, writing
from wholepage.annotation.events import Answered, Opened, Task, encode_event
from wholepage.annotation.migrations import STEPS, VERSION, Step, migrate
from wholepage.annotation.moments import stamp
from wholepage.annotation.people import Role, ScryptCost, hash_password, name_key, token_hash
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.annotation.tables import METADATA
from wholepage.pages.errors import StoreError
from wholepage.pages.model import Modality, Page, Query, Result

NOW = datetime.now(UTC)
CHEAP = ScryptCost(n=16, r=1, p=1)
PLAN = Plan(
    pages=(Page(Query("q", "shoes"), (Result("a", Modality.TEXT, text="A"), Result("b", Modality.TEXT, text="B"))),)
)
EVENTS = [
    Opened("boss", stamp(NOW), Settings(name="Shoes"), PLAN.sha256, "Grade."),
    Answered("ann", stamp(NOW), Task.grade("q", "a"), grade=2),
    Answered("ann", stamp(NOW), Task.grade("q", "b"), grade=1),
]


def fill_as_version_1(engine: Engine) -> None:
    """What a store of the first version held, written as it wrote it."""
    put = {
        "campaigns": [{"campaign": "shoes", "created": stamp(NOW)}],
        "plans": [{"campaign": "shoes", "body": PLAN.to_json()}],
        "people": [
            {"person": "p-1", "name": "Ann", "name_key": name_key("Ann"), "role": "admin", "active": True,
             "password": hash_password("correct horse", CHEAP)}
        ],
        "invites": [
            {"token_sha256": token_hash("unused"), "role": "reviewer", "invited_by": "p-1",
             "expires": stamp(NOW + timedelta(days=1)), "used": None}
        ],
        "sessions": [{"token_sha256": token_hash("t"), "person": "p-1", "expires": stamp(NOW + timedelta(days=1))}],
        "events": [],
    }  # fmt: skip
    before = GENESIS
    for seq, event in enumerate(EVENTS, start=1):
        before = entry_hash(before, encode_event(event))
        row = {"campaign": "shoes", "seq": seq, "body": encode_event(event), "hash": bytes.fromhex(before)}
        put["events"].append(row)
    with writing(engine) as connection:
        for table, rows in put.items():
            names = list(rows[0])
            marks = ", ".join(f":{name}" for name in names)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"), rows)


@pytest.fixture
def engine(address: str) -> Any:
    engine = open_engine(address)
    yield engine
    engine.dispose()


def shape(engine: Engine) -> dict[str, object]:
    """Tables with their columns, keys and indexes, as the database tells them."""
    with reading(engine) as connection:
        looked = inspect(connection)
        return {
            name: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in looked.get_columns(name)],
                looked.get_pk_constraint(name)["constrained_columns"],
                sorted((k["constrained_columns"], k["referred_table"]) for k in looked.get_foreign_keys(name)),
                sorted(u["column_names"] for u in looked.get_unique_constraints(name)),
                sorted((i["name"], i["column_names"]) for i in looked.get_indexes(name) if not i["unique"]),
            )
            for name in looked.get_table_names()
            if name != "schema_steps"
        }


def test_the_steps_lead_to_the_tables_the_program_uses(
    engine: Engine, kind: str, new_database: Callable[[str], str]
) -> None:
    assert migrate(engine) == list(range(1, VERSION + 1))
    assert migrate(engine) == []
    other = open_engine(new_database(kind))
    METADATA.create_all(other)
    assert shape(engine) == shape(other)
    other.dispose()


def test_steps_are_numbered_without_gaps() -> None:
    assert [step.number for step in STEPS] == list(range(1, VERSION + 1))
    assert VERSION > 1


def test_a_store_of_the_first_version_opens_with_all_it_held(address: str, engine: Engine) -> None:
    assert migrate(engine, STEPS[:1]) == [1]
    fill_as_version_1(engine)
    with Store.open(address, cost=CHEAP) as store:
        assert store.verify("shoes") == 3
        assert [e.event for e in store.entries("shoes")] == EVENTS
        assert store.plan("shoes") == PLAN
        assert store.session("t").name == "Ann"
        assert store.session(store.sign_in("ann", "correct horse")).role is Role.ADMIN
        assert store.accept("unused", "Bob", "battery staple").role is Role.REVIEWER
        with store.transaction("shoes") as held:
            assert held.append(Answered("bob", stamp(NOW), Task.grade("q", "a"), grade=2)).seq == 4
        assert store.verify("shoes") == 4
    assert migrate(engine) == []


@pytest.mark.parametrize("version", range(1, VERSION))
def test_every_version_is_brought_to_this_one(address: str, engine: Engine, version: int) -> None:
    assert migrate(engine, STEPS[:version]) == list(range(1, version + 1))
    assert migrate(engine) == list(range(version + 1, VERSION + 1))
    with Store.open(address) as store:
        assert store.campaign_ids() == []


def test_a_newer_store_is_refused_and_left_alone(address: str, engine: Engine) -> None:
    migrate(engine, [*STEPS, Step(VERSION + 1, "the future", ("CREATE TABLE futures (f TEXT)",))])
    before = shape(engine)
    with pytest.raises(StoreError, match=f"got version {VERSION + 1} of the tables; allowed: up to {VERSION}"):
        Store.open(address)
    assert shape(engine) == before


def test_a_database_of_something_else_is_refused_and_left_alone(address: str, engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE recipes (cake TEXT)"))
    before = shape(engine)
    with pytest.raises(StoreError, match=r"other tables \(recipes\).*a database of its own"):
        Store.open(address)
    assert shape(engine) == before


def test_a_store_with_a_step_missing_is_refused(address: str, engine: Engine) -> None:
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM schema_steps WHERE number = 2"))
    with pytest.raises(StoreError, match="restore a copy"):
        Store.open(address)


def test_a_step_that_fails_leaves_nothing(engine: Engine) -> None:
    migrate(engine)
    before = shape(engine)
    broken = Step(
        VERSION + 1, "broken", ("CREATE TABLE half (h TEXT)", "INSERT INTO half VALUES ('x')", "NO SUCH THING")
    )
    with pytest.raises(StoreError):
        migrate(engine, [*STEPS, broken])
    assert shape(engine) == before
    assert migrate(engine, [*STEPS, broken._replace(statements=broken.statements[:2])]) == [VERSION + 1]


OPEN = """
import json, sys
from wholepage.annotation.database import open_engine
from wholepage.annotation.migrations import migrate
sys.stdin.readline()
print(json.dumps(migrate(open_engine(sys.argv[1]))))
"""


def test_processes_that_open_a_new_store_at_once_take_each_step_once(address: str) -> None:
    source = str(Path(__file__).parents[2] / "src")
    waiting = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": source},
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in waiting:  # all have imported what they need when the first may begin
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in waiting]
    assert all(process.returncode == 0 for process in waiting), told
    assert sorted(number for out, _ in told for number in json.loads(out)) == list(range(1, VERSION + 1))
    with Store.open(address) as store:
        assert store.campaign_ids() == []
