"""The listwise ranker on a model behind an OpenAI-compatible server: the same protocol, windows and guarantees.

    ranker = ChatListwiseRanker(complete, ChatListwiseConfig(mode="first_token"), name="listwise(served)")

``complete(messages, **options)`` sends a chat completion and returns the server's reply; how it does so is not known
here. In ``first_token`` mode one request a window asks for one token and its ``top_logprobs``; in ``constrained`` mode
a request a choice is held to the identifiers left (``structured_outputs``, as vLLM has them); ``free`` answers are read
and repaired.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from string import ascii_uppercase
from threading import Lock
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from wholepage.pages.errors import DecodingError, InputError, shorten
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Ranker
from wholepage.rankers.chat_messages import ChatLimits, ChatPrompt, ChatRequest, ChatWriter, Message
from wholepage.rankers.encoders import ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_answers import Answer, FirstToken, Mode
from wholepage.rankers.listwise_diagnostics import Diagnostics
from wholepage.rankers.listwise_prompt import BETWEEN, OPENING, Delimiting
from wholepage.rankers.listwise_round import Sheet, WindowRound, order_of
from wholepage.rankers.permutation import Identifiers, Order, order_by_logits
from wholepage.rankers.permutation_text import Repairs, parse_permutation
from wholepage.rankers.windows import StrategyName, WindowPlan

Dialect = Literal["vllm", "openai"]

POOL = Identifiers(tuple(ascii_uppercase), tuple(range(26)))
"""A to Z, which are one token to any tokenizer; the numbers mean nothing to a server."""

_TOP = 20  # log-probabilities that servers tell at most, by default
_TOKENS_PER_ITEM = 8
_LOOKED_AT = 4  # tokens until the first identifier must have come, where an answer cannot be begun for the model


class Complete(Protocol):
    """Sends a chat completion: messages and further fields of the request; returns the reply as it came."""

    def __call__(self, messages: list[Message], **options: Any) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class ChatListwiseConfig:
    """How lists are asked about.

    Attributes:
        strategy, window, stride, passes, top_k: of windows (``windows.WindowPlan``); 26 results at most.
        mode: ``first_token``, ``constrained`` or ``free``.
        dialect: ``vllm`` goes on with an answer begun for it and knows ``structured_outputs``; ``openai`` does neither.
        shuffles, max_rise, delimiting, seed: as for ``listwise.ListwiseConfig``.
        limits: of texts and pictures.  workers: requests at a time.
    Raises:
        InputError: a value that is not allowed.
    """

    strategy: StrategyName = "sliding"
    window: int = 20
    stride: int = 10
    passes: int = 1
    top_k: int = 10
    mode: Mode = "first_token"
    dialect: Dialect = "vllm"
    shuffles: int = 0
    max_rise: int | None = None
    delimiting: Delimiting = "plain"
    seed: int = 0
    limits: ChatLimits = field(default_factory=ChatLimits)
    workers: int = 8

    def __post_init__(self) -> None:
        known = self.mode in ("first_token", "constrained", "free") and self.dialect in ("vllm", "openai")
        if not known or self.delimiting not in ("plain", "fenced") or self.window > len(POOL) or self.workers < 1:
            raise InputError(
                f"served listwise ranker: got mode {self.mode!r}, dialect {self.dialect!r}, delimiting "
                f"{self.delimiting!r}, window {self.window}, {self.workers} workers; allowed: first_token, constrained "
                f"or free; vllm or openai; plain or fenced; up to {len(POOL)}; 1 or more; choose again"
            )
        if self.mode == "constrained" and self.dialect != "vllm":
            raise InputError(
                "served listwise ranker: got mode 'constrained' for dialect 'openai'; allowed: 'vllm', whose requests "
                "can be held to choices; use 'first_token' or 'free'"
            )
        if self.shuffles < 0 or (self.max_rise is not None and self.max_rise < 0):
            raise InputError(
                f"served listwise ranker: got {self.shuffles} shuffles, max_rise {self.max_rise}; allowed: 0 or more; "
                "leave them out for none"
            )
        _ = self.plan

    @property
    def plan(self) -> WindowPlan:
        """Of windows."""
        return WindowPlan(self.strategy, self.window, self.stride, self.passes, self.top_k)


class ChatListwiseRanker:
    """Ranks pages of mixed results with a model that is served elsewhere.

    What a call did is in ``diagnostics`` until the next; its tokens are counted by the server.

    Args:
        complete: sends one request; called from several threads.
        name: printed with every ranking; it should say which model is served.
        reference: says how far each result may rise, with ``max_rise``; None = the order received.
    """

    def __init__(
        self,
        complete: Complete,
        config: ChatListwiseConfig | None = None,
        *,
        name: str,
        reference: Ranker | None = None,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
    ) -> None:
        self._complete, self._name, self.reference = complete, name, reference
        self.config = config or ChatListwiseConfig()
        self._writer = ChatWriter(
            self.config.limits, delimiting=self.config.delimiting, seed=self.config.seed, open_picture=open_picture,
            read=read,
        )  # fmt: skip
        self.diagnostics = Diagnostics()

    @property
    def name(self) -> str:
        return self._name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first, with scores; each a permutation of its page.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
            DecodingError: the server's reply is not what the mode needs.
        """
        return self.rank_and_tell(pages)[0]

    def rank_and_tell(self, pages: Sequence[Page]) -> tuple[list[Ranking], Diagnostics]:
        """As ``rank``, with what the call did.

        Raises:
            ImageError, DecodingError: as ``rank``.
        """
        started, config = time.perf_counter(), self.config
        requests = self._writer.requests(pages, config.plan)
        sheets = [Sheet(page, request) for page, request in zip(pages, requests, strict=True)]
        call = _Call(self._complete, config)
        with ThreadPoolExecutor(config.workers) as workers:

            def read(prompts: Sequence[ChatPrompt], _: Sequence[int]) -> list[Answer]:
                return list(workers.map(call.answer, prompts))

            windows: WindowRound[ChatRequest, ChatPrompt] = WindowRound(
                sheets, POOL, self._writer.window, read, shuffled=config.shuffles, seed=config.seed
            )
            driven = windows.drive()
        rankings = []
        for sheet, done, reference in zip(sheets, driven, self._references(pages), strict=True):
            rankings.append(sheet.ranking(sheet.guarded(sheet.order(done), reference, config.max_rise), self.name))
        self.diagnostics = Diagnostics(
            tuple(sheet.diagnostics(done) for sheet, done in zip(sheets, driven, strict=True)),
            model_calls=call.requests,
            images_shown=call.pictures,
            notices=(_UNTOLD,) if call.untold else (),
            ms=(time.perf_counter() - started) * 1e3,
        )
        return rankings, self.diagnostics

    def _references(self, pages: Sequence[Page]) -> list[Order]:
        if self.config.max_rise is None or self.reference is None:
            return [tuple(range(len(page))) for page in pages]
        return [order_of(page, found) for page, found in zip(pages, self.reference.rank(pages), strict=True)]


