"""The reference of ``reference_numbers.py``: the same numbers straight from the files, with none of the package.

Nothing here imports ``wholepage``. Files are read by the standard library, measures are written out, BM25 is bm25s's
own and trees are LightGBM's own, which reads its own files.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import lightgbm
import numpy as np

READ, CLICKED, PASSED_OVER = 2, 1, 0
TREES = {
    "objective": "lambdarank",
    "num_leaves": 31,
    "learning_rate": 0.1,
    "min_data_in_leaf": 50,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbose": -1,
}
ROUNDS = 100
DEPTH = 10


def ndcg(order: Sequence[str], grades: Mapping[str, float], depth: int = DEPTH) -> float:
    """trec_eval's: the grade itself is the gain, the ideal order is that of all that was judged."""
    got = sum(max(0.0, grades.get(one, 0)) / math.log2(at + 2) for at, one in enumerate(order[:depth]))
    best = sorted((one for one in grades.values() if one > 0), reverse=True)[:depth]
    ideal = sum(grade / math.log2(at + 2) for at, grade in enumerate(best))
    return got / ideal if ideal else 0.0


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def lines(path: Path) -> Iterator[str]:
    """The lines of a packed text file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from file


# --- TREC Deep Learning -----------------------------------------------------------------------------------------------


def trec_grades(root: Path, year: str) -> dict[str, dict[str, float]]:
    """All that NIST judged in a year."""
    grades: dict[str, dict[str, float]] = defaultdict(dict)
    for line in lines(root / f"trec_dl/{year}.qrels.full.tsv.gz"):
        query, passage, grade = line.split()
        grades[query][passage] = float(grade)
    return grades


def trec_orders(path: Path) -> dict[str, list[str]]:
    """The passages of each query by the rank that the file gives; its scores are rounded, and tie."""
    ranked: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in lines(path):
        query, passage, rank, _ = line.split()
        ranked[query].append((int(rank), passage))
    return {query: [passage for _, passage in sorted(of)] for query, of in ranked.items()}


def trec_ndcg(root: Path, year: str, file: str) -> float:
    """nDCG@10 of one file's order over all judged queries."""
    grades, orders = trec_grades(root, year), trec_orders(root / "trec_dl" / file)
    return mean([ndcg(orders.get(query, []), of) for query, of in grades.items()])


def trec_texts(root: Path, year: str) -> tuple[dict[str, str], dict[str, str]]:
    """Questions and passages by id."""
    queries = dict(line.rstrip("\r\n").split("\t") for line in lines(root / f"trec_dl/{year}.queries.tsv.gz"))
    records = (json.loads(line) for line in lines(root / f"trec_dl/{year}.passages.jsonl.gz"))
    return queries, {one["id"]: one["text"] for one in records}


def trec_reranked(root: Path, year: str, score: Any, only: Sequence[str] | None = None) -> float:
    """nDCG@10 of BM25's lists put in order by ``score(question, passages)``; of all judged queries, or some."""
    grades, orders = trec_grades(root, year), trec_orders(root / f"trec_dl/{year}.BM25.run.tsv.gz")
    queries, passages = trec_texts(root, year)
    found = []
    for query, of in grades.items():
        if only is not None and query not in only:
            continue
        ids = orders.get(query, [])
        found.append(ndcg(by_score(ids, score(queries[query], [passages[one] for one in ids])), of))
    return mean(found)


