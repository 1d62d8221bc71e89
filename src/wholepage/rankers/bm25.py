"""BM25 over the texts of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, require
from wholepage.pages.model import Page


class BM25Scorer:
    """Scores texts by the query's words (Lucene's BM25, through bm25s), English stop words left out.

    Document frequencies and lengths are those of the page's own texts, so a page's scores never depend on other pages.
    NaN where a result has no text, or the query has none; 0 where no word of the query occurs.

    Args:
        k1: how fast repeated words stop counting.  b: how much long texts are held back, 0 to 1.
        stopwords: a language bm25s knows.
    Raises:
        MissingExtra: bm25s is not installed.
        InputError: ``k1`` or ``b`` is out of range.
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75, *, stopwords: str = "en") -> None:
        if not k1 >= 0 or not 0 <= b <= 1:
            raise InputError(f"BM25: got k1={k1}, b={b}; allowed: k1 >= 0, 0 <= b <= 1; the usual are 1.2 and 0.75")
        self._library: Any = require("bm25s", "text")
        self.k1, self.b, self.stopwords = k1, b, stopwords

    @property
    def name(self) -> str:
        return f"bm25(k1={self.k1:g}, b={self.b:g})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, NaN = no text."""
        return [self._score(page) for page in pages]

    def _score(self, page: Page) -> NDArray[np.float32]:
        scores = np.full(len(page), np.nan, dtype=np.float32)
        rows = [i for i, result in enumerate(page.results) if result.text.strip()]
        if not rows or not page.query.text.strip():
            return scores
        scores[rows] = 0.0
        query, *texts = self._words([page.query.text, *(page.results[i].text for i in rows)])
        vocabulary = {word for text in texts for word in text}
        known = [word for word in query if word in vocabulary]
        if known:
            index = self._library.BM25(k1=self.k1, b=self.b, method="lucene")
            index.index(texts, show_progress=False)
            scores[rows] = index.get_scores(known)
        return scores

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        words: list[list[str]] = self._library.tokenize(
            list(texts), stopwords=self.stopwords, return_ids=False, show_progress=False, allow_empty=True
        )
        return [[word for word in text if word] for text in words]
