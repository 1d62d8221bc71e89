"""What users do, from logs: clicks by rank, modality and block, satisfied clicks, dwell, abandonment, return.

Every indicator is a numerator and a denominator for each user, so that tests can draw users: ``means.linearised`` makes
one value for each user of them, and the ratio of their sums is the indicator.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.impressions import MODALITIES, NO, UNKNOWN, YES, ImpressionTable
from wholepage.pages.errors import InputError

_DAY_S = 86_400.0


class Indicator(msgspec.Struct, frozen=True, eq=False):
    """A ratio of sums over users.

    Attributes:
        name: of it.
    Shapes:
        numerator, denominator: [users] float
    """

    name: str
    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]

    @property
    def value(self) -> float:
        """The ratio; NaN when nobody had a chance."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total else math.nan

    def rows(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Indicator:
        """The same of some of the users."""
        return Indicator(self.name, self.numerator[index], self.denominator[index])


def indicators(table: ImpressionTable, *, satisfied_s: float = 30.0, ranks: int = 5) -> dict[str, Indicator]:
    """Every indicator a log of pages gives, by name; users in the order of ``table.users``.

    - ``CTR``: pages with a click.  ``clicks``: results clicked, for each page.  ``CTR(rank=3)``: of pages that have
      a third result, those where it is clicked.  ``CTR(modality=image)``: results of the modality that are clicked, of
      those shown.  ``CTR(block=image)``: the same of blocks, with a click on any of their results;
      ``CTR(block 2)``: of pages that have a second block, those where it is clicked.
    - ``sat-CTR``: pages with a click of ``satisfied_s`` seconds or more; pages where that is not known are left out.
      ``dwell_s``: seconds for each click whose dwell is known.  ``first-click_s``: seconds to a page's first click.
    - ``abandonment``: pages without click.  ``good-abandonment``, ``bad-abandonment``: pages without click that were
      enough, that were not; of pages where that is known, or that have a click.
    - ``reformulation``: pages after which the user asked again in other words.

    Indicators that no page could have are left out.

    Args:
        satisfied_s: seconds on what was clicked from which on the click counts as satisfied.
        ranks: how many ranks, and blocks from the top, get an indicator of their own.
    Raises:
        InputError: no impression, or an option out of range.
    """
    if not len(table):
        raise InputError("impressions: got none; allowed: 1 or more; log some pages first")
    if not 0.0 < satisfied_s < math.inf or ranks < 0:
        raise InputError(f"indicators: got {satisfied_s} s, {ranks} ranks; allowed: above 0, 0 or more; change them")
    pages = np.ones(len(table))
    found = {
        **{name: (above, pages if below is None else below) for name, (above, below) in _pages(table).items()},
        **_dwell(table, satisfied_s),
        **_places(table, ranks),
        **_blocks(table, ranks),
    }
    made = {name: _by_user(table, name, above, below) for name, (above, below) in found.items()}
    return {name: one for name, one in made.items() if one.denominator.any()}


def retention(table: ImpressionTable, *, days: int = 7, until_s: float | None = None) -> Indicator:
    """Users who came back: on a later day (UTC), no more than ``days`` after the day of their first page.

    Users whose first page is too near to the end of the log to know are left out, and so are pages of unknown moment.

    Args:
        until_s: when the log ends, seconds since 1970; None = at the last page in it.
    Raises:
        InputError: days below 1, or no page whose moment is known.
    """
    if days < 1:
        raise InputError(f"days: got {days}; allowed: 1 or more; 7 is usual")
    known = table.at_s != 0.0
    if not known.any():
        raise InputError("at_s: got no page whose moment is known; allowed: seconds since 1970; log the moments")
    day = np.floor(table.at_s[known] / _DAY_S)
    user = table.user[known]
    # The last day is known in part only; it can show a return, but its absence is not known.
    end = math.floor((float(table.at_s[known].max()) if until_s is None else until_s) / _DAY_S)
    first = np.full(len(table.users), np.inf)
    np.minimum.at(first, user, day)
    later = (day > first[user]) & (day <= first[user] + days)
    back = np.bincount(user, weights=later, minlength=len(table.users)) > 0
    watched = first + days < end
    return Indicator(f"retention({days}d)", (back & watched).astype(np.float64), watched.astype(np.float64))


_Sums = tuple[NDArray[np.float64], NDArray[np.float64]]


def _pages(table: ImpressionTable) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
    """Indicators that every page has a part in; None = all pages are the denominator."""
    clicked = table.clicked.any(axis=1)
    told = table.satisfied_without_click
    known = (clicked | (told != UNKNOWN)).astype(np.float64)
    return {
        "CTR": (clicked.astype(np.float64), None),
        "clicks": (table.clicked.sum(axis=1).astype(np.float64), None),
        "abandonment": ((~clicked).astype(np.float64), None),
        "good-abandonment": ((~clicked & (told == YES)).astype(np.float64), known),
        "bad-abandonment": ((~clicked & (told == NO)).astype(np.float64), known),
        "reformulation": (table.reformulated.astype(np.float64), None),
    }


def _dwell(table: ImpressionTable, satisfied_s: float) -> dict[str, _Sums]:
    dwelt = table.clicked & ~np.isnan(table.dwell_s)
    satisfied = (dwelt & (np.nan_to_num(table.dwell_s) >= satisfied_s)).any(axis=1)
    unsure = ~satisfied & (table.clicked & ~dwelt).any(axis=1)
    at = np.where(table.clicked & ~np.isnan(table.click_at_s), table.click_at_s, np.inf)
    first = at.min(axis=1, initial=np.inf)
    timed = np.isfinite(first)
    return {
        "sat-CTR": (satisfied.astype(np.float64), (~unsure).astype(np.float64)),
        "dwell_s": (np.where(dwelt, table.dwell_s, 0.0).sum(axis=1), dwelt.sum(axis=1).astype(np.float64)),
        "first-click_s": (np.where(timed, first, 0.0), timed.astype(np.float64)),
    }


def _places(table: ImpressionTable, ranks: int) -> dict[str, _Sums]:
    found: dict[str, _Sums] = {}
    for place in range(min(ranks, table.depth)):
        there = table.there[:, place].astype(np.float64)
        found[f"CTR(rank={place + 1})"] = table.clicked[:, place].astype(np.float64), there
    for code, modality in enumerate(MODALITIES):
        of = table.there & (table.modality == code)
        found[f"CTR(modality={modality.value})"] = _count(of & table.clicked), _count(of)
    return found


def _blocks(table: ImpressionTable, ranks: int) -> dict[str, _Sums]:
    """Blocks are told by where their number changes down the page; a block is of the modality of its first result."""
    there = table.there
    starts = there.copy()
    starts[:, 1:] &= table.block[:, 1:] != table.block[:, :-1]
    number = np.where(there, starts.cumsum(axis=1) - 1, -1)
    # Clicked, at the place where the block starts: any of its results is.
    clicked = np.zeros_like(starts)
    rows, places = np.nonzero(table.clicked)
    start_of = np.maximum.accumulate(np.where(starts, np.arange(table.depth), 0), axis=1)
    clicked[rows, start_of[rows, places]] = True
    found: dict[str, _Sums] = {}
    for code, modality in enumerate(MODALITIES):
        of = starts & (table.modality == code)
        found[f"CTR(block={modality.value})"] = _count(of & clicked), _count(of)
    for block in range(min(ranks, table.depth)):
        of = starts & (number == block)
        found[f"CTR(block {block + 1})"] = _count(of & clicked), _count(of)
    return found


def _count(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = mask.sum(axis=1).astype(np.float64)
    return counts


def _by_user(table: ImpressionTable, name: str, above: NDArray[np.float64], below: NDArray[np.float64]) -> Indicator:
    numerator, denominator = (
        np.bincount(table.user, weights=one, minlength=len(table.users)).astype(np.float64) for one in (above, below)
    )
    return Indicator(name, numerator, denominator)
