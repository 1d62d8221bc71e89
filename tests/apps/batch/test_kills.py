"""Workers and the job itself killed in the middle: nothing is lost, nothing comes twice, the bytes are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from wholepage.apps.batch import processes
from wholepage.apps.batch.messages import Event, Finished, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.processes import InProcess, Processes
from wholepage.apps.batch.shards import Done, Order
from wholepage.apps.places import NotFound
from wholepage.pages.errors import InputError, WorkerLost

from .made import files, job, pages, write_jsonl

ROOT = Path(__file__).parents[3]
LIMIT_S = 300
FREE = 10
# The command, with workers that stay in the middle of a shard once ten are done: on a machine that has other things to
# do the job might end before the test has seen that it began.
DRIVER = """
import runpy, sys
from wholepage.apps.batch import processes

processes._COMMAND = (sys.executable, "-c", sys.argv.pop(1))
runpy.run_module("wholepage", run_name="__main__")
"""
WORKER = f"""
import time
from wholepage.apps.batch import worker
from wholepage.apps.batch.shards import ShardWork

do = ShardWork.do

def held(work, shard, more):
    def told(rows):
        more(rows)
        if shard.number >= {FREE}:
            time.sleep({LIMIT_S})
    return do(work, shard, told)

ShardWork.do = held
worker.main()
"""


def started(source: str, out: Path) -> subprocess.Popen[bytes]:
    """The command with two workers; a Ctrl-C reaches it even where the tests run in the background."""
    command = [sys.executable, "-c", DRIVER, WORKER, "batch", "rank", source, "-m", "bm25", "-o", str(out), "-w", "2"]
    return subprocess.Popen(
        [*command, "--shard-rows", "150", "--batch-pages", "8"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(out: Path, shards: int, driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Its two workers, once so many shards are done."""
    deadline = time.monotonic() + LIMIT_S
    workers: list[psutil.Process] = []
    while len(list((out / "_done").glob("*.json"))) < shards or len(workers) < 2:
        assert driver.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)
        workers = psutil.Process(driver.pid).children()
    return workers


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
    driver = started(source, out)
    try:
        workers = wait_for(out, 2, driver)
    finally:
        driver.kill()
        driver.communicate()
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=LIMIT_S)[1], "workers outlived the job"
    assert not (out / "_SUCCESS").exists()
    stood = {path.name: path.stat().st_mtime_ns for path in (out / "_done").glob("*.json")}
    assert 2 <= len(stood) <= FREE
    again = job(source, out, Processes(2), shard_rows=150)
    assert again.shards_done == 20 - len(stood)
    assert again.summary == whole.summary
    assert files(out) == files(tmp_path / "whole")
    assert all((out / "_done" / name).stat().st_mtime_ns == when for name, when in stood.items())


def test_a_worker_that_tells_after_the_end_is_not_waited_for() -> None:
    """Shards are done while the job ends by an error or Ctrl-C: nobody may wait for more."""
    shards = [Shard(number, 0, 1, 1) for number in range(2)]
    share = processes._Share(shards)
    for shard in shards:
        assert share.take() == shard
    share.close()
    done = Done(shards[0], 1, 0, 0, "", 0, "", "x")
    share.finished(Finished(done, "1", 0))
    share.lost(shards[1], -9)
    taken: list[Shard | None] = []
    waits = threading.Thread(target=lambda: taken.append(share.take()), daemon=True)
    waits.start()
    waits.join(LIMIT_S)
    assert taken == [None]


def test_ctrl_c_ends_the_job_and_its_workers(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(3000, words=60))
    out = tmp_path / "out"
    driver = started(source, out)
    try:
        workers = wait_for(out, 1, driver)
        driver.send_signal(signal.SIGINT)
        said = driver.communicate(timeout=LIMIT_S)[1]
    finally:
        driver.kill()
    assert driver.returncode == 130
    assert b"the same command goes on" in said
    assert not psutil.wait_procs(workers, timeout=LIMIT_S)[1]
    assert not (out / "_SUCCESS").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(60))
    out = tmp_path / "out"

    class MeanwhileAnother(InProcess):
        def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
            with pytest.raises(InputError, match="another run is at work"):
                job(source, out)
            super().run(order, shards, told)

    assert job(source, out, MeanwhileAnother()).summary.written == 60
    assert job(source, out).shards_done == 0


def test_how_a_worker_ended_is_told() -> None:
    assert processes._how(3) == "with code 3"
    assert "takes too much memory" in processes._how(-9)
    assert processes._how(-11) == "by signal 11"


def test_a_shard_that_ends_every_worker_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    reads_and_dies = "import sys; sys.stdin.readline(); sys.stdin.readline(); sys.exit(9)"
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", reads_and_dies))
    with pytest.raises(WorkerLost, match=r"part-000000: got 3 workers .*with code 9"):
        job(source, tmp_path / "out", Processes(2))
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_what_a_worker_cannot_load_is_told(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    with pytest.raises(NotFound, match="no/model"):
        job(source, tmp_path / "out", Processes(1), model="no/model")
