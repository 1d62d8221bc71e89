"""Lists with the order that a teacher gave them: what a listwise ranker learns from.

A file is JSONL, a list a line; relative picture addresses lie beside it::

    {"page": {"query": {...}, "results": [...]}, "targets": [3.0, 1.0, 2.0], "teacher": "rank-vicuna"}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from wholepage.pages.errors import InputError
from wholepage.pages.lines import decode, encode, read_lines, write_lines
from wholepage.pages.model import Page, Ranking
from wholepage.pages.records import resolved


class ListKind(StrEnum):
    """What a list is made of: results without pictures, results that are pictures, or both."""

    TEXT = "text"
    IMAGE = "image"
    MIXED = "mixed"


class TaughtList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page as the student sees it, and how good the teacher holds each result.

    Attributes:
        targets: one a result, in the page's order; higher is better, equal ones have no order.
        teacher: who said so.
    Raises:
        InputError: not one finite target a result, or no two that differ: nothing can be learned from that.
    """

    page: Page
    targets: tuple[float, ...]
    teacher: str

    def __post_init__(self) -> None:
        if len(self.targets) != len(self.page) or not all(map(math.isfinite, self.targets)):
            raise InputError(
                f"list {self.page.query_id!r}: got {len(self.targets)} targets {self.targets[:5]} for "
                f"{len(self.page)} results; allowed: one finite number a result; ask the teacher again"
            )
        if len(set(self.targets)) < 2:
            raise InputError(
                f"list {self.page.query_id!r}: got {len(self.targets)} equal targets; allowed: two that differ; "
                "leave the list out"
            )

    @property
    def kind(self) -> ListKind:
        """What the list is made of; a text that has a picture beside it is a picture."""
        seen = {bool(result.images) for result in self.page.results}
        return ListKind.MIXED if len(seen) > 1 else ListKind.IMAGE if seen == {True} else ListKind.TEXT

    @classmethod
    def ranked(cls, page: Page, ranking: Ranking) -> TaughtList:
        """From a teacher's order: the best has as many points as there are results, the last one 1.

        Raises:
            DecodingError: the order is not a permutation of the page.
            InputError: less than two results.
        """
        ranking.check(page)
        place = {result_id: i for i, result_id in enumerate(ranking.result_ids)}
        targets = tuple(float(len(page) - place[result.result_id]) for result in page.results)
        return cls(page, targets, ranking.by)

    @classmethod
    def graded(cls, page: Page, grades: Mapping[str, float], who: str) -> TaughtList:
        """From grades by result id; results without one are left out.

        Raises:
            InputError: grades that do not differ.
        """
        judged = page.keep(result.result_id for result in page.results if result.result_id in grades)
        return cls(judged, tuple(float(grades[result.result_id]) for result in judged.results), who)


_LIST = msgspec.json.Decoder(TaughtList)


def read_taught(path: str | Path) -> Iterator[TaughtList]:
    """Lists of a file, one at a time.

    Raises:
        RecordError: a line cannot be read.
    """
    folder = Path(path).absolute().parent
    for number, raw in read_lines(path):
        one = decode(_LIST, path, number, raw)
        yield msgspec.structs.replace(one, page=resolved(one.page, folder))


def write_taught(path: str | Path, lists: Iterable[TaughtList]) -> int:
    """Write lists, one a line; returns how many.

    Raises:
        RecordError: a list holds what cannot be written (``line`` counts the lists).
    """
    return write_lines(path, (encode(one, _LIST, path, number) for number, one in enumerate(lists, start=1)))
