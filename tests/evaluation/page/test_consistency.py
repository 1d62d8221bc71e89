"""Orders of one modality on the page and alone, by hand, by the words of the definitions, and beside other code."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, weightedtau

from wholepage.evaluation.page import consistency as same
from wholepage.pages.errors import DecodingError, InputError, ShapeError
from wholepage.pages.model import Page, Ranking

MakePage = Callable[[str, str], Page]
ORDER = st.integers(2, 9).flatmap(lambda n: st.permutations(range(n)))


@given(ORDER)
def test_tau_ap_is_what_its_words_say(order: list[int]) -> None:
    shares = [np.mean([order[j] < order[i] for j in range(i)]) for i in range(1, len(order))]
    assert same.tau_ap(order) == pytest.approx(2 * np.mean(shares) - 1, abs=1e-12)


def test_tau_ap_by_hand() -> None:
    assert same.tau_ap([0, 1, 2, 3]) == 1.0
    assert same.tau_ap([3, 2, 1, 0]) == -1.0
    # The same swap costs more on top: shares 0, 1, 1 against 1, 1, 2/3.
    assert same.tau_ap([1, 0, 2, 3]) == pytest.approx(2 * (2 / 3) - 1)
    assert same.tau_ap([0, 1, 3, 2]) == pytest.approx(2 * (8 / 9) - 1)
    assert np.isnan(same.tau_ap([0]))
    with pytest.raises(InputError, match="ties"):
        same.tau_ap([0, 0, 1])


def test_tau_ap_is_kendalls_tau_on_the_average_over_random_orders() -> None:
    random = np.random.default_rng(3)
    orders = [random.permutation(6) for _ in range(1000)]
    ours = np.array([same.tau_ap(order) for order in orders])
    plain = np.array([kendalltau(np.arange(6), order).statistic for order in orders])
    assert abs((ours - plain).mean()) < 4 * (ours - plain).std() / len(orders) ** 0.5


@given(ORDER)
def test_weighted_tau_is_scipys_with_the_top_first(order: list[int]) -> None:
    scores = [100.0 - place for place in range(len(order))]
    theirs = weightedtau(scores, [50.0 - place for place in order], rank=True).statistic
    assert same.weighted_tau(order) == pytest.approx(theirs, abs=1e-12)
    assert same.weighted_tau(range(len(order))) == pytest.approx(1.0)


def by_words(one: list[int], other: list[int], p: float) -> float:
    """Rank-biased overlap over so many depths that what is left cannot be seen; after the end agreement is 1."""
    total = 0.0
    for depth in range(1, 300):
        tops = ({i for i, x in enumerate(of) if sum(y < x for y in of) < depth} for of in (one, other))
        a, b = tops
        total += (1 - p) * p ** (depth - 1) * 2 * len(a & b) / (len(a) + len(b))
    return total


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)))
def test_rbo_with_ties_is_what_its_words_say(lists: Any) -> None:
    for p in (0.5, 0.9):
        assert same.rbo(*lists, p=p) == pytest.approx(by_words(*lists, p=p), abs=1e-12)


def test_rbo_equals_the_package_rbo() -> None:
    rbo = pytest.importorskip("rbo", reason="the package rbo is not installed: nothing to compare with")
    random = np.random.default_rng(5)
    for size in (1, 2, 7, 30):
        order = random.permutation(size)
        theirs = rbo.RankingSimilarity(list(range(size)), order.tolist()).rbo_ext(p=0.8)
        assert same.rbo(np.arange(size), np.argsort(order), p=0.8) == pytest.approx(theirs, abs=1e-9)


def test_rbo_by_hand_and_refused() -> None:
    assert same.rbo([0, 1], [1, 0], p=0.5) == pytest.approx(0.5)  # agreement 0, then 1: .5 * .5 + .25
    assert same.rbo([0, 1], [0, 0], p=0.5) == pytest.approx(0.5 * 2 / 3 + 0.5)  # tied: 1 of 3, then all
    assert np.isnan(same.rbo([], []))
    with pytest.raises(InputError, match="p=1"):
        same.rbo([0], [0], p=1.0)
    with pytest.raises(ShapeError, match="rbo"):
        same.rbo([0], [0, 1])


def test_inversions_by_hand(page: MakePage) -> None:
    one = page("q", "tttii")
    shown = Ranking("q", ("r2", "r4", "r0", "r3", "r1"))
    alone = [Ranking("q", ("r0", "r1", "r2")), Ranking("q", ("r3", "r4", "elsewhere"))]
    # Turned: (r2, r0), (r2, r1) of the texts and (r4, r3) of the images.
    grades = {"r0": 1.0, "r1": 3.0, "r2": 2.0, "r4": 2.0}
    found = same.inversions(shown, one, alone, grades)
    assert found == same.Inversions(pairs=4, inverted=3, told=2, helped=1)
    assert found.helping_share == 0.5
    assert np.isnan(same.inversions(shown, one, alone, {}).helping_share)


def test_inversions_are_what_their_words_say(thousand: Any) -> None:
    random = np.random.default_rng(0)
    for page, shown in list(zip(thousand.pages, thousand.rankings, strict=True))[:60]:
        alone = [
            Ranking(page.query_id, tuple(random.permutation(page.only(kind).result_ids).tolist()))
            for kind in page.modalities
        ]
        grades = {i: float(g) for i, g in thousand.qrels[page.query_id].items()}
        place = shown.positions()
        counts = [0, 0, 0, 0]
        for ranking in alone:
            for upper, lower in combinations(ranking.result_ids, 2):
                turned = place[upper] > place[lower]
                told = turned and upper in grades and lower in grades and grades[upper] != grades[lower]
                steps = (True, turned, told, told and grades[lower] > grades[upper])
                counts = [c + s for c, s in zip(counts, steps, strict=True)]
        assert same.inversions(shown, page, alone, grades) == same.Inversions(*counts)


def test_pages_against_their_rankers(page: MakePage) -> None:
    one = page("q", "tttiiv")
    shown = Ranking("q", ("r3", "r1", "r0", "r5", "r4", "r2"))
    alone = [
        Ranking("q", ("r0", "r1", "r2"), (3.0, 3.0, 1.0)),
        Ranking("q", ("r3", "r4"), (1.0, None)),
        Ranking("q", ("r5",)),
    ]
    assert same.page_tau_ap(shown, one, alone) == pytest.approx((same.tau_ap([1, 0, 2]) + 1) / 2)
    assert same.page_weighted_tau(shown, one, alone) == pytest.approx((same.weighted_tau([1, 0, 2]) + 1) / 2)
    in_order = (same.rbo([0, 1, 2], [1, 0, 2]) + 1) / 2
    assert same.page_rbo(shown, one, alone) == pytest.approx(in_order)
    tied = (same.rbo([0, 1, 2], [0, 0, 2]) + 1) / 2
    assert same.page_rbo(shown, one, alone, ties="scores") == pytest.approx(tied)
    assert tied > in_order
    assert np.isnan(same.page_tau_ap(shown, one, alone[2:]))


def test_single_rankings_that_do_not_fit_are_refused(page: MakePage) -> None:
    one = page("q", "tti")
    shown = Ranking("q", ("r0", "r1", "r2"))
    wrong = [
        [Ranking("other", ("r0",))],
        [Ranking("q", ("r0", "r2"))],
        [Ranking("q", ("r0",)), Ranking("q", ("r1",))],
    ]
    for alone in wrong:
        with pytest.raises(InputError, match="single rankings of 'q'"):
            same.page_tau_ap(shown, one, alone)
    with pytest.raises(DecodingError, match="lost"):
        same.page_tau_ap(Ranking("q", ("r0",)), one, [])
