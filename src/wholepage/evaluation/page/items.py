"""Measures of a list of results, as trec_eval defines them, over many pages at once.

They equal pytrec_eval and ir_measures (``tests/evaluation/page``), and need neither dictionaries nor a value a query at
a time. As in trec_eval, a query without relevant result has 0, an unjudged result counts as grade 0, and results that
are judged but not ranked count in the ideal order and among the relevant ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.ratios import ratio
from wholepage.pages.errors import InputError

Discounting = Literal["log2", "exp-log2"]
_ROWS = 4096  # rows at a time: what one pass touches stays in the cache


def ndcg(pages: GradedPages, *, k: int | None = None, dcg: Discounting = "log2") -> NDArray[np.float64]:
    """Discounted gain of the order over that of the ideal order; place r (from 1) counts 1 / log2(r + 1).

    Args:
        k: places that count, in both orders; all without it.
        dcg: ``log2`` = the grade is the gain (trec_eval); ``exp-log2`` = 2 ** grade - 1 is (gdeval, not rounded here).
    Returns:
        [n] from 0 to 1; 0 for a query without a grade above 0.
    Raises:
        InputError: k is below 1.
    """
    _check(k)
    gain = _GAINS[dcg]
    found = np.zeros(len(pages))
    for rows in _slices(len(pages)):
        given, ideal = gain(np.nan_to_num(pages.grades[rows, :k])), gain(pages.ideal[rows, :k])
        best = (ideal * _discounts(ideal.shape[1])).sum(axis=1)
        found[rows] = ratio((given * _discounts(given.shape[1])).sum(axis=1), best, empty=0.0)
    return found


def precision(pages: GradedPages, *, k: int, rel: float = 1.0) -> NDArray[np.float64]:
    """The share of the first k places that hold a relevant result; places that a short list leaves empty count.

    Args:
        rel: the least grade that is relevant.
    Returns:
        [n]
    Raises:
        InputError: k is below 1, or rel not above 0.
    """
    _check(k, rel)
    return np.asarray((pages.grades[:, :k] >= rel).sum(axis=1) / k)


def recall(pages: GradedPages, *, k: int, rel: float = 1.0) -> NDArray[np.float64]:
    """The share of the relevant results that stand in the first k places; 0 when none is relevant.

    Args:
        rel: the least grade that is relevant.
    Returns:
        [n]
    Raises:
        InputError: k is below 1, or rel not above 0.
    """
    _check(k, rel)
    return ratio((pages.grades[:, :k] >= rel).sum(axis=1), relevant(pages, rel=rel), empty=0.0)


def reciprocal_rank(pages: GradedPages, *, k: int | None = None, rel: float = 1.0) -> NDArray[np.float64]:
    """One over the place (from 1) of the first relevant result; 0 when none is within k.

    Args:
        k: places looked at; all without it.
        rel: the least grade that is relevant.
    Returns:
        [n]
    Raises:
        InputError: k is below 1, or rel not above 0.
    """
    _check(k, rel)
    hits = pages.grades[:, :k] >= rel
    if not hits.shape[1]:
        return np.zeros(len(pages))
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1.0), 0.0)


def average_precision(pages: GradedPages, *, k: int | None = None, rel: float = 1.0) -> NDArray[np.float64]:
    """Mean over the relevant results of the precision at their places; one that is not within k adds 0.

    Args:
        k: places looked at; all without it. The number of relevant results is not cut.
        rel: the least grade that is relevant.
    Returns:
        [n]; 0 when none is relevant.
    Raises:
        InputError: k is below 1, or rel not above 0.
    """
    _check(k, rel)
    sums = np.zeros(len(pages))
    share = 1.0 / np.arange(1, pages.grades[:, :k].shape[1] + 1)
    for rows in _slices(len(pages)):
        hits = pages.grades[rows, :k] >= rel
        sums[rows] = np.where(hits, np.cumsum(hits, axis=1, dtype=np.int32) * share, 0.0).sum(axis=1)
    return ratio(sums, relevant(pages, rel=rel), empty=0.0)


def success(pages: GradedPages, *, k: int, rel: float = 1.0) -> NDArray[np.float64]:
    """1 where a relevant result stands in the first k places, else 0.

    Args:
        rel: the least grade that is relevant.
    Returns:
        [n]
    Raises:
        InputError: k is below 1, or rel not above 0.
    """
    _check(k, rel)
    return np.asarray((pages.grades[:, :k] >= rel).any(axis=1), dtype=np.float64)


def judged_share(pages: GradedPages, *, k: int | None = None) -> NDArray[np.float64]:
    """The share of the first k results that somebody judged; a list shorter than k is asked about all it has.

    Returns:
        [n]; NaN for an empty list.
    Raises:
        InputError: k is below 1.
    """
    _check(k)
    looked = pages.lengths if k is None else np.minimum(pages.lengths, k)
    counts = (~np.isnan(pages.grades[:, :k])).sum(axis=1)
    return ratio(counts, looked, empty=np.nan)


def relevant(pages: GradedPages, *, rel: float = 1.0) -> NDArray[np.int64]:
    """How many results of the query are relevant, ranked or not.

    Returns:
        [n]
    Raises:
        InputError: rel is not above 0.
    """
    _check(None, rel)
    return np.asarray((pages.ideal >= rel).sum(axis=1), dtype=np.int64)


_GAINS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "log2": lambda grades: grades,
    "exp-log2": lambda grades: np.exp2(grades) - 1.0,
}


def _discounts(places: int) -> NDArray[np.float64]:
    return np.asarray(1.0 / np.log2(np.arange(places) + 2.0))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


def _check(k: int | None, rel: float = 1.0) -> None:
    if k is not None and k < 1:
        raise InputError(f"k: got {k}; allowed: 1 or more; it is the number of places that count")
    if not rel > 0:
        raise InputError(f"rel: got {rel}; allowed: above 0; it is the least grade that is relevant")
