"""Does the order in which results are handed in change the page? Asked of rankings of the same pages, shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wholepage.evaluation.measures import Evaluation
from wholepage.pages.errors import InputError


def shuffle_variance(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The variance of each measure over shuffles, for each query; 0 = the input order does not matter.

    Args:
        evaluations: the same measures of the same queries, one for each order in which the results were handed to the
            ranker; two or more.
    Returns:
        ``ShuffleVariance(nDCG@10)`` and so on: the unbiased variance; NaN where an evaluation has NaN.
    Raises:
        InputError: less than two evaluations, or other measures or queries in one of them.
    """
    if len(evaluations) < 2:
        raise InputError(f"shuffles: got {len(evaluations)}; allowed: two or more; rank the pages in other orders too")
    first = evaluations[0]
    for number, one in enumerate(evaluations):
        if one.measures != first.measures or any(one.of(m).keys() != first.of(m).keys() for m in first.measures):
            raise InputError(
                f"shuffles: got other measures or queries in evaluation {number} than in 0; allowed: the same in all; "
                "measure the same pages"
            )
    found = {}
    for name in first.measures:
        queries = list(first.values[name])
        table = np.array([[one.values[name][query] for query in queries] for one in evaluations])
        variances = table.var(axis=0, ddof=1)
        found[f"ShuffleVariance({name})"] = dict(zip(queries, variances.tolist(), strict=True))
    return Evaluation(found)
