"""What a vision-language model is given to read of one result: pictures, then the query, then the result's text.

Token ids are assembled here from a tokenizer alone, within a budget; what had to be cut is counted. Words of a query or
a result never become control tokens, whatever they spell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Page, Query, Result

OPENING, BETWEEN, CLOSING = "Query: ", "\nResult: ", "\nRelevance:"
"""The words around query and text; every prompt closes alike, so that its last token means the same in all of them."""

_LEAST_WORDS = 16  # tokens that must be left for query and text beside the pictures


class Tokenizer(Protocol):
    """Turns words into token ids."""

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]: ...


@dataclass(frozen=True)
class Picture:
    """A picture as the language model is shown it: by content hash, as rows and columns of visual tokens."""

    key: str
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """How many places it takes among the tokens, its two marks not counted."""
        return self.rows * self.columns


@dataclass(frozen=True)
class PromptTokens:
    """Tokens in a row with pictures among them, ready for the language model.

    Attributes:
        pictures: in the order of their places in ``tokens``.
    Shapes:
        tokens: [T] int; places: [T] bool, True = a visual token stands here;
        positions: [3, T] int, time, row and column as the rotary embedding counts them
    """

    tokens: NDArray[np.int64]
    places: NDArray[np.bool_]
    positions: NDArray[np.int64]
    pictures: tuple[Picture, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class ItemPrompt(PromptTokens):
    """One result in front of its query.

    Attributes:
        asked: how many of the pictures, the first ones, are the query's and not the result's.
    """

    asked: int


@dataclass
class PromptReport:
    """What has been cut since the prompts began: prompts made, queries and texts cut short, pictures left out."""

    prompts: int = 0
    cut_queries: int = 0
    cut_texts: int = 0
    left_pictures: int = 0


class Prompter:
    """Assembles prompts.

    Args:
        tokenizer: of the model.
        picture_token, start_token, end_token: ids of a visual token's place and of the marks around a picture.
        reserved: further ids that words may never become.
        max_tokens: of one prompt.  max_pictures: of one prompt, the query's own included; of a video the frames are
            spread evenly over its length.  max_visual_tokens: of one picture.
    Raises:
        InputError: so many pictures would leave no room for words.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        picture_token: int,
        start_token: int,
        end_token: int,
        reserved: Sequence[int] = (),
        max_tokens: int = 512,
        max_pictures: int = 4,
        max_visual_tokens: int = 100,
    ) -> None:
        self._tokenizer = tokenizer
        self._picture, self._start, self._end = picture_token, start_token, end_token
        self._reserved = {picture_token, start_token, end_token, *reserved}
        self.max_tokens, self.max_pictures, self.max_visual_tokens = max_tokens, max_pictures, max_visual_tokens
        self._opening, self._between, self._closing = (self._words(part) for part in (OPENING, BETWEEN, CLOSING))
        self._fixed = len(self._opening) + len(self._between) + len(self._closing)
        self.report = PromptReport()
        least = self._fixed + _LEAST_WORDS + max_pictures * (max_visual_tokens + 2)
        if max_pictures < 1 or max_visual_tokens < 1 or max_tokens < least:
            raise InputError(
                f"prompts: got max_tokens {max_tokens} for {max_pictures} pictures of {max_visual_tokens} tokens; "
                f"allowed: {least} or more, and at least one picture of one token; raise max_tokens, or show less"
            )

    def shown(self, query: Query, result: Result) -> tuple[tuple[ImageRef, ...], tuple[ImageRef, ...]]:
        """The pictures that a prompt shows: the query's own, and the result's as far as ``max_pictures`` goes.

        At least one of the result's is shown, if need be in place of the query's.
        """
        asked = () if query.image is None or (self.max_pictures == 1 and result.images) else (query.image,)
        room = self.max_pictures - len(asked)
        if len(result.images) <= room:
            return asked, result.images
        return asked, tuple(result.images[i] for i in np.linspace(0, len(result.images) - 1, room).round().astype(int))

    def assemble(self, page: Page, pictures: Mapping[ImageRef, Picture]) -> list[ItemPrompt]:
        """One prompt a result; ``pictures`` holds at least those that ``shown`` names."""
        asked = self._words(page.query.text)
        return [self._assemble(page.query, asked, result, pictures) for result in page.results]

    def _assemble(
        self, query: Query, asked: list[int], result: Result, pictures: Mapping[ImageRef, Picture]
    ) -> ItemPrompt:
        of_query, of_result = self.shown(query, result)
        shown = tuple(pictures[ref] for ref in of_query + of_result)
        text = self._words(result.text)
        room = self.max_tokens - self._fixed - sum(picture.tokens + 2 for picture in shown)
        query_room = max(room // 2, room - len(text))  # a long text may push a long query into half of the room
        text_room = room - min(len(asked), query_room)
        self.report.prompts += 1
        self.report.cut_queries += len(asked) > query_room
        self.report.cut_texts += len(text) > text_room
        self.report.left_pictures += len(result.images) + (query.image is not None) - len(shown)
        tokens: list[int] = []
        for picture in shown:
            tokens += [self._start, *[self._picture] * picture.tokens, self._end]
        words = [*self._opening, *asked[:query_room], *self._between, *text[:text_room], *self._closing]
        ids = np.array(tokens + words, np.int64)
        return ItemPrompt(ids, ids == self._picture, positions(shown, len(words)), shown, len(of_query))

    def _words(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) if text else []
        return [i for i in ids if i not in self._reserved]


def positions(pictures: Sequence[Picture], words: int) -> NDArray[np.int64]:
    """Time, row and column of every token of a prompt: pictures between their marks, then so many words.

    A word counts one further in all three; a picture stands still in time, its tokens count rows and columns, and what
    follows goes on behind its longer side. Shape ``[3, T]``.

    Source: the multimodal rotary embedding of Qwen2-VL (arXiv 2409.12191, section 2.1).
    """
    parts, at = [], 0
    for picture in pictures:
        rows, columns = np.divmod(np.arange(picture.tokens), picture.columns)
        parts += [np.full((3, 1), at), np.stack([np.zeros_like(rows), rows, columns]) + at + 1]
        at += 1 + max(picture.rows, picture.columns)
        parts.append(np.full((3, 1), at))
        at += 1
    parts.append(np.tile(np.arange(words) + at, (3, 1)))
    return np.concatenate(parts, axis=1).astype(np.int64)
