"""``kill -9`` while answers are written: what was acknowledged is there, and the chain is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest
KILLS = 40
# Imports once; then, for each line on stdin, a child opens the store and lets four people answer until it is killed.
# A line on stdout is one acknowledgement, written when ``answer`` has returned.
WRITER = """
import json, os, sys, threading
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store

def tell(*what):
    os.write(1, json.dumps(what).encode() + b"\\n")

def work(live, who):
    while (assignment := live.next(who)) is not None:
        entry = live.answer(who, assignment.task, grade=1, seconds=1.0, guideline=1)
        tell(entry.seq, entry.hash, who, assignment.task.key)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        tell("pid", os.getpid())
        live = LiveCampaign(Store.open(sys.argv[1]), "shoes")
        threads = [threading.Thread(target=work, args=(live, f"p{i}")) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tell("idle")
        signal.pause()
    os.waitpid(child, 0)
    tell("gone")
"""


@pytest.fixture
def writer(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program above, ready."""
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source},
    ) as process:  # fmt: skip
        yield process
        process.stdin.close()
        process.wait(timeout=60)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost(begin: Begin, writer: subprocess.Popen[bytes]) -> None:
    begun = begin(60, 50, lease_s=86_400.0)
    chance = random.Random(0)
    acknowledged: list[Any] = []
    for kill in range(KILLS):
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
        name, pid = json.loads(writer.stdout.readline())
        assert name == "pid"
        said: list[Any] = []
        if kill % 4 == 0:
            time.sleep(chance.uniform(0, 0.1))  # while it opens the store or reads the log
        else:  # while it writes
            for _ in range(chance.randrange(1, 25)):
                said.append(json.loads(writer.stdout.readline()))
            time.sleep(chance.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        while (told := json.loads(writer.stdout.readline())) != ["gone"]:
            said.append(told)
        assert ["idle"] not in said  # or it was killed when nothing was left to do
        acknowledged += said
        assert begun.store.verify("shoes") >= max((told[0] for told in said), default=1)
    log = {entry.seq: entry for entry in begun.store.entries("shoes")}
    assert len(acknowledged) > KILLS
    for seq, digest, who, key in acknowledged:
        entry = log[seq]
        assert (entry.hash, entry.event.who, entry.event.task.key) == (digest, who, key)
    # At most one answer a person was written and not acknowledged at each kill; nobody was asked twice.
    assert len(log) - 1 <= len(acknowledged) + 4 * KILLS
    said = [(e.event.who, e.event.task) for e in log.values() if e.seq > 1]
    assert len(set(said)) == len(said)
    with Store.open(begun.address) as again:
        live = LiveCampaign(again, "shoes")
        task = live.next("p0").task
        assert live.answer("p0", task, grade=1, seconds=1.0, guideline=1).seq == len(log) + 1
