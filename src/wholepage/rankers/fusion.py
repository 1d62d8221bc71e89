"""Baselines of a whole page: one order out of the scores of single-modal rankers.

All of them look at one page at a time, break ties by the order received, and put what nobody scored last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, NoRanker, ShapeError, require
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of

Missing = Literal["raise", "last"]


class SingleModal:
    """Scores each result by the scorer of its modality, shown only the results of that modality.

    The scores are as they come: numbers of different modalities are not comparable.

    Args:
        scorers: one a modality.
        missing: what a result of a modality without scorer gets: ``"raise"`` NoRanker, or NaN and so the last places.
    Raises:
        InputError: ``missing`` is something else.
    """

    def __init__(self, scorers: Mapping[Modality, Scorer], missing: Missing = "raise") -> None:
        if missing not in ("raise", "last"):
            raise InputError(f"SingleModal: got missing={missing!r}; allowed: 'raise' or 'last'; choose one")
        self.scorers = {modality: scorers[modality] for modality in Modality if modality in scorers}
        self.missing: Missing = missing

    @property
    def name(self) -> str:
        return f"single({', '.join(f'{m.value}={s.name}' for m, s in self.scorers.items())})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Raw scores ``[len(page)]`` a page, NaN = no opinion.

        Raises:
            NoRanker: a page holds a modality that has no scorer.
            ShapeError: a scorer did not give one score a result.
        """
        scores = [np.full(len(page), np.nan, dtype=np.float32) for page in pages]
        if self.missing == "raise":
            self._check_covered(pages)
        for modality, scorer in self.scorers.items():
            rows = [i for i, page in enumerate(pages) if modality in page.modalities]
            parts = [pages[i].only(modality) for i in rows]
            given = scorer.score(parts) if parts else []
            if [array.shape for array in given] != [(len(part),) for part in parts]:
                raise ShapeError(
                    f"scorer {scorer.name!r}: got shapes {[array.shape for array in given][:5]} for pages of "
                    f"{[len(part) for part in parts][:5]} {modality.value} results; allowed: one score a result"
                )
            for i, values in zip(rows, given, strict=True):
                scores[i][[result.modality is modality for result in pages[i].results]] = values
        return scores

    def _check_covered(self, pages: Sequence[Page]) -> None:
        for page in pages:
            for i, result in enumerate(page.results):
                if result.modality not in self.scorers:
                    raise NoRanker(
                        f"query {page.query_id!r}: results[{i}] {result.result_id!r}: got modality "
                        f"{result.modality.value!r}; allowed: {[m.value for m in self.scorers]}; "
                        "add a scorer for it, or place such results last with missing='last'"
                    )


