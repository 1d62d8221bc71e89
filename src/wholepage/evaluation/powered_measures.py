"""Ranking measures from a model judge and a few people: whole queries judged by people, or single results of a page.

``powered_measure`` takes any measure there is a name for, such as nDCG@10: people judge some queries, and of these all
that the model judged. ``powered_places`` takes measures that add up over places (DCG, precision, rank-biased
precision): people judge some *results*, of as many queries as they like, and each judged result corrects the model
where it stands. Both can compare two rankers, paired by query.

What people judge must be drawn at random; nothing here can find out that it was not. A model judge never stands alone.
nDCG is no sum over places, as its ideal order needs every grade of the page: ask for it with whole queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import ir_measures
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.measures import evaluate, one_each
from wholepage.evaluation.place_measures import PlaceMeasure
from wholepage.evaluation.powered_items import JudgedItems, PoweredItems, powered_items
from wholepage.evaluation.prediction_powered import (
    JudgedByModelAlone,
    PoweredEstimate,
    prediction_powered_difference,
    prediction_powered_mean,
)
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Ranking

Drawn = Literal["by-place", "anywhere"]
Chances = Mapping[str, Mapping[str, float]]
Weights = dict[str, tuple[float, int]]
"""Of one query's results: what the measure multiplies a result's gain with, and the best place it stands at."""


def powered_measure(
    rankings: Iterable[Ranking],
    model: Judgments,
    people: Judgments,
    measure: str | ir_measures.Measure,
    *,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredEstimate:
    """A ranker's mean of any measure, from a model's grades of all queries and people's of a random part of them.

    Args:
        rankings: one a query.
        model: grades of every ranked query, and of no other.
        people: grades of some of these queries; of each, everything that the model graded.
        measure: as ``evaluate`` takes it.
        level, weight: as for ``prediction_powered_mean``.
    Raises:
        JudgedByModelAlone: people judged no query.
        InputError: a query or result is judged by people and not by the model or the other way round in a query that
            both judged, a judged query is not ranked, or as ``evaluate`` and ``prediction_powered_mean``.
    Source: Angelopoulos et al. 2023, Prediction-powered inference; PPI++ (arXiv 2311.01453) for the weight.
    """
    by_query = one_each(rankings)
    return prediction_powered_mean(*_by_query(by_query, model, people, measure), level=level, weight=weight)


def powered_measure_difference(
    first: Iterable[Ranking],
    second: Iterable[Ranking],
    model: Judgments,
    people: Judgments,
    measure: str | ir_measures.Measure,
    *,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredEstimate:
    """By how much the first ranker is better than the second, on the same judgments, paired by query.

    Args:
        first, second: their rankings, of the same queries.
        model, people, measure, level, weight: as for ``powered_measure``.
    Raises:
        JudgedByModelAlone, InputError: as ``powered_measure``; InputError also where the queries differ.
    Source: Angelopoulos et al. 2023, Prediction-powered inference.
    """
    one, other = (_by_query(one_each(of), model, people, measure) for of in (first, second))
    return prediction_powered_difference((one[0], other[0]), (one[1], other[1]), level=level, weight=weight)


def powered_places(
    rankings: Iterable[Ranking],
    model: Judgments,
    people: Judgments,
    measure: PlaceMeasure,
    *,
    drawn: Drawn = "by-place",
    chances: Chances | None = None,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredItems:
    """A ranker's mean of a sum over places, from a model's grades of all results and people's of some of them.

    Args:
        rankings: one a query.
        model: a grade of every result within the measure's places.
        people: grades of some of these results; what they graded elsewhere is not read.
        drawn: how people's results were drawn: ``"by-place"``, at random among the results at a place, which allows
            more of them at the top than further down (judging whole queries is this too); or ``"anywhere"``, at random
            among all results.
        chances: by query and result, the chance with which a judged result was drawn; None = equal for all that were
            drawn together.
        level, weight: as for ``prediction_powered_mean``.
    Raises:
        JudgedByModelAlone: people judged nothing, or nothing at a place.
        InputError: a result that the model did not grade, fewer than two judged results at a place, a chance that is
            missing or out of range, or an option out of range.
    Source: Angelopoulos et al. 2023, Prediction-powered inference; PPI++ (arXiv 2311.01453) for the weight. Places as
        strata: Hajek's estimator.
    """
    weights = {query: _weights(ranking, measure) for query, ranking in one_each(rankings).items()}
    return powered_items(_items(weights, model, people, measure, drawn, chances), level=level, weight=weight)


def powered_places_difference(
    first: Iterable[Ranking],
    second: Iterable[Ranking],
    model: Judgments,
    people: Judgments,
    measure: PlaceMeasure,
    *,
    drawn: Drawn = "by-place",
    chances: Chances | None = None,
    level: float = 0.95,
    weight: float | None = None,
) -> PoweredItems:
    """By how much the first ranker is better than the second by a sum over places, paired by query.

    A result that both rankers put at the same place says nothing of the difference and is not read.

    Args:
        first, second: their rankings, of the same queries.
        drawn: as for ``powered_places``; a result's place is the better of the two it has.
        model, people, measure, chances, level, weight: as for ``powered_places``.
    Raises:
        JudgedByModelAlone, InputError: as ``powered_places``; InputError also where the queries differ, or no result
            stands at another place.
    Source: Angelopoulos et al. 2023, Prediction-powered inference.
    """
    one, other = one_each(first), one_each(second)
    apart = sorted(set(one).symmetric_difference(other))
    if apart:
        raise InputError(
            f"rankings: got {len(apart)} queries that only one of the two rankers has, such as {apart[:3]}; allowed: "
            "the same queries; rank one split with both"
        )
    weights = {query: _weights_apart(_weights(one[query], measure), _weights(other[query], measure)) for query in one}
    return powered_items(_items(weights, model, people, measure, drawn, chances), level=level, weight=weight)


def _by_query(
    rankings: Mapping[str, Ranking], model: Judgments, people: Judgments, measure: str | ir_measures.Measure
) -> tuple[dict[str, float], dict[str, float]]:
    """The measure of each query by the model's judgments, and by people's of those they judged."""
    for who, judged in (("model", model), ("people", people)):
        strange = [query for query in judged.query_ids if query not in rankings]
        if strange:
            raise InputError(
                f"{who}: got judgments of {len(strange)} queries that are not ranked, such as {strange[:3]}; allowed: "
                "the ranked queries; restrict the judgments"
            )
    for query in people.query_ids:
        apart = sorted(set(model.by_result(query)).symmetric_difference(people.by_result(query)))
        if apart:
            raise InputError(
                f"query {query!r}: got {len(apart)} results that only the model or only people judged, such as "
                f"{apart[:3]}; allowed: all of them judged by both; for single judged results use powered_places"
            )
    if not people.query_ids:
        raise JudgedByModelAlone(
            f"people: got no judged query beside {len(model.query_ids)} that a model judged; allowed: some, drawn at "
            "random; a model judge never stands alone in a reported measure: let people judge some of these queries"
        )
    judged_both = [ranking for query, ranking in rankings.items() if people.grades(query)]
    by_model = evaluate(rankings.values(), model, [measure])
    by_people = evaluate(judged_both, people, [measure])
    return next(iter(by_model.values.values())), next(iter(by_people.values.values()))


def _weights(ranking: Ranking, measure: PlaceMeasure) -> Weights:
    return {
        result_id: (weight, place)
        for place, (result_id, weight) in enumerate(zip(ranking.result_ids, measure.weights, strict=False))
    }


def _weights_apart(one: Weights, other: Weights) -> Weights:
    """First minus second of every result that either has, but for those where nothing is left."""
    far = (0.0, max(len(one), len(other)))
    both = {result_id: (one.get(result_id, far), other.get(result_id, far)) for result_id in (*one, *other)}
    return {r: (a[0] - b[0], min(a[1], b[1])) for r, (a, b) in both.items() if a[0] != b[0]}


class _Row(NamedTuple):
    query: int
    place: int
    said: float
    guessed: float
    chance: float


def _items(
    weights: Mapping[str, Weights],
    model: Judgments,
    people: Judgments,
    measure: PlaceMeasure,
    drawn: Drawn,
    chances: Chances | None,
) -> JudgedItems:
    if drawn not in get_args(Drawn):
        raise InputError(f"drawn: got {drawn!r}; allowed: by-place, anywhere; say how people's results were drawn")
    rows = [
        row
        for number, query in enumerate(sorted(weights))
        for row in _rows(number, query, weights[query], model, people, measure, chances)
    ]
    if not rows:
        raise InputError(
            f"rankings: got {len(weights)} queries without any result that {measure.name} tells apart; allowed: some; "
            "there is nothing to estimate"
        )
    query, place, said, guessed, chance = (np.array(column) for column in zip(*rows, strict=True))
    group = place if drawn == "by-place" else np.zeros_like(place)
    return JudgedItems(query, _numbered(group), said, guessed, chance, len(weights))


def _rows(
    number: int,
    query: str,
    weights: Weights,
    model: Judgments,
    people: Judgments,
    measure: PlaceMeasure,
    chances: Chances | None,
) -> Iterator[_Row]:
    guessed, said = model.by_result(query), people.by_result(query)
    _check_graded(query, weights, guessed)
    for result_id, (weight, place) in weights.items():
        by_model = weight * measure.gain_of(guessed[result_id])
        if result_id not in said:
            yield _Row(number, place, math.nan, by_model, 1.0)
            continue
        by_people = weight * measure.gain_of(said[result_id])
        yield _Row(number, place, by_people, by_model, _chance(query, result_id, chances))


def _chance(query: str, result_id: str, chances: Chances | None) -> float:
    if chances is None:
        return 1.0
    chance = chances.get(query, {}).get(result_id)
    if chance is None or not 0.0 < chance <= 1.0:
        raise InputError(
            f"chances[{query!r}][{result_id!r}]: got {chance}; allowed: above 0, up to 1, for every judged result; say "
            "with what chance it was drawn"
        )
    return chance


def _check_graded(query: str, wanted: Iterable[str], guessed: Mapping[str, float]) -> None:
    missing = [result_id for result_id in wanted if result_id not in guessed]
    if missing:
        raise InputError(
            f"model: got no grade of {len(missing)} results of {query!r}, such as {missing[:3]}; allowed: a grade of "
            "every result within the measure's places; let the model judge them too"
        )


def _numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    numbered: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1]
    return numbered
