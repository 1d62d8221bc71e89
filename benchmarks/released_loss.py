"""What the defects of the code released with SMAR cost: its loss and its head, re-created beside ours.

    python benchmarks/released_loss.py --root DATA_FOLDER --out benchmarks/released_loss.md
    python benchmarks/released_loss.py --collections synthetic --queries 60 --epochs 2 --seeds 1

Two defects, alone and together: scores pass through tanh before ListMLE, so that even the right order costs something
and gradients die where |score| is large; and the head's attention has a single key, so that results never look at each
other. Everything else is ours: features, single-modal rankers, labels bought, training loop, and ranking by the score
before tanh (tanh would only add ties). Without a data folder collections that need one are skipped, and said so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from conditions import command, commit, machine
from wholepage.annotation.oracles import PerfectAnnotator, ask
from wholepage.annotation.selection import parse_strategy, select
from wholepage.apps.experiments import Judged, judged, picture_encoder, side_by_side
from wholepage.apps.places import open_collection
from wholepage.apps.resolve import result_vectors
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.significance import compare_to
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.batches import PageBatch, lessons, supervise
from wholepage.training.heads import Score, fit_heads
from wholepage.training.losses import list_mle
from wholepage.training.single_modal import TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer
from wholepage.training.workers import Workers

MEASURE, ACROSS = "nDCG@10", "PairAccuracy(cross)"
OURS = "our loss, our head"


def released_list_mle(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """ListMLE of scores squeezed into (-1, 1) first.

    No gap is wider than 2, so an item is never more than e**2 times as likely as another: a page in the right order
    cannot cost 0. Shapes and promises are those of ``list_mle``.
    """
    return list_mle(torch.tanh(scores), targets, mask)


def tanh_scores(module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
    """The head's scores squeezed by tanh, for page labels and alignment alike (a ``Score`` of ``fit_heads``)."""
    items = batch.items
    return torch.tanh(module(items.query, items.item, items.numbers, items.mask, items.user))


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        score: what the losses see; None = the head's scores.
        layers: of self-attention; None = the usual number, 0 = no result sees another.
    """

    name: str
    score: Score | None
    layers: int | None


ARMS = (
    Arm(OURS, None, None),
    Arm("our loss, head without interaction", None, 0),
    Arm("tanh loss, our head", tanh_scores, None),
    Arm("tanh loss, head without interaction (as released)", tanh_scores, 0),
)


def measure(
    taught: Judged,
    measured: Judged,
    vectors: ResultVectors,
    shares: Sequence[float],
    seeds: int,
    *,
    towers: TowerConfig,
    smar: SmarConfig,
    strategy: str = "concentrated",
    workers: Workers | None = None,
) -> list[dict[str, Any]]:
    """A row an arm and share: means over queries and seeds, and the paired difference from ours."""
    found: dict[tuple[float, str], list[tuple[dict[str, float], float, int]]] = {}
    for seed in range(seeds):
        loop = msgspec.structs.replace(towers.loop, seed=seed)
        single = msgspec.structs.replace(towers, loop=loop)
        fit = fit_single_modal(taught.pages, taught.judgments, vectors, single, workers=workers)
        config = msgspec.structs.replace(smar, loop=msgspec.structs.replace(smar.loop, seed=seed))
        featurizer = fit_featurizer(taught.pages, fit, vectors, config)
        items, new = featurizer.read(taught.pages, fit.out_of_fold), list(measured.pages)
        for share in shares:
            chosen = select(taught.pages, fit.teachers, parse_strategy(f"{strategy}(p={share!r})"), seed=seed)
            bought = ask(taught.pages, chosen, PerfectAnnotator(taught.judgments))
            ready = lessons(items, supervise(taught.pages, bought, fit.teachers))
            for arm in ARMS:
                own = config if arm.layers is None else msgspec.structs.replace(config, layers=arm.layers)
                heads: Any = fit_heads(ready, own, score=arm.score, workers=workers, name=arm.name)
                rankings = WholePageRanker(featurizer, heads, name=arm.name).rank(new)
                values = evaluate(rankings, measured.judgments, [MEASURE]).of(MEASURE)
                across = evaluate_pages(rankings, new, measured.judgments).mean(ACROSS)
                found.setdefault((share, arm.name), []).append((dict(values), across, len(bought)))
                print(f"seed {seed}, {share:g}: {arm.name}: {np.mean(list(values.values())):.4f}", file=sys.stderr)
    return [row for share in shares for row in _rows(share, {arm.name: found[share, arm.name] for arm in ARMS})]


def _rows(share: float, arms: dict[str, list[tuple[dict[str, float], float, int]]]) -> list[dict[str, Any]]:
    each = {
        name: {query: float(np.mean([values[query] for values, _, _ in runs])) for query in runs[0][0]}
        for name, runs in arms.items()
    }
    others = {name: values for name, values in each.items() if name != OURS}
    tests = {test.name: test for test in compare_to(each[OURS], others, seed=0)}
    rows = []
    for name, runs in arms.items():
        of_seeds = [float(np.mean(list(values.values()))) for values, _, _ in runs]
        test = tests.get(name)
        rows.append(
            {
                "share": share,
                "arm": name,
                "labels": round(float(np.mean([labels for *_, labels in runs]))),
                "ndcg": float(np.mean(of_seeds)),
                "least": min(of_seeds),
                "most": max(of_seeds),
                "cross": float(np.mean([across for _, across, _ in runs])),
                "difference": None if test is None else test.difference,
                "low": None if test is None else test.low,
                "high": None if test is None else test.high,
                "p_holm": None if test is None else test.p_holm,
            }
        )
    return rows


def table(collection: str, rows: Sequence[dict[str, Any]], seeds: int, wall_s: float) -> str:
    """One collection's results as Markdown."""
    lines = [
        f"## {collection}",
        "",
        f"{seeds} seeds, {wall_s:.0f} s. Difference: paired over queries (means of the seeds) from ours, 95 % (BCa), "
        "permutation test corrected by Holm.",
        "",
        "| labels bought | trained with | nDCG@10 | least .. most of the seeds | cross-modal pairs right | difference "
        "| p |",
        "|---|---|---:|---|---:|---|---:|",
    ]
    for row in rows:
        apart, p = "", ""
        if row["difference"] is not None:
            apart = f"{row['difference']:+.4f} ({row['low']:+.4f} .. {row['high']:+.4f})"
            p = f"{row['p_holm']:.4f}"
        lines.append(
            f"| {row['share']:.0%} ({row['labels']}) | {row['arm']} | {row['ndcg']:.4f} | "
            f"{row['least']:.4f} .. {row['most']:.4f} | {row['cross']:.4f} | {apart} | {p} |"
        )
    return "\n".join(lines) + "\n"


