"""A model behind an OpenAI-compatible address: one request an answer, repeated when the server asks for patience.

    judge = ModelAnnotator(ChatEndpoint("https://.../v1", "some-model", api_key_env="SOME_KEY"), "some-model", levels=4)

Answers are kept on disk by what was asked, so that a judging that was interrupted goes on where it was, and the same
question is never paid twice. The key is read from an environment variable when a request is made; it is never written
anywhere, and struck out of messages that a server sends back.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import httpx
import msgspec

from wholepage.annotation.model_judge import Message
from wholepage.pages.errors import EndpointError, InputError, shorten
from wholepage.pages.lines import atomic_write, decode

_LATER = (408, 425, 429, 500, 502, 503, 504, 529)
_MAX_REPLY_BYTES = 4 * 2**20
_FIRST_WAIT_S = 0.5


class Usage(msgspec.Struct, frozen=True):
    """What the requests of an endpoint came to.

    Attributes:
        requests: sent, repeated ones too.  repeated: of these, sent again after an error.
        answers: received.  remembered: found on disk, without a request.
        prompt_tokens, completion_tokens: of the answers received, as the server counts them.
        untold: answers received without such a count.
        cost: of those tokens at the prices given.
    """

    requests: int = 0
    repeated: int = 0
    answers: int = 0
    remembered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0
    cost: float = 0.0


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Tokens | None = None


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    """An answer on disk, with what it cost when it was asked for."""

    model: str
    content: str
    usage: _Tokens | None = None


_REPLY = msgspec.json.Decoder(_Reply)
_KEPT = msgspec.json.Decoder(_Kept)


class ChatEndpoint:
    """Asks a model over HTTP; calling it with messages returns the model's words.

    May be shared by threads. Ends its connections with ``close``, or as a context manager.

    Args:
        base_url: up to and without ``/chat/completions``, http or https.
        model: as the server calls it.
        api_key_env: the environment variable that holds the key; None = no key is sent.
        timeout_s: of one request, its answer read to the end.
        tries: how often one request is sent at most.
        longest_wait_s: between two tries. A server that asks for a longer pause is not asked again.
        cache: folder of remembered answers; None = nothing is remembered.
        options: sent with each request besides ``model`` and ``messages``; ``temperature`` is 0 unless it is named here
            (None = not sent).
        prompt_price, completion_price: of a million tokens.
        sleep: waits between tries.
    Raises:
        InputError: an address, limit or price that cannot be, or options that name ``model`` or ``messages``.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        timeout_s: float = 120.0,
        tries: int = 5,
        longest_wait_s: float = 60.0,
        cache: Path | None = None,
        options: Mapping[str, Any] | None = None,
        prompt_price: float = 0.0,
        completion_price: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.model, self._key_env, self._cache, self._sleep = model, api_key_env, cache, sleep
        wanted = {"temperature": 0.0, **(options or {})}
        self.options: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        self._check(base_url, timeout_s, tries, longest_wait_s, prompt_price, completion_price)
        self._timeout_s, self._tries, self._longest_wait_s = timeout_s, tries, longest_wait_s
        self._prices = prompt_price / 1e6, completion_price / 1e6
        # No redirects: the key goes to the address that was named and to no other.
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False)
        self._usage, self._lock = Usage(), Lock()

    @property
    def usage(self) -> Usage:
        """What was spent so far."""
        with self._lock:
            return self._usage

    def __call__(self, messages: list[Message]) -> str:
        """The model's words, from disk where the same was asked before.

        Raises:
            EndpointError: the server cannot be reached, is too slow or too busy, refuses, or sends what is no answer.
            InputError: the environment variable of the key is not set.
            RecordError: a remembered answer is damaged.
        """
        body = msgspec.json.encode({"model": self.model, "messages": messages, **self.options}, order="sorted")
        place = self._place(body)
        if place is not None and place.is_file():
            kept = decode(_KEPT, place, 1, place.read_bytes())
            self._count(remembered=1)
            return kept.content
        reply = self._read(self._ask(body))
        content = self._content(reply)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(place, "wb") as file:
                file.write(msgspec.json.encode(_Kept(self.model, content, reply.usage)))
        return content

    def complete(self, messages: list[Message], **options: Any) -> dict[str, Any]:
        """The server's whole reply, as listwise rankers read it: log-probabilities and all. It is not remembered.

        Args:
            options: sent with this request; they go before the endpoint's own.
        Raises:
            EndpointError, InputError: as for a call.
        """
        raw = self._ask(msgspec.json.encode({"model": self.model, "messages": messages, **self.options, **options}))
        self._read(raw)
        reply: dict[str, Any] = msgspec.json.decode(raw)
        return reply

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def __enter__(self) -> ChatEndpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.url!r}, {self.model!r})"

    # -------------------------------------------------------------- asking

    def _ask(self, body: bytes) -> bytes:
        """The server's answer as it came, after as many tries as it takes and as are allowed."""
        # Not compressed: what is read has the size that is counted.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._authorization()}
        for attempt in range(1, self._tries + 1):
            last = attempt == self._tries
            self._count(requests=1, repeated=int(attempt > 1))
            try:
                status, answered, raw = self._send(body, headers)
            except httpx.TimeoutException as error:
                if last:
                    raise self._failed(
                        "timeout", f"no whole answer within {self._timeout_s:g} s, {attempt} times", "raise timeout_s"
                    ) from error
                self._sleep(self._pause(attempt, None))
                continue
            except httpx.TransportError as error:
                if last:
                    raise self._failed(
                        "unreachable", f"{type(error).__name__} ({error}), {attempt} times", "check the address"
                    ) from error
                self._sleep(self._pause(attempt, None))
                continue
            if status == httpx.codes.OK:
                return raw
            told = self._told(status, raw)
            if status not in _LATER:
                raise self._failed("refused", told, "check the address, the model's name and the key")
            wait = self._pause(attempt, answered.get("retry-after"))
            if last or wait > self._longest_wait_s:
                asked = f"; it asks for {wait:.0f} s" if wait > self._longest_wait_s else f", {attempt} times"
                raise self._failed("busy", f"{told}{asked}", "try again later; remembered answers are kept")
            self._sleep(wait)
        raise self._failed("unreachable", "no try at all", "raise tries")

    def _send(self, body: bytes, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body of one answer, within the time and size allowed."""
        ends = time.monotonic() + self._timeout_s
        raw = bytearray()
        with self._client.stream("POST", self.url, content=body, headers=headers) as answer:
            for chunk in answer.iter_raw():
                raw += chunk
                if len(raw) > _MAX_REPLY_BYTES:
                    raise self._failed("malformed", f"more than {_MAX_REPLY_BYTES} bytes", "check the address")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("the answer trickles", request=answer.request)
            return answer.status_code, answer.headers, bytes(raw)

    def _read(self, raw: bytes) -> _Reply:
        try:
            reply = _REPLY.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._failed(
                "malformed", f"{self._struck(raw)!r} ({error})", "check that the address is a chat-completions server"
            ) from error
        tokens = reply.usage or _Tokens()
        self._count(
            answers=1,
            prompt_tokens=tokens.prompt_tokens,
            completion_tokens=tokens.completion_tokens,
            untold=int(reply.usage is None),
            cost=tokens.prompt_tokens * self._prices[0] + tokens.completion_tokens * self._prices[1],
        )
        return reply

    def _content(self, reply: _Reply) -> str:
        said = reply.choices[0].message if reply.choices else _Said()
        if not said.content:
            why = f"a refusal, {shorten(said.refusal)!r}" if said.refusal else "an answer without words"
            raise self._failed("malformed", why, "look at the question, and at the limit of tokens in options")
        return said.content

    def _pause(self, attempt: int, asked_for: str | None) -> float:
        """Seconds to wait: what the server asks for, else twice as long after each try."""
        doubled = min(_FIRST_WAIT_S * 2.0 ** (attempt - 1), self._longest_wait_s)
        asked = _seconds(asked_for)
        return doubled if asked is None else max(asked, 0.0)

    # -------------------------------------------------------------- the rest

    def _authorization(self) -> dict[str, str]:
        key = self._key()
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def _key(self) -> str | None:
        if self._key_env is None:
            return None
        key = os.environ.get(self._key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise InputError(
                f"{self!r}: got {'no' if not key else 'an unprintable'} key in the environment variable "
                f"{self._key_env!r}; allowed: a key; set it, or pass api_key_env=None for a server that needs none"
            )
        return key

    def _place(self, body: bytes) -> Path | None:
        if self._cache is None:
            return None
        digest = hashlib.sha256(self.url.encode() + b"\n" + body).hexdigest()
        return self._cache / digest[:2] / f"{digest}.json"

    def _told(self, status: int, raw: bytes) -> str:
        return f"HTTP {status} {self._struck(raw)!r}"

    def _struck(self, raw: bytes) -> str:
        """The beginning of what a server says, without the key that it may repeat."""
        text = raw.decode("utf-8", errors="replace")
        key = self._key()
        return shorten(" ".join((text.replace(key, "***") if key else text).split()), 200)

    def _failed(self, reason: str, got: str, do: str) -> EndpointError:
        return EndpointError(f"{self!r}: {reason}: got {got}; allowed: an answer; {do}", reason=reason)

    def _count(self, **more: float) -> None:
        with self._lock:
            now = {name: getattr(self._usage, name) + value for name, value in more.items()}
            self._usage = msgspec.structs.replace(self._usage, **now)

    def _check(self, base_url: str, timeout_s: float, tries: int, longest_wait_s: float, *prices: float) -> None:
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise InputError(f"base_url: got {base_url!r} ({error}); allowed: http:// or https://; mend it") from error
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
            raise InputError(
                f"base_url: got {shorten(base_url)!r}; allowed: http:// or https://, a host and a path, no user, query "
                "or fragment; the key goes into the environment variable of api_key_env"
            )
        taken = {"model", "messages", "stream"} & set(self.options)
        if taken:
            raise InputError(f"options: got {sorted(taken)}; allowed: other fields of a request; leave them out")
        limits = (("timeout_s", timeout_s, timeout_s > 0), ("tries", tries, tries >= 1))
        waits = ("longest_wait_s", longest_wait_s, longest_wait_s >= 0)
        for what, got, right in (*limits, waits, ("price", min(prices), min(prices) >= 0)):
            if not right or not math.isfinite(got):
                raise InputError(f"{what}: got {got}; allowed: finite, tries 1 or more, others 0 or more; change it")


def _seconds(asked_for: str | None) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now; None = none that can be read."""
    if asked_for is None:
        return None
    text = asked_for.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
