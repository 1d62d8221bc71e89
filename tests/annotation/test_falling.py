"""Forward-backward against every path there is, and what contradictions do to it."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.falling import (
    Falling,
    confusion_of,
    evidence_of,
    gains,
    kinds_given,
    passes,
    read,
    total_log,
)
from wholepage.annotation.hmm import HmmParameters, as_rows
from wholepage.annotation.said import Said


def random_parameters(draw: np.random.Generator, kinds: int, places: int, levels: int) -> HmmParameters:
    """Tables of no pattern; a tenth of the falls and slips may not happen at all."""

    def rows(*shape: int) -> np.ndarray:
        found = draw.random(shape) * (draw.random(shape) > 0.1) + 1e-3
        return found / found.sum(-1, keepdims=True)

    falls = np.tril(rows(kinds, places, levels, levels))
    falls /= falls.sum(-1, keepdims=True)
    return HmmParameters(
        tuple(rows(kinds).tolist()),
        as_rows(rows(kinds, levels)),
        tuple(tuple(as_rows(step) for step in of) for of in falls),
        tuple(as_rows(of) for of in rows(kinds, levels, levels)),
    )


def enumerated(prior: Falling, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior of grades and kinds, and the log-likelihood, by adding up every path of levels and grades."""
    n, levels = evidence.shape
    grades, kinds = np.zeros((n, levels)), np.zeros(len(prior.weights))
    for kind, weight in enumerate(prior.weights):
        for path in product(range(levels), repeat=n):
            p = weight * prior.start[kind, path[0]]
            for i in range(n - 1):
                p *= prior.steps[i, kind, path[i], path[i + 1]]
            each = [prior.slips[kind, level] * evidence[i] for i, level in enumerate(path)]
            p *= math.prod(row.sum() for row in each)
            kinds[kind] += p
            for i, row in enumerate(each):
                if row.sum() > 0:
                    grades[i] += p * row / row.sum()
    return grades / kinds.sum(), kinds / kinds.sum(), math.log(kinds.sum())


CASES = st.tuples(st.integers(1, 5), st.integers(2, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))


@given(CASES)
def test_equals_the_sum_over_all_paths(case: tuple[int, int, int, int]) -> None:
    n, levels, kinds, seed = case
    draw = np.random.default_rng(seed)
    prior = random_parameters(draw, kinds, int(draw.integers(1, 4)), levels).prior(n)
    evidence = np.where(draw.random((n, 1)) < 0.5, 1.0, draw.random((n, levels)))
    found = read(prior, evidence)
    grades, kind, log_likelihood = enumerated(prior, evidence)
    np.testing.assert_allclose(found.grades, grades, atol=1e-12)
    np.testing.assert_allclose(found.kinds, kind, atol=1e-12)
    assert found.log_likelihood == pytest.approx(log_likelihood, abs=1e-10)


@given(CASES)
def test_many_lists_at_once_are_as_one_at_a_time(case: tuple[int, int, int, int]) -> None:
    n, levels, kinds, seed = case
    draw = np.random.default_rng(seed)
    prior = random_parameters(draw, kinds, 2, levels).prior(n)
    evidence = draw.random((n, 4, levels)) + 1e-6
    together = passes(prior, evidence)
    shares = kinds_given(prior.weights, together.log_likelihoods)
    totals = total_log(prior.weights, together.log_likelihoods)
    for i in range(4):
        one = read(prior, evidence[:, i])
        grades = np.einsum("nkh,k,kht->nt", (together.levels / together.emitted)[:, :, i], shares[:, i], prior.slips)
        np.testing.assert_allclose(grades * evidence[:, i], one.grades, atol=1e-12)
        np.testing.assert_allclose(shares[:, i], one.kinds, atol=1e-12)
        assert totals[i] == pytest.approx(one.log_likelihood, abs=1e-10)


@pytest.mark.parametrize("n", [2, 60, 200])
def test_contradictions_without_end_leave_probabilities(n: int) -> None:
    """The list turned over: each answer is impossible after the one before, and people never err."""
    uniform = Falling(np.ones(1), np.ones((1, 4)), np.broadcast_to(np.tril(np.ones((4, 4))), (n - 1, 1, 4, 4)),
                      np.eye(4)[None])  # fmt: skip
    said = [Said(i, 4 * i // n, f"p{k}") for i in range(n) for k in range(30)]
    found = read(uniform, evidence_of(n, said, confusion_of(0.0, 4), {}))
    assert np.isfinite(found.grades).all()
    np.testing.assert_allclose(found.grades.sum(1), 1.0)
    assert math.isfinite(found.log_likelihood)


def test_evidence_multiplies_what_people_say() -> None:
    table = np.array([[0.7, 0.3], [0.1, 0.9]])
    said = [Said(1, 0, "a"), Said(1, 1, "b"), Said(2, 1, "b")]
    found = evidence_of(4, said, confusion_of(0.2, 2), {"b": table})
    expected = np.array([[1, 1], [0.8 * 0.3, 0.2 * 0.9], [0.3, 0.9], [1, 1]])
    np.testing.assert_allclose(found, expected / expected.max(1, keepdims=True))


def test_a_gain_is_the_mutual_information_of_answer_and_grade() -> None:
    draw = np.random.default_rng(3)
    grades = draw.dirichlet(np.ones(3), size=5)
    confusion = draw.dirichlet(np.ones(3), size=3)
    joint = grades[:, :, None] * confusion
    alone = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    np.testing.assert_allclose(gains(grades, confusion), (joint * np.log2(joint / alone)).sum((1, 2)), atol=1e-12)


def test_who_never_errs_still_may_be_contradicted() -> None:
    assert confusion_of(0.0, 4).min() > 0
    np.testing.assert_allclose(confusion_of(0.3, 4).sum(1), 1.0)
    assert confusion_of(0.3, 4)[0].tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1])
