"""Page -> item vectors for the page head: what each result is, and how its own modality's ranker sees it.

Columns of the numeric part, in this order: the modality (one-hot); the single-modal score standardised within (page,
modality), its rank fraction, its margin to the modality's best, and the raw score, in a slot of its modality's own
(raw scores of different modalities share no scale); match numbers; the support a result finds among the other results
of the page, by modality; the results' own numeric features. Beside them the frozen vectors of query and result, and
what is known of who asks (``rankers.users``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import NoRanker, PageError, ShapeError
from wholepage.pages.model import Modality, Page
from wholepage.pages.protocols import Scorer
from wholepage.rankers.matching import (
    MATCH_NAMES,
    NumberScale,
    PageVectors,
    ResultVectors,
    VectorScale,
    feature_columns,
    match_numbers,
)
from wholepage.rankers.users import UserColumns


@dataclass(frozen=True)
class PageItems:
    """One page as the page head reads it.

    Shapes:
        query: [query_dim]; item: [n, item_dim]; numbers: [n, k] scaled;
        group: [n] int, index of the modality in ``Modality``; user: [user_dim] scaled, user_dim may be 0
    """

    query: NDArray[np.float32]
    item: NDArray[np.float32]
    numbers: NDArray[np.float32]
    group: NDArray[np.int64]
    user: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.item)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All that is read of the page, in the order of the attributes."""
        return self.query, self.item, self.numbers, self.group, self.user


def modality_codes(page: Page) -> NDArray[np.int64]:
    """Index of each result's modality in ``Modality``; shape ``[len(page)]``."""
    order = {modality: index for index, modality in enumerate(Modality)}
    return np.array([order[result.modality] for result in page.results], dtype=np.int64)


def number_names(known: Sequence[Modality], features: Sequence[str]) -> tuple[str, ...]:
    """Names of the numeric columns, in order."""
    return (
        *(f"is {m.value}" for m in known),
        *("standardised", "rank fraction", "behind best"),
        *(f"raw {m.value}" for m in known),
        *MATCH_NAMES,
        *(f"support {m.value}" for m in known),
        *(f"best {m.value}" for m in known),
        *features,
    )


class Featurizer:
    """Reads pages for the page head.

    Args:
        upstream: raw single-modal scores of a page (``fusion.SingleModal``); NaN = no opinion.
        vectors: the frozen encoders.
        known: the modalities of the training pages, each with its own columns.
        scale, vector_scale: fitted on training pages.
        read_as: a modality that training did not see -> the known one whose columns it uses (an answer reads as text).
        users: reads who asks, fitted on training pages; None = nothing of it.
    """

    def __init__(
        self,
        upstream: Scorer,
        vectors: ResultVectors,
        known: Sequence[Modality],
        scale: NumberScale,
        vector_scale: VectorScale,
        read_as: Mapping[Modality, Modality] | None = None,
        users: UserColumns | None = None,
    ) -> None:
        self.upstream, self.vectors, self.known = upstream, vectors, tuple(known)
        self.scale, self.vector_scale = scale, vector_scale
        self.read_as = dict(read_as or {})
        self.users = users or UserColumns()

    @classmethod
    def fit(
        cls,
        upstream: Scorer,
        vectors: ResultVectors,
        pages: Sequence[Page],
        scores: Sequence[NDArray[np.float32]],
        names: Sequence[str],
        read_as: Mapping[Modality, Modality] | None = None,
        *,
        keep: int | None = 128,
    ) -> Featurizer:
        """Fit the scalings on training pages, at least one, and learn what is known of users there.

        Args:
            pages, scores: training pages with the single-modal scores that they should be read with (out of fold).
            names: numeric features of results to read.
            keep: principal directions of the frozen vectors to read; None = all columns.
        Raises:
            PageError: a user field that is a number on one page and a string on another.
        """
        known = tuple(m for m in Modality if any(m in page.modalities for page in pages))
        encoded = vectors.encode(pages)
        vector_scale = VectorScale.fit(encoded, keep=keep)
        empty = NumberScale((), np.zeros(0, np.float32), np.ones(0, np.float32))
        draft = cls(upstream, vectors, known, empty, vector_scale, read_as)
        rows = [draft._numbers(page, of, given, names) for page, of, given in zip(pages, encoded, scores, strict=True)]
        scale = NumberScale.fit(number_names(known, names), np.concatenate(rows))
        return cls(upstream, vectors, known, scale, vector_scale, read_as, UserColumns.fit(pages))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The results' own features that are read."""
        return self.scale.names[len(number_names(self.known, ())) :]

    def read(self, pages: Sequence[Page], scores: Sequence[NDArray[np.float32]] | None = None) -> list[PageItems]:
        """One ``PageItems`` a page.

        Args:
            scores: single-modal scores to read with, an array ``[len(page)]`` a page; None = ask ``upstream``.
        Raises:
            NoRanker: a modality is neither known nor read as a known one.
            ShapeError: scores that do not fit their page.
            PageError: a score is infinite, or a user field is of another kind than in training.
        """
        for page in pages:
            self._check_known(page)
        given = self.upstream.score(pages) if scores is None else scores
        if len(given) != len(pages):
            raise ShapeError(
                f"{self.upstream.name!r}: got {len(given)} arrays of scores for {len(pages)} pages; allowed: one a "
                "page; an empty page gets an empty array"
            )
        read = []
        for page, encoded, values in zip(pages, self.vectors.encode(pages), given, strict=True):
            numbers = self.scale.apply(self._numbers(page, encoded, values, self.feature_names))
            item, user = self.vector_scale.apply(encoded), self.users.read(page)
            read.append(PageItems(encoded.query, item, numbers, modality_codes(page), user))
        return read

    def unseen(self, page: Page) -> NDArray[np.bool_]:
        """Which results are of a modality that training did not hold, and are read as another; ``[len(page)]``."""
        return np.array([result.modality not in self.known for result in page.results], dtype=np.bool_)

    def _check_known(self, page: Page) -> None:
        for index, result in enumerate(page.results):
            if self.read_as.get(result.modality, result.modality) not in self.known:
                raise NoRanker(
                    f"query {page.query_id!r}: results[{index}] {result.result_id!r}: got modality "
                    f"{result.modality.value!r}; allowed: {[m.value for m in (*self.known, *self.read_as)]}; "
                    "train with pages that hold it, or say with read_as which known modality it is like"
                )

    def _numbers(
        self, page: Page, encoded: PageVectors, scores: NDArray[np.float32], names: Sequence[str]
    ) -> NDArray[np.float32]:
        if scores.shape != (len(page),):
            raise ShapeError(
                f"query {page.query_id!r}: got single-modal scores of shape {scores.shape}; allowed: ({len(page)},); "
                "give one score a result, NaN for no opinion"
            )
        if np.isinf(scores).any():
            index = int(np.isinf(scores).argmax())
            raise PageError(
                f"query {page.query_id!r}: results[{index}] {page.results[index].result_id!r}: got single-modal score "
                f"{scores[index]}; allowed: finite numbers, NaN for no opinion; mend the ranker"
            )
        modality = np.array([result.modality.value for result in page.results])
        reads = [self.read_as.get(result.modality, result.modality) for result in page.results]
        one_hot = np.array([[m is known for known in self.known] for m in reads], dtype=np.float32)
        one_hot = one_hot.reshape(len(page), len(self.known))
        raw = np.nan_to_num(scores, nan=0.0)
        match = match_numbers(page, encoded)
        parts = [
            one_hot,
            within_modality(scores, modality),
            one_hot * raw[:, None],
            match,
            *_support(scores, encoded, modality, [m.value for m in self.known]),
            feature_columns(page, names),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)


