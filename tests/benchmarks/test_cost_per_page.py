"""The benchmark of the cost of a page: its pages, its turns, what it compares and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wholepage.pages.model import Page, Ranking

Script = Callable[[str], ModuleType]


class Free:
    """Keeps orders as they are."""

    name = "free"

    def __init__(self) -> None:
        self.ranked: list[str] = []

    def rank(self, pages: list[Page]) -> list[Ranking]:
        self.ranked.extend(page.query_id for page in pages)
        return [Ranking(page.query_id, page.result_ids, by="free") for page in pages]


def test_a_page_depends_on_its_number_alone(script: Script) -> None:
    module = script("cost_turns")
    few, many = list(module.make_pages(3, 0)), list(module.make_pages(9, 0))
    assert few == many[:3] != list(module.make_pages(3, 1))
    assert len({page.query_id for page in many}) == 9
    assert all(6 <= len(page) <= 10 for page in many)


def test_a_job_ranks_every_page_a_turn_at_a_time(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("cost_turns")
    monkeypatch.setattr(module, "SHARD", 50)
    monkeypatch.setattr(module, "TURN", 40)
    ranker, meter, turns = Free(), module.Meter(), list[dict[str, float]]()
    written: list[Path] = []
    really = module.write_rankings
    monkeypatch.setattr(module, "write_rankings", lambda path, all_of: (written.append(path), really(path, all_of)))
    module.job(ranker, 130, 0, meter, lambda: turns.append(meter.read()))
    assert ranker.ranked == [f"q{i}" for i in range(130)]
    assert [turn["pages"] for turn in turns] == [40, 40, 40, 10]
    assert sum(turn["items"] for turn in turns) == sum(map(len, module.make_pages(130, 0)))
    assert [path.name for path in written] == ["000000.jsonl", "000001.jsonl", "000002.jsonl"]
    turns.clear()
    module.job(ranker, 80, 0, meter, lambda: turns.append(meter.read()))
    assert [turn["pages"] for turn in turns] == [40, 40]  # the end of the job is the end of its last turn


def test_neither_making_pages_nor_waiting_is_counted(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("cost_turns")
    monkeypatch.setattr(module, "TURN", 40)
    making, now = module.make_pages, np.zeros(2)  # a clock that goes on only as it is told below
    monkeypatch.setattr(module, "_clocks", now.copy)

    def slow(count: int, seed: int) -> Iterator[Page]:
        for page in making(count, seed):
            now[:] += 1000
            yield page

    class Slow(Free):
        def rank(self, pages: list[Page]) -> list[Ranking]:
            now[:] += np.array([1, 2]) * len(pages)
            return super().rank(pages)

    monkeypatch.setattr(module, "make_pages", slow)
    meter, turns = module.Meter(), list[dict[str, float]]()

    def turn() -> None:
        turns.append(meter.read())
        now[:] += 100_000

    module.job(Slow(), 100, 0, meter, turn)
    assert [(turn["cpu_s"], turn["wall_s"]) for turn in turns] == [(40, 80), (40, 80), (20, 40)]


def test_a_stream_that_ends_early_is_told(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("cost_turns")
    making = module.make_pages
    monkeypatch.setattr(module, "make_pages", lambda count, seed: making(count - 1, seed))
    with pytest.raises(RuntimeError, match="9 pages of 10"):
        module.job(Free(), 10, 0, module.Meter(), lambda: None)


def test_sizes_are_compared_over_the_rounds_of_both(script: Script) -> None:
    module = script("cost_per_page")
    hour = np.random.default_rng(0).uniform(1, 3, 200)  # the machine's mood, the same for both

    def worker(rounds: range, cost: float) -> Any:
        found = module.Worker.__new__(module.Worker)
        found.pages, found.taken = len(rounds) * 10, list(rounds)
        found.turns = [
            {"pages": 10, "cpu_s": 10 * cost * hour[i], "wall_s": 0, "items": 80, "peak_mb": 1} for i in rounds
        ]
        return found

    large, small = worker(range(200), 1.0), worker(range(0, 200, 4), 1.2)
    told = module.compare(small, large, 0)
    assert [told[name] for name in ("ratio", "low", "high")] == pytest.approx([1.2] * 3)
    assert module.tenths(large, small) == pytest.approx([1 / 1.2] * 10)
    large.turns[4]["cpu_s"] *= 50  # one stall makes the ratio unsure, and the interval says so
    told = module.compare(small, large, 0)
    assert told["low"] < told["ratio"] < 1.2 == pytest.approx(told["high"])
    with pytest.raises(RuntimeError, match="no round in common"):
        module.compare(worker(range(0, 10, 2), 1), worker(range(1, 10, 2), 1), 0)


def test_it_prints_sizes_and_how_the_cost_model_does(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("cost_per_page")
    line = ["cost_per_page.py", "--sizes", "2000", "600", "--share", "3", "--warm", "10", "--json"]
    monkeypatch.setattr(sys, "argv", line)
    module.main()
    told = json.loads(capsys.readouterr().out)
    small, large = told["sizes"]
    assert (small["pages"], small["turns"], small["done"]) == (600, 3, 600)
    assert (large["pages"], large["turns"], large["done"], large["ratio"]) == (2000, 8, 2000, 1)
    assert small["low"] <= small["ratio"] <= small["high"]
    assert told["constant"] == (told["spread"] <= 1.1)
    assert [one["pages"] for one in told["planned"]] == [600, 2000]
    assert all(len(one["ratios"]) == 3 for one in told["planned"])
    text = module.table(told)
    assert "| 2,000 | 1 | 8 |" in text
    assert "| 600 | 1 | 3 |" in text
    assert "Tenths of the largest job" in text


def test_a_worker_that_dies_is_told(script: Script) -> None:
    module = script("cost_per_page")
    worker = module.Worker(10, 0, 0)
    worker.take(0)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(RuntimeError, match="10 pages ended with -9"):
        worker.take(1)
    assert worker.taken == [0]
    worker.end()
