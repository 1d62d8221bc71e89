"""Measures from a model judge and a few people: as unbiased as people's, surer than theirs alone.

A model has judged every query, people a random part of them. What the model says of all queries is corrected by how
far it was off where people judged too, so that a model that is wrong, even wrong in favour of one ranker, costs
precision and never truth. Where nobody judged, nothing can be corrected and nothing is reported: a model judge never
stands alone.

The part that people judge must be drawn at random among all queries; nothing here can find out that it was not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wholepage.pages.errors import InputError


class JudgedByModelAlone(InputError):
    """A measure was asked for of queries that people have not judged."""


class PoweredEstimate(msgspec.Struct, frozen=True):
    """A mean over queries, from a model's judgments of all and people's of some.

    Attributes:
        estimate: the mean over all queries of this kind.  low, high: its interval.  level: of the interval.
        weight: how much the model was believed, 0 (not at all: people's mean) to 1.
        queries: judged by the model.  people: of these, judged by people too.
        people_estimate, people_low, people_high: what people's judgments alone would say.
        model_bias: how far the model was above people where both judged; told, not to be reported as a result.
    """

    estimate: float
    low: float
    high: float
    level: float
    weight: float
    queries: int
    people: int
    people_estimate: float
    people_low: float
    people_high: float
    model_bias: float

    @property
    def people_saved(self) -> float:
        """The share of people's work that the model saved: without it, ``people / (1 - share)`` judged queries would
        have given as short an interval. 0.0 where it saved nothing."""
        alone, width = self.people_high - self.people_low, self.high - self.low
        return 0.0 if alone <= width else 1.0 - (width / alone) ** 2


def prediction_powered_mean(
    model: Mapping[str, float],
    people: Mapping[str, float],
    *,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredEstimate:
    """The mean of a measure over queries, by a model's judgments of all of them and people's of a random part.

    ``mean(people) + weight * (mean(model, others) - mean(model, where people judged))``: with weight 1 the estimator of
    prediction-powered inference, with weight 0 people's mean and Student's interval. The variances of the two parts add
    up, as no query is in both. When people have judged every query, theirs is the estimate.

    Args:
        model: by query, the measure by the model's judgments.
        people: by query, the measure by people's; of queries that the model judged too.
        level: of the interval.
        weight: how much to believe the model; None = the weight that makes the interval shortest, found in the data;
            the interval allows for that.
    Raises:
        JudgedByModelAlone: people judged no query.
        InputError: people judged fewer than two queries (three where the weight is to be found), or one that the model
            did not; a value that is not finite; a level or weight out of range.
    Source: Angelopoulos et al. 2023, Prediction-powered inference; PPI++ (arXiv 2311.01453) for the weight.
    """
    _check_options(level, weight)
    said, guessed, others = _parts(model, people)
    # A weight that is found is fitted to the same queries, which costs a degree of freedom.
    found = weight is None and len(others) > 0
    lam = 0.0 if not len(others) else _best_weight(said, guessed, others) if weight is None else weight
    corrected, freedom = said - lam * guessed, len(said) - 1 - found
    _check_enough(len(said), freedom)
    estimate, variance = _mean(corrected), float(corrected.var(ddof=len(said) - freedom)) / len(said)
    if lam > 0.0:
        estimate += lam * _mean(others)
        variance += lam**2 * float(np.concatenate([guessed, others]).var(ddof=1)) / len(others)
    tails = (1.0 + level) / 2.0
    half = float(stats.t.ppf(tails, freedom)) * math.sqrt(variance)
    alone = float(stats.t.ppf(tails, len(said) - 1)) * math.sqrt(float(said.var(ddof=1)) / len(said))
    mean = _mean(said)
    return PoweredEstimate(
        estimate, estimate - half, estimate + half, level, lam, len(model), len(said), mean, mean - alone, mean + alone,
        model_bias=_mean(guessed - said),
    )  # fmt: skip


def prediction_powered_difference(
    model: tuple[Mapping[str, float], Mapping[str, float]],
    people: tuple[Mapping[str, float], Mapping[str, float]],
    *,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredEstimate:
    """By how much one ranker is better than another, paired by query.

    Args:
        model: by query, the measure of the first and of the second ranker, by the model's judgments.
        people: the same by people's.
        level, weight: as for ``prediction_powered_mean``.
    Returns:
        The mean of first minus second.
    Raises:
        JudgedByModelAlone: people judged no query.
        InputError: the two rankers have different queries, or as ``prediction_powered_mean``.
    Source: Angelopoulos et al. 2023, Prediction-powered inference.
    """
    return prediction_powered_mean(
        _differences("model", *model), _differences("people", *people), level=level, weight=weight
    )


def _parts(
    model: Mapping[str, float], people: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """People's values, the model's of the same queries, and the model's of the others; each by query id."""
    if not people:
        raise JudgedByModelAlone(
            f"people: got no judged query beside {len(model)} that a model judged; allowed: some, drawn at random; a "
            "model judge never stands alone in a reported measure: let people judge some of these queries"
        )
    strange = sorted(set(people).difference(model))
    if strange:
        raise InputError(
            f"people: got {len(strange)} queries that the model did not judge, such as {strange[:3]}; allowed: a part "
            "of the model's; let the model judge them too, or leave them out"
        )
    for who, values in (("model", model), ("people", people)):
        for query_id, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{who}[{query_id!r}]: got {value}; allowed: finite numbers; leave that query out of both"
                )
    both = sorted(people)
    others = sorted(set(model).difference(people))
    return (
        np.array([people[q] for q in both], dtype=np.float64),
        np.array([model[q] for q in both], dtype=np.float64),
        np.array([model[q] for q in others], dtype=np.float64),
    )


def _check_options(level: float, weight: float | None) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"level: got {level}; allowed: between 0 and 1, both excluded; 0.95 is usual")
    if weight is not None and not 0.0 <= weight <= 1.0:
        raise InputError(f"weight: got {weight}; allowed: 0 to 1, or None to find it; 0 leaves the model out")


def _check_enough(people: int, freedom: int) -> None:
    if freedom < 1:
        raise InputError(
            f"people: got {people} judged queries; allowed: 2 or more, 3 or more where the weight is to be found; so "
            "few say nothing of the others: let people judge more"
        )


def _best_weight(said: NDArray[np.float64], guessed: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Where the estimated variance is least; not below 0, where the model would be believed to be contrary."""
    spread = float(np.concatenate([guessed, others]).var(ddof=1))
    if len(said) < 2 or spread == 0.0:
        return 0.0
    together = float(np.cov(said, guessed, ddof=1)[0, 1])
    return min(1.0, max(0.0, together / (spread * (1.0 + len(said) / len(others)))))


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values)


def _differences(who: str, first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    apart = sorted(set(first).symmetric_difference(second))
    if apart:
        raise InputError(
            f"{who}: got {len(apart)} queries that only one of the two rankers has, such as {apart[:3]}; allowed: the "
            "same queries; evaluate both on one split"
        )
    return {query_id: value - second[query_id] for query_id, value in first.items()}
