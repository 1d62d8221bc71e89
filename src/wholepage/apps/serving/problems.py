"""What a client is told when something cannot be done: every error becomes a status and a body here, nowhere else.

One table says the status of each class of error; four bodies say it as each family's own server would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from wholepage.apps.serving.calls import Draining, Expired, Overloaded, UnknownModel
from wholepage.apps.serving.keys import KeyRefused, TooManyRequests
from wholepage.apps.serving.tei import TextsTooLong
from wholepage.apps.serving.wire import Family, NothingToRank, NotJson, UnknownField
from wholepage.pages.errors import (
    DecodingError,
    EndpointError,
    ImageError,
    InputError,
    MissingExtra,
    NoRanker,
    WholepageError,
    WorkerLost,
)


class BodyTooLarge(InputError):
    """A body of more bytes than are taken."""


class BodyTooSlow(InputError):
    """A body that was not whole when the time for the request ran out."""


class NotTaken(InputError):
    """A body of a type, or packed in a way, that is not read."""


class ClientGone(WholepageError):
    """The client hung up before the answer was ready."""


class NotServed(WholepageError):
    """There is nothing at the address, or not for the method; ``status`` says which."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Row(NamedTuple):
    """How a class of errors is told: the status, where a family has another one, and the words for its kind."""

    error: type[WholepageError]
    status: int
    tei: str
    vllm: str
    others: Mapping[Family, int] = MappingProxyType({})


_BACKEND_424: Final = {Family.TEI: 424}
_VLLM_400: Final = {Family.VLLM: 400}

TABLE: Final[tuple[Row, ...]] = (  # the first that fits, so narrow ones come first
    Row(NotServed, 404, "Validation", "NotFoundError"),
    Row(KeyRefused, 401, "Unauthorized", "AuthenticationError"),
    Row(TooManyRequests, 429, "Overloaded", "RateLimitError"),
    Row(Overloaded, 429, "Overloaded", "RateLimitError"),
    Row(Draining, 503, "Unhealthy", "ServiceUnavailableError"),
    Row(Expired, 504, "Overloaded", "TimeoutError"),
    Row(ClientGone, 499, "Validation", "ClientClosedRequestError"),
    Row(BodyTooLarge, 413, "Validation", "BadRequestError"),
    Row(BodyTooSlow, 408, "Validation", "BadRequestError"),
    Row(NotTaken, 415, "Validation", "BadRequestError"),
    Row(NotJson, 400, "Validation", "BadRequestError"),
    Row(UnknownField, 422, "Validation", "BadRequestError", _VLLM_400),
    Row(NothingToRank, 422, "Empty", "BadRequestError", {Family.COHERE: 400, Family.TEI: 400, Family.VLLM: 400}),
    Row(TextsTooLong, 422, "Tokenizer", "BadRequestError", _VLLM_400),
    Row(UnknownModel, 404, "Validation", "NotFoundError"),
    Row(NoRanker, 422, "Validation", "UnprocessableEntityError"),
    Row(ImageError, 422, "Validation", "UnprocessableEntityError"),
    Row(InputError, 422, "Validation", "BadRequestError", _VLLM_400),
    Row(EndpointError, 502, "Backend", "BadGatewayError", _BACKEND_424),
    Row(WorkerLost, 500, "Backend", "InternalServerError", _BACKEND_424),
    Row(DecodingError, 500, "Backend", "InternalServerError", _BACKEND_424),
    Row(MissingExtra, 500, "Backend", "InternalServerError", _BACKEND_424),
    Row(WholepageError, 500, "Backend", "InternalServerError", _BACKEND_424),
)
"""Class of error -> how it is told."""

_HIDDEN: Final = "the server could not rank this; it is not your request's fault; tell its keeper the request id"


class CohereProblem(msgspec.Struct, frozen=True):
    """An error as Cohere tells it."""

    id: str
    message: str


class JinaProblem(msgspec.Struct, frozen=True):
    """An error as Jina tells it."""

    detail: str


class TeiProblem(msgspec.Struct, frozen=True):
    """An error as text-embeddings-inference tells it."""

    error: str
    error_type: str


class VllmError(msgspec.Struct, frozen=True):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: int


class VllmProblem(msgspec.Struct, frozen=True):
    """An error as vLLM tells it."""

    error: VllmError


class Problem(NamedTuple):
    """An answer that tells an error."""

    status: int
    body: CohereProblem | JinaProblem | TeiProblem | VllmProblem
    headers: dict[str, str]


def problem(error: WholepageError, family: Family, request_id: str) -> Problem:
    """An error as a family's clients read it.

    What went wrong inside the server is not told: it may name files and addresses of the machine.
    """
    row = next(row for row in TABLE if isinstance(error, row.error))
    status = error.status if isinstance(error, NotServed) else row.others.get(family, row.status)
    message = f"{_HIDDEN}: {request_id}" if status in (424, 500, 502) else str(error)
    return Problem(status, _body(family, row, status, message, request_id), _headers(error))


def _body(
    family: Family, row: Row, status: int, message: str, request_id: str
) -> CohereProblem | JinaProblem | TeiProblem | VllmProblem:
    match family:
        case Family.COHERE:
            return CohereProblem(request_id, message)
        case Family.JINA:
            return JinaProblem(message)
        case Family.TEI:
            return TeiProblem(message, row.tei)
        case Family.VLLM:
            return VllmProblem(VllmError(message, row.vllm, None, status))


def _headers(error: WholepageError) -> dict[str, str]:
    if isinstance(error, (Overloaded, TooManyRequests)):
        return {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, KeyRefused):
        return {"www-authenticate": "Bearer"}
    return {}
