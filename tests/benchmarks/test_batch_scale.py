"""Batch jobs at a size at which speed means nothing: that they run, and that the ratios are of the right numbers."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wholepage.pages.records import read_pages


def test_pages_are_made_from_number_and_seed(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    bench = script("batch_scale")
    for name, count, seed in (("a", 5, 1), ("b", 3, 1), ("c", 3, 2)):
        bench.make(tmp_path / name, count, seed)
    a, b, c = (list(read_pages(tmp_path / name)) for name in "abc")
    assert a[:3] == b
    assert b != c
    assert all(len(page) == bench.RESULTS for page in a)


def test_a_job_runs_by_the_command(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    bench = script("batch_scale")
    bench.make(tmp_path / "p.jsonl", 40, 0)
    found = bench.run(tmp_path / "p.jsonl", tmp_path / "out", 1, 20)
    assert (found["rows"], found["shards"]) == (40, 2)
    assert found["output_sha256"] == json.loads((tmp_path / "out" / "_SUCCESS").read_text())["output_sha256"]
    assert found["cpu_s"] > 0
    with pytest.raises(SystemExit, match="ended with 4"):
        bench.run(tmp_path / "none.jsonl", tmp_path / "other", 1, 20)


def test_ratios(script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = script("batch_scale")

    def told(pages: Path, out: Path, workers: int, shard_rows: int) -> dict[str, Any]:
        count = sum(1 for _ in pages.open())
        return {
            "seconds": 12 / workers,
            "pages_a_second": count / (12 / workers),
            "output_sha256": "same" if workers < 4 else "other",
            "peak_bytes": {"driver": 1e6, "worker": 1e6 + 1e3 * count},
            "cpu_s": 1 + 0.002 * count,
        }

    monkeypatch.setattr(bench, "run", told)
    found = bench.measure(Namespace(speed_pages=48, small=1000, pages=4000, seed=0))
    assert (found["speedup_2_workers"], found["same_output"]) == (2.0, False)
    assert found["peak_rss_ratio"] == 2.0
    assert found["peak_rss_ratio_1m_10k"] is None
    assert found["cost_ratio"] == pytest.approx((9 / 4000) / (3 / 1000), abs=1e-3)
    assert found["cost_ratio_without_start"] == 1.0
    monkeypatch.setattr(bench, "FEW", 1000)
    monkeypatch.setattr(bench, "MANY", 4000)
    found = bench.measure(Namespace(speed_pages=48, small=1000, pages=4000, seed=0))
    assert found["peak_rss_ratio_1m_10k"] == 2.0
