"""Engines over the odd worker, and pages for them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from wholepage.apps.serving.calls import Call, Outcome
from wholepage.apps.serving.engine import ServingEngine
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.pages.model import Modality, Page, Query, Result

ODD = (sys.executable, str(Path(__file__).with_name("odd_worker.py")))
FAST = {"beat_s": 0.05, "silent_s": 100.0, "drain_limit_s": 100.0}  # a busy machine kills and gives up nothing


def page_of(query: str, *texts: object) -> Page:
    """A page of texts; without any, of three numbers."""
    shown = [str(text) for text in texts] or ["1", "3", "2"]
    results = tuple(Result(str(i), Modality.TEXT, text) for i, text in enumerate(shown))
    return Page(Query("query", query), results)


def call_of(query: str, *texts: object, timeout_s: float = 30.0, model: str = "odd") -> Call:
    """A call for such a page."""
    return Call(model, page_of(query, *texts), timeout_s)


def odd(**told: object) -> ModelSpec:
    """A model that the odd worker makes."""
    return ModelSpec("folder", json.dumps(told))


@asynccontextmanager
async def engine_of(
    models: dict[str, ModelSpec] | None = None, command: tuple[str, ...] = ODD, **settings: object
) -> AsyncIterator[ServingEngine]:
    """An engine that runs, and is drained at the end."""
    engine = ServingEngine(models or {"odd": odd()}, EngineSettings(**{**FAST, **settings}), worker_command=command)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.drain()


async def all_of(engine: ServingEngine, calls: list[Call]) -> list[Outcome | BaseException]:
    """What came of calls that were made at once."""
    return await asyncio.gather(*(engine.rank(call) for call in calls), return_exceptions=True)


async def begun(call: Awaitable[Outcome], *more: Awaitable[Outcome]) -> list[asyncio.Task[Outcome]]:
    """Calls that have taken their first step, in this order, before anything else could happen."""
    tasks = [asyncio.ensure_future(one) for one in (call, *more)]
    await asyncio.sleep(0)
    return tasks


async def until(true: Callable[[], object], limit_s: float = 120.0) -> None:
    """Wait for something to come true."""
    async with asyncio.timeout(limit_s):
        while not true():
            await asyncio.sleep(0.005)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine as a test."""

    def run(**given: object) -> None:
        asyncio.run(test(**given), debug=False)

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    run.__wrapped__ = test  # pytest reads the fixtures' names from it
    return run
