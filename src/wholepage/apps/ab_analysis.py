"""What ``wholepage ab analyse`` finds in a log: an A/B test of two arms, or the verdict of interleaved pages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.online.ab import IndicatorChange, analyse
from wholepage.evaluation.online.indicators import Indicator, indicators, retention
from wholepage.evaluation.online.interleaving.run import judge_log
from wholepage.evaluation.online.interleaving.shown import Interleaving, Outcome
from wholepage.evaluation.online.interleaving.verdict import Verdict, verdicts
from wholepage.evaluation.online.means import Difference, Mean, linearised, mean_of, ratio_difference
from wholepage.evaluation.online.power import (
    smallest_difference,
    users_for_means,
    users_for_sign_test,
)
from wholepage.evaluation.online.sample_ratio import SampleRatio, sample_ratio_sequential
from wholepage.evaluation.online.sequential import bounded_sequence, confidence_sequence, msprt
from wholepage.evaluation.users.impressions import Impression, ImpressionTable, table_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import Ranking

USUAL = ("sat-CTR", "CTR", "bad-abandonment", "reformulation", "first-click_s")
"""Indicators that are tested when none is named: few, for the correction is for as many."""

LOOKS, LEAST_AN_ARM = 20, 50
"""How often the log is looked at, and how many users of each arm the first look has at least."""

_RETENTION = re.compile(r"retention\((\d+)d\)")
_POWER = 0.8
_HOPELESS = 1e-5
"""An effect of so few standard deviations takes more than ten thousand million users."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a log.

    Attributes:
        names: indicators; nothing = ``USUAL``.  alpha: false alarms allowed, 1 - alpha = level of the intervals.
        split: the share of users that treatment should have.
        effect: a change worth having, as a share of control's value: for the sizes, and for the sequential test.
        sequential: look again and again.  planned_users: after how many the intervals should be at their best; None =
            as many as there are.
        satisfied_s: seconds from which on a click counts as satisfied.
    Raises:
        InputError: a number out of its range.
    """

    names: tuple[str, ...] = ()
    alpha: float = 0.05
    split: float = 0.5
    effect: float = 0.05
    sequential: bool = False
    planned_users: int | None = None
    satisfied_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("alpha", "split"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise InputError(f"{name}: got {getattr(self, name)}; allowed: between 0 and 1; change it")
        if not 0.0 < self.effect < math.inf or (self.planned_users is not None and self.planned_users < 1):
            raise InputError(
                f"effect, planned users: got {self.effect}, {self.planned_users}; allowed: above 0, 1 or more; say "
                "what would be worth having, and of how many you thought"
            )

    @property
    def level(self) -> float:
        """Of the intervals."""
        return 1.0 - self.alpha


class Look(msgspec.Struct, frozen=True):
    """What was known after so many users: interval and p hold at all looks together."""

    users: int
    value: float
    low: float
    high: float
    p: float | None


class Sizes(msgspec.Struct, frozen=True):
    """Users of each arm: how little they see, and how many it takes with power 0.8.

    Attributes:
        smallest: the difference that as many users as there are find.  smallest_relative: as a share of control.
        for_seen: users for a difference as large as the one seen.  for_effect: for the effect worth having. None =
            there is no such difference, or it is too small for any number.
    """

    smallest: float | None
    smallest_relative: float | None
    for_seen: int | None
    for_effect: int | None


class IndicatorRow(msgspec.Struct, frozen=True):
    """One indicator: each arm's value, users being drawn; the change; sizes; looks, where they were asked for."""

    change: IndicatorChange
    arms: tuple[Mean, Mean]
    sizes: Sizes
    looks: tuple[Look, ...] = ()


class ArmsFound(msgspec.Struct, frozen=True):
    """An A/B test, read.

    Attributes:
        impressions: of the two arms.  split: whether each got the users it should.
        split_looks: after how many users, and the p of the split that holds at all looks together.
    """

    control: str
    treatment: str
    impressions: int
    split: SampleRatio
    rows: tuple[IndicatorRow, ...]
    split_looks: tuple[tuple[int, float], ...] = ()


class MergedFound(msgspec.Struct, frozen=True):
    """Interleaved pages, judged.

    Attributes:
        credits: of each ranker, for each page.  verdicts: treatment first where there are two rankers.
        needed: users for the sign test to decide, if wins and losses stay as they are; None = they are even.
        looks: at the share of users who prefer the first, ties counting half; of two rankers only.
    """

    credits: dict[str, float]
    verdicts: tuple[Verdict, ...]
    needed: tuple[int | None, ...]
    looks: tuple[Look, ...] = ()


