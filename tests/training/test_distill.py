"""Distillation: its loss by hand, and a small head that orders new pages as the ensemble does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.pages.model import Modality, Page, Query
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.distill import DistillConfig, distill, distill_loss
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
TOWER_LOOP = LoopConfig(epochs=20, batch_size=16, learning_rate=0.02)
TOWERS = TowerConfig(folds=2, rank=8, hidden=8, dropout=0.0, loop=TOWER_LOOP, teacher_loop=TOWER_LOOP)
TEACHER = SmarConfig(
    members=3, width=32, layers=2, heads=4, loop=LoopConfig(epochs=15, batch_size=8, learning_rate=3e-3)
)
SMALL = DistillConfig(width=16, loop=LoopConfig(epochs=40, batch_size=16, learning_rate=5e-3, weight_decay=0.0))
SHORT = msgspec.structs.replace(SMALL, loop=LoopConfig(epochs=2, batch_size=16))
SIZES = {TEXT: 6, IMAGE: 6, VIDEO: 1}


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(80, SIZES, vary=True)


@pytest.fixture(scope="module")
def fit(made: Any, planted: SimpleNamespace) -> SingleModalFit:
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), TOWERS)


@pytest.fixture(scope="module")
def teacher(made: Any, fit: SingleModalFit, planted: SimpleNamespace) -> WholePageRanker:
    torch.set_num_threads(1)
    return fit_smar(made.pages, made.lifted({IMAGE: 2}, share=0.5), fit, planted.fake_vectors(), TEACHER)


# ---------------------------------------------------------------- the loss


def test_the_loss_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 6.0], [4.0, 9.0, 9.0], [7.0, 7.0, 7.0]], dtype=torch.float64)
    wanted = torch.tensor([[0.0, 4.0, 5.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    # Errors 1, -2, 1 of mean 0, and 3 alone on its page; a page of no result does not count.
    assert float(distill_loss(scores, wanted, mask, level_weight=0.5)) == pytest.approx((2.0 + 0.5 * 9.0) / 2)
    assert float(distill_loss(scores, wanted, mask, level_weight=0.0)) == pytest.approx(1.0)
    shifted = scores + torch.tensor([[5.0], [-3.0], [1.0]])
    assert float(distill_loss(shifted, wanted, mask, level_weight=0.0)) == pytest.approx(1.0)


def test_padding_and_empty_batches_teach_nothing() -> None:
    scores = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.tensor([[True, True, False, False]] * 2)
    distill_loss(scores, torch.full((2, 4), float("inf")).where(~mask, torch.tensor(0.5)), mask).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[:, :2].all()
    assert not scores.grad[:, 2:].any()
    nothing = distill_loss(scores, scores.detach() + 1, torch.zeros(2, 4, dtype=torch.bool))
    assert float(nothing.detach()) == 0.0
    nothing.backward()
    with pytest.raises(ShapeError, match="allowed: one"):
        distill_loss(scores, scores, mask[:1])


# ---------------------------------------------------------------- the student


def test_the_student_orders_new_pages_as_the_teacher_and_is_smaller(
    teacher: WholePageRanker, made: Any, fit: SingleModalFit, planted: SimpleNamespace
) -> None:
    small = distill(teacher, made.pages, SMALL, single_modal=fit.out_of_fold)
    assert small.name == "smar-small"
    assert len(small.heads) == 1
    weights = [sum(w.numel() for head in r.heads for w in head.parameters()) for r in (small, teacher)]
    assert weights[0] < weights[1] / 6
    assert small.made_of["distilled"]["pages"] == 80
    assert small.made_of["distilled"]["config"]["width"] == 16
    assert small.made_of["page_labels"] == teacher.made_of["page_labels"]
    held = planted.world(40, SIZES, prefix="held")
    truth = held.lifted({IMAGE: 2})
    pairs = list(zip(small.score(held.pages), teacher.score(held.pages), strict=True))
    assert np.mean([kendalltau(a, b).statistic for a, b in pairs]) > 0.8
    for mine, its in pairs:
        assert np.corrcoef(mine, its)[0, 1] > 0.8
    quality = [planted.ndcg(ranker.rank(held.pages), truth) for ranker in (small, teacher)]
    assert quality[0] > quality[1] - 0.02
    assert small.calibration is None


def test_a_calibrated_teacher_has_a_calibrated_student(
    teacher: WholePageRanker, made: Any, fit: SingleModalFit, planted: SimpleNamespace
) -> None:
    calibrated = teacher.calibrated(Calibration(0.9, -0.5, 3.0, 12))
    small = distill(calibrated, made.pages, SMALL, single_modal=fit.out_of_fold)
    assert small.calibration is not None
    assert (small.calibration.threshold, small.calibration.labels) == (3.0, 12)
    held = planted.world(40, SIZES, prefix="held").pages
    mine, its = (np.concatenate(ranker.probabilities(held)) for ranker in (small, calibrated))
    assert np.abs(mine - its).mean() < 0.5 * np.abs(its - its.mean()).mean()


def test_it_reads_what_the_teacher_reads(teacher: WholePageRanker, made: Any, planted: SimpleNamespace) -> None:
    pages = [*made.pages[:6], Page(Query("none", "query none"))]
    small = distill(teacher, pages, SHORT)
    assert small.made_of["distilled"]["pages"] == 6
    assert small.featurizer is teacher.featurizer
    long = planted.world(1, {TEXT: 120, IMAGE: 79, VIDEO: 1}, prefix="long").pages[0]
    order = np.random.default_rng(0).permutation(200)
    [scores] = small.score([long])
    [turned] = small.score([Page(long.query, tuple(long.results[i] for i in order))])
    np.testing.assert_allclose(turned, scores[order], atol=1e-4)


def test_it_repeats_itself_and_goes_on_from_where_it_was_killed(
    teacher: WholePageRanker, made: Any, tmp_path: Path
) -> None:
    def weights(ranker: WholePageRanker) -> list[Any]:
        return [weight.numpy() for weight in ranker.heads[0].state_dict().values()]

    whole = distill(teacher, made.pages, SHORT)

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, what: str) -> None:
        assert what == "smar-small"
        if done == total - 2:
            raise KilledError

    with pytest.raises(KilledError):
        distill(teacher, made.pages, SHORT, folder=tmp_path / "c", progress=kill)
    steps = []
    resumed = distill(teacher, made.pages, SHORT, folder=tmp_path / "c", progress=lambda done, *_: steps.append(done))
    assert steps[0] > 1
    for first, second in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(WeightsError, match="another run"):
        distill(teacher, made.pages[:-1], SHORT, folder=tmp_path / "c")


def test_a_saved_student_comes_back(
    teacher: WholePageRanker, made: Any, planted: SimpleNamespace, tmp_path: Path
) -> None:
    small = distill(teacher, made.pages, SHORT)
    small.save(tmp_path / "m")
    again = WholePageRanker.load(tmp_path / "m", planted.fake_vectors())
    assert again.made_of == small.made_of
    for first, second in zip(small.score(made.pages), again.score(made.pages), strict=True):
        np.testing.assert_array_equal(first, second)


def test_nothing_to_learn_from_is_refused(teacher: WholePageRanker, made: Any) -> None:
    with pytest.raises(InputError, match="smar-small: got no page with results among 1"):
        distill(teacher, [Page(Query("none", "query none"))], SHORT)
    with pytest.raises(ShapeError, match="1 arrays of scores for 2 pages"):
        distill(teacher, made.pages[:2], SHORT, single_modal=[np.zeros(13, np.float32)])


@pytest.mark.parametrize("bad", [{"width": 0}, {"heads": 0}, {"layers": -1}, {"dropout": 1.0}, {"level_weight": -1.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="allowed"):
        DistillConfig(**bad)
