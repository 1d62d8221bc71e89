from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wholepage.collections.synthetic import Synthetic
from wholepage.pages.model import ImageRef, Modality
from wholepage.rankers.features import PageItems
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import PageHead
from wholepage.training.batches import Lesson, collate
from wholepage.training.loop import LoopConfig
from wholepage.training.losses import list_mle
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig


@pytest.fixture
def released(script: Callable[[str], ModuleType]) -> Any:
    return script("released_loss")


def everything(count: int) -> torch.Tensor:
    return torch.ones(1, count, dtype=torch.bool)


def test_the_loss_is_list_mle_of_squeezed_scores(released: Any) -> None:
    scores, targets = [0.4, -3.0, 2.0, 0.1], [1.0, 0.0, 2.0, 3.0]
    squeezed = [math.tanh(score) for score in scores]
    order = sorted(range(4), key=lambda i: -targets[i])
    expected = 0.0
    for place, i in enumerate(order):
        expected += math.log(sum(math.exp(squeezed[j]) for j in order[place:])) - squeezed[i]
    found = released.released_list_mle(torch.tensor([scores]), torch.tensor([targets]), everything(4))
    assert found.item() == pytest.approx(expected / 4, rel=1e-5)


def test_the_right_order_cannot_cost_nothing(released: Any) -> None:
    targets = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    scores = 1e3 * (targets - 1.5)
    assert list_mle(scores, targets, everything(4)).item() == 0
    assert released.released_list_mle(scores, targets, everything(4)).item() > 0.3
    two = released.released_list_mle(torch.tensor([[1e3, -1e3]]), torch.tensor([[1.0, 0.0]]), everything(2))
    assert two.item() == pytest.approx(math.log(1 + math.exp(-2)) / 2)


def test_gradients_die_where_scores_are_large(released: Any) -> None:
    targets = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    steps = {}
    for loss in (list_mle, released.released_list_mle):
        scores = torch.tensor([[-40.0, -20.0, 20.0, 40.0]], requires_grad=True)  # the wrong way round
        [steps[loss]] = torch.autograd.grad(loss(scores, targets, everything(4)), scores)
    assert steps[list_mle].abs().max() > 0.2
    assert steps[released.released_list_mle].abs().max() < 1e-6


def test_what_the_losses_see_is_squeezed(released: Any) -> None:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return 9 * random.standard_normal(shape, dtype=np.float32)

    lesson = Lesson(PageItems(normal(4), normal(5, 3), normal(5, 2), np.zeros(5, np.int64)), normal(5), normal(5))
    head, batch = PageHead(4, 3, 2, width=8, heads=2).eval(), collate([lesson])
    with torch.no_grad():
        plain = head(batch.items.query, batch.items.item, batch.items.numbers, batch.items.mask)
        torch.testing.assert_close(released.tanh_scores(head, [0], batch), torch.tanh(plain))


class Hashed:
    """Encodes any text or picture by its hash."""

    name, dim = "hashed", 6

    def _rows(self, contents: Sequence[str]) -> NDArray[np.float32]:
        seeds = [list(hashlib.sha256(content.encode()).digest()) for content in contents]
        rows = [np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds]
        return np.array(rows, np.float32).reshape(len(contents), self.dim)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._rows(texts)

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        return self._rows([ref.uri for ref in refs])


def test_every_arm_is_measured_with_the_same_labels(released: Any) -> None:
    world = Synthetic(24, 7, results_per_modality=(4, 5), modalities=(Modality.TEXT, Modality.IMAGE))
    taught, measured = (released.Judged(list(world.pages(split)), world.judgments(split)) for split in ("train", "dev"))
    brief = LoopConfig(epochs=1, batch_size=8)
    rows = released.measure(
        taught,
        measured,
        ResultVectors(Hashed(), Hashed()),
        (0.3, 1.0),
        2,
        towers=TowerConfig(folds=2, rank=4, hidden=4, loop=brief, teacher_loop=brief),
        smar=SmarConfig(members=1, width=8, heads=2, layers=1, loop=brief),
    )
    assert [(row["share"], row["arm"]) for row in rows] == [
        (share, arm.name) for share in (0.3, 1.0) for arm in released.ARMS
    ]
    full = sum(map(len, taught.pages))
    assert {row["labels"] for row in rows[4:]} == {full}
    assert len({row["labels"] for row in rows[:4]}) == 1
    assert 0.1 * full < rows[0]["labels"] <= 0.3 * full
    for row in rows:
        assert 0 < row["least"] <= row["ndcg"] <= row["most"] <= 1
        assert (row["difference"] is None) == (row["arm"] == released.OURS)
    for row in rows[1:4]:
        assert row["difference"] == pytest.approx(row["ndcg"] - rows[0]["ndcg"], abs=1e-9)
    assert len({row["ndcg"] for row in rows[:4]}) > 1
    lines = released.table("synthetic", rows, 2, 1.0).splitlines()
    assert sum(line.startswith("| 30%") for line in lines) == sum(line.startswith("| 100%") for line in lines) == 4


def test_a_collection_without_data_is_skipped_with_a_message(
    released: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WHOLEPAGE_DATA", raising=False)
    out = tmp_path / "out.md"
    for extra in ([], ["--root", str(tmp_path / "nowhere")]):
        monkeypatch.setattr(sys, "argv", ["released_loss.py", "--collections", "fashion", "--out", str(out), *extra])
        released.main()
        assert "fashion: skipped: got no data folder; pass --root" in capsys.readouterr().err
    assert not out.exists()
