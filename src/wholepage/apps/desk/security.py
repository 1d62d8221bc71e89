"""What keeps the desk safe from strangers' pages: cookies, a token in every form, headers, small bodies.

A browser has one secret: the token of its session, or before signing in that of its visit, both in cookies that no
script reads. The token in forms is derived from it, so that nothing has to be kept for it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

import msgspec
from starlette.requests import cookie_parser

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MAX_BODY_BYTES = 512 * 1024

_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)


class Secrets(msgspec.Struct, frozen=True):
    """The secrets that a browser sent.

    Attributes:
        session: of somebody who may be signed in; empty = none.
        visit: of a browser before anybody signs in; empty = none yet.
    """

    session: str = ""
    visit: str = ""

    @property
    def csrf(self) -> str:
        """The token that forms of this browser carry; empty when the browser has no secret."""
        secret = self.session or self.visit
        return derived(secret, b"csrf").hex() if secret else ""


class Cookies(msgspec.Struct, frozen=True):
    """How the two cookies are named and sent; ``secure`` = only over https, which the name then says too."""

    secure: bool

    @property
    def session(self) -> str:
        """The name of the cookie of a session."""
        return "__Host-desk-session" if self.secure else "desk-session"

    @property
    def visit(self) -> str:
        """The name of the cookie of a visit."""
        return "__Host-desk-visit" if self.secure else "desk-visit"

    def read(self, headers: Mapping[str, str]) -> Secrets:
        """The secrets in the headers of a request."""
        sent = cookie_parser(headers.get("cookie", ""))
        return Secrets(sent.get(self.session, "")[:256], sent.get(self.visit, "")[:256])

    def header(self, name: str, value: str) -> str:
        """A ``Set-Cookie`` that no script and no other site can use; an empty value removes it."""
        age = "" if value else "; Max-Age=0"
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{'; Secure' if self.secure else ''}"


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def derived(secret: str, purpose: bytes) -> bytes:
    """A key for one purpose, from which the secret cannot be found."""
    return hmac.digest(secret.encode(), purpose, "sha256")


def same(given: str, right: str) -> bool:
    """Whether two tokens are the same and not empty, in a time that does not tell how much of them is."""
    return bool(right) and hmac.compare_digest(given.encode(), right.encode())


class SecureHeaders:
    """Adds the headers that a browser must obey to every answer that does not say otherwise itself."""

    def __init__(self, app: Application, *, secure: bool) -> None:
        self._app = app
        self._more = ((b"strict-transport-security", b"max-age=31536000"),) if secure else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = [header for header in (*HEADERS, *self._more) if header[0] not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


class SmallBodies:
    """Refuses a request whose body is larger than any form of the desk, before it is read."""

    def __init__(self, app: Application, *, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in UNSAFE:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                await self._refuse(send)
                return
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        await self._app(scope, _given(bytes(body), receive), send)

    async def _refuse(self, send: Send) -> None:
        text = f"got a body larger than {self._max_bytes} bytes; allowed: the forms of the desk; shorten the text\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})


def _given(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that first gives the whole body that was read already."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return rest.pop() if rest else await receive()

    return again
