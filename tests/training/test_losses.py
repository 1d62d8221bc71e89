"""Every loss against analytic values, plain loops, and the promises in the module's docstring."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wholepage.pages.errors import InputError, ShapeError
from wholepage.training.alignment import (
    aligned_kl,
    aligned_listwise,
    aligned_odds,
    aligned_within,
    cross_modal_hinge,
    iso_tie,
    tied_tail,
)
from wholepage.training.losses import (
    list_mle,
    listnet,
    pairwise_hinge,
    plackett_luce,
    ranknet,
    soft_cross_entropy,
    weighted_ranknet,
)

NAN = math.nan
Row = Callable[[list[float], list[float], list[int]], float | None]


# --- the reference: one page, plain loops, items already known to count ----------------------------------------------


def pairs(t: list[float]) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(t)) for j in range(len(t)) if t[i] > t[j]]


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def hinge_row(s: list[float], t: list[float], g: list[int], margin: float = 1.0) -> float | None:
    return mean([max(0.0, margin - (s[i] - s[j])) for i, j in pairs(t)])


def ranknet_row(s: list[float], t: list[float], g: list[int]) -> float | None:
    return mean([float(np.logaddexp(0.0, s[j] - s[i])) for i, j in pairs(t)])


def weighted_ranknet_row(s: list[float], t: list[float], g: list[int]) -> float | None:
    rank = [1 + sum(other > mine for other in t) for mine in t]
    return mean([float(np.logaddexp(0.0, s[j] - s[i])) / (rank[i] + rank[j]) for i, j in pairs(t)])


def softmax(x: list[float]) -> NDArray[np.float64]:
    e = np.exp(np.array(x) - max(x))
    return np.asarray(e / e.sum())


def cross_entropy(p: NDArray[np.float64], s: list[float]) -> float:
    return -sum(float(p[i]) * (s[i] - max(s) - math.log(sum(math.exp(x - max(s)) for x in s))) for i in range(len(s)))


def listnet_row(s: list[float], t: list[float], g: list[int], temperature: float = 1.0) -> float | None:
    return cross_entropy(softmax([x / temperature for x in t]), s) if pairs(t) else None


def soft_row(s: list[float], t: list[float], g: list[int], decay: float = 0.5) -> float | None:
    if not pairs(t):
        return None
    order = sorted(range(len(t)), key=lambda i: -t[i])
    by_target: dict[float, list[float]] = {}
    for position, i in enumerate(order):
        by_target.setdefault(t[i], []).append(decay**position)
    mass = np.array([np.mean(by_target[x]) for x in t])
    return cross_entropy(mass / mass.sum(), s)


def pl_row(
    s: list[float], t: list[float], g: list[int], temperature: float = 1.0, top_k: int | None = None
) -> float | None:
    if not pairs(t):
        return None
    terms = []
    for i in range(len(s)):
        if top_k is not None and sum(other > t[i] for other in t) >= top_k:
            continue
        rivals = [s[i], *(s[j] for j in range(len(s)) if t[j] < t[i])]
        top = max(rivals)
        terms.append(top + temperature * math.log(sum(math.exp((x - top) / temperature) for x in rivals)) - s[i])
    return sum(terms) / temperature / len(terms)


def cross_row(s: list[float], t: list[float], g: list[int], margin: float = 1.0) -> float | None:
    return mean([max(0.0, margin - (s[i] - s[j])) for i, j in pairs(t) if g[i] != g[j]])


def tie_row(s: list[float], t: list[float], g: list[int], eps: float = 0.1) -> float | None:
    two = itertools.combinations(range(len(s)), 2)
    return mean([max(0.0, abs(s[i] - s[j]) - eps) for i, j in two if t[i] == t[j] and g[i] != g[j]])


def kl_row(s: list[float], t: list[float], g: list[int], tau_t: float = 1.0, tau_s: float = 1.0) -> float | None:
    if not pairs(t):
        return None
    z = (np.array(t) - np.mean(t)) / np.std(t)
    p, q = softmax(list(z / tau_t)), softmax([x / tau_s for x in s])
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def odds_row(s: list[float], t: list[float], g: list[int]) -> float | None:
    return cross_entropy(softmax(t), s) - cross_entropy(softmax(t), t) if pairs(t) else None


def loop(row: Row, scores: Tensor, targets: Tensor, group: Tensor, mask: Tensor) -> float:
    """Mean over pages of a page loss, over the items that count."""
    found = []
    for s, t, g, m in zip(scores.tolist(), targets.tolist(), group.tolist(), mask.tolist(), strict=True):
        kept = [i for i in range(len(s)) if m[i] and not math.isnan(t[i]) and g[i] >= 0]
        value = row([s[i] for i in kept], [t[i] for i in kept], [g[i] for i in kept])
        if value is not None:
            found.append(value)
    return sum(found) / len(found) if found else 0.0


def loop_by_group(
    row: Row, betas: dict[int, float], scores: Tensor, targets: Tensor, group: Tensor, mask: Tensor
) -> float:
    codes = sorted({int(code) for code in group.flatten()} - {-1})
    return sum(betas.get(c, 1.0) * loop(row, scores, targets, group, mask & (group == c)) for c in codes)


# --- every loss under one call: scores, targets, group, mask ---------------------------------------------------------

Four = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BETAS = {0: 2.0, 2: 0.25}


def plain(loss: Callable[..., Tensor]) -> Four:
    return lambda s, t, g, m: loss(s, t, m & (g >= 0))


def aligned(loss: Callable[..., Tensor]) -> Four:
    return lambda s, t, g, m: loss(s, t, torch.where(m, g, -1))


CASES: dict[str, tuple[Four, Callable[..., float]]] = {
    "pairwise_hinge": (plain(partial(pairwise_hinge, margin=0.7)), partial(loop, partial(hinge_row, margin=0.7))),
    "ranknet": (plain(ranknet), partial(loop, ranknet_row)),
    "weighted_ranknet": (plain(weighted_ranknet), partial(loop, weighted_ranknet_row)),
    "listnet": (plain(partial(listnet, temperature=0.5)), partial(loop, partial(listnet_row, temperature=0.5))),
    "soft_cross_entropy": (plain(partial(soft_cross_entropy, decay=0.6)), partial(loop, partial(soft_row, decay=0.6))),
    "list_mle": (plain(list_mle), partial(loop, pl_row)),
    "plackett_luce": (plain(partial(plackett_luce, temperature=2)), partial(loop, partial(pl_row, temperature=2.0))),
    "plackett_luce_top2": (plain(partial(plackett_luce, top_k=2)), partial(loop, partial(pl_row, top_k=2))),
    "cross_modal_hinge": (partial(cross_modal_hinge, margin=0.4), partial(loop, partial(cross_row, margin=0.4))),
    "iso_tie": (partial(iso_tie, eps=0.1), partial(loop, tie_row)),
    "aligned_listwise": (
        aligned(partial(aligned_listwise, weights=BETAS)),
        partial(loop_by_group, pl_row, BETAS),
    ),
    "aligned_within": (
        aligned(partial(aligned_within, margin=0.3)),
        partial(loop_by_group, partial(hinge_row, margin=0.3), {}),
    ),
    "aligned_kl": (
        aligned(partial(aligned_kl, tau_teacher=0.7, tau_student=1.5, weights=BETAS)),
        partial(loop_by_group, partial(kl_row, tau_t=0.7, tau_s=1.5), BETAS),
    ),
    "aligned_odds": (aligned(partial(aligned_odds, weights=BETAS)), partial(loop_by_group, odds_row, BETAS)),
}
EVERY = pytest.mark.parametrize("name", CASES)
BY_MODALITY = ("aligned_listwise", "aligned_within", "aligned_kl", "aligned_odds")


def batch(seed: int, pages: int = 6, items: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random pages with ties, unlooked items, padding, an empty page and an all-equal one."""
    rng = np.random.default_rng(seed)
    scores = torch.tensor(rng.normal(size=(pages, items)))
    targets = torch.tensor(rng.integers(0, 4, size=(pages, items)).astype(float))
    targets[torch.tensor(rng.random((pages, items)) < 0.2)] = NAN
    group = torch.tensor(rng.integers(0, 3, size=(pages, items)))
    mask = torch.arange(items) < torch.tensor(rng.integers(2, items + 1, size=(pages, 1)))
    group[~mask] = -1
    mask[1] = False
    targets[2] = 1.0
    group[3, 0] = -1  # padding by its group alone
    return scores, targets, group, mask


