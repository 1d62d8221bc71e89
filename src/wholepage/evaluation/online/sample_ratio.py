"""Did the arms get the users they should: a mismatch means a broken test, whatever the indicators say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from wholepage.pages.errors import InputError, ShapeError


class SampleRatio(msgspec.Struct, frozen=True):
    """Users of each arm, and whether that is chance.

    Attributes:
        counts: of users.  expected: how many there should be.  p: of a split as uneven.
        mismatch: p is below the threshold: find the fault before reading on.
    """

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p: float
    mismatch: bool


def sample_ratio(
    counts: Sequence[int], *, shares: Sequence[float] | None = None, threshold: float = 0.001
) -> SampleRatio:
    """Test the split of users once: the exact binomial test for two arms, Pearson's chi-squared for more.

    Args:
        counts: users of each arm.
        shares: what each should get, in any unit; None = the same.
        threshold: the p-value below which the split counts as broken.
    Raises:
        ShapeError: not one share for each count.
        InputError: fewer than two arms, a count below 0, no user, a share or a threshold out of range.
    Source: Fabijan et al. 2019, Diagnosing sample ratio mismatch in online controlled experiments.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.ndim != 1:
        raise ShapeError(f"counts: got shape {numbers.shape}; allowed: [arms]; pass the users of each arm")
    split = _split(numbers[None], shares)
    if not 0.0 < threshold < 1.0:
        raise InputError(f"threshold: got {threshold}; allowed: between 0 and 1; 0.001 is usual")
    total = float(numbers.sum())
    if not total > 0.0:
        raise InputError("counts: got no user; allowed: 1 or more; wait for the first")
    if len(numbers) == 2:
        p = float(stats.binomtest(int(numbers[0]), int(total), float(split[0])).pvalue)
    else:
        p = float(stats.chisquare(numbers, split * total).pvalue)
    return SampleRatio(tuple(int(n) for n in numbers), tuple((split * total).tolist()), p, p < threshold)


def sample_ratio_sequential(
    counts: ArrayLike, *, shares: Sequence[float] | None = None, concentration: float = 100.0
) -> NDArray[np.float64]:
    """Test the split at every look, as often as wanted.

    The Bayes factor of any other split against the planned one; one over its highest value so far is a p-value that
    stays below alpha at all looks together with chance 1 - alpha, if the plan holds.

    Args:
        counts: users of each arm at each look, from the start.
        concentration: how near to the plan a broken split is taken to be; above 0, larger = nearer.
    Shapes:
        counts: [looks, arms]
    Returns:
        ``[looks]``: p-values, never rising.
    Raises:
        ShapeError: not two dimensions, or not one share for each arm.
        InputError: fewer than two arms, a count that is below 0 or falls, or an option out of range.
    Source: Lindon, Malek 2022, Anytime-valid inference for multinomial count data.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.ndim != 2:
        raise ShapeError(f"counts: got shape {numbers.shape}; allowed: [looks, arms]; pass the users up to each look")
    split = _split(numbers, shares)
    if (np.diff(numbers, axis=0) < 0).any():
        raise InputError("counts: got one that falls from a look to the next; allowed: users from the start; add up")
    if not 0.0 < concentration < np.inf:
        raise InputError(f"concentration: got {concentration}; allowed: above 0, finite; 100 is usual")
    prior = concentration * split
    total = numbers.sum(axis=1)
    log_factor = (
        (special.gammaln(prior + numbers) - special.gammaln(prior)).sum(axis=1)
        - special.gammaln(concentration + total)
        + special.gammaln(concentration)
        - (numbers * np.log(split)).sum(axis=1)
    )
    p: NDArray[np.float64] = np.exp(-np.maximum.accumulate(np.maximum(log_factor, 0.0)))
    return p


def _split(counts: NDArray[np.float64], shares: Sequence[float] | None) -> NDArray[np.float64]:
    arms = counts.shape[1]
    if arms < 2:
        raise InputError(f"counts: got {arms} arms; allowed: 2 or more; a split needs them")
    if not (np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all():
        raise InputError("counts: got one that is not a whole number from 0 up; allowed: those; count users")
    wanted = np.ones(arms) if shares is None else np.asarray(shares, dtype=np.float64)
    if wanted.shape != (arms,):
        raise ShapeError(
            f"shares: got shape {wanted.shape} for {arms} arms; allowed: one each; say what each should get"
        )
    if not (np.isfinite(wanted) & (wanted > 0)).all():
        raise InputError(f"shares: got {wanted.tolist()}; allowed: above 0; leave out arms that get nobody")
    planned: NDArray[np.float64] = wanted / wanted.sum()
    return planned
