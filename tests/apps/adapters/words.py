"""A ranker that needs no model, for documents of other libraries: it counts the words of the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker, by_score


class WordScorer:
    """Words shared with the query; no opinion on pictures without words."""

    name = "words"

    def __init__(self) -> None:
        self.pages: list[Page] = []

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        self.pages += pages
        return [
            np.array([self._one(page, r.text, r.modality) for r in page.results], dtype=np.float32) for page in pages
        ]

    @staticmethod
    def _one(page: Page, text: str, modality: Modality) -> float:
        if not text.strip():
            return float("nan")
        return float(len(set(page.query.text.lower().split()) & set(text.lower().split()))) - 1.5


class OrderOnly:
    """Orders backwards, without scores."""

    name = "backwards"

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, page.result_ids[::-1], None, self.name) for page in pages]


class Losing:
    """Loses a result."""

    name = "losing"

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, page.result_ids[1:], None, self.name) for page in pages]


def words() -> Ranker:
    """The ranker that counts words."""
    return by_score(WordScorer())
