"""How the serving engine is set up, and what it tells of itself."""

from __future__ import annotations

import math
import os

import msgspec

from wholepage.pages.errors import InputError

_NOT_BELOW = {
    "workers": 1, "spares": 0, "threads": 0, "niceness": 0, "max_queued_calls": 1, "max_queued_cost": 1,
    "max_batch_pages": 1, "max_batch_cost": 1, "ahead": 1, "cache_bytes": 0, "batch_target_s": 0.0, "max_wait_s": 0.0,
    "beat_s": 0.01, "silent_s": 0.02, "batch_limit_s": 0.01, "load_limit_s": 0.1, "drain_limit_s": 0.0,
    "poison_s": 0.0, "backoff_s": 0.0, "max_backoff_s": 0.0,
}  # fmt: skip


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much runs at once, how much may wait, and when a worker is given up.

    Costs are in tokens, as ``flights.cost_of`` estimates them.

    Attributes:
        workers: processes that rank, each with all models.  spares: more of them, loaded, that only step in.
        threads: of a worker; 0 = cores / workers.  niceness: of a worker, so that the front answers promptly.
        max_queued_calls, max_queued_cost: that wait; more are refused.
        max_wait_s: calls whose estimated wait is longer are refused, whatever their own limit.
        max_batch_pages, max_batch_cost: of one batch.  batch_target_s: a batch is no longer than this by estimate,
            unless one page is.
        ahead: batches that a worker holds, the one it works on included.
        cache_bytes: of answers kept by content; 0 = none.
        beat_s, silent_s: how often a worker says that it lives, and after what silence it is killed.
        batch_limit_s: a worker that is at one batch for longer, and ten times longer than estimated, is killed.
        load_limit_s: for reading the models.  drain_limit_s: for finishing what is in the queue.
        poison_s: for how long a page that killed two workers is refused unseen.
        backoff_s, max_backoff_s: wait before the second restart in a row, doubled from then on; and at most.
    Raises:
        InputError: a number below what makes sense.
    """

    workers: int = 2
    spares: int = 0
    threads: int = 0
    niceness: int = 0
    max_queued_calls: int = 1024
    max_queued_cost: int = 4_000_000
    max_wait_s: float = 10.0
    max_batch_pages: int = 64
    max_batch_cost: int = 16384
    batch_target_s: float = 0.25
    ahead: int = 2
    cache_bytes: int = 64 * 2**20
    beat_s: float = 1.0
    silent_s: float = 10.0
    batch_limit_s: float = 120.0
    load_limit_s: float = 300.0
    drain_limit_s: float = 30.0
    poison_s: float = 300.0
    backoff_s: float = 0.1
    max_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        for name, least in _NOT_BELOW.items():
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise InputError(f"serving engine: got {name}={value}; allowed: {least:g} or more; mend the setting")
        if self.silent_s <= self.beat_s:
            raise InputError(
                f"serving engine: got silent_s={self.silent_s} with beat_s={self.beat_s}; allowed: a longer silence "
                "than between two beats; raise silent_s"
            )

    @property
    def threads_each(self) -> int:
        """Threads of one worker."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // self.workers)


class EngineStats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine did and holds; counts are since it was made.

    Attributes:
        queued, queued_cost: pages that wait.  running: pages that workers hold.  waiters: callers that wait.
        workers_alive: that take pages now.  spares: loaded beside them.  restarts: of workers.
        estimated_wait_s: of a page that came now.
        done: pages that a worker answered.  failed: of them, with an error.
        dropped_expired: pages that nobody could use any more, dropped before they were computed.
        late: pages computed for nobody: all callers had left, or their time was over.
        cancelled: pages taken from the queue because every caller had gone.
        refused: calls turned away, for want of room or time, or while draining.
        cache_hits, shared: calls answered from the cache, and from the same page on its way for another caller.
        cache_bytes, cache_items: held.
        batches, batch_pages, batch_cost: sums over the batches that workers finished; batch_s: their time.
        lost: batches that died with a worker.  poisoned: pages given up because two workers died on them.
    """

    queued: int = 0
    queued_cost: int = 0
    running: int = 0
    waiters: int = 0
    workers_alive: int = 0
    spares: int = 0
    restarts: int = 0
    estimated_wait_s: float = 0.0
    done: int = 0
    failed: int = 0
    dropped_expired: int = 0
    late: int = 0
    cancelled: int = 0
    refused: int = 0
    cache_hits: int = 0
    shared: int = 0
    cache_bytes: int = 0
    cache_items: int = 0
    batches: int = 0
    batch_pages: int = 0
    batch_cost: int = 0
    batch_s: float = 0.0
    lost: int = 0
    poisoned: int = 0
