"""Databases for the tests of the store: a file of SQLite's, and a private PostgreSQL that ends with the session."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from wholepage.annotation.events import Entry, Opened
from wholepage.annotation.moments import Clock, stamp, utc_now
from wholepage.annotation.people import ScryptCost
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.pages.model import Modality, Page, Query, Result

INSTALL = "no PostgreSQL server here; install Debian's package 'postgresql', or set PATH to where initdb lies"


class Cluster:
    """A PostgreSQL server of our own, on a socket in a folder that only its user may enter."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wholepage-pg-", dir="/tmp"))  # a socket's path must be short
        self._user: dict[str, str] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            shutil.chown(self.folder, owner)
            self._user = {"user": owner, "group": str(pwd.getpwnam(owner).pw_gid)}
        data = self.folder / "data"
        made = self._run(
            [binaries / "initdb", "-D", data, "-U", "wholepage", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
        )
        assert made.returncode == 0, made.stderr
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 200}
        # Tests end programs, not the machine: without fsync they are as strict and several times as fast.
        settings |= {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [binaries / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd="/", **self._owner()
            )
        self._made = 0
        self._free: list[str] = []
        self._wait()

    def _owner(self) -> dict[str, object]:
        return {"user": self._user["user"], "group": int(self._user["group"]), "extra_groups": []} if self._user else {}

    def _run(self, command: list[object]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, cwd="/", **self._owner()
        )

    def _wait(self) -> None:
        for _ in range(2400):  # two minutes: a busy machine is slow, a server that fails has ended
            try:
                psycopg.connect(self.dsn("postgres")).close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def dsn(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql:///{name}?host={self.folder}&user=wholepage"

    def database(self) -> str:
        """The name of an empty database, one that was given back or a new one."""
        if self._free:
            return self._free.pop()
        self._made += 1
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test_{self._made}")
        return f"test_{self._made}"

    def give_back(self, name: str) -> None:
        """Empty a database; whoever is still connected to it is thrown out."""
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self._free.append(name)

    def stop(self) -> None:
        """End the server and remove all it wrote."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(timeout=60)
        shutil.rmtree(self.folder)


def binaries() -> Path | None:
    """Where PostgreSQL's server programs lie: on the path, or where Debian puts them."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The PostgreSQL server of this session; skipped where none is installed, but never in the gate."""
    where = binaries()
    if where is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(INSTALL)
    cluster = Cluster(where)
    yield cluster
    cluster.stop()


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """``new_database("postgresql")``: the address of another empty database of a kind."""
    taken: list[str] = []

    def made(kind: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / f"store-{len(list(tmp_path.glob('*.db')))}.db")
        cluster = request.getfixturevalue("cluster")
        taken.append(cluster.database())
        return cluster.dsn(taken[-1])

    yield made
    for name in taken:
        request.getfixturevalue("cluster").give_back(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database."""
    return str(request.param)


@pytest.fixture
def address(kind: str, new_database: Callable[[str], str]) -> str:
    """The address of an empty database of each kind."""
    return new_database(kind)


def plan_of(pages: int, results: int) -> Plan:
    """Pages of text results, to be graded one by one."""
    return Plan(
        pages=tuple(
            Page(
                Query(f"q{number:03d}", f"query {number}"),
                tuple(Result(f"r{i:02d}", Modality.TEXT, text=f"result {i}") for i in range(results)),
            )
            for number in range(pages)
        )
    )


class Begun(NamedTuple):
    """A store with one campaign, ``shoes``, just opened."""

    address: str
    store: Store
    plan: Plan
    first: Entry


@pytest.fixture
def begin(address: str) -> Iterator[Callable[..., Begun]]:
    """``begin(pages, results, **settings)``: a new store at ``address`` with a campaign of that many tasks."""
    with ExitStack() as undo:

        def begun(pages: int = 2, results: int = 3, *, clock: Clock = utc_now, **settings: object) -> Begun:
            store = undo.enter_context(Store.open(address, clock=clock, cost=ScryptCost(n=16, r=1, p=1)))
            plan = plan_of(pages, results)
            told = Settings(name="Shoes", **{"gold_share": 0.0, **settings})
            first = store.create_campaign("shoes", plan, Opened("boss", stamp(clock()), told, plan.sha256, "Grade."))
            return Begun(address, store, plan, first)

        yield begun
