"""Rows whose query stands in an earlier row, over all files of a job, in memory that does not grow with their number.

Digests of query ids go to files by their first bits; each file is sorted by itself at the end.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

_BUCKETS = 64
_ENTRY = struct.Struct("<QQQ")
_FIELDS = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<u8")])


class _Asked(msgspec.Struct):
    query_id: str


class _Named(msgspec.Struct):
    query: _Asked


_NAMED = msgspec.json.Decoder(_Named)


def query_id_in(raw: bytes) -> str | None:
    """The query id of a page as JSON; None where there is none to be read, which is told when the row is worked on."""
    try:
        return _NAMED.decode(raw).query.query_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Repeats:
    """Takes the query ids of rows in their order, and finds those that came before; used in a ``with`` block.

    Two ids are told apart by 128 bits of a digest.
    """

    def __init__(self) -> None:
        self._files: list[IO[bytes]] = []
        self._closes = ExitStack()
        self._row = 0

    def __enter__(self) -> Self:
        for _ in range(_BUCKETS):
            self._files.append(self._closes.enter_context(tempfile.TemporaryFile()))
        return self

    def __exit__(self, *raised: Any) -> None:
        self._closes.close()

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self._row

    def add(self, query_id: str | None) -> None:
        """Take the next row; None = it has no id."""
        if query_id is not None:
            digest = hashlib.blake2b(query_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            high, low = struct.unpack("<QQ", digest)
            self._files[high % _BUCKETS].write(_ENTRY.pack(high, low, self._row))
        self._row += 1

    def found(self) -> list[tuple[int, int]]:
        """Rows (from 0, over all files) that repeat an id, each with the first row of that id; by row."""
        return sorted(pair for file in self._files for pair in _repeated(file))


def _repeated(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    file.seek(0)
    held: NDArray[np.void] = np.frombuffer(file.read(), _FIELDS)
    ordered = held[np.lexsort((held["row"], held["low"], held["high"]))]
    same = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
    first = 0
    for at in np.flatnonzero(same).tolist():
        if at == 0 or not same[at - 1]:
            first = int(ordered["row"][at])
        yield int(ordered["row"][at + 1]), first
