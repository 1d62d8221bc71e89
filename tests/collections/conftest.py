"""Small made-up files in the true format of every real collection."""

from __future__ import annotations

import copy
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

WEBP = io.BytesIO()
Image.new("RGB", (6, 4), (200, 30, 30)).save(WEBP, "WEBP")


def item(item_id: str, modality: str, grade: int, **fields: object) -> dict[str, Any]:
    return {"id": item_id, "modality": modality, "grade": grade, **fields}


ROW = dict(
    zip(
        ("gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage"),
        ("Women", "Apparel", "Topwear", "Shirts", "Navy Blue", "Fall", "2011", "Casual"),
        strict=True,
    )
)
BOX = [1.5, 2.0, 30.0, 40.25]

LINES: dict[str, list[dict[str, Any]]] = {
    "fashion": [
        {
            "qid": "f1",
            "split": "train",
            "query": "navy shirts",
            "items": [
                item("image:1", "image", 3, image="fashion/images/1.webp"),
                item("row:2", "row", 2, row=ROW),
                item("text:3", "text", 0, text="Brown Belt"),
            ],
        },
        {
            "qid": "f2",
            "split": "dev",
            "query": "belts",
            "items": [item("row:4", "row", 1, row=ROW | {"baseColour": "NA", "season": "", "usage": ""})],
        },
    ],
    "grocery": [
        {
            "qid": f"g{n}",
            "split": "train",
            "kind": "fine",
            "query": f"apple {n}",
            "items": [
                item("photo:a", "photo", 3, image="grocery/images/a.webp"),
                item("iconic:1", "iconic", 1, image="grocery/iconic/01.webp"),
                item("text:1", "text", 0, text="A juicy one."),
            ],
        }
        for n in range(20)
    ],
    "financebench": [
        {
            "qid": "b1",
            "split": "dev",
            "query": "What did it earn?",
            "company": "Acme",
            "doc": "ACME_2020_10K",
            "type": "novel",
            "items": [
                item("image:ACME#001", "image", 3, image="financebench/pages/ACME#001.webp", ocr="Earnings 7"),
                item("text:ACME#001@0", "text", 3, text="We earned 7."),
                item("answer:m/closed", "answer", 0, text="I cannot say."),
            ],
        }
    ],
    "opencqa": [
        {
            "qid": "c1",
            "split": "train",
            "query": "Who reads?",
            "items": [
                item("image:7", "image", 3, image="opencqa/charts/7.webp"),
                item("image:8", "image", 0, image="opencqa/charts/8.webp"),
                item("text:7", "text", 2, text="Most read."),
                item("answer:bart", "answer", 1, text="All read."),
            ],
        }
    ],
    "mmdocir": [
        {
            "qid": "d1",
            "split": "train",
            "query": "How many?",
            "doc": "d000",
            "evidence_types": "['Table']",
            "items": [
                item("e1", "text", 1, page="d000_001", bbox=BOX, text="Five."),
                item("e2", "text", 3, page="d000_001", bbox=BOX, text=""),
                item("e3", "table", 3, page="d000_001", bbox=BOX, text="5 | 6", image="mmdocir_subset/crops/e3.webp"),
                item("e4", "table", 3, page="d000_001", bbox=BOX, text="", image="mmdocir_subset/crops/e4.webp"),
                item("e5", "figure", 0, page="d000_001", bbox=BOX, ocr="", image="mmdocir_subset/crops/e5.webp"),
                item("page:d000_001", "page", 2, ocr="A sheet", image="mmdocir_subset/pages/d000_001.webp"),
            ],
        }
    ],
}
MEMBERS = {
    "fashion_images.zip": ["fashion/images/1.webp"],
    "grocery_images.zip": ["grocery/images/a.webp", "grocery/iconic/01.webp"],
    "financebench_page_thumbs.zip": ["financebench/pages/ACME#001.webp"],
    "opencqa_charts.zip": ["opencqa/charts/7.webp", "opencqa/charts/8.webp"],
    "mmdocir_crops.zip": [f"mmdocir_subset/crops/e{n}.webp" for n in (3, 4, 5)],
    "mmdocir_page_thumbs.zip": ["mmdocir_subset/pages/d000_001.webp"],
}
CHARTS: list[dict[str, Any]] = [
    {"id": "7", "ocr": [["52", 60, 29, 70, 39], ["Readers", 5, 2, 90, 12], ["Men", 5, 30, 40, 40]]},
    {"id": "8", "ocr": []},
]


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with one small file of each collection."""
    for name, lines in LINES.items():
        write(tmp_path / f"pages/{name}_pages.jsonl.gz", lines)
    for archive, members in MEMBERS.items():
        with zipfile.ZipFile(tmp_path / archive, "w") as out:
            for member in members:
                out.writestr(member, WEBP.getvalue())
    write(tmp_path / "opencqa/charts.jsonl.gz", CHARTS)
    return tmp_path


@pytest.fixture
def made_up() -> dict[str, list[dict[str, Any]]]:
    """The lines of each made-up collection, to be spoiled at will."""
    return copy.deepcopy(LINES)
