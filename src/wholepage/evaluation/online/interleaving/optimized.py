"""Optimized interleaving: of all fair ways to merge two rankings, the one whose clicks tell most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from wholepage.evaluation.online.interleaving.shown import Outcome, Shown, check_rankings, clicked_places
from wholepage.evaluation.online.interleaving.team_draft import draft
from wholepage.pages.errors import InputError
from wholepage.pages.model import Page, Ranking

CreditName = Literal["linear", "inverse"]
_TOLERANCE = 1e-9


class NoFairMerge(InputError):
    """The linear program found no mixture of the allowed orders of two rankings that is fair in every place."""


class Plan(msgspec.Struct, frozen=True, eq=False):
    """Which orders to show of two rankings, and how often.

    Shapes:
        orders: [orders, places] int, numbers of results
        chances: [orders] float, sum 1
        worth: [results] float, what a click on a result is worth to the first ranker (below 0: to the second)
    """

    orders: NDArray[np.int64]
    chances: NDArray[np.float64]
    worth: NDArray[np.float64]


class Optimized:
    """Orders that put in each place the best result left of one ranker or the other, drawn as a linear program says.

    A click on a result is worth how much higher one ranker has it than the other. The program finds how often to show
    each allowed order so that in every place the expected worth is 0 (clicks that depend on places alone give no
    preference) and the expected sensitivity is the highest: the chance that a click (on place i with weight 1 / i) is
    not worth nothing, times the entropy of whose it is. Places beyond ``depth``, or beyond the
    shorter ranking, follow as in team draft and count for nobody.

    Args:
        depth: how many places are optimized, 1 to 12: there are up to ``2 ** (depth - 1)`` orders.
        worth: by ranks (``linear``) or by inverse ranks (``inverse``, which weighs the top more).
    Source: Radlinski, Craswell 2013, Optimized interleaving for online retrieval evaluation; the sensitivity is ours,
        in their spirit.
    """

    name = "optimized"

    def __init__(self, *, depth: int = 10, worth: CreditName = "linear") -> None:
        if not 1 <= depth <= 12:
            raise InputError(f"depth: got {depth}; allowed: 1 to 12; 10 is usual")
        if worth not in ("linear", "inverse"):
            raise InputError(f"worth: got {worth!r}; allowed: 'linear' or 'inverse'; linear is usual")
        self.depth = depth
        self.worth: CreditName = worth

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge two rankings of one query.

        Raises:
            InputError: rankings that cannot be interleaved, or more than two.
            NoFairMerge: no way to show these two is fair (none such is known).
        """
        known = check_rankings(rankings, page, at_most=2)
        made, results = self._plan(known)
        row = int(np.searchsorted(made.chances.cumsum(), rng.random() * made.chances.sum(), side="right"))
        top = [results[i] for i in made.orders[min(row, len(made.chances) - 1)].tolist()]
        shown = set(top)
        rest, _ = draft([[i for i in ranking.result_ids if i not in shown] for ranking in known], rng)
        return Shown(known[0].query_id, (*top, *rest), known)

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """The sum of what the clicks are worth to each ranker.

        Raises:
            InputError: a click that is not on the page, or another number of rankings than two.
        """
        places = clicked_places(shown, clicks)
        signature, results = _signature(check_rankings(shown.rankings, None, at_most=2))
        worth = dict(zip(results, _worth(*signature, self.worth).tolist(), strict=True))
        depth = min(self.depth, len(signature[0]))
        values = [worth[shown.order[place]] for place in places if place < depth]
        return Outcome((sum(v for v in values if v > 0), -sum(v for v in values if v < 0)))

    def _plan(self, rankings: Sequence[Ranking]) -> tuple[Plan, list[str]]:
        signature, results = _signature(rankings)
        return plan(*signature, self.depth, self.worth), results


@lru_cache(maxsize=4096)
def plan(first: tuple[int, ...], second: tuple[int, ...], depth: int, worth: CreditName) -> Plan:
    """Solve for two rankings of numbered results (0, 1, ...: every number in one of them at least).

    Raises:
        NoFairMerge: the program has no solution.
    """
    orders = np.array(_allowed(first, second, depth), dtype=np.int64)
    value = _worth(first, second, worth)
    gain = value[orders]  # [orders, places]
    seen = 1.0 / np.arange(1, gain.shape[1] + 1)
    sensitivity = _sensitivity(gain, seen / seen.sum())
    solved = optimize.linprog(
        -sensitivity,
        A_eq=np.vstack([np.ones(len(orders)), gain.T]),
        b_eq=np.concatenate([[1.0], np.zeros(gain.shape[1])]),
        bounds=(0.0, None),
        method="highs-ds",
    )
    if not solved.success:
        raise NoFairMerge(
            f"rankings of {len(value)} results: got no mixture of the {len(orders)} allowed orders that is fair in the "
            f"first {gain.shape[1]} places; allowed: rankings that have one; use team draft, or another worth or depth"
        )
    chances = np.clip(solved.x, 0.0, None)
    used = chances > _TOLERANCE
    chances = chances[used] / chances[used].sum()
    return Plan(orders[used], chances, value)


def _allowed(first: tuple[int, ...], second: tuple[int, ...], depth: int) -> list[tuple[int, ...]]:
    """All orders in which each next result is the best left of one of the two; each once."""
    places = min(depth, len(first), len(second))
    orders: list[tuple[int, ...]] = [()]
    for _ in range(places):
        longer: dict[tuple[int, ...], None] = {}
        for order in orders:
            for ids in (first, second):
                best = next((i for i in ids if i not in order), None)
                if best is not None:
                    longer[(*order, best)] = None
        orders = list(longer)
    return orders


def _worth(first: tuple[int, ...], second: tuple[int, ...], worth: CreditName) -> NDArray[np.float64]:
    """How much higher the first has each result than the second; what one does not rank it has just below its last."""
    count = len(set(first) | set(second))
    ranks = np.array([[len(first) + 1.0] * count, [len(second) + 1.0] * count])
    for row, ids in enumerate((first, second)):
        ranks[row, list(ids)] = np.arange(1, len(ids) + 1)
    higher: NDArray[np.float64] = ranks[1] - ranks[0] if worth == "linear" else 1.0 / ranks[0] - 1.0 / ranks[1]
    return higher


def _sensitivity(gain: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each order: the chance that a click decides, times the entropy (in bits) of for whom."""
    wins = np.stack([(gain > 0) @ seen, (gain < 0) @ seen])
    decided = wins.sum(axis=0)
    share = np.divide(wins, decided, out=np.zeros_like(wins), where=decided > 0)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy: NDArray[np.float64] = decided * -(share * logs).sum(axis=0)
    return entropy


def _signature(rankings: Sequence[Ranking]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], list[str]]:
    """The two rankings with results numbered as they first come, so that pairs of like shape share a plan.

    The longer is cut to the length of the shorter, whose further results would else be sure to win clicks.
    """
    both = min(len(ranking) for ranking in rankings)
    first, second = (ranking.result_ids[:both] for ranking in rankings)
    numbers = {result: number for number, result in enumerate(dict.fromkeys((*first, *second)))}
    return (tuple(range(len(first))), tuple(numbers[i] for i in second)), list(numbers)
