"""What can be asked of a listwise ranker beside one answer: several shuffled answers made one, and a limit to rising.

Pure: orders and numbers. An order is a tuple of item numbers, best first.
Source: shuffled answers, arXiv 2310.07712 (permutation self-consistency).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import DecodingError, InputError, ShapeError
from wholepage.rankers.permutation import Order, log_probabilities, order_by_logits


def shuffles(keys: Sequence[str], count: int, *, seed: int, request: str) -> tuple[Order, ...]:
    """Orders in which to show the items, drawn for this request.

    Items are drawn by their keys: whatever order they come in, they are shown alike.

    Args:
        keys: one an item, such as result ids; equal ones keep the order received.  count: of shuffles.
    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"shuffles: got {count}; allowed: 1 or more; leave shuffling out to keep the order received")

    def key(turn: int, item: int) -> bytes:
        return hashlib.sha256(msgspec.json.encode([seed, request, turn, keys[item]])).digest()

    return tuple(
        tuple(sorted(range(len(keys)), key=lambda item, turn=turn: key(turn, item)))  # type: ignore[misc]
        for turn in range(count)
    )


def mean_log_probabilities(told: NDArray[np.floating]) -> NDArray[np.float64]:
    """One log-probability an item out of several answers about the same items: their geometric mean, made whole.

    Shapes:
        told: [k, n] float, row = answer, column = item (not place); return: [n] float64
    Raises:
        ShapeError: not [k, n] with k of 1 or more.
        DecodingError: NaN.
    """
    if told.ndim != 2 or not len(told):
        raise ShapeError(f"shuffled answers: got shape {told.shape}; allowed: [k, n], k >= 1; a row an answer")
    return log_probabilities(np.asarray(told, np.float64).mean(axis=0))


def borda_order(orders: Sequence[Order]) -> Order:
    """Items by their mean place in several orders; equal ones as received.

    Raises:
        DecodingError: no order, or orders that are no permutations of the same items.
    """
    return order_by_logits(-_places(orders).sum(axis=0).astype(np.float64))


def median_order(orders: Sequence[Order]) -> Order:
    """Items by their median place in several orders, which few odd answers do not move; then by their mean place.

    Raises:
        DecodingError: as ``borda_order``.
    """
    places = _places(orders)
    ranked = np.lexsort((places.sum(axis=0), np.median(places, axis=0)))  # the last key counts first; stable
    return tuple(int(item) for item in ranked)


CONSENSUS: Mapping[str, Callable[[Sequence[Order]], Order]] = MappingProxyType(
    {"borda": borda_order, "median": median_order}
)
"""How several orders become one, by name."""


def _places(orders: Sequence[Order]) -> NDArray[np.int64]:
    """``[k, n]``: where each item stands in each order."""
    n = len(orders[0]) if orders else 0
    for order in orders:
        _check_order("shuffled answers", order, n)
    if not orders:
        raise DecodingError("shuffled answers: got no order; allowed: one or more; ask at least once")
    return np.argsort(np.array(orders, np.int64).reshape(len(orders), n), axis=1)


def limit_rise(order: Order, reference: Order, max_rise: int) -> Order:
    """The order nearest to the wished one in which nobody stands more than ``max_rise`` places above the reference.

    A text that talks its reader into naming it first then gains ``max_rise`` places and no more. Each place in turn
    goes to the item wished foremost among those that may stand there. Of all permitted orders this has the fewest pairs
    turned round against the wished order (and no other has as few), and the least sum of places moved.

    Args:
        order: as wished.  reference: as an untouched ranker says, such as the order of the single-modal rankers.
        max_rise: 0 leaves the reference; ``n - 1`` or more leaves the wish.
    Raises:
        InputError: ``max_rise`` is negative.
        DecodingError: the two are not permutations of the same items.
    """
    if max_rise < 0:
        raise InputError(f"limit of rise: got {max_rise} places; allowed: 0 or more; leave the guard out for no limit")
    n = len(reference)
    _check_order("limit of rise", order, n)
    _check_order("limit of rise", reference, n)
    wished = {item: place for place, item in enumerate(order)}
    open_ = [wished[item] for item in reference[:max_rise]]
    heapq.heapify(open_)
    result: list[int] = []
    for place in range(n):
        if place + max_rise < n:
            heapq.heappush(open_, wished[reference[place + max_rise]])
        result.append(order[heapq.heappop(open_)])
    return tuple(result)


def limit_rise_within(order: Order, reference: Order, groups: Sequence[Hashable], max_rise: int) -> Order:
    """As ``limit_rise``, each item counted among those of its own group only, such as its modality.

    Which group holds which places stays as wished; who of the group stands there is limited. For references whose
    places say nothing across groups: single-modal rankers.

    Args:
        reference: all items; only the order within each group counts.  groups: of each item.
    Raises:
        InputError, DecodingError: as ``limit_rise``.
        ShapeError: not one group an item.
    """
    if len(groups) != len(order):
        raise ShapeError(f"limit of rise: got {len(groups)} groups for {len(order)} items; allowed: one an item")
    _check_order("limit of rise", order, len(order))
    _check_order("limit of rise", reference, len(order))
    result = list(order)
    for group in dict.fromkeys(groups[item] for item in order):
        places = [place for place, item in enumerate(order) if groups[item] == group]
        members = [item for item in reference if groups[item] == group]
        number = {item: i for i, item in enumerate(members)}
        limited = limit_rise(tuple(number[order[p]] for p in places), tuple(range(len(members))), max_rise)
        for place, i in zip(places, limited, strict=True):
            result[place] = members[i]
    return tuple(result)


def _check_order(what: str, order: Order, n: int) -> None:
    if sorted(order) != list(range(n)):
        raise DecodingError(
            f"{what}: got {len(order)} items {tuple(order)[:20]}; allowed: each item from 0 to {n - 1} once; pass "
            "whole orders"
        )
