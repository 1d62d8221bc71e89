"""Whether a page costs as much among a million as among a thousand: generated pages, streamed, ranked, written.

    python benchmarks/cost_per_page.py --json
    python benchmarks/cost_per_page.py --sizes 1000 10000 100000 --out benchmarks/cost_per_page.md

Each size is a run in a process of its own, start, loading and warming up not counted: pages are made one after another,
ranked by BM25 in batches, and their rankings are written to shards on disk. BM25 keeps the words of some hundred
thousand texts counted; until that store is full, a page costs less than afterwards, so the ranker is warmed up until it
is (``--warm 64`` shows the difference). A process does twenty thousand pages at the least, several jobs of a small size
one after another: Python collects garbage now and then, and a job of a thousand pages may meet it or not. What counts
is processor time, for the clock on the wall tells of other programs too; both are printed. Sizes up to a tenth of the
largest run several times, in turns; their median counts. Then the cost model of ``wholepage plan`` is measured on a
sample and held against the smallest and the largest run.
Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from conditions import command, commit, machine
from wholepage.apps.plan.cost_model import fit
from wholepage.apps.plan.measurement import measure
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.pages.protocols import Ranker, by_score
from wholepage.pages.records import write_rankings
from wholepage.rankers.bm25 import BM25Scorer

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TOLERANCE = 0.10
RESULTS, WORDS, VOCABULARY = (6, 10), (8, 24), 2_000
BATCH, WARM, SHARD = 32, 18_000, 10_000
LEAST = 20_000
SAMPLE = 4_000


def make_pages(count: int, seed: int) -> Iterator[Page]:
    """Pages of texts, one after another; page ``i`` depends on the seed and ``i`` alone."""
    for number in range(count):
        lots = np.random.default_rng([seed, number])
        results = tuple(
            Result(str(i), Modality.TEXT if i % 2 else Modality.ANSWER, _words(lots, int(lots.integers(*WORDS))))
            for i in range(int(lots.integers(RESULTS[0], RESULTS[1] + 1)))
        )
        yield Page(Query(f"q{number}", _words(lots, 4)), results)


def _words(lots: np.random.Generator, count: int) -> str:
    return " ".join(f"w{one}" for one in (lots.zipf(1.3, count) % VOCABULARY).tolist())


def make_ranker(warm: int = 0, seed: int = 0) -> Ranker:
    """What is timed, after so many pages of another seed."""
    ranker = by_score(BM25Scorer())
    for page in make_pages(warm, seed + 1):
        ranker.rank([page])
    return ranker


def run(pages: int, seed: int, warm: int, least: int = 0) -> dict[str, float]:
    """Jobs of a size in this process, of ``least`` pages in all: the mean of a job, and the peak of memory.

    Seconds are those of the processor and on the wall, making pages left out.
    """
    ranker = make_ranker(warm, seed)
    jobs = [_job(ranker, make_pages(pages, seed + 2 * number), pages) for number in range(max(1, -(-least // pages)))]
    mean = {key: statistics.fmean(job[key] for job in jobs) for key in jobs[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**mean, "pages": pages, "jobs": len(jobs), "peak_mb": peak}


def _job(ranker: Ranker, stream: Iterator[Page], pages: int) -> dict[str, float]:
    spent = {"cpu_s": 0.0, "wall_s": 0.0}
    items = 0

    def ranked() -> Iterator[Any]:
        nonlocal items
        done = 0
        pause_cpu, pause_wall = time.process_time(), time.perf_counter()
        while done < SHARD and (batch := list(islice(stream, min(BATCH, SHARD - done)))):
            done += len(batch)
            items += sum(map(len, batch))
            # making a batch is not part of the cost
            spent["cpu_s"] -= time.process_time() - pause_cpu
            spent["wall_s"] -= time.perf_counter() - pause_wall
            yield from ranker.rank(batch)
            pause_cpu, pause_wall = time.process_time(), time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        began_cpu, began_wall = time.process_time(), time.perf_counter()
        for shard in range(-(-pages // SHARD)):
            write_rankings(Path(folder) / f"{shard:06d}.jsonl", ranked())
        spent["cpu_s"] += time.process_time() - began_cpu
        spent["wall_s"] += time.perf_counter() - began_wall
    if items < pages:
        raise RuntimeError(f"got {items} results for {pages} pages; the stream ended early")
    return {**spent, "items": items}


def apart(pages: int, seed: int, warm: int, least: int) -> dict[str, float]:
    """The same in a process of its own."""
    line = [sys.executable, __file__, "--one", str(pages), "--seed", str(seed), "--warm", str(warm)]
    line += ["--least", str(least)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_sizes(sizes: list[int], repeats: int, seed: int, warm: int, least: int = LEAST) -> list[dict[str, float]]:
    """Each size as the median of its runs; sizes take turns, so that a busy hour falls on all of them."""
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for turn in range(repeats):
        for size in sizes:
            if turn == 0 or size <= max(sizes) // 10:  # once is enough for the largest: it averages by itself
                runs[size].append(apart(size, seed, warm, least))
    rows = []
    for size in sizes:
        row = {key: statistics.median(one[key] for one in runs[size]) for key in runs[size][0]}
        rows.append({**row, "runs": len(runs[size]), "cpu_us_per_page": 1e6 * row["cpu_s"] / size})
    return rows


def planned(rows: list[dict[str, float]], seed: int, warm: int) -> list[dict[str, float]]:
    """What the cost model says of the smallest and the largest run, from a sample timed here by processor time."""
    sample = list(make_pages(SAMPLE, seed + 2))
    found = measure(
        lambda: make_ranker(warm, seed), sample, model="bm25", batch_pages=BATCH, seed=seed, clock=time.process_time
    )
    costs = fit(found.timings)
    names = {"text": 0.5, "answer": 0.5}
    told = []
    for row in (rows[0], rows[-1]):
        seconds = costs.seconds(row["pages"], {name: share * row["items"] for name, share in names.items()})
        told.append({"pages": row["pages"], "predicted_s": seconds, "measured_s": row["cpu_s"]})
    return [{**one, "ratio": one["predicted_s"] / one["measured_s"]} for one in told]


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Cost of a page, from a thousand to a million",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        f"- ranker: {found['ranker']}, {BATCH} pages a call; making the pages is not counted",
        "",
        "| pages | runs x jobs | processor, s | on the wall, s | µs a page (processor) | to the smallest | peak, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = found["sizes"][0]["cpu_us_per_page"]
    for row in found["sizes"]:
        lines.append(
            f"| {row['pages']:,.0f} | {row['runs']} x {row['jobs']:.0f} | {row['cpu_s']:.2f} | {row['wall_s']:.2f} | "
            f"{row['cpu_us_per_page']:.1f} | {row['cpu_us_per_page'] / first:.3f} | {row['peak_mb']:.0f} |"
        )
    word = "yes" if found["constant"] else "no"
    lines += ["", f"Constant within {TOLERANCE:.0%}: {word} (largest over smallest cost {found['spread']:.3f})."]
    for one in found["planned"]:
        lines.append(
            f"`wholepage plan` from {SAMPLE} pages for {one['pages']:,.0f}: {one['predicted_s']:.2f} s predicted, "
            f"{one['measured_s']:.2f} s measured, ratio {one['ratio']:.3f}."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Cost of a page, from a thousand to a million.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5, help="of sizes up to a tenth of the largest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", type=int, default=WARM, help="pages before the clock starts")
    parser.add_argument("--least", type=int, default=LEAST, help="pages that a process does, in jobs of its size")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table here (.md)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(run(arguments.one, arguments.seed, arguments.warm, arguments.least)))
        return
    sizes = sorted(set(arguments.sizes))
    if sizes[0] < 1 or arguments.repeats < 1:
        parser.error(f"got sizes {sizes}, repeats {arguments.repeats}; allowed: from 1")
    rows = measure_sizes(sizes, arguments.repeats, arguments.seed, arguments.warm, arguments.least)
    costs = [row["cpu_us_per_page"] for row in rows]
    spread = max(costs) / min(costs)
    found: dict[str, Any] = {
        "command": command(),
        "commit": commit(),
        "machine": machine(),
        "ranker": make_ranker().name,
        "sizes": rows,
        "spread": spread,
        "constant": spread <= 1 + TOLERANCE,
        "planned": planned(rows, arguments.seed, arguments.warm),
    }
    if arguments.out is not None:
        arguments.out.write_text(table(found), encoding="utf-8")
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
