"""A page on its way through the engine: what it costs, by what it is known, and who waits for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from wholepage.apps.serving.calls import Outcome
from wholepage.pages.errors import WholepageError
from wholepage.pages.model import ImageRef, Page

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_RESULT = 4  # the marks around it
LEAST_PICTURE, MOST_PICTURE = 64, 1280
_BYTES_PER_TOKEN = 256  # of a picture file: some 784 pixels, at a third of a byte each


@dataclass(eq=False)
class Flight:
    """One computation, and everybody who waits for it.

    Attributes:
        key: of the model and the page, by content.  page: encoded.  results: how many it has.
        cost: in tokens, estimated.  deadline: the latest of those who wait.
        waiters: futures of the callers that are still there.
        kept: its answer may be kept: its pictures cannot change behind their addresses.
        deaths: workers that ended while they were at it.
        waits: whether it stands in a line.
    """

    key: bytes
    model: str
    page: bytes
    results: int
    cost: int
    deadline: float
    arrived: float
    kept: bool
    waiters: list[asyncio.Future[Outcome]] = field(default_factory=list)
    deaths: int = 0
    waits: bool = False

    def land(self, outcome: Outcome) -> int:
        """Tell everybody; how many were still there."""
        there = [waiter for waiter in self.waiters if not waiter.done()]
        for waiter in there:
            waiter.set_result(outcome)
        return len(there)

    def fail(self, error: Callable[[], WholepageError]) -> int:
        """Tell everybody that there will be no answer, each with an error of their own; how many were still there."""
        there = [waiter for waiter in self.waiters if not waiter.done()]
        for waiter in there:
            waiter.set_exception(error())
        return len(there)


def key_of(model: str, page: bytes) -> bytes:
    """What two computations with the same answer share: model, query and results, ids included."""
    digest = hashlib.blake2b(model.encode(), digest_size=24)
    digest.update(b"\0")
    digest.update(page)
    return digest.digest()


def encoded(page: Page) -> bytes:
    """A page as it crosses to a worker; equal pages give equal bytes."""
    return msgspec.msgpack.encode(page, order="deterministic")


def cost_of(page: Page, reads: int = 0) -> int:
    """About how many tokens a ranker reads of a page, at least 1.

    A text counts a token every four characters, the query once a result; a picture by the length of its file, where
    its address holds it.

    Args:
        reads: tokens of a query and a result that the ranker reads at most; 0 = everything.
    """
    query = len(page.query.text) // CHARACTERS_PER_TOKEN
    asked = 0 if page.query.image is None else _picture(page.query.image)
    total = asked
    for result in page.results:
        text = query + len(result.text) // CHARACTERS_PER_TOKEN + TOKENS_PER_RESULT
        total += min(text, reads) if reads else text
        total += sum(_picture(image) for image in result.images)
    return max(1, total)


def is_lasting(page: Page) -> bool:
    """Whether the page is all there: no picture lies behind an address where it may change."""
    images = [image for result in page.results for image in result.images]
    if page.query.image is not None:
        images.append(page.query.image)
    return all(image.sha256 is not None or image.uri.startswith("data:") for image in images)


def _picture(image: ImageRef) -> int:
    if not image.uri.startswith("data:"):
        return MOST_PICTURE // 2
    return min(max(len(image.uri) * 3 // 4 // _BYTES_PER_TOKEN, LEAST_PICTURE), MOST_PICTURE)
