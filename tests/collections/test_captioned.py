"""Captions that ask for their photos: the three file formats, near and other photos, and captions kept back."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from PIL import Image

from wholepage.collections import open_collection
from wholepage.collections.captioned import Captioned
from wholepage.pages import Collection, InputError, MissingExtra, Modality, RecordError
from wholepage.pages.images import open_image

ANIMALS = ("dog", "cat", "horse", "bird", "cow")
PLACES = ("beach", "street", "kitchen", "forest", "garden", "boat")
SIGHTS = [(animal, place) for animal in ANIMALS for place in PLACES]


def sentences(number: int) -> list[str]:
    animal, place = SIGHTS[number]
    return [
        f"A {animal} stands near the {place}.",
        f"One {animal}, seen at a {place}",
        f"{place} with {animal} {number}",
    ]


def photo(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (number, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def write_coco(root: Path, split: str = "val", *, numbers: range = range(30), zipped: bool = False) -> Path:
    """As cocodataset.org gives it out."""
    images = [
        {
            "license": 4, "file_name": f"{n:012}.jpg", "coco_url": f"http://images.cocodataset.org/{n}", "height": 3,
            "width": 4, "date_captured": "2013-11-14 17:02:52", "flickr_url": f"http://flickr/{n}", "id": n,
        }
        for n in numbers
    ]  # fmt: skip
    said = [(n, text) for n in reversed(numbers) for text in sentences(n)]
    annotations = [{"image_id": n, "id": place, "caption": text} for place, (n, text) in enumerate(said)]
    whole = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/captions_{split}2017.json").write_text(json.dumps(whole))
    if zipped:
        with zipfile.ZipFile(root / f"{split}2017.zip", "w") as archive:
            for n in numbers:
                archive.writestr(f"{split}2017/{n:012}.jpg", photo(n))
    else:
        (root / f"{split}2017").mkdir()
        for n in numbers:
            (root / f"{split}2017/{n:012}.jpg").write_bytes(photo(n))
    return root


def write_karpathy(root: Path) -> Path:
    """As in Karpathy's caption_datasets.zip: dataset_flickr30k.json."""
    images = [
        {
            "sentids": [n * 3 + k for k in range(3)], "imgid": n, "split": "test" if n % 5 == 4 else "train",
            "sentences": [
                {"tokens": text.lower().split(), "raw": text, "imgid": n, "sentid": n * 3 + k}
                for k, text in enumerate(sentences(n))
            ],
            "filename": f"{1000 + n}.jpg",
        }
        for n in range(30)
    ]  # fmt: skip
    (root / "dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    with zipfile.ZipFile(root / "flickr30k-images.zip", "w") as archive:
        for n in range(30):
            archive.writestr(f"{1000 + n}.jpg", photo(n))
    return root


def write_tokens(root: Path) -> Path:
    """As in Flickr30k's own results_20130124.token."""
    lines = [f"{1000 + n}.jpg#{k}\t{text}\n" for n in range(30) for k, text in enumerate(sentences(n))]
    (root / "results_20130124.token").write_text("".join(lines))
    (root / "flickr30k-images").mkdir(exist_ok=True)
    for n in range(30):
        (root / f"flickr30k-images/{1000 + n}.jpg").write_bytes(photo(n))
    return root


def check(collection: Captioned, split: str, first_id: int) -> None:
    """All that holds of every list, and that each photo is the one that was captioned."""
    said, gold = collection.judgments(split), collection.gold(split)
    asked: Counter[str] = Counter()
    for page in collection.pages(split):
        own = gold[page.query_id]
        asked[own] += 1
        number = int(own) - first_id
        assert page.query.text in sentences(number)
        assert len(page) == collection.results
        assert all(result.modality is Modality.IMAGE and not result.text for result in page.results)
        assert said.by_result(page.query_id) == {one: float(one == own) for one in page.result_ids}
        for result in page.results:
            red = open_image(result.images[0]).getpixel((0, 0))[0]  # type: ignore[index]
            assert abs(red - (int(result.result_id) - first_id)) <= 2
            # Nothing that is asked with is ever shown to a teacher that reads.
            assert page.query.text not in collection.captions(result.result_id)
        assert set(collection.captions(own)) | {page.query.text} <= set(sentences(number))
    assert set(asked.values()) == {min(collection.queries_each, 2)}
    assert list(collection.pages(split)) == list(collection.pages(split))


def test_coco_in_folders_and_archives(tmp_path: Path) -> None:
    write_coco(tmp_path, "val", numbers=range(10))
    write_coco(tmp_path, "train", numbers=range(10, 30), zipped=True)
    collection = open_collection("captioned", tmp_path, results=8, near=4)
    assert isinstance(collection, Collection)
    assert isinstance(collection, Captioned)
    assert collection.splits() == ("train", "val")
    check(collection, "val", 0)
    check(collection, "train", 0)
    assert collection.captions("11") == tuple(sentences(11)[1:])
    assert collection.gold("val") == {f"{n}#0": str(n) for n in range(10)}


def test_karpathy_s_splits(tmp_path: Path) -> None:
    collection = Captioned(write_karpathy(tmp_path), layout="karpathy", results=5, near=2, queries_each=2)
    assert collection.splits() == ("test", "train")
    check(collection, "test", 1000)
    check(collection, "train", 1000)
    assert len(list(collection.pages("test"))) == 12


def test_karpathy_s_coco_lies_in_two_folders(tmp_path: Path) -> None:
    images = [
        {
            "filepath": f"{part}2014", "filename": f"COCO_{part}2014_{n:012}.jpg", "imgid": n, "cocoid": n,
            "sentids": [n], "split": "restval", "sentences": [{"raw": text} for text in sentences(n)],
        }
        for n, part in enumerate(("val", "train"))
    ]  # fmt: skip
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    for n, part in enumerate(("val", "train")):
        (tmp_path / f"{part}2014").mkdir()
        (tmp_path / f"{part}2014/COCO_{part}2014_{n:012}.jpg").write_bytes(photo(n))
    page, _ = Captioned(tmp_path, layout="karpathy", results=2, near=1).pages("restval")
    assert set(page.result_ids) == {"COCO_val2014_000000000000", "COCO_train2014_000000000001"}


@pytest.mark.parametrize("queries_each", [1, 2, 7])
def test_flickr_tokens(tmp_path: Path, queries_each: int) -> None:
    collection = Captioned(
        write_tokens(tmp_path), layout="flickr30k", results=6, near=3, queries_each=queries_each, seed=4
    )
    assert collection.splits() == ("all",)
    check(collection, "all", 1000)


def test_near_photos_are_those_that_bm25_finds(tmp_path: Path) -> None:
    collection = Captioned(write_tokens(tmp_path), layout="flickr30k", results=12, near=7)
    texts = [" ".join(sentences(n)) for n in range(30)]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    for page in collection.pages("all"):
        number = int(collection.gold("all")[page.query_id]) - 1000
        words = bm25s.tokenize([page.query.text], stopwords="en", return_ids=False, show_progress=False)[0]
        scores = np.array(index.get_scores(words))
        scores[number] = -1
        nearest = [n for n in np.lexsort((np.arange(30), -scores)) if scores[n] > 0][:7]
        assert {str(1000 + n) for n in nearest} <= set(page.result_ids)
        animal, place = SIGHTS[number]
        assert all(animal in texts[n] or place in texts[n] for n in nearest)


def test_seeds_change_the_others_and_the_order_only(tmp_path: Path) -> None:
    write_tokens(tmp_path)
    one, two = (list(Captioned(tmp_path, layout="flickr30k", results=12, near=4, seed=s).pages("all")) for s in (0, 1))
    assert [page.query for page in one] == [page.query for page in two]
    assert all(a.result_ids != b.result_ids for a, b in zip(one, two, strict=True))
    places = Counter(page.result_ids.index(page.query_id.split("#")[0]) for page in one)
    assert len(places) > 5, "the right photo stands anywhere"
    shown = Counter(
        result_id
        for page in Captioned(tmp_path, layout="flickr30k", near=0).pages("all")
        for result_id in page.result_ids
    )
    assert len(shown) == 30


def test_nobody_shares_the_caption_that_asks(tmp_path: Path) -> None:
    write_tokens(tmp_path)
    path = tmp_path / "results_20130124.token"
    shared = "".join(f"{1000 + n}.jpg#{k}\tA DOG stands near the beach.\n" for n, k in ((3, 8), (4, 9), (5, 7)))
    path.write_text(path.read_text() + shared)
    collection = Captioned(tmp_path, layout="flickr30k", results=20)
    page = next(collection.pages("all"))
    assert page.query.text == "A dog stands near the beach."
    assert not {"1003", "1004", "1005"} & set(page.result_ids)


def test_a_caption_twice_and_empty_captions_do_not_count(tmp_path: Path) -> None:
    write_tokens(tmp_path)
    path = tmp_path / "results_20130124.token"
    path.write_text(path.read_text() + "7.jpg#0\tA bear .\n7.jpg#1\ta  BEAR .\n7.jpg#2\t.\n8.jpg#0\t \n")
    (tmp_path / "flickr30k-images/7.jpg").write_bytes(photo(7))
    collection = Captioned(tmp_path, layout="flickr30k", results=5, near=0)
    assert collection.captions("7") == ("A bear .",)
    assert not any(page.query_id.startswith(("7#", "8#")) for page in collection.pages("all")), "nothing to ask with"
    with pytest.raises(InputError, match="picture: got '8'"):
        collection.captions("8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "sbu"}, "layout: got 'sbu'; allowed: coco, karpathy, flickr30k"),
        ({"near": 20}, "got 1, 20, 20"),
        ({"queries_each": 0}, "got 0, 20, 10"),
        ({"layout": "karpathy"}, "got no dataset_<dataset>.json below"),
        ({"layout": "coco"}, "got no annotations/captions_<split>2017.json below"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Captioned(write_tokens(tmp_path), **{"layout": "flickr30k", **options})


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokens(tmp_path)
    with pytest.raises(InputError, match="got split 'train'; allowed: all"):
        next(Captioned(tmp_path, layout="flickr30k").pages("train"))
    with pytest.raises(InputError, match="results: got 31, but split 'all' has 30 pictures"):
        next(Captioned(tmp_path, layout="flickr30k", results=31).pages("all"))
    (tmp_path / "flickr30k-images/1003.jpg").unlink()
    with pytest.raises(InputError, match=r"got no picture 'flickr30k-images/1003.jpg'"):
        list(Captioned(tmp_path, layout="flickr30k", results=30).pages("all"))
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"wholepage\[text\]"):
        Captioned(tmp_path, layout="flickr30k")
    assert list(Captioned(tmp_path, layout="flickr30k", near=0, results=3).judgments("all"))


def spoiled(root: Path, layout: str, whole: dict[str, Any]) -> list[Any]:
    path = root / ("annotations/captions_val2017.json" if layout == "coco" else "dataset_flickr30k.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(whole))
    return list(Captioned(root, layout=layout, results=2, near=0).pages("val"))  # type: ignore[arg-type]


IMAGE = {"id": 1, "file_name": "1.jpg"}
KARPATHY = {"filename": "1.jpg", "split": "val", "sentences": [{"raw": "A dog"}]}


@pytest.mark.parametrize(
    ("layout", "whole", "message"),
    [
        ("coco", {"images": [IMAGE, IMAGE], "annotations": []}, r"val2017.json:1: images\[1\].id: got 1 again"),
        ("coco", {"images": [IMAGE], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]},
         r"annotations\[0\].image_id: got 2"),
        ("coco", {"images": [IMAGE]}, "annotations: got no such field"),
        ("coco", {"images": [IMAGE], "annotations": [], "categories": []}, "categories: got an unknown field"),
        ("karpathy", {"dataset": "x", "images": [KARPATHY, KARPATHY]}, r"images\[1\].filename: got '1.jpg' again"),
        ("karpathy", {"dataset": "x", "images": [{**KARPATHY, "sentences": None}]}, r"sentences: got null"),
        ("karpathy", {"dataset": "x", "images": [KARPATHY, {**KARPATHY, "filename": "1.png"}]},
         "picture: got '1' again"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_their_place(
    tmp_path: Path, layout: str, whole: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        spoiled(tmp_path, layout, whole)


@pytest.mark.parametrize("line", ["1.jpg\tno number\n", "1.jpg#0 no tab\n", "1000.jpg#0\tagain\n"])
def test_bad_token_lines_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    path = write_tokens(tmp_path) / "results_20130124.token"
    path.write_text(path.read_text() + line)
    with pytest.raises(RecordError, match=r"results_20130124.token:91: "):
        Captioned(tmp_path, layout="flickr30k").splits()


def test_two_caption_files_are_refused(tmp_path: Path) -> None:
    write_karpathy(tmp_path)
    (tmp_path / "dataset_coco.json").write_text("{}")
    with pytest.raises(InputError, match=r"got both dataset_coco.json and dataset_flickr30k.json"):
        Captioned(tmp_path, layout="karpathy")
