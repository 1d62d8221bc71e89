"""Choosing by doubt: what is picked, what is left to chance, and on what it depends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.annotation.active import select_active
from wholepage.annotation.selection import Concentrated, select
from wholepage.pages import DecodingError, InputError, Modality, NoRanker, Page, Query, Ranking, Result, ShapeError


def page(query_id: str, texts: int, answers: int = 0) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
    results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
    return Page(Query(query_id, "q"), tuple(results[::-1]))


def orders(pages: Sequence[Page]) -> list[dict[Modality, Ranking]]:
    """The order t0, t1, ... and a0, a1, ..."""
    return [{m: Ranking(p.query_id, p.only(m).result_ids[::-1]) for m in p.modalities} for p in pages]


def in_doubt(pages: Sequence[Page], said: Mapping[str, Mapping[str, float]], rest: float = 0.0) -> list[NDArray]:
    return [np.array([said.get(p.query_id, {}).get(i, rest) for i in p.result_ids]) for p in pages]


def chosen(
    pages: Sequence[Page],
    doubts: Sequence[NDArray],
    budget: int,
    *,
    already: Mapping[str, Sequence[str]] | None = None,
    floor: float = 0.0,
    seed: int = 0,
) -> dict[str, tuple[str, ...]]:
    return select_active(pages, orders(pages), doubts, already or {}, budget, seed, floor)


PAGES = [page(f"q{i}", 9, 6) for i in range(30)]


def test_the_pages_of_most_doubt_and_on_each_the_most_doubtful_of_every_list() -> None:
    said = {"q3": {"t1": 5.0, "t4": 4.0, "t8": 3.0, "a5": 2.0, "a0": 1.0}, "q7": {"t0": 2.0, "a3": 9.0, "a4": 0.5}}
    found = chosen(PAGES, in_doubt(PAGES, said), 10)
    assert set(found) == {"q3", "q7"}
    assert found["q3"] == ("a5", "a0", "t8", "t4", "t1")  # in page order: a third of 9 and of 6
    assert {"t0", "a3", "a4"} <= set(found["q7"])
    assert Counter(i[0] for i in found["q7"]) == {"t": 3, "a": 2}


def test_pages_count_by_their_mean_over_what_was_not_asked() -> None:
    said = {"q1": {"t0": 90.0}, "q2": dict.fromkeys(PAGES[2].result_ids, 1.0)}
    doubts = in_doubt(PAGES, said)
    assert set(chosen(PAGES, doubts, 5)) == {"q1"}  # 90 / 15 > 1
    assert set(chosen(PAGES, doubts, 5, already={"q1": ["t0"]})) == {"q2"}


def test_what_was_asked_is_not_asked_again_and_lists_give_what_they_have() -> None:
    pages = [page("q", 6, 3)]
    doubts = in_doubt(pages, {}, 1.0)
    already = {"q": ["t0", "t1", "t2", "t3", "t4", "a0", "a1", "a2"]}
    assert chosen(pages, doubts, 5, already=already) == {"q": ("t5",)}
    assert chosen(pages, doubts, 5, already={"q": list(pages[0].result_ids)}) == {}
    assert chosen(pages, doubts, 0) == {}


def test_a_short_list_gives_one_at_least() -> None:
    pages = [page("q", 12, 1), page("r", 12, 1)]
    found = chosen(pages, in_doubt(pages, {"q": {"t7": 1.0}}), 5)["q"]
    assert Counter(i[0] for i in found) == {"t": 4, "a": 1}


@pytest.mark.parametrize("floor", [0.0, 0.25, 0.7, 1.0])
@pytest.mark.parametrize("budget", [1, 7, 60, 200, 450])
def test_never_more_than_the_budget_and_hardly_less(budget: int, floor: float) -> None:
    pages = [page(f"q{i}", 3 + i % 9, i % 5) for i in range(60)]
    draw = np.random.default_rng(budget)
    doubts = [draw.random(len(p)) for p in pages]
    labels = sum(map(len, chosen(pages, doubts, budget, floor=floor).values()))
    full = sum(map(len, pages))
    assert labels <= budget
    if budget > 10 and floor < 1:
        assert labels > 0.93 * min(budget, full)


def test_a_floor_leaves_a_share_of_the_labels_to_chance() -> None:
    said = {f"q{i}": dict.fromkeys(PAGES[i].result_ids, 1.0) for i in range(15)}  # the first half of the pages
    doubts = in_doubt(PAGES, said)
    assert all(int(q[1:]) < 15 for q in chosen(PAGES, doubts, 40))
    outside = [sum(int(q[1:]) >= 15 for q in chosen(PAGES, doubts, 40, floor=0.5, seed=s)) for s in range(200)]
    assert abs(np.mean(outside) - 2) < 0.3  # 4 of 8 pages by chance, half of them outside; standard error .07


def test_all_left_to_chance_is_concentrated() -> None:
    pages = [page(f"q{i}", 5 + i % 9, i % 6) for i in range(40)]
    full = sum(map(len, pages))
    for budget in (30, 60, full // 3, full // 2):
        found = chosen(pages, in_doubt(pages, {}), budget, floor=1.0, seed=4)
        share = math.nextafter(math.nextafter(budget / full, 1), 1)  # rounding must not lose the last label
        assert found == {q: i for q, i in select(pages, orders(pages), Concentrated(share), seed=4).bought.items() if i}


def test_equal_doubts_go_by_the_seed() -> None:
    doubts = in_doubt(PAGES, {}, 0.1)
    draws = [chosen(PAGES, doubts, 25, seed=seed) for seed in range(8)]
    assert len({tuple(sorted(found)) for found in draws}) > 1
    assert draws[0] == chosen(PAGES, doubts, 25, seed=0)
    short_and_long = [page("short", 3), page("long", 40)]  # .1 summed up is not .1 times its count
    first = {next(iter(chosen(short_and_long, in_doubt(short_and_long, {}, 0.1), 13, seed=s))) for s in range(20)}
    assert first == {"short", "long"}


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_the_order_of_pages_and_results_changes_nothing(floor: float) -> None:
    draw = np.random.default_rng(0)
    doubts = [draw.integers(0, 3, len(p)).astype(np.float32) for p in PAGES]  # many ties
    one = chosen(PAGES, doubts, 60, floor=floor)
    assert chosen(PAGES[::-1], doubts[::-1], 60, floor=floor) == one
    turned = [Page(p.query, p.results[::-1]) for p in PAGES]
    same = select_active(turned, orders(PAGES), [d[::-1] for d in doubts], {}, 60, 0, floor)
    assert {q: set(ids) for q, ids in same.items()} == {q: set(ids) for q, ids in one.items()}
    assert all(same[q] == one[q][::-1] for q in one)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.001])
def test_doubts_that_are_no_doubts_are_refused(bad: float) -> None:
    doubts = in_doubt(PAGES, {"q4": {"t2": bad}})
    with pytest.raises(InputError, match=r"'q4'.*'t2'"):
        chosen(PAGES, doubts, 5)


def test_what_does_not_fit_together_is_refused() -> None:
    doubts = in_doubt(PAGES, {})
    with pytest.raises(ShapeError, match="29 arrays for 30 pages"):
        chosen(PAGES, doubts[1:], 5)
    with pytest.raises(ShapeError, match=r"'q0'.*\(14,\)"):
        chosen(PAGES, [doubts[0][1:], *doubts[1:]], 5)
    with pytest.raises(ShapeError, match=r"\(15, 1\)"):
        chosen(PAGES, [doubts[0][:, None], *doubts[1:]], 5)
    for already in ({"q0": ["zz"]}, {"elsewhere": ["t0"]}):
        with pytest.raises(InputError, match="already asked"):
            chosen(PAGES, doubts, 5, already=already)
    with pytest.raises(InputError, match="budget=-1"):
        chosen(PAGES, doubts, -1)
    with pytest.raises(InputError, match=r"floor=1\.5"):
        chosen(PAGES, doubts, 5, floor=1.5)
    with pytest.raises(NoRanker, match="no ranking"):
        select_active(PAGES, [{} for _ in PAGES], doubts, {}, 5, 0, 0.0)
    with pytest.raises(DecodingError, match="lost"):
        select_active(PAGES[:1], [{**orders(PAGES)[0], Modality.TEXT: Ranking("q0", ("t0",))}], doubts[:1], {}, 5, 0, 0)
