from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from wholepage.pages.errors import InputError, ShapeError
from wholepage.training.lambda_loss import ndcg_loss2pp


def by_hand(scores: list[float], targets: list[float], sigma: float, mu: float) -> float:
    """NDCGLoss2++ of one page, item by item; no equal scores."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    rank = {item: place for place, item in enumerate(order, start=1)}
    best = sum((2**t - 1) / math.log2(1 + p) for p, t in enumerate(sorted(targets, reverse=True), start=1))
    total = 0.0
    for i, better in enumerate(targets):
        for j, worse in enumerate(targets):
            if better > worse:
                rho = abs(1 / math.log2(1 + rank[i]) - 1 / math.log2(1 + rank[j]))
                apart = abs(rank[i] - rank[j])
                delta = abs(1 / math.log2(1 + apart) - 1 / math.log2(2 + apart))
                gain = (2**better - 2**worse) / best
                total += (rho + mu * delta) * gain * math.log2(1 + math.exp(-sigma * (scores[i] - scores[j])))
    return total


def page(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(("sigma", "mu"), [(1.0, 10.0), (2.0, 0.0), (0.5, 1.0)])
@pytest.mark.parametrize("count", [2, 5, 12])
def test_the_value_is_the_formula(count: int, sigma: float, mu: float) -> None:
    random = np.random.default_rng(count)
    scores, targets = random.standard_normal(count), random.integers(0, 4, count).astype(float)
    targets[0], targets[1] = 3.0, 0.0
    found = ndcg_loss2pp(page(*scores), page(*targets), torch.ones(1, count, dtype=torch.bool), sigma=sigma, mu=mu)
    assert found.item() == pytest.approx(by_hand(scores.tolist(), targets.tolist(), sigma, mu), rel=1e-12)


def test_the_first_term_is_the_change_of_ndcg() -> None:
    """With mu = 0 a pair weighs what exchanging its two items changes nDCG by."""
    scores, targets = [0.3, -0.2, 0.9], [2.0, 3.0, 0.0]

    def ndcg(order: list[int]) -> float:
        gains = [(2 ** targets[i] - 1) / math.log2(2 + place) for place, i in enumerate(order)]
        ideal = [(2**t - 1) / math.log2(2 + p) for p, t in enumerate(sorted(targets, reverse=True))]
        return sum(gains) / sum(ideal)

    now = [2, 0, 1]
    expected = 0.0
    for i, j in ((0, 2), (1, 0), (1, 2)):
        swapped = [j if k == i else i if k == j else k for k in now]
        expected += abs(ndcg(now) - ndcg(swapped)) * math.log2(1 + math.exp(scores[j] - scores[i]))
    found = ndcg_loss2pp(page(*scores), page(*targets), torch.ones(1, 3, dtype=torch.bool), mu=0.0)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_what_does_not_count_reaches_neither_value_nor_gradient() -> None:
    scores = torch.tensor([[0.1, 5.0, -0.4, 0.7, math.nan]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1.0, math.nan, 2.0, 0.0, 3.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, True, False]])
    value = ndcg_loss2pp(scores, targets, mask)
    assert value.item() == pytest.approx(by_hand([0.1, -0.4, 0.7], [1.0, 2.0, 0.0], 1.0, 10.0), rel=1e-12)
    value.backward()
    assert scores.grad is not None
    assert scores.grad[0, [1, 4]].tolist() == [0.0, 0.0]
    assert (scores.grad[0, [0, 2, 3]] != 0).all()


def test_the_order_of_items_does_not_matter_not_even_with_equal_scores() -> None:
    scores, targets = page(0.0, 0.0, 0.0, 1.0, 1.0, -1.0), page(2.0, 0.0, 1.0, 0.0, 3.0, 2.0)
    mask = torch.ones(1, 6, dtype=torch.bool)
    value = ndcg_loss2pp(scores, targets, mask)
    for seed in range(10):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(6))
        again = ndcg_loss2pp(scores[:, order], targets[:, order], mask)
        assert again.item() == pytest.approx(value.item(), rel=1e-12)


def test_a_batch_is_the_mean_of_the_pages_that_teach() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=random, dtype=torch.float64)
    targets = torch.tensor([[0, 1, 2, 3, 0, 1], [2] * 6, [1, 0, 0, 0, 0, 0], [math.nan] * 6], dtype=torch.float64)
    mask = torch.ones(4, 6, dtype=torch.bool)
    alone = [ndcg_loss2pp(scores[i : i + 1], targets[i : i + 1], mask[:1]).item() for i in range(4)]
    assert alone[1] == alone[3] == 0
    assert ndcg_loss2pp(scores, targets, mask).item() == pytest.approx((alone[0] + alone[2]) / 2, rel=1e-12)


def test_nothing_to_learn_is_zero_with_a_gradient() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    value = ndcg_loss2pp(scores, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()
    assert ndcg_loss2pp(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).item() == 0


def test_steps_downhill_bring_the_page_in_order() -> None:
    targets = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    scores = torch.tensor([[3.0, 0.0, 2.0, 1.0]], requires_grad=True)
    values = []
    for _ in range(200):
        value = ndcg_loss2pp(scores, targets, torch.ones(1, 4, dtype=torch.bool))
        values.append(value.item())
        [step] = torch.autograd.grad(value, scores)
        with torch.no_grad():
            scores -= 0.1 * step
    assert values[-1] < 0.1 * values[0]
    ordered = scores.detach()[0, [1, 3, 2, 0]].tolist()
    assert all(better > worse for better, worse in pairwise(ordered))


def test_huge_scores_and_half_precision_stay_finite() -> None:
    targets, mask = torch.tensor([[0.0, 3.0, 1.0]]), torch.ones(1, 3, dtype=torch.bool)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
        value = ndcg_loss2pp(scores, targets, mask)
        value.backward()
        assert value.dtype == torch.float32
        assert scores.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(scores.grad).all()


def test_bad_inputs_are_refused() -> None:
    scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match="targets"):
        ndcg_loss2pp(scores, torch.zeros(1, 2), mask)
    with pytest.raises(InputError, match="mask"):
        ndcg_loss2pp(scores, scores, torch.ones(1, 3))
    for wrong in ({"sigma": 0.0}, {"sigma": math.nan}, {"mu": -1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ndcg_loss2pp(scores, scores, mask, **wrong)