def by_score(ids: Sequence[str], scores: Sequence[float]) -> list[str]:
    """Ids, the highest score first, equal ones as they came."""
    return [ids[at] for at in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")]


def bm25_scores(query: str, texts: Sequence[str]) -> np.ndarray:
    """bm25s's own scores of texts for a query, the texts themselves being all there are; without text, the last."""
    rows = [at for at, text in enumerate(texts) if text.strip()]
    scores = np.full(len(texts), -1.0)
    words = bm25s.tokenize([query, *(texts[at] for at in rows)], stopwords="en", return_ids=False, show_progress=False)
    scores[rows] = 0.0
    if rows and set(words[0]) & {word for text in words[1:] for word in text}:
        index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        index.index(words[1:], show_progress=False)
        scores[rows] = index.get_scores(words[0])
    return scores


# --- MMDocIR ----------------------------------------------------------------------------------------------------------


def mmdocir(root: Path, depths: Sequence[int]) -> dict[str, float]:
    """BM25 on the words of each page: nDCG@10 of all elements, and the recall of evidence sheets among the sheets."""
    measured: dict[str, list[float]] = defaultdict(list)
    for line in lines(root / "pages/mmdocir_pages.jsonl.gz"):
        asked = json.loads(line)
        items = [
            (one["id"], (one.get("text") or one.get("ocr") or ""), one["grade"], one["modality"])
            for one in asked["items"]
            if one["modality"] != "text" or one["text"].strip()
        ]
        grades = {ident: float(grade) for ident, _, grade, _ in items}
        order = by_score([one[0] for one in items], bm25_scores(asked["query"], [one[1] for one in items]))
        measured["nDCG@10"].append(ndcg(order, grades))
        sheets = [one for one in items if one[3] == "page"]
        evidence = {ident for ident, _, grade, _ in sheets if grade >= 2}
        if not evidence:
            continue
        order = by_score([one[0] for one in sheets], bm25_scores(asked["query"], [one[1] for one in sheets]))
        for depth in depths:
            measured[f"R(rel=2)@{depth}"].append(len(evidence & set(order[:depth])) / len(evidence))
    return {"queries": float(len(measured["nDCG@10"])), **{name: mean(of) for name, of in measured.items()}}


# --- Qilin ------------------------------------------------------------------------------------------------------------

_RECORD = re.compile(r"\{[^{}]*\}")
_CELL = re.compile(r"'(note_idx|position|click|page_time)': ([-+.\w]+)")


def qilin(root: Path, table: str, column: str, ident: str) -> dict[str, Any]:
    """What one table holds: requests, notes shown, notes clicked, and the order of each simulated page."""
    csv.field_size_limit(1 << 30)
    shown, clicks, pages = 0, 0, {}
    rows = csv.DictReader(lines(root / f"qilin_toy/{table}.csv.gz"))
    requests = 0
    for row in rows:
        requests += 1
        notes: dict[int, list[float]] = {}  # position, clicked, dwell
        for record in _RECORD.findall(row[column]):
            cells = {name: float(value) for name, value in _CELL.findall(record)}
            known = notes.setdefault(int(cells["note_idx"]), [cells["position"], 0.0, 0.0])
            known[0] = min(known[0], cells["position"])
            if cells["click"] > 0:
                dwell = cells["page_time"] if cells["page_time"] > 0 else 0.0
                known[1:] = [1.0, max(known[2], dwell)]
        shown += len(notes)
        clicked = [note for note, (_, click, _) in notes.items() if click]
        clicks += len(clicked)
        if len(clicked) >= 5:
            pages[str(int(float(row[ident])))] = _simulated(notes)
    return {"requests": requests, "shown": shown, "clicks": clicks, "pages": pages}


def _simulated(notes: Mapping[int, Sequence[float]]) -> list[str]:
    """Clicked by dwell, clicked without, not clicked; at most 20, 5 and 10; equal ones in the order shown."""
    read = sorted((note for note in notes if notes[note][2] > 0), key=lambda note: (-notes[note][2], notes[note][0]))
    rest = sorted((note for note in notes if notes[note][2] <= 0), key=lambda note: notes[note][0])
    unread = [note for note in rest if notes[note][1]]
    passed_over = [note for note in rest if not notes[note][1]]
    return [str(note) for note in (*read[:20], *unread[:5], *passed_over[:10])]


# --- LightGBM's example -----------------------------------------------------------------------------------------------


def lightgbm_itself(root: Path, scratch: Path) -> tuple[np.ndarray, float]:
    """LightGBM trained on its example as it reads the files itself: predictions of the test lines, and nDCG@10."""
    for part in ("rank.train", "rank.train.query", "rank.test", "rank.test.query"):
        with gzip.open(root / f"ltr_lightgbm/{part}.gz", "rb") as packed, open(scratch / part, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    booster = lightgbm.train(TREES, lightgbm.Dataset(str(scratch / "rank.train"), params=TREES), ROUNDS)
    predicted = np.asarray(booster.predict(str(scratch / "rank.test")))
    labels = [float(line.split(None, 1)[0]) for line in (scratch / "rank.test").read_text().splitlines()]
    sizes = [int(line) for line in (scratch / "rank.test.query").read_text().split()]
    found, begins = [], 0
    for size in sizes:
        ids = [str(at) for at in range(begins, begins + size)]
        grades = {one: labels[int(one)] for one in ids}
        found.append(ndcg(by_score(ids, predicted[begins : begins + size]), grades))
        begins += size
    return predicted, mean(found)


# --- INQUIRE ----------------------------------------------------------------------------------------------------------


def inquire_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """AP and nDCG@10 of CLIP's own order of rows in INQUIRE-Rerank's columns."""
    queries: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        queries[row["query"]].append(row)
    precisions, gains = [], []
    for of in queries.values():
        ordered = sorted(of, key=lambda row: -row["clip_score"])
        hits = [at for at, row in enumerate(ordered, start=1) if row["relevant"]]
        precisions.append(mean([(n + 1) / at for n, at in enumerate(hits)]) if hits else 0.0)
        grades = {str(row["inat24_image_id"]): float(row["relevant"]) for row in of}
        gains.append(ndcg([str(row["inat24_image_id"]) for row in ordered], grades))
    return {"AP": mean(precisions), "nDCG@10": mean(gains)}
