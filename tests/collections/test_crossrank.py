"""CrossRank in the format that its authors' code reads: made-up lists and corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from wholepage.collections import open_collection
from wholepage.collections.crossrank import NUMBERS, CrossRank
from wholepage.pages import Collection, InputError, Modality, RecordError


def candidate(idx: int, label: float, position: int, upstream: float = 0.5) -> dict[str, Any]:
    extra = {"candidate_feat_5": 0.0, "candidate_feat_4": 0.0}
    return {"upstream_label": upstream, "candidate_idx": idx, **extra, "label": label, "position": position}


def row(modal: str, title: str | None, abstract: str | None = "about it") -> dict[str, Any]:
    words = {"query_intent": None, "real_title": title, "abs_basic": abstract, "title_highlight_basic": "high"}
    return {**words, "modal": modal, **dict.fromkeys(NUMBERS, 2.0), "upstream_label": 0.5}


LISTS = [
    {"query": "red", "search_idx": 7, "search_result_details_with_idx": [candidate(2, 1, 1, 0.9), candidate(0, 3, 0)]},
    {"query": "old", "search_idx": 24010, "search_result_details_with_idx": [candidate(1, 4, 0)]},
]
CORPORA = {
    "MultiModalCorpus": [row("0", "first"), row("1", "second"), row("1", None, None)],
    "SingleModalCorpus": [row("0", "other"), row("1", "another")],
}


def write(root: Path, lists: list[dict[str, Any]] = LISTS, **corpora: list[dict[str, Any]]) -> Path:
    root.mkdir(exist_ok=True)
    for name, rows in {"Multimodal_Train": lists, **CORPORA, **corpora}.items():
        parquet.write_table(pa.Table.from_pylist(rows), root / f"{name}.parquet")
    return root


def test_lists_and_their_grades(tmp_path: Path) -> None:
    write(tmp_path / "crossrank")
    collection = open_collection("crossrank", tmp_path)
    assert isinstance(collection, Collection)
    assert isinstance(collection, CrossRank)
    assert collection.splits() == ("Multimodal_Train",)
    first, second = collection.pages("Multimodal_Train")
    assert (first.query_id, first.query.text, first.result_ids) == ("7", "red", ("0", "2"))
    assert first.results[0].text == "first\nabout it"
    assert first.results[1].text == "high"
    assert {r.modality for r in first.results} == {Modality.TEXT}
    assert first.results[1].features["upstream_label"] == 0.9
    assert (first.results[1].features["modal:1"], first.results[0].features["modal:1"]) == (1.0, 0.0)
    assert not {"label", "position"} & set(first.results[0].features)
    assert second.results[0].text == "another\nabout it", "beyond 24009 the rows are those of the other corpus"
    said = collection.judgments("Multimodal_Train")
    assert (said.by_result("7"), said.by_result("24010")) == ({"0": 3.0, "2": 1.0}, {"1": 4.0})
    assert [r.result_ids for r in collection.by_position("Multimodal_Train")] == [("0", "2"), ("1",)]
    answers = CrossRank(tmp_path, second="answer")
    assert [r.modality for r in next(answers.pages("Multimodal_Train")).results] == [Modality.TEXT, Modality.ANSWER]


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ([candidate(0, 5, 0)], "label"),
        ([candidate(0, 1, 0), candidate(1, 1, 0)], "position"),
        ([candidate(0, 1, 0), candidate(0, 1, 1)], "candidate_idx"),
        ([candidate(9, 1, 0)], "candidate_idx"),
        ([{"candidate_idx": 0, "label": 1.0}], "search_result_details_with_idx[0]"),
    ],
)
def test_a_bad_list_is_named(tmp_path: Path, entries: list[dict[str, Any]], field: str) -> None:
    root = write(tmp_path, [LISTS[0] | {"search_result_details_with_idx": entries}])
    with pytest.raises(RecordError) as caught:
        list(CrossRank(root).pages("Multimodal_Train"))
    assert field in caught.value.field
    assert caught.value.line == 1


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold it"):
        CrossRank(tmp_path)
    root = write(tmp_path / "a", [LISTS[0], LISTS[0]])
    with pytest.raises(RecordError, match="7 again"):
        list(CrossRank(root).pages("Multimodal_Train"))
    root = write(tmp_path / "b", MultiModalCorpus=[row("2", "x")])
    with pytest.raises(RecordError, match=r"MultiModalCorpus.parquet:1: modal: got '2'"):
        list(CrossRank(root).pages("Multimodal_Train"))
    (root / "Multimodal_Train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match="whole Parquet file"):
        list(CrossRank(root).pages("Multimodal_Train"))
    with pytest.raises(InputError, match="allowed: Multimodal_Train"):
        list(CrossRank(root).pages("train"))
