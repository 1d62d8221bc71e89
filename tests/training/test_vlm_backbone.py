"""SMAR on a tiny random vision-language model: it learns what only eyes can tell, and keeps the loop's promises."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from wholepage.pages.errors import ImageError, InputError, WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_head import Adapters, VlmPageHead
from wholepage.rankers.vlm_ranker import VlmPageRanker
from wholepage.training.batches import collate, lessons, supervise
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_smar
from wholepage.training.vlm_backbone import VLM_LOOP, VlmBackbone

Folder = Callable[[str], Path]
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
SRC = Path(__file__).parents[2] / "src"
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 40, 210)}
LOOP = LoopConfig(epochs=12, batch_size=4, learning_rate=5e-3, weight_decay=0.01)
CONFIG = SmarConfig(align="none", members=1, width=8, layers=1, heads=2, dropout=0.0, loop=LOOP)
SHORT = msgspec.structs.replace(CONFIG, loop=LoopConfig(epochs=3, batch_size=2, checkpoint_steps=2))
ADAPTERS = Adapters(rank=2, alpha=4, fused_dim=8)


class Same:
    """Encoders and a ranker to which everything is alike: nothing but the vision-language model tells results apart."""

    name, dim = "same", 4

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 4), 0.5, np.float32)

    def encode_images(self, refs: Sequence[ImageRef]) -> np.ndarray:
        return np.full((len(refs), 4), 0.5, np.float32)

    def score(self, pages: Sequence[Page]) -> list[np.ndarray]:
        return [np.zeros(len(page), np.float32) for page in pages]


VECTORS = ResultVectors(Same(), Same())


def world(folder: Path, count: int, seed: int = 0) -> tuple[list[Page], Judgments]:
    """Pages of three words and three plain pictures; blue is worth 2, green 1, red 0, written or painted."""
    draw = np.random.default_rng(seed)
    pages, grades = [], {}
    for index in range(count):
        results = []
        for place, colour in enumerate(draw.permutation([*COLOURS, *COLOURS])):
            if place % 2:
                results.append(Result(f"{place}-{colour}", TEXT, f"shoe {colour}"))
                continue
            shade = np.clip(np.array(COLOURS[colour]) + draw.integers(-25, 26, 3), 0, 255)
            path = folder / f"{seed}-{index}-{place}.png"
            Image.new("RGB", (24, 24), tuple(int(part) for part in shade)).save(path)
            results.append(Result(f"{place}-{colour}", IMAGE, "", (ImageRef(str(path)),)))
        pages.append(Page(Query(f"{seed}/{index}", "lamp"), tuple(results)))
        worth = {name: float(level) for level, name in enumerate(COLOURS)}
        grades[pages[-1].query_id] = {r.result_id: worth[r.result_id.split("-")[1]] for r in results}
    return pages, Judgments.from_mapping(grades)


def single(pages: Sequence[Page]) -> SingleModalFit:
    return SingleModalFit(SingleModal({TEXT: Same(), IMAGE: Same()}), Same().score(pages), [{} for _ in pages], 0)


def load(folder: Path, **settings: Any) -> VlmEncoder:
    return VlmEncoder.load(folder, max_visual_tokens=9, max_tokens=100, max_pictures=2, device="cpu", **settings)


def right_pairs(ranker: Any, pages: Sequence[Page], judgments: Judgments) -> float:
    right = []
    for page, scores in zip(pages, ranker.score(pages), strict=True):
        grades = np.array([judgments.by_result(page.query_id)[i] for i in page.result_ids])
        i, j = np.nonzero(grades[:, None] > grades[None, :])
        right += list(scores[i] > scores[j])
    return float(np.mean(right))


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_it_learns_what_only_the_model_can_see(tiny_vlm: Folder, tmp_path: Path, kind: str) -> None:
    pages, judgments = world(tmp_path, 16)
    new, answers = world(tmp_path, 8, seed=1)
    encoder = load(tiny_vlm(kind))
    backbone = VlmBackbone(encoder, ADAPTERS)
    fit = single(pages)
    plain = fit_smar(pages, judgments, fit, VECTORS, CONFIG)
    ranker = fit_smar(pages, judgments, fit, VECTORS, CONFIG, backbone=backbone, name="seeing")
    assert encoder.tower.tower_runs == 16 * 3  # twelve epochs looked at each picture once
    assert isinstance(ranker, VlmPageRanker)
    assert right_pairs(plain, new, answers) < 0.75
    assert right_pairs(ranker, pages, judgments) == 1.0
    assert right_pairs(ranker, new, answers) > 0.97
    assert (ranker.name, ranker.made_of["frozen"], ranker.made_of["page_labels"]) == ("seeing", encoder.name, 96)
    assert ranker.made_of["prompts"] == {"prompts": 96, "cut_queries": 0, "cut_texts": 0, "left_pictures": 0}
    ranker.save(tmp_path / "model")
    loaded = VlmPageRanker.load(tmp_path / "model", load(tiny_vlm(kind)), VECTORS, fit.upstream)
    for mine, its in zip(ranker.score(new), loaded.score(new), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_the_adapters_alone_can_learn(tiny_vlm: Folder, tmp_path: Path) -> None:
    """Gradients reach the language model: with everything behind it frozen, the loss still falls."""
    pages, judgments = world(tmp_path, 6)
    backbone, fit = VlmBackbone(load(tiny_vlm("qwen2_vl")), ADAPTERS), single(pages)
    featurizer = fit_featurizer(pages, fit, VECTORS, CONFIG)
    taught = lessons(featurizer.read(pages), supervise(pages, judgments))
    backbone.prepare(pages)
    torch.manual_seed(0)
    head = backbone.make(taught[0], CONFIG)
    rows, batch = list(range(len(pages))), collate(taught)
    step = torch.optim.AdamW(head.adapters.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        scores = backbone.score(head, rows, batch)
        loss = torch.nn.functional.mse_loss(scores, batch.grades - 1)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_members_differ_and_share_the_frozen_model(tiny_vlm: Folder, tmp_path: Path) -> None:
    pages, judgments = world(tmp_path, 3)
    encoder = load(tiny_vlm("qwen3_vl"))
    config = msgspec.structs.replace(SHORT, members=2)
    ranker = fit_smar(pages, judgments, single(pages), VECTORS, config, backbone=VlmBackbone(encoder, ADAPTERS))
    assert isinstance(ranker, VlmPageRanker)
    one, other = ranker.heads
    assert not torch.equal(one.project.weight, other.project.weight)
    assert encoder.tower.tower_runs == 9  # two members, three epochs
    alone = [VlmPageRanker(ranker.featurizer, [head]).score(pages)[0] for head in ranker.heads]
    np.testing.assert_allclose(ranker.score(pages)[0], np.mean(alone, axis=0), atol=1e-5)


# --- the loop's promises ----------------------------------------------------------------------------------------------

# What the killed process runs: ``training`` below, dying by SIGKILL after five steps.
DYING = """
import importlib.util, os, signal, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("tests_of_vlm", sys.argv[1])
tests = sys.modules["tests_of_vlm"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
tests.torch.set_num_threads(1)
at = int(sys.argv[4])

def dying(done, total, what):
    if done == at:
        os.kill(os.getpid(), signal.SIGKILL)

tests.training(Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[3]) / "kept", dying)
"""


def training(model: Path, pictures: Path, folder: Path | None, progress: Any = None) -> VlmPageRanker:
    pages, judgments = world(pictures, 5)
    store = None if folder is None else pictures / "visual.sqlite"
    backbone = VlmBackbone(load(model, store=store), ADAPTERS)
    ranker = fit_smar(
        pages, judgments, single(pages), VECTORS, SHORT, backbone=backbone, folder=folder, progress=progress
    )
    assert isinstance(ranker, VlmPageRanker)
    return ranker


def test_a_killed_training_ends_with_the_bytes_of_one_that_was_not(tiny_vlm: Folder, tmp_path: Path) -> None:
    model = tiny_vlm("qwen3_vl")
    killed = subprocess.run(
        [sys.executable, "-c", DYING, __file__, str(model), str(tmp_path), "5"],
        env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    steps: list[int] = []
    resumed = training(model, tmp_path, tmp_path / "kept", lambda done, total, what: steps.append(done))
    assert steps == [5, 6, 7, 8, 9]  # four steps were kept, what the tower saw too
    assert resumed.encoder.tower.tower_runs == 0
    resumed.save(tmp_path / "resumed")
    training(model, tmp_path, None).save(tmp_path / "whole")
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")


def test_a_checkpoint_holds_what_is_trained_and_names_what_is_not(tiny_vlm: Folder, tmp_path: Path) -> None:
    ranker = training(tiny_vlm("qwen3_vl"), tmp_path, tmp_path / "kept")
    (checkpoint,) = (tmp_path / "kept").rglob("arrays.safetensors")
    kept = {key for key in load_file(checkpoint) if key.startswith("model.")}
    assert kept == {f"model.{key}" for key in ranker.heads[0].state_dict()}
    assert not [key for key in kept if "embed" in key or "base_layer" in key]
    pages, judgments = world(tmp_path, 5)
    for other in (load(tiny_vlm("qwen3_vl"), dtype=torch.bfloat16), load(tiny_vlm("qwen2_vl"))):
        with pytest.raises(WeightsError, match="another run"):
            fit_smar(
                pages, judgments, single(pages), VECTORS, SHORT,
                backbone=VlmBackbone(other, ADAPTERS), folder=tmp_path / "kept",
            )  # fmt: skip


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_missing_picture_stops_before_training(tiny_vlm: Folder, tmp_path: Path) -> None:
    pages, judgments = world(tmp_path, 2)
    Path(pages[1].results[2].images[0].uri).unlink()
    name = pages[1].results[2].result_id
    with pytest.raises(ImageError, match=rf"query '0/1': results\[2\] '{name}'"):
        fit_smar(
            pages, judgments, single(pages), VECTORS, SHORT, backbone=VlmBackbone(load(tiny_vlm("qwen2_vl")), ADAPTERS)
        )


def test_rows_and_modules_of_others_are_refused(tiny_vlm: Folder, tmp_path: Path) -> None:
    pages, judgments = world(tmp_path, 2)
    fit, backbone = single(pages), VlmBackbone(load(tiny_vlm("qwen2_vl")), ADAPTERS)
    featurizer = fit_featurizer(pages, fit, VECTORS, CONFIG)
    taught = lessons(featurizer.read(pages), supervise(pages, judgments))
    head = backbone.make(taught[0], CONFIG)
    assert isinstance(head, VlmPageHead)
    with pytest.raises(InputError, match="call prepare first"):
        backbone.score(head, [0, 1], collate(taught))
    with pytest.raises(InputError, match="modules of other kinds"):
        backbone.ranker(featurizer, [head, torch.nn.Linear(1, 1)], {}, "odd")


def test_it_stays_in_its_process(tiny_vlm: Folder) -> None:
    with pytest.raises(InputError, match="train with one worker"):
        pickle.dumps(VlmBackbone(load(tiny_vlm("qwen2_vl")), ADAPTERS))


def test_the_papers_settings_are_the_defaults() -> None:
    adapters = Adapters()
    assert (adapters.rank, adapters.alpha) == (16, 32)
    assert (VLM_LOOP.learning_rate, VLM_LOOP.weight_decay, VLM_LOOP.max_norm) == (1e-5, 0.01, 1.0)
    assert json.loads(json.dumps(adapters.sizes)) == {"rank": 16, "alpha": 32, "fused_dim": 64}
