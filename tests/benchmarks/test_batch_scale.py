"""Batch jobs at a size at which speed means nothing: that they run, and that the ratios are of the right numbers."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wholepage.pages.records import read_pages

Script = Callable[[str], ModuleType]


def test_pages_are_made_from_number_and_seed(script: Script, tmp_path: Path) -> None:
    jobs = script("batch_jobs")
    for name, count, seed in (("a", 5, 1), ("b", 3, 1), ("c", 3, 2)):
        jobs.make(tmp_path / name, count, seed)
    a, b, c = (list(read_pages(tmp_path / name)) for name in "abc")
    assert a[:3] == b
    assert b != c
    assert all(len(page) == jobs.RESULTS for page in a)


def test_a_job_runs_by_the_command(script: Script, tmp_path: Path) -> None:
    jobs = script("batch_jobs")
    jobs.make(tmp_path / "p.jsonl", 40, 0)
    found = jobs.run(tmp_path / "p.jsonl", tmp_path / "out", jobs.Engine(1), 10)
    assert (found["rows"], found["shards"]) == (40, 4)
    assert found["output_sha256"] == json.loads((tmp_path / "out" / "_SUCCESS").read_text())["output_sha256"]
    assert found["cpu_s"] > 0
    assert found["shards_a_second"] > 0
    with pytest.raises(SystemExit, match="ended with 4"):
        jobs.run(tmp_path / "none.jsonl", tmp_path / "other", jobs.Engine(0), 20)


@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_a_job_is_killed_and_comes_to_its_end(script: Script, tmp_path: Path, victim: str) -> None:
    jobs = script("batch_jobs")
    jobs.make(tmp_path / "p.jsonl", 4000, 0)
    found = jobs.killed(tmp_path / "p.jsonl", tmp_path / "out", jobs.Engine(2), 40, victim)
    assert 2 <= found["stood"] < found["shards"] == 100
    assert found["killed_pid"] != os.getpid()
    if victim == "worker":
        assert (found["workers_lost"], found["shards_done"]) == (1, 100)
    else:
        assert 0 < found["shards_done"] <= 100 - found["stood"]
    assert jobs.ids_in(found["out"], 4000) == {"rows_lost": 0, "rows_doubled": 0}
    whole = jobs.run(tmp_path / "p.jsonl", tmp_path / "whole", jobs.Engine(0), 40)
    assert found["output_sha256"] == whole["output_sha256"]


def test_rows_lost_and_doubled_are_counted(script: Script, tmp_path: Path) -> None:
    jobs = script("batch_jobs")
    for name, numbers in (("part-0.jsonl", (0, 1, 3)), ("part-1.jsonl", (3, 3, 5))):
        (tmp_path / name).write_text("".join(json.dumps({"query_id": f"q{one}"}) + "\n" for one in numbers))
    assert jobs.ids_in(tmp_path, 7) == {"rows_lost": 3, "rows_doubled": 2}


def test_the_rate_leaves_the_start_out(script: Script, tmp_path: Path) -> None:
    jobs = script("batch_jobs")
    (tmp_path / "_done").mkdir()
    for number, when in enumerate((10, 10, 12, 12, 14, 14)):  # two workers, a shard each two seconds
        path = tmp_path / "_done" / f"{number}.json"
        path.touch()
        os.utime(path, (when, when))
    assert jobs.rate_without_start(tmp_path, 2) == pytest.approx(1.0)
    assert jobs.rate_without_start(tmp_path, 3) is None


class Told:
    """What jobs would tell: half the time by two workers, other bytes by one of them."""

    def __init__(self, other: str = "") -> None:
        self.other = other

    def run(self, pages: Path, out: Path, engine: Any, shard_rows: int) -> dict[str, Any]:
        count = sum(1 for _ in pages.open())
        seconds = 12 / max(engine.workers, 1) + 6 * engine.ray
        return {
            "seconds": seconds,
            "pages_a_second": count / seconds,
            "shards_a_second": 2.0 * max(engine.workers, 1),
            "output_sha256": "other" if str(engine) == self.other else "same",
            "peak_bytes": {"driver": 1e6, "worker": 1e6 + 1e3 * count},
            "cpu_s": 1 + 0.002 * count,
        }

    def killed(self, pages: Path, out: Path, engine: Any, shard_rows: int, victim: str) -> dict[str, Any]:
        out.mkdir()
        rows = [f"q{one}" for one in range(29)] + (["q0", "q1"] if victim == "driver" else [])
        (out / "part-0.jsonl").write_text("".join(json.dumps({"query_id": one}) + "\n" for one in rows))
        digest = "other" if victim == "driver" else "same"
        return {"output_sha256": digest, "out": out, "shards": 30, "stood": 4, "shards_done": 26}


def measured(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, told: Told, **given: Any) -> dict[str, Any]:
    monkeypatch.setattr(bench, "run", told.run)
    monkeypatch.setattr(bench, "killed", told.killed)
    args = {"speed_pages": 48, "kill_pages": 30, "small": 1000, "pages": 4000, "seed": 0, "no_ray": True, "repeats": 1}
    args |= given
    found: dict[str, Any] = bench.measure(Namespace(**args))
    return found


def test_ratios(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = script("batch_scale")
    found = measured(bench, monkeypatch, Told("processes_4"))
    assert (found["speedup_2_workers"], found["same_output"]) == (2.0, False)
    assert found["ray"] == "left out by --no-ray"
    assert found["speedup_2_ray_workers"] is None
    assert found["peak_rss_ratio"] == 2.0
    assert found["peak_rss_ratio_1m_10k"] is None
    assert found["cost_ratio"] == pytest.approx((9 / 4000) / (3 / 1000), abs=1e-3)
    assert found["cost_ratio_without_start"] == 1.0
    assert (found["kill_worker_same_output"], found["kill_driver_same_output"]) == (True, False)
    assert (found["rows_lost"], found["rows_doubled"]) == (2, 2)
    monkeypatch.setattr(bench, "FEW", 1000)
    monkeypatch.setattr(bench, "MANY", 4000)
    assert measured(bench, monkeypatch, Told())["peak_rss_ratio_1m_10k"] == 2.0


def test_ray_is_measured_where_there_is_ray(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = script("batch_scale")
    monkeypatch.setattr(bench, "why_no_ray", lambda left_out: None)
    monkeypatch.setattr(bench.conditions, "version", lambda name: f"{name} 1")
    found = measured(bench, monkeypatch, Told())
    assert found["ray"] == "ray 1"
    assert list(found["digests"]) == ["in_process", *(f"processes_{i}" for i in (1, 2, 4)), "ray_1", "ray_2", "ray_4"]
    assert found["same_output"] is True
    assert measured(bench, monkeypatch, Told("ray_4"))["same_output"] is False
    assert (found["speedup_2_ray_workers"], found["speedup_2_ray_workers_with_start"]) == (2.0, 1.5)
    assert (found["kill_ray_worker_same_output"], found["kill_ray_driver_same_output"]) == (True, False)
    shown = bench.table({**found, "command": "c", "commit": "0", "machine": "m"})
    assert "| ray 4 | " in shown
    assert "| ray driver | **no** | 4 of 30 | 26 | 1 | 2 |" in shown


def test_one_and_two_workers_take_turns_and_the_median_counts(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, told, done = script("batch_scale"), Told(), list[str]()
    once = told.run

    def wandering(pages: Path, out: Path, engine: Any, shard_rows: int) -> dict[str, Any]:
        done.append(str(engine))
        slow = {1: 1.0, 2: 3.0, 3: 1.2}.get(done.count("processes_1"), 1.0) if str(engine) == "processes_2" else 1.0
        found = once(pages, out, engine, shard_rows)
        return {**found, "seconds": found["seconds"] * slow}

    monkeypatch.setattr(told, "run", wandering)
    found = measured(bench, monkeypatch, told, repeats=3)
    jobs = ["in_process", "processes_1", "processes_2", "processes_4", *["processes_1", "processes_2"] * 2]
    assert done[: len(jobs)] == jobs
    assert found["speedups"]["processes"]["with_start"] == pytest.approx([2.0, 2 / 3, 2 / 1.2], abs=1e-3)
    assert found["speedup_2_workers"] == pytest.approx(2 / 1.2, abs=1e-3)
    shown = bench.table({**found, "command": "c", "commit": "0", "machine": "m"})
    assert "| processes, with start | 2.00 | 0.67 | 1.67 |" in shown


def test_the_table_says_what_was_not_measured(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = script("batch_scale")
    found = measured(bench, monkeypatch, Told())
    shown = bench.table({**found, "command": "c", "commit": "0", "machine": "m"})
    assert "- Ray: left out by --no-ray" in shown
    assert "Two Ray actors to one: not measured" in shown
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    assert bench.why_no_ray(False) == "not installed: ray, pandas"
