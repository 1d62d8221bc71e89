"""Workers and the job itself killed in the middle: nothing is lost, nothing comes twice, the bytes are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from wholepage.apps.batch import processes
from wholepage.apps.batch.messages import Event, Finished, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.processes import Processes
from wholepage.apps.batch.shards import Order
from wholepage.apps.places import NotFound
from wholepage.pages.errors import WorkerLost

from .made import files, job, pages, write_jsonl

ROOT = Path(__file__).parents[3]
LIMIT_S = 60


class KillsOne(Processes):
    """Kills a worker as soon as it has done its first shard and holds the next."""

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        killed: list[str] = []

        def listening(event: Event) -> None:
            told(event)
            if isinstance(event, Finished) and not killed:
                killed.append(event.worker)
                os.kill(int(event.worker), signal.SIGKILL)

        super().run(order, shards, listening)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(1200, words=60))
    whole = job(source, tmp_path / "whole", shard_rows=200)
    killed = job(source, tmp_path / "killed", KillsOne(2), shard_rows=200)
    assert killed.workers_lost == 1
    assert killed.summary == whole.summary
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_killed_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(3000, words=60))
    whole = job(source, tmp_path / "whole", shard_rows=150)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "wholepage", "batch", "rank", source, "-m", "bm25", "-o", str(out), "-w", "2"]
    driver = subprocess.Popen(
        [*command, "--shard-rows", "150", "--batch-pages", "8"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while len(list((out / "_done").glob("*.json"))) < 2:
            assert driver.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        workers = psutil.Process(driver.pid).children()
    finally:
        driver.kill()
        driver.communicate()
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=LIMIT_S)[1], "workers outlived the job"
    assert not (out / "_SUCCESS").exists()
    stood = {path.name: path.stat().st_mtime_ns for path in (out / "_done").glob("*.json")}
    assert 2 <= len(stood) < 20
    again = job(source, out, Processes(2), shard_rows=150)
    assert again.shards_done == 20 - len(stood)
    assert again.summary == whole.summary
    assert files(out) == files(tmp_path / "whole")
    assert all((out / "_done" / name).stat().st_mtime_ns == when for name, when in stood.items())


def test_a_shard_that_ends_every_worker_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    reads_and_dies = "import sys; sys.stdin.readline(); sys.stdin.readline(); sys.exit(9)"
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", reads_and_dies))
    with pytest.raises(WorkerLost, match=r"part-000000: got 3 workers .* code 9"):
        job(source, tmp_path / "out", Processes(2))
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_what_a_worker_cannot_load_is_told(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    with pytest.raises(NotFound, match="no/model"):
        job(source, tmp_path / "out", Processes(1), model="no/model")
