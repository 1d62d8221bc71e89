"""Reference numbers beside ours: collections end to end, each measured by the package and by something else.

    python benchmarks/reference_numbers.py --root DATA --json
    python benchmarks/reference_numbers.py --root DATA --out benchmarks/reference_numbers.md

Every figure of ours goes through a collection's loader and ``wholepage.evaluation``. Beside it stand the figure that
others published for the very same files, where there is one that is certain, and the figure recomputed straight from
the files (``reference_straight.py``, which knows nothing of the package). What is a subset of a benchmark is not
comparable with figures published for the whole, and none are shown. A collection without data is named as such;
``made`` are rows in its true format that only show that the path works.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

import reference_straight as straight
from conditions import command, commit, machine
from reference_published import FIRST_STAGES, PYSERINI, RANK_LLM, RANK_VICUNA
from wholepage.collections import open_collection
from wholepage.collections.inquire import InquireRerank
from wholepage.collections.libsvm import LibSvm
from wholepage.collections.mmdocir import MMDocIR
from wholepage.collections.qilin import Qilin
from wholepage.collections.trec_dl import TrecDl
from wholepage.evaluation.measures import evaluate
from wholepage.pages import InputError, Judgments, Page, Ranking
from wholepage.pages.protocols import by_score
from wholepage.rankers.bm25 import BM25Scorer

YEARS = ("dl19", "dl20")
NDCG = "nDCG@10"
SHEET_DEPTHS = (1, 3, 5)
SIMULATED = (
    ("search_test", "search_result_details_with_idx", "search_idx"),
    ("recommendation_test", "rec_result_details_with_idx", "request_idx"),
    ("dqa", "search_result_details_with_idx", "search_idx"),
)
ABSENT = ("inquire", "beir", "crossrank", "baidu_ultr", "vidore", "mixbench")
SAME = 1e-6


def row(
    collection: str,
    what: str,
    measure: str,
    queries: int,
    ours: float,
    recomputed: float | None,
    published: float | None = None,
    source: str = "",
) -> dict[str, Any]:
    """One line of the table; it agrees where ours is the recomputed figure, and rounds to the published one.

    Without either, ``agrees`` is None.
    """
    same = recomputed is None or abs(ours - recomputed) < SAME
    rounded = published is None or abs(round(ours, 4) - published) < SAME
    return {
        "collection": collection, "what": what, "measure": measure, "queries": queries, "ours": ours,
        "recomputed": recomputed, "published": published, "source": source,
        "agrees": None if recomputed is None and published is None else same and rounded,
    }  # fmt: skip


def value(rankings: Sequence[Ranking], judged: Judgments, measure: str) -> float:
    """The mean over all judged queries."""
    return evaluate(rankings, judged, [measure]).mean(measure)


def trec_runs(root: Path) -> Iterator[dict[str, Any]]:
    """First stages, and RankVicuna's saved orders of them, with all of NIST's judgments."""
    for place, year in enumerate(YEARS):
        for name, published in FIRST_STAGES.items():
            opened = TrecDl(root, year=year, first_stage=name)
            judged = opened.judgments(year)
            known = None if published is None else published[place]
            source = "" if published is None else PYSERINI
            ours = value(list(opened.first_stage_run(year).values()), judged, NDCG)
            again = straight.trec_ndcg(root, year, f"{year}.{name}.run.tsv.gz")
            yield row("trec_dl", f"{year} {name}", NDCG, len(judged.query_ids), ours, again, known, source)
            if name not in RANK_VICUNA:
                continue
            (run,) = [one for one in opened.teacher_runs() if "output_v2_aug_vicuna_7b" in one]
            ours = value(list(opened.teacher(run).values()), judged, NDCG)
            again = straight.trec_ndcg(root, year, f"teacher_runs/{run}.txt.gz")
            what = f"{year} {name}, RankVicuna's order"
            known = RANK_VICUNA[name][place]
            yield row("trec_dl", what, NDCG, len(judged.query_ids), ours, again, known, RANK_LLM)


def trec_rerankers(root: Path, minilm: int, shared: int) -> Iterator[dict[str, Any]]:
    """Rankers of ours on BM25's lists: BM25 within the list, and MiniLM.

    Args:
        minilm: how many queries of 2019 MiniLM ranks; 0 = none.
        shared: how many of them sentence-transformers ranks by itself, from the files.
    """
    for year in YEARS:
        opened = TrecDl(root, year=year)
        pages, judged = list(opened.pages(year)), opened.judgments(year)
        ours = value(by_score(BM25Scorer()).rank(pages), judged, NDCG)
        again = straight.trec_reranked(root, year, straight.bm25_scores)
        yield row("trec_dl", f"{year} BM25's 100, BM25 within the list", NDCG, len(pages), ours, again)
    if not minilm:
        return
    from sentence_transformers import SentenceTransformer

    from wholepage.rankers.text import BiEncoderScorer, SentenceEncoder, minilm_folder

    opened = TrecDl(root, year=YEARS[0])
    judged = opened.judgments(YEARS[0])
    pages = [page for page in opened.pages(YEARS[0]) if judged.grades(page.query_id)][:minilm]
    ranked = by_score(BiEncoderScorer(SentenceEncoder(device="cpu"))).rank(pages)
    some = [page.query_id for page in pages[:shared]]
    model = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)

    def cosines(query: str, texts: Sequence[str]) -> Any:
        rows = model.encode([query, *texts], normalize_embeddings=True, show_progress_bar=False)
        return np.round(rows[1:] @ rows[0], 5)  # batches differ beyond

    what = f"{YEARS[0]} BM25's 100, MiniLM"
    everything = judged.restrict({page.query_id: judged.by_result(page.query_id) for page in pages})
    yield row("trec_dl", what, NDCG, len(pages), value(ranked, everything, NDCG), None)
    few = judged.restrict({query: judged.by_result(query) for query in some})
    ours = value([one for one in ranked if one.query_id in some], few, NDCG)
    again = straight.trec_reranked(root, YEARS[0], cosines, some)
    yield row("trec_dl", f"{what}, the first {len(some)}", NDCG, len(some), ours, again)


def mmdocir(root: Path) -> Iterator[dict[str, Any]]:
    """BM25 on the words of the elements and sheets of a subset of MMDocIR."""
    opened = MMDocIR(root)
    pages = [page for split in opened.splits() for page in opened.pages(split)]
    judged = Judgments()
    for split in opened.splits():
        judged = judged.merge(opened.judgments(split))
    ranker, again = by_score(BM25Scorer()), straight.mmdocir(root, SHEET_DEPTHS)
    yield row("mmdocir", "BM25, elements and sheets", NDCG, len(pages), value(ranker.rank(pages), judged, NDCG),
              again[NDCG])  # fmt: skip
    sheets = [page.keep([one.result_id for one in page.results if one.features["kind:page"]]) for page in pages]
    of_sheets = judged.restrict({page.query_id: page.result_ids for page in sheets})
    ranked = ranker.rank(sheets)
    asked = [page.query_id for page in sheets if any(g.grade >= 2 for g in of_sheets.grades(page.query_id))]
    for depth in SHEET_DEPTHS:
        measure = f"R(rel=2)@{depth}"
        found = evaluate(ranked, of_sheets, [measure]).of(measure)
        ours = straight.mean([found[query] for query in asked])
        yield row("mmdocir", "BM25, sheets alone", measure, len(asked), ours, again[measure])


def qilin(root: Path) -> Iterator[dict[str, Any]]:
    """Counts of Qilin's own toy rows, and how many simulated pages stand in the order recomputed."""
    for table, column, ident in SIMULATED:
        again = straight.qilin(root, table, column, ident)
        shown, simulated = Qilin(root, missing="name"), Qilin(root, missing="name", pool="simulated")
        notes = [one for _, said in shown.graded_pages(table) for one in said if one.result_id != "dqa"]
        clicked = sum(one.grade > 0 for one in notes)
        orders = {one.query_id: list(one.result_ids) for one in simulated.by_behaviour(table)}
        same = sum(orders.get(query) == order for query, order in again["pages"].items())
        for what, ours, known in (
            ("notes shown", len(notes), again["shown"]),
            ("notes clicked", clicked, again["clicks"]),
            ("simulated pages", len(orders), len(again["pages"])),
            ("simulated pages in the same order", same, len(again["pages"])),
        ):
            yield row("qilin (toy)", f"{table}: {what}", "count", again["requests"], float(ours), float(known))


