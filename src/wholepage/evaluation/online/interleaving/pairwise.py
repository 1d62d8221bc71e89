"""Pairwise preference multileaving: any number of rankers, judged by which results people prefer to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from wholepage.evaluation.online.interleaving.shown import Outcome, Shown, check_rankings, clicked_places
from wholepage.pages.model import Page, Ranking


class PairwisePreferences:
    """Each place is filled, every candidate being as likely, by a result that some ranker has there or higher.

    What is clicked is preferred to what is not, down to the place after the last click. Of a preference only those
    pages speak where both results were still to be placed once both were candidates: from there on each stood above
    the other as often, so clicks that depend on places alone prefer neither. A ranker that has the preferred one higher
    gets, and one that has it lower loses, 1 over the chance of such a page.

    Source: Oosterhuis, de Rijke 2017, Sensitive and scalable online evaluation with theoretical guarantees.
    """

    name = "pairwise-preferences"

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge two rankings or more of one query.

        Raises:
            InputError: rankings that cannot be interleaved.
        """
        known = check_rankings(rankings, page)
        best = _best_ranks(known)
        waiting = sorted(best, key=lambda result: best[result])  # stable: equal ones as the first rankings have them
        candidates: list[str] = []
        order = []
        upcoming = 0
        for place, drawn in enumerate(rng.random(len(waiting)).tolist(), start=1):
            while upcoming < len(waiting) and best[waiting[upcoming]] <= place:
                candidates.append(waiting[upcoming])
                upcoming += 1
            order.append(candidates.pop(int(drawn * len(candidates))))
        return Shown(known[0].query_id, tuple(order), known)

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """The sum over preferences of what they are worth to each ranker; below 0 for one that has them wrong.

        Raises:
            InputError: a click that is not on the page, or rankings that cannot be interleaved.
        """
        known = check_rankings(shown.rankings, None)
        places = clicked_places(shown, clicks)
        if not places:
            return Outcome((0.0,) * len(known))
        best = _best_ranks(known)
        likely = _staying(best.values())
        own = [(ranking.positions(), len(ranking)) for ranking in known]
        missed = sorted(set(range(min(places[-1] + 2, len(shown.order)))).difference(places))
        credits = [0.0] * len(known)
        for up, down in ((up, down) for up in places for down in missed):
            liked, other = shown.order[up], shown.order[down]
            both = max(best[liked], best[other])  # from this place on both are candidates
            if min(up, down) + 1 < both:
                continue
            # The chance that neither was placed before: only the one that was a candidate first could have been.
            weight = likely[min(best[liked], best[other])] / likely[both]
            for number, (ranks, last) in enumerate(own):
                above, below = ranks.get(liked, last), ranks.get(other, last)
                credits[number] += weight * ((below > above) - (below < above))
        return Outcome(tuple(credits))


def _best_ranks(rankings: Sequence[Ranking]) -> dict[str, int]:
    """For each result the best rank that any ranker gives it, from 1."""
    best: dict[str, int] = {}
    for ranking in rankings:
        for rank, result in enumerate(ranking.result_ids, start=1):
            best[result] = min(rank, best.get(result, rank))
    return best


def _staying(best: Iterable[int]) -> list[float]:
    """``[ranks + 1]``: ``staying[b] / staying[a]`` is the chance of a candidate of place a to be unplaced at place b.

    At place x there are ``count(best <= x) - (x - 1)`` candidates, whatever was drawn before. With only one, it is sure
    to be placed; the zero that follows is kept out, as no page ever needs it.
    """
    new = Counter(best)
    staying, candidates = [1.0, 1.0], 0
    for place in range(1, max(new)):
        candidates += new[place]
        staying.append(staying[-1] * (1.0 - 1.0 / candidates if candidates > 1 else 1.0))
        candidates -= 1
    return staying
