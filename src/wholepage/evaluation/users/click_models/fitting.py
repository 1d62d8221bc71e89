"""The climb of a click model: rounds of expectation and maximisation that never go down, and when to stop them.

Also the model that two of the three are: a click is two independent things that both happened, the item attracts and
its place is looked at, so its chance is a product, ``attraction[item] * examination[place]``. What counts as a place is
the model's matter: the rank (PBM), rank and modality, or rank and the last click above (UBM).

Every parameter is a chance with a Beta prior, written as imagined counts: ``prior`` = 1 stands for one time that it
happened and one time that it did not. The climb ends at the most probable parameters given the clicks; with a prior
near 0 these are the likeliest ones. A prior is needed at all because an item shown once has a chance of 0 or 1 without
it, which no later click could overrule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from wholepage.evaluation.users.click_models.items import totals
from wholepage.pages.errors import InputError

_Floats = NDArray[np.float64]
_Codes = NDArray[np.int64]
_FALL = 1e-9
"""A relative fall of the objective that rounding can explain."""


class NotConverged(InputError):
    """The parameters still moved after the last round."""


class Climb(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long to climb, and what is believed beforehand.

    Attributes:
        rounds: at most so many.
        tolerance: stop when a round gains less than this for each shown result; 0 = run all rounds and do not ask
            whether they were enough.
        prior: imagined times that each chance happened, and as many that it did not. Above 0.
    Raises:
        InputError: a number out of its range.
    """

    rounds: int = 1_000
    tolerance: float = 1e-8
    prior: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"Climb.rounds: got {self.rounds}; allowed: 1 or more; 1000 is usual")
        if not 0.0 <= self.tolerance < math.inf:
            raise InputError(f"Climb.tolerance: got {self.tolerance}; allowed: finite, 0 or more; 1e-8 is usual")
        if not 0.0 < self.prior < math.inf:
            raise InputError(
                f"Climb.prior: got {self.prior}; allowed: finite and above 0; 1 is usual, .001 is next to none"
            )


class Step(Protocol):
    """A round: what was believed, and how well that fits the clicks and the prior."""

    @property
    def objective(self) -> float:
        """Log-likelihood of the clicks plus the logarithm of the prior."""


S = TypeVar("S", bound=Step)


def climbed(steps: Iterator[S], climb: Climb, shown: int) -> tuple[S, tuple[float, ...]]:
    """The last round, and the objective of every round.

    Args:
        shown: how many results the clicks are about; the tolerance counts for each.
    Raises:
        NotConverged: the rounds were not enough.
        InputError: the objective became NaN or fell, which no click can make it do.
    """
    trace: list[float] = []
    for step in islice(steps, climb.rounds):
        here, before = step.objective, trace[-1] if trace else -math.inf
        if not math.isfinite(here) or here < before - _FALL * (1.0 + abs(before)):
            raise InputError(
                f"click model, round {len(trace) + 1}: got an objective of {here} after {before}; allowed: finite "
                "numbers that rise; this is a fault of the model: please report it with the log"
            )
        trace.append(here)
        if climb.tolerance and here - before <= climb.tolerance * max(shown, 1):
            return step, tuple(trace)
    if climb.tolerance:
        gain = trace[-1] - trace[-2] if len(trace) > 1 else math.inf
        raise NotConverged(
            f"click model: got a gain of {gain / max(shown, 1):.3g} for each result in round {len(trace)}, the last; "
            f"allowed: {climb.tolerance:g} or less; allow more rounds, a larger tolerance, or tolerance=0"
        )
    return step, tuple(trace)


class Cells(NamedTuple):
    """Clicks added up: each cell is one item at one place, ``[cells]``."""

    item: _Codes
    place: _Codes
    clicks: _Floats
    skips: _Floats


def cells_of(item: _Codes, place: _Codes, clicked: NDArray[np.bool_], places: int) -> Cells:
    """Add up the clicks of the same item at the same place.

    Shapes:
        item, place, clicked: [shown]
    """
    keys, where = np.unique(item * places + place, return_inverse=True)
    shows = totals(where, np.ones(len(where)), len(keys))
    clicks = totals(where, clicked.astype(np.float64), len(keys))
    return Cells(keys // places, keys % places, clicks, shows - clicks)


class Product(NamedTuple):
    """A round of ``climb_product``; both are chances, and only their product is told by clicks."""

    attraction: _Floats
    examination: _Floats
    objective: float


def climb_product(cells: Cells, items: int, places: int, prior: float) -> Iterator[Product]:
    """The fit of a product of two chances, round by round and without end; the objective never falls.

    Args:
        items, places: how many there are; those in no cell stay at one half.
        prior: imagined counts, as in ``Climb``.
    """
    seen = cells.clicks + cells.skips
    item_seen = totals(cells.item, seen, items) + 2 * prior
    place_seen = totals(cells.place, seen, places) + 2 * prior
    attraction, examination = np.full(items, 0.5), np.full(places, 0.5)
    while True:
        a, e = attraction[cells.item], examination[cells.place]
        likelihood = float((xlogy(cells.clicks, a * e) + xlog1py(cells.skips, -a * e)).sum())
        yield Product(
            attraction, examination, likelihood + log_prior(attraction, prior) + log_prior(examination, prior)
        )
        attracted, examined = product_posterior(a, e)
        attraction = totals(cells.item, cells.clicks + cells.skips * attracted, items) + prior
        examination = totals(cells.place, cells.clicks + cells.skips * examined, places) + prior
        attraction, examination = attraction / item_seen, examination / place_seen


def product_posterior(attraction: _Floats, examination: _Floats) -> tuple[_Floats, _Floats]:
    """Where nobody clicked: the chance that the item attracted all the same, and that its place was looked at."""
    missed = 1.0 - attraction * examination
    return attraction * (1.0 - examination) / missed, examination * (1.0 - attraction) / missed


def log_prior(chances: _Floats, prior: float) -> float:
    """The logarithm of the Beta prior of chances, up to a constant."""
    return prior * float((np.log(chances) + np.log1p(-chances)).sum())
