"""Many annotators at once: nobody is asked the same twice, no task gets too many answers, nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Answered, Task
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store
from wholepage.pages.errors import InputError

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest
WORKER = """
import sys, threading
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store

address, *people = sys.argv[1:]
live = LiveCampaign(Store.open(address), "shoes")
print("ready", flush=True)
sys.stdin.readline()

def work(who):
    while (assignment := live.next(who)) is not None:
        live.answer(who, assignment.task, grade=1, seconds=1.0, guideline=1)

threads = [threading.Thread(target=work, args=(who,)) for who in people]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done", flush=True)
"""


def together(*work: Callable[[], None]) -> None:
    """Do all at once, each in a thread."""
    gate = threading.Barrier(len(work))

    def begin(what: Callable[[], None]) -> None:
        gate.wait()
        what()

    threads = [threading.Thread(target=begin, args=(what,)) for what in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answers(begun: Any) -> list[Answered]:
    """All answers of a log that verifies and replays."""
    assert begun.store.verify("shoes") == begun.store.head("shoes").seq
    entries = list(begun.store.entries("shoes"))
    Campaign.replay(begun.plan, entries)
    return [entry.event for entry in entries if isinstance(entry.event, Answered)]


def tasks_of(begun: Any) -> set[Task]:
    return {Task.grade(page.query_id, result_id) for page in begun.plan.pages for result_id in page.result_ids}


def test_twenty_annotators_pull_a_thousand_tasks(begin: Begin) -> None:
    begun = begin(50, 20)
    live = LiveCampaign(begun.store, "shoes")
    acknowledged: list[tuple[str, Task]] = []

    def work(who: str) -> None:
        while (assignment := live.next(who)) is not None:
            live.answer(who, assignment.task, grade=1, seconds=1.0, guideline=1)
            acknowledged.append((who, assignment.task))

    together(*(lambda who=f"p{i:02d}": work(who) for i in range(20)))
    said = answers(begun)
    assert {event.task for event in said} == tasks_of(begun)
    assert len(said) == 1_000
    assert sorted((event.who, event.task) for event in said) == sorted(acknowledged)
    assert len({event.who for event in said}) == 20


def test_two_processes_share_a_campaign(begin: Begin) -> None:
    begun = begin(5, 10, overlap=7)  # a task takes more people than one process has: neither can do all, however early
    source = str(Path(__file__).parents[2] / "src")
    people = [f"p{i:02d}" for i in range(12)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, begun.address, *people[half::2]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": source},
        )
        for half in range(2)
    ]  # fmt: skip
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 2
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[0] for process in running] == ["done\n"] * 2
    said = answers(begun)
    assert Counter(event.task for event in said) == dict.fromkeys(tasks_of(begun), 7)
    assert max(Counter((event.who, event.task) for event in said).values()) == 1
    for half in range(2):
        assert {event.task for event in said if event.who in people[half::2]} == tasks_of(begun)


@pytest.mark.parametrize("overlap", [1, 2])
def test_leases_that_end_all_the_time_never_make_an_answer_too_many(begin: Begin, overlap: int) -> None:
    ticks = count()

    def clock() -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=0.25 * next(ticks))

    begun = begin(5, 10, overlap=overlap, lease_s=1.0, clock=clock)

    def work(live: LiveCampaign, who: str) -> None:
        for _ in range(200):
            assignment = live.next(who)
            if assignment is None:
                continue
            with suppress(InputError):  # it came too late
                live.answer(who, assignment.task, grade=1, seconds=1.0, guideline=1)

    def overtaken(slow: LiveCampaign, who: str, quick: LiveCampaign, rivals: list[str]) -> None:
        """Their lease ends, others take the task, and then comes the answer."""
        task = slow.next(who).task
        for _ in range(4):
            clock()
        for rival in rivals:
            quick.take(rival, task)
        with pytest.raises(InputError, match="as somebody else has it now"):
            slow.answer(who, task, grade=1, seconds=1.0, guideline=1)

    with Store.open(begun.address, clock=clock) as other:
        lives = [LiveCampaign(begun.store, "shoes", clock), LiveCampaign(other, "shoes", clock)]
        # By force once each way: how many of the crowd come too late, if any, is up to the machine.
        overtaken(lives[0], "p0", lives[1], [f"p{i}" for i in range(1, 1 + overlap)])
        overtaken(lives[1], "p7", lives[0], [f"p{i}" for i in range(3, 3 + overlap)])
        together(*(lambda i=i: work(lives[i % 2], f"p{i}") for i in range(8)))
    said = answers(begun)
    assert Counter(event.task for event in said) == dict.fromkeys(tasks_of(begun), overlap)
    assert max(Counter((event.who, event.task) for event in said).values()) == 1
