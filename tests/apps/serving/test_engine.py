"""The engine over real worker processes: every caller gets their own answer, once, and nothing is done for nobody."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest

from wholepage.apps.serving.calls import Draining, Expired, Outcome, Overloaded, ServedModel, UnknownModel
from wholepage.apps.serving.engine import ServingEngine
from wholepage.apps.serving.failures import RankerFailed
from wholepage.apps.serving.flights import cost_of
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.pages.errors import DecodingError, ImageError, InputError, NoRanker, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

from .engines import all_of, begun, call_of, engine_of, in_loop, odd, page_of, until


def batches_in(log: Path) -> list[list[str]]:
    """Query texts of every batch that was ranked, in order."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def ranked_in(log: Path) -> list[str]:
    return [query for batch in batches_in(log) for query in batch]


def is_right(outcome: Outcome, numbers: list[int]) -> bool:
    """Whether an outcome is that of a page of these numbers."""
    best_first = tuple(sorted(range(len(numbers)), key=lambda i: (-numbers[i], i)))
    return outcome.order == best_first and outcome.scores == tuple(float(number) for number in numbers)


# ---------------------------------------------------------------- answers


@in_loop
async def test_many_callers_get_their_own_answers() -> None:
    draws = random.Random(0)
    pages = [[draws.randrange(1000) for _ in range(draws.randrange(12))] for _ in range(200)]
    async with engine_of(cache_bytes=0) as engine:
        assert engine.ready
        assert engine.models == [ServedModel("odd", "odd", ("image",))]
        calls = [call_of(f"q{i}", *numbers) if numbers else call_of(f"q{i}", 5) for i, numbers in enumerate(pages)]
        outcomes = await all_of(engine, calls)
        stats = engine.stats()
    for numbers, outcome in zip(pages, outcomes, strict=True):
        assert isinstance(outcome, Outcome)
        assert is_right(outcome, numbers or [5])
        assert outcome.ranker == "odd"
        assert outcome.told.rank_ms >= 0
        assert outcome.told.waited_ms >= 0
        assert not outcome.told.cached
    assert (stats.done, stats.batch_pages, stats.queued, stats.running, stats.waiters) == (200, 200, 0, 0, 0)
    assert stats.batches < 200, "what waited went together"
    assert stats.failed == stats.refused == stats.dropped_expired == stats.late == 0


@in_loop
async def test_a_page_without_results_and_results_without_opinion() -> None:
    async with engine_of(workers=1) as engine:
        calls = [call_of("q", "x", "7", "y", "9"), call_of("order", "1", "2", "3")]
        mixed, backwards = await all_of(engine, calls)
        empty = await engine.rank(type(calls[0])("odd", Page(Query("query", "empty")), 30.0))
    assert (mixed.order, mixed.scores) == ((3, 1, 0, 2), (None, 7.0, None, 9.0))
    assert (backwards.order, backwards.scores) == ((2, 1, 0), (-2.0, -1.0, -0.0)), "only the order was known"
    assert (empty.order, empty.scores) == ((), ())


@in_loop
async def test_one_bad_page_fails_alone_and_with_its_own_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deeds = {"image": ImageError, "noranker": NoRanker, "bug": RankerFailed, "lose": DecodingError}
    async with engine_of({"odd": odd(log=str(log))}, workers=1) as engine:
        (first,) = await begun(engine.rank(call_of("good 0", 4, 6)))
        calls = [call_of(deed) for deed in deeds] + [call_of(f"good {i}", 3, 8) for i in range(1, 5)]
        outcomes = await all_of(engine, calls)
        await first
        stats = engine.stats()
    for outcome, error in zip(outcomes, deeds.values(), strict=False):
        assert type(outcome) is error, outcome
    assert outcomes[0].reason == "unreadable"
    assert outcomes[0].at == "r0"
    assert "secret" not in str(outcomes[2])
    assert all(is_right(outcome, [3, 8]) for outcome in outcomes[4:])
    assert (stats.failed, stats.done) == (4, 9)
    assert any(len(batch) > 1 and "bug" in batch for batch in batches_in(log)), "they were in a batch together"


