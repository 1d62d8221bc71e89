"""How many pages a second the page head scores, beside LightGBM's LambdaMART on the same numeric columns.

    python benchmarks/page_head_throughput.py --pages 4000 --items 20 --threads 2

Timed is ``head_scores`` on prepared pages: random numbers in the sizes of the default model (query 384, result 128, 25
numeric columns), no encoder. The two rankers take turns, so that whatever else the machine does falls on both.
Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import torch

from wholepage.pages.model import Modality
from wholepage.rankers.features import PageItems, number_names
from wholepage.rankers.lambdamart import LambdaMart
from wholepage.rankers.whole_page import PAGES_PER_PASS, PageHead, head_scores
from wholepage.training.smar import SmarConfig

TARGET_PAGES_PER_S = 2000
QUERY_DIM, ITEM_DIM = 384, SmarConfig().keep
NUMBER_DIM = len(number_names(tuple(Modality), ("clicks", "price")))
TRAINING_PAGES = 400
MEMBERS = (1, SmarConfig().members)


def make_pages(count: int, items: int, seed: int) -> list[PageItems]:
    """Random pages in the sizes of the default model."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return random.standard_normal(shape, dtype=np.float32)

    return [
        PageItems(
            normal(QUERY_DIM) / np.float32(QUERY_DIM**0.5),
            normal(items, ITEM_DIM),
            normal(items, NUMBER_DIM),
            random.integers(0, len(Modality), items),
        )
        for _ in range(count)
    ]


def make_heads(members: int) -> list[PageHead]:
    """Default page heads, as they come from their seeds: weights do not change the time."""
    config = SmarConfig()
    torch.manual_seed(0)
    sizes = {"width": config.width, "layers": config.layers, "heads": config.heads}
    return [PageHead(QUERY_DIM, ITEM_DIM, NUMBER_DIM, **sizes) for _ in range(members)]


def make_lambdamart(pages: Sequence[PageItems], threads: int, seed: int) -> LambdaMart:
    """LambdaMART in its default size, trained on grades that hang on the columns, so that its trees are full."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal(NUMBER_DIM)
    rows = [page.numbers for page in pages[:TRAINING_PAGES]]
    told = [x @ weights + random.standard_normal(len(x)) for x in rows]
    grades = [np.clip(np.round(1.5 + t / weights.std() / 5), 0, 3) for t in told]
    return LambdaMart(num_threads=threads).fit(rows, grades, seed=seed)


def timed(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, ``repeats`` times, taking turns; one round before that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, act in runs.items():
            started = time.perf_counter()
            act()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as JSON values."""
    torch.set_num_threads(arguments.threads)
    pages = make_pages(arguments.pages, arguments.items, arguments.seed)
    numbers = [page.numbers for page in pages]
    trees = make_lambdamart(pages, arguments.threads, arguments.seed)
    heads = {f"page head, {n} member{'s' * (n > 1)}": make_heads(n) for n in MEMBERS}
    runs: dict[str, Callable[[], object]] = {}
    for name, members in heads.items():
        runs[name] = partial(head_scores, members, pages, batch_size=arguments.batch_size)
    runs["LambdaMART"] = partial(trees.predict, numbers)
    before = os.getloadavg()[0]
    seconds = timed(runs, arguments.repeats)
    rates = {name: arguments.pages / statistics.median(taken) for name, taken in seconds.items()}
    default = list(heads)[-1]
    return {
        "command": shlex.join(["python", "benchmarks/page_head_throughput.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(arguments.threads),
        "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "pages": arguments.pages,
        "items": arguments.items,
        "batch_size": arguments.batch_size,
        "pages_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "fastest_s": {name: round(min(taken), 4) for name, taken in seconds.items()},
        "slowest_s": {name: round(max(taken), 4) for name, taken in seconds.items()},
        "ratio_to_lambdamart": {name: round(rate / rates["LambdaMART"], 3) for name, rate in rates.items()},
        "target_pages_per_s": TARGET_PAGES_PER_S,
        "default": default,
        "reaches_target": rates[default] >= TARGET_PAGES_PER_S,
    }


def machine(threads: int) -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightgbm": lightgbm.__version__,
    }


def commit() -> str:
    """The commit that ran, ``-dirty`` with changes on top; ``unknown`` outside a checkout."""
    folder = Path(__file__).parent
    try:
        asked = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        found = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    on = found["machine"]
    load = found["load_average"]
    lines = [
        "# Page head: pages a second",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {on['cpu']}, {on['cores']} cores, {on['threads']} threads; "
        f"Python {on['python']}, torch {on['torch']}, LightGBM {on['lightgbm']}",
        f"- load average: {load['before']} before, {load['after']} after",
        f"- {found['pages']} pages of {found['items']} results, batches of {found['batch_size']}",
        "",
        "| ranker | pages/s (median) | fastest run, s | slowest run, s | ratio to LambdaMART |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, rate in found["pages_per_s"].items():
        times = f"{found['fastest_s'][name]:.3f} | {found['slowest_s'][name]:.3f}"
        lines.append(f"| {name} | {rate:,.0f} | {times} | {found['ratio_to_lambdamart'][name]:.2f} |")
    word = "reached" if found["reaches_target"] else "missed"
    lines += ["", f"Target for the default ({found['default']}): {found['target_pages_per_s']:,} pages/s, {word}.", ""]
    return "\n".join(lines)


def whole(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from 1 up")
    return int(text)


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Pages a second of the page head, beside LambdaMART.")
    parser.add_argument("--pages", type=whole, default=4000)
    parser.add_argument("--items", type=whole, default=20, help="results a page")
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--batch-size", type=whole, default=PAGES_PER_PASS)
    parser.add_argument("--repeats", type=whole, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    arguments = parser.parse_args()
    found = measure(arguments)
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    if arguments.out:
        arguments.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
