"""Click-through rates without the places: how often would each result be clicked at the top?

A click at a place that half as many people look at counts double (inverse propensity weighting). Right on average when
the examination is right; a place that few look at makes it vary much, so weights may be cut, which lowers the rates of
what stands low.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.click_models.items import Item, known_items, totals
from wholepage.evaluation.users.click_models.pbm import PositionModel
from wholepage.evaluation.users.impressions import ImpressionTable
from wholepage.pages.errors import InputError


class ItemRates(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """How often results were clicked, as counted and corrected for where they stood.

    Attributes:
        items: query and result id.
        shows, clicks: [items], as counted.  rate: [items], clicks per show.
        corrected: [items], the rate that is expected at the uppermost place; may come out above 1.
        standard_error: [items], of ``corrected``, over the shows; NaN for a single show.
    """

    items: tuple[Item, ...]
    shows: NDArray[np.float64]
    clicks: NDArray[np.float64]
    rate: NDArray[np.float64]
    corrected: NDArray[np.float64]
    standard_error: NDArray[np.float64]


def corrected_rates(log: ImpressionTable, model: PositionModel, *, max_weight: float = 20.0) -> ItemRates:
    """Click-through rates by result, each click weighed by one over the examination of its place.

    Args:
        model: says how much each place is looked at, relative to the uppermost one; by modality or not.
        max_weight: heavier weights are cut to it; ``inf`` = never.
    Raises:
        InputError: the log shows nothing, or what the model does not know; a max_weight below 1.
    Source: Joachims, Swaminathan and Schnabel, Unbiased learning-to-rank with biased feedback, WSDM 2017.
    """
    if not max_weight >= 1.0:
        raise InputError(f"max_weight: got {max_weight}; allowed: 1 or more, or inf; 20 is usual")
    known, there = known_items(log), log.there
    item, clicked = known.number[there], log.clicked[there].astype(np.float64)
    weight = np.minimum(1.0 / model.examined(log)[there], max_weight)
    size = len(known.items)
    clicks = totals(item, clicked, size)
    corrected = totals(item, clicked * weight, size) / known.shows
    off = clicked * weight - corrected[item]
    several = np.where(known.shows > 1, known.shows - 1, np.nan)
    variance = totals(item, off * off, size) / several
    return ItemRates(
        items=known.items, shows=known.shows, clicks=clicks, rate=clicks / known.shows, corrected=corrected,
        standard_error=np.sqrt(variance / known.shows),
    )  # fmt: skip