@EVERY
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_plain_loops(name: str, seed: int) -> None:
    loss, reference = CASES[name]
    lists = batch(seed)
    assert loss(*lists).item() == pytest.approx(reference(*lists), rel=1e-9, abs=1e-12)
    assert reference(*lists) > 0


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(CASES)))
def test_equals_the_plain_loops_on_odd_pages(data: st.DataObject, name: str) -> None:
    pages, items = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    number = st.one_of(st.just(NAN), st.integers(-2, 2).map(float))
    table = st.lists(st.lists(number, min_size=items, max_size=items), min_size=pages, max_size=pages)
    targets = torch.tensor(data.draw(table), dtype=torch.float64)
    scores = torch.tensor(data.draw(table), dtype=torch.float64).nan_to_num(0.3) * 7
    group = torch.tensor(data.draw(table), dtype=torch.float64).nan_to_num(0.0).abs().long() - 1
    loss, reference = CASES[name]
    lists = (scores, targets, group, group >= 0)
    assert loss(*lists).item() == pytest.approx(reference(*lists), rel=1e-7, abs=1e-8)


@EVERY
def test_padding_changes_neither_value_nor_gradient(name: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(3)
    scores.requires_grad_()
    value = loss(scores, targets, group, mask)
    (gradient,) = torch.autograd.grad(value, scores)

    def wider(x: Tensor, fill: float) -> Tensor:
        return torch.cat([torch.full((len(x), 2), fill).to(x), x, torch.full((len(x), 3), fill).to(x)], dim=1)

    wide = wider(scores.detach(), NAN).requires_grad_()  # not even NaN in the padding may leak
    padded = loss(wide, wider(targets, 9.0), wider(group, -1), wider(mask, False))
    (padded_gradient,) = torch.autograd.grad(padded, wide)
    assert padded.item() == pytest.approx(value.item(), rel=1e-12)
    torch.testing.assert_close(padded_gradient[:, 2:-3], gradient, rtol=1e-10, atol=1e-14)
    assert not padded_gradient[:, :2].any()
    assert not padded_gradient[:, -3:].any()
    assert not gradient[~mask | (group < 0)].any()


@EVERY
def test_unlooked_items_are_like_padding(name: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(4)
    hidden = mask & ~targets.isnan()
    assert loss(scores, targets.nan_to_num(3.0), group, hidden) == loss(scores, targets, group, mask)


@EVERY
def test_a_batch_is_the_mean_of_its_teaching_rows(name: str) -> None:
    loss, _ = CASES[name]
    for only in (0, 1, 2) if name in BY_MODALITY else (None,):  # the aligned losses: the mean within each modality
        scores, targets, group, mask = batch(5)
        if only is not None:
            mask = mask & (group == only)
        rows = [loss(*(x[i : i + 1] for x in (scores, targets, group, mask))).item() for i in range(len(scores))]
        teaches = [i for i in range(len(rows)) if _teaches(name, targets[i], group[i], mask[i])]
        assert [rows[i] for i in range(len(rows)) if i not in teaches] == [0.0] * (len(rows) - len(teaches))
        whole = loss(scores, targets, group, mask).item()
        assert whole == pytest.approx(np.mean([rows[i] for i in teaches]), rel=1e-12)


def _teaches(name: str, targets: Tensor, group: Tensor, mask: Tensor) -> bool:
    kept = [
        (t, g)
        for t, g, m in zip(targets.tolist(), group.tolist(), mask.tolist(), strict=True)
        if m and g >= 0 and t == t
    ]
    two = list(itertools.combinations(kept, 2))
    if name == "iso_tie":
        return any(a[0] == b[0] and a[1] != b[1] for a, b in two)
    if name == "cross_modal_hinge":
        return any(a[0] != b[0] and a[1] != b[1] for a, b in two)
    return any(a[0] != b[0] for a, b in two)


@EVERY
def test_gradient_of_a_row_ignores_its_neighbours(name: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(6)
    other = scores.clone()
    other[3:] = 50 * torch.randn(other[3:].shape, generator=torch.Generator().manual_seed(1), dtype=other.dtype)
    gradients = []
    for given_scores in (scores, other):
        leaf = given_scores.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(leaf, targets, group, mask), leaf)[0][:3])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-14)


