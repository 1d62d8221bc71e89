"""The server under load, beside infinity with the same cross-encoder on the same cores.

    python benchmarks/serving_load.py --json
    python benchmarks/serving_load.py --soak-minutes 0.2 --seconds 5 --rounds 1      # a short look

One run, in this order:

- saturation: ours and infinity take turns (``--rounds``) while ``--clients`` ask again as soon as they are answered;
  the documents a second of each, and their ratio (``throughput_vs_infinity``: the median over the rounds). The median
  of ours is the peak of all that follows.
- 70 % of the peak, an open loop: requests come at random moments and wait for nobody. ``added_latency_ms_p50`` is what
  a caller waits at the median beyond the median of the bare ``ranker.rank([page])`` on the same pages, in a process of
  its own on one thread.
- 1, 2 and 4 times the peak, every request with ``--timeout-s`` to live: documents a second that were answered in time,
  as a share of the peak (``goodput_1x``, ``goodput_2x``, ``goodput_4x``).
- the soak: 70 % for ``--soak-minutes``; the slope of a line through the memory of all processes, the first fifth left
  out (``rss_slope_mb_per_min``).
- a worker killed: SIGKILL of one worker in the middle of the open loop at 70 %; requests that were not answered with
  200 (``killed_lost``), the longest time without an answer from then on (``killed_gap_s``), and how long until all
  workers are there again (``killed_back_s``).
- the drain: SIGTERM in the middle of the open loop; requests that were sent and got no answer at all (``drain_lost``).

Arrivals are those of a Poisson process given their number, from a seed. Every query is another one: the cache of
answers never helps. The client runs on the same cores as the servers, so that neither server has both for itself.
infinity answers in its default settings on the processor; both scores are compared first, on the same texts. It needs
an environment of its own, see ``serving_peers.py``; ``--infinity FOLDER`` names one, ``--without-infinity`` leaves it
out. Nothing is written except the model and that environment, in the cache folder, and the file that ``--out`` names.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import conditions
from serving_clients import Ask, Reply, arrivals, asks_of, goodput, lost, open_loop, saturate
from serving_peers import NAME, SOURCE, UP_S, Server, infinity, make_infinity, make_model, ours
from wholepage.apps.places import cache_folder

LOAD = 0.7
OVERLOADS = (1, 2, 4)
SAMPLE_S = 1.0
_NOTICED_S = 0.5  # within which the end of a worker is seen
ALIKE = 1e-4  # of two sigmoids, by different versions of the same libraries
TARGETS = {"throughput_vs_infinity": 1.2, "goodput_1x": 0.95, "goodput_2x": 0.95, "goodput_4x": 0.9}
BARE = """
import json, sys, time
import torch
from wholepage.apps.documents import page_of
from wholepage.apps.resolve import load

torch.set_num_threads(1)
ranker = load(sys.argv[1])
spent = []
for line in sys.stdin:
    asked = json.loads(line)
    page = page_of(asked["query"], [{"text": text} for text in asked["documents"]])
    began = time.perf_counter()
    ranker.rank([page])
    spent.append((time.perf_counter() - began) * 1e3)
