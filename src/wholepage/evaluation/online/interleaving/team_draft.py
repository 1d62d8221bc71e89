"""Team draft: the rankers pick results in turn, as captains pick players; a click is the picker's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wholepage.evaluation.online.interleaving.shown import (
    NOBODY,
    Outcome,
    Shown,
    check_rankings,
    team_credit,
)
from wholepage.pages.model import Page, Ranking


class TeamDraft:
    """Rounds in which each ranker, in an order drawn anew, brings its best result that is not yet shown.

    Fair to rankers that deserve the same: in every place each is as likely to have brought what is there, whatever the
    rankings are, so clicks that depend on places alone give no preference. For that, a round counts for nobody when
    its order could decide who runs out of results (possible only where the rankers rank different results).

    Source: Radlinski, Kurup, Joachims 2008, How does clickthrough data reflect retrieval quality?; for more than two
    rankers Schuth et al. 2014, Multileaved comparisons for fast online evaluation.
    """

    name = "team-draft"

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge two rankings or more of one query.

        Raises:
            InputError: rankings that cannot be interleaved.
        """
        known = check_rankings(rankings, page)
        order, teams = draft([ranking.result_ids for ranking in known], rng)
        return Shown(known[0].query_id, tuple(order), known, tuple(teams))

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """One for each click on what a ranker brought.

        Raises:
            InputError: a click that is not on the page, or a page of another method.
        """
        return team_credit(shown, clicks)


def draft(lists: Sequence[Sequence[str]], rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """Order and teams of one draft; ``NOBODY`` in rounds that could not be fair."""
    members = [set(ids) for ids in lists]
    total, captains = len(set().union(*members)), len(lists)
    order: list[str] = []
    teams: list[int] = []
    shown: set[str] = set()
    nexts, left = [0] * captains, [len(ids) for ids in lists]
    for turn in turns(total, captains, rng):
        rest = total - len(order)
        if not rest:
            break
        fair = all(count >= captains for count in left) or all(count == rest for count in left)
        for who in turn:
            ids, at = lists[who], nexts[who]
            while at < len(ids) and ids[at] in shown:
                at += 1
            nexts[who] = at
            if at == len(ids):
                continue
            order.append(ids[at])
            teams.append(who if fair else NOBODY)
            shown.add(ids[at])
            for number, own in enumerate(members):
                left[number] -= ids[at] in own
    return order, teams


def turns(rounds: int, captains: int, rng: np.random.Generator) -> list[list[int]]:
    """For each round who picks first, second and so on; every order is as likely."""
    drawn: list[list[int]] = rng.random((rounds, captains)).argsort(axis=1).tolist()
    return drawn
