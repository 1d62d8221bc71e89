"""Whether a page costs as much among a million as among a thousand: generated pages, streamed, ranked, written.

    python benchmarks/cost_per_page.py --json
    python benchmarks/cost_per_page.py --sizes 1000 10000 100000 --out benchmarks/cost_per_page.md

Each size has a process of its own, in which jobs of that size follow one another (``cost_turns.py``): pages are made
one after another, ranked by BM25 in batches, and their rankings are written to shards on disk. The sizes take turns of
some hundred pages, because a machine that others use too is a fifth slower in one minute than in the next: costs that
were measured one after another tell of the minutes, costs of the same minutes tell of the sizes. The largest job takes
every turn until it is through, the others every ``--share``-th; each is compared with the largest over the turns that
both took, with the 95 % interval of a bootstrap over blocks of turns. Tenths of the largest job are compared with the
smallest of the same minutes, to see whether pages become dearer as they go by.

Start and loading are not counted. BM25 keeps the words of some hundred thousand texts counted; until that store is
full, a page costs less than afterwards, so every process is warmed up until it is (``--warm 64`` shows the difference).
What counts is processor time; the clock on the wall is printed too. The cost model of ``wholepage plan`` is measured on
a sample before the turns, halfway and after them, and held against the smallest and the largest job.
Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conditions import command, commit, machine
from cost_turns import BATCH, TURN, make_pages, make_ranker
from wholepage.apps.plan.cost_model import CostModel, fit
from wholepage.apps.plan.measurement import measure

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TOLERANCE = 0.10
WARM, SAMPLE, BLOCKS, DRAWS = 18_000, 4_000, 50, 2_000


class Worker:
    """A process with the jobs of one size, and what its turns took.

    Attributes:
        pages: of a job.  taken: numbers of the rounds in which it had a turn.  turns: what each of them took.
    """

    def __init__(self, pages: int, warm: int, seed: int) -> None:
        line = [sys.executable, str(Path(__file__).with_name("cost_turns.py")), "--pages", str(pages)]
        line += ["--warm", str(warm), "--seed", str(seed)]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pages, self.taken, self.turns = pages, list[int](), list[dict[str, float]]()

    def take(self, number: int) -> None:
        """Have a turn. Raises ``RuntimeError`` where the process ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # told below, with how it ended
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError(f"the process with jobs of {self.pages} pages ended with {self.process.wait()}")
        self.taken.append(number)
        self.turns.append(json.loads(told))

    def end(self) -> None:
        """No further turn."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it ended before
            self.process.stdin.close()
        self.process.wait()

    def column(self, name: str) -> NDArray[np.float64]:
        """One figure of every turn."""
        return np.array([turn[name] for turn in self.turns])


def take_turns(workers: list[Worker], share: int, plan: Callable[[], CostModel]) -> list[CostModel]:
    """Turns until the largest job is through; what ``plan()`` says before, halfway and after.

    The order of the workers changes from round to round, so that none always follows the same one.
    """
    largest, plans = workers[-1], list[CostModel]()
    rounds = -(-largest.pages // TURN)
    for number in range(rounds):
        if number in (0, rounds // 2):
            plans.append(plan())
        turn = number // share % len(workers)
        for worker in workers[turn:] + workers[:turn]:
            if worker is largest or number % share == 0:
                worker.take(number)
    return [*plans, plan()]


def compare(one: Worker, other: Worker, seed: int) -> dict[str, float]:
    """Cost of a page of ``one`` to that of ``other`` over the rounds of both, with the 95 % interval of the ratio."""
    common, first, second = np.intersect1d(one.taken, other.taken, return_indices=True)
    if not len(common):
        raise RuntimeError("the two had no round in common")
    parts = np.array_split(np.arange(len(common)), min(BLOCKS, len(common)))
    spent, done = (np.stack([one.column(n)[first], other.column(n)[second]], axis=1) for n in ("cpu_s", "pages"))
    blocks = np.array([[*spent[part].sum(axis=0), *done[part].sum(axis=0)] for part in parts])
    drawn = np.random.default_rng(seed).integers(len(parts), size=(DRAWS, len(parts)))
    low, high = np.quantile(_ratio(blocks[drawn].sum(axis=1)), [0.025, 0.975])
    return {"ratio": float(_ratio(blocks.sum(axis=0))), "low": float(low), "high": float(high)}


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[..., 4]``: seconds of one and other, pages of one and other."""
    ratio: NDArray[np.float64] = sums[..., 0] / sums[..., 2] / (sums[..., 1] / sums[..., 3])
    return ratio


def tenths(largest: Worker, smallest: Worker) -> list[float]:
    """Cost of a page of the largest job to that of the smallest in the same rounds, a tenth after the other."""
    common, first, second = np.intersect1d(largest.taken, smallest.taken, return_indices=True)
    found = []
    for part in np.array_split(np.arange(len(common)), min(10, len(common))):
        sums = [
            w.column(n)[at[part]].sum() for n in ("cpu_s", "pages") for w, at in ((largest, first), (smallest, second))
        ]
        found.append(float(_ratio(np.array(sums))))
    return found


