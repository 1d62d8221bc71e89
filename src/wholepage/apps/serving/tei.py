"""The shape of text-embeddings-inference's ``POST /rerank``: texts in, a bare array out, times in headers.

An array has no place for warnings, so they come in the header ``X-Warnings``, as a JSON array.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import msgspec

from wholepage.apps.serving.documents_in import Ask, document_of, notes_on, query_of
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.wire import (
    Answer,
    Family,
    Fields,
    Moment,
    Ranked,
    Shape,
    Wanted,
    check_number,
    echoed,
    meta_of,
    placed,
    read_as,
    shown_scores,
    tokens,
    truncated,
    unread,
)
from wholepage.pages.errors import InputError

_LONGEST_NOTES = 1500  # of a header


class TextsTooLong(InputError):
    """Texts are longer than the ranker reads, and the client does not want them cut."""


class TeiRequest(msgspec.Struct, frozen=True):
    """A query and texts to be ordered for it.

    Attributes:
        truncate: false = texts longer than the ranker reads are refused; else they are cut.
        truncation_direction: where; only ``right`` is done.
        raw_scores: as the ranker gives them, not brought to [0, 1].
        return_text: results bring their texts.
        model: None = the server's first; TEI itself has no such field.
    """

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    raw_scores: bool = False
    return_text: bool = False
    model: str | None = None


class TeiRank(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text in the order."""

    index: int
    score: float
    text: str | None = None


def read(fields: Fields, settings: ServingSettings) -> Wanted:
    """What a body asks for.

    Raises:
        NothingToRank, InputError: texts or query that cannot be.
    """
    asked = read_as(fields, TeiRequest)
    check_number(asked.texts, "texts", settings)
    documents = tuple(document_of(one, f"texts[{i}]") for i, one in enumerate(asked.texts))
    notes = unread(fields.keys() - set(TeiRequest.__struct_fields__))
    if asked.truncation_direction.lower() == "left":
        notes.append("truncation_direction: long texts are cut on the right only")
    return Wanted(
        (Ask(query_of(asked.query, "query", settings), documents),),
        model=asked.model,
        with_documents=asked.return_text,
        raw=asked.raw_scores,
        uncut=asked.truncate is False,
        notes=(*notes, *notes_on(documents)),
    )


def answer(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> Answer:
    """The order as TEI tells it.

    Raises:
        TextsTooLong: texts were cut, and the client said they must not be.
        DecodingError: the ranker's order cannot be.
    """
    if wanted.uncut and (cut := truncated(ranked)):
        raise TextsTooLong(
            f"texts[{cut[0]}]: got {len(cut)} texts that are longer than the ranker reads, with truncate=false; "
            "allowed: shorter ones; shorten them, or leave truncate out"
        )
    places = placed(ranked[0])
    scores = shown_scores(places, raw=wanted.raw)
    ranks = [
        TeiRank(place.index, score, echoed(ranked[0].ask, place.index).text if wanted.with_documents else None)
        for place, score in zip(places, scores, strict=True)
    ]
    return Answer(ranks, _headers(wanted, ranked, moment))


def _headers(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> dict[str, str]:
    """Times in milliseconds, as TEI names them."""
    meta = meta_of(wanted, ranked, moment)
    ask = ranked[0].ask
    characters = len(ask.query.text) * len(ask.documents) + sum(len(document.text) for document in ask.documents)
    headers = {
        "x-compute-characters": str(characters),
        "x-compute-time": str(round(moment.total_ms)),
        "x-compute-tokens": str(tokens(ranked)),
        "x-inference-time": str(round(meta.rerank.rank_ms)),
        "x-queue-time": str(round(meta.rerank.waited_ms)),
        "x-total-time": str(round(moment.total_ms)),
    }
    if meta.warnings:
        kept = list(meta.warnings)
        while len(kept) > 1 and len(_ascii(kept)) > _LONGEST_NOTES:
            kept.pop()
        headers["x-warnings"] = _ascii(kept)
    return headers


def _ascii(notes: list[str]) -> str:
    """A JSON array that can stand in a header, whatever was named in it."""
    return json.dumps(notes)


TEI = Shape(Family.TEI, read, answer)
