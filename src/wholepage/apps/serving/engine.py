"""The serving engine: many callers in front, few processes behind, and nothing computed for nobody.

    engine = ServingEngine({"default": ModelSpec("offline")})
    await engine.start()
    outcome = await engine.rank(Call("default", page, timeout_s=5.0))
    await engine.drain()

A call is answered from the cache, or joins the same page when that is on its way already, or waits in line. A worker
that has room takes a batch from the head of the line at once; it holds a second one while it works, so that it never
waits for the front.

Under overload the lines are first come, first served, and goodput is kept by three rules. A call is refused at the
door (``Overloaded``, with the seconds after which to come again) when the work before it, by what a token has taken
lately, would use up more than three quarters of the time it has to spare: so the line is never longer than what can
be answered in time, and such a line needs no other order than the fair one. A page whose time has run out, or would
before it could be done, is dropped before it is computed. And a worker is never left idle for a refusal: when nothing
waits, everything is tried, so that an estimate that was too high corrects itself.

A worker that dies takes no answer with it: its pages go back to the head of the line, the batch it was at page by page
(a ranking has no effects, so it can be done twice). A page on which a second worker dies is refused (``WorkerLost``),
and so is the same page for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from msgspec.structs import replace

from wholepage.apps.serving.batches import Batch, choose
from wholepage.apps.serving.cache import ResultCache
from wholepage.apps.serving.calls import Call, Draining, Expired, Outcome, Overloaded, ServedModel, UnknownModel
from wholepage.apps.serving.engine_settings import EngineSettings, EngineStats
from wholepage.apps.serving.failures import error_of
from wholepage.apps.serving.flights import Flight, cost_of, encoded, is_lasting, key_of
from wholepage.apps.serving.frames import Answer, Answered, Done, Late, Load, Refused
from wholepage.apps.serving.pace import Pace
from wholepage.apps.serving.poison import Poison
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.apps.serving.supervisor import Supervisor
from wholepage.apps.serving.tally import Tally
from wholepage.apps.serving.waiting import WaitingLines
from wholepage.apps.serving.worker_process import WORKER_COMMAND, WorkerProcess
from wholepage.pages.errors import InputError, WholepageError, WorkerLost, shorten

SHARE = 0.75
"""Of the time that a call has to spare, what the work before it may take by estimate."""

_DEATHS = 2  # of workers, on one page


class ServingEngine:
    """Orders pages for many callers at once, in worker processes.

    Args:
        models: what each is made of, by the name that calls use; the first is the default.
        settings: None = as ``EngineSettings`` says.
        worker_command: what runs a worker.
    Raises:
        InputError: no model.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        settings: EngineSettings | None = None,
        *,
        worker_command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        if not models:
            raise InputError("serving engine: got no model; allowed: at least one; name one")
        self.settings = settings or EngineSettings()
        self._specs = dict(models)
        self._reads: dict[str, int] = {}
        self._workers = Supervisor(
            self.settings,
            Load(self._specs, self.settings.beat_s, self.settings.threads_each),
            worker_command,
            finished=self._finished,
            lost=self._lost,
            changed=self._pump,
        )
        self._lines, self._flights = WaitingLines(), dict[bytes, Flight]()
        self._cache, self._poison = ResultCache(self.settings.cache_bytes), Poison(self.settings.poison_s)
        self._pace, self._tally, self._numbers = Pace(), Tally(), count(1)
        self._draining = self._leaving = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def models(self) -> Sequence[ServedModel]:
        """What is served, as the workers told; the first is the default."""
        return [ServedModel(told.name, told.kind, told.modalities) for told in self._workers.models]

    @property
    def ready(self) -> bool:
        """Whether a call would be answered now, and will be for a while."""
        return not (self._draining or self._leaving) and bool(self._workers.active)

    async def start(self) -> None:
        """Start the workers, and wait until all have read the models.

        Raises:
            Whatever reading a model raises: NotFound, WeightsError, MissingExtra; WorkerLost: a worker ended.
        """
        await self._workers.start()
        for told in self._workers.models:
            self._reads[told.name] = told.reads
            self._pace.begin(told.name, told.pace_s)

    def leave(self) -> None:
        """Tell those who ask that this server will go soon; calls are still taken."""
        self._leaving = True

    async def drain(self) -> None:
        """Take nothing new, finish what is here within ``drain_limit_s``, and stop the workers.

        What is not done by then is told ``Draining``.
        """
        self._draining = True
        try:
            async with asyncio.timeout(self.settings.drain_limit_s):
                await self._empty.wait()
        except TimeoutError:
            for flight in list(self._flights.values()):
                self._fail(flight, _draining)
        await self._workers.stop()

    def admit(self, timeout_s: float | None = None) -> None:
        """Refuse at the door, before a body is read.

        Args:
            timeout_s: within which the caller wants an answer; None = however long.
        Raises:
            Overloaded: the queue is full, or too long for that time.  Draining: nothing new is taken.
        """
        self._admit(0, 0.0, timeout_s)

    async def rank(self, call: Call) -> Outcome:
        """The order of one page; cancelling it frees its place in the queue.

        Raises:
            UnknownModel, Overloaded, Expired, Draining; WorkerLost: workers died on this page twice.
            Whatever the ranker raises: ImageError, NoRanker, InputError, DecodingError; RankerFailed: it broke.
        """
        if call.model not in self._specs:
            allowed = ", ".join(repr(name) for name in self._specs)
            raise UnknownModel(f"model: got {shorten(call.model)!r}; allowed: {allowed}; name one of them")
        if self._draining:
            self._tally.refused += 1
            raise _draining()
        arrived = time.monotonic()
        page = encoded(call.page)
        key = key_of(call.model, page)
        known = self._cache.find(key)
        if known is not None:
            self._tally.cache_hits += 1
            return replace(known, told=replace(known.told, cached=True, rank_ms=0.0, waited_ms=0.0))
        flight = self._flights.get(key)
        if flight is None:
            flight = self._take_off(call, key, page, arrived)
        else:
            self._tally.shared += 1
        outcome = await self._wait_for(flight, arrived + call.timeout_s)
        waited_ms = max(0.0, (time.monotonic() - arrived) * 1e3 - outcome.told.rank_ms)
        return replace(outcome, told=replace(outcome.told, waited_ms=waited_ms))

    def stats(self) -> EngineStats:
        """What it did and holds."""
        return self._tally.stats(
            queued=len(self._lines),
            queued_cost=self._lines.cost,
            running=len(self._flights) - len(self._lines),
            waiters=sum(len(flight.waiters) for flight in self._flights.values()),
            workers_alive=len(self._workers.active),
            spares=len(self._workers.spares),
            restarts=self._workers.restarts,
            estimated_wait_s=self._estimated_wait_s(),
            cache_bytes=self._cache.bytes,
            cache_items=len(self._cache),
        )

    def _take_off(self, call: Call, key: bytes, page: bytes, arrived: float) -> Flight:
        """Put a new page in line.

        Raises:
            Overloaded, Draining: as ``admit``.  WorkerLost: it killed two workers not long ago.
        """
        if self._poison.holds(key, arrived):
            raise _poisoned()
        cost = cost_of(call.page, self._reads.get(call.model, 0))
        self._admit(cost, self._pace.seconds(call.model, cost), call.timeout_s)
        flight = Flight(
            key, call.model, page, len(call.page), cost, arrived + call.timeout_s, arrived, is_lasting(call.page)
        )
        self._flights[key] = flight
        self._empty.clear()
        self._lines.join(flight)
        return flight

    async def _wait_for(self, flight: Flight, deadline: float) -> Outcome:
        """The outcome of a flight, for one of those who wait for it."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        flight.waiters.append(waiter)
        flight.deadline = max(flight.deadline, deadline)
        self._pump()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await waiter
        except TimeoutError as error:
            if flight.waits and len(flight.waiters) == 1:
                self._tally.dropped_expired += 1
            raise _expired() from error
        except asyncio.CancelledError:
            if flight.waits and len(flight.waiters) == 1:
                self._tally.cancelled += 1
            raise
        finally:
            flight.waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # a caller that was cancelled meanwhile never looks at it
            if flight.waits and not flight.waiters:
                self._lines.leave(flight)
                self._forget(flight)

    def _admit(self, cost: int, own_s: float, timeout_s: float | None) -> None:
        if self._draining:
            self._tally.refused += 1
            raise _draining()
        settings, lines = self.settings, self._lines
        if not lines and any(not worker.batches for worker in self._workers.active):
            return
        wait_s = self._estimated_wait_s()
        spare_s = float("inf") if timeout_s is None else SHARE * max(0.0, timeout_s - own_s)
        longest_s = min(settings.max_wait_s, spare_s)
        full = len(lines) >= settings.max_queued_calls or lines.cost + cost > settings.max_queued_cost
        if full or wait_s > longest_s:
            self._tally.refused += 1
            after_s = max(wait_s / 2 if full else wait_s - longest_s, 0.1)
            raise Overloaded(
                f"server: got {len(lines)} pages waiting, some {wait_s:.1f} s of work; allowed: what can be answered "
                f"in time; come again in {after_s:.1f} s",
                after_s,
            )

    def _estimated_wait_s(self) -> float:
        """How long a page that came now would wait."""
        now = time.monotonic()
        active = self._workers.active
        held_s = sum(worker.remaining_s(now) for worker in active)
        waiting_s = sum(self._pace.seconds(model, cost) for model, cost in self._lines.costs())
        return (held_s + waiting_s) / max(1, len(active))

    def _pump(self) -> None:
        """Give what waits to workers that have room, until one of the two runs out."""
        while self._lines:
            now = time.monotonic()
            active = self._workers.active
            roomy = [worker for worker in active if len(worker.batches) < self.settings.ahead]
            if not roomy:
                return
            worker = min(roomy, key=lambda one: (len(one.batches), one.remaining_s(now)))
            alone = not worker.batches
            line = self._lines.next_line()
            choice = choose(line, self.settings, self._pace, now, workers=len(active), alone=alone)
            for flight in choice.hopeless:
                self._tally.dropped_expired += 1
                self._lines.leave(flight)
                self._fail(flight, _expired)
            if choice.go:
                self._send(worker, choice.go)

    def _send(self, worker: WorkerProcess, flights: list[Flight]) -> None:
        for flight in flights:
            self._lines.leave(flight)
        model, cost = flights[0].model, sum(flight.cost for flight in flights)
        worker.send(Batch(next(self._numbers), model, flights, cost, self._pace.seconds(model, cost)))

    def _finished(self, _worker: WorkerProcess, batch: Batch, done: Done) -> None:
        """A worker answered a batch."""
        self._pump()
        computed = 0
        for flight, answer in zip(batch.flights, done.answers, strict=True):
            computed += flight.cost if isinstance(answer, Answered | Refused) else 0
            self._answered(flight, answer)
        if computed:
            self._pace.learn(batch.model, computed, done.seconds)
        self._tally.batch(len(batch.flights), batch.cost, done.seconds)

    def _answered(self, flight: Flight, answer: Answer) -> None:
        match answer:
            case Answered(outcome=outcome):
                told = outcome.told
                outcome = replace(outcome, told=replace(told, tokens=told.tokens or flight.cost))
                if flight.kept:
                    self._cache.keep(flight.key, outcome)
                self._tally.computed(told=flight.land(outcome))
            case Refused(failure=failure):
                self._tally.failed += 1
                self._tally.computed(told=flight.fail(partial(error_of, failure)))
            case Late():
                self._tally.dropped_expired += 1
                flight.fail(_expired)
        self._forget(flight)

    def _lost(self, batches: list[Batch]) -> None:
        """A worker ended with batches in its hands; the first is the one that it was at."""
        for place, batch in reversed(list(enumerate(batches))):
            self._tally.lost += 1
            for flight in reversed(batch.flights):
                flight.deaths += place == 0
                if flight.deaths >= _DEATHS:
                    self._tally.poisoned += 1
                    self._poison.hold(flight.key, time.monotonic())
                    self._fail(flight, _poisoned)
                elif not flight.waiters:
                    self._forget(flight)
                else:
                    self._lines.rejoin(flight)
        self._pump()

    def _fail(self, flight: Flight, error: Callable[[], WholepageError]) -> None:
        flight.fail(error)
        self._forget(flight)

    def _forget(self, flight: Flight) -> None:
        """The flight is over: the next call for the same page begins another."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if not self._flights:
            self._empty.set()


def _expired() -> Expired:
    return Expired("page: its time ran out before it was ordered; allow more, or come when less is going on")


def _draining() -> Draining:
    return Draining("server: it is on its way out and takes nothing new; ask another, or again in a while")


def _poisoned() -> WorkerLost:
    return WorkerLost(
        "page: two worker processes died on it; allowed: pages that a ranker survives; send less on one page, smaller "
        "pictures, or give the workers more memory"
    )
