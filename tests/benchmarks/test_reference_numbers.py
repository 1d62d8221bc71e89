"""Reference numbers: every part on the data at hand, the reference apart from the package, what is printed."""

from __future__ import annotations

import ast
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wholepage.evaluation.measures import evaluate
from wholepage.pages import Judgments, Ranking

Script = Callable[[str], ModuleType]


@pytest.fixture
def real(data_root: Path) -> Path:
    needed = ("trec_dl", "qilin_toy", "ltr_lightgbm", "pages/mmdocir_pages.jsonl.gz")
    missing = [one for one in needed if not (data_root / one).exists()]
    if missing:
        pytest.skip(f"no {', '.join(missing)} in {data_root}: set WHOLEPAGE_DATA to a folder that holds them")
    return data_root


def test_the_reference_knows_nothing_of_the_package(script: Script) -> None:
    source = Path(str(script("reference_straight").__file__)).read_text(encoding="utf-8")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    assert not found & {"wholepage", "ir_measures", "pytrec_eval", "conditions"}


def test_its_measure_is_that_of_trec_eval(script: Script) -> None:
    straight, lots = script("reference_straight"), np.random.default_rng(0)
    ids = [f"d{n}" for n in range(30)]
    for _ in range(20):
        grades = {one: float(lots.integers(0, 4)) for one in lots.choice(ids, 18, replace=False)}
        order = [str(one) for one in lots.permutation(ids)]
        said = Judgments.from_mapping({"q": grades})
        known = evaluate([Ranking("q", tuple(order), by="lots")], said, ["nDCG@10"]).mean("nDCG@10")
        assert straight.ndcg(order, grades) == pytest.approx(known, abs=1e-12)
    assert straight.ndcg(ids, {"d0": 0.0}) == 0.0
    assert straight.ndcg(["a", "b"], {"b": 1.0}) == pytest.approx(1 / math.log2(3))


def test_published_and_recomputed_figures_are_ours(script: Script, real: Path, tmp_path: Path) -> None:
    bench = script("reference_numbers")
    rows = [*bench.trec_runs(real), *bench.mmdocir(real), *bench.qilin(real), *bench.letor(real, tmp_path)]
    assert [one["what"] for one in rows if not one["agrees"]] == []
    published = {one["what"]: one["published"] for one in rows if one["published"] is not None}
    assert len(published) == 20
    assert published["dl20 BM25"] == 0.4796
    assert all(one["source"] for one in rows if one["published"] is not None)
    assert all(one["recomputed"] is not None for one in rows)


def test_words_within_a_list_agree_with_bm25s(script: Script, real: Path) -> None:
    assert [one["agrees"] for one in script("reference_numbers").trec_rerankers(real, 0, 0)] == [True, True]


@pytest.mark.slow
def test_minilm_agrees_with_sentence_transformers(script: Script, real: Path) -> None:
    minilm, few = list(script("reference_numbers").trec_rerankers(real, 2, 1))[2:]
    assert (minilm["queries"], minilm["recomputed"], minilm["agrees"]) == (2, None, None)
    assert (few["queries"], few["agrees"]) == (1, True)


def test_made_rows_only_show_that_the_path_works(script: Script, tmp_path: Path) -> None:
    rows = list(script("reference_numbers").made_inquire(tmp_path, queries=4, photos=5))
    assert [one["measure"] for one in rows] == ["AP", "nDCG@10"]
    assert all(one["agrees"] and "made" in one["collection"] for one in rows)


def test_a_figure_that_differs_is_said(script: Script) -> None:
    bench = script("reference_numbers")
    assert bench.row("c", "w", "nDCG@10", 1, 0.50582, 0.50582, 0.5058, "s")["agrees"]
    assert not bench.row("c", "w", "nDCG@10", 1, 0.5058, 0.5059)["agrees"]
    assert not bench.row("c", "w", "nDCG@10", 1, 0.5058, 0.5058, 0.5062, "s")["agrees"]
    assert bench.row("c", "w", "nDCG@10", 1, 0.5058, None)["agrees"] is None


def test_it_prints_and_writes_all_of_it(
    script: Script, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, out = script("reference_numbers"), tmp_path / "numbers.md"
    wrong = bench.row("c", "worse", "nDCG@10", 3, 0.25, 0.5, 0.5, "a paper")
    for part in ("trec_runs", "trec_rerankers", "mmdocir", "letor"):
        monkeypatch.setattr(bench, part, lambda *_: iter([wrong]))
    monkeypatch.setattr(sys, "argv", ["reference_numbers.py", "--root", str(real), "--json", "--out", str(out)])
    bench.main()
    told = json.loads(capsys.readouterr().out)
    assert told["all_agree"] is False
    assert told["sources"] == ["a paper"]
    text = out.read_text()
    assert "| c | worse | nDCG@10 | 3 | 0.2500 | 0.5000 | 0.5000 [1] | NO |" in text
    assert "[1] a paper." in text
    assert f"No data here: {', '.join(told['no_data'])}." in text
