"""Good, same, bad: two pages side by side, people say which they prefer; the score and its interval."""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from wholepage.evaluation.online.means import check_level, linearised, mean_of
from wholepage.pages.errors import InputError, ShapeError


class SideBySide(msgspec.Struct, frozen=True):
    """What people said of the new pages beside the old.

    Attributes:
        queries, judgments: how many.  good, same, bad: judgments for the new page, for neither, for the old.
        score: ``(good - bad) / judgments``, from -1 to 1.  low, high: its interval.
        p: two-sided, that neither is better.
    """

    queries: int
    judgments: int
    good: int
    same: int
    bad: int
    score: float
    low: float
    high: float
    p: float


def side_by_side(good: ArrayLike, same: ArrayLike, bad: ArrayLike, *, level: float = 0.95) -> SideBySide:
    """The GSB score of all judgments, queries being what is drawn at random.

    Where every query was judged once: the score interval of a trinomial and the exact sign test. Where some were judged
    more often, judgments of one query are alike, and interval and test are Student's over queries (delta method).

    Shapes:
        good, same, bad: [queries] int, the judgments of each query
    Raises:
        ShapeError: not three equal, one-dimensional shapes.
        InputError: a count that is not whole or below 0, a query without judgment, fewer than two queries, or a level
            outside (0, 1).
    """
    counts = _counts(good, same, bad)
    each = counts.sum(axis=0)
    wins, ties, losses = (int(one) for one in counts.sum(axis=1))
    total = wins + ties + losses
    if (each == 1).all():
        low, high = share_interval(wins, ties, losses, level=level)
        p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    else:
        found = mean_of(linearised(counts[0] - counts[2], each), level=level)
        low, high, p = max(-1.0, found.low), min(1.0, found.high), found.p
    return SideBySide(counts.shape[1], total, wins, ties, losses, (wins - losses) / total, low, high, p)


def share_interval(good: int, same: int, bad: int, *, level: float = 0.95) -> tuple[float, float]:
    """Where the share of good less the share of bad may lie: independent judgments of three kinds.

    The differences that the score test would not refute; never empty and within -1 to 1, also where all judgments are
    of one kind.

    Raises:
        InputError: a count below 0, none at all, or a level outside (0, 1).
    Source: Tango 1998, Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design.
    """
    check_level(level)
    if min(good, same, bad) < 0 or good + same + bad < 1:
        raise InputError(
            f"judgments: got {good}, {same}, {bad}; allowed: 0 or more of each, 1 or more in all; count them"
        )
    limit = NormalDist().inv_cdf((1 + level) / 2)
    total = good + same + bad
    middle = (good - bad) / total
    ends = []
    for end in (-1.0, 1.0):
        inside = end * (1.0 - 1e-12)
        if middle == end or abs(_score(good, bad, total, inside)) <= limit:
            ends.append(end)
            continue
        # Towards the end the statistic grows away from 0; between there and the middle it passes the limit once.
        ends.append(
            float(optimize.brentq(lambda d: abs(_score(good, bad, total, d)) - limit, middle, inside, xtol=1e-12))
        )
    return ends[0], ends[1]


def _score(good: int, bad: int, total: int, difference: float) -> float:
    """Standardised distance of the counts from a true difference of shares."""
    gap = good - bad - total * difference
    if gap == 0.0:
        return 0.0
    # The share of bad that fits best with that difference: the larger root of a * q^2 + b * q + c.
    a, c = 2.0 * total, -bad * difference * (1.0 - difference)
    b = -good - bad + (2.0 * total - good + bad) * difference
    share = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = total * (2.0 * share + difference * (1.0 - difference))
    return gap / math.sqrt(variance) if variance > 0.0 else math.copysign(math.inf, gap)


def _counts(good: ArrayLike, same: ArrayLike, bad: ArrayLike) -> NDArray[np.float64]:
    arrays = [np.asarray(one, dtype=np.float64) for one in (good, same, bad)]
    shapes = [one.shape for one in arrays]
    if len(set(shapes)) > 1 or arrays[0].ndim != 1:
        raise ShapeError(f"good, same, bad: got {shapes}; allowed: [queries] each; count the judgments of each query")
    counts = np.stack(arrays)
    if counts.shape[1] < 2:
        raise InputError(f"judgments: got {counts.shape[1]} queries; allowed: 2 or more; judge more queries")
    if not (np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all():
        raise InputError("judgments: got a count that is not a whole number from 0 up; allowed: those; count them")
    if not (counts.sum(axis=0) > 0).all():
        place = int(np.argmin(counts.sum(axis=0)))
        raise InputError(f"judgments: got none of query {place}; allowed: 1 or more for each; leave that query out")
    return counts
