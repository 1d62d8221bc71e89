"""The position-based and the user browsing model, against their samplers, a slow fit, and cases counted out."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from itertools import islice

import numpy as np
import pytest

from wholepage.evaluation.users.click_models.fitting import (
    Climb,
    NotConverged,
    cells_of,
    climb_product,
    climbed,
    product_posterior,
)
from wholepage.evaluation.users.click_models.items import last_click_above
from wholepage.evaluation.users.click_models.pbm import PositionModel, fit_pbm, fit_pbm_by_modality
from wholepage.evaluation.users.click_models.quality import log_likelihood, perplexity
from wholepage.evaluation.users.click_models.ubm import BrowsingModel, fit_ubm
from wholepage.evaluation.users.impressions import ImpressionTable, table_of
from wholepage.pages import InputError

from .samplers import (
    QUERIES,
    RESULTS,
    TINY,
    by_name,
    log_of,
    orders,
    pbm_clicks,
    small_log,
    ubm_clicks,
)

DEPTH = 8
LOOSE = Climb(prior=0.5)


def _pbm_log(n: int, seed: int, examination: np.ndarray, modality: np.ndarray) -> tuple[ImpressionTable, np.ndarray]:
    """A log, and the attraction behind it; examination is [kinds, depth] by modality code."""
    rng = np.random.default_rng(seed)
    shown, query = orders(n, DEPTH, rng)
    attraction = rng.uniform(0.1, 0.9, (QUERIES, RESULTS))
    kind = modality[shown] if len(examination) > 1 else np.zeros(shown.shape, dtype=int)
    clicked = pbm_clicks(attraction[query[:, None], shown], examination[kind, np.arange(DEPTH)], rng)
    return log_of(shown, clicked, query, modality), attraction


def test_position_model_finds_what_its_clicks_were_drawn_from() -> None:
    examination = np.array([[1.0, 0.8, 0.9, 0.5, 0.4, 0.3, 0.2, 0.1]])
    log, attraction = _pbm_log(30_000, 0, examination, np.zeros(RESULTS, dtype=int))
    model = fit_pbm(log)
    assert model.examination.shape == (1, DEPTH)
    np.testing.assert_allclose(model.examination, examination, atol=0.03)
    # Each of 72 results was shown some 3,300 times, at all places alike.
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction, atol=0.05)


def test_examination_may_differ_by_modality() -> None:
    falls = 0.75 ** np.arange(DEPTH)
    examination = np.array([falls, np.sqrt(falls), np.ones(DEPTH), falls])  # pictures hold the eye, videos even more
    modality = np.arange(RESULTS) % 3
    log, attraction = _pbm_log(30_000, 1, examination, modality)
    model = fit_pbm_by_modality(log)
    np.testing.assert_allclose(model.examination[:3], examination[:3], atol=0.06)
    assert np.isnan(model.examination[3]).all()
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction, atol=0.09)
    alike = fit_pbm(log)
    assert log_likelihood(model, log) > log_likelihood(alike, log) + 100
    assert perplexity(model, log).overall < perplexity(alike, log).overall


def test_a_place_below_may_be_looked_at_more_than_the_first() -> None:
    examination = np.array([[0.5, 1.0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]])
    log, attraction = _pbm_log(30_000, 2, examination, np.zeros(RESULTS, dtype=int))
    model = fit_pbm(log)
    np.testing.assert_allclose(model.examination, examination / 0.5, atol=0.08)
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction / 2, atol=0.05)


def test_browsing_model_finds_what_its_clicks_were_drawn_from() -> None:
    rng = np.random.default_rng(3)
    place, last = np.indices((DEPTH, DEPTH))
    examination = np.where(last <= place, np.where(last == 0, 0.85**place, 0.9 ** (place - last + 1) * 0.8), np.nan)
    shown, query = orders(30_000, DEPTH, rng)
    attraction = rng.uniform(0.2, 0.8, (QUERIES, RESULTS))
    log = log_of(shown, ubm_clicks(attraction[query[:, None], shown], examination, rng), query)
    model = fit_ubm(log)
    np.testing.assert_allclose(model.examination, examination, atol=0.1)
    np.testing.assert_allclose(by_name(model.items, model.attraction), attraction, atol=0.05)
    assert log_likelihood(model, log) > log_likelihood(fit_pbm(log), log) + 100
    # Chances before any click are right on average at each place, and so are those given the clicks above.
    for chance in (model.predict(log), model.predict_given_clicks(log)):
        np.testing.assert_allclose(chance.mean(axis=0), log.clicked.mean(axis=0), atol=0.01)


# ---------------------------------------------------------------- the same as a slow fit


def slow_product(sessions: list[list[tuple[object, object, bool]]], prior: float, rounds: int) -> tuple[dict, dict]:  # type: ignore[type-arg]
    """The fit by the book: session by session, all four cases of (attracts, looked at) counted out."""
    attraction: dict[object, float] = defaultdict(lambda: 0.5)
    examination: dict[object, float] = defaultdict(lambda: 0.5)
    for _ in range(rounds):
        sums = {name: defaultdict(lambda: [prior, 2 * prior]) for name in ("a", "e")}
        for session in sessions:
            for item, place, clicked in session:
                weights = {}
                for attracts, looked in itertools.product([False, True], repeat=2):
                    if (attracts and looked) == clicked:
                        weights[attracts, looked] = (attraction[item] if attracts else 1 - attraction[item]) * (
                            examination[place] if looked else 1 - examination[place]
                        )
                total = sum(weights.values())
                sums["a"][item][0] += sum(w for (attracts, _), w in weights.items() if attracts) / total
                sums["e"][place][0] += sum(w for (_, looked), w in weights.items() if looked) / total
                sums["a"][item][1] += 1
                sums["e"][place][1] += 1
        attraction = {key: up / down for key, (up, down) in sums["a"].items()}
        examination = {key: up / down for key, (up, down) in sums["e"].items()}
    return attraction, examination


def _sessions(log: ImpressionTable, kind: str) -> list[list[tuple[object, object, bool]]]:
    sessions = []
    for row in range(len(log)):
        last, session = 0, []
        for place in range(int(log.length[row])):
            item = (log.query_ids[log.query[row]], log.result_ids[log.item[row, place]])
            where = {"pbm": place, "kinds": (int(log.modality[row, place]), place), "ubm": (place, last)}[kind]
            session.append((item, where, bool(log.clicked[row, place])))
            last = place + 1 if log.clicked[row, place] else last
        sessions.append(session)
    return sessions


@pytest.mark.parametrize("kind", ["pbm", "kinds", "ubm"])
@pytest.mark.parametrize("rounds", [1, 2, 30])
def test_fits_equal_a_slow_fit_case_by_case(kind: str, rounds: int) -> None:
    log = small_log(TINY)
    climb = Climb(rounds=rounds, tolerance=0.0, prior=0.7)
    fit = {"pbm": fit_pbm, "kinds": fit_pbm_by_modality, "ubm": fit_ubm}[kind]
    # A climb of k rounds ends with the parameters after k - 1 updates: the last round tells how good they are.
    attraction, examination = slow_product(_sessions(log, kind), 0.7, rounds - 1)
    model = fit(log, climb)
    assert len(model.trace) == rounds
    chance = model.predict_given_clicks(log)
    for row, session in enumerate(_sessions(log, kind)):
        for at_place, (item, place, _) in enumerate(session):
            wanted = attraction.get(item, 0.5) * examination.get(place, 0.5)
            assert math.isclose(chance[row, at_place], wanted, rel_tol=1e-9)


def test_posterior_is_bayes_rule() -> None:
    a, e = np.array([0.2, 0.9, 0.5]), np.array([0.7, 0.1, 0.5])
    attracts, looked = product_posterior(a, e)
    np.testing.assert_allclose(attracts, a * (1 - e) / (a * (1 - e) + (1 - a) * e + (1 - a) * (1 - e)))
    np.testing.assert_allclose(looked, e * (1 - a) / (a * (1 - e) + (1 - a) * e + (1 - a) * (1 - e)))


# ---------------------------------------------------------------- properties of the climb


@pytest.mark.parametrize("prior", [1e-6, 0.5, 5.0])
@pytest.mark.parametrize("fit", [fit_pbm, fit_pbm_by_modality, fit_ubm])
def test_the_objective_never_falls(fit: object, prior: float) -> None:
    rng = np.random.default_rng(5)
    shown, query = orders(400, DEPTH, rng)
    log = log_of(shown, rng.random(shown.shape) < 0.3, query, np.arange(RESULTS) % 4)
    trace = fit(log, Climb(rounds=60, tolerance=0.0, prior=prior)).trace  # type: ignore[operator]
    assert len(trace) == 60
    assert min(np.diff(trace)) > -1e-9 * abs(trace[0])
    assert trace[-1] > trace[0]


def test_the_objective_is_the_likelihood_and_the_prior() -> None:
    log = small_log(TINY)
    cells = cells_of(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([True, False, False]), 2)
    step = next(islice(climb_product(cells, 2, 2, 0.3), 3, None))
    a, e = step.attraction, step.examination
    by_hand = math.log(a[0] * e[0]) + math.log(1 - a[0] * e[1]) + math.log(1 - a[1] * e[0])
    by_hand += 0.3 * sum(math.log(p * (1 - p)) for p in [*a, *e])
    assert math.isclose(step.objective, by_hand, rel_tol=1e-12)
    # Without a prior to speak of it is the likelihood that the fitted model tells, which goes another way.
    for fit in (fit_pbm, fit_pbm_by_modality, fit_ubm):
        model = fit(log, Climb(prior=1e-9, rounds=40, tolerance=0.0))
        assert math.isclose(model.trace[-1], log_likelihood(model, log), abs_tol=1e-4)


def test_cells_add_up_what_is_alike() -> None:
    cells = cells_of(np.array([1, 0, 1, 1]), np.array([2, 0, 2, 0]), np.array([True, False, False, True]), 3)
    assert [column.tolist() for column in cells] == [[0, 1, 1], [0, 0, 2], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]


@pytest.mark.parametrize("fit", [fit_pbm, fit_pbm_by_modality, fit_ubm])
def test_the_order_of_the_log_does_not_matter(fit: object) -> None:
    def named(log: ImpressionTable) -> dict[tuple[str, str], float]:
        model = fit(log, LOOSE)  # type: ignore[operator]
        return dict(zip(model.items, model.attraction, strict=True))

    forth, back = named(small_log(TINY)), named(small_log(TINY[::-1]))
    assert forth.keys() == back.keys()
    for key, value in forth.items():
        assert math.isclose(value, back[key], rel_tol=1e-9)


def test_more_padding_changes_nothing() -> None:
    log = small_log(TINY)
    wide = small_log([*TINY, ("q", "abCdefgh", "")]).rows(np.arange(len(TINY)))
    assert wide.depth > log.depth
    for fit in (fit_pbm, fit_pbm_by_modality, fit_ubm):
        narrow, broad = fit(log, LOOSE), fit(wide, LOOSE)
        np.testing.assert_allclose(narrow.examination, broad.examination)
        np.testing.assert_allclose(narrow.predict(wide), broad.predict(wide))
        np.testing.assert_allclose(narrow.predict(log), broad.predict(wide)[:, : log.depth])


def test_too_few_rounds_are_told() -> None:
    with pytest.raises(NotConverged, match="in round 3, the last"):
        fit_pbm(small_log(TINY), Climb(rounds=3, tolerance=1e-12))
    with pytest.raises(NotConverged, match="gain of inf"):
        fit_ubm(small_log(TINY), Climb(rounds=1))


@pytest.mark.parametrize("objectives", [[-3.0, math.nan], [-3.0, -4.0], [math.inf]])
def test_a_climb_that_goes_wrong_is_told(objectives: list[float]) -> None:
    steps = (type("Step", (), {"objective": value})() for value in objectives)
    with pytest.raises(InputError, match="this is a fault of the model"):
        climbed(steps, Climb(), shown=1)


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"tolerance": -1.0}, {"prior": 0.0}, {"prior": math.nan}])
def test_climbs_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Climb"):
        Climb(**bad)


# ---------------------------------------------------------------- what a fitted model says


def _two() -> list[PositionModel | BrowsingModel]:
    log = small_log(TINY)
    return [fit_pbm(log, LOOSE), fit_pbm_by_modality(log, LOOSE), fit_ubm(log, LOOSE)]


def _all_patterns(query: str, shown: str) -> ImpressionTable:
    return small_log(
        [
            (query, shown, "".join(letter for letter, click in zip(shown, clicks, strict=True) if click))
            for clicks in itertools.product([False, True], repeat=len(shown))
        ]
    )


@pytest.mark.parametrize("which", range(3))
def test_chances_of_all_patterns_sum_to_one_and_give_the_chances_of_clicks(which: int) -> None:
    model, log = _two()[which], _all_patterns("q", "aCb")
    given = model.predict_given_clicks(log)
    chance = np.where(log.clicked, given, 1 - given).prod(axis=1)
    assert math.isclose(chance.sum(), 1.0)
    np.testing.assert_allclose((chance[:, None] * log.clicked).sum(axis=0), model.predict(log)[0])
    likelihood = [log_likelihood(model, log.rows(np.array([row]))) for row in range(8)]
    np.testing.assert_allclose(np.exp(likelihood), chance)


def test_an_unknown_result_has_the_mean_attraction() -> None:
    log, new = small_log(TINY), small_log([("q", "z", ""), ("r", "a", "")])
    for model in _two():
        shows = defaultdict(int)
        for query, shown, _ in TINY:
            for letter in shown:
                shows[query, letter] += 1
        mean = sum(shows[i] * v for i, v in zip(model.items, model.attraction, strict=True)) / sum(shows.values())
        np.testing.assert_allclose(model.predict(new), mean)
    assert log.depth == 3


def test_what_was_never_shown_is_told() -> None:
    pbm, by_modality, ubm = _two()
    for model in (pbm, by_modality, ubm):
        with pytest.raises(InputError, match="a page of 4 results; allowed: up to 3"):
            model.predict(small_log([("q", "abcd", "")]))
        with pytest.raises(InputError, match="a page of 4 results"):
            model.predict_given_clicks(small_log([("q", "abcd", "")]))
    only_text = fit_pbm_by_modality(small_log([("q", "ab", "a"), ("q", "ba", "")]), LOOSE)
    with pytest.raises(InputError, match="results of image, which the model never saw"):
        only_text.predict(small_log([("q", "A", "")]))
    for fit in (fit_pbm, fit_pbm_by_modality, fit_ubm):
        with pytest.raises(InputError, match="show nothing"):
            fit(table_of([]))
        assert fit(small_log(TINY), LOOSE).predict(table_of([])).shape == (0, 0)


def test_a_place_where_a_modality_was_not_shown_is_between_its_neighbours() -> None:
    log = small_log([("q", "Abcde", "A"), ("q", "bcdeA", "b"), ("q", "bAcde", "A"), ("p", "bcdef", "c")])
    examination = fit_pbm_by_modality(log, LOOSE).examination
    pictures = examination[1]
    assert pictures[0] == 1.0
    np.testing.assert_allclose(pictures[2:4], pictures[1] + (pictures[4] - pictures[1]) * np.array([1, 2]) / 3)


def test_last_click_above() -> None:
    clicked = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=bool)
    assert last_click_above(clicked).tolist() == [[0, 0, 2, 2, 4], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]]


def test_perplexity_by_hand() -> None:
    class Fixed:
        def predict(self, log: ImpressionTable) -> np.ndarray:
            return np.where(log.there, np.array([0.25, 0.5, 1.0])[: log.depth], 0.0)

        predict_given_clicks = predict

    log = small_log([("q", "ab", "a"), ("q", "ba", ""), ("q", "abc", "c")])
    found = perplexity(Fixed(), log)
    first = 2 ** -((math.log2(0.25) + 2 * math.log2(0.75)) / 3)
    np.testing.assert_allclose(found.by_place, [first, 2.0, 1.0])
    assert math.isclose(found.overall, (first + 3.0) / 3)
    assert math.isclose(log_likelihood(Fixed(), log), math.log(0.25 * 0.75**2 * 0.5**3))
    surprised = small_log([("q", "abc", "")])
    assert perplexity(Fixed(), surprised).by_place[2] == math.inf
    assert log_likelihood(Fixed(), surprised) == -math.inf
    empty = small_log([("q", "abc", "c")]).rows(np.array([], dtype=int))
    assert math.isnan(perplexity(Fixed(), empty).overall)
