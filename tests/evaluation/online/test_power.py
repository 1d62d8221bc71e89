"""How many users: against simulation, exact sums and the textbook formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from wholepage.evaluation.online.means import linearised
from wholepage.evaluation.online.power import (
    power_of_means,
    power_of_sign_test,
    smallest_difference,
    users_for_means,
    users_for_shares,
    users_for_sign_test,
)
from wholepage.pages.errors import InputError

Record = Callable[[str, object], None]
RUNS = 8000  # the standard error of a rate of 80 % over as many is 0.45 %


def rejected(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean(stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue <= 0.05))


def test_users_for_means_do_find_it(record_property: Record) -> None:
    users = users_for_means(0.5, 1.0)
    assert users == 64  # the textbook's
    rng = np.random.default_rng(1)
    rate = rejected(rng.normal(size=(RUNS, users)), rng.normal(0.5, size=(RUNS, users)))
    record_property("power of means", rate)
    assert rate == pytest.approx(power_of_means(0.5, 1.0, users), abs=0.018)
    assert power_of_means(0.5, 1.0, users - 1) < 0.8 <= power_of_means(0.5, 1.0, users)
    assert power_of_means(0.0, 1.0, 50) == pytest.approx(0.05)
    assert users_for_means(-0.5, 1.0) == users
    assert smallest_difference(1.0, users) == pytest.approx(0.5, abs=0.005)


def test_many_users_are_the_normal_formula() -> None:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.9)
    assert users_for_means(0.01, 1.0, power=0.9) == pytest.approx(2 * (z / 0.01) ** 2, rel=1e-4)
    assert power_of_means(0.02, 1.0, 5001) == pytest.approx(power_of_means(0.02, 1.0, 5002), abs=1e-3)


def test_users_for_shares_do_find_it(record_property: Record) -> None:
    users = users_for_shares(0.10, 0.13)
    rng = np.random.default_rng(2)
    a, b = rng.binomial(users, 0.10, size=RUNS) / users, rng.binomial(users, 0.13, size=RUNS) / users
    z = (b - a) / np.sqrt((a * (1 - a) + b * (1 - b)) / (users - 1))
    rate = float(np.mean(np.abs(z) > stats.norm.ppf(0.975)))
    record_property("power of shares", rate)
    assert rate == pytest.approx(0.8, abs=0.018)


def test_users_for_a_ratio_by_the_delta_method(record_property: Record) -> None:
    rng = np.random.default_rng(3)

    def drawn(size: tuple[int, ...], ctr: float) -> tuple[np.ndarray, np.ndarray]:
        keen = rng.beta(2, 2 / ctr - 2, size=size)
        pages = 1 + rng.poisson(6 * keen)
        return rng.binomial(pages, keen), pages

    def ratio(size: tuple[int, ...], ctr: float) -> tuple[np.ndarray, np.ndarray]:
        """The ratio of sums of each run, and its variance by the delta method."""
        clicks, pages = drawn(size, ctr)
        share = clicks.sum(axis=1) / pages.sum(axis=1)
        rest = clicks - share[:, None] * pages
        return share, rest.var(axis=1, ddof=1) / pages.mean(axis=1) ** 2 / size[1]

    pilot, much = drawn((200_000,), 0.25), drawn((200_000,), 0.30)
    hoped = much[0].sum() / much[1].sum() - pilot[0].sum() / pilot[1].sum()
    deviation = math.sqrt((linearised(*pilot).var() + linearised(*much).var()) / 2)
    users = users_for_means(hoped, deviation)
    (a, va), (b, vb) = ratio((3000, users), 0.25), ratio((3000, users), 0.30)
    rate = float(np.mean(np.abs(b - a) / np.sqrt(va + vb) > stats.t.ppf(0.975, 2 * users - 2)))
    record_property("power of a ratio", rate)
    assert rate == pytest.approx(0.8, abs=0.03)


def test_sign_test_power_is_the_exact_sum() -> None:
    for wins, losses, users in ((0.5, 0.3, 14), (0.2, 0.1, 25), (1.0, 0.0, 6), (0.5, 0.5, 9)):
        exact = 0.0
        for w in range(users + 1):
            for lost in range(users + 1 - w):
                decided = w + lost
                if decided and stats.binomtest(w, decided).pvalue <= 0.05:
                    exact += stats.multinomial.pmf([w, lost, users - decided], users, [wins, losses, 1 - wins - losses])
        assert power_of_sign_test(wins, losses, users) == pytest.approx(exact, abs=1e-9)


def test_users_for_the_sign_test_do_find_it(record_property: Record) -> None:
    users = users_for_sign_test(0.33, 0.27)
    rng = np.random.default_rng(4)
    votes = rng.multinomial(users, [0.33, 0.4, 0.27], size=2000)
    rate = float(np.mean([stats.binomtest(int(w), int(w + lost)).pvalue <= 0.05 for w, _, lost in votes]))
    record_property("power of the sign test", rate)
    assert rate == pytest.approx(0.8, abs=0.036)
    z = stats.norm.ppf(0.975) * 0.5 + stats.norm.ppf(0.8) * math.sqrt(0.55 * 0.45)
    assert users == pytest.approx((z / 0.05) ** 2 / 0.6, rel=0.03)
    assert users_for_sign_test(0.27, 0.33) == users


def test_what_cannot_be_planned() -> None:
    for wrong in (
        lambda: users_for_means(0.0, 1.0),
        lambda: users_for_means(0.1, 0.0),
        lambda: users_for_means(math.nan, 1.0),
        lambda: users_for_means(0.1, 1.0, power=1.0),
        lambda: users_for_means(0.1, 1.0, alpha=0.0),
        lambda: users_for_means(1e-9, 1.0),
        lambda: power_of_means(0.1, 1.0, 1),
        lambda: smallest_difference(1.0, 10, power=0.04),
        lambda: users_for_shares(0.1, 0.1),
        lambda: users_for_shares(0.0, 0.1),
        lambda: users_for_sign_test(0.3, 0.3),
        lambda: power_of_sign_test(0.6, 0.6, 10),
        lambda: power_of_sign_test(0.3, 0.2, 0),
        lambda: users_for_sign_test(0.3001, 0.3),
    ):
        with pytest.raises(InputError, match="allowed"):
            wrong()


@pytest.mark.parametrize("users", [26, 234, 2000, 4000])
def test_power_is_a_number_that_rises_however_large_the_difference(users: int) -> None:
    powers = [power_of_means(difference, 1.0, users) for difference in np.linspace(0.0, 3.0, 61)]
    assert np.isfinite(powers).all()
    assert np.all(np.diff(powers) > -1e-9)
    assert powers[-1] == pytest.approx(1.0)
    assert power_of_means(smallest_difference(1.0, users), 1.0, users) == pytest.approx(0.8, abs=1e-6)
