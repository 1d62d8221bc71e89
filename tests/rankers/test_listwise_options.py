"""Shuffled answers made one, and the limit to rising: against every permitted order there is."""

from __future__ import annotations

import random
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wholepage.pages.errors import DecodingError, InputError, ShapeError
from wholepage.rankers.listwise_options import (
    CONSENSUS,
    borda_order,
    limit_rise,
    limit_rise_within,
    mean_log_probabilities,
    median_order,
    shuffles,
)
from wholepage.rankers.permutation import Order, log_probabilities

TWO_ORDERS = st.integers(0, 60).flatmap(
    lambda n: st.tuples(st.permutations(range(n)).map(tuple), st.permutations(range(n)).map(tuple))
)


# ---------------------------------------------------------------- shuffles
def test_shuffles_are_seeded_permutations() -> None:
    keys = [f"d{i}" for i in range(30)]
    drawn = shuffles(keys, 5, seed=1, request="q")
    assert len(set(drawn)) == 5
    assert all(sorted(order) == list(range(30)) for order in drawn)
    assert drawn == shuffles(keys, 5, seed=1, request="q")
    assert drawn[:2] == shuffles(keys, 2, seed=1, request="q")
    assert len({drawn, shuffles(keys, 5, seed=2, request="q"), shuffles(keys, 5, seed=1, request="r")}) == 3
    assert shuffles([], 2, seed=0, request="q") == ((), ())
    with pytest.raises(InputError, match="got 0"):
        shuffles(keys, 0, seed=1, request="q")


@given(st.lists(st.text(), unique=True, max_size=20), st.randoms())
def test_items_are_shown_alike_whatever_order_they_come_in(keys: list[str], draw: random.Random) -> None:
    turned = draw.sample(keys, len(keys))
    shown = [[keys[i] for i in order] for order in shuffles(keys, 3, seed=7, request="q")]
    assert shown == [[turned[i] for i in order] for order in shuffles(turned, 3, seed=7, request="q")]


def test_every_item_is_shown_in_every_place_about_as_often() -> None:
    first = [order[0] for order in shuffles("abcdef", 3000, seed=0, request="q")]
    assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > 0.001


# ---------------------------------------------------------------- several answers made one
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 99), st.randoms())
def test_mean_log_probabilities(k: int, n: int, seed: int, draw: random.Random) -> None:
    logits = np.random.default_rng(seed).normal(size=(k, n))
    told = np.array([log_probabilities(row) for row in logits])
    mean = mean_log_probabilities(told)
    product = np.exp(told).prod(axis=0) ** (1 / k)
    np.testing.assert_allclose(np.exp(mean), product / product.sum(), rtol=1e-9)
    turned = draw.sample(range(n), n)
    np.testing.assert_array_equal(mean_log_probabilities(told[:, turned]), mean[turned])


def test_answers_that_cannot_be_averaged_are_refused() -> None:
    for shape in ((3,), (0, 3), (1, 2, 3)):
        with pytest.raises(ShapeError, match="a row an answer"):
            mean_log_probabilities(np.zeros(shape))
    with pytest.raises(DecodingError, match="NaN"):
        mean_log_probabilities(np.array([[0.0, 1.0], [np.nan, 0.0]]))


def test_mean_and_median_places_by_hand() -> None:
    # places of items 0..3:  0 1 2 3  |  0 1 2 3  |  3 0 1 2
    orders = [(0, 1, 2, 3), (0, 1, 2, 3), (1, 2, 3, 0)]
    assert borda_order(orders) == (1, 0, 2, 3)  # sums 3 2 5 8
    assert median_order(orders) == (0, 1, 2, 3)  # medians 0 1 2 3: one odd answer moves nobody
    assert median_order([(0, 1, 2), (2, 1, 0)]) == (0, 1, 2)  # all medians and means alike: as received
    assert median_order([(0, 1, 2, 3, 4), (1, 0, 2, 4, 3), (3, 0, 1, 2, 4)]) == (0, 1, 2, 3, 4)
    assert set(CONSENSUS) == {"borda", "median"}


