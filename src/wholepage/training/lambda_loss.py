"""NDCGLoss2++: pairs weighed by what exchanging them would do to nDCG, in the order that the scores give now."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from wholepage.training.losses import (
    check_lists,
    check_number,
    differ,
    differences,
    mean_over_pages,
    ordered_pairs,
    safe_scores,
    usable_items,
)


def ndcg_loss2pp(scores: Tensor, targets: Tensor, mask: Tensor, *, sigma: float = 1.0, mu: float = 10.0) -> Tensor:
    """Every better item should beat every worse one, the more so the more nDCG hangs on the pair.

    With r = ranks (from 1) of the items that count by their scores, D(r) = log2(1 + r), and G = gains 2^target - 1 over
    the best DCG of the page, the loss of a page is the sum over its ordered pairs of

        ( |1/D(r_i) - 1/D(r_j)| + mu * (1/D(|r_i - r_j|) - 1/D(|r_i - r_j| + 1)) ) * (G_i - G_j)
            * log2(1 + exp(-sigma * (f_i - f_j)))

    The ranks are taken as they stand: no gradient flows through them. Of equal scores the item of lower target stands
    first, so that the order in which items come does not matter.

    Shapes:
        scores, targets: [B, L] float, targets from 0 up; NaN in targets = nobody looked
        mask: [B, L] bool; True = the item counts
    Args:
        sigma: steepness.  mu: weight of the second term.
    Returns:
        Scalar, the mean over pages.
    Raises:
        ShapeError: the three shapes differ.
        InputError: the mask is not bool, sigma is not above 0, or mu is negative.
    Source: Wang et al. 2018, The LambdaLoss framework for ranking metric optimization (mu = 10 as there).
    """
    check_lists(scores, targets=targets, mask=mask)
    check_number("sigma", sigma)
    check_number("mu", mu, zero_allowed=True)
    usable = usable_items(targets, mask)
    safe, pairs = safe_scores(scores, usable), ordered_pairs(targets, usable)
    known = torch.where(usable, targets, 0.0).to(safe.dtype)
    with torch.no_grad():
        rank = _ranks(safe, known, usable).to(safe.dtype)
        gains = torch.where(usable, torch.exp2(known) - 1.0, 0.0)
        best = gains.sort(dim=1, descending=True).values
        place = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=safe.dtype)
        gains = gains / (best * _share(place)).sum(1, keepdim=True).clamp_min(torch.finfo(safe.dtype).tiny)
        apart = differences(rank).abs().clamp_min(1.0)
        swapped = differences(_share(rank)).abs() + mu * (_share(apart) - _share(apart + 1.0))
        weights = torch.where(pairs, swapped * differences(gains), 0.0)
    beaten = -functional.logsigmoid(sigma * differences(safe)) / math.log(2.0)
    return mean_over_pages((weights * beaten).sum((1, 2)), differ(targets, usable))


def _share(rank: Tensor) -> Tensor:
    """What a rank, from 1, lets through of a gain."""
    return 1.0 / torch.log2(1.0 + rank)


def _ranks(scores: Tensor, targets: Tensor, usable: Tensor) -> Tensor:
    """Ranks from 1 among the items that count; of equal scores lower targets first. Shapes: [B, L]."""
    mine, theirs = scores.unsqueeze(2), scores.unsqueeze(1)
    lower = targets.unsqueeze(1) < targets.unsqueeze(2)
    like = targets.unsqueeze(1) == targets.unsqueeze(2)
    place = torch.arange(scores.shape[1], device=scores.device)
    earlier = place.unsqueeze(0) < place.unsqueeze(1)
    above = (theirs > mine) | ((theirs == mine) & (lower | (like & earlier)))
    return 1 + (above & usable.unsqueeze(1)).sum(2)
