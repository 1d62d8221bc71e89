"""Baidu-ULTR in the format of its README and reader: made-up sessions and annotations."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from wholepage.collections import open_collection
from wholepage.collections.baidu_ultr import BaiduUltr
from wholepage.pages import Collection, InputError, RecordError


def words(*numbers: int) -> str:
    return "\x01".join(map(str, numbers))


def result(position: int, url: str, click: int = 0, dwell: float = 0.0, media: int = 1) -> str:
    cells = [str(position), url, words(5, 6), words(7), str(media), str(click), "-", "-", "0", *["0"] * 7, str(dwell)]
    return "\t".join([*cells, *["-"] * 15])


def query(qid: int, *numbers: int) -> str:
    return f"{qid}\t{words(*numbers)}\t{words(9)}"


PART = [
    query(3, 11, 12), result(1, "u1"), result(2, "u2", 1, 30.5, 7), result(3, "u3", 1),
    query(3, 11), result(1, "u1", 1, 2.0),
]  # fmt: skip
JUDGED = [("q1", 4), ("q1", 0), ("q2", 2)]


def write(root: Path, part: list[str] = PART, judged: list[tuple[str, int]] = JUDGED) -> Path:
    (root / "train_data").mkdir(parents=True, exist_ok=True)
    (root / "train_data/part-00001.gz").write_bytes(gzip.compress("".join(f"{one}\n" for one in part).encode()))
    rows = (f"{q}\t{words(1, 2)}\t{words(3)}\t{words(4)}\t{label}\t8\n" for q, label in judged)
    (root / "nips_annotation_data_0522.txt").write_text("".join(rows))
    return root


def test_sessions(tmp_path: Path) -> None:
    write(tmp_path / "baidu_ultr")
    collection = open_collection("baidu_ultr", tmp_path)
    assert isinstance(collection, Collection)
    assert isinstance(collection, BaiduUltr)
    assert collection.splits() == ("clicks", "nips_annotation_data_0522", "part-00001")
    first, second = collection.pages("clicks")
    assert (first.query_id, first.query.text, first.result_ids) == ("part-00001:1", "11 12", ("u1", "u2", "u3"))
    assert (first.results[1].text, first.results[1].features) == ("5 6. 7", {"media:7": 1.0})
    assert collection.judgments("clicks").by_result(first.query_id) == {"u1": 0.0, "u2": 2.0, "u3": 1.0}
    assert second.query_id == "part-00001:5"
    order, _ = collection.by_behaviour("part-00001")
    assert order.result_ids == ("u2", "u3", "u1")


def test_annotations(tmp_path: Path) -> None:
    collection = BaiduUltr(write(tmp_path))
    split = "nips_annotation_data_0522"
    pages = list(collection.pages(split))
    assert [(p.query_id, p.query.text, len(p)) for p in pages] == [("q1", "1 2", 2), ("q2", "1 2", 1)]
    assert list(collection.judgments(split).by_result("q1").values()) == [4.0, 0.0]
    with pytest.raises(InputError, match="annotations have none"):
        list(collection.by_behaviour(split))


@pytest.mark.parametrize(
    ("part", "line", "field"),
    [
        ([result(1, "u1")], 1, "line"),
        ([*PART, "1\t2"], 7, "line"),
        ([*PART, result(1, "u1").replace("\t0\t-", "\t2\t-", 1)], 7, "click"),
        ([*PART, result(1, "u1").replace(words(5, 6), "five")], 7, "title"),
        ([*PART, result(1, "u1").replace("1\tu1", "first\tu1", 1)], 7, "position"),
        ([*PART, "1\tü\t"], 7, "line"),
    ],
)
def test_a_bad_session_is_named(tmp_path: Path, part: list[str], line: int, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        list(BaiduUltr(write(tmp_path, part)).pages("clicks"))
    assert (caught.value.line, field in caught.value.field) == (line, True)


@pytest.mark.parametrize(("judged", "line"), [([("q1", 5)], 1), ([("q1", 1), ("q2", 1), ("q1", 1)], 3), ([("", 1)], 1)])
def test_a_bad_annotation_is_named(tmp_path: Path, judged: list[tuple[str, int]], line: int) -> None:
    with pytest.raises(RecordError) as caught:
        list(BaiduUltr(write(tmp_path, judged=judged)).pages("nips_annotation_data_0522"))
    assert caught.value.line == line


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(sessions: int) -> int:
        root = write(tmp_path / str(sessions), PART * sessions)
        tracemalloc.start()
        assert sum(1 for _ in BaiduUltr(root).graded_pages("clicks")) == 2 * sessions
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(1600)  # what is loaded once
    assert peak(1600) < 1.2 * peak(400)  # four times the sessions


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold it"):
        BaiduUltr(tmp_path)
