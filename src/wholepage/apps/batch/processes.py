"""Engines on one machine: shards done in this process, or in processes of its own that may be killed at any time."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import IO

import msgspec

from wholepage.apps.batch.messages import FROM_WORKER, Begin, Do, Event, Failed, Finished, Lost, Through, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.shards import Order, ShardWork, peak_bytes
from wholepage.apps.batch.work import work_for
from wholepage.apps.serving.failures import error_of
from wholepage.apps.worker_environment import worker_environment
from wholepage.pages.errors import InputError, WholepageError, WorkerLost

_COMMAND = (sys.executable, "-m", "wholepage.apps.batch.worker")
_LOST_AT_MOST = 3


class InProcess:
    """One shard after another, here.

    For small jobs and for file systems that live in memory. Numerics use as many threads as this process does, so the
    last bits of a neural model may differ from those of worker processes, which use ``threads``.
    """

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        """Do the shards in their order; raises what ``ShardWork.do`` does."""
        if not shards:
            return
        work = ShardWork(order, work_for(order.settings))
        for shard in shards:
            done = work.do(shard, lambda rows, number=shard.number: told(Through(number, rows)))  # type: ignore[misc]
            told(Finished(done, str(os.getpid()), peak_bytes()))


class Processes:
    """Worker processes, each with the model and one shard at a time.

    A worker that is killed is replaced and its shard done again, the third time the job ends. Workers end with this
    process, even when it is killed.

    Args:
        count: of workers.  threads: of each, for numerics.
    Raises:
        InputError: a number is not positive.
    """

    def __init__(self, count: int, *, threads: int = 1) -> None:
        if count < 1 or threads < 1:
            raise InputError(f"batch: got {count} workers of {threads} threads; allowed: 1 and up; raise it")
        self.count, self.threads = count, threads

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        """Have the shards done.

        Raises:
            WorkerLost: the workers of a shard ended three times in the middle of it.
            Whatever a worker tells: of a row, of the input, of the model.
        """
        if not shards:
            return
        share = _Share(shards)
        workers = [_Worker(order, self.threads, share) for _ in range(min(self.count, len(shards)))]
        try:
            for worker in workers:
                worker.start()
            left = len(shards)
            while left:
                event = share.events.get()
                if isinstance(event, WholepageError):
                    raise event
                told(event)
                left -= isinstance(event, Finished)
        finally:
            share.close()
            for worker in workers:
                worker.end()


class _Share:
    """The shards that nobody has yet, and what workers tell."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.events: queue.SimpleQueue[Event | WholepageError] = queue.SimpleQueue()
        self._waiting = deque(shards)
        self._left = len(shards)
        self._closed = False
        self._lost: Counter[int] = Counter()
        self._changed = threading.Condition()

    def take(self) -> Shard | None:
        """The next shard; waits while others may still come back, None when there will be none."""
        with self._changed:
            while not self._waiting and self._left and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting and not self._closed else None

    def finished(self, event: Finished) -> None:
        """A shard is done."""
        with self._changed:
            self._left -= 1
            self._changed.notify_all()
        self.events.put(event)

    def lost(self, shard: Shard, code: int | None) -> None:
        """A worker ended in the middle of a shard."""
        self._lost[shard.number] += 1
        self.events.put(Lost(shard.number))
        if self._lost[shard.number] >= _LOST_AT_MOST:
            self.failed(
                WorkerLost(
                    f"shard {shard.name}: got {_LOST_AT_MOST} workers that ended in the middle of it (the last "
                    f"{_how(code)}); allowed: workers that live; see what they wrote above, and whether memory is "
                    "enough (fewer workers, a smaller --batch-pages), and run the command again: it goes on where "
                    "this stopped"
                )
            )
            return
        with self._changed:
            self._waiting.appendleft(shard)
            self._changed.notify_all()

    def failed(self, error: WholepageError) -> None:
        """The job cannot go on."""
        self.close()
        self.events.put(error)

    def close(self) -> None:
        """Nobody gets a shard any more."""
        with self._changed:
            self._closed = True  # a word on a shard that was out may still come
            self._changed.notify_all()


class _Worker(threading.Thread):
    """A thread that keeps one worker process at work."""

    def __init__(self, order: Order, threads: int, share: _Share) -> None:
        super().__init__(daemon=True)
        self._order, self._threads, self._share = order, threads, share
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self._starts = threading.Lock()

    def run(self) -> None:
        """Do shards until there are none; the job never waits for a thread that is gone."""
        whole = False
        try:
            self._work()
            whole = True
        finally:
            if not whole:
                self._share.failed(
                    WorkerLost("worker: got a fault in what watches it; allowed: none; see the traceback above")
                )

    def _work(self) -> None:
        while (shard := self._share.take()) is not None:
            try:
                process = self._standing()
                if process is None:
                    return
                if not self._done(process, shard):
                    self._share.lost(shard, process.wait())
                    self._process = None
            except WholepageError as error:
                self._share.failed(error)
                return

    def end(self) -> None:
        """End the process at once: what it has not completed leaves no file."""
        with self._starts:
            self._ended = True
            if self._process is not None:
                self._process.kill()
        if self.ident is not None:  # it was started
            self.join()
        if self._process is not None:
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    _closed(stream)

    def _standing(self) -> subprocess.Popen[bytes] | None:
        """The process, started where there is none; None when the job has ended."""
        with self._starts:
            if self._ended:
                return None
            if self._process is None:
                self._process = _started(self._threads)
                _sent(self._process, Begin(self._order))
            return self._process

    def _done(self, process: subprocess.Popen[bytes], shard: Shard) -> bool:
        """Have one shard done; False when the process ended before it was.

        Raises:
            Whatever the worker tells.
        """
        if not _sent(process, Do(shard)) or process.stdout is None:
            return False
        for line in process.stdout:
            if not line.endswith(b"\n"):
                return False  # cut off in the middle of a word
            try:
                told = FROM_WORKER.decode(line)
            except msgspec.MsgspecError:
                return False  # none of our words: something else wrote there
            match told:
                case Finished() as event:
                    self._share.finished(event)
                    return True
                case Failed(failure=failure):
                    raise error_of(failure)
                case event:
                    self._share.events.put(event)
        return False


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"with code {code}"
    if code == -9:
        return "by SIGKILL, as the system ends what takes too much memory"
    return f"by signal {-code}"


def _sent(process: subprocess.Popen[bytes], message: Begin | Do) -> bool:
    if process.stdin is None:
        return False
    try:
        process.stdin.write(msgspec.json.encode(message) + b"\n")
        process.stdin.flush()
    except OSError:
        return False
    return True


def _closed(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:
        return  # what was left to write has nobody to read it


def _started(threads: int) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C at the terminal is for the job alone, which then ends its workers."""
    environment = os.environ | worker_environment(threads)
    try:
        return subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
    except OSError as error:
        raise WorkerLost(
            f"worker: got {error}; allowed: a process; see whether memory and processes are left"
        ) from error
