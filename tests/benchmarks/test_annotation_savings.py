"""What the benchmark of annotation engines measures, on lists whose figures are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

GRADES = (3, 3, 2, 1, 0, 0, 0, 0)


def test_sums_of_a_list(script: Callable[[str], ModuleType]) -> None:
    bench = script("annotation_savings")
    ran = bench.run(GRADES, bench.Bisection(8, 4), lambda index, k: (GRADES[index], "p"))
    assert (ran.results, ran.claimed, ran.wrong, ran.relevant, ran.found) == (8, 0, 0, 4, 4)
    blind = bench.run(GRADES, bench.Bisection(8, 4), lambda index, k: (0, "p"))
    assert (blind.wrong, blind.found) == (4, 0)
    full = bench.run(GRADES, bench.Full(8, 0.1), lambda index, k: (GRADES[index], "p"))
    assert full.asked == 8
    assert full.claimed == pytest.approx(0.8)


def test_pairs_right_are_counted(script: Callable[[str], ModuleType]) -> None:
    bench = script("annotation_savings")
    assert bench.pair_accuracy([GRADES]) == 1
    assert bench.pair_accuracy([(0, 1), (2, 1, 2)]) == pytest.approx(1 / 3)


def test_people_err_as_often_as_they_are_said_to(script: Callable[[str], ModuleType]) -> None:
    bench = script("annotation_savings")
    grades = tuple(np.random.default_rng(0).integers(0, 4, size=4000).tolist())
    answer = bench.noisy(grades, 0.1, "name")
    said = np.array([[answer(i, k)[0] for k in range(3)] for i in range(4000)])
    wrong = said != np.array(grades)[:, None]
    assert abs(wrong.mean() - 0.1) < 0.01
    assert abs((wrong[:, 0] & wrong[:, 1]).mean() - 0.01) < 0.005  # each person others
    assert answer(7, 1) == bench.noisy(grades, 0.1, "name")(7, 1)


def test_lists_are_measured_from_their_files_alone(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    bench = script("annotation_savings")
    draw = np.random.default_rng(1)
    lists = [
        {"collection": "fashion", "side": side, "ranker": "towers", "query": f"{side}{k}", "modality": modality,
         "grades": np.sort(draw.integers(0, 4, size=9))[::-1].tolist()}
        for side in ("train", "test") for k in range(12) for modality in ("text", "image")
    ]  # fmt: skip
    (tmp_path / "fashion.json").write_text(json.dumps(lists))
    out = tmp_path / "out.md"
    command = ["x", "--lists", str(tmp_path), "--only", "fashion", "--quick", "--json", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    bench.main()
    rows = json.loads(capsys.readouterr().out)["real"]
    whole = {(row["people"], row["engine"]): row for row in rows if row["lists"] == "fashion, towers"}
    assert whole["perfect", "bisect"]["real_error"] == 0
    assert whole["perfect", "bisect"]["ranker_pair_accuracy"] == 1
    assert whole["10% error", "full"]["questions_a_list"] == 9
    assert whole["perfect", "hmm"]["saving"] > 0.2
    assert {row["lists"] for row in rows} == {"fashion, towers", "fashion, towers: text", "fashion, towers: image"}
    text = out.read_text()
    assert "| fashion, towers | 9.0 | 1.000 | perfect | bisect |" in text
    with pytest.raises(SystemExit, match=r"got no .*grocery\.json"):
        bench.lists_on_disk("grocery", tmp_path, None)
