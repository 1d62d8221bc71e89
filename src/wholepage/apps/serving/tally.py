"""What an engine counts while it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from wholepage.apps.serving.engine_settings import EngineStats


@dataclass
class Tally:
    """Counts that only rise; their meaning is that of ``EngineStats``."""

    done: int = 0
    failed: int = 0
    dropped_expired: int = 0
    late: int = 0
    cancelled: int = 0
    refused: int = 0
    cache_hits: int = 0
    shared: int = 0
    batches: int = 0
    batch_pages: int = 0
    batch_cost: int = 0
    batch_s: float = 0.0
    lost: int = 0
    poisoned: int = 0

    def computed(self, told: int) -> None:
        """A worker answered a page, and so many callers were still there to be told."""
        self.done += 1
        self.late += told == 0

    def batch(self, pages: int, cost: int, seconds: float) -> None:
        """A worker finished a batch."""
        self.batches += 1
        self.batch_pages += pages
        self.batch_cost += cost
        self.batch_s += seconds

    def stats(self, **held: Any) -> EngineStats:
        """The counts, with what the engine holds at the moment."""
        return EngineStats(**{one.name: getattr(self, one.name) for one in fields(self)}, **held)