def heading() -> str:
    """The top of the file: what it is and what it ran on."""
    return "\n".join(
        [
            "# The released loss and head, re-created",
            "",
            f"- command: `{command()}`",
            f"- commit: {commit()}",
            f"- machine: {machine()}",
            "",
        ]
    )


def pages_of(name: str, root: Path | None, queries: int, seed: int) -> tuple[Judged, Judged]:
    """Pages to learn from and pages to measure on."""
    if name == "synthetic":
        world = open_collection("synthetic", queries=queries, seed=seed)
        train, dev = (Judged(list(world.pages(split)), world.judgments(split)) for split in ("train", "dev"))
        return train, dev
    return judged(name, "train", root=root), judged(name, "dev", root=root)


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="+", default=["synthetic", "fashion"], choices=["synthetic", "fashion"])
    parser.add_argument("--root", type=Path, default=os.environ.get("WHOLEPAGE_DATA"), help="else WHOLEPAGE_DATA")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=400, help="of synthetic pages, a quarter of them measured on")
    parser.add_argument("--epochs", type=int, help="fewer make a quick look; else as in the package")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the tables there too")
    asked = parser.parse_args()
    towers, smar = TowerConfig(), SmarConfig()
    if asked.epochs:
        brief = {"epochs": asked.epochs}
        towers = msgspec.structs.replace(
            towers,
            loop=msgspec.structs.replace(towers.loop, **brief),
            teacher_loop=msgspec.structs.replace(towers.teacher_loop, **brief),
        )
        smar = msgspec.structs.replace(smar, loop=msgspec.structs.replace(smar.loop, **brief))
    parts = [heading()]
    for name in asked.collections:
        if name != "synthetic" and (asked.root is None or not Path(asked.root).is_dir()):
            print(f"{name}: skipped: got no data folder; pass --root or set WHOLEPAGE_DATA", file=sys.stderr)
            continue
        start = time.perf_counter()
        taught, measured = pages_of(name, asked.root, asked.queries, 7)
        vectors = result_vectors(image=picture_encoder("auto", name), root=asked.root)
        vectors.encode([*taught.pages, *measured.pages])
        with side_by_side() as workers:
            rows = measure(
                taught, measured, vectors, asked.shares, asked.seeds, towers=towers, smar=smar, workers=workers
            )
        parts.append(table(name, rows, asked.seeds, time.perf_counter() - start))
        print(parts[-1])
    if asked.out and len(parts) > 1:
        asked.out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
