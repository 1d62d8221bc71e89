"""Weights of page grades: where they stand, what they do to the losses, and that unsure labels do less harm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from wholepage.pages.errors import InputError, PageError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality
from wholepage.training.alignment import cross_modal_hinge, iso_tie
from wholepage.training.batches import supervise
from wholepage.training.loop import LoopConfig
from wholepage.training.losses import list_mle, plackett_luce
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
LOOP = LoopConfig(epochs=20, batch_size=8, learning_rate=5e-3)
CONFIG = SmarConfig(align="none", members=1, width=16, layers=1, heads=2, dropout=0.0, loop=LOOP)
TOWERS = TowerConfig(folds=2, rank=4, hidden=4, loop=LoopConfig(epochs=2, batch_size=8))


def draw(rows: int, length: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, grades 0 to 3 with gaps, a mask, and weights in (0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, length, generator=generator, dtype=torch.float64)
    grades = torch.randint(0, 4, (rows, length), generator=generator).float()
    grades[torch.rand(rows, length, generator=generator) < 0.2] = math.nan
    mask = torch.rand(rows, length, generator=generator) < 0.9
    return scores, grades, mask, 1 - torch.rand(rows, length, generator=generator)


# --- where they stand -------------------------------------------------------------------------------------------------


def test_weights_stand_beside_their_grades(planted: SimpleNamespace) -> None:
    made = planted.world(2, {TEXT: 3, IMAGE: 2})  # text0 image0 text1 image1 text2
    said = Judgments.from_mapping({"q0": {"text2": 3.0, "image0": 0.0, "text1": 1.0}, "q1": {"text0": 2.0}})
    first, second = supervise(made.pages, said, weights={"q0": {"image0": 0.25, "text2": 1.0}})
    assert first.weights is not None
    assert second.weights is not None
    np.testing.assert_array_equal(first.weights, np.float32([0, 0.25, 1, 0, 1]))
    np.testing.assert_array_equal(second.weights, np.float32([1, 0, 0, 0, 0]))
    assert [page.weights for page in supervise(made.pages, said)] == [None, None]


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        ({"q0": {"text1": 0.5}}, PageError, "'text1', which has no grade; allowed: the 1 graded"),
        ({"q0": {"ghost": 0.5}}, PageError, "ghost"),
        ({"elsewhere": {"text0": 0.5}}, PageError, "weights of queries .*elsewhere"),
        ({"q0": {"text0": 0.0}}, InputError, "got weight 0.0; allowed: above 0"),
        ({"q0": {"text0": 1.01}}, InputError, "got weight 1.01"),
        ({"q0": {"text0": -0.5}}, InputError, "got weight -0.5"),
        ({"q0": {"text0": math.nan}}, InputError, "got weight nan"),
    ],
)
def test_weights_that_cannot_be_are_refused(
    planted: SimpleNamespace, weights: Mapping[str, Mapping[str, float]], error: type[Exception], words: str
) -> None:
    made = planted.world(1, {TEXT: 3})
    with pytest.raises(error, match=words):
        supervise(made.pages, Judgments.from_mapping({"q0": {"text0": 1.0}}), weights=weights)


# --- ListMLE ----------------------------------------------------------------------------------------------------------


def by_loops(f: list[float], grades: list[float], w: list[float]) -> float:
    """sum_i w_i log(1 + sum over worse j of w_j e^(f_j - f_i)) / sum_i w_i."""
    total = 0.0
    for fi, gi, wi in zip(f, grades, w, strict=True):
        below = sum(wj * math.exp(fj) for fj, gj, wj in zip(f, grades, w, strict=True) if gj < gi)
        total += wi * math.log(1 + below * math.exp(-fi))
    return total / sum(w)


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_list_is_the_loop(seed: int) -> None:
    scores, grades, mask, weights = draw(6, 9, seed)
    wanted = []
    for row in range(6):
        kept = [i for i in range(9) if mask[row, i] and not math.isnan(grades[row, i])]
        of = [[float(values[row, i]) for i in kept] for values in (scores, grades, weights)]
        if len(set(of[1])) > 1:
            wanted.append(by_loops(*of))
    assert len(wanted) > 3
    assert float(list_mle(scores, grades, mask, weights=weights)) == pytest.approx(np.mean(wanted), rel=1e-6)


def test_two_items_by_hand() -> None:
    """(1/(w+v)) * w * log(1 + v e^(g - f)): the better of weight w, the worse of weight v."""
    scores, grades = torch.tensor([[0.3, 1.1]], dtype=torch.float64), torch.tensor([[2.0, 0.0]])
    w, v = 0.5, 0.25
    found = list_mle(scores, grades, torch.ones(1, 2, dtype=torch.bool), weights=torch.tensor([[w, v]]))
    assert float(found) == pytest.approx(w * math.log(1 + v * math.exp(1.1 - 0.3)) / (w + v))


def value_and_gradient(scores: Tensor, *rest: Tensor, **named: Tensor | None) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = list_mle(leaf, *rest, **named)  # type: ignore[arg-type]
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_all_weights_one_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    scores, grades, mask, _ = draw(20, 30, 1)
    without = value_and_gradient(scores.to(dtype), grades, mask)
    given = value_and_gradient(scores.to(dtype), grades, mask, weights=torch.ones(20, 30))
    assert torch.equal(without[0], given[0])
    assert torch.equal(without[1], given[1])


def test_a_weight_going_to_0_goes_to_the_list_without_the_item() -> None:
    scores, grades, mask, weights = draw(5, 8, 2)
    mask[:, 3], grades[:, 3] = True, torch.tensor([0.0, 1.0, 2.0, 3.0, 5.0])  # at the bottom, inside and at the top
    gone = mask.clone()
    gone[:, 3] = False
    wanted = value_and_gradient(scores, grades, gone, weights=weights)
    distances = []
    for small in (1e-2, 1e-4, 1e-6):
        weights[:, 3] = small
        value, gradient = value_and_gradient(scores, grades, mask, weights=weights)
        distances.append(float((value - wanted[0]).abs() + (gradient - wanted[1]).abs().max()))
    assert distances[0] > 1e-4 > distances[1] > distances[2]
    assert distances[2] < 1e-5


def test_over_the_ordered_only_the_divisor_is_another() -> None:
    """Of n = 2 + 1 + 4 copies the four of the lowest grade cost nothing."""
    scores = torch.tensor([[0.3, -1.0, 0.7]], dtype=torch.float64)
    grades, weights, mask = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[2.0, 1.0, 4.0]]), torch.ones(1, 3).bool()
    items, ordered = (
        float(list_mle(scores, grades, mask, weights=weights, mean_over=over))  # type: ignore[arg-type]
        for over in ("items", "ordered")
    )
    assert ordered == pytest.approx(items * 7 / 3)
    top = [float(plackett_luce(scores, grades, mask, top_k=1, mean_over=over)) for over in ("items", "ordered")]  # type: ignore[arg-type]
    assert top[0] == top[1]  # the one item at the top has worse ones


# --- pairs of different modalities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_weighs_the_product(seed: int) -> None:
    scores, grades, mask, weights = draw(4, 8, seed)
    group = torch.arange(8).remainder(3).expand(4, 8)
    hinge, tie = [], []
    for row in range(4):
        kept = [i for i in range(8) if mask[row, i] and not math.isnan(grades[row, i])]
        apart = [(i, j) for i in kept for j in kept if group[row, i] != group[row, j]]
        f, g, w = scores[row].tolist(), grades[row].tolist(), weights[row].tolist()
        for values, pairs, cost in (
            (hinge, [(i, j) for i, j in apart if g[i] > g[j]], lambda i, j, f=f: max(0.0, 0.7 - (f[i] - f[j]))),
            (tie, [(i, j) for i, j in apart if g[i] == g[j]], lambda i, j, f=f: max(0.0, abs(f[i] - f[j]) - 0.2)),
        ):
            if pairs:
                total = sum(w[i] * w[j] * cost(i, j) for i, j in pairs)  # type: ignore[no-untyped-call]
                values.append(total / sum(w[i] * w[j] for i, j in pairs))
    found = cross_modal_hinge(scores, grades, group, mask, margin=0.7, weights=weights)
    assert float(found) == pytest.approx(np.mean(hinge), rel=1e-6)
    assert float(iso_tie(scores, grades, group, mask, eps=0.2, weights=weights)) == pytest.approx(
        np.mean(tie), rel=1e-6
    )


@pytest.mark.parametrize("loss", [cross_modal_hinge, iso_tie])
def test_weights_of_pairs_keep_the_promises(loss: object) -> None:
    scores, grades, mask, _ = draw(6, 8, 7)
    group = torch.arange(8).remainder(2).expand(6, 8)
    plain = loss(scores, grades, group, mask)  # type: ignore[operator]
    for weights in (torch.ones(6, 8), torch.full((6, 8), 1e-30)):  # the square of 1e-30 is no float32
        found = loss(scores, grades, group, mask, weights=weights)  # type: ignore[operator]
        torch.testing.assert_close(found, plain, rtol=1e-6, atol=0)
    gone, weights = mask.clone(), torch.ones(6, 8)
    gone[:, 2], weights[:, 2] = False, 0.0
    without = loss(scores, grades, group, gone)  # type: ignore[operator]
    assert float(loss(scores, grades, group, mask, weights=weights)) == pytest.approx(float(without))  # type: ignore[operator]
    with pytest.raises(InputError, match="weights: got -1"):
        loss(scores, grades, group, mask, weights=-torch.ones(6, 8))  # type: ignore[operator]
    with pytest.raises(ShapeError, match="weights"):
        loss(scores, grades, group, mask, weights=torch.ones(6, 7))  # type: ignore[operator]


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> object:
    return planted.world(40)


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: SimpleNamespace) -> SingleModalFit:
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), TOWERS)


def test_unsure_labels_that_are_wrong_do_less_harm(
    planted: SimpleNamespace, made: SimpleNamespace, fit: SingleModalFit
) -> None:
    """Of every page half of the grades are turned upside down, and known to be unsure."""
    truth, wrong = made.lifted({}), {}
    said: dict[str, dict[str, float]] = {}
    for page in made.pages:
        of = truth.by_result(page.query_id)
        turned = page.result_ids[:6]
        said[page.query_id] = {i: 3 - grade if i in turned else grade for i, grade in of.items()}
        wrong[page.query_id] = dict.fromkeys(turned, 0.02)
    held = planted.world(20, prefix="held")
    found = []
    for weights in (None, wrong):
        ranker = fit_smar(
            made.pages, Judgments.from_mapping(said), fit, planted.fake_vectors(), CONFIG, weights=weights
        )
        found.append(planted.ndcg(ranker.rank(held.pages), held.lifted({})))
        assert ranker.made_of["page_labels"] == 40 * 12
        assert ranker.made_of.get("page_labels_below_weight_1", 0) == (0 if weights is None else 40 * 6)
    assert found[1] > found[0] + 0.05


def test_weights_of_1_train_the_same_bits_and_others_do_not(
    planted: SimpleNamespace, made: SimpleNamespace, fit: SingleModalFit
) -> None:
    said, vectors = made.lifted({IMAGE: 2}, share=0.5), planted.fake_vectors()
    config = msgspec.structs.replace(CONFIG, align="listwise", loop=LoopConfig(epochs=2, batch_size=16))
    bits = []
    for weight in (None, 1.0, 0.5):
        weights = None if weight is None else {q: dict.fromkeys(said.by_result(q), weight) for q in said.query_ids[::2]}
        (head,) = fit_smar(made.pages, said, fit, vectors, config, weights=weights).heads
        bits.append(b"".join(value.numpy().tobytes() for value in head.state_dict().values()))
    assert bits[0] == bits[1] != bits[2]
