"""The measurements of time, at a size at which they mean nothing: that they run, and that their sums are right."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from wholepage.training.workers import Workers


def test_throughput_of_all_rankers(script: Callable[[str], ModuleType]) -> None:
    bench = script("page_head_throughput")
    asked = Namespace(pages=40, items=[4, 10], threads=1, batch_size=16, repeats=2, seed=0)
    sizes = [bench.measure(asked, items) for items in asked.items]
    assert [(size["pages"], size["items"]) for size in sizes] == [(40, 4), (16, 10)]
    for size in sizes:
        rates = size["pages_per_s"]
        assert [name.split(",")[0] for name in rates] == [
            "page head",
            "page head",
            "distilled small head",
            "context-aware (numbers only)",
            "context-aware (numbers only)",
            "LambdaMART",
        ]
        for name, rate in rates.items():
            # As far as what is told was rounded.
            assert size["pages"] <= (rate + 0.06) * (size["slowest_s"][name] + 1e-6)
            trees, ratio = rates["LambdaMART"], size["ratio_to_lambdamart"][name]
            assert ratio * trees == pytest.approx(rate, abs=0.06 * (1 + ratio) + 0.0006 * trees)
    text = bench.table({"command": "c", "commit": "x", "machine": "m", "sizes": sizes})
    assert "## 4 results a page" in text
    assert "## 10 results a page" in text


def test_training_time_of_all_rankers(script: Callable[[str], ModuleType]) -> None:
    bench = script("training_time")
    asked = Namespace(pages=40, items=6, held=20, share=0.5, threads=1, epochs=1)
    rows = bench.measure(asked, Workers())
    assert len(rows) == 5
    assert rows[0]["ranker"] == bench.TREES_ALL
    for row in rows:
        assert row["ratio_all"] == pytest.approx(row["seconds"] / rows[0]["seconds"])
        assert row["ratio_same"] == pytest.approx(row["seconds"] / rows[1]["seconds"])
        assert 0 < row["ndcg"] <= 1
    text = bench.table({"command": "c", "commit": "x", "machine": "m", "rows": rows, **vars(asked)})
    assert "grades of 50% of the pages bought" in text


def test_generated_pages_can_be_learned_and_labels_are_whole_pages(script: Callable[[str], ModuleType]) -> None:
    bench = script("training_time")
    taught = bench.make_lessons(60, 8, seed=1)
    again = bench.make_lessons(60, 8, seed=1)
    assert all(np.array_equal(a.items.item, b.items.item) for a, b in zip(taught, again, strict=True))
    assert {grade for lesson in taught for grade in lesson.grades.tolist()} == {0.0, 1.0, 2.0, 3.0}
    assert all(np.corrcoef(lesson.grades, lesson.teacher)[0, 1] > 0.5 for lesson in taught if lesson.grades.std())
    some = bench.bought(taught, 0.25, seed=3)
    assert sum(bool(np.isfinite(lesson.grades).all()) for lesson in some) == 15
    assert sum(bool(np.isnan(lesson.grades).all()) for lesson in some) == 45


def test_ndcg_is_that_of_scikit_learn(script: Callable[[str], ModuleType]) -> None:
    bench = script("training_time")
    held = [lesson for lesson in bench.make_lessons(20, 15, seed=2) if lesson.grades.any()]
    scores = [np.random.default_rng(i).standard_normal(15).astype(np.float32) for i in range(len(held))]
    expected = [
        ndcg_score([np.exp2(lesson.grades) - 1], [given], k=10) for lesson, given in zip(held, scores, strict=True)
    ]
    assert bench.ndcg(scores, held) == pytest.approx(np.mean(expected), rel=1e-6)
