"""The loaders of real collections, on the data itself where it is present."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from wholepage.collections import open_collection
from wholepage.pages.images import open_image


def present(data_root: Path, name: str) -> Path:
    """The data folder; the test is skipped where it does not hold the collection."""
    if not (data_root / f"pages/{name}_pages.jsonl.gz").is_file():
        pytest.skip(f"no {name} in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    return data_root


# Name, split -> queries, results by modality, results by grade.
COUNTS: dict[tuple[str, str], tuple[int, dict[str, int], dict[int, int]]] = {
    ("opencqa", "train"): (1158, {"text": 11580, "image": 11580}, {0: 20762, 2: 82, 3: 2316}),
    ("opencqa", "dev"): (536, {"text": 5360, "image": 5360, "answer": 4097}, {0: 10474, 1: 1394, 2: 1188, 3: 1761}),
    ("mmdocir", "train"): (217, {"text": 5364, "image": 3965}, {0: 7034, 1: 1113, 2: 344, 3: 838}),
    ("mmdocir", "dev"): (51, {"text": 1076, "image": 841}, {0: 1430, 1: 227, 2: 79, 3: 181}),
    ("financebench", "dev"): (78, {"text": 1653, "image": 1527, "answer": 1248}, {0: 3525, 1: 27, 3: 876}),
    ("fashion", "train"): (758, {"text": 18192, "image": 9096}, {0: 8322, 1: 3660, 2: 11124, 3: 4182}),
    ("fashion", "dev"): (256, {"text": 6144, "image": 3072}, {0: 2795, 1: 1207, 2: 3746, 3: 1468}),
    ("grocery", "train"): (205, {"text": 2051, "image": 5197}, {0: 5033, 1: 1024, 3: 1191}),
}


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_shared_data_is_what_it_is_said_to_be(data_root: Path, name: str, split: str) -> None:
    root = present(data_root, name)
    started = time.process_time()
    collection = open_collection(name, root)
    pages = list(collection.pages(split))
    judgments = collection.judgments(split)
    took_s = time.process_time() - started
    queries, modalities, grades = COUNTS[name, split]
    assert len(pages) == queries
    assert Counter(result.modality.value for page in pages for result in page.results) == modalities
    assert Counter(int(grade.grade) for page in pages for grade in judgments.grades(page.query_id)) == grades
    assert judgments.query_ids == tuple(sorted(page.query_id for page in pages))
    assert all(set(judgments.by_result(page.query_id)) == set(page.result_ids) for page in pages)
    assert list(collection.pages(split)) == pages
    pictures = [ref for page in pages for result in page.results for ref in result.images]
    for ref in pictures[:: len(pictures) // 20][:20]:
        assert min(open_image(ref).size) > 8
    assert took_s < 10, "reading should take about a second"


def test_shared_mmdocir_passages_without_text_are_all_evidence(data_root: Path) -> None:
    collection = open_collection("mmdocir", present(data_root, "mmdocir"))
    left = [one for split in ("train", "dev") for one in collection.left_out(split)]  # type: ignore[attr-defined]
    assert len(left) == 48
    assert {one.grade for one in left} == {3}
