"""rank_llm requests: both forms are read, texts are found, and what is written is read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.pages import ImageRef, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.records import read_rank_llm, write_rank_llm

ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
SCORE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def ranked_pages(draw: st.DrawFn) -> tuple[Page, Ranking]:
    texts = draw(st.dictionaries(ID, TEXT.filter(bool), max_size=5))
    page = Page(Query(draw(ID), draw(TEXT)), tuple(Result(i, Modality.TEXT, text) for i, text in texts.items()))
    order = tuple(draw(st.permutations(page.result_ids)))
    scores = draw(st.one_of(st.none(), st.tuples(*[st.one_of(st.none(), SCORE) for _ in order])))
    return page, Ranking(page.query_id, order, scores, "me")


def in_order(page: Page, ranking: Ranking) -> Page:
    results = {result.result_id: result for result in page.results}
    return Page(page.query, tuple(results[i] for i in ranking.result_ids))


@settings(max_examples=60)
@given(
    st.lists(ranked_pages(), max_size=4, unique_by=lambda pair: pair[0].query_id),
    st.sampled_from([".jsonl", ".jsonl.gz"]),
)
def test_requests_come_back(pairs: list[tuple[Page, Ranking]], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"requests{suffix}"
        assert write_rank_llm(path, (p for p, _ in pairs), (r for _, r in pairs)) == len(pairs)
        found = list(read_rank_llm(path))
    assert [page for page, _ in found] == [in_order(page, ranking) for page, ranking in pairs]
    for (_, ranking), (_, read) in zip(pairs, found, strict=True):
        assert (read.query_id, read.result_ids, read.by) == (ranking.query_id, ranking.result_ids, "")
        if ranking.scores is not None and None not in ranking.scores:
            assert read.scores == (ranking.scores or None)
        else:
            assert read.scores == (tuple(float(n) for n in range(len(ranking), 0, -1)) or None)


def request(*candidates: dict[str, Any], qid: Any = "q", text: str = "why") -> dict[str, Any]:
    return {"query": {"text": text, "qid": qid}, "candidates": list(candidates)}


def candidate(docid: Any = "a", **fields: Any) -> dict[str, Any]:
    return {"docid": docid, "score": 1.0, "doc": {"contents": "A"}, **fields}


TWO = [request(candidate(7, score=9.5), candidate("b", score=-1), qid=1), request(qid="2", text="")]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, TWO)),
        json.dumps(TWO),
        json.dumps(TWO, indent=2),
        json.dumps(TWO, indent=2) + "\n\n",
        " [\n" + ",\n".join(map(json.dumps, TWO)) + "\n]\n",
    ],
    ids=["lines", "list", "indented", "blank lines at the end", "list over lines"],
)
def test_lines_and_a_list_are_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    path.write_text(text)
    a, b = Result("7", Modality.TEXT, "A"), Result("b", Modality.TEXT, "A")
    assert list(read_rank_llm(path)) == [
        (Page(Query("1", "why"), (a, b)), Ranking("1", ("7", "b"), (9.5, -1.0))),
        (Page(Query("2")), Ranking("2", ())),
    ]


@pytest.mark.parametrize(
    ("doc", "text"),
    [
        ({"text": "T"}, "T"),
        ({"contents": "T"}, "T"),
        ({"segment": "T", "headings": "h", "start_char": 0, "end_char": 9, "url": "u", "docid": "d"}, "T"),
        ({"content": "T", "_id": 3, "metadata": {"a": [1]}}, "T"),
        ({"body": "T", "title": ""}, "T"),
        ({"passage": "T", "id": "x", "title": "Head"}, "Head. T"),
        ({"text": "", "title": "Head"}, "Head"),
        ({"text": None, "contents": "T"}, "T"),
        ("T", "T"),
    ],
)
def test_the_text_of_a_document(doc: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(request(candidate(doc=doc))))
    [(page, _)] = read_rank_llm(path)
    assert page.results == (Result("a", Modality.TEXT, text),)


def test_scores_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    bare = {"docid": "b", "doc": "B"}
    path.write_text(json.dumps(request(candidate("a"), bare)) + "\n" + json.dumps(request(bare, qid="r")))
    assert [ranking.scores for _, ranking in read_rank_llm(path)] == [(1.0, None), None]


GOOD = json.dumps(request(candidate()))
BAD: list[tuple[Any, int, str, str]] = [
    ("", 0, "", ""),
    (GOOD + "\n" + GOOD, 2, "query.qid", "'q', first in line 1"),
    ([request(), request()], 1, "[1].query.qid", "'q', first in [0]"),
    ([request(qid=1), request(qid="1")], 1, "[1].query.qid", "'1', first in [0]"),
    (request(candidate("a"), candidate("b"), candidate("a")), 1, "candidates[2].docid", "first in candidates[0]"),
    (request(candidate(1), candidate("1")), 1, "candidates[1].docid", "'1' again"),
    (request(candidate(doc={"title": "x"})), 1, "candidates[0].doc", "no text; allowed: exactly one of text, segment"),
    (request(candidate(doc={"text": "x", "body": "y"})), 1, "candidates[0].doc", "text and body"),
    (request(candidate(doc={"text": ""})), 1, "candidates[0]", "neither text nor images"),
    (request(candidate(doc="")), 1, "candidates[0]", "neither text nor images"),
    (request(candidate(doc={"texts": "x"})), 1, "candidates[0].doc.texts", "an unknown field; allowed: text, segment"),
    ([request(), request(candidate(doc=1), qid="r")], 1, "[1].candidates[0].doc", "got int"),
    (request(candidate("")), 1, "candidates[0]", "an empty id"),
    (request(qid=""), 1, "query.qid", "an empty id"),
    (request(qid=1.5), 1, "query.qid", "got float"),
    (request(candidate(score="1")), 1, "candidates[0].score", "got str; allowed: float"),
    (request(candidate(score=float("nan"))), 1, "line", "malformed"),
    (GOOD.replace("1.0", "1e999"), 1, "candidates[0].score", "out of range"),
    (request(candidate(rank=1)), 1, "candidates[0].rank", "allowed: docid, doc, score"),
    ({"query": "why", "candidates": []}, 1, "query", "got str; allowed: object"),
    ({"query": {"text": "why", "qid": "q"}}, 1, "candidates", "no such field"),
    ({**request(), "invocations_history": []}, 1, "invocations_history", "allowed: query, candidates"),
    ("[" + GOOD, 1, "line", "truncated"),
    ("[" + GOOD + "]]", 1, "line", "trailing"),
    (GOOD[:-1], 1, "line", "truncated"),
    ([1], 1, "[0]", "got int; allowed: object"),
    ("[\n\n]", 2, "line", "a blank line"),
]


@pytest.mark.parametrize(("content", "line", "field", "said"), BAD, ids=range(len(BAD)))
def test_broken_requests_are_refused_with_their_place(
    content: Any, line: int, field: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if not line:
        assert list(read_rank_llm(path)) == []
        return
    with pytest.raises(RecordError) as caught:
        list(read_rank_llm(path))
    assert (caught.value.path, caught.value.line, caught.value.field) == (str(path), line, field)
    assert said in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        list(read_rank_llm(tmp_path / "no.jsonl"))
    assert caught.value.line == 0


PAGE = Page(Query("q"), (Result("a", Modality.TEXT, "A"), Result("b", Modality.ANSWER, "B")))
ORDER = Ranking("q", ("b", "a"))


def test_the_form_of_a_request(tmp_path: Path) -> None:
    write_rank_llm(tmp_path / "requests.jsonl", [PAGE], [ORDER])
    assert json.loads((tmp_path / "requests.jsonl").read_text()) == {
        "query": {"text": "", "qid": "q"},
        "candidates": [
            {"docid": "b", "score": 2.0, "doc": {"contents": "B"}},
            {"docid": "a", "score": 1.0, "doc": {"contents": "A"}},
        ],
    }


@pytest.mark.parametrize(
    ("pages", "rankings", "said"),
    [
        ([PAGE, PAGE], [ORDER, ORDER], "'q' again"),
        ([PAGE], [], "more pages than rankings"),
        ([], [ORDER], "more rankings than pages"),
        ([PAGE], [Ranking("q", ("b",))], r"lost \['a'\]"),
        ([PAGE], [Ranking("q", ("b", "a", "c"))], r"invented \['c'\]"),
        ([PAGE], [Ranking("r", ("b", "a"))], "'r'"),
        ([Page(Query("q", image=ImageRef("a.png")))], [Ranking("q", ())], "query: got pictures"),
        (
            [Page(Query("q"), (Result("a", Modality.IMAGE, images=(ImageRef("a.png"),)),))],
            [Ranking("q", ("a",))],
            r"results\[0\]: got pictures",
        ),
        ([Page(Query("q", "\ud800"))], [Ranking("q", ())], "plain text"),
    ],
)
def test_what_the_file_cannot_hold_is_not_written(
    pages: list[Page], rankings: list[Ranking], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match=said):
        write_rank_llm(tmp_path / "requests.jsonl", pages, rankings)
    assert os.listdir(tmp_path) == []
