"""Tables of every form, rows kept on disk, and where a file is broken."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import files_of, read_rows, read_table
from wholepage.pages import InputError, RecordError

CSV = 'a,b\n1,"two\nlines"\n2,x\n'


def test_rows_of_every_form(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text(CSV)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "lines.jsonl").write_text('{"a": 1, "b": "x", "c": 9}\n{"a": 2, "b": "y"}\n')
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x", "y"], "c": [0, 0]}), tmp_path / "one.parquet")
    for name in ("plain", "packed"):
        rows = list(read_table(tmp_path, name, ("b",)))
        assert [(row.line, row.cells) for row in rows] == [(2, {"b": "two\nlines"}), (4, {"b": "x"})]
    for name in ("lines", "one"):
        rows = list(read_table(tmp_path, name, ("a", "b")))
        assert [(row.line, row.cells) for row in rows] == [(1, {"a": 1, "b": "x"}), (2, {"a": 2, "b": "y"})]
    assert [row.cells.get("c") for row in read_table(tmp_path, "lines", ("a",), ("c",))] == [9, None]


@pytest.mark.parametrize(
    ("name", "raw", "line"),
    [
        ("t.csv", b"a,b\n1\n", 2),
        ("t.csv", b"a,b\n1,\xff\n", 2),
        ("t.csv", b'a,b\n1,"x\n', 2),
        ("t.csv", b"b\n1\n", 1),
        ("t.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-9], 5),
        ("t.csv.gz", b"no gzip", 1),
        ("t.jsonl", b'{"a": 1}\n{"b": 1}\n', 2),
        ("t.jsonl", b"[1]\n", 1),
        ("t.parquet", b"PAR1 no", 0),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, name: str, raw: bytes, line: int) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(RecordError) as caught:
        list(read_rows(tmp_path / name, ("a",)))
    assert (Path(caught.value.path).name, caught.value.line) == (name, line)


def test_two_files_of_a_name_or_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no t"):
        list(read_table(tmp_path, "t", ("a",)))
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(InputError, match=r"t\.csv, t\.jsonl"):
        files_of(tmp_path, "t")


def test_rows_are_kept_in_their_order_and_made_anew_only_when_they_change(tmp_path: Path) -> None:
    for place in (None, tmp_path / "kept.sqlite"):
        store = RowStore(place)
        assert store.fill("one", [("b", b"1"), ("a", b"2"), ("b", b"3")])
        assert not store.fill("one", [("c", b"4")])
        assert (list(store.keys()), store.get("b"), store.get("c")) == (["b", "a"], [b"1", b"3"], [])
        with pytest.raises(ZeroDivisionError):
            store.fill("two", ((str(1 // n), b"") for n in (1, 0)))
        assert store.get("b") == [b"1", b"3"], "all or none"
        assert store.fill("two", [("c", b"4")])
        assert list(store.keys()) == ["c"]
        store.close()
    assert RowStore(tmp_path / "kept.sqlite").get("c") == [b"4"]


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"this is no database at all, only words" * 20)
    with pytest.raises(InputError, match="name another file"):
        RowStore(tmp_path / "other")
    with pytest.raises(InputError, match="may be written to"):
        RowStore(tmp_path / "no folder" / "index")
    assert sqlite3.sqlite_version_info >= (3, 0)
    (tmp_path / "a").write_text("1")
    before = stamp_of([tmp_path / "a"], "v1")
    (tmp_path / "a").write_text("12")
    assert stamp_of([tmp_path / "a"], "v1") != before
