"""Jobs of ``wholepage batch`` in processes of their own, over made pages: run to their end, or killed in the middle."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SOURCE = Path(__file__).parents[1] / "src"
WORDS = 4000
RESULTS, WORDS_A_RESULT = 5, 45
TRIES, LIMIT_S = 3, 300
WORKER_MARKS = ("wholepage.apps.batch.worker", "ray::MapWorker")


@dataclass(frozen=True)
class Engine:
    """Who does a job: this many worker processes (0 = the command's own), or Ray actors."""

    workers: int
    ray: bool = False

    def __str__(self) -> str:
        if self.ray:
            return f"ray_{self.workers}"
        return f"processes_{self.workers}" if self.workers else "in_process"


def make(path: Path, count: int, seed: int) -> None:
    """Write pages line by line; a page depends on its number and the seed alone."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            draws = random.Random(f"{seed}:{number}")
            asked, *texts = (
                " ".join(f"word{int(WORDS * draws.random() ** 2)}" for _ in range(length))
                for length in (3, *[WORDS_A_RESULT] * RESULTS)
            )
            results = [{"result_id": f"r{i}", "modality": "text", "text": text} for i, text in enumerate(texts)]
            file.write(json.dumps({"query": {"query_id": f"q{number}", "text": asked}, "results": results}) + "\n")


def started(pages: Path, out: Path, engine: Engine, shard_rows: int) -> subprocess.Popen[str]:
    """The command, begun."""
    command = [sys.executable, "-m", "wholepage", "batch", "rank", str(pages), "-m", "bm25", "-o", str(out)]
    command += ["-w", str(engine.workers), "--shard-rows", str(shard_rows), "--json"]
    return subprocess.Popen(
        [*command, "--ray", "local"] if engine.ray else command,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(job: subprocess.Popen[str]) -> dict[str, Any]:
    """What the command printed at its end; ends this program when it failed."""
    said, errors = job.communicate()
    if job.returncode:
        sys.exit(f"{job.args} ended with {job.returncode}:\n{errors}")
    found: dict[str, Any] = json.loads(said)
    return found


def run(pages: Path, out: Path, engine: Engine, shard_rows: int) -> dict[str, Any]:
    """One job: what it prints, the processor seconds of its processes (not of Ray's), and its rate at full speed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = ended(started(pages, out, engine, shard_rows))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found["shards_a_second"] = rate_without_start(out, max(engine.workers, 1))
    return found


def rate_without_start(out: Path, workers: int) -> float | None:
    """Shards a second from when as many were complete as there are workers; None where they are too few.

    The start (of Ray, of processes, of the model) lies before, and so does each worker's first shard, if they begin
    together. A worker that begins later makes the rate seem lower, never higher.
    """
    times = sorted(path.stat().st_mtime_ns / 1e9 for path in (out / "_done").glob("*.json"))
    if len(times) < 2 * workers + 1:
        return None
    return (len(times) - workers) / max(times[-1] - times[workers - 1], 1e-9)


def ids_in(out: Path, count: int) -> dict[str, int]:
    """How many of ``q0`` to ``q<count - 1>`` are in no row of the output, and how many rows are too many."""
    times = bytearray(count)
    for part in sorted(out.glob("part-*.jsonl")):
        with open(part, "rb") as file:
            for line in file:
                number = int(json.loads(line)["query_id"][1:])
                times[number] = min(255, times[number] + 1)
    return {"rows_lost": times.count(0), "rows_doubled": sum(times) - count + times.count(0)}


def killed(pages: Path, out: Path, engine: Engine, shard_rows: int, victim: str) -> dict[str, Any]:
    """A job of which a worker, or the command itself, is killed by SIGKILL; then the command again if need be.

    Returns:
        What the command that came to the end printed, ``stood`` (shards complete at the kill) and ``killed_pid``.
    """
    for attempt in range(TRIES):
        place = out.with_name(f"{out.name}-{attempt}")
        job = started(pages, place, engine, shard_rows)
        driver = psutil.Process(job.pid)
        if not _two_done(place, job):
            job.communicate()
            continue
        below = driver.children(recursive=True)
        target = driver if victim == "driver" else _a_worker(below)
        if target is None or job.poll() is not None:
            job.communicate()
            continue
        stood = len(list((place / "_done").glob("*.json")))
        target.kill()
        if victim == "driver":
            job.communicate()
            psutil.wait_procs(below, timeout=LIMIT_S)
            job = started(pages, place, engine, shard_rows)
        return {**ended(job), "out": place, "stood": stood, "killed_pid": target.pid}
    sys.exit(f"{TRIES} jobs over {pages.name} by {engine} ended before they could be killed; raise --kill-pages")


def _two_done(out: Path, job: subprocess.Popen[str]) -> bool:
    """Wait for two complete shards; False when the job ended first."""
    until = time.monotonic() + LIMIT_S
    while len(list((out / "_done").glob("*.json"))) < 2:
        if job.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.002)
    return job.poll() is None


def _a_worker(processes: list[psutil.Process]) -> psutil.Process | None:
    for process in processes:
        try:
            if any(mark in " ".join(process.cmdline()) for mark in WORKER_MARKS):
                return process
        except psutil.NoSuchProcess:
            continue
    return None
