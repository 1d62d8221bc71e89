"""Qilin: its true toy rows against its own qrels, and made-up tables in both forms."""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from wholepage.collections import open_collection
from wholepage.collections.qilin import Qilin
from wholepage.collections.qilin_rows import DENSE, NOTE_COLUMNS, STATISTICS, USER_COLUMNS, note_of, user_of
from wholepage.collections.table_files import read_table
from wholepage.pages import Collection, InputError, Modality, RecordError


@pytest.fixture
def toy(data_root: Path) -> Path:
    if not (data_root / "qilin_toy").is_dir():
        pytest.skip(f"no qilin_toy in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    return data_root


# Split -> results, and notes clicked, of the ten rows.
TOY = {
    "search_train": (206, 27),
    "search_test": (303, 43),
    "recommendation_train": (66, 18),
    "recommendation_test": (115, 31),
    "dqa": (229, 28),
}


@pytest.mark.parametrize("split", TOY)
def test_true_toy_rows(toy: Path, split: str) -> None:
    collection = open_collection("qilin", toy, missing="name")
    assert isinstance(collection, Collection)
    pages, said = list(collection.pages(split)), collection.judgments(split)
    assert len(pages) == 10
    graded = {(g.query_id, g.result_id): g.grade for page in pages for g in said.grades(page.query_id)}
    assert set(graded) == {(page.query_id, result_id) for page in pages for result_id in page.result_ids}
    assert (len(graded), sum(grade > 0 for grade in graded.values())) == TOY[split]
    assert all(page.query.text for page in pages)


@pytest.mark.parametrize("split", ["search_test", "recommendation_test", "dqa"])
def test_clicks_of_the_toy_rows_are_one_query_of_the_official_qrels(toy: Path, split: str) -> None:
    collection = Qilin(toy, missing="name")
    official = collection.official(split)
    relevant = {query_id: frozenset(official.by_result(query_id)) for query_id in official.query_ids}
    for number, (_, said) in enumerate(collection.graded_pages(split)):
        grades = {one.result_id: one.grade for one in said}
        clicked = frozenset(r for r, grade in grades.items() if grade > 0 and r != "dqa")
        found = [query_id for query_id, of in relevant.items() if of == clicked]
        assert len(found) == (1 if clicked else 0)
        if split == "dqa" and clicked:  # its toy rows are the first ten of the table
            assert found == [str(number)]


def test_simulated_pages_of_the_true_toy_rows(toy: Path) -> None:
    shown, simulated = Qilin(toy, missing="name"), Qilin(toy, missing="name", pool="simulated")
    pages = {page.query_id: page for page in simulated.pages("search_test")}
    clicks = {page.query_id: sum(one.grade > 0 for one in said) for page, said in shown.graded_pages("search_test")}
    judged = simulated.judgments("search_test")
    assert sorted(pages) == sorted(query_id for query_id, clicked in clicks.items() if clicked >= 5)
    assert {query_id: len(page) for query_id, page in pages.items()} == {
        "53716": 19,
        "52785": 17,
        "54410": 15,
        "55146": 18,
    }
    for ranking in simulated.by_behaviour("search_test"):
        assert sorted(ranking.result_ids) == sorted(pages[ranking.query_id].result_ids)
        grades = [judged.by_result(ranking.query_id)[r] for r in ranking.result_ids]
        assert grades == sorted(grades, reverse=True)
        assert grades.count(0.0) == 10
        assert ranking.result_ids != pages[ranking.query_id].result_ids
    assert [len(r) for r in shown.run("search_test", "bm25_results")] == [100] * 10


def test_true_toy_notes_and_users(toy: Path) -> None:
    """Against the cells as they are printed, read by other means."""
    folder = toy / "qilin_toy"
    with gzip.open(folder / "notes.csv.gz", "rt", encoding="utf-8", newline="") as file:
        printed = list(csv.DictReader(file))
    read = [note_of(row) for row in read_table(folder, "notes", NOTE_COLUMNS)]
    assert len(read) == len(printed) == 10
    for (note_id, note), cells in zip(read, printed, strict=True):
        assert note_id == cells["note_idx"]
        assert (note.title, note.content) == (cells["note_title"], cells["note_content"])
        assert list(note.images) == re.findall(r"'([^']*)'", cells["image_path"])
        assert note.video == (cells["note_type"] == "2.0")
        assert len(note.numbers) == 13
        assert note.numbers == {name: float(cells[name]) for name in STATISTICS}
    users = [user_of(row)[1] for row in read_table(folder, "user_feat", USER_COLUMNS)]
    assert len(users) == 10
    assert all(sum(name.startswith("dense_feat") for name in of) == 40 for of in users)


def test_toy_rows_lack_their_notes(toy: Path) -> None:
    with pytest.raises(RecordError, match=r'785089.*missing="leave-out"') as caught:
        next(Qilin(toy).pages("search_train"))
    assert caught.value.path.endswith("search_train.csv.gz")
    assert caught.value.line == 2
    assert all(len(page) == 0 for page in Qilin(toy, missing="leave-out").pages("search_train"))


def seen(note: int, position: int, click: int = 0, time: float = math.nan) -> dict[str, Any]:
    return {"click": click, "note_idx": note, "page_time": time, "position": position, "note_id": f"n{note}"}


def note(idx: int, **other: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(STATISTICS, 2.0)
    row = {"note_idx": idx, "note_title": f"title {idx}", "note_content": f"content {idx}", "note_type": 1.0}
    return {**row, "image_path": [f"image/{idx}.jpg"], **numbers, "note_embedding": [0.5], **other}


def user(idx: int, **other: Any) -> dict[str, Any]:
    words = {"gender": "female", "platform": "iOS", "age": "40+", "location": ""}
    return {"user_idx": idx, **words, "fans_num": 1.0, "follows_num": 2.0, **dict.fromkeys(DENSE, 3.0), **other}


def dqa(**other: Any) -> dict[str, Any]:
    row = {"query": "why", "search_idx": 9, "user_idx": 4, "dqa_output": "Because [1].", "ref_note_idx_list": [7]}
    flags = dict.fromkeys(("is_like_clk", "is_onebox_trace_clk", "is_content_clk"), 0.0) | {"is_experience_clk": 1.0}
    shown = [seen(8, 2), seen(7, 1, 1, 12.5), seen(7, 5, 0, 30.0), seen(6, 4, 1)]
    return {**row, **flags, "search_result_details_with_idx": shown, **other}


TABLES: dict[str, list[dict[str, Any]]] = {
    "dqa": [dqa(), dqa(search_idx=10, user_idx=99, dqa_output="-1", ref_note_idx_list=[])],
    "notes": [note(6, note_content=""), note(7, video_width=math.nan), note(8, note_type=2.0)],
    "user_feat": [user(4, location="Hong Kong"), user(5)],
}


def as_parquet(root: Path, tables: dict[str, list[dict[str, Any]]]) -> Path:
    for name, rows in tables.items():
        (root / name).mkdir(parents=True)
        for part, half in enumerate((rows[:1], rows[1:])):
            parquet.write_table(pa.Table.from_pylist(half), root / name / f"train-0000{part}-of-00002.parquet")
    return root


def as_csv(root: Path, tables: dict[str, list[dict[str, Any]]]) -> Path:
    """As pandas writes cells that hold arrays: printed."""
    root.mkdir(exist_ok=True)
    for name, rows in tables.items():
        with gzip.open(root / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            for row in rows:
                out.writerow({k: str(np.array(v, dtype=object)) if isinstance(v, list) else v for k, v in row.items()})
    return root


@pytest.mark.parametrize("write", [as_parquet, as_csv])
def test_pages_of_either_form(tmp_path: Path, write: Callable[[Path, dict[str, list[dict[str, Any]]]], Path]) -> None:
    collection = Qilin(write(tmp_path / "tables", TABLES), images=tmp_path)
    first, second = collection.pages("dqa")
    assert (first.query_id, first.query.text) == ("9", "why")
    assert first.query.user["location"] == "Hong Kong"
    assert first.query.user["dense_feat40"] == 3.0
    assert second.query.user == {}
    assert first.result_ids == ("dqa", "7", "8", "6")
    answer, seven, eight, six = first.results
    assert (answer.modality, answer.text) == (Modality.ANSWER, "Because [1].")
    assert (seven.modality, seven.text) == (Modality.IMAGE, "title 7. content 7")
    assert seven.images[0].uri == str(tmp_path / "image/7.jpg")
    assert set(STATISTICS) - set(seven.features) == {"video_width"}
    assert (eight.modality, eight.features["kind:video"]) == (Modality.VIDEO, 1.0)
    assert six.text == "title 6"
    assert not any(name in six.features for name in ("click", "like", "page_time"))
    assert collection.judgments("dqa").by_result("9") == {"dqa": 1.0, "7": 2.0, "8": 0.0, "6": 1.0}
    assert second.result_ids == ("7", "8", "6")
    assert next(collection.by_behaviour("dqa")).scores == (14.5, 1.0, 0.0)
    assert Qilin(tmp_path / "tables").splits() == ("dqa",)
    assert {r.modality for r in next(Qilin(tmp_path / "tables").pages("dqa")).results} == {
        Modality.TEXT,
        Modality.ANSWER,
    }


def test_an_index_is_kept_and_made_anew_when_the_notes_change(tmp_path: Path) -> None:
    root, index = as_csv(tmp_path / "tables", TABLES), tmp_path / "index"
    before = next(Qilin(root, index=index).pages("dqa"))
    kept = tmp_path / "index.notes"
    stamp = kept.stat().st_mtime_ns
    assert next(Qilin(root, index=index).pages("dqa")) == before
    assert kept.stat().st_mtime_ns == stamp
    as_csv(root, {**TABLES, "notes": [note(n, note_title="another, longer title") for n in (6, 7, 8)]})
    assert "another" in next(Qilin(root, index=index).pages("dqa")).results[1].text


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ({"search_result_details_with_idx": [seen(7, 1, click=2) | {"note_idx": 7.5}]}, "note_idx"),
        ({"search_result_details_with_idx": "[{'click': 1 ... }]"}, "search_result_details_with_idx"),
        ({"search_result_details_with_idx": "[3]"}, "search_result_details_with_idx[0]"),
        ({"search_idx": "nine"}, "search_idx"),
        ({"search_idx": 9}, "search_idx"),
        ({"ref_note_idx_list": "[1 2"}, "ref_note_idx_list"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, cells: dict[str, Any], field: str) -> None:
    tables = {**TABLES, "dqa": [TABLES["dqa"][0], dqa(**{"search_idx": 11, **cells})]}
    root = as_csv(tmp_path / "tables", tables)
    with pytest.raises(RecordError) as caught:
        list(Qilin(root, missing="name").pages("dqa"))
    assert field in caught.value.field
    assert caught.value.path.endswith("dqa.csv.gz")
    assert caught.value.line > 2  # a printed list may take several lines


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold it"):
        Qilin(tmp_path)
    root = as_csv(tmp_path / "tables", TABLES)
    with pytest.raises(InputError, match="allowed: dqa"):
        next(Qilin(root).pages("search_train"))
    with pytest.raises(InputError, match="official qrels"):
        Qilin(root).official("dqa")
    with pytest.raises(InputError, match="pool: got 'all'"):
        Qilin(root, pool="all")  # type: ignore[arg-type]
    (root / "notes.csv.gz").write_bytes(gzip.compress(b"note_idx,note_title\n1,a\n"))
    with pytest.raises(RecordError, match="columns: got no note_content"):
        next(Qilin(root).pages("dqa"))
    (root / "dqa.csv.gz").write_bytes((root / "dqa.csv.gz").read_bytes()[:-12])
    with pytest.raises(RecordError, match="broken gzip"):
        list(Qilin(root, missing="name").by_behaviour("dqa"))
    as_csv(root, {**TABLES, "notes": [note(7, image_path=["../../secret.png"])]})
    with pytest.raises(RecordError, match="stays in its folder"):
        next(Qilin(root, images=tmp_path).pages("dqa"))
