"""BEIR folders: what is written is read back, and what does not fit together is refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.pages import Grade, ImageRef, Judgments, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.records import read_beir, read_run, write_beir, write_run

ID = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[Page], Judgments]:
    corpus = draw(st.dictionaries(ID, TEXT, min_size=1, max_size=6))
    some = st.lists(st.sampled_from(sorted(corpus)), unique=True, max_size=4)
    queries = draw(st.dictionaries(ID, TEXT, max_size=4))
    pages = [
        Page(Query(query_id, text), tuple(Result(i, Modality.TEXT, corpus[i]) for i in draw(some)))
        for query_id, text in queries.items()
    ]
    grades = {page.query_id: {i: draw(st.integers(0, 3)) for i in page.result_ids} for page in pages}
    return pages, Judgments.from_mapping(grades)


@settings(max_examples=60)
@given(collections(), st.sampled_from(["test", "dev.v2"]))
def test_a_folder_comes_back(collection: tuple[list[Page], Judgments], split: str) -> None:
    pages, judgments = collection
    with TemporaryDirectory() as folder:
        assert write_beir(folder, iter(pages), judgments, split) == len(pages)
        orders = [Ranking(page.query_id, page.result_ids) for page in pages]
        assert read_beir(folder, split, orders) == (pages, judgments)
        found, same = read_beir(folder, split)
        assert same == judgments
        assert [page.query_id for page in found] == [page.query_id for page in pages if len(page)]
        by_query = {page.query_id: page for page in pages}
        for page in found:
            assert page.result_ids == tuple(sorted(by_query[page.query_id].result_ids))
            texts = {result.result_id: result.text for result in by_query[page.query_id].results}
            assert {result.result_id: result.text for result in page.results} == texts


CORPUS = [
    {"_id": "d1", "title": "Munich", "text": "It is in Germany.", "metadata": {"url": "x"}},
    {"_id": "d2", "title": "", "text": "The sky is blue."},
    {"_id": "d3", "text": "No title."},
    {"_id": "d4", "title": "Title only", "text": ""},
    {"_id": "d5", "title": "", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "where is it"},
    {"_id": "q2", "text": "why", "metadata": {}},
    {"_id": "q3", "text": "?"},
]
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "q2\td3\t2\nq1\td2\t0\nq1\td1\t1\n"


def lay(folder: Path, **changed: Any) -> Path:
    """A small folder in BEIR's form; a changed file may be a text, or a list of records."""
    files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}
    for key, name in (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl"), ("qrels", "qrels/test.tsv")):
        content: Any = changed.get(key, files[name])
        if content is None:
            continue
        text = content if isinstance(content, str) else "".join(json.dumps(record) + "\n" for record in content)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_pages_hold_the_judged_documents_in_the_order_of_their_ids(tmp_path: Path) -> None:
    pages, judgments = read_beir(lay(tmp_path))
    assert [(page.query, page.result_ids) for page in pages] == [
        (Query("q1", "where is it"), ("d1", "d2")),
        (Query("q2", "why"), ("d3",)),
    ]
    assert [result.text for page in pages for result in page.results] == [
        "Munich. It is in Germany.",
        "The sky is blue.",
        "No title.",
    ]
    assert judgments == Judgments([Grade("q1", "d1", 1.0), Grade("q1", "d2", 0.0), Grade("q2", "d3", 2.0)])


def test_a_run_says_who_stands_where(tmp_path: Path) -> None:
    lay(tmp_path)
    run = [Ranking("q3", ("d4", "d1"), (2.0, 1.0), "bm25"), Ranking("q1", ("d2",), (1.0,), "bm25")]
    pages, judgments = read_beir(tmp_path, run=run)
    assert [(page.query_id, page.result_ids) for page in pages] == [("q3", ("d4", "d1")), ("q1", ("d2",))]
    assert pages[0].results[0].text == "Title only"
    assert len(judgments) == 3
    write_run(tmp_path / "run.trec", run)
    assert read_run(tmp_path / "run.trec") == run
    assert read_beir(tmp_path, run=tmp_path / "run.trec")[0] == pages
    assert read_beir(str(tmp_path), run=str(tmp_path / "run.trec"))[0] == pages


def test_files_may_be_packed(tmp_path: Path) -> None:
    lay(tmp_path)
    plain = read_beir(tmp_path)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    assert read_beir(tmp_path) == plain


def test_grades_below_zero(tmp_path: Path) -> None:
    lay(tmp_path, qrels=HEADER + "q1\td1\t-1\n")
    with pytest.raises(RecordError, match='negative="zero"'):
        read_beir(tmp_path)
    assert read_beir(tmp_path, negative="zero")[1].by_result("q1") == {"d1": 0.0}


BAD: list[tuple[dict[str, Any], str, int, str, str]] = [
    ({"qrels": None}, "qrels/test.tsv", 0, "file", "No such file"),
    ({"corpus": None}, "corpus.jsonl", 0, "file", "No such file"),
    ({"queries": None}, "queries.jsonl", 0, "file", "No such file"),
    ({"qrels": "q1\td1\t1\n"}, "qrels/test.tsv", 1, "line", "the header query-id<TAB>corpus-id<TAB>score"),
    ({"qrels": HEADER + "q1 d1 1\n"}, "qrels/test.tsv", 2, "line", "['q1 d1 1']"),
    ({"qrels": HEADER + "q1\t0\td1\t1\n"}, "qrels/test.tsv", 2, "line", "'d1', '1']"),
    ({"qrels": HEADER + "q1\t\t1\n"}, "qrels/test.tsv", 2, "line", "['q1', '', '1']"),
    ({"qrels": HEADER + "q1\td1\t1.5\n"}, "qrels/test.tsv", 2, "rel", "'1.5'"),
    ({"qrels": HEADER + "q1\td1\t1\nq1\td1\t1\n"}, "qrels/test.tsv", 3, "docid", "first in line 2"),
    ({"qrels": HEADER + "q9\td1\t1\n"}, "queries.jsonl", 0, "_id", "no query ['q9']"),
    ({"qrels": HEADER + "q1\td9\t1\n"}, "corpus.jsonl", 0, "_id", "no document ['d9']"),
    ({"qrels": HEADER + "q1\td5\t1\n"}, "corpus.jsonl", 5, "text", "neither text nor images"),
    ({"corpus": [*CORPUS, CORPUS[0]]}, "corpus.jsonl", 6, "_id", "'d1' again"),
    ({"queries": [*QUERIES, QUERIES[1]]}, "queries.jsonl", 4, "_id", "'q2' again"),
    ({"corpus": [{"id": "d1", "text": "x"}]}, "corpus.jsonl", 1, "id", "allowed: _id, text, title, metadata"),
    ({"corpus": [{"_id": 1, "text": "x"}]}, "corpus.jsonl", 1, "_id", "got int; allowed: str"),
    ({"corpus": [{"_id": "d1"}]}, "corpus.jsonl", 1, "text", "no such field"),
    ({"queries": '{"_id": "q1", "text": "x"'}, "queries.jsonl", 1, "line", "truncated"),
    ({"queries": '{"_id": "q1", "text": NaN}'}, "queries.jsonl", 1, "line", "malformed"),
]


@pytest.mark.parametrize(("changed", "name", "line", "field", "said"), BAD, ids=range(len(BAD)))
def test_what_does_not_fit_is_refused_with_its_place(
    changed: dict[str, Any], name: str, line: int, field: str, said: str, tmp_path: Path
) -> None:
    lay(tmp_path, **changed)
    with pytest.raises(RecordError) as caught:
        read_beir(tmp_path)
    assert (caught.value.path, caught.value.line, caught.value.field) == (str(tmp_path / name), line, field)
    assert said in str(caught.value)


def test_a_run_that_does_not_fit(tmp_path: Path) -> None:
    lay(tmp_path)
    with pytest.raises(RecordError, match=r"no document \['d9'\]"):
        read_beir(tmp_path, run=[Ranking("q1", ("d1", "d9"))])
    with pytest.raises(RecordError, match=r"no query \['q9'\]"):
        read_beir(tmp_path, run=[Ranking("q9", ("d1",))])
    with pytest.raises(RecordError, match="query 'q1' twice"):
        read_beir(tmp_path, run=[Ranking("q1", ("d1",)), Ranking("q1", ("d2",))])
    with pytest.raises(RecordError, match="file"):
        read_beir(tmp_path, run=tmp_path / "no.run")
    with pytest.raises(RecordError, match=r"dev\.tsv"):
        read_beir(tmp_path, "dev")


def one(query_id: str, *results: tuple[str, str], query: str = "why") -> Page:
    return Page(Query(query_id, query), tuple(Result(i, Modality.TEXT, text) for i, text in results))


def test_splits_share_a_folder(tmp_path: Path) -> None:
    test, dev = one("q1", ("a", "A"), ("b", "B")), one("q2", ("b", "B"), ("c", "C"))
    of_test, of_dev = (
        Judgments.from_mapping({"q1": {"a": 1, "b": 0}}),
        Judgments.from_mapping({"q2": {"b": 2, "c": 1}}),
    )
    write_beir(tmp_path, [test], of_test, "test")
    write_beir(tmp_path, [dev], of_dev, "dev")
    assert read_beir(tmp_path, "test") == ([test], of_test)
    assert read_beir(tmp_path, "dev") == ([dev], of_dev)
    write_beir(tmp_path, [test], of_test, "test")
    assert (tmp_path / "corpus.jsonl").read_text().count("\n") == 3
    assert read_beir(tmp_path, "dev") == ([dev], of_dev)


def test_writing_to_a_folder_of_others_keeps_what_is_there(tmp_path: Path) -> None:
    lay(tmp_path)
    before = read_beir(tmp_path)
    page = one("q1", ("d1", "Munich. It is in Germany."), query="where is it")
    write_beir(tmp_path, [page], Judgments.from_mapping({"q1": {"d1": 1}}), "train")
    assert read_beir(tmp_path) == before
    assert read_beir(tmp_path, "train")[0] == [page]
    first = json.loads((tmp_path / "corpus.jsonl").read_text().splitlines()[0])
    assert first == CORPUS[0]


@pytest.mark.parametrize(
    ("pages", "grades", "said"),
    [
        ([one("q"), one("q")], {}, "'q' again"),
        ([one("q", ("a", "A")), one("r", ("a", "B"))], {}, "'a' with two different texts"),
        ([one("q", ("a", "A"))], {"q": {"b": 1}}, "'b' for 'q', which is on no page"),
        ([one("q", ("a", "A"))], {"r": {"a": 1}}, "'a' for 'r', which is on no page"),
        ([one("q", ("a\tb", "A"))], {"q": {"a\tb": 1}}, "without tabs and line ends"),
        ([one("q", ("a", "\ud800"))], {}, "plain text"),
        ([Page(Query("q", image=ImageRef("a.png")))], {}, "query: got pictures"),
        (
            [
                Page(
                    Query("q"), (Result("a", Modality.TEXT, "A"), Result("b", Modality.TEXT, "B", (ImageRef("b.png"),)))
                )
            ],
            {},
            r"results\[1\]: got pictures",
        ),
    ],
)
def test_what_the_folder_cannot_hold_is_not_written(
    pages: list[Page], grades: dict[str, dict[str, float]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match=said):
        write_beir(tmp_path, pages, Judgments.from_mapping(grades))
    left = [name for _, _, names in os.walk(tmp_path) for name in names]
    assert "test.tsv" not in left
    assert not [name for name in left if name.endswith(".tmp")]
