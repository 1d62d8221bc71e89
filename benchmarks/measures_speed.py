"""How fast measures of lists are computed from arrays, beside pytrec_eval and ir_measures, in one run.

    python benchmarks/measures_speed.py --queries 100000 --results 100

All three get the same dictionaries of scores and grades and compute the same measures for each query. ``whole`` is from
these dictionaries to the values; ``core`` leaves out what can be prepared once: for us the arrays, for the others the
evaluator that holds the qrels (they read the run from dictionaries each time). ``nouns`` is from Ranking and Judgments,
against the bridge to ir_measures of this package, on a tenth of the queries. They take turns on one thread each, and
counted are seconds of the processor, which leave out the time that other programs take. Scores are in random order
within a query, and about a sixth of them are tied.
Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytrec_eval

from conditions import command, commit, machine
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page import items
from wholepage.evaluation.page.arrays import GradedPages, from_rankings, from_runs
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Ranking

Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]
MEASURES: dict[str, tuple[str, Callable[[GradedPages], Any]]] = {
    "nDCG@10": ("ndcg_cut_10", lambda pages: items.ndcg(pages, k=10)),
    "nDCG": ("ndcg", items.ndcg),
    "P@10": ("P_10", lambda pages: items.precision(pages, k=10)),
    "R@100": ("recall_100", lambda pages: items.recall(pages, k=100)),
    "RR": ("recip_rank", items.reciprocal_rank),
    "AP": ("map", items.average_precision),
}
PARSED = [ir_measures.parse_measure(name) for name in MEASURES]
NAMES_OF_TREC = {trec for trec, _ in MEASURES.values()}
NOUNS_SHARE = 10


def make(queries: int, results: int, judged: int, seed: int) -> tuple[Run, Qrels]:
    """A run and its qrels; three in four of the judged results are ranked."""
    random = np.random.default_rng(seed)
    names = [f"doc-{number}" for number in range(4 * (results + judged))]
    levels = [float(level) for level in range(1, 5 * results)]  # shared objects: half the memory
    run: Run = {}
    qrels: Qrels = {}
    for number in range(queries):
        order = random.permutation(len(names))[: results + judged].tolist()
        scores = random.choice(len(levels), results, replace=True).tolist()
        ranked = [names[i] for i in order[:results]]
        run[f"q{number}"] = {name: levels[score] for name, score in zip(ranked, scores, strict=True)}
        there = min(results, judged * 3 // 4)
        known = ranked[:there] + [names[i] for i in order[results : results + judged - there]]
        qrels[f"q{number}"] = dict(zip(known, random.integers(0, 4, len(known)).tolist(), strict=True))
    return run, qrels


def ours(pages: GradedPages) -> dict[str, list[float]]:
    """Every measure for each query, as Python numbers."""
    return {name: compute(pages).tolist() for name, (_, compute) in MEASURES.items()}


def difference(run: Run, qrels: Qrels) -> float:
    """The largest difference between our value and pytrec_eval's, over queries and measures."""
    mine = ours(from_runs(run, qrels))
    theirs = pytrec_eval.RelevanceEvaluator(qrels, NAMES_OF_TREC).evaluate(run)
    return max(
        abs(value - theirs[query][trec])
        for name, (trec, _) in MEASURES.items()
        for query, value in zip(qrels, mine[name], strict=True)
    )


