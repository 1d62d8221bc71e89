"""Teachers and captioners that are served elsewhere: the endpoint, its memory and its bill put together.

with permutation_teacher("https://.../v1", "some-model", key_variable="SOME_KEY", kept=folder) as served:
    taught = teach(served.who, pages, kept=folder)
    served.usage.cost
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import msgspec

from wholepage.apps.caption_endpoint import EndpointCaptioner
from wholepage.apps.chat_endpoint import ChatEndpoint, Usage
from wholepage.pages.lines import atomic_write, decode
from wholepage.rankers.caption_words import CaptionLength
from wholepage.rankers.chat_messages import Message
from wholepage.rankers.permutation_teacher import PermutationSettings, PermutationTeacher

T = TypeVar("T")

_ANY = msgspec.json.Decoder(dict[str, Any])


class Patience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a server is asked, and what it takes; see ``ChatEndpoint``.

    Attributes:
        timeout_s: of one request.  tries: of one request at most.  longest_wait_s: between two tries.
        prompt_price, completion_price: of a million tokens.
    """

    timeout_s: float = 120.0
    tries: int = 5
    longest_wait_s: float = 60.0
    prompt_price: float = 0.0
    completion_price: float = 0.0


@dataclass(frozen=True)
class Served(Generic[T]):
    """Somebody who asks a server, and what was spent on it so far."""

    who: T
    _usage: Callable[[], Usage]

    @property
    def usage(self) -> Usage:
        """Requests, tokens and cost; what was found on disk cost nothing."""
        return self._usage()


class RememberedReplies:
    """Whole replies of an endpoint, each kept on disk by what was asked: a killed run pays for nothing twice.

    Args:
        endpoint: asked for what is not there.
        folder: of the replies, a file each; None = nothing is remembered.
    """

    def __init__(self, endpoint: ChatEndpoint, folder: Path | None) -> None:
        self._endpoint, self._folder = endpoint, folder
        self._lock, self._remembered = Lock(), 0

    @property
    def usage(self) -> Usage:
        """The endpoint's, with what was found on disk."""
        spent = self._endpoint.usage
        with self._lock:
            return msgspec.structs.replace(spent, remembered=spent.remembered + self._remembered)

    def __call__(self, messages: list[Message], **options: Any) -> Mapping[str, Any]:
        """The server's reply, from disk where the same was asked before.

        Raises:
            EndpointError, InputError: as ``ChatEndpoint.complete``.
            RecordError: a remembered reply is damaged.
        """
        if self._folder is None:
            return self._endpoint.complete(messages, **options)
        asked = [self._endpoint.url, self._endpoint.model, {**self._endpoint.options, **options}, messages]
        digest = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
        place = self._folder / digest[:2] / f"{digest}.json"
        if place.is_file():
            with self._lock:
                self._remembered += 1
            return decode(_ANY, place, 1, place.read_bytes())
        reply = self._endpoint.complete(messages, **options)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place, "wb") as file:
            file.write(msgspec.json.encode(reply))
        return reply


@contextmanager
def permutation_teacher(
    endpoint: str,
    model: str,
    *,
    kept: Path | None,
    key_variable: str | None = None,
    settings: PermutationSettings | None = None,
    patience: Patience | None = None,
) -> Iterator[Served[PermutationTeacher]]:
    """A teacher that asks a server for whole permutations, while the block lasts.

    Args:
        endpoint: its address, up to and without ``/chat/completions``.
        model: as the server calls it.
        kept: folder of the server's replies; None = nothing is remembered.
        key_variable: the environment variable that holds the key; None = no key is sent.
    Raises:
        InputError: an address or a number that cannot be.
    """
    with _asked(endpoint, model, key_variable, patience or Patience(), None, {}) as asked:
        replies = RememberedReplies(asked, None if kept is None else kept / "replies")
        yield Served(PermutationTeacher(replies, model, settings), lambda: replies.usage)


@contextmanager
def endpoint_captioner(
    endpoint: str,
    model: str,
    *,
    kept: Path | None,
    key_variable: str | None = None,
    length: CaptionLength | None = None,
    pixels: int = 768 * 768,
    workers: int = 8,
    options: Mapping[str, Any] | None = None,
    patience: Patience | None = None,
) -> Iterator[Served[EndpointCaptioner]]:
    """A captioner that asks a server, while the block lasts.

    Args:
        endpoint, model, kept, key_variable: as for ``permutation_teacher``.
        length, pixels, workers: as for ``EndpointCaptioner``.
        options: further fields of each request; ``max_tokens`` has room for a caption unless named, None = not sent.
    Raises:
        InputError: an address or a number that cannot be.
    """
    length = length or CaptionLength()
    wanted = {"max_tokens": length.tokens, **(options or {})}
    cache = None if kept is None else kept / "answers"
    with _asked(endpoint, model, key_variable, patience or Patience(), cache, wanted) as asked:
        captioner = EndpointCaptioner(asked, length=length, pixels=pixels, workers=workers)
        yield Served(captioner, lambda: asked.usage)


def _asked(
    endpoint: str, model: str, key_variable: str | None, patience: Patience, cache: Path | None, options: dict[str, Any]
) -> ChatEndpoint:
    return ChatEndpoint(
        endpoint, model, api_key_env=key_variable, cache=cache, options=options, **msgspec.structs.asdict(patience)
    )
