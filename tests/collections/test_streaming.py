"""Memory does not grow with the number of pages: every loader that streams, on two sizes in its true format."""

from __future__ import annotations

import csv
import gc
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from wholepage.collections.baidu_ultr import BaiduUltr
from wholepage.collections.beir_folder import BeirFolder
from wholepage.collections.crossrank import NUMBERS, CrossRank
from wholepage.collections.inquire import InquireRerank
from wholepage.collections.libsvm import LibSvm
from wholepage.collections.mixbench import MixBench
from wholepage.collections.qilin import Qilin
from wholepage.collections.qilin_rows import STATISTICS
from wholepage.collections.vidore import Vidore
from wholepage.pages import Page

FEW, TIMES, EACH = 40, 8, 5
WORDS = "a line of some length that stands for a document " * 60  # 3 kB
GROUP = 32
IDS = FEW * (TIMES - 1) * EACH * 600
"""Ids and judgments may be held: some hundred bytes a result, where a result is thousands."""


def tables(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=GROUP)


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def picture(number: int) -> dict[str, Any]:
    """Some kilobytes that begin as a PNG does; nothing opens them."""
    return {"bytes": b"\x89PNG" + np.random.default_rng(number).bytes(6000), "path": f"{number}.png"}


def qilin_rows(pages: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    seen = {"click": 1.0, "page_time": 2.5}
    asked = [
        {
            "query": f"query {n}", "search_idx": n, "user_idx": 0,
            "search_result_details_with_idx": [
                {**seen, "note_idx": n * EACH + k, "position": float(k)} for k in range(EACH)
            ],
        }
        for n in range(pages)
    ]  # fmt: skip
    numbers = dict.fromkeys(STATISTICS, 1.0)
    notes = [
        {
            "note_idx": n,
            "note_title": f"note {n}",
            "note_content": WORDS,
            "note_type": 1,
            "image_path": ["a"],
            **numbers,
        }
        for n in range(pages * EACH)
    ]
    return asked, notes


def qilin_parquet(root: Path, pages: int) -> Iterator[Page]:
    asked, notes = qilin_rows(pages)
    tables(root / "search_train/train-0.parquet", asked)
    tables(root / "notes/train-0.parquet", notes)
    return Qilin(root).pages("search_train")


def qilin_csv(root: Path, pages: int) -> Iterator[Page]:
    root.mkdir()
    for name, rows in zip(("search_train", "notes"), qilin_rows(pages), strict=True):
        with gzip.open(root / f"{name}.csv.gz", "wt", encoding="utf-8", newline="", compresslevel=1) as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    return Qilin(root).pages("search_train")


def crossrank(root: Path, pages: int) -> Iterator[Page]:
    entry = {"upstream_label": 0.5, "label": 1}
    lists = [
        {
            "query": f"query {n}", "search_idx": n,
            "search_result_details_with_idx": [
                {**entry, "candidate_idx": n * EACH + k, "position": k} for k in range(EACH)
            ],
        }
        for n in range(pages)
    ]  # fmt: skip
    words = {"query_intent": None, "real_title": "title", "abs_basic": WORDS, "title_highlight_basic": ""}
    tables(root / "Multimodal_Train.parquet", lists)
    corpus = [{**words, "modal": "0", **dict.fromkeys(NUMBERS, 1.0)} for _ in range(pages * EACH)]
    tables(root / "MultiModalCorpus.parquet", corpus)
    return CrossRank(root).pages("Multimodal_Train")


def baidu(root: Path, pages: int) -> Iterator[Page]:
    root.mkdir()
    words = "\x01".join("12345" for _ in range(500))
    cells = [words, words, "1", "1", "-", "-", "0", *["0"] * 7, "3.5"]
    session = ["7\t1\t2", *("\t".join([str(k), f"u{k}", *cells]) for k in range(EACH))]
    (root / "part-00001").write_text("".join("\n".join(session) + "\n" for _ in range(pages)))
    return BaiduUltr(root).pages("clicks")


def beir(root: Path, pages: int) -> Iterator[Page]:
    lines(root / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": WORDS} for n in range(pages * EACH)])
    lines(root / "queries.jsonl", [{"_id": f"q{n}", "text": "what"} for n in range(pages)])
    (root / "qrels").mkdir()
    rows = "".join(f"q{n}\td{n * EACH + k}\t1\n" for n in range(pages) for k in range(EACH))
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return BeirFolder(root).pages("test")


def libsvm(root: Path, pages: int) -> Iterator[Page]:
    root.mkdir()
    numbers = " ".join(f"{n}:0.5" for n in range(1, 137))
    (root / "train.txt").write_text("".join(f"1 qid:{n} {numbers}\n" for n in range(pages) for _ in range(EACH)))
    return LibSvm(root).pages("train")


def inquire(root: Path, pages: int) -> Iterator[Page]:
    rows = [
        {"image": picture(n), "query": f"query {n // EACH}", "relevant": 1, "clip_score": 0.5, "inat24_image_id": n}
        for n in range(pages * EACH)
    ]
    tables(root / "data/test-0.parquet", rows)
    return InquireRerank(root).pages("test")


def vidore(root: Path, pages: int) -> Iterator[Page]:
    tables(root / "corpus/test-0.parquet", [{"corpus-id": n, "image": picture(n)} for n in range(pages * EACH)])
    tables(root / "queries/test-0.parquet", [{"query-id": n, "query": WORDS} for n in range(pages)])
    tables(root / "qrels/test-0.parquet", [{"query-id": n, "corpus-id": n, "score": 1} for n in range(pages)])
    return Vidore(root, results=EACH).pages("test")


def mixbench(root: Path, pages: int) -> Iterator[Page]:
    folder = root / "MSCOCO"
    lines(folder / "queries.jsonl", [{"query_id": f"q{n}", "text": WORDS, "image": ""} for n in range(pages)])
    lines(folder / "mixed_corpus.jsonl", [{"corpus_id": f"d{n}", "text": WORDS} for n in range(pages * EACH)])
    (folder / "qrels").mkdir()
    rows = "".join(f"q{n}\td{n}\t1\n" for n in range(pages))
    (folder / "qrels/qrels.tsv").write_text("query_id\tcorpus_id\tscore\n" + rows)
    return MixBench(root, results=EACH).pages("MSCOCO")


LOADERS = (qilin_parquet, qilin_csv, crossrank, baidu, beir, libsvm, inquire, vidore, mixbench)


def peak_bytes(pages: Iterator[Page]) -> tuple[int, int]:
    """How many pages, and the most memory that Python and Arrow held while they went by."""
    gc.collect()
    tracemalloc.start()
    before, arrow, count = pa.total_allocated_bytes(), 0, 0
    for page in pages:
        assert len(page) == EACH
        count += 1
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, most + arrow


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
def test_memory_stays_as_pages_become_more(make: Callable[[Path, int], Iterator[Page]], tmp_path: Path) -> None:
    peak_bytes(make(tmp_path / "first", 10))  # what is imported and cached once
    few, of_few = peak_bytes(make(tmp_path / "few", FEW))
    for turn in range(2):  # what is cached once only may fall into the first turn
        many, of_many = peak_bytes(make(tmp_path / f"many{turn}", FEW * TIMES))
        assert (few, many) == (FEW, FEW * TIMES)
        if of_many < 1.3 * of_few + IDS:
            break
    assert of_many < 1.3 * of_few + IDS


def test_a_loader_that_holds_its_pages_would_be_noticed(tmp_path: Path) -> None:
    few, of_few = peak_bytes(iter(list(libsvm(tmp_path / "few", FEW))))
    assert few == FEW

    def held() -> Iterator[Page]:
        yield from list(libsvm(tmp_path / "many", FEW * TIMES))

    assert peak_bytes(held())[1] > 1.3 * of_few + IDS