def within_modality(scores: NDArray[np.float32], modality: NDArray[np.str_]) -> NDArray[np.float32]:
    """Where a score stands among its own modality's: standardised, rank fraction (0 = best), distance to the best.

    No opinion stands at 0 standardised, at the last rank; equal scores share their mean rank.

    Shapes:
        scores: [n], NaN = no opinion; modality: [n]; return: [n, 3]
    """
    placed = np.zeros((len(scores), 3), dtype=np.float32)
    placed[:, 1] = 1.0
    for name in np.unique(modality):
        rows = np.flatnonzero((modality == name) & ~np.isnan(scores))
        if not len(rows):
            continue
        values = scores[rows].astype(np.float64)
        spread = values.std()
        placed[rows, 0] = (values - values.mean()) / spread if spread > 1e-9 else 0.0
        above = (values[None, :] > values[:, None]).sum(axis=1)
        same = (values[None, :] == values[:, None]).sum(axis=1) - 1
        placed[rows, 1] = (above + same / 2) / max(1, len(rows) - 1)
        placed[rows, 2] = values.max() - values
    return placed


def _support(
    scores: NDArray[np.float32], encoded: PageVectors, modality: NDArray[np.str_], known: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How like a result's text is to those that each modality's ranker puts on top, and that ranker's best score.

    The own text counts not; the softmax of the others' raw scores weighs them. Shapes: two [n, len(known)].
    """
    count = len(scores)
    likeness = encoded.text @ encoded.text.T
    support = np.zeros((count, len(known)), dtype=np.float32)
    best = np.zeros((count, len(known)), dtype=np.float32)
    for column, name in enumerate(known):
        rows = np.flatnonzero((modality == name) & ~np.isnan(scores))
        if not len(rows):
            continue
        best[:, column] = scores[rows].max()
        others = np.tile(scores[rows].astype(np.float64), (count, 1))
        others[rows, np.arange(len(rows))] = -np.inf
        # The maximum of the others, not of all: beside one far better result the weights would all be rounded to 0.
        top = others.max(axis=1, keepdims=True)
        weights = np.exp(others - np.where(np.isinf(top), 0.0, top))
        support[:, column] = (weights * likeness[:, rows]).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    return support, best
