"""Members of a page reranker in two processes: where pages teach unevenly, their gradients are still those of one."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from wholepage.pages.model import Modality
from wholepage.rankers.features import PageItems
from wholepage.rankers.page_head import head_scores
from wholepage.training import heads
from wholepage.training.batches import Lesson
from wholepage.training.heads import fit_heads
from wholepage.training.loop import LoopConfig
from wholepage.training.preferences import PagePairs, no_pairs
from wholepage.training.smar import SmarConfig

SRC = Path(__file__).parents[2] / "src"
COUNT = 14  # batches of 5, 5 and 4; of some, one process has no graded page
CONFIG = SmarConfig(
    members=2, width=8, layers=1, heads=2, dropout=0.0, cross_weight=0.5, tie_weight=0.5,
    loop=LoopConfig(epochs=4, batch_size=5, accumulate=2, learning_rate=0.01),
)  # fmt: skip
CASES = {
    "listwise": CONFIG,
    "pairwise": msgspec.structs.replace(CONFIG, align="pairwise", align_mean="pages"),
    "kl": msgspec.structs.replace(CONFIG, align="kl"),
    "odds": msgspec.structs.replace(CONFIG, align="odds"),
    "people": msgspec.structs.replace(CONFIG, align="none"),
}
CLOSE = {"rtol": 0.0, "atol": 1e-4}  # of scores of size 1, after 8 steps of Adam


def make_lessons() -> list[Lesson]:
    """Pages of 3 to 8 results: a third graded, half of them by weight; some with pairs; of half teachers say little."""
    lots = np.random.default_rng(5)
    made = []
    for number in range(COUNT):
        count = int(lots.integers(3, 9))
        group = lots.integers(0, len(Modality), count)
        grades = lots.integers(0, 4, count).astype(np.float32)
        if number % 3:
            grades[:] = np.nan
        teacher = lots.standard_normal(count).astype(np.float32)
        teacher[lots.random(count) < (0.7 if number % 2 else 0.1)] = np.nan
        items = PageItems(*(lots.standard_normal(s, dtype=np.float32) for s in (4, (count, 4), (count, 3))), group)
        weights = lots.random(count).astype(np.float32) if number % 6 == 0 else None
        pairs = no_pairs()
        if number % 4 == 1:
            index = np.array([[0, 1], [1, 2]][: 1 + number % 3], np.int64)
            share = lots.random(len(index)).astype(np.float32)
            pairs = PagePairs(index, np.arange(len(index)) == 0, share)
        made.append(Lesson(items, grades, teacher, weights, pairs))
    return made


def trained(case: str) -> dict[str, np.ndarray]:
    """Weights of the members, and the scores of each with the mean of a page taken off.

    Scores are what is compared with one process: biases of keys, and one that lifts a whole page, have a gradient of 0,
    of which Adam makes steps out of rounding alone.
    """
    lessons = make_lessons()
    members: list[Any] = fit_heads(lessons, CASES[case])
    kept = {f"{k}.{name}": value.numpy() for k, one in enumerate(members) for name, value in one.state_dict().items()}
    for k, one in enumerate(members):
        scores = head_scores([one], [lesson.items for lesson in lessons])
        kept[f"{k} scores"] = np.concatenate([row - row.mean() for row in scores])
    return kept


SCRIPT = """
import importlib.util, os, sys
import numpy as np

spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = sys.modules["cases"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
for case in cases.CASES:
    np.savez(f"{sys.argv[2]}/{case}.{os.environ['RANK']}.npz", **cases.trained(case))

from accelerate import PartialState

assert PartialState().num_processes == 2
PartialState().destroy_process_group()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each of two processes of torchrun trained, a file a case."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, str(script), __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_the_members_that_one_does(two: Path, case: str) -> None:
    wanted = trained(case)
    first, second = (dict(np.load(two / f"{case}.{rank}.npz")) for rank in range(2))
    assert first.keys() == second.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.array_equal(first[name], second[name]), name
        if name.endswith("scores"):
            assert value.std() > 0.3  # there is something to compare
            np.testing.assert_allclose(first[name], value, err_msg=name, **CLOSE)


def gradients(case: str, loss: Any) -> list[float]:
    """The gradient of a fresh member under ``loss(module, batch)``, laid end to end."""
    torch.manual_seed(0)
    module = heads._make_head(make_lessons()[0], CASES[case])
    loss(module).backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters() if p.grad is not None]).tolist()


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_a_batch_sum_up_to_its_gradient_and_plain_means_do_not(case: str) -> None:
    kept = dict(enumerate(make_lessons()))
    rows, config = list(kept), CASES[case]
    whole, parts = [9, 2, 4, 0, 7], [[9, 4, 7], [2, 0]]
    of = partial(heads._batch_loss, kept, rows, config, heads._score_head)
    part_of = partial(heads._part_loss, kept, rows, config, heads._score_head)
    wanted = gradients(case, lambda module: of(module, whole))
    summed = gradients(case, lambda module: sum(part_of(module, whole, part) for part in parts))
    means = gradients(case, lambda module: sum(of(module, part) * (len(part) / len(whole)) for part in parts))
    np.testing.assert_allclose(summed, wanted, rtol=1e-4, atol=1e-6)
    assert np.abs(np.subtract(means, wanted)).max() > 1e-3 * np.abs(wanted).max()