@EVERY
def test_order_of_the_columns_does_not_matter(name: str) -> None:
    loss, _ = CASES[name]
    lists = batch(7)
    whole = loss(*lists).item()
    for seed in range(4):
        shuffled = torch.randperm(lists[0].shape[1], generator=torch.Generator().manual_seed(seed))
        assert loss(*(x[:, shuffled] for x in lists)).item() == pytest.approx(whole, rel=1e-12)


@EVERY
def test_gradient_is_right(name: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(8, pages=4, items=6)
    leaf = scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, targets, group, mask), (leaf,))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", ["against", "along", "random"])
def test_extreme_scores_stay_finite(name: str, dtype: torch.dtype, pattern: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(9)
    known = targets.nan_to_num(0.0)
    scores = {"against": (1.5 - known).sign(), "along": (known - 1.5).sign(), "random": scores.sign()}[pattern] * 1e4
    leaf = scores.to(dtype).requires_grad_()
    value = loss(leaf, targets.float(), group, mask)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()
    if pattern == "against" and name not in ("iso_tie", "soft_cross_entropy"):
        assert value > 1e3
        assert gradient.any()


@EVERY
@pytest.mark.parametrize("kind", ["masked", "unlooked", "one item", "no items", "no pages"])
def test_nothing_to_learn_is_zero_with_gradient(name: str, kind: str) -> None:
    loss, _ = CASES[name]
    scores, targets, group, mask = batch(10)
    if kind == "masked":
        mask = torch.zeros_like(mask)
    elif kind == "unlooked":
        targets = torch.full_like(targets, NAN)
    elif kind == "one item":
        mask = torch.zeros_like(mask)
        mask[:, 0] = True
    else:
        cut = (slice(None), slice(0)) if kind == "no items" else (slice(0), slice(None))
        scores, targets, group, mask = (x[cut] for x in (scores, targets, group, mask))
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, targets, group, mask)
    torch.autograd.backward(value)
    assert value.item() == 0.0
    assert leaf.grad is not None
    assert not leaf.grad.any()


