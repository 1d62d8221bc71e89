"""How long annotators wait for their next task when twenty of them ask at once.

    python benchmarks/annotation_load.py --postgresql postgresql:///load?host=/tmp/pg

Each annotator is a thread that takes a task, answers it at once and takes the next, until nothing is left: no thinking
in between, so that twenty of them load the store like some hundreds of people. Timed is each ``next`` and each
``answer``, waiting for the others included; every answer is on the disk when it returns. At the end the log is read
back: nobody answered twice, every task has as many answers as it should, and the chain verifies.
The SQLite file lies in a temporary folder in the working directory; PostgreSQL takes part where its address is given
(a database of its own). Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

import conditions
from wholepage.annotation.events import Answered, Opened
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.moments import stamp
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.pages.model import Modality, Page, Query, Ranking, Result

TARGET_MS = 100.0
MODALITIES = (Modality.TEXT, Modality.ANSWER)
SOURCE = Path(__file__).parents[1] / "src"


class Calls(NamedTuple):
    """Seconds of every call, and of the whole."""

    next_s: list[float]
    answer_s: list[float]
    whole_s: float


def plan_of(tasks: int, results: int, words: str = "") -> Plan:
    """Pages of ``results`` results of two modalities in turn, as many as make ``tasks``; ``words`` begin each."""
    pages, orders = [], {}
    for number in range(-(-tasks // results)):
        size = min(results, tasks - number * results)
        found = [Result(f"r{i}", MODALITIES[i % 2], text=f"{words}Result {i} of page {number}.") for i in range(size)]
        page = Page(Query(f"q{number:04d}", f"query {number}"), tuple(found))
        pages.append(page)
        orders[page.query_id] = {
            m: Ranking(page.query_id, page.only(m).result_ids, None, "benchmark") for m in page.modalities
        }
    return Plan(pages=tuple(pages), orders=orders)


def pull(live: LiveCampaign, people: list[str]) -> Calls:
    """Let people answer until nothing is left."""
    next_s: list[float] = []
    answer_s: list[float] = []
    gate = threading.Barrier(len(people) + 1)

    def work(who: str) -> None:
        gate.wait()
        while True:
            began = time.perf_counter()
            assignment = live.next(who)
            next_s.append(time.perf_counter() - began)
            if assignment is None:
                return
            place = int(assignment.task.left_id[1:])
            began = time.perf_counter()
            live.answer(who, assignment.task, grade=max(3 - place // 5, 0), seconds=1.0, guideline=1)
            answer_s.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return Calls(next_s, answer_s, time.perf_counter() - began)


def pull_in_processes(address: str, campaign_id: str, people: list[str], processes: int) -> Calls:
    """The same, people shared out over processes that all begin when all are ready."""
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve", address, campaign_id, ",".join(people[i::processes])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        for i in range(processes)
    ]  # fmt: skip
    for one in running:
        if one.stdout is None or one.stdout.readline() != "ready\n":
            sys.exit("a process did not come up")
    for one in running:
        if one.stdin is not None:
            one.stdin.write("go\n")
            one.stdin.flush()
    calls = [Calls(*json.loads(one.communicate()[0])) for one in running]
    return Calls(
        [s for one in calls for s in one.next_s], [s for one in calls for s in one.answer_s],
        max(one.whole_s for one in calls),
    )  # fmt: skip


def serve(address: str, campaign_id: str, people: str) -> None:
    """One of several processes: say when ready, wait for the word, work, tell."""
    with Store.open(address) as store:
        live = LiveCampaign(store, campaign_id)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(pull(live, people.split(","))))


def measure(address: str, campaign_id: str, asked: argparse.Namespace, processes: int) -> tuple[Calls, int]:
    """One campaign from its first task to its last; the calls, and how many answers its log has."""
    settings = Settings(name="load", engine=asked.engine, overlap=asked.overlap, gold_share=0.0)
    plan = plan_of(asked.tasks, asked.results)
    people = [f"p{i:02d}" for i in range(asked.people)]
    with Store.open(address) as store:
        opened = Opened("manager", stamp(datetime.now(UTC)), settings, plan.sha256, "Grade.")
        store.create_campaign(campaign_id, plan, opened)
        if processes == 1:
            calls = pull(LiveCampaign(store, campaign_id), people)
        else:
            calls = pull_in_processes(address, campaign_id, people, processes)
        store.verify(campaign_id)
        said = [entry.event for entry in store.entries(campaign_id) if isinstance(entry.event, Answered)]
    twice = [pair for pair, times in Counter((a.who, a.task) for a in said).items() if times > 1]
    above = [task for task, times in Counter(a.task for a in said).items() if times > asked.overlap]
    few = asked.engine == "selected" and len(said) != asked.tasks * asked.overlap
    if twice or above or few:
        sys.exit(f"{len(twice)} answered twice by one person, {len(above)} by too many, {len(said)} answers in all")
    return calls, len(said)


def row(store: str, processes: int, load: float, calls: Calls, answers: int) -> str:
    """One line of the table."""
    cells = [store, str(processes), f"{answers:,}", f"{answers / calls.whole_s:,.0f}"]
    for seconds in (calls.next_s, calls.answer_s):
        ms = np.array(seconds) * 1000
        cells += [f"{value:.1f}" for value in (*np.percentile(ms, (50, 99)), ms.max())]
    return f"| {' | '.join([*cells, f'{load:.2f}'])} |"


def table(asked: argparse.Namespace, rows: list[str], worst_ms: float) -> str:
    """The page that is printed."""
    lines = [
        "# Annotators at once",
        "",
        f"- command: `{conditions.command()}`",
        f"- commit: {conditions.commit()}",
        f"- machine: {conditions.machine()}",
        f"- {asked.people} annotators, {asked.tasks:,} tasks, overlap {asked.overlap}, engine `{asked.engine}`; no "
        "thinking between tasks",
        "",
        "| store | processes | answers | answers/s | next p50, ms | p99 | slowest | answer p50, ms | p99 | slowest "
        "| load before |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Target: p99 of the next task under {TARGET_MS:.0f} ms with one process, "
        f"{'reached' if worst_ms < TARGET_MS else 'missed'}.",
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
    told.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    told.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    told.add_argument("--out", type=Path)
    asked = told.parse_args(arguments)
    if asked.serve:
        serve(*asked.serve)
        return
    rows, worst_ms = [], 0.0
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        stores = {"SQLite": str(Path(folder) / "load.db")}
        if asked.postgresql:
            stores["PostgreSQL"] = asked.postgresql
        for name, address in stores.items():
            for processes in asked.processes:
                load = os.getloadavg()[0]
                campaign_id = f"load-{time.time_ns()}"
                calls, answers = measure(address, campaign_id, asked, processes)
                rows.append(row(name, processes, load, calls, answers))
                if processes == 1:
                    worst_ms = max(worst_ms, float(np.percentile(calls.next_s, 99)) * 1000)
    text = table(asked, rows, worst_ms)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
