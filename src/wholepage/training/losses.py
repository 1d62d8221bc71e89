"""How wrong an order is: pure functions of tensors, one page a row.

Every loss here is a ``Loss``: scores, targets and a mask of shape ``[B, L]`` in, one scalar out. Set a keyword with
``functools.partial(plackett_luce, temperature=0.5)``. All of them keep the same promises:

- an item counts when its mask is True and its target is a number; NaN = nobody looked. What does not count reaches
  neither the value nor the gradient, so padding never matters;
- a page teaches only when two of its counted items differ in target; the loss is the mean over the pages that teach,
  and 0.0 (with gradient) when none does, so a batch is the mean of its rows;
- equal targets have no order: exchanging them changes nothing;
- half precision is computed in float32; scores of +-1e4 keep value and gradient finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from wholepage.pages.errors import InputError, ShapeError

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

MeanOver = Literal["items", "ordered"]
"""What a listwise loss divides by: all items that count, or those with a worse one among them, which alone cost."""

# "No competitor" in a log-sum: its exp is 0, yet it is finite in float32, unlike -inf, whose gradients are NaN.
_ABSENT = -1e30


# --- the losses -------------------------------------------------------------------------------------------------------


def pairwise_hinge(scores: Tensor, targets: Tensor, mask: Tensor, *, margin: float = 1.0) -> Tensor:
    """Every better item should beat every worse one by a margin.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Args:
        margin: the lead, in score units, from which a pair costs nothing.
    Returns:
        Scalar: mean of max(0, margin - (f_i - f_j)) over a page's ordered pairs, then over pages.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool, or the margin is negative.
    """
    check_lists(scores, targets=targets, mask=mask)
    check_number("margin", margin, zero_allowed=True)
    usable = usable_items(targets, mask)
    values = functional.relu(margin - differences(safe_scores(scores, usable)))
    return mean_over_pairs(values, ordered_pairs(targets, usable))


def ranknet(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Every better item should probably beat every worse one.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Returns:
        Scalar: mean of log(1 + exp(f_j - f_i)) over a page's ordered pairs, then over pages.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool.
    Source: Burges et al. 2005, Learning to rank using gradient descent.
    """
    check_lists(scores, targets=targets, mask=mask)
    usable = usable_items(targets, mask)
    values = -functional.logsigmoid(differences(safe_scores(scores, usable)))
    return mean_over_pairs(values, ordered_pairs(targets, usable))


