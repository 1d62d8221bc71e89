"""BM25 over the texts of a page, and the words it counts.

The page is the whole collection, so there is nothing to index: only the query's words are looked up, in counts that are
kept by text. The scores are, to the bit, those of bm25s, which builds the matrix of all words first.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, require
from wholepage.pages.model import Page

_WORD = re.compile(r"\w+")
_SIGNS = {code: " " for code in range(128) if not _WORD.match(chr(code))}
_TYPOGRAPHY = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u00a0"  # quotes, dashes, ellipsis, hard space
_KEPT_CHARACTERS = 1 << 24  # of the texts whose words stay counted: some 130 MB at most


class TextWords(msgspec.Struct, frozen=True, gc=False):
    """The words of one text.

    Hundreds of thousands are kept: untracked (``gc=False``, plain dictionaries of plain values), for a collection of
    garbage that walks through them all stops the process for some tenths of a second.

    Attributes:
        counts: how often each word occurs.  total: of all words.
        content: of the words that BM25 counts, those of two letters or more that are no stop words.
    """

    counts: Mapping[str, int]
    total: int
    content: int


def words_of(text: str) -> list[str]:
    """Runs of letters, digits and underscores in lower case, in their order."""
    low = text.lower()
    if not low.isascii():
        for sign in _TYPOGRAPHY:
            low = low.replace(sign, " ")
    # Three times faster than the expression, with the same words: no sign above is a word character.
    return low.translate(_SIGNS).split() if low.isascii() else _WORD.findall(low)


def count_words(text: str, stopwords: frozenset[str]) -> TextWords:
    """Count the words of a text, or find what was counted before."""
    return _KEPT.of(text, stopwords)


class _Kept:
    """The counts of the texts that were asked about last, bounded by their characters."""

    def __init__(self, characters: int) -> None:
        self.room = characters
        self._counts: OrderedDict[tuple[str, int], TextWords] = OrderedDict()
        self._stopword_numbers: dict[frozenset[str], int] = {}  # a key that holds a set would be tracked
        self._lock = threading.Lock()

    def of(self, text: str, stopwords: frozenset[str]) -> TextWords:
        with self._lock:
            key = (text, self._stopword_numbers.setdefault(stopwords, len(self._stopword_numbers)))
            known = self._counts.get(key)
            if known is not None:
                self._counts.move_to_end(key)
                return known
        made = _counted(text, stopwords)
        with self._lock:
            if key not in self._counts:
                self._counts[key] = made
                self.room -= _size(text)
            while self.room < 0:
                (oldest, _), _ = self._counts.popitem(last=False)
                self.room += _size(oldest)
        return made


_KEPT = _Kept(_KEPT_CHARACTERS)


def _size(text: str) -> int:
    return 64 + len(text)  # short texts take their place too


def _counted(text: str, stopwords: frozenset[str]) -> TextWords:
    words = words_of(text)
    counts = {word: count for word, count in Counter(words).items()}  # noqa: C416 - a copy of a Counter stays tracked
    short = sum([count for word, count in counts.items() if len(word) == 1])
    stopped = sum([counts[word] for word in stopwords & counts.keys() if len(word) > 1])
    return TextWords(counts, len(words), len(words) - short - stopped)


class BM25Scorer:
    """Scores texts by the query's words (Lucene's BM25), the stop words of bm25s left out.

    Document frequencies and lengths are those of the page's own texts, so a page's scores never depend on other pages.
    NaN where a result has no text, or the query has none; 0 where no word of the query occurs.

    Args:
        k1: how fast repeated words stop counting.  b: how much long texts are held back, 0 to 1.
        stopwords: a language bm25s knows.
    Raises:
        MissingExtra: bm25s is not installed.
        InputError: ``k1`` or ``b`` is out of range, or the language is unknown.
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75, *, stopwords: str = "en") -> None:
        if not k1 >= 0 or not 0 <= b <= 1:
            raise InputError(f"BM25: got k1={k1}, b={b}; allowed: k1 >= 0, 0 <= b <= 1; the usual are 1.2 and 0.75")
        self.k1, self.b, self.stopwords = k1, b, _stopwords(stopwords)

    @property
    def name(self) -> str:
        return f"bm25(k1={self.k1:g}, b={self.b:g})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, NaN = no text."""
        return [self._score(page) for page in pages]

    def _score(self, page: Page) -> NDArray[np.float32]:
        scores = np.full(len(page), np.nan, dtype=np.float32)
        rows = [i for i, result in enumerate(page.results) if result.text.strip()]
        if rows and page.query.text.strip():
            texts = [count_words(page.results[i].text, self.stopwords) for i in rows]
            scores[rows] = self.score_words(words_of(page.query.text), texts)
        return scores

    def score_words(self, asked: Sequence[str], texts: Sequence[TextWords]) -> NDArray[np.float32]:
        """Scores of texts whose words are counted already, with these stop words.

        Shapes:
            return: [len(texts)], 0 where no word that was asked for occurs
        """
        scores = np.zeros(len(texts), dtype=np.float32)
        content = [word for word in asked if len(word) > 1 and word not in self.stopwords]
        found = {word: [text.counts.get(word, 0) for text in texts] for word in dict.fromkeys(content)}
        found = {word: counts for word, counts in found.items() if any(counts)}
        if not found:
            return scores
        count = np.array(list(found.values()), dtype=np.float64)
        length = np.array([text.content for text in texts])
        held_back = self.k1 * ((1 - self.b) + self.b * length / length.mean())
        occurs = np.divide(count, count + held_back, out=np.zeros_like(count), where=count > 0)
        share = (count > 0).sum(axis=1).tolist()
        rarity = [math.log(1 + (len(texts) - df + 0.5) / (df + 0.5)) for df in share]
        # float32 where bm25s rounds to it, and one word after another: float sums depend on their order.
        parts = (np.array(rarity, np.float32)[:, None] * occurs).astype(np.float32)
        place = {word: row for row, word in enumerate(found)}
        for word in content:
            if word in place:
                scores += parts[place[word]]
        return scores


@lru_cache
def _stopwords(language: str) -> frozenset[str]:
    library: Any = require("bm25s", "text").tokenization
    try:
        return frozenset(library.Tokenizer(stopwords=language).stopwords)
    except ValueError as error:
        raise InputError(
            f"BM25: got stop words of {language!r}; allowed: a language bm25s knows, such as 'en' or 'german'; name one"
        ) from error
