"""How many pages a second the page head scores, beside other rankers on the same numeric columns.

    python benchmarks/page_head_throughput.py --pages 4000 --items 20 200 --threads 2

Beside it stand the small head that it is distilled into, self-attention over the numeric columns alone (the
context-aware ranker, as in allRank), and LightGBM's LambdaMART. Timed is scoring of prepared pages: random numbers in
the sizes of the default model (query 384, result 128, 25 numeric columns), no encoder. The rankers take turns, so that
whatever else the machine does falls on all of them.
Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conditions import command, commit, machine
from wholepage.pages.model import Modality
from wholepage.rankers.context_aware import ContextAware, ContextAwareNet
from wholepage.rankers.features import PageItems, number_names
from wholepage.rankers.lambdamart import LambdaMart
from wholepage.rankers.page_head import PAGES_PER_PASS, PageHead, head_scores
from wholepage.training.context_aware import ContextAwareConfig
from wholepage.training.distill import DistillConfig
from wholepage.training.smar import SmarConfig

TARGET_PAGES_PER_S, TARGET_ITEMS = 2000, 20
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


def make_heads(members: int, config: SmarConfig | DistillConfig | None = None) -> list[PageHead]:
    """Page heads of the sizes of ``config``, as they come from their seeds: weights do not change the time."""
    config = config or SmarConfig()
    torch.manual_seed(0)
    sizes = {"width": config.width, "layers": config.layers, "heads": config.heads}
    return [PageHead(QUERY_DIM, ITEM_DIM, NUMBER_DIM, **sizes) for _ in range(members)]


def make_context_aware(members: int) -> ContextAware:
    """The ranker of self-attention over numbers in its default size, as it comes from its seed."""
    config = ContextAwareConfig()
    torch.manual_seed(0)
    sizes = {"width": config.width, "layers": config.layers, "heads": config.heads, "hidden": config.hidden}
    return ContextAware([ContextAwareNet(NUMBER_DIM, **sizes) for _ in range(members)])


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


def measure(arguments: argparse.Namespace, items: int) -> dict[str, Any]:
    """One size of page, as JSON values."""
    torch.set_num_threads(arguments.threads)
    count = max(1, round(arguments.pages * min(arguments.items) / items))  # every size has as many results to score
    pages = make_pages(count, items, arguments.seed)
    numbers = [page.numbers for page in pages]
    trees = make_lambdamart(pages, arguments.threads, arguments.seed)
    score = partial(head_scores, pages=pages, batch_size=arguments.batch_size)
    runs: dict[str, Callable[[], object]] = {
        f"page head, {n} member{'s' * (n > 1)}": partial(score, make_heads(n)) for n in MEMBERS
    }
    default = list(runs)[-1]
    runs["distilled small head"] = partial(score, make_heads(1, DistillConfig()))
    for n in MEMBERS:
        ranker = make_context_aware(n)
        runs[f"context-aware (numbers only), {n} member{'s' * (n > 1)}"] = partial(
            ranker.predict, numbers, batch_size=arguments.batch_size
        )
    runs["LambdaMART"] = partial(trees.predict, numbers)
    before = os.getloadavg()[0]
    seconds = timed(runs, arguments.repeats)
    rates = {name: count / statistics.median(taken) for name, taken in seconds.items()}
    return {
        "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "pages": count,
        "items": items,
        "batch_size": arguments.batch_size,
        "pages_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "fastest_s": {name: round(min(taken), 6) for name, taken in seconds.items()},
        "slowest_s": {name: round(max(taken), 6) for name, taken in seconds.items()},
        "ratio_to_lambdamart": {name: round(rate / rates["LambdaMART"], 3) for name, rate in rates.items()},
        "default": default,
        "target_pages_per_s": TARGET_PAGES_PER_S if items <= TARGET_ITEMS else None,
        "reaches_target": rates[default] >= TARGET_PAGES_PER_S if items <= TARGET_ITEMS else None,
    }


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Page head: pages a second",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        "- context-aware: self-attention over the numeric columns alone, as allRank trains it",
    ]
    for size in found["sizes"]:
        load = size["load_average"]
        lines += [
            "",
            f"## {size['items']} results a page",
            "",
            f"{size['pages']} pages, batches of {size['batch_size']}; load average {load['before']} before, "
            f"{load['after']} after.",
            "",
            "| ranker | pages/s (median) | fastest run, s | slowest run, s | ratio to LambdaMART |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, rate in size["pages_per_s"].items():
            times = f"{size['fastest_s'][name]:.3f} | {size['slowest_s'][name]:.3f}"
            lines.append(f"| {name} | {rate:,.0f} | {times} | {size['ratio_to_lambdamart'][name]:.2f} |")
        if size["target_pages_per_s"]:
            word = "reached" if size["reaches_target"] else "missed"
            lines += [
                "",
                f"Target for the default ({size['default']}): {size['target_pages_per_s']:,} pages/s, {word}.",
            ]
    return "\n".join(lines) + "\n"


def whole(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from 1 up")
    return int(text)


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Pages a second of the page head, beside other rankers.")
    parser.add_argument("--pages", type=whole, default=4000, help="of the smallest size; of larger ones fewer")
    parser.add_argument("--items", type=whole, nargs="+", default=[20, 200], help="results a page")
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--batch-size", type=whole, default=PAGES_PER_PASS)
    parser.add_argument("--repeats", type=whole, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    arguments = parser.parse_args()
    found = {"command": command(), "commit": commit(), "machine": machine(arguments.threads)}
    found |= {"sizes": [measure(arguments, items) for items in arguments.items]}
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    if arguments.out:
        arguments.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
