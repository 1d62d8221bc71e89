"""Probabilistic interleaving: every order is possible, likely ones more so, and credit is averaged over all teams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from wholepage.evaluation.online.interleaving.shown import Outcome, Shown, check_rankings, clicked_places
from wholepage.pages.errors import InputError
from wholepage.pages.model import Page, Ranking


class Probabilistic:
    """For each place a coin chooses a ranker, which draws a result: rank r with weight ``r ** -steepness``.

    The coin is forgotten: credit is averaged over all the ways in which the shown order could have come about. Once a
    ranker has nothing left, the rest follows in the other's order and counts for nobody.

    Args:
        steepness: above 0, up to 10; the larger, the closer pages stay to the rankings.
    Source: Hofmann, Whiteson, de Rijke 2011, A probabilistic method for inferring preferences from clicks
        (with marginalisation over assignments).
    """

    name = "probabilistic"

    def __init__(self, *, steepness: float = 3.0) -> None:
        if not 0.0 < steepness <= 10.0:
            raise InputError(f"steepness: got {steepness}; allowed: above 0, up to 10; 3 is usual")
        self.steepness = steepness

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge two rankings of one query.

        Raises:
            InputError: rankings that cannot be interleaved, or more than two.
        """
        known = check_rankings(rankings, page, at_most=2)
        # To draw again and again among what is left is to draw one whole order and pass over what is gone: the draws
        # of either ranker are an order by exponential clocks, which forget what was taken out.
        drawn = [self._drawn(ranking.result_ids, rng) for ranking in known]
        members = [set(ids) for ids in drawn]
        left, nexts = [len(ids) for ids in drawn], [0, 0]
        shown: dict[str, None] = {}
        for who in (rng.random(len(members[0] | members[1])) < 0.5).tolist():
            if not all(left):
                break
            ids, at = drawn[who], nexts[who]
            while ids[at] in shown:
                at += 1
            nexts[who] = at
            shown[ids[at]] = None
            for number, own in enumerate(members):
                left[number] -= ids[at] in own
        rest = [result for ranking in known for result in ranking.result_ids if result not in shown]
        return Shown(known[0].query_id, (*shown, *dict.fromkeys(rest)), known)

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """The chance, over all assignments of places to rankers, that a ranker brought more of what was clicked.

        Raises:
            InputError: a click that is not on the page, or another number of rankings than two.
        """
        known = check_rankings(shown.rankings, None, at_most=2)
        places = clicked_places(shown, clicks)
        chances = self.brought_by_first(known, shown.order)
        firsts = [1.0]  # chance of 0, 1, ... clicks of the first ranker, so far
        for chance in (chances[place] for place in places):
            if not math.isnan(chance):
                pairs = zip([*firsts, 0.0], [0.0, *firsts], strict=True)
                firsts = [kept * (1.0 - chance) + one_less * chance for kept, one_less in pairs]
        half = (len(firsts) - 1) / 2
        ahead = sum(p for count, p in enumerate(firsts) if count > half)
        return Outcome((ahead, sum(p for count, p in enumerate(firsts) if count < half)))

    def brought_by_first(self, rankings: Sequence[Ranking], order: Sequence[str]) -> list[float]:
        """For each place the chance that the first ranker brought it, given the order; NaN where it is nobody's."""
        weights = [
            {result: rank**-self.steepness for rank, result in enumerate(ranking.result_ids, start=1)}
            for ranking in rankings
        ]
        shown = set(order)
        # What each ranker has left at each place: summed from the end, as the smallest weights are left last.
        left = [math.fsum(w for result, w in own.items() if result not in shown) for own in weights]
        chances = []
        for result in reversed(order):
            own = [weight.get(result, 0.0) for weight in weights]
            left = [rest + one for rest, one in zip(left, own, strict=True)]
            alive = left[0] > 0.0 and left[1] > 0.0
            shares = [one / rest for one, rest in zip(own, left, strict=True)] if alive else [math.nan, math.nan]
            chances.append(shares[0] / (shares[0] + shares[1]))
        return chances[::-1]

    def _drawn(self, ids: Sequence[str], rng: np.random.Generator) -> list[str]:
        clocks = rng.standard_exponential(len(ids)) * np.arange(1, len(ids) + 1) ** self.steepness
        return [ids[i] for i in clocks.argsort(kind="stable").tolist()]
