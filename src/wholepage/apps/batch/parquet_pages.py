"""Pages in Parquet files: a column ``page`` of JSON texts, or ``query`` and ``results`` as nested columns.

Nested columns carry every field that any row has; a field that is null counts as absent. ``features`` and ``user`` may
be maps or structs. Other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow
from pyarrow import compute, parquet

from wholepage.apps.batch.places import Place
from wholepage.apps.batch.repeats import query_id_in
from wholepage.pages.errors import RecordError

_JSON = "page"
_NESTED = ("query", "results")
_BUFFER_BYTES = 1 << 20
_LOOKED_AT = 256


def parquet_rows(place: Place) -> int:
    """How many rows a file holds.

    Raises:
        RecordError: it is no Parquet file, or holds no pages.
    """
    with _opened(place) as file:
        _columns(place, file)
        return int(file.metadata.num_rows)


def query_ids(place: Place) -> Iterator[str | None]:
    """The query id of each row in its order; None where there is none to be read.

    Raises:
        RecordError: the file cannot be read.
    """
    with _opened(place) as file:
        column = _columns(place, file)[0]
        for batch in _guarded(place, file.iter_batches(_LOOKED_AT, columns=[column], use_threads=False)):
            if column == _JSON:
                yield from (query_id_in(_json({_JSON: value})) for value in batch.column(_JSON).to_pylist())
                continue
            found = batch.column(column)
            named = pyarrow.types.is_struct(found.type) and found.type.get_field_index("query_id") >= 0
            ids = compute.struct_field(found, "query_id").to_pylist() if named else [None] * batch.num_rows
            yield from (one if isinstance(one, str) else None for one in ids)


class RowsInOrder:
    """The rows of one file; rows that follow those taken last are read on from there.

    A shard may begin in the middle of a row group, of which all that lies before must be unpacked: a worker that does
    shard after shard would else unpack a large group once for each.

    Args:
        place: of the file.  at_once: how many rows may be in memory as objects.
    """

    def __init__(self, place: Place, at_once: int) -> None:
        self._place, self._at_once = place, at_once
        self._file: Any = None
        self._columns: list[str] = []
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._number = 1
        """The row at which ``_batch`` begins."""

    def take(self, first: int, rows: int) -> Iterator[tuple[int, bytes | RecordError]]:
        """Number (from 1) and JSON, or error, of consecutive rows; fewer when the file ends.

        Raises:
            RecordError: the file cannot be read.
        """
        self._go_to(first)
        at, stop = first, first + rows
        while at < stop and self._batch is not None:
            skip = at - self._number
            if skip >= self._batch.num_rows:
                self._next()
                continue
            part = self._batch.slice(skip, min(self._batch.num_rows - skip, stop - at))
            for row in _as_objects(self._place, part, at):
                yield at, row if isinstance(row, RecordError) else _json(row)
                at += 1

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
        self._file = self._batch = None
        self._batches = iter(())

    def _go_to(self, first: int) -> None:
        """Stand at or before a row, in its own row group if not on the way already."""
        group, begin = (0, 1) if self._file is None else _group_of(self._file.metadata, first)
        if self._file is None or self._batch is None or not begin <= self._number <= first:
            self.close()
            self._file = _opened(self._place)
            columns = _columns(self._place, self._file)
            group, self._number = _group_of(self._file.metadata, first)
            groups = list(range(group, self._file.metadata.num_row_groups))
            batches = self._file.iter_batches(self._at_once, row_groups=groups, columns=columns, use_threads=False)
            self._batches = _guarded(self._place, batches)
            self._batch = next(self._batches, None)

    def _next(self) -> None:
        self._number += self._batch.num_rows
        self._batch = next(self._batches, None)


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


def _group_of(metadata: Any, row: int) -> tuple[int, int]:
    """The row group that holds a row, and the number of the first row in it."""
    begin = 1
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if row < begin + size:
            return group, begin
        begin += size
    return metadata.num_row_groups, begin


def _as_objects(place: Place, part: Any, first: int) -> Iterator[dict[str, Any] | RecordError]:
    """Rows as objects; one by one when that fails, so that only those to blame are errors."""
    try:
        yield from part.to_pylist(maps_as_pydicts="strict")
    except (KeyError, ValueError, OverflowError) as error:
        if part.num_rows > 1:
            for at in range(part.num_rows):
                yield from _as_objects(place, part.slice(at, 1), first + at)
        else:
            yield RecordError(
                place.shown, first, "row", " ".join(str(error).split()), "maps that name each key once, dates in range",
                "mend the row",
            )  # fmt: skip


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