def contests(run: Run, qrels: Qrels) -> dict[str, dict[str, Callable[[], object]]]:
    """What is timed: by kind of contest, what each contender does."""
    few = list(qrels)[: max(1, len(qrels) // NOUNS_SHARE)]
    rankings = [Ranking(q, tuple(sorted(run[q], key=lambda name: -run[q][name]))) for q in few]
    judgments = Judgments.from_mapping({q: qrels[q] for q in few})
    arrays = from_runs(run, qrels)
    prepared = pytrec_eval.RelevanceEvaluator(qrels, NAMES_OF_TREC)
    evaluator = ir_measures.evaluator(PARSED, qrels)
    return {
        "whole": {
            "wholepage": lambda: ours(from_runs(run, qrels)),
            "pytrec_eval": lambda: pytrec_eval.RelevanceEvaluator(qrels, NAMES_OF_TREC).evaluate(run),
            "ir_measures": lambda: list(ir_measures.iter_calc(PARSED, qrels, run)),
        },
        "core": {
            "wholepage": lambda: ours(arrays),
            "pytrec_eval": lambda: prepared.evaluate(run),
            "ir_measures": lambda: list(evaluator.iter_calc(run)),
        },
        "nouns": {
            "wholepage": lambda: ours(from_rankings(rankings, judgments)),
            "ir_measures": lambda: evaluate(rankings, judgments, PARSED),
        },
    }


def timed(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each, ``repeats`` times, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, act in runs.items():
            started = time.process_time()
            act()
            seconds[name].append(time.process_time() - started)
    return seconds


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurement as JSON values."""
    run, qrels = make(arguments.queries, arguments.results, arguments.judged, arguments.seed)
    before = os.getloadavg()[0]
    seconds = {kind: timed(runs, arguments.repeats) for kind, runs in contests(run, qrels).items()}
    middle = {kind: {name: statistics.median(s) for name, s in of.items()} for kind, of in seconds.items()}
    speed = {
        kind: {name: round(s / of["wholepage"], 2) for name, s in of.items() if name != "wholepage"}
        for kind, of in middle.items()
    }
    return {
        "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "queries": arguments.queries,
        "results": arguments.results,
        "judged": arguments.judged,
        "repeats": arguments.repeats,
        "measures": list(MEASURES),
        "largest_difference": difference(run, qrels),
        "seconds": {
            kind: {name: [round(s, 4) for s in all_] for name, all_ in of.items()} for kind, of in seconds.items()
        },
        "speed": speed,
        "speed_vs_ir_measures": speed["whole"]["ir_measures"],
        "speed_vs_pytrec_eval": speed["whole"]["pytrec_eval"],
        "reaches_target": min(speed["whole"].values()) >= 1,
    }


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    load = found["load_average"]
    lines = [
        "# Measures of lists: speed",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}; load average {load['before']} before, {load['after']} after",
        f"- {found['queries']:,} queries of {found['results']} results, {found['judged']} judged a query; "
        f"{', '.join(found['measures'])}; {found['repeats']} turns",
        f"- largest difference from pytrec_eval in any query: {found['largest_difference']:.1e}",
        "- processor seconds of one thread; whole: from dictionaries to values; core: without what can be prepared "
        "once (our arrays; their evaluator of qrels); nouns: from Ranking and Judgments, on a tenth of the queries",
        "",
        "| contest | contender | median, s | fastest, s | slowest, s | we are faster by |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind, of in found["seconds"].items():
        for name, seconds in of.items():
            ratio = f"{found['speed'][kind][name]:.2f}" if name in found["speed"][kind] else ""
            times = " | ".join(f"{s:.3f}" for s in (statistics.median(seconds), min(seconds), max(seconds)))
            lines.append(f"| {kind} | {name} | {times} | {ratio} |")
    word = "reached" if found["reaches_target"] else "missed"
    lines += ["", f"Target: at least as fast as both from dictionaries to values; {word}."]
    lines += [
        "",
        f"speed_vs_ir_measures {found['speed_vs_ir_measures']}, speed_vs_pytrec_eval {found['speed_vs_pytrec_eval']}.",
    ]
    return "\n".join(lines) + "\n"


def whole(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from 1 up")
    return int(text)


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Speed of measures beside pytrec_eval and ir_measures.")
    parser.add_argument("--queries", type=whole, default=100_000)
    parser.add_argument("--results", type=whole, default=100, help="a query")
    parser.add_argument("--judged", type=whole, default=40, help="a query")
    parser.add_argument("--repeats", type=whole, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    arguments = parser.parse_args()
    found = {"command": command(), "commit": commit(), "machine": machine(), **measure(arguments)}
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    if arguments.out:
        arguments.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
