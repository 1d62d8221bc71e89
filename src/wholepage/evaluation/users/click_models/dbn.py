"""The dynamic Bayesian model: users read down until they are satisfied or give up.

The first result is looked at. A result that is looked at is clicked with chance ``attraction``; a click satisfies with
chance ``satisfaction``, and the user leaves; whoever is not satisfied goes on to the next result with chance
``continuation``. So a result below the last click may have been looked at or not, and the fit weighs both.

Source: Chapelle and Zhang, WWW 2009. The simplified model (SDBN) takes ``continuation`` = 1 and every last click for a
satisfied one, and then is counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.click_models.fitting import Climb, climbed, log_prior
from wholepage.evaluation.users.click_models.items import Item, known_items, of_items, totals
from wholepage.evaluation.users.impressions import ImpressionTable

_Floats = NDArray[np.float64]
_Codes = NDArray[np.int64]
_Flags = NDArray[np.bool_]


class DynamicModel(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A fitted dynamic Bayesian model.

    Attributes:
        items: query and result id of each attraction and satisfaction.
        attraction: [items], chance of a click on what is looked at.  satisfaction: [items], chance that it satisfies.
        continuation: chance to go on when not satisfied.
        unknown_attraction, unknown_satisfaction: of items that are not among these: the mean over all shown results.
        trace: log-likelihood and log-prior of each round; empty for the simplified model.
    """

    items: tuple[Item, ...]
    attraction: _Floats
    satisfaction: _Floats
    continuation: float
    unknown_attraction: float
    unknown_satisfaction: float
    trace: tuple[float, ...] = ()

    def predict(self, log: ImpressionTable) -> _Floats:
        """The chance of a click on each shown result before anything is clicked, ``[n, depth]``; 0 in padding."""
        attraction, satisfaction = self._of(log)
        chance, looked = np.zeros(attraction.shape), np.ones(len(attraction))
        for place in range(attraction.shape[1]):
            chance[:, place] = looked * attraction[:, place]
            looked = looked * self.continuation * (1.0 - attraction[:, place] * satisfaction[:, place])
        return chance

    def predict_given_clicks(self, log: ImpressionTable) -> _Floats:
        """The chance of a click on each shown result, given the clicks above it, ``[n, depth]``; 0 in padding."""
        attraction, satisfaction = self._of(log)
        chance, looked = np.zeros(attraction.shape), np.ones(len(attraction))
        for place in range(attraction.shape[1]):
            chance[:, place] = looked * attraction[:, place]
            # Nothing clicked makes it likelier that nobody looked. Where a click is certain nothing is unclicked.
            unclicked = np.maximum(1.0 - chance[:, place], np.finfo(np.float64).tiny)
            still = np.where(
                log.clicked[:, place],
                1.0 - satisfaction[:, place],
                looked * (1.0 - attraction[:, place]) / unclicked,
            )
            looked = self.continuation * still
        return chance

    def _of(self, log: ImpressionTable) -> tuple[_Floats, _Floats]:
        return (
            of_items(log, self.items, self.attraction, self.unknown_attraction),
            of_items(log, self.items, self.satisfaction, self.unknown_satisfaction),
        )


def fit_dbn(log: ImpressionTable, climb: Climb | None = None) -> DynamicModel:
    """Fit the dynamic Bayesian model.

    Raises:
        InputError: the log shows nothing.
        NotConverged: the rounds of ``climb`` were not enough.
    """
    climb = climb or Climb()
    known = known_items(log)
    steps = climb_dynamic(known.number, log.clicked, len(known.items), climb.prior)
    last, trace = climbed(steps, climb, int(known.shows.sum()))
    return _model(known.items, known.shows, last.attraction, last.satisfaction, last.continuation, trace)


def fit_sdbn(log: ImpressionTable, *, prior: float = 1.0) -> DynamicModel:
    """Fit the simplified model by counting: what stands below the last click was not looked at.

    Where nothing was clicked, everything was looked at: nobody goes away who always goes on.

    Args:
        prior: imagined times that each chance happened, and as many that it did not.
    Raises:
        InputError: the log shows nothing, or the prior is not above 0.
    """
    Climb(prior=prior)
    known = known_items(log)
    last = _last_click(log.clicked)
    places = np.arange(log.depth)[None, :]
    looked = (known.number >= 0) & ((places <= last[:, None]) | (last[:, None] < 0))
    count = _counter(known.number, len(known.items))
    clicks = count(log.clicked.astype(np.float64))
    attraction = (clicks + prior) / (count(looked.astype(np.float64)) + 2 * prior)
    ended = count((log.clicked & (places == last[:, None])).astype(np.float64))
    satisfaction = (ended + prior) / (clicks + 2 * prior)
    return _model(known.items, known.shows, attraction, satisfaction, 1.0, ())


class Dynamic(NamedTuple):
    """A round of ``climb_dynamic``."""

    attraction: _Floats
    satisfaction: _Floats
    continuation: float
    objective: float


