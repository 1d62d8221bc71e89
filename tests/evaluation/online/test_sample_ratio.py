"""The split of users: against scipy, false alarms at one look and at many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from wholepage.evaluation.online.sample_ratio import sample_ratio, sample_ratio_sequential
from wholepage.pages.errors import InputError, ShapeError

Record = Callable[[str, object], None]


def test_two_arms_exactly_and_more_by_chi_squared() -> None:
    two = sample_ratio([821, 917])
    assert two.p == pytest.approx(stats.binomtest(821, 1738).pvalue)
    assert not two.mismatch
    assert two.expected == (869.0, 869.0)
    three = sample_ratio([500, 300, 210], shares=[50, 30, 20])
    assert three.p == pytest.approx(stats.chisquare([500, 300, 210], [505, 303, 202]).pvalue)
    assert sample_ratio([5300, 4700]).mismatch


@pytest.mark.parametrize("shares", [(1.0, 1.0), (9.0, 1.0), (2.0, 1.0, 1.0)])
def test_false_alarms(shares: tuple[float, ...], record_property: Record) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(20_000, np.array(shares) / sum(shares), size=4000)
    rate = np.mean([sample_ratio(counts.tolist(), shares=shares).p <= 0.05 for counts in drawn])
    record_property("sample ratio", rate)
    assert 0.04 <= rate <= 0.06


def test_many_looks_give_no_more_false_alarms(record_property: Record) -> None:
    rng = np.random.default_rng(2)
    alarms, found = 0, 0
    runs = 4000
    for _ in range(runs):
        counts = rng.multinomial(500, [0.5, 0.5], size=40).cumsum(axis=0)
        p = sample_ratio_sequential(counts)
        assert (np.diff(p) <= 0).all()
        alarms += p[-1] <= 0.05
        found += sample_ratio_sequential(rng.multinomial(500, [0.53, 0.47], size=40).cumsum(axis=0))[-1] <= 0.001
    record_property("sequential sample ratio, 40 looks", alarms / runs)
    assert alarms / runs <= 0.05
    assert found / runs > 0.95


def test_the_factor_is_a_mixture_over_splits() -> None:
    """For one look: the mean likelihood of splits drawn from the Dirichlet, by integration."""
    counts, concentration = (7, 3), 6.0
    grid = (np.arange(100_000) + 0.5) / 100_000
    mixture = (grid ** counts[0] * (1 - grid) ** counts[1] * stats.beta.pdf(grid, 3, 3)).mean()
    factor = mixture / 0.5**10
    p = sample_ratio_sequential([counts], concentration=concentration)
    assert p[0] == pytest.approx(min(1.0, 1.0 / factor), rel=1e-6)
    assert factor == pytest.approx(special.beta(10, 6) / special.beta(3, 3) * 2**10, rel=1e-6)


def test_what_is_no_split() -> None:
    with pytest.raises(InputError, match="arms"):
        sample_ratio([10])
    with pytest.raises(InputError, match="whole number"):
        sample_ratio([10, -1])
    with pytest.raises(InputError, match="no user"):
        sample_ratio([0, 0])
    with pytest.raises(ShapeError, match="shares"):
        sample_ratio([1, 2], shares=[1.0])
    with pytest.raises(InputError, match="shares"):
        sample_ratio([1, 2], shares=[1.0, 0.0])
    with pytest.raises(InputError, match="threshold"):
        sample_ratio([1, 2], threshold=0.0)
    with pytest.raises(ShapeError, match="counts"):
        sample_ratio([[1, 2]])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="looks"):
        sample_ratio_sequential([1, 2])
    with pytest.raises(InputError, match="falls"):
        sample_ratio_sequential([[2, 2], [1, 3]])
    with pytest.raises(InputError, match="concentration"):
        sample_ratio_sequential([[2, 2]], concentration=0.0)
