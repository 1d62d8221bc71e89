"""What all click models do with a log: its results by name, so that what one log taught is found in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.impressions import ImpressionTable
from wholepage.pages.errors import InputError

Item = tuple[str, str]
"""Query id and result id."""


class Known(NamedTuple):
    """The items that a log shows.

    Attributes:
        items: their names.
        number: [n, depth] int, place in ``items`` of what was shown; -1 = padding.
        shows: [items] float, how often each was shown.
    """

    items: tuple[Item, ...]
    number: NDArray[np.int64]
    shows: NDArray[np.float64]


def known_items(log: ImpressionTable) -> Known:
    """Number the items that were shown at all.

    Raises:
        InputError: the log shows nothing.
    """
    there = log.there
    shown, where = np.unique(log.item[there], return_inverse=True)
    if not len(shown):
        raise InputError(f"log: got {len(log)} impressions that show nothing; allowed: one result or more; add some")
    number = np.full(log.item.shape, -1, dtype=np.int64)
    number[there] = where
    names = [(log.query_ids[log.item_query[item]], log.result_ids[item]) for item in shown.tolist()]
    return Known(tuple(names), number, totals(where, np.ones(len(where)), len(shown)))


def of_items(
    log: ImpressionTable, items: Sequence[Item], values: NDArray[np.float64], unknown: float
) -> NDArray[np.float64]:
    """The value of each shown result of a log, ``[n, depth]``; 0 in padding.

    Args:
        items, values: what was learned, by name.
        unknown: the value of items that are not among them.
    """
    if not log.depth or not log.result_ids:
        return np.zeros(log.item.shape)
    learned = dict(zip(items, values.tolist(), strict=True))
    queries = [log.query_ids[query] for query in log.item_query.tolist()]
    column = np.array([learned.get(pair, unknown) for pair in zip(queries, log.result_ids, strict=True)])
    return np.where(log.there, column[log.item], 0.0)


def totals(where: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sum of the values of each number from 0 to ``size`` - 1."""
    return np.bincount(where, weights=values, minlength=size).astype(np.float64, copy=False)


def last_click_above(clicked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each place, 1 + the place of the last click above it; 0 = no click above. ``[n, depth]``"""
    places = np.arange(1, clicked.shape[1] + 1)
    last = np.maximum.accumulate(np.where(clicked, places, 0), axis=1)
    above = np.zeros(clicked.shape, dtype=np.int64)
    above[:, 1:] = last[:, :-1]
    return above


def check_depth(log: ImpressionTable, depth: int) -> None:
    """See that a model knows all places of a log.

    Raises:
        InputError: a page is longer than those the model was fitted to.
    """
    longest = int(log.length.max(initial=0))
    if longest > depth:
        raise InputError(
            f"log: got a page of {longest} results; allowed: up to {depth}, the longest that the model was fitted to; "
            "fit it to longer pages, or cut these"
        )
