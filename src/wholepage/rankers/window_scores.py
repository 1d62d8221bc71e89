"""One score an item out of the log-probabilities of many windows.

A window tells log-probabilities among its own items; those of two windows stand on different grounds. Items that stood
in both tie them together: each window is shifted so that shared items agree as well as they can (least squares), which
is what a Plackett-Luce model of all items says. The scores are then the log-probability that an item would be named
first among **all** of them, and fall along the final order.

Source: the shift is the two-way additive model (item + window), solved exactly; the fall is isotonic regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import DecodingError, ShapeError
from wholepage.rankers.permutation import Order, log_probabilities
from wholepage.rankers.windows import Window

_LEAST = -30.0  # what is no likelier than e^-30 is not told apart, and says nothing of how windows compare


class Told(NamedTuple):
    """What a window told: its items, and the log-probability of each to be named first, in the window's order."""

    window: Window
    log_probabilities: NDArray[np.floating]


def window_scores(order: Order, told: Sequence[Told]) -> NDArray[np.float64]:
    """Log-probability to be named first among all items, never rising along the final order.

    Of a single window in its own order these are its log-probabilities (from -30 on). Windows that share no item
    above that, directly or through others, stand on the same footing. Where the final order contradicts the numbers,
    the items concerned share their mean.

    Args:
        order: all items, best first.  told: every window asked, in any order.
    Shapes:
        return: [n] float64, one an **item**, not a place; finite; for no window at all, all items alike
    Raises:
        DecodingError: NaN, an item that is not in the order, or one that no window held although others did.
        ShapeError: not one log-probability an item of the window.
    """
    levels = _levels(order, told)
    scores = np.empty(len(order))
    scores[list(order)] = _falling(levels[list(order)])
    return log_probabilities(scores)


def rest_by_scores(order: Order, told: Sequence[Told], top_k: int) -> Order:
    """The same first ``top_k``, and behind them all others by what the windows told of them; equal ones as they stood.

    For strategies that settle the first places only: items that fell out early were seen all the same.

    Raises:
        DecodingError, ShapeError: as ``window_scores``.
    """
    levels = _levels(order, told)
    return (*order[:top_k], *sorted(order[top_k:], key=lambda item: -levels[item]))


def _levels(order: Order, told: Sequence[Told]) -> NDArray[np.float64]:
    """``[n]``: the mean of what was told of each item, windows shifted onto one ground."""
    n = len(order)
    items, values, of = _flat(told, n)
    unseen = sorted(set(range(n)).difference(items.tolist())) if told else []
    if unseen or sorted(order) != list(range(n)):
        raise DecodingError(
            f"scores: got windows without items {unseen[:5]} and an order of {n}; allowed: each item from 0 to {n - 1} "
            "once in the order, and in some window; pass all windows that were asked"
        )
    if not told:
        return np.zeros(n)
    shifts = _shifts(items, values, of, n, len(told))
    return np.bincount(items, values + shifts[of], minlength=n) / np.bincount(items, minlength=n)


def _flat(told: Sequence[Told], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Item, value and window of every number told."""
    for window, values in told:
        numbers = np.asarray(values, np.float64)
        if numbers.shape != (len(window),):
            raise ShapeError(
                f"scores: got log-probabilities of shape {numbers.shape} for a window of {len(window)}; allowed: one "
                "an item; align them with the window"
            )
        if np.isnan(numbers).any() or not all(0 <= item < n for item in window):
            raise DecodingError(
                f"scores: got the window {window[:20]} with {np.isnan(numbers).sum()} NaN; allowed: items from 0 to "
                f"{n - 1}, and numbers; look for an overflow in the model"
            )
    items = np.array([item for window, _ in told for item in window], np.int64)
    values = np.array([value for _, values in told for value in values], np.float64)
    of = np.repeat(np.arange(len(told)), [len(window) for window, _ in told])
    return items, np.maximum(values, _LEAST), of


def _shifts(
    items: NDArray[np.int64], values: NDArray[np.float64], of: NDArray[np.int64], n: int, windows: int
) -> NDArray[np.float64]:
    """What to add to each window; of the many ways that agree equally well, the smallest shifts."""
    near = values > _LEAST
    items, values, of = items[near], values[near], of[near]
    held = np.zeros((n, windows))
    held[items, of] = 1.0
    told = np.zeros((n, windows))
    told[items, of] = values
    # Minimise over shifts the spread of each item's values about their own mean: the normal equations.
    each = held / np.maximum(held.sum(axis=1, keepdims=True), 1.0)
    matrix = np.diag(held.sum(axis=0)) - held.T @ each
    right = each.T @ told.sum(axis=1) - told.sum(axis=0)
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-9)[0])


def _falling(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest sequence that never rises (least squares), by pooling neighbours."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (mean, count), (other, more) = pools[-2:]
            pools[-2:] = [((mean * count + other * more) / (count + more), count + more)]
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])
