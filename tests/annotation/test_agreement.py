"""Agreement against Krippendorff's worked examples, brute force over pairs of answers, and scikit-learn's kappa."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from wholepage.annotation.agreement import (
    Agreement,
    Metric,
    UndefinedAgreement,
    agreement,
    cohen_kappa,
    krippendorff_alpha,
    pairwise_agreement,
)
from wholepage.pages.errors import InputError, ShapeError

NONE = math.nan
METRICS: tuple[Metric, ...] = ("nominal", "ordinal", "interval")
# Four observers, twelve units, with gaps: Krippendorff 2011, section C and D.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
).T
# Two observers, ten units, two and five categories: sections A and B of the same.
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]).T
LETTERS = np.array([list("aabbdcccedda"), list("babbbccceddd")]).T


def brute_force(units: list[list[float]], metric: Metric) -> float:
    """Alpha by its definition: every ordered pair of answers, within units and over all."""
    units = [[a for a in unit if not math.isnan(a)] for unit in units]
    units = [unit for unit in units if len(unit) > 1]
    everything = [a for unit in units for a in unit]
    count = {a: everything.count(a) for a in everything}

    def apart(a: float, b: float) -> float:
        if metric == "nominal":
            return float(a != b)
        if metric == "interval":
            return (a - b) ** 2
        between = sum(count[g] for g in count if min(a, b) <= g <= max(a, b))
        return (between - (count[a] + count[b]) / 2) ** 2

    within = sum(
        sum(apart(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(everything)
    over_all = sum(apart(a, b) for a, b in itertools.permutations(everything, 2))
    return 1 - within * len(everything) * (len(everything) - 1) / over_all


# ------------------------------------------------------------------ published examples


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_four_observers_twelve_units(metric: Metric, published: float) -> None:
    assert krippendorff_alpha(FOUR_OBSERVERS, metric) == pytest.approx(published, abs=5e-4)
    found = agreement(FOUR_OBSERVERS, metric, seed=0)
    assert (found.units, found.answers, found.metric) == (11, 40, metric)  # one unit has a single answer
    assert found.low <= found.alpha <= found.high <= 1.0


def test_two_observers_of_the_worked_examples() -> None:
    assert krippendorff_alpha(BINARY, "nominal") == pytest.approx(0.095, abs=5e-4)
    coded = np.unique(LETTERS, return_inverse=True)[1].reshape(LETTERS.shape)
    assert krippendorff_alpha(coded, "nominal") == pytest.approx(0.692, abs=5e-4)


# ------------------------------------------------------------------ brute force and invariance

answers = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5, NONE]), min_size=0, max_size=5), min_size=1, max_size=7
)


@given(answers, st.sampled_from(METRICS))
def test_alpha_is_its_definition(units: list[list[float]], metric: Metric) -> None:
    given_by_unit = [[a for a in unit if not math.isnan(a)] for unit in units]
    different = {a for unit in given_by_unit if len(unit) > 1 for a in unit}
    if len(different) > 1:
        assert krippendorff_alpha(units, metric) == pytest.approx(brute_force(units, metric), abs=1e-12)
    else:
        with pytest.raises(UndefinedAgreement) as caught:
            krippendorff_alpha(units, metric)
        assert caught.value.reason == ("no-variation" if different else "no-pairs")


@pytest.mark.parametrize("metric", METRICS)
def test_order_of_units_and_of_answers_does_not_matter(metric: Metric) -> None:
    rng = np.random.default_rng(5)
    table = rng.integers(0, 4, (40, 4)).astype(float)
    table[rng.random(table.shape) < 0.3] = NONE
    shuffled = rng.permuted(table, axis=1)[rng.permutation(len(table))]
    assert agreement(shuffled, metric, seed=3) == agreement(table, metric, seed=3)
    ragged = [[a for a in unit if not math.isnan(a)] for unit in table.tolist()]
    assert agreement(ragged, metric, seed=3) == agreement(table, metric, seed=3)


def test_alpha_at_its_ends() -> None:
    assert krippendorff_alpha([[0, 0], [1, 1], [2, 2, 2]], "interval") == 1.0
    assert krippendorff_alpha([[0.1, 0.1], [0.7, 0.7, 0.7]], "interval") == 1.0
    assert krippendorff_alpha([[0, 1]] * 50, "nominal") == pytest.approx(-0.98)  # -(n - 2)/n of what two could do
    rng = np.random.default_rng(0)
    for metric in METRICS:
        assert abs(krippendorff_alpha(rng.integers(0, 4, (5000, 3)), metric)) < 0.02


def test_only_the_order_counts_for_ordinal_and_only_steps_for_interval() -> None:
    table = np.random.default_rng(2).integers(0, 4, (30, 3)).astype(float)
    assert krippendorff_alpha(np.exp(table), "ordinal") == pytest.approx(krippendorff_alpha(table, "ordinal"))
    assert krippendorff_alpha(table / 7 + 1e6, "interval") == pytest.approx(krippendorff_alpha(table, "interval"))
    assert krippendorff_alpha(np.exp(table), "interval") != pytest.approx(krippendorff_alpha(table, "interval"))


# ------------------------------------------------------------------ the interval


@pytest.mark.parametrize("metric", METRICS)
def test_bootstrap_is_drawing_units_one_by_one(metric: Metric) -> None:
    """The same interval as by drawing units and computing alpha anew, but for the luck of the draw."""
    rng = np.random.default_rng(1)
    table = np.clip(rng.integers(0, 4, (60, 1)) + rng.integers(-1, 2, (60, 3)), 0, 3).astype(float)
    found = agreement(table, metric, resamples=4000, seed=1)
    by_hand = [krippendorff_alpha(table[rng.integers(0, 60, 60)], metric) for _ in range(1500)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_interval_holds_the_truth_about_as_often_as_it_says(metric: Metric) -> None:
    def judged(rng: np.random.Generator, units: int) -> np.ndarray:
        true = rng.choice(4, size=(units, 1), p=[0.4, 0.3, 0.2, 0.1])
        read = np.where(rng.random((units, 3)) < 0.25, true + rng.choice([-1, 1], (units, 3)), true)
        table = np.clip(read, 0, 3).astype(float)
        table[rng.random(table.shape) < 0.2] = NONE
        return table

    truth = krippendorff_alpha(judged(np.random.default_rng(99), 100_000), metric)
    found = [agreement(judged(np.random.default_rng(n), 120), metric, resamples=300, seed=n) for n in range(200)]
    assert 0.91 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.985


def test_interval_is_repeated_by_its_seed() -> None:
    assert agreement(FOUR_OBSERVERS, seed=4) == agreement(FOUR_OBSERVERS, seed=4)
    assert agreement(FOUR_OBSERVERS, seed=4) != agreement(FOUR_OBSERVERS, seed=5)
    wide, narrow = (agreement(FOUR_OBSERVERS, level=level, seed=4) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high <= wide.high


def test_resamples_without_variation_are_told() -> None:
    found = agreement([[0, 0]] * 9 + [[1, 1]], "nominal", resamples=5000, seed=0)
    assert found.undefined == pytest.approx(0.9**10, abs=0.02)
    assert (found.alpha, found.low, found.high) == (1.0, 1.0, 1.0)
    assert isinstance(found, Agreement)


# ------------------------------------------------------------------ the plain share, and kappa


def test_plain_share_of_agreement() -> None:
    assert pairwise_agreement([[1, 1], [1, 2], [0, 0, 0]]) == pytest.approx((1 + 0 + 3) / 5)
    assert pairwise_agreement([[2, 2], [2, 2], [1]]) == 1.0
    assert pairwise_agreement([[2, 3, NONE], [1, NONE, NONE]]) == 0.0


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_kappa_is_scikit_learn_s(weights: str, theirs: str | None) -> None:
    rng = np.random.default_rng(7)
    one = rng.integers(0, 4, 80)
    other = np.clip(one + rng.integers(-1, 2, 80), 0, 3)
    expected = cohen_kappa_score(one, other, weights=theirs)
    assert cohen_kappa(one, other, weights) == pytest.approx(expected)  # type: ignore[arg-type]
    gaps = np.where(rng.random(80) < 0.2, NONE, one)
    both = ~np.isnan(gaps)
    assert cohen_kappa(gaps, other) == pytest.approx(cohen_kappa_score(one[both], other[both]))


# ------------------------------------------------------------------ what cannot be told


@pytest.mark.parametrize(
    ("units", "reason"),
    [
        ([], "no-pairs"),
        ([[1], [2], []], "no-pairs"),
        ([[1, NONE], [NONE, NONE]], "no-pairs"),
        ([[2, 2], [2, 2], [1]], "no-variation"),  # the single 1 is no evidence of anything
    ],
)
def test_undefined_agreement_is_told_apart(units: list[list[float]], reason: str) -> None:
    for call in (krippendorff_alpha, lambda u: agreement(u, seed=0)):
        with pytest.raises(UndefinedAgreement) as caught:
            call(units)
        assert caught.value.reason == reason
        assert isinstance(caught.value, InputError)
    for turn in (copy.copy, lambda error: pickle.loads(pickle.dumps(error))):
        assert (turn(caught.value).reason, str(turn(caught.value))) == (reason, str(caught.value))


def test_bad_input_is_refused() -> None:
    with pytest.raises(UndefinedAgreement, match="no unit with two"):
        pairwise_agreement([[1], [NONE]])
    with pytest.raises(UndefinedAgreement, match="no unit with two"):
        cohen_kappa([NONE, 1], [1, NONE])
    with pytest.raises(UndefinedAgreement, match="2 answers that all are 3"):
        cohen_kappa([3, 3], [3, 3])
    with pytest.raises(InputError, match="metric: got 'ratio'"):
        krippendorff_alpha([[1, 2]], "ratio")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="weights: got 'square'"):
        cohen_kappa([1, 2], [1, 2], "square")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="infinite"):
        krippendorff_alpha([[1, math.inf]])
    with pytest.raises(InputError, match="infinite"):
        cohen_kappa([1.0], [math.inf])
    with pytest.raises(InputError, match="level: got 95"):
        agreement([[1, 2]], level=95, seed=0)
    with pytest.raises(InputError, match="resamples: got 0"):
        agreement([[1, 2]], resamples=0, seed=0)
    with pytest.raises(ShapeError, match="equal lengths"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ShapeError, match=r"units\[0\]"):
        krippendorff_alpha(np.zeros((2, 2, 2)))
