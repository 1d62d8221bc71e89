"""Bounds of an audit against exact binomial and hypergeometric sums in whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from scipy import stats

from wholepage.annotation.certificate import (
    audit_certificate,
    audits_needed,
    clopper_pearson,
    upper_bound,
    wilson_interval,
)
from wholepage.pages.errors import InputError


def at_most(wrong: int, audited: int, share: Fraction) -> Fraction:
    """The chance of so few wrong ones, exactly."""
    return sum((math.comb(audited, k) * share**k * (1 - share) ** (audited - k) for k in range(wrong + 1)), Fraction(0))


def exactly(count: int, audited: int, share: float) -> float:
    return math.comb(audited, count) * share**count * (1 - share) ** (audited - count)


# ------------------------------------------------------------------ the one-sided bound


@pytest.mark.parametrize(("wrong", "audited"), [(0, 1), (0, 59), (1, 59), (3, 40), (7, 12), (11, 12)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_bound_is_where_so_few_become_too_unlikely(wrong: int, audited: int, confidence: float) -> None:
    bound = upper_bound(wrong, audited, confidence)
    assert float(at_most(wrong, audited, Fraction(bound))) == pytest.approx(1 - confidence, rel=1e-9)
    if not wrong:  # the closed form of the rule of three
        assert bound == pytest.approx(1 - (1 - confidence) ** (1 / audited))


@pytest.mark.parametrize("audited", [5, 20, 59])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.93])
def test_bound_holds_as_often_as_it_says_whatever_the_truth(audited: int, share: float) -> None:
    bounds = [upper_bound(wrong, audited) for wrong in range(audited + 1)]
    holds = sum(exactly(k, audited, share) for k in range(audited + 1) if bounds[k] >= share)
    assert holds >= 0.95 - 1e-12
    intervals = [clopper_pearson(wrong, audited) for wrong in range(audited + 1)]
    within = sum(exactly(k, audited, share) for k in range(audited + 1) if intervals[k][0] <= share <= intervals[k][1])
    assert within >= 0.95 - 1e-12


def test_bound_is_not_wider_than_it_must_be() -> None:
    """Just below each bound the chance to miss it exceeds what is allowed: nothing smaller would do."""
    for wrong in range(10):
        just_below = upper_bound(wrong, 10, 0.95) - 1e-6
        if wrong < 10:
            assert float(at_most(wrong, 10, Fraction(just_below))) > 0.05


@pytest.mark.parametrize(("wrong", "audited"), [(0, 10), (3, 10), (10, 10), (17, 40), (1, 200)])
def test_interval_is_scipy_s(wrong: int, audited: int) -> None:
    theirs = stats.binomtest(wrong, audited).proportion_ci(0.95, method="exact")
    assert clopper_pearson(wrong, audited) == pytest.approx((theirs.low, theirs.high))
    theirs = stats.binomtest(wrong, audited).proportion_ci(0.95, method="wilson")
    assert wilson_interval(wrong, audited) == pytest.approx((theirs.low, theirs.high))


def test_ends() -> None:
    assert clopper_pearson(0, 0) == wilson_interval(0, 0) == (0.0, 1.0)
    assert upper_bound(0, 0) == upper_bound(4, 4) == 1.0
    assert clopper_pearson(0, 9)[0] == wilson_interval(0, 9)[0] == 0.0
    assert clopper_pearson(9, 9)[1] == wilson_interval(9, 9)[1] == 1.0


def test_wilson_covers_on_the_whole() -> None:
    """Its coverage swings around what it says; the mean over shares is near it."""
    audited, shares = 30, [n / 200 for n in range(1, 200)]
    intervals = [wilson_interval(k, audited) for k in range(audited + 1)]
    covered = [
        sum(exactly(k, audited, p) for k in range(audited + 1) if intervals[k][0] <= p <= intervals[k][1])
        for p in shares
    ]
    assert 0.945 <= sum(covered) / len(covered) <= 0.965
    assert min(covered) > 0.82


# ------------------------------------------------------------------ how many audits


@pytest.mark.parametrize(("max_error", "needed"), [(0.05, 59), (0.01, 299), (0.1, 29), (0.5, 5)])
def test_audits_needed_without_a_wrong_one(max_error: float, needed: int) -> None:
    assert audits_needed(max_error) == needed
    assert at_most(0, needed, Fraction(str(max_error))) <= Fraction("0.05")
    assert at_most(0, needed - 1, Fraction(str(max_error))) > Fraction("0.05")


@pytest.mark.parametrize("wrong", [0, 1, 2, 5])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_audits_needed_is_the_least_that_proves_it(wrong: int, confidence: float) -> None:
    needed = audits_needed(0.07, confidence, wrong=wrong)
    assert upper_bound(wrong, needed, confidence) <= 0.07 < upper_bound(wrong, needed - 1, confidence)


def test_few_labels_need_fewer_audits() -> None:
    for inferred in (10, 80, 400, 5000):
        needed = audits_needed(0.05, inferred=inferred)
        assert needed <= min(59, inferred)
        assert audit_certificate(needed, 0, inferred=inferred).bound <= 0.05
        assert audit_certificate(needed - 1, 0, inferred=inferred).bound > 0.05
    assert audits_needed(0.05, inferred=10**6) == 59


# ------------------------------------------------------------------ the certificate


@pytest.mark.parametrize(("audited", "inferred"), [(5, 12), (10, 30), (20, 25)])
def test_bound_of_a_finite_number_of_labels(audited: int, inferred: int) -> None:
    """Exact over all samples: for every number of wrong labels there may be, the bound holds often enough."""
    bounds = [audit_certificate(audited, k, inferred=inferred).bound for k in range(audited + 1)]
    for bad in range(inferred + 1):
        chances = [
            Fraction(math.comb(bad, k) * math.comb(inferred - bad, audited - k), math.comb(inferred, audited))
            for k in range(audited + 1)
        ]
        held = sum((c for c, bound in zip(chances, bounds, strict=True) if bound * inferred >= bad - 1e-9), Fraction(0))
        assert held >= Fraction("0.95")
    assert all(b <= upper_bound(k, audited) for k, b in enumerate(bounds))


def test_auditing_everything_proves_exactly_what_was_found() -> None:
    assert audit_certificate(40, 3, inferred=40).bound == 3 / 40
    assert audit_certificate(40, 0, inferred=40).bound == 0.0


def test_the_sentence_says_what_is_proven() -> None:
    found = audit_certificate(59, 0)
    assert (found.rate, found.bound) == (0.0, pytest.approx(0.0495, abs=1e-4))
    assert found.statement == (
        "0 of 59 audited labels were wrong: with a confidence of 95 % at most 4.96 % of the inferred labels are wrong."
    )
    one = audit_certificate(200, 1, 0.99, inferred=1000)
    assert "1 of 200 audited labels was wrong: with a confidence of 99 %" in one.statement
    assert "of the 1,000 inferred labels" in one.statement
    nothing = audit_certificate(0, 0)
    assert (nothing.rate, nothing.bound) == (None, 1.0)
    assert "nothing is proven" in nothing.statement
    for audited in range(1, 120):  # what is said is never less than what is proven
        of = audit_certificate(audited, 0)
        said = float(of.statement.split("at most ")[1].split(" %")[0])
        assert 0 <= said - 100 * of.bound < 0.01 + 1e-9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: upper_bound(3, 2), "got 3 of 2"),
        (lambda: upper_bound(-1, 2), "got -1 of 2"),
        (lambda: clopper_pearson(0, 2, 1.0), "confidence: got 1.0"),
        (lambda: wilson_interval(0, 2, 95), "confidence: got 95"),
        (lambda: audit_certificate(9, 1, inferred=8), "got 9 audited of 8 inferred"),
        (lambda: audit_certificate(0, 0, inferred=0), "0 audited of 0 inferred"),
        (lambda: audits_needed(0.0), "max_error: got 0.0"),
        (lambda: audits_needed(1e-12), "1000000000 audits would not prove"),
        (lambda: audits_needed(0.05, wrong=-1), "got -1 of 0"),
        (lambda: audits_needed(0.05, wrong=3, inferred=20), "20 audits would not prove"),
        (lambda: audits_needed(0.05, wrong=30, inferred=20), "20 audits would not prove"),
    ],
)
def test_what_cannot_be_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()  # type: ignore[operator]
