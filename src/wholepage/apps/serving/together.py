"""Several things at once: all of them, or the first error and nothing left running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import TypeVar

T = TypeVar("T")


async def together(jobs: Iterable[Callable[[], Awaitable[T]]], *, at_once: int = 0) -> list[T]:
    """The answers in the order of the jobs; when one fails, its error, and the others are cancelled.

    Args:
        jobs: each begins its work when it is called.
        at_once: how many are under way at a time; 0 = all.
    Raises:
        Whatever the first job that fails raises.
    """
    gate = asyncio.Semaphore(at_once) if at_once else nullcontext()

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    tasks = [asyncio.ensure_future(run(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
