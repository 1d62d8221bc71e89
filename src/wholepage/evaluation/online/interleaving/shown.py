"""What interleaving shows and what comes of it: a merged page, who brought what, and the credit of each ranker.

Every method has the same two steps (``Interleaving``): ``interleave`` merges the rankings of one query into one order,
``credit`` says what the clicks on it are worth to each ranker. A ``Shown`` holds all that ``credit`` needs, so clicks
may come much later, from a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import numpy as np

from wholepage.evaluation.users.impressions import Impression
from wholepage.pages.errors import InputError
from wholepage.pages.model import Page, Ranking

NOBODY = -1
"""In ``Shown.teams``: a click here is nobody's."""


class Shown(msgspec.Struct, frozen=True):
    """One merged page.

    Attributes:
        query_id: of the page.
        order: results as shown: every one that some ranker ranks, once, or the top of these where the page was cut.
        rankings: what was merged; a ranker is called by ``Ranking.by``.
        teams: for each place the number of the ranker that gets its clicks, or ``NOBODY``; nothing for methods that
            give credit otherwise.
        blocks: for each place the number of its block, counted from 0; nothing where blocks were not looked at.
    """

    query_id: str
    order: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    teams: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()

    @property
    def rankers(self) -> tuple[str, ...]:
        """The names of the rankers, in the order of the rankings."""
        return tuple(ranking.by for ranking in self.rankings)

    def top(self, depth: int) -> Shown:
        """The page cut after its first places; all of it when there are fewer.

        Raises:
            InputError: depth below 1.
        """
        if depth < 1:
            raise InputError(f"depth: got {depth}; allowed: 1 or more; show something")
        return Shown(self.query_id, self.order[:depth], self.rankings, self.teams[:depth], self.blocks[:depth])

    @property
    def team_names(self) -> tuple[str, ...]:
        """``teams`` by name, as a log has them (``Impression.teams``); the empty name is nobody."""
        return tuple("" if team == NOBODY else self.rankings[team].by for team in self.teams)


class Outcome(msgspec.Struct, frozen=True):
    """What the clicks on one merged page are worth.

    Attributes:
        credits: one for each ranker, in the order of ``Shown.rankings``; more is better. The scale is the method's own.
    """

    credits: tuple[float, ...]

    @property
    def preference(self) -> float:
        """How much more the first ranker got than the second."""
        return self.credits[0] - self.credits[1]


class Interleaving(Protocol):
    """A way to compare rankers by the clicks on one merged page."""

    @property
    def name(self) -> str:
        """What the method is called."""

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge the rankings of one query; a page, when given, is what they must be of."""

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """What the clicks on these places (from 0) are worth; more clicks on one place count once."""


def check_rankings(
    rankings: Sequence[Ranking], page: Page | None, *, at_most: int | None = None
) -> tuple[Ranking, ...]:
    """The rankings, if they can be interleaved.

    Raises:
        InputError: too few or too many, of different queries, without names or with equal ones, or of results that
            are not on the page.
    """
    most = "more" if at_most is None else f"up to {at_most}"
    if len(rankings) < 2 or (at_most is not None and len(rankings) > at_most):
        raise InputError(f"rankings: got {len(rankings)}; allowed: 2 or {most}; choose whom to compare")
    names = [ranking.by for ranking in rankings]
    if "" in names or len(set(names)) != len(names):
        raise InputError(
            f"rankings: got rankers {names}; allowed: a name of its own for each (Ranking.by); name who gets the clicks"
        )
    queries = {ranking.query_id for ranking in rankings} | ({page.query_id} if page is not None else set())
    if len(queries) > 1:
        raise InputError(f"rankings: got those of queries {sorted(queries)[:5]}; allowed: of one; merge query by query")
    if page is not None:
        strange = sorted({result for ranking in rankings for result in ranking.result_ids}.difference(page.result_ids))
        if strange:
            raise InputError(
                f"rankings of {page.query_id!r}: got {strange[:5]}, not on the page; allowed: its {len(page)} results; "
                "mend the ranker"
            )
    return tuple(rankings)


def clicked_places(shown: Shown, clicks: Iterable[int]) -> list[int]:
    """The places clicked, each once, from the top.

    Raises:
        InputError: a place that is not on the page.
    """
    places = sorted({int(place) for place in clicks})
    if places and not 0 <= places[0] <= places[-1] < len(shown.order):
        raise InputError(
            f"clicks on {shown.query_id!r}: got places {places}; allowed: 0 to {len(shown.order) - 1}; places are "
            "counted from 0"
        )
    return places


def team_credit(shown: Shown, clicks: Iterable[int]) -> Outcome:
    """A click is worth 1 to the ranker whose place it is on.

    Raises:
        InputError: a click that is not on the page, or a page without teams.
    """
    if len(shown.teams) != len(shown.order):
        raise InputError(
            f"shown page of {shown.query_id!r}: got {len(shown.teams)} teams for {len(shown.order)} places; allowed: "
            "one each; give credit with the method that made the page"
        )
    credits = [0.0] * len(shown.rankings)
    for place in clicked_places(shown, clicks):
        if shown.teams[place] != NOBODY:
            credits[shown.teams[place]] += 1.0
    return Outcome(tuple(credits))


def from_impression(impression: Impression, rankings: Sequence[Ranking]) -> Shown:
    """The merged page as a log tells it: order, teams and blocks from the impression, the rankings as they were.

    Raises:
        InputError: rankings that cannot be interleaved, a result on the page that is in none of them, or a team that is
            none of the rankers.
    """
    known = check_rankings(rankings, None)
    here = f"impression {impression.impression_id!r}"
    if impression.query_id != known[0].query_id:
        raise InputError(
            f"{here}: got query {impression.query_id!r}; allowed: {known[0].query_id!r}, that of the rankings; pair "
            "them by query"
        )
    invented = sorted(set(impression.shown).difference(result for ranking in known for result in ranking.result_ids))
    if invented:
        raise InputError(
            f"{here}: got {invented[:5]}, ranked by nobody; allowed: what the rankers rank; pair them by query"
        )
    numbers = {ranking.by: number for number, ranking in enumerate(known)} | {"": NOBODY}
    strange = sorted(set(impression.teams).difference(numbers))
    if strange:
        raise InputError(f"{here}: got teams {strange[:5]}; allowed: {sorted(numbers)}; name teams after the rankers")
    teams = tuple(numbers[name] for name in impression.teams)
    return Shown(impression.query_id, impression.shown, known, teams, impression.blocks)
