"""What all shapes of request share: what is wanted, what came of it, and how scores are told.

A shape reads the body of a request into a ``Wanted`` and makes an ``Answer`` of what was ``Ranked``. Between the two
stands ``http``, which knows no shape.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from wholepage.apps.serving.calls import Outcome
from wholepage.apps.serving.documents_in import Ask, Document, Laid, listed
from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import DecodingError, InputError, shorten

T = TypeVar("T", bound=msgspec.Struct)
Fields: TypeAlias = dict[str, Any]

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$", re.S)


class Family(StrEnum):
    """Whose clients a route is made for."""

    COHERE = "cohere"
    JINA = "jina"
    TEI = "tei"
    VLLM = "vllm"


class NotJson(InputError):
    """A body that is no JSON object."""


class UnknownField(InputError):
    """A field that the shape does not have, in a shape that allows no others."""


class NothingToRank(InputError):
    """A request without documents."""


class Wanted(msgspec.Struct, frozen=True):
    """What a request asks for, whatever its shape.

    Attributes:
        asks: one; of ``/score`` with several queries one a pair.
        model: as it was named; None = the default.
        top_n: None = all.  with_documents: results bring their documents.
        raw: scores as the ranker gives them, not brought to [0, 1].
        uncut: texts that are longer than the ranker reads are refused.
        notes: what the client should know.
    """

    asks: tuple[Ask, ...]
    model: str | None = None
    top_n: int | None = None
    with_documents: bool = False
    raw: bool = False
    uncut: bool = False
    notes: tuple[str, ...] = ()


class Ranked(msgspec.Struct, frozen=True):
    """An ask, the page that was made of it, and how it was ordered."""

    ask: Ask
    laid: Laid
    outcome: Outcome


class Moment(msgspec.Struct, frozen=True):
    """What an answer says of itself.

    Attributes:
        model: that answered.  created: seconds since 1970.  total_ms: since the request came in.
    """

    request_id: str
    model: str
    created: int
    total_ms: float


class Answer(NamedTuple):
    """The body of an answer, and headers beyond the usual ones."""

    body: object
    headers: Mapping[str, str] = {}


class Shape(NamedTuple):
    """One shape of request: how it is read, and how it is answered."""

    family: Family
    read: Callable[[Fields, ServingSettings], Wanted]
    answer: Callable[[Wanted, Sequence[Ranked], Moment], Answer]


class Place(msgspec.Struct, frozen=True):
    """A result in the order: the request's index of its document, and its score; None = the ranker had no opinion."""

    index: int
    score: float | None


class Diagnostics(msgspec.Struct, frozen=True):
    """How an answer came about: under ``meta.rerank``.

    Attributes:
        ranker: who ordered.  windows, repairs: of a listwise ranker.  truncated: indices of documents that were cut.
        modalities: how many results of each were ranked.  tokens: read, counted or estimated.
        cached: the whole answer was known already.  rank_ms, waited_ms, ms: ranking, in the queue, altogether.
    """

    ranker: str
    windows: int
    repairs: int
    truncated: list[int]
    modalities: dict[str, int]
    tokens: int
    cached: bool
    rank_ms: float
    waited_ms: float
    ms: float


class Meta(msgspec.Struct, frozen=True):
    """What an answer says beyond its results; ``warnings`` is null where there is nothing to warn of."""

    warnings: list[str] | None
    rerank: Diagnostics


class Usage(msgspec.Struct, frozen=True):
    """Tokens read; 0 where the ranker does not count them."""

    prompt_tokens: int
    total_tokens: int


def fields_of(body: bytes) -> Fields:
    """The fields of a JSON object.

    Raises:
        NotJson: the body is anything else.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(
            f"got a body that is no JSON ({error}); allowed: a JSON object in UTF-8; mend the body"
        ) from error
    if not isinstance(found, dict):
        raise NotJson(f"got a JSON {type(found).__name__}; allowed: a JSON object; put the fields into one")
    return found


def read_as(fields: Fields, kind: type[T]) -> T:
    """Fields as a struct; what the struct does not know is left out.

    Raises:
        InputError: a field is missing or of another type; names it.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        what, where = (found["what"], found["where"]) if found else (str(error), None)
        what = re.sub(r"^Expected (.*), got (.*)$", r"got \2; allowed: \1", what)
        what = re.sub(r"^Object missing required field `(.*)`$", r"got no field '\1'; allowed: an object with it", what)
        what = re.sub(r"^Invalid enum value (.*)$", r"got \1; allowed: text, image, video, answer", what, flags=re.S)
        raise InputError(f"{shorten(where) if where else 'body'}: {shorten(what, 300)}; mend the request") from error


def unread(names: set[str], where: str = "") -> list[str]:
    """A note on fields that are not used; none when there are none."""
    return [f"not used here{where}: {listed(sorted(names))}"] if names else []


