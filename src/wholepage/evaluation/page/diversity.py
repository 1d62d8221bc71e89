"""Novelty over modalities: a second picture gives less than the first, and less than a first text.

alpha-nDCG and ERR-IA as ndeval computes them, with modalities in the place of subtopics: each result belongs to one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import CODES, GradedPages
from wholepage.evaluation.page.ratios import ratio
from wholepage.pages.errors import InputError

Norm = Literal["ideal", "bound"]


def alpha_ndcg(pages: GradedPages, *, k: int, alpha: float = 0.5, rel: float = 1.0) -> NDArray[np.float64]:
    """Discounted novelty over that of the best order; place r (from 1) counts 1 / log2(r + 1).

    A relevant result gives (1 - alpha) to the power of how many relevant ones of its modality stand above it. With one
    modality a result, the greedy ideal of ndeval is the exact one.

    Args:
        alpha: how much a repeat loses, 0 to 1.
        rel: the least grade that is relevant.
    Returns:
        [n] from 0 to 1; NaN for a page without relevant result.
    Raises:
        InputError: pages were not given, or an option out of its range.
    Source: Clarke et al., SIGIR 2008.
    """
    novelty = _novelty(pages, k, alpha, rel)
    discounts = 1.0 / np.log2(np.arange(novelty.shape[1]) + 2.0)
    return _over_ideal(novelty, discounts, k)


def err_ia(
    pages: GradedPages, *, k: int, alpha: float = 0.5, rel: float = 1.0, norm: Norm = "bound"
) -> NDArray[np.float64]:
    """Intent-aware expected reciprocal rank; place r (from 1) counts 1 / r.

    Args:
        alpha: how much a repeat loses, 0 to 1.
        rel: the least grade that is relevant.
        norm: ``bound`` = over what k results would give that were each relevant in every modality of the page's
            relevant results (ndeval's ERR-IA); ``ideal`` = over the best order of this page (ndeval's nERR-IA).
    Returns:
        [n] from 0 to 1; NaN for a page without relevant result.
    Raises:
        InputError: pages were not given, or an option out of its range.
    Source: Chapelle et al., Information Retrieval 2011; Clarke et al., WSDM 2011.
    """
    novelty = _novelty(pages, k, alpha, rel)
    discounts = 1.0 / (np.arange(novelty.shape[1]) + 1.0)
    if norm == "ideal":
        return _over_ideal(novelty, discounts, k)
    hits = (pages.grades >= rel)[:, :, None] & (pages.kinds()[:, :, None] == np.arange(len(CODES)))
    modalities = hits.any(axis=1).sum(axis=1)
    places = np.arange(k)
    most = modalities * ((1.0 - alpha) ** places / (places + 1.0)).sum()
    given = (novelty * discounts)[:, :k].sum(axis=1)
    return ratio(given, most, empty=np.nan)


def _novelty(pages: GradedPages, k: int, alpha: float, rel: float) -> NDArray[np.float64]:
    """[n, depth] what each result gives."""
    if k < 1 or not 0 <= alpha <= 1 or not rel > 0:
        raise InputError(
            f"novelty: got k={k}, alpha={alpha}, rel={rel}; allowed: k of 1 or more, alpha from 0 to 1, rel above 0; "
            "correct them"
        )
    kinds, hits = pages.kinds(), pages.grades >= rel
    novelty = np.zeros(hits.shape)
    for code in range(len(CODES)):
        mine = hits & (kinds == code)
        above = np.cumsum(mine, axis=1) - mine
        novelty[mine] = ((1.0 - alpha) ** above)[mine]
    return novelty


def _over_ideal(novelty: NDArray[np.float64], discounts: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    best = (-np.sort(-novelty, axis=1) * discounts)[:, :k].sum(axis=1)
    given = (novelty * discounts)[:, :k].sum(axis=1)
    return ratio(given, best, empty=np.nan)