@in_loop
async def test_unknown_models_and_several_models() -> None:
    models = {"odd": odd(), "words": odd(seconds=0.001)}
    async with engine_of(models) as engine:
        with pytest.raises(UnknownModel, match="'odd', 'words'"):
            await engine.rank(call_of("q", model="other"))
        calls = [call_of(f"q{i}", i, 50, model=("odd", "words")[i % 2]) for i in range(40)]
        for number, outcome in enumerate(await all_of(engine, calls)):
            assert is_right(outcome, [number, 50])
        assert [model.name for model in engine.models] == ["odd", "words"]


def test_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="no model"):
        ServingEngine({})


@in_loop
async def test_a_model_that_cannot_be_read_stops_the_start() -> None:
    with pytest.raises(WeightsError, match="save them again"):
        async with engine_of({"odd": odd(unloadable=True)}):
            pytest.fail("it started")


# ---------------------------------------------------------------- shared and cached


@in_loop
async def test_equal_calls_share_one_computation_and_the_next_is_cached(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with engine_of({"odd": odd(log=str(log), seconds=0.02)}) as engine:
        outcomes = await all_of(engine, [call_of("same", 1, 2) for _ in range(20)])
        assert all(is_right(outcome, [1, 2]) for outcome in outcomes)
        assert ranked_in(log) == ["same"]
        assert (engine.stats().shared, engine.stats().cache_hits) == (19, 0)
        again = await engine.rank(call_of("same", 1, 2))
        assert again.told.cached
        assert is_right(again, [1, 2])
        assert not (await engine.rank(call_of("same", 1, 3))).told.cached, "another page"
        assert ranked_in(log) == ["same", "same"]
        stats = engine.stats()
        assert (stats.cache_hits, stats.cache_items, stats.done) == (1, 2, 2)
        assert 0 < stats.cache_bytes < 2000


@in_loop
async def test_errors_and_pages_that_may_change_are_not_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    changing = (Result("0", Modality.IMAGE, "4", (ImageRef("/nowhere/x.png"),)),)
    call = type(call_of(""))("odd", Page(Query("query", "changing"), changing), 30.0)
    async with engine_of({"odd": odd(log=str(log))}) as engine:
        for _ in range(2):
            with pytest.raises(NoRanker):
                await engine.rank(call_of("noranker"))
            assert not (await engine.rank(call)).told.cached
        assert sorted(ranked_in(log)) == ["changing", "changing", "noranker", "noranker"]
        assert engine.stats().cache_items == 0


@in_loop
async def test_a_caller_who_leaves_does_not_take_the_answer_from_the_others(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with engine_of({"odd": odd(log=str(log))}, workers=1) as engine:
        leaver, stayer = await begun(*(engine.rank(call_of(f"until {gate}", 1, 2)) for _ in range(2)))
        assert engine.stats().running == 1
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        gate.touch()
        assert is_right(await stayer, [1, 2])
        assert ranked_in(log) == [f"until {gate}"]
        assert engine.stats().cancelled == 0


# ---------------------------------------------------------------- who leaves, and whose time is over


@in_loop
async def test_who_leaves_frees_the_queue_and_is_not_computed(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with engine_of({"odd": odd(log=str(log))}, workers=1, ahead=1) as engine:
        busy, *leavers = await begun(
            engine.rank(call_of(f"until {gate}", 1, 2)), *(engine.rank(call_of(f"leaver {i}")) for i in range(5))
        )
        (stayer,) = await begun(engine.rank(call_of("stayer", 3, 4)))
        assert (engine.stats().running, engine.stats().queued) == (1, 6)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        stats = engine.stats()
        assert (stats.queued, stats.cancelled, stats.waiters) == (1, 5, 2)
        gate.touch()
        assert is_right(await busy, [1, 2])
        assert is_right(await stayer, [3, 4])
        assert ranked_in(log) == [f"until {gate}", "stayer"]
        assert engine.stats().queued_cost == 0


@in_loop
async def test_expired_calls_are_dropped_before_they_are_computed(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with engine_of({"odd": odd(log=str(log))}, workers=1) as engine:
        busy, ahead = await begun(*(engine.rank(call_of(query, 1, 2)) for query in (f"until {gate}", "ahead")))
        assert engine.stats().running == 2
        (late,) = await begun(engine.rank(call_of("late", timeout_s=0.1)))
        with pytest.raises(Expired):
            await late
        assert engine.stats().dropped_expired == 1
        gate.touch()
        await asyncio.gather(busy, ahead)
        assert ranked_in(log) == [f"until {gate}", "ahead"]


@in_loop
async def test_what_expires_in_the_hands_of_a_worker_is_not_computed_either(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with engine_of({"odd": odd(log=str(log))}, workers=1) as engine:
        (busy,) = await begun(engine.rank(call_of(f"until {gate}", 1, 2)))
        assert engine.stats().running == 1
        with pytest.raises(Expired):
            await engine.rank(call_of("late", timeout_s=0.1))
        assert engine.stats().running == 2, "the worker holds it, one behind"
        gate.touch()
        await busy
        await until(lambda: engine.stats().running == 0)
        assert ranked_in(log) == [f"until {gate}"]
        assert engine.stats().dropped_expired == 1


@in_loop
async def test_an_answer_for_nobody_is_counted_and_kept(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with engine_of({"odd": odd(log=str(log))}, workers=1) as engine:
        for timeout_s in (0.3, 3.0, 30.0):  # a worker that gets no processor may begin too late
            with pytest.raises(Expired):
                await engine.rank(call_of(f"until {gate}", 1, 2, timeout_s=timeout_s))
            await until(lambda: log.exists() or engine.stats().running == 0)
            if log.exists():
                break
        assert engine.stats().late == 0
        gate.touch()
        await until(lambda: engine.stats().late == 1)
        assert (await engine.rank(call_of(f"until {gate}", 1, 2))).told.cached


# ---------------------------------------------------------------- full, and on the way out


@in_loop
async def test_more_than_the_queue_holds_is_refused_at_the_door(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with engine_of(workers=1, max_queued_calls=3) as engine:
        engine.admit()
        tasks = await begun(*(engine.rank(call_of(query)) for query in (f"until {gate}", "q1", "q2", "q3", "q4")))
        assert engine.stats().queued == 3
        for refuse in (engine.admit, lambda: engine.admit(60.0)):
            with pytest.raises(Overloaded) as told:
                refuse()
            assert told.value.retry_after_s >= 0.1
        with pytest.raises(Overloaded):
            await engine.rank(call_of("one more"))
        assert engine.stats().refused == 3
        (shared,) = await begun(engine.rank(call_of("q4")))
        gate.touch()
        assert (await shared).order == (1, 2, 0), "who only waits along is let in"
        assert (engine.stats().refused, engine.stats().shared, engine.stats().cache_hits) == (3, 1, 0)
        await asyncio.gather(*tasks)
        engine.admit()


@in_loop
async def test_who_could_not_be_answered_in_time_is_refused_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with engine_of({"odd": odd(seconds=0.05)}, workers=1, max_wait_s=600.0, batch_target_s=0.1) as engine:
        began = time.monotonic()
        await engine.rank(call_of("q to learn the pace", 1, 2))
        page_s = engine._pace.seconds("odd", cost_of(page_of("q to learn the pace", 1, 2)))
        assert 0.1 <= page_s <= time.monotonic() - began
        queries = [f"until {gate}", *(f"q{i:02} to learn the pace"[:19] for i in range(19))]
        tasks = await begun(*(engine.rank(call_of(query, 1, 2, timeout_s=600.0)) for query in queries))
        wait_s = engine.stats().estimated_wait_s
        first_s = engine._pace.seconds("odd", cost_of(page_of(queries[0], 1, 2)))
        assert 19 * page_s - 1e-6 <= wait_s <= 19 * page_s + first_s + 1e-6, "the first is being ranked"
        with pytest.raises(Overloaded) as told:
            await engine.rank(call_of("in a hurry", 1, 2, timeout_s=0.5))
        assert 0.5 < told.value.retry_after_s <= wait_s
        with pytest.raises(Overloaded):
            engine.admit(0.5)
        engine.admit(6000.0)
        gate.touch()
        assert all(isinstance(outcome, Outcome) for outcome in await asyncio.gather(*tasks))


@in_loop
async def test_an_idle_worker_takes_what_looks_hopeless() -> None:
    async with engine_of({"odd": odd()}, workers=1) as engine:
        engine._pace.begin("odd", 1.0)
        for number in range(40):
            assert isinstance(await engine.rank(call_of(f"q{number}", timeout_s=5.0)), Outcome)
        assert engine.stats().refused == 0
        assert engine._pace.seconds("odd", 15) < 5 < 15, "the estimate mended itself"


@in_loop
async def test_drain_answers_all_that_was_taken_and_takes_nothing_more() -> None:
    async with engine_of({"odd": odd(seconds=0.02)}, workers=2) as engine:
        tasks = await begun(*(engine.rank(call_of(f"q{i}", i, 30)) for i in range(40)))
        draining = asyncio.create_task(engine.drain())
        await asyncio.sleep(0)
        assert not engine.ready
        with pytest.raises(Draining):
            engine.admit()
        with pytest.raises(Draining):
            await engine.rank(call_of("too late"))
        outcomes = await asyncio.gather(*tasks)
        await draining
        assert all(is_right(outcome, [i, 30]) for i, outcome in enumerate(outcomes))
        assert engine.stats().workers_alive == 0


@in_loop
async def test_drain_ends_within_its_limit_and_tells_those_left() -> None:
    async with engine_of({"odd": odd()}, workers=1, drain_limit_s=0.3) as engine:
        (hung,) = await begun(engine.rank(call_of("hang")))
        async with asyncio.timeout(60):
            await engine.drain()
        with pytest.raises(Draining):
            await hung


@in_loop
async def test_leaving_is_told_and_calls_are_still_taken() -> None:
    async with engine_of(workers=1) as engine:
        engine.leave()
        assert not engine.ready
        engine.admit()
        assert is_right(await engine.rank(call_of("q", 1, 2)), [1, 2])


# ---------------------------------------------------------------- batches


@in_loop
async def test_batches_grow_with_the_load_and_go_in_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spec = {"odd": odd(log=str(log), seconds=0.02)}
    async with engine_of(spec, workers=1, max_batch_pages=4, batch_target_s=5.0) as engine:
        await all_of(engine, [call_of(f"q{i:02}") for i in range(18)])
        stats = engine.stats()
    sizes = [len(batch) for batch in batches_in(log)]
    assert max(sizes) == 4
    assert len(sizes) < 18
    assert ranked_in(log) == [f"q{i:02}" for i in range(18)], "first come, first served"
    assert (stats.batches, stats.batch_pages) == (len(sizes), 18)
    assert stats.batch_cost > 0
    assert stats.batch_s > 18 * 3 * 0.02


@in_loop
async def test_a_real_ranker_scores_a_page_alike_alone_and_in_a_batch() -> None:
    words = ["red lamp", "blue lamp in a red house", "green shoe", "a lamp, red and large"]
    calls = [call_of(f"red lamp {i}", *words, str(i), model="bm25") for i in range(12)]
    from wholepage.apps.serving.worker_process import WORKER_COMMAND

    async with engine_of({"bm25": ModelSpec("bm25")}, WORKER_COMMAND, cache_bytes=0) as engine:
        alone = [await engine.rank(call) for call in calls[:3]]
        together = await all_of(engine, calls)
        assert engine.models[0].modalities == ("text", "answer")
        assert engine.stats().estimated_wait_s == 0
    assert [(one.order, one.scores) for one in alone] == [(one.order, one.scores) for one in together[:3]]
    assert page_of("q").result_ids == ("0", "1", "2")
