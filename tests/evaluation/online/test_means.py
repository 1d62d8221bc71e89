"""Means of users against scipy, the bootstrap and what theory says; false alarms and coverage over many nulls."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from wholepage.evaluation.online.means import cuped, linearised, mean_of, ratio_difference, welch
from wholepage.pages.errors import InputError, ShapeError

Record = Callable[[str, object], None]
NULLS = 8000  # the standard error of a rate of 5 % over as many is 0.24 %


def visits(
    rng: np.random.Generator, users: int, *, ctr: float = 0.3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Clicks and pages of users who click more or less, and come more or less often: the two go together."""
    keen = rng.beta(4 * ctr, 4 * (1 - ctr), size=users)
    pages = 1 + rng.poisson(1 + 8 * keen)
    return rng.binomial(pages, keen).astype(float), pages.astype(float)


def true_ratio(ctr: float = 0.3) -> float:
    keen, second = ctr, ctr**2 + ctr * (1 - ctr) / 5
    return (2 * keen + 8 * second) / (2 + 8 * keen)


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.gamma(2, size=rng.integers(2, 40)), rng.normal(2, 3, size=rng.integers(2, 40))
        found, wanted = welch(a, b, level=0.9), stats.ttest_ind(b, a, equal_var=False)
        interval = wanted.confidence_interval(0.9)
        assert (found.p, found.low, found.high) == pytest.approx((wanted.pvalue, interval.low, interval.high), rel=1e-9)
        assert found.difference == pytest.approx(b.mean() - a.mean())
        assert found.relative == pytest.approx(b.mean() / a.mean() - 1)


def test_mean_is_scipys() -> None:
    values = np.random.default_rng(1).gamma(2, size=30)
    found, wanted = mean_of(values), stats.ttest_1samp(values, 0.0)
    interval = wanted.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((wanted.pvalue, interval.low, interval.high), rel=1e-9)


def test_where_nothing_varies_nothing_is_known() -> None:
    still = welch([0.1] * 3, [0.1] * 7)
    assert (still.p, still.low, still.high) == (1.0, -math.inf, math.inf)
    assert still.difference == pytest.approx(0.0, abs=1e-15)
    assert welch([1.0] * 3, [2.0] * 3).p == 1.0
    assert (welch([1.0] * 3, [2.0] * 3).relative_low, welch([1.0] * 3, [0.0] * 3).relative_high) == (
        -math.inf,
        math.inf,
    )
    assert math.isnan(welch([0.0] * 3, [0.0] * 3).relative_high)
    assert math.isnan(welch([-1.0, 1.0], [2.0, 3.0]).relative)
    one_still = welch([1.0] * 5, [0.0, 1.0, 2.0, 5.0])
    assert math.isfinite(one_still.low)
    assert mean_of([0.3] * 3).p == 1.0


def test_the_ratio_is_the_ratio_of_sums() -> None:
    clicks, pages = visits(np.random.default_rng(2), 500)
    values = linearised(clicks, pages)
    assert values.mean() == pytest.approx(clicks.sum() / pages.sum())
    assert linearised(clicks, np.ones(500)) == pytest.approx(clicks)
    # The delta method by its textbook formula.
    ratio, cov = clicks.mean() / pages.mean(), np.cov(clicks, pages)
    variance = (cov[0, 0] - 2 * ratio * cov[0, 1] + ratio**2 * cov[1, 1]) / pages.mean() ** 2
    assert values.var(ddof=1) == pytest.approx(variance)


def test_delta_method_is_the_bootstrap_of_users() -> None:
    rng = np.random.default_rng(3)
    first, second = visits(rng, 1500), visits(rng, 1200, ctr=0.33)
    found = ratio_difference(first, second)
    drawn = []
    for clicks, pages in (first, second):
        index = rng.integers(len(clicks), size=(4000, len(clicks)))
        drawn.append(clicks[index].sum(axis=1) / pages[index].sum(axis=1))
    differences = drawn[1] - drawn[0]
    # The spread of 4000 draws is itself known to 1.1 %.
    assert found.standard_error == pytest.approx(differences.std(ddof=1), rel=0.045)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, (0.025, 0.975))), abs=0.002)
    relative = drawn[1] / drawn[0] - 1
    ends = (found.relative_low, found.relative_high)
    assert ends == pytest.approx(tuple(np.quantile(relative, (0.025, 0.975))), abs=0.008)
    naive = math.sqrt(sum(p.sum() ** -1 * 0.36 * 0.64 for _, p in (first, second)))
    assert found.standard_error > 1.2 * naive  # pages of one user are alike: taking them for users would be wrong