@pytest.mark.parametrize("name", sorted(set(CASES) - {"iso_tie"}))
def test_equal_targets_teach_nothing(name: str) -> None:
    scores, targets, group, mask = batch(11)
    assert CASES[name][0](scores, torch.full_like(targets, 2.0), group, mask).item() == 0.0


@EVERY
def test_shapes_must_agree(name: str) -> None:
    loss, _ = CASES[name]
    lists = batch(0)
    with pytest.raises(ShapeError, match="got shape"):
        loss(lists[0], lists[1][:, :-1], lists[2], lists[3])
    with pytest.raises(ShapeError, match="allowed"):
        loss(lists[0][0], lists[1][0], lists[2][0], lists[3][0])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda s, t, g, m: pairwise_hinge(s, t, m, margin=-1.0), "margin"),
        (lambda s, t, g, m: pairwise_hinge(s, t, m.float()), "mask"),
        (lambda s, t, g, m: listnet(s, t, m, temperature=0.0), "temperature"),
        (lambda s, t, g, m: plackett_luce(s, t, m, temperature=NAN), "temperature"),
        (lambda s, t, g, m: plackett_luce(s, t, m, top_k=0), "top_k"),
        (lambda s, t, g, m: soft_cross_entropy(s, t, m, decay=1.0), "decay"),
        (lambda s, t, g, m: list_mle(s, t, m, weights=-torch.ones_like(s)), "weights"),
        (lambda s, t, g, m: list_mle(s, t, m, weights=torch.full_like(s, NAN)), "weights"),
        (lambda s, t, g, m: list_mle(s, t, m, weights=torch.ones(2, 2)), "weights"),
        (lambda s, t, g, m: aligned_within(s, t, g.float()), "group"),
        (lambda s, t, g, m: aligned_listwise(s, t, g, weights={1: -1.0}), r"weights\[1\]"),
        (lambda s, t, g, m: aligned_kl(s, t, g, tau_student=0.0), "tau_student"),
        (lambda s, t, g, m: iso_tie(s, t, g, m, eps=-0.1), "eps"),
    ],
)
def test_bad_parameters_are_refused(call: Four, word: str) -> None:
    with pytest.raises(InputError, match=word):
        call(*batch(0))


