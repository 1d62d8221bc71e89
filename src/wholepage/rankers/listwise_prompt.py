"""What a listwise ranker is given to read: a head that all windows of a request share, and a body of marked results.

    head    system, query (and its picture)
    body    [G] text   [QB] <picture>   [M] <picture> text   ...   query once more, the task, ``[``

Identifiers are drawn per request; texts are cut to a limit and pictures sized to a budget of a window, and what was cut
is told. Source: after arXiv 2601.20623.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, NoRanker
from wholepage.pages.model import ImageRef, Page, Query, Result
from wholepage.rankers.listwise_words import FENCED, SYSTEM, Words, fence
from wholepage.rankers.permutation import Identifiers
from wholepage.rankers.vlm_prompt import Picture, PromptTokens
from wholepage.rankers.windows import WindowPlan

Delimiting = Literal["plain", "fenced"]

OPENING, BETWEEN, CLOSING = "[", "] > [", "]"
"""The brackets of an answer, ``[A] > [B]``; the first one is forced, at the end of every prompt."""

TASK = (
    "\nRank all results above, the one that serves the query best first. Answer with their letters in brackets, joined "
    "by >, and nothing else."
)

_LEAST_WORDS = 8  # tokens of a text below which windows are made smaller instead
_MARKS = 2  # around a picture
_SPARE = 4  # one fence may take some tokens more than another


@dataclass(frozen=True)
class WindowLimits:
    """How much of everything a window holds.

    Attributes:
        text_tokens: of one result's text.  query_tokens: of the query's.
        visual_tokens: of all pictures of a window, the query's included.
        most_per_picture, least_per_picture: visual tokens; many pictures share the budget down to the least, then
            windows get smaller.
        pictures: of one result; a video's frames beyond them are left out evenly.
    Raises:
        InputError: a number below 1, or a budget that does not hold two results and a query at the least.
    """

    text_tokens: int = 256
    query_tokens: int = 128
    visual_tokens: int = 2560
    most_per_picture: int = 256
    least_per_picture: int = 64
    pictures: int = 4

    def __post_init__(self) -> None:
        needed = (2 * self.pictures + 1) * self.least_per_picture
        sizes = (self.text_tokens, self.query_tokens, self.least_per_picture, self.pictures)
        if min(sizes) < 1 or self.most_per_picture < self.least_per_picture or self.visual_tokens < needed:
            raise InputError(
                f"limits of a window: got {self}; allowed: sizes from 1, most_per_picture from least_per_picture, "
                f"visual_tokens from {needed} for these; raise the budget, or show fewer and smaller pictures"
            )


@dataclass(frozen=True)
class Fit:
    """The sizes of one request, within its limits.

    Attributes:
        plan: of its windows.  per_picture: visual tokens at most.  text_tokens: of a result at most.
    """

    plan: WindowPlan
    per_picture: int
    text_tokens: int


@dataclass(frozen=True)
class Passage(PromptTokens):
    """A part of a window's prompt.

    Attributes:
        reach: how far positions advance over it.
    """

    reach: int

    @property
    def visual_tokens(self) -> int:
        """How many of the tokens are a picture's."""
        return int(self.places.sum())


@dataclass(frozen=True)
class Request:
    """A page in front of the model: everything that its windows are made of.

    Attributes:
        name: what identifiers are drawn for.  head: shared by all windows.
        entries: one a result, all but its identifier.
        again: where in ``task`` the query is said again, from and up to.
        cut: kept tokens by result id, of texts that were cut; the query's under ``""``.
        left: pictures not shown, by result id.
    """

    name: str
    fit: Fit
    head: Passage
    entries: tuple[Passage, ...]
    task: tuple[int, ...]
    again: tuple[int, int]
    cut: Mapping[str, int]
    left: Mapping[str, int]


@dataclass(frozen=True)
class WindowPrompt:
    """One window: the body that follows the head, and the identifiers of its results in the order shown."""

    body: Passage
    identifiers: Identifiers

    @property
    def visual_tokens(self) -> int:
        """How many of the body's tokens are a picture's."""
        return self.body.visual_tokens


