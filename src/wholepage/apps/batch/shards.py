"""One shard done: its rows read, given to the model in small batches, its files written whole. Every engine does this.

Written are ``part-000012.jsonl`` (or ``.parquet``), ``_rejects/part-000012.jsonl`` when rows were left out, and last
``_done/part-000012.json``, which tells the digests of both: a shard without it was not done.
"""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import msgspec

from wholepage.apps.batch.outputs import Hashed, records_file
from wholepage.apps.batch.parquet_pages import RowsInOrder
from wholepage.apps.batch.places import Place, place_of
from wholepage.apps.batch.plan import Opened, Settings, Shard, check_unchanged
from wholepage.apps.batch.rows import Row, rows_of
from wholepage.apps.batch.work import ROW_ERRORS, Record, Work, silent_in
from wholepage.apps.serving.memory import GivesBack
from wholepage.pages.errors import InputError, RecordError, WholepageError
from wholepage.pages.model import Page

DONE, REJECTS = "_done", "_rejects"
_NO_USE_TRYING_AGAIN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)

Told = Callable[[int], None]
"""``told(rows)``: so many more rows are through."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is told before any shard: the job's settings, where its input lies, where the output goes."""

    settings: Settings
    sources: tuple[Opened, ...]
    out: str


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that was left out: where it stands, its query where that could be read, and why."""

    file: str
    row: int
    query_id: str | None
    error: str
    message: str


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shard that is complete.

    Attributes:
        written: records.  rejected: rows left out.  silent: results without opinion, or without vector.
        sha256, bytes: of the file of records.  rejects_sha256: of the rejects; empty when there are none.
        by: the model's name.
    """

    shard: Shard
    written: int
    rejected: int
    silent: int
    sha256: str
    bytes: int
    rejects_sha256: str
    by: str


class _Part(NamedTuple):
    """What came of some rows."""

    records: list[Record]
    rejects: list[Reject]


def peak_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def output_of(out: Place, settings: Settings, shard: Shard) -> Place:
    """The file of a shard's records."""
    return out.child(f"{shard.name}.{settings.format}")


def done_of(out: Place, shard: Shard) -> Place:
    """The file that says a shard is complete."""
    return out.child(DONE).child(f"{shard.name}.json")


def rejects_of(out: Place, shard: Shard) -> Place:
    """The file of the rows that were left out."""
    return out.child(REJECTS).child(f"{shard.name}.jsonl")


class ShardWork:
    """Does shards of one job, one after another, with a model that is loaded once.

    Args:
        order: the job.  work: what is done with its pages.
    """

    def __init__(self, order: Order, work: Work) -> None:
        self._order, self._work = order, work
        self._out = place_of(order.out)
        self._shown = [source.shown for source in order.sources]
        self._table: tuple[str, RowsInOrder] | None = None
        self._gives_back = GivesBack()

    def do(self, shard: Shard, told: Told) -> Done:
        """Do one shard; doing it again makes the same files.

        Args:
            told: of rows that are through.
        Raises:
            RecordError: a row cannot be used, and the job stops at such; or the file cannot be read.
            InputError: the input changed since it was planned, or the output cannot be written.
            Whatever the model raises that is no fault of a page.
        """
        try:
            return self._do(shard, told)
        except OSError as error:
            if error.errno not in _NO_USE_TRYING_AGAIN:
                raise  # a worker that ends with it is replaced: a disk far away may come back
            raise InputError(
                f"{shard.name} in {self._out.shown}: got {error.strerror}; allowed: files that may be read, room to "
                "write; mend that, and run the command again: it goes on where this stopped"
            ) from error

    def _do(self, shard: Shard, told: Told) -> Done:
        settings, opened = self._order.settings, self._order.sources[shard.source]
        source = replace(place_of(opened.address), shown=opened.shown)
        check_unchanged(source, opened)
        through, written, silent, rejects = 0, 0, 0, list[Reject]()
        target = output_of(self._out, settings, shard)
        with target.writing() as file:
            hashed = Hashed(file)
            with records_file(settings, hashed, target.shown) as records:
                rows = rows_of(source, shard, self._table_of(source), self._shown)
                while some := list(islice(rows, settings.batch_pages)):
                    part = self._part(source.shown, some)
                    records.add(part.records)
                    rejects += part.rejects
                    through += len(some)
                    written += len(part.records)
                    silent += sum(map(silent_in, part.records))
                    told(len(some))
                    self._gives_back.now_and_then()
            check_unchanged(source, opened, rows=shard.rows, read=through)
        rejected = self._reject(shard, rejects)
        done = Done(shard, written, len(rejects), silent, hashed.sha256, hashed.bytes, rejected, self._work.name)
        done_of(self._out, shard).write_bytes(msgspec.json.encode(done) + b"\n")
        return done

    def _table_of(self, source: Place) -> RowsInOrder:
        """The open file where it is the one of the shard before, so that it is read on."""
        if self._table is None or self._table[0] != source.path:
            if self._table is not None:
                self._table[1].close()
            self._table = (source.path, RowsInOrder(source, self._order.settings.batch_pages))
        return self._table[1]

    def _part(self, shown: str, rows: Sequence[Row]) -> _Part:
        """Records of the pages that can be used, and the rows that cannot."""
        part = _Part([], [])
        pages: list[tuple[int, Page]] = []
        for row in rows:
            if isinstance(row.page, Page):
                pages.append((row.number, row.page))
            else:
                part.rejects.append(self._left_out(shown, row.number, None, row.page))
        for number, page, found in self._tried(pages):
            if isinstance(found, WholepageError):
                part.rejects.append(self._left_out(shown, number, page, found))
            else:
                part.records.append(found)
        part.rejects.sort(key=lambda reject: reject.row)
        return part

    def _tried(self, pages: Sequence[tuple[int, Page]]) -> Iterator[tuple[int, Page, Record | WholepageError]]:
        """All pages together; one by one when that fails, so that only those to blame are left out."""
        try:
            found = self._work.records([page for _, page in pages]) if pages else []
        except ROW_ERRORS as error:
            if len(pages) == 1:
                yield *pages[0], error
            else:
                for one in pages:
                    yield from self._tried([one])
        else:
            yield from ((number, page, record) for (number, page), record in zip(pages, found, strict=True))

    def _left_out(self, shown: str, number: int, page: Page | None, error: WholepageError) -> Reject:
        """The row as a reject, or its error raised where the job stops at such."""
        if self._order.settings.on_error == "stop":
            if isinstance(error, RecordError):
                raise error
            raise RecordError(
                shown, number, "page", f"{type(error).__name__} ({error})", "a page that the model can work on",
                "mend the row, or leave such rows out with --on-error skip",
            ) from error  # fmt: skip
        return Reject(shown, number, None if page is None else page.query_id, type(error).__name__, str(error))

    def _reject(self, shard: Shard, rejects: Sequence[Reject]) -> str:
        """Write the rejects; their digest, empty when there are none."""
        if not rejects:
            before = rejects_of(self._out, shard)
            if before.stamp() is not None:
                before.remove()  # of a run that ended before this shard was complete
            return ""
        content = b"".join(msgspec.json.encode(reject) + b"\n" for reject in rejects)
        rejects_of(self._out, shard).write_bytes(content)
        return hashlib.sha256(content).hexdigest()