# --- by hand ---------------------------------------------------------------------------------------------------------


def page(*rows: list[float]) -> list[Tensor]:
    """Float rows as [1, L] tensors, and a full mask."""
    return [*(torch.tensor([row], dtype=torch.float64) for row in rows), torch.ones(1, len(rows[0]), dtype=torch.bool)]


def test_hinge_by_hand() -> None:
    # pairs (a, b): 1 - 2 -> 0; (a, c): 1 - (-1) = 2; (b, c): 1 - (-3) = 4
    assert pairwise_hinge(*page([2.0, 0.0, 3.0], [2.0, 1.0, 0.0])).item() == pytest.approx(2.0)


def test_ranknet_by_hand() -> None:
    assert ranknet(*page([1.0, 1.0], [1.0, 0.0])).item() == pytest.approx(math.log(2))
    assert ranknet(*page([math.log(3.0), 0.0], [1.0, 0.0])).item() == pytest.approx(math.log(4 / 3))


def test_weighted_ranknet_by_hand() -> None:
    # equal scores: every pair costs log 2; weights 1/(1+2), 1/(1+3), 1/(2+3); with the tie: 1/(1+2) twice
    expected = math.log(2) * (1 / 3 + 1 / 4 + 1 / 5) / 3
    assert weighted_ranknet(*page([0.0] * 3, [2.0, 1.0, 0.0])).item() == pytest.approx(expected)
    assert weighted_ranknet(*page([0.0] * 3, [2.0, 1.0, 1.0])).item() == pytest.approx(math.log(2) / 3)


def test_listnet_by_hand() -> None:
    # gains log 3 and 0: wanted 3/4, 1/4; given 1/2, 1/2
    assert listnet(*page([0.0, 0.0], [math.log(3), 0.0])).item() == pytest.approx(math.log(2))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert listnet(*page([5 + math.log(3), 5.0], [math.log(3), 0.0])).item() == pytest.approx(entropy)


def test_soft_cross_entropy_by_hand() -> None:
    # decay .5: masses 4/7, 2/7, 1/7; tied tail: 4/7, 1.5/7, 1.5/7
    scores, targets, mask = page([math.log(4), math.log(2), 0.0], [9.0, 5.0, 1.0])
    wanted = np.array([4, 2, 1]) / 7
    assert soft_cross_entropy(scores, targets, mask).item() == pytest.approx(-(wanted * np.log(wanted)).sum())
    given = np.log(wanted)
    tied = np.array([4, 1.5, 1.5]) / 7
    targets[0, 1] = 1.0
    assert soft_cross_entropy(scores, targets, mask).item() == pytest.approx(-(tied * given).sum())


def test_list_mle_by_hand() -> None:
    # scores log 4, log 2, log 1: -log(4/7), -log(2/3), 0
    scores, targets, mask = page([math.log(4), math.log(2), 0.0], [2.0, 1.0, 0.0])
    assert list_mle(scores, targets, mask).item() == pytest.approx((math.log(7 / 4) + math.log(3 / 2)) / 3)
    # the first two tied: each against itself and the last only: 4/5 and 2/3
    targets[0, 1] = 2.0
    assert list_mle(scores, targets, mask).item() == pytest.approx((math.log(5 / 4) + math.log(3 / 2)) / 3)


