"""One number for whether probabilities mean the same in every modality."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.reliability import page_reliability
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page


def calibration_gap(
    pages: Sequence[Page], probabilities: Sequence[NDArray[np.float32]], judgments: Judgments, *, threshold: float
) -> float:
    """The largest difference between two modalities in how far their probabilities are too high.

    It is a number of all pages together; ``page_reliability`` has the curves behind it.

    Args:
        probabilities: P(grade >= threshold) of each result, an array ``[len(page)]`` a page.
        threshold: the least grade that is relevant.
    Returns:
        From 0 up; NaN when all judged results are of one modality.
    Raises:
        ShapeError: not one array a page, or an array that does not fit its page.
        InputError: nothing is graded, or a probability of a graded result outside of [0, 1].
    """
    gap = page_reliability(pages, probabilities, judgments, threshold=threshold).modality_gap
    return math.nan if gap is None else gap
