"""The GSB score: its interval against the test it inverts, false alarms, coverage, and judgments of one query."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wholepage.evaluation.online.side_by_side import share_interval, side_by_side
from wholepage.pages.errors import InputError, ShapeError

Record = Callable[[str, object], None]


def test_good_and_bad_are_mirrored() -> None:
    for good, bad in ((7, 0), (0, 7), (30, 12)):
        low, high = share_interval(good, 0, bad)
        assert low == pytest.approx(-share_interval(bad, 0, good)[1], abs=1e-9)
        assert -1 <= low <= (good - bad) / (good + bad) <= high <= 1


@given(good=st.integers(0, 40), same=st.integers(0, 40), bad=st.integers(0, 40))
def test_interval_holds_exactly_what_the_score_test_accepts(good: int, same: int, bad: int) -> None:
    if good + same + bad == 0:
        return
    low, high = share_interval(good, same, bad)
    assert -1 <= low <= (good - bad) / (good + same + bad) <= high <= 1
    assert low < high
    # At a difference of 0 the score test is McNemar's.
    z = abs(good - bad) / math.sqrt(good + bad) if good + bad else 0.0
    limit = stats.norm.ppf(0.975)
    if abs(z - limit) > 1e-6:
        assert (low <= 0 <= high) == (z < limit)
    for end in (low, high):  # the restricted likelihood, found by search instead of by formula
        if -0.999 < end < 0.999:
            assert likeliest_score(good, bad, good + same + bad, end) == pytest.approx(limit, abs=2e-3)


def likeliest_score(good: int, bad: int, total: int, difference: float) -> float:
    grid = np.linspace(max(0.0, -difference), (1 - difference) / 2, 200_001)[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        fit = np.where(good > 0, good * np.log(grid + difference), 0.0) + np.where(bad > 0, bad * np.log(grid), 0.0)
        fit += (
            (total - good - bad) * np.log(np.maximum(1 - 2 * grid - difference, 1e-300)) if total > good + bad else 0.0
        )
    share = grid[int(np.nanargmax(fit))]
    return abs(good - bad - total * difference) / math.sqrt(total * (2 * share + difference * (1 - difference)))


def test_false_alarms_and_coverage(record_property: Record) -> None:
    rng = np.random.default_rng(1)
    nulls = rng.multinomial(1200, [0.35, 0.3, 0.35], size=3000)
    alarms = np.mean([stats.binomtest(int(g), int(g + b)).pvalue <= 0.05 for g, _, b in nulls])
    votes = rng.multinomial(150, [0.45, 0.25, 0.3], size=6000)
    intervals = [share_interval(int(g), int(s), int(b)) for g, s, b in votes]
    covered = np.mean([low <= 0.15 <= high for low, high in intervals])
    record_property("sign test", alarms)
    record_property("coverage", covered)
    assert 0.04 <= alarms <= 0.06
    assert 0.94 <= covered <= 0.96


def test_judgments_of_one_query_are_alike(record_property: Record) -> None:
    """Three judgments a query that mostly agree: intervals over queries cover, those over judgments would not."""
    rng = np.random.default_rng(2)
    runs, queries = 4000, 150
    opinion = rng.choice([0.15, 0.5, 0.85], size=(runs, queries))
    good = rng.binomial(3, opinion)
    found = [side_by_side(g, np.zeros(queries), 3 - g) for g in good]
    alarms = np.mean([one.p <= 0.05 for one in found])
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    record_property("clustered", alarms)
    record_property("clustered coverage", covered)
    assert 0.04 <= alarms <= 0.06
    assert 0.94 <= covered <= 0.96
    alone = [share_interval(one.good, one.same, one.bad) for one in found[:500]]
    assert np.mean([low <= 0 <= high for low, high in alone]) < 0.9


def test_one_judgment_a_query() -> None:
    found = side_by_side([1] * 12 + [0] * 8, [0] * 12 + [1] * 5 + [0] * 3, [0] * 17 + [1] * 3)
    assert (found.good, found.same, found.bad, found.queries, found.judgments) == (12, 5, 3, 20, 20)
    assert found.score == pytest.approx(0.45)
    assert (found.low, found.high) == share_interval(12, 5, 3)
    assert found.p == pytest.approx(stats.binomtest(12, 15).pvalue)
    assert side_by_side([0, 0], [1, 1], [0, 0]).p == 1.0


def test_what_cannot_be_judged() -> None:
    with pytest.raises(ShapeError, match="queries"):
        side_by_side([1, 2], [1], [1, 2])
    with pytest.raises(InputError, match="2 or more"):
        side_by_side([1], [1], [1])
    with pytest.raises(InputError, match="whole number"):
        side_by_side([1, -1], [1, 1], [1, 1])
    with pytest.raises(InputError, match="none of query 1"):
        side_by_side([1, 0], [1, 0], [1, 0])
    with pytest.raises(InputError, match="judgments"):
        share_interval(0, 0, 0)
    with pytest.raises(InputError, match="level"):
        share_interval(1, 1, 1, level=1.0)
