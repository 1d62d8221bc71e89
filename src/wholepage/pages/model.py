"""The nouns: a page is what is on the table, a ranking is how somebody ordered it.

All types are frozen ``msgspec`` structs: equal by value, strict to JSON and back, cheap to make.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from wholepage.pages.errors import DecodingError, PageError


class Modality(StrEnum):
    """What a result is made of; ``ANSWER`` is text written by a language model."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    ANSWER = "answer"


class ImageRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A picture by reference; ``pages.images`` opens it late.

    Attributes:
        uri: a file path, ``file:``, ``data:``, ``zip:`` (``zip:archive.zip!/member``) or http(s) address.
        sha256: hex digest of the bytes, checked on opening when given.
    """

    uri: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.uri:
            raise PageError("ImageRef.uri: got an empty address; allowed: a path or URI; leave the image out instead")


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody asked.

    Attributes:
        query_id: unique in a collection.  text: the words.  image: a picture asked with.
        user: features of who asks, by name.
    """

    query_id: str
    text: str = ""
    image: ImageRef | None = None
    user: dict[str, float | str] = {}

    def __post_init__(self) -> None:
        if not self.query_id:
            raise PageError("Query.query_id: got an empty id; allowed: any non-empty string; give each query one")
        _finite("Query.user", self.user)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing on a page.

    Attributes:
        result_id: unique on its page.
        text: the text itself; of a picture or video its caption, OCR or transcript, if there is one.
        images: the picture, or a video's frames in time order.
        features: numbers known before ranking (counts, kinds as 0/1), by name; finite.
    """

    result_id: str
    modality: Modality
    text: str = ""
    images: tuple[ImageRef, ...] = ()
    features: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not self.result_id:
            raise PageError("Result.result_id: got an empty id; allowed: any non-empty string; give each result one")
        if not isinstance(self.modality, Modality):
            raise PageError(
                f"result {self.result_id!r}: got modality {self.modality!r}, a {type(self.modality).__name__}; "
                f"allowed: {', '.join(map(str, Modality))}, as Modality; pass Modality(...)"
            )
        if not self.text and not self.images:
            raise PageError(
                f"result {self.result_id!r}: got neither text nor images; allowed: at least one; "
                "drop results that have no content"
            )
        if self.modality in (Modality.IMAGE, Modality.VIDEO) and not self.images:
            raise PageError(
                f"result {self.result_id!r}: got modality {self.modality.value!r} without images; allowed: one image "
                "(or frames) for image and video; use modality 'text' for a text about a picture"
            )
        _finite(f"result {self.result_id!r}: features", self.features)


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query and its results, in the order received. A page of no results is allowed.

    Raises:
        PageError: two results share an id.
    """

    query: Query
    results: tuple[Result, ...] = ()

    def __post_init__(self) -> None:
        first: dict[str, int] = {}
        for index, result in enumerate(self.results):
            if result.result_id in first:
                raise PageError(
                    f"query {self.query.query_id!r}: got results[{first[result.result_id]}] and results[{index}] that "
                    f"share the id {result.result_id!r}; allowed: ids unique on a page; rename or drop one"
                )
            first[result.result_id] = index

    def __len__(self) -> int:
        return len(self.results)

    @property
    def query_id(self) -> str:
        return self.query.query_id

    @property
    def result_ids(self) -> tuple[str, ...]:
        """Ids in the order received."""
        return tuple(result.result_id for result in self.results)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities present, in the order of ``Modality``."""
        present = {result.modality for result in self.results}
        return tuple(modality for modality in Modality if modality in present)

    def only(self, modality: Modality) -> Page:
        """The same query with the results of one modality, order kept."""
        return Page(self.query, tuple(result for result in self.results if result.modality is modality))

    def keep(self, result_ids: Iterable[str]) -> Page:
        """The same query with the named results, in the page's own order.

        Raises:
            PageError: an id is not on this page.
        """
        wanted = set(result_ids)
        unknown = wanted.difference(self.result_ids)
        if unknown:
            raise PageError(
                f"query {self.query_id!r}: got ids {sorted(unknown)[:5]} that are not on the page; "
                f"allowed: the page's {len(self)} ids; take ids from Page.result_ids"
            )
        return Page(self.query, tuple(result for result in self.results if result.result_id in wanted))


class Ranking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How somebody ordered a page.

    Attributes:
        result_ids: best first.
        scores: aligned with ``result_ids``; ``None`` in place of a score = the ranker had no opinion
            on that result; ``None`` for all = only the order is known.
        by: the name of who ordered it.
    Raises:
        PageError: duplicate ids, lengths that differ, or a score that is not finite.
    """

    query_id: str
    result_ids: tuple[str, ...]
    scores: tuple[float | None, ...] | None = None
    by: str = ""

    def __post_init__(self) -> None:
        if len(set(self.result_ids)) != len(self.result_ids):
            seen: set[str] = set()
            twice = sorted({i for i in self.result_ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
            raise PageError(
                f"ranking of {self.query_id!r} by {self.by!r}: got {twice[:5]} more than once; "
                "allowed: each result once; remove the repeats"
            )
        if self.scores is None:
            return
        if len(self.scores) != len(self.result_ids):
            raise PageError(
                f"ranking of {self.query_id!r} by {self.by!r}: got {len(self.scores)} scores for "
                f"{len(self.result_ids)} results; allowed: one each, or scores=None; pass both or neither"
            )
        for result_id, score in zip(self.result_ids, self.scores, strict=True):
            if score is not None and not math.isfinite(score):
                raise PageError(
                    f"ranking of {self.query_id!r} by {self.by!r}: {result_id!r} got score {score}; "
                    "allowed: finite numbers, or None for no opinion; mend the ranker"
                )

    def __len__(self) -> int:
        return len(self.result_ids)

    def top(self, k: int) -> Ranking:
        """The first ``k`` results; all when there are fewer.

        Raises:
            PageError: ``k`` is negative.
        """
        if k < 0:
            raise PageError(f"ranking of {self.query_id!r}: got top({k}); allowed: 0 and up; pass how many to keep")
        return Ranking(self.query_id, self.result_ids[:k], self.scores[:k] if self.scores else self.scores, self.by)

    def positions(self) -> dict[str, int]:
        """Rank of each result, 0 = best."""
        return {result_id: rank for rank, result_id in enumerate(self.result_ids)}

    def check(self, page: Page) -> Ranking:
        """Return self if it is a permutation of the page.

        Raises:
            DecodingError: a result was lost or invented, or it ranks another query.
        """
        if self.query_id != page.query_id:
            raise DecodingError(
                f"ranker {self.by!r} answered for query {self.query_id!r}; allowed: {page.query_id!r}; "
                "rank() must keep the order of its pages"
            )
        lost = set(page.result_ids).difference(self.result_ids)
        invented = set(self.result_ids).difference(page.result_ids)
        if lost or invented:
            raise DecodingError(
                f"ranker {self.by!r} on query {page.query_id!r}: lost {sorted(lost)[:5]}, invented "
                f"{sorted(invented)[:5]}; allowed: a permutation of the page's {len(page)} ids; mend the ranker"
            )
        return self


def _finite(where: str, numbers: Mapping[str, float | str]) -> None:
    for name, value in numbers.items():
        if not isinstance(value, str) and not math.isfinite(value):
            raise PageError(f"{where}[{name!r}]: got {value}; allowed: finite numbers; leave unknown features out")
