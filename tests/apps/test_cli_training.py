"""The commands that learn, on small settings: what they keep can be used by the others."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import wholepage
from wholepage.apps import contenders, experiments, learning, recipes
from wholepage.apps.cli import app
from wholepage.pages.errors import WeightsError
from wholepage.pages.records import read_judgments, read_pages, read_rankings, write_judgments, write_pages
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

TOWERS = TowerConfig(folds=2, loop=LoopConfig(epochs=2))
SMAR = SmarConfig(members=1, keep=16, loop=LoopConfig(epochs=2))
KEYS = {"ranker", "ndcg@10", "low", "high", "cross_pair_accuracy", "labels", "p_holm_vs_smar_10"}


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "WHOLEPAGE_DATA": ""})


@pytest.fixture(scope="module", autouse=True)
def _small(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Few pages and short training; one cache for all tests, as on a user's machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHOLEPAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(contenders, "Settings", partial(contenders.Settings, towers=TOWERS, smar=SMAR))
        patch.setattr(experiments, "QUICK_QUERIES", 16)
        patch.setattr(learning, "fit_single_modal", partial(learning.fit_single_modal, config=TOWERS))
        patch.setattr(recipes, "Recipe", partial(recipes.Recipe, smar=SMAR))
        yield


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """What ``wholepage demo`` left behind, and what it said."""
    out = tmp_path_factory.mktemp("demo") / "run"
    said = run("demo", "--quick", "--out", out, "--json")
    assert said.exit_code == 0, said.output
    return out, said


def test_demo_measures_everybody(shown: tuple[Path, Result]) -> None:
    out, said = shown
    told = json.loads(said.stdout)
    rows = {row["ranker"]: row for row in told}
    assert {"raw", "zscore", "lambdamart", "smar_10", "smar_30", "sft_10"} <= set(rows)
    for row in rows.values():
        assert set(row) >= KEYS
        assert row["low"] <= row["ndcg@10"] <= row["high"]
    assert rows["smar_10"]["p_holm_vs_smar_10"] is None
    assert 0.0 < rows["raw"]["p_holm_vs_smar_10"] <= 1.0
    assert rows["raw"]["labels"] == 0 < rows["smar_10"]["labels"] < rows["smar_30"]["labels"]
    assert f"wholepage rank {out / 'pages.jsonl'} --model {out / 'model'}" in said.stderr


def test_demo_keeps_what_the_other_commands_take(shown: tuple[Path, Result], tmp_path: Path) -> None:
    out, said = shown
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    assert not (out / "checkpoints").exists()
    ranked = run("rank", out / "pages.jsonl", "--model", out / "model", "-o", tmp_path / "smar.jsonl")
    assert ranked.exit_code == 0, ranked.output
    assert "ranked by smar" in ranked.stderr
    pages = list(read_pages(out / "pages.jsonl"))
    rankings = list(read_rankings(tmp_path / "smar.jsonl"))
    for page, ranking in zip(pages, rankings, strict=True):
        ranking.check(page)
    measured = run(
        "evaluate", tmp_path / "smar.jsonl", out / "judgments.jsonl", "--pages", out / "pages.jsonl", "--json"
    )
    cells = json.loads(measured.stdout)["runs"][0]["measures"]
    row = next(row for row in json.loads(said.stdout) if row["ranker"] == "smar_10")
    assert cells["nDCG@10"]["mean"] == pytest.approx(row["ndcg@10"], abs=1e-9)  # the saved model is the measured one
    assert cells["PairAccuracy(cross)"]["mean"] == pytest.approx(row["cross_pair_accuracy"], abs=1e-9)
    assert len(read_judgments(out / "judgments.jsonl")) == sum(map(len, pages))


def test_load_and_rerank_with_the_model(shown: tuple[Path, Result]) -> None:
    out, _ = shown
    ranker = wholepage.load(out / "model")
    assert isinstance(ranker, WholePageRanker)
    page = next(read_pages(out / "pages.jsonl"))
    documents = [
        {"id": r.result_id, "text": r.text, "modality": r.modality.value, "image": [i.uri for i in r.images]}
        for r in page.results
    ]
    found = wholepage.rerank(page.query.text, documents, model=out / "model")
    assert len(found) == len(page)
    assert all(one["score"] is not None for one in found)
    assert found.ranker == "smar_10"


def test_damaged_model_is_refused(shown: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = shown
    folder = tmp_path / "model"
    for path in sorted((out / "model").rglob("*")):
        if path.is_file():
            copy = folder / path.relative_to(out / "model")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    wholepage.load(folder)
    arrays = folder / "arrays.safetensors"
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 1
    arrays.write_bytes(data)
    with pytest.raises(WeightsError, match=r"arrays\.safetensors"):
        wholepage.load(folder)
    assert run("rank", out / "pages.jsonl", "--model", folder).exit_code == 6


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages as users lay them out."""
    folder = tmp_path_factory.mktemp("own")
    world = wholepage.open_collection("synthetic", queries=16, seed=5)
    for split in ("train", "dev"):
        write_pages(folder / f"{split}.pages.jsonl", world.pages(split))
        write_judgments(folder / f"{split}.judgments.jsonl", world.judgments(split))
    return folder


