"""The benchmark of the cost of a page: its pages, its runs, what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType

import pytest


def test_a_page_depends_on_its_number_alone(script: Callable[[str], ModuleType]) -> None:
    module = script("cost_per_page")
    few, many = list(module.make_pages(3, 0)), list(module.make_pages(9, 0))
    assert few == many[:3] != list(module.make_pages(3, 1))
    assert len({page.query_id for page in many}) == 9
    assert all(6 <= len(page) <= 10 for page in many)


def test_a_run_ranks_every_page_and_leaves_out_their_making(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("cost_per_page")
    monkeypatch.setattr(module, "SHARD", 50)
    ranked: list[str] = []

    class Free:
        name = "free"

        def rank(self, pages: list[object]) -> list[object]:
            from wholepage.pages.model import Ranking

            ranked.extend(page.query_id for page in pages)
            return [Ranking(page.query_id, page.result_ids, by="free") for page in pages]

    monkeypatch.setattr(module, "make_ranker", lambda warm, seed: Free())
    found = module.run(130, 0, 0)
    assert ranked == [f"q{i}" for i in range(130)]
    assert found["items"] == sum(map(len, module.make_pages(130, 0)))

    ranked.clear()
    several = module.run(40, 0, 0, 100)
    assert (len(ranked), several["jobs"], several["pages"]) == (120, 3, 40)
    assert several["items"] == pytest.approx(sum(len(p) for s in (0, 2, 4) for p in module.make_pages(40, s)) / 3)

    making = module.make_pages

    def slow(count: int, seed: int) -> object:
        import time

        for page in making(count, seed):
            time.sleep(0.005)
            yield page

    monkeypatch.setattr(module, "make_pages", slow)
    assert module.run(130, 0, 0)["wall_s"] < 130 * 0.005 / 2


def test_it_prints_sizes_and_how_the_cost_model_does(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("cost_per_page")
    monkeypatch.setattr(module, "apart", module.run)
    line = ["cost_per_page.py", "--sizes", "80", "20", "--repeats", "1", "--warm", "10", "--least", "60", "--json"]
    monkeypatch.setattr(sys, "argv", line)
    module.main()
    told = json.loads(capsys.readouterr().out)
    assert [row["pages"] for row in told["sizes"]] == [20, 80]
    assert told["constant"] == (told["spread"] <= 1.1)
    assert [one["pages"] for one in told["planned"]] == [20, 80]
    text = module.table(told)
    assert "| 80 | 1 x 1 |" in text
    assert "| 20 | 1 x 3 |" in text
    assert "to the smallest" in text
