"""Does the page keep the orders of the single-modal rankers, and where it does not, is it better for it?

Of each modality the results of the page are compared in two orders: the page's, and that modality's own ranker's.
Results that the ranker did not rank are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import weightedtau

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import Modality, Page, Ranking

Ties = Literal["order", "scores"]


class Inversions(NamedTuple):
    """Pairs of one modality that the page orders otherwise than that modality's ranker.

    Attributes:
        pairs: of one modality, compared.  inverted: of them, in the other order.
        told: of the inverted, with two different grades.  helped: of these, the better result was moved up.
    """

    pairs: int
    inverted: int
    told: int
    helped: int

    @property
    def helping_share(self) -> float:
        """Of the inversions that grades can tell about, the share that helped; NaN when there is none."""
        return self.helped / self.told if self.told else float("nan")


def tau_ap(places: ArrayLike) -> float:
    """Kendall's tau with the weight on top: of a random result below the first, are those above it rightly above?

    Not symmetric: the first list is the one whose top counts.

    Args:
        places: of the judged list's results from its top, the place each has in the reference; all different.
    Shapes:
        places: [results]
    Returns:
        1 = the same order, -1 = turned round; NaN for less than two results.
    Raises:
        InputError: two places are equal.
    Source: Yilmaz, Aslam and Robertson, SIGIR 2008.
    """
    given = _distinct(places)
    if len(given) < 2:
        return float("nan")
    right = np.tril(given[None, :] < given[:, None], -1).sum(axis=1)[1:]
    return float(2.0 * (right / np.arange(1, len(given))).mean() - 1.0)


def weighted_tau(places: ArrayLike) -> float:
    """Kendall's tau with hyperbolic additive weights, the mean over both lists as the first, as scipy computes it.

    Args:
        places: of the judged list's results from its top, the place each has in the reference.
    Shapes:
        places: [results]
    Returns:
        1 = the same order, -1 = turned round; NaN for less than two results.
    Source: Vigna, WWW 2015.
    """
    given = np.asarray(places, dtype=np.float64)
    if len(given) < 2:
        return float("nan")
    return float(weightedtau(-np.arange(len(given), dtype=np.float64), -given).statistic)


def rbo(one: ArrayLike, other: ArrayLike, *, p: float = 0.9) -> float:
    """Rank-biased overlap of two orders of the same results, extrapolated.

    Equal places are ties: tied results come in together, at the place that the first of them takes, and the agreement
    at a depth is twice the overlap over the sizes of both tops (Webber's treatment). As both lists hold the same
    results, all is known and extrapolation adds the agreement of 1 beyond the end.

    Args:
        one, other: the place of each result in the two lists, from 0; equal = tied.
        p: patience, between 0 and 1.
    Shapes:
        one, other: [results]
    Returns:
        From 0 to 1 = the same order; NaN without results.
    Raises:
        ShapeError: the lengths differ.
        InputError: p is not between 0 and 1.
    Source: Webber, Moffat and Zobel, TOIS 2010.
    """
    first, second = _first_places(one), _first_places(other)
    if first.shape != second.shape:
        raise ShapeError(f"rbo: got {first.shape} and {second.shape}; allowed: a place in both lists for each result")
    if not 0 < p < 1:
        raise InputError(f"rbo: got p={p}; allowed: between 0 and 1; it is the probability of looking further")
    if not len(first):
        return float("nan")
    depths = np.arange(len(first))
    in_first, in_second = first[None, :] <= depths[:, None], second[None, :] <= depths[:, None]
    shared = (in_first & in_second).sum(axis=1)
    agreement = 2.0 * shared / (in_first.sum(axis=1) + in_second.sum(axis=1))
    return float((1.0 - p) * (agreement * p**depths).sum() + agreement[-1] * p ** len(first))


def inversions(ranking: Ranking, page: Page, single: Sequence[Ranking], grades: Mapping[str, float]) -> Inversions:
    """Which pairs of one modality the page turned round, and how many of them to the good.

    Args:
        single: rankings of one modality each, as ``page.only(modality)`` was ranked.
        grades: by result id; pairs with an ungraded result are told nothing about.
    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: a single ranking is of another query or of several modalities, or two are of one modality.
    """
    counts = np.zeros(4, dtype=np.int64)
    for kept, reference in shared_orders(ranking, page, single):
        theirs = reference.positions()
        place = np.array([theirs[result_id] for result_id in kept])
        grade = np.array([grades.get(result_id, np.nan) for result_id in kept])
        above = np.triu(np.ones((len(kept), len(kept)), dtype=bool), 1)
        turned = above & (place[:, None] > place[None, :])
        better, worse = grade[:, None] > grade[None, :], grade[:, None] < grade[None, :]
        counts += [above.sum(), turned.sum(), (turned & (better | worse)).sum(), (turned & better).sum()]
    return Inversions(*map(int, counts))


def page_tau_ap(ranking: Ranking, page: Page, single: Sequence[Ranking]) -> float:
    """Mean over modalities of ``tau_ap`` of the page's order against that modality's ranker; NaN = nothing to compare.

    The order of each ranker is taken as it is: equal scores are no ties here.

    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: a single ranking is of another query or of several modalities, or two are of one modality.
    """
    return _mean([tau_ap(_reference_places(*pair)) for pair in shared_orders(ranking, page, single)])


def page_weighted_tau(ranking: Ranking, page: Page, single: Sequence[Ranking]) -> float:
    """Mean over modalities of ``weighted_tau`` against that modality's ranker; NaN = nothing to compare.

    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: a single ranking is of another query or of several modalities, or two are of one modality.
    """
    return _mean([weighted_tau(_reference_places(*pair)) for pair in shared_orders(ranking, page, single)])


def page_rbo(ranking: Ranking, page: Page, single: Sequence[Ranking], *, p: float = 0.9, ties: Ties = "order") -> float:
    """Mean over modalities of ``rbo`` against that modality's ranker; NaN = nothing to compare.

    Args:
        ties: ``order`` = the ranker's order as it is; ``scores`` = results of equal score of that ranker are tied (a
            ranker without scores has no ties).
    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: a single ranking is of another query or of several modalities, two are of one modality, or p is
            not between 0 and 1.
    """
    found = []
    for kept, reference in shared_orders(ranking, page, single):
        if len(kept) < 2:
            continue
        places = _reference_places(kept, reference)
        if ties == "scores" and reference.scores is not None:
            scores = dict(zip(reference.result_ids, reference.scores, strict=True))
            told = [-np.inf if scores[i] is None else float(scores[i] or 0.0) for i in kept]
            places = -np.array(told)
        found.append(rbo(np.arange(len(kept)), places, p=p))
    return _mean(found)


def shared_orders(ranking: Ranking, page: Page, single: Sequence[Ranking]) -> list[tuple[tuple[str, ...], Ranking]]:
    """For each single ranking: the results that it and the page share, in the page's order, and the ranking itself.

    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: a single ranking is of another query or of several modalities, or two are of one modality.
    """
    kinds = {result.result_id: result.modality for result in page.results}
    order = ranking.check(page).result_ids
    pairs: list[tuple[tuple[str, ...], Ranking]] = []
    seen: set[Modality] = set()
    for one in single:
        of = {kinds[result_id] for result_id in one.result_ids if result_id in kinds}
        if one.query_id != page.query_id or len(of) > 1 or of & seen:
            raise InputError(
                f"single rankings of {page.query_id!r}: got one by {one.by!r} of query {one.query_id!r} with "
                f"{sorted(of) or 'no'} results of the page; allowed: of this query, one ranking a modality; rank "
                "page.only(modality)"
            )
        seen |= of
        theirs = set(one.result_ids)
        pairs.append((tuple(result_id for result_id in order if result_id in theirs), one))
    return pairs


def _reference_places(kept: Sequence[str], reference: Ranking) -> NDArray[np.float64]:
    theirs = reference.positions()
    return np.array([theirs[result_id] for result_id in kept], dtype=np.float64)


def _first_places(places: ArrayLike) -> NDArray[np.int64]:
    """Where each result comes in: how many results stand strictly above it."""
    given = np.asarray(places, dtype=np.float64)
    return np.searchsorted(np.sort(given), given, side="left")


def _distinct(places: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(places, dtype=np.float64)
    if len(np.unique(given)) != len(given):
        raise InputError(f"places: got ties among {len(given)}; allowed: all different; break ties, or use rbo")
    return given


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