def test_train_smar_keeps_a_model(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "model"
    args = ["--judgments", own / "train.judgments.jsonl", "--share", 0.25, "--strategy", "top", "--image", "none"]
    said = run("train", "smar", own / "train.pages.jsonl", *args, "--out", out, "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    total = sum(map(len, read_pages(own / "train.pages.jsonl")))
    assert facts["selected"] == facts["page_labels"] == total // 4
    assert facts["strategy"] == "top(p=0.25)"
    assert facts["single_modal_labels"] == total
    assert [path.name for path in out.parent.iterdir()] == ["model"]  # no checkpoints left
    assert wholepage.load(out).made_of["text"] == "minilm"


def test_train_refuses_what_it_cannot_do(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert run("train", "smar", own, "--strategy", "best", "--out", out).exit_code == 5
    assert run("train", "smar", own, "--split", "test", "--out", out).exit_code == 5
    assert run("train", "smar", own / "train.pages.jsonl", "--out", out).exit_code == 5  # no judgments
    assert run("train", "smar", own, "--image", "pixel", "--out", out).exit_code == 4
    assert run("train", "smar", own, "--image", "mobilenet", "--out", out).exit_code == 4  # no data folder
    assert not out.exists()


def test_compare_on_own_pages_prints_a_table(own: Path, tmp_path: Path) -> None:
    said = run("compare", own, "--image", "none", "--out", tmp_path / "kept")
    assert said.exit_code == 0, said.output
    for part in ("nDCG@10", "95 %", "p (Holm)", "zscore", "smar_10", "lambdamart_100"):
        assert part in said.stdout
    assert wholepage.load(tmp_path / "kept" / "model").name == "smar_10"
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["model", "report.html"]


def test_compare_by_transfer_and_by_folds(own: Path, tmp_path: Path) -> None:
    for split in ("train", "dev"):  # the same ids: names of collections keep them apart
        for kind in ("pages", "judgments"):
            (tmp_path / f"{split}.{kind}.jsonl").write_bytes((own / f"{split}.{kind}.jsonl").read_bytes())
    args = ["--transfer-from", own, "--transfer-from", tmp_path]
    moved = run("compare", own, *args, "--test-split", "train", "--image", "none", "--json")
    assert moved.exit_code == 0, moved.output
    told = json.loads(moved.stdout)
    twice = sum(map(len, read_pages(own / "train.pages.jsonl"))) * 2
    assert next(row["labels"] for row in told if row["ranker"] == "sft_100") == twice
    both = run("compare", own, *args, "--folds", 2)
    assert both.exit_code == 5
    assert "drop either" in both.stderr
    folded = run("compare", own, "--folds", 2, "--image", "none", "--json")
    assert folded.exit_code == 0, folded.output
    assert {row["ranker"] for row in json.loads(folded.stdout)} == {row["ranker"] for row in told}
