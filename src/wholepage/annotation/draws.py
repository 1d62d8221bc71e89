"""What all choices of annotation share: numbers drawn by name, and shares made whole."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import msgspec

_BITS = 53  # of a float's fraction: as many as fit exactly


def drawn(seed: int, *names: str) -> int:
    """A number drawn for a seed and names, the same on every machine and whatever else is drawn.

    Returns:
        256 random bits: a key to sort by, or the seed of a generator.
    """
    return int.from_bytes(hashlib.sha256(msgspec.json.encode([seed, *names])).digest(), "big")


def drawn_share(seed: int, *names: str) -> float:
    """As ``drawn``, from 0 up to but not including 1."""
    return (drawn(seed, *names) >> (256 - _BITS)) / 2.0**_BITS


def as_written(share: float) -> Fraction:
    """A share as the decimal it is written as, free of binary rounding: 0.29 of 100 are 29."""
    return Fraction(repr(float(share)))


def half_up(number: Fraction) -> int:
    """The nearest whole number; of two equally near ones the larger."""
    return math.floor(number + Fraction(1, 2))
