"""The database under the store: SQLite in a file, or PostgreSQL by its address; how it is opened and how it is written.

What a commit has acknowledged is on the disk: SQLite writes ahead with ``synchronous=FULL``, PostgreSQL with
``synchronous_commit=on``; both are read back, never assumed. A writer asks for its lock when it begins, so that two
never find out at the end that only one may commit. Leases need no flush to the disk: losing one in a power cut does no
harm, and they are half of all commits.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from wholepage.pages.errors import InputError, StoreError

BUSY_S = 30.0
"""How long a writer waits for another by default."""

_ASK_AGAIN_S = 0.001
_POOL = {"pool_size": 8, "max_overflow": 12, "pool_timeout": 60}


def database_url(address: str | Path) -> URL:
    """Where the database is: a path is a SQLite file, ``postgresql://`` goes through psycopg 3.

    Raises:
        InputError: another kind of database, or a SQLite database in memory, which nothing can share.
    """
    text = str(address)
    if isinstance(address, Path) or "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"store: got an address that cannot be read ({error}); {_ALLOWED}") from error
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    shown = url.render_as_string(hide_password=True)
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InputError(f"store: got {shown!r}; {_ALLOWED}")
    if not url.database or url.database == ":memory:" or url.query:
        raise InputError(f"store: got {shown!r}, no file of its own; {_ALLOWED}")
    return URL.create("sqlite", database=str(Path(url.database).absolute()))


_ALLOWED = "allowed: a file's path, sqlite:///path or postgresql://user@host/name; name one of these"


def open_engine(address: str | Path, *, busy_s: float = BUSY_S) -> Engine:
    """An engine whose every connection is set up and has shown that it is.

    Args:
        address: as in ``database_url``.
        busy_s: how long a writer waits for another before it gives up.
    Raises:
        InputError: an address of nothing that is supported, or in a folder that is not there.
        StoreError: the database does not answer, or refuses a setting that durability needs.
    """
    url = database_url(address)
    if url.get_backend_name() == "sqlite":
        folder = Path(str(url.database)).parent
        if not folder.is_dir():
            raise InputError(f"store: got {url.database!r}; allowed: a file in a folder that is there; make {folder}")
        _make_private(Path(str(url.database)))
    with reported(url):
        try:
            if url.get_backend_name() == "sqlite":
                engine = create_engine(url, connect_args={"timeout": busy_s, "check_same_thread": False}, **_POOL)
                event.listen(engine, "connect", _set_up_sqlite)
                event.listen(engine, "begin", _begin_sqlite)
            else:
                options = f"-c synchronous_commit=on -c lock_timeout={round(busy_s * 1000)} -c client_encoding=UTF8"
                options = " ".join(filter(None, (str(url.query.get("options", "")), options)))
                engine = create_engine(
                    url,
                    connect_args={"options": options},
                    isolation_level="READ COMMITTED",
                    pool_pre_ping=True,
                    **_POOL,
                )
                event.listen(engine, "connect", _check_postgresql)
                event.listen(engine, "begin", _begin_postgresql)
            with engine.connect():
                pass  # the first connection is set up and checked
        except (ImportError, NoSuchModuleError) as error:
            raise StoreError(f"store: got no driver ({error}); run: pip install 'wholepage[annotate]'") from error
    return engine


@contextmanager
def reading(engine: Engine, *, snapshot: bool = False) -> Iterator[Connection]:
    """A transaction that only reads; with ``snapshot`` all its reads see the database at one moment.

    Raises:
        StoreError: the database cannot be read.
    """
    options: dict[str, Any] = {}
    if snapshot and engine.dialect.name == "postgresql":  # SQLite always reads a snapshot
        options["isolation_level"] = "REPEATABLE READ"
    with reported(engine.url), engine.connect() as connection:
        yield connection.execution_options(**options) if options else connection


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """A transaction that writes: on SQLite alone from its beginning; committed at the end, undone when an error passes.

    Args:
        durable: the commit returns when it is on the disk; if not, a power cut (no crash of the program) may undo it.
    Raises:
        StoreError: another writer holds the lock for too long, or the database cannot be written.
    """
    with reported(engine.url), engine.connect() as connection:
        connection.execution_options(writes="durable" if durable else "quick")
        with connection.begin():
            yield connection


@contextmanager
def reported(url: URL) -> Iterator[None]:
    """Turn what the database complains of into this package's error, without the password of its address.

    Raises:
        StoreError: the database complained.
    """
    try:
        yield
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        shown = url.render_as_string(hide_password=True)
        busy = any(word in said for word in ("database is locked", "lock timeout", "QueuePool limit"))
        do = "try again; if it goes on, see who holds it" if busy else "see that it is there, whole and may be written"
        raise StoreError(f"store {shown}: got: {said}; {do}") from error


def _make_private(path: Path) -> None:
    """A new file that only its owner may read: it will hold answers and passwords' hashes."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise InputError(f"store: got {str(path)!r} ({error}); allowed: a file that may be written") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by _begin_sqlite; the driver's own habit of beginning late would lose their locks.
    connection.isolation_level = None
    cursor = connection.cursor()
    with contextlib.closing(cursor):
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        deadline = time.monotonic() + cursor.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
        while mode != "wal":
            # The change of mode does not wait for others as ordinary statements do.
            try:
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except connection.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        got = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")]
    if [mode, *got] != ["wal", 2, 1]:
        raise StoreError(
            f"store: SQLite answers journal_mode={mode}, synchronous={got[0]}, foreign_keys={got[1]}; allowed: wal, "
            "2 (full), 1; use a local disk, or PostgreSQL"
        )


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    if not writes:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if writes == 'durable' else 'NORMAL'}")
    busy_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    # SQLite itself asks ever more seldom, so that a writer that has waited long is overtaken again and again.
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + busy_ms / 1000
    try:
        while not _began(connection, last=time.monotonic() > deadline):
            time.sleep(_ASK_AGAIN_S)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {busy_ms}")


def _began(connection: Connection, *, last: bool) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if last or "locked" not in str(error.orig):
            raise
        return False
    return True


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("writes") == "quick":
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _check_postgresql(connection: Any, _record: object) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SELECT current_setting('synchronous_commit'), current_setting('server_encoding')")
        commit, encoding = cursor.fetchone()
    connection.rollback()
    if commit == "off" or encoding != "UTF8":
        raise StoreError(
            f"store: PostgreSQL answers synchronous_commit={commit}, server_encoding={encoding}; allowed: on, UTF8; "
            "make a database with ENCODING 'UTF8'"
        )
