"""The load on the server, in small: the generator keeps its promises, and a short run fills in every number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def test_arrivals_are_as_many_as_expected_and_repeat(script: Callable[[str], ModuleType]) -> None:
    arrivals = script("serving_clients").arrivals
    moments = arrivals(50.0, 20.0, seed=3)
    assert len(moments) == 1000
    assert moments == sorted(moments) == arrivals(50.0, 20.0, seed=3)
    assert moments != arrivals(50.0, 20.0, seed=4)
    assert moments[0] >= 0
    assert moments[-1] <= 20
    gaps = np.diff(moments)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.15), "gaps of a Poisson process vary as much as they last"


def test_bodies_are_all_different_and_repeat(script: Callable[[str], ModuleType]) -> None:
    asks_of = script("serving_clients").asks_of
    asks = asks_of("m", 50, 3, seed=1)
    assert asks == asks_of("m", 50, 3, seed=1)
    assert len({json.loads(one.body)["query"] for one in [*asks, *asks_of("m", 50, 3, seed=2)]}) == 100
    assert all(len(json.loads(one.body)["documents"]) == one.documents == 3 for one in asks)


def test_goodput_counts_what_came_in_time_within_the_window(script: Callable[[str], ModuleType]) -> None:
    clients = script("serving_clients")
    replies = [
        clients.Reply(0.0, 0.5, 200),  # before the window
        clients.Reply(1.0, 1.5, 200),
        clients.Reply(1.0, 3.5, 200),  # too late
        clients.Reply(2.0, 2.1, 429),
        clients.Reply(2.0, 4.0, 200),
        clients.Reply(4.5, 5.5, 200),  # after the window
        clients.Reply(3.0, 3.1, 0, "ReadError()"),
    ]
    assert clients.goodput(replies, 10, 2.0, warm_s=1.0, seconds=5.0) == pytest.approx(2 * 10 / 4)


@pytest.mark.slow
def test_a_short_run_fills_in_every_number(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = script("serving_load")
    short = ["--rounds", "1", "--seconds", "1", "--warm-s", "0.5", "--timeout-s", "2", "--soak-minutes", "0.1"]
    size = ["--documents", "2", "--clients", "4", "--without-infinity", "--model", str(tmp_path / "model")]
    load.main([*short, *size, "--json", "--out", str(tmp_path / "load.md")])
    found = json.loads(capsys.readouterr().out)
    assert found["peak_documents_per_s"] > 0
    assert all(found[f"goodput_{times}x"] > 0 for times in (1, 2, 4))
    assert found["added_latency_ms_p50"] == found["latency_ms_p50"] - found["bare_ms_p50"]
    assert np.isfinite(found["rss_slope_mb_per_min"])
    assert (found["drain_lost"], found["drain_problems"], found["drain_exit_code"]) == (0, [], 0)
    assert found["answered_at_70_percent"] == found["soak_answered"] == 1.0
    assert f"| drain_lost | {found['drain_lost']} |" in (tmp_path / "load.md").read_text(encoding="utf-8")
