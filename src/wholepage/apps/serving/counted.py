"""Around every request: an id of its own, headers that are safe, and a count of how it went."""

from __future__ import annotations

import time
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wholepage.apps.serving.incoming import request_id_of
from wholepage.apps.serving.metrics import Metrics

SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of every answer that does not say otherwise itself."""

_ID: Final = "wholepage.request_id"
_BEGAN: Final = "wholepage.began_s"


class Counted:
    """Counts every request, gives it an id, and its answer the headers that every answer has.

    Args:
        paths: the server's own; what is asked for elsewhere is counted as ``other``.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own_id = request_id_of(Headers(scope=scope))
        scope[_ID], scope[_BEGAN] = own_id, time.perf_counter()
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                more = [header for header in SAFE if header[0] not in given]
                message = {**message, "headers": [*message["headers"], *more, (b"x-request-id", own_id.encode())]}
            await send(message)

        self._metrics.begun()
        try:
            await self._app(scope, receive, sent)
        finally:
            route = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.ended(route, status, time.perf_counter() - scope[_BEGAN])


def request_id(request: Request) -> str:
    """The id of a request that is counted."""
    return str(request.scope[_ID])


def began_s(request: Request) -> float:
    """When the first byte of a request that is counted came, by ``time.perf_counter``."""
    return float(request.scope[_BEGAN])
