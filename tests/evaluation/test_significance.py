"""Tests and intervals against exact enumeration, scipy called directly, and a hand-worked Holm table."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wholepage.evaluation.significance import bca_interval, compare_to, holm, not_worse, permutation_test
from wholepage.pages.errors import InputError, ShapeError


def exact(differences: list[float]) -> float:
    """The two-sided sign-flip p-value, all ways tried."""
    observed = abs(sum(differences))
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(total >= observed - 1e-12 for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(10))
def test_small_samples_are_tested_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, size=9) / 4, rng.integers(0, 5, size=9) / 4
    assert permutation_test(a, b, seed=0) == pytest.approx(exact((a - b).tolist()))
    assert permutation_test(a, b, seed=0) == permutation_test(b, a, seed=1)


def test_large_samples_come_close_to_the_exact_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(14), rng.random(14) + 0.15
    sampled = permutation_test(a, b, permutations=16_000, seed=5)  # fewer than 2^14, so drawn
    assert sampled == pytest.approx(exact((a - b).tolist()), abs=0.02)
    assert permutation_test(a, b, permutations=999, seed=5) == permutation_test(a, b, permutations=999, seed=5)
    assert len({permutation_test(a, b, permutations=999, seed=s) for s in range(8)}) > 1


def test_equal_rankers_do_not_differ() -> None:
    values = np.random.default_rng(0).random(30)
    assert permutation_test(values, values, seed=0) == 1.0


def test_false_alarms_come_about_as_often_as_they_should() -> None:
    rng = np.random.default_rng(11)
    p = [permutation_test(*rng.normal(size=(2, 30)), permutations=400, seed=n) for n in range(300)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_shift_is_found() -> None:
    rng = np.random.default_rng(12)
    a = rng.normal(size=60)
    p = permutation_test(a + 0.6 + rng.normal(size=60) * 0.5, a, seed=0)
    assert 0 < p <= 0.001  # drawn at random, never 0


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_is_scipy_s(level: float) -> None:
    values = np.random.default_rng(1).exponential(size=50)
    low, high = bca_interval(values, level=level, resamples=2000, seed=7)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, confidence_level=level, method="BCa", rng=np.random.default_rng(7)
    ).confidence_interval
    assert (low, high) == (expected.low, expected.high)
    assert low < values.mean() < high
    # for a mean of this many the normal interval is near; skew moves BCa to the right of it
    half = stats.norm.ppf(0.5 + level / 2) * values.std(ddof=1) / math.sqrt(50)
    assert low == pytest.approx(values.mean() - half, abs=0.4 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.6 * half)
    assert high - values.mean() > values.mean() - low


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [bca_interval(rng.normal(3.0, size=40), level=0.9, resamples=500, seed=n) for n in range(200)]
    assert 0.82 <= np.mean([low <= 3.0 <= high for low, high in intervals]) <= 0.96


def test_interval_of_equal_or_nearly_equal_values() -> None:
    for count in range(2, 20):  # whose mean is not always the value itself in floating point
        assert bca_interval([0.1] * count, seed=0) == (0.1, 0.1)
    low, high = bca_interval([0.0] * 9 + [1e-200], seed=0)  # the acceleration is 0 / 0 here
    assert 0.0 <= low <= high <= 1e-200
    low, high = bca_interval([0.0, 1.0], seed=0)
    assert 0.0 <= low <= high <= 1.0


def test_holm_by_hand() -> None:
    # sorted: .005 * 4, .01 * 3, .03 * 2, .04 * 1 raised to the .06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """Brute force: the largest Bonferroni p-value over all sets of hypotheses that hold this one."""
    places = range(len(p_values))
    expected = [
        max(
            min(1.0, len(chosen) * min(p_values[j] for j in chosen))
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(places, size)
            if i in chosen
        )
        for i in places
    ]
    assert holm(p_values) == pytest.approx(expected)


def table(queries: int, others: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    rng = np.random.default_rng(4)
    reference = {f"q{i}": float(value) for i, value in enumerate(rng.random(queries))}
    shifted = {
        f"ranker {n}": {q: value + 0.01 * n + 0.1 * float(rng.normal()) for q, value in reference.items()}
        for n in range(others)
    }
    return reference, shifted


def test_compare_to_says_what_its_parts_say() -> None:
    reference, others = table(40, 3)
    found = compare_to(reference, others, seed=9, level=0.9, permutations=500, resamples=600)
    assert [c.name for c in found] == list(others)
    for comparison in found:
        other = others[comparison.name]
        names = sorted(reference)
        a, b = [other[q] for q in names], [reference[q] for q in names]
        d = np.array(a) - np.array(b)
        assert comparison.queries == 40
        assert comparison.difference == pytest.approx(d.mean())
        assert (comparison.low, comparison.high) == bca_interval(d, level=0.9, resamples=600, seed=9)
        assert comparison.p == permutation_test(a, b, permutations=500, seed=9)
    assert [c.p_holm for c in found] == holm([c.p for c in found])


def test_compare_to_ignores_the_order_of_queries_and_of_other_rankers() -> None:
    reference, others = table(30, 3)
    found = compare_to(reference, others, seed=1, permutations=300, resamples=300)
    turned = {name: dict(reversed(of.items())) for name, of in reversed(others.items())}
    again = compare_to(dict(reversed(reference.items())), turned, seed=1, permutations=300, resamples=300)
    assert found == again[::-1]
    alone = compare_to(reference, {"ranker 1": others["ranker 1"]}, seed=1, permutations=300, resamples=300)[0]
    assert (alone.difference, alone.low, alone.p) == (found[1].difference, found[1].low, found[1].p)
    assert alone.p_holm == alone.p


def test_compare_to_leaves_out_queries_without_a_value_on_either_side() -> None:
    reference = {"a": 0.0, "b": math.nan, "c": 0.5, "d": 1.0}
    other = {"a": 0.5, "b": 1.0, "c": math.nan, "d": 1.0}
    (found,) = compare_to(reference, {"other": other}, seed=0)
    assert (found.queries, found.difference) == (2, 0.25)


def test_256_queries_by_10_rankers_are_fast() -> None:
    reference, others = table(256, 10)
    started = time.process_time()
    found = compare_to(reference, others, seed=0)
    assert time.process_time() - started < 6  # about 1.5 s; the room is for busy machines
    assert found[9].p_holm < 0.01 < found[0].p_holm


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: permutation_test([1.0], [1.0, 2.0], seed=0), "equal lengths"),
        (lambda: permutation_test([], [], seed=0), "no value"),
        (lambda: permutation_test([1.0, math.nan], [1.0, 2.0], seed=0), r"a\[1\]: got nan"),
        (lambda: permutation_test([1.0], [1.0], permutations=0, seed=0), "permutations"),
        (lambda: bca_interval([1.0], seed=0), "2 or more"),
        (lambda: bca_interval([1.0, 2.0], level=95, seed=0), "level: got 95"),
        (lambda: bca_interval([1.0, 2.0], resamples=0, seed=0), "resamples"),
        (lambda: holm([0.5, 1.5]), r"p_values\[1\]: got 1.5"),
        (lambda: holm([math.nan]), "got nan"),
        (lambda: compare_to({"a": 1.0, "b": 1.0}, {"x": {"a": 1.0, "c": 2.0}}, seed=0), r"'x'.*\['b', 'c'\]"),
        (lambda: compare_to({"a": 1.0}, {"x": {"a": 1.0}}, seed=0), "got 1 queries"),
    ],
)
def test_bad_input_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()  # type: ignore[operator]


def test_values_must_be_a_row() -> None:
    with pytest.raises(ShapeError):
        bca_interval([[1.0, 2.0]], seed=0)


# ------------------------------------------------------------------ not worse


def test_not_worse_is_read_off_the_lower_end() -> None:
    rng = np.random.default_rng(2)
    b = rng.random(400)
    noise = rng.normal(size=400) * 0.02
    noise -= noise.mean()
    answers = {shift: not_worse(b + noise + shift, b, resamples=2000, seed=1) for shift in (-0.02, -0.002, 0.01)}
    assert [(one.not_worse, one.better) for one in answers.values()] == [(False, False), (True, False), (True, True)]
    for shift, one in answers.items():
        assert one.difference == pytest.approx(shift, abs=1e-12)
        assert (one.queries, one.margin, one.level) == (400, 0.005, 0.95)
        half_width = 1.96 * noise.std(ddof=1) / math.sqrt(400)  # the normal approximation
        assert (one.low, one.high) == pytest.approx((shift - half_width, shift + half_width), abs=3e-4)
    assert not not_worse(b + noise - 0.002, b, margin=0.001, resamples=2000, seed=1).not_worse


def test_not_worse_is_paired() -> None:
    rng = np.random.default_rng(4)
    b = rng.random(100)
    a = b + rng.normal(size=100) * 0.01
    assert not_worse(a, b, resamples=1000, seed=0).not_worse
    assert not not_worse(rng.permutation(a), b, resamples=1000, seed=0).not_worse


def test_every_resample_of_few_queries_agrees_with_the_drawn_ones() -> None:
    a, b = np.array([0.3, 0.9, 0.5, 0.7, 0.6]), np.array([0.2, 0.7, 0.6, 0.4, 0.6])
    d = a - b
    # BCa by hand over all 5^5 resamples.
    means = np.sort([np.mean(draw) for draw in itertools.product(d, repeat=5)])
    z0 = stats.norm.ppf(((means < d.mean() - 1e-12).mean() + (means <= d.mean() + 1e-12).mean()) / 2)
    left_out = np.array([np.delete(d, i).mean() for i in range(5)])
    u = left_out.mean() - left_out
    skew = (u**3).sum() / (6 * (u**2).sum() ** 1.5)
    z = stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(z0 + (z0 + z) / (1 - skew * (z0 + z))))
    found = not_worse(a, b, resamples=20_000, seed=0)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    assert found.not_worse == (low > -0.005)


def test_at_the_border_few_are_wrongly_called_not_worse() -> None:
    """At a true difference of exactly -margin, 2.5 of 100 may be; skewed differences, as nDCG's are."""
    rng = np.random.default_rng(8)
    wrong = sum(
        not_worse(rng.exponential(0.05, 80) - 0.05 - 0.005, np.zeros(80), resamples=400, seed=n).not_worse
        for n in range(400)
    )
    assert 1 <= wrong <= 24  # 10 expected


def test_what_cannot_be_tested_for_a_margin_is_refused() -> None:
    with pytest.raises(InputError, match=r"margin: got -0\.1"):
        not_worse([0.1, 0.2], [0.1, 0.3], margin=-0.1, seed=0)
    with pytest.raises(InputError, match="margin: got nan"):
        not_worse([0.1, 0.2], [0.1, 0.3], margin=math.nan, seed=0)
    with pytest.raises(InputError, match=r"b\[1\]: got nan"):
        not_worse([0.1, 0.2], [0.1, math.nan], seed=0)
    with pytest.raises(ShapeError, match="equal lengths"):
        not_worse([0.1, 0.2], [0.1], seed=0)
    with pytest.raises(InputError, match="2 or more"):
        not_worse([0.1], [0.1], seed=0)
