"""Seconds as a sum: so many for every page, and so many for every result of each modality.

    seconds = page_s * pages + sum over modalities of item_s * results

No cost is below 0. What is minimised are errors relative to what is expected, so that a short batch says as much as a
long one; the expectation is not a measured time, so that the sum over many pages has no bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from wholepage.apps.plan.measurement import Timing
from wholepage.pages.errors import InputError

_ROUNDS = 4  # expectation and costs in turn; after so many they stand still


class CostModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page and a result cost, in seconds of one worker.

    Attributes:
        page_s: every page.  item_s: every result, by modality.
    """

    page_s: float
    item_s: dict[str, float]

    def seconds(self, pages: float, items: Mapping[str, float]) -> float:
        """The time for so many pages with so many results in all.

        Raises:
            InputError: results of a modality that was never timed.
        """
        unknown = sorted(name for name, count in items.items() if count and name not in self.item_s)
        if unknown:
            raise InputError(
                f"cost model: got results of {', '.join(unknown)}; allowed: {', '.join(self.item_s)}, which were "
                "timed; measure on pages that hold them"
            )
        return self.page_s * pages + sum(self.item_s[name] * count for name, count in items.items() if count)


def fit(timings: Sequence[Timing]) -> CostModel:
    """The costs that explain the timings best.

    Raises:
        InputError: no timings.
    """
    return _fitted(*_table(timings), np.ones(len(timings)))


def draws(timings: Sequence[Timing], count: int, *, seed: int) -> list[CostModel]:
    """What the costs might as well be: fits under random weights of the timings (Bayesian bootstrap).

    Each timing keeps some weight, so that no modality is lost.

    Source: Rubin (1981), The Bayesian bootstrap.
    """
    names, counts, seconds = _table(timings)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(timings)), count)
    return [_fitted(names, counts, seconds, row * len(timings)) for row in weights]


def _table(timings: Sequence[Timing]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    if not timings:
        raise InputError("cost model: got no timings; allowed: one or more; measure first")
    names = sorted({name for one in timings for name in one.items})
    rows = [[one.pages, *(one.items.get(name, 0) for name in names)] for one in timings]
    return names, np.array(rows, np.float64), np.array([one.seconds for one in timings], np.float64)


def _fitted(
    names: Sequence[str], counts: NDArray[np.float64], seconds: NDArray[np.float64], weights: NDArray[np.float64]
) -> CostModel:
    expected = counts.sum(1) * (seconds.sum() / counts.sum())
    costs = np.zeros(counts.shape[1])
    for _ in range(_ROUNDS):
        scale = np.sqrt(weights) / expected
        costs, _rest = nnls(counts * scale[:, None], seconds * scale)
        expected = np.maximum(counts @ costs, 1e-3 * expected)
    return CostModel(float(costs[0]), dict(zip(names, map(float, costs[1:]), strict=True)))