_UNTOLD = "the server told no log-probabilities: scores say the order only"


class _Call:
    """The requests of one call, and what they came to; shared by threads."""

    def __init__(self, complete: Complete, config: ChatListwiseConfig) -> None:
        self._complete, self._mode = complete, config.mode
        self._begun = OPENING if config.dialect == "vllm" else ""
        self._lock = Lock()
        self.requests = self.pictures = 0
        self.untold = False

    def answer(self, prompt: ChatPrompt) -> Answer:
        """The answer to one window."""
        if self._mode == "first_token":
            return self._by_first_token(prompt)
        return self._constrained(prompt) if self._mode == "constrained" else self._free(prompt)

    def _by_first_token(self, prompt: ChatPrompt) -> Answer:
        tokens = 1 if self._begun else _LOOKED_AT
        choice = self._ask(prompt, self._begun, max_tokens=tokens, logprobs=True, top_logprobs=_TOP)
        told = _first_told(choice, prompt.identifiers.texts, begun=bool(self._begun))
        if told is None:
            raise DecodingError(
                f"served listwise ranker: got {shorten(choice.message.content or '')!r} without log-probabilities; "
                "allowed: choices[0].logprobs.content; use a server that tells them, or the mode 'free'"
            )
        first, repairs = told
        return Answer(order_by_logits(first.logits), first, repairs, avoided=not first.lawful)

    def _constrained(self, prompt: ChatPrompt) -> Answer:
        names = prompt.identifiers.texts
        left, named, first = list(names), list[str](), None
        while len(left) > 1:
            begun = self._begun + "".join(name + BETWEEN for name in named)
            asked: dict[str, Any] = {"logprobs": True, "top_logprobs": _TOP} if len(left) == len(names) else {}
            choice = self._ask(prompt, begun, max_tokens=_LOOKED_AT, structured_outputs={"choice": list(left)}, **asked)
            said = (choice.message.content or "").strip()
            if said not in left:
                raise DecodingError(
                    f"served listwise ranker: got {shorten(said)!r}; allowed: one of {left}; the server did not keep "
                    "to structured_outputs, use one that does, or another mode"
                )
            first = first or _first_told(choice, names, begun=True)
            left.remove(said)
            named.append(said)
        return self._ordered(tuple(names.index(name) for name in [*named, *left]), first)

    def _free(self, prompt: ChatPrompt) -> Answer:
        names = prompt.identifiers.texts
        tokens = _TOKENS_PER_ITEM * (len(names) + 1)
        choice = self._ask(prompt, self._begun, max_tokens=tokens, logprobs=True, top_logprobs=_TOP)
        parsed = parse_permutation(self._begun + (choice.message.content or ""), names)
        return self._ordered(parsed.order, _first_told(choice, names, begun=bool(self._begun)), parsed.repairs)

    def _ordered(self, order: Order, told: tuple[FirstToken, Repairs] | None, repairs: Repairs | None = None) -> Answer:
        """An answer that was written; its repairs are its own, not those of its first token."""
        if told is not None:
            return Answer(order, told[0], repairs or Repairs(), avoided=repairs is None and not told[0].lawful)
        with self._lock:
            self.untold = True
        ranks = np.empty(len(order), np.float32)
        ranks[list(order)] = -np.arange(len(order))
        return Answer(order, FirstToken(ranks, lawful=True), repairs or Repairs())

    def _ask(self, prompt: ChatPrompt, begun: str, **options: Any) -> _Choice:
        with self._lock:
            self.requests += 1
            self.pictures += prompt.pictures
        if begun:
            options |= {"continue_final_message": True, "add_generation_prompt": False}
        raw = self._complete(prompt.going_on(begun), temperature=0.0, **options)
        try:
            reply = msgspec.convert(raw, _Reply, strict=False)
            return reply.choices[0]
        except (msgspec.ValidationError, IndexError) as error:
            raise DecodingError(
                f"served listwise ranker: got a reply that cannot be read ({error}); allowed: a chat completion with "
                "choices; check the address and the server"
            ) from error


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Top] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    logprobs: _Logprobs | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


