"""Pages, rankings and judgments in files: strict to read, whole or not at all when written.

The formats of wholepage itself are JSONL, one record a line, with the fields of ``pages.model`` and
``pages.judgments`` and no others::

    {"query": {"query_id": "q1", "text": "shoes"}, "results": [{"result_id": "a", "modality": "text", "text": "A"}]}
    {"query_id": "q1", "result_ids": ["a", "b"], "scores": [2.5, null], "by": "bm25"}
    {"query_id": "q1", "result_id": "a", "grade": 3.0, "who": "ann"}
    {"query_id": "q1", "left_id": "a", "right_id": "b", "choice": "left", "who": "ann"}

The formats of others are in ``trec`` (runs and qrels), ``beir`` and ``rank_llm``; their functions are named here too.
Everywhere: UTF-8, ``.gz`` by suffix, NaN and Infinity refused, every error a ``RecordError`` that names file, line
and field. Readers of pages and rankings are iterators: an error is raised when its line is reached. Equal records make
equal files.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from wholepage.pages.addresses import beside
from wholepage.pages.beir import read_beir, write_beir
from wholepage.pages.errors import RecordError
from wholepage.pages.judgments import Grade, Judgments, Preference
from wholepage.pages.lines import atomic_write, decode, encode, read_lines, write_lines
from wholepage.pages.model import ImageRef, Page, Ranking
from wholepage.pages.rank_llm import read_rank_llm, write_rank_llm
from wholepage.pages.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "atomic_write",
    "read_beir",
    "read_judgments",
    "read_pages",
    "read_qrels",
    "read_rank_llm",
    "read_rankings",
    "read_run",
    "write_beir",
    "write_judgments",
    "write_pages",
    "write_qrels",
    "write_rank_llm",
    "write_rankings",
    "write_run",
]

_Key = TypeVar("_Key", bound=Hashable)
_PAGE = msgspec.json.Decoder(Page)
_RANKING = msgspec.json.Decoder(Ranking)
_GRADE = msgspec.json.Decoder(Grade)
_PREFERENCE = msgspec.json.Decoder(Preference)


def read_pages(path: str | Path) -> Iterator[Page]:
    """Pages of a JSONL file, one at a time.

    An image address that is a relative path is taken to lie beside the file and made absolute; absolute paths and
    addresses with a scheme (``file:``, ``data:``, ``zip:``, http) stay as they are.

    Raises:
        RecordError: a line cannot be read, or a query id comes twice.
    """
    folder = Path(path).absolute().parent
    first: dict[str, int] = {}
    for number, raw in read_lines(path):
        page = decode(_PAGE, path, number, raw)
        _once(first, page.query_id, path, number, "query.query_id")
        yield resolved(page, folder)


def write_pages(path: str | Path, pages: Iterable[Page]) -> int:
    """Write pages as JSONL; returns how many.

    Image addresses are written as they are: relative ones will be read as lying beside the file.

    Raises:
        RecordError: a query id comes twice, or a page holds what cannot be written (``line`` counts the pages).
    """
    first: dict[str, int] = {}

    def lines() -> Iterator[bytes]:
        for number, page in enumerate(pages, start=1):
            _once(first, page.query_id, path, number, "query.query_id")
            yield encode(page, _PAGE, path, number)

    return write_lines(path, lines())


def read_rankings(path: str | Path) -> Iterator[Ranking]:
    """Rankings of a JSONL file, one at a time; several rankers may share a file.

    Raises:
        RecordError: a line cannot be read, or one ranker orders the same query twice.
    """
    first: dict[tuple[str, str], int] = {}
    for number, raw in read_lines(path):
        ranking = decode(_RANKING, path, number, raw)
        _once(first, (ranking.query_id, ranking.by), path, number, "query_id, by")
        yield ranking


def write_rankings(path: str | Path, rankings: Iterable[Ranking]) -> int:
    """Write rankings as JSONL; returns how many.

    Raises:
        RecordError: one ranker orders the same query twice, or a ranking holds what cannot be written.
    """
    first: dict[tuple[str, str], int] = {}

    def lines() -> Iterator[bytes]:
        for number, ranking in enumerate(rankings, start=1):
            _once(first, (ranking.query_id, ranking.by), path, number, "query_id, by")
            yield encode(ranking, _RANKING, path, number)

    return write_lines(path, lines())


class _Shape(msgspec.Struct):
    """The fields that tell a grade from a preference; all others are looked at later."""

    result_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    grade: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    left_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    right_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    choice: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_SHAPE = msgspec.json.Decoder(_Shape)


def read_judgments(path: str | Path) -> Judgments:
    """Judgments of a JSONL file of grades and preferences, told apart by their fields.

    When a person answers the same thing twice, the later line stands, as everywhere in ``Judgments``.

    Raises:
        RecordError: a line cannot be read, or is neither a grade nor a preference.
    """
    grades: list[Grade] = []
    preferences: list[Preference] = []
    for number, raw in read_lines(path):
        shape = decode(_SHAPE, path, number, raw)
        graded = shape.result_id is not msgspec.UNSET or shape.grade is not msgspec.UNSET
        compared = any(f is not msgspec.UNSET for f in (shape.left_id, shape.right_id, shape.choice))
        if graded == compared:
            raise RecordError(
                path, number, "record",
                "fields of both a grade and a preference" if graded else "fields of neither a grade nor a preference",
                "query_id, result_id, grade or query_id, left_id, right_id, choice (and who, when)", "mend the line",
            )  # fmt: skip
        if graded:
            grades.append(decode(_GRADE, path, number, raw))
        else:
            preferences.append(decode(_PREFERENCE, path, number, raw))
    return Judgments(grades, preferences)


def write_judgments(path: str | Path, judgments: Iterable[Grade | Preference]) -> int:
    """Write judgments as JSONL, one answer a line; returns how many.

    ``Judgments`` are written by query, then by what was judged and by whom; other iterables in their own order.

    Raises:
        RecordError: an answer holds what cannot be written.
    """
    return write_lines(
        path,
        (
            encode(said, _GRADE if isinstance(said, Grade) else _PREFERENCE, path, number)
            for number, said in enumerate(judgments, start=1)
        ),
    )


def _once(first: dict[_Key, int], key: _Key, path: str | Path, number: int, field: str) -> None:
    if key in first:
        raise RecordError(
            path, number, field, f"{key!r}, already in record {first[key]}", "each once", "rename or drop one"
        )
    first[key] = number


def resolved(page: Page, folder: Path) -> Page:
    """The page with relative image paths taken to lie in a folder; the same object when there are none."""

    def near(ref: ImageRef) -> ImageRef:
        uri = beside(ref.uri, folder)
        return ref if uri == ref.uri else ImageRef(uri, ref.sha256)

    image = near(page.query.image) if page.query.image is not None else None
    results = []
    for result in page.results:
        images = tuple(map(near, result.images))
        results.append(result if images == result.images else msgspec.structs.replace(result, images=images))
    if image == page.query.image and tuple(results) == page.results:
        return page
    return Page(msgspec.structs.replace(page.query, image=image), tuple(results))
