"""The shape of vLLM's ``POST /score``: how well texts, or chat messages' parts, fit a query; in the order sent.

One query and many documents are one page; as many queries as documents are a page a pair. vLLM's rerank routes are
served in the shape of ``jina``, which reads its requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from wholepage.apps.serving.documents_in import (
    Ask,
    Document,
    DocumentIn,
    QueryIn,
    document_of,
    notes_on,
    query_of,
    unknown_fields,
)
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.wire import (
    Answer,
    Family,
    Fields,
    Meta,
    Moment,
    Ranked,
    Shape,
    Wanted,
    check_number,
    meta_of,
    placed,
    read_as,
    shown_scores,
    tokens,
    unread,
)
from wholepage.pages.errors import InputError

_PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


class ScoreRequest(msgspec.Struct, frozen=True):
    """Queries and documents, under one of vLLM's four pairs of names; one a side may stand without a list.

    Attributes:
        queries, data_1, text_1: one, or as many as documents.
        documents, items, data_2, text_2: what is scored.
        model: None = the server's first.
        use_activation: false = scores as the ranker gives them, not brought to [0, 1].  activation: the same.
    """

    queries: QueryIn | list[QueryIn] | None = None
    documents: DocumentIn | list[DocumentIn] | None = None
    items: DocumentIn | list[DocumentIn] | None = None
    data_1: QueryIn | list[QueryIn] | None = None
    data_2: DocumentIn | list[DocumentIn] | None = None
    text_1: QueryIn | list[QueryIn] | None = None
    text_2: DocumentIn | list[DocumentIn] | None = None
    model: str | None = None
    use_activation: bool | None = None
    activation: bool | None = None


class ScoreDatum(msgspec.Struct, frozen=True):
    """How well a document fits its query."""

    index: int
    score: float
    object: str = "score"


class ScoreUsage(msgspec.Struct, frozen=True):
    """Tokens read; 0 where the ranker does not count them."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class ScoreResponse(msgspec.Struct, frozen=True):
    """A score a document, in the order sent."""

    id: str
    object: str
    created: int
    model: str
    data: list[ScoreDatum]
    usage: ScoreUsage
    meta: Meta


def read(fields: Fields, settings: ServingSettings) -> Wanted:
    """What a body asks for.

    Raises:
        NothingToRank, InputError: queries or documents that cannot be, or not one pair of names.
    """
    asked = read_as(fields, ScoreRequest)
    left, right = _names(asked)
    queries, documents = _list(getattr(asked, left)), _list(getattr(asked, right))
    check_number(documents, right, settings)
    if not queries or len(queries) not in (1, len(documents)):
        raise InputError(
            f"{left}: got {len(queries)} for {len(documents)} {right}; allowed: one, or as many; mend the lists"
        )
    asks_for = [query_of(one, f"{left}[{i}]", settings) for i, one in enumerate(queries)]
    items = [document_of(one, f"{right}[{i}]") for i, one in enumerate(documents)]
    notes = unread(fields.keys() - set(ScoreRequest.__struct_fields__))
    notes += unread(unknown_fields(fields[right]), f" in {right}") + unread(unknown_fields(fields[left]), f" in {left}")
    return Wanted(
        _asks(asks_for, items),
        model=asked.model,
        raw=asked.use_activation is False or asked.activation is False,
        notes=(*notes, *notes_on(items)),
    )


def answer(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> Answer:
    """The scores as vLLM tells them.

    Raises:
        DecodingError: the ranker's order cannot be.
    """
    places = [place for one in ranked for place in placed(one)]
    scores = shown_scores(places, raw=wanted.raw)
    data = [ScoreDatum(place.index, score) for place, score in zip(places, scores, strict=True)]
    read_tokens = tokens(ranked)
    body = ScoreResponse(
        f"score-{moment.request_id}",
        "list",
        moment.created,
        moment.model,
        sorted(data, key=lambda datum: datum.index),
        ScoreUsage(read_tokens, read_tokens),
        meta_of(wanted, ranked, moment),
    )
    return Answer(body)


def _names(asked: ScoreRequest) -> tuple[str, str]:
    """Under which two names queries and documents were sent."""
    given = {name for pair in _PAIRS for name in pair if getattr(asked, name) is not None}
    for left, right in _PAIRS:
        if given == {left, right}:
            return left, right
    allowed = ", ".join(f"{left} and {right}" for left, right in _PAIRS)
    got = ", ".join(sorted(given)) or "none"
    raise InputError(f"got {got} of the names of queries and documents; allowed: {allowed}; send one pair")


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _asks(queries: list[Document], documents: list[Document]) -> tuple[Ask, ...]:
    if len(queries) == 1:
        return (Ask(queries[0], tuple(documents)),)
    pairs = zip(queries, documents, strict=True)
    return tuple(Ask(query, (document,), first=i) for i, (query, document) in enumerate(pairs))


VLLM = Shape(Family.VLLM, read, answer)
