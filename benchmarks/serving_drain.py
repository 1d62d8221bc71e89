"""Servers that are told to go while clients keep connecting: what becomes of the requests.

    python benchmarks/serving_drain.py --busy 3
    python benchmarks/serving_drain.py --rounds 1 --seconds 1 --json      # a short look

Each round starts ``wholepage serve bm25``, sends ``--rate`` requests a second, each on a connection of its own, and a
SIGTERM in the middle. A request is lost when its connection was made and nothing came back on it; who could not connect
any more was told so and can ask elsewhere. ``--busy`` processes that do nothing but compute keep the server from its
processors, so that connections wait in line. Nothing is written but the file that ``--out`` names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import conditions
from serving_clients import Reply, arrivals, asks_of, lost, open_loop
from serving_peers import SOURCE, free_port, running

BUSY = "while True: pass"
DOCUMENTS = 5


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that compute for nothing."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def one_round(asked: argparse.Namespace, seed: int) -> tuple[list[Reply], int]:
    """What came of the requests around one SIGTERM, and the exit code."""
    port = free_port()
    command = [sys.executable, "-m", "wholepage", "serve", "m=bm25", "--port", str(port)]
    with running("ours", command, port, "/v1/rerank", "/readyz", {"PYTHONPATH": str(SOURCE)}) as server:
        moments = arrivals(asked.rate, 2 * asked.seconds, seed)
        asks = asks_of("m", len(moments), DOCUMENTS, seed)
        at = (asked.seconds, server.leave)
        replies = asyncio.run(open_loop(server.address, server.path, asks, moments, timeout_s=None, at=at, fresh=True))
        return replies, server.process.wait(timeout=60)


def measured(asked: argparse.Namespace) -> dict[str, object]:
    """All rounds together."""
    fates: Counter[str] = Counter()
    codes, losing = set(), 0
    with busy(asked.busy):
        for number in range(asked.rounds):
            replies, code = one_round(asked, asked.seed + number)
            gone = lost(replies)
            fates["answered"] += sum(r.status == 200 for r in replies)
            fates["told that it goes"] += sum(r.status == 503 for r in replies)
            fates["told that too much waits"] += sum(r.status in (429, 504) for r in replies)
            fates["lost"] += len(gone)
            fates["could not connect"] += sum(r.problem.startswith("Refused") for r in replies)
            losing += bool(gone)
            codes.add(code)
    return {"rounds": asked.rounds, **fates, "rounds_that_lost": losing, "exit_codes": sorted(codes)}


def table(found: dict[str, object]) -> str:
    """The page that is printed."""
    lines = [
        "# Servers that go under load",
        "",
        f"- command: `{conditions.command()}`",
        f"- commit: {conditions.commit()}",
        f"- machine: {conditions.machine()}",
        "",
        "| requests | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in found.items()),
    ]
    return "\n".join(lines) + "\n"


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--rounds", type=int, default=20, help="servers that go")
    told.add_argument("--rate", type=float, default=300.0, help="requests a second")
    told.add_argument("--seconds", type=float, default=2.0, help="before the signal, and after it")
    told.add_argument("--busy", type=int, default=0, help="processes beside the server that only compute")
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--json", action="store_true", help="print one object in place of the table")
    told.add_argument("--out", type=Path)
    return told.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print or write what was found."""
    asked = options(arguments)
    found = measured(asked)
    text = table(found)
    print(json.dumps(found) if asked.json else text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