def weighted_ranknet(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """RankNet in which pairs near the top of the target order weigh more.

    A pair weighs 1 / (rank_i + rank_j); ranks count from 1, and equal targets share the best rank of their tie. The
    weights are not normalised, so the loss is smaller than RankNet's (FIRST multiplies it by 10).

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Returns:
        Scalar: mean of the weighted pair losses over a page's ordered pairs, then over pages.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool.
    Source: FIRST, arXiv 2406.15657.
    """
    check_lists(scores, targets=targets, mask=mask)
    usable = usable_items(targets, mask)
    safe, pairs = safe_scores(scores, usable), ordered_pairs(targets, usable)
    rank = 1.0 + pairs.sum(1).to(safe.dtype)
    weights = 1.0 / (rank.unsqueeze(2) + rank.unsqueeze(1))
    return mean_over_pairs(-weights * functional.logsigmoid(differences(safe)), pairs)


def listnet(scores: Tensor, targets: Tensor, mask: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The scores' softmax should be the softmax of the gains.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Args:
        temperature: divides the targets; a small one puts all the mass on the best.
    Returns:
        Scalar: mean over pages of the cross-entropy; its least value is the entropy of the targets, not 0.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool, or the temperature is not above 0.
    Source: Cao et al. 2007, Learning to rank: from pairwise approach to listwise approach (top-one form).
    """
    check_lists(scores, targets=targets, mask=mask)
    check_number("temperature", temperature)
    usable = usable_items(targets, mask)
    safe = safe_scores(scores, usable)
    gains = torch.where(usable, targets, 0.0).to(safe.dtype)
    wanted = masked_log_softmax(gains / temperature, usable).exp()
    per_page = -(wanted * masked_log_softmax(safe, usable)).sum(1)
    return mean_over_pages(per_page, differ(targets, usable))


def gain_softmax(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """The scores' softmax should be in proportion to the gains 2^target - 1; a target of 0 earns nothing.

    Shapes:
        scores, targets: [B, L] float, targets from 0 up; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Returns:
        Scalar: mean over pages of the cross-entropy; its least value is the entropy of the gains, not 0.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool.
    Source: Bruch et al. 2019, An analysis of the softmax cross entropy loss for learning-to-rank with binary
        relevance, with graded gains in place of binary relevance.
    """
    check_lists(scores, targets=targets, mask=mask)
    usable = usable_items(targets, mask)
    safe = safe_scores(scores, usable)
    gains = torch.where(usable, torch.exp2(torch.where(usable, targets, 0.0)) - 1.0, 0.0).to(safe.dtype)
    wanted = gains / gains.sum(1, keepdim=True).clamp_min(1e-9)
    per_page = -(wanted * masked_log_softmax(safe, usable)).sum(1)
    return mean_over_pages(per_page, differ(targets, usable))


def soft_cross_entropy(scores: Tensor, targets: Tensor, mask: Tensor, *, decay: float = 0.5) -> Tensor:
    """The scores' softmax should halve from each position of the target order to the next.

    Position p (from 0) gets mass decay^p; equal targets share the mass of the positions they fill; the sum is 1.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Args:
        decay: between 0 and 1, both excluded.
    Returns:
        Scalar: mean over pages of the cross-entropy; its least value is the entropy of the wanted mass, not 0.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool, or the decay is outside (0, 1).
    Source: the soft targets of ZipRerank.
    """
    check_lists(scores, targets=targets, mask=mask)
    if not 0.0 < decay < 1.0:
        raise InputError(f"decay: got {decay}; allowed: between 0 and 1, both excluded; 0.5 halves at each position")
    usable = usable_items(targets, mask)
    safe, pairs = safe_scores(scores, usable), ordered_pairs(targets, usable)
    better = pairs.sum(1).to(safe.dtype)
    tied = usable.sum(1, keepdim=True).to(safe.dtype) - better - pairs.sum(2).to(safe.dtype)
    # decay^better + ... + decay^(better + tied - 1), shared by the tie; the factor 1 / (1 - decay) goes with the sum.
    mass = torch.where(usable, decay**better * (1.0 - decay**tied) / tied.clamp(min=1.0), 0.0)
    wanted = mass / mass.sum(1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    per_page = -(wanted * masked_log_softmax(safe, usable)).sum(1)
    return mean_over_pages(per_page, differ(targets, usable))


def list_mle(
    scores: Tensor,
    targets: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
    mean_over: MeanOver = "items",
) -> Tensor:
    """The target order should be likely when items are drawn one by one by their scores.

    Ties are grouped: each item competes with itself and the items of strictly lower target, never with its equals.
    With W(i) = the items of lower target than i, and n = the counted items of the page, the loss of a page is

        (1 / n) * sum_i [ log( exp(f_i) + sum_{j in W(i)} exp(f_j) ) - f_i ]

    which is plain ListMLE when no targets are equal. Items of the lowest target have nobody to beat and cost 0. A
    page in the right order costs less the further its scores are apart, down to 0, with ties too.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
        weights: [B, L] float, or None = 1 everywhere
    Args:
        weights: how many copies of itself an item stands for: it multiplies the item's own term, its share of the
            competition and its part of n. 0 is the same as masked out, 2 the same as two equal items; a posterior
            probability that the target is right counts the item at that probability: an unsure item still stands
            among the competitors of better ones, at its weight, and going to 0 it leaves the list.
        mean_over: ``items`` = n as above; ``ordered`` = without the items of the lowest target, so that a long tail
            of equals does not make a list quieter the longer it is.
    Returns:
        Scalar, the mean over pages.
    Raises:
        ShapeError: the shapes differ.
        InputError: the mask is not bool, or a weight of a counted item is negative or not finite.
    Source: Xia et al. 2008, Listwise approach to learning to rank; ties grouped here.
    """
    return plackett_luce(scores, targets, mask, weights=weights, mean_over=mean_over)


def plackett_luce(
    scores: Tensor,
    targets: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    weights: Tensor | None = None,
    mean_over: MeanOver = "items",
) -> Tensor:
    """ListMLE of scores divided by a temperature, of the whole order or of its top only.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
        weights: [B, L] float, or None = 1 everywhere; see ``list_mle``
    Args:
        temperature: divides the scores; small = only close calls still teach.
        top_k: sum only over items with fewer than ``top_k`` items above them (a tie across the border counts whole)
            and divide by their number; None = all.
        weights: copies an item stands for; mean_over: what the sum is divided by; see ``list_mle``.
    Returns:
        Scalar, the mean over pages. Without ties exp(-n * loss) is the Plackett-Luce probability of the order.
    Raises:
        ShapeError: the shapes differ.
        InputError: the mask is not bool, temperature or top_k is not above 0, or a weight is negative or not finite.
    Source: arXiv 2601.20623 (temperature), Luce 1959; Plackett 1975.
    """
    check_lists(scores, targets=targets, mask=mask, **({} if weights is None else {"weights": weights}))
    check_number("temperature", temperature)
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k: got {top_k}; allowed: 1 or more, or None for the whole order; choose one")
    usable = usable_items(targets, mask)
    copies = usable.double() if weights is None else counted_weights(weights, usable)
    usable = usable & (copies > 0)
    safe = safe_scores(scores, usable) / temperature
    terms, copies, rank, costs = _draws(safe, targets, usable, copies.to(safe.dtype))
    shares = copies if top_k is None else torch.where(rank < top_k, copies, 0.0)
    number = (shares if mean_over == "items" else torch.where(costs, shares, 0.0)).sum(1)
    per_page = (shares * terms).sum(1) / torch.where(number > 0, number, 1.0)
    return mean_over_pages(per_page, differ(targets, usable))


# --- the pieces they share --------------------------------------------------------------------------------------------


def check_lists(scores: Tensor, **others: Tensor) -> None:
    """Refuse what is not one shape ``[B, L]``, and a ``mask`` that is not bool.

    Raises:
        ShapeError: scores are not two-dimensional, or another tensor has another shape.
        InputError: ``mask`` is not bool.
    """
    if scores.ndim != 2:
        raise ShapeError(f"scores: got shape {tuple(scores.shape)}; allowed: [pages, items]; add the missing dimension")
    for name, other in others.items():
        if other.shape != scores.shape:
            raise ShapeError(
                f"{name}: got shape {tuple(other.shape)}; allowed: that of scores, {tuple(scores.shape)}; "
                "pad both to the same number of items"
            )
        if name == "mask" and other.dtype != torch.bool:
            raise InputError(f"mask: got dtype {other.dtype}; allowed: torch.bool, True = counts; use mask.bool()")


def check_number(name: str, value: float, *, zero_allowed: bool = False) -> None:
    """Refuse a parameter that is not finite and above 0 (or at 0, where allowed).

    Raises:
        InputError: it is not.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
        allowed = "finite numbers from 0 up" if zero_allowed else "finite numbers above 0"
        raise InputError(f"{name}: got {value}; allowed: {allowed}; choose another")


def usable_items(targets: Tensor, mask: Tensor) -> Tensor:
    """The items that count: in the mask, and somebody looked. Shapes: [B, L] -> [B, L] bool."""
    return mask & ~torch.isnan(targets)


def safe_scores(scores: Tensor, usable: Tensor) -> Tensor:
    """Scores in at least float32, with 0 (and no gradient) where an item does not count. Shapes: [B, L]."""
    wide = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    return torch.where(usable, wide, 0.0)


def counted_weights(weights: Tensor, usable: Tensor) -> Tensor:
    """Weights of the items that count, 0 elsewhere, without gradient. Shapes: [B, L] -> [B, L].

    Raises:
        InputError: one of them is negative or not finite.
    """
    counted = torch.where(usable, weights.detach(), 0.0)
    if not bool(torch.isfinite(counted).all() & (counted >= 0).all()):
        wrong = counted[~torch.isfinite(counted) | (counted < 0)]
        raise InputError(f"weights: got {wrong[0].item()}; allowed: finite numbers from 0 up; 0 leaves an item out")
    return counted


def differences(scores: Tensor) -> Tensor:
    """``f_i - f_j`` of all pairs. Shapes: [B, L] -> [B, L, L]."""
    return scores.unsqueeze(2) - scores.unsqueeze(1)


def ordered_pairs(targets: Tensor, usable: Tensor) -> Tensor:
    """The pairs ``i, j`` that both count, i strictly better. Shapes: [B, L] -> [B, L, L] bool."""
    return usable.unsqueeze(2) & usable.unsqueeze(1) & (targets.unsqueeze(2) > targets.unsqueeze(1))


def differ(targets: Tensor, usable: Tensor) -> Tensor:
    """The pages on which two items that count have different targets. Shapes: [B, L] -> [B] bool."""
    # One column more, so that pages without any item have an extreme too.
    high = functional.pad(torch.where(usable, targets, -math.inf), (0, 1), value=-math.inf).amax(1)
    low = functional.pad(torch.where(usable, targets, math.inf), (0, 1), value=math.inf).amin(1)
    return high > low


def masked_log_softmax(values: Tensor, usable: Tensor) -> Tensor:
    """Log-softmax over the items that count; very low, but finite, elsewhere. Shapes: [B, L]."""
    return functional.log_softmax(torch.where(usable, values, _ABSENT), dim=1)


def mean_over_pairs(values: Tensor, pairs: Tensor) -> Tensor:
    """Mean over each page's pairs, then over the pages that have one. Shapes: [B, L, L] -> scalar."""
    number = pairs.sum((1, 2))
    per_page = torch.where(pairs, values, 0.0).sum((1, 2)) / number.clamp(min=1)
    return mean_over_pages(per_page, number > 0)


def mean_over_pages(per_page: Tensor, teaches: Tensor) -> Tensor:
    """Mean over the pages that teach; 0.0 with gradient when none does. Shapes: [B] -> scalar."""
    return torch.where(teaches, per_page, 0.0).sum() / teaches.sum().clamp(min=1)


def _draws(scores: Tensor, targets: Tensor, usable: Tensor, copies: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What drawing each item before all worse ones costs, its copies, how many are better, and if any is worse.

    Items come back from worst to best, what does not count first with 0 copies.
    """
    # What does not count goes first: then everything that an item must beat lies before it.
    key = torch.where(usable, targets, -math.inf)
    order = key.argsort(dim=1, stable=True)
    scores, real, copies = scores.gather(1, order), usable.gather(1, order), copies.gather(1, order)
    start, end = _tie_groups(key.gather(1, order))
    mass = torch.where(real, scores + torch.where(real, copies, 1.0).log(), _ABSENT)
    before = (start - 1).clamp(min=0)
    beats = real & (start > 0) & real.gather(1, before)
    lower = torch.logcumsumexp(mass, dim=1).gather(1, before)
    terms = torch.where(beats, -functional.logsigmoid(scores - lower), 0.0)
    return terms, torch.where(real, copies, 0.0), scores.shape[1] - 1 - end, beats


def _tie_groups(key: Tensor) -> tuple[Tensor, Tensor]:
    """First and last index of the run of equals around each place of a sorted row. Shapes: [B, L] -> two [B, L]."""
    length = key.shape[1]
    if length == 0:
        return torch.zeros_like(key, dtype=torch.long), torch.zeros_like(key, dtype=torch.long)
    place = torch.arange(length, device=key.device).expand_as(key)
    changes = key[:, 1:] != key[:, :-1]
    edge = torch.ones_like(changes[:, :1]) if length > 1 else torch.ones_like(key, dtype=torch.bool)
    starts, ends = torch.cat([edge, changes], dim=1), torch.cat([changes, edge], dim=1)
    start = torch.where(starts, place, 0).cummax(dim=1).values
    end = torch.where(ends, place, length - 1).flip(1).cummin(dim=1).values.flip(1)
    return start, end
