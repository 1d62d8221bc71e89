"""A model behind a chat server as a teacher of orders: whole, valid permutations, or none.

    teacher = PermutationTeacher(complete, "some-model")
    answers = teacher.answers(pages)          # a ranking a page, or who declined and why

The model writes the order of a window as text, ``[G] > [B] > [M]``. What is not each letter once is never mended: the
window is shown again, in another order under other letters, and after some tries the list is given up. A list that was
given up is told, so that nobody learns from it. Retries of a slow or busy server are the affair of ``complete``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Any, Literal

import msgspec

from wholepage.pages.errors import DecodingError, EndpointError, InputError, shorten
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.chat_listwise import POOL, Complete
from wholepage.rankers.chat_messages import ChatLimits, ChatRequest, ChatWriter
from wholepage.rankers.encoders import ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_options import shuffles
from wholepage.rankers.listwise_prompt import Delimiting
from wholepage.rankers.permutation import Identifiers, Order, draw_identifiers
from wholepage.rankers.permutation_text import Repairs, parse_permutation
from wholepage.rankers.windows import Asked, Window, WindowPlan, drive

Fault = Literal["malformed", "partial", "duplicated", "refused"]
"""What is wrong with an answer: not a ranking, not all letters, a letter twice, or the model does not want to."""

_TOKENS_PER_ITEM = 8
_RETRIED = "malformed"  # of an endpoint's errors, the one that is about the answer and not about the server


class Declined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page that a teacher did not order.

    Attributes:
        reason: one word: a ``Fault`` of its last answer, or the reason of an ``EndpointError``.
        detail: what was answered, or what the server said.
        lasting: whether the same is to be expected of another try; False = the server failed, and may not tomorrow.
    """

    query_id: str
    reason: str
    detail: str = ""
    lasting: bool = True


class PermutationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How lists are asked about.

    Attributes:
        window, stride, passes: of sliding windows; 26 results at most.
        tries: how often a window is shown until its answer is valid.
        delimiting, seed: as for ``listwise.ListwiseConfig``.
        limits: of texts and pictures.
        options: further fields of each request; None = not sent. ``max_tokens`` has room for the answer unless named.
        workers: lists asked about at a time.
        most_failures: so many lists in a row that the server failed on end the work with its error.
    Raises:
        InputError: a value that is not allowed.
    """

    window: int = 20
    stride: int = 10
    passes: int = 1
    tries: int = 3
    delimiting: Delimiting = "plain"
    seed: int = 0
    limits: ChatLimits = ChatLimits()
    options: dict[str, Any] = {}
    workers: int = 8
    most_failures: int = 5

    def __post_init__(self) -> None:
        least = min(self.tries, self.workers, self.most_failures)
        if self.window > len(POOL) or least < 1 or self.delimiting not in ("plain", "fenced"):
            raise InputError(
                f"permutation teacher: got window {self.window}, {self.tries} tries, {self.workers} workers, "
                f"most_failures {self.most_failures}, delimiting {self.delimiting!r}; allowed: up to {len(POOL)}, "
                "1 or more of each, plain or fenced; choose again"
            )
        taken = {"model", "messages", "stream", "n"} & set(self.options)
        if taken:
            raise InputError(f"permutation teacher: got options {sorted(taken)}; allowed: other fields; leave them out")
        _ = self.plan

    @property
    def plan(self) -> WindowPlan:
        """Of windows: sliding ones, for a teacher is to order all of a list."""
        return WindowPlan("sliding", self.window, self.stride, self.passes)

    @property
    def mark(self) -> str:
        """Eight letters that differ for settings under which other answers may come."""
        said = msgspec.structs.replace(self, workers=1, most_failures=1)
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:8]


class TeacherCounts(msgspec.Struct, frozen=True):
    """What a teacher's work came to, since it was made.

    Attributes:
        requests: made, repeated ones of ``complete`` not counted.  windows: that got a valid order.
        faults: answers that were no permutation, by ``Fault``.
        declined: lists given up, by reason.
    """

    requests: int
    windows: int
    faults: Mapping[str, int]
    declined: Mapping[str, int]


class PermutationTeacher:
    """A Ranker that asks for whole permutations, and takes no other answer.

    Args:
        complete: sends one request and returns the server's reply; called from several threads.
        model: what is asked; with the settings it makes the teacher's name.
    """

    def __init__(
        self,
        complete: Complete,
        model: str,
        settings: PermutationSettings | None = None,
        *,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
    ) -> None:
        self.settings = settings or PermutationSettings()
        self._complete, self._name = complete, f"permutation({model}, {self.settings.mark})"
        self._writer = ChatWriter(
            self.settings.limits, delimiting=self.settings.delimiting, seed=self.settings.seed,
            open_picture=open_picture, read=read,
        )  # fmt: skip
        self._lock, self._failed = Lock(), 0
        self._done: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._given_up: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._name

    @property
    def counts(self) -> TeacherCounts:
        """What the work came to so far."""
        with self._lock:
            faults, given_up = (dict(sorted(one.items())) for one in (self._faults, self._given_up))
            return TeacherCounts(self._done["requests"], self._done["windows"], faults, given_up)

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page.

        Raises:
            DecodingError: a page was declined.
            ImageError, EndpointError: as ``answers``.
        """
        answers = self.answers(pages)
        declined = [answer for answer in answers if isinstance(answer, Declined)]
        if declined:
            one = declined[0]
            raise DecodingError(
                f"teacher {self.name!r}: got no permutation for {len(declined)} of {len(pages)} pages, first for query "
                f"{one.query_id!r} ({one.reason}: {one.detail}); allowed: one a page; leave these out, or ask again"
            )
        return [answer for answer in answers if isinstance(answer, Ranking)]

    def answers(self, pages: Sequence[Page]) -> list[Ranking | Declined]:
        """Each page's ranking, a permutation of it, or why there is none.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
            EndpointError: the server failed on ``most_failures`` lists in a row.
        """
        requests = self._writer.requests(pages, self.settings.plan)
        over, workers = Event(), ThreadPoolExecutor(self.settings.workers)
        asked = zip(pages, requests, strict=True)
        futures = [workers.submit(self._watched, page, request, over) for page, request in asked]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            over.set()  # whatever ended it: nothing more is asked
            workers.shutdown(cancel_futures=True)
        errors = [future.exception() for future in futures if not future.cancelled()]
        for error in errors:
            if error is not None and not isinstance(error, _OverError):
                raise error
        return [future.result() for future in futures]

    def _watched(self, page: Page, request: ChatRequest, over: Event) -> Ranking | Declined:
        """One list; an error ends the work on all of them."""
        whole = False
        try:
            answer = self._list(page, request, over)
            whole = True
        finally:
            if not whole:
                over.set()
        return answer

    def _list(self, page: Page, request: ChatRequest, over: Event) -> Ranking | Declined:
        """One list, window after window."""

        def orders(asked: Sequence[Asked]) -> list[Order]:
            return [self._window(page, request, window, over) for _, window in asked]

        try:
            (driven,) = drive([self.settings.plan.start(len(page))], orders)
        except _NoOrderError as error:
            self._count(self._given_up, error.fault)
            return Declined(page.query_id, error.fault, error.detail)
        except EndpointError as error:
            with self._lock:
                self._failed += 1
                self._given_up[error.reason] += 1
                if self._failed >= self.settings.most_failures:
                    raise
            return Declined(page.query_id, error.reason, shorten(str(error), 300), lasting=False)
        ids = tuple(page.results[item].result_id for item in driven.order)
        return Ranking(page.query_id, ids, by=self.name).check(page)

    def _window(self, page: Page, request: ChatRequest, window: Window, over: Event) -> Order:
        """The order of one window, after as many tries as it takes and as are allowed."""
        settings, keys = self.settings, [page.results[item].result_id for item in window]
        shows = [tuple(range(len(window)))]
        if settings.tries > 1:
            shows += shuffles(keys, settings.tries - 1, seed=settings.seed, request=page.query_id)
        fault = _NoOrderError("malformed", "")
        for turn, show in enumerate(shows):
            if over.is_set():
                raise _OverError
            drawn = draw_identifiers(POOL, settings.window, seed=settings.seed, request=f"{request.name}#{turn}")
            names = Identifiers(drawn.texts[: len(window)], drawn.tokens[: len(window)])
            try:
                order = self._ask(request, [window[place] for place in show], names)
            except _NoOrderError as error:
                fault = error
                self._count(self._faults, error.fault)
                continue
            self._count(self._done, "windows")
            return tuple(show[place] for place in order)
        raise fault

    def _ask(self, request: ChatRequest, items: Sequence[int], names: Identifiers) -> Order:
        prompt = self._writer.window(request, items, names)
        room = {"max_tokens": _TOKENS_PER_ITEM * (len(names) + 1)}
        options = {name: value for name, value in {**room, **self.settings.options}.items() if value is not None}
        self._count(self._done, "requests")
        try:
            reply = self._complete(prompt.going_on(""), **options)
        except EndpointError as error:
            if error.reason != _RETRIED:
                raise
            raise _NoOrderError("malformed", shorten(str(error), 300)) from error
        with self._lock:
            self._failed = 0  # somebody is there
        return _order_of(reply, names.texts)

    def _count(self, counter: Counter[str], what: str) -> None:
        with self._lock:
            counter[what] += 1


class _NoOrderError(Exception):
    """An answer that is no permutation."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault: Fault = fault
        self.detail = detail
        super().__init__(detail)


class _OverError(Exception):
    """Another list's error ended the work; nobody looks at this one."""


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


def _order_of(reply: object, names: Sequence[str]) -> Order:
    """The order that a reply states in full.

    Raises:
        _NoOrderError: it states none.
    """
    try:
        choice = msgspec.convert(reply, _Reply, strict=False).choices[0]
    except (msgspec.ValidationError, IndexError) as error:
        raise _NoOrderError("malformed", f"a reply that cannot be read ({error})") from error
    said = choice.message.content or ""
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise _NoOrderError("refused", shorten(choice.message.refusal or said or "content filter"))
    parsed = parse_permutation(said, names)
    if parsed.repairs:
        raise _NoOrderError(_fault(parsed.repairs, choice.finish_reason), shorten(said or "no words"))
    return parsed.order


def _fault(repairs: Repairs, finish_reason: str | None) -> Fault:
    if repairs.duplicated:
        return "duplicated"
    only_missing = repairs == Repairs(missing=repairs.missing)
    return "partial" if only_missing or (finish_reason == "length" and not repairs.none_found) else "malformed"
