"""Scores out of many windows: exact where the windows agree, falling always, and checked against other solvers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn.isotonic import IsotonicRegression

from wholepage.pages.errors import DecodingError, ShapeError
from wholepage.rankers.permutation import Order, log_probabilities, order_by_logits
from wholepage.rankers.window_scores import Told, rest_by_scores, window_scores
from wholepage.rankers.windows import Asked, WindowPlan, drive


def asked_of(plan: WindowPlan, utilities: np.ndarray, noise: float = 0.0) -> tuple[Order, list[Told]]:
    """A run over items of these utilities, each window's numbers disturbed by its own noise."""
    random = np.random.default_rng(len(utilities))
    told: list[Told] = []

    def rank(asked: list[Asked]) -> list[Order]:
        for _, window in asked:
            disturbed = utilities[list(window)] + noise * random.standard_normal(len(window))
            told.append(Told(window, log_probabilities(disturbed)))
        return [order_by_logits(values) for _, values in told[-len(asked) :]]

    return drive([plan.start(len(utilities))], rank)[0].order, told


def drawn(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2.0, size=n)


@given(st.integers(1, 60), st.integers(0, 99), st.integers(3, 20))
def test_windows_that_agree_give_the_log_probabilities_of_the_whole_list(n: int, seed: int, window: int) -> None:
    utilities = drawn(n, seed)
    order, told = asked_of(WindowPlan("heap", window=window, top_k=n), utilities)
    np.testing.assert_allclose(window_scores(order, told), special.log_softmax(utilities), atol=1e-8)


@pytest.mark.parametrize("name", ["sliding", "tournament", "heap"])
@given(n=st.integers(0, 80), seed=st.integers(0, 99))
def test_scores_are_log_probabilities_that_never_rise_along_the_order(name: str, n: int, seed: int) -> None:
    order, told = asked_of(WindowPlan(name, 10, 5), drawn(n, seed), noise=1.5)  # type: ignore[arg-type]
    scores = window_scores(order, told)
    assert scores.shape == (n,)
    assert np.isfinite(scores).all()
    assert (np.diff(scores[list(order)]) <= 0).all()
    if n:
        assert special.logsumexp(scores) == pytest.approx(0, abs=1e-9)


def test_a_single_window_keeps_its_log_probabilities() -> None:
    values = log_probabilities(np.array([0.5, -1.0, 3.0, 0.5]))
    np.testing.assert_allclose(window_scores((2, 0, 3, 1), [Told((0, 1, 2, 3), values)]), values, rtol=1e-12)
    np.testing.assert_allclose(window_scores((1, 0), [Told((1, 0), values[[2, 1]])]), log_probabilities(values[[1, 2]]))


def test_what_no_window_told_is_alike() -> None:
    np.testing.assert_array_equal(window_scores((0,), []), [0.0])
    assert window_scores((), []).shape == (0,)


def test_the_shifts_are_those_of_a_plain_least_squares_solver() -> None:
    order, told = asked_of(WindowPlan("sliding", 8, 3), drawn(40, 5), noise=0.7)
    rows, values = [], []
    for w, (window, numbers) in enumerate(told):
        for item, value in zip(window, numbers, strict=True):
            row = np.zeros(40 + len(told))
            row[[item, 40 + w]] = 1
            rows.append(row)
            values.append(value)
    levels = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0][:40]
    falling = IsotonicRegression(increasing=False).fit_transform(np.arange(40), levels[list(order)])
    expected = np.empty(40)
    expected[list(order)] = special.log_softmax(falling)
    np.testing.assert_allclose(window_scores(order, told), expected, atol=1e-7)


@given(st.integers(2, 50), st.integers(0, 99), st.floats(-5, 5))
def test_the_ground_of_a_window_does_not_count(n: int, seed: int, shift: float) -> None:
    order, told = asked_of(WindowPlan("sliding", 6, 2), drawn(n, seed), noise=0.5)
    moved = [Told(told[0].window, told[0].log_probabilities + shift), *told[1:]]
    np.testing.assert_allclose(window_scores(order, moved), window_scores(order, told), atol=1e-7)


def test_windows_that_share_nothing_stand_on_the_same_footing() -> None:
    told = [Told((0, 1), log_probabilities(np.array([2.0, 0.0]))), Told((2, 3), log_probabilities(np.array([2.0, 0])))]
    scores = window_scores((0, 2, 1, 3), told)
    np.testing.assert_allclose(scores[[0, 1]], scores[[2, 3]])


def test_an_item_out_of_all_hope_does_not_tilt_the_others() -> None:
    values = log_probabilities(np.array([1.0, 0.0, -np.inf]))
    scores = window_scores((0, 1, 2), [Told((0, 1, 2), values), Told((1, 2), np.array([0.0, -1e30]))])
    assert scores[0] - scores[1] == pytest.approx(1.0)
    assert scores[2] < -29


def test_those_who_fell_out_are_ordered_by_what_was_told_of_them() -> None:
    utilities = drawn(60, 3)
    order, told = asked_of(WindowPlan("heap", 10, top_k=10), utilities)
    whole = rest_by_scores(order, told, 10)
    assert sorted(whole) == list(range(60))
    assert whole[:10] == order[:10]
    np.testing.assert_array_equal(whole, np.argsort(-utilities))  # nothing here contradicts itself
    np.testing.assert_allclose(window_scores(whole, told), special.log_softmax(utilities), atol=1e-8)
    assert rest_by_scores((2, 0, 1), [], 1) == (2, 0, 1)


@pytest.mark.parametrize(
    ("order", "told", "error", "named"),
    [
        ((0, 1), [Told((0, 1), np.zeros(3))], ShapeError, r"shape \(3,\) for a window of 2"),
        ((0, 1), [Told((0, 1), np.array([0, np.nan]))], DecodingError, "1 NaN"),
        ((0, 1), [Told((0, 2), np.zeros(2))], DecodingError, "items from 0 to 1"),
        ((0, 1, 2), [Told((0, 1), np.zeros(2))], DecodingError, r"without items \[2\]"),
        ((0, 0), [Told((0, 1), np.zeros(2))], DecodingError, "once in the order"),
        ((0, 0), [], DecodingError, "once in the order"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    order: Order, told: list[Told], error: type[Exception], named: str
) -> None:
    for read in (window_scores, lambda order, told: rest_by_scores(order, told, 1)):
        with pytest.raises(error, match=named):
            read(order, told)
