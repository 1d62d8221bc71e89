"""The worker processes: started, watched, killed when they hang, and started anew when they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from wholepage.apps.serving.batches import Batch
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.frames import Load
from wholepage.apps.serving.served_models import Description
from wholepage.apps.serving.worker_process import Finished, WorkerProcess
from wholepage.pages.errors import WeightsError, WholepageError

_LOG = logging.getLogger("wholepage.serving")
_LOOKS = 4  # at each worker within the silence that is allowed
_MUCH_LONGER = 10  # than estimated
_LIVED_WELL_S = 10.0  # after so long a death is no part of a series

Lost = Callable[[list[Batch]], None]


class Supervisor:
    """Keeps so many workers alive.

    A worker that ends is started anew at once; one that ends again soon after, or cannot read its models, after a wait
    that doubles each time. A worker that says nothing for ``silent_s`` (frozen), or is at one batch beyond all measure
    (hung), is killed.

    Args:
        load: what each worker reads.  command: what runs one.
        finished: called with every batch that is answered.
        lost: called with the batches of a worker that ended, the one it was at first.
        changed: called when a worker came.
    Attributes:
        restarts: of workers, since the start.  models: as the first worker told them.
    """

    def __init__(
        self,
        settings: EngineSettings,
        load: Load,
        command: Sequence[str],
        *,
        finished: Finished,
        lost: Lost,
        changed: Callable[[], None],
    ) -> None:
        self._settings, self._load, self._command = settings, load, command
        self._finished, self._lost, self._changed = finished, lost, changed
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts = 0
        self.models: tuple[Description, ...] = ()

    @property
    def active(self) -> list[WorkerProcess]:
        """Workers that take batches: the first so many that are ready."""
        return self._ready()[: self._settings.workers]

    @property
    def spares(self) -> list[WorkerProcess]:
        """Workers that are ready, and only step in."""
        return self._ready()[self._settings.workers :]

    async def start(self) -> None:
        """Start all workers, and wait until every one has read its models.

        Raises:
            WorkerLost: one ended meanwhile.
            Whatever reading a model raises: NotFound, WeightsError, MissingExtra.
        """
        slots = range(self._settings.workers + self._settings.spares)
        try:
            await self._begin_all(slots)
        except (WholepageError, asyncio.CancelledError):
            await self.stop()
            raise
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in slots]
        self._keepers.append(asyncio.create_task(self._watch()))
        for task in self._keepers:
            task.add_done_callback(_log_fault)

    async def stop(self) -> None:
        """Let every worker finish what it holds, and end."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        await asyncio.gather(*(worker.end() for worker in self._workers.values()))
        self._workers.clear()

    def _ready(self) -> list[WorkerProcess]:
        return [worker for _, worker in sorted(self._workers.items()) if worker.ready]

    async def _begin_all(self, slots: Iterable[int]) -> None:
        try:
            async with asyncio.TaskGroup() as together:
                for slot in slots:
                    together.create_task(self._begin(slot))
        except* WholepageError as failed:
            raise failed.exceptions[0] from None

    async def _begin(self, slot: int) -> None:
        """Start a worker in its place.

        Raises:
            WeightsError: it read other models than the first one did.
        """
        worker = WorkerProcess(self._load, self._command, self._settings.niceness, self._finished)
        self._workers[slot] = worker
        await worker.start(self._settings.load_limit_s)
        self.models = self.models or worker.models
        read, before = ([(model.name, model.ranker) for model in of] for of in (worker.models, self.models))
        if read != before:
            worker.ready = False
            raise WeightsError(
                f"worker {worker.pid}: got models {read}; allowed: {before}, as the others have them; "
                "restart the server to serve what is in the folders now"
            )
        self._changed()

    async def _keep(self, slot: int) -> None:
        """Listen to a worker until it ends, tell what was lost with it, and start another; again and again."""
        deaths = 0
        while True:
            born = time.monotonic()
            worker = self._workers[slot]
            await worker.listen()
            self._lost(list(worker.batches))
            await worker.bury()
            deaths = 1 if time.monotonic() - born > _LIVED_WELL_S else deaths + 1
            _LOG.warning("worker %d ended; it is started anew", worker.pid)
            while True:
                await asyncio.sleep(self._backoff_s(deaths))
                self.restarts += 1
                try:
                    await self._begin(slot)
                    break
                except WholepageError as error:
                    _LOG.error("a worker could not be started: %s", error)
                    await self._workers[slot].bury()
                    deaths += 1

    def _backoff_s(self, deaths: int) -> float:
        if deaths <= 1:
            return 0.0
        return min(self._settings.max_backoff_s, self._settings.backoff_s * 2.0 ** min(deaths - 2, 30))

    async def _watch(self) -> None:
        """Kill what is frozen or hung; a front that was itself held up accuses nobody."""
        silent_s = self._settings.silent_s
        looked = time.monotonic()
        while True:
            await asyncio.sleep(silent_s / _LOOKS)
            before, looked = looked, time.monotonic()
            if looked - before > silent_s / 2:
                for worker in self._ready():
                    worker.heard = looked
                continue
            for worker in self._ready():
                self._look_at(worker, looked)

    def _look_at(self, worker: WorkerProcess, now: float) -> None:
        settings = self._settings
        at_it_s = worker.at_it_s(now)
        if now - worker.heard > settings.silent_s:
            _LOG.error("worker %d said nothing for %.1f s; it is killed", worker.pid, now - worker.heard)
            worker.kill()
        elif at_it_s > settings.batch_limit_s and at_it_s > _MUCH_LONGER * worker.batches[0].estimated_s:
            _LOG.error("worker %d is at one batch for %.1f s; it is killed", worker.pid, at_it_s)
            worker.kill()


def _log_fault(task: asyncio.Task[None]) -> None:
    """A keeper ends only when it is told to."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.critical("a worker is not kept any more; restart the server", exc_info=error)
