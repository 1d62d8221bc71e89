"""Prediction-powered means: identities at the ends of the weight, coverage with biased judges, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wholepage.evaluation.prediction_powered import (
    JudgedByModelAlone,
    PoweredEstimate,
    prediction_powered_difference,
    prediction_powered_mean,
)
from wholepage.pages.errors import InputError


def judged(seed: int, queries: int, people: int, *, skill: float, bias: float) -> tuple[dict[str, float], ...]:
    """What a model says of all queries and people of some; the truth has mean 0."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=queries)
    guessed = skill * true + math.sqrt(1 - skill**2) * rng.normal(size=queries) + bias
    some = rng.permutation(queries)[:people]
    return {f"q{i}": float(g) for i, g in enumerate(guessed)}, {f"q{i}": float(true[i]) for i in some}


def by_hand(model: dict[str, float], people: dict[str, float], weight: float) -> tuple[float, float]:
    """Estimate and standard error, written out over the two parts."""
    both = list(people)
    others = [model[q] for q in model if q not in people]
    left = [people[q] - weight * model[q] for q in both]
    estimate = weight * np.mean(others) + np.mean(left)
    spread = np.var([model[q] for q in model], ddof=1)
    return float(estimate), math.sqrt(np.var(left, ddof=1) / len(both) + weight**2 * spread / len(others))


# ------------------------------------------------------------------ identities


