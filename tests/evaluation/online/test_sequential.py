"""Many looks: false alarms of the whole run, coverage at all looks together, and the formulas by other ways."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from wholepage.evaluation.online.means import welch
from wholepage.evaluation.online.sequential import bounded_sequence, confidence_sequence, looks, msprt
from wholepage.pages.errors import InputError, ShapeError

Record = Callable[[str, object], None]
PEEKS = [(250 * n, 250 * n) for n in range(1, 21)]
RUNS = 4000


@pytest.fixture(scope="module")
def nulls() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Twenty looks each at two arms of users who click, with equal chances: estimates, errors, users."""
    rng = np.random.default_rng(1)
    made = [looks(*rng.binomial(1, 0.2, size=(2, 5000)).astype(float), at=PEEKS) for _ in range(RUNS)]
    return np.array([m.estimates for m in made]), np.array([m.standard_errors for m in made]), made[0].users


def test_a_look_is_welch_on_what_came_so_far() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.gamma(2, size=60) + 1000, rng.gamma(3, size=80) + 1000
    found = looks(first, second, at=[(2, 3), (30, 20), (60, 80)])
    for n, (a, b) in enumerate([(2, 3), (30, 20), (60, 80)]):
        wanted = welch(first[:a], second[:b])
        assert found.estimates[n] == pytest.approx(wanted.difference)
        assert found.standard_errors[n] == pytest.approx(wanted.standard_error)
    assert found.users.tolist() == [5, 50, 140]


@pytest.mark.parametrize("tau", [0.005, 0.02, 0.1])
def test_msprt_under_twenty_peeks(
    tau: float, nulls: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]], record_property: Record
) -> None:
    estimates, errors, _ = nulls
    p = msprt(estimates, errors, tau=tau)
    rate = np.mean(p[:, -1] <= 0.05)
    peeking = np.mean((np.abs(estimates / errors) > stats.norm.ppf(0.975)).any(axis=1))
    record_property("msprt, 20 peeks", rate)
    record_property("plain test, 20 peeks", peeking)
    assert rate <= 0.05
    assert peeking > 0.2  # what it protects from
    assert (np.diff(p, axis=1) <= 0).all()


def test_msprt_finds_what_is_there() -> None:
    rng = np.random.default_rng(3)
    made = [
        looks(rng.binomial(1, 0.2, 5000).astype(float), rng.binomial(1, 0.24, 5000).astype(float), at=PEEKS)
        for _ in range(300)
    ]
    p = msprt([m.estimates for m in made], [m.standard_errors for m in made], tau=0.03)
    assert np.mean(p[:, -1] <= 0.05) > 0.9
    assert np.mean(p[:, 9] <= 0.05) > 0.4  # often long before the end


def test_the_ratio_is_a_mixture_over_effects() -> None:
    estimate, error, tau = 0.7, 0.25, 0.4
    grid = np.linspace(-8 * tau, 8 * tau, 200_001)
    step = grid[1] - grid[0]
    mixture = (stats.norm.pdf(estimate, grid, error) * stats.norm.pdf(grid, 0, tau)).sum() * step
    ratio = mixture / stats.norm.pdf(estimate, 0, error)
    assert msprt([estimate], [error], tau=tau)[0] == pytest.approx(min(1.0, 1 / ratio), rel=1e-6)
    assert msprt([3.0, 0.5, 0.1], [0.0, 0.3, 0.3], tau=tau)[0] == 1.0  # nothing known yet


def test_sequence_covers_at_all_looks_together(
    nulls: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]], record_property: Record
) -> None:
    estimates, errors, users = nulls
    low, high = confidence_sequence(estimates, errors, users, tightest_at=5000)
    covered = np.mean(((low <= 0) & (high >= 0)).all(axis=1))
    record_property("confidence sequence, 20 looks", covered)
    assert covered >= 0.95
    one_look = np.mean((low[:, -1] <= 0) & (high[:, -1] >= 0))
    assert one_look > 0.98


def test_sequence_and_msprt_are_two_sides_of_one_thing() -> None:
    """With the mixture of the same width, the interval ends where the p-value is alpha."""
    alpha, users, error = 0.05, 4000, 0.013
    weight = -2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)
    tau = error * math.sqrt(weight)
    _, high = confidence_sequence([0.0], [error], [users], tightest_at=users)
    assert msprt([high[0]], [error], tau=tau)[0] == pytest.approx(alpha, rel=1e-9)
    widths = []
    for planned in (500, 2000, 4000, 8000, 32_000):
        widths.append(confidence_sequence([0.0], [error], [users], tightest_at=planned)[1][0])
    assert int(np.argmin(widths)) == 2


def test_bounded_sequence_covers_from_the_first_value(record_property: Record) -> None:
    rng = np.random.default_rng(4)
    for name, values, truth in (
        ("beta", rng.beta(2, 6, size=(1500, 400)), 0.25),
        ("rare clicks", rng.binomial(1, 0.03, size=(1500, 400)).astype(float), 0.03),
    ):
        low, high = bounded_sequence(values)
        covered = np.mean(((low <= truth) & (truth <= high)).all(axis=1))
        record_property(f"bounded sequence, {name}", covered)
        assert covered >= 0.95
        assert np.mean(high[:, -1] - low[:, -1]) < 0.25
    long = rng.beta(2, 6, size=20_000)
    low, high = bounded_sequence(long)
    assert high[-1] - low[-1] < 0.015


def test_bounded_sequence_value_by_value() -> None:
    """The same by a plain loop, as the definition goes."""
    values = np.random.default_rng(5).random(30)
    cost, total, bets, paid = math.log(2 / 0.05), 0.0, 0.0, 0.0
    mean, squares, spread = 0.5, 0.25, 0.25
    lows, highs = bounded_sequence(values)
    for t, x in enumerate(values, start=1):
        bet = min(0.5, math.sqrt(2 * cost / (spread * t * math.log(1 + t))))
        total, bets = total + bet * x, bets + bet
        paid += 4 * (x - mean) ** 2 * (-math.log(1 - bet) - bet) / 4
        mean = (0.5 + values[:t].sum()) / (t + 1)
        squares += (x - mean) ** 2
        spread = squares / (t + 1)
        assert lows[t - 1] == pytest.approx(max(0.0, total / bets - (cost + paid) / bets))
        assert highs[t - 1] == pytest.approx(min(1.0, total / bets + (cost + paid) / bets))


def test_what_cannot_be_looked_at() -> None:
    for at in ([], [(1, 2)], [(2, 9)]):
        with pytest.raises(InputError, match="at: got"):
            looks([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], at=at)
    with pytest.raises(InputError, match="tau"):
        msprt([1.0], [1.0], tau=0.0)
    with pytest.raises(ShapeError, match="estimates"):
        msprt([1.0], [1.0, 2.0], tau=1.0)
    with pytest.raises(InputError, match="not finite"):
        msprt([math.nan], [1.0], tau=1.0)
    with pytest.raises(InputError, match="tightest_at"):
        confidence_sequence([1.0], [1.0], [10], tightest_at=0)
    with pytest.raises(ShapeError, match="users"):
        confidence_sequence([1.0], [1.0], [10, 20], tightest_at=5)
    with pytest.raises(InputError, match="users"):
        confidence_sequence([1.0], [1.0], [0], tightest_at=5)
    with pytest.raises(InputError, match="0 to 1"):
        bounded_sequence([0.5, 1.5])