print(json.dumps(spent[5:]))
"""


class Run:
    """The phases of one run; what they measure goes into ``found``."""

    def __init__(self, asked: argparse.Namespace, model: Path) -> None:
        self.asked, self.model = asked, model
        self.found: dict[str, Any] = {}
        self._seeds = iter(range(asked.seed, asked.seed + 1000))

    def asks(self, count: float) -> list[Ask]:
        """Bodies nobody has sent yet."""
        return asks_of(NAME, round(count), self.asked.documents, next(self._seeds))

    def compare(self, servers: list[Server]) -> None:
        """Throughput of all servers at saturation, in turns."""
        asked, rates = self.asked, {server.name: [] for server in servers}
        for _ in range(asked.rounds):
            for server in servers:
                asks = self.asks(asked.clients + 60 * (asked.seconds + asked.warm_s))
                rate = saturate(
                    server.address, server.path, asks, clients=asked.clients, warm_s=asked.warm_s, seconds=asked.seconds
                )
                rates[server.name].append(asyncio.run(rate))
        self.found["documents_per_s"] = {name: [round(one, 1) for one in of] for name, of in rates.items()}
        self.found["peak_documents_per_s"] = statistics.median(rates["ours"])
        if "infinity" in rates:
            ratios = [a / b for a, b in zip(rates["ours"], rates["infinity"], strict=True)]
            self.found["throughput_vs_infinity"] = statistics.median(ratios)

    def rate(self, times: float) -> float:
        """Requests a second at so many times the peak."""
        return times * float(self.found["peak_documents_per_s"]) / self.asked.documents

    def loop(
        self,
        server: Server,
        times: float,
        seconds: float,
        *,
        timeout_s: float | None = None,
        at: tuple[float, Callable[[], None]] | None = None,
    ) -> list[Reply]:
        """An open loop at so many times the peak; ``at``: a moment, and what is done then."""
        moments = arrivals(self.rate(times), seconds, next(self._seeds))
        asks = self.asks(len(moments))
        return asyncio.run(open_loop(server.address, server.path, asks, moments, timeout_s=timeout_s, at=at))

    def latency(self, server: Server) -> None:
        """What callers wait at 70 %, beyond the bare ranker."""
        asked = self.asked
        replies = self.loop(server, LOAD, asked.warm_s + asked.seconds)
        waits = [(r.ended - r.due) * 1e3 for r in replies if r.due >= asked.warm_s and r.status == 200]
        bare = self.bare(min(len(waits), 200) + 5)
        self.found["latency_ms_p50"], self.found["latency_ms_p95"] = map(float, np.percentile(waits, (50, 95)))
        self.found["bare_ms_p50"] = statistics.median(bare)
        self.found["added_latency_ms_p50"] = self.found["latency_ms_p50"] - self.found["bare_ms_p50"]
        self.found["answered_at_70_percent"] = sum(r.status == 200 for r in replies) / len(replies)

    def bare(self, count: int) -> list[float]:
        """Milliseconds of ``ranker.rank([page])``."""
        lines = b"\n".join(one.body for one in self.asks(count))
        done = subprocess.run(
            [sys.executable, "-c", BARE, str(self.model)],
            input=lines,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        )
        return [float(ms) for ms in json.loads(done.stdout)]

    def overload(self, server: Server) -> None:
        """The share of the peak that is answered in time, at 1, 2 and 4 times the peak."""
        asked = self.asked
        warm_s = asked.warm_s + asked.timeout_s
        seconds = warm_s + 2 * asked.seconds
        for times in OVERLOADS:
            replies = self.loop(server, times, seconds, timeout_s=asked.timeout_s)
            rate = goodput(replies, asked.documents, asked.timeout_s, warm_s=warm_s, seconds=seconds)
            self.found[f"goodput_{times}x"] = rate / float(self.found["peak_documents_per_s"])
            told = {str(status): sum(r.status == status for r in replies) for status in {r.status for r in replies}}
            self.found[f"statuses_{times}x"] = dict(sorted(told.items()))

    def killed(self, server: Server) -> None:
        """What callers see of the sudden end of a worker."""
        asked = self.asked
        moment = asked.warm_s + 2.0
        killed: list[float] = []
        workers = server.workers()

        def kill() -> None:
            killed.append(time.monotonic())
            os.kill(workers[0], signal.SIGKILL)

        with ThreadPoolExecutor(1) as watchers:
            back = watchers.submit(_back_s, server, len(workers), killed)
            replies = self.loop(server, LOAD, moment + max(asked.seconds, 15.0), at=(moment, kill))
            self.found["killed_back_s"] = back.result()
        ends = sorted(r.ended for r in replies if r.status == 200 and r.ended >= moment)
        last_due = max(r.due for r in replies)
        gaps = [b - a for a, b in itertools.pairwise([moment, *ends]) if a <= last_due]
        self.found["killed_lost"] = sum(r.status != 200 for r in replies)
        self.found["killed_gap_s"] = max(gaps)

    def soak(self, server: Server) -> None:
        """The slope of memory over minutes at 70 %."""
        samples: list[tuple[float, float]] = []
        stop, before = threading.Event(), server.rss_mb_each()

        def watch() -> None:
            while not stop.wait(SAMPLE_S):
                samples.append((time.monotonic() / 60, server.rss_mb()))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        replies = self.loop(server, LOAD, self.asked.soak_minutes * 60)
        stop.set()
        watcher.join()
        kept = np.array(samples[len(samples) // 5 :])
        self.found["rss_slope_mb_per_min"] = float(np.polyfit(kept[:, 0], kept[:, 1], 1)[0])
        self.found["rss_mb"] = [float(kept[0, 1]), float(kept[-1, 1])]
        self.found["rss_mb_each"] = {"before": before, "after": server.rss_mb_each()}
        self.found["soak_answered"] = sum(r.status == 200 for r in replies) / len(replies)

    def drain(self, server: Server) -> None:
        """A signal under load: who had sent a request gets an answer; who comes later is not let in."""
        replies = self.loop(server, LOAD, self.asked.warm_s + 4.0, at=(self.asked.warm_s, server.leave))
        server.process.wait(timeout=60)
        gone = lost(replies)
        self.found["drain_lost"] = len(gone)
        self.found["drain_problems"] = sorted({r.problem or f"status {r.status}" for r in gone})
        self.found["drain_answered"] = sum(r.status == 200 for r in replies)
        self.found["drain_exit_code"] = server.process.returncode


def check_alike(servers: list[Server], ask: Ask) -> None:
    """End the run when two servers score the same texts differently: their speeds could not be compared.

    Raises:
        SystemExit: they do.
    """
    found = {}
    for server in servers:
        answer = httpx.post(
            server.address + server.path, content=ask.body, headers={"Content-Type": "application/json"}, timeout=120.0
        ).json()
        found[server.name] = {result["index"]: result["relevance_score"] for result in answer["results"]}
    first = found[servers[0].name]
    apart = max(abs(of[i] - score) for of in found.values() for i, score in first.items())
    if apart > ALIKE:
        sys.exit(f"the servers score differently, by up to {apart:g}")


def _back_s(server: Server, workers: int, killed: Sequence[float]) -> float:
    """Seconds from the kill until the server says again that it has so many workers; NaN when it does not."""
    limit = time.monotonic() + UP_S
    while time.monotonic() < limit:
        time.sleep(0.05)
        since = time.monotonic() - killed[0] if killed else 0.0
        if since > _NOTICED_S and server.workers_ready() >= workers:
            return since
    return float("nan")


def table(run: Run) -> str:
    """The page that is printed."""
    asked = run.asked
    lines = [
        "# The server under load",
        "",
        f"- command: `{conditions.command()}`",
        f"- commit: {conditions.commit()}",
        f"- machine: {conditions.machine()}",
        f"- pages of {asked.documents} documents of some forty words, MiniLM cross-encoder, time to live "
        f"{asked.timeout_s:g} s; clients, ours and infinity on the same cores",
        "",
        "| measure | value | target |",
        "|---|---:|---:|",
    ]
    for name, value in run.found.items():
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        lines.append(f"| {name} | {shown} | {TARGETS.get(name, '')} |")
    return "\n".join(lines) + "\n"


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--documents", type=int, default=10, help="on each page")
    told.add_argument("--clients", type=int, default=32, help="that saturate a server")
    told.add_argument("--rounds", type=int, default=5, help="in which the two servers take turns")
    told.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    told.add_argument("--warm-s", type=float, default=3.0, help="before each")
    told.add_argument("--timeout-s", type=float, default=5.0, help="of a request under overload")
    told.add_argument("--soak-minutes", type=float, default=10.0)
    told.add_argument("--settings", default="{}", help="of our engine, as JSON")
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--model", type=Path, help="a folder for the model")
    told.add_argument("--infinity", type=Path, help="the folder of its environment")
    told.add_argument("--without-infinity", action="store_true")
    told.add_argument("--json", action="store_true", help="print one object in place of the table")
    told.add_argument("--out", type=Path)
    return told.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print or write what was found."""
    asked = options(arguments)
    model = make_model(asked.model or cache_folder(None) / "serving-load-model", seed=0)
    run = Run(asked, model)
    with ExitStack() as stack:
        servers = [stack.enter_context(ours(model, asked.settings))]
        with ExitStack() as peer:
            if not asked.without_infinity:
                servers.append(peer.enter_context(infinity(make_infinity(asked.infinity), model)))
            check_alike(servers, run.asks(1)[0])
            run.compare(servers)
        mine = servers[0]
        run.latency(mine)
        run.overload(mine)
        run.soak(mine)
        run.killed(mine)
        run.drain(mine)
    text = table(run)
    print(json.dumps(run.found) if asked.json else text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
