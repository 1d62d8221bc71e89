"""Errors of a ranker as plain values: they cross from a worker to the front with their type and their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from wholepage.apps.places import NotFound
from wholepage.pages import errors
from wholepage.pages.errors import WholepageError


class RankerFailed(WholepageError):
    """A ranker broke on a page in a way that it has no name for: a fault in it, not in the page."""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error.

    Attributes:
        kind: the name of its class.  message: as it reads.
        fields: what its class holds beside the message.
    """

    kind: str
    message: str
    fields: dict[str, str | int | float] = {}


# Classes that are made of their message alone.
_PLAIN: Mapping[str, type[WholepageError]] = {
    kind.__name__: kind
    for kind in (
        errors.InputError, errors.PageError, errors.ShapeError, errors.NoRanker, errors.MissingExtra,
        errors.WeightsError, errors.DecodingError, errors.WorkerLost, errors.StoreError, NotFound, RankerFailed,
    )
}  # fmt: skip
# Classes with fields of their own: how each is made again. A message is made of an ImageError's fields.
_MADE: Mapping[str, Callable[[Failure], WholepageError]] = {
    "ImageError": lambda told: errors.ImageError(
        str(told.fields["uri"]), str(told.fields["reason"]), str(told.fields["detail"]), at=str(told.fields["at"])
    ),
    "EndpointError": lambda told: errors.EndpointError(told.message, reason=str(told.fields["reason"])),
}


def failure_of(error: BaseException) -> Failure:
    """An error as values.

    What is no ``WholepageError`` becomes a ``RankerFailed`` that names its class and nothing of what it says, which
    may tell of the machine; a class unknown here becomes the nearest known one above it.
    """
    if isinstance(error, errors.ImageError):
        _, (uri, reason, detail, at) = error.__reduce__()
        return Failure("ImageError", str(error), {"uri": uri, "reason": reason, "detail": detail, "at": at})
    if isinstance(error, errors.EndpointError):
        return Failure("EndpointError", str(error), {"reason": error.reason})
    if isinstance(error, WholepageError):
        known = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _PLAIN), RankerFailed.__name__)
        return Failure(known, str(error))
    return Failure(
        RankerFailed.__name__,
        f"ranker: got {type(error).__name__} on this page; allowed: an order, or an error with a name; "
        "see the server's log",
    )


def error_of(failure: Failure) -> WholepageError:
    """The error again, to be raised in the front."""
    if failure.kind in _MADE:
        return _MADE[failure.kind](failure)
    return _PLAIN.get(failure.kind, RankerFailed)(failure.message)
