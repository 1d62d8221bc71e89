"""What a query and a result have in common, as numbers: the inputs of the learned rankers.

``ResultVectors`` holds the frozen encoders; everything learned stands on what it returns, so that a text or a
picture is encoded once however many rankers look at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, require
from wholepage.pages.model import Page, Result
from wholepage.rankers.bm25 import BM25Scorer, count_words, words_of
from wholepage.rankers.encoders import ImageEncoder, TextEncoder

MATCH_NAMES = ("bm25", "cosine", "overlap", "words")
"""The columns of ``match_numbers``."""

_LENGTH = 2.0  # root mean square length of a scaled part; the towers' learning rate is tuned to it


@dataclass(frozen=True)
class PageVectors:
    """The encoded page.

    Shapes:
        query: [text_dim]; text: [n, text_dim], zeros where there is no text;
        image: [n, image_dim], zeros where there is no picture, image_dim = 0 without an image encoder
    """

    query: NDArray[np.float32]
    text: NDArray[np.float32]
    image: NDArray[np.float32]

    @property
    def item(self) -> NDArray[np.float32]:
        """Both beside each other: ``[n, text_dim + image_dim]``."""
        return np.concatenate([self.text, self.image], axis=1)


class ResultVectors:
    """Encodes pages with frozen encoders; wrap the encoders in caches to encode each thing once, ever.

    Args:
        text: for queries and every result that has text.
        image: for every result that has pictures; a video's vector is the mean of its frames'.
            None = pictures are seen only through their text.
    """

    def __init__(self, text: TextEncoder, image: ImageEncoder | None = None) -> None:
        self.text, self.image = text, image

    @property
    def name(self) -> str:
        return f"{self.text.name}+{self.image.name}" if self.image else self.text.name

    @property
    def text_dim(self) -> int:
        return self.text.dim

    @property
    def image_dim(self) -> int:
        return self.image.dim if self.image else 0

    def encode(self, pages: Sequence[Page]) -> list[PageVectors]:
        """One ``PageVectors`` a page.

        Raises:
            InputError: a query has no text (asking with a picture alone needs a dual encoder).
            ImageError: a picture cannot be read.
        """
        for page in pages:
            if not page.query.text.strip():
                raise InputError(
                    f"query {page.query_id!r}: got no text; allowed: a query in words; "
                    "the offline encoders cannot ask with a picture alone"
                )
        results = [result for page in pages for result in page.results]
        queries = self.text.encode_texts([page.query.text for page in pages])
        texts, images = self._texts(results), self._images(results)
        encoded, start = [], 0
        for page, query in zip(pages, queries, strict=True):
            stop = start + len(page)
            encoded.append(PageVectors(query, texts[start:stop], images[start:stop]))
            start = stop
        return encoded

    def _texts(self, results: Sequence[Result]) -> NDArray[np.float32]:
        rows = [i for i, result in enumerate(results) if result.text.strip()]
        found = np.zeros((len(results), self.text_dim), dtype=np.float32)
        if rows:
            found[rows] = self.text.encode_texts([results[i].text for i in rows])
        return found

    def _images(self, results: Sequence[Result]) -> NDArray[np.float32]:
        found = np.zeros((len(results), self.image_dim), dtype=np.float32)
        if self.image is None:
            return found
        owners = [i for i, result in enumerate(results) for _ in result.images]
        if not owners:
            return found
        vectors = self.image.encode_images([ref for result in results for ref in result.images])
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        np.add.at(found, owners, vectors)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-9), np.float32)


class VectorScale:
    """Learned scaling of the frozen vectors: text and image part each centred and brought to like length.

    Args:
        text_dim: how many of the columns are text.
        centre: [item_dim] mean of training results, each part over the results that have it.
        gain: [2] for the text and the image part.
        directions: [item_dim, kept] principal directions to keep; None = keep all columns.
    """

    def __init__(
        self,
        text_dim: int,
        centre: NDArray[np.float32],
        gain: NDArray[np.float32],
        directions: NDArray[np.float32] | None = None,
    ) -> None:
        self.text_dim, self.centre, self.gain, self.directions = text_dim, centre, gain, directions

    @property
    def dim(self) -> int:
        """Columns that ``apply`` returns."""
        return len(self.centre) if self.directions is None else self.directions.shape[1]

    @classmethod
    def fit(cls, encoded: Sequence[PageVectors], *, keep: int | None = None) -> VectorScale:
        """Fit on training pages; ``keep`` principal directions of their distinct vectors, None = all columns.

        Raises:
            InputError: no page.
        """
        if not encoded:
            raise InputError("VectorScale.fit: got no page; allowed: at least one; pass the training pages")
        text_dim = encoded[0].text.shape[1]
        items = np.unique(np.concatenate([page.item for page in encoded]), axis=0)
        centre, gain = np.zeros(items.shape[1], np.float32), np.ones(2, np.float32)
        for part, columns in enumerate((slice(0, text_dim), slice(text_dim, None))):
            block = items[:, columns]
            block = block[np.abs(block).sum(axis=1) > 0]
            if len(block):
                centre[columns] = block.mean(axis=0)
                gain[part] = _LENGTH / max(1e-6, float(np.sqrt(((block - centre[columns]) ** 2).sum(axis=1).mean())))
        plain = cls(text_dim, centre, gain)
        if keep is None or keep >= items.shape[1]:
            return plain
        scaled = plain._scaled(items).astype(np.float64)
        # The order of sums changes with the number of threads, and directions without spread turn freely with it.
        with require("threadpoolctl", "train").threadpool_limits(limits=1):
            _, vectors = np.linalg.eigh(scaled.T @ scaled)
        directions = vectors[:, ::-1][:, :keep]
        signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
        return cls(text_dim, centre, gain, (directions * signs).astype(np.float32))

    def apply(self, vectors: PageVectors) -> NDArray[np.float32]:
        """Scaled vectors of a page's results ``[n, dim]``; a part that a result lacks stays zero."""
        scaled = self._scaled(vectors.item)
        return scaled if self.directions is None else np.asarray(scaled @ self.directions, np.float32)

    def _scaled(self, items: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = np.zeros_like(items)
        for part, columns in enumerate((slice(0, self.text_dim), slice(self.text_dim, None))):
            has = np.abs(items[:, columns]).sum(axis=1) > 0
            scaled[has, columns] = (items[has, columns] - self.centre[columns]) * self.gain[part]
        return scaled

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Tensors for a model folder."""
        kept = {"vectors.centre": self.centre, "vectors.gain": self.gain}
        return kept if self.directions is None else kept | {"vectors.directions": self.directions}

    @classmethod
    def from_arrays(cls, text_dim: int, arrays: Mapping[str, NDArray[np.float32]]) -> VectorScale:
        """The scale that ``arrays`` wrote."""
        return cls(text_dim, arrays["vectors.centre"], arrays["vectors.gain"], arrays.get("vectors.directions"))


def match_numbers(page: Page, vectors: PageVectors) -> NDArray[np.float32]:
    """Words and meaning that query and result share.

    Columns (``MATCH_NAMES``): log BM25 among the page's results, cosine of the text vectors, share of the
    query's words found, log count of words. Zeros where a result has no text.

    Shapes:
        return: [len(page), 4] float32
    """
    scorer = _bm25()
    asked = words_of(page.query.text)
    words = [count_words(result.text, scorer.stopwords) for result in page.results]
    numbers = np.zeros((len(page), len(MATCH_NAMES)), dtype=np.float32)
    rows = [i for i, result in enumerate(page.results) if result.text.strip()]
    numbers[rows, 0] = np.log1p(scorer.score_words(asked, [words[i] for i in rows]))
    # A product a row: one product for all would round by how many rows there are.
    numbers[:, 1] = [row @ vectors.query for row in vectors.text]
    distinct = set(asked)
    if distinct:
        numbers[:, 2] = [len(distinct & text.counts.keys()) / len(distinct) for text in words]
    numbers[:, 3] = np.log1p([text.total for text in words])
    return numbers


@lru_cache(maxsize=1)
def _bm25() -> BM25Scorer:
    return BM25Scorer()


class NumberScale:
    """Learned scaling of numeric columns: centred, scaled and clipped.

    Args:
        names: the columns.  centre, spread: of the columns, fitted on training pages.
    """

    def __init__(self, names: Sequence[str], centre: NDArray[np.float32], spread: NDArray[np.float32]) -> None:
        self.names, self.centre, self.spread = tuple(names), centre, spread

    @classmethod
    def fit(cls, names: Sequence[str], rows: NDArray[np.float32]) -> NumberScale:
        """Median and inter-decile spread of each column; a constant column keeps spread 1."""
        low, centre, high = np.quantile(rows, [0.1, 0.5, 0.9], axis=0) if len(rows) else np.zeros((3, len(names)))
        deviation = rows.std(axis=0) if len(rows) else np.ones(len(names))
        spread = np.where(high - low > 1e-3, (high - low) / 2, np.where(deviation > 1e-3, deviation, 1.0))
        return cls(names, centre.astype(np.float32), spread.astype(np.float32))

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled columns within [-5, 5]; shape kept."""
        scaled = (rows - self.centre) / self.spread
        return np.asarray(np.clip(scaled, -5.0, 5.0), np.float32)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Tensors for a model folder; the names go into its config."""
        return {"scale.centre": self.centre, "scale.spread": self.spread}

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Mapping[str, NDArray[np.float32]]) -> NumberScale:
        """The scale that ``arrays`` wrote."""
        return cls(names, arrays["scale.centre"], arrays["scale.spread"])


def feature_names(pages: Sequence[Page]) -> tuple[str, ...]:
    """Names of the numeric features that occur on the pages' results, sorted."""
    return tuple(sorted({name for page in pages for result in page.results for name in result.features}))


def feature_columns(page: Page, names: Sequence[str]) -> NDArray[np.float32]:
    """The named features of each result, squeezed by a signed log, for counts differ by orders of magnitude.

    0 where a result does not have one. Shape ``[len(page), len(names)]``.
    """
    table = [[result.features.get(name, 0.0) for name in names] for result in page.results]
    return squeeze(np.array(table, dtype=np.float64).reshape(len(page), len(names)))


def squeeze(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """A signed log, for counts differ by orders of magnitude; shape kept."""
    return np.asarray(np.sign(rows) * np.log1p(np.abs(rows)), dtype=np.float32)
