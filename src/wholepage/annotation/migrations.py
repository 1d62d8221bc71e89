"""The history of the store's tables: each step numbered, in one transaction with its number, never undone.

A database remembers its steps in ``schema_steps``. Opening it takes the steps that are missing, one process at a time;
a database with a step that this program does not know is refused, for it was written by a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, inspect, text

from wholepage.annotation.database import reading, writing
from wholepage.pages.errors import StoreError


class Step(NamedTuple):
    """One change of the tables, as it was once made: it is never edited after.

    Attributes:
        number: from 1, without gaps.
        statements: ``{bytes}`` and ``{integer}`` stand for the types of the database; ``{lean}`` ends tables of short
            rows, which SQLite then keeps in one copy, in the order of their key.
    """

    number: int
    what: str
    statements: tuple[str, ...]


STEPS: tuple[Step, ...] = (
    Step(
        1,
        "campaigns with their plans, logs and leases; people, invites and sessions",
        (
            "CREATE TABLE campaigns (campaign TEXT NOT NULL PRIMARY KEY, created TEXT NOT NULL)",
            "CREATE TABLE plans (campaign TEXT NOT NULL PRIMARY KEY REFERENCES campaigns, body {bytes} NOT NULL)",
            """CREATE TABLE events (campaign TEXT NOT NULL REFERENCES campaigns, seq {integer} NOT NULL,
                body {bytes} NOT NULL, hash {bytes} NOT NULL, PRIMARY KEY (campaign, seq)){lean}""",
            """CREATE TABLE leases (campaign TEXT NOT NULL REFERENCES campaigns, task_sha256 {bytes} NOT NULL,
                who TEXT NOT NULL, task TEXT NOT NULL, until TEXT NOT NULL,
                PRIMARY KEY (campaign, task_sha256, who)){lean}""",
            """CREATE TABLE people (person TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
                name_key TEXT NOT NULL UNIQUE, role TEXT NOT NULL, active BOOLEAN NOT NULL, password TEXT)""",
            """CREATE TABLE invites (token_sha256 {bytes} NOT NULL PRIMARY KEY, role TEXT NOT NULL,
                invited_by TEXT NOT NULL, expires TEXT NOT NULL, used TEXT){lean}""",
            """CREATE TABLE sessions (token_sha256 {bytes} NOT NULL PRIMARY KEY,
                person TEXT NOT NULL REFERENCES people, expires TEXT NOT NULL){lean}""",
        ),
    ),
    Step(
        2,
        "where each log ends",
        (
            """CREATE TABLE heads (campaign TEXT NOT NULL PRIMARY KEY REFERENCES campaigns, seq {integer} NOT NULL,
                hash {bytes} NOT NULL){lean}""",
            """INSERT INTO heads (campaign, seq, hash) SELECT campaign, seq, hash FROM events AS e
                WHERE seq = (SELECT MAX(seq) FROM events WHERE campaign = e.campaign)""",
        ),
    ),
    Step(
        3,
        "tries to sign in; invites for who lost a password; sessions found by person",
        (
            """CREATE TABLE sign_ins (name_key TEXT NOT NULL PRIMARY KEY, tries {integer} NOT NULL,
                latest TEXT NOT NULL){lean}""",
            "ALTER TABLE invites ADD COLUMN person TEXT REFERENCES people",
            "CREATE INDEX ix_sessions_person ON sessions (person)",
        ),
    ),
)
VERSION = STEPS[-1].number

_TYPES = {
    "sqlite": {"bytes": "BLOB", "integer": "BIGINT", "lean": " WITHOUT ROWID"},
    "postgresql": {"bytes": "BYTEA", "integer": "BIGINT", "lean": ""},
}
_LOCK = 7_236_104_522_931_406  # any number; all programs that migrate a store name the same


def migrate(engine: Engine, steps: Sequence[Step] = STEPS) -> list[int]:
    """Bring a database to the version of this program; returns the steps that were taken now.

    Args:
        engine: of the database, new or of any older version.
        steps: the history, up to the version wanted.
    Raises:
        StoreError: the database is newer than the program, or holds tables of something else.
    """
    with reading(engine) as connection:
        if _check(connection, steps) == steps[-1].number:
            return []
    taken = []
    for step in steps:
        with writing(engine) as connection:  # on SQLite this excludes all other writers
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if step.number <= _check(connection, steps):  # another process was here first
                continue
            _take(connection, step)
            taken.append(step.number)
    return taken


def _take(connection: Connection, step: Step) -> None:
    if step.number == 1:
        connection.execute(text("CREATE TABLE schema_steps (number BIGINT NOT NULL PRIMARY KEY, what TEXT NOT NULL)"))
    for statement in step.statements:
        connection.execute(text(statement.format(**_TYPES[connection.dialect.name])))
    connection.execute(
        text("INSERT INTO schema_steps (number, what) VALUES (:number, :what)"),
        {"number": step.number, "what": step.what},
    )


def _check(connection: Connection, steps: Sequence[Step]) -> int:
    """The version of a database, 0 for an empty one."""
    tables = inspect(connection).get_table_names()
    where = connection.engine.url.render_as_string(hide_password=True)
    if "schema_steps" not in tables:
        if tables:
            raise StoreError(
                f"store {where}: got a database with other tables ({', '.join(sorted(tables)[:5])}); allowed: an empty "
                "one, or one of this program; give the store a database of its own"
            )
        return 0
    numbers = connection.execute(text("SELECT number FROM schema_steps ORDER BY number")).scalars().all()
    version = len(numbers)
    if list(numbers) != list(range(1, version + 1)):
        raise StoreError(f"store {where}: got the schema's steps {numbers}; allowed: all from 1; restore a copy")
    if version > steps[-1].number:
        raise StoreError(
            f"store {where}: got version {version} of the tables; allowed: up to {steps[-1].number}, which this "
            "program knows; a newer one wrote it: install that"
        )
    return version
