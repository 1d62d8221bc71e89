"""How long annotators wait for their next card when twenty of them work at the desk over HTTP.

    python benchmarks/desk_load.py --people 20 --tasks 1000
    python benchmarks/desk_load.py --postgresql "postgresql:///load?host=/tmp/pg&user=me"

The desk is served by its own server in a process of its own; the annotators are threads of another, each with one
connection that stays open. Each asks for the page of its next card, thinks, sends the form, and so on until nothing is
left. Timed are the page (the next question) and the acknowledgement of the answer, which is on the disk by then, from
the first byte sent to the last byte read. Without thinking twenty annotators load the desk as some hundreds do; with
``--think-ms`` each thinks for that long on average (uniform between half and one and a half). At the end the log is
read back: nobody answered twice, no task has more answers than it should, the chain verifies. The SQLite file lies in
the folder of temporary files. Nothing else is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np

import conditions
from annotation_load import plan_of
from wholepage.annotation.events import Answered, Opened
from wholepage.annotation.moments import stamp
from wholepage.annotation.people import Person, Role, ScryptCost, new_person_id
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store

SPREAD_S = 0.5
SOURCE = Path(__file__).parents[1] / "src"
HIDDEN = {name: re.compile(f'name="{name}" value="([^"]*)"') for name in ("csrf", "ticket")}
WORDS = "A result as long as results are, so that a page of them is as large as pages are. "


class Times(NamedTuple):
    """Seconds of each page with a card, of each answer, and of all of it."""

    card_s: list[float]
    answer_s: list[float]
    whole_s: float


def serve(address: str, port: int) -> None:
    """The server, until it is stopped."""
    from wholepage.apps.desk.server import serve

    serve(Store.open(address), "127.0.0.1", port)


class Annotator(threading.Thread):
    """Answers card after card over one connection."""

    def __init__(self, port: int, campaign: str, token: str, think_s: float, gate: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._url, self._think_s, self._gate = f"/campaigns/{campaign}", think_s, gate
        self._draws = random.Random(token)
        self._headers = {"Cookie": f"desk-session={token}", "Accept": "text/html"}
        self.card_s: list[float] = []
        self.answer_s: list[float] = []
        self.problem = ""

    def run(self) -> None:
        self._gate.wait()
        time.sleep(self._draws.random() * max(self._think_s, SPREAD_S))  # people do not begin in the same instant
        while True:
            began = time.perf_counter()
            status, page = self._ask("GET", "/work")
            spent = time.perf_counter() - began
            if 'name="ticket"' not in page:
                self.problem = "" if status == 200 else f"{status}: {page[:300]}"
                return
            self.card_s.append(spent)
            time.sleep(self._think_s * (0.5 + self._draws.random()))
            form = {name: unescape(found[1]) for name, field in HIDDEN.items() if (found := field.search(page))}
            body = urlencode({**form, "grade": str(self._draws.randrange(4)), "active_ms": ""})
            began = time.perf_counter()
            status, page = self._ask("POST", "/answer", body)
            self.answer_s.append(time.perf_counter() - began)
            if status != 200:
                self.problem = f"{status}: {page[:300]}"
                return

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = self._headers if body is None else {
            **self._headers, "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"
        }  # fmt: skip
        self._connection.request(method, self._url + path, body, headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read().decode()


def wait_for(port: int, token: str) -> None:
    """Until the server shows somebody the list of campaigns, which opens them."""
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/", headers={"Cookie": f"desk-session={token}"})
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not come up")


def measure(address: str, asked: argparse.Namespace, think_ms: float) -> tuple[Times, int]:
    """One campaign from its first card to its last; the times, and how many answers its log has."""
    campaign = f"load-{time.time_ns()}"
    plan = plan_of(asked.tasks, asked.results, WORDS)
    settings = Settings(name="Load", engine=asked.engine, overlap=asked.overlap, gold_share=0.0, escalate_spread=9)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with Store.open(address, cost=ScryptCost(n=16, r=1, p=1)) as store:
        opened = Opened("manager", stamp(datetime.now(UTC)), settings, plan.sha256, "- **0** off\n- **3** just right")
        store.create_campaign(campaign, plan, opened)
        people = [new_person_id() for _ in range(asked.people)]
        tokens = [store.open_session(store.add_person(Person(who, who, Role.ANNOTATOR))) for who in people]
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", address, str(port)],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        try:
            wait_for(port, tokens[0])
            gate = threading.Barrier(asked.people + 1)
            annotators = [Annotator(port, campaign, token, think_ms / 1000, gate) for token in tokens]
            for one in annotators:
                one.start()
            gate.wait()
            began = time.perf_counter()
            for one in annotators:
                one.join()
            whole_s = time.perf_counter() - began
        finally:
            server.terminate()
            server.wait(timeout=30)
        problems = [one.problem for one in annotators if one.problem]
        store.verify(campaign)
        said = [entry.event for entry in store.entries(campaign) if isinstance(entry.event, Answered)]
    twice = [pair for pair, times in Counter((a.who, a.task) for a in said).items() if times > 1]
    above = [task for task, times in Counter(a.task for a in said).items() if times > asked.overlap]
    few = asked.engine == "selected" and len(said) != asked.tasks * asked.overlap
    if problems or twice or above or few:
        sys.exit(f"{problems[:3]}; {len(twice)} answered twice by one, {len(above)} by too many, {len(said)} answers")
    card_s = [s for one in annotators for s in one.card_s]
    return Times(card_s, [s for one in annotators for s in one.answer_s], whole_s), len(said)


def row(store: str, think_ms: float, load: float, times: Times, answers: int) -> str:
    """One line of the table."""
    cells = [store, f"{think_ms:g}", f"{answers:,}", f"{answers / times.whole_s:,.0f}"]
    for seconds in (times.card_s, times.answer_s):
        ms = np.array(seconds) * 1000
        cells += [f"{value:.1f}" for value in (*np.percentile(ms, (50, 99)), ms.max())]
    return f"| {' | '.join([*cells, f'{load:.2f}'])} |"


def table(asked: argparse.Namespace, rows: list[str]) -> str:
    """The page that is printed."""
    lines = [
        "# Annotators at the desk over HTTP",
        "",
        f"- command: `{conditions.command()}`",
        f"- commit: {conditions.commit()}",
        f"- machine: {conditions.machine()}",
        f"- {asked.people} annotators, {asked.tasks:,} tasks on pages of {asked.results} results, overlap "
        f"{asked.overlap}, engine `{asked.engine}`; the annotators run on the same machine",
        "",
        "| store | thinking, ms | answers | answers/s | next card p50, ms | p99 | slowest | answer p50, ms | p99 "
        "| slowest | load before |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print or write the table."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--postgresql", help="the address of a database")
    told.add_argument("--people", type=int, default=20)
    told.add_argument("--tasks", type=int, default=1000)
    told.add_argument("--results", type=int, default=20, help="on each page")
    told.add_argument("--overlap", type=int, default=1)
    told.add_argument("--engine", choices=["selected", "bisect", "bayes", "hmm"], default="selected")
    told.add_argument("--think-ms", type=float, nargs="+", default=[1000.0, 250.0, 0.0])
    told.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    told.add_argument("--out", type=Path)
    asked = told.parse_args(arguments)
    if asked.serve:
        serve(asked.serve[0], int(asked.serve[1]))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        stores = {"SQLite": str(Path(folder) / "load.db")}
        if asked.postgresql:
            stores["PostgreSQL"] = asked.postgresql
        for name, address in stores.items():
            for think_ms in asked.think_ms:
                load = os.getloadavg()[0]
                rows.append(row(name, think_ms, load, *measure(address, asked, think_ms)))
    text = table(asked, rows)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
