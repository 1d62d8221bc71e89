"""nDCG of blocks: is the best block on top, whatever the order inside it?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.blocks import block_numbers
from wholepage.evaluation.page.ratios import ratio
from wholepage.pages.errors import InputError

Aggregate = Literal["max", "mean", "sum"]


def block_gains(pages: GradedPages, *, gain: Aggregate = "max") -> NDArray[np.float64]:
    """The gain of each block (a longest run of one modality) from the top, by the grades of its results.

    Args:
        gain: the largest, the mean or the sum of its grades; an unjudged result has grade 0.
    Returns:
        [n, most blocks of a page], 0 after a page's last block.
    Raises:
        InputError: pages were not given.
    """
    number = block_numbers(pages.kinds())
    width = int(number.max(initial=-1)) + 1
    inside = number >= 0
    place = (np.arange(len(pages))[:, None] * width + number)[inside]
    grades = pages.gains[inside]
    gains: NDArray[np.float64] = np.zeros(len(pages) * width)
    if gain == "max":
        np.maximum.at(gains, place, grades)
    else:
        gains += np.bincount(place, weights=grades, minlength=len(pages) * width)
    if gain == "mean":
        gains = gains / np.maximum(np.bincount(place, minlength=len(pages) * width), 1)
    return gains.reshape(len(pages), width)


def block_ndcg(pages: GradedPages, *, k: int | None = None, gain: Aggregate = "max") -> NDArray[np.float64]:
    """Discounted gain of the blocks over that of the same blocks in their best order.

    Block b (from 1) counts 1 / log2(b + 1). The best order moves whole blocks, and neither splits nor joins them: so
    this measures the order of blocks only, and says nothing of how results were put together to blocks.

    Args:
        k: blocks that count, in both orders; all without it.
        gain: of a block, the largest, the mean or the sum of its grades.
    Returns:
        [n] from 0 to 1; NaN for a page without a grade above 0.
    Raises:
        InputError: pages were not given, or k is below 1.
    """
    if k is not None and k < 1:
        raise InputError(f"k: got {k}; allowed: 1 or more; it is the number of blocks that count")
    gains = block_gains(pages, gain=gain)
    best = -np.sort(-gains, axis=1)[:, :k]
    discounts = 1.0 / np.log2(np.arange(best.shape[1]) + 2.0)
    most = (best * discounts).sum(axis=1)
    given = (gains[:, :k] * discounts).sum(axis=1)
    return ratio(given, most, empty=np.nan)