def test_without_weight_it_is_student_s_interval_of_the_people() -> None:
    model, people = judged(1, 200, 25, skill=0.8, bias=3.0)
    found = prediction_powered_mean(model, people, weight=0.0)
    values = list(people.values())
    low, high = stats.t.interval(0.95, 24, np.mean(values), stats.sem(values))
    assert (found.estimate, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (found.people_estimate, found.people_low, found.people_high) == (found.estimate, found.low, found.high)
    assert (found.weight, found.queries, found.people, found.people_saved) == (0.0, 200, 25, 0.0)


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_with_a_weight_it_is_the_sum_of_two_parts(weight: float, level: float) -> None:
    model, people = judged(2, 150, 30, skill=0.9, bias=0.4)
    estimate, error = by_hand(model, people, weight)
    found = prediction_powered_mean(model, people, weight=weight, level=level)
    half = stats.t.ppf(0.5 + level / 2, 29) * error
    assert (found.estimate, found.low, found.high) == pytest.approx((estimate, estimate - half, estimate + half))
    if weight == 1.0:  # the model's mean of the others, corrected by how far it was off
        others = [model[q] for q in model if q not in people]
        assert found.estimate == pytest.approx(np.mean(others) - found.model_bias)


def test_the_weight_found_makes_the_variance_least() -> None:
    model, people = judged(3, 300, 40, skill=0.7, bias=1.0)
    found = prediction_powered_mean(model, people)
    assert 0.0 < found.weight < 1.0
    assert found.estimate == prediction_powered_mean(model, people, weight=found.weight).estimate
    widths = {w: by_hand(model, people, w)[1] for w in np.linspace(0, 1, 101)}
    # The spread of the model is taken over all queries and the rest over people's, so the least is not hit exactly.
    assert by_hand(model, people, found.weight)[1] <= min(widths.values()) * 1.02
    assert found.high - found.low < found.people_high - found.people_low
    assert found.people_saved == pytest.approx(
        1 - ((found.high - found.low) / (found.people_high - found.people_low)) ** 2
    )


@pytest.mark.parametrize("people_judged", [12, 60])
def test_the_weight_is_the_published_one(people_judged: int) -> None:
    """cov / (var * (1 + n/N)), n judged by people and N by the model alone; cut at 1."""
    model, people = judged(8, 90, people_judged, skill=0.8, bias=0.5)
    both = list(people)
    cov = np.cov([people[q] for q in both], [model[q] for q in both])[0, 1]
    expected = cov / (np.var(list(model.values()), ddof=1) * (1 + people_judged / (90 - people_judged)))
    assert prediction_powered_mean(model, people).weight == pytest.approx(expected)
    small = {q: v / 10 for q, v in model.items()}
    assert prediction_powered_mean(small, people).weight == 1.0


def test_a_constant_shift_of_the_model_changes_nothing() -> None:
    model, people = judged(4, 120, 20, skill=0.8, bias=0.0)
    shifted = {q: v + 17.0 for q, v in model.items()}
    one, other = prediction_powered_mean(model, people), prediction_powered_mean(shifted, people)
    assert (one.estimate, one.low, one.high) == pytest.approx((other.estimate, other.low, other.high))
    assert other.model_bias - one.model_bias == pytest.approx(17.0)


def test_a_model_that_knows_nothing_or_says_always_the_same_is_left_out() -> None:
    model, people = judged(5, 120, 20, skill=0.8, bias=0.0)
    flat = prediction_powered_mean(dict.fromkeys(model, 0.5), people)
    contrary = prediction_powered_mean({q: -v for q, v in model.items()}, people)
    for found in (flat, contrary):
        assert found.weight == 0.0
        assert found.estimate == found.people_estimate


def test_people_who_judged_everything_stand_alone() -> None:
    model, people = judged(6, 30, 30, skill=0.5, bias=1.0)
    found = prediction_powered_mean(model, people)
    assert found == prediction_powered_mean(model, people, weight=1.0)
    assert (found.estimate, found.low, found.high) == (found.people_estimate, found.people_low, found.people_high)


def test_order_of_queries_does_not_matter() -> None:
    model, people = judged(7, 60, 15, skill=0.6, bias=0.2)
    turned = prediction_powered_mean(dict(reversed(model.items())), dict(reversed(people.items())))
    assert turned == prediction_powered_mean(model, people)


# ------------------------------------------------------------------ coverage


@pytest.mark.parametrize(("people", "skill", "bias"), [(10, 0.9, 0.7), (40, 0.9, 0.7), (40, 0.0, -2.0), (25, 0.6, 0.7)])
def test_interval_holds_the_truth_though_the_model_is_biased(people: int, skill: float, bias: float) -> None:
    found = [prediction_powered_mean(*judged(n, 300, people, skill=skill, bias=bias)) for n in range(400)]
    assert 0.925 <= np.mean([one.low <= 0.0 <= one.high for one in found]) <= 0.975
    assert abs(np.mean([one.estimate for one in found])) < 0.03
    assert np.mean([one.model_bias for one in found]) == pytest.approx(bias, abs=0.05)
    narrower = np.mean([(one.high - one.low) / (one.people_high - one.people_low) for one in found])
    assert narrower < {0.9: 0.62, 0.6: 0.9, 0.0: 1.03}[skill]
    if skill == 0.9:  # the model's own mean would be wrong every time
        alone = [judged(n, 300, people, skill=skill, bias=bias)[0] for n in range(50)]
        assert all(np.mean(list(m.values())) - 1.96 / math.sqrt(300) > 0.3 for m in alone)


def test_a_judge_that_favours_one_ranker_does_not_make_it_win() -> None:
    """Two equal rankers; the model gives the first .1 more, people do not: the interval holds 0 as often as it says."""
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        ids = [f"q{i}" for i in range(200)]
        hard = rng.random(200)
        first, second = (np.clip(hard + 0.1 * rng.normal(size=200), 0, 1) for _ in range(2))
        said = [
            {q: float(v[i] + 0.03 * rng.normal() + up) for i, q in enumerate(ids)}
            for v, up in ((first, 0.1), (second, 0.0))
        ]
        some = [ids[i] for i in rng.permutation(200)[:30]]
        people = [{q: float(v[ids.index(q)]) for q in some} for v in (first, second)]
        found = prediction_powered_difference((said[0], said[1]), (people[0], people[1]))
        covered += found.low <= 0.0 <= found.high
        assert found.model_bias == pytest.approx(0.1, abs=0.05)
    assert 0.92 <= covered / 300 <= 0.98


def test_difference_is_the_mean_of_differences() -> None:
    model_a, people_a = judged(1, 100, 20, skill=0.9, bias=0.1)
    model_b = {q: v / 2 for q, v in model_a.items()}
    people_b = {q: v / 3 for q, v in people_a.items()}
    found = prediction_powered_difference((model_a, model_b), (people_a, people_b), weight=0.7, level=0.9)
    expected = prediction_powered_mean(
        {q: model_a[q] - model_b[q] for q in model_a}, {q: people_a[q] - people_b[q] for q in people_a}, weight=0.7,
        level=0.9,
    )  # fmt: skip
    assert found == expected
    assert isinstance(found, PoweredEstimate)


# ------------------------------------------------------------------ refusals


def test_a_model_judge_never_stands_alone() -> None:
    model = {f"q{i}": 0.5 for i in range(50)}
    with pytest.raises(JudgedByModelAlone, match="never stands alone"):
        prediction_powered_mean(model, {})
    with pytest.raises(JudgedByModelAlone, match="let people judge"):
        prediction_powered_difference((model, model), ({}, {}))
    assert issubclass(JudgedByModelAlone, InputError)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, p: prediction_powered_mean(m, {"q0": 1.0}), "got 1 judged queries; allowed: 2 or more"),
        (lambda m, p: prediction_powered_mean(m, {"q0": 1.0}, weight=0.5), "got 1 judged queries"),
        (lambda m, p: prediction_powered_mean(m, {"q0": 1.0, "q1": 0.0}), "3 or more where the weight"),
        (lambda m, p: prediction_powered_mean(m, {**p, "zz": 1.0}), r"did not judge, such as \['zz'\]"),
        (lambda m, p: prediction_powered_mean({**m, "q1": math.nan}, p), r"model\['q1'\]: got nan"),
        (lambda m, p: prediction_powered_mean(m, {**p, "q1": math.inf}), r"people\['q1'\]: got inf"),
        (lambda m, p: prediction_powered_mean(m, p, level=95), "level: got 95"),
        (lambda m, p: prediction_powered_mean(m, p, weight=1.5), "weight: got 1.5"),
        (lambda m, p: prediction_powered_difference((m, {}), (p, p)), "model: got 9 queries that only one"),
        (lambda m, p: prediction_powered_difference((m, m), (p, {"q1": 1.0})), "people: got 3 queries that only one"),
    ],
)
def test_bad_input_is_refused(call: object, words: str) -> None:
    model = {f"q{i}": i / 10 for i in range(9)}
    people = {f"q{i}": i / 9 for i in range(4)}
    with pytest.raises(InputError, match=words):
        call(model, people)  # type: ignore[operator]


def test_two_judged_queries_do_with_a_weight_of_one_s_own() -> None:
    model = {f"q{i}": i / 10 for i in range(9)}
    found = prediction_powered_mean(model, {"q0": 0.1, "q8": 0.7}, weight=0.5)
    assert found.low < found.estimate < found.high
