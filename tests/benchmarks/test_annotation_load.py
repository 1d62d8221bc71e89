"""The measurement of annotators at once, at a size at which it means nothing: that it runs and checks itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_load_is_measured_with_one_process_and_with_two(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = script("annotation_load")
    monkeypatch.chdir(tmp_path)
    bench.main(["--people", "4", "--tasks", "24", "--results", "6", "--overlap", "2", "--out", "load.md"])
    said = capsys.readouterr().out
    assert (tmp_path / "load.md").read_text(encoding="utf-8") == said.removesuffix("\n")
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| SQLite")]
    assert [(row[1], row[2]) for row in rows] == [("1", "48"), ("2", "48")]
    for row in rows:
        assert all(float(cell.strip(" |").replace(",", "")) >= 0 for cell in row[3:])
    assert list(tmp_path.iterdir()) == [tmp_path / "load.md"]


def test_calls_are_counted(script: Callable[[str], ModuleType]) -> None:
    bench = script("annotation_load")
    calls = bench.Calls([0.001, 0.002, 0.009], [0.004, 0.004, 0.004], 2.0)
    assert bench.row("SQLite", 1, 0.5, calls, 3) == "| SQLite | 1 | 3 | 2 | 2.0 | 8.9 | 9.0 | 4.0 | 4.0 | 4.0 | 0.50 |"
    plan = bench.plan_of(25, 10)
    assert [len(page) for page in plan.pages] == [10, 10, 5]
    assert plan.results == 25