def contestants(names: Sequence[str], control: str | None, treatment: str | None) -> tuple[str, str]:
    """Control and treatment: as named, else the two there are in the order of the alphabet.

    Raises:
        InputError: a name that is not there, the same twice, or more than two to choose from.
    """
    known = sorted(name for name in names if name)
    for given in (control, treatment):
        if given is not None and given not in known:
            raise InputError(f"arm: got {given!r}; allowed: {', '.join(known) or 'none in this log'}; name one of them")
    left = [name for name in known if name not in (control, treatment)]
    chosen = [control, treatment]
    if chosen.count(None) != 0 and len(left) != chosen.count(None):
        raise InputError(
            f"arms: got {known} and control {control!r}, treatment {treatment!r}; allowed: two arms, or both named; "
            "say which two to compare"
        )
    first, second = (name if name is not None else left.pop(0) for name in chosen)
    if first == second:
        raise InputError(f"arms: got {first!r} as both; allowed: two different ones; compare something")
    return first, second


def read_arms(table: ImpressionTable, before: ImpressionTable | None, names: tuple[str, str], plan: Plan) -> ArmsFound:
    """Compare two arms, indicator by indicator.

    Args:
        before: the log of a time before the test; None = there is none.
        names: of control and treatment.
    Raises:
        InputError: an arm with fewer than two users, a user in both, or an indicator that the log does not have.
    """
    control, treatment = names
    table = table.rows(np.isin(table.arm, [table.arms.index(name) for name in names]))
    arms = tuple(np.unique(table.user[table.arm == table.arms.index(name)]) for name in names)
    found = indicators(table, satisfied_s=plan.satisfied_s)
    days = next((int(named[1]) for named in map(_RETENTION.fullmatch, plan.names) if named), None)
    if days is not None:
        found[f"retention({days}d)"] = retention(table, days=days)
    asked = plan.names or tuple(
        name for name in USUAL if name in found and all(found[name].denominator[arm].any() for arm in arms)
    )
    test = analyse(
        table, control=control, treatment=treatment, names=asked, before=before, level=plan.level,
        shares=(1.0 - plan.split, plan.split), satisfied_s=plan.satisfied_s,
        retention_days=days,
    )  # fmt: skip
    stops = _stops(table, arms) if plan.sequential else []
    rows = []
    for change in test.changes:
        one = found[change.name]
        means = tuple(mean_of(linearised(one.numerator[arm], one.denominator[arm]), level=plan.level) for arm in arms)
        rows.append(
            IndicatorRow(change, (means[0], means[1]), _sizes(change.change, plan), _looks(one, change, stops, plan))
        )
    counts = [[len(part) for part in stop] for stop in stops]
    p = sample_ratio_sequential(counts, shares=(1.0 - plan.split, plan.split)).tolist() if counts else []
    watched = tuple((sum(count), value) for count, value in zip(counts, p, strict=True))
    return ArmsFound(control, treatment, len(table), test.split, tuple(rows), watched)


def read_merged(
    impressions: Sequence[Impression],
    names: tuple[str, ...],
    plan: Plan,
    *,
    rankings: Mapping[str, Sequence[Ranking]] | None = None,
    method: Interleaving | None = None,
) -> MergedFound:
    """Judge interleaved pages.

    Args:
        names: of the rankers; treatment first where there are two.
        rankings: what was merged, by query, in the order of ``names``; None = credit is given by the teams in the log.
        method: with rankings, who gives the credit.
    Raises:
        InputError: fewer than two users, or an impression that does not fit its rankings.
    """
    users = [one.user for one in impressions]
    if rankings is None or method is None:
        outcomes = _team_outcomes(table_of(impressions), names)
        found = verdicts(outcomes, names, users=users, level=plan.level)
    else:
        run = judge_log(impressions, rankings, method, level=plan.level)
        outcomes, found = list(run.outcomes), list(run.verdicts)
    needed = tuple(
        users_for_sign_test(one.wins / one.users, one.losses / one.users, alpha=plan.alpha) if _decisive(one) else None
        for one in found
    )
    sums = np.array([one.credits for one in outcomes]).mean(axis=0).tolist()
    looks = _merged_looks(impressions, outcomes, plan) if plan.sequential and len(names) == 2 else ()
    return MergedFound(dict(zip(names, sums, strict=True)), tuple(found), needed, looks)


