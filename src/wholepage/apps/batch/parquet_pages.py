"""Pages in Parquet files: a column ``page`` of JSON texts, or ``query`` and ``results`` as nested columns.

Nested columns carry every field that any row has; a field that is null counts as absent. ``features`` and ``user`` may
be maps or structs. Other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow
from pyarrow import parquet

from wholepage.apps.batch.places import Place
from wholepage.pages.errors import RecordError

_JSON = "page"
_NESTED = ("query", "results")
_BUFFER_BYTES = 1 << 20


def parquet_rows(place: Place) -> int:
    """How many rows a file holds.

    Raises:
        RecordError: it is no Parquet file, or holds no pages.
    """
    with _opened(place) as file:
        _columns(place, file)
        return int(file.metadata.num_rows)


def raw_pages(place: Place, first: int, rows: int, at_once: int) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and JSON of consecutive rows; no more than ``at_once`` are in memory as objects.

    Raises:
        RecordError: the file cannot be read.
    """
    with _opened(place) as file:
        columns = _columns(place, file)
        groups, begin = _groups(file.metadata, first, rows)
        number = begin
        batches = file.iter_batches(at_once, row_groups=groups, columns=columns, use_threads=False)
        for batch in _guarded(place, batches):
            skip, stop = max(0, first - number), min(batch.num_rows, first + rows - number)
            if skip < stop:
                part = batch.slice(skip, stop - skip)
                for at, row in enumerate(part.to_pylist(maps_as_pydicts="strict")):
                    yield number + skip + at, _json(row)
            number += batch.num_rows


def _opened(place: Place) -> Any:
    try:
        return parquet.ParquetFile(place.arrow(), buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise _broken(place, error) from error


def _guarded(place: Place, batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise _broken(place, error) from error


def _broken(place: Place, error: Exception) -> RecordError:
    return RecordError(place.shown, 0, "file", f"no whole Parquet file ({error})", "a Parquet file", "write it again")


def _columns(place: Place, file: Any) -> list[str]:
    names = file.schema_arrow.names
    if _JSON in names:
        return [_JSON]
    if all(name in names for name in _NESTED):
        return list(_NESTED)
    raise RecordError(
        place.shown, 0, "columns", ", ".join(names) or "none", "'page' (JSON), or 'query' and 'results'", "rename them"
    )


def _groups(metadata: Any, first: int, rows: int) -> tuple[list[int], int]:
    """The row groups that hold the rows, and the number of the first row in them."""
    groups: list[int] = []
    begin, at = 1, 1
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if at < first + rows and at + size > first:
            begin = begin if groups else at
            groups.append(group)
        at += size
    return groups, begin


def _json(row: dict[str, Any]) -> bytes:
    whole = row.get(_JSON)
    if isinstance(whole, str):
        return whole.encode("utf-8")
    if isinstance(whole, bytes):
        return whole
    return msgspec.json.encode(whole if _JSON in row else _without_nulls(row))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value
