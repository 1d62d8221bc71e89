"""The ranker when nobody named one: single-modal rankers merged by z-score, all of it without network or training.

Every result is ranked by its words among the results of its own modality: texts and answers by theirs, pictures and
videos by the text that came with them, else by what OCR reads in them. A photo without words is one on which it has no
opinion: such results come last, with score None.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.fusion import SingleModal, ZScoreMerge
from wholepage.rankers.ocr import OcrReader, OcrScorer
from wholepage.rankers.text import BiEncoderScorer

WHAT = "offline default: single-modal rankers merged by z-score"


class OfflineRanker:
    """A Ranker of pages of any modality by their words.

    Args:
        encoder: of words.
        words_kept: a SQLite file that keeps what OCR read; None = memory only. OCR is loaded when the first picture
            without text comes.
    """

    def __init__(self, encoder: TextEncoder, words_kept: Path | None = None) -> None:
        self._words: Scorer = BiEncoderScorer(encoder)
        self._kept = words_kept
        self._reader: OcrReader | None = None

    @property
    def name(self) -> str:
        read = f"given or OCR words by {self._words.name}"
        return f"{WHAT}: text=answer={self._words.name}, image=video={read}"

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page; results without any words last, with score None.

        Raises:
            ImageError: a picture that has to be read cannot be.
            MissingExtra: a picture without text comes, and OCR is not installed.
        """
        scorer = self._words
        if any(result.images and not result.text.strip() for page in pages for result in page.results):
            self._reader = self._reader or OcrReader(self._kept)
            scorer = OcrScorer(self._words, self._reader)
        merged = ZScoreMerge(SingleModal(dict.fromkeys(Modality, scorer)))
        return [msgspec.structs.replace(ranking, by=self.name) for ranking in merged.rank(pages)]