def test_false_alarms_and_coverage_of_means(record_property: Record) -> None:
    """Skewed values, arms of different size and spread."""
    rng = np.random.default_rng(4)
    first, second = rng.gamma(4, 0.5, size=(NULLS, 120)), 2 + 1.5 * rng.normal(size=(NULLS, 200))
    found = [welch(a, b) for a, b in zip(first, second, strict=True)]
    alarms = np.mean([one.p <= 0.05 for one in found])
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    relative = np.mean([one.relative_low <= 0 <= one.relative_high for one in found])
    alone = [mean_of(b - 2) for b in second]
    one_mean = np.mean([one.p <= 0.05 for one in alone])
    for name, rate in (("welch", alarms), ("welch coverage", covered), ("relative", relative), ("mean", one_mean)):
        record_property(name, rate)
    assert 0.04 <= alarms <= 0.06
    assert 0.94 <= covered <= 0.96
    assert 0.94 <= relative <= 0.96
    assert 0.04 <= one_mean <= 0.06


def test_false_alarms_and_coverage_of_ratios(record_property: Record) -> None:
    rng = np.random.default_rng(5)
    users, truth = 300, true_ratio()
    clicks, pages = visits(rng, NULLS * 2 * users)
    clicks, pages = clicks.reshape(NULLS, 2, users), pages.reshape(NULLS, 2, users)
    found = [ratio_difference((c[0], p[0]), (c[1], p[1])) for c, p in zip(clicks, pages, strict=True)]
    alarms = np.mean([one.p <= 0.05 for one in found])
    own = [mean_of(linearised(c[0], p[0])) for c, p in zip(clicks, pages, strict=True)]
    covered = np.mean([one.low <= truth <= one.high for one in own])
    record_property("ratio", alarms)
    record_property("ratio coverage", covered)
    assert 0.04 <= alarms <= 0.06
    assert 0.94 <= covered <= 0.96


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_cuped_saves_what_the_past_foretold(rho: float) -> None:
    rng = np.random.default_rng(6)
    past = rng.normal(10, 3, size=40_000)
    now = rho * (past - 10) / 3 + math.sqrt(1 - rho**2) * rng.normal(size=40_000)
    made = cuped(now[:20_000], now[20_000:] + 0.1, past[:20_000], past[20_000:])
    assert made.variance_saved == pytest.approx(rho**2, abs=0.012)
    assert made.theta == pytest.approx(rho / 3, abs=0.007)
    spread = [one.var(ddof=1) for one in (made.control, made.treatment)]
    assert spread == pytest.approx([1 - rho**2] * 2, abs=0.03)
    found, plain = welch(made.control, made.treatment), welch(now[:20_000], now[20_000:] + 0.1)
    assert (found.standard_error / plain.standard_error) ** 2 == pytest.approx(1 - rho**2, abs=0.012)
    assert found.low <= 0.1 <= found.high


def test_cuped_false_alarms_and_coverage(record_property: Record) -> None:
    """With new users, whose past is not known, and an effect: it must not leak into what is taken out."""
    rng = np.random.default_rng(7)
    past = rng.gamma(2, size=(NULLS, 2, 100))
    now = 0.7 * past + rng.normal(size=past.shape)
    past[rng.random(past.shape) < 0.2] = np.nan
    now[:, 1] += 0.4
    found = []
    for y, x in zip(now, past, strict=True):
        made = cuped(y[0], y[1], x[0], x[1])
        found.append(welch(made.control, made.treatment))
    covered = np.mean([one.low <= 0.4 <= one.high for one in found])
    made_null = [cuped(y[0], y[1] - 0.4, x[0], x[1]) for y, x in zip(now, past, strict=True)]
    alarms = np.mean([welch(one.control, one.treatment).p <= 0.05 for one in made_null])
    record_property("cuped", alarms)
    record_property("cuped coverage", covered)
    assert 0.94 <= covered <= 0.96
    assert 0.04 <= alarms <= 0.06


def test_cuped_without_a_past_changes_nothing() -> None:
    now = np.arange(6.0)
    for past in (np.full(3, np.nan), np.ones(3)):
        made = cuped(now[:3], now[3:], past, past)
        assert (made.theta, made.variance_saved) == (0.0, 0.0)
        assert made.control.tolist() == [0.0, 1.0, 2.0]
        assert made.treatment.tolist() == [3.0, 4.0, 5.0]


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ShapeError, match=r"\[users\]"):
        welch([[1.0, 2.0]], [1.0, 2.0])
    with pytest.raises(InputError, match="2 or more"):
        welch([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match=r"treatment\[1\]"):
        welch([1.0, 2.0], [1.0, math.nan])
    for level in (0.0, 1.0):
        with pytest.raises(InputError, match="level"):
            welch([1.0, 2.0], [1.0, 3.0], level=level)
    with pytest.raises(ShapeError, match="pair them by user"):
        linearised([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="sum of 0"):
        linearised([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(ShapeError, match="pair them by user"):
        cuped([1.0, 2.0], [1.0, 2.0], [1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="infinite"):
        cuped([1.0, 2.0], [1.0, 2.0], [1.0, math.inf], [1.0, 2.0])
