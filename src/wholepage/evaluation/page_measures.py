"""How good the order of a whole page is: the measures no library has.

Pair accuracy says where an order is wrong, within a modality or between two; exposure says which modality gets the
attention, and whether the grades give it the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.measures import Evaluation, one_each
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking


class PairAccuracy(msgspec.Struct, frozen=True):
    """The share of differently graded pairs of one page that are in the right order; NaN = no such pair.

    Attributes:
        within: by modality, over the pairs of that modality.
        cross: by ``"text|image"`` (names in the order of ``Modality``), over the pairs of one of each.
        within_all, cross_all, overall: over all pairs of one modality, of two, and all.
    """

    within: dict[Modality, float]
    cross: dict[str, float]
    within_all: float
    cross_all: float
    overall: float


def pair_accuracy(ranking: Ranking, page: Page, grades: Mapping[str, float]) -> PairAccuracy:
    """How often, of two results people graded differently, the better one stands first: within and across modalities.

    Args:
        grades: by result id; results without one (or with NaN) are in no pair, grades of other pages' results unread.
    Raises:
        DecodingError: the ranking is not a permutation of the page.
    """
    pairs, rights = _pair_counts(ranking, page, grades)
    kinds = page.modalities
    within = {kind: _share(rights[a, a], pairs[a, a]) for a, kind in enumerate(kinds)}
    cross = {
        pair_name(kinds[a], kinds[b]): _share(rights[a, b] + rights[b, a], pairs[a, b] + pairs[b, a])
        for a in range(len(kinds))
        for b in range(a + 1, len(kinds))
    }
    in_one, all_right_in_one = int(np.trace(pairs)), int(np.trace(rights))
    return PairAccuracy(
        within,
        cross,
        within_all=_share(all_right_in_one, in_one),
        cross_all=_share(rights.sum() - all_right_in_one, pairs.sum() - in_one),
        overall=_share(rights.sum(), pairs.sum()),
    )


def cross_pairs(ranking: Ranking, page: Page, grades: Mapping[str, float]) -> tuple[int, int]:
    """How many differently graded pairs of two modalities are in the right order, and how many there are.

    Raises:
        DecodingError: the ranking is not a permutation of the page.
    """
    pairs, rights = _pair_counts(ranking, page, grades)
    return int(rights.sum() - np.trace(rights)), int(pairs.sum() - np.trace(pairs))


def pair_name(one: Modality, other: Modality) -> str:
    """The name of two modalities in ``PairAccuracy.cross``: ``"text|image"``, whichever comes first."""
    order = list(Modality)
    return "|".join(kind.value for kind in sorted((one, other), key=order.index))


def modality_exposure(ranking: Ranking, page: Page, *, k: int = 10) -> dict[Modality, float]:
    """How much of the page's attention each modality gets.

    Place r (from 1) of the first ``k`` is seen with weight 1 / log2(r + 1).

    Returns:
        Shares of the modalities on the page; their sum is 1, or nothing for an empty page.
    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: k is below 1.
    """
    place, _, modality = _columns(ranking, page, {})
    return _exposure_shares(page, modality, _discounts(len(page), k)[place])


def ideal_exposure(page: Page, grades: Mapping[str, float], *, k: int = 10) -> dict[Modality, float]:
    """How much attention each modality would get in the order of the grades.

    Equally graded results share the attention of the places they fill, as if each order of theirs were as likely.

    Args:
        grades: by result id; a result without one (or with NaN) counts as grade 0.
    Returns:
        Shares of the modalities on the page; their sum is 1, or nothing for an empty page.
    Raises:
        InputError: k is below 1.
    """
    grade, modality = _graded(page, grades)
    seen = _discounts(len(page), k)
    order = np.argsort(-np.nan_to_num(grade), kind="stable")
    _, tie, size = np.unique(-np.nan_to_num(grade), return_inverse=True, return_counts=True)
    shared = np.bincount(tie[order], weights=seen, minlength=len(size)) / size
    return _exposure_shares(page, modality, shared[tie])


def exposure_gap(ranking: Ranking, page: Page, grades: Mapping[str, float], *, k: int = 10) -> float:
    """How much attention would have to move between modalities to be where the grades put it.

    Returns:
        Half the sum of absolute differences of shares: 0 = as in the ideal order, 1 = all of it; NaN when no result of
        the page is graded.
    Raises:
        DecodingError: the ranking is not a permutation of the page.
        InputError: k is below 1.
    """
    given, ideal = modality_exposure(ranking, page, k=k), ideal_exposure(page, grades, k=k)
    if np.isnan(_graded(page, grades)[0]).all():
        return math.nan
    return math.fsum(abs(given[kind] - ideal[kind]) for kind in page.modalities) / 2


def evaluate_pages(
    rankings: Iterable[Ranking], pages: Iterable[Page], judgments: Judgments, *, k: int = 10
) -> Evaluation:
    """The measures of a whole page for each query: pair accuracies and the exposure gap.

    Named ``PairAccuracy``, ``PairAccuracy(within)``, ``PairAccuracy(cross)``, one for each modality and pair of
    modalities seen (``PairAccuracy(text)``, ``PairAccuracy(text|image)``), and ``ExposureGap@k``. Mean grades are taken
    as they are. A page where there is nothing to measure has NaN, which the means leave out.

    Raises:
        InputError: a page has no ranking, or a query two.
        DecodingError: a ranking is not a permutation of its page.
    """
    by_query = one_each(rankings)
    gap = f"ExposureGap@{k}"
    rows: dict[str, dict[str, float]] = {}
    for page in pages:
        if page.query_id not in by_query:
            raise InputError(
                f"rankings: got none of query {page.query_id!r}; allowed: one for each page; rank all pages"
            )
        ranking, grades = by_query[page.query_id], judgments.by_result(page.query_id)
        accuracy = pair_accuracy(ranking, page, grades)
        rows[page.query_id] = {
            "PairAccuracy": accuracy.overall,
            "PairAccuracy(within)": accuracy.within_all,
            "PairAccuracy(cross)": accuracy.cross_all,
            gap: exposure_gap(ranking, page, grades, k=k),
            **{f"PairAccuracy({kind.value})": value for kind, value in accuracy.within.items()},
            **{f"PairAccuracy({pair})": value for pair, value in accuracy.cross.items()},
        }
    kinds = list(Modality)
    parts = [kind.value for kind in kinds] + [pair_name(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :]]
    first = ["PairAccuracy", "PairAccuracy(within)", "PairAccuracy(cross)", gap]
    names = first + [name for part in parts if any((name := f"PairAccuracy({part})") in row for row in rows.values())]
    return Evaluation({name: {query: row.get(name, math.nan) for query, row in rows.items()} for name in names})


def _pair_counts(
    ranking: Ranking, page: Page, grades: Mapping[str, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs, and pairs in the right order, ``[kinds, kinds]``: modality of the better result by that of the worse."""
    place, grade, modality = _columns(ranking, page, grades)
    better = grade[:, None] > grade[None, :]  # False beside NaN
    right = better & (place[:, None] < place[None, :])
    belongs = (modality[:, None] == np.arange(len(page.modalities))).astype(np.int64)  # [results, kinds]
    pairs, rights = (belongs.T @ matrix.astype(np.int64) @ belongs for matrix in (better, right))
    return pairs, rights


