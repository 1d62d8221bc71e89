"""What a job is: its settings, its input by content, its shards. Equal manifests make equal output.

A manifest names every input file with the sha256 of its bytes, the model with a fingerprint, and cuts each file into
shards of consecutive rows. It is written before any work and compared when a job is taken up again, so that a folder
never holds the output of two different jobs. A query stands in one row of the whole input: rows that repeat one are
found here, before any work, so that what is left out does not depend on where the shards were cut.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Literal

import msgspec

import wholepage
from wholepage.apps.batch.parquet_pages import parquet_rows, query_ids
from wholepage.apps.batch.places import Place, Stamp, files_at
from wholepage.apps.batch.repeats import Repeats, query_id_in
from wholepage.pages.errors import InputError, RecordError

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
FORMAT_VERSION = 1
Task = Literal["rank", "score", "encode"]
OnError = Literal["stop", "skip"]
Format = Literal["jsonl", "parquet"]
_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 1 << 20


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done with the pages, and everything that the output depends on.

    Attributes:
        task: ``rank`` (orders), ``score`` (numbers in the page's own order) or ``encode`` (vectors).
        model: what names it on the command line.
        format: of the output.
        shard_rows: rows of a shard; the last of a file has fewer, a gzipped file is one shard.
        batch_pages: pages that the model is given at once.
        on_error: a row that cannot be used ends the job, or goes to the rejects.
        top_k: of each order; None = all.  only: the modality looked at; None = every one.
    Raises:
        InputError: a number is not positive, or an option does not go with the task.
    """

    task: Task
    model: str
    format: Format = "jsonl"
    shard_rows: int = 2000
    batch_pages: int = 32
    on_error: OnError = "stop"
    top_k: int | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        for name in ("shard_rows", "batch_pages", "top_k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"batch: got {name} {value}; allowed: 1 and up; raise it")
        if self.top_k is not None and self.task != "rank":
            raise InputError(f"batch {self.task}: got top_k {self.top_k}; allowed: with 'rank' only; leave it out")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input file: its address without keys, the sha256 of its bytes, how many they are, and its rows."""

    file: str
    sha256: str
    bytes: int
    rows: int


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A row whose query stands in an earlier one: its number, and the file (index) and number of the first."""

    row: int
    source: int
    first: int


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Consecutive rows of one file.

    Attributes:
        number: in the job, from 0; names the output file.
        source: index of the file.  first: row from 1.  rows: how many.  offset: of the first row's bytes (JSONL).
        repeats: its rows whose query came before.
    """

    number: int
    source: int
    first: int
    rows: int
    offset: int = 0
    repeats: tuple[Repeat, ...] = ()

    @property
    def name(self) -> str:
        """What its files are called, without the ending."""
        return f"part-{self.number:06d}"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole job.

    Attributes:
        version: of wholepage.  fingerprint: of the model.
    """

    format_version: int = FORMAT_VERSION
    version: str
    settings: Settings
    fingerprint: str
    sources: tuple[Source, ...]
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Of all input files."""
        return sum(source.rows for source in self.sources)

    def encoded(self) -> bytes:
        """The manifest as its file holds it: equal manifests, equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input file as workers find it: what it is called, its address, and what it looked like when it was planned."""

    shown: str
    address: str
    bytes: int
    modified_ns: int


class Cuts(msgspec.Struct, frozen=True):
    """Where the shards of one file begin: (first row, byte offset), and how many rows there are."""

    rows: int
    starts: tuple[tuple[int, int], ...]


def planned(
    inputs: Sequence[str], settings: Settings, fingerprint: str, read: Callable[[int, int, str], None]
) -> tuple[Manifest, tuple[Opened, ...]]:
    """Read the input once, and cut it into shards.

    Args:
        inputs: files, folders or patterns; a folder's files come in the order of their names.
        fingerprint: of the model.  read: told of the files read.
    Raises:
        NotFound: an address names nothing.
        RecordError: a file cannot be read at all (broken gzip, a byte order mark, not such a Parquet file), or a query
            stands in two rows and the job stops at such.
        InputError: there are no rows, a file is named twice, or it changes while it is read.
    """
    found = [one for address in inputs for one in files_at(address, ENDINGS)]
    shown = [place.shown for _, place in found]
    twice = sorted({name for name in shown if shown.count(name) > 1})
    if twice:
        raise InputError(f"input: got {twice[0]!r} twice; allowed: each file once; name it once")
    sources: list[Source] = []
    shards: list[Shard] = []
    opened: list[Opened] = []
    with Repeats() as queries:
        for number, (address, place) in enumerate(found):
            stamp = stamp_of(place)
            digest, cuts = _looked_over(place, settings.shard_rows, queries)
            if stamp_of(place) != stamp:
                raise _changed(place)
            for at, (first, offset) in enumerate(cuts.starts):
                stop = cuts.starts[at + 1][0] if at + 1 < len(cuts.starts) else cuts.rows + 1
                shards.append(Shard(len(shards), number, first, stop - first, offset))
            sources.append(Source(place.shown, digest, stamp.bytes, cuts.rows))
            opened.append(Opened(place.shown, address, stamp.bytes, stamp.modified_ns))
            read(number + 1, len(found), "input files read")
        repeats = queries.found()
    if not shards:
        raise InputError(f"input: got no rows in {len(found)} files; allowed: at least one page; check the files")
    manifest = Manifest(
        version=wholepage.__version__,
        settings=settings,
        fingerprint=fingerprint,
        sources=tuple(sources),
        shards=tuple(_told_of(repeats, shards, sources)),
    )
    if repeats and settings.on_error == "stop":
        raise _repeated(manifest)
    return manifest, tuple(opened)


def already_in(repeat: Repeat, source: int, shown: Sequence[str]) -> str:
    """Where the query of a row stood first.

    Args:
        source: index of the row's own file.  shown: what all files are called.
    """
    return f"already in row {repeat.first}" + (f" of {shown[repeat.source]}" if repeat.source != source else "")


def _told_of(repeats: Sequence[tuple[int, int]], shards: Sequence[Shard], sources: Sequence[Source]) -> list[Shard]:
    """The shards, each with its rows of those pairs (row and first row, from 0 over all files)."""
    starts = list(accumulate((source.rows for source in sources), initial=0))
    firsts = [starts[shard.source] + shard.first - 1 for shard in shards]
    held: dict[int, list[Repeat]] = {}
    for row, first in repeats:
        number = bisect_right(firsts, row) - 1
        source = bisect_right(starts, first) - 1
        row_of_file = row - starts[shards[number].source] + 1
        held.setdefault(number, []).append(Repeat(row_of_file, source, first - starts[source] + 1))
    return [msgspec.structs.replace(shard, repeats=tuple(held.get(shard.number, ()))) for shard in shards]


def _repeated(manifest: Manifest) -> RecordError:
    shard = next(one for one in manifest.shards if one.repeats)
    count = sum(len(one.repeats) for one in manifest.shards)
    names = [source.file for source in manifest.sources]
    return RecordError(
        names[shard.source], shard.repeats[0].row, "query.query_id",
        f"one that is {already_in(shard.repeats[0], shard.source, names)} ({count} such rows in all)", "each once",
        "rename or drop them, or leave the later ones out with --on-error skip",
    )  # fmt: skip


def stamp_of(place: Place) -> Stamp:
    """Size and time of an input file.

    Raises:
        InputError: it is not there any more.
    """
    stamp = place.stamp()
    if stamp is None:
        raise _changed(place)
    return stamp


def check_unchanged(place: Place, opened: Opened, *, rows: int = 0, read: int = 0) -> None:
    """Say whether an input file is the one that was planned.

    Args:
        rows: that a shard of it must have.  read: that came.
    Raises:
        InputError: its size or time is another, or rows are missing.
    """
    stamp = stamp_of(place)
    if (stamp.bytes, stamp.modified_ns) != (opened.bytes, opened.modified_ns) or rows != read:
        raise _changed(place)


def _changed(place: Place) -> InputError:
    return InputError(
        f"{place.shown}: got a file that changed while the job ran; allowed: input that stays as it is; run the job "
        "again, into another folder, when the file is complete"
    )


def _looked_over(place: Place, shard_rows: int, queries: Repeats) -> tuple[str, Cuts]:
    """The digest of a file's bytes, and where to cut it; the query of each row is handed to ``queries``."""
    digest = hashlib.sha256()
    with place.opened() as file:
        if place.name.endswith(".jsonl"):
            cuts = _lines_cut(place, file, shard_rows, digest.update, queries)
            return digest.hexdigest(), cuts
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if place.name.endswith(".gz"):
        return digest.hexdigest(), _gzip_cut(place, queries)
    rows = parquet_rows(place)
    for query_id in query_ids(place):
        queries.add(query_id)
    return digest.hexdigest(), Cuts(rows, tuple((first, 0) for first in range(1, rows + 1, shard_rows)))


def _lines_cut(
    place: Place, file: Iterable[bytes], shard_rows: int | None, feed: Callable[[bytes], None], queries: Repeats
) -> Cuts:
    """Count lines, blank ones at the end left out; ``shard_rows`` None = one shard."""
    starts: list[tuple[int, int]] = []
    offset, last = 0, 0
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith(_BOM):
            raise RecordError(place.shown, 1, "line", "a byte order mark", "UTF-8 without one", "save it without")
        if number == 1 or (shard_rows is not None and (number - 1) % shard_rows == 0):
            starts.append((number, offset))
        if line.strip():
            while last < number - 1:
                last += 1
                queries.add(None)  # blank lines before this one
            last = number
            queries.add(query_id_in(line))
        feed(line)
        offset += len(line)
    return Cuts(last, tuple(start for start in starts if start[0] <= last))


def _gzip_cut(place: Place, queries: Repeats) -> Cuts:
    try:
        with place.opened() as raw, gzip.open(raw) as file:
            return _lines_cut(place, file, None, lambda line: None, queries)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(
            place.shown, 0, "file", f"broken gzip ({error})", "a whole gzip file", "copy it again"
        ) from error
