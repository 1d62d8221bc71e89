"""Blocks, heights, rank-biased precision and bad cases: by hand, by brute force, and what must hold for all pages."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from wholepage.evaluation.page.arrays import GradedPages, from_arrays, from_rankings
from wholepage.evaluation.page.bad_cases import bad_case
from wholepage.evaluation.page.block_gain import block_gains, block_ndcg
from wholepage.evaluation.page.height_gain import height_biased_gain, normalised_height_biased_gain
from wholepage.evaluation.page.heights import Heights
from wholepage.evaluation.page.rank_biased import rank_biased_precision, rank_biased_residual, scaled_gains
from wholepage.pages.errors import InputError

NAN = np.nan
RESULT = st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0, NAN]), st.integers(0, 3))
PAGE = st.lists(RESULT, min_size=1, max_size=6)


def pages_of(*pages: list[tuple[float, int]]) -> GradedPages:
    """Pages from lists of (grade, modality code)."""
    depth = max(map(len, pages))
    wide = [[*page, *[(NAN, 0)] * (depth - len(page))] for page in pages]
    grades, kinds = ([[r[i] for r in page] for page in wide] for i in (0, 1))
    return from_arrays(grades, lengths=[len(p) for p in pages], modality=kinds)


# ------------------------------------------------------------------------------------------------ blocks


def test_block_gains_by_hand() -> None:
    pages = pages_of([(1, 0), (3, 0), (NAN, 1), (2, 1), (0, 0)], [(2, 3)])
    assert block_gains(pages, gain="max").tolist() == [[3, 2, 0], [2, 0, 0]]
    assert block_gains(pages, gain="sum").tolist() == [[4, 2, 0], [2, 0, 0]]
    assert block_gains(pages, gain="mean").tolist() == [[2, 1, 0], [2, 0, 0]]


def test_block_ndcg_by_hand() -> None:
    pages = pages_of([(1, 0), (0, 0), (3, 1), (2, 0)])  # blocks of 1, 3, 2 by the largest
    log3 = np.log2(3)
    assert block_ndcg(pages) == pytest.approx((1 + 3 / log3 + 2 / 2) / (3 + 2 / log3 + 1 / 2))
    assert block_ndcg(pages, k=1) == pytest.approx(1 / 3)
    assert block_ndcg(pages, gain="mean", k=1) == pytest.approx(0.5 / 3)
    nothing = block_ndcg(pages_of([(0, 0), (NAN, 1)], [(2, 0), (1, 1)]))
    assert np.isnan(nothing[0])
    assert nothing[1] == 1.0
    with pytest.raises(InputError, match="k: got 0"):
        block_ndcg(pages, k=0)


@given(PAGE, st.sampled_from(["max", "mean", "sum"]), st.sampled_from([None, 1, 2, 3]))
def test_ideal_block_order_is_the_best_of_all(page: list[tuple[float, int]], gain: Any, k: int | None) -> None:
    blocks: list[list[tuple[float, int]]] = []
    for result in page:
        if blocks and blocks[-1][-1][1] == result[1]:
            blocks[-1].append(result)
        else:
            blocks.append([result])
    worth = [{"max": max, "sum": sum, "mean": np.mean}[gain](list(np.nan_to_num([g for g, _ in b]))) for b in blocks]

    def dcg(order: Any) -> float:
        return sum(g / np.log2(n + 2) for n, g in enumerate(list(order)[:k]))

    best = max(dcg(order) for order in permutations(worth))
    expected = dcg(worth) / best if best else NAN
    assert block_ndcg(pages_of(page), k=k, gain=gain)[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


# ------------------------------------------------------------------------------------------------ heights


def test_height_biased_gain_by_hand() -> None:
    heights = Heights(text=1, image=2)
    pages = pages_of([(2, 1), (NAN, 0), (1, 0)])  # heights 2, 1, 1
    met_at_top = 2 + 1 * 2 ** (-3 / 4)
    assert height_biased_gain(pages, heights, half=4, spread="top")[0] == pytest.approx(met_at_top, abs=1e-12)
    spread = 2 * quad(lambda x: 2 ** (-x / 4), 0, 2)[0] / 2 + quad(lambda x: 2 ** (-x / 4), 3, 4)[0]
    assert height_biased_gain(pages, heights, half=4)[0] == pytest.approx(spread, abs=1e-9)
    first = 2 * quad(lambda x: 2 ** (-x / 4), 0, 2)[0] / 2
    assert height_biased_gain(pages, heights, half=4, k=1)[0] == pytest.approx(first, abs=1e-9)


def test_height_biased_gain_of_equal_heights_is_rank_biased_precision() -> None:
    flat, p = Heights(text=1, image=1, video=1, answer=1), 0.8
    pages = pages_of([(1, 0), (0, 1), (1, 3), (NAN, 2), (1, 0)])
    found = height_biased_gain(pages, flat, half=np.log(0.5) / np.log(p), spread="top")
    assert found * (1 - p) == pytest.approx(rank_biased_precision(pages, p=p), abs=1e-12)


def test_a_tall_result_above_pushes_gain_down() -> None:
    tall, short = pages_of([(0, 3), (3, 0)]), pages_of([(0, 0), (3, 0)])
    assert height_biased_gain(tall, Heights())[0] < height_biased_gain(short, Heights())[0]


def test_nothing_to_measure_is_nan_and_no_gain_is_zero() -> None:
    pages = pages_of([(NAN, 0)], [(0, 0)])
    np.testing.assert_array_equal(height_biased_gain(pages, Heights()), [NAN, 0])
    np.testing.assert_array_equal(normalised_height_biased_gain(pages, Heights()), [NAN, NAN])


@pytest.mark.parametrize("wrong", [{"half": 0.0}, {"half": NAN}, {"k": 0}])
def test_wrong_heights_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="got"):
        height_biased_gain(pages_of([(1, 0)]), Heights(), **wrong)


@given(PAGE, st.sampled_from(["even", "top"]), st.sampled_from([0.7, 3.0, 40.0]))
def test_ideal_of_heights_is_the_best_of_all_orders(page: list[tuple[float, int]], spread: Any, half: float) -> None:
    all_orders = pages_of(*map(list, permutations(page)))
    best = np.nanmax(np.append(height_biased_gain(all_orders, Heights(), half=half, spread=spread), -1))
    pages = pages_of(page)
    given_ = height_biased_gain(pages, Heights(), half=half, spread=spread)[0]
    expected = given_ / best if best > 0 else NAN
    found = normalised_height_biased_gain(pages, Heights(), half=half, spread=spread)[0]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(PAGE, st.data())
def test_a_better_result_of_equal_height_moved_up_never_lowers_it(page: list[tuple[float, int]], data: Any) -> None:
    first = data.draw(st.integers(0, len(page) - 1))
    second = data.draw(st.integers(first, len(page) - 1))
    (upper, kind), (lower, _) = page[first], page[second]
    if not np.nan_to_num(lower) > np.nan_to_num(upper):
        return
    before = [*page[:second], (lower, kind), *page[second + 1 :]]
    after = list(before)
    after[first], after[second] = before[second], before[first]
    for spread in ("even", "top"):
        up, down = (height_biased_gain(pages_of(p), Heights(), spread=spread)[0] for p in (after, before))
        assert up >= down - 1e-12


@given(PAGE, PAGE)
def test_a_longer_page_beside_it_changes_nothing(page: list[tuple[float, int]], other: list[tuple[float, int]]) -> None:
    both = pages_of(page, [*other, *page, *other])
    for measure in (
        block_ndcg,
        lambda pages: height_biased_gain(pages, Heights()),
        lambda pages: normalised_height_biased_gain(pages, Heights()),
        rank_biased_precision,
        rank_biased_residual,
        lambda pages: bad_case(pages, k=2, below="item"),
    ):
        np.testing.assert_allclose(measure(both)[0], measure(pages_of(page))[0], atol=1e-12)


# ------------------------------------------------------------------------------------------------ rank-biased


def test_rank_biased_precision_by_hand() -> None:
    pages = from_arrays([[3, NAN, 1], [NAN, 0, 0], [NAN, NAN, NAN]], lengths=[3, 2, 3])
    np.testing.assert_allclose(rank_biased_precision(pages, p=0.5), [0.5 + 0.125, 0.0, NAN])
    np.testing.assert_allclose(rank_biased_precision(pages, p=0.5, top=3), [0.5 + 0.125 / 3, 0.0, NAN])
    np.testing.assert_allclose(rank_biased_residual(pages, p=0.5), [0.25 + 0.125, 0.5 + 0.25, 1.0])
    with pytest.raises(InputError, match="p: got 1"):
        rank_biased_precision(pages, p=1.0)
    with pytest.raises(InputError, match="top: got 0"):
        scaled_gains(pages.grades, top=0)


# ------------------------------------------------------------------------------------------------ bad cases


def test_bad_cases_by_hand() -> None:
    rows = [
        [3, 0, 2, 1],  # a 0 within two, a 2 below them
        [3, 0, 0, 0],  # a 0 within two, nothing better below
        [0, 3, 0, NAN],  # the better one is within two: only below the item
        [2, 2, 3, 0],  # nothing bad within two
        [NAN, 3, 3, 3],  # unjudged is not bad
        [NAN, NAN, NAN, NAN],
    ]
    pages = from_arrays(rows)
    np.testing.assert_array_equal(bad_case(pages, k=2), [1, 0, 0, 0, 0, NAN])
    np.testing.assert_array_equal(bad_case(pages, k=2, below="item"), [1, 0, 1, 0, 0, NAN])
    np.testing.assert_array_equal(bad_case(pages, k=2, by=3), [0, 0, 0, 0, 0, NAN])
    np.testing.assert_array_equal(bad_case(pages, k=2, bad=2), [0, 0, 0, 1, 0, NAN])
    np.testing.assert_array_equal(bad_case(from_arrays(np.zeros((1, 0))), k=2, below="item"), [NAN])
    with pytest.raises(InputError, match="by=0"):
        bad_case(pages, k=2, by=0)


@pytest.mark.parametrize("below", ["cut", "item"])
def test_bad_cases_equal_the_words(thousand: Any, below: Any) -> None:
    found = bad_case(from_rankings(thousand.rankings, thousand.judgments), k=4, by=2, below=below)
    for value, ranking in zip(found, thousand.rankings, strict=True):
        graded = thousand.qrels[ranking.query_id]
        row = [graded.get(i, NAN) for i in ranking.result_ids]
        bad = [n for n, g in enumerate(row[:4]) if g <= 0]
        told = any(g >= 2 and n > (3 if below == "cut" else b) for b in bad for n, g in enumerate(row))
        assert value == pytest.approx(float(told) if any(g >= 0 for g in row) else NAN, nan_ok=True)
    assert 0.1 < np.nanmean(found) < 0.9
