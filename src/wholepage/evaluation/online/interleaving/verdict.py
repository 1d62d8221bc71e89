"""Who wins: from the preference of each merged page to a test, an interval, and a corrected table of all pairs.

Users, not pages, are what is drawn at random: pages of one user are alike, so each user counts once, with the mean of
their pages.

What every method promises is that the *mean* preference is 0 when clicks know nothing of the rankers; test that. How
many prefer the first, and the sign test, are fair for team drafts, where either ranker is as likely to have any place.
Optimized interleaving and pairwise preferences may give one ranker few large wins and the other many small ones: there
a sign test finds differences that do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from wholepage.evaluation.online.interleaving.shown import Outcome
from wholepage.evaluation.online.means import mean_of
from wholepage.evaluation.online.side_by_side import share_interval
from wholepage.evaluation.significance import holm
from wholepage.pages.errors import InputError, ShapeError


class Verdict(msgspec.Struct, frozen=True):
    """Whether users prefer the first ranker to the second.

    Attributes:
        first, second: their names.  pages, users: how many there were.
        wins, ties, losses: of users, by the sign of their mean preference for the first.
        delta: ``(wins + ties / 2) / users - 1/2``; above 0 = the first is preferred.  low, high: its interval.
        p_sign: exact two-sided sign test over users who prefer one; to be believed of team drafts only.
        preference: the mean over users of their mean preference, in the method's own scale.
        preference_low, preference_high: its interval, by Student's t.  p_mean: of the t-test that it is 0.
        p_holm: ``p_mean``, corrected for all pairs of one table; the same where there is one pair.
    """

    first: str
    second: str
    pages: int
    users: int
    wins: int
    ties: int
    losses: int
    delta: float
    low: float
    high: float
    p_sign: float
    preference: float
    preference_low: float
    preference_high: float
    p_mean: float
    p_holm: float


def sign_test(wins: int, losses: int) -> float:
    """How often a fair coin would fall as one-sidedly; ties are left out. 1.0 when nobody decided.

    Raises:
        InputError: a number below 0.
    Source: the exact binomial test, two-sided (Dixon, Mood 1946).
    """
    if wins < 0 or losses < 0:
        raise InputError(f"sign test: got {wins} wins and {losses} losses; allowed: 0 or more; count them")
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def verdict(
    preferences: ArrayLike,
    *,
    users: Sequence[str] | None = None,
    first: str = "first",
    second: str = "second",
    level: float = 0.95,
) -> Verdict:
    """Test the preferences of merged pages, each user counting once.

    Args:
        preferences: of each page, for the first ranker (``Outcome.preference``).
        users: whose page each was; None = each somebody else's.
    Shapes:
        preferences: [pages] float
    Raises:
        ShapeError: not one user for each preference.
        InputError: fewer than two users, a preference that is not finite, or a level outside (0, 1).
    Source: Chapelle, Joachims, Radlinski, Yue 2012, Large-scale validation and analysis of interleaved search
        evaluation.
    """
    values = np.asarray(preferences, dtype=np.float64)
    means = _user_means(values, users)
    # A mean of a user's preferences that cancel out may miss 0 by rounding.
    size = np.abs(values).max(initial=0.0)
    signs = np.sign(np.where(np.abs(means) <= 1e-12 * size, 0.0, means))
    wins, losses, count = int((signs > 0).sum()), int((signs < 0).sum()), len(means)
    mean = mean_of(means, level=level)
    low, high = share_interval(wins, count - wins - losses, losses, level=level)
    return Verdict(
        first, second, len(values), count, wins, count - wins - losses, losses, (wins - losses) / (2 * count),
        low / 2, high / 2, sign_test(wins, losses), mean.value, mean.low, mean.high, mean.p, mean.p,
    )  # fmt: skip


def verdicts(
    outcomes: Sequence[Outcome], rankers: Sequence[str], *, users: Sequence[str] | None = None, level: float = 0.95
) -> list[Verdict]:
    """Every pair of rankers, tested together: ``p_holm`` allows for all of them.

    Args:
        outcomes: of each merged page, credits in the order of ``rankers``.
    Raises:
        ShapeError: credits that are not one for each ranker, or not one user for each page.
        InputError: as ``verdict``.
    """
    lengths = sorted({len(outcome.credits) for outcome in outcomes})
    if lengths != [len(rankers)]:
        raise ShapeError(
            f"outcomes: got pages of {lengths} credits for {len(rankers)} rankers; allowed: one each on every page; "
            "name the rankers as Shown.rankers does"
        )
    credits = np.array([outcome.credits for outcome in outcomes], dtype=np.float64)
    found = [
        verdict(credits[:, a] - credits[:, b], users=users, first=rankers[a], second=rankers[b], level=level)
        for a, b in combinations(range(len(rankers)), 2)
    ]
    corrected = holm([one.p_mean for one in found])
    return [msgspec.structs.replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _user_means(values: NDArray[np.float64], users: Sequence[str] | None) -> NDArray[np.float64]:
    if values.ndim != 1:
        raise ShapeError(f"preferences: got shape {values.shape}; allowed: [pages]; pass one number a page")
    if not np.isfinite(values).all():
        raise InputError("preferences: got one that is not finite; allowed: finite numbers; leave that page out")
    if users is None:
        return values
    if len(users) != len(values):
        raise ShapeError(f"users: got {len(users)} for {len(values)} pages; allowed: one each; say whose each page was")
    _, number = np.unique(np.asarray(users), return_inverse=True)
    sums: NDArray[np.float64] = np.bincount(number, weights=values) / np.bincount(number)
    return sums
