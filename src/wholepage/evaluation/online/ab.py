"""An A/B test from its log: was the split right, what changed, and is it more than luck."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.online.indicators import Indicator, indicators, retention
from wholepage.evaluation.online.means import Difference, cuped, linearised, welch
from wholepage.evaluation.online.sample_ratio import SampleRatio, sample_ratio
from wholepage.evaluation.significance import holm
from wholepage.evaluation.users.impressions import ImpressionTable
from wholepage.pages.errors import InputError


class IndicatorChange(msgspec.Struct, frozen=True):
    """What an indicator did.

    Attributes:
        name: of the indicator.
        change: treatment against control; users drawn, ratios by the delta method.
        p_holm: its p, corrected for all indicators tested.
        variance_saved: by what was known of users from before the test (CUPED); None where nothing was.
    """

    name: str
    change: Difference
    p_holm: float
    variance_saved: float | None


class ABTest(msgspec.Struct, frozen=True):
    """A whole A/B test.

    Attributes:
        control, treatment: the arms' names.  split: whether the arms got the users they should: if it says mismatch,
            nothing below it means anything.
        changes: in the order the indicators were named.
    """

    control: str
    treatment: str
    split: SampleRatio
    changes: tuple[IndicatorChange, ...]


def analyse(
    table: ImpressionTable,
    *,
    control: str,
    treatment: str,
    names: Sequence[str] | None = None,
    before: ImpressionTable | None = None,
    shares: tuple[float, float] | None = None,
    level: float = 0.95,
    satisfied_s: float = 30.0,
    retention_days: int | None = None,
) -> ABTest:
    """Compare two arms of a log, user by user.

    Args:
        control, treatment: names of the two arms; pages of other arms are left out.
        names: the indicators to test, named beforehand; None = all that both arms have, and a correction for as many.
        before: the log of a time before the test, of the same users, new ones excepted: their own past makes the
            intervals shorter (CUPED).
        shares: of users the two should get; None = the same.
        satisfied_s: as in ``indicators``.
        retention_days: also test who came back in as many days (``retention``); None = not asked.
    Raises:
        InputError: an arm with fewer than two users, a user in both, an indicator that is not known or that an arm
            does not have, or an option out of range.
    """
    table = table.rows(np.isin(table.arm, [_arm(table, control), _arm(table, treatment)]))
    arms = _users_of(table, control), _users_of(table, treatment)
    both = np.intersect1d(*arms)
    if len(both):
        raise InputError(
            f"users: got {len(both)} in both arms, such as {[table.users[i] for i in both[:3]]}; allowed: each in one; "
            "split by user, and leave out those who changed"
        )
    split = sample_ratio([len(arm) for arm in arms], shares=shares)
    found = indicators(table, satisfied_s=satisfied_s)
    if retention_days is not None:
        came_back = retention(table, days=retention_days)
        found[came_back.name] = came_back
    chosen = _chosen(found, arms, names)
    past = {} if before is None else indicators(before, satisfied_s=satisfied_s)
    rows = [_change(found[name], arms, _past(table, before, past.get(name)), level) for name in chosen]
    corrected = holm([change.p for change, _ in rows])
    return ABTest(
        control, treatment, split,
        tuple(
            IndicatorChange(name, change, p, saved)
            for name, (change, saved), p in zip(chosen, rows, corrected, strict=True)
        ),
    )  # fmt: skip


def _chosen(
    found: dict[str, Indicator], arms: tuple[NDArray[np.int64], NDArray[np.int64]], names: Sequence[str] | None
) -> list[str]:
    usable = [name for name, one in found.items() if all(one.denominator[arm].any() for arm in arms)]
    chosen = usable if names is None else list(names)
    unknown = [name for name in chosen if name not in usable]
    if unknown or not chosen:
        raise InputError(
            f"names: got {unknown or 'none'}; allowed: {', '.join(usable)}; both arms must have had a chance"
        )
    return chosen


def _change(
    indicator: Indicator,
    arms: tuple[NDArray[np.int64], NDArray[np.int64]],
    past: NDArray[np.float64] | None,
    level: float,
) -> tuple[Difference, float | None]:
    first, second = (linearised(indicator.numerator[arm], indicator.denominator[arm]) for arm in arms)
    if past is None:
        return welch(first, second, level=level), None
    adjusted = cuped(first, second, past[arms[0]], past[arms[1]])
    return welch(adjusted.control, adjusted.treatment, level=level), adjusted.variance_saved


def _past(
    table: ImpressionTable, before: ImpressionTable | None, indicator: Indicator | None
) -> NDArray[np.float64] | None:
    """The indicator of each user of the test, from before it; NaN = not known; None = of nobody."""
    if before is None or indicator is None or len(before.users) < 2:
        return None
    values = linearised(indicator.numerator, indicator.denominator)
    known = np.where(indicator.denominator > 0, values, np.nan)
    by_user = dict(zip(before.users, known.tolist(), strict=True))
    return np.array([by_user.get(user, np.nan) for user in table.users])


def _arm(table: ImpressionTable, name: str) -> int:
    if name not in table.arms:
        raise InputError(f"arm: got {name!r}; allowed: {', '.join(map(repr, table.arms))}; name arms of the log")
    return table.arms.index(name)


def _users_of(table: ImpressionTable, arm: str) -> NDArray[np.int64]:
    users: NDArray[np.int64] = np.unique(table.user[table.arm == _arm(table, arm)])
    if len(users) < 2:
        raise InputError(f"arm {arm!r}: got {len(users)} users; allowed: 2 or more; wait for more")
    return users
