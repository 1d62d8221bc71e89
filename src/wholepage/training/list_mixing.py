"""What a stage trains on: kinds of lists in given shares, and some lists of earlier stages against forgetting.

Shares are read as the decimals they are written as, and counts are exact. Lists of each sort are spread evenly, so that
every stretch of the order, a batch or the part before a run was killed, holds the shares nearly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from wholepage.pages.errors import InputError
from wholepage.training.taught import ListKind, TaughtList

JOINT_SHARES: Mapping[ListKind, float] = MappingProxyType(
    {ListKind.MIXED: 0.5, ListKind.TEXT: 0.25, ListKind.IMAGE: 0.25}
)
"""Of the joint stage."""

_REPLAY = len(ListKind)  # draws of a replay are others than those of any kind, under one seed

_T = TypeVar("_T")


def mixed_plan(
    counts: Mapping[ListKind, int], shares: Mapping[ListKind, float], total: int, seed: int
) -> list[tuple[ListKind, int]]:
    """Which lists a stage trains on, in order: so many of each kind as its share asks for.

    The whole numbers come from the shares by largest remainder, ties in the order of ``ListKind``. Within a kind lists
    are drawn without replacement until all were drawn, then again in a new order. The kinds are spread evenly: among
    the first n of the plan each kind's count is less than one away from its part of the plan times n.

    Args:
        counts: lists there are of each kind; a kind left out has none.
        shares: of each kind, such as ``JOINT_SHARES``; they make 1.
        total: lists of the plan; more than there are means that some come again.
        seed: of the draws. A longer plan draws the same lists of a kind first.
    Returns:
        ``total`` pairs of a kind and the index of a list of that kind.
    Raises:
        InputError: shares that are negative or do not make 1, lists asked of a kind that has none, a negative count,
            total or seed.
    """
    asked = {kind: _as_written(shares.get(kind, 0.0), f"mixed_plan: share of {kind.value}") for kind in ListKind}
    whole = sum(asked.values(), Fraction(0))
    if abs(whole - 1) > Fraction(1, 10**9):
        raise InputError(
            f"mixed_plan: got shares {_named(shares)}, which make {float(whole)}; allowed: 1 in all; change one"
        )
    if total < 0 or seed < 0 or any(counts.get(kind, 0) < 0 for kind in ListKind):
        raise InputError(
            f"mixed_plan: got total {total}, seed {seed}, counts {_named(counts)}; allowed: 0 or more; change it"
        )
    empty = [kind.value for kind in ListKind if asked[kind] and not counts.get(kind, 0)]
    if empty and total:
        raise InputError(
            f"mixed_plan: got shares {_named(shares)} and no list of {', '.join(empty)}; allowed: a share for kinds "
            "that have lists; bring lists, or set the share to 0"
        )
    given = _largest_remainder(asked, total)
    drawn = [_drawn(counts.get(kind, 0), given[kind], [seed, place]) for place, kind in enumerate(ListKind)]
    return _spread([[(kind, i) for i in rows] for kind, rows in zip(ListKind, drawn, strict=True)])


def with_replay(
    current: Sequence[TaughtList], earlier: Sequence[TaughtList], share: float, seed: int
) -> list[TaughtList]:
    """A stage's lists with some of earlier stages among them, evenly spread; a tenth to a fifth is usual.

    Added are share / (1 - share) * len(current), rounded to the nearest whole number, a half up: they are that share of
    what the stage then trains on. They are drawn without replacement; a larger share draws the same lists first. The
    current lists keep their order.

    Args:
        share: of the returned lists, from 0 up to but not including 1.
        seed: of the draw.
    Raises:
        InputError: a share or seed out of range, or fewer earlier lists than are to be added.
    """
    part = _as_written(share, "with_replay: share")
    if part >= 1 or seed < 0:
        raise InputError(
            f"with_replay: got share {share}, seed {seed}; allowed: a share from 0 to below 1, a seed of 0 or more; "
            "0.1 to 0.2 is usual"
        )
    count = math.floor(part / (1 - part) * len(current) + Fraction(1, 2))
    if count > len(earlier):
        most = 10_000 * len(earlier) // (len(earlier) + len(current)) / 10_000
        raise InputError(
            f"with_replay: got {len(earlier)} earlier lists for {count} to add to {len(current)} (share {share}); "
            f"allowed: as many as that; lower the share to {most}, or bring more"
        )
    return _spread([list(current), [earlier[i] for i in _drawn(len(earlier), count, [seed, _REPLAY])]])


def _as_written(share: float, what: str) -> Fraction:
    if not (math.isfinite(share) and share >= 0):
        raise InputError(f"{what}: got {share}; allowed: a finite number, 0 or more; change it")
    return Fraction(repr(float(share)))


def _named(numbers: Mapping[ListKind, float]) -> dict[str, float]:
    return {kind.value: numbers[kind] for kind in ListKind if kind in numbers}


def _largest_remainder(asked: Mapping[ListKind, Fraction], total: int) -> dict[ListKind, int]:
    exact = {kind: share * total / sum(asked.values(), Fraction(0)) for kind, share in asked.items()}
    given = {kind: math.floor(count) for kind, count in exact.items()}
    left = total - sum(given.values())
    for kind in sorted(exact, key=lambda kind: given[kind] - exact[kind])[:left]:  # stable: ties in the order of kinds
        given[kind] += 1
    return given


def _drawn(size: int, count: int, seed: Sequence[int]) -> list[int]:
    """``count`` of the numbers below ``size``: one random order after another."""
    rows: list[int] = []
    while len(rows) < count:
        again = np.random.default_rng([*seed, len(rows) // size]).permutation(size)
        rows.extend(int(i) for i in again[: count - len(rows)])
    return rows


def _spread(sorts: Iterable[Sequence[_T]]) -> list[_T]:
    """All items, each sort evenly: item i of n stands at (i + 1/2) / n of the way; ties go to the earlier sort."""
    placed = [
        (Fraction(2 * i + 1, 2 * len(items)), sort, item)
        for sort, items in enumerate(sorts)
        for i, item in enumerate(items)
    ]
    return [item for _, _, item in sorted(placed, key=lambda at: at[:2])]
