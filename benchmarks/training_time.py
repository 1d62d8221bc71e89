"""How long SMAR trains, beside LightGBM's LambdaMART on the same numeric columns.

    python benchmarks/training_time.py --pages 10000 --items 20 --threads 2 --out benchmarks/training_time.md
    python benchmarks/training_time.py --pages 100 --held 50 --epochs 2

Pages are generated as training sees them: frozen vectors, numeric columns, grades 0 to 3 that hang on both, and one
single-modal ranker a modality whose scores are the truth with noise. SMAR sees the grades of a share of the pages, and
the single-modal order of all; LambdaMART and the context-aware ranker (self-attention over the numeric columns, as in
allRank) see the same grades, and LambdaMART in another row all of them. Every ranker gets as many cores: networks train
side by side, one on each core, LambdaMART uses threads. Timed is training alone, without encoders, the reading of
pages, and the start of libraries and processes: each is called once on a few pages before.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from conditions import command, commit, machine
from wholepage.pages.model import Modality
from wholepage.rankers.features import PageItems, number_names
from wholepage.rankers.lambdamart import LambdaMart
from wholepage.rankers.page_head import head_scores
from wholepage.training.batches import Lesson
from wholepage.training.context_aware import ContextAwareConfig, fit_context_aware
from wholepage.training.heads import fit_heads
from wholepage.training.smar import SmarConfig
from wholepage.training.workers import Workers

QUERY_DIM, ITEM_DIM = 384, SmarConfig().keep
NUMBER_DIM = len(number_names(tuple(Modality), ("clicks", "price")))
WARM_PAGES = 20
TREES_ALL, TREES = "LambdaMART, all labels", "LambdaMART, the same labels"

Arrays = list[NDArray[np.float32]]
Train = Callable[[], Callable[[], Arrays]]
"""Trains, and returns what scores the held-out pages."""


def make_lessons(count: int, items: int, seed: int) -> list[Lesson]:
    """Pages with all their grades: a result's worth hangs on its numbers, and on its vector beside the query's."""
    rules = np.random.default_rng(0)  # the same world for training and held-out pages
    of_numbers = rules.standard_normal(NUMBER_DIM).astype(np.float32) / np.float32(NUMBER_DIM**0.5)
    to_item = rules.standard_normal((QUERY_DIM, ITEM_DIM)).astype(np.float32) / np.float32(ITEM_DIM**0.5)
    random = np.random.default_rng([seed, 1])

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32)

    made = []
    for _ in range(count):
        query = normal(QUERY_DIM) / np.float32(QUERY_DIM**0.5)
        item, numbers = normal(items, ITEM_DIM), normal(items, NUMBER_DIM)
        worth = numbers @ of_numbers + item @ (query @ to_item) + 0.3 * normal(items)
        grades = np.digitize(worth, [0.3, 1.3, 2.3]).astype(np.float32)
        group = random.integers(0, len(Modality), items)
        made.append(Lesson(PageItems(query, item, numbers, group), grades, worth + 0.3 * normal(items)))
    return made


def bought(taught: Sequence[Lesson], share: float, seed: int) -> list[Lesson]:
    """The same pages with the grades of a random share of them, whole pages; NaN elsewhere."""
    kept = np.random.default_rng([seed, 2]).permutation(len(taught)) < max(1, round(share * len(taught)))
    return [
        lesson if keep else Lesson(lesson.items, np.full_like(lesson.grades, np.nan), lesson.teacher)
        for lesson, keep in zip(taught, kept, strict=True)
    ]


def ndcg(scores: Sequence[NDArray[np.float32]], held: Sequence[Lesson], depth: int = 10) -> float:
    """Mean nDCG@10 with gains 2^grade - 1, over the pages that have a gain."""
    values = []
    for given, lesson in zip(scores, held, strict=True):
        gains = np.exp2(lesson.grades) - 1
        discount = 1 / np.log2(np.arange(min(depth, len(gains))) + 2)
        best = np.sort(gains)[::-1][:depth] @ discount
        if best > 0:
            values.append(float(gains[np.argsort(-given, kind="stable")][:depth] @ discount / best))
    return float(np.mean(values))


def measure(asked: argparse.Namespace, workers: Workers) -> list[dict[str, Any]]:
    """A row a ranker: seconds of its training, and its nDCG@10 on pages that nobody trained on."""
    taught, held = (make_lessons(count, asked.items, seed) for count, seed in ((asked.pages, 1), (asked.held, 2)))
    some = bought(taught, asked.share, 3)
    numbers, new = [lesson.items.numbers for lesson in taught], [lesson.items for lesson in held]
    new_numbers = [page.numbers for page in new]
    smar, context = SmarConfig(), ContextAwareConfig()
    if asked.epochs:
        smar, context = (
            msgspec.structs.replace(one, loop=msgspec.structs.replace(one.loop, epochs=asked.epochs))
            for one in (smar, context)
        )

    def heads(members: int) -> Callable[[], Arrays]:
        trained: Any = fit_heads(some, msgspec.structs.replace(smar, members=members), workers=workers)
        return lambda: head_scores(trained, new)

    def trees(lessons: Sequence[Lesson]) -> Callable[[], Arrays]:
        fitted = LambdaMart(num_threads=asked.threads).fit(numbers, [one.grades for one in lessons], seed=0)
        return lambda: fitted.predict(new_numbers)

    def attention() -> Callable[[], Arrays]:
        fitted = fit_context_aware(numbers, [one.grades for one in some], context, seed=0, workers=workers)
        return lambda: fitted.predict(new_numbers)

    runs: dict[str, Train] = {
        TREES_ALL: lambda: trees(taught),
        TREES: lambda: trees(some),
        f"context-aware, {context.members} members, the same labels": attention,
        "SMAR, 1 member": lambda: heads(1),
        f"SMAR, {smar.members} members": lambda: heads(smar.members),
    }
    few = taught[:WARM_PAGES]
    once = msgspec.structs.replace(smar.loop, epochs=1)
    for members in (1, max(2, asked.threads)):  # one alone is trained in this process
        fit_heads(few, msgspec.structs.replace(smar, members=members, loop=once), workers=workers)
    LambdaMart(num_threads=asked.threads).fit(numbers[: len(few)], [one.grades for one in few], seed=0)
    rows: list[dict[str, Any]] = []
    for name, train in runs.items():
        before, start = os.getloadavg()[0], time.perf_counter()
        score = train()
        row = {"ranker": name, "seconds": time.perf_counter() - start, "load_before": before}
        rows.append(row | {"ndcg": ndcg(score(), held)})
    of = {row["ranker"]: row["seconds"] for row in rows}
    return [
        row | {"ratio_all": row["seconds"] / of[TREES_ALL], "ratio_same": row["seconds"] / of[TREES]} for row in rows
    ]


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Training time",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        f"- {found['pages']} pages of {found['items']} results; grades of {found['share']:.0%} of the pages bought; "
        f"nDCG@10 on {found['held']} other pages",
        "",
        "| ranker | seconds | times LambdaMART, all labels | times LambdaMART, same labels | nDCG@10 | load before |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['ranker']} | {row['seconds']:.1f} | {row['ratio_all']:.1f} | {row['ratio_same']:.1f} | "
            f"{row['ndcg']:.4f} | {row['load_before']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=20, help="results a page")
    parser.add_argument("--held", type=int, default=500, help="pages to measure nDCG on")
    parser.add_argument("--share", type=float, default=0.1, help="of the pages whose grades are bought")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--epochs", type=int, help="fewer make a quick look; else as in the package")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with Workers(asked.threads) as workers:
        rows = measure(asked, workers)
    found = {"command": command(), "commit": commit(), "machine": machine(asked.threads), "rows": rows}
    found |= {name: getattr(asked, name) for name in ("pages", "items", "held", "share")}
    print(json.dumps(found, indent=1) if asked.json else table(found))
    if asked.out:
        asked.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
