"""The C/W/L framework: what a reader who goes down a page gains, and what it costs.

EU and EC are gain and cost a result looked at, ETU and ETC of the whole page, ED the number of results looked at. The
page is followed by places of no gain: a reader may go on there, up to ``depth``, and pays for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.heights import Costs
from wholepage.evaluation.page.rank_biased import scaled_gains
from wholepage.evaluation.page.readers import Reader
from wholepage.pages.errors import InputError, ShapeError

DEPTH = 1000  # as cwl-eval
_ROWS = 256  # rows at a time


class Expectations(NamedTuple):
    """What the framework expects of each page, ``[n]`` each.

    Attributes:
        eu: utility (gain) of a result looked at.  etu: of all of them together.
        ec: cost of a result looked at.  etc: of all of them together.
        ed: how many are looked at.
    """

    eu: NDArray[np.float64]
    etu: NDArray[np.float64]
    ec: NDArray[np.float64]
    etc: NDArray[np.float64]
    ed: NDArray[np.float64]


def expectations(gains: NDArray[np.float64], costs: NDArray[np.float64], reader: Reader) -> Expectations:
    """The five numbers for lists of the same depth, as they stand.

    Args:
        reader: with what probability somebody goes on.
    Shapes:
        gains, costs: [n, depth] in order, 1 place or more
    Raises:
        ShapeError: the shapes differ, or there is no place.
    """
    if gains.shape != costs.shape or gains.ndim != 2 or not gains.shape[1]:
        raise ShapeError(f"c/w/l: got gains {gains.shape}, costs {costs.shape}; allowed: the same [n, depth >= 1]")
    going_on = reader.continuation(gains, costs)
    reached = np.cumprod(np.concatenate([np.ones((len(gains), 1)), going_on[:, :-1]], axis=1), axis=1)
    depth = reached.sum(axis=1)
    share, stops = reached / depth[:, None], reached * (1.0 - going_on)
    return Expectations(
        eu=(share * gains).sum(axis=1),
        etu=(stops * np.cumsum(gains, axis=1)).sum(axis=1),
        ec=(share * costs).sum(axis=1),
        etc=(stops * np.cumsum(costs, axis=1)).sum(axis=1),
        ed=depth,
    )


def cwl(
    pages: GradedPages,
    reader: Reader,
    costs: Costs,
    *,
    top: float = 1.0,
    depth: int = DEPTH,
    unknown: float = 0.0,
) -> Expectations:
    """The five numbers for each page; all NaN for a page where nothing is judged.

    Args:
        reader: with what probability somebody goes on.
        costs: of a result by modality, and of each place beyond the page. If pages were not given, every result costs
            what a text costs.
        top: the grade that gives the gain 1; gains are ``grade / top``, no more than 1.
        depth: places looked at, at most; what a page has beyond is not read.
        unknown: the gain of unjudged results and of places beyond the page: 0 = the worst case, 1 = the best.
    Raises:
        InputError: top is not above 0, depth below 1, or unknown outside 0 to 1.
    """
    if depth < 1 or not 0 <= unknown <= 1:
        raise InputError(
            f"c/w/l: got depth={depth}, unknown={unknown}; allowed: depth of 1 or more, unknown from 0 to 1; correct it"
        )
    grades = scaled_gains(pages.grades[:, :depth], top=top, unjudged=unknown)
    prices = _prices(pages, costs)[:, :depth]
    found = np.full((len(Expectations._fields), len(pages)), np.nan)
    for start in range(0, len(pages), _ROWS):
        rows = slice(start, start + _ROWS)
        part = expectations(
            _stretched(grades[rows], depth, unknown), _stretched(prices[rows], depth, costs.beyond), reader
        )
        found[:, rows] = part
    found[:, np.isnan(pages.grades).all(axis=1)] = np.nan
    return Expectations(*found)


def cwl_residual(
    pages: GradedPages, reader: Reader, costs: Costs, *, top: float = 1.0, depth: int = DEPTH
) -> NDArray[np.float64]:
    """How much higher expected utility would be if all that is unjudged or beyond the page gave 1.

    For readers who mind what they find the best case can also be the lower one; it is not an interval for them.

    Returns:
        [n]; NaN for a page where nothing is judged.
    Raises:
        InputError: top is not above 0, or depth below 1.
    """
    best = cwl(pages, reader, costs, top=top, depth=depth, unknown=1.0).eu
    return best - cwl(pages, reader, costs, top=top, depth=depth).eu


def _prices(pages: GradedPages, costs: Costs) -> NDArray[np.float64]:
    if pages.modality is None:
        return np.where(pages.ranked, costs.text, costs.beyond)
    return np.where(pages.modality >= 0, costs.table()[pages.modality], costs.beyond)


def _stretched(rows: NDArray[np.float64], depth: int, filler: float) -> NDArray[np.float64]:
    wide = np.full((len(rows), depth), filler)
    wide[:, : rows.shape[1]] = rows
    return wide
