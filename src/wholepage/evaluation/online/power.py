"""How many users it takes, and what can be seen with as many as there are.

For a ratio of sums, the standard deviation of one user is that of ``means.linearised``; with CUPED it is multiplied by
``sqrt(1 - variance_saved)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from wholepage.pages.errors import InputError

_MOST_USERS = 10**12
_FAR = 6.0  # standard errors


def power_of_means(difference: float, deviation: float, users: int, *, alpha: float = 0.05) -> float:
    """The chance to find a difference of two arms' means, by the two-sided t-test.

    Args:
        difference: true, of the means.  deviation: standard deviation of one user's value, in both arms.
        users: of each arm, 2 or more.
    Raises:
        InputError: an argument out of range.
    """
    _check(alpha=alpha)
    _check_effect("deviation", deviation)
    if users < 2 or not math.isfinite(difference):
        raise InputError(f"power: got {users} users, difference {difference}; allowed: 2 or more, finite; change them")
    freedom, shift = 2.0 * (users - 1), abs(difference) / deviation * math.sqrt(users / 2)
    limit = float(stats.t.ppf(1 - alpha / 2, freedom))
    if freedom > 10_000 or shift > 30:
        # Student's t is the normal distribution there, and the non-central one loses its digits.
        return float(stats.norm.sf(limit - shift) + stats.norm.cdf(-limit - shift))
    # On the other side there is nothing left from some six standard errors on, and scipy's distribution is NaN there.
    other = float(stats.nct.cdf(-limit, freedom, shift)) if shift < _FAR else 0.0
    return float(stats.nct.sf(limit, freedom, shift)) + other


def users_for_means(difference: float, deviation: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Users of each arm that it takes to find a difference of means with this chance.

    Raises:
        InputError: an argument out of range, or a difference too small for any number of users.
    """
    _check(power=power, alpha=alpha)
    _check_effect("difference", difference)
    return _fewest(lambda users: power_of_means(difference, deviation, users, alpha=alpha) >= power, 2)


def smallest_difference(deviation: float, users: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference of means that as many users of each arm find with this chance.

    Raises:
        InputError: an argument out of range.
    """
    _check(power=power, alpha=alpha)
    if power <= alpha:
        raise InputError(f"power: got {power}; allowed: above alpha, {alpha}; a false alarm is as likely; 0.8 is usual")
    highest = deviation
    while power_of_means(highest, deviation, users, alpha=alpha) < power:
        highest *= 2.0
    return float(
        optimize.brentq(lambda d: power_of_means(d, deviation, users, alpha=alpha) - power, 0.0, highest, xtol=1e-15)
    )


def users_for_shares(control: float, treatment: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Users of each arm that it takes to tell two shares apart, each user being one yes or no.

    Raises:
        InputError: shares outside (0, 1) or equal, or an argument out of range.
    """
    if not (0.0 < control < 1.0 and 0.0 < treatment < 1.0) or control == treatment:
        raise InputError(
            f"shares: got {control} and {treatment}; allowed: between 0 and 1, not equal; say what you hope for"
        )
    deviation = math.sqrt((control * (1 - control) + treatment * (1 - treatment)) / 2)
    return users_for_means(treatment - control, deviation, power=power, alpha=alpha)


def power_of_sign_test(wins: float, losses: float, users: int, *, alpha: float = 0.05) -> float:
    """The chance that the exact sign test decides an interleaving experiment, to either side.

    Args:
        wins, losses: chance of a user to prefer the first, the second; the others tie.
        users: in all, 1 or more.
    Raises:
        InputError: an argument out of range.
    """
    _check(alpha=alpha)
    if not (0.0 <= wins <= 1.0 and 0.0 <= losses <= 1.0 and 0.0 < wins + losses <= 1.0) or users < 1:
        raise InputError(
            f"sign test: got chances {wins} and {losses}, {users} users; allowed: chances whose sum is above 0 and up "
            "to 1, 1 user or more; change them"
        )
    decided = np.arange(users + 1)
    likely = stats.binom.pmf(decided, users, wins + losses)
    decided, likely = decided[likely > 1e-12], likely[likely > 1e-12]
    # The test rejects when the smaller side is at most c, twice the chance of which is at most alpha.
    limit = stats.binom.ppf(alpha / 2, decided, 0.5)
    limit -= 2 * stats.binom.cdf(limit, decided, 0.5) > alpha
    share = wins / (wins + losses)
    rejects = stats.binom.cdf(limit, decided, share) + stats.binom.sf(decided - limit - 1, decided, share)
    return float((likely * np.where(limit >= 0, rejects, 0.0)).sum())


def users_for_sign_test(wins: float, losses: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Users that it takes for the sign test of an interleaving experiment to decide with this chance.

    As the test is of whole numbers its power is not quite even in them: more users may, by a hair, find less.

    Raises:
        InputError: equal chances, an argument out of range, or too small a difference for a million users.
    """
    _check(power=power, alpha=alpha)
    if wins == losses:
        raise InputError(f"sign test: got equal chances {wins}; allowed: a difference; say what you hope for")
    return _fewest(lambda users: power_of_sign_test(wins, losses, users, alpha=alpha) >= power, 1, most=2**20)


def _fewest(enough: Callable[[int], bool], least: int, *, most: int = _MOST_USERS) -> int:
    """The smallest number that is enough, by doubling and halving."""
    if enough(least):
        return least
    low, high = least, 2 * least
    while not enough(high):
        low, high = high, 2 * high
        if high > most:
            raise InputError(
                f"effect: got one that more than {most} users would be needed for; allowed: larger ones; look for less"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(**chances: float) -> None:
    for name, chance in chances.items():
        if not 0.0 < chance < 1.0:
            raise InputError(f"{name}: got {chance}; allowed: between 0 and 1, both excluded; change it")


def _check_effect(name: str, value: float) -> None:
    if not (math.isfinite(value) and (value > 0.0 or (name == "difference" and value != 0.0))):
        raise InputError(f"{name}: got {value}; allowed: finite, not 0, a deviation above 0; change it")