def _decisive(one: Verdict) -> bool:
    """Whether a million users or fewer would decide at these shares."""
    return abs(one.wins - one.losses) / math.sqrt(max(1, one.wins + one.losses) * one.users) > 0.003


def _team_outcomes(table: ImpressionTable, names: Sequence[str]) -> list[Outcome]:
    credits = [
        (table.clicked & (table.team == (table.teams.index(name) if name in table.teams else -2))).sum(axis=1)
        for name in names
    ]
    return [Outcome(tuple(map(float, row))) for row in np.stack(credits, axis=1).tolist()]


def _merged_looks(impressions: Sequence[Impression], outcomes: Sequence[Outcome], plan: Plan) -> tuple[Look, ...]:
    by_user: dict[str, list[float]] = {}
    for row in sorted(range(len(impressions)), key=lambda row: impressions[row].at_s):
        by_user.setdefault(impressions[row].user, []).append(outcomes[row].preference)
    values = np.array([(np.sign(round(sum(given), 9)) + 1) / 2 for given in by_user.values()])
    low, high = bounded_sequence(values, level=plan.level)
    # All looks so far hold together, so what one of them ruled out stays ruled out.
    low, high = np.maximum.accumulate(low), np.minimum.accumulate(high)
    mean = values.cumsum() / np.arange(1, len(values) + 1)
    return tuple(
        Look(n, float(mean[n - 1]), float(low[n - 1]), float(high[n - 1]), None) for n in _evenly(len(values), 1)
    )


def _evenly(total: int, least: int) -> list[int]:
    """Up to ``LOOKS`` numbers of users, the last of them all."""
    return sorted({n for n in (round(total * k / LOOKS) for k in range(1, LOOKS + 1)) if n >= least} | {total})


_Stop = tuple[NDArray[np.int64], NDArray[np.int64]]


def _stops(table: ImpressionTable, arms: Sequence[NDArray[np.int64]]) -> list[_Stop]:
    """The users of each arm at each look, in the order they first came."""
    came = np.full(len(table.users), len(table))
    # Where moments are not known, or equal, the log's own order is the order of time.
    np.minimum.at(came, table.user[np.argsort(table.at_s, kind="stable")], np.arange(len(table)))
    order = np.concatenate(arms)
    order = order[np.argsort(came[order], kind="stable")]
    first = np.isin(order, arms[0])
    found = []
    for n in _evenly(len(order), 2 * LEAST_AN_ARM):
        stop = order[:n][first[:n]], order[:n][~first[:n]]
        if n == len(order) or min(map(len, stop)) >= LEAST_AN_ARM:
            found.append(stop)
    return found


def _looks(one: Indicator, change: IndicatorChange, stops: Sequence[_Stop], plan: Plan) -> tuple[Look, ...]:
    """A user counts with all their pages; earlier looks know nothing of later users."""
    known = [stop for stop in stops if all(one.denominator[part].any() for part in stop)]
    if not known:
        return ()
    seen = [
        ratio_difference(*((one.numerator[part], one.denominator[part]) for part in stop), level=plan.level)
        for stop in known
    ]
    users = [sum(each.users) for each in seen]
    estimates, errors = ([getattr(each, of) for each in seen] for of in ("difference", "standard_error"))
    low, high = confidence_sequence(
        estimates, errors, users, tightest_at=plan.planned_users or users[-1], level=plan.level
    )
    size = plan.effect * abs(change.change.control)
    p = msprt(estimates, errors, tau=size).tolist() if size > 0.0 else [None] * len(seen)
    return tuple(Look(*row) for row in zip(users, estimates, low.tolist(), high.tolist(), p, strict=True))


def _sizes(change: Difference, plan: Plan) -> Sizes:
    parts = sum(1.0 / count for count in change.users)
    deviation, users = change.standard_error / math.sqrt(parts), round(2.0 / parts)
    if not 0.0 < deviation < math.inf:
        return Sizes(None, None, None, None)
    smallest = smallest_difference(deviation, users, power=_POWER, alpha=plan.alpha)

    def needed(difference: float) -> int | None:
        if abs(difference) < _HOPELESS * deviation:
            return None
        return users_for_means(difference, deviation, alpha=plan.alpha)

    size = abs(change.control)
    return Sizes(smallest, smallest / size if size else None, needed(change.difference), needed(plan.effect * size))
