"""How well a click model tells the clicks of a log, best one it was not fitted to."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from wholepage.evaluation.users.impressions import ImpressionTable


class ClickModel(Protocol):
    """What tells the chance of a click."""

    def predict(self, log: ImpressionTable) -> NDArray[np.float64]:
        """The chance of a click on each shown result before anything is clicked, ``[n, depth]``."""

    def predict_given_clicks(self, log: ImpressionTable) -> NDArray[np.float64]:
        """The chance of a click on each shown result, given the clicks above it, ``[n, depth]``."""


class Perplexity(NamedTuple):
    """How surprising clicks are: 1 = all foretold, 2 = as surprising as a coin.

    Attributes:
        overall: the mean over places.
        by_place: NaN where nothing was shown.
    """

    overall: float
    by_place: tuple[float, ...]


def log_likelihood(model: ClickModel, log: ImpressionTable) -> float:
    """The natural logarithm of how likely all clicks of a log are; each given the clicks above it.

    Returns:
        -inf when something happened that the model takes for impossible.
    """
    there = log.there
    chance, clicked = model.predict_given_clicks(log)[there], log.clicked[there].astype(np.float64)
    return float((xlogy(clicked, chance) + xlog1py(1.0 - clicked, -chance)).sum())


def perplexity(model: ClickModel, log: ImpressionTable) -> Perplexity:
    """How surprising the clicks at each place are to a model that sees no other clicks of the page.

    Returns:
        At a place, 2 to the power of minus the mean of log2 of the chance of what happened; inf when the model took
        that for impossible.
    Source: Chuklin, Markov and de Rijke, Click Models for Web Search, 2015, section 5.2.
    """
    there = log.there
    chance, clicked = model.predict(log), log.clicked.astype(np.float64)
    told = np.where(there, xlogy(clicked, chance) + xlog1py(1.0 - clicked, -chance), 0.0)
    shows = there.sum(axis=0)
    by_place = tuple(
        math.exp(-total / count) if count and total > -math.inf else (math.inf if count else math.nan)
        for total, count in zip(told.sum(axis=0).tolist(), shows.tolist(), strict=True)
    )
    some = [value for value in by_place if not math.isnan(value)]
    return Perplexity(math.fsum(some) / len(some) if some else math.nan, by_place)
