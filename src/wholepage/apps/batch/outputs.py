"""Files of records, JSONL or Parquet: equal records make equal bytes, however they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, Protocol

import msgspec
import pyarrow
from pyarrow import parquet

from wholepage.apps.batch.plan import Settings
from wholepage.apps.batch.work import EncodedPage, PageScores, Record
from wholepage.pages.lines import encode
from wholepage.pages.model import Ranking

_ROWS_OF_A_GROUP = 256
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "rank": msgspec.json.Decoder(Ranking),
    "score": msgspec.json.Decoder(PageScores),
    "encode": msgspec.json.Decoder(EncodedPage),
}
_IDS = pyarrow.list_(pyarrow.string())
_VECTOR = pyarrow.list_(pyarrow.float32())
_SCORED = pyarrow.schema(
    [
        ("query_id", pyarrow.string()),
        ("result_ids", _IDS),
        ("scores", pyarrow.list_(pyarrow.float64())),
        ("by", pyarrow.string()),
    ]
)
_SCHEMAS = {
    "rank": _SCORED,
    "score": _SCORED,
    "encode": pyarrow.schema(
        [
            ("query_id", pyarrow.string()),
            ("query", _VECTOR),
            ("result_ids", _IDS),
            ("text", pyarrow.list_(_VECTOR)),
            ("image", pyarrow.list_(_VECTOR)),
            ("by", pyarrow.string()),
        ]
    ),
}


class Hashed:
    """A file that is written once from start to end, its sha256 kept on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.bytes = file, hashlib.sha256(), 0
        self.closed = False

    def write(self, content: Any) -> int:
        """Append bytes."""
        part = memoryview(content)
        self._digest.update(part)
        self._file.write(part)
        self.bytes += part.nbytes
        return part.nbytes

    def tell(self) -> int:
        """How much was written."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The file belongs to whoever opened it."""

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()


class Records(Protocol):
    """Takes records in their order; complete when its block ends."""

    def add(self, records: Sequence[Record]) -> None:
        """Write records after those before them."""
        ...


def records_file(settings: Settings, file: Hashed, shown: str) -> AbstractContextManager[Records]:
    """What writes the records of a shard, in the format of the job."""
    return _Lines(settings, file, shown) if settings.format == "jsonl" else _Table(settings, file)


class _Lines:
    """One JSON record a line."""

    def __init__(self, settings: Settings, file: Hashed, shown: str) -> None:
        self._decoder, self._file, self._shown, self._count = _DECODERS[settings.task], file, shown, 0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def add(self, records: Sequence[Record]) -> None:
        """Append lines."""
        lines = []
        for record in records:
            self._count += 1
            lines.append(encode(record, self._decoder, self._shown, self._count))
        self._file.write(b"".join(line + b"\n" for line in lines))


class _Table:
    """Row groups of a fixed size, so that bytes do not depend on how records came."""

    def __init__(self, settings: Settings, file: Hashed) -> None:
        self._schema, self._waiting = _SCHEMAS[settings.task], list[Record]()
        self._writer = parquet.ParquetWriter(pyarrow.PythonFile(file, mode="w"), self._schema, compression="zstd")

    def __enter__(self) -> _Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write(len(self._waiting))
        self._writer.close()

    def add(self, records: Sequence[Record]) -> None:
        """Append rows, written when a row group is full."""
        self._waiting += records
        while len(self._waiting) >= _ROWS_OF_A_GROUP:
            self._write(_ROWS_OF_A_GROUP)

    def _write(self, count: int) -> None:
        part, self._waiting = self._waiting[:count], self._waiting[count:]
        if part:
            columns = {name: [getattr(one, name) for one in part] for name in self._schema.names}
            self._writer.write_table(pyarrow.table(columns, schema=self._schema))
