"""Measures that add up over places: DCG, precision, rank-biased precision.

What a result gives depends on its own grade and place only, so that a few judged results can correct a model's word on
the others (``powered_places``). nDCG is not of this kind, as its ideal order needs every grade of the page.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec

from wholepage.pages.errors import InputError

Gain = Literal["linear", "exponential", "relevant"]


class PlaceMeasure(msgspec.Struct, frozen=True):
    """A measure that adds up, place by place, a weight times the gain of the result there.

    Attributes:
        weights: of the places, from the top; what stands below counts nothing.
        gain: of a grade g: ``"linear"`` g, ``"exponential"`` 2^g - 1, ``"relevant"`` 1 from ``relevant_from``
            up, else 0.
    Raises:
        InputError: no weight, one that is not finite, or an unknown gain.
    """

    name: str
    weights: tuple[float, ...]
    gain: Gain = "linear"
    relevant_from: float = 1.0

    def __post_init__(self) -> None:
        gains = get_args(Gain)
        if not self.weights or not all(map(math.isfinite, self.weights)) or self.gain not in gains:
            raise InputError(
                f"measure {self.name!r}: got {len(self.weights)} weights {self.weights[:5]}, gain {self.gain!r}; "
                f"allowed: one or more finite weights, and {', '.join(gains)}; mend it"
            )

    def gain_of(self, grade: float) -> float:
        """The gain of a result with this grade."""
        if self.gain == "relevant":
            return float(grade >= self.relevant_from)
        return grade if self.gain == "linear" else 2.0**grade - 1.0


def dcg_by_place(k: int, *, gain: Gain = "linear") -> PlaceMeasure:
    """DCG@k: gain over log2(place + 1), places from 1.

    Raises:
        InputError: k is below 1, or the gain is unknown.
    """
    return PlaceMeasure(f"DCG({gain})@{k}", tuple(1.0 / math.log2(place + 1.0) for place in _places(k)), gain)


def precision_by_place(k: int, *, relevant_from: float = 1.0) -> PlaceMeasure:
    """P@k: the share of the first k places that hold a relevant result; a shorter page has empty places.

    Raises:
        InputError: k is below 1.
    """
    name = f"P(rel={relevant_from:g})@{k}"
    return PlaceMeasure(name, tuple(1.0 / k for _ in _places(k)), "relevant", relevant_from)


def rbp_by_place(k: int, *, persistence: float = 0.8, highest: float = 1.0) -> PlaceMeasure:
    """Rank-biased precision down to place k: (1 - p) p^(place - 1) times grade / highest.

    Raises:
        InputError: k is below 1, the persistence is not between 0 and 1, or the highest grade is not above 0.
    Source: Moffat, Zobel 2008, Rank-biased precision for measurement of retrieval effectiveness.
    """
    if not (0.0 < persistence < 1.0 and 0.0 < highest < math.inf):
        raise InputError(
            f"rbp: got persistence={persistence}, highest={highest}; allowed: between 0 and 1, and above 0; "
            "0.8 and the top of the scale are usual"
        )
    weights = tuple((1.0 - persistence) * persistence ** (place - 1) / highest for place in _places(k))
    return PlaceMeasure(f"RBP(p={persistence:g})@{k}", weights)


def _places(k: int) -> range:
    if k < 1:
        raise InputError(f"k: got {k}; allowed: 1 or more; it is the number of places that count")
    return range(1, k + 1)
