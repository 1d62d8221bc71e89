"""The order of a page as people's behaviour tells it: who was read, who was only clicked, who was passed over.

Clicked and read, the longest dwell first; then clicked without a known dwell; then not clicked. That is how the pages
of Qilin were ordered for whole-page reranking (released code of arXiv 2510.16803). It is what one person did before one
order, so it carries the bias of the positions shown; it is no relevance judged by people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wholepage.pages import InputError, Ranking

BY = "behaviour"
READ, CLICKED, PASSED_OVER = 2, 1, 0
MOST = (20, 5, 10)
"""The most results of a pool: read, clicked without dwell, not clicked."""
LEAST_CLICKS = 5


class Seen(NamedTuple):
    """What happened to one result that was shown.

    Attributes:
        position: where it stood; ties are broken by it.
        dwell_s: how long it was looked at after a click; None = not known. Of what was not clicked it is not looked at.
    """

    result_id: str
    position: float
    clicked: bool
    dwell_s: float | None = None

    @property
    def grade(self) -> int:
        """``READ``, ``CLICKED`` or ``PASSED_OVER``."""
        if not self.clicked:
            return PASSED_OVER
        return CLICKED if self.dwell_s is None else READ


def dwell_of(page_time: float | None) -> float | None:
    """A logged time as a dwell: None for what logs write when there was none (nothing, NaN, 0, or below)."""
    return None if page_time is None or math.isnan(page_time) or page_time <= 0 else float(page_time)


def merged(seen: Iterable[Seen]) -> tuple[Seen, ...]:
    """Each result once, in the order shown: where it first stood, clicked if ever, the longest dwell."""
    once: dict[str, Seen] = {}
    for one in seen:
        before = once.get(one.result_id, one)
        dwells = [each.dwell_s for each in (before, one) if each.clicked and each.dwell_s is not None]
        once[one.result_id] = Seen(
            one.result_id,
            min(before.position, one.position),
            before.clicked or one.clicked,
            max(dwells) if dwells else None,
        )
    return tuple(sorted(once.values(), key=lambda one: (one.position, one.result_id)))


def by_behaviour(query_id: str, seen: Sequence[Seen]) -> Ranking:
    """The order that the behaviour tells.

    Returns:
        Scores: 2 + dwell in seconds, 1, or 0; equal ones say that nothing tells the results apart, and stand as shown.
    Raises:
        PageError: a result comes twice; see ``merged``.
    """
    ordered = sorted(seen, key=lambda one: (-_score(one), one.position, one.result_id))
    return Ranking(query_id, tuple(one.result_id for one in ordered), tuple(map(_score, ordered)), BY)


def simulated_pool(seen: Sequence[Seen], most: tuple[int, int, int] = MOST) -> tuple[Seen, ...]:
    """The results of a simulated page, in the order shown: the best of each of the three kinds.

    Args:
        most: how many may be read, clicked without dwell, and not clicked. Of the first the longest read are kept, of
            the others the first shown.
    Raises:
        InputError: a number is below 0.
    """
    if min(most) < 0:
        raise InputError(f"most: got {most}; allowed: three numbers, 0 and up; say how many of each kind to keep")
    ranked = sorted(seen, key=lambda one: (-_score(one), one.position, one.result_id))
    kept = [
        one
        for grade, limit in zip((READ, CLICKED, PASSED_OVER), most, strict=True)
        for one in [one for one in ranked if one.grade == grade][:limit]
    ]
    return tuple(sorted(kept, key=lambda one: (one.position, one.result_id)))


def _score(one: Seen) -> float:
    return float(one.grade) + (one.dwell_s or 0.0 if one.grade == READ else 0.0)
