"""The load on the desk, on a small campaign: everything is answered once, and the table says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_a_small_campaign_is_answered_over_http(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load = script("desk_load")
    load.main(
        ["--people", "3", "--tasks", "8", "--results", "4", "--overlap", "2", "--think-ms", "0", "--out", "load.md"]
    )
    lines = (tmp_path / "load.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("| SQLite")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["SQLite", "0", "16"]
    assert all(float(cell) > 0 for cell in cells[3:10])
    assert float(cells[4]) <= float(cells[5]) <= float(cells[6])
    assert [path.name for path in tmp_path.iterdir()] == ["load.md"]
