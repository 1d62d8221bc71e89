"""The dynamic Bayesian model, against its sampler and against all that may have happened, counted out."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from wholepage.evaluation.users.click_models.dbn import climb_dynamic, expected, fit_dbn, fit_sdbn
from wholepage.evaluation.users.click_models.fitting import Climb, NotConverged
from wholepage.evaluation.users.click_models.items import known_items
from wholepage.evaluation.users.click_models.pbm import fit_pbm
from wholepage.evaluation.users.click_models.quality import log_likelihood, perplexity
from wholepage.evaluation.users.impressions import ImpressionTable, table_of
from wholepage.pages import InputError

from .samplers import QUERIES, RESULTS, TINY, by_name, dbn_clicks, log_of, orders, small_log

LOOSE = Climb(prior=0.5)


def test_finds_what_its_clicks_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    shown, query = orders(25_000, 6, rng)
    attraction, satisfaction = rng.uniform(0.1, 0.7, (2, QUERIES, RESULTS))
    named = attraction[query[:, None], shown], satisfaction[query[:, None], shown]
    log = log_of(shown, dbn_clicks(*named, 0.8, rng), query)
    model = fit_dbn(log)
    assert abs(model.continuation - 0.8) < 0.02
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction, atol=0.09)
    off = by_name(model.items, model.satisfaction) - satisfaction
    # Satisfaction is seen at clicks only, and only by who does not go on: far less is known of it.
    assert np.abs(off).mean() < 0.09
    assert log_likelihood(model, log) > log_likelihood(fit_pbm(log), log) + 100
    assert log_likelihood(model, log) > log_likelihood(fit_sdbn(log), log) + 100
    for chance in (model.predict(log), model.predict_given_clicks(log)):
        np.testing.assert_allclose(chance.mean(axis=0), log.clicked.mean(axis=0), atol=0.01)
    assert perplexity(model, log).overall < 2.0


def test_simplified_model_finds_what_it_assumes() -> None:
    # Users who never tire and whose clicks always satisfy: then the last click is all there is.
    rng = np.random.default_rng(1)
    shown, query = orders(20_000, 6, rng)
    attraction = rng.uniform(0.1, 0.7, (QUERIES, RESULTS))
    clicked = dbn_clicks(attraction[query[:, None], shown], np.ones(shown.shape), 1.0, rng)
    model = fit_sdbn(log_of(shown, clicked, query), prior=0.01)
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction, atol=0.08)
    np.testing.assert_allclose(model.satisfaction, 1.0, atol=0.01)


def test_simplified_model_by_hand() -> None:
    log = small_log([("q", "abc", "b"), ("q", "bca", "ba"), ("q", "cab", ""), ("q", "acb", "a")])
    model = fit_sdbn(log, prior=1.0)
    found = {name: (a, s) for (_, name), a, s in zip(model.items, model.attraction, model.satisfaction, strict=True)}
    # a: looked at on all four pages, clicked on two, both last.  b: on three, clicked twice, once last.
    # c: below the last click on the first and last page; looked at on two, never clicked.
    assert found == {"a": (3 / 6, 3 / 4), "b": (3 / 5, 2 / 4), "c": (1 / 4, 1 / 2)}
    assert (model.continuation, model.trace) == (1.0, ())


# ---------------------------------------------------------------- everything that may have happened


def stories(
    a: np.ndarray, s: np.ndarray, go: float
) -> Iterator[tuple[tuple[bool, ...], tuple[bool, ...], tuple[bool, ...], float]]:
    """Clicks, looks, satisfactions and the chance of each story of one page, step by step."""

    def step(place: int, clicks: tuple, looks: tuple, enough: tuple, chance: float, looking: bool) -> Iterator:  # type: ignore[type-arg]
        if place == len(a):
            yield clicks, looks, enough, chance
            return
        if not looking:
            yield from step(place + 1, (*clicks, False), (*looks, False), (*enough, False), chance, False)
            return
        for click, satisfied, goes in itertools.product([False, True], repeat=3):
            if satisfied and (not click or goes):
                continue
            now = chance * (a[place] if click else 1 - a[place])
            now *= (s[place] if satisfied else 1 - s[place]) if click else 1.0
            now *= 1.0 if satisfied else (go if goes else 1 - go)
            yield from step(place + 1, (*clicks, click), (*looks, True), (*enough, satisfied), now, goes)

    yield from step(0, (), (), (), 1.0, True)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_looking_back_equals_all_stories(depth: int) -> None:
    rng = np.random.default_rng(depth)
    a, s = rng.uniform(0.05, 0.95, (2, depth))
    sums = defaultdict(lambda: [0.0, np.zeros(depth), np.zeros(depth)])
    for clicks, looks, enough, chance in stories(a, s, 0.6):
        told = sums[clicks]
        told[0] += chance
        told[1] += chance * np.array(looks)
        told[2] += chance * np.array(enough)
    assert len(sums) == 2**depth
    clicked = np.array(list(sums))
    last = np.where(clicked, np.arange(1, depth + 1), 0).max(axis=1) - 1
    found = expected(np.tile(a, (len(sums), 1)), np.tile(s, (len(sums), 1)), 0.6, clicked, last)
    for row, (chance, looked, satisfied) in enumerate(sums.values()):
        assert math.isclose(math.exp(found.log_likelihood[row]), chance, rel_tol=1e-12)
        np.testing.assert_allclose(found.looked[row], looked / chance)
        np.testing.assert_allclose(found.satisfied[row], satisfied / chance)


def slow_dynamic(log: ImpressionTable, prior: float, rounds: int) -> tuple[dict, dict, float]:  # type: ignore[type-arg]
    """The fit by the book: every page by all its stories that agree with the clicks."""
    a: dict[object, float] = defaultdict(lambda: 0.5)
    s: dict[object, float] = defaultdict(lambda: 0.5)
    go = 0.5
    for _ in range(rounds):
        ups = {name: defaultdict(lambda: [prior, 2 * prior]) for name in "as"}
        on = [prior, 2 * prior]
        for row in range(len(log)):
            length = int(log.length[row])
            items = [(log.query_ids[log.query[row]], log.result_ids[i]) for i in log.item[row, :length]]
            clicks = tuple(log.clicked[row, :length].tolist())
            mine = [
                story
                for story in stories(np.array([a[i] for i in items]), np.array([s[i] for i in items]), go)
                if story[0] == clicks
            ]
            total = sum(chance for *_, chance in mine)
            for _, looks, enough, chance in mine:
                share = chance / total
                for place, item in enumerate(items):
                    ups["a"][item][0] += share * (looks[place] and clicks[place])
                    ups["a"][item][1] += share * looks[place]
                    if place < length - 1:
                        ups["s"][item][0] += share * enough[place]
                        ups["s"][item][1] += share * clicks[place]
                        on[0] += share * looks[place + 1]
                        on[1] += share * (looks[place] and not enough[place])
        a = {item: up / down for item, (up, down) in ups["a"].items()}
        s = defaultdict(lambda: 0.5, {item: up / down for item, (up, down) in ups["s"].items()})
        go = on[0] / on[1]
    return a, s, go


@pytest.mark.parametrize("rounds", [1, 2, 12])
def test_fit_equals_a_slow_fit_story_by_story(rounds: int) -> None:
    log = small_log(TINY)
    model = fit_dbn(log, Climb(rounds=rounds, tolerance=0.0, prior=0.7))
    a, s, go = slow_dynamic(log, 0.7, rounds - 1)
    assert math.isclose(model.continuation, go, rel_tol=1e-9)
    for item, attraction, satisfaction in zip(model.items, model.attraction, model.satisfaction, strict=True):
        assert math.isclose(attraction, a.get(item, 0.5), rel_tol=1e-9)
        assert math.isclose(satisfaction, s[item], rel_tol=1e-9)


@pytest.mark.parametrize("prior", [1e-6, 0.5, 5.0])
def test_the_objective_never_falls(prior: float) -> None:
    rng = np.random.default_rng(2)
    shown, query = orders(500, 8, rng)
    shown[rng.random(500) < 0.3, 5:] = -1  # some pages are shorter
    log = log_of(shown, rng.random((500, 8)) < 0.2, query)
    trace = fit_dbn(log, Climb(rounds=80, tolerance=0.0, prior=prior)).trace
    assert min(np.diff(trace)) > -1e-9 * abs(trace[0])
    assert trace[-1] > trace[0]


def test_the_likelihood_looking_back_is_the_likelihood_going_forward() -> None:
    log = small_log(TINY)
    model = fit_dbn(log, Climb(rounds=10, tolerance=0.0, prior=0.4))
    chances = np.array([*model.attraction, *model.satisfaction, model.continuation])
    prior = 0.4 * np.log(chances * (1 - chances)).sum()
    assert math.isclose(model.trace[-1], log_likelihood(model, log) + prior, rel_tol=1e-12)


@pytest.mark.parametrize("fit", [lambda log: fit_dbn(log, LOOSE), fit_sdbn], ids=["dbn", "sdbn"])
def test_chances_of_all_patterns_sum_to_one_and_give_the_chances_of_clicks(fit: object) -> None:
    model = fit(small_log(TINY))  # type: ignore[operator]
    log = small_log(
        [("q", "aCb", "".join(itertools.compress("aCb", clicks))) for clicks in itertools.product([0, 1], repeat=3)]
    )
    given = model.predict_given_clicks(log)
    chance = np.where(log.clicked, given, 1 - given).prod(axis=1)
    assert math.isclose(chance.sum(), 1.0)
    np.testing.assert_allclose((chance[:, None] * log.clicked).sum(axis=0), model.predict(log)[0])
    a, s = (dict(zip(model.items, values, strict=True)) for values in (model.attraction, model.satisfaction))
    told: dict[tuple[bool, ...], float] = defaultdict(float)
    names = [("q", letter) for letter in "aCb"]
    chances = np.array([a[i] for i in names]), np.array([s[i] for i in names])
    for clicks, _, _, part in stories(*chances, model.continuation):
        told[clicks] += part
    np.testing.assert_allclose(chance, [told[tuple(row)] for row in log.clicked.tolist()])


def test_the_order_of_the_log_and_more_padding_do_not_matter() -> None:
    log, back = small_log(TINY), small_log(TINY[::-1])
    wide = small_log([*TINY, ("q", "abCdefgh", "")]).rows(np.arange(len(TINY)))
    for fit in (lambda log: fit_dbn(log, LOOSE), fit_sdbn):
        one, other, broad = fit(log), fit(back), fit(wide)
        values = dict(zip(other.items, zip(other.attraction, other.satisfaction, strict=True), strict=True))
        for item, a, s in zip(one.items, one.attraction, one.satisfaction, strict=True):
            np.testing.assert_allclose((a, s), values[item], rtol=1e-9)
        np.testing.assert_allclose(one.attraction, broad.attraction, rtol=1e-9)
        np.testing.assert_allclose(one.predict(log), broad.predict(wide)[:, : log.depth], rtol=1e-9)
        assert (broad.predict(wide)[:, log.depth :] == 0).all()


def test_longer_pages_and_unknown_results_can_be_foretold() -> None:
    model = fit_dbn(small_log(TINY), LOOSE)
    chance = model.predict(small_log([("new", "vwxyz", "")]))[0]
    a, on = model.unknown_attraction, 1 - model.unknown_attraction * model.unknown_satisfaction
    np.testing.assert_allclose(chance, a * (on * model.continuation) ** np.arange(5))


def test_what_cannot_be_fitted_is_told() -> None:
    with pytest.raises(NotConverged, match="in round 2"):
        fit_dbn(small_log(TINY), Climb(rounds=2))
    for fit in (fit_dbn, fit_sdbn):
        with pytest.raises(InputError, match="show nothing"):
            fit(table_of([]))
    with pytest.raises(InputError, match=r"Climb\.prior"):
        fit_sdbn(small_log(TINY), prior=0.0)


def test_a_log_without_clicks_is_one_of_users_who_want_nothing() -> None:
    log = small_log([("q", "ab", "")] * 50)
    model = fit_dbn(log)
    assert max(model.predict(log)[0]) < 0.05
    steps = climb_dynamic(known_items(log).number, log.clicked, 2, 1.0)
    assert next(steps).continuation == 0.5
