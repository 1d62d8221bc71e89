"""Clients of a rerank server: bodies that are never the same, a closed loop that saturates it, an open loop that does
not wait for it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from light_http import Client

WORDS = (  # noqa: SIM905
    "the of and river bank city house report annual revenue growth lamp red blue shoe market year cost energy water "
    "police school garden train signal paper music doctor engine window bridge summer winter bread letter island"
).split()
TOLD = (200, 429, 503, 504)  # answered, too much waits, the server goes, its time is over


class Ask(NamedTuple):
    """A request: its body, and how many documents it has."""

    body: bytes
    documents: int


class Reply(NamedTuple):
    """What came of one request; times in seconds from the start of the run.

    Attributes:
        status: of HTTP; 0 = none came.  problem: why none came.
    """

    due: float
    ended: float
    status: int
    problem: str = ""


def texts_of(draws: random.Random, count: int) -> list[str]:
    """Texts of some forty words, some of them much longer, as passages are."""
    return [" ".join(draws.choices(WORDS, k=max(3, int(draws.lognormvariate(3.6, 0.6))))) for _ in range(count)]


def asks_of(model: str, count: int, documents: int, seed: int) -> list[Ask]:
    """Bodies that both servers read; every query is another, so that no answer is known before."""
    draws = random.Random(seed)
    return [
        Ask(
            json.dumps(
                {
                    "model": model,
                    "query": f"{seed} {number} {' '.join(draws.choices(WORDS, k=8))}",
                    "documents": texts_of(draws, documents),
                }
            ).encode(),
            documents,
        )
        for number in range(count)
    ]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Moments of a Poisson process, given that as many come as are expected: evenly drawn, in order."""
    draws = np.random.default_rng(seed)
    return sorted(draws.uniform(0.0, seconds, round(rate * seconds)).tolist())


async def ask(
    http: Client, path: str, one: Ask, due: float, begun: float, timeout_s: float | None = None, *, fresh: bool = False
) -> Reply:
    """Send one request, and note what came of it; ``fresh``: its connection is not used again."""
    headers = {"content-type": "application/json"}
    if fresh:
        headers["connection"] = "close"
    if timeout_s is not None:
        headers["x-request-timeout-ms"] = str(int(timeout_s * 1000))
    try:
        status = await http.post(path, one.body, headers)
    except (OSError, TimeoutError) as error:
        return Reply(due, time.perf_counter() - begun, 0, repr(error))
    return Reply(due, time.perf_counter() - begun, status)


async def saturate(
    address: str, path: str, asks: Sequence[Ask], *, clients: int, warm_s: float, seconds: float
) -> float:
    """Documents a second while so many clients ask again as soon as they are answered.

    Raises:
        RuntimeError: a request was not answered, or the bodies ran out.
    """
    waiting = iter(asks)
    begun = time.perf_counter()
    done: list[tuple[float, int]] = []

    async def one(http: Client) -> None:
        for each in waiting:
            while (reply := await ask(http, path, each, 0.0, begun)).status == 429:
                await asyncio.sleep(0.1)  # there is more than enough work before it
            if reply.status != 200:
                raise RuntimeError(f"{address}: got {reply}")
            done.append((reply.ended, each.documents))
            if reply.ended > warm_s + seconds:
                return
        raise RuntimeError("too few bodies were prepared")

    async with Client(address) as http:
        await asyncio.gather(*(one(http) for _ in range(clients)))
    counted = [documents for ended, documents in done if warm_s <= ended <= warm_s + seconds]
    return sum(counted) / seconds


async def open_loop(
    address: str,
    path: str,
    asks: Sequence[Ask],
    moments: Sequence[float],
    *,
    timeout_s: float | None,
    at: tuple[float, Callable[[], None]] | None = None,
    fresh: bool = False,
) -> list[Reply]:
    """Send each request at its moment, whatever became of those before.

    Args:
        timeout_s: told to the server.  at: something to do at a moment.  fresh: each on a connection of its own.
    """
    async with Client(address) as http:
        begun = time.perf_counter()
        tasks = []
        if at is not None:
            asyncio.get_running_loop().call_later(at[0], at[1])
        for one, due in zip(asks, moments, strict=True):
            await asyncio.sleep(max(0.0, due - (time.perf_counter() - begun)))
            tasks.append(asyncio.create_task(ask(http, path, one, due, begun, timeout_s, fresh=fresh)))
        return list(await asyncio.gather(*tasks))


def lost(replies: Sequence[Reply]) -> list[Reply]:
    """Those whose connection was made, and that were neither answered nor told why not."""
    return [r for r in replies if r.status not in TOLD and not r.problem.startswith("Refused")]


def goodput(replies: Sequence[Reply], documents: int, timeout_s: float, *, warm_s: float, seconds: float) -> float:
    """Documents a second that were answered within their time, after the first ``warm_s``."""
    window = [r for r in replies if warm_s <= r.ended <= seconds and r.status == 200]
    return sum(documents for r in window if r.ended - r.due <= timeout_s) / (seconds - warm_s)
