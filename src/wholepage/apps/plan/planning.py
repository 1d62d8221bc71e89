"""From measured costs to a corpus: pages a day, worker hours, GPU hours and money, each with a range.

A range holds 19 of 20 redraws of the timings and of what pages are made of, and is then widened by the worst miss of
the checks: what the model got wrong at two sizes that it had not seen, it may get wrong at the third. It holds for
machines like the one that was measured. Reading and writing of files is not in it, nor pages that fail and are tried
again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from wholepage.apps.plan.cost_model import CostModel, draws, fit
from wholepage.apps.plan.measurement import Makeup, Measurement, Timing
from wholepage.pages.errors import InputError

_DRAWS = 400
_TAILS = (2.5, 97.5)

Verdict = Literal["yes", "no", "perhaps"]


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What shall be ranked, and with what.

    Attributes:
        corpus_pages: how many pages; None = not said.
        items_per_page: results a page, in the proportions of the sample; None = as many as there.
        workers: rankers at work at once.  efficiency: of a worker beside the others, compared with one alone.
        gpus_per_worker: how much of a GPU each holds; 0 = none.
        price_per_worker_hour: of the machine or its part that a worker holds, GPU included.
        budget: money, in the same currency.
        hours_a_day: that they work.  days: until all must be done.
    Raises:
        InputError: a value that is not allowed, or a budget without a price.
    """

    corpus_pages: int | None = None
    items_per_page: float | None = None
    workers: int = 1
    efficiency: float = 1.0
    gpus_per_worker: float = 0.0
    price_per_worker_hour: float | None = None
    budget: float | None = None
    hours_a_day: float = 24.0
    days: float | None = None

    def __post_init__(self) -> None:
        above = ("corpus_pages", "items_per_page", "workers", "efficiency", "hours_a_day", "days")
        for name in (*above, "gpus_per_worker", "price_per_worker_hour", "budget"):
            value = getattr(self, name)
            if (value is not None and not (value > 0 if name in above else value >= 0)) or value == math.inf:
                raise InputError(
                    f"plan: got {name} {value}; allowed: finite, {'above 0' if name in above else '0 or more'}; mend it"
                )
        if self.efficiency > 1 or self.hours_a_day > 24:
            raise InputError(
                f"plan: got efficiency {self.efficiency}, {self.hours_a_day} hours a day; allowed: up to 1, up to 24; "
                "lower it"
            )
        if self.budget is not None and not self.price_per_worker_hour:
            raise InputError("plan: got a budget without a price; allowed: both; add price_per_worker_hour above 0")
        if self.days is not None and self.corpus_pages is None:
            raise InputError("plan: got days without a corpus; allowed: both; add corpus_pages")


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that is not known exactly."""

    low: float
    likely: float
    high: float

    def through(self, change: Callable[[float], float]) -> Range:
        """The range of a function that only rises or only falls."""
        ends = sorted((change(self.low), change(self.high)))
        return Range(ends[0], change(self.likely), ends[1])


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run that the costs had not seen.  ratio: predicted over measured; 1 = right."""

    pages: int
    items: int
    predicted_s: float
    measured_s: float
    ratio: float


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What it will cost; ranges that nobody asked for are None.

    Attributes:
        costs: seconds of a page and of a result by modality, most likely.
        items_per_page: results of a page.
        seconds_per_page: of one worker, alone.
        checks: how the costs did at other sizes.
        pages_per_day: of all workers.
        worker_hours, gpu_hours, days, money: of the corpus; each worker's loading is in them.
        affordable_pages: what the budget pays for.  suffices: whether that is the corpus.
        workers_for_days: that finish the corpus in the days given, this low, likely and high; None also where loading
            alone takes longer.
    """

    costs: CostModel
    items_per_page: float
    seconds_per_page: Range
    checks: tuple[Check, ...]
    pages_per_day: Range
    worker_hours: Range | None
    gpu_hours: Range | None
    days: Range | None
    money: Range | None
    affordable_pages: Range | None
    suffices: Verdict | None
    workers_for_days: Range | None


def plan(found: Measurement, wish: Wish, *, seed: int = 0) -> Plan:
    """Carry measured costs on to what is wished.

    Args:
        found: the measurement.
        wish: corpus, workers, prices.
        seed: of the redraws behind the ranges.
    Raises:
        InputError: the sample holds results of a modality that was never timed.
    """
    costs = fit(found.timings)
    checks = tuple(_check(costs, one) for one in found.checks)
    a_page = _seconds_per_page(found, costs, wish, checks, seed)
    load_h = found.load_s / 3600

    def worker_hours(seconds: float, pages: int) -> float:
        return pages * seconds / wish.efficiency / 3600 + wish.workers * load_h

    day_s = wish.hours_a_day * 3600
    hours = money = days = affordable = needed = None
    suffices: Verdict | None = None
    corpus, price = wish.corpus_pages, wish.price_per_worker_hour
    if corpus is not None:
        hours = a_page.through(lambda s: worker_hours(s, corpus))
        days = hours.through(lambda h: h / wish.workers / wish.hours_a_day)
    if price is not None and hours is not None:
        money = hours.through(lambda h: h * price)
    if wish.budget is not None and price:
        left_h = max(0.0, wish.budget / price - wish.workers * load_h)
        affordable = a_page.through(lambda s: float(math.floor(left_h * 3600 * wish.efficiency / s)))
        suffices = None if corpus is None else _verdict(affordable, corpus)
    if wish.days is not None and corpus is not None:
        each_s = wish.days * day_s - found.load_s
        if each_s > 0:
            needed = a_page.through(lambda s: float(math.ceil(corpus * s / wish.efficiency / each_s)))
    return Plan(
        costs=costs,
        items_per_page=sum(_usual(found.makeup, wish).values()),
        seconds_per_page=a_page,
        checks=checks,
        pages_per_day=a_page.through(lambda s: wish.workers * wish.efficiency * day_s / s),
        worker_hours=hours,
        gpu_hours=None if hours is None else hours.through(lambda h: h * wish.gpus_per_worker),
        days=days,
        money=money,
        affordable_pages=affordable,
        suffices=suffices,
        workers_for_days=needed,
    )


def _check(costs: CostModel, of: Timing) -> Check:
    predicted = costs.seconds(of.pages, of.items)
    return Check(of.pages, sum(of.items.values()), predicted, of.seconds, predicted / of.seconds)


def _seconds_per_page(found: Measurement, costs: CostModel, wish: Wish, checks: Sequence[Check], seed: int) -> Range:
    likely = costs.seconds(1, _usual(found.makeup, wish))
    lots = np.random.default_rng([seed, 1]).gamma(
        [float(one.pages) for one in found.makeup], size=(_DRAWS, len(found.makeup))
    )
    redrawn = [
        one.seconds(1, _usual(found.makeup, wish, weights))
        for one, weights in zip(draws(found.timings, _DRAWS, seed=seed), lots.tolist(), strict=True)
    ]
    low, high = np.percentile(redrawn, _TAILS)
    miss = max(max(one.ratio, 1 / one.ratio) if one.ratio > 0 else math.inf for one in checks)
    if not (likely > 0 and low > 0 and miss < math.inf):
        raise InputError(
            f"plan: got {likely} s a page (from {low} s up); allowed: above 0; take more sample pages, the clock could "
            "not tell their cost"
        )
    return Range(min(float(low), likely) / miss, likely, max(float(high), likely) * miss)


def _usual(makeup: Sequence[Makeup], wish: Wish, weights: Sequence[float] | None = None) -> dict[str, float]:
    """Results by modality of the mean page."""
    given = [float(one.pages) for one in makeup] if weights is None else weights
    names = sorted({name for one in makeup for name in one.items})
    total = sum(given)
    mean = {
        name: sum(w * one.items.get(name, 0) for w, one in zip(given, makeup, strict=True)) / total for name in names
    }
    if wish.items_per_page is None:
        return mean
    factor = wish.items_per_page / sum(mean.values())
    return {name: factor * count for name, count in mean.items()}


def _verdict(affordable: Range, corpus: int) -> Verdict:
    if affordable.low >= corpus:
        return "yes"
    return "no" if affordable.high < corpus else "perhaps"