class _Merge:
    """A Ranker (and Scorer) over raw single-modal scores; subclasses say how the numbers become comparable."""

    spec = ""

    def __init__(self, single: Scorer) -> None:
        self.single = single

    @property
    def name(self) -> str:
        return f"{self.spec}({self.single.name})"

    def __repr__(self) -> str:
        return self.name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Merged scores ``[len(page)]`` a page, NaN = no opinion."""
        return [scores.astype(np.float32) for scores in self._merged(pages)]

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, by the merged scores in full precision."""
        merged = self._merged(pages)
        return [ranking_of(page, scores, self.name) for page, scores in zip(pages, merged, strict=True)]

    def _merged(self, pages: Sequence[Page]) -> list[NDArray[np.float64]]:
        raw = self.single.score(pages)
        return [self._merge(page, scores.astype(np.float64)) for page, scores in zip(pages, raw, strict=True)]

    def _merge(self, page: Page, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        merged = np.full(len(page), np.nan)
        for modality, rows in _scored_rows(page, raw):
            merged[rows] = self._comparable(page, modality, raw[rows])
        return merged

    def _comparable(self, page: Page, modality: Modality, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores


class RawMerge(_Merge):
    """Merges by the raw scores, as if they were comparable."""

    spec = "raw"


class ZScoreMerge(_Merge):
    """Merges by how many standard deviations a score lies above the mean of its modality on the page.

    Population deviation; a modality with one result or without spread gets 0.
    """

    spec = "zscore"

    def _comparable(self, page: Page, modality: Modality, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if np.ptp(scores) == 0:
            return np.zeros_like(scores)
        return np.asarray((scores - scores.mean()) / scores.std())


class MinMaxMerge(_Merge):
    """Merges by where a score lies between the least (0) and greatest (1) of its modality on the page.

    A modality with one result or without spread gets 0.5.
    """

    spec = "minmax"

    def _comparable(self, page: Page, modality: Modality, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if np.ptp(scores) == 0:
            return np.full_like(scores, 0.5)
        return np.asarray((scores - scores.min()) / np.ptp(scores))


class ReciprocalRankFusion(_Merge):
    """Merges by 1 / (k + rank within the modality), rank from 1.

    Args:
        single: raw scores.  k: how little the first ranks stand out.
    Raises:
        InputError: ``k`` is negative.
    Source: Cormack, Clarke, Büttcher, SIGIR 2009 (k = 60).
    """

    def __init__(self, single: Scorer, k: float = 60.0) -> None:
        if not k >= 0:
            raise InputError(f"ReciprocalRankFusion: got k={k}; allowed: 0 or more; 60 is usual")
        super().__init__(single)
        self.k = k

    @property
    def name(self) -> str:
        return f"rrf(k={self.k:g})({self.single.name})"

    def _comparable(self, page: Page, modality: Modality, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / (self.k + 1.0 + _ranks(scores)))


class RoundRobin(_Merge):
    """Takes the best of each modality in turn, then the second best; modalities in the order of ``Modality``."""

    spec = "round-robin"

    def _merge(self, page: Page, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        merged = np.full(len(page), np.nan)
        for turn, (_, rows) in enumerate(_scored_rows(page, raw)):
            merged[rows] = -(_ranks(raw[rows]) * len(Modality) + turn)
        return merged


class IsotonicMerge(_Merge):
    """Merges by the grade expected at a raw score, learned per modality (isotonic regression, pooled over queries).

    Results that the step function makes equal keep the order of their raw scores within a modality; across modalities
    the one higher in its own list goes first.

    Args:
        single: raw scores.
        read_as: a modality that is not graded in ``fit`` -> the one whose curve it is read from.
    Raises:
        MissingExtra: scikit-learn is not installed.
    """

    spec = "isotonic"

    def __init__(self, single: Scorer, read_as: Mapping[Modality, Modality] | None = None) -> None:
        super().__init__(single)
        self.read_as = dict(read_as or {})
        self._library: Any = require("sklearn.isotonic", "train")
        self._curves: dict[Modality, Any] = {}

    def fit(
        self, pages: Sequence[Page], judgments: Judgments, scores: Sequence[NDArray[np.float32]] | None = None
    ) -> IsotonicMerge:
        """Learn from every graded result that has a raw score.

        Args:
            scores: raw scores of these pages to learn from (out of fold, where ``single`` has seen them); None = ask.
        Returns:
            Itself.
        Raises:
            InputError: no result is graded.
        """
        points: dict[Modality, list[tuple[float, float]]] = {modality: [] for modality in Modality}
        given = self.single.score(pages) if scores is None else scores
        for page, raw in zip(pages, given, strict=True):
            graded = judgments.by_result(page.query_id)
            for result, score in zip(page.results, raw, strict=True):
                if result.result_id in graded and not np.isnan(score):
                    points[result.modality].append((float(score), graded[result.result_id]))
        self._curves = {}
        for modality, pairs in points.items():
            if pairs:
                scores, grades = np.array(sorted(pairs)).T  # sorted: the same sums in any order of pages
                self._curves[modality] = self._library.IsotonicRegression(out_of_bounds="clip").fit(scores, grades)
        if not self._curves:
            raise InputError(
                f"{self.name}: got no graded result with a score on {len(pages)} pages; allowed: one at least; "
                "buy judgments for these queries"
            )
        return self

    def _merge(self, page: Page, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        expected = super()._merge(page, raw)
        levels = np.unique(expected[~np.isnan(expected)])
        step = float(np.diff(levels).min()) if len(levels) > 1 else 1.0
        for _, rows in _scored_rows(page, raw):
            # less than half of the smallest step between levels: orders equals, moves nothing past another level
            expected[rows] -= 0.5 * step * _ranks(raw[rows]) / len(page)
        return expected

    def _comparable(self, page: Page, modality: Modality, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        read = modality if modality in self._curves else self.read_as.get(modality, modality)
        if read not in self._curves:
            raise InputError(
                f"{self.name}: query {page.query_id!r}: got {modality.value!r} results; allowed: "
                f"{[m.value for m in self._curves]}, the modalities with grades in fit; call fit with grades for them"
            )
        return np.asarray(self._curves[read].predict(scores), dtype=np.float64)


def _scored_rows(page: Page, raw: NDArray[np.float64]) -> Iterator[tuple[Modality, NDArray[np.intp]]]:
    """The rows of each modality present that have a score."""
    for modality in page.modalities:
        same = np.array([result.modality is modality for result in page.results])
        rows = np.flatnonzero(same & ~np.isnan(raw))
        if len(rows):
            yield modality, rows


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each score, 0 = best; equal scores in the order received."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
