"""One worker process, seen from the front: how it is started, what it was given, and how its end is noticed."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from wholepage.apps.serving.batches import Batch
from wholepage.apps.serving.failures import error_of
from wholepage.apps.serving.frames import TO_FRONT, Done, Hello, Item, Load, Stop, Unfit, Work, framed, read_frame
from wholepage.apps.serving.served_models import Description
from wholepage.apps.worker_environment import worker_environment
from wholepage.pages.errors import WorkerLost

WORKER_COMMAND = (sys.executable, "-m", "wholepage.apps.serving.worker")
_END_S = 2.0  # for a process that was told to stop

Finished = Callable[["WorkerProcess", Batch, Done], None]


class WorkerProcess:
    """A worker, from its start to its end.

    Args:
        load: what it reads.  command: what runs it; the number of its socket is added.
        niceness: of the process.
        finished: called with every batch that it answers.
    Attributes:
        batches: that it holds, the one it works on first.
        ready: it has read its models and lives.
        models: what it told of them.
        heard: when it last said anything, on the monotonic clock.
    """

    def __init__(self, load: Load, command: Sequence[str], niceness: int, finished: Finished) -> None:
        self._load, self._command, self._niceness, self._finished = load, command, niceness, finished
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.batches: deque[Batch] = deque()
        self.ready = False
        self.models: tuple[Description, ...] = ()
        self.heard = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the process; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    async def start(self, limit_s: float) -> None:
        """Start the process, and wait until it has read its models.

        Raises:
            WorkerLost: it ended, or was not ready in time.
            Whatever reading a model raises: NotFound, WeightsError, MissingExtra.
        """
        front, own = socket.socketpair()
        try:
            with own:
                self._process = _started([*self._command, str(own.fileno())], own, self._load.threads, self._niceness)
            self._reader, self._writer = await asyncio.open_connection(sock=front)
            self._writer.write(framed(self._load))
            async with asyncio.timeout(limit_s):
                first = await read_frame(self._reader, TO_FRONT)
        except TimeoutError as error:
            raise WorkerLost(
                f"worker {self.pid}: got no word for {limit_s:g} s; allowed: models read by then; raise load_limit_s"
            ) from error
        match first:
            case Hello(models=models):
                self.models, self.ready, self.heard = models, True, time.monotonic()
            case Unfit(failure=failure):
                raise error_of(failure)
            case _:
                raise WorkerLost(
                    f"worker {self.pid}: ended while it read its models; allowed: a process that lives; see its log, "
                    "and whether memory is enough"
                )

    async def listen(self) -> None:
        """Take in what it says until it ends; what it still held then is left in ``batches``."""
        if self._reader is None:
            return
        try:
            while (message := await read_frame(self._reader, TO_FRONT)) is not None:
                self.heard = time.monotonic()
                if isinstance(message, Done):
                    self._finished(self, self._answered(message), message)
        except WorkerLost:
            self.kill()
        finally:
            self.ready = False

    def _answered(self, done: Done) -> Batch:
        """The batch that was answered, which is the first.

        Raises:
            WorkerLost: it answers something else.
        """
        first = self.batches[0] if self.batches else None
        if first is None or (first.number, len(first.flights)) != (done.number, len(done.answers)):
            raise WorkerLost(
                f"worker {self.pid}: got {len(done.answers)} answers to batch {done.number}; allowed: one a page, "
                "batch after batch; it is started anew"
            )
        self.batches.popleft()
        if self.batches:
            self.batches[0].begun = self.heard
        return first

    def send(self, batch: Batch) -> None:
        """Give it a batch, which waits there until those before it are done."""
        if self._writer is None:
            return
        if not self.batches:
            batch.begun = time.monotonic()
        self.batches.append(batch)
        items = tuple(Item(msgspec.Raw(flight.page), flight.deadline) for flight in batch.flights)
        self._writer.write(framed(Work(batch.number, batch.model, items)))

    def remaining_s(self, now: float) -> float:
        """How long it should be at what it holds."""
        if not self.batches:
            return 0.0
        first = self.batches[0]
        left = max(0.0, first.estimated_s - (now - (first.begun or now)))
        return left + sum(batch.estimated_s for batch in list(self.batches)[1:])

    def at_it_s(self, now: float) -> float:
        """For how long it has been at its first batch."""
        return now - (self.batches[0].begun or now) if self.batches else 0.0

    def kill(self) -> None:
        """End the process at once; ``listen`` notices."""
        if self._process is not None:
            self._process.kill()

    async def end(self) -> None:
        """Tell the process to stop, wait for that, and clear up after it."""
        if self._writer is not None:
            self._writer.write(framed(Stop()))
        try:
            await self._gone(_END_S)
        except TimeoutError:
            self.kill()
            await self._gone(None)
        if self._writer is not None:
            self._writer.close()

    async def bury(self) -> None:
        """End a process that is of no use any more, and clear up after it."""
        self.kill()
        await self._gone(None)
        if self._writer is not None:
            self._writer.close()

    async def _gone(self, limit_s: float | None) -> None:
        """Wait without a thread a process: one that was killed is gone in a moment."""
        async with asyncio.timeout(limit_s):
            while self._process is not None and self._process.poll() is None:
                await asyncio.sleep(0.01)


def _started(command: Sequence[str], own: socket.socket, threads: int, niceness: int) -> subprocess.Popen[bytes]:
    """Its own session: a Ctrl-C at the terminal is for the front alone."""
    before = ["nice", "-n", str(niceness)] if niceness else []
    environment = os.environ | worker_environment(threads)
    try:
        return subprocess.Popen(
            [*before, *command],
            pass_fds=(own.fileno(),),
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerLost(
            f"worker: got {error}; allowed: a process; see whether memory and processes are left"
        ) from error
