"""Workers that die, freeze, hang, or will not start: no answer is lost or wrong, and the service goes on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from wholepage.apps.serving.calls import Outcome
from wholepage.apps.serving.engine import ServingEngine
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.pages.errors import WorkerLost

from .engines import ODD, all_of, begun, call_of, engine_of, in_loop, odd, until
from .test_engine import is_right, ranked_in


def pids(engine: ServingEngine) -> list[int]:
    return [worker.pid for worker in engine._workers.active]


@in_loop
async def test_sigkill_under_load_loses_nothing_and_gives_no_wrong_answer(tmp_path: Path) -> None:
    log, mark = tmp_path / "log", tmp_path / "nobody new comes while it is there"
    draws = random.Random(1)
    answered = 0
    enough = asyncio.Event()

    async def client(engine: ServingEngine, who: int) -> None:
        nonlocal answered
        for turn in count():
            numbers = [draws.randrange(1000) for _ in range(4)]
            outcome = await engine.rank(call_of(f"{who} {turn}", *numbers, timeout_s=120.0))
            assert is_right(outcome, numbers)
            answered += 1
            if enough.is_set():
                return

    spec = odd(log=str(log), seconds=0.002, slow_after=str(mark))
    async with engine_of({"odd": spec}, workers=2, cache_bytes=0, silent_s=1000.0) as engine:
        clients = [asyncio.create_task(client(engine, who)) for who in range(8)]
        for _ in range(3):
            least = answered + 20
            await until(lambda least=least: answered >= least and len(pids(engine)) == 2)
            mark.touch()
            victim = draws.choice(pids(engine))
            os.kill(victim, signal.SIGKILL)
            await until(lambda victim=victim: victim not in pids(engine))
            least = answered + 20
            await until(lambda least=least: answered >= least)
            assert len(pids(engine)) == 1, "the other one goes on"
            assert engine.ready
            mark.unlink()
        await until(lambda: len(pids(engine)) == 2)
        enough.set()
        await asyncio.gather(*clients)
        stats = engine.stats()
    assert stats.restarts == 3
    assert stats.poisoned == 0
    assert stats.done == answered >= 120
    again = sum(times - 1 for times in Counter(ranked_in(log)).values())
    assert again <= stats.lost * engine.settings.max_batch_pages, "only what was lost was done again"


@in_loop
async def test_a_page_on_which_a_worker_dies_is_tried_once_more(tmp_path: Path) -> None:
    mark = tmp_path / "died"
    async with engine_of(workers=2) as engine:
        outcome = await engine.rank(call_of(f"die-once {mark}", 4, 9))
        assert is_right(outcome, [4, 9])
        assert (engine.stats().lost, engine.stats().poisoned) == (1, 0)


@in_loop
async def test_a_page_on_which_two_workers_die_is_refused_and_its_neighbours_are_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spec = {"odd": odd(log=str(log), seconds=0.01)}
    async with engine_of(spec, workers=1, batch_target_s=5.0, poison_s=60.0) as engine:
        (first,) = await begun(engine.rank(call_of("busy", 1, 2)))
        calls = (
            [call_of(f"q{i}", i, 40) for i in range(4)] + [call_of("die")] + [call_of(f"q{i}", i, 40) for i in (4, 5)]
        )
        outcomes = await all_of(engine, calls)
        await first
        assert isinstance(outcomes.pop(4), WorkerLost)
        assert all(is_right(outcome, [i, 40]) for i, outcome in enumerate(outcomes))
        with pytest.raises(WorkerLost, match="two worker processes"):
            await engine.rank(call_of("die"))
        stats = engine.stats()
        assert (stats.poisoned, stats.restarts) == (1, 2), "the third try was refused unseen"
        assert ranked_in(log).count("die") == 2


@in_loop
async def test_poison_is_tried_again_when_its_time_is_over() -> None:
    async with engine_of(workers=2, poison_s=0.0, backoff_s=0.01) as engine:
        for times in (1, 2):
            with pytest.raises(WorkerLost):
                await engine.rank(call_of("die"))
            assert engine.stats().poisoned == times


@pytest.mark.parametrize(
    ("deed", "limits"), [("freeze", {"silent_s": 3.0}), ("hang", {"batch_limit_s": 1.5, "silent_s": 10.0})]
)
@in_loop
async def test_a_worker_that_hangs_is_killed(deed: str, limits: dict[str, float]) -> None:
    async with engine_of(workers=1, poison_s=60.0, **limits) as engine:
        (first,) = pids(engine)
        outcomes = await all_of(engine, [call_of(deed), call_of("good", 2, 3)])
        assert isinstance(outcomes[0], WorkerLost)
        assert is_right(outcomes[1], [2, 3])
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert engine.stats().restarts == 2


@in_loop
async def test_a_front_that_was_held_up_accuses_no_worker() -> None:
    async with engine_of(workers=1, silent_s=1.5) as engine:
        before = pids(engine)
        for _ in range(2):
            time.sleep(1.8)  # the whole front stands still
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert pids(engine) == before
        assert engine.stats().restarts == 0


@in_loop
async def test_a_spare_steps_in_at_once(tmp_path: Path) -> None:
    mark = tmp_path / "from now on it takes long"
    async with engine_of({"odd": odd(slow_after=str(mark))}, workers=1, spares=1) as engine:
        (first,) = pids(engine)
        assert engine.stats().spares == 1
        mark.touch()
        os.kill(first, signal.SIGKILL)
        assert is_right(await engine.rank(call_of("q", 1, 2)), [1, 2])
        await until(lambda: first not in pids(engine))
        assert engine.ready
        assert engine.stats().spares == 0, "it is at work, and another one is not there yet"


@in_loop
async def test_without_any_worker_calls_wait_for_the_next_one() -> None:
    async with engine_of({"odd": odd(slow_load_s=0.5)}, workers=1) as engine:
        os.kill(pids(engine)[0], signal.SIGKILL)
        await until(lambda: not engine.ready)
        outcomes = await all_of(engine, [call_of(f"q{i}", i, 9) for i in range(6)])
        assert all(isinstance(outcome, Outcome) for outcome in outcomes)
        assert engine.ready


@in_loop
async def test_restarts_in_a_row_wait_longer_each_time() -> None:
    settings = EngineSettings(backoff_s=0.1, max_backoff_s=1.0)
    engine = ServingEngine({"odd": odd()}, settings, worker_command=ODD)
    waits = [engine._workers._backoff_s(deaths) for deaths in range(1, 8)]
    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@in_loop
async def test_workers_end_when_the_front_does_without_a_word() -> None:
    engine = ServingEngine(
        {"odd": odd()}, EngineSettings(workers=2, beat_s=0.05, drain_limit_s=0.1), worker_command=ODD
    )
    await engine.start()
    workers = list(engine._workers.active)
    for task in engine._workers._keepers:
        task.cancel()
    (busy,) = await begun(engine.rank(call_of("hang")))
    for worker in workers:
        worker._writer.transport.abort()  # what the system does when a process ends
    await until(lambda: all(worker._process.poll() is not None for worker in workers))
    busy.cancel()
    await engine.drain()


@in_loop
async def test_signals_meant_for_everybody_do_not_end_a_worker() -> None:
    async with engine_of(workers=1) as engine:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pids(engine)[0], one)
        assert is_right(await engine.rank(call_of("q", 1, 2)), [1, 2])
        assert engine.stats().restarts == 0


@in_loop
async def test_a_command_that_is_no_worker_is_told() -> None:
    with pytest.raises(WorkerLost, match="ended while it read its models"):
        async with engine_of(command=("/bin/true",)):
            pytest.fail("it started")
    with pytest.raises(WorkerLost, match="processes"):
        async with engine_of(command=("/nowhere/at/all",)):
            pytest.fail("it started")
    with pytest.raises(WorkerLost, match="load_limit_s"):
        async with engine_of({"odd": odd(slow_load_s=30)}, load_limit_s=0.2):
            pytest.fail("it started")
