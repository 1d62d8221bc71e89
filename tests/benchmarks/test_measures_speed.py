"""The speed of measures, at a size at which it means nothing: that it runs, and that its sums are right."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Callable
from types import ModuleType

import pytest


def test_all_contests_run_on_the_same_values(script: Callable[[str], ModuleType]) -> None:
    bench = script("measures_speed")
    found = bench.measure(Namespace(queries=30, results=12, judged=8, repeats=2, seed=1))
    assert found["largest_difference"] < 1e-9
    assert list(found["seconds"]) == ["whole", "core", "nouns"]
    for kind, of in found["seconds"].items():
        assert all(len(seconds) == 2 for seconds in of.values())
        assert found["speed"][kind].keys() == of.keys() - {"wholepage"}
    middle = {name: statistics.median(seconds) for name, seconds in found["seconds"]["whole"].items()}
    # Seconds are rounded to four places, ratios to two: on a fast machine little is left of such a short run.
    off = 0.005 * middle["wholepage"] + 0.00006 * (1 + found["speed_vs_pytrec_eval"])
    assert found["speed_vs_pytrec_eval"] * middle["wholepage"] == pytest.approx(middle["pytrec_eval"], abs=off)
    assert found["reaches_target"] == (min(found["speed"]["whole"].values()) >= 1)
    text = bench.table({"command": "c", "commit": "x", "machine": "m", **found})
    assert "| whole | pytrec_eval |" in text
    assert f"speed_vs_ir_measures {found['speed_vs_ir_measures']}" in text


def test_made_runs_have_what_they_say(script: Callable[[str], ModuleType]) -> None:
    run, qrels = script("measures_speed").make(20, 30, 16, seed=2)
    assert run.keys() == qrels.keys()
    assert all(len(scores) == 30 for scores in run.values())
    assert all(len(grades) == 16 for grades in qrels.values())
    assert all(len(run[query].keys() & qrels[query].keys()) == 12 for query in run)
    tied = sum(len(scores) - len(set(scores.values())) for scores in run.values()) / sum(map(len, run.values()))
    assert 0.02 < tied < 0.3
    assert script("measures_speed").make(20, 30, 16, seed=2) == (run, qrels)
