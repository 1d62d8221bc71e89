"""PyTerrier's transformer, against the library itself; no Java is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("pyterrier", reason="python-terrier is not installed; it comes with the extra 'pyterrier'")

import pandas as pd
import pyterrier as pt
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.apps.adapters.pyterrier import WholepageReranker
from wholepage.apps.places import NotFound
from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.protocols import by_score

from .words import OrderOnly, WordScorer, words


def frame() -> pd.DataFrame:
    rows = [
        ("q2", "red shoe", "d1", "blue hat", 9.0),
        ("q1", "hat", "d1", "blue hat", 7.0),
        ("q2", "red shoe", "d2", None, 8.0),
        ("q2", "red shoe", "d3", "red shoe", 7.0),
        ("q1", "hat", "d4", "red shoe", 6.0),
        ("q2", "red shoe", "d3", "red shoe", 6.0),
        ("q2", "red shoe", "d5", "red hat", 5.0),
    ]
    made = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"], index=[3, 3, 1, 4, 1, 5, 9])
    return pt.model.add_ranks(made.assign(url=[f"u{i}" for i in range(7)]))


def test_rows_come_back_once_best_first() -> None:
    given_frame = frame()
    found = WholepageReranker(words()).transform(given_frame)
    pd.testing.assert_frame_equal(given_frame, frame())
    assert found["docno"].tolist() == ["d3", "d3", "d5", "d1", "d2", "d1", "d4"]
    assert found["qid"].tolist() == ["q2"] * 5 + ["q1"] * 2
    assert found["url"].tolist() == ["u3", "u5", "u6", "u0", "u2", "u1", "u4"]
    assert found["score"].tolist() == [0.5, 0.5, -0.5, -1.5, -2.5, -0.5, -1.5]
    assert found["rank"].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert (str(found["score"].dtype), str(found["rank"].dtype)) == ("float64", "int64")
    assert set(found.columns) == set(given_frame.columns)
    # Ranks made anew from the scores are the same, which is what the library's own steps do.
    assert pt.model.add_ranks(found.copy())["rank"].tolist() == found["rank"].tolist()


def test_it_works_in_pipelines_with_cutoffs_and_measures() -> None:
    pipeline = pt.Transformer.from_df(frame()) >> WholepageReranker(words()) % 2
    found = pipeline(pd.DataFrame([["q1", "hat"], ["q2", "red shoe"]], columns=["qid", "query"]))
    assert sorted(zip(found["qid"], found["docno"], strict=True)) == [
        ("q1", "d1"), ("q1", "d4"), ("q2", "d3"), ("q2", "d3"),
    ]  # fmt: skip
    as_records = WholepageReranker(words())(frame().to_dict(orient="records"))
    assert [row["docno"] for row in as_records][:2] == ["d3", "d3"]
    outputs = pt.inspect.transformer_outputs(WholepageReranker(words()), ["qid", "query", "docno", "text"])
    assert set(outputs) == {"qid", "query", "docno", "text", "score", "rank"}


def test_no_rows_and_no_order_keep_their_columns() -> None:
    empty = WholepageReranker(words()).transform(frame().iloc[:0])
    assert set(empty.columns) == set(frame().columns)
    assert empty.empty
    found = WholepageReranker(OrderOnly()).transform(frame())
    assert found["docno"].tolist() == ["d5", "d3", "d3", "d1", "d2", "d4", "d1"]
    assert found["score"].tolist() == [0.0, -1.0, -2.0, -3.0, -4.0, 0.0, -1.0]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(["1", "2"]), st.sampled_from(["a", "b c", "", "c", "a b c"])), max_size=8))
def test_nothing_is_lost_or_invented(rows: list[tuple[str, str]]) -> None:
    made = pd.DataFrame(
        [(q, "a c", f"d{i}", t) for i, (q, t) in enumerate(rows)], columns=["qid", "query", "docno", "text"]
    )
    found = WholepageReranker(words()).transform(made)
    kept = found.sort_values("docno")[["qid", "query", "docno", "text"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, made.sort_values("docno").reset_index(drop=True), check_dtype=False)
    for _, query in found.groupby("qid"):
        assert query["rank"].tolist() == list(range(len(query)))
        assert query["score"].is_monotonic_decreasing
        assert pt.model.add_ranks(query.copy())["rank"].tolist() == query["rank"].tolist()


def test_pictures_are_paths_or_lists(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    made = pd.DataFrame({
        "qid": "q", "query": "red", "docno": ["1", "2", "3", "4"], "text": ["red", "", "blue", None],
        "picture": [path, [path, path], None, path], "modality": [None, "video", "answer", float("nan")],
    })  # fmt: skip
    scorer = WordScorer()
    found = WholepageReranker(by_score(scorer), image_field="picture").transform(made)
    assert found["docno"].tolist() == ["1", "3", "2", "4"]
    [page] = scorer.pages
    assert [(result.modality.value, len(result.images)) for result in page.results] == [
        ("image", 1), ("video", 2), ("answer", 0), ("image", 1),
    ]  # fmt: skip
    only = WholepageReranker(words(), image_field="picture").transform(made.drop(columns="text"))
    assert len(only) == 4
    made.loc[0, "picture"] = "none.png"
    with pytest.raises(ImageError, match=r"^query 'q': documents\[0\]: image 'none.png' is missing"):
        WholepageReranker(words(), image_field="picture").transform(made)


def test_what_cannot_be_is_said_at_once() -> None:
    reranker = WholepageReranker(words())
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        reranker.transform(frame().drop(columns="text"))
    twice = frame()
    twice["query"] = [f"query {i}" for i in range(7)]
    with pytest.raises(InputError, match=r"query 'q2': got .*; allowed: one text in all its rows"):
        reranker.transform(twice)
    with pytest.raises(InputError, match=r"^query 'q2': documents\[0\]: got the text 7"):
        reranker.transform(frame().assign(text=7))
    with pytest.raises(NotFound, match="nowhere/at/all"):
        WholepageReranker("nowhere/at/all")
    assert repr(reranker) == "WholepageReranker('words')"
