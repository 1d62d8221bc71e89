"""Work that many threads hand in and one of them does for all: what waits together is done, and committed, together.

A commit that reaches the disk takes milliseconds, however much it holds. With twenty people at once the twentieth would
wait for nineteen commits; here everybody who comes while one is under way is served by the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Generic, TypeVar

LARGEST = 64
"""Jobs in one batch."""

_T = TypeVar("_T")


class Job(Generic[_T]):
    """A piece of work with what came of it; ``with job:`` keeps an error for whoever handed the job in.

    Attributes:
        work: what to do.
        durable: it must reach the disk.
        error: what it ended with; None = well.
    """

    def __init__(self, work: Callable[..., _T], *, durable: bool) -> None:
        self.work, self.durable = work, durable
        self.result: _T | None = None
        self.error: Exception | None = None
        self.leads = False
        self.ready = Lock()
        self.ready.acquire()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not isinstance(error, Exception):  # nothing, or what stops the thread that does the work
            return False
        self.error = error
        return True


class Batches:
    """``do`` hands a job in and returns when it is done; jobs are served in the order in which they came.

    Args:
        serve: does some jobs, in one thread at a time; each has its result or its error when it returns or raises.
    """

    def __init__(self, serve: Callable[[list[Job[object]]], None]) -> None:
        self._serve = serve
        self._lock = Lock()
        self._waiting: deque[Job[object]] = deque()
        self._busy = False

    def do(self, job: Job[object]) -> None:
        """Wait until a job is done, in this thread or in another's batch."""
        with self._lock:
            self._waiting.append(job)
            job.leads, self._busy = not self._busy, True
        if not job.leads:
            came = False
            try:
                came = job.ready.acquire()
            finally:
                if not came:  # interrupted
                    self._leave(job)
        if job.leads:
            self._lead(job)

    def _lead(self, me: Job[object]) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST))]
        try:
            self._serve(batch)
        finally:
            for job in batch:
                if job is not me:
                    job.ready.release()
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        self._waiting[0].leads = True
        self._waiting[0].ready.release()

    def _leave(self, job: Job[object]) -> None:
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                if job.leads:
                    self._pass_on()
