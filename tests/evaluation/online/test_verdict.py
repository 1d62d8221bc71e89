"""From preferences to a winner: counts, tests and intervals against scipy; false alarms; users, not pages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from wholepage.evaluation.online.interleaving.shown import Outcome
from wholepage.evaluation.online.interleaving.verdict import sign_test, verdict, verdicts
from wholepage.evaluation.online.power import power_of_sign_test
from wholepage.evaluation.online.side_by_side import share_interval
from wholepage.pages.errors import InputError, ShapeError

Record = Callable[[str, object], None]


def test_by_hand() -> None:
    found = verdict([1.0, 2.0, 0.0, -1.0, 0.5], first="new", second="old")
    assert (found.wins, found.ties, found.losses, found.users, found.pages) == (3, 1, 1, 5, 5)
    assert found.delta == pytest.approx((3 + 0.5) / 5 - 0.5)
    assert (2 * found.low, 2 * found.high) == pytest.approx(share_interval(3, 1, 1))
    assert found.p_sign == pytest.approx(stats.binomtest(3, 4).pvalue)
    wanted = stats.ttest_1samp([1.0, 2.0, 0.0, -1.0, 0.5], 0.0)
    assert found.p_mean == found.p_holm == pytest.approx(wanted.pvalue)
    assert (found.preference_low, found.preference_high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_each_user_counts_once() -> None:
    found = verdict([1, 1, 1, 1, -1, 0.3, -0.1, -0.2], users=["a", "a", "a", "a", "b", "c", "c", "c"])
    assert (found.wins, found.ties, found.losses, found.users, found.pages) == (1, 1, 1, 3, 8)
    assert found.preference == pytest.approx(0.0)


def test_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(8, 2) == sign_test(2, 8) == pytest.approx(2 * stats.binom.cdf(2, 10, 0.5))
    with pytest.raises(InputError, match="0 or more"):
        sign_test(-1, 2)


def test_false_alarms_and_coverage(record_property: Record) -> None:
    """Several pages a user, whose taste goes through all of them; users are drawn, and nobody is better."""
    rng = np.random.default_rng(1)
    runs, users, pages = 3000, 500, 3
    taste = rng.normal(size=(runs, users, 1))
    values = np.sign(np.round(taste + rng.normal(size=(runs, users, pages)), 0))
    names = np.repeat(np.arange(users), pages).astype(str).tolist()
    found = [verdict(one.ravel(), users=names) for one in values[:100]]
    means = values.mean(axis=2)
    assert [one.preference for one in found] == pytest.approx(means[:100].mean(axis=1))
    every = [verdict(one) for one in means]
    signs, rate = (np.mean([getattr(one, p) <= 0.05 for one in every]) for p in ("p_sign", "p_mean"))
    covered = np.mean([one.preference_low <= 0 <= one.preference_high for one in every])
    delta = np.mean([one.low <= 0 <= one.high for one in every])
    for name, value in (("sign", signs), ("mean", rate), ("coverage", covered), ("delta coverage", delta)):
        record_property(name, value)
    ties = np.mean([one.ties for one in every]) / users
    exact = power_of_sign_test((1 - ties) / 2, (1 - ties) / 2, users)
    assert signs == pytest.approx(exact, abs=0.012)
    assert 0.04 <= signs <= 0.06
    assert 0.04 <= rate <= 0.06
    assert 0.94 <= covered <= 0.96
    assert 0.94 <= delta <= 0.96
    by_page = [verdict(one.ravel()).p_mean <= 0.05 for one in values[:600]]
    assert np.mean(by_page) > 0.1  # taking pages for users finds what is not there


def test_all_pairs_are_corrected_together() -> None:
    rng = np.random.default_rng(2)
    credits = rng.normal(size=(60, 3)) + np.array([0.6, 0.0, 0.0])
    found = verdicts([Outcome(tuple(row)) for row in credits.tolist()], ["a", "b", "c"])
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    p = [stats.ttest_rel(credits[:, i], credits[:, j]).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert [one.p_mean for one in found] == pytest.approx(p)
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.minimum(1.0, np.array(p)[order] * [3, 2, 1]))
    assert np.array([one.p_holm for one in found])[order] == pytest.approx(corrected)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="2 or more"):
        verdict([1.0])
    with pytest.raises(InputError, match="not finite"):
        verdict([1.0, np.nan])
    with pytest.raises(ShapeError, match="one each"):
        verdict([1.0, 2.0], users=["a"])
    with pytest.raises(ShapeError, match=r"\[pages\]"):
        verdict([[1.0, 2.0]])
    with pytest.raises(ShapeError, match="rankers"):
        verdicts([Outcome((1.0, 2.0)), Outcome((1.0, 2.0, 3.0))], ["a", "b"])
