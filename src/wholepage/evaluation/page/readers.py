"""Readers of the C/W/L framework: with what probability does one who looked at a result go on to the next?

A reader is a value. ``continuation`` sees what was gained and spent so far, over many pages at once; ``cwl`` makes
measures of it. All equal the package cwl-eval (``tests/evaluation/page/test_cwl.py``).

Source: Moffat, Thomas and Scholer, CIKM 2013; Azzopardi, Thomas and Moffat, SIGIR 2019.
"""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from wholepage.pages.errors import InputError

Floats = NDArray[np.float64]


class Reader(Protocol):
    """How somebody goes down a page."""

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """The probability of going on after each place.

        Shapes:
            gains: [n, depth] from 0 to 1, in order
            costs: [n, depth] above 0, in order
        Returns:
            [n, depth] from 0 to 1.
        """
        ...


class FirstK(msgspec.Struct, frozen=True):
    """Looks at k results, whatever they are: expected utility is (graded) precision at k."""

    k: int = 10

    def __post_init__(self) -> None:
        _need(self.k >= 1, f"k={self.k}", "k of 1 or more")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """1 before place k, then 0."""
        return np.broadcast_to((_places(gains) < self.k).astype(np.float64), gains.shape)


class ScaledDcg(msgspec.Struct, frozen=True):
    """Goes on as the discount of DCG falls, and no further than k: expected utility is DCG, scaled to 1 at most."""

    k: int = 10

    def __post_init__(self) -> None:
        _need(self.k >= 1, f"k={self.k}", "k of 1 or more")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """log(i + 1) / log(i + 2) before place k, then 0."""
        place = _places(gains)
        return np.broadcast_to(np.where(place < self.k, np.log(place + 1) / np.log(place + 2), 0.0), gains.shape)


class RankBiased(msgspec.Struct, frozen=True):
    """Goes on with the same probability everywhere: rank-biased precision."""

    p: float = 0.8

    def __post_init__(self) -> None:
        _need(0 < self.p < 1, f"p={self.p}", "p between 0 and 1")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """p everywhere."""
        return np.full(gains.shape, self.p)


class Inst(msgspec.Struct, frozen=True):
    """Wants T, and the less is missing the sooner stops: INST (Moffat, Bailey, Scholer and Thomas, ADCS 2015)."""

    T: float = 1.0

    def __post_init__(self) -> None:
        _need(self.T > 0, f"T={self.T}", "T above 0")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """((i + T + missing - 1) / (i + T + missing)) ** 2 at place i."""
        near = _places(gains) + 2.0 * self.T - np.cumsum(gains, axis=1)
        return np.asarray(((near - 1.0) / near) ** 2)


class Insq(msgspec.Struct, frozen=True):
    """Wants T, and does not notice what was found: INSQ (Moffat, Scholer and Thomas, ADCS 2012)."""

    T: float = 1.0

    def __post_init__(self) -> None:
        _need(self.T > 0, f"T={self.T}", "T above 0")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """((i + 2T - 1) / (i + 2T)) ** 2 at place i."""
        near = _places(gains) + 2.0 * self.T
        return np.broadcast_to(((near - 1.0) / near) ** 2, gains.shape)


class FirstHit(msgspec.Struct, frozen=True):
    """Stops at the first result with any gain: reciprocal rank."""

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """1 before the first gain, then 0."""
        return np.asarray(np.cumsum(gains, axis=1) == 0, dtype=np.float64)


class EveryHit(msgspec.Struct, frozen=True):
    """Stops at one of the results with gain, each as likely: average precision over what the page holds.

    Relevant results that are not on the page are unknown to this reader (trec_eval's AP counts them).
    """

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """The share of gain / place that still lies below."""
        ahead = np.cumsum((gains / _places(gains))[:, ::-1], axis=1)[:, ::-1]
        below = np.append(ahead[:, 1:], np.zeros((len(gains), 1)), axis=1)
        return np.asarray(np.divide(below, ahead, out=np.zeros(gains.shape), where=below > 0))


class Bejewelled(msgspec.Struct, frozen=True):
    """Stops when T is gained or K is spent: the static Bejeweled player (Zhang et al., SIGIR 2017)."""

    T: float = 1.0
    K: float = 10.0

    def __post_init__(self) -> None:
        _need(self.T > 0 and self.K > 0, f"T={self.T}, K={self.K}", "T and K above 0")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """1 while less than T is gained and less than K is spent."""
        wants, can = np.cumsum(gains, axis=1) < self.T, np.cumsum(costs, axis=1) < self.K
        return np.asarray(wants & can, dtype=np.float64)


class Forager(msgspec.Struct, frozen=True):
    """Wants T at a rate of A, more or less strictly: information foraging (Azzopardi, Thomas and Craswell, SIGIR 2018).

    Attributes:
        T: gain wanted.  A: gain per cost that is expected.
        b1, R1, b2, R2: where the two curves of stopping lie, and how steep they are.
    """

    T: float = 1.0
    A: float = 0.25
    b1: float = 1.0
    R1: float = 10.0
    b2: float = 1.0
    R2: float = 10.0

    def __post_init__(self) -> None:
        _need(self.T > 0 and self.b1 > 0 and self.b2 > 0, f"{self}", "T, b1 and b2 above 0")
        _need(self.A >= 0 and self.R1 >= 0 and self.R2 >= 0, f"{self}", "A, R1 and R2 of 0 or more")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """The product of two logistic curves: of the gain still wanted, and of the rate so far."""
        gained, spent = np.cumsum(gains, axis=1), np.cumsum(costs, axis=1)
        wants = expit(math.log(self.b1) + (self.T - gained) * self.R1)
        pleased = expit(-math.log(self.b2) - (self.A - gained / spent) * self.R2)
        return np.asarray(wants * pleased, dtype=np.float64)


class TimeBiased(msgspec.Struct, frozen=True):
    """Half the readers are gone after each ``half`` spent: time-biased gain (Smucker and Clarke, SIGIR 2012)."""

    half: float = 224.0

    def __post_init__(self) -> None:
        _need(self.half > 0, f"half={self.half}", "half above 0")

    def continuation(self, gains: Floats, costs: Floats) -> Floats:
        """2 ** -(cost / half); 0 at the last place."""
        on = np.exp2(-costs / self.half)
        on[:, -1:] = 0.0
        return on


def _places(gains: Floats) -> Floats:
    return np.arange(1, gains.shape[1] + 1, dtype=np.float64)


def _need(right: bool, got: str, allowed: str) -> None:
    if not right:
        raise InputError(f"reader: got {got}; allowed: {allowed}; correct it")
