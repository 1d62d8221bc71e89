"""Numbers of a running server, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wholepage.apps.serving.calls import Engine

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_NUMBERS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@runtime_checkable
class Telling(Protocol):
    """An engine that counts what it does."""

    def stats(self) -> msgspec.Struct:
        """Numbers by name; those of ``GAUGES`` rise and fall, the others only rise."""
        ...


GAUGES: Final = frozenset(
    {
        "queued", "queued_cost", "running", "waiters", "workers_alive", "spares", "estimated_wait_s", "cache_bytes",
        "cache_items",
    }
)  # fmt: skip
"""Names of an engine's numbers that rise and fall."""


class Metrics:
    """What is counted; of one server, so that two in a process do not count for each other.

    Args:
        engine: asked for its numbers when somebody looks, if it tells any.
    """

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "wholepage_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "wholepage_request_seconds",
            "From a request's first byte to the answer's last.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._documents = Histogram(
            "wholepage_documents", "Documents of a request.", ("shape",), buckets=_NUMBERS, registry=self.registry
        )
        self._pictures = Counter("wholepage_pictures", "Pictures let in.", registry=self.registry)
        self._warned = Counter("wholepage_warned", "Answers with warnings.", registry=self.registry)
        self._in_flight = Gauge("wholepage_in_flight", "Requests under way.", registry=self.registry)
        self.registry.register(_OfEngine(engine))

    def begun(self) -> None:
        """A request came in."""
        self._in_flight.inc()

    def ended(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is one of the server's, never what a client made up."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def asked(self, shape: str, documents: int, pictures: int) -> None:
        """A body was read."""
        self._documents.labels(shape).observe(documents)
        self._pictures.inc(pictures)

    def warned(self) -> None:
        """An answer has warnings."""
        self._warned.inc()

    def text(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self.registry)


class _OfEngine(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("wholepage_ready", "Whether a call would be answered now.", float(self._engine.ready))
        if not isinstance(self._engine, Telling):
            return
        for name, value in msgspec.structs.asdict(self._engine.stats()).items():
            if not isinstance(value, (int, float)):
                continue
            kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
            yield kind(f"wholepage_engine_{name}", f"Of the engine: {name.replace('_', ' ')}.", float(value))
