"""Bayesian bisection: against plain counting, and against its bound on simulated people."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.bayes import BayesianBisection
from wholepage.annotation.engines import search
from wholepage.annotation.said import Said
from wholepage.pages import InputError, ShapeError

MANY = 10**6  # people


def counted(n: int, levels: int, error: float, said: list[Said]) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of grades ``[n, levels]`` and edges ``[levels - 1, n + 1]`` by adding up every falling list."""
    grades, edges, total = np.zeros((n, levels)), np.zeros((levels - 1, n + 1)), 0.0
    for one in combinations_with_replacement(range(levels - 1, -1, -1), n):
        p = math.prod(1 - error if one[s.index] == s.grade else error / (levels - 1) for s in said)
        total += p
        for i, grade in enumerate(one):
            grades[i, grade] += p
        for g in range(levels - 1):
            edges[g, sum(grade > g for grade in one)] += p
    return grades / total, edges / total


def bound(n: int, error: float, delta: float) -> float:
    """Expected questions for one edge."""
    entropy = -error * math.log2(error) - (1 - error) * math.log2(1 - error)
    return (math.log2(n + 1) + math.log2(1 / delta) + 3) / (1 - entropy)


def simulated(n: int, levels: int, error: float, delta: float, lists: int, seed: int) -> tuple[float, float]:
    """Mean questions, and the share of edges found wrong; every answer is another person's."""
    draw = np.random.default_rng(seed)
    questions, wrong = 0, 0
    for _ in range(lists):
        grades = np.sort(draw.integers(0, levels, size=n))[::-1] if levels > 2 else None
        if grades is None:
            grades = (np.arange(n) < draw.integers(0, n + 1)).astype(int)
        engine = BayesianBisection(n, levels, error, delta=delta, overlap=MANY)
        steps = search(engine)
        asked = 0
        try:
            index = next(steps)
            while True:
                errs = draw.random() < error
                grade = int((grades[index] + (draw.integers(1, levels) if errs else 0)) % levels)
                asked += 1
                index = steps.send((grade, f"p{asked}"))
        except StopIteration as done:
            found = done.value
        questions += asked
        for g in range(levels - 1):
            wrong += int((found[:, g + 1 :].sum(1) > 0.5).sum()) != int((grades > g).sum())
    return questions / lists, wrong / lists / (levels - 1)


@given(st.integers(1, 6), st.integers(2, 4), st.sampled_from([0.05, 0.2, 0.4]), st.integers(0, 2**32 - 1))
def test_equals_counting_every_falling_list(n: int, levels: int, error: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    said = [Said(int(draw.integers(n)), int(draw.integers(levels)), f"p{k}") for k in range(draw.integers(0, 6))]
    engine = BayesianBisection(n, levels, error, overlap=MANY)
    grades, edges = counted(n, levels, error, said)
    np.testing.assert_allclose(engine.posterior(said), grades, atol=1e-12)
    np.testing.assert_allclose(engine.edges(said), edges, atol=1e-12)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_one_edge_is_asked_for_at_its_median(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    engine = BayesianBisection(n, 2, 0.2, delta=0.01, overlap=MANY)
    said = [Said(int(draw.integers(n)), int(draw.integers(2)), f"p{k}") for k in range(draw.integers(0, 5))]
    index = engine.next_question(said)
    assert index is not None
    above = 1 - engine.edges(said)[0].cumsum()[:-1]  # P(the edge lies below i) = P(grade of i is 1)
    assert abs(above[index] - 0.5) == pytest.approx(np.abs(above - 0.5).min(), abs=1e-4)


@pytest.mark.parametrize(("n", "error", "delta"), [(10, 0.1, 0.05), (50, 0.1, 0.05), (20, 0.2, 0.01), (100, 0.2, 0.1)])
def test_one_edge_stays_within_its_bound(n: int, error: float, delta: float) -> None:
    questions, wrong = simulated(n, 2, error, delta, lists=40, seed=1)
    assert questions <= bound(n, error, delta)
    assert wrong <= delta + 2 * math.sqrt(delta * (1 - delta) / 40)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "levels", "error"), [(20, 4, 0.1), (50, 3, 0.1), (50, 4, 0.2), (30, 5, 0.1)])
def test_several_edges_stay_within_as_many_bounds(n: int, levels: int, error: float) -> None:
    delta = 0.05
    questions, wrong = simulated(n, levels, error, delta, lists=20, seed=2)
    assert questions <= (levels - 1) * bound(n, error, delta)
    assert wrong <= delta + 2 * math.sqrt(delta * (1 - delta) / 20)


def test_stops_when_little_is_left() -> None:
    engine = BayesianBisection(40, 4, 0.05, tau=0.04, overlap=5)
    said: list[Said] = []
    while (index := engine.next_question(said)) is not None:
        assert engine.claimed_error(said) > 0.04
        said.append(Said(index, int(index < 10) + int(index < 25), f"p{len(said)}"))
    assert engine.claimed_error(said) <= 0.04
    assert len(said) < 40


@pytest.mark.parametrize(("overlap", "people", "most"), [(3, None, 3), (3, 2, 2), (1, 5, 1)])
def test_nobody_is_asked_twice_and_neighbours_are_asked_instead(overlap: int, people: int | None, most: int) -> None:
    engine = BayesianBisection(12, 2, 0.3, delta=1e-9, overlap=overlap, people=people)
    said: list[Said] = []
    while (index := engine.next_question(said)) is not None:
        said.append(Said(index, int(index < 6), f"p{sum(s.index == index for s in said)}"))
    assert {sum(s.index == i for s in said) for i in range(12)} == {most}  # one can never be sure enough: all is asked


def test_the_certain_annotator_is_believed_at_once() -> None:
    sure = {"boss": [[1.0, 0.0], [0.0, 1.0]]}
    engine = BayesianBisection(9, 2, 0.3, confusions=sure)
    assert engine.posterior([Said(4, 1, "boss")])[4, 1] == pytest.approx(1, abs=1e-4)
    assert engine.posterior([Said(4, 1, "other")])[4, 1] < 0.8


@pytest.mark.parametrize(
    "wrong", [{"error": 0.5}, {"error": -0.1}, {"tau": 1.0}, {"delta": 0.0}, {"delta": 1.0}, {"people": 0}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="engine: got"):
        BayesianBisection(9, 4, **wrong)  # type: ignore[arg-type]


def test_confusions_must_fit() -> None:
    with pytest.raises(ShapeError, match="confusion of 'a'"):
        BayesianBisection(9, 4, confusions={"a": np.eye(3)})
    with pytest.raises(InputError, match="sum to 1"):
        BayesianBisection(9, 2, confusions={"a": [[0.9, 0.2], [0.1, 0.9]]})
