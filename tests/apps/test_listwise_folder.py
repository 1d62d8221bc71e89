"""A folder with a listwise ranker works wherever a model folder is named: rank, evaluate, and in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import wholepage
from wholepage.apps.cli import app
from wholepage.apps.resolve import LISTWISE
from wholepage.pages.model import Modality
from wholepage.pages.protocols import Ranker, scores_on
from wholepage.pages.records import read_pages, read_rankings
from wholepage.rankers.listwise import KIND, ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_prompt import WindowLimits

LIMITS = WindowLimits(text_tokens=30, query_tokens=20, visual_tokens=96, most_per_picture=8, least_per_picture=4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WHOLEPAGE_DATA", "")


@pytest.fixture
def folder(tiny_vlm: Callable[[str], Path], tmp_path: Path) -> Path:
    config = ListwiseConfig(window=4, stride=2, limits=LIMITS)
    ListwiseRanker.from_pretrained(tiny_vlm("qwen2_vl"), config, device="cpu").save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    lines = []
    for q in range(3):
        results: list[dict[str, Any]] = []
        for i in range(6):
            path = tmp_path / f"{q}{i}.png"
            Image.fromarray(draw.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
            kind = {"modality": "image", "images": [{"uri": str(path)}]} if i % 2 else {"modality": "text"}
            results.append({"result_id": f"r{i}", "text": f"red lamp {i}", **kind})
        lines.append(json.dumps({"query": {"query_id": f"q{q}", "text": "red shoe"}, "results": results}))
    (tmp_path / "pages.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "pages.jsonl"


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def test_rank_and_evaluate_take_the_folder(folder: Path, pages: Path, tmp_path: Path) -> None:
    assert KIND == LISTWISE
    out = tmp_path / "rankings.jsonl"
    done = run("rank", pages, "--model", folder, "-o", out)
    assert done.exit_code == 0, done.output
    listed, ranked = list(read_pages(pages)), list(read_rankings(out))
    for page, ranking in zip(listed, ranked, strict=True):
        ranking.check(page)
        assert ranking.by.startswith("listwise(")
    assert ranked == ListwiseRanker.load(folder, device="cpu").rank(listed)
    (tmp_path / "qrels.txt").write_text("".join(f"q{q} 0 r{i} {i % 3}\n" for q in range(3) for i in range(6)))
    done = run("evaluate", out, tmp_path / "qrels.txt", "--json")
    assert done.exit_code == 0, done.output
    assert "nDCG@10" in done.output


def test_pictures_seen_are_kept_between_runs(folder: Path, pages: Path, tmp_path: Path) -> None:
    listed = list(read_pages(pages))
    first = wholepage.load(folder)
    assert isinstance(first, Ranker)
    told = first.rank(listed)
    assert first.diagnostics.image_encodings == 9
    again = wholepage.load(folder)
    assert again.rank(listed) == told
    assert (again.diagnostics.image_encodings, again.diagnostics.image_disk_hits) == (0, 9)
    assert list((tmp_path / "cache" / "pictures").rglob("*.safetensors"))


def test_its_scores_can_teach(folder: Path, pages: Path) -> None:
    ranks = wholepage.load(folder)
    for page in read_pages(pages):
        part = page.only(Modality.IMAGE)
        (ranking,) = ranks.rank([part])
        assert np.isfinite(scores_on(part, ranking)).all()
    found = wholepage.rerank("red", ["a shoe", "a lamp"], model=folder)
    assert sorted(hit["corpus_id"] for hit in found) == [0, 1]


def test_a_changed_folder_ends_with_the_code_for_weights(folder: Path, pages: Path) -> None:
    weights = folder / "pretrained" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run("rank", pages, "--model", folder)
    assert done.exit_code not in (0, 1)
    assert "the file changed" in done.output
