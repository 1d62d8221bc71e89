"""What a study measured, one row a query, and the Parquet file that keeps it.

The file is a function of the rows alone: the same rows, in any order, give the same bytes (with one version of
pyarrow), so a study that was killed and resumed can be compared with one that ran through.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pyarrow as pa
from pyarrow import parquet

from wholepage.pages.errors import InputError, RecordError, shorten
from wholepage.pages.records import atomic_write

_FORMAT = {b"wholepage": b"measured", b"format": b"1"}
_ROUNDING = 1e-9


class Measured(msgspec.Struct, frozen=True, order=True):
    """One query, measured in one cell of a study.

    Attributes:
        study: the recipe's name.  experiment: ``"cost"``, ``"where"``, ``"alignment"``, ...
        collection: what was measured on.
        method: ``"smar"``, ``"sft"``, ``"lambdamart"``, ...  variant: what the experiment varies, or empty.
        strategy: how the page labels were chosen; empty where all or none are bought.
        share: of the page labels bought, 0 to 1.
        seed, fold: of the training.
        labels, full_labels: page labels bought, and how many there are.
        query_id: the query.
        ndcg: nDCG@10, 0 to 1.
        cross_right, cross_pairs: pairs of different modality and grade, and how many stand in the right order.
    Raises:
        InputError: another type, a number that is not finite or out of range, or an empty name.
    """

    study: str
    experiment: str
    collection: str
    method: str
    variant: str
    strategy: str
    share: float
    seed: int
    fold: int
    labels: int
    full_labels: int
    query_id: str
    ndcg: float
    cross_right: int
    cross_pairs: int

    def __post_init__(self) -> None:
        for name, kind in _FIELDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
                raise InputError(f"Measured: {name}: got {value!r}; allowed: {kind.__name__}; convert it first")
        for name in ("study", "experiment", "collection", "method", "query_id"):
            if not getattr(self, name):
                raise InputError(f"Measured: {name}: got an empty text; allowed: a name; say what was measured")
        for name, number, highest in (("share", self.share, 1.0), ("ndcg", self.ndcg, 1.0 + _ROUNDING)):
            if not (math.isfinite(number) and 0.0 <= number <= highest):
                raise InputError(
                    f"Measured({self.method!r}, query {self.query_id!r}): {name}: got {number}; allowed: 0 to 1; leave "
                    "out queries that have no value"
                )
        for name in ("seed", "fold", "labels", "full_labels", "cross_right", "cross_pairs"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"Measured({self.method!r}, query {self.query_id!r}): {name}: got {getattr(self, name)}; allowed: "
                    "0 or more; count again"
                )
        for part, name in (("labels", "full_labels"), ("cross_right", "cross_pairs")):
            if getattr(self, part) > getattr(self, name):
                raise InputError(
                    f"Measured({self.method!r}, query {self.query_id!r}): got {part}={getattr(self, part)} of "
                    f"{name}={getattr(self, name)}; allowed: at most all; count again"
                )


_KINDS = {str: pa.string(), float: pa.float64(), int: pa.int64()}
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Measured)}
_SCHEMA = pa.schema([pa.field(name, _KINDS[kind], nullable=False) for name, kind in _FIELDS.items()], metadata=_FORMAT)


def write_parquet(rows: Iterable[Measured], path: str | Path) -> None:
    """Write the rows of a study, whole or not at all, in one order whatever order they come in.

    Raises:
        InputError: a query was measured twice in one cell, in one fold or in two, or a value cannot be stored.
        RecordError: the folder is missing, or may not be written to.
    """
    ordered = sorted(_typed(row) for row in rows)
    _once_each(ordered)
    table = pa.Table.from_arrays([_column(ordered, name) for name in _FIELDS], schema=_SCHEMA)
    with atomic_write(path, "wb") as file:
        # All that could differ between two machines is said here; the rest follows from the rows.
        parquet.write_table(
            table, file, version="2.6", data_page_version="1.0", compression="zstd", row_group_size=1_000_000
        )


def read_parquet(path: str | Path) -> list[Measured]:
    """Read what ``write_parquet`` wrote.

    Raises:
        RecordError: no such file, no Parquet file, other columns than those of ``Measured``, or a row out of range.
        InputError: a query was measured twice in one cell.
    """
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except OSError as error:
        got = error.strerror or shorten(str(error))
        raise RecordError(path, 0, "file", got, "a file that can be read", "check the path") from error
    except pa.ArrowException as error:
        raise RecordError(
            path, 0, "file", shorten(str(error), 200), "a Parquet file of a study", "run the study again"
        ) from error
    _check_schema(path, table.schema)
    rows = []
    for number, values in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True), start=1):
        try:
            rows.append(Measured(*values))
        except InputError as error:
            raise RecordError(path, number, "row", str(error), "what a study writes", "run the study again") from error
    _once_each(rows)
    return rows


def _column(rows: list[Measured], name: str) -> pa.Array:
    try:
        return pa.array([getattr(row, name) for row in rows], type=_KINDS[_FIELDS[name]])
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise InputError(
            f"rows: {name}: got a value that cannot be stored ({shorten(str(error), 200)}); allowed: texts of whole "
            "characters, numbers of 64 bits; mend the value"
        ) from error


def _typed(row: Measured) -> Measured:
    """The row with floats as floats, so that 1 and 1.0, or 0.0 and -0.0, are the same bytes."""
    return msgspec.structs.replace(row, share=row.share + 0.0, ndcg=row.ndcg + 0.0)


def _once_each(rows: Iterable[Measured]) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for row in rows:
        key = (*msgspec.structs.astuple(row)[:8], row.query_id)
        if key in seen:
            raise InputError(
                f"rows: query {row.query_id!r} was measured twice by {row.method!r} {row.variant!r} on "
                f"{row.collection!r}, experiment {row.experiment!r}, share {row.share:g}, seed {row.seed}: in the "
                f"folds {seen[key]} and {row.fold}; allowed: once; leave one of them out"
            )
        seen[key] = row.fold


def _check_schema(path: str | Path, schema: pa.Schema) -> None:
    if not schema.equals(_SCHEMA):
        names = set(schema.names).symmetric_difference(_FIELDS)
        got = f"columns that differ in {sorted(names)}" if names else f"columns {schema.names} of other types or order"
        allowed = f"{', '.join(_FIELDS)}, none of them empty"
        raise RecordError(path, 0, "schema", got, allowed, "read the file of a study")
    marks = {key: (schema.metadata or {}).get(key) for key in _FORMAT}
    if marks != _FORMAT:
        raise RecordError(
            path, 0, "format", f"{marks}", f"{_FORMAT}", "write it with this version of wholepage, or use the other"
        )
