"""INQUIRE-Rerank, ViDoRe and MixBench in the columns and files of their cards: made-up pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from wholepage.collections import open_collection
from wholepage.collections.drawn_lists import drawn
from wholepage.collections.inquire import InquireRerank
from wholepage.collections.mixbench import MixBench
from wholepage.collections.table_files import Row
from wholepage.collections.table_pictures import picture_of
from wholepage.collections.vidore import Vidore
from wholepage.pages import Collection, InputError, Modality, RecordError
from wholepage.pages.images import open_image


def picture(shade: int, kind: str = "JPEG") -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(file, kind)
    return {"bytes": file.getvalue(), "path": f"{shade}.jpg"}


def table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


# --- INQUIRE ----------------------------------------------------------------------------------------------------------


def photo(number: int, query: str, relevant: int, score: float, **other: Any) -> dict[str, Any]:
    species = {"supercategory": "Birds", "inat24_species_name": "Parus major", "license": "CC-BY", "latitude": 1.5}
    row = {"image": picture(number), "query": query, "relevant": relevant, "clip_score": score}
    return {**row, "inat24_image_id": number, "inat24_file_name": f"{number}.jpg", **species, **other}


PHOTOS = [photo(1, "a bird", 0, 0.3), photo(2, "a bee", 1, 0.2), photo(3, "a bird", 1, 0.4)]


def test_inquire(tmp_path: Path) -> None:
    table(tmp_path / "inquire/data/test-00000-of-00002.parquet", PHOTOS[:2])
    table(tmp_path / "inquire/data/test-00001-of-00002.parquet", PHOTOS[2:])
    collection = open_collection("inquire", tmp_path)
    assert isinstance(collection, Collection)
    assert isinstance(collection, InquireRerank)
    assert collection.splits() == ("test",)
    bird, bee = collection.pages("test")
    assert (bird.query_id, bird.query.text, bird.result_ids) == ("test-0001", "a bird", ("1", "3"))
    assert (bee.query_id, bee.result_ids) == ("test-0002", ("2",))
    one = bird.results[1]
    assert (one.modality, one.text, one.features) == (Modality.IMAGE, "", {"clip_score": 0.4})
    assert open_image(one.images[0]).size == (6, 4)
    assert collection.judgments("test").by_result("test-0001") == {"1": 0.0, "3": 1.0}
    clip = collection.first_stage_run("test")["test-0001"]
    assert (clip.result_ids, clip.scores) == (("3", "1"), (0.4, 0.3))
    stamp = (tmp_path / "inquire/pictures/test.sqlite").stat().st_mtime_ns
    assert list(InquireRerank(tmp_path).pages("test")) == [bird, bee]
    assert (tmp_path / "inquire/pictures/test.sqlite").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ({"image": {"bytes": b"no picture", "path": ""}}, "image"),
        ({"image": {"bytes": None, "path": "1.jpg"}}, "image"),
        ({"relevant": 2}, "relevant"),
        ({"query": " "}, "query"),
        ({"clip_score": float("nan")}, "clip_score"),
        ({"inat24_image_id": None}, "inat24_image_id"),
    ],
)
def test_a_bad_photo_is_named(tmp_path: Path, cells: dict[str, Any], field: str) -> None:
    table(tmp_path / "test-0.parquet", [PHOTOS[0], PHOTOS[1] | cells])
    with pytest.raises(RecordError) as caught:
        list(InquireRerank(tmp_path).pages("test"))
    assert (caught.value.line, caught.value.field) == (2, field)


def test_a_place_that_cannot_hold_pictures_is_named(tmp_path: Path) -> None:
    table(tmp_path / "test-0.parquet", PHOTOS)
    (tmp_path / "taken").write_text("a file")
    for place in (tmp_path / "taken", tmp_path / "taken/below"):
        with pytest.raises(InputError, match=r"pictures: got .*taken.*may be written to"):
            next(InquireRerank(tmp_path, pictures=place).pages("test"))
    row = Row(tmp_path / "test-0.parquet", 1, PHOTOS[0])
    with pytest.raises(InputError, match="pictures: got"):
        picture_of(row, "image", tmp_path / "taken")


def test_a_photo_twice_is_named(tmp_path: Path) -> None:
    table(tmp_path / "test-0.parquet", [PHOTOS[0], PHOTOS[0]])
    with pytest.raises(RecordError, match="share the id '1'"):
        list(InquireRerank(tmp_path).pages("test"))


# --- ViDoRe -----------------------------------------------------------------------------------------------------------

SHEETS = [{"corpus-id": n, "image": picture(n, "PNG"), "doc-id": f"d{n}"} for n in range(30)]
QUESTIONS = [{"query-id": n, "query": f"question {n}"} for n in range(3)]
RELEVANT = [{"query-id": n, "corpus-id": n * 5 + k, "score": 1} for n in range(3) for k in range(2)]


def vidore(root: Path, **parts: list[dict[str, Any]]) -> Path:
    for part, rows in {"corpus": SHEETS, "queries": QUESTIONS, "qrels": RELEVANT, **parts}.items():
        table(root / part / "test-00000-of-00001.parquet", rows)
    return root


def test_vidore(tmp_path: Path) -> None:
    vidore(tmp_path / "vidore/shift")
    collection = open_collection("vidore", tmp_path, results=10)
    assert isinstance(collection, Collection)
    assert isinstance(collection, Vidore)
    assert collection.splits() == ("shift/test",)
    pages = list(collection.pages("shift/test"))
    assert [page.query.text for page in pages] == ["question 0", "question 1", "question 2"]
    assert {len(page) for page in pages} == {10}
    for number, page in enumerate(pages):
        assert {str(number * 5), str(number * 5 + 1)} <= set(page.result_ids)
        assert open_image(page.results[0].images[0]).getpixel((0, 0)) == (int(page.result_ids[0]), 0, 0)
    assert collection.judgments("shift/test").by_result("1") == {"5": 1.0, "6": 1.0}
    assert list(Vidore(tmp_path / "vidore", results=10).pages("shift/test")) == pages
    assert list(Vidore(tmp_path, results=10, seed=1).pages("shift/test")) != pages
    (tmp_path / "run.txt").write_text("2 Q0 7 1 3.0 x\n2 Q0 3 2 2.0 x\n2 Q0 9 3 1.0 x\n")
    (page,) = Vidore(tmp_path, run=tmp_path / "run.txt", results=2).pages("shift/test")
    assert (page.query_id, page.result_ids) == ("2", ("7", "3"))


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"corpus": [SHEETS[0], SHEETS[0]]}, r"test-00000-of-00001.parquet:2: corpus-id, image"),
        ({"corpus": [{"id": "a", "image": picture(1)}]}, "no corpus-id"),
        ({"queries": [QUESTIONS[0], QUESTIONS[0]]}, "each question once"),
        ({"qrels": [RELEVANT[0] | {"score": -1}]}, "score: got -1"),
        ({"qrels": [RELEVANT[0] | {"corpus-id": 99}]}, "which the corpus does not have"),
    ],
)
def test_a_bad_sheet_is_named(tmp_path: Path, parts: dict[str, list[dict[str, Any]]], named: str) -> None:
    with pytest.raises(RecordError, match=named):
        list(Vidore(vidore(tmp_path, **parts)).pages("test"))


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    next((vidore(tmp_path) / "corpus").iterdir()).rename(tmp_path / "corpus/train-0.parquet")
    with pytest.raises(RecordError, match=r"no corpus/test-\*"):
        Vidore(tmp_path)
    with pytest.raises(InputError, match="results: got 1"):
        Vidore(vidore(tmp_path / "b"), results=1)


# --- the draw ---------------------------------------------------------------------------------------------------------


def test_a_draw_holds_the_relevant_and_fills_up() -> None:
    corpus = [str(n) for n in range(50)]
    page = drawn("q", {"3": 1.0, "4": 0.0, "49": 2.0}, corpus, 20, 0)
    assert len(page) == len(set(page)) == 20
    assert {"3", "49"} <= set(page)
    assert page == drawn("q", {"49": 2.0, "3": 1.0}, corpus, 20, 0)
    assert page != drawn("p", {"3": 1.0, "49": 2.0}, corpus, 20, 0)
    assert sorted(drawn("q", {}, corpus[:5], 20, 0)) == corpus[:5]
    assert len(drawn("q", dict.fromkeys(corpus[:8], 1.0), corpus, 3, 0)) == 8
    places = [drawn(f"q{n}", {"3": 1.0}, corpus, 5, 0).index("3") for n in range(400)]
    assert all(50 < places.count(place) < 110 for place in range(5)), "where the relevant one stands tells nothing"


# --- MixBench ---------------------------------------------------------------------------------------------------------

DOCUMENTS = [
    {"corpus_id": "d1", "text": "words", "image": None},
    {"corpus_id": "d2", "text": "", "image": "images/2.jpg"},
    {"corpus_id": "d3", "text": "both", "image": "images/3.jpg"},
]
ASKED = [{"query_id": "q1", "text": "which?"}, {"query_id": "q2", "text": "this", "image": "images/2.jpg"}]


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def mixbench(root: Path, documents: list[dict[str, Any]] = DOCUMENTS, qrels: str = "q1\td3\t1\nq2\td2\t1\n") -> Path:
    lines(root / "OVEN/queries.jsonl", ASKED)
    lines(root / "OVEN/mixed_corpus.jsonl", documents)
    (root / "OVEN/qrels").mkdir(exist_ok=True)
    (root / "OVEN/qrels/qrels.tsv").write_text("query_id\tcorpus_id\tscore\n" + qrels)
    return root


def test_mixbench_in_jsonl(tmp_path: Path) -> None:
    mixbench(tmp_path / "mixbench")
    collection = open_collection("mixbench", tmp_path)
    assert isinstance(collection, Collection)
    assert collection.splits() == ("OVEN",)  # type: ignore[attr-defined]
    first, second = collection.pages("OVEN")
    by_id = {result.result_id: result for result in first.results}
    assert {i: r.modality for i, r in by_id.items()} == {
        "d1": Modality.TEXT,
        "d2": Modality.IMAGE,
        "d3": Modality.IMAGE,
    }
    assert by_id["d3"].text == "both"
    assert by_id["d2"].images[0].uri == str(tmp_path / "mixbench/OVEN/images/2.jpg")
    assert second.query.image is not None
    assert collection.judgments("OVEN").by_result("q1") == {"d3": 1.0}


def test_mixbench_in_parquet_is_the_same(tmp_path: Path) -> None:
    root = mixbench(tmp_path)
    (root / "OVEN/queries.jsonl").unlink()
    (root / "OVEN/mixed_corpus.jsonl").unlink()
    table(root / "OVEN/queries.parquet", [{"id": "q1", "text": "which?", "image": None}])
    rows = [{"id": d["corpus_id"], "text": d["text"], "image": picture(9) if d["image"] else None} for d in DOCUMENTS]
    table(root / "OVEN/mixed_corpus.parquet", rows)
    (page,) = MixBench(root).pages("OVEN")
    by_id = {result.result_id: result for result in page.results}
    assert (by_id["d1"].text, by_id["d3"].text, by_id["d2"].modality) == ("words", "both", Modality.IMAGE)
    assert open_image(by_id["d2"].images[0]).size == (6, 4)


@pytest.mark.parametrize(
    ("documents", "qrels", "named"),
    [
        ([*DOCUMENTS, DOCUMENTS[0]], "", r"mixed_corpus.jsonl:4: corpus_id"),
        ([{"corpus_id": "d1", "text": ""}], "", "got neither"),
        ([{"text": "no id"}], "", "no such field"),
        ([{"corpus_id": "d1", "image": "../../secret.jpg"}], "", "stays in its folder"),
        (DOCUMENTS, "q1\td9\t1\n", "which the corpus does not have"),
        (DOCUMENTS, "q1\td1\n", r"qrels.tsv:2: line"),
        (DOCUMENTS, "q1\td1\t1\nq1\td1\t1\n", r"qrels.tsv:3: line"),
    ],
)
def test_a_bad_document_is_named(tmp_path: Path, documents: list[dict[str, Any]], qrels: str, named: str) -> None:
    with pytest.raises(RecordError, match=named):
        list(MixBench(mixbench(tmp_path, documents, qrels)).pages("OVEN"))
