"""Runs and qrels: read as ir_measures reads them, written so that trec_eval keeps the order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.pages import Choice, Grade, InputError, Judgments, Preference, Ranking, RecordError
from wholepage.pages.records import read_qrels, read_run, write_qrels, write_run

WORD = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=6)
SCORE = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-12, 1e300]), st.floats(-1e3, 1e3))


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    ids = tuple(draw(st.lists(WORD, min_size=1, max_size=6, unique=True)))
    scores = draw(st.one_of(st.none(), st.tuples(*[st.one_of(st.none(), SCORE) for _ in ids])))
    if draw(st.booleans()) and scores is not None and None not in scores:
        scores = tuple(sorted(scores, reverse=True))
    return Ranking(draw(WORD), ids, scores, draw(st.one_of(st.just(""), WORD)))


RANKINGS = st.lists(rankings(), max_size=5, unique_by=lambda ranking: ranking.query_id)
QRELS = st.dictionaries(WORD, st.dictionaries(WORD, st.integers(0, 9), min_size=1, max_size=6), max_size=5)
SUFFIX = st.sampled_from(["", ".gz"])


@settings(max_examples=60)
@given(RANKINGS, SUFFIX)
def test_the_order_of_rankings_comes_back(ranked: list[Ranking], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"run{suffix}"
        assert write_run(path, iter(ranked)) == sum(map(len, ranked))
        found = read_run(path)
        assert [(r.query_id, r.result_ids, r.by) for r in found] == [
            (r.query_id, r.result_ids, r.by or "wholepage") for r in ranked
        ]
        # What was read has scores that can be written, so that a second turn changes nothing.
        write_run(Path(folder) / f"again{suffix}", found)
        assert read_run(Path(folder) / f"again{suffix}") == found


@settings(max_examples=60)
@given(RANKINGS)
def test_tools_that_look_at_scores_only_see_the_same_order(ranked: list[Ranking]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write_run(path, ranked)
        told: dict[str, list[tuple[np.float32, str]]] = {}
        for scored in ir_measures.read_trec_run(str(path)):
            told.setdefault(scored.query_id, []).append((np.float32(scored.score), scored.doc_id))
    for ranking in ranked:
        # trec_eval: by score in 32 bits, equal scores by docid from the last to the first.
        by_tool = [doc_id for _, doc_id in sorted(told[ranking.query_id], reverse=True)]
        assert by_tool == list(ranking.result_ids)
        assert len({score for score, _ in told[ranking.query_id]}) == len(ranking)


@pytest.mark.parametrize(
    ("scores", "written"),
    [
        ((3.5, 2.0, -1.0), (3.5, 2.0, -1.0)),
        ((3.5, 2.0, 2.0), (3.0, 2.0, 1.0)),
        ((1.0, 2.0, 3.0), (3.0, 2.0, 1.0)),
        ((3.5, None, 1.0), (3.0, 2.0, 1.0)),
        (None, (3.0, 2.0, 1.0)),
        ((1.0 + 1e-12, 1.0, 0.0), (3.0, 2.0, 1.0)),  # equal in 32 bits
        ((1e300, 1.0, 0.0), (3.0, 2.0, 1.0)),  # infinite in 32 bits
        ((np.float64(0.5), np.float64(0.25), np.float64(0.125)), (0.5, 0.25, 0.125)),
    ],
)
def test_scores_are_made_up_only_where_they_must_be(scores: Any, written: tuple[float, ...], tmp_path: Path) -> None:
    write_run(tmp_path / "run", [Ranking("q", ("a", "b", "c"), scores, "me")])
    assert read_run(tmp_path / "run") == [Ranking("q", ("a", "b", "c"), written, "me")]


def test_the_form_of_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [Ranking("q", ("a", "b"), (2.5, 1.0), "bm25"), Ranking("r", ("c",)), Ranking("s", ())])
    assert (tmp_path / "run").read_text() == "q Q0 a 1 2.5 bm25\nq Q0 b 2 1.0 bm25\nr Q0 c 1 1.0 wholepage\n"
    write_run(tmp_path / "run", [Ranking("q", ("a",), by="name of two words")], tag="mine")
    assert (tmp_path / "run").read_text() == "q Q0 a 1 1.0 mine\n"


@given(
    st.dictionaries(
        WORD, st.dictionaries(WORD, st.sampled_from([-1.5, 0.0, 1e-3, 7.0]), min_size=1, max_size=6), max_size=4
    ),
    st.randoms(use_true_random=False),
    st.sampled_from([4, 6]),
)
def test_a_run_is_read_as_ir_measures_reads_it(scored: dict[str, dict[str, float]], random: Any, columns: int) -> None:
    lines = []
    for query_id, of in scored.items():
        ranks = sorted(random.sample(range(100), len(of)))
        by_score = sorted(of.items(), key=lambda item: (-item[1], random.random()))
        for (result_id, score), rank in zip(by_score, ranks, strict=True):
            q0, tag = ("Q0\t", "\ttag") if columns == 6 else ("", "")
            lines.append(f"{query_id} {q0}{result_id} {rank}  {score}{tag}\n")
    random.shuffle(lines)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        path.write_text("".join(lines), encoding="utf-8")
        found = read_run(path)
        if columns == 6:
            theirs = [(s.query_id, s.doc_id, s.score) for s in ir_measures.read_trec_run(str(path))]
            ours = [(r.query_id, i, s) for r in found for i, s in zip(r.result_ids, r.scores or (), strict=True)]
            assert sorted(ours) == sorted(theirs)
    assert {r.query_id: dict(zip(r.result_ids, r.scores or (), strict=True)) for r in found} == scored
    rank_of = {(p[0], p[-3 if columns == 4 else -4]): int(p[-2 if columns == 4 else -3]) for p in map(str.split, lines)}
    for ranking in found:
        ranks = [rank_of[ranking.query_id, i] for i in ranking.result_ids]
        assert ranks == sorted(ranks)


def test_ranks_order_and_lines_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q Q0 a 9 1.0 t\nr Q0 x 7 1 t\nq Q0 c 0 2.0 t\nq Q0 b 3 1.0 t\n")
    assert read_run(tmp_path / "run") == [
        Ranking("q", ("c", "b", "a"), (2.0, 1.0, 1.0), "t"),
        Ranking("r", ("x",), (1.0,), "t"),
    ]


@settings(max_examples=60)
@given(QRELS, SUFFIX)
def test_qrels_come_back(qrels: dict[str, dict[str, int]], suffix: str) -> None:
    said = Judgments.from_mapping(qrels)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"qrels{suffix}"
        assert write_qrels(path, said) == len(said)
        assert read_qrels(path) == said
        if not suffix:
            theirs = [(q.query_id, q.doc_id, q.relevance) for q in ir_measures.read_trec_qrels(str(path))]
            assert theirs == [(g.query_id, g.result_id, g.grade) for g in said if isinstance(g, Grade)]


@given(QRELS, st.randoms(use_true_random=False), st.sampled_from(["short", "long", "header"]))
def test_qrels_of_all_forms_are_read_as_ir_measures_reads_them(
    qrels: dict[str, dict[str, int]], random: Any, form: str
) -> None:
    rows = [(q, r, grade) for q, of in qrels.items() for r, grade in of.items()]
    random.shuffle(rows)
    lines = [f"{q} 0 {r} {grade}\n" if form == "long" else f"{q}\t{r}\t{grade}\n" for q, r, grade in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "qrels"
        path.write_text("query-id\tcorpus-id\tscore\n" * (form == "header") + "".join(lines), encoding="utf-8")
        assert read_qrels(path) == Judgments.from_mapping(qrels)
        if form == "long":
            theirs: dict[str, dict[str, int]] = {}
            for qrel in ir_measures.read_trec_qrels(str(path)):
                theirs.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
            assert read_qrels(path).to_qrels() == theirs


def test_grades_below_zero_are_refused_or_read_as_zero(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q 0 a -2\nq 0 b 1\n")
    with pytest.raises(RecordError, match='negative="zero"'):
        read_qrels(tmp_path / "qrels")
    assert read_qrels(tmp_path / "qrels", negative="zero").by_result("q") == {"a": 0.0, "b": 1.0}
    with pytest.raises(InputError, match="allowed: 'refuse', 'zero'"):
        read_qrels(tmp_path / "qrels", negative="drop")  # type: ignore[arg-type]


def test_qrels_hold_means_rounded_down_and_no_preferences(tmp_path: Path) -> None:
    said = Judgments(
        [Grade("q", "b", 1.0, "ann"), Grade("q", "b", 2.0, "bob"), Grade("q", "a", 3.0)],
        [Preference("r", "a", "b", Choice.LEFT)],
    )
    assert write_qrels(tmp_path / "qrels", said) == 2
    assert (tmp_path / "qrels").read_text() == "q 0 a 3\nq 0 b 1\n"


RUN, REL = "q Q0 a 1 1.0 t\n", "q 0 a 1\n"
BAD: list[tuple[Callable[[Path], Any], str, int, str, str]] = [
    (read_run, "q Q0 a 1 1.0\n", 1, "line", "5 columns"),
    (read_run, RUN + "q b 2 0.5\n", 2, "line", "4 columns; allowed: qid Q0 docid rank score tag"),
    (read_run, RUN + "q Q0 b 2 0.", 2, "line", "5 columns"),
    (read_run, RUN + "q Q0 b 2 nan t", 2, "score", "'nan'"),
    (read_run, RUN + "q Q0 b 2 -inf t", 2, "score", "'-inf'"),
    (read_run, RUN + "q Q0 b 2 1e999 t", 2, "score", "'1e999'"),
    (read_run, RUN + "q Q0 b 2 1_0 t", 2, "score", "'1_0'"),
    (read_run, RUN + "q Q0 b 2 0,5 t", 2, "score", "'0,5'; allowed: a finite number"),
    (read_run, RUN + "q Q0 b -2 1 t", 2, "rank", "'-2'"),
    (read_run, RUN + "q Q0 b 1.5 1 t", 2, "rank", "'1.5'"),
    (read_run, RUN + "q Q0 b \u0662 1 t", 2, "rank", "a whole number"),
    (read_run, RUN + "r Q0 a 1 1 t\nq Q0 a 2 0.5 t", 3, "docid", "'a' of query 'q' again, first in line 1"),
    (read_run, RUN + "q Q0 b 1 0.5 t", 2, "rank", "rank 1 of query 'q' again, first in line 1"),
    (read_run, RUN + "q Q0 b 2 0.5 u", 2, "tag", "'u' after 't'"),
    (read_run, RUN + "q Q0 b 2 1.5 t", 2, "score", "1.5, above the 1.0 of rank 1 (line 1) of 'q'"),
    (read_run, "q Q0 a 2 1.0 t\nr Q0 a 1 9 t\nq Q0 b 1 0.5 t", 1, "score", "1.0, above the 0.5 of rank 1 (line 3)"),
    (read_run, RUN + "\n" + RUN, 2, "line", "a blank line"),
    (read_run, "\ufeff" + RUN, 1, "line", "byte order mark"),
    (read_qrels, "q 0 a\nq 0 b 1\n", 1, "rel", "'a'"),
    (read_qrels, "q a\n", 1, "line", "2 columns"),
    (read_qrels, REL + "q a 1\n", 2, "line", "3 columns"),
    (read_qrels, REL + "q 1 a 2\n", 2, "docid", "'a' of query 'q' again, first in line 1"),
    (read_qrels, REL + "q 0 b 1.5\n", 2, "rel", "'1.5'; allowed: a whole number"),
    (read_qrels, REL + "q 0 b -1\n", 2, "rel", "got -1"),
    (read_qrels, REL + "q 0 b nan\n", 2, "rel", "'nan'"),
    (read_qrels, "q a 1\nquery-id corpus-id score\n", 2, "rel", "'score'"),
    (read_qrels, "qid docid rel\nq a 1\n", 1, "rel", "'rel'"),
]


@pytest.mark.parametrize(("read", "text", "line", "field", "said"), BAD, ids=range(len(BAD)))
def test_broken_files_are_refused_with_their_place(
    read: Callable[[Path], Any], text: str, line: int, field: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read(path)
    assert (caught.value.path, caught.value.line, caught.value.field) == (str(path), line, field)
    assert said in str(caught.value)


@pytest.mark.parametrize("read", [read_run, read_qrels])
def test_missing_files_and_other_encodings(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        read(tmp_path / "missing")
    assert caught.value.line == 0
    (tmp_path / "latin").write_bytes(b"q\xe9 0 a 1\n")
    with pytest.raises(RecordError, match="UTF-8"):
        read(tmp_path / "latin")


@pytest.mark.parametrize(
    ("rankings", "said"),
    [
        ([Ranking("q", ("a",)), Ranking("q", ("b",))], "query 'q' again"),
        ([Ranking("q", ("a b",))], r"result_ids\[0\].*'a b'"),
        ([Ranking("q", ("a", "b\xa0c"))], r"result_ids\[1\]"),
        ([Ranking("q 1", ("a",))], "query_id.*'q 1'"),
        ([Ranking("", ("a",))], "query_id"),
        ([Ranking("q", ("a",), by="two words")], "tag.*'two words'"),
        ([Ranking("q", ("\ud800",))], "UTF-8"),
    ],
)
def test_what_columns_cannot_hold_is_not_written(rankings: list[Ranking], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=said):
        write_run(tmp_path / "run", rankings)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("grade", [Grade("q 1", "a", 1.0), Grade("q", "", 1.0), Grade("q", "a\tb", 1.0)])
def test_what_qrels_cannot_hold_is_not_written(grade: Grade, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="a name without white space"):
        write_qrels(tmp_path / "qrels", Judgments([grade]))
    assert os.listdir(tmp_path) == []
