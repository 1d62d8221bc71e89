"""Rankers that read the words in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import require
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef, Page, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers.encoders import ContentStore, ReadBytes, image_key
from wholepage.rankers.image import OpenPicture


class OcrReader:
    """Reads the words in a picture (RapidOCR, runs offline), once for each content.

    Args:
        cache: a SQLite file that keeps what was read, by content hash; None = memory only.
        threads: of onnxruntime, -1 = as it likes.
        open_picture, read: how pictures are opened and their bytes read.
    Raises:
        MissingExtra: rapidocr-onnxruntime is not installed.
    """

    def __init__(
        self,
        cache: Path | str | None = None,
        *,
        threads: int = -1,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
    ) -> None:
        library = require("rapidocr_onnxruntime", "image")
        self._engine: Any = library.RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=threads)
        self._store = ContentStore(None if cache is None else Path(cache), "texts")
        self._open, self._read = open_picture, read
        self.name = "rapidocr-ppocrv4"

    def read_words(self, ref: ImageRef, *, at: str = "") -> str:
        """The words of one picture, lines from the top joined by spaces; empty when there are none.

        Args:
            ref: the picture.  at: where it stands, for the message of an error.
        Raises:
            ImageError: the picture cannot be read.
        """
        key = image_key(ref, self._read, at=at)
        known = self._store.get(self.name, [key])
        if key in known:
            return known[key].decode("utf-8")
        bgr = np.ascontiguousarray(np.asarray(self._open(ref, at=at).convert("RGB"))[:, :, ::-1])
        found, _ = self._engine(bgr)
        words = " ".join(str(line[1]).strip() for line in found or ())
        self._store.put(self.name, {key: words.encode("utf-8")})
        return words


class OcrScorer:
    """Scores pictures and videos by their words: the text given, else what OCR reads (all frames of a video joined).

    NaN where there are no words at all.

    Args:
        text_scorer: scores the words.  reader: reads them.
    """

    def __init__(self, text_scorer: Scorer, reader: OcrReader) -> None:
        self.text_scorer, self.reader = text_scorer, reader

    @property
    def name(self) -> str:
        return f"ocr({self.text_scorer.name})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        return self.text_scorer.score(
            [Page(page.query, tuple(self._read(page, i, r) for i, r in enumerate(page.results))) for page in pages]
        )

    def _read(self, page: Page, index: int, result: Result) -> Result:
        if result.text.strip() or not result.images:
            return result
        at = f"query {page.query_id!r}: results[{index}] {result.result_id!r}"
        words = " ".join(filter(None, (self.reader.read_words(ref, at=at) for ref in result.images)))
        return msgspec.structs.replace(result, text=words)
