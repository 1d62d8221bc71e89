"""Batch jobs at scale: what a second worker brings, whether output stays the same, whether memory and cost stay flat.

    python benchmarks/batch_scale.py --json
    python benchmarks/batch_scale.py --pages 50000 --small 5000 --speed-pages 5000

Pages are made on the way to the disk, never held together; BM25 ranks them, which needs one core a worker and no GPU.
Each job is the command ``wholepage batch`` in processes of its own. Three things are measured:

- the same job with one worker, two, and (same output only) four: pages a second and the digest of the output.
  ``speedup_2_workers`` means something only where two cores are free; ``cores_busy`` is the load of the machine a core
  before the job began.
- the most memory that the job's own process and its worker held, on few pages and on many;
  ``peak_rss_ratio_1m_10k`` is null unless those were 10,000 and 1,000,000. BM25 keeps the words of texts it saw last,
  up to a fixed number of characters; the texts are long enough that the few pages fill it, too.
- processor seconds a page on few pages and on many, start and planning included; ``cost_ratio`` is many over few, and
  ``cost_ratio_without_start`` leaves out what a job of a hundred pages costs.

Nothing is written unless ``--out`` names a file; pages and output lie in the folder of temporary files, and take some
2.5 KB a page.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import conditions

SOURCE = Path(__file__).parents[1] / "src"
WORDS = 4000
RESULTS, WORDS_A_RESULT = 5, 45
FEW, MANY = 10_000, 1_000_000
START_PAGES = 100


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


def run(pages: Path, out: Path, workers: int, shard_rows: int) -> dict[str, Any]:
    """One job by the command: what it prints, and the processor seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "wholepage", "batch", "rank", str(pages), "-m", "bm25", "-o", str(out)]
    done = subprocess.run(
        [*command, "-w", str(workers), "--shard-rows", str(shard_rows), "--json"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(done.stdout)
    found["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def speed(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """The same job by one worker, two and four."""
    pages = folder / "speed.jsonl"
    make(pages, count, seed)
    rows = max(1, count // 24)
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    found = {workers: run(pages, folder / f"speed-{workers}", workers, rows) for workers in (1, 2, 4)}
    return {
        "speed_pages": count,
        "cores_busy": round(busy, 2),
        "pages_a_second": {str(workers): round(one["pages_a_second"], 1) for workers, one in found.items()},
        "speedup_2_workers": round(found[1]["seconds"] / found[2]["seconds"], 3),
        "same_output": len({one["output_sha256"] for one in found.values()}) == 1,
        "digest": found[1]["output_sha256"],
    }


def scale(folder: Path, few: int, many: int, seed: int) -> dict[str, Any]:
    """Memory and processor time of one worker on few pages and on many."""
    found = {}
    for count in (START_PAGES, few, many):
        pages = folder / f"scale-{count}.jsonl"
        make(pages, count, seed)
        found[count] = run(pages, folder / f"scale-{count}", 1, 2000)
        pages.unlink()
    peaks = {count: sum(one["peak_bytes"].values()) for count, one in found.items()}
    cost = {count: one["cpu_s"] / count for count, one in found.items()}
    start_s = found[START_PAGES]["cpu_s"]
    running = {count: (found[count]["cpu_s"] - start_s) / (count - START_PAGES) for count in (few, many)}
    ratio = round(peaks[many] / peaks[few], 3)
    return {
        "few": few,
        "many": many,
        "peak_rss_mb": {str(count): round(peaks[count] / 1e6, 1) for count in (few, many)},
        "peak_rss_ratio": ratio,
        "peak_rss_ratio_1m_10k": ratio if (few, many) == (FEW, MANY) else None,
        "cpu_ms_a_page": {str(count): round(1000 * cost[count], 4) for count in (few, many)},
        "cost_ratio": round(cost[many] / cost[few], 3),
        "cost_ratio_without_start": round(running[many] / running[few], 3),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="batch-scale-") as name:
        folder = Path(name)
        return {**speed(folder, args.speed_pages, args.seed), **scale(folder, args.small, args.pages, args.seed)}


def main() -> None:
    """Measure, and print lines or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=MANY, help="many pages")
    parser.add_argument("--small", type=int, default=FEW, help="few pages, more than a hundred")
    parser.add_argument("--speed-pages", type=int, default=50_000, help="pages of the jobs with 1, 2 and 4 workers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    if not START_PAGES < args.small < args.pages:
        parser.error(f"got --small {args.small} and --pages {args.pages}; allowed: {START_PAGES} < small < pages")
    about = {"command": conditions.command(), "commit": conditions.commit(), "machine": conditions.machine(1)}
    found = {**about, **measure(args)}
    text = json.dumps(found, indent=None if args.json else 1)
    print(text if args.json else "\n".join(f"{name} {value}" for name, value in found.items()))
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
