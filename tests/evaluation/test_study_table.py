"""Rows of a study and their file: same rows, same bytes; what is not such a file is refused."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from wholepage.evaluation.study_table import Measured, read_parquet, write_parquet
from wholepage.pages.errors import InputError, RecordError

ROW = Measured("s", "cost", "fashion", "smar", "", "top(p=0.1)", 0.1, 0, 0, 10, 100, "q0", 0.5, 3, 4)


def changed(**fields: object) -> Measured:
    return msgspec.structs.replace(ROW, **fields)


def rows() -> list[Measured]:
    return [
        changed(seed=seed, query_id=f"q{query}", ndcg=query / 40, method=method, cross_right=0, cross_pairs=query % 3)
        for method in ("smar", "sft")
        for seed in range(3)
        for query in range(40)
    ]


def test_the_same_rows_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    given = rows()
    write_parquet(given, tmp_path / "a.parquet")
    random.Random(3).shuffle(given)
    write_parquet(given, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_parquet([*given[1:], msgspec.structs.replace(given[0], ndcg=0.999)], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "b.parquet").read_bytes()


def test_numbers_that_are_equal_are_the_same_bytes(tmp_path: Path) -> None:
    write_parquet([changed(share=1, ndcg=0)], tmp_path / "a.parquet")
    write_parquet([changed(share=1.0, ndcg=-0.0)], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    given = [*rows(), changed(query_id="ü\n漢", variant="4:1", share=0.0, labels=0, strategy="")]
    write_parquet(given, tmp_path / "a.parquet")
    found = read_parquet(tmp_path / "a.parquet")
    assert found == sorted(given)
    assert all(type(row.share) is float and type(row.labels) is int for row in found)
    write_parquet([], tmp_path / "none.parquet")
    assert read_parquet(tmp_path / "none.parquet") == []


def test_other_readers_see_plain_columns_and_no_date(tmp_path: Path) -> None:
    write_parquet(rows(), tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(Measured.__struct_fields__)
    assert table.num_rows == 240
    assert set(parquet.read_metadata(tmp_path / "a.parquet").metadata) == {b"wholepage", b"format", b"ARROW:schema"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ndcg": float("nan")}, "ndcg: got nan"),
        ({"ndcg": 1.1}, "ndcg: got 1.1"),
        ({"ndcg": float("inf")}, "ndcg"),
        ({"share": -0.1}, "share"),
        ({"share": 10.0}, "share: got 10"),
        ({"labels": 101}, "labels=101 of full_labels=100"),
        ({"labels": -1}, "labels: got -1"),
        ({"cross_right": 5}, "cross_right=5 of cross_pairs=4"),
        ({"fold": -1}, "fold"),
        ({"query_id": ""}, "query_id: got an empty"),
        ({"method": ""}, "method"),
        ({"seed": 1.0}, "seed: got 1.0; allowed: int"),
        ({"labels": True}, "labels: got True"),
        ({"ndcg": "0.5"}, "ndcg: got '0.5'"),
        ({"variant": None}, "variant: got None"),
    ],
)
def test_rows_out_of_range_are_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Measured(**(msgspec.structs.asdict(ROW) | fields))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ([ROW, ROW], "'q0' was measured twice"),
        ([ROW, changed(fold=1, ndcg=0.2)], "folds 0 and 1"),
        ([changed(query_id="\ud800")], "query_id"),
        ([changed(seed=2**70)], "64 bits"),
    ],
)
def test_rows_that_cannot_be_kept_leave_the_old_file(bad: list[Measured], named: str, tmp_path: Path) -> None:
    write_parquet([ROW], tmp_path / "a.parquet")
    with pytest.raises(InputError, match=named):
        write_parquet(bad, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet") == [ROW]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def rewritten(tmp_path: Path, change: str) -> Path:
    write_parquet([ROW], tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    match change:
        case "column missing":
            table = table.drop_columns(["seed"])
        case "column more":
            table = table.append_column("more", pa.array([1]))
        case "order":
            table = table.select(table.column_names[::-1])
        case "type":
            table = table.set_column(6, "share", pa.array([0.1], type=pa.float32()))
        case "format":
            table = table.replace_schema_metadata({"wholepage": "measured", "format": "2"})
        case "none":
            table = table.replace_schema_metadata(None)
        case "nan":
            field = table.schema.field("ndcg")
            table = table.set_column(12, field, pa.array([float("nan")]))
    parquet.write_table(table, tmp_path / "b.parquet")
    return tmp_path / "b.parquet"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("column missing", r"schema: got columns that differ in \['seed'\]"),
        ("column more", r"\['more'\]"),
        ("order", "other types or order"),
        ("type", "other types or order"),
        ("format", "format: got"),
        ("none", "format: got"),
        ("nan", ":1: row: got .*ndcg: got nan"),
    ],
)
def test_other_tables_are_refused(change: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=named):
        read_parquet(rewritten(tmp_path, change))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="file"):
        read_parquet(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("share,ndcg\n0.1,0.5\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("text", "empty"):
        with pytest.raises(RecordError, match="a Parquet file of a study"):
            read_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(RecordError, match="folder"):
        write_parquet([ROW], tmp_path / "no" / "a.parquet")
