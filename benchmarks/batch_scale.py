"""Batch jobs at scale: what a second worker brings, whether output stays the same, whether memory and cost stay flat.

    python benchmarks/batch_scale.py --json --out benchmarks/batch_scale.md
    python benchmarks/batch_scale.py --pages 50000 --small 5000 --speed-pages 5000 --kill-pages 5000 --no-ray

Pages are made on the way to the disk, never held together; BM25 ranks them, which needs one core a worker and no GPU.
Each job is the command ``wholepage batch`` in processes of its own. Four things are measured:

- the same job in the command's own process, by 1, 2 and 4 worker processes, and by 1, 2 and 4 Ray actors: pages a
  second and the digest of the output (``same_output``). One and two workers run ``--repeats`` times in turns, for a
  machine wanders; told are medians, a speedup is the median of the ratios of each turn, and all of them stand in
  ``speedups``. ``speedup_2_workers`` counts the start of the processes;
  ``speedup_2_ray_workers`` does not count Ray's, which takes longer than a small job (``..._with_start`` does). They
  mean something only where two cores are free; ``cores_busy`` is the load of the machine a core before.
- the job killed by SIGKILL in the middle, a worker or the command itself, in processes and over Ray: whether what
  comes out in the end is the same, and how many rows are lost or stand twice.
- the most memory that the job's own process and its worker held, on few pages and on many;
  ``peak_rss_ratio_1m_10k`` is null unless those were 10,000 and 1,000,000. BM25 keeps the words of texts it saw last,
  up to a fixed number of characters; the texts are long enough that the few pages fill it, too.
- processor seconds a page on few pages and on many, start and planning included; ``cost_ratio`` is many over few, and
  ``cost_ratio_without_start`` leaves out what a job of a hundred pages costs.

Nothing is written unless ``--out`` names a file (Markdown, or JSON when it ends in ``.json``); pages and output lie in
the folder of temporary files, and take some 2.5 KB a page.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import conditions
from batch_jobs import Engine, ids_in, killed, make, run

FEW, MANY = 10_000, 1_000_000
START_PAGES = 100
COUNTS = (1, 2, 4)
SPEED_SHARDS, KILL_SHARDS = 24, 100


def why_no_ray(left_out: bool) -> str | None:
    """Why Ray is not measured; None when it is."""
    if left_out:
        return "left out by --no-ray"
    missing = [name for name in ("ray", "pandas") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def speed(folder: Path, count: int, seed: int, *, ray: bool, repeats: int) -> dict[str, Any]:
    """The same job by every engine; by one and two workers so many times, in turns."""
    pages = folder / "speed.jsonl"
    make(pages, count, seed)
    engines = [Engine(0), *map(Engine, COUNTS), *([Engine(one, ray=True) for one in COUNTS] if ray else [])]
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    found: dict[str, list[dict[str, Any]]] = {str(engine): [] for engine in engines}
    for turn in range(repeats):
        for engine in engines:
            if turn == 0 or engine.workers in (1, 2):
                out = folder / f"speed-{engine}"
                found[str(engine)].append(run(pages, out, engine, max(1, count // SPEED_SHARDS)))
                shutil.rmtree(out, ignore_errors=True)
    digests = {name: {each["output_sha256"] for each in runs} for name, runs in found.items()}
    speedups = {name: _speedups(found[f"{name}_1"], found[f"{name}_2"]) for name in ("processes", "ray")[: 1 + ray]}
    none: dict[str, list[float | None]] = {"with_start": [], "without_start": []}
    processes, actors = speedups["processes"], speedups.get("ray", none)
    return {
        "speed_pages": count,
        "repeats": repeats,
        "cores_busy": round(busy, 2),
        "pages_a_second": {n: round(median(one["pages_a_second"] for one in runs), 1) for n, runs in found.items()},
        "speedup_2_workers": _median(processes["with_start"]),
        "speedup_2_workers_without_start": _median(processes["without_start"]),
        "speedup_2_ray_workers": _median(actors["without_start"]),
        "speedup_2_ray_workers_with_start": _median(actors["with_start"]),
        "speedups": speedups,
        "same_output": len(set.union(*digests.values())) == 1,
        "digests": {name: " ".join(sorted(each)) for name, each in digests.items()},
    }


def _speedups(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Of two workers over one, turn by turn."""
    turns = list(zip(one, two, strict=True))
    return {
        "with_start": [_ratio(first["seconds"], second["seconds"]) for first, second in turns],
        "without_start": [_ratio(second["shards_a_second"], first["shards_a_second"]) for first, second in turns],
    }


def _median(ratios: list[float | None]) -> float | None:
    """None where one of them could not be told."""
    known = [ratio for ratio in ratios if ratio is not None]
    return median(known) if known and len(known) == len(ratios) else None


