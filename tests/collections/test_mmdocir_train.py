"""MMDocIR's training set in the format of its own train_dataset.py: made-up documents, annotations and parquet."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from wholepage.collections import open_collection
from wholepage.collections.mmdocir_train import MMDocIRTrain
from wholepage.pages import Collection, InputError, Modality, RecordError
from wholepage.pages.images import open_image

DOCUMENTS = {f"paper {n}.pdf": 6 + n for n in range(12)}
"""Sheets of each, numbered from 0."""


def sheet(document: str, page: int, kind: str = "JPEG") -> bytes:
    shade = hashlib.sha256(document.encode()).digest()[0] // 4
    file = io.BytesIO()
    Image.new("RGB", (6, 8), (shade, page * 8, 0)).save(file, kind)
    return file.getvalue()


def passage(document: str, page: int | str) -> dict[str, Any]:
    return {"doc_name": document, "page_id": page}


def write_annotations(root: Path, rows: list[dict[str, Any]], subset: str = "DUDE") -> Path:
    path = root / f"annotations_top1_negative/{subset}_train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_table(root: Path, subset: str = "DUDE", *, held: bool = False, rows: Any = None, kind: str = "JPEG") -> Path:
    """The pages, the picture as bytes or as a struct that holds them."""
    rows = rows if rows is not None else [(d, p, sheet(d, p, kind)) for d, n in DOCUMENTS.items() for p in range(n)]
    image = [{"bytes": raw, "path": None} if held else raw for _, _, raw in rows]
    table = pa.table(
        {
            "file_name": [d for d, _, _ in rows],
            "page": [p for _, p, _ in rows],
            "image": image,
            "page_size": [[612.0, 792.0] for _ in rows],
            "layouts": [json.dumps([{"type": "text"}]) for _ in rows],
        }
    )
    path = root / f"parquet/{subset}_filter.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path


ROWS = [
    {
        "query_id": n,
        "query": f"What does {document} say?",
        "positive_passages": [passage(document, 1), passage(document, 3)][: 1 + n % 2],
        "negative_passages": [passage(document, 5)],
        "answers": ["not looked at"],
    }
    for n, document in enumerate(DOCUMENTS)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_annotations(tmp_path, ROWS)
    write_table(tmp_path)
    return tmp_path


def red_and_row(result: Any) -> tuple[int, int]:
    pixel = open_image(result.images[0]).getpixel((0, 0))
    return pixel[0], pixel[1]  # type: ignore[index]


@pytest.mark.parametrize(("held", "kind"), [(False, "JPEG"), (True, "PNG"), (True, "WEBP")])
def test_lists_of_sheets_with_their_grades_and_pictures(tmp_path: Path, held: bool, kind: str) -> None:
    write_annotations(tmp_path, ROWS)
    write_table(tmp_path, held=held, kind=kind)
    collection = open_collection("mmdocir_train", tmp_path, results=9, dev_share=0.3)
    assert isinstance(collection, Collection)
    assert isinstance(collection, MMDocIRTrain)
    seen = []
    for split in collection.splits():
        said = collection.judgments(split)
        for page in collection.pages(split):
            row = ROWS[int(page.query_id.removeprefix("DUDE:"))]
            document = row["positive_passages"][0]["doc_name"]
            positive = {f"{document}#{one['page_id']}" for one in row["positive_passages"]}
            assert page.query.text == row["query"]
            assert {one for one, grade in said.by_result(page.query_id).items() if grade == 1} == positive
            assert set(said.by_result(page.query_id)) == set(page.result_ids) > positive | {f"{document}#5"}
            assert len(page) == min(9, DOCUMENTS[document])
            for result in page.results:
                assert (result.modality, result.text) == (Modality.IMAGE, "")
                number = int(result.result_id.rpartition("#")[2])
                red, green = red_and_row(result)
                assert abs(red - hashlib.sha256(document.encode()).digest()[0] // 4) < 5
                assert abs(green - number * 8) < 4
            seen.append((split, document))
        assert list(collection.pages(split)) == list(collection.pages(split))
    assert sorted(document for _, document in seen) == sorted(DOCUMENTS)
    assert {split for split, _ in seen} == {"dev", "train"}
    assert collection.left_out() == ()


def test_pictures_are_unpacked_once(source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = tmp_path_factory.mktemp("kept")
    first = list(MMDocIRTrain(source, pictures=kept).pages("train"))
    files = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    assert len({path for path in files if path.suffix == ".jpg"}) == len(
        {sheet(d, p) for d, n in DOCUMENTS.items() for p in range(n)}
    )
    assert list(MMDocIRTrain(source, pictures=kept).pages("train")) == first
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()} == files
    assert not (source / "pictures").exists()
    # Another table is not taken for this one.
    write_table(source, rows=[("paper 0.pdf", 1, sheet("paper 0.pdf", 1))])
    with pytest.raises(RecordError, match=r"DUDE_train.jsonl:1: passages: got sheet '5' of 'paper 0.pdf'"):
        list(MMDocIRTrain(source, pictures=kept).pages("train"))


def test_nothing_half_unpacked_is_taken_for_whole(source: Path) -> None:
    rows = [("paper 0.pdf", 1, sheet("paper 0.pdf", 1)), ("paper 0.pdf", 2, b"GIF89a")]
    write_table(source, rows=rows)
    for _ in range(2):
        with pytest.raises(RecordError, match=r"DUDE_filter.parquet:2: image: got no PNG, JPEG or WEBP"):
            list(MMDocIRTrain(source).pages("train"))


def test_numbers_as_text_and_rows_that_come_again(tmp_path: Path) -> None:
    row = {
        "query_id": "train_54030",
        "query": "q",
        "positive_passages": [passage("wiki", "12")],
        "negative_passages": [passage("other", "7")],
    }
    write_annotations(tmp_path, [row, row, {**row, "query_id": "b"}], "Wiki-ss")
    write_table(tmp_path, "Wiki-ss", rows=[(d, p, sheet(d, 1)) for d, p in (("wiki", "12"), ("other", "7"))])
    collection = MMDocIRTrain(tmp_path, dev_share=0)
    assert [page.query_id for page in collection.pages("train")] == ["Wiki-ss:train_54030", "Wiki-ss:b"]
    assert list(collection.pages("dev")) == []
    write_annotations(tmp_path, [row, {**row, "query": "another"}], "Wiki-ss")
    with pytest.raises(
        RecordError, match=r"Wiki-ss_train.jsonl:2: query_id: got 'Wiki-ss:train_54030' again, of another"
    ):
        list(collection.pages("train"))
    write_annotations(tmp_path, [{k: v for k, v in row.items() if k != "query_id"}], "Wiki-ss")
    assert [page.query_id for page in collection.pages("train")] == ["Wiki-ss:1"]


def test_questions_in_no_split_are_told(source: Path) -> None:
    collection = MMDocIRTrain(source, dev_share=0.3)
    dev = next(page.results[0].result_id.rpartition("#")[0] for page in collection.pages("dev"))
    train = next(page.results[0].result_id.rpartition("#")[0] for page in collection.pages("train"))
    bad = [
        {
            "query_id": "sides",
            "query": "q",
            "positive_passages": [passage(dev, 1)],
            "negative_passages": [passage(train, 1)],
        },
        {"query_id": "none", "query": "q", "positive_passages": [], "negative_passages": [passage(train, 1)]},
        {
            "query_id": "both",
            "query": "q",
            "positive_passages": [passage(dev, 1)],
            "negative_passages": [passage(dev, 1)],
        },
        {"query_id": "all", "query": "q", "positive_passages": [passage("paper 0.pdf", n) for n in range(6)]},
    ]
    write_annotations(source, [*ROWS, *bad])
    collection = MMDocIRTrain(source, dev_share=0.3)
    assert {one.query_id: one.why for one in collection.left_out()} == {
        "DUDE:sides": "documents of train and of dev",
        "DUDE:none": "no positive sheet",
        "DUDE:both": "a sheet both positive and negative",
        "DUDE:all": "no sheet that is not positive",
    }
    assert sum(len(list(collection.pages(split))) for split in collection.splits()) == len(ROWS)


def test_seeds_and_sizes(source: Path) -> None:
    one, two = (list(MMDocIRTrain(source, results=5, seed=seed).pages("train")) for seed in (0, 1))
    assert [page.query for page in one] == [page.query for page in two]
    assert [page.result_ids for page in one] != [page.result_ids for page in two]
    assert {len(page) for page in one} == {5}


def test_subsets_and_options(source: Path) -> None:
    write_annotations(source, ROWS[:2], "SciQAG")
    assert MMDocIRTrain(source).subsets == ("DUDE",), "SciQAG has no sheets"
    write_table(source, "SciQAG")
    both = MMDocIRTrain(source, subsets=("SciQAG", "DUDE"), dev_share=0)
    assert [page.query_id for page in both.pages("train")][:3] == ["SciQAG:0", "SciQAG:1", "DUDE:0"]
    for options, message in (
        ({"subsets": ("CUAD",)}, r"got subsets \('CUAD',\); .*DUDE, SciQAG"),
        ({"subsets": ()}, "got subsets"),
        ({"results": 1}, "got 1, 0.05"),
        ({"dev_share": 1.0}, "got 20, 1.0"),
    ):
        with pytest.raises(InputError, match=message):
            MMDocIRTrain(source, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got split 'test'; allowed: dev, train"):
        both.pages("test").__next__()
    with pytest.raises(InputError, match=r"annotations_top1_negative/<subset>_train.jsonl"):
        MMDocIRTrain(source / "parquet")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q"}, "DUDE_train.jsonl:1: positive_passages: got no such field"),
        ({"query": " ", "positive_passages": []}, "DUDE_train.jsonl:1: query"),
        (
            {"query": "q", "positive_passages": [{"doc_name": "a"}]},
            r"positive_passages\[0\].page_id: got no such field",
        ),
        (
            {"query": "q", "positive_passages": [passage("nobody", 1)]},
            "DUDE_train.jsonl:1: passages: got sheet '1' of 'nobody'",
        ),
    ],
)
def test_bad_lines_are_refused_with_their_place(source: Path, row: dict[str, Any], message: str) -> None:
    write_annotations(source, [row])
    with pytest.raises(RecordError, match=message):
        list(MMDocIRTrain(source).pages("train"))


def test_bad_tables_are_refused_with_their_place(source: Path) -> None:
    path = write_table(source, rows=[("a", 1, sheet("a", 1)), ("a", 1, sheet("a", 2))])
    with pytest.raises(RecordError, match=r"DUDE_filter.parquet:2: page: got '1' of 'a' again"):
        list(MMDocIRTrain(source).pages("train"))
    parquet.write_table(pa.table({"doc_name": ["a"]}), path)
    with pytest.raises(RecordError, match="columns: got doc_name; allowed: file_name, page, image"):
        list(MMDocIRTrain(source).pages("train"))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"DUDE_filter.parquet: table: got"):
        list(MMDocIRTrain(source).pages("train"))