def test_aligned_losses_by_hand() -> None:
    scores, teacher, _ = page([math.log(3), 0.0, 7.0, 7.0, 0.0], [0.9, 0.1, -5.0, 2.0, NAN])
    group = torch.tensor([[0, 0, 1, 1, 1]])
    text, image = math.log(4 / 3) / 2, math.log(2) / 2
    assert aligned_listwise(scores, teacher, group).item() == pytest.approx(text + image)
    assert aligned_listwise(scores, teacher, group, weights={0: 0.0, 1: 3.0}).item() == pytest.approx(3 * image)
    assert aligned_within(scores, teacher, group, margin=2.0).item() == pytest.approx((2 - math.log(3)) + 2.0)
    # two opinions standardise to +1, -1 whatever their scale: softmax e^2 : 1
    p = math.exp(2) / (1 + math.exp(2))
    kl = [p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) for q in (0.75, 0.5)]
    assert aligned_kl(scores, teacher, group).item() == pytest.approx(sum(kl))
    # as they stand the opinions are odds of e^.8 : 1 and e^7 : 1
    odds = [cross_entropy(softmax(t), s) - cross_entropy(softmax(t), t) for s, t in (([math.log(3), 0.0], [0.9, 0.1]),)]
    odds += [math.log(2) - cross_entropy(softmax([0.0, 7.0]), [0.0, 7.0])]
    assert aligned_odds(scores, teacher, group).item() == pytest.approx(sum(odds))


def test_cross_modal_losses_by_hand() -> None:
    scores, grades, mask = page([1.0, 0.5, 0.0, 2.0], [2.0, 1.0, 2.0, 1.0])
    group = torch.tensor([[0, 0, 1, 1]])
    # strict and cross-modal: (0, 3): 1 - (1 - 2) = 2; (2, 1): 1 - (0 - .5) = 1.5
    assert cross_modal_hinge(scores, grades, group, mask).item() == pytest.approx(1.75)
    # equal and cross-modal: (0, 2): 1 - .25; (1, 3): 1.5 - .25
    assert iso_tie(scores, grades, group, mask, eps=0.25).item() == pytest.approx(1.0)
    assert iso_tie(scores, grades, group, mask, eps=5.0).item() == 0.0


def test_aligned_kl_does_not_see_the_scale_of_a_teacher() -> None:
    scores, teacher, group, mask = batch(12)
    group = torch.where(mask, group, -1)
    value = aligned_kl(scores, teacher, group).item()
    for factor, offset in ((1e-3, 5.0), (1e30, 0.0), (1e-30, 0.0)):
        moved = (teacher * factor + offset).float()
        assert aligned_kl(scores, moved, group).item() == pytest.approx(value, rel=1e-3)


def test_alignment_never_compares_modalities() -> None:
    scores, teacher, group, mask = batch(13)
    group = torch.where(mask, group, -1)
    lifted = teacher + torch.where(group == 1, 100.0, 0.0)
    for loss in (aligned_listwise, aligned_within, aligned_kl, aligned_odds):
        assert loss(scores, lifted, group).item() == pytest.approx(loss(scores, teacher, group).item(), rel=1e-10)
    for loss in (aligned_listwise, aligned_within):  # nor do the scores of one reach the other
        moved = scores + torch.where(group == 1, 3.0, 0.0)
        assert loss(moved, teacher, group).item() == pytest.approx(loss(scores, teacher, group).item(), rel=1e-10)


