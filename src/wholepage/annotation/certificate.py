"""What an audit proves: how many of the inferred labels can be wrong, given how many of a random sample were.

Nothing here is an approximation but the Wilson interval, which is shown to people where its ends are enough to act on.
"""

from __future__ import annotations

import bisect
import math

import msgspec
from scipy import stats

from wholepage.pages.errors import InputError

_MOST_AUDITS = 10**9


class Certificate(msgspec.Struct, frozen=True):
    """What an audit of inferred labels proves.

    Attributes:
        audited: labels that were asked for after all, drawn at random.  wrong: of these, those that were wrong.
        inferred: how many labels were inferred in all; None = not told, taken as endless.
        confidence: how often such a bound holds, whatever the true share is.
        rate: the share of wrong ones in the audit; None = nothing was audited.
        bound: at most this share of the inferred labels is wrong.
        statement: the same as one sentence.
    """

    audited: int
    wrong: int
    inferred: int | None
    confidence: float
    rate: float | None
    bound: float
    statement: str


def audit_certificate(
    audited: int, wrong: int, confidence: float = 0.95, *, inferred: int | None = None
) -> Certificate:
    """What is proven of inferred labels when ``wrong`` of ``audited`` random ones were found wrong.

    The bound is one-sided and exact: Clopper-Pearson's, or, when the number of inferred labels is told, its counterpart
    for drawing without putting back, which is tighter. It takes the audit's own answers for the truth.

    Args:
        confidence: how often the bound shall hold.
        inferred: the number of labels that the audited ones were drawn from.
    Raises:
        InputError: counts that cannot be, or a confidence outside (0, 1).
    Source: Clopper and Pearson 1934, The use of confidence or fiducial limits.
    """
    _check_counts(wrong, audited, confidence)
    if inferred is not None and inferred < max(audited, 1):
        raise InputError(
            f"certificate: got {audited} audited of {inferred} inferred labels; allowed: at most as many as there are, "
            "of one at least; count them again"
        )
    bound = (
        upper_bound(wrong, audited, confidence) if inferred is None else _finite(wrong, audited, inferred, confidence)
    )
    rate = wrong / audited if audited else None
    return Certificate(
        audited, wrong, inferred, confidence, rate, bound, _statement(audited, wrong, bound, confidence, inferred)
    )


def upper_bound(wrong: int, audited: int, confidence: float = 0.95) -> float:
    """The largest share of wrong labels that an audit leaves possible: the one-sided Clopper-Pearson bound.

    Returns:
        The share at which so few wrong ones would come up with chance ``1 - confidence``; 1.0 when nothing was
        audited, or all that was is wrong.
    Raises:
        InputError: counts that cannot be, or a confidence outside (0, 1).
    Source: Clopper and Pearson 1934.
    """
    _check_counts(wrong, audited, confidence)
    if wrong == audited:
        return 1.0
    return float(stats.beta.ppf(confidence, wrong + 1, audited - wrong))


def clopper_pearson(wrong: int, audited: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which shares the true one lies, both ends exact: each is missed with chance (1 - confidence) / 2 at most.

    Returns:
        low, high; (0.0, 1.0) when nothing was audited.
    Raises:
        InputError: counts that cannot be, or a confidence outside (0, 1).
    Source: Clopper and Pearson 1934.
    """
    _check_counts(wrong, audited, confidence)
    one_sided = (1.0 + confidence) / 2.0
    low = float(stats.beta.ppf(1.0 - one_sided, wrong, audited - wrong + 1)) if wrong else 0.0
    return low, upper_bound(wrong, audited, one_sided)


def wilson_interval(right: int, asked: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which shares an annotator's share of right answers probably lies; never outside 0 to 1.

    An approximation that misses by a little either way, and is shorter than the exact interval.

    Returns:
        low, high; (0.0, 1.0) when nothing was asked.
    Raises:
        InputError: counts that cannot be, or a confidence outside (0, 1).
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    _check_counts(right, asked, confidence)
    if not asked:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1.0 + confidence) / 2.0))
    share, weight = right / asked, z * z / asked
    middle = share + weight / 2.0
    half = z * math.sqrt(share * (1.0 - share) / asked + weight / (4.0 * asked))
    low, high = (middle - half) / (1.0 + weight), (middle + half) / (1.0 + weight)
    return (0.0 if right == 0 else max(0.0, low)), (1.0 if right == asked else min(1.0, high))


def audits_needed(max_error: float, confidence: float = 0.95, *, wrong: int = 0, inferred: int | None = None) -> int:
    """The least number of audits that prove an error of at most ``max_error`` when they find ``wrong`` wrong labels.

    59 without a wrong one prove 5 % at a confidence of 95 %, 299 prove 1 %.

    Args:
        inferred: the number of labels that will be drawn from; None = not told, taken as endless.
    Raises:
        InputError: an error or confidence outside (0, 1), counts that cannot be, or more wrong ones than ``max_error``
            of all inferred labels, or than 10^9 audits could excuse.
    """
    if not 0.0 < max_error < 1.0:
        raise InputError(f"max_error: got {max_error}; allowed: between 0 and 1, both excluded; 0.05 is usual")
    _check_counts(wrong, max(wrong, 0), confidence)
    most = _MOST_AUDITS if inferred is None else inferred

    def proven(audited: int) -> bool:
        if inferred is None:
            return upper_bound(wrong, audited, confidence) <= max_error
        return _finite(wrong, audited, inferred, confidence) <= max_error

    if wrong > most or not proven(most):
        raise InputError(
            f"audits_needed: got max_error={max_error} with {wrong} wrong ones, which {most} audits would not prove; "
            "allowed: what auditing everything would show; ask for less"
        )
    return bisect.bisect_left(range(most), True, lo=wrong, key=proven)


def _finite(wrong: int, audited: int, inferred: int, confidence: float) -> float:
    """The largest share of a finite number of labels at which so few wrong ones are not yet too unlikely."""
    low, high = wrong, inferred - (audited - wrong)  # possible; perhaps too many
    while low < high:
        middle = (low + high + 1) // 2
        chance = stats.hypergeom.cdf(wrong, inferred, middle, audited)
        low, high = (middle, high) if chance > 1.0 - confidence else (low, middle - 1)
    return low / inferred


def _statement(audited: int, wrong: int, bound: float, confidence: float, inferred: int | None) -> str:
    if not audited:
        return "Nothing was audited, so nothing is proven: any share of the inferred labels may be wrong."
    labels = "inferred labels" if inferred is None else f"{inferred:,} inferred labels"
    return (
        f"{wrong:,} of {audited:,} audited labels {'was' if wrong == 1 else 'were'} wrong: with a confidence of "
        f"{100 * confidence:.6g} % at most {_rounded_up(100 * bound)} % of the {labels} are wrong."
    )


def _rounded_up(percent: float) -> str:
    """With two decimals, never less than it is: a bound rounded down would promise too much."""
    return f"{min(math.ceil(percent * 100 - 1e-9) / 100, 100.0):.2f}"


def _check_counts(wrong: int, of: int, confidence: float) -> None:
    if not 0 <= wrong <= of:
        raise InputError(f"counts: got {wrong} of {of}; allowed: whole numbers, 0 up to all of them; count them again")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence: got {confidence}; allowed: between 0 and 1, both excluded; 0.95 is usual")