@pytest.mark.parametrize("name", list(CONSENSUS))
@given(orders=st.lists(st.permutations(range(7)), min_size=1, max_size=6), draw=st.randoms())
def test_consensus_is_by_scipys_ranks_and_follows_the_items(
    name: str, orders: list[Order], draw: random.Random
) -> None:
    places = np.argsort(orders, axis=1)
    means, medians = places.mean(axis=0), np.median(places, axis=0)
    found = CONSENSUS[name](orders)
    keys = {"borda": lambda i: means[i], "median": lambda i: (medians[i], means[i])}
    assert list(found) == sorted(range(7), key=keys[name])
    if len({keys[name](i) for i in range(7)}) == 7:  # without ties: the same items under other numbers
        number = draw.sample(range(7), 7)
        renamed = [tuple(number[i] for i in order) for order in orders]
        assert CONSENSUS[name](renamed) == tuple(number[i] for i in found)
    if len(orders) == 1:
        assert found == tuple(orders[0])


@pytest.mark.parametrize("bad", [[], [(0, 1), (0, 0)], [(0, 1), (0, 1, 2)], [(0, 2)]])
@pytest.mark.parametrize("name", list(CONSENSUS))
def test_no_orders_or_bad_ones_are_refused(name: str, bad: list[Order]) -> None:
    with pytest.raises(DecodingError, match="shuffled answers"):
        CONSENSUS[name](bad)
    assert CONSENSUS[name]([(), ()]) == ()


# ---------------------------------------------------------------- the limit to rising
def turned_round(order: Order, wished: Order) -> int:
    return sum(order.index(a) > order.index(b) for a, b in combinations(wished, 2))


def moved(order: Order, wished: Order) -> int:
    return sum(abs(order.index(item) - wished.index(item)) for item in wished)


@pytest.mark.parametrize("n", range(7))
def test_the_limited_order_is_the_nearest_of_all_permitted_ones(n: int) -> None:
    every = list(permutations(range(n)))
    draw = random.Random(n)
    for wished in every if n < 6 else draw.sample(every, 40):
        # Whatever the reference: only where wished items stand in it counts, so the plain one will do.
        for max_rise in range(n + 1):
            permitted = [order for order in every if all(order.index(i) >= i - max_rise for i in range(n))]
            found = limit_rise(wished, tuple(range(n)), max_rise)
            assert found in permitted
            fewest = min(turned_round(order, wished) for order in permitted)
            assert [order for order in permitted if turned_round(order, wished) == fewest] == [found]
            assert moved(found, wished) == min(moved(order, wished) for order in permitted)


@given(TWO_ORDERS, st.integers(0, 70))
def test_nobody_rises_further_than_allowed(orders: tuple[Order, Order], max_rise: int) -> None:
    wished, reference = orders
    n = len(wished)
    found = limit_rise(wished, reference, max_rise)
    assert sorted(found) == list(range(n))
    assert all(found.index(item) >= place - max_rise for place, item in enumerate(reference))
    rises = [place - wished.index(item) for place, item in enumerate(reference)]
    if max(rises, default=0) <= max_rise:
        assert found == wished
    if max_rise == 0:
        assert found == reference


def test_a_result_that_talked_itself_to_the_top_gains_little() -> None:
    honest = tuple(range(10))
    assert limit_rise((9, *range(9)), honest, 2) == (0, 1, 2, 3, 4, 5, 6, 9, 7, 8)


@given(TWO_ORDERS, st.integers(0, 5), st.integers(0, 99))
def test_within_groups_each_is_limited_among_its_own(orders: tuple[Order, Order], max_rise: int, seed: int) -> None:
    wished, reference = orders
    groups = [random.Random(seed + item).choice(["text", "image", "video"]) for item in range(len(wished))]
    found = limit_rise_within(wished, reference, groups, max_rise)
    assert sorted(found) == list(range(len(wished)))
    assert [groups[item] for item in found] == [groups[item] for item in wished]
    for group in set(groups):
        now, was = ([i for i in order if groups[i] == group] for order in (found, reference))
        assert all(now.index(item) >= place - max_rise for place, item in enumerate(was))
    assert limit_rise_within(wished, reference, ["one"] * len(wished), max_rise) == limit_rise(
        wished, reference, max_rise
    )


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="got -1 places"):
        limit_rise((0,), (0,), -1)
    with pytest.raises(InputError, match="got -1 places"):
        limit_rise_within((0,), (0,), "a", -1)
    for wished, reference in (((0, 1), (0,)), ((0, 0), (0, 1)), ((0, 1), (1, 1)), ((0, 2), (0, 1))):
        with pytest.raises(DecodingError, match="whole orders"):
            limit_rise(wished, reference, 1)
        with pytest.raises(DecodingError, match="whole orders"):
            limit_rise_within(wished, reference, "ab", 1)
    with pytest.raises(ShapeError, match="3 groups for 2 items"):
        limit_rise_within((0, 1), (0, 1), "abc", 1)
