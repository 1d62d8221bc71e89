"""Jobs of one size that are done a turn at a time, so that jobs of several sizes share the same minutes.

    python benchmarks/cost_turns.py --pages 1000 --warm 18000

Every line of standard input is a turn: so many pages of the job are ranked and written, then a line of JSON tells what
they took, and the process waits. A job that ends within a turn ends the turn; the next one begins a new job, with pages
of another seed. Making the pages is not counted, nor is waiting. ``cost_per_page.py`` gives out the turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.pages.protocols import Ranker, by_score
from wholepage.pages.records import write_rankings
from wholepage.rankers.bm25 import BM25Scorer

RESULTS, WORDS, VOCABULARY = (6, 10), (8, 24), 2_000
BATCH, SHARD, TURN = 32, 10_000, 250


def make_pages(number: int, seed: int) -> Iterator[Page]:
    """Pages of texts, one after another; page ``i`` depends on the seed and ``i`` alone."""
    for at in range(number):
        lots = np.random.default_rng([seed, at])
        results = tuple(
            Result(str(i), Modality.TEXT if i % 2 else Modality.ANSWER, _words(lots, int(lots.integers(*WORDS))))
            for i in range(int(lots.integers(RESULTS[0], RESULTS[1] + 1)))
        )
        yield Page(Query(f"q{at}", _words(lots, 4)), results)


def _words(lots: np.random.Generator, number: int) -> str:
    return " ".join(f"w{one}" for one in (lots.zipf(1.3, number) % VOCABULARY).tolist())


def make_ranker(warm: int = 0, seed: int = 0) -> Ranker:
    """What is timed, after so many pages of another seed."""
    ranker = by_score(BM25Scorer())
    for page in make_pages(warm, seed + 1):
        ranker.rank([page])
    return ranker


class Meter:
    """Processor and wall seconds, pages and results since it was last read; it can stand still."""

    def __init__(self) -> None:
        self.pages = self.items = 0
        self.spent = np.zeros(2)
        self._began = _clocks()

    def stop(self) -> None:
        """What follows is not counted, until :meth:`go`."""
        self.spent += _clocks() - self._began

    def go(self) -> None:
        """What follows is counted."""
        self._began = _clocks()

    def read(self) -> dict[str, float]:
        """Seconds, pages and results since the last reading, and the peak of memory in MB; the meter stands."""
        cpu, wall = self.spent.tolist()
        told = {"pages": self.pages, "items": self.items, "cpu_s": cpu, "wall_s": wall}
        self.pages = self.items = 0
        self.spent = np.zeros(2)
        return {**told, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _clocks() -> np.ndarray:
    return np.array([time.process_time(), time.perf_counter()])


def job(ranker: Ranker, pages: int, seed: int, meter: Meter, turn: Callable[[], None]) -> None:
    """Rank and write a job of so many pages; ``turn`` is called after every :data:`TURN` of them and at the end.

    ``turn`` is called while the meter stands. Raises ``RuntimeError`` where the stream of pages ends early.
    """
    stream, done = make_pages(pages, seed), 0

    def ranked(end: int) -> Iterator[Any]:
        nonlocal done
        while done < end:
            meter.stop()
            if done and not done % TURN:
                turn()
            batch = list(islice(stream, min(BATCH, end - done, TURN - done % TURN)))
            if not batch:
                raise RuntimeError(f"got {done} pages of {pages}; the stream ended early")
            meter.go()
            done += len(batch)
            meter.pages += len(batch)
            meter.items += sum(map(len, batch))
            yield from ranker.rank(batch)

    with tempfile.TemporaryDirectory() as folder:
        meter.go()
        for shard in range(-(-pages // SHARD)):
            write_rankings(Path(folder) / f"{shard:06d}.jsonl", ranked(min(pages, (shard + 1) * SHARD)))
        meter.stop()
    turn()


def main() -> None:
    """Take turns until standard input ends."""
    parser = argparse.ArgumentParser(description="Jobs of one size, a turn at a time.")
    parser.add_argument("--pages", type=int, required=True, help="of a job")
    parser.add_argument("--warm", type=int, default=0, help="pages before the first turn")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ranker, meter = make_ranker(arguments.warm, arguments.seed), Meter()

    class Ended(Exception):
        """No further turn is given."""

    def wait() -> None:
        if not sys.stdin.readline():
            raise Ended

    def turn() -> None:
        print(json.dumps(meter.read()), flush=True)
        wait()

    try:
        wait()
        for number in count():
            job(ranker, arguments.pages, arguments.seed + 2 * number, meter, turn)
    except Ended:
        return


if __name__ == "__main__":
    main()
