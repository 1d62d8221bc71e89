"""Where to ask next when a trained ranker says how much it doubts each result.

Labels compare only on the page they share, so that the most doubtful results of a collection, one here and one there,
would teach little: what is chosen are pages, and of each page a part of every list.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.draws import as_written, drawn, half_up
from wholepage.annotation.selection import PAGE_SHARE, ListKey, check_rankings, drawn_from_strata, lists_of
from wholepage.annotation.strategies import Active
from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import Modality, Page, Ranking

_Doubt = dict[str, dict[str, float]]


def select_active(
    pages: Sequence[Page],
    rankings_by_modality: Sequence[Mapping[Modality, Ranking]],
    doubts: Sequence[NDArray[np.floating]],
    already: Mapping[str, Collection[str]],
    budget: int,
    seed: int,
    floor: float,
) -> dict[str, tuple[str, ...]]:
    """One round: the pages of most doubt, a third of each of their lists.

    First the part ``floor`` of the budget goes to pages drawn at random; of each of their lists, as far as nobody was
    asked about it, a third is taken as ``Concentrated`` would: the head and one of each stratum below. (With nothing
    asked before and a floor of 1 the choice is that of ``Concentrated``.) The rest goes to the other pages in order of
    the mean doubt of their results not asked about; of each list a third is taken, the most doubtful, at least one
    where one is left. Where the budget is more than a third of all that is left, the third becomes that share. Pages
    that no longer fit are passed over, so that a little may be left over.

    Depends on no order of pages or results. Equal doubts are put in order by a hash of the seed and the ids.

    Args:
        pages: each query once.
        rankings_by_modality: for each page the order of each modality's results.
        doubts: what the ranker does not know, 0 or more; values of results already asked about are not used.
        already: result ids asked about before, by query.
        budget: labels that may be bought.
        seed: of the draws; another for each round.
        floor: the part of the budget left to chance, from 0 to 1.
    Shapes:
        doubts: one array [len(page)] a page, in the page's own order
    Returns:
        Ids to ask about by query, in page order; only queries of which something is asked.
    Raises:
        ShapeError: not one array a page, or not one value a result.
        InputError: a doubt is NaN, infinite or below 0; a negative budget; a floor out of range; ``already`` names
            what is not there; a query comes twice.
        NoRanker: a modality has no order.
        DecodingError: a ranking is not a permutation of its modality's results.
    """
    if budget < 0 or not 0 <= floor <= 1:
        raise InputError(
            f"select_active: got budget={budget}, floor={floor!r}; allowed: 0 labels or more, a floor from 0 to 1; "
            "0.25 leaves a quarter to chance"
        )
    check_rankings(pages, rankings_by_modality, Active(1.0))
    doubt = _by_result(pages, doubts)
    _check_already(doubt, already)
    lists = lists_of(pages, rankings_by_modality)
    left = {key: tuple(i for i in ids if i not in already.get(key[0], ())) for key, ids in lists.items()}
    wanted = _wanted(lists, left, budget)
    by_page: dict[str, list[ListKey]] = {}
    for key in wanted:
        by_page.setdefault(key[0], []).append(key)
    costs = {query_id: sum(wanted[key] for key in keys) for query_id, keys in by_page.items()}
    means = {q: _mean([doubt[q][i] for key in keys for i in left[key]]) for q, keys in by_page.items()}
    in_turn = sorted(by_page, key=lambda query_id: drawn(seed, query_id))
    at_random = _fitting(in_turn, costs, math.floor(as_written(floor) * budget))
    rest = budget - sum(costs[query_id] for query_id in at_random)
    in_doubt = sorted((q for q in in_turn if q not in at_random), key=lambda query_id: -means[query_id])
    taken = at_random | _fitting(in_doubt, costs, rest)

    chosen: dict[str, tuple[str, ...]] = {}
    for page in (page for page in pages if page.query_id in taken):
        ids: set[str] = set()
        for key in by_page[page.query_id]:
            if page.query_id in at_random:
                ids.update(_by_chance(left[key], wanted[key], key, seed))
            else:
                ids.update(_most(left[key], wanted[key], doubt[page.query_id], page.query_id, seed))
        chosen[page.query_id] = tuple(result_id for result_id in page.result_ids if result_id in ids)
    return chosen


def _wanted(
    lists: Mapping[ListKey, tuple[str, ...]], left: Mapping[ListKey, tuple[str, ...]], budget: int
) -> dict[ListKey, int]:
    """How many results of each list are taken, if its page is."""
    unasked = sum(map(len, left.values()))
    share = max(PAGE_SHARE, Fraction(min(budget, unasked), unasked or 1))
    return {key: min(len(left[key]), max(1, half_up(share * len(lists[key])))) for key in lists if left[key]}


def _by_chance(ids: tuple[str, ...], count: int, key: ListKey, seed: int) -> list[str]:
    draw = np.random.default_rng(drawn(seed, *key))
    return [ids[0], *drawn_from_strata(ids[1:], count - 1, draw)]


def _most(ids: Sequence[str], count: int, doubt: Mapping[str, float], query_id: str, seed: int) -> list[str]:
    return sorted(ids, key=lambda result_id: (-doubt[result_id], drawn(seed, query_id, result_id)))[:count]


def _fitting(order: Sequence[str], costs: Mapping[str, int], budget: int) -> set[str]:
    """The pages that fit into the budget one after another; one that does not is passed over."""
    fits = set()
    for query_id in order:
        if costs[query_id] <= budget:
            fits.add(query_id)
            budget -= costs[query_id]
    return fits


def _mean(values: Sequence[float]) -> Fraction:
    """Exact, so that pages whose results are all alike in doubt are equal whatever their length."""
    return sum(map(Fraction, values), Fraction(0)) / len(values)


def _by_result(pages: Sequence[Page], doubts: Sequence[NDArray[np.floating]]) -> _Doubt:
    if len(doubts) != len(pages):
        raise ShapeError(
            f"doubts: got {len(doubts)} arrays for {len(pages)} pages; allowed: one a page; in their order"
        )
    found: _Doubt = {}
    for page, given in zip(pages, doubts, strict=True):
        values = np.asarray(given, np.float64)
        if values.shape != (len(page),):
            raise ShapeError(
                f"doubts: query {page.query_id!r}: got shape {values.shape}; allowed: ({len(page)},); one a result"
            )
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"doubts: query {page.query_id!r}: got {values[at]} for {page.result_ids[at]!r}; allowed: finite "
                "numbers from 0 up; give the spread of an ensemble or the entropy of a posterior"
            )
        found[page.query_id] = dict(zip(page.result_ids, values.tolist(), strict=True))
    return found


def _check_already(known: Mapping[str, Mapping[str, float]], already: Mapping[str, Collection[str]]) -> None:
    for query_id, ids in already.items():
        strange = sorted(set(ids).difference(known.get(query_id, {})))
        if strange:
            raise InputError(
                f"select_active: query {query_id!r}: got {strange[:5]} as already asked about; allowed: results of the "
                "pages given; pass the pages that were asked about"
            )