def check_number(documents: Sequence[object], name: str, settings: ServingSettings) -> None:
    """Refuse a list of no documents, or of too many.

    Raises:
        NothingToRank, InputError: it is.
    """
    if not documents:
        raise NothingToRank(f"`{name}` cannot be empty: got no documents; allowed: 1 to {settings.max_documents}")
    if len(documents) > settings.max_documents:
        raise InputError(
            f"`{name}`: got {len(documents)} documents; allowed: {settings.max_documents}; ask in several requests"
        )


def check_top_n(top_n: int | None, name: str = "top_n") -> None:
    """Refuse a number of results that is not positive.

    Raises:
        InputError: it is not.
    """
    if top_n is not None and top_n < 1:
        raise InputError(f"{name}: got {top_n}; allowed: 1 or more, or left out for all; mend the number")


def relevance(score: float) -> float:
    """A ranker's score brought to [0, 1]: the logistic function, in float64."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    grown = math.exp(score)
    return grown / (1 + grown)


def placed(ranked: Ranked) -> list[Place]:
    """All documents of an ask, best first; those without an opinion, and then those that hold nothing, are last.

    Raises:
        DecodingError: the order is no permutation, a score is not finite, or one without opinion is not last.
    """
    order, scores, laid = ranked.outcome.order, ranked.outcome.scores, ranked.laid
    number = len(laid.page)
    if sorted(order) != list(range(number)) or len(scores) != number:
        raise DecodingError(
            f"{ranked.outcome.ranker}: got an order of {len(order)} and {len(scores)} scores for {number} results; "
            "allowed: each result once; mend the ranker"
        )
    found = [Place(laid.places[i], scores[i]) for i in order]
    if any(place.score is not None and not math.isfinite(place.score) for place in found):
        raise DecodingError(f"{ranked.outcome.ranker}: got a score that is not finite; mend the ranker")
    without = [place.score is None for place in found]
    if without != sorted(without):
        raise DecodingError(f"{ranked.outcome.ranker}: got results without opinion before others; mend the ranker")
    return found + [Place(index, None) for index in laid.left]


def shown_scores(places: Sequence[Place], *, raw: bool) -> list[float]:
    """The scores of an order as answers tell them: in [0, 1], or as the ranker gave them.

    Where there is no opinion, the least that there can be: 0.0, or of raw scores the lowest of the others.
    """
    if not raw:
        return [0.0 if place.score is None else relevance(place.score) for place in places]
    least = min((place.score for place in places if place.score is not None), default=0.0)
    return [least if place.score is None else place.score for place in places]


def notes_of(wanted: Wanted, ranked: Sequence[Ranked]) -> list[str]:
    """Everything that the client should know: of its request, and of what could not be done."""
    notes = list(wanted.notes)
    if without := [
        echoed(one.ask, index).at
        for one in ranked
        for index, score in zip(one.laid.places, one.outcome.scores, strict=True)
        if score is None
    ]:
        notes.append(f"{listed(without)}: the ranker had no opinion; placed last")
    if cut := [echoed(one.ask, one.laid.places[i]).at for one in ranked for i in sorted(one.outcome.told.truncated)]:
        notes.append(f"{listed(cut)}: longer than the ranker reads; cut")
    return notes


def truncated(ranked: Sequence[Ranked]) -> list[int]:
    """The request's indices of documents whose text was cut, in order."""
    return sorted({one.laid.places[i] for one in ranked for i in one.outcome.told.truncated})


def tokens(ranked: Sequence[Ranked]) -> int:
    """Tokens read, where they are counted."""
    return sum(one.outcome.told.tokens for one in ranked)


def meta_of(wanted: Wanted, ranked: Sequence[Ranked], moment: Moment) -> Meta:
    """Warnings and diagnostics of an answer."""
    told = [one.outcome.told for one in ranked]
    modalities = Counter(result.modality.value for one in ranked for result in one.laid.page.results)
    rerank = Diagnostics(
        ranker=ranked[0].outcome.ranker,
        windows=sum(one.windows for one in told),
        repairs=sum(one.repairs for one in told),
        truncated=truncated(ranked),
        modalities=dict(sorted(modalities.items())),
        tokens=tokens(ranked),
        cached=all(one.cached for one in told),
        rank_ms=_ms(max(one.rank_ms for one in told)),
        waited_ms=_ms(max(one.waited_ms for one in told)),
        ms=_ms(moment.total_ms),
    )
    return Meta(notes_of(wanted, ranked) or None, rerank)


def usage_of(ranked: Sequence[Ranked]) -> Usage:
    """Tokens as OpenAI's clients read them."""
    return Usage(tokens(ranked), tokens(ranked))


def echoed(ask: Ask, index: int) -> Document:
    """The document at an index of the request."""
    return ask.documents[index - ask.first]


def _ms(value: float) -> float:
    return round(value, 3)
