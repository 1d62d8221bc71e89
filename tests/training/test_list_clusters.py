"""Clusters, a classifier's doubt and coverage, each against another way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import expit, log_softmax, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from wholepage.pages.errors import InputError, ShapeError
from wholepage.training import list_clusters
from wholepage.training.list_clusters import (
    INVERSE_PENALTY,
    LEAST_GAIN,
    MAX_ROUNDS,
    PATIENCE,
    STEPS,
    cluster,
    coverage,
    from_means,
    pseudo_label_confidence,
    scaled,
)

stopped_early = f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"


def cloud(count: int, dim: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((count, dim))


# ------------------------------------------------------------------ clusters


def test_clusters_are_numbered_by_size_then_by_the_earliest_row() -> None:
    rows = np.array([[5.0], [0.0], [9.0], [5.1], [0.1], [20.0], [20.1], [20.2]])
    assert cluster(rows, 4, seed=3).tolist() == [1, 2, 3, 1, 2, 0, 0, 0]


def test_every_row_goes_to_the_nearest_mean() -> None:
    rows = cloud(200, 3)
    labels = cluster(rows, 7, seed=0)
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(7)])
    assert cdist(rows, means).argmin(axis=1).tolist() == labels.tolist()
    assert from_means(rows, labels) == pytest.approx(cdist(rows, means).min(axis=1))


def test_there_are_no_more_clusters_than_distinct_rows() -> None:
    rows = np.repeat(cloud(3, 2), [1, 5, 2], axis=0)
    assert cluster(rows, 8, seed=0).tolist() == [2, 0, 0, 0, 0, 0, 1, 1]
    assert cluster(rows[1:6], 8, seed=0).tolist() == [0] * 5
    nearly = np.array([[0.0], [1e-300], [2e-300], [1.0]])  # distinct, and yet not to k-means
    assert set(cluster(nearly, 4, seed=0)) == set(range(len(set(cluster(nearly, 4, seed=0)))))


@pytest.mark.parametrize(("count", "rows"), [(0, 3), (2, 0)])
def test_clusters_of_nothing_are_refused(count: int, rows: int) -> None:
    with pytest.raises(InputError, match=f"got {rows} rows, {count} clusters"):
        cluster(cloud(rows, 2), count, seed=0)


# ------------------------------------------------------------------ confidence


def test_the_classifier_trained_to_the_end_is_the_optimum() -> None:
    """Four rows a cluster: none held out. The penalised likelihood is written out and minimised by another solver."""
    rows, labels = cloud(12, 2), np.tile(np.arange(3), 4)

    def penalised(flat: NDArray[np.float64]) -> float:
        weights, bias = flat[:6].reshape(3, 2), flat[6:]
        chances = log_softmax(rows @ weights.T + bias, axis=1)
        return float(-INVERSE_PENALTY * chances[np.arange(12), labels].sum() + 0.5 * (weights**2).sum())

    best = minimize(penalised, np.zeros(9), method="BFGS", options={"gtol": 1e-8}).x
    chances = np.exp(log_softmax(rows @ best[:6].reshape(3, 2).T + best[6:], axis=1))
    found = pseudo_label_confidence(rows, labels)
    assert found.held_out == ()
    assert found.values == pytest.approx(chances[np.arange(12), labels], abs=1e-4)


@pytest.mark.filterwarnings(stopped_early)
def test_confidence_is_the_softmax_of_a_linear_function() -> None:
    rows = scaled(cloud(300, 4))
    labels = cluster(rows, 6, seed=0)
    found = pseudo_label_confidence(rows, labels)
    model = LogisticRegression(C=INVERSE_PENALTY, tol=1e-6, max_iter=STEPS, warm_start=True)
    for _ in range(found.rounds):
        model.fit(rows, labels)
    scores = rows @ model.coef_.T + model.intercept_
    own = np.exp(scores - scores.max(axis=1, keepdims=True))
    assert found.values == pytest.approx(own[np.arange(300), labels] / own.sum(axis=1), abs=1e-9)
    assert found.values.std() > 0.05


def test_doubt_falls_with_the_distance_from_a_mirror_line() -> None:
    """Mirrored clusters on a line: the logit is a multiple of the distance from 0, with no constant."""
    right = 1 + 0.4 * np.random.default_rng(0).uniform(-1, 1, 50)
    rows, labels = np.concatenate([right, -right])[:, None], np.repeat([0, 1], 50)
    found = pseudo_label_confidence(rows, labels)
    steepness = logit(found.values) / np.abs(rows[:, 0])
    assert steepness == pytest.approx(np.full(100, steepness[0]), rel=1e-4)
    assert found.values == pytest.approx(expit(steepness[0] * np.abs(rows[:, 0])), abs=1e-6)


def test_training_stops_where_held_out_rows_gain_nothing() -> None:
    """Labels without sense can be learned by heart, and not guessed."""
    rows, labels = scaled(cloud(200, 60)), np.random.default_rng(1).integers(4, size=200)
    found = pseudo_label_confidence(rows, labels)
    assert found.rounds == int(np.argmin(found.held_out)) + 1 < MAX_ROUNDS
    assert len(found.held_out) == found.rounds + PATIENCE
    assert min(found.held_out[found.rounds :]) > found.held_out[found.rounds - 1] * (1 - LEAST_GAIN)


@pytest.mark.filterwarnings(stopped_early)
def test_held_out_losses_are_those_of_a_classifier_that_did_not_see_the_rows() -> None:
    rows = scaled(cloud(150, 5))
    labels = cluster(rows, 5, seed=0)
    held = np.zeros(150, bool)
    for label in range(5):
        held[np.flatnonzero(labels == label)[4::5]] = True
    model = LogisticRegression(C=INVERSE_PENALTY, tol=1e-6, max_iter=STEPS, warm_start=True)
    losses = []
    for _ in pseudo_label_confidence(rows, labels).held_out:
        model.fit(rows[~held], labels[~held])
        chances = log_softmax(rows[held] @ model.coef_.T + model.intercept_, axis=1)
        losses.append(-chances[np.arange(held.sum()), labels[held]].mean())
    assert pseudo_label_confidence(rows, labels).held_out == pytest.approx(losses)


def test_more_training_makes_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scaled(cloud(300, 20))
    labels = cluster(rows, 8, seed=0)
    early = pseudo_label_confidence(rows, labels)
    monkeypatch.setattr(list_clusters, "LEAST_GAIN", -1.0)  # every round counts as gain
    late = pseudo_label_confidence(rows, labels)
    assert late.rounds > early.rounds
    assert late.values.mean() > early.values.mean()


def test_one_cluster_leaves_no_doubt() -> None:
    found = pseudo_label_confidence(cloud(9, 2), np.zeros(9, int))
    assert (found.values.tolist(), found.rounds, found.held_out) == ([1.0] * 9, 0, ())


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"rows \(9, 2\), labels \(8,\)"):
        pseudo_label_confidence(cloud(9, 2), np.zeros(8, int))


# ------------------------------------------------------------------ scale and coverage


def test_scaled_rows_have_mean_nothing_and_length_one() -> None:
    found = scaled(7 + 1e200 * cloud(50, 3))
    assert found.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert (found**2).sum(axis=1).mean() == pytest.approx(1.0)
    assert not scaled(np.full((4, 2), 0.1)).any()
    assert not scaled(np.zeros((4, 2))).any()


@given(count=st.integers(1, 30), kept=st.integers(1, 30), seed=st.integers(0, 99))
def test_coverage_is_the_distance_to_the_nearest_kept(count: int, kept: int, seed: int) -> None:
    vectors = 1e7 + cloud(count, 3, seed)  # far from 0, where products cancel
    chosen = np.random.default_rng(seed).permutation(count)[:kept].tolist()
    rest = sorted(set(range(count)) - set(chosen))
    apart = cdist(vectors[rest], vectors[chosen]).min(axis=1) if rest else np.zeros(1)
    found = coverage(vectors, chosen)
    assert (found.mean, found.worst) == (pytest.approx(apart.mean()), pytest.approx(apart.max()))


def test_coverage_in_parts_is_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = cloud(100, 3)
    whole = coverage(vectors, range(0, 100, 7))
    monkeypatch.setattr(list_clusters, "_CELLS", 40)  # two rows at once
    assert coverage(vectors, range(0, 100, 7)) == whole


@pytest.mark.parametrize("kept", [[], [3, 9], [-1]])
def test_coverage_by_nothing_is_refused(kept: list[int]) -> None:
    with pytest.raises(InputError, match=f"got {len(kept)} kept of 9"):
        coverage(cloud(9, 2), kept)
    with pytest.raises(ShapeError, match=r"\(9,\)"):
        coverage(np.zeros(9), [0])
