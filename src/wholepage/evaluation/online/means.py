"""Means over users and their differences: Welch's test, ratios by the delta method, CUPED.

Users are what is drawn at random, so every array here holds one value for each user. An indicator that is a ratio of
sums (clicks per page, where users see different numbers of pages) becomes one value for each user by ``linearised``;
all tests are then the same.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from wholepage.pages.errors import InputError, ShapeError


class Mean(msgspec.Struct, frozen=True):
    """A mean and what is known of it.

    Attributes:
        value: the mean.  low, high: its interval.  standard_error: of it.  count: of values.
        p: two-sided, that the true mean is 0.
    """

    value: float
    low: float
    high: float
    standard_error: float
    count: int
    p: float


class Difference(msgspec.Struct, frozen=True):
    """How much more treatment has than control.

    Attributes:
        control, treatment: their means.  users: how many in each.
        difference: treatment - control.  low, high: its interval.  standard_error: of it.
        p: two-sided, that there is none.
        relative: the difference as a share of control's mean.  relative_low, relative_high: its interval, by the delta
            method; all NaN where that mean is 0.
    """

    control: float
    treatment: float
    users: tuple[int, int]
    difference: float
    low: float
    high: float
    standard_error: float
    p: float
    relative: float
    relative_low: float
    relative_high: float


class Adjusted(msgspec.Struct, frozen=True, eq=False):
    """Values with what was known before the test taken out.

    Attributes:
        theta: how much of the earlier value was taken out.
        variance_saved: the share of the variance within arms that went with it: about the squared correlation.
    Shapes:
        control, treatment: [users] float
    """

    control: NDArray[np.float64]
    treatment: NDArray[np.float64]
    theta: float
    variance_saved: float


def mean_of(values: ArrayLike, *, level: float = 0.95) -> Mean:
    """The mean with Student's interval and test.

    Where all values are equal nothing is known of their spread: the interval is the whole line, and p is 1.

    Shapes:
        values: [users] float
    Raises:
        ShapeError: not one dimension.
        InputError: fewer than two values, one that is not finite, or a level outside (0, 1).
    """
    numbers = user_values("values", values)
    value, error = float(numbers.mean()), math.sqrt(_variance(numbers) / len(numbers))
    low, high, p = student(value, error, len(numbers) - 1, level)
    return Mean(value, low, high, error, len(numbers), p)


def welch(control: ArrayLike, treatment: ArrayLike, *, level: float = 0.95) -> Difference:
    """Treatment's mean against control's, with variances of their own.

    Where the values of both arms are all equal nothing is known of their spread: the interval is the whole line, and p
    is 1.

    Shapes:
        control: [users] float
        treatment: [users] float, other users
    Raises:
        ShapeError: not one dimension.
        InputError: fewer than two values, one that is not finite, or a level outside (0, 1).
    Source: Welch 1947, The generalization of Student's problem when several different population variances are
        involved.
    """
    arms = user_values("control", control), user_values("treatment", treatment)
    before, after = (float(arm.mean()) for arm in arms)
    parts = [_variance(arm) / len(arm) for arm in arms]
    error = math.sqrt(sum(parts))
    # Satterthwaite's degrees of freedom; divided through first, so that tiny variances do not underflow.
    shares = [part / sum(parts) for part in parts] if error > 0 else [0.5, 0.5]
    freedom = 1.0 / sum(share * share / (len(arm) - 1) for share, arm in zip(shares, arms, strict=True))
    low, high, p = student(after - before, error, freedom, level)
    ratio = after / before if before else math.nan
    relative_error = math.sqrt(parts[1] + ratio * ratio * parts[0]) / abs(before) if before else math.nan
    # Without any spread, as for the difference: the whole line.
    wide = error == 0.0 and not math.isnan(ratio)
    half = math.inf if wide else float(special.stdtrit(freedom, (1 + level) / 2)) * relative_error
    return Difference(
        before, after, (len(arms[0]), len(arms[1])), after - before, low, high, error, p, ratio - 1,
        ratio - 1 - half, ratio - 1 + half,
    )  # fmt: skip


def linearised(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """A ratio of sums as one value for each user, whose mean is the ratio and whose variance is the delta method's.

    Shapes:
        numerator: [users] float, such as clicks of each user
        denominator: [users] float, such as pages of each user
    Returns:
        ``[users]``: ``ratio + (numerator - ratio * denominator) / mean(denominator)``.
    Raises:
        ShapeError: not two equal, one-dimensional shapes.
        InputError: fewer than two users, a value that is not finite, or denominators whose sum is not above 0.
    Source: Deng, Knoblich, Lu 2018, Applying the delta method in metric analytics; Budylin et al. 2018, Consistent
        transformation of ratio metrics for efficient online controlled experiments.
    """
    above, below = user_values("numerator", numerator), user_values("denominator", denominator)
    if above.shape != below.shape:
        raise ShapeError(
            f"numerator, denominator: got {above.shape} and {below.shape}; allowed: equal lengths; pair them by user"
        )
    total = float(below.sum())
    if not total > 0.0:
        raise InputError(
            f"denominator: got a sum of {total}; allowed: above 0; leave out an indicator that nobody had a chance of"
        )
    ratio = float(above.sum()) / total
    values: NDArray[np.float64] = ratio + (above - ratio * below) / float(below.mean())
    return values


def ratio_difference(
    control: tuple[ArrayLike, ArrayLike], treatment: tuple[ArrayLike, ArrayLike], *, level: float = 0.95
) -> Difference:
    """Treatment's ratio of sums against control's, users being drawn: the delta method.

    Args:
        control, treatment: numerator and denominator, as ``linearised`` takes them.
    Raises:
        ShapeError, InputError: as ``linearised`` and ``welch``.
    """
    return welch(linearised(*control), linearised(*treatment), level=level)


def cuped(control: ArrayLike, treatment: ArrayLike, control_before: ArrayLike, treatment_before: ArrayLike) -> Adjusted:
    """Take out of each user's value what their own past foretold; the difference of means stays, its variance falls.

    How much to take out is found within the arms, so that an effect of the treatment cannot leak into it.

    Args:
        control_before, treatment_before: a value of each user from before the test; NaN = a new user, taken to be as
            the mean of those who are known.
    Shapes:
        control, control_before: [users] float
        treatment, treatment_before: [users] float
    Returns:
        Values to be tested by ``welch``. Where nobody's past is known, or all pasts are equal, the values as they are.
    Raises:
        ShapeError: shapes that are not one-dimensional, or not equal within an arm.
        InputError: fewer than two users in an arm, or a value that is not finite.
    Source: Deng, Xu, Kohavi, Walker 2013, Improving the sensitivity of online controlled experiments by utilizing
        pre-experiment data.
    """
    now = [user_values("control", control), user_values("treatment", treatment)]
    past = [np.asarray(one, dtype=np.float64) for one in (control_before, treatment_before)]
    for name, one, other in zip(("control", "treatment"), now, past, strict=True):
        if one.shape != other.shape:
            raise ShapeError(
                f"{name}, {name}_before: got {one.shape} and {other.shape}; allowed: equal lengths; pair them by user"
            )
    pooled = np.concatenate(past)
    if np.isinf(pooled).any():
        raise InputError("before: got a value that is infinite; allowed: finite numbers, or NaN for new users; mend it")
    known = pooled[~np.isnan(pooled)]
    middle = float(known.mean()) if len(known) else 0.0
    past = [np.where(np.isnan(one), middle, one) for one in past]
    spread = sum(float(((one - one.mean()) ** 2).sum()) for one in past)
    shared = sum(float(((a - a.mean()) * (b - b.mean())).sum()) for a, b in zip(now, past, strict=True))
    whole = sum(float(((one - one.mean()) ** 2).sum()) for one in now)
    theta = shared / spread if spread > 0.0 else 0.0
    middle = float(np.concatenate(past).mean())
    first, second = (a - theta * (b - middle) for a, b in zip(now, past, strict=True))
    return Adjusted(first, second, theta, theta * shared / whole if whole > 0.0 else 0.0)


def student(value: float, error: float, freedom: float, level: float) -> tuple[float, float, float]:
    """Interval and two-sided p-value of an estimate with this standard error, by Student's t.

    Raises:
        InputError: a level outside (0, 1).
    """
    check_level(level)
    if error == 0.0:
        return -math.inf, math.inf, 1.0
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    return value - half, value + half, 2 * float(special.stdtr(freedom, -abs(value) / error))


def check_level(level: float) -> None:
    """Raise unless this can be the level of an interval.

    Raises:
        InputError: a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level: got {level}; allowed: between 0 and 1, both excluded; 0.95 is usual")


def user_values(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """One finite number for each of two users or more.

    Raises:
        ShapeError: not one dimension.
        InputError: fewer than two values, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ShapeError(f"{name}: got shape {numbers.shape}; allowed: [users]; pass one value a user")
    if len(numbers) < 2:
        raise InputError(f"{name}: got {len(numbers)} values; allowed: 2 or more; one user says nothing of the others")
    if not np.isfinite(numbers).all():
        place = int(np.argmin(np.isfinite(numbers)))
        raise InputError(f"{name}[{place}]: got {numbers[place]}; allowed: finite numbers; leave that user out")
    return numbers


def _variance(numbers: NDArray[np.float64]) -> float:
    # Equal values have no spread; the rounding of their mean must not give them one.
    return 0.0 if (numbers == numbers[0]).all() else float(numbers.var(ddof=1))
