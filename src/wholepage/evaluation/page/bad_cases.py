"""Bad cases: pages that put something poor before people while something better was there."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.pages.errors import InputError

Below = Literal["item", "cut"]


def bad_case(
    pages: GradedPages, *, k: int, bad: float = 0.0, by: float = 1.0, below: Below = "cut"
) -> NDArray[np.float64]:
    """1 for a page with a judged result of grade ``bad`` or less in its first k, and a better one below; else 0.

    The mean is the bad-case rate. Unjudged results are neither bad nor better.

    Args:
        bad: the largest grade that is bad.
        by: how much better the other must be: grade ``bad + by`` or more.
        below: where the better one stands: ``cut`` = below place k, so that people missed it; ``item`` = anywhere below
            the bad one, so that a wrong order within the first k counts too.
    Returns:
        [n]; NaN for a page where nothing is judged.
    Raises:
        InputError: k is below 1, bad below 0, or by not above 0.
    """
    if k < 1 or not bad >= 0 or not by > 0:
        raise InputError(
            f"bad case: got k={k}, bad={bad}, by={by}; allowed: k of 1 or more, bad of 0 or more, by above 0; "
            "correct them"
        )
    poor = (pages.grades <= bad)[:, :k]
    better = pages.grades >= bad + by
    if below == "cut":
        found = poor.any(axis=1) & better[:, k:].any(axis=1)
    else:
        from_here = np.logical_or.accumulate(better[:, ::-1], axis=1)[:, ::-1]
        found = (poor & from_here[:, :k]).any(axis=1)  # a bad result is not itself better
    return np.where((~np.isnan(pages.grades)).any(axis=1), found.astype(np.float64), np.nan)
