"""What stands on a page of the generated world, before anything is drawn: things, words, features, in what order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wholepage.collections.synthetic_telling import answered, hedged, query_text, told
from wholepage.collections.synthetic_world import ATTRIBUTES, Shown, Thing, any_thing, matches, other_value, pick
from wholepage.pages import Modality, Query

# A modality of a query: how many of its results meet everything asked, and how many all but one attribute.
_RICH, _MIDDLING, _POOR = (0.55, 0.30), (0.12, 0.45), (0.02, 0.30)
_LEVELS = (_RICH, _MIDDLING, _POOR, _POOR)

_ALLURE = {
    "red": 1.0,
    "yellow": 0.7,
    "pink": 0.5,
    "orange": 0.3,
    "blue": 0.0,
    "green": -0.3,
    "purple": -0.5,
    "brown": -1.2,
}


@dataclass(frozen=True)
class ResultPlan:
    """A result before its pixels are drawn."""

    result_id: str
    modality: Modality
    shown: Shown
    text: str
    features: dict[str, float]


@dataclass(frozen=True)
class PagePlan:
    """A page before its pixels are drawn."""

    query: Query
    asked: Thing
    results: tuple[ResultPlan, ...]


def plan_page(
    query_id: str,
    modalities: Sequence[Modality],
    results_per_modality: tuple[int, int],
    noise: float,
    rng: np.random.Generator,
) -> PagePlan:
    """A query and its results, shuffled; how good each modality is, is left to chance.

    Args:
        results_per_modality: fewest and most.
        noise: 0 = complete texts and correct answers; 1 = the usual.
    """
    asked = _any_request(rng)
    query = Query(query_id, query_text(asked, rng))
    # What was not asked for is often the same too: near-duplicates, and no way to tell by the rest.
    model = {**any_thing(rng), **asked}
    fewest, most = results_per_modality
    planned: list[ResultPlan] = []
    for modality, level in zip(modalities, _levels(len(modalities), rng), strict=True):
        for _ in range(int(rng.integers(fewest, most + 1))):
            thing = _thing_like(model, asked, level, rng)
            if modality is Modality.ANSWER:
                thing = _on_page(thing, asked, planned, rng)
            planned.append(_planned(modality, thing, asked, noise, rng))
    return PagePlan(query, asked, tuple(planned[place] for place in rng.permutation(len(planned))))


def _any_request(rng: np.random.Generator) -> Thing:
    names = list(ATTRIBUTES)
    chosen = rng.permutation(len(names))[: 3 if rng.random() < 0.7 else 2]
    return {names[i]: pick(ATTRIBUTES[names[i]], rng) for i in sorted(chosen)}


def _levels(number: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """How good each modality is, by chance; never all the same."""
    while True:
        levels = [pick(_LEVELS, rng) for _ in range(number)]
        if number == 1 or len(set(levels)) > 1:
            return levels


def _thing_like(model: Thing, asked: Thing, level: tuple[float, float], rng: np.random.Generator) -> Thing:
    """A thing that meets all, all but one, or fewer of the asked attributes; most of the others are the model's."""
    full, near = level
    chance = rng.random()
    misses = 0 if chance < full else 1 if chance < full + near else int(rng.integers(2, len(asked) + 1))
    missed = {list(asked)[i] for i in rng.permutation(len(asked))[:misses]}
    thing = {}
    for name, value in model.items():
        if name in missed:
            thing[name] = other_value(name, value, rng)
        elif name in asked or rng.random() < 0.6:
            thing[name] = value
        else:
            thing[name] = pick(ATTRIBUTES[name], rng)
    return thing


def _on_page(thing: Thing, asked: Thing, planned: list[ResultPlan], rng: np.random.Generator) -> Thing:
    """Something shown on the page that meets as much, if there is such: answers speak of what was found."""
    wanted = matches(thing, asked)
    alike = [
        other.shown.thing
        for other in planned
        if other.modality is not Modality.ANSWER and matches(other.shown.thing, asked) == wanted
    ]
    return pick(alike, rng) if alike else thing


def _planned(modality: Modality, thing: Thing, asked: Thing, noise: float, rng: np.random.Generator) -> ResultPlan:
    result_id = rng.bytes(8).hex()
    allure = _ALLURE[thing["colour"]] + (0.3 if thing["size"] in ("large", "huge") else -0.3)
    clicks = {"clicks": float(rng.poisson(math.exp(2 + 0.4 * allure + 0.8 * rng.normal())))}
    if modality is Modality.ANSWER:
        shown, text, confidence = _answer(thing, asked, noise, rng)
        return ResultPlan(result_id, modality, shown, text, {**clicks, "confidence": round(confidence, 3)})
    if modality is Modality.TEXT:
        said = _mentioned(thing, asked, 0.12 * noise, rng)
        return ResultPlan(result_id, modality, Shown(thing, said), told(thing, said, asked, noise, rng), clicks)
    if modality is Modality.VIDEO:
        clicks["duration_s"] = round(math.exp(rng.normal(3, 0.7)), 1)
    return ResultPlan(result_id, modality, Shown(thing), "", clicks)


def _answer(thing: Thing, asked: Thing, noise: float, rng: np.random.Generator) -> tuple[Shown, str, float]:
    chance = rng.random()
    if chance < 0.12 * noise:
        return Shown(thing), hedged(asked, rng), float(rng.beta(5, 5))
    claims = _mentioned(thing, asked, 0.08 * noise, rng)
    is_many = thing["count"] != "one"
    if chance < 0.32 * noise:
        claims = _made_up(claims, thing, asked, rng)
        is_many = claims.get("count", thing["count"]) != "one"
        return Shown(thing, claims), answered(claims, is_many, 0.6, rng), float(rng.beta(6, 4))
    return Shown(thing, claims), answered(claims, is_many, 0.3, rng), float(rng.beta(8, 3))


def _mentioned(thing: Thing, asked: Thing, unsaid: float, rng: np.random.Generator) -> Thing:
    """What a text says of its thing: of the asked attributes nearly all, of the others half; never nothing."""
    said = {n: v for n, v in thing.items() if rng.random() >= (unsaid if n in asked else 0.5)}
    return said or {"shape": thing["shape"]}


def _made_up(claims: Thing, thing: Thing, asked: Thing, rng: np.random.Generator) -> Thing:
    """The claims with one or two that are false: what was asked for and is not so, or else anything."""
    wishes = [name for name, value in asked.items() if thing[name] != value]
    if wishes:
        chosen = [wishes[i] for i in rng.permutation(len(wishes))[: int(rng.integers(1, 3))]]
        false = {name: asked[name] for name in chosen}
    else:
        name = pick(list(claims), rng)
        false = {name: other_value(name, thing[name], rng)}
    return {name: {**claims, **false}[name] for name in ATTRIBUTES if name in claims or name in false}
