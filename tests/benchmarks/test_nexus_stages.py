"""The stage table: measured from models as they lie there, with intervals, and nothing trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wholepage.training.taught import ListKind

Script = Callable[[str], ModuleType]


@pytest.fixture
def stages(script: Script) -> ModuleType:
    return script("nexus_stages")


def test_lists_are_of_their_kind_and_follow_the_seed(stages: ModuleType, tmp_path: Path) -> None:
    for kind in ListKind:
        lists = stages.lists_of(kind, 4, 5, tmp_path)
        assert lists
        assert {one.kind for one in lists} == {kind}
        assert lists == stages.lists_of(kind, 4, 5, tmp_path)
        assert all(len(one.page) == 12 for one in lists)


def test_differences_are_to_the_full_schedule_and_tested(stages: ModuleType) -> None:
    rng = np.random.default_rng(0)
    full = {kind: rng.uniform(0.5, 0.9, 80) for kind in ListKind}
    worse = {kind: values - 0.1 for kind, values in full.items()}
    rows = stages.table({"text": worse, "full": full}, "full")
    assert rows[0]["mixed_behind"] == {"by": 0.1, "p": pytest.approx(0.0, abs=0.001)}
    assert "mixed_behind" not in rows[1]
    low, high = rows[1]["text"]["interval"]
    assert low < rows[1]["text"]["ndcg@10"] < high
    assert "+0.100" in stages.markdown(rows)


@pytest.mark.slow
def test_the_shipped_models_are_measured(
    stages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nexus_stages.py", "--json", "--held-out", "6"])
    stages.main()
    told = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in told["stages"]] == ["text", "text-image", "full"]
    for row in told["stages"]:
        for kind in ListKind:
            assert 0.3 < row[kind.value]["ndcg@10"] <= 1.0
    assert told["seeds"] == 1
