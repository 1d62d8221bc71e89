"""From scores to probabilities: one rising map for all modalities, so that no order changes.

A listwise loss makes scores that order a page; what a score of 1.3 means is another question. ``Calibration`` answers
it with two numbers, as Platt did: P(grade >= threshold) = 1 / (1 + exp(-(slope * score + intercept))), slope > 0.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError

_MOST_STEPS = 100
_CLOSE_ENOUGH = 1e-14  # expected gain of a step, a result
_SHORTEST_STEP = 1e-10


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """P(grade >= threshold) of a score.

    Attributes:
        slope, intercept: of the log-odds; the slope is above 0.
        threshold: the lowest grade that counts as relevant.
        labels: graded results that it was fitted on, 0 = not told.
    Raises:
        InputError: a number that is not finite, or a slope that would turn or flatten the order.
    """

    slope: float
    intercept: float
    threshold: float
    labels: int = 0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.slope, self.intercept, self.threshold))) or self.slope <= 0:
            raise InputError(
                f"Calibration: got slope={self.slope}, intercept={self.intercept}, threshold={self.threshold}; "
                "allowed: finite numbers, a slope above 0; fit it on scores that rank better than chance"
            )

    @classmethod
    def fit(
        cls,
        scores: NDArray[np.float32],
        grades: NDArray[np.float32],
        *,
        threshold: float = 1.0,
        weights: NDArray[np.float32] | None = None,
    ) -> Calibration:
        """The map of greatest likelihood, its targets smoothed so that few labels do not make it sure.

        The relevant have the target (n+ + 1) / (n+ + 2), the others 1 / (n- + 2). Scores should come from heads that
        have not seen these grades, and grades from results chosen regardless of their scores: grades of the top alone
        make a map for the top alone.

        Args:
            weights: how far to trust each grade, such as its posterior probability; None = 1.0 each.
        Shapes:
            scores, grades, weights: [n]; NaN in grades = not graded, left out
        Raises:
            ShapeError: the shapes differ.
            InputError: a graded result's score is not finite or its weight not above 0, all graded results are on one
                side of the threshold, or the relevant do not score higher than the others.
        Source: Platt 1999, Probabilistic outputs for support vector machines (targets and model); solved by Newton's
            method with halved steps.
        """
        trust = np.ones(scores.shape) if weights is None else weights.astype(np.float64)
        if not scores.shape == grades.shape == trust.shape or scores.ndim != 1:
            raise ShapeError(
                f"Calibration.fit: got {scores.shape}, {grades.shape}, {trust.shape}; allowed: [n] each; flatten them"
            )
        seen = ~np.isnan(grades)
        values, relevant, trust = scores[seen].astype(np.float64), grades[seen] >= threshold, trust[seen]
        if not np.isfinite(values).all() or not np.isfinite(trust).all() or not (trust > 0).all():
            raise InputError(
                "Calibration.fit: got scores or weights of graded results that are not finite, or weights not above 0; "
                "allowed: finite scores, weights above 0; mend the ranker, or drop the grade instead of weighing it 0"
            )
        if relevant.all() or not relevant.any():
            raise InputError(
                f"Calibration.fit: got {int(relevant.sum())} relevant of {len(relevant)} graded results at threshold "
                f"{threshold}; allowed: some, not all; choose another threshold, or grade more"
            )
        positive, negative = float(trust[relevant].sum()), float(trust[~relevant].sum())
        targets = np.where(relevant, (positive + 1) / (positive + 2), 1 / (negative + 2))
        return cls(*_most_likely(values, targets, trust), float(threshold), len(relevant))

    @classmethod
    def like(cls, other: Calibration, its_scores: NDArray[np.float32], scores: NDArray[np.float32]) -> Calibration:
        """The map that brings scores closest to the probabilities that another ranker gave the same results.

        Shapes:
            its_scores, scores: [n]
        Raises:
            ShapeError: the shapes differ, or there is no result.
            InputError: a score is not finite, or the scores run against the probabilities.
        """
        if its_scores.shape != scores.shape or scores.ndim != 1 or not len(scores):
            raise ShapeError(
                f"Calibration.like: got {its_scores.shape} and {scores.shape}; allowed: the same [n], n > 0"
            )
        if not np.isfinite(its_scores).all() or not np.isfinite(scores).all():
            raise InputError("Calibration.like: got scores that are not finite; allowed: finite; mend the ranker")
        targets = _sigmoid(other.slope * its_scores.astype(np.float64) + other.intercept)
        slope, intercept = _most_likely(scores.astype(np.float64), targets, np.ones(len(scores)))
        return cls(slope, intercept, other.threshold, other.labels)

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """P(grade >= threshold) of each score; shape kept; a higher score never gets a lower one."""
        return np.asarray(_sigmoid(self.slope * scores.astype(np.float64) + self.intercept), np.float32)

    def entropies(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """How open the answer is, in bits: 1 = a coin toss, 0 = certain; shape kept."""
        odds = self.slope * scores.astype(np.float64) + self.intercept
        # -p log p - (1-p) log(1-p), with log p = -softplus(-odds): exact where p rounds to 0 or 1.
        yes, no = np.logaddexp(0, -odds), np.logaddexp(0, odds)
        return np.asarray((_sigmoid(odds) * yes + _sigmoid(-odds) * no) / math.log(2), np.float32)


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -odds)), np.float64)


def _loss(odds: NDArray[np.float64], targets: NDArray[np.float64], trust: NDArray[np.float64]) -> float:
    return float((trust * (np.logaddexp(0, odds) - targets * odds)).sum())


def _most_likely(
    values: NDArray[np.float64], targets: NDArray[np.float64], trust: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept of the least cross-entropy; the values are standardised on the way, for a round valley.

    Raises:
        InputError: the values do not rise with the targets.
    """
    middle, spread = float(values.mean()), float(values.std())
    weights = np.zeros(2)
    if spread > 1e-9 * max(1.0, abs(middle)):
        weights = _newton(np.stack([(values - middle) / spread, np.ones_like(values)], axis=1), targets, trust)
    if not weights[0] > 1e-9:
        raise InputError(
            f"Calibration: got relevant results that score no higher than the others (slope {weights[0]:.3g} of the "
            "standardised score); allowed: scores that rank better than chance; train the ranker better, or look at "
            "the grades"
        )
    return float(weights[0] / spread), float(weights[1] - weights[0] * middle / spread)


def _newton(
    design: NDArray[np.float64], targets: NDArray[np.float64], trust: NDArray[np.float64]
) -> NDArray[np.float64]:
    share = min(max(float((targets * trust).sum() / trust.sum()), 1e-9), 1 - 1e-9)
    weights = np.array([0.0, math.log(share / (1 - share))])
    loss = _loss(design @ weights, targets, trust)
    for _ in range(_MOST_STEPS):
        expected = _sigmoid(design @ weights)
        gradient = design.T @ (trust * (expected - targets))
        curvature = (design * (trust * expected * (1 - expected))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < _CLOSE_ENOUGH * float(trust.sum()):
            break
        size = 1.0
        while size > _SHORTEST_STEP and _loss(design @ (weights - size * step), targets, trust) > loss:
            size /= 2
        weights = weights - size * step
        loss = _loss(design @ weights, targets, trust)
    return weights
