"""Learning what lists are like: the climb never falls, it finds what made the lists, and claims come true."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.annotation.falling import passes, total_log
from wholepage.annotation.hmm import HmmParameters, MonotoneHmm
from wholepage.annotation.hmm_fit import climb, fit_hmm
from wholepage.annotation.said import Said
from wholepage.pages import InputError

WORLD = HmmParameters(
    (0.5, 0.5),
    ((0.95, 0.05, 0.0), (0.0, 0.2, 0.8)),
    ((((1, 0, 0), (0.4, 0.6, 0), (0.2, 0.2, 0.6)),), (((1, 0, 0), (0.15, 0.85, 0), (0.05, 0.15, 0.8)),)),
    (((0.96, 0.02, 0.02), (0.1, 0.8, 0.1), (0.05, 0.15, 0.8)), ((0.8, 0.15, 0.05), (0.1, 0.8, 0.1), (0, 0.1, 0.9))),
)


def drawn(parameters: HmmParameters, count: int, lengths: tuple[int, ...], seed: int) -> list[list[int]]:
    """Lists as the parameters make them."""
    draw = np.random.default_rng(seed)
    found = []
    for k in range(count):
        n = lengths[k % len(lengths)]
        prior = parameters.prior(n)
        kind = draw.choice(len(prior.weights), p=prior.weights)
        level = draw.choice(parameters.levels, p=prior.start[kind])
        grades = []
        for i in range(n):
            if i:
                level = draw.choice(parameters.levels, p=prior.steps[i - 1, kind, level])
            grades.append(int(draw.choice(parameters.levels, p=prior.slips[kind, level])))
        found.append(grades)
    return found


def mean_log_likelihood(parameters: HmmParameters, lists: list[list[int]]) -> float:
    """A list's, on average."""
    total = 0.0
    for grades in lists:
        prior = parameters.prior(len(grades))
        found = passes(prior, np.eye(parameters.levels)[grades][:, None])
        total += float(total_log(prior.weights, found.log_likelihoods)[0])
    return total / len(lists)


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=8).filter(any),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=40)
def test_the_objective_never_falls(lists: list[list[int]], kinds: int, error: float) -> None:
    values = [one.objective for one in islice(climb(lists, 3, kinds, error), 15)]
    assert np.isfinite(values).all()
    assert min(np.diff(values)) >= -1e-9 * max(1, abs(values[0]))


def test_finds_what_made_the_lists() -> None:
    train, new = drawn(WORLD, 300, (12, 20), seed=0), drawn(WORLD, 200, (16,), seed=1)
    fitted = fit_hmm(train, 3, kinds=2, resamples=1)
    best = mean_log_likelihood(WORLD, new)
    assert best - 0.25 < mean_log_likelihood(fitted, new) <= best + 0.05
    one_kind = mean_log_likelihood(fit_hmm(train, 3, kinds=1, resamples=1), new)
    assert mean_log_likelihood(fitted, new) > one_kind + 0.1


def test_resamples_doubt_what_few_lists_say() -> None:
    new = drawn(WORLD, 200, (16,), seed=1)
    gain = []
    for seed in range(4):
        few = drawn(WORLD, 12, (12, 20), seed=10 + seed)
        several, one = fit_hmm(few, 3, kinds=2, resamples=6), fit_hmm(few, 3, kinds=2, resamples=1)
        assert len(several.weights) == 12
        gain.append(mean_log_likelihood(several, new) - mean_log_likelihood(one, new))
    assert np.mean(gain) > 0


def test_depends_on_no_order_and_repeats_itself() -> None:
    lists = drawn(WORLD, 30, (8, 11, 1, 2), seed=5)
    assert fit_hmm(lists, 3, rounds=5) == fit_hmm([*reversed(lists), []], 3, rounds=5)
    assert fit_hmm(lists, 3, rounds=5) != fit_hmm(lists, 3, rounds=5, seed=1)


def test_noisy_pilots_are_seen_through() -> None:
    train, new = drawn(WORLD, 300, (15,), seed=2), drawn(WORLD, 200, (15,), seed=3)
    draw = np.random.default_rng(0)
    noisy = [[int((g + draw.integers(1, 3)) % 3) if draw.random() < 0.2 else g for g in of] for of in train]
    told = fit_hmm(noisy, 3, kinds=2, resamples=1, error=0.2)
    untold = fit_hmm(noisy, 3, kinds=2, resamples=1)
    assert mean_log_likelihood(told, new) > mean_log_likelihood(untold, new) + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.0, 0.1])
def test_what_is_claimed_comes_true(error: float) -> None:
    """On new lists; the standard error of the real one is below .007."""
    parameters = fit_hmm(drawn(WORLD, 150, (20, 30), seed=4), 3)
    draw = np.random.default_rng(1)
    claimed, real, asked, results = 0.0, 0, 0, 0
    for grades in drawn(WORLD, 120, (25,), seed=6):
        engine = MonotoneHmm(25, parameters, 0.08, error=error)
        said: list[Said] = []
        while (index := engine.next_question(said)) is not None:
            wrong = draw.random() < error
            said.append(Said(index, int(grades[index] + draw.integers(1, 3)) % 3 if wrong else grades[index], "a"))
        posterior = engine.posterior(said)
        claimed += float((1 - posterior.max(1)).sum())
        real += int((posterior.argmax(1) != grades).sum())
        asked += len(said)
        results += 25
    assert abs(claimed - real) / results <= 0.02
    assert 0.05 < claimed / results <= 0.13
    assert asked < 0.75 * results


def test_short_lists_teach_too() -> None:
    for lists in ([[2]], [[0], [1], [2, 1]]):
        assert fit_hmm(lists, 3).prior(9).steps.shape == (8, 24, 3, 3)


@pytest.mark.parametrize(
    ("lists", "options", "message"),
    [
        ([], {}, "no pilot list"),
        ([[]], {}, "no pilot list"),
        ([[0, 3]], {}, r"grades \[3\]"),
        ([[0, 1]], {"kinds": 0}, "kinds=0"),
        ([[0, 1]], {"error": 0.5}, r"error=0\.5"),
        ([[0, 1]], {"resamples": 0}, "resamples=0"),
        ([[0, 1]], {"rounds": 0}, "rounds=0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    lists: list[list[int]], options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_hmm(lists, 3, **options)  # type: ignore[arg-type]
