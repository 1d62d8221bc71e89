"""The shape of Jina's ``POST /v1/rerank``, read so that clients of Cohere's v1, vLLM and infinity are understood too.

Fields that are not used here are overlooked, and told of in ``meta.warnings``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wholepage.apps.serving.documents_in import (
    Ask,
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
    Place,
    Ranked,
    Shape,
    Usage,
    Wanted,
    check_number,
    check_top_n,
    echoed,
    meta_of,
    placed,
    read_as,
    shown_scores,
    unread,
    usage_of,
)


class JinaRequest(msgspec.Struct, frozen=True):
    """A query and what is to be ordered for it.

    Attributes:
        model: None = the server's first.
        top_n: how many results; None or 0 = all.  top_k: the same, where ``top_n`` is not given.
        return_documents: results bring their documents, without pictures that were sent whole.
        use_activation: false = scores as the ranker gives them, not brought to [0, 1].
    """

    query: QueryIn
    documents: list[DocumentIn] | DocumentIn
    model: str | None = None
    top_n: int | None = None
    top_k: int | None = None
    return_documents: bool | None = None
    use_activation: bool | None = None


class JinaResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document in the order.

    Attributes:
        index: in the request.  relevance_score: in [0, 1] if not asked otherwise.
        document: where asked for: ``text``, and ``image``, which is ``<omitted>`` or a web address.
        id: as the document had it.
    """

    index: int
    relevance_score: float
    document: dict[str, str | list[str]] | None = None
    id: str | int | None = None


class JinaResponse(msgspec.Struct, frozen=True):
    """Documents, best first."""

    id: str
    object: str
    model: str
    usage: Usage
    results: list[JinaResult]
    meta: Meta


def read(fields: Fields, settings: ServingSettings) -> Wanted:
    """What a body asks for.

    Raises:
        NothingToRank, InputError: documents, query or numbers that cannot be.
    """
    asked = read_as(fields, JinaRequest)
    given = asked.documents if isinstance(asked.documents, list) else [asked.documents]
    check_number(given, "documents", settings)
    documents = tuple(document_of(one, f"documents[{i}]") for i, one in enumerate(given))
    notes = unread(fields.keys() - set(JinaRequest.__struct_fields__))
    notes += unread(unknown_fields(fields["documents"]), " in documents")
    notes += unread(unknown_fields(fields["query"]), " in the query")
    top_n, more = _top(asked)
    return Wanted(
        (Ask(query_of(asked.query, "query", settings), documents),),
        model=asked.model,
        top_n=top_n,
        with_documents=bool(asked.return_documents),
        raw=asked.use_activation is False,
        notes=(*notes, *more, *notes_on(documents)),
    )


def answer(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> Answer:
    """The order as Jina tells it.

    Raises:
        DecodingError: the ranker's order cannot be.
    """
    places = placed(ranked[0])
    scores = shown_scores(places, raw=wanted.raw)
    pairs = list(zip(places, scores, strict=True))[: wanted.top_n]
    results = [_result(place, score, ranked[0].ask, shown=wanted.with_documents) for place, score in pairs]
    meta = meta_of(wanted, ranked, moment)
    return Answer(JinaResponse(moment.request_id, "list", moment.model, usage_of(ranked), results, meta))


def _top(asked: JinaRequest) -> tuple[int | None, list[str]]:
    """How many results, and notes on how that was read."""
    notes = [] if asked.top_n is None or asked.top_k is None else ["not used here beside top_n: top_k"]
    name, number = ("top_k", asked.top_k) if asked.top_n is None else ("top_n", asked.top_n)
    if number == 0:  # vLLM's clients say so when they want all
        return None, [*notes, f"{name}: 0 was read as all"]
    check_top_n(number, name)
    return number, notes


def _result(place: Place, score: float, ask: Ask, *, shown: bool) -> JinaResult:
    document = echoed(ask, place.index)
    return JinaResult(place.index, score, document.echo() if shown else None, document.id)


JINA = Shape(Family.JINA, read, answer)