# --- ListMLE and Plackett-Luce ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_plackett_luce_is_a_distribution_over_orders(size: int, temperature: float) -> None:
    scores = torch.tensor(np.random.default_rng(size).normal(size=size))
    orders = list(itertools.permutations(range(size)))
    targets = torch.zeros(len(orders), size, dtype=torch.float64)
    for row, order in enumerate(orders):
        targets[row, list(order)] = torch.arange(size, 0, -1, dtype=torch.float64)
    mask = torch.ones(1, size, dtype=torch.bool)
    found = []
    for row, order in enumerate(orders):
        loss = plackett_luce(scores[None], targets[row : row + 1], mask, temperature=temperature).item()
        strength, expected = [math.exp(float(x) / temperature) for x in scores], 1.0
        for place, i in enumerate(order):
            expected *= strength[i] / sum(strength[j] for j in order[place:])
        assert math.exp(-size * loss) == pytest.approx(expected, rel=1e-9)
        found.append(math.exp(-size * loss))
    assert sum(found) == pytest.approx(1.0, rel=1e-9)


def test_the_top_of_an_order_sums_over_what_may_follow() -> None:
    scores = torch.tensor([[0.3, -1.0, 0.8, 0.1]], dtype=torch.float64)
    mask = torch.ones(1, 4, dtype=torch.bool)
    targets = torch.tensor([[4.0, 3.0, 2.0, 1.0]], dtype=torch.float64)
    top = math.exp(-2 * plackett_luce(scores, targets, mask, top_k=2).item())
    swapped = torch.tensor([[4.0, 3.0, 1.0, 2.0]], dtype=torch.float64)
    whole = sum(math.exp(-4 * list_mle(scores, t, mask).item()) for t in (targets, swapped))
    assert top == pytest.approx(whole, rel=1e-10)
    assert plackett_luce(scores, targets, mask, top_k=9) == list_mle(scores, targets, mask)
    # a tie across the border counts whole: places 2 and 3 are equal, so top 2 is top 3
    tied = torch.tensor([[4.0, 3.0, 3.0, 1.0]], dtype=torch.float64)
    assert plackett_luce(scores, tied, mask, top_k=2) == plackett_luce(scores, tied, mask, top_k=3)


