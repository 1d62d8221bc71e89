"""Pages and judgments in files of one's own."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import msgspec
import pytest

from wholepage.collections import open_collection
from wholepage.collections.jsonl import JsonlCollection
from wholepage.pages import Collection, Grade, InputError, Judgments, Modality, Page, Query, RecordError, Result

PAGES = [
    Page(
        Query(f"q{n}", f"red shoes {n}"),
        (Result("a", Modality.TEXT, "Red shoes"), Result("b", Modality.ANSWER, "They are red.")),
    )
    for n in range(3)
]
JUDGED = Judgments(Grade(page.query_id, "a", 2.0, who="ann") for page in PAGES)


def write_lines(path: Path, records: list[Page] | list[Grade]) -> Path:
    raw = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_qrels(path: Path) -> Path:
    path.write_text("".join(f"{page.query_id} 0 a 2\n" for page in PAGES))
    return path


def answers() -> list[Grade]:
    return [said for said in JUDGED if isinstance(said, Grade)]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_has_the_splits_of_its_file_names(tmp_path: Path, ending: str) -> None:
    write_lines(tmp_path / f"train.pages.jsonl{ending}", PAGES[:2])
    write_lines(tmp_path / f"dev.v2.pages.jsonl{ending}", PAGES[2:])
    write_lines(tmp_path / f"train.judgments.jsonl{ending}", answers())
    (tmp_path / "README.txt").write_text("not a split")
    collection = open_collection("jsonl", tmp_path)
    assert isinstance(collection, Collection)
    assert isinstance(collection, JsonlCollection)
    assert collection.splits() == ("dev.v2", "train")
    assert list(collection.pages("train")) == PAGES[:2]
    assert list(collection.pages("train")) == PAGES[:2]
    assert list(collection.pages("dev.v2")) == PAGES[2:]
    assert collection.judgments("train") == JUDGED
    with pytest.raises(InputError, match=r"split 'dev.v2': got no judgments .*dev.v2.qrels"):
        collection.judgments("dev.v2")


def test_qrels_serve_as_judgments(tmp_path: Path) -> None:
    write_lines(tmp_path / "test.pages.jsonl", PAGES)
    write_qrels(tmp_path / "test.qrels")
    assert JsonlCollection(tmp_path).judgments("test").by_result("q1") == {"a": 2.0}


def test_one_file_has_the_split_all(tmp_path: Path) -> None:
    pages = write_lines(tmp_path / "mine.jsonl", PAGES)
    assert list(JsonlCollection(pages).pages("all")) == PAGES
    with pytest.raises(InputError, match="judgments_path for a single file"):
        JsonlCollection(pages).judgments("all")
    for judged in (write_lines(tmp_path / "said.jsonl.gz", answers()), write_qrels(tmp_path / "qrels.txt")):
        assert JsonlCollection(pages, judged).judgments("all").by_result("q0") == {"a": 2.0}
    by_name = open_collection("jsonl", pages, judgments_path=tmp_path / "said.jsonl.gz")
    assert by_name.judgments("all") == JUDGED
    with pytest.raises(InputError, match="got split 'dev'; allowed: all"):
        next(JsonlCollection(pages).pages("dev"))


def test_bad_layouts_are_refused_at_the_door(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without pages; allowed: files named <split>"):
        JsonlCollection(tmp_path)
    with pytest.raises(InputError, match=r"got no file .*none.jsonl"):
        JsonlCollection(tmp_path / "none.jsonl")
    pages = write_lines(tmp_path / "dev.pages.jsonl", PAGES)
    with pytest.raises(InputError, match=r"got no file .*none.qrels"):
        JsonlCollection(pages, tmp_path / "none.qrels")
    with pytest.raises(InputError, match="beside the folder"):
        JsonlCollection(tmp_path, pages)
    odd = shutil.copy(pages, tmp_path / "said.csv")
    with pytest.raises(InputError, match=r"judgments_path: got .*said.csv.*allowed: .jsonl"):
        JsonlCollection(pages, odd).judgments("all")
    twin = write_lines(tmp_path / "dev.pages.jsonl.gz", PAGES)
    with pytest.raises(InputError, match=r"split 'dev': got both dev.pages.jsonl and dev.pages.jsonl.gz"):
        JsonlCollection(tmp_path)
    twin.unlink()
    write_qrels(tmp_path / "dev.qrels")
    write_lines(tmp_path / "dev.judgments.jsonl", answers())
    with pytest.raises(InputError, match=r"got both dev.judgments.jsonl and dev.qrels"):
        JsonlCollection(tmp_path)


def test_a_query_twice_is_refused(tmp_path: Path) -> None:
    pages = write_lines(tmp_path / "dev.pages.jsonl", [*PAGES, PAGES[1]])
    with pytest.raises(RecordError, match="q1"):
        list(JsonlCollection(pages).pages("all"))


def test_bad_lines_are_refused_with_their_place(tmp_path: Path) -> None:
    pages = write_lines(tmp_path / "dev.pages.jsonl", PAGES)
    pages.write_bytes(pages.read_bytes() + b'{"query": {"query_id": "q9"}, "results": [{"result_id": 4}]}\n')
    with pytest.raises(RecordError, match=r"dev.pages.jsonl:4") as caught:
        list(JsonlCollection(pages).pages("all"))
    assert caught.value.line == 4
