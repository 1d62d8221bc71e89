"""Rank-biased precision, and how much of it hangs on what nobody judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.pages.errors import InputError


def scaled_gains(grades: NDArray[np.float64], *, top: float, unjudged: float = 0.0) -> NDArray[np.float64]:
    """Grades as gains from 0 to 1: ``grade / top``, no more than 1; with ``top=1`` whole grades become 0 and 1.

    Args:
        top: the grade that gives 1.
        unjudged: the gain of a result that nobody judged (NaN).
    Shapes:
        grades: any; the gains have the same
    Raises:
        InputError: top is not above 0.
    """
    if not top > 0:
        raise InputError(f"top: got {top}; allowed: above 0; it is the grade that gives the whole gain")
    return np.where(np.isnan(grades), unjudged, np.minimum(grades / top, 1.0))


def rank_biased_precision(pages: GradedPages, *, p: float = 0.8, top: float = 1.0) -> NDArray[np.float64]:
    """Gain a result for a reader who goes on to the next with probability p, without end.

    Nothing is gained from unjudged results and after the end of the page, so this is the least it can be.

    Args:
        p: patience, between 0 and 1.
        top: the grade that gives 1.
    Returns:
        [n] from 0 to 1; NaN for a page where nothing is judged.
    Raises:
        InputError: p is not between 0 and 1, or top not above 0.
    Source: Moffat and Zobel, TOIS 2008.
    """
    weights = _weights(p, pages.grades.shape[1])
    found = (scaled_gains(pages.grades, top=top) * weights).sum(axis=1)
    return np.where((~np.isnan(pages.grades)).any(axis=1), found, np.nan)


def rank_biased_residual(pages: GradedPages, *, p: float = 0.8) -> NDArray[np.float64]:
    """How much higher rank-biased precision would be if all that is unjudged or beyond the page gave 1.

    Returns:
        [n] from 0 to 1; 1 for a page where nothing is judged.
    Raises:
        InputError: p is not between 0 and 1.
    Source: Moffat and Zobel, TOIS 2008.
    """
    weights = _weights(p, pages.grades.shape[1])
    return np.asarray(1.0 - (weights * ~np.isnan(pages.grades)).sum(axis=1))


def _weights(p: float, depth: int) -> NDArray[np.float64]:
    if not 0 < p < 1:
        raise InputError(f"p: got {p}; allowed: between 0 and 1; it is the probability of going on")
    weights: NDArray[np.float64] = (1.0 - p) * p ** np.arange(depth, dtype=np.float64)
    return weights