def letor(root: Path, scratch: Path) -> Iterator[dict[str, Any]]:
    """LightGBM's example through our loader, and read by LightGBM itself: one model of the same settings each."""
    opened = LibSvm(root)
    train, test = (list(opened.graded_pages(split)) for split in ("rank.train", "rank.test"))
    width = 1 + max(int(name) for page, _ in train for one in page.results for name in one.features)
    data = lightgbm.Dataset(
        np.concatenate([_matrix(page, width) for page, _ in train]),
        [grade.grade for _, grades in train for grade in grades],
        group=[len(page) for page, _ in train],
        params=straight.TREES,
    )
    booster = lightgbm.train(straight.TREES, data, straight.ROUNDS)
    scores = [np.asarray(booster.predict(_matrix(page, width))) for page, _ in test]
    ranked = [_ranking(page, of) for (page, _), of in zip(test, scores, strict=True)]
    judged = Judgments(grade for _, grades in test for grade in grades)
    predicted, again = straight.lightgbm_itself(root, scratch)
    yield row("libsvm", "rank.test, LambdaMART", NDCG, len(test), value(ranked, judged, NDCG), again)
    apart = float(np.abs(np.concatenate(scores) - predicted).max())
    yield row("libsvm", "rank.test, largest difference of a score", "score", len(test), apart, 0.0)


def _matrix(page: Page, width: int) -> np.ndarray:
    rows = np.zeros((len(page), width))
    for at, one in enumerate(page.results):
        for name, number in one.features.items():
            if int(name) < width:
                rows[at, int(name)] = number
    return rows


