"""What is bought: counts against arithmetic done by hand, draws against their promises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.selection import (
    Bottom,
    Concentrated,
    Counts,
    Random,
    Selection,
    Spread,
    Strategy,
    Top,
    WholePages,
    parse_strategy,
    select,
)
from wholepage.pages import DecodingError, InputError, Modality, NoRanker, Page, Query, Ranking, Result, ShapeError
from wholepage.pages.model import ImageRef

STRATEGIES = [Top, Random, Spread, Concentrated, WholePages, Bottom]
RANKED = [Top, Random, Spread, Bottom]


def page(query_id: str, texts: int, pictures: int = 0) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
    results += [Result(f"i{i}", Modality.IMAGE, images=(ImageRef("x.png"),)) for i in range(pictures)]
    return Page(Query(query_id, "q"), tuple(results[::-1]))


def orders(pages: Sequence[Page]) -> list[dict[Modality, Ranking]]:
    """The order t0, t1, ... and i0, i1, ..."""
    return [
        {m: Ranking(p.query_id, tuple(sorted(p.only(m).result_ids, key=lambda i: int(i[1:])))) for m in p.modalities}
        for p in pages
    ]


def bought_of(selection: Selection, letter: str) -> int:
    return sum(i.startswith(letter) for ids in selection.bought.values() for i in ids)


# ------------------------------------------------------------------ values


@pytest.mark.parametrize("kind", STRATEGIES)
@given(p=st.floats(min_value=1e-9, max_value=1.0))
def test_a_strategy_is_read_back_from_its_spec(kind: type[Strategy], p: float) -> None:
    strategy = kind(p)
    assert parse_strategy(strategy.spec) == strategy
    assert parse_strategy(str(strategy)) == strategy
    assert len({strategy, parse_strategy(strategy.spec)}) == 1


def test_specs_read_as_written() -> None:
    assert [kind(0.1).spec for kind in STRATEGIES] == [
        "top(p=0.1)",
        "random(p=0.1)",
        "spread(p=0.1)",
        "concentrated(p=0.1)",
        "whole_pages(p=0.1)",
        "bottom(p=0.1)",
    ]
    assert parse_strategy("random(p=.1)") == Random(0.1)
    assert parse_strategy(" top ( p = 1 ) ") == Top(1.0)
    assert Top(1).spec == "top(p=1.0)"
    assert len({Top(0.1), Random(0.1)}) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "top",
        "top()",
        "top(0.1)",
        "top(p=)",
        "top(p=1.2.3)",
        "top(q=0.1)",
        "Top(p=0.1)",
        "best(p=0.1)",
        "top(p=.1)x",
        "top(p=.)",
        "top(p=nan)",
        "top(p=0)",
        "top(p=1.01)",
        "top(p=-0.1)",
        "top(p=1e400)",
    ],
)
def test_what_is_no_strategy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="allowed"):
        parse_strategy(text)


@pytest.mark.parametrize("p", [0, -0.1, 1.0001, math.nan, math.inf, True, "0.1"])
def test_shares_out_of_range_are_refused(p: float) -> None:
    with pytest.raises(InputError, match="above 0, at most 1"):
        Spread(p)


# ------------------------------------------------------------------ what is taken


def test_top_takes_the_head_of_each_list_and_tells_it_in_page_order() -> None:
    pages = [page("q", 10, 20)]
    selection = select(pages, orders(pages), Top(0.2), seed=0)
    assert selection.bought == {"q": ("i3", "i2", "i1", "i0", "t1", "t0")}
    assert (selection.labels, selection.full, selection.share) == (6, 30, 0.2)
    assert (selection.strategy, selection.counts, selection.seed) == ("top(p=0.2)", "within-budget", 0)


@given(n=st.integers(1, 60), percent=st.integers(1, 100), seed=st.integers(0, 9))
def test_spread_takes_one_of_each_stratum(n: int, percent: int, seed: int) -> None:
    pages = [page("q", n)]
    selection = select(pages, orders(pages), Spread(percent / 100), seed=seed, counts="at-least-one")
    ranks = sorted(int(i[1:]) for i in selection.bought["q"])
    count = len(ranks)
    strata = [range(k * n // count, (k + 1) * n // count) for k in range(count)]
    assert all(rank in stratum for rank, stratum in zip(ranks, strata, strict=True))
    assert max(map(len, strata)) - min(map(len, strata)) <= 1


@pytest.mark.parametrize("kind", [Random, Spread])
def test_every_result_has_the_same_chance(kind: type[Strategy]) -> None:
    pages = [page(f"q{i}", 10) for i in range(2000)]
    selection = select(pages, orders(pages), kind(0.2), seed=7)
    hits = Counter(i for ids in selection.bought.values() for i in ids)
    # 400 expected of each, standard deviation 18
    assert set(hits) == {f"t{i}" for i in range(10)}
    assert all(abs(count - 400) < 5 * 18 for count in hits.values())


def test_random_needs_no_ranking_and_ignores_the_one_given() -> None:
    pages = [page("q", 30, 10)]
    assert select(pages, [{}], Random(0.3), seed=1) == select(pages, orders(pages), Random(0.3), seed=1)


def test_more_labels_keep_the_fewer() -> None:
    pages = [page("q", 40)]
    few, more = (set(select(pages, [{}], Random(p), seed=3).bought["q"]) for p in (0.1, 0.5))
    assert few < more


def test_concentrated_buys_a_third_of_each_list_of_few_pages_and_keeps_the_budget() -> None:
    pages = [page(f"q{i}", texts=9, pictures=6) for i in range(40)]
    selection = select(pages, orders(pages), Concentrated(0.1), seed=3)
    judged = {query: ids for query, ids in selection.bought.items() if ids}
    assert len(judged) == 12  # 60 labels of 600, five a page
    assert selection.labels == 60
    for ids in judged.values():
        assert Counter(i[0] for i in ids) == {"t": 3, "i": 2}
        assert {"t0", "i0"} <= set(ids)  # the head of both lists
        assert sorted((int(i[1:]) - 1) // 4 for i in ids if i[0] == "t" and i != "t0") == [0, 1]  # then the strata


def test_concentrated_buys_more_of_a_page_where_the_share_is_more_than_a_third() -> None:
    pages = [page(f"q{i}", texts=10) for i in range(20)]
    selection = select(pages, orders(pages), Concentrated(0.5), seed=0)
    assert {len(ids) for ids in selection.bought.values()} == {5}
    assert select(pages, orders(pages), Concentrated(1.0), seed=0).labels == 200


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3])
def test_concentrated_leaves_out_pages_that_no_longer_fit(p: float) -> None:
    pages = [page(f"q{i}", texts=2 + 7 * (i % 5), pictures=i % 4) for i in range(50)]
    full = sum(map(len, pages))
    inside = select(pages, orders(pages), Concentrated(p), seed=1)
    across = select(pages, orders(pages), Concentrated(p), seed=1, counts="at-least-one")
    assert 0.9 * p * full < inside.labels <= math.floor(p * full) <= across.labels


def test_whole_pages_are_whole_and_fill_the_budget_with_what_fits() -> None:
    pages = [page(f"q{i}", 3 + i % 5) for i in range(40)]
    selection = select(pages, [{}] * 40, WholePages(0.3), seed=2)
    assert {len(selection.bought[p.query_id]) for p in pages if selection.bought[p.query_id]} <= {3, 4, 5, 6, 7}
    assert all(selection.bought[p.query_id] in ((), p.result_ids) for p in pages)
    left = math.floor(Fraction(3, 10) * selection.full) - selection.labels
    assert 0 <= left < 3
    shares = select(pages, [{}] * 40, WholePages(0.3), seed=2, counts="at-least-one")
    assert sum(bool(ids) for ids in shares.bought.values()) == 12


# ------------------------------------------------------------------ how much


@given(n=st.integers(1, 200), percent=st.integers(1, 100))
def test_at_least_one_rounds_half_up_in_decimals(n: int, percent: int) -> None:
    pages = [page("q", n)]
    selection = select(pages, orders(pages), Top(percent / 100), seed=0, counts="at-least-one")
    assert selection.labels == max(1, (percent * n + 50) // 100)


def test_at_least_one_costs_more_on_short_lists_and_within_budget_does_not() -> None:
    pages = [page(f"q{i}", 3, 3) for i in range(50)]
    paper = select(pages, orders(pages), Top(0.1), seed=0, counts="at-least-one")
    exact = select(pages, orders(pages), Top(0.1), seed=0)
    assert (paper.labels, exact.labels) == (100, 30)
    assert (bought_of(exact, "t"), bought_of(exact, "i")) == (15, 15)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=30),
    percent=st.integers(1, 100),
    seed=st.integers(0, 5),
    kind=st.sampled_from(RANKED),
)
def test_the_budget_is_met_exactly_and_shared_in_proportion(
    sizes: list[tuple[int, int]], percent: int, seed: int, kind: type[Strategy]
) -> None:
    pages = [page(f"q{i}", *size) for i, size in enumerate(sizes)]
    full = sum(map(sum, sizes))
    budget = percent * full // 100
    if full and not budget:
        with pytest.raises(InputError, match="buys no label"):
            select(pages, orders(pages), kind(percent / 100), seed=seed)
        return
    selection = select(pages, orders(pages), kind(percent / 100), seed=seed)
    assert selection.labels == budget
    for letter, total in (("t", sum(t for t, _ in sizes)), ("i", sum(i for _, i in sizes))):
        assert abs(bought_of(selection, letter) - percent * total / 100) < 1
        for p in pages:
            length = sum(i.startswith(letter) for i in p.result_ids)
            taken = sum(i.startswith(letter) for i in selection.bought[p.query_id])
            assert percent * length // 100 <= taken <= -(-percent * length // 100)


def test_leftover_labels_go_to_lists_with_chances_in_proportion_to_what_they_lost() -> None:
    short = {f"s{i}" for i in range(300)}
    pages = [page(query_id, 2) for query_id in sorted(short)] + [page(f"l{i}", 8) for i in range(300)]
    counts = Counter[bool]()
    for seed in range(5):
        bought = select(pages, orders(pages), Top(0.1), seed=seed).bought
        counts += Counter(query_id in short for query_id, ids in bought.items() for _ in ids)
    assert counts[True] + counts[False] == 5 * 300
    assert abs(counts[True] - 300) < 60
    assert abs(counts[False] - 1200) < 60


def test_leftover_labels_of_both_modalities_meet_on_the_same_pages() -> None:
    pages = [page(f"q{i}", 4, 4) for i in range(40)]
    bought = select(pages, orders(pages), Top(0.1), seed=0).bought
    assert sum(bool(ids) for ids in bought.values()) == 16
    assert {len(ids) for ids in bought.values() if ids} == {2}


def test_pages_that_got_nothing_are_told_too() -> None:
    pages = [page(f"q{i}", 2) for i in range(10)]
    selection = select(pages, orders(pages), Top(0.1), seed=0)
    assert set(selection.bought) == {p.query_id for p in pages}
    assert sorted(map(len, selection.bought.values())) == [0] * 8 + [1] * 2


# ------------------------------------------------------------------ on what it depends


@pytest.mark.parametrize("counts", ["within-budget", "at-least-one"])
@pytest.mark.parametrize("kind", STRATEGIES)
def test_the_order_of_pages_changes_nothing(kind: type[Strategy], counts: Counts) -> None:
    pages = [page(f"q{i}", 1 + i % 7, i % 4) for i in range(60)]
    one = select(pages, orders(pages), kind(0.2), seed=5, counts=counts)
    two = select(pages[::-1], orders(pages[::-1]), kind(0.2), seed=5, counts=counts)
    assert one == two


@pytest.mark.parametrize("kind", RANKED)
def test_a_draw_does_not_depend_on_neighbours(kind: type[Strategy]) -> None:
    pages = [page(f"q{i}", 10, 20) for i in range(20)]
    together = select(pages, orders(pages), kind(0.2), seed=5).bought
    for alone in pages:
        assert select([alone], orders([alone]), kind(0.2), seed=5).bought[alone.query_id] == together[alone.query_id]


def test_the_seed_changes_the_draw_and_queries_draw_apart() -> None:
    pages = [page("a", 50), page("b", 50)]
    one, two = (select(pages, [{}] * 2, Random(0.2), seed=seed).bought for seed in (0, 1))
    assert one["a"] != two["a"]
    assert one["a"] != one["b"]


def test_draws_are_the_same_on_every_machine() -> None:
    """Pinned: a change here changes every experiment that names its seed."""
    pages = [page("q", 10)]
    assert select(pages, [{}], Random(0.3), seed=0).bought == {"q": GOLDEN_RANDOM}
    assert select(pages, orders(pages), Spread(0.3), seed=0).bought == {"q": GOLDEN_SPREAD}


# ------------------------------------------------------------------ refusals


def test_what_does_not_fit_together_is_refused() -> None:
    pages = [page("q", 5, 5)]
    ranked = orders(pages)
    with pytest.raises(ShapeError, match="one a page"):
        select(pages, [], Top(0.5), seed=0)
    with pytest.raises(NoRanker, match=r"no ranking of \['image'\]"):
        select(pages, [{Modality.TEXT: ranked[0][Modality.TEXT]}], Top(0.5), seed=0)
    with pytest.raises(DecodingError, match="lost"):
        select(pages, [{**ranked[0], Modality.TEXT: Ranking("q", ("t0",))}], Top(0.5), seed=0)
    with pytest.raises(InputError, match="each query once"):
        select(pages * 2, ranked * 2, Top(0.5), seed=0)
    with pytest.raises(InputError, match="counts='some'"):
        select(pages, ranked, Top(0.5), seed=0, counts="some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="buys no label"):
        select(pages, ranked, WholePages(0.9), seed=0)


def test_nothing_of_nothing_is_nothing() -> None:
    selection = select([], [], Top(0.1), seed=0)
    assert (selection.bought, selection.labels, selection.full, selection.share) == ({}, 0, 0, 0.0)


# ------------------------------------------------------------------ on disk


def test_a_selection_survives_json_whatever_the_order_of_its_queries() -> None:
    pages = [page(f"q{i}", 10, 4) for i in range(5)]
    one = select(pages, orders(pages), Spread(0.3), seed=1)
    two = select(pages[::-1], orders(pages[::-1]), Spread(0.3), seed=1)
    assert Selection.from_json(one.to_json()) == one
    assert Selection.from_json(one.to_json().decode()) == one
    assert one.to_json() == two.to_json()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"{", "selection"),
        (b"\xff", "selection"),
        (b"{}", "bought"),
        (b'{"bought":{},"full":0,"strategy":"best(p=1)","counts":"within-budget","seed":0}', "best"),
        (b'{"bought":{},"full":0,"strategy":"top(p=1)","counts":"all","seed":0}', "counts"),
        (b'{"bought":{},"full":0,"strategy":"top(p=1)","counts":"within-budget","seed":0,"x":1}', "x"),
        (b'{"bought":{"q":["a","a"]},"full":9,"strategy":"top(p=1)","counts":"within-budget","seed":0}', "repeats"),
        (b'{"bought":{"q":["a","b"]},"full":1,"strategy":"top(p=1)","counts":"within-budget","seed":0}', "2 labels"),
    ],
)
def test_what_is_no_selection_is_refused(text: bytes, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Selection.from_json(text)


GOLDEN_RANDOM = ("t9", "t8", "t0")
GOLDEN_SPREAD = ("t9", "t4", "t0")
