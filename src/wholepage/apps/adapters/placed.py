"""What the adapters share: what a library calls documents, ordered by a ranker, none lost and none invented.

Documents are known by their places, so that the same one may come twice; one with neither words nor pictures is not
shown to the ranker and stands last, without a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wholepage.apps.documents import QUERY_ID, check_pictures
from wholepage.pages.errors import InputError, ShapeError, shorten
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import Ranker


class Item(NamedTuple):
    """A document: its words, its picture or frames, and what it is; None = an image where there are pictures."""

    text: str
    images: tuple[ImageRef, ...] = ()
    modality: Modality | None = None


class Asked(NamedTuple):
    """A query and its documents.

    Attributes:
        name: of the query, where there are several.
    """

    text: str
    items: Sequence[Item]
    image: ImageRef | None = None
    name: str = QUERY_ID


class Placed(NamedTuple):
    """A document in its order: its place in the list that was given, and its score; None = it could not be judged."""

    place: int
    score: float | None


def placed(ranker: Ranker, asked: Sequence[Asked]) -> list[list[Placed]]:
    """All documents of each query, best first; those that the ranker could not judge come last, as received.

    Scores are the ranker's; of one that only orders, the negated ranks.

    Raises:
        InputError: a query without words or picture, or two of one name.
        ImageError: a picture is missing or cannot be read; names the document.
        ShapeError, DecodingError: the ranker did not answer for each query, or lost or invented a document.
    """
    pages = [_page(one) for one in asked]
    if len({one.name for one in asked}) != len(asked):
        raise InputError("queries: got one name for two of them; allowed: a name each; rename one")
    for page in pages:
        check_pictures(page, "documents")
    full = [page for page in pages if page.results]
    rankings = ranker.rank(full) if full else []
    if len(rankings) != len(full):
        raise ShapeError(
            f"ranker {ranker.name!r}: got {len(rankings)} rankings for {len(full)} pages; allowed: one a page; mend it"
        )
    made = iter(rankings)
    return [
        _places(one, page, next(made).check(page) if page.results else None)
        for one, page in zip(asked, pages, strict=True)
    ]


def pictures_of(value: Any, at: str) -> tuple[ImageRef, ...]:
    """A path, an address, or a list of them (the frames of a video), as references; None = no picture.

    Raises:
        InputError: something else.
    """
    if value is None:
        return ()
    if isinstance(value, ImageRef):
        return (value,)
    if isinstance(value, Path):
        return (ImageRef(str(value.absolute())),)
    if isinstance(value, str) and value:
        return (ImageRef(value),)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(ref for one in value for ref in pictures_of(one, at))
    raise InputError(
        f"{at}: got {type(value).__name__} {shorten(repr(value))}; allowed: a path, a data: URI, or a list of them; "
        "convert it"
    )


def modality_of(value: Any, at: str) -> Modality | None:
    """A modality by its name; None = none was given.

    Raises:
        InputError: no such modality.
    """
    if value is None:
        return None
    if value not in list(Modality):
        allowed = ", ".join(Modality)
        raise InputError(f"{at}: got {shorten(repr(value))}; allowed: {allowed}; choose one, or leave it out")
    return Modality(value)


def check_top(what: str, top: int | None) -> int | None:
    """How many documents to keep; None = all.

    Raises:
        InputError: below 1, or no whole number.
    """
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
        raise InputError(f"{what}: got {top!r}; allowed: a whole number from 1 up, or None for all; mend it")
    return top


def _page(asked: Asked) -> Page:
    if not asked.text.strip() and asked.image is None:
        raise InputError(f"query: got {shorten(repr(asked.text))}; allowed: words or a picture; say what is looked for")
    results = [
        Result(
            f"documents[{i}]",
            item.modality or (Modality.IMAGE if item.images else Modality.TEXT),
            item.text,
            item.images,
        )
        for i, item in enumerate(asked.items)
        if item.text.strip() or item.images
    ]
    return Page(Query(asked.name, asked.text, asked.image), tuple(results))


def _places(asked: Asked, page: Page, ranking: Ranking | None) -> list[Placed]:
    index = {f"documents[{i}]": i for i in range(len(asked.items))}
    ids = ranking.result_ids if ranking is not None else ()
    known = ranking.scores if ranking is not None else None
    scores = known if known is not None else [-float(rank) for rank in range(len(ids))]
    seen = [Placed(index.pop(result_id), score) for result_id, score in zip(ids, scores, strict=True)]
    return [*seen, *(Placed(i, None) for i in index.values())]
