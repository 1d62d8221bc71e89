"""What a ranker's scores say about relevance: a probability, told without looking at the query it is told of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from wholepage.evaluation.reliability import ReliabilityReport, reliability
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking


class ScoredResults(msgspec.Struct, frozen=True):
    """The scored, graded results of several pages, flattened.

    Attributes:
        scores, relevant, modality, query: of each result; ``query`` counts the pages used, in the order of their ids.
        queries: how many pages were used.
        unscored: graded results that the ranker had no opinion on.
    Shapes:
        scores, relevant, modality, query: [n]
    """

    scores: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    modality: tuple[str, ...]
    query: NDArray[np.int64]
    queries: int
    unscored: int


def scored_results(
    rankings: Sequence[Ranking], pages: Sequence[Page], judgments: Judgments, *, relevant_from: float
) -> ScoredResults:
    """The scores of graded results; rankings without scores and results without opinion are left out.

    Args:
        relevant_from: the grade from which a result counts as relevant.
    """
    by_query = {ranking.query_id: ranking for ranking in rankings}
    rows: list[tuple[float, bool, str, int]] = []
    unscored = used = 0
    for page in sorted(pages, key=lambda one: _shuffle_key(one.query_id)):
        ranking = by_query.get(page.query_id)
        grades = judgments.by_result(page.query_id)
        if ranking is None or not grades:
            continue
        scores = dict(zip(ranking.result_ids, ranking.scores or [None] * len(ranking), strict=True))
        before = len(rows)
        for result in page.results:
            if result.result_id in grades:
                score = scores.get(result.result_id)
                if score is None:
                    unscored += 1
                else:
                    rows.append((score, grades[result.result_id] >= relevant_from, result.modality.value, used))
        used += len(rows) > before
    values, hits, kinds, queries = zip(*rows, strict=True) if rows else ((), (), (), ())
    return ScoredResults(
        np.array(values, np.float64), np.array(hits, bool), tuple(kinds), np.array(queries, np.int64), used, unscored
    )


def calibrated(found: ScoredResults, *, folds: int = 5) -> NDArray[np.float64]:
    """P(relevant | score) of each result, from the results of other queries alone and whatever their modality.

    The rising step function of the score that fits the other queries best (isotonic regression), straight between its
    points. As one map serves all modalities, what remains is how far equal scores of two modalities differ in meaning.

    Args:
        folds: parts that the queries are cut into; each is told from the others.
    Shapes:
        returns: [n]
    Raises:
        InputError: fewer than two queries, or fewer than two folds.
    Source: Zadrozny and Elkan 2002, Transforming classifier scores into accurate multiclass probability estimates.
    """
    if found.queries < 2 or folds < 2:
        raise InputError(
            f"calibrated: got {found.queries} queries in {folds} folds; allowed: 2 or more each; measure more queries"
        )
    told = np.zeros(len(found.scores))
    fold = found.query % min(folds, found.queries)
    for part in range(min(folds, found.queries)):
        mine = fold == part
        x, place, count = np.unique(found.scores[~mine], return_inverse=True, return_counts=True)
        share = np.bincount(place, weights=found.relevant[~mine], minlength=len(x)) / count
        fitted = isotonic_regression(share, weights=count).x
        told[mine] = np.interp(found.scores[mine], x, fitted)
    return np.clip(told, 0.0, 1.0)


def score_reliability(found: ScoredResults, *, bins: int = 10) -> ReliabilityReport:
    """Reliability of the scores after ``calibrated``: of all results, and of each modality.

    Raises:
        InputError: fewer than two queries with scored, graded results.
    """
    return reliability(calibrated(found), found.relevant, found.modality, bins=bins)


def probability_reliability(found: ScoredResults, *, bins: int = 10) -> ReliabilityReport:
    """Reliability of scores that are probabilities already.

    Raises:
        InputError: no scored, graded result, or a score outside of [0, 1].
    """
    return reliability(found.scores, found.relevant, found.modality, bins=bins)


def _shuffle_key(query_id: str) -> bytes:
    """An order of queries that has nothing to do with how their ids were given."""
    return hashlib.sha256(query_id.encode("utf-8", "surrogatepass")).digest()