def _first_told(choice: _Choice, names: Sequence[str], *, begun: bool) -> tuple[FirstToken, Repairs] | None:
    """What the reply tells of the first identifier: of those that it does not name, only that they are less likely.

    Returns:
        The first token, and how many identifiers were missing from it; None where nothing was told.
    """
    tokens = (choice.logprobs.content if choice.logprobs else None) or []
    if not tokens:
        return None
    said = [_name(token.token) for token in tokens[:_LOOKED_AT]]
    at = 0 if begun else next((i for i, name in enumerate(said) if name in names), 0)
    told: dict[str, float] = {}
    ranked = sorted(
        [*tokens[at].top_logprobs, _Top(tokens[at].token, tokens[at].logprob)], key=lambda top: -top.logprob
    )
    for top in ranked:
        told.setdefault(_name(top.token), top.logprob)
    missing = [name for name in names if name not in told]
    floor = ranked[-1].logprob - 1.0
    logits = np.array([told.get(name, floor) for name in names], np.float32)
    repairs = Repairs(missing=len(missing), none_found=int(len(missing) == len(names)))
    return FirstToken(logits, _name(ranked[0].token) in names), repairs


def _name(token: str) -> str:
    """A token without the space or bracket that some tokenizers keep before a letter."""
    return token.strip().lstrip("[").strip()
