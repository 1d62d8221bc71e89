"""Which of those who wait go together.

Nothing waits for a batch to fill: a worker that has room takes what there is. Under load there is much, and batches
grow by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.flights import Flight
from wholepage.apps.serving.pace import Pace

HOPELESS = 0.5
"""A page is given up when even half of its estimated time does not fit before its deadline."""


@dataclass(eq=False)
class Batch:
    """Flights of one model that go to a worker together.

    Attributes:
        estimated_s: how long it should take.  begun: when the worker can have begun; None = it is at another.
    """

    number: int
    model: str
    flights: list[Flight]
    cost: int
    estimated_s: float
    begun: float | None = None


@dataclass
class Choice:
    """Who goes, and who is given up because it is too late for them."""

    go: list[Flight] = field(default_factory=list)
    hopeless: list[Flight] = field(default_factory=list)


def choose(
    line: Sequence[Flight], settings: EngineSettings, pace: Pace, now: float, *, workers: int, alone: bool
) -> Choice:
    """Take from the head of a line, in order, as much as makes one batch.

    A batch holds at least one page, and no more than the limits of the settings, what fits into ``batch_target_s`` by
    estimate, and a worker's share of the line: what can be done side by side is not put behind each other. A page on
    which a worker died goes by itself, so that a second death says for certain which page it was.

    Args:
        line: flights of one model, as they came.
        workers: that take part.
        alone: the worker has nothing else to do: the last of the line is tried even if it looks too late, since
            an estimate that nothing contradicts would otherwise never be corrected.
    """
    choice = Choice()
    share = max(1, -(-sum(flight.cost for flight in line) // max(1, workers)))
    most = min(settings.max_batch_cost, share)
    cost = 0
    for place, flight in enumerate(line):
        last = alone and not choice.go and place == len(line) - 1
        if flight.deadline <= now or (_is_hopeless(flight, pace, now) and not last):
            choice.hopeless.append(flight)
            continue
        if choice.go and (
            flight.deaths
            or cost + flight.cost > most
            or pace.seconds(flight.model, cost + flight.cost) > settings.batch_target_s
        ):
            break
        choice.go.append(flight)
        cost += flight.cost
        if flight.deaths or len(choice.go) == settings.max_batch_pages:
            break
    return choice


def _is_hopeless(flight: Flight, pace: Pace, now: float) -> bool:
    return now + HOPELESS * pace.seconds(flight.model, flight.cost) > flight.deadline
