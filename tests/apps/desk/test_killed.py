"""``kill -9`` of the real server while people answer over HTTP: what it acknowledged is there, the chain is whole."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from wholepage.annotation.events import Answered, Opened
from wholepage.annotation.people import Person, Role, ScryptCost
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.pages.model import Modality, Page, Query, Result

KILLS = 40
PEOPLE = 4
LIMIT_S = 120
# Imports once; then, for each line on stdin, a child serves the desk until it is killed.
SERVER = """
import os, sys
from wholepage.annotation.store import Store
from wholepage.apps.desk.rendering import templates
from wholepage.apps.desk.server import serve

templates()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        serve(Store.open(sys.argv[1]), "127.0.0.1", int(sys.argv[2]))
        os._exit(0)
    os.write(1, b"%d\\n" % child)
    os.waitpid(child, 0)
"""


class Told(NamedTuple):
    """An acknowledgement: at this place in the log is this grade by this person."""

    seq: int
    who: str
    grade: int


class Annotator(threading.Thread):
    """Answers cards as fast as they come, and sends a form again when the connection broke before the answer."""

    def __init__(self, address: str, token: str, who: str) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=address, cookies={"desk-session": token}, timeout=LIMIT_S)
        self._draws = random.Random(who)
        self._who = who
        self.told: list[Told] = []
        self.resent = 0
        self.refused: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                page = self._client.get("/campaigns/load/work")
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if 'name="ticket"' not in page.text:
                self.refused.append(f"{page.status_code} {page.text[:300]}")
                return
            form = {
                name: unescape(re.search(f'name="{name}" value="([^"]*)"', page.text)[1]) for name in ("csrf", "ticket")
            }
            self._answer({**form, "grade": str(self._draws.randrange(4))})

    def _answer(self, form: dict[str, str]) -> None:
        for trial in range(10_000):
            try:
                reply = self._client.post("/campaigns/load/answer", data=form, headers={"accept": "application/json"})
            except httpx.TransportError:
                if self.stop.is_set():
                    return
                time.sleep(0.02)
                continue
            if reply.status_code != 200:
                self.refused.append(f"{reply.status_code} {reply.text[:300]}")
                return
            self.resent += trial > 0
            self.told.append(Told(reply.json()["seq"], self._who, int(form["grade"])))
            return


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A campaign with more to grade than will be."""
    with Store.open(tmp_path / "desk.db", cost=ScryptCost(n=16, r=1, p=1)) as store:
        pages = tuple(
            Page(Query(f"q{q}", f"query {q}"), tuple(Result(f"r{r}", Modality.TEXT, f"result {r}") for r in range(20)))
            for q in range(60)
        )
        plan = Plan(pages=pages)
        settings = Settings(name="Load", overlap=PEOPLE, gold_share=0.0, lease_s=3600.0, escalate_spread=9)
        store.create_campaign(
            "load", plan, Opened("p-0", "2026-11-21T12:00:00.000Z", settings, plan.sha256, "Be exact.")
        )
        for number in range(PEOPLE):
            store.add_person(Person(f"p-{number}", f"person {number}", Role.ANNOTATOR))
        yield store


@pytest.fixture
def port() -> Iterator[int]:
    """A port for servers that come one after the other; between two of them nobody else gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do, which listen beside it
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.mark.slow
def test_no_acknowledged_answer_is_lost(store: Store, port: int, tmp_path: Path) -> None:
    draws = random.Random(0)
    people = [Annotator(f"http://127.0.0.1:{port}", store.open_session(f"p-{i}"), f"p-{i}") for i in range(PEOPLE)]
    source = str(Path(__file__).parents[3] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "desk.db"), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
    ) as server:
        try:
            for kill in range(KILLS):
                server.stdin.write(b"serve\n")
                server.stdin.flush()
                child = int(server.stdout.readline())
                before, began = sum(len(one.told) for one in people), time.monotonic()
                wanted = draws.randrange(1, 12)
                if kill == 0:
                    for one in people:
                        one.start()
                while sum(len(one.told) for one in people) - before < wanted:
                    assert time.monotonic() - began < LIMIT_S, [one.refused for one in people]
                    time.sleep(0.001)
                time.sleep(draws.random() * 0.02)  # any moment of a request
                os.kill(child, signal.SIGKILL)
        finally:
            for one in people:
                one.stop.set()
            server.stdin.close()
            server.wait(timeout=LIMIT_S)
    for one in people:
        one.join(timeout=LIMIT_S)
        assert not one.is_alive()
        assert not one.refused
    told = [told for one in people for told in one.told]
    assert len(told) >= KILLS
    assert sum(one.resent for one in people) > 0, "no kill struck between a form and its answer"
    assert store.verify("load") == store.head("load").seq
    entries = {entry.seq: entry.event for entry in store.entries("load")}
    for seq, who, grade in told:
        event = entries[seq]
        assert isinstance(event, Answered)
        assert (event.who, event.grade) == (who, grade)
    answers = Counter((e.who, e.task) for e in entries.values() if isinstance(e, Answered))
    assert set(answers.values()) == {1}
    assert len(told) <= len(answers) <= len(told) + PEOPLE  # at most the last form of each came without its answer
    print(json.dumps({"kills": KILLS, "acknowledged": len(told), "written": len(answers)}))
