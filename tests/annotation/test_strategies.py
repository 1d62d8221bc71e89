"""Strategies as values, and what the bands of a list are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation import selection
from wholepage.annotation.selection import Bottom, Selection, Top, Window, parse_strategy, select
from wholepage.annotation.strategies import NAMES, Active, Anchors, Strategy
from wholepage.pages import InputError, Modality, NoRanker, Page, Query, Ranking, Result

FIFTHS = [Window(lo / 10, (lo + 2) / 10) for lo in range(0, 10, 2)]


def page(query_id: str, texts: int, answers: int = 0) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
    results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
    return Page(Query(query_id, "q"), tuple(results[::-1]))


def orders(pages: Sequence[Page]) -> list[dict[Modality, Ranking]]:
    """The order t0, t1, ... and a0, a1, ..."""
    return [{m: Ranking(p.query_id, p.only(m).result_ids[::-1]) for m in p.modalities} for p in pages]


def ranks(chosen: Selection, query_id: str, letter: str = "t") -> list[int]:
    return sorted(int(i[1:]) for i in chosen.bought[query_id] if i[0] == letter)


# ------------------------------------------------------------------ values

SHARES = st.floats(min_value=1e-9, max_value=1.0)
PARTS = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
VALUES = st.one_of(
    st.builds(Bottom, SHARES),
    st.tuples(PARTS, SHARES).filter(lambda of: of[0] < of[1]).map(lambda of: Window(*of)),
    st.builds(Anchors, SHARES, PARTS),
    st.builds(Active, SHARES, st.sampled_from(["committee", "entropy"]), PARTS, st.integers(2, 99)),
)


@given(VALUES)
def test_a_value_prints_hashes_and_is_read_back(strategy: Strategy) -> None:
    assert parse_strategy(strategy.spec) == strategy
    assert parse_strategy(str(strategy)).spec == strategy.spec
    assert len({strategy, parse_strategy(strategy.spec)}) == 1
    assert 0 < strategy.p <= 1
    assert strategy.exact == Fraction(str(strategy.p)) or isinstance(strategy, Window)


def test_specs_say_every_field_and_defaults_may_be_left_out() -> None:
    assert Window(0, 0.2).spec == "window(lo=0.0, hi=0.2)"
    assert Window(-0.0, 0.2).spec == "window(lo=0.0, hi=0.2)"
    assert parse_strategy("anchors(p=.1)") == Anchors(0.1, 0.1)
    assert Anchors(0.1).spec == "anchors(p=0.1, audit=0.1)"
    assert Active(0.1).spec == "active(p=0.1, by=committee, floor=0.25, rounds=3)"
    assert parse_strategy("active( rounds = 5 , p=.1 )") == Active(0.1, rounds=5)
    assert parse_strategy("active(p=0.1, by=entropy, floor=0)") == Active(0.1, "entropy", 0.0)
    assert len({Top(0.1), Bottom(0.1), Anchors(0.1), Active(0.1), Active(0.1, "entropy")}) == 5


def test_a_window_costs_its_width_in_decimals() -> None:
    assert [window.p for window in FIFTHS] == [0.2] * 5  # .8 - .6 would be .20000000000000007


def test_the_share_has_one_name_everywhere() -> None:
    for name in NAMES:
        spec = "window(lo=0.0, hi=0.3)" if name == "window" else f"{name}(p=0.3)"
        assert parse_strategy(spec).p == 0.3
        assert parse_strategy(spec).spec.startswith(f"{name}(")


@pytest.mark.parametrize(
    "text",
    [
        "window(p=0.2)",
        "window(lo=0.2)",
        "window()",
        "window(lo=0.4, hi=0.2)",
        "window(lo=0.2, hi=0.2)",
        "window(lo=0.9, hi=1.1)",
        "window(lo=-0.1, hi=0.2)",
        "window(lo=0.2 hi=0.4)",
        "window(lo=0.2, hi=0.4,)",
        "window(lo=0.2, hi=nan)",
        "top(p=0.1, p=0.1)",
        "top(p=0.1, audit=0.1)",
        "anchors(audit=0.1)",
        "anchors(p=0.1, audit=1)",
        "anchors(p=0.1, audit=1e400)",
        "active(p=0.1, by=luck)",
        "active(p=0.1, by='committee')",
        "active(p=0.1, floor=1)",
        "active(p=0.1, rounds=1)",
        "active(p=0.1, rounds=2.5)",
        "active(p=0.1, rounds=-3)",
        "active(p=0.1))",
        "active(p=committee)",
        "share(p=0.1)",
        "bottom(p=\u0660.\u0661)",
    ],
)
def test_what_is_no_strategy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="allowed"):
        parse_strategy(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Window(True, 1),
        lambda: Window("0", 1),  # type: ignore[arg-type]
        lambda: Window(math.nan, 0.5),
        lambda: Anchors(0.1, math.nan),
        lambda: Anchors(0.1, -0.1),
        lambda: Anchors(0, 0.1),
        lambda: Active(0.1, "luck"),  # type: ignore[arg-type]
        lambda: Active(0.1, floor=math.inf),
        lambda: Active(0.1, rounds=True),
        lambda: Active(0.1, rounds=2.0),  # type: ignore[arg-type]
    ],
)
def test_values_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(InputError, match="allowed"):
        make()  # type: ignore[operator]


def test_a_message_names_every_form() -> None:
    with pytest.raises(InputError) as caught:
        parse_strategy("best")
    for form in ("top(p=0.1)", "window(lo=0.2, hi=0.4)", "active(p=0.1, by=committee, floor=0.25, rounds=3)"):
        assert form in str(caught.value)


def test_callers_find_the_names_where_they_were() -> None:
    for name in ("Top", "Random", "Spread", "Concentrated", "WholePages", "Strategy", "parse_strategy"):
        assert hasattr(selection, name)


@pytest.mark.parametrize(("rounds", "floor"), [(2, 0.0), (3, 0.25), (7, 0.9)])
def test_the_rounds_of_active_share_out_the_budget(rounds: int, floor: float) -> None:
    strategy = Active(0.1, floor=floor, rounds=rounds)
    paid = [strategy.paid_until(done, 1000) for done in range(rounds + 1)]
    assert paid[0] == 1000 * floor
    assert paid[-1] == 1000
    steps = [later - before for before, later in pairwise(paid)]
    assert max(steps) - min(steps) <= 1


# ------------------------------------------------------------------ windows and bottoms


def test_a_window_is_the_ranks_of_its_band() -> None:
    pages = [page("q", 10, 20)]
    chosen = select(pages, orders(pages), Window(0.2, 0.4), seed=0)
    assert ranks(chosen, "q") == [2, 3]
    assert ranks(chosen, "q", "a") == [4, 5, 6, 7]
    assert (chosen.labels, chosen.strategy) == (6, "window(lo=0.2, hi=0.4)")
    assert select(pages, orders(pages), Window(0, 1), seed=0).labels == 30


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [5, 7, 11, 50])
def test_windows_that_meet_share_out_a_list(n: int, seed: int) -> None:
    pages = [page("q", n)]
    bands = [ranks(select(pages, orders(pages), window, seed=seed), "q") for window in FIFTHS]
    assert [rank for band in bands for rank in band] == list(range(n))
    assert all(abs(len(band) - n / 5) < 1 for band in bands)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=20),
    cuts=st.sets(st.integers(1, 99), min_size=1, max_size=5),
    seed=st.integers(0, 5),
)
def test_windows_that_meet_share_out_every_list_and_cost_their_width(
    sizes: list[tuple[int, int]], cuts: set[int], seed: int
) -> None:
    pages = [page(f"q{i}", *size) for i, size in enumerate(sizes)]
    full = sum(map(sum, sizes))
    edges = [0, *sorted(cuts), 100]
    seen: dict[tuple[str, str], list[int]] = {(p.query_id, letter): [] for p in pages for letter in "ta"}
    for low, high in pairwise(edges):
        if high * full // 100 == low * full // 100:
            continue  # buys no label, which is an error
        chosen = select(pages, orders(pages), Window(low / 100, high / 100), seed=seed)
        assert chosen.labels == high * full // 100 - low * full // 100
        for key, ranks_so_far in seen.items():
            ranks_so_far += ranks(chosen, *key)
    for (query_id, letter), found in seen.items():
        length = sum(i[0] == letter for p in pages if p.query_id == query_id for i in p.result_ids)
        assert found == list(range(length))


def test_windows_of_short_lists_are_bought_now_here_now_there() -> None:
    pages = [page(f"q{i}", 3) for i in range(400)]
    for window in FIFTHS:
        chosen = select(pages, orders(pages), window, seed=1)
        assert chosen.labels == 240
        counts = [len(ids) for ids in chosen.bought.values()]
        assert set(counts) == {0, 1}


def test_at_least_one_takes_one_of_every_list() -> None:
    pages = [page(f"q{i}", 1 + i % 4) for i in range(20)]
    for window in FIFTHS:
        chosen = select(pages, orders(pages), window, seed=0, counts="at-least-one")
        assert all(len(ids) == 1 for ids in chosen.bought.values())
    whole = [page("q", 10)]
    assert ranks(select(whole, orders(whole), Window(0.25, 0.55), seed=0, counts="at-least-one"), "q") == [3, 4, 5]


def test_bottom_is_top_upside_down() -> None:
    pages = [page(f"q{i}", 5 + i, i) for i in range(12)]
    ranked = orders(pages)
    turned = [{m: Ranking(r.query_id, r.result_ids[::-1]) for m, r in of.items()} for of in ranked]
    for counts in ("within-budget", "at-least-one"):
        low = select(pages, ranked, Bottom(0.3), seed=2, counts=counts)  # type: ignore[arg-type]
        top = select(pages, turned, Top(0.3), seed=2, counts=counts)  # type: ignore[arg-type]
        assert low.bought == top.bought


@pytest.mark.parametrize("strategy", [Window(0.2, 0.4), Bottom(0.2)])
def test_the_order_of_pages_changes_nothing_and_ranks_are_needed(strategy: Strategy) -> None:
    pages = [page(f"q{i}", 1 + i % 7, i % 4) for i in range(60)]
    one = select(pages, orders(pages), strategy, seed=5)
    assert select(pages[::-1], orders(pages[::-1]), strategy, seed=5) == one
    with pytest.raises(NoRanker, match="no ranking"):
        select(pages, [{} for _ in pages], strategy, seed=5)


@pytest.mark.parametrize("strategy", [Anchors(0.1), Active(0.1)])
def test_strategies_that_need_answers_are_not_selected(strategy: Strategy) -> None:
    pages = [page("q", 30)]
    with pytest.raises(InputError, match=r"depend on answers.*buying\.buy"):
        select(pages, orders(pages), strategy, seed=0)


def test_a_selection_keeps_a_new_spec_through_json() -> None:
    pages = [page("q", 30)]
    chosen = select(pages, orders(pages), Window(0.2, 0.4), seed=0)
    assert Selection.from_json(chosen.to_json()) == chosen
    asked = msgspec.structs.replace(chosen, strategy=Active(0.1).spec)
    assert Selection.from_json(asked.to_json()) == asked
