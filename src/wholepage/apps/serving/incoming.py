"""A request before it is read: how long it may take, whether its body is taken, its bytes, and who waits for it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from wholepage.apps.serving.calls import Expired, Overloaded
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.problems import BodyTooLarge, BodyTooSlow, ClientGone, NotTaken
from wholepage.pages.errors import InputError, shorten

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGITS = re.compile(r"[0-9]{1,15}")
_GONE = "the client hung up"


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's own id for its request where that can be repeated, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


class Patience:
    """The time that a request has left.

    Args:
        headers: ``X-Request-Timeout-Ms`` says how much it wants.
        began_s: when its first byte came, by ``time.perf_counter``.
    Raises:
        InputError: the header is no number of milliseconds.
    """

    def __init__(self, headers: Mapping[str, str], settings: ServingSettings, began_s: float) -> None:
        self.began_s, self.timeout_s = began_s, settings.timeout_s
        given = headers.get("x-request-timeout-ms")
        if given is None:
            return
        if not _DIGITS.fullmatch(given) or int(given) < 1:
            raise InputError(
                f"X-Request-Timeout-Ms: got {shorten(given)!r}; allowed: whole milliseconds, 1 or more; mend the header"
            )
        self.timeout_s = min(int(given) / 1000, settings.max_timeout_s)

    @property
    def spent_s(self) -> float:
        """Seconds since the first byte."""
        return time.perf_counter() - self.began_s

    @property
    def left_s(self) -> float:
        """Seconds until nobody wants the answer any more.

        Raises:
            Expired: there are none.
        """
        left = self.timeout_s - self.spent_s
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> Expired:
        """That the time ran out."""
        return Expired(
            f"got no answer within {self.timeout_s:g} s; allowed time is spent; ask for less, or wait longer"
        )


def check_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that says it is anything but plain JSON.

    Raises:
        NotTaken: it does.
    """
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise NotTaken(f"got a body of type {shorten(kind)!r}; allowed: application/json; say so in Content-Type")
    packed = headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise NotTaken(f"got a body packed with {shorten(packed)!r}; allowed: none; send it as it is")


def too_large(headers: Mapping[str, str], most: int) -> bool:
    """Whether a body says it is larger than what is taken, or does not say how large it is."""
    declared = headers.get("content-length", "")
    return not _DIGITS.fullmatch(declared) or int(declared) > most


class Room:
    """Memory for the bodies of all requests under way.

    Args:
        settings: how much there is, and how much one request may take.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._most, self._each, self._held = settings.max_bytes_under_way, settings.max_body_bytes, 0

    @contextmanager
    def held(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Hold what a request says it needs, or the most it could need, while the block lasts.

        Raises:
            Overloaded: there is not as much left.
        """
        need = self._each if too_large(headers, self._each) else int(headers["content-length"])
        if self._held + need > self._most:
            raise Overloaded(
                f"got a request of {need} bytes beside {self._held} under way; allowed: {self._most}; try again later",
                retry_after_s=1.0,
            )
        self._held += need
        try:
            yield
        finally:
            self._held -= need


async def body_of(request: Request, most: int, patience: Patience) -> bytes:
    """The bytes of a body.

    Raises:
        BodyTooLarge: more than ``most``; of one that says so at once nothing is read.
        BodyTooSlow: not whole in time.  ClientGone: never whole.
    """
    refusal = BodyTooLarge(f"got a body of more than {most} bytes; allowed: {most}; send fewer or smaller documents")
    if "content-length" in request.headers and too_large(request.headers, most):
        raise refusal
    body = bytearray()
    try:
        async with asyncio.timeout(patience.left_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise refusal
    except TimeoutError as error:
        raise BodyTooSlow(
            f"got {len(body)} bytes of a body in {patience.timeout_s:g} s; allowed: all of it; send it faster"
        ) from error
    except ClientDisconnect as error:
        raise ClientGone(_GONE) from error
    return bytes(body)


async def while_waited_for(request: Request, work: Coroutine[Any, Any, T], patience: Patience) -> T:
    """What the work comes to, if the client waits for it; it is cancelled when nobody does.

    Raises:
        ClientGone: the client hung up.  Expired: the time ran out.
        Whatever the work raises.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, timeout=patience.left_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone(_GONE) if gone.done() else patience.expired()
    finally:
        task.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