def tanh_list_mle(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """The variant not to repeat: scores squeezed into (-1, 1) first."""
    return list_mle(torch.tanh(scores), targets, mask)


@pytest.mark.parametrize("targets", [[3.0, 2.0, 1.0, 0.0], [2.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
def test_a_perfect_list_reaches_zero_and_tanh_cannot(targets: list[float]) -> None:
    values, squeezed = [], []
    for lead in (1.0, 4.0, 16.0, 64.0):
        lists = page([lead * t for t in targets], targets)
        values.append(list_mle(*lists).item())
        lists[0] -= lead * sum(targets) / 4
        squeezed.append(tanh_list_mle(*lists).item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-12
    # scores within (-1, 1): a better item's term is at least log(1 + e^-2)
    bound = sum(t > min(targets) for t in targets) / 4 * math.log(1 + math.exp(-2))
    assert min(squeezed) >= bound > 0.06


def test_without_ties_it_is_the_plain_logsumexp_formula() -> None:
    rng = np.random.default_rng(0)
    scores, targets = torch.tensor(rng.normal(size=(1, 50))) * 3, torch.tensor(rng.permutation(50)[None].astype(float))
    ordered = scores[0, targets[0].argsort(descending=True)]
    expected = torch.stack([ordered[k:].logsumexp(0) - ordered[k] for k in range(50)]).mean()
    found = list_mle(scores, targets, torch.ones(1, 50, dtype=torch.bool))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_exchanging_equal_targets_changes_nothing() -> None:
    scores, targets, mask = page([1.0, -2.0, 0.5, 3.0], [1.0, 1.0, 0.0, 2.0])
    exchanged = scores[:, [1, 0, 2, 3]]
    assert list_mle(scores, targets, mask).item() == pytest.approx(list_mle(exchanged, targets, mask).item(), rel=1e-12)


def test_weights_are_copies() -> None:
    scores, targets, mask = page([1.0, -2.0, 0.5, 3.0], [1.0, 2.0, 0.0, 2.0])
    weights = torch.tensor([[2.0, 1.0, 3.0, 0.0]])
    copied = [0, 0, 1, 2, 2, 2]
    expected = list_mle(scores[:, copied], targets[:, copied], mask[:, [0] * 6])
    assert list_mle(scores, targets, mask, weights=weights).item() == pytest.approx(expected.item(), rel=1e-12)
    assert list_mle(scores, targets, mask, weights=torch.ones_like(scores)) == list_mle(scores, targets, mask)
    one_left = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert list_mle(scores, targets, mask, weights=one_left).item() == 0.0
    # what does not count may weigh anything
    hidden, odd = mask.clone(), torch.ones_like(scores)
    hidden[0, 2], odd[0, 2] = False, NAN
    assert list_mle(scores, targets, hidden, weights=odd) == list_mle(scores, targets, hidden)


def test_a_small_weight_matters_less() -> None:
    scores, targets, mask = page([0.0, 2.0, 1.0], [2.0, 1.0, 0.0])
    leaf = scores.clone().requires_grad_()
    sizes = []
    for doubt in (1.0, 0.5, 0.1):
        value = list_mle(leaf, targets, mask, weights=torch.tensor([[doubt, 1.0, 1.0]]))
        sizes.append(torch.autograd.grad(value, leaf)[0][0, 0].abs().item())
    assert sizes == sorted(sizes, reverse=True)


def test_gradient_descent_finds_the_order() -> None:
    scores = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[3.0, 1.0, 1.0, 0.0, 2.0, NAN]], dtype=torch.float64)
    group = torch.tensor([[0, 1, 0, 1, 0, -1]])
    mask = group >= 0
    for _ in range(200):
        value = list_mle(scores, targets, mask) + 0.1 * iso_tie(scores, targets, group, mask)
        (gradient,) = torch.autograd.grad(value, scores)
        scores = (scores - gradient).detach().requires_grad_()
    found = scores[0].tolist()
    assert found[0] > found[4] > max(found[1], found[2]) >= min(found[1], found[2]) > found[3]
    assert found[5] == 0.0


def test_reference_softplus_is_the_same_ranknet_as_torch() -> None:
    scores, targets, mask = page([0.3, -0.4], [1.0, 0.0])
    target = torch.ones(1, dtype=torch.float64)
    expected = functional.binary_cross_entropy_with_logits(scores[:, 0] - scores[:, 1], target)
    assert ranknet(scores, targets, mask).item() == pytest.approx(expected.item(), rel=1e-12)


# --- the tail of a teacher --------------------------------------------------------------------------------------------


def test_tied_tail_is_the_loop_that_it_says() -> None:
    generator = torch.Generator().manual_seed(5)
    teacher = torch.randn(6, 9, generator=generator) * 4
    teacher[torch.rand(6, 9, generator=generator) < 0.2] = torch.nan
    group = torch.randint(-1, 3, (6, 9), generator=generator)
    got = tied_tail(teacher, group, depth=2.5)
    for row in range(6):
        for i in range(9):
            mates = [
                float(teacher[row, j])
                for j in range(9)
                if group[row, j] == group[row, i] and not torch.isnan(teacher[row, j])
            ]
            if torch.isnan(teacher[row, i]):
                assert torch.isnan(got[row, i])
            elif group[row, i] >= 0:
                assert float(got[row, i]) == pytest.approx(max(float(teacher[row, i]), max(mates) - 2.5))


def test_a_tied_tail_is_not_ordered_but_stays_below() -> None:
    teacher = torch.tensor([[9.0, 8.0, 1.0, 0.0]])
    group = torch.zeros(1, 4, dtype=torch.long)
    tied = tied_tail(teacher, group, depth=4.0)
    one, other = torch.tensor([[5.0, 4.0, 1.0, 0.0]]), torch.tensor([[5.0, 4.0, 0.0, 1.0]])
    assert aligned_listwise(one, tied, group) == pytest.approx(float(aligned_listwise(other, tied, group)))
    assert aligned_listwise(one, tied, group) < aligned_listwise(one[:, [2, 1, 0, 3]], tied, group)
    assert torch.equal(tied_tail(teacher, group, depth=100.0), teacher)
    with pytest.raises(InputError):
        tied_tail(teacher, group, depth=0.0)
