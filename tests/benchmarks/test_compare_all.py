"""The table of a comparison, as the script beside it writes it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType


def test_a_table_says_what_was_measured_and_on_what(script: Callable[[str], ModuleType]) -> None:
    bench = script("compare_all")
    row = {"ndcg@10": 0.5, "low": 0.25, "high": 0.75, "cross_pair_accuracy": 0.625, "labels": 12}
    rows = [row | {"ranker": "smar_10", "p_holm_vs_smar_10": None}, row | {"ranker": "raw", "p_holm_vs_smar_10": 0.03}]
    written = bench.table("fashion", rows, "wholepage compare fashion", 61.4)
    assert written.startswith("# fashion\n\n`wholepage compare fashion` · commit ")
    assert f"{bench.machine()} · 61 s" in written
    assert "| smar_10 | 0.5000 | 0.2500 .. 0.7500 | 0.6250 | 12 |  |\n" in written
    assert written.endswith("| raw | 0.5000 | 0.2500 .. 0.7500 | 0.6250 | 12 | 0.0300 |\n")
