"""A small text student taught by saved runs of language models, measured on the other year of TREC Deep Learning.

    python benchmarks/trec_dl_student.py --root DATA --json

Of one year, each query's BM25 list was put in order by gpt-3.5-turbo (five runs) and RankVicuna; the consensus of these
orders is all that the student is taught. The student is MiniLM, frozen, with one matrix behind it that begins as the
identity. It is then asked about the BM25 lists of the other year and measured with all of NIST's judgments, which no
training saw; both ways round. MiniLM itself was trained on MS MARCO's questions among others: most of what the student
can it could before, and what it does untaught stands beside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from conditions import command, commit, machine
from wholepage.collections.trec_dl import TrecDl
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.significance import permutation_test
from wholepage.pages import Judgments, Page, Ranking
from wholepage.pages.protocols import by_score
from wholepage.rankers.encoders import CachedTextEncoder, TextEncoder, VectorCache
from wholepage.rankers.text import BiEncoderScorer, SentenceEncoder
from wholepage.training.encoder_student import EncoderStudentConfig, distil_encoder
from wholepage.training.list_teachers import SavedRun, consensus, teach
from wholepage.training.taught import TaughtList

MEASURE = "nDCG@10"
TEACHERS = ("gpt-3.5-turbo", "output_v2_aug_vicuna_7b")


def teachers(collection: TrecDl, year: str) -> list[str]:
    """Saved runs on a year's BM25 lists that teach."""
    return [
        name
        for name in collection.teacher_runs()
        if name.startswith(f"{year}.BM25.") and any(one in name for one in TEACHERS)
    ]


def taught(collection: TrecDl, year: str) -> list[TaughtList]:
    """The consensus of the saved runs on each list of a year."""
    pages, by_query = list(collection.pages(year)), dict[str, list[TaughtList]]()
    for name in teachers(collection, year):
        for one in teach(SavedRun(collection.teacher(name), name), pages, kept=None).lists:
            by_query.setdefault(one.page.query_id, []).append(one)
    return [consensus(lists, by="reciprocal") for lists in by_query.values()]


def values(rankings: Sequence[Ranking], judged: Judgments, pages: Sequence[Page]) -> np.ndarray:
    """The measure of each judged query."""
    found = evaluate(rankings, judged, [MEASURE]).of(MEASURE)
    return np.array([found[page.query_id] for page in pages if page.query_id in found])


def direction(collection: TrecDl, encoder: TextEncoder, learn: str, test: str, seeds: int) -> dict[str, object]:
    """One year teaches, the other measures."""
    pages, judged = list(collection.pages(test)), collection.judgments(test)
    as_received = [Ranking(page.query_id, page.result_ids, by="BM25") for page in pages]
    bm25 = values(as_received, judged, pages)
    untaught = values(by_score(BiEncoderScorer(encoder)).rank(pages), judged, pages)
    lists = taught(collection, learn)
    students = []
    for seed in range(seeds):
        config = EncoderStudentConfig()
        config = msgspec.structs.replace(config, loop=msgspec.structs.replace(config.loop, seed=seed))
        student = distil_encoder(lists, encoder, config)
        students.append(values(by_score(BiEncoderScorer(student)).rank(pages), judged, pages))
        print(f"{learn} -> {test}, seed {seed}: {students[-1].mean():.4f}", file=sys.stderr, flush=True)
    mean = np.mean(students, axis=0)
    whole = {page.query_id: page for page in pages}
    saved = {}
    for name in teachers(collection, test):
        run = collection.teacher(name)
        saved[name] = round(float(values([run[q] for q in whole if q in run], judged, pages).mean()), 4)
    return {
        "learned": learn, "measured": test, "queries": len(bm25), "bm25": round(float(bm25.mean()), 4),
        "student": round(float(mean.mean()), 4), "by_seed": [round(float(one.mean()), 4) for one in students],
        "p_student_bm25": round(permutation_test(mean, bm25, seed=0), 4),
        "minilm_untaught": round(float(untaught.mean()), 4),
        "p_student_untaught": round(permutation_test(mean, untaught, seed=0), 4), "saved_runs": saved,
    }  # fmt: skip


def main() -> None:
    """Both directions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, help="a file where vectors are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    collection = TrecDl(given.root)
    encoder = CachedTextEncoder(SentenceEncoder("minilm"), VectorCache(given.vectors))
    rows = [direction(collection, encoder, *years, given.seeds) for years in (("dl19", "dl20"), ("dl20", "dl19"))]
    told = {"command": command(), "commit": commit(), "machine": machine(1), "measure": MEASURE, "directions": rows}
    print(json.dumps(told, indent=1) if given.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
