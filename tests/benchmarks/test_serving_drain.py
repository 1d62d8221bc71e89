"""Servers told to go, in small: nothing is lost, and what is counted as lost is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_lost_is_what_connected_and_heard_nothing(script: Callable[[str], ModuleType]) -> None:
    clients = script("serving_clients")
    replies = [
        clients.Reply(0.0, 0.1, 200),
        clients.Reply(0.0, 0.1, 503),
        clients.Reply(0.0, 0.1, 429),
        clients.Reply(0.0, 0.1, 0, "Refused('nobody listens')"),
        clients.Reply(0.0, 0.1, 0, "ConnectionResetError('by peer')"),
        clients.Reply(0.0, 0.1, 500),
    ]
    assert clients.lost(replies) == replies[4:]


def test_one_server_goes_and_every_request_is_accounted_for(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drain = script("serving_drain")
    drain.main(
        ["--rounds", "1", "--rate", "50", "--seconds", "1", "--busy", "1", "--json", "--out", f"{tmp_path}/out.md"]
    )
    found = json.loads(capsys.readouterr().out)
    told = found["told that it goes"] + found["told that too much waits"]
    assert found["answered"] + told + found["could not connect"] == 100
    assert found["answered"] > 0
    assert (found["lost"], found["rounds_that_lost"], found["exit_codes"]) == (0, 0, [0])
    assert "| lost | 0 |" in (tmp_path / "out.md").read_text(encoding="utf-8")
