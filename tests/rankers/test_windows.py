"""Windows over long lists: exact where the comparisons agree, complete where they do not, and as many as promised."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import DecodingError, InputError
from wholepage.rankers.permutation import Order
from wholepage.rankers.windows import (
    Asked,
    Driven,
    Strategy,
    StrategyName,
    Window,
    WindowPlan,
    drive,
    heap_top_k,
    sliding,
    tournament,
)

NAMES: list[StrategyName] = ["sliding", "tournament", "heap"]
Rank = Callable[[list[Asked]], list[Order]]


def by(places: Sequence[float]) -> Rank:
    """Orders every window by these numbers, the least first."""
    return lambda asked: [tuple(sorted(range(len(w)), key=lambda p, w=w: places[w[p]])) for _, w in asked]


def noise(seed: str) -> Rank:
    """Orders every window at random, by its content alone: contradicts itself from window to window."""

    def order(window: Window) -> Order:
        places = list(range(len(window)))
        random.Random(hashlib.sha256(f"{seed}{window}".encode()).digest()).shuffle(places)
        return tuple(places)

    return lambda asked: [order(window) for _, window in asked]


def run(strategy: Strategy, rank: Rank) -> Driven:
    return drive([strategy], rank)[0]


@st.composite
def plans(draw: st.DrawFn, names: Sequence[StrategyName] = NAMES, longest: int = 60) -> WindowPlan:
    window = draw(st.integers(2, longest))
    return WindowPlan(
        draw(st.sampled_from(names)), window, draw(st.integers(1, window)), draw(st.integers(1, 3)),
        draw(st.integers(1, 30)),
    )  # fmt: skip


# ---------------------------------------------------------------- nothing is lost
@given(plans(), st.integers(0, 200), st.text(max_size=5))
def test_any_orders_of_any_windows_give_a_permutation(plan: WindowPlan, n: int, seed: str) -> None:
    rank, seen = noise(seed), []

    def watched(asked: list[Asked]) -> list[Order]:
        seen.extend(asked)
        return rank(asked)

    driven = run(plan.start(n), watched)
    assert sorted(driven.order) == list(range(n))
    assert driven.windows == len(seen) <= plan.windows_needed(n)
    for _, window in seen:
        assert 2 <= len(window) <= plan.window
        assert len(set(window)) == len(window)
    assert {item for _, window in seen for item in window} == set(range(n if n > 1 else 0))


@given(plans(["tournament", "heap"]), st.integers(0, 200), st.text(max_size=5))
def test_behind_the_first_all_stand_as_received(plan: WindowPlan, n: int, seed: str) -> None:
    rest = run(plan.start(n), noise(seed)).order[plan.top_k :]
    assert list(rest) == sorted(rest)


@pytest.mark.parametrize("name", NAMES)
def test_lists_with_nothing_to_order(name: StrategyName) -> None:
    for n in (0, 1):
        assert run(WindowPlan(name).start(n), noise("")) == Driven(tuple(range(n)), 0, 0)
    assert run(WindowPlan(name).start(2), by([1, 0])) == Driven((1, 0), 1, 1)
    assert drive([], noise("")) == []


# ---------------------------------------------------------------- exact where comparisons agree
@given(plans(["tournament", "heap"]), st.integers(0, 200), st.randoms())
def test_the_first_are_exact(plan: WindowPlan, n: int, draw: random.Random) -> None:
    places = draw.sample(range(n), n)
    order = run(plan.start(n), by(places)).order
    assert [places[item] for item in order[: plan.top_k]] == list(range(min(n, plan.top_k)))


@given(plans(["sliding"]), st.integers(0, 200), st.randoms())
def test_sliding_windows_carry_what_they_share(plan: WindowPlan, n: int, draw: random.Random) -> None:
    places = draw.sample(range(n), n)
    order = run(plan.start(n), by(places)).order
    exact = n if n <= plan.window else plan.window - plan.stride
    assert [places[item] for item in order[:exact]] == list(range(exact))


@given(st.integers(0, 200), st.randoms())
def test_two_passes_of_half_windows_settle_a_whole_window(n: int, draw: random.Random) -> None:
    places = draw.sample(range(n), n)
    order = run(sliding(n, 20, 10, passes=2), by(places)).order
    assert [places[item] for item in order[:20]] == list(range(min(n, 20)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [10, 20, 21, 50, 100, 200])
def test_an_oracle_gets_the_exact_top_ten_at_the_usual_sizes(name: StrategyName, n: int) -> None:
    for seed in range(20):
        places = random.Random(seed).sample(range(n), n)
        assert [places[item] for item in run(WindowPlan(name).start(n), by(places)).order[:10]] == list(range(10))


def test_a_heap_sorts_a_whole_list() -> None:
    places = random.Random(0).sample(range(150), 150)
    order = run(heap_top_k(150, 7, top_k=150), by(places)).order
    assert [places[item] for item in order] == list(range(150))


# ---------------------------------------------------------------- how many windows
@given(plans(["sliding"]), st.integers(2, 200), st.text(max_size=3))
def test_sliding_windows_are_as_many_as_the_formula_says(plan: WindowPlan, n: int, seed: str) -> None:
    count = plan.passes * (max(0, math.ceil((n - plan.window) / plan.stride)) + 1)
    driven = run(plan.start(n), noise(seed))
    assert driven.windows == driven.rounds == count == plan.windows_needed(n)


@given(plans(["tournament"]), st.integers(0, 200), st.text(max_size=3))
def test_a_tournament_takes_what_it_said_whatever_the_orders(plan: WindowPlan, n: int, seed: str) -> None:
    assert run(plan.start(n), noise(seed)).windows == plan.windows_needed(n)


def test_the_figures_of_the_method() -> None:
    assert [WindowPlan().windows_needed(n) for n in (20, 50, 100, 1000)] == [1, 4, 9, 99]
    assert [WindowPlan("tournament").windows_needed(n) for n in (20, 50, 100)] == [1, 4, 9]
    assert [WindowPlan("heap").windows_needed(n) for n in (20, 50, 100)] == [1, 5, 8]
    assert run(tournament(100), noise("")).rounds == 4
    places = random.Random(1).sample(range(100), 100)
    assert run(heap_top_k(100), by(places))[1:] == (6, 2)


def test_a_heap_meets_lists_made_to_cost_it_most() -> None:
    """All of the best in one block; each block's heads in turn; the list turned round."""
    for n in (30, 100, 200):
        for window in (2, 3, 5, 20):
            plan = WindowPlan("heap", window=window)
            lists = [list(range(n)), list(range(n))[::-1], [i % window * n + i // window for i in range(n)]]
            for places in lists:
                assert run(plan.start(n), by(places)).windows <= plan.windows_needed(n)


def test_the_heads_that_wait_in_a_heap_are_counted() -> None:
    """Without them, 11 windows would be the most for these sizes."""
    places = random.Random(8).sample(range(20), 20)
    assert run(heap_top_k(20, 6, 8), by(places)).windows == 12
    assert WindowPlan("heap", 6, 3, top_k=8).windows_needed(20) == 13


def test_sliding_windows_stand_where_they_are_expected() -> None:
    seen: list[Window] = []

    def keep(asked: list[Asked]) -> list[Order]:
        seen.extend(window for _, window in asked)
        return [tuple(range(len(window))) for _, window in asked]

    run(sliding(100), keep)
    assert [(w[0], w[-1]) for w in seen] == [(first, first + 19) for first in range(80, -1, -10)]
    seen.clear()
    run(sliding(25, passes=2), keep)
    assert [(w[0], w[-1]) for w in seen] == [(5, 24), (0, 19), (5, 24), (0, 19)]


@given(plans(["tournament", "heap"]), st.integers(0, 200), st.text(max_size=3))
def test_windows_of_a_round_share_no_item(plan: WindowPlan, n: int, seed: str) -> None:
    rank = noise(seed)

    def watched(asked: list[Asked]) -> list[Order]:
        items = [item for _, window in asked for item in window]
        assert len(set(items)) == len(items)
        return rank(asked)

    run(plan.start(n), watched)


# ---------------------------------------------------------------- many together
@given(st.lists(st.tuples(plans(), st.integers(0, 60)), max_size=6), st.integers(1, 7))
def test_queries_driven_together_are_ordered_as_alone(wanted: list[tuple[WindowPlan, int]], batch: int) -> None:
    rank = noise("together")

    def in_batches(asked: list[Asked]) -> list[Order]:
        assert asked
        return [order for first in range(0, len(asked), batch) for order in rank(asked[first : first + batch])]

    together = drive([plan.start(n) for plan, n in wanted], in_batches)
    assert together == [run(plan.start(n), rank) for plan, n in wanted]


def test_a_round_holds_the_windows_of_all_queries() -> None:
    rounds: list[list[int]] = []

    def keep(asked: list[Asked]) -> list[Order]:
        rounds.append([query for query, _ in asked])
        return noise("")(asked)

    driven = drive([sliding(40), tournament(100), sliding(0), sliding(30)], keep)
    assert rounds == [[0, *[1] * 5, 3], [0, 1, 1, 3], [0, 1], [1]]
    assert [(d.windows, d.rounds) for d in driven] == [(3, 3), (9, 4), (0, 0), (2, 2)]


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("bad", [(0, 0, 1), (0, 1), (1, 2, 3), (), (2, 1, 0, 0), (-1, 0, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_an_order_that_is_none_is_refused(name: StrategyName, bad: Order) -> None:
    with pytest.raises(DecodingError, match="for a window of 3; allowed: each place from 0 to 2 once"):
        run(WindowPlan(name).start(3), lambda asked: [bad])


@pytest.mark.parametrize("count", [0, 2])
def test_not_one_order_a_window_is_refused(count: int) -> None:
    with pytest.raises(DecodingError, match=f"got {count} orders for 1 windows"):
        run(sliding(3), lambda asked: [(0, 1, 2)] * count)
    strategy = sliding(3)
    next(strategy)
    with pytest.raises(DecodingError, match=f"got {count} orders for 1 windows"):
        strategy.send([(0, 1, 2)] * count)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: sliding(5, 4, 0), "stride 0"),
        (lambda: sliding(5, 4, 5), "stride 5, 1 passes; allowed: strides from 1 to the window's 4"),
        (lambda: sliding(5, 4, -2), "stride -2"),
        (lambda: sliding(5, 4, 2, 0), "0 passes"),
        (lambda: sliding(5, 1, 1), "windows of 1"),
        (lambda: sliding(-1), "-1 items"),
        (lambda: tournament(5, 1), "windows of 1"),
        (lambda: tournament(5, 4, 0), "top_k 0"),
        (lambda: heap_top_k(5, 4, 0), "top_k 0"),
        (lambda: heap_top_k(-5), "-5 items"),
        (lambda: WindowPlan("bubble"), "strategy 'bubble'"),  # type: ignore[arg-type]
        (lambda: WindowPlan(stride=30), "stride 30"),
        (lambda: WindowPlan("heap", top_k=0), "top_k 0"),
        (lambda: WindowPlan().windows_needed(-1), "-1 items"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_at_once(made: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        made()
