"""Height-biased gain: the further a reader must scroll, the less a result gives.

After Luo et al., SIGIR 2017, which sums gain times discount over the height of a mobile result page. The forms here are
ours: interest halves every ``half`` units of height scrolled, and a result's gain is either spread evenly over its
height or all met at its top. How often a result must be clicked is not modelled, and ``half`` is a setting, not fitted.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.heights import Heights
from wholepage.evaluation.page.ratios import ratio
from wholepage.pages.errors import InputError

Spread = Literal["even", "top"]
HALF_HEIGHT = 5.0


def height_biased_gain(
    pages: GradedPages,
    heights: Heights,
    *,
    k: int | None = None,
    half: float = HALF_HEIGHT,
    spread: Spread = "even",
) -> NDArray[np.float64]:
    """The sum over results of grade times interest, where interest is 2 ** -(height scrolled / half).

    Args:
        heights: of a result, by modality.
        k: results that count; all without it.
        half: the height after which half the interest is left, in the unit of ``heights``.
        spread: ``even`` = the mean interest over the result's height; ``top`` = the interest at its upper edge.
    Returns:
        [n] from 0 up, on the scale of grades; NaN for a page where nothing is judged.
    Raises:
        InputError: pages were not given, k is below 1, or half not above 0.
    """
    if k is not None and k < 1:
        raise InputError(f"k: got {k}; allowed: 1 or more; it is the number of results that count")
    tall = _tall(pages, heights)[:, :k]
    seen = _summed(pages.gains[:, :k], tall, _rate(half), spread)
    return np.where(_any_judged(pages), seen, np.nan)


def normalised_height_biased_gain(
    pages: GradedPages, heights: Heights, *, half: float = HALF_HEIGHT, spread: Spread = "even"
) -> NDArray[np.float64]:
    """Height-biased gain over that of the best order of the same results.

    The best order is exact: with interest that falls exponentially, results go by what they give at the very top over
    the interest they use up (exchange of two neighbours); with gain spread evenly that is grade by height.

    Returns:
        [n] from 0 to 1; NaN for a page without a grade above 0.
    Raises:
        InputError: pages were not given, or half is not above 0.
    """
    rate = _rate(half)
    tall, gains = _tall(pages, heights), pages.gains
    used = -np.expm1(-rate * tall)
    worth = gains / tall if spread == "even" else gains / used
    order = np.argsort(np.where(pages.ranked, -worth, np.inf), axis=1, kind="stable")
    best = _summed(np.take_along_axis(gains, order, 1), np.take_along_axis(tall, order, 1), rate, spread)
    given = _summed(gains, tall, rate, spread)
    return ratio(given, best, empty=np.nan)


def _summed(gains: NDArray[np.float64], tall: NDArray[np.float64], rate: float, spread: Spread) -> NDArray[np.float64]:
    above = np.cumsum(tall, axis=1) - tall
    interest = np.exp(-rate * above)
    if spread == "even":
        interest = interest * -np.expm1(-rate * tall) / (rate * tall)
    return np.asarray((gains * interest).sum(axis=1))


def _tall(pages: GradedPages, heights: Heights) -> NDArray[np.float64]:
    kinds = pages.kinds()
    return np.where(kinds >= 0, heights.table()[kinds], 1.0)


def _rate(half: float) -> float:
    if not (math.isfinite(half) and half > 0):
        raise InputError(f"half: got {half}; allowed: above 0; it is the height that halves the interest")
    return math.log(2.0) / half


def _any_judged(pages: GradedPages) -> NDArray[np.bool_]:
    return np.asarray((~np.isnan(pages.grades)).any(axis=1))
