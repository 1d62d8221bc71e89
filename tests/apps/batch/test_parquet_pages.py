"""Rows of Parquet files: read on from shard to shard, empty groups and files, nulls, and rows that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pytest
from pyarrow import parquet

from wholepage.apps.batch import parquet_pages
from wholepage.apps.batch.parquet_pages import RowsInOrder, query_ids
from wholepage.apps.batch.places import place_of
from wholepage.pages.errors import RecordError

from .made import job, pages, records, write_parquet


def test_rows_are_the_same_wherever_one_begins(tmp_path: Path) -> None:
    place = place_of(write_parquet(tmp_path / "a.parquet", pages(50), rows_of_a_group=13, nested=False))
    raw = [(number, msgspec.json.encode(page)) for number, page in enumerate(pages(50), start=1)]
    rows = RowsInOrder(place, at_once=4)
    for first, count in ((1, 10), (11, 3), (14, 20), (40, 5), (2, 1), (3, 30), (45, 6), (50, 1), (50, 1), (1, 50)):
        assert list(rows.take(first, count)) == raw[first - 1 : first - 1 + count], (first, count)
    assert list(rows.take(49, 10)) == raw[48:]
    taken = rows.take(1, 50)
    assert [next(taken) for _ in range(7)] == raw[:7]  # a reader that stops in the middle
    assert list(rows.take(8, 2)) == raw[7:9]
    rows.close()
    assert list(query_ids(place)) == [f"q{i}" for i in range(50)]


def test_shards_of_one_row_group_unpack_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_parquet(tmp_path / "a.parquet", pages(100), rows_of_a_group=100)
    opened: list[str] = []
    real = parquet_pages._opened

    def counted(place: Any) -> Any:
        opened.append(place.name)
        return real(place)

    monkeypatch.setattr(parquet_pages, "_opened", counted)
    assert job(source, tmp_path / "out", shard_rows=5).summary.shards == 20
    assert len(opened) == 3  # its rows counted, its queries looked at, its pages ranked


def test_empty_groups_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = parquet.read_table(write_parquet(tmp_path / "whole.parquet", pages(6), rows_of_a_group=3))
    with parquet.ParquetWriter(tmp_path / "in" / "a.parquet", table.schema) as writer:
        for part in (table.slice(0, 0), table.slice(0, 2), table.slice(0, 0), table.slice(2, 4), table.slice(0, 0)):
            writer.write_table(part)
    parquet.write_table(table.slice(0, 0), tmp_path / "in" / "b.parquet")
    run = job(str(tmp_path / "in"), tmp_path / "out", shard_rows=4)
    assert (run.summary.rows, run.summary.shards) == (6, 2)
    job(str(tmp_path / "whole.parquet"), tmp_path / "whole", shard_rows=4)
    assert records(tmp_path / "out") == records(tmp_path / "whole")


def test_nulls_and_maps_that_name_a_key_twice_are_errors_of_their_rows(tmp_path: Path) -> None:
    text = pyarrow.string()
    result = pyarrow.struct(
        {"result_id": text, "modality": text, "text": text, "features": pyarrow.map_(text, pyarrow.float64())}
    )
    kinds = {"query": pyarrow.struct({"query_id": text, "text": text}), "results": pyarrow.list_(result)}

    def row(number: int, features: list[tuple[str, float]] | None) -> dict[str, Any]:
        one = {"result_id": "a", "modality": "text", "text": "lamp", "features": features}
        return {"query": {"query_id": f"q{number}", "text": "lamp"}, "results": [one]}

    rows: list[dict[str, Any]] = [
        row(0, [("x", 1.0)]),
        row(1, [("x", 1.0), ("x", 2.0)]),
        row(2, None),
        {"query": None, "results": []},
        {**row(4, None), "results": [None]},
        {**row(5, None), "results": None},
        row(6, [("x", 2.0)]),
    ]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(kinds))
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"a\.parquet:2: row: got .*duplicate field names"):
        job(str(tmp_path / "a.parquet"), tmp_path / "stopped")
    run = job(str(tmp_path / "a.parquet"), tmp_path / "out", on_error="skip")
    told = (tmp_path / "out" / "_rejects" / "part-000000.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["row"] for line in told] == [2, 4, 5]
    assert [msgspec.json.decode(line)["query_id"] for line in records(tmp_path / "out")] == ["q0", "q2", "q5", "q6"]
    assert run.summary.written == 4


def test_a_shard_of_rejects_only_is_a_table_without_rows(tmp_path: Path) -> None:
    good = [msgspec.json.encode(page) for page in pages(4)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([b"{}", b"{}", *good]) + b"\n")
    job(str(tmp_path / "a.jsonl"), tmp_path / "out", on_error="skip", shard_rows=2, format="parquet")
    parts = [parquet.read_table(path) for path in sorted((tmp_path / "out").glob("part-*.parquet"))]
    assert [part.num_rows for part in parts] == [0, 2, 2]
    assert parts[0].schema == parts[1].schema