def _ranking(page: Page, scores: np.ndarray) -> Ranking:
    order = np.argsort(-scores, kind="stable")
    return Ranking(page.query_id, tuple(page.result_ids[at] for at in order), tuple(scores[order].tolist()), "trees")


def made_inquire(scratch: Path, queries: int = 12, photos: int = 20, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Made rows in INQUIRE-Rerank's columns, through the loader: that the path works, no number to compare."""
    lots, rows = np.random.default_rng(seed), []
    for number in range(queries * photos):
        file = io.BytesIO()
        Image.fromarray(lots.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file, "JPEG")
        rows.append({
            "image": {"bytes": file.getvalue(), "path": f"{number}.jpg"}, "query": f"made query {number // photos}",
            "relevant": int(lots.random() < 0.2), "clip_score": float(lots.random()), "inat24_image_id": number,
        })  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), scratch / "test-00000-of-00001.parquet", row_group_size=100)
    opened, again = InquireRerank(scratch), straight.inquire_rows(rows)
    ranked, judged = list(opened.first_stage_run("test").values()), opened.judgments("test")
    for measure, known in again.items():
        ours = value(ranked, judged, measure)
        yield row("inquire (made)", "CLIP's order of made rows", measure, queries, ours, known)


def absent(root: Path) -> list[str]:
    """The collections with nothing of theirs below the root."""
    missing = []
    for name in ABSENT:
        try:
            open_collection(name, root)
        except InputError:
            missing.append(name)
    return missing


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Reference numbers beside ours",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        "",
        "Ours: through a collection's loader and the measures of `wholepage evaluate`. Recomputed: straight from the",
        "files, by code that knows nothing of the package. Published: by others, for the same files.",
        "",
        "| collection | what | measure | queries | ours | recomputed | published | agrees |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for one in found["rows"]:
        again, known = (_shown(one["measure"], one[name]) for name in ("recomputed", "published"))
        note = "" if not one["source"] else f" [{1 + found['sources'].index(one['source'])}]"
        lines.append(
            f"| {one['collection']} | {one['what']} | {one['measure']} | {one['queries']} | "
            f"{_shown(one['measure'], one['ours'])} | {again} | {known}{note} | {_AGREES[one['agrees']]} |"
        )
    lines += ["", *(f"[{at}] {source}." for at, source in enumerate(found["sources"], start=1)), "", *_REMARKS]
    lines += ["", f"No data here: {', '.join(found['no_data']) or 'none'}.", f"All agree: {found['all_agree']}."]
    return "\n".join(lines) + "\n"


_REMARKS = (
    "- The runs' scores are rounded in the files and tie; the order is that of their ranks. Sorted by score, trec_eval",
    "  gives BM25 on dl20 .4803 in place of .4796.",
    "- BM25 within a list counts words in that list alone, where nearly every passage holds them: it says that two",
    "  programs agree, not that one should rank so.",
    "- MMDocIR here is a subset: 92 of 313 documents, pools of some elements and sheets of each. Figures published for",
    "  the benchmark are of whole documents and other layouts, not comparable, and none are shown.",
    "- MiniLM has no published figure for these lists; beside it stands sentence-transformers, on a few queries.",
    "- `made` rows have no meaning but that the path from file to measure works.",
)


_AGREES = {True: "yes", False: "NO", None: "-"}


def _shown(measure: str, number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if measure == "count" else f"{number:.4f}"


def main() -> None:
    """Measure, print, and write a file when one is named."""
    parser = argparse.ArgumentParser(description="Reference numbers beside ours.")
    parser.add_argument("--root", type=Path, default=os.environ.get("WHOLEPAGE_DATA"), help="the data folder")
    parser.add_argument("--minilm", type=int, default=43, help="queries of 2019 that MiniLM ranks; 0 = none")
    parser.add_argument(
        "--shared", type=int, default=5, help="of these, how many sentence-transformers ranks by itself"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table here (.md)")
    arguments = parser.parse_args()
    if arguments.root is None or not Path(arguments.root).is_dir():
        parser.error(f"got --root {arguments.root}; allowed: a data folder; pass it or set WHOLEPAGE_DATA")
    root, rows = Path(arguments.root), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        parts = (
            trec_runs(root),
            trec_rerankers(root, arguments.minilm, arguments.shared),
            mmdocir(root),
            qilin(root),
            letor(root, Path(first)),
            made_inquire(Path(second)),
        )
        for part in parts:
            for one in part:
                rows.append(one)
                print(f"{one['collection']}: {one['what']}: {one['ours']:.4f}", file=sys.stderr, flush=True)
    found: dict[str, Any] = {
        "command": command(),
        "commit": commit(),
        "machine": machine(),
        "rows": rows,
        "sources": list(dict.fromkeys(one["source"] for one in rows if one["source"])),
        "no_data": absent(root),
        "all_agree": all(one["agrees"] is not False for one in rows),
    }
    if arguments.out is not None:
        arguments.out.write_text(table(found), encoding="utf-8")
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
