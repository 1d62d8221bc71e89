"""The rows of a shard, one at a time: a page each, or why it is none."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from wholepage.apps.batch.parquet_pages import RowsInOrder
from wholepage.apps.batch.places import Place
from wholepage.apps.batch.plan import Shard, already_in
from wholepage.pages.addresses import scheme_of
from wholepage.pages.errors import RecordError
from wholepage.pages.lines import decode
from wholepage.pages.model import Page
from wholepage.pages.records import resolved

_PAGE = msgspec.json.Decoder(Page)


class Row(NamedTuple):
    """One row: its number in the file (from 1), and the page or the error."""

    number: int
    page: Page | RecordError


def rows_of(place: Place, shard: Shard, table: RowsInOrder, shown: Sequence[str]) -> Iterator[Row]:
    """The rows of a shard; one whose query came before is an error.

    Pictures with relative addresses lie beside the file; in a file that is not on a disk they are errors.

    Args:
        table: the rows of the file, if it is a Parquet file.  shown: what the files of the job are called.
    Raises:
        RecordError: the file as a whole cannot be read.
    """
    repeats = {repeat.row: repeat for repeat in shard.repeats}
    raws = table.take(shard.first, shard.rows) if place.name.endswith(".parquet") else _lines(place, shard)
    for number, raw in raws:
        try:
            if isinstance(raw, RecordError):
                raise raw
            page = _page(place, number, raw)
            if repeat := repeats.get(number):
                raise RecordError(
                    place.shown, number, "query.query_id",
                    f"{page.query_id!r}, {already_in(repeat, shard.source, shown)}", "each once", "rename or drop one",
                )  # fmt: skip
        except RecordError as error:
            yield Row(number, error)
        else:
            yield Row(number, page)


def _page(place: Place, number: int, raw: bytes) -> Page:
    if not raw.strip():
        raise RecordError(place.shown, number, "line", "a blank line", "blank lines at the end only", "remove it")
    page = decode(_PAGE, place.shown, number, raw)
    if place.local:
        return resolved(page, Path(place.path).parent)
    refs = [ref for result in page.results for ref in result.images]
    for ref in [*refs, *([page.query.image] if page.query.image else [])]:
        if not scheme_of(ref.uri) and not ref.uri.startswith("/"):
            raise RecordError(
                place.shown, number, "images", f"the relative address {ref.uri!r}",
                "absolute paths and addresses, in a file that is not on a disk", "write the whole address",
            )  # fmt: skip
    return page


def _lines(place: Place, shard: Shard) -> Iterator[tuple[int, bytes]]:
    with place.opened() as raw:
        numbers = range(shard.first, shard.first + shard.rows)
        if place.name.endswith(".gz"):
            with gzip.open(raw) as unpacked:
                yield from ((number, unpacked.readline()) for number in numbers)
        else:
            raw.seek(shard.offset)
            yield from ((number, raw.readline()) for number in numbers)