class WindowPrompter:
    """Assembles prompts.

    Args:
        words: the tokenizer.
        marks: ids of a visual token's place and of what stands before and after a picture; None = the model has no
            eyes: results that are pictures alone are refused, texts with pictures are read as texts.
        context: tokens the model can read at most; None = not limited.
    """

    def __init__(
        self,
        words: Words,
        *,
        marks: tuple[int, int, int] | None,
        limits: WindowLimits | None = None,
        delimiting: Delimiting = "plain",
        seed: int = 0,
        context: int | None = None,
    ) -> None:
        if delimiting not in ("plain", "fenced"):
            raise InputError(f"delimiting: got {delimiting!r}; allowed: 'plain' or 'fenced'; choose one")
        self.words, self.limits, self.seed = words, limits or WindowLimits(), seed
        self._marks, self._delimiting, self._context = marks, delimiting, context
        encode = words.encode
        self._open, self._close, self._line = encode(OPENING), encode(CLOSING), encode("\n")
        self._query, self._results, self._again = encode("Query:"), encode("\n\nResults:\n"), encode("\nQuery:")
        self._above, self._task = encode(" the picture shown above"), encode(TASK)
        before, after = self._frame(fence(seed, ""))
        fixed = (before, after, self._query, self._results, self._again, self._above, self._task, self._open)
        self._fixed = sum(map(len, fixed))
        fences = 2 * len(encode(f" <<{fence(seed, '')}>>")) if delimiting == "fenced" else 0
        self._answer = len(encode(BETWEEN)) + 1
        self._around = len(self._open) + 1 + len(self._close) + len(self._line) + fences + _SPARE

    def _frame(self, code: str) -> tuple[list[int], list[int]]:
        fenced = self._delimiting == "fenced"
        return self.words.frame(SYSTEM + FENCED.format(fence=code) if fenced else SYSTEM)

    @property
    def sees(self) -> bool:
        """Whether pictures are shown."""
        return self._marks is not None

    @property
    def window_limit(self) -> int:
        """Results of a window at most: the letters there are."""
        return len(self.words.pool)

    def shown(self, result: Result) -> tuple[ImageRef, ...]:
        """The pictures of a result that a prompt shows: of a video's many frames, some spread over its length."""
        most = self.limits.pictures if self.sees else 0
        if len(result.images) <= most:
            return result.images
        return tuple(result.images[i] for i in np.linspace(0, len(result.images) - 1, most).round().astype(int))

    def asked(self, query: Query) -> tuple[ImageRef, ...]:
        """The picture of a query, where pictures are shown."""
        return () if query.image is None or not self.sees else (query.image,)

    def fit(self, page: Page, plan: WindowPlan) -> Fit:
        """Sizes with which every window of a page keeps the limits; one for all its pictures, each is seen once.

        Raises:
            NoRanker: results that are pictures alone, for a model without eyes.
            InputError: the model's context does not hold two results.
        """
        blind = [] if self.sees else [i for i, result in enumerate(page.results) if not result.text.strip()]
        if blind:
            raise NoRanker(
                f"query {page.query_id!r}: got results[{blind[0]}] {page.results[blind[0]].result_id!r} without text, "
                "and a model that reads text only; allowed: results with text; use a vision-language model"
            )
        counts = sorted((len(self.shown(result)) for result in page.results), reverse=True)
        while True:
            pictures = sum(counts[: plan.window]) + len(self.asked(page.query))
            each = self._per_picture(pictures)
            text = self._text_room(min(plan.window, max(len(page), 2)), pictures * (each + _MARKS))
            if each >= self.limits.least_per_picture and text >= min(_LEAST_WORDS, self.limits.text_tokens):
                return Fit(plan, each, text)
            if plan.window == 2:
                raise InputError(
                    f"query {page.query_id!r}: got {pictures} pictures and a context of {self._context} tokens; "
                    "allowed: limits under which two results fit; lower query_tokens or most_per_picture"
                )
            half = max(2, math.ceil(plan.window / 2))
            plan = replace(plan, window=half, stride=max(1, plan.stride * half // plan.window))

    def _per_picture(self, pictures: int) -> int:
        """Visual tokens of each; in steps, so that pictures shared by requests are often of one size."""
        most, least = self.limits.most_per_picture, self.limits.least_per_picture
        steps = (int(most * 0.5 ** (half / 2) + 1e-9) for half in count())
        fitting = next(size for size in steps if size * pictures <= self.limits.visual_tokens)
        return least if fitting < least and least * pictures <= self.limits.visual_tokens else fitting

    def _text_room(self, window: int, visual: int) -> int:
        """Tokens of each text, so that the fullest window fits the context."""
        if self._context is None:
            return self.limits.text_tokens
        fixed = self._fixed + 2 * self.limits.query_tokens + self._answer * window
        return min(self.limits.text_tokens, (self._context - fixed - visual) // window - self._around)

    def request(self, page: Page, fit: Fit, pictures: Mapping[ImageRef, Picture]) -> Request:
        """Everything that the windows of a page are made of; ``pictures`` holds at least those shown."""
        cut: dict[str, int] = {}
        code = fence(self.seed, page.query_id)
        before, after = self._frame(code)
        ((query, more),) = self.words.begin([page.query.text], self.limits.query_tokens)
        if more:
            cut[""] = len(query)
        asked = [pictures[ref] for ref in self.asked(page.query)]
        head = [*before, *self._query, *self._shown_tokens(asked), *query, *self._results]
        said = query or (self._above if asked else [])
        task = [*self._again, *said, *self._task, *after, *self._open]
        again = len(self._again), len(self._again) + len(said)
        entries, left = [], {}
        texts = self.words.begin([result.text for result in page.results], fit.text_tokens)
        for result, (text, more) in zip(page.results, texts, strict=True):
            shown = [pictures[ref] for ref in self.shown(result)]
            if more:
                cut[result.result_id] = len(text)
            if len(result.images) > len(shown):
                left[result.result_id] = len(result.images) - len(shown)
            entries.append(self._entry(shown, text, code))
        return Request(page.query_id, fit, self._passage(head, asked), tuple(entries), tuple(task), again, cut, left)

    def window(self, request: Request, items: Sequence[int], identifiers: Identifiers) -> WindowPrompt:
        """The prompt of a window: these results, in this order, under these identifiers."""
        opened = len(self._open) + 1
        tokens, places, positions, pictures = [], [], [], list[Picture]()
        at = request.head.reach
        for item, identifier in zip(items, identifiers.tokens, strict=True):
            entry = request.entries[item]
            tokens += [np.array([*self._open, identifier], np.int64), entry.tokens]
            places += [np.zeros(opened, np.bool_), entry.places]
            positions += [np.tile(np.arange(at, at + opened), (3, 1)), entry.positions + at + opened]
            pictures += entry.pictures
            at += opened + entry.reach
        tokens.append(np.array(request.task, np.int64))
        places.append(np.zeros(len(request.task), np.bool_))
        positions.append(np.tile(np.arange(at, at + len(request.task)), (3, 1)))
        rows = np.concatenate(tokens), np.concatenate(places), np.concatenate(positions, axis=1)
        return WindowPrompt(Passage(*rows, tuple(pictures), at + len(request.task)), identifiers)

    def _entry(self, shown: Sequence[Picture], text: Sequence[int], code: str) -> Passage:
        words = list(text)
        if words and self._delimiting == "fenced":
            around = self.words.encode(f" <<{code}>>")
            words = [*around, *words, *around]
        return self._passage([*self._close, *self._shown_tokens(shown), *words, *self._line], shown)

    def _shown_tokens(self, shown: Sequence[Picture]) -> list[int]:
        place, start, end = self._marks or (0, 0, 0)
        return [token for picture in shown for token in (start, *[place] * picture.tokens, end)]

    def _passage(self, tokens: Sequence[int], pictures: Sequence[Picture]) -> Passage:
        ids = np.array(tokens, np.int64)
        places = ids == self._marks[0] if self._marks else np.zeros(len(ids), np.bool_)
        positions, reach = _positions(places, pictures)
        return Passage(ids, places, positions, tuple(pictures), reach)


def _positions(places: NDArray[np.bool_], pictures: Sequence[Picture]) -> tuple[NDArray[np.int64], int]:
    """Time, row and column of every token, from 0; and the position that comes next.

    A word counts one further in all three; a picture stands still in time, its tokens count rows and columns, and what
    follows goes on behind its longer side.

    Source: the multimodal rotary embedding of Qwen2-VL (arXiv 2409.12191, section 2.1).
    """
    parts: list[NDArray[np.int64]] = []
    at = done = 0
    for picture in pictures:
        first = done + int(np.argmax(places[done:]))
        parts.append(np.tile(np.arange(at, at + first - done), (3, 1)))
        at += first - done
        rows, columns = np.divmod(np.arange(picture.tokens), picture.columns)
        parts.append(np.stack([np.zeros_like(rows), rows, columns]) + at)
        at += max(picture.rows, picture.columns)
        done = first + picture.tokens
    parts.append(np.tile(np.arange(at, at + len(places) - done), (3, 1)))
    return np.concatenate(parts, axis=1).astype(np.int64), at + len(places) - done
