"""TREC Deep Learning lists: the files as they are, made-up years, partial teachers, and the figures everybody knows."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import ir_measures
import pytest
from ir_measures import nDCG

from wholepage.collections import open_collection
from wholepage.collections.trec_dl import Gap, TrecDl
from wholepage.pages import Collection, InputError, Modality, RecordError

A, B, C, D = (f"msmarco_passage_{n:02}_{n * 1000}" for n in range(4))


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def lines(*rows: tuple[object, ...]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def year(tmp_path: Path) -> Path:
    """A year nobody has seen, ids as in MS MARCO v2; some files packed and some not."""
    folder = tmp_path / "trec_dl"
    put(folder / "dl21.queries.tsv.gz", lines(("q2", "what is ink"), ("q1", "who drew"), ("q3", "not asked")))
    put(
        folder / "dl21.passages.jsonl",
        "".join(json.dumps({"id": i, "text": f"Text of {i}"}) + "\n" for i in (A, B, C, D)),
    )
    run = (("q1", A, 1, 9.5), ("q1", B, 2, 8), ("q1", C, 3, 8), ("q2", D, 1, 3.25), ("q2", A, 2, 1))
    put(folder / "dl21.BM25.run.tsv.gz", lines(*run))
    put(folder / "dl21.TASB.run.tsv", lines(("q1", D, 1, 1.5)))
    put(folder / "dl21.qrels.tsv.gz", lines(("q1", A, 3), ("q1", B, 0)))
    put(folder / "dl21.qrels.full.tsv.gz", lines(("q1", A, 3), ("q1", B, 0), ("q1", "elsewhere", 2), ("q2", D, 1)))
    part = (("q1", C, 1, 9.5), ("q1", D, 2, 8), ("q1", A, 3, 8))
    put(folder / "teacher_runs/dl21.BM25.gpt-4.5_4096.0.txt.gz", lines(*part))
    put(folder / "teacher_runs/dl21.TASB.gpt-4.5_4096.0.txt", lines(("q1", D, 1, 1.5)))
    return tmp_path


def test_another_year_loads_as_it_is(year: Path) -> None:
    collection = open_collection("trec_dl", year)
    assert isinstance(collection, Collection)
    assert isinstance(collection, TrecDl)
    assert (collection.splits(), collection.runs()) == (("dl21",), ("BM25", "TASB"))
    first, second = collection.pages("dl21")
    assert (first.query_id, first.query.text, first.result_ids) == ("q1", "who drew", (A, B, C))
    assert (second.query_id, second.result_ids) == ("q2", (D, A))
    assert next((r.text, r.modality, r.images) for r in second.results) == (f"Text of {D}", Modality.TEXT, ())
    assert collection.judgments("dl21").by_result("q1") == {A: 3.0, B: 0.0, "elsewhere": 2.0}
    assert len(TrecDl(year, full=False).judgments("dl21")) == 2
    assert {said.who for said in collection.judgments("dl21").grades("q1")} == {"nist"}
    assert collection.first_stage_run("dl21")["q2"].scores == (3.25, 1.0)


def test_depth_cuts_from_the_top(year: Path) -> None:
    assert [page.result_ids for page in TrecDl(year, depth=1).pages("dl21")] == [(A,), (D,)]
    assert TrecDl(year, depth=2).first_stage_run("dl21")["q1"].result_ids == (A, B)


def test_a_partial_teacher_orders_what_it_ranked_and_the_rest_is_told(year: Path) -> None:
    collection = TrecDl(year, year="dl21")
    assert collection.teacher_runs() == ("dl21.BM25.gpt-4.5_4096.0",)
    (name,) = collection.teacher_runs()
    said = collection.teacher(name)
    assert (said["q1"].result_ids, said["q1"].scores, said["q1"].by) == ((C, D, A), None, "gpt-4.5_4096.0")
    ((page, ranking),) = collection.lists(name)
    assert page.result_ids == (A, C)
    assert ranking.check(page).result_ids == (C, A)
    assert collection.gaps(name) == (Gap("q1", (B,), (D,)), Gap("q2", (D, A), ()))
    assert TrecDl(year, first_stage="TASB").teacher_runs() == ("dl21.TASB.gpt-4.5_4096.0",)
    assert list(TrecDl(year, first_stage="TASB").lists("dl21.TASB.gpt-4.5_4096.0")) == [], "one result has no order"


def test_what_is_not_there_is_named(year: Path) -> None:
    with pytest.raises(InputError, match=r"year: got 'dl99'; allowed: dl21"):
        TrecDl(year, year="dl99")
    with pytest.raises(InputError, match=r"first_stage: got 'ADA'; allowed: BM25, TASB"):
        TrecDl(year, first_stage="ADA")
    with pytest.raises(InputError, match="depth: got 0"):
        TrecDl(year, depth=0)
    with pytest.raises(InputError, match="allowed: a data folder that holds trec_dl/"):
        TrecDl(year / "trec_dl")
    with pytest.raises(InputError, match="got split 'train'; allowed: dl21"):
        next(TrecDl(year).pages("train"))
    with pytest.raises(InputError, match=r"teacher: got '../x'; allowed: dl21.BM25"):
        TrecDl(year).teacher("../x")
    (year / "trec_dl/dl21.qrels.full.tsv.gz").unlink()
    with pytest.raises(InputError, match=r"got no dl21.qrels.full.tsv or dl21.qrels.full.tsv.gz"):
        TrecDl(year).judgments("dl21")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("queries.tsv.gz", "q1\tx\nq2\n", r"dl21.queries.tsv.gz:2: line: got 'q2'; allowed: qid, a tab, text"),
        ("queries.tsv.gz", "q1\tx\nq1\ty\n", r"dl21.queries.tsv.gz:2: qid: got 'q1' again"),
        ("queries.tsv.gz", "q1\tx\n", r"dl21.BM25.run.tsv.gz:4: qid: got 'q2'; allowed: one of dl21.queries.tsv"),
        ("passages.jsonl", '{"id": "a"}\n', r"dl21.passages.jsonl:1: text: got no such field"),
        ("passages.jsonl", '{"id": "a", "text": " "}\n', r"dl21.passages.jsonl:1: text"),
        ("passages.jsonl", '{"id": "a", "text": "x"}\n' * 2, r"dl21.passages.jsonl:2: id: got 'a' again"),
        ("passages.jsonl", json.dumps({"id": A, "text": "x"}) + "\n", r"BM25.run.tsv.gz:2: docid: got '.*_01_1000'"),
        ("BM25.run.tsv.gz", lines(("q1", A, 1, 1), ("q1", A, 2, 1)), r"dl21.BM25.run.tsv.gz:2: docid"),
    ],
)
def test_bad_lines_are_refused_with_their_place(year: Path, file: str, text: str, message: str) -> None:
    put(year / f"trec_dl/dl21.{file}", text)
    with pytest.raises(RecordError, match=message):
        list(TrecDl(year).pages("dl21"))


# Year -> judged queries, passages here, judged pairs of each grade, the nDCG@10 of BM25 that papers give.
KNOWN = {
    "dl19": (43, 14581, {0: 5158, 1: 1601, 2: 1804, 3: 697}, 0.5058),
    "dl20": (54, 15495, {0: 7780, 1: 1940, 2: 1020, 3: 646}, 0.4796),
}


@pytest.mark.parametrize("year", KNOWN)
def test_shared_lists_give_the_figures_everybody_knows(data_root: Path, year: str) -> None:
    if not (data_root / f"trec_dl/{year}.queries.tsv.gz").is_file():
        pytest.skip(f"no {year} in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    queries, passages, grades, ndcg = KNOWN[year]
    collection = TrecDl(data_root, year=year)
    pages = list(collection.pages(year))
    said = collection.judgments(year)
    assert len(pages) == len(said.query_ids) == queries
    assert {len(page) for page in pages} == {100}
    assert len(collection._passages(year)) == passages
    assert Counter(int(one.grade) for q in said.query_ids for one in said.grades(q)) == grades
    # By rank: the scores kept here are rounded, and trec_eval would break their ties by docid.
    run = {page.query_id: {one: -float(rank) for rank, one in enumerate(page.result_ids)} for page in pages}
    measured = ir_measures.calc_aggregate([nDCG @ 10], said.to_qrels(), run)[nDCG @ 10]
    assert round(measured, 4) == ndcg
    assert list(collection.pages(year)) == pages


@pytest.mark.parametrize("year", KNOWN)
def test_shared_teachers_order_whole_pages_and_better(data_root: Path, year: str) -> None:
    if not (data_root / f"trec_dl/{year}.queries.tsv.gz").is_file():
        pytest.skip(f"no {year} in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    collection = TrecDl(data_root, year=year)
    qrels = collection.judgments(year).to_qrels()
    assert len(collection.teacher_runs()) >= 5
    for name in collection.teacher_runs()[::4]:
        lists = list(collection.lists(name))
        assert len(lists) == KNOWN[year][0]
        assert collection.gaps(name) == ()
        assert all(len(ranking.check(page)) == 100 for page, ranking in lists)
        run = {r.query_id: {one: -float(rank) for rank, one in enumerate(r.result_ids)} for _, r in lists}
        assert ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10] > KNOWN[year][3] + 0.1