def row(worker: Worker, largest: Worker, seed: int) -> dict[str, float]:
    """What is told of a size."""
    done, cpu, wall = (worker.column(name).sum() for name in ("pages", "cpu_s", "wall_s"))
    return {
        "pages": worker.pages, "jobs": float(done / worker.pages), "turns": len(worker.turns), "done": float(done),
        "items_per_page": float(worker.column("items").sum() / done),
        "cpu_us_per_page": float(1e6 * cpu / done), "wall_us_per_page": float(1e6 * wall / done),
        "peak_mb": float(worker.column("peak_mb").max()), **compare(worker, largest, seed),
    }  # fmt: skip


def plan_costs(seed: int, warm: int) -> CostModel:
    """The cost model of ``wholepage plan`` from a sample timed now, by processor time."""
    found = measure(
        lambda: make_ranker(warm, seed), list(make_pages(SAMPLE, seed + 2)), model="bm25", batch_pages=BATCH, seed=seed,
        clock=time.process_time,
    )  # fmt: skip
    return fit(found.timings)


def planned(plans: list[CostModel], rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """What the plans say of the smallest and the largest job, beside what it cost."""
    told = []
    for one in (rows[0], rows[-1]):
        each = one["items_per_page"] * one["pages"] / 2  # texts and answers take turns on a page
        predicted = [plan.seconds(one["pages"], {"text": each, "answer": each}) for plan in plans]
        measured = one["cpu_us_per_page"] * one["pages"] / 1e6
        ratios = [seconds / measured for seconds in predicted]
        told.append({"pages": one["pages"], "predicted_s": predicted, "measured_s": measured, "ratios": ratios})
    return told


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Cost of a page, from a thousand to a million",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        f"- ranker: {found['ranker']}, {BATCH} pages a call; making the pages is not counted",
        f"- turns of {TURN} pages; ratios are of the turns that a size and the largest took in the same rounds",
        "",
        "| pages | jobs | turns | µs a page (processor) | on the wall | to the largest | 95 % interval | peak, MB |",
        "|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for one in found["sizes"]:
        lines.append(
            f"| {one['pages']:,.0f} | {one['jobs']:.4g} | {one['turns']:,} | {one['cpu_us_per_page']:.1f} | "
            f"{one['wall_us_per_page']:.1f} | {one['ratio']:.3f} | {one['low']:.3f} to {one['high']:.3f} | "
            f"{one['peak_mb']:.0f} |"
        )
    word = "yes" if found["constant"] else "no"
    trend = ", ".join(f"{one:.3f}" for one in found["tenths"])
    lines += [
        "",
        f"Constant within {TOLERANCE:.0%}: {word} (largest over smallest ratio {found['spread']:.3f}).",
        "",
        f"Tenths of the largest job, to the smallest in the same rounds: {trend}.",
        "",
    ]
    for one in found["planned"]:
        said = ", ".join(f"{seconds:.2f}" for seconds in one["predicted_s"])
        ratios = ", ".join(f"{ratio:.3f}" for ratio in one["ratios"])
        lines.append(
            f"- `wholepage plan` from {SAMPLE} pages (before, halfway, after) for {one['pages']:,}: {said} s; "
            f"measured {one['measured_s']:.2f} s; ratios {ratios}."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Cost of a page, from a thousand to a million.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--share", type=int, default=2, help="all but the largest take every so many-th round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", type=int, default=WARM, help="pages before the turns begin")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table here (.md)")
    arguments = parser.parse_args()
    sizes = sorted(set(arguments.sizes))
    if sizes[0] < 1 or len(sizes) < 2 or arguments.share < 1:
        parser.error(
            f"got sizes {sizes}, share {arguments.share}; allowed: two sizes or more, all from 1, share from 1"
        )
    workers = [Worker(size, arguments.warm, arguments.seed) for size in sizes]
    try:
        plans = take_turns(workers, arguments.share, lambda: plan_costs(arguments.seed, arguments.warm))
    finally:
        for worker in workers:
            worker.end()
    rows = [row(worker, workers[-1], arguments.seed) for worker in workers]
    ratios = [one["ratio"] for one in rows]
    spread = max(ratios) / min(ratios)
    found: dict[str, Any] = {
        "command": command(),
        "commit": commit(),
        "machine": machine(),
        "ranker": make_ranker().name,
        "sizes": rows,
        "tenths": tenths(workers[-1], workers[0]),
        "spread": spread,
        "constant": spread <= 1 + TOLERANCE,
        "planned": planned(plans, rows),
    }
    if arguments.out is not None:
        arguments.out.write_text(table(found), encoding="utf-8")
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
