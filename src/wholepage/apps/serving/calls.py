"""What crosses from the shapes of HTTP to the engine and back: a call, and what came of it.

A shape (``cohere``, ``jina``, ``tei``, ``vllm``) makes a ``Call`` out of a request and an answer out of what the engine
says; the engine knows nothing of shapes, and the shapes nothing of queues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from wholepage.pages.errors import InputError, WholepageError
from wholepage.pages.model import Page


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page to be ordered.

    Attributes:
        model: as the server lists it.
        page: the query and its results; their ids are the client's where it gave them, else their indices.
        timeout_s: until when an answer is of use, counted from when the request came in.
    """

    model: str
    page: Page
    timeout_s: float


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a ranker did beyond its order.

    Attributes:
        windows, repairs: of a listwise ranker.  truncated: indices of results whose text was cut.
        tokens: read, as the ranker counts them, else about as many as the engine estimates.
        cached: the whole answer was known already.
        rank_ms: the ranker's own time for the batch in which the page was.  waited_ms: in the queue.
    """

    windows: int = 0
    repairs: int = 0
    truncated: tuple[int, ...] = ()
    tokens: int = 0
    cached: bool = False
    rank_ms: float = 0.0
    waited_ms: float = 0.0


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a page was ordered.

    Attributes:
        order: indices of the page's results, best first; a permutation.  scores: one a result, in the order of the
            page; None = the ranker had no opinion (such results stand last).  ranker: who ordered it.
    """

    order: tuple[int, ...]
    scores: tuple[float | None, ...]
    ranker: str
    told: Told = Told()


class ServedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that the server answers for.

    Attributes:
        name: as requests name it.  kind: of ranker.  modalities: that it ranks.
    """

    name: str
    kind: str
    modalities: tuple[str, ...]


class Overloaded(WholepageError):
    """The queue is full; the same request may be sent again after ``retry_after_s``."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Expired(WholepageError):
    """The time within which the answer was of use ran out before it was ready."""


class UnknownModel(InputError):
    """No model of that name is served."""


class Draining(WholepageError):
    """The server is on its way out and takes nothing new."""


class Engine(Protocol):
    """Orders pages for many callers at once."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """What is served; the first is the default."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a call would be answered now."""
        ...

    def admit(self) -> None:
        """Refuse at the door, before a body is read.

        Raises:
            Overloaded: the queue is full.  Draining: nothing new is taken.
        """
        ...

    async def rank(self, call: Call) -> Outcome:
        """The order of one page; cancelling it frees its place in the queue.

        Raises:
            UnknownModel, Overloaded, Expired, Draining; WorkerLost: the ranker's process died on this page twice.
            Whatever the ranker raises: ImageError, NoRanker, InputError, DecodingError.
        """
        ...