def climb_dynamic(number: _Codes, clicked: _Flags, items: int, prior: float) -> Iterator[Dynamic]:
    """The fit round by round and without end; the objective never falls.

    Shapes:
        number: [n, depth] int, the item; -1 = padding.  clicked: [n, depth]
    Args:
        prior: imagined counts, as in ``Climb``.
    """
    there = number >= 0
    goes_on = np.zeros(there.shape, dtype=bool)  # where there is a next result to go on to
    goes_on[:, :-1] = there[:, 1:]
    last, count = _last_click(clicked), _counter(number, items)
    clicks = count(clicked.astype(np.float64))
    # At the end of a page nobody can tell who was satisfied: such clicks say nothing of satisfaction.
    telling = count((clicked & goes_on).astype(np.float64))
    attraction, satisfaction, continuation = np.full(items, 0.5), np.full(items, 0.5), 0.5
    while True:
        padded = np.where(there, attraction[number], 0.0)
        seen = expected(padded, satisfaction[number], continuation, clicked, last)
        beliefs = log_prior(attraction, prior) + log_prior(satisfaction, prior)
        beliefs += log_prior(np.array([continuation]), prior)
        yield Dynamic(attraction, satisfaction, continuation, float(seen.log_likelihood.sum()) + beliefs)
        unsatisfied = seen.looked - seen.satisfied
        arrived = float(seen.looked[:, 1:][there[:, 1:]].sum())
        could = float(unsatisfied[goes_on].sum())
        attraction = (clicks + prior) / (count(seen.looked) + 2 * prior)
        satisfaction = (count(np.where(goes_on, seen.satisfied, 0.0)) + prior) / (telling + 2 * prior)
        continuation = (arrived + prior) / (could + 2 * prior)


class Expected(NamedTuple):
    """What the clicks of n visits say of what cannot be seen.

    Shapes:
        looked: [n, depth], chance that each place was looked at
        satisfied: [n, depth], chance that it was clicked and satisfied
        log_likelihood: [n]
    """

    looked: _Floats
    satisfied: _Floats
    log_likelihood: _Floats


def expected(
    attraction: _Floats, satisfaction: _Floats, continuation: float, clicked: _Flags, last: _Codes
) -> Expected:
    """Look back from the clicks, for given chances.

    Shapes:
        attraction, satisfaction: [n, depth]; attraction 0 in padding
        last: [n], place of the last click; -1 = none
    """
    n, depth = clicked.shape
    row, has = np.arange(n), last >= 0
    silent = np.ones((n, depth + 1))  # no click from here on, for one who looks here
    after = np.ones((n, depth))  # no click below here, for one who looks here and is not satisfied
    for place in range(depth - 1, -1, -1):
        after[:, place] = 1.0 - continuation + continuation * silent[:, place + 1]
        silent[:, place] = (1.0 - attraction[:, place]) * after[:, place]
    enough = np.where(has, satisfaction[row, last], 0.0)
    ends = np.where(has, enough + (1.0 - enough) * after[row, last], 1.0)
    satisfied = np.zeros((n, depth))
    satisfied[row[has], last[has]] = enough[has] / ends[has]
    looked = np.ones((n, depth))
    for place in range(1, depth):
        left = looked[:, place - 1] - satisfied[:, place - 1]
        looked[:, place] = np.where(place <= last, 1.0, left * continuation * silent[:, place] / after[:, place - 1])
    places = np.arange(depth)[None, :]
    above = places <= last[:, None]
    with np.errstate(divide="ignore"):  # a chance of 0 that happened has a likelihood of 0
        told = np.where(above, np.log(np.where(clicked, attraction, 1.0 - attraction)), 0.0)
        told += np.where(clicked & (places < last[:, None]), np.log1p(-satisfaction), 0.0)
        steps = np.where(has & (last > 0), last * np.log(continuation), 0.0)
        likelihood = told.sum(axis=1) + steps + np.log(np.where(has, ends, silent[:, 0]))
    return Expected(looked, satisfied, likelihood)


def _last_click(clicked: _Flags) -> _Codes:
    """Place of the last click, -1 = none, ``[n]``."""
    places = np.arange(1, clicked.shape[1] + 1)
    last: _Codes = np.where(clicked, places, 0).max(axis=1, initial=0) - 1
    return last


def _counter(number: _Codes, items: int) -> Callable[[_Floats], _Floats]:
    """Adds up a value of each shown place by item."""
    there = number >= 0
    shown = number[there]
    return lambda values: totals(shown, values[there], items)


def _model(
    items: tuple[Item, ...],
    shows: _Floats,
    attraction: _Floats,
    satisfaction: _Floats,
    continuation: float,
    trace: tuple[float, ...],
) -> DynamicModel:
    return DynamicModel(
        items=items, attraction=attraction, satisfaction=satisfaction, continuation=continuation,
        unknown_attraction=float(np.average(attraction, weights=shows)),
        unknown_satisfaction=float(np.average(satisfaction, weights=shows)), trace=trace,
    )  # fmt: skip
