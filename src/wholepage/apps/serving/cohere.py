"""The shape of Cohere's ``POST /v2/rerank``: strict, and answered as its SDK reads it.

Documents may also hold pictures, and an ``id`` that comes back; ``meta.rerank`` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
    Diagnostics,
    Family,
    Fields,
    Moment,
    Ranked,
    Shape,
    UnknownField,
    Wanted,
    check_number,
    check_top_n,
    echoed,
    meta_of,
    placed,
    read_as,
    shown_scores,
    unread,
)
from wholepage.pages.errors import shorten

_UNIT = 100  # documents that Cohere counts as one search unit
_WITHOUT_EFFECT = ("max_tokens_per_doc", "priority", "relevant_spans")


class CohereRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query and what is to be ordered for it.

    Attributes:
        model: None = the server's first.
        max_tokens_per_doc, priority, relevant_spans: taken, told of in ``meta.warnings``, and without effect.
    """

    query: QueryIn
    documents: list[DocumentIn]
    model: str | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None
    relevant_spans: dict[str, Any] | None = None


class CohereResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document in the order: its index in the request, its score in [0, 1], its ``id`` where it had one."""

    index: int
    relevance_score: float
    id: str | int | None = None


class ApiVersion(msgspec.Struct, frozen=True):
    """Of Cohere's interface."""

    version: str = "2"
    is_experimental: bool = False


class BilledUnits(msgspec.Struct, frozen=True):
    """What Cohere would have billed: a unit for every hundred documents."""

    search_units: int


class CohereMeta(msgspec.Struct, frozen=True):
    """What the answer says beyond its results."""

    api_version: ApiVersion
    billed_units: BilledUnits
    warnings: list[str] | None
    rerank: Diagnostics


class CohereResponse(msgspec.Struct, frozen=True):
    """Documents, best first."""

    id: str
    results: list[CohereResult]
    meta: CohereMeta


def read(fields: Fields, settings: ServingSettings) -> Wanted:
    """What a body asks for.

    Raises:
        UnknownField: a field that Cohere does not have.
        NothingToRank, InputError: documents, query or numbers that cannot be.
    """
    known = CohereRequest.__struct_fields__
    if unknown := [name for name in fields if name not in known]:
        raise UnknownField(
            f"unknown field: parameter '{shorten(unknown[0])}' is not a valid field; allowed: {', '.join(known)}; "
            "drop it, or ask /v1/rerank, which overlooks what it does not know"
        )
    asked = read_as(fields, CohereRequest)
    check_number(asked.documents, "documents", settings)
    check_top_n(asked.top_n)
    documents = tuple(document_of(one, f"documents[{i}]") for i, one in enumerate(asked.documents))
    notes = unread({name for name in _WITHOUT_EFFECT if getattr(asked, name) is not None})
    notes += unread(unknown_fields(fields["documents"]), " in documents")
    return Wanted(
        (Ask(query_of(asked.query, "query", settings), documents),),
        model=asked.model,
        top_n=asked.top_n,
        notes=(*notes, *notes_on(documents)),
    )


def answer(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> Answer:
    """The order as Cohere tells it.

    Raises:
        DecodingError: the ranker's order cannot be.
    """
    places = placed(ranked[0])
    scores = shown_scores(places, raw=False)
    documents = ranked[0].ask
    results = [
        CohereResult(place.index, score, echoed(documents, place.index).id)
        for place, score in zip(places, scores, strict=True)
    ]
    meta = meta_of(wanted, ranked, moment)
    units = BilledUnits(math.ceil(len(results) / _UNIT))
    told = CohereMeta(ApiVersion(), units, meta.warnings, meta.rerank)
    return Answer(CohereResponse(moment.request_id, results[: wanted.top_n], told))


COHERE = Shape(Family.COHERE, read, answer)
