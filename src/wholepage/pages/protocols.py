"""The waist: everything that ranks is ``Page -> Ranking``; and the only place that sorts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import PageError, ShapeError
from wholepage.pages.judgments import Judgments, Question, Verdict
from wholepage.pages.model import Page, Ranking


@runtime_checkable
class Scorer(Protocol):
    """Gives every result of a page a number."""

    @property
    def name(self) -> str: ...

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """One array ``[len(page)]`` a page, higher is better, NaN = no opinion."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """Orders pages: the one method that all of wholepage speaks."""

    @property
    def name(self) -> str: ...

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, in the order of ``pages``; each a permutation of its page."""
        ...


@runtime_checkable
class Collection(Protocol):
    """Where pages come from."""

    @property
    def name(self) -> str: ...

    def pages(self, split: str) -> Iterator[Page]: ...

    def judgments(self, split: str) -> Judgments: ...


@runtime_checkable
class Annotator(Protocol):
    """Who answers questions: a person, a model, or a stand-in."""

    @property
    def name(self) -> str: ...

    def answer(self, question: Question) -> Verdict: ...


def ranking_of(page: Page, scores: NDArray[np.floating], by: str) -> Ranking:
    """Order one page by its scores.

    Equal scores keep the order received; results without opinion (NaN) come last, in the order received.

    Shapes:
        scores: [len(page)] float; NaN = no opinion
    Raises:
        ShapeError: not one score a result.
        PageError: a score is infinite.
    """
    if scores.shape != (len(page),):
        raise ShapeError(
            f"scorer {by!r} on query {page.query_id!r}: got scores of shape {scores.shape}; "
            f"allowed: ({len(page)},); return one score a result"
        )
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores.astype(np.float64)), kind="stable")
    values = [float(scores[i]) for i in order]
    return Ranking(
        page.query_id,
        tuple(page.results[i].result_id for i in order),
        tuple(None if math.isnan(value) else value for value in values),
        by,
    )


class _ByScore:
    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @property
    def name(self) -> str:
        return self.scorer.name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        scored = self.scorer.score(pages)
        if len(scored) != len(pages):
            raise ShapeError(
                f"scorer {self.name!r}: got {len(scored)} arrays for {len(pages)} pages; allowed: one a page; "
                "an empty page gets an empty array"
            )
        return [ranking_of(page, scores, self.name) for page, scores in zip(pages, scored, strict=True)]

    def __repr__(self) -> str:
        return f"by_score({self.scorer!r})"


def by_score(scorer: Scorer) -> Ranker:
    """Make a Ranker of a Scorer; ties keep the order received, NaN goes last."""
    return _ByScore(scorer)


def scores_on(page: Page, ranking: Ranking) -> NDArray[np.float32]:
    """A ranking's scores in the page's own order, so that rankings can be scorers again.

    When only the order is known, the scores are the negated ranks.

    Shapes:
        return: [len(page)] float32; NaN where the ranking has no opinion or does not hold the result
    Raises:
        PageError: the ranking is of another query.
    """
    if ranking.query_id != page.query_id:
        raise PageError(
            f"ranking by {ranking.by!r}: got query {ranking.query_id!r} for the page of {page.query_id!r}; allowed: "
            "the page's own; pair rankings and pages by query_id"
        )
    values = ranking.scores if ranking.scores is not None else [-float(r) for r in range(len(ranking))]
    known = dict(zip(ranking.result_ids, values, strict=True))
    found = [known.get(result_id) for result_id in page.result_ids]
    return np.array([math.nan if value is None else value for value in found], dtype=np.float32)
