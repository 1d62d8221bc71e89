"""What a job is: its settings, its input by content, its shards. Equal manifests make equal output.

A manifest names every input file with the sha256 of its bytes, the model with a fingerprint, and cuts each file into
shards of consecutive rows. It is written before any work and compared when a job is taken up again, so that a folder
never holds the output of two different jobs.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

import wholepage
from wholepage.apps.batch.parquet_pages import parquet_rows
from wholepage.apps.batch.places import Place, Stamp, files_at
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


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Consecutive rows of one file.

    Attributes:
        number: in the job, from 0; names the output file.
        source: index of the file.  first: row from 1.  rows: how many.  offset: of the first row's bytes (JSONL).
    """

    number: int
    source: int
    first: int
    rows: int
    offset: int = 0

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
    """An input file as workers find it: its address, and what it looked like when it was planned."""

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
        RecordError: a file cannot be read at all: broken gzip, a byte order mark, not such a Parquet file.
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
    for number, (address, place) in enumerate(found):
        stamp = stamp_of(place)
        digest, cuts = _looked_over(place, settings.shard_rows)
        if stamp_of(place) != stamp:
            raise _changed(place)
        for at, (first, offset) in enumerate(cuts.starts):
            stop = cuts.starts[at + 1][0] if at + 1 < len(cuts.starts) else cuts.rows + 1
            shards.append(Shard(len(shards), number, first, stop - first, offset))
        sources.append(Source(place.shown, digest, stamp.bytes, cuts.rows))
        opened.append(Opened(address, stamp.bytes, stamp.modified_ns))
        read(number + 1, len(found), "input files read")
    if not shards:
        raise InputError(f"input: got no rows in {len(found)} files; allowed: at least one page; check the files")
    manifest = Manifest(
        version=wholepage.__version__,
        settings=settings,
        fingerprint=fingerprint,
        sources=tuple(sources),
        shards=tuple(shards),
    )
    return manifest, tuple(opened)


def stamp_of(place: Place) -> Stamp:
    """Size and time of an input file.

    Raises:
        InputError: it is not there any more.
    """
    stamp = place.stamp()
    if stamp is None:
        raise _changed(place)
    return stamp


def check_unchanged(place: Place, opened: Opened) -> None:
    """Say whether an input file is the one that was planned.

    Raises:
        InputError: its size or time is another.
    """
    stamp = stamp_of(place)
    if (stamp.bytes, stamp.modified_ns) != (opened.bytes, opened.modified_ns):
        raise _changed(place)


def _changed(place: Place) -> InputError:
    return InputError(
        f"{place.shown}: got a file that changed while the job ran; allowed: input that stays as it is; run the job "
        "again, into another folder, when the file is complete"
    )


def _looked_over(place: Place, shard_rows: int) -> tuple[str, Cuts]:
    """The digest of a file's bytes, and where to cut it."""
    digest = hashlib.sha256()
    with place.opened() as file:
        if place.name.endswith(".jsonl"):
            cuts = _lines_cut(place, file, shard_rows, digest.update)
            return digest.hexdigest(), cuts
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if place.name.endswith(".gz"):
        return digest.hexdigest(), _gzip_cut(place)
    rows = parquet_rows(place)
    return digest.hexdigest(), Cuts(rows, tuple((first, 0) for first in range(1, rows + 1, shard_rows)))


def _lines_cut(place: Place, file: Iterable[bytes], shard_rows: int | None, feed: Callable[[bytes], None]) -> Cuts:
    """Count lines, blank ones at the end left out; ``shard_rows`` None = one shard."""
    starts: list[tuple[int, int]] = []
    offset, last = 0, 0
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith(_BOM):
            raise RecordError(place.shown, 1, "line", "a byte order mark", "UTF-8 without one", "save it without")
        if number == 1 or (shard_rows is not None and (number - 1) % shard_rows == 0):
            starts.append((number, offset))
        if line.strip():
            last = number
        feed(line)
        offset += len(line)
    return Cuts(last, tuple(start for start in starts if start[0] <= last))


def _gzip_cut(place: Place) -> Cuts:
    try:
        with place.opened() as raw, gzip.open(raw) as file:
            return _lines_cut(place, file, None, lambda line: None)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(
            place.shown, 0, "file", f"broken gzip ({error})", "a whole gzip file", "copy it again"
        ) from error
