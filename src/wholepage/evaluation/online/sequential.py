"""Looking as often as one likes: p-values and intervals that hold at all looks together.

A test that was planned for one look and is looked at twenty times finds something where nothing is in about one of four
cases. What is here may be looked at after every user, and stopped for any reason. ``looks`` makes the numbers that
``msprt`` and ``confidence_sequence`` take; both rest on the central limit theorem, so the first look should come after
some hundred users. ``bounded_sequence`` holds from the first user on, for values between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wholepage.evaluation.online.means import check_level, user_values
from wholepage.pages.errors import InputError, ShapeError


class Looks(msgspec.Struct, frozen=True, eq=False):
    """What was known at each look.

    Shapes:
        estimates, standard_errors: [looks] float, of treatment - control
        users: [looks] int, of both arms together
    """

    estimates: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    users: NDArray[np.int64]


def looks(control: ArrayLike, treatment: ArrayLike, *, at: Sequence[tuple[int, int]]) -> Looks:
    """The difference of means at each look.

    Args:
        control, treatment: a value for each user, in the order they came; a value must be final when it is looked at.
        at: users of control and of treatment at each look, 2 or more of each.
    Shapes:
        control: [users] float
        treatment: [users] float
    Raises:
        ShapeError, InputError: values that cannot be used, or a look before two users or beyond the last.
    """
    arms = user_values("control", control), user_values("treatment", treatment)
    counts = np.asarray(at, dtype=np.int64).reshape(-1, 2)
    longest = np.array([len(arm) for arm in arms])
    if not len(counts) or (counts < 2).any() or (counts > longest).any():
        raise InputError(
            f"at: got {list(at)[:5]}; allowed: pairs from (2, 2) to {tuple(longest.tolist())}; say after how many users"
        )
    means, parts = [], []
    for arm, count in zip(arms, counts.T, strict=True):
        centred = arm - arm.mean()  # sums of squares lose fewer digits around the middle
        first, second = centred.cumsum()[count - 1] / count, (centred**2).cumsum()[count - 1]
        means.append(first + arm.mean())
        parts.append(np.maximum(second - count * first**2, 0.0) / (count - 1) / count)
    return Looks(means[1] - means[0], np.sqrt(parts[0] + parts[1]), counts.sum(axis=1))


def msprt(estimates: ArrayLike, standard_errors: ArrayLike, *, tau: float) -> NDArray[np.float64]:
    """The p-value at each look by the mixture sequential probability ratio test: stop when it is below alpha.

    Args:
        tau: the size of effects that are expected (their standard deviation), in the unit of the estimates; it decides
            how soon effects are found, never how often there is a false alarm.
    Shapes:
        estimates, standard_errors: [..., looks] float, in time order; a standard error of 0 = nothing known yet
    Returns:
        ``[..., looks]``: p-values, never rising.
    Raises:
        ShapeError: shapes that differ.
        InputError: a value that is not finite, a standard error below 0, or tau that is not above 0.
    Source: Johari, Koomen, Pekelis, Walsh 2017, Peeking at A/B tests; normal mixture.
    """
    if not 0.0 < tau < math.inf:
        raise InputError(f"tau: got {tau}; allowed: above 0, finite; an effect that would be worth having is usual")
    values, errors = _paired(estimates, standard_errors)
    variance = errors**2
    known = variance > 0.0
    safe = np.where(known, variance, 1.0)
    log_ratio = 0.5 * np.log(safe / (safe + tau**2)) + 0.5 * values**2 * tau**2 / (safe * (safe + tau**2))
    highest = np.maximum.accumulate(np.where(known, np.maximum(log_ratio, 0.0), 0.0), axis=-1)
    p: NDArray[np.float64] = np.exp(-highest)
    return p


def confidence_sequence(
    estimates: ArrayLike, standard_errors: ArrayLike, users: ArrayLike, *, tightest_at: int, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals that contain the true value at all looks together, with this level.

    Args:
        tightest_at: after how many users the intervals should be at their best; they hold before and after.
    Shapes:
        estimates, standard_errors: [..., looks] float
        users: [looks] int
    Returns:
        low, high, ``[..., looks]``.
    Raises:
        ShapeError: shapes that differ.
        InputError: a value that is not finite, a standard error below 0, or an option out of range.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, Time-uniform central limit theory and asymptotic
        confidence sequences; the mixture is that of Howard, Ramdas, McAuliffe, Sekhon 2021.
    """
    check_level(level)
    if tightest_at < 1:
        raise InputError(f"tightest_at: got {tightest_at}; allowed: 1 or more; the users you plan for are usual")
    values, errors = _paired(estimates, standard_errors)
    counts = np.asarray(users, dtype=np.float64)
    if counts.shape != values.shape[-1:]:
        raise ShapeError(f"users: got shape {counts.shape}; allowed: {values.shape[-1:]}; say how many at each look")
    if not (counts > 0).all():
        raise InputError("users: got a look without users; allowed: 1 or more at each; leave that look out")
    alpha = 1.0 - level
    # The width at n users, in standard errors, depends on n / tightest_at alone; this choice is best at 1.
    weight = counts / tightest_at * (-2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha) + 1.0))
    half = errors * np.sqrt((weight + 1.0) / weight * 2.0 * np.log(np.sqrt(weight + 1.0) / alpha))
    return values - half, values + half


def bounded_sequence(values: ArrayLike, *, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of a mean of values between 0 and 1 that hold after every single value, however few there are.

    Args:
        values: in the order they came.
    Shapes:
        values: [..., n] float
    Returns:
        low, high, ``[..., n]``, within 0 and 1.
    Raises:
        InputError: a value outside 0 to 1, or a level outside (0, 1).
    Source: Waudby-Smith, Ramdas 2024, Estimating means of bounded random variables by betting: the empirical Bernstein
        sequence with predictable plug-in.
    """
    check_level(level)
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim < 1 or not ((numbers >= 0.0) & (numbers <= 1.0)).all():
        raise InputError("values: got one outside 0 to 1; allowed: 0 to 1; scale them by what they can be at most")
    time = np.arange(1, numbers.shape[-1] + 1)
    mean = (0.5 + numbers.cumsum(axis=-1)) / (time + 1)
    spread = (0.25 + ((numbers - mean) ** 2).cumsum(axis=-1)) / (time + 1)
    guess, known = np.full_like(numbers, 0.5), np.full_like(numbers, 0.25)  # before a value is seen
    guess[..., 1:], known[..., 1:] = mean[..., :-1], spread[..., :-1]
    cost = math.log(2.0 / (1.0 - level))
    bet = np.minimum(np.sqrt(2.0 * cost / (known * time * np.log1p(time))), 0.5)
    paid = (4.0 * (numbers - guess) ** 2 * (-np.log1p(-bet) - bet) / 4.0).cumsum(axis=-1)
    total = bet.cumsum(axis=-1)
    centre, half = (bet * numbers).cumsum(axis=-1) / total, (cost + paid) / total
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _paired(estimates: ArrayLike, standard_errors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, errors = np.asarray(estimates, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if values.shape != errors.shape or values.ndim < 1:
        raise ShapeError(
            f"estimates, standard_errors: got {values.shape} and {errors.shape}; allowed: equal, [..., looks]; pair"
            " them"
        )
    if not (np.isfinite(values) & np.isfinite(errors) & (errors >= 0.0)).all():
        raise InputError(
            "estimates, standard_errors: got one that is not finite, or an error below 0; allowed: finite numbers; "
            "leave that look out"
        )
    return values, errors