def kills(folder: Path, count: int, seed: int, *, ray: bool) -> dict[str, Any]:
    """The same job, whole and killed: the digests compared, the rows counted."""
    pages = folder / "kill.jsonl"
    make(pages, count, seed)
    rows = max(1, count // KILL_SHARDS)
    whole = run(pages, folder / "kill-whole", Engine(0), rows)
    told: dict[str, Any] = {"kill_pages": count}
    details: dict[str, Any] = {}
    for over_ray in (False, True)[: 1 + ray]:
        for victim in ("worker", "driver"):
            name = f"kill_{'ray_' * over_ray}{victim}"
            found = killed(pages, folder / name, Engine(2, over_ray), rows, victim)
            told[f"{name}_same_output"] = found["output_sha256"] == whole["output_sha256"]
            details[name] = {
                "shards": found["shards"],
                "shards_at_the_kill": found["stood"],
                "shards_of_the_last_run": found["shards_done"],
                **ids_in(found["out"], count),
            }
    if not ray:
        told |= {"kill_ray_worker_same_output": None, "kill_ray_driver_same_output": None}
    sums = {name: sum(one[name] for one in details.values()) for name in ("rows_lost", "rows_doubled")}
    return {**told, **sums, "kills": details}


def scale(folder: Path, few: int, many: int, seed: int) -> dict[str, Any]:
    """Memory and processor time of one worker on few pages and on many."""
    found = {}
    for count in (START_PAGES, few, many):
        pages = folder / f"scale-{count}.jsonl"
        make(pages, count, seed)
        found[count] = run(pages, folder / f"scale-{count}", Engine(1), 2000)
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
    why = why_no_ray(args.no_ray)
    ray: dict[str, Any] = {"ray": conditions.version("ray") if why is None else why}
    with tempfile.TemporaryDirectory(prefix="batch-scale-") as name:
        folder = Path(name)
        return {
            **ray,
            **speed(folder, args.speed_pages, args.seed, ray=why is None, repeats=args.repeats),
            **kills(folder, args.kill_pages, args.seed, ray=why is None),
            **scale(folder, args.small, args.pages, args.seed),
        }


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Batch jobs: workers, kills, a million pages",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}; load a core before: {found['cores_busy']}",
        f"- Ray: {found['ray']}",
        "",
        f"## The same job of {found['speed_pages']:,} pages",
        "",
        "| by | pages a second | digest of the output |",
        "|---|---:|---|",
        *(
            f"| {name.replace('_', ' ')} | {rate:,.1f} | `{found['digests'][name][:16]}` |"
            for name, rate in found["pages_a_second"].items()
        ),
        "",
        f"The same output by all: {_word(found['same_output'])}. Two worker processes to one: "
        f"{_number(found['speedup_2_workers'])} ({_number(found['speedup_2_workers_without_start'])} without their "
        f"start). Two Ray actors to one: {_number(found['speedup_2_ray_workers'])} without Ray's start "
        f"({_number(found['speedup_2_ray_workers_with_start'])} with it). Medians of {found['repeats']} turns:",
        "",
        "| two to one | " + " | ".join(f"turn {i + 1}" for i in range(found["repeats"])) + " |",
        "|---|" + "---:|" * found["repeats"],
        *(
            f"| {name}, {part.replace('_', ' ')} | {' | '.join(map(_number, ratios))} |"
            for name, parts in found["speedups"].items()
            for part, ratios in parts.items()
        ),
        "",
        f"## Killed in the middle, {found['kill_pages']:,} pages by two workers",
        "",
        "| killed | same output | shards at the kill | shards of the last run | rows lost | rows doubled |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {name.removeprefix('kill_').replace('_', ' ')} | {_word(found[f'{name}_same_output'])} | "
            f"{one['shards_at_the_kill']} of {one['shards']} | {one['shards_of_the_last_run']} | {one['rows_lost']} | "
            f"{one['rows_doubled']} |"
            for name, one in found["kills"].items()
        ),
        "",
        "## Few pages and many, one worker",
        "",
        "| pages | peak memory of all processes, MB | processor, ms a page |",
        "|---:|---:|---:|",
        *(
            f"| {found[size]:,} | {found['peak_rss_mb'][str(found[size])]:,.1f} | "
            f"{found['cpu_ms_a_page'][str(found[size])]:.4f} |"
            for size in ("few", "many")
        ),
        "",
        f"Many to few: memory {found['peak_rss_ratio']:.3f}, cost of a page {found['cost_ratio']:.3f} "
        f"({found['cost_ratio_without_start']:.3f} without the start).",
    ]
    return "\n".join(lines) + "\n"


def _ratio(over: float | None, under: float | None) -> float | None:
    return round(over / under, 3) if over and under else None


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _word(value: bool) -> str:
    return "yes" if value else "**no**"


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=MANY, help="many pages")
    parser.add_argument("--small", type=int, default=FEW, help="few pages, more than a hundred")
    parser.add_argument("--speed-pages", type=int, default=400_000, help="pages of the jobs by several workers")
    parser.add_argument("--kill-pages", type=int, default=50_000, help="pages of the jobs that are killed")
    parser.add_argument("--repeats", type=int, default=3, help="of the jobs by one and by two workers")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--out", type=Path, help="also write here: a table, or JSON when it ends in .json")
    args = parser.parse_args()
    if not START_PAGES < args.small < args.pages:
        parser.error(f"got --small {args.small} and --pages {args.pages}; allowed: {START_PAGES} < small < pages")
    if args.repeats < 1:
        parser.error(f"got --repeats {args.repeats}; allowed: 1 and up")
    about = {"command": conditions.command(), "commit": conditions.commit(), "machine": conditions.machine(1)}
    found = {**about, **measure(args)}
    print(json.dumps(found) if args.json else table(found))
    if args.out is not None:
        text = json.dumps(found, indent=1) + "\n" if args.out.suffix == ".json" else table(found)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
