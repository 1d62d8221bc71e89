"""Very small students and lists for tests of listwise training."""

from __future__ import annotations

from collections.abc import Sequence

from wholepage.collections.synthetic import Synthetic
from wholepage.pages import Modality
from wholepage.rankers.listwise_loading import Pretrained
from wholepage.training.listwise_trainer import ListwiseTraining
from wholepage.training.loop import LoopConfig
from wholepage.training.small_vlm import SmallVlm, make_small_vlm
from wholepage.training.taught import TaughtList

SIZES = SmallVlm(
    vocabulary=400, dim=64, layers=3, heads=2, mlp=64, sight_dim=16, sight_layers=1, sight_heads=2, patch=8
)
LIMITS = {"visual_tokens": 200, "most_per_picture": 16, "least_per_picture": 16}


def world_lists(count: int, *modalities: Modality, seed: int = 3, each: int = 4) -> list[TaughtList]:
    """Graded lists of the generated world."""
    world = Synthetic(count * 2, seed, dev_share=0.0, results_per_modality=(each, each), modalities=modalities)
    judged = world.judgments("train")
    found = []
    for page in world.pages("train"):
        grades = {grade.result_id: grade.grade for grade in judged.grades(page.query_id)}
        if len(set(grades.values())) > 1:
            found.append(TaughtList.graded(page, grades, "world"))
    return found[:count]


def texts_of(lists: Sequence[TaughtList]) -> list[str]:
    """Everything that is said in lists."""
    return [text for one in lists for text in (one.page.query.text, *(r.text for r in one.page.results)) if text]


def small_student(lists: Sequence[TaughtList], seed: int = 0, sizes: SmallVlm = SIZES) -> Pretrained:
    """An untrained student that knows the words of some lists."""
    return make_small_vlm(texts_of(lists), sizes, seed=seed)


def short_training(steps: int = 4, lists: int = 8, rate: float = 1e-3, seed: int = 0) -> ListwiseTraining:
    """A few steps."""
    loop = LoopConfig(
        epochs=max(1, steps * 4 // lists), batch_size=4, learning_rate=rate, weight_decay=0.0, seed=seed,
        checkpoint_steps=1,
    )  # fmt: skip
    return ListwiseTraining(loop=loop, results=4, **LIMITS)
