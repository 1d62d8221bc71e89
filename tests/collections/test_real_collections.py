"""The loaders of real collections, on small made-up files of the true format."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wholepage.collections import NAMES, open_collection
from wholepage.collections.grocery import fold_of
from wholepage.collections.opencqa import reading_order
from wholepage.pages import Collection, ImageRef, InputError, Judgments, Modality, Page, RecordError
from wholepage.pages.images import open_image

Lines = dict[str, list[dict[str, Any]]]
REAL = ("fashion", "financebench", "grocery", "mmdocir", "opencqa")


def write_gz(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


def only_page(collection: Collection, split: str) -> Page:
    (page,) = collection.pages(split)
    return page


def kinds(page: Page) -> list[str]:
    return [next((name for name, on in result.features.items() if on), "") for result in page.results]


@pytest.mark.parametrize("name", REAL)
def test_every_collection_says_its_grades_pictures_and_licence(root: Path, made_up: Lines, name: str) -> None:
    collection = open_collection(name, root)
    assert isinstance(collection, Collection)
    assert collection.name == name
    assert len(collection.licence) > 2  # type: ignore[attr-defined]
    assert len(collection.source) > 10  # type: ignore[attr-defined]
    split = made_up[name][0]["split"]
    pages = list(collection.pages(split))
    expected = {
        line["qid"]: {one["id"]: float(one["grade"]) for one in line["items"] if one["id"] != "e2"}
        for line in made_up[name]
        if line["split"] == split
    }
    assert {page.query_id: set(page.result_ids) for page in pages} == {q: set(of) for q, of in expected.items()}
    assert collection.judgments(split) == Judgments.from_mapping(expected, who=name)
    assert list(collection.pages(split)) == pages
    for ref in (ref for page in pages for result in page.results for ref in result.images):
        assert open_image(ref).size == (6, 4)


def test_fashion_reads_photos_rows_and_names(root: Path) -> None:
    page = only_page(open_collection("fashion", root), "train")
    photo, row, name = page.results
    assert [r.modality for r in page.results] == [Modality.IMAGE, Modality.TEXT, Modality.TEXT]
    assert photo.images == (ImageRef(f"zip:{root.resolve()}/fashion_images.zip!/fashion/images/1.webp"),)
    assert row.text == (
        "Gender: Women; Category: Apparel / Topwear / Shirts; Colour: Navy Blue; Season: Fall 2011; Usage: Casual"
    )
    assert row.features == {"kind:image": 0.0, "kind:row": 1.0, "kind:text": 0.0}
    assert name.text == "Brown Belt"
    assert page.query.text == "navy shirts"


def test_fashion_does_not_say_attributes_that_are_not_given(root: Path) -> None:
    page = only_page(open_collection("fashion", root), "dev")
    assert page.results[0].text == "Gender: Women; Category: Apparel / Topwear / Shirts; Season: 2011"


def test_financebench_sheets_carry_their_text_and_no_metadata_leaks(root: Path) -> None:
    page = only_page(open_collection("financebench", root), "dev")
    assert [r.modality for r in page.results] == [Modality.IMAGE, Modality.TEXT, Modality.ANSWER]
    assert page.results[0].text == "Earnings 7"
    assert page.query.user == {}
    assert all(result.features == {} for result in page.results)


def test_opencqa_charts_carry_their_words_in_reading_order(root: Path) -> None:
    page = only_page(open_collection("opencqa", root), "train")
    assert [r.text for r in page.results] == ["Readers\nMen 52", "", "Most read.", "All read."]
    assert page.modalities == (Modality.TEXT, Modality.IMAGE, Modality.ANSWER)


def test_reading_order_does_not_depend_on_the_order_of_words() -> None:
    words = [(text, 20.0 * column, 10.0 * line, 20.0 * column + 9, 10.0 * line + 8)
             for line, texts in enumerate(("a b c", "d e")) for column, text in enumerate(texts.split())]  # fmt: skip
    assert reading_order(words[::-1]) == reading_order(words) == "a b c\nd e"
    assert reading_order([]) == ""


def test_mmdocir_kinds_and_what_gives_grades_away(root: Path) -> None:
    collection = open_collection("mmdocir", root)
    page = only_page(collection, "train")
    assert page.result_ids == ("e1", "e3", "e4", "e5", "page:d000_001")
    assert [r.modality for r in page.results] == [Modality.TEXT] * 2 + [Modality.IMAGE] * 3
    assert kinds(page) == ["kind:text", "kind:table", "kind:figure", "kind:figure", "kind:page"]
    assert page.results[1].text == "5 | 6"
    assert len(page.results[1].images) == 1
    assert {name for result in page.results for name in result.features} == {
        "kind:figure", "kind:page", "kind:table", "kind:text"
    }  # fmt: skip
    assert [left[:3] for left in collection.left_out("train")] == [("d1", "e2", 3)]  # type: ignore[attr-defined]


def test_mmdocir_can_keep_every_item_of_the_file(root: Path) -> None:
    collection = open_collection("mmdocir", root, textless="sheet")
    kept = only_page(collection, "train").results[1]
    assert (kept.result_id, kept.modality, kept.text) == ("e2", Modality.TEXT, "")
    assert kept.images[0].uri.endswith("mmdocir_page_thumbs.zip!/mmdocir_subset/pages/d000_001.webp")
    assert len(collection.judgments("train")) == 6


def test_grocery_folds_part_the_queries(root: Path) -> None:
    collection = open_collection("grocery", root)
    whole = [page.query_id for page in collection.pages("train")]
    dev = [[page.query_id for page in collection.pages(f"fold{k}-dev")] for k in range(5)]
    assert sorted(q for fold in dev for q in fold) == sorted(whole)
    for k in range(5):
        train = [page.query_id for page in collection.pages(f"fold{k}-train")]
        assert train == [q for q in whole if q not in dev[k]]
        assert collection.judgments(f"fold{k}-dev").query_ids == tuple(sorted(dev[k]))
    assert [fold_of(q) for q in ("g000", "g001", "g002")] == [3, 1, 3], "as sha256sum says, modulo 5"


def test_other_splits_and_other_files_are_read_as_they_come(root: Path, made_up: Lines, tmp_path: Path) -> None:
    lines = made_up["grocery"]
    for line in lines:
        line["split"] = "test"
    write_gz(tmp_path / "kept/hidden.jsonl.gz", lines)
    collection = open_collection("grocery", root, pages_path=tmp_path / "kept/hidden.jsonl.gz")
    assert len(list(collection.pages("test"))) == 20
    assert collection.splits() == ("test",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", REAL)
def test_an_unknown_split_lists_those_found(root: Path, made_up: Lines, name: str) -> None:
    collection = open_collection(name, root)
    for read in (collection.judgments, lambda split: list(collection.pages(split))):
        with pytest.raises(InputError, match=rf"got split 'nope'; allowed: .*{made_up[name][-1]['split']}"):
            read("nope")


BAD: dict[str, tuple[str, Any, int, str]] = {
    "modality": ("fashion", lambda s: s[0]["items"][1].update(modality="video"), 1, r"items\[1\].modality: .*'video'"),
    "item field": ("fashion", lambda s: s[0]["items"][0].update(price=3), 1, r"items\[0\]: .*unknown field `price`"),
    "query field": ("fashion", lambda s: s[1].update(user="x"), 2, "unknown field `user`"),
    "row field": ("fashion", lambda s: s[0]["items"][1]["row"].pop("year"), 1, r"items\[1\].row: .*field `year`"),
    "empty row": (
        "fashion",
        lambda s: s[0]["items"][1].update(row=dict.fromkeys(s[0]["items"][1]["row"], "")),
        1,
        r"items\[1\] \('row:2'\).row: got no attribute",
    ),
    "grade above": ("grocery", lambda s: s[4]["items"][2].update(grade=4), 5, r"items\[2\].grade"),
    "grade text": ("grocery", lambda s: s[4]["items"][2].update(grade="3"), 5, r"items\[2\].grade: got .*`int`"),
    "no grade": ("opencqa", lambda s: s[0]["items"][2].pop("grade"), 1, r"items\[2\]: .*required field `grade`"),
    "query kind": ("grocery", lambda s: s[2].update(kind="rough"), 3, "kind: got Invalid enum value 'rough'"),
    "no picture": (
        "grocery",
        lambda s: s[0]["items"][0].update(image="grocery/images/zz.webp"),
        1,
        r"items\[0\] \('photo:a'\).image: got 'grocery/images/zz.webp'; allowed: a member of grocery_images.zip",
    ),
    "same id": ("opencqa", lambda s: s[0]["items"][2].update(id="image:7"), 1, r"items\[2\].*id.*items\[0\] again"),
    "same query": ("grocery", lambda s: s[9].update(qid="g3"), 10, "qid: got 'g3', already on line 4"),
    "no query": ("opencqa", lambda s: s[0].update(query=" "), 1, "query: got"),
    "no id": ("opencqa", lambda s: s[0]["items"][0].update(id=""), 1, r"items\[0\].id"),
    "no text": ("opencqa", lambda s: s[0]["items"][2].update(text=""), 1, r"items\[2\].text"),
    "no answer": ("financebench", lambda s: s[0]["items"][2].update(text="\n"), 1, r"items\[2\].text"),
    "no ocr": ("financebench", lambda s: s[0]["items"][0].pop("ocr"), 1, r"items\[0\]: .*required field `ocr`"),
    "no chart": (
        "opencqa",
        lambda s: s[0]["items"][0].update(image="opencqa/charts/9.webp"),
        1,
        r"items\[0\] \('image:7'\).image: got .*chart '9'; allowed: a chart of .*charts.jsonl.gz",
    ),
    "short box": ("mmdocir", lambda s: s[0]["items"][0].update(bbox=[1, 2, 3]), 1, r"items\[0\].bbox"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_say_file_line_and_field(root: Path, made_up: Lines, case: str) -> None:
    name, change, line, message = BAD[case]
    change(made_up[name])
    write_gz(root / f"pages/{name}_pages.jsonl.gz", made_up[name])
    with pytest.raises(RecordError, match=message) as caught:
        list(open_collection(name, root).pages(made_up[name][line - 1]["split"]))
    assert caught.value.line == line
    assert caught.value.path == str(root / f"pages/{name}_pages.jsonl.gz")


def test_files_that_cannot_be_read_say_so(root: Path) -> None:
    path = root / "pages/fashion_pages.jsonl.gz"
    whole = path.read_bytes()
    collection = open_collection("fashion", root)
    for content, message in (
        (whole[:-30], "a whole gzip file"),
        (b"{}", "a whole gzip file"),
        (gzip.compress(b"\n{}\n", mtime=0), "a blank line"),
        (gzip.compress(b'{"qid": "q", "split": "dev"\n', mtime=0), "one JSON object"),
        (gzip.compress(b'{"qid": "q", "split": 1}\n', mtime=0), ":1: split: got Expected `str`"),
        (gzip.compress(b'{"qid": "\xff"}\n', mtime=0), "one JSON object|UTF-8"),
        (gzip.compress(b"[]\n", mtime=0), "Expected `object`"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=message):
            list(collection.pages("train"))
    path.write_bytes(whole)
    (root / "fashion_images.zip").write_bytes(b"no zip")
    with pytest.raises(RecordError, match="whole ZIP file"):
        list(open_collection("fashion", root).pages("train"))


def test_the_ocr_of_charts_is_strict(root: Path) -> None:
    write_gz(root / "opencqa/charts.jsonl.gz", [{"id": "7", "ocr": []}] * 2)
    with pytest.raises(RecordError, match=r"charts.jsonl.gz:2: id: got '7' again"):
        list(open_collection("opencqa", root).pages("train"))
    write_gz(root / "opencqa/charts.jsonl.gz", [{"id": "7", "ocr": [["x", 1, 2, 3]]}])
    with pytest.raises(RecordError, match=r"charts.jsonl.gz:1: ocr"):
        list(open_collection("opencqa", root).pages("train"))


def test_opening_by_name_says_what_is_allowed(root: Path) -> None:
    lists = {"captioned", "emoji", "image_preferences", "mmdocir_train", "rank_lists", "trec_dl"}
    public = {"baidu_ultr", "beir", "crossrank", "inquire", "ir_datasets", "libsvm", "mixbench", "qilin", "vidore"}
    assert set(NAMES) == {*REAL, *lists, *public, "jsonl", "synthetic"}
    assert list(NAMES) == sorted(NAMES)
    for name, given, options, message in (
        ("Fashion", root, {}, "got 'Fashion'; allowed: baidu_ultr, beir, captioned"),
        ("fashion", None, {}, "set WHOLEPAGE_DATA or pass root"),
        ("fashion", root / "none", {}, "no folder; .*set WHOLEPAGE_DATA"),
        ("fashion", root / "pages", {}, "no file .*fashion_pages.*set WHOLEPAGE_DATA"),
        ("fashion", root, {"colour": 1}, r"got options \['colour'\].*allowed: pages_path; mend"),
        ("fashion", root, {"pages_path": "none.gz"}, "pages_path 'none.gz', which is no file"),
        ("mmdocir", root, {"textless": "maybe"}, "textless: got 'maybe'; allowed: 'leave-out', 'sheet'"),
        ("synthetic", root, {}, "reads no files"),
    ):
        with pytest.raises(InputError, match=message):
            open_collection(name, given, **options)
    (root / "mmdocir_crops.zip").unlink()
    with pytest.raises(InputError, match=r"no file .*mmdocir_crops.zip"):
        open_collection("mmdocir", root)


def test_the_face_imports_no_collection() -> None:
    code = (
        "import sys, wholepage.collections; print([m for m in sys.modules if m.startswith('wholepage.collections.')])"
    )
    path = str(Path(__file__).parents[2] / "src")
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "['wholepage.collections.catalogue']"
