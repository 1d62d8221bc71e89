"""Pictures that show the same: other sizes, formats or qualities of one picture, found by a glance at each.

A glance is a difference hash, 64 bits that say where a small grey copy gets brighter from left to right, and a small
copy in colour. The hash alone takes drawings and products on plain white for each other; the colours tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wholepage.pages.errors import InputError

_SIDE = 8
_MARGIN = 2  # grey levels that count as no difference: what a plain area gets from compression


class Nearness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alike two pictures must look to be the same.

    Attributes:
        bits: of the 64 of the hash that may differ.
        levels: mean difference of colours, of 255, at most.
    Raises:
        InputError: a number out of range.
    """

    bits: int = 4
    levels: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= _SIDE * _SIDE or not 0 <= self.levels <= 255:
            raise InputError(
                f"nearness: got {self.bits} bits, {self.levels} levels; allowed: 0 to {_SIDE * _SIDE}, 0 to 255; "
                "4 and 4 are usual"
            )


@dataclass(frozen=True)
class Glance:
    """What is remembered of a picture.

    Shapes:
        bits: [64] bool; colours: [192] float32, red, green and blue of 8 x 8 squares
    """

    bits: NDArray[np.bool_]
    colours: NDArray[np.float32]


def difference_hash(picture: Image.Image) -> NDArray[np.bool_]:
    """64 bits: where each of 8 x 8 squares is followed by a brighter one.

    Shapes:
        return: [64] bool, row by row
    Source: the dHash of N. Krawetz, 2013, with a margin for plain areas.
    """
    grey = picture.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, np.int16)
    return np.asarray(levels[:, 1:] > levels[:, :-1] + _MARGIN).ravel()


def glance(picture: Image.Image) -> Glance:
    """Look at a picture as a whole."""
    small = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return Glance(difference_hash(picture), np.asarray(small, np.float32).ravel())


def same_groups(glances: Sequence[Glance], nearness: Nearness) -> list[list[int]]:
    """Which pictures are the same: groups of their numbers, ascending, every number in one group.

    Two that are near are of one group, and so are two that both are near a third.
    """
    group = list(range(len(glances)))
    if not glances:
        return []
    bits = np.stack([one.bits for one in glances])
    colours = np.stack([one.colours for one in glances])
    for i in range(len(glances)):
        near = (bits[i] != bits[i + 1 :]).sum(axis=1) <= nearness.bits
        near &= np.abs(colours[i] - colours[i + 1 :]).mean(axis=1) <= nearness.levels
        for j in np.flatnonzero(near) + i + 1:
            low, high = sorted((group[i], group[int(j)]))
            group = [low if of == high else of for of in group]
    members: dict[int, list[int]] = {}
    for i, of in enumerate(group):
        members.setdefault(of, []).append(i)
    return list(members.values())
