"""A listwise ranker on a model that is served elsewhere: the endpoint and the protocol put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wholepage.apps.chat_endpoint import ChatEndpoint
from wholepage.pages.protocols import Ranker
from wholepage.rankers.chat_listwise import ChatListwiseConfig, ChatListwiseRanker, Dialect


@contextmanager
def served_ranker(
    endpoint: str, model: str, *, key_variable: str | None = None, dialect: Dialect = "vllm", seed: int = 0
) -> Iterator[Ranker]:
    """A ranker that asks a server, window by window, while the block lasts.

    Args:
        endpoint: its address, up to and without ``/chat/completions``.
        model: as the server calls it.
        key_variable: the environment variable that holds the key; None = no key is sent.
        dialect: what the server understands beyond plain chat completions.
        seed: of the names that results go by; keep it to yourself where results may be hostile.
    Raises:
        InputError: an address that cannot be.  EndpointError, when it ranks: the server does not answer.
    """
    with ChatEndpoint(endpoint, model, api_key_env=key_variable) as asked:
        config = ChatListwiseConfig(dialect=dialect, seed=seed)
        yield ChatListwiseRanker(asked.complete, config, name=f"listwise({model})")
