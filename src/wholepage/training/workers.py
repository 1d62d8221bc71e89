"""Independent trainings side by side, each in a process of its own, with the same result as one after another."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, TypeVar

import torch

from wholepage.pages.errors import InputError, WorkerLost, require
from wholepage.training.loop import Progress

T = TypeVar("T")


class Workers:
    """A pool of processes for small trainings; one worker means: here, in this process.

    Every process of the pool computes on one thread. So does whoever wants the same bits from one worker as from many
    (``on_one_thread``). Processes are started when first needed and end with the ``with`` block. A script
    that asks for more than one worker must guard its own start with ``if __name__ == "__main__":``.

    Args:
        count: of processes.
    Raises:
        InputError: ``count`` is not positive.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise InputError(f"Workers: got {count}; allowed: 1 or more; 1 trains in this process")
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def each(
        self,
        train: Callable[..., T],
        arguments: Sequence[tuple[Any, ...]],
        *,
        progress: Progress | None = None,
        what: str = "training",
    ) -> list[T]:
        """Call ``train`` with each tuple of arguments; results in the order of ``arguments``.

        Args:
            train: a function of a module, called with ``progress=`` besides; must be a pure function of its arguments.
            progress: told of every step with one worker, of every finished training with more.
        Raises:
            WorkerLost: a process was killed before it was done; the next call starts new ones.
        """
        if self.count == 1 or len(arguments) < 2:
            return [train(*given, progress=progress) for given in arguments]
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # fork would copy the threads' locks of torch
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)
        results: list[T] = []
        try:
            futures = [self._pool.submit(train, *given, progress=None) for given in arguments]
            for done, future in enumerate(futures):
                results.append(future.result())
                if progress:
                    progress(done + 1, len(futures), what)
        except BrokenProcessPool as error:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            raise WorkerLost(
                f"{what}: got a worker process that was killed after {len(results)} of {len(arguments)} were done; "
                "allowed: all run to their end; run the same again, which goes on from what was kept in a folder; "
                "where memory ran out, take fewer workers"
            ) from error
        return results


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Compute on one thread inside: torch, and the linear algebra of numpy.

    How many threads share a sum changes its last bits, training makes much of little, and so the machine's cores would
    show in the results.

    Raises:
        MissingExtra: scikit-learn is not installed whole.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with require("threadpoolctl", "train").threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _begin() -> None:
    torch.set_num_threads(1)
    require("threadpoolctl", "train").threadpool_limits(limits=1)  # outside of a ``with`` it holds until the end
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot tell its workers to stop; without this they would train on for nobody.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