def _graded(page: Page, grades: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Grade (NaN = none) and modality (its place in ``page.modalities``) of each result."""
    kinds = {kind: number for number, kind in enumerate(page.modalities)}
    grade = np.array([grades.get(result.result_id, math.nan) for result in page.results], dtype=np.float64)
    return grade, np.array([kinds[result.modality] for result in page.results], dtype=np.int64)


def _columns(
    ranking: Ranking, page: Page, grades: Mapping[str, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Place (from 0), grade and modality of each result."""
    positions = ranking.check(page).positions()
    place = np.array([positions[result_id] for result_id in page.result_ids], dtype=np.int64)
    return place, *_graded(page, grades)


def _discounts(length: int, k: int) -> NDArray[np.float64]:
    if k < 1:
        raise InputError(f"k: got {k}; allowed: 1 or more; it is the number of places that are seen")
    place = np.arange(length)
    return np.where(place < k, 1.0 / np.log2(place + 2.0), 0.0)


def _exposure_shares(page: Page, modality: NDArray[np.int64], seen: NDArray[np.float64]) -> dict[Modality, float]:
    kinds = page.modalities
    sums = np.bincount(modality, weights=seen, minlength=len(kinds))
    return {kind: float(sums[number] / sums.sum()) for number, kind in enumerate(kinds)}


def _share(right: int, pairs: int) -> float:
    return float(right / pairs) if pairs else math.nan
