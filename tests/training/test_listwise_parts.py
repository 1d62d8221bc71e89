"""Parts of a batch of showings, or of captioned pictures, sum up to its gradient; plain means of parts do not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.listwise_students import LIMITS, SIZES, small_student, texts_of, world_lists
from torch import Tensor, nn

from wholepage.pages import ImageRef, Modality
from wholepage.training import listwise_trainer, naming
from wholepage.training.listwise_objective import ListwiseObjective
from wholepage.training.listwise_trainer import ListwiseTraining, train_listwise
from wholepage.training.loop import LoopConfig
from wholepage.training.naming import Naming, teach_names
from wholepage.training.small_vlm import make_small_vlm

# Queries of other lengths; the first two without pictures.
LISTS = [*world_lists(2, Modality.TEXT), *world_lists(4, Modality.TEXT, Modality.IMAGE, seed=5, each=2)]
WHOLE, PARTS = [4, 0, 2, 1, 5, 3], [[4, 2, 5], [0, 1], [3]]


def caught(module: Any, monkeypatch: pytest.MonkeyPatch, train: Any) -> SimpleNamespace:
    """What a training hands to the loop, in place of which nothing is done."""
    found = SimpleNamespace()

    def run(make: Any, count: int, loss: Any, config: LoopConfig, **given: Any) -> nn.Module:
        found.module, found.loss, found.part_loss = make(), loss, given["part_loss"]
        return found.module

    monkeypatch.setattr(module, "run", run)
    train()
    return found


def gradient(module: nn.Module, loss: Tensor) -> np.ndarray:
    module.zero_grad()
    loss.backward()
    kept = [p.grad.reshape(-1) for p in module.parameters() if p.grad is not None]
    return torch.cat(kept).numpy()


def check(found: SimpleNamespace, whole: list[int], parts: list[list[int]], *, means_do: bool = False) -> None:
    module = found.module.requires_grad_(True)  # it was closed again
    wanted = gradient(module, found.loss(module, whole))
    all_of_it = gradient(module, found.part_loss(module, whole, whole))
    summed = gradient(module, sum(found.part_loss(module, whole, part) for part in parts))
    means = gradient(module, sum(found.loss(module, part) * (len(part) / len(whole)) for part in parts))
    np.testing.assert_array_equal(all_of_it, wanted)
    np.testing.assert_allclose(summed, wanted, rtol=1e-3, atol=2e-6 * np.abs(wanted).max())
    assert means_do == (np.abs(means - wanted).max() < 1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "objective",
    [
        ListwiseObjective(),
        ListwiseObjective(guide=0.5),
        ListwiseObjective("ranknet_lm", guide=1.0),
        ListwiseObjective("soft_cross_entropy"),
    ],
    ids=lambda objective: f"{objective.form} {objective.guide}",
)
def test_parts_of_showings(objective: ListwiseObjective, monkeypatch: pytest.MonkeyPatch) -> None:
    training = ListwiseTraining(LoopConfig(epochs=2), objective, results=4, **LIMITS)
    student = make_small_vlm(texts_of(LISTS), SIZES, seed=1)
    found = caught(listwise_trainer, monkeypatch, lambda: train_listwise(student, LISTS, training))
    check(found, WHOLE, PARTS, means_do=not objective.guide)


def test_parts_of_captioned_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, captioned = np.random.default_rng(0), []
    for i, (word, side) in enumerate([("red", 32), ("red", 64), ("green", 32), ("blue", 96), ("red blue", 32)]):
        Image.fromarray(rng.integers(0, 255, (32, side, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        captioned.append((ImageRef(str(tmp_path / f"{i}.png")), f"a {word} square"))
    student: Any = small_student(LISTS[:1])
    found = caught(
        naming, monkeypatch, lambda: teach_names(student, captioned, Naming(LoopConfig(epochs=1), visual_tokens=16))
    )
    check(found, [3, 0, 4, 1, 2], [[3, 4, 2], [0, 1]])
