"""The load on the server, in small: the generator keeps its promises, and a short run fills in every number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

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
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, clients = script("serving_load"), script("serving_clients")
    loops: list[list[Any]] = []

    async def kept(*args: Any, **more: Any) -> list[Any]:
        loops.append(await clients.open_loop(*args, **more))
        return loops[-1]

    monkeypatch.setattr(load, "open_loop", kept)
    short = ["--rounds", "1", "--seconds", "1", "--warm-s", "0.5", "--timeout-s", "2", "--soak-minutes", "0.1"]
    size = ["--documents", "6", "--clients", "4", "--without-infinity", "--model", str(tmp_path / "model")]
    load.main([*short, *size, "--json", "--out", str(tmp_path / "load.md")])
    found = json.loads(capsys.readouterr().out)
    statuses = [Counter(reply.status for reply in replies) for replies in loops]
    steady, *over, soak, killed, drain = statuses
    # What 70 % of the peak is changes while others use the machine: who comes then may be refused, and is told so.
    assert all(set(told) <= {200, 429, 504} and told[200] for told in statuses[:-1]), (statuses, found)
    assert found["answered_at_70_percent"] == steady[200] / steady.total()
    assert found["soak_answered"] == soak[200] / soak.total()
    assert found["killed_lost"] == killed.total() - killed[200]
    assert [found[f"statuses_{times}x"] for times in (1, 2, 4)] == [{str(s): told[s] for s in told} for told in over]
    assert found["peak_documents_per_s"] > 0
    for times, replies in zip((1, 2, 4), loops[1:4], strict=True):
        rate = clients.goodput(replies, 6, 2.0, warm_s=2.5, seconds=4.5)
        assert found[f"goodput_{times}x"] == pytest.approx(rate / found["peak_documents_per_s"])
    assert found["added_latency_ms_p50"] == found["latency_ms_p50"] - found["bare_ms_p50"]
    assert np.isfinite(found["rss_slope_mb_per_min"])
    assert found["drain_answered"] == drain[200] > 0
    assert (found["drain_lost"], found["drain_problems"], found["drain_exit_code"]) == (0, [], 0)
    assert f"| drain_lost | {found['drain_lost']} |" in (tmp_path / "load.md").read_text(encoding="utf-8")
