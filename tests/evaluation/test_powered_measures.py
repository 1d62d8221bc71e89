"""Measures from a model judge and some people: identities, exact unbiasedness by enumeration, coverage, refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.arrays import from_arrays
from wholepage.evaluation.page.rank_biased import rank_biased_precision
from wholepage.evaluation.place_measures import PlaceMeasure, dcg_by_place, precision_by_place, rbp_by_place
from wholepage.evaluation.powered_items import JudgedItems, PoweredItems, powered_items
from wholepage.evaluation.powered_measures import (
    powered_measure,
    powered_measure_difference,
    powered_places,
    powered_places_difference,
)
from wholepage.evaluation.prediction_powered import JudgedByModelAlone, prediction_powered_mean
from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Ranking

Grades = dict[str, dict[str, float]]
Floats = NDArray[np.float64]


def pages(seed: int, queries: int, k: int) -> tuple[list[Ranking], Grades, Grades]:
    """Rankings, the truth, and what a model that is often wrong and too kind says."""
    rng = np.random.default_rng(seed)
    rankings, truth, guess = [], {}, {}
    for number in range(queries):
        query, ids = f"q{number:03}", [f"r{place}" for place in range(k)]
        true = rng.integers(0, 4, size=k)
        said = np.where(rng.random(k) < 0.3, rng.integers(1, 4, size=k), true)
        rankings.append(Ranking(query, tuple(ids)))
        truth[query] = {i: float(g) for i, g in zip(ids, true, strict=True)}
        guess[query] = {i: float(g) for i, g in zip(ids, said, strict=True)}
    return rankings, truth, guess


def some(grades: Grades, wanted: Callable[[str, str], bool]) -> Judgments:
    return Judgments.from_mapping(
        {q: {r: g for r, g in of.items() if wanted(q, r)} for q, of in grades.items()}, who="people"
    )


def judged(grades: Mapping[str, Mapping[str, float]]) -> Judgments:
    return Judgments.from_mapping(grades, who="somebody")


def dcg(of: Iterable[float]) -> float:
    return math.fsum(grade / math.log2(place + 2) for place, grade in enumerate(of))


# ------------------------------------------------------------------ identities


def test_all_judged_is_the_measure_itself_with_student_s_interval() -> None:
    rankings, truth, guess = pages(1, 30, 5)
    for measure, values in (
        (dcg_by_place(5), [dcg(of.values()) for of in truth.values()]),
        (dcg_by_place(3), [dcg(list(of.values())[:3]) for of in truth.values()]),
        (dcg_by_place(5, gain="exponential"), [dcg(2**g - 1 for g in of.values()) for of in truth.values()]),
        (
            precision_by_place(4, relevant_from=2),
            list(evaluate(rankings, judged(truth), ["P(rel=2)@4"]).of("P(rel=2)@4").values()),
        ),
        (
            rbp_by_place(5, persistence=0.7, highest=3),
            rank_biased_precision(from_arrays([list(of.values()) for of in truth.values()]), p=0.7, top=3.0),
        ),
    ):
        found = powered_places(rankings, judged(guess), judged(truth), measure)
        low, high = stats.t.interval(0.95, 29, np.mean(values), stats.sem(values))
        assert (found.estimate, found.low, found.high) == pytest.approx((np.mean(values), low, high), rel=1e-9)
        assert (found.people_estimate, found.people_low, found.people_high) == (found.estimate, found.low, found.high)
        assert (found.queries, found.people, found.weight) == (30, 30, 0.0)
        assert found.results == found.judged == 30 * len(measure.weights)
        assert found.people_saved == 0.0


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_whole_queries_judged_is_the_mean_over_queries(lam: float) -> None:
    """The same estimate as from the queries' sums; the weights differ by what is said of the model's share."""
    rankings, truth, guess = pages(2, 80, 4)
    people = some(truth, lambda q, r: int(q[1:]) % 4 == 1)
    found = powered_places(rankings, judged(guess), people, dcg_by_place(4), weight=lam)
    model_values = {q: dcg(of.values()) for q, of in guess.items()}
    people_values = {q: dcg(truth[q].values()) for q in people.query_ids}
    expected = prediction_powered_mean(model_values, people_values, weight=lam * (1 - 20 / 80))
    assert found.estimate == pytest.approx(expected.estimate, rel=1e-12)
    assert found.people_estimate == pytest.approx(expected.people_estimate, rel=1e-12)
    assert (found.people_low, found.people_high) == pytest.approx((expected.people_low, expected.people_high))
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.05 if lam else 1e-9)
    assert (found.people, found.judged, found.results) == (20, 80, 320)
    assert powered_places(rankings, judged(guess), people, dcg_by_place(4)).weight == pytest.approx(
        prediction_powered_mean(model_values, people_values).weight / (1 - 20 / 80), abs=0.1
    )


@pytest.mark.parametrize("drawn", ["by-place", "anywhere"])
@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_the_mean_over_every_possible_draw_is_the_truth(drawn: Any, lam: float) -> None:
    """Unbiased, exactly: all ways to judge 2 of 4 results a place, or 5 of 8 anywhere."""
    rankings, truth, guess = pages(3, 4, 2)
    cells = [(q, r) for r in ("r0", "r1") for q in truth]
    if drawn == "by-place":
        draws = [
            {*one, *two} for one in itertools.combinations(cells[:4], 2) for two in itertools.combinations(cells[4:], 2)
        ]
        draws = [draw for draw in draws if len({q for q, _ in draw}) > 2]  # symmetric: each cell as often as any other
    else:
        draws = [set(draw) for draw in itertools.combinations(cells, 5)]
    estimates = [
        powered_places(
            rankings, judged(guess), some(truth, lambda q, r, d=draw: (q, r) in d), dcg_by_place(2), drawn=drawn,
            weight=lam,
        ).estimate
        for draw in draws
    ]  # fmt: skip
    assert np.mean(estimates) == pytest.approx(np.mean([dcg(of.values()) for of in truth.values()]), rel=1e-12)
    assert np.std(estimates) > 0.05


def test_known_chances_are_undone() -> None:
    """Of two results at a place, one drawn with three times the chance of the other stands for a third of it."""
    chance = np.array([0.9, 0.3, 0.9, 0.3])
    said, guessed = np.array([1.0, 5.0, 2.0, math.nan]), np.array([0.0, 4.0, 2.0, 3.0])
    items = JudgedItems(np.arange(4), np.zeros(4, dtype=np.int64), said, guessed, chance, 4)
    per = 1 / chance[:3]
    lam = 0.5
    expected = lam * guessed.mean() + np.average(said[:3] - lam * guessed[:3], weights=per)
    assert powered_items(items, weight=lam).estimate == pytest.approx(expected)
    scaled = powered_items(items._replace(chance=chance / 3), weight=lam)
    assert scaled.estimate == pytest.approx(expected)  # only their ratio matters


def test_a_shift_of_the_model_changes_nothing_but_its_bias() -> None:
    rankings, truth, guess = pages(4, 60, 3)
    people = some(truth, lambda q, r: (int(q[1:]) + int(r[1:])) % 3 == 0)
    up = {q: {r: g + 2.0 for r, g in of.items()} for q, of in guess.items()}
    one, other = (powered_places(rankings, judged(said), people, dcg_by_place(3)) for said in (guess, up))
    assert (one.estimate, one.low, one.high) == pytest.approx((other.estimate, other.low, other.high))
    assert other.model_bias - one.model_bias == pytest.approx(dcg([2.0] * 3))


def test_order_of_queries_and_what_lies_below_do_not_matter() -> None:
    rankings, truth, guess = pages(5, 40, 6)
    people = some(truth, lambda q, r: (int(q[1:]) + int(r[1:])) % 3 == 0)
    found = powered_places(rankings, judged(guess), people, dcg_by_place(3))
    cut = {q: {r: g for r, g in of.items() if r in ("r0", "r1", "r2")} for q, of in guess.items()}
    turned = [Ranking(one.query_id, one.result_ids[:4]) for one in reversed(rankings)]
    assert powered_places(turned, judged(cut), people, dcg_by_place(3)) == found


def test_a_shorter_page_has_nothing_at_its_empty_places() -> None:
    rankings, truth, guess = pages(6, 20, 2)
    short = [Ranking(r.query_id, r.result_ids[: 1 + n % 2]) for n, r in enumerate(rankings)]
    found = powered_places(short, judged(guess), judged(truth), precision_by_place(2, relevant_from=2))
    values = evaluate(short, judged(truth), ["P(rel=2)@2"]).of("P(rel=2)@2")
    assert found.estimate == pytest.approx(np.mean(list(values.values())))
    assert (found.results, found.queries) == (30, 20)


def test_difference_of_two_rankers() -> None:
    rankings, truth, guess = pages(7, 50, 4)
    other = [
        Ranking(r.query_id, (r.result_ids[2], r.result_ids[1], r.result_ids[0], r.result_ids[3])) for r in rankings
    ]
    measure, everything = dcg_by_place(4), judged(truth)
    whole = powered_places_difference(rankings, other, judged(guess), everything, measure)
    apart = [dcg(of.values()) - dcg([of[i] for i in ("r2", "r1", "r0", "r3")]) for of in truth.values()]
    low, high = stats.t.interval(0.95, 49, np.mean(apart), stats.sem(apart))
    assert (whole.estimate, whole.low, whole.high) == pytest.approx((np.mean(apart), low, high))
    assert whole.results == 100  # r1 and r3 stand at the same place in both
    people = some(truth, lambda q, r: (int(q[1:]) + int(r[1:])) % 3 == 0)
    one = powered_places_difference(rankings, other, judged(guess), people, measure)
    two = powered_places_difference(other, rankings, judged(guess), people, measure)
    assert (one.estimate, one.low) == pytest.approx((-two.estimate, -two.high))


def test_whole_queries_by_any_measure_are_the_powered_mean_of_its_values() -> None:
    rankings, truth, guess = pages(8, 40, 5)
    people = some(truth, lambda q, r: int(q[1:]) < 12)
    found = powered_measure(rankings, judged(guess), people, "nDCG@3")
    by_model = evaluate(rankings, judged(guess), ["nDCG@3"]).of("nDCG@3")
    by_people = evaluate(rankings[:12], people, ["nDCG@3"]).of("nDCG@3")
    assert found == prediction_powered_mean(by_model, by_people)
    other = [Ranking(one.query_id, one.result_ids[::-1]) for one in rankings]
    apart = powered_measure_difference(rankings, other, judged(guess), people, "nDCG@3", level=0.9)
    again = powered_measure_difference(other, rankings, judged(guess), people, "nDCG@3", level=0.9)
    assert (apart.estimate, apart.low) == pytest.approx((-again.estimate, -again.high))
    assert apart.model_bias == pytest.approx(
        found.model_bias - powered_measure(other, judged(guess), people, "nDCG@3").model_bias
    )


# ------------------------------------------------------------------ coverage, bias and width over simulated campaigns

QUERIES, K = 300, 5
WEIGHTS = 1 / np.log2(np.arange(K) + 2)
FALL = 1 - 0.1 * np.arange(K)
TRUTH = float((2.0 * (1.2 / 3.2) * FALL * WEIGHTS).sum())  # mean grade of a relevant result 2, share Beta(1.2, 2)


def campaign(rng: np.random.Generator, design: str, skill: float) -> JudgedItems:
    """Skewed gains that hang together within a query; a model that is right with ``skill``, and always too kind."""
    hard = rng.beta(1.2, 2.0, size=(QUERIES, 1))
    true = (rng.random((QUERIES, K)) < hard * FALL) * rng.integers(1, 4, size=(QUERIES, K))
    knows = rng.random((QUERIES, K)) < skill
    model = np.where(knows, true, rng.integers(0, 4, size=(QUERIES, K))) + 0.3 * rng.random((QUERIES, K))
    chance = np.ones((QUERIES, K))
    if design == "queries":
        drawn = np.repeat(rng.random((QUERIES, 1)).argsort(axis=0).argsort(axis=0) < 50, K, axis=1)
    elif design == "places":  # 60 results at the top, 28 at the last place
        drawn = rng.random((QUERIES, K)).argsort(axis=0).argsort(axis=0) < 60 - 8 * np.arange(K)
    elif design == "anywhere":
        drawn = rng.random((QUERIES, K)).ravel().argsort().argsort().reshape(QUERIES, K) < 220
    else:  # "chances": where the model sees something, people look more often
        chance = np.clip(0.1 + 0.1 * model, 0.0, 1.0)
        drawn = rng.random((QUERIES, K)) < chance
    query, place = np.indices((QUERIES, K))
    group = np.zeros_like(place) if design == "anywhere" else place
    said = np.where(drawn, true * WEIGHTS, np.nan)
    return JudgedItems(query.ravel(), group.ravel(), said.ravel(), (model * WEIGHTS).ravel(), chance.ravel(), QUERIES)


def run_campaigns(design: str, skill: float, count: int) -> list[PoweredItems]:
    rng = np.random.default_rng(2026)
    return [powered_items(campaign(rng, design, skill)) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "skill"),
    [("queries", 0.0), ("queries", 0.9), ("places", 0.9), ("anywhere", 0.0), ("chances", 0.9)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(design: str, skill: float) -> None:
    """94 to 96 of 100, give or take two standard errors of a share of 2,000 campaigns (half a point each)."""
    found = run_campaigns(design, skill, 2000)
    covered = np.mean([one.low <= TRUTH <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
    estimates = np.array([one.estimate for one in found])
    # The weight is found in the same data, which costs a bias of lower order than the error.
    assert abs(estimates.mean() - TRUTH) < 4 * estimates.std() / math.sqrt(2000)
    ratio = np.mean([(one.high - one.low) / (one.people_high - one.people_low) for one in found])
    assert ratio < (0.85 if skill else 1.02)


def test_a_good_judge_makes_the_interval_shorter_and_a_bad_one_hardly_wider() -> None:
    good, bad = (run_campaigns("places", skill, 60) for skill in (0.95, 0.0))
    ratios = np.array([(one.high - one.low) / (one.people_high - one.people_low) for one in good])
    assert ratios.mean() < 0.75
    assert all(0.5 < one.weight <= 1.0 for one in good)
    assert np.mean([one.model_bias for one in good]) > 0.3
    wide = np.array([(one.high - one.low) / (one.people_high - one.people_low) for one in bad])
    assert wide.mean() < 1.02
    assert wide.max() < 1.06


@pytest.mark.slow
def test_nulls_of_two_equal_rankers_by_ndcg_are_covered() -> None:
    """2,000 pairs of equal rankers by nDCG; the model favours the first. Bounds as above."""
    rng, covered, wide = np.random.default_rng(7), 0, []
    names = [f"q{n}" for n in range(QUERIES)]
    for _ in range(2000):
        hard = rng.beta(1.2, 2.0, size=(QUERIES, 1))
        grades = (rng.random((QUERIES, K)) < hard) * rng.integers(1, 4, size=(QUERIES, K))
        ideal = np.maximum((-np.sort(-grades, axis=1) * WEIGHTS).sum(axis=1), 1e-9)
        values = [(rng.permuted(grades, axis=1) * WEIGHTS).sum(axis=1) / ideal for _ in range(2)]
        apart = values[0] - values[1]
        guess = apart + 0.1 * rng.normal(size=QUERIES) + 0.05
        people = rng.permutation(QUERIES)[:40]
        found = prediction_powered_mean(
            dict(zip(names, guess.tolist(), strict=True)), {names[i]: float(apart[i]) for i in people}
        )
        covered += found.low <= 0.0 <= found.high
        wide.append((found.high - found.low) / (found.people_high - found.people_low))
    assert 0.93 <= covered / 2000 <= 0.97
    assert np.mean(wide) < 0.75


# ------------------------------------------------------------------ refusals


def test_a_model_judge_never_stands_alone() -> None:
    rankings, truth, guess = pages(9, 10, 3)
    with pytest.raises(JudgedByModelAlone, match="never stands alone"):
        powered_measure(rankings, judged(guess), Judgments(), "nDCG@3")
    with pytest.raises(JudgedByModelAlone, match=r"got 0 judged of 10 results .*group 0.*never stands alone"):
        powered_places(rankings, judged(guess), Judgments(), dcg_by_place(3))
    top_only = some(truth, lambda q, r: r != "r2")
    with pytest.raises(JudgedByModelAlone, match=r"group 2, a place from 0.*'anywhere'"):
        powered_places(rankings, judged(guess), top_only, dcg_by_place(3))
    assert powered_places(rankings, judged(guess), top_only, dcg_by_place(3), drawn="anywhere").judged == 20


def without(grades: Grades, query: str, result: str) -> Judgments:
    return some(grades, lambda q, r: (q, r) != (query, result))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r, m, t: powered_measure(r[1:], judged(m), judged(t), "P@1"), r"model: got .* 1 queries .*\['q000'\]"),
        (lambda r, m, t: powered_measure(r, without(m, "q001", "r2"), judged(t), "P@1"), "query 'q001': got 1 results"),
        (lambda r, m, t: powered_measure(r, judged(m), without(t, "q003", "r1"), "P@1"), "use powered_places"),
        (lambda r, m, t: powered_places(r, without(m, "q1", "r0"), judged(t), dcg_by_place(0)), "k: got 0"),
        (
            lambda r, m, t: powered_places(r, without(m, "q001", "r0"), judged(t), dcg_by_place(2)),
            r"model: got no grade of 1 results of 'q001', such as \['r0'\]",
        ),
        (
            lambda r, m, t: powered_places(r, judged(m), judged(t), dcg_by_place(2), drawn="by-query"),
            "drawn: got 'by-query'; allowed: by-place, anywhere",
        ),
        (
            lambda r, m, t: powered_places(r, judged(m), judged(t), dcg_by_place(2), chances={}),
            r"chances\['q000'\]\['r0'\]: got None; allowed: above 0, up to 1",
        ),
        (
            lambda r, m, t: powered_places(
                r, judged(m), some(t, lambda q, r: r == "r0" or q == "q001"), dcg_by_place(2)
            ),
            r"got 1 judged of 8 results drawn together \(group 1",
        ),
        (
            lambda r, m, t: powered_places(r, judged(m), some(t, lambda q, r: q < "q002"), dcg_by_place(2)),
            "got results of 2 queries; allowed: 3 or more",
        ),
        (lambda r, m, t: powered_places(r, judged(m), judged(t), dcg_by_place(2), level=95), "level: got 95"),
        (lambda r, m, t: powered_places(r, judged(m), judged(t), dcg_by_place(2), weight=-1), "weight: got -1"),
        (lambda r, m, t: powered_places(r[:1], judged(m), judged(t), dcg_by_place(2)), "queries: got 1"),
        (
            lambda r, m, t: powered_places_difference(r, r[1:], judged(m), judged(t), dcg_by_place(2)),
            r"1 queries that only one of the two rankers has, such as \['q000'\]",
        ),
        (
            lambda r, m, t: powered_places_difference(r, r, judged(m), judged(t), dcg_by_place(2)),
            "without any result that DCG.linear.@2 tells apart",
        ),
        (lambda r, m, t: rbp_by_place(5, persistence=1.0), "persistence=1.0"),
        (lambda r, m, t: PlaceMeasure("none", ()), "got 0 weights"),
        (
            lambda r, m, t: PlaceMeasure("odd", (1.0,), "cubic"),
            "gain 'cubic'; allowed: .*linear, exponential, relevant",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[..., object], words: str) -> None:
    rankings, truth, guess = pages(10, 8, 3)
    with pytest.raises(InputError, match=words):
        call(rankings, guess, truth)


def test_bad_columns_are_refused() -> None:
    items = campaign(np.random.default_rng(0), "anywhere", 0.5)
    with pytest.raises(ShapeError, match="columns of"):
        powered_items(items._replace(said=items.said[:-1]))
    with pytest.raises(InputError, match="not finite"):
        powered_items(items._replace(guessed=np.full(QUERIES * K, np.inf)))
    with pytest.raises(InputError, match="chance: got 0 or less"):
        powered_items(items._replace(chance=np.zeros(QUERIES * K)))
