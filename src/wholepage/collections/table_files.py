"""Tables in files, row by row: CSV, JSONL and Parquet, all with the place of every error.

A table ``name`` in a folder is ``name.csv`` or ``name.jsonl`` (also with ``.gz``), ``name.parquet``, or a folder
``name/`` of ``*.parquet`` files in the order of their names, as the ``datasets`` library writes it. In errors, ``line``
is where the row begins in a text file, and the number of the row (from 1) in a Parquet file.

Rows come one at a time. A Parquet file is cut into groups of rows by whoever wrote it (``datasets``: 100 rows where
they hold pictures, else 1000); up to a group may be in memory.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from wholepage.pages import InputError, RecordError
from wholepage.pages.errors import require, shorten
from wholepage.pages.lines import decode, read_lines

_PLAIN = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_BATCH = 64  # rows; some hold pictures
_BUFFER = 1 << 16  # bytes; without it a whole column of a row group is read at once


class Row(NamedTuple):
    """A row and where it stands; raises errors that say so."""

    path: Path
    line: int
    cells: dict[str, Any]

    def error(self, field: str, got: object, allowed: str, do: str = "mend the row") -> RecordError:
        """The error to raise for one cell of this row."""
        return RecordError(self.path, self.line, field, shorten(str(got)), allowed, do)


def files_of(folder: Path, name: str) -> tuple[Path, ...]:
    """The files of a table, in order; empty where there is none.

    Raises:
        InputError: two files claim to be the table.
    """
    found = [path for ending in _PLAIN if (path := folder / f"{name}{ending}").is_file()]
    inside = folder / name
    parts = tuple(sorted(inside.glob("*.parquet"))) if inside.is_dir() else ()
    if len(found) + bool(parts) > 1:
        raise InputError(
            f"table {name!r}: got {', '.join(path.name for path in found)}{' and a folder' if parts else ''} in "
            f"{str(folder)!r}; allowed: one of them; remove the others"
        )
    return (found[0],) if found else parts


def read_table(folder: Path, name: str, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a table, with the columns named and no others; an optional column may be missing altogether.

    Raises:
        InputError: there is no such table.
        RecordError: a file is damaged, or lacks a column.
    """
    files = files_of(folder, name)
    if not files:
        raise InputError(
            f"table {name!r}: got no {name}{{{', '.join(_PLAIN)}}} and no folder {name}/ of *.parquet in "
            f"{str(folder)!r}; allowed: one of these; fetch the files or mend the path"
        )
    for path in files:
        yield from read_rows(path, columns, optional)


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of one file; as ``read_table``.

    Raises:
        RecordError: the file is missing or damaged, or lacks a column.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return _csv_rows(path, columns, optional)
    return _parquet_rows(path, columns, optional) if name.endswith(".parquet") else _json_rows(path, columns, optional)


def _csv_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    line = 1
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as raw:
            reader = csv.reader((one.decode("utf-8") for one in raw), strict=True)  # a bad byte is found on its line
            header = next(reader, [])
            wanted = _wanted(path, header, columns, optional)
            line = reader.line_num + 1
            for cells in reader:
                if len(cells) != len(header):
                    raise RecordError(path, line, "row", f"{len(cells)} cells", f"{len(header)}", "mend the row")
                yield Row(path, line, {name: cells[header.index(name)] for name in wanted})
                line = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(path, line, "row", str(error), "CSV in UTF-8", "mend the row") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(
            path, line, "file", f"broken gzip ({error})", "a whole gzip file", "fetch it again"
        ) from error
    except OSError as error:
        raise RecordError(path, 0, "file", error.strerror or str(error), "a file", "check the path") from error


def _json_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    for line, raw in read_lines(path):
        cells = decode(_OBJECT, path, line, raw)
        missing = [name for name in columns if name not in cells]
        if missing:
            raise RecordError(path, line, missing[0], "no such field", "a record with it", "add it")
        yield Row(path, line, {name: cells[name] for name in (*columns, *optional) if name in cells})


def _parquet_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    parquet: Any = require("pyarrow.parquet", "eval")
    arrow: Any = require("pyarrow", "eval")
    line = 0
    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER) as table:
            wanted = _wanted(path, table.schema_arrow.names, columns, optional)
            for batch in table.iter_batches(batch_size=_BATCH, columns=wanted):
                for cells in batch.to_pylist():
                    line += 1
                    yield Row(path, line, cells)
    except arrow.ArrowException as error:
        raise RecordError(path, line, "table", str(error), "a whole Parquet file", "fetch it again") from error
    except OSError as error:
        raise RecordError(path, 0, "file", error.strerror or str(error), "a file", "check the path") from error


def _wanted(path: Path, there: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [name for name in columns if name not in there]
    if missing:
        raise RecordError(
            path, 1, "columns", f"no {', '.join(missing)}, but {shorten(', '.join(there), 200)}", ", ".join(columns),
            "take the table in the format of its source",
        )  # fmt: skip
    return [*columns, *(name for name in optional if name in there)]
