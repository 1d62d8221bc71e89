"""Those who wait: one line a model, first come first served, and how long the lines are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from wholepage.apps.serving.flights import Flight


class WaitingLines:
    """Flights that no worker has yet, by model, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[str, OrderedDict[bytes, Flight]] = {}
        self._cost: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def cost(self) -> int:
        """Of all lines, in tokens."""
        return sum(self._cost.values())

    def costs(self) -> Iterator[tuple[str, int]]:
        """Model and what waits for it, in tokens."""
        return iter(self._cost.items())

    def join(self, flight: Flight) -> None:
        """Stand at the end."""
        self._enter(flight)

    def rejoin(self, flight: Flight) -> None:
        """Stand at the head: it had its turn already, and lost it through no fault of its own."""
        self._enter(flight)
        self._lines[flight.model].move_to_end(flight.key, last=False)

    def leave(self, flight: Flight) -> None:
        """Go, taken or given up."""
        line = self._lines[flight.model]
        del line[flight.key]
        self._cost[flight.model] -= flight.cost
        if not line:
            del self._lines[flight.model], self._cost[flight.model]
        self._count -= 1
        flight.waits = False

    def next_line(self) -> list[Flight]:
        """The line whose head came first, in order; empty when nobody waits."""
        if not self._lines:
            return []
        return list(min(self._lines.values(), key=lambda line: next(iter(line.values())).arrived).values())

    def __iter__(self) -> Iterator[Flight]:
        return (flight for line in self._lines.values() for flight in line.values())

    def _enter(self, flight: Flight) -> None:
        self._lines.setdefault(flight.model, OrderedDict())[flight.key] = flight
        self._cost[flight.model] = self._cost.get(flight.model, 0) + flight.cost
        self._count += 1
        flight.waits = True
