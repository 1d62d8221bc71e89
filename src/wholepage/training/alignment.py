"""How far a whole-page order strays from the single-modal rankers it grew out of, and how modalities meet.

The ``aligned_*`` losses look at one modality at a time: within it, the page's scores should keep the order of that
modality's own ranker (the teacher). No two modalities are ever compared, so teachers need no common scale. The
combination is ``sum_m beta_m * L_m``; each ``L_m`` is the mean over the pages on which the teacher of modality m has at
least two different opinions. ``cross_modal_hinge`` and ``iso_tie`` are about pairs of different modalities, which only
people's answers can order. The promises of ``training.losses`` about padding, rows, ties and gradients hold here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from wholepage.pages.errors import InputError
from wholepage.training.losses import (
    Loss,
    MeanOver,
    check_lists,
    check_number,
    counted_weights,
    differ,
    differences,
    list_mle,
    masked_log_softmax,
    mean_over_pages,
    mean_over_pairs,
    ordered_pairs,
    pairwise_hinge,
    safe_scores,
    usable_items,
)


def aligned_listwise(
    scores: Tensor,
    teacher: Tensor,
    group: Tensor,
    *,
    weights: Mapping[int, float] | None = None,
    mean_over: MeanOver = "items",
) -> Tensor:
    """ListMLE within each modality, in the order of that modality's own ranker.

    Shapes:
        scores, teacher: [B, L] float; NaN in teacher = no opinion
        group: [B, L] int modality code; -1 = padding
    Args:
        weights: modality code -> beta; a code not named weighs 1.0, and 0.0 leaves a modality out.
        mean_over: what a list is divided by, see ``list_mle``. After ``tied_tail`` a long list is mostly tail: over
            ``items`` its modality grows quiet beside one of few items, over ``ordered`` it does not.
    Returns:
        Scalar: sum over modalities of beta times the mean over pages; 0.0 (with gradient) when nothing is ordered.
    Raises:
        ShapeError: the three shapes differ.
        InputError: group is not of whole numbers, or a weight is negative or not finite.
    Source: arXiv 2510.16803, single-modal supervision (listwise form).
    """
    return _by_modality(partial(list_mle, mean_over=mean_over), scores, teacher, group, weights)


def aligned_within(
    scores: Tensor,
    teacher: Tensor,
    group: Tensor,
    *,
    margin: float = 1.0,
    weights: Mapping[int, float] | None = None,
) -> Tensor:
    """Hinge on pairs of one modality, ordered as that modality's own ranker orders them.

    Shapes:
        scores, teacher: [B, L] float; NaN in teacher = no opinion
        group: [B, L] int modality code; -1 = padding
    Args:
        margin: the lead, in score units, from which a pair costs nothing.
        weights: modality code -> beta; a code not named weighs 1.0, and 0.0 leaves a modality out.
    Returns:
        Scalar: sum over modalities of beta times the mean over ordered pairs, then over pages; 0.0 (with gradient)
        when there are none.
    Raises:
        ShapeError: the three shapes differ.
        InputError: group is not of whole numbers, or the margin or a weight is negative or not finite.
    Source: arXiv 2510.16803, single-modal supervision (pairwise form).
    """
    check_number("margin", margin, zero_allowed=True)
    return _by_modality(partial(pairwise_hinge, margin=margin), scores, teacher, group, weights)


def aligned_kl(
    scores: Tensor,
    teacher: Tensor,
    group: Tensor,
    *,
    tau_teacher: float = 1.0,
    tau_student: float = 1.0,
    weights: Mapping[int, float] | None = None,
) -> Tensor:
    """Within each modality, the scores' softmax should be that of the modality's own ranker.

    The teacher is standardised within (page, modality): mean 0, population standard deviation 1. So its scale and
    offset do not matter, but how far its scores are apart does, unlike in the other two forms.

    Shapes:
        scores, teacher: [B, L] float; NaN in teacher = no opinion
        group: [B, L] int modality code; -1 = padding
    Args:
        tau_teacher, tau_student: temperatures dividing the standardised teacher and the scores.
        weights: modality code -> beta; a code not named weighs 1.0, and 0.0 leaves a modality out.
    Returns:
        Scalar: sum over modalities of beta times the mean over pages of KL(teacher || scores); at least 0.
    Raises:
        ShapeError: the three shapes differ.
        InputError: group is not of whole numbers, a temperature is not above 0, or a weight is negative.
    Source: own reconstruction of a soft form of arXiv 2510.16803's single-modal supervision.
    """
    check_number("tau_teacher", tau_teacher)
    check_number("tau_student", tau_student)
    loss = partial(_standardised_kl, tau_teacher=tau_teacher, tau_student=tau_student)
    return _by_modality(loss, scores, teacher, group, weights)


def aligned_odds(
    scores: Tensor, teacher: Tensor, group: Tensor, *, weights: Mapping[int, float] | None = None
) -> Tensor:
    """Within each modality, the scores should give the odds that the modality's own ranker gives.

    For rankers whose scores are log-odds of being the one to choose, as a softmax loss makes them. How sure the ranker
    is counts: where it is sure only the best must stand out, where it is not little is asked. What it puts far
    below the best weighs next to nothing, so it needs no ``tied_tail``.

    Shapes:
        scores, teacher: [B, L] float; NaN in teacher = no opinion
        group: [B, L] int modality code; -1 = padding
    Args:
        weights: modality code -> beta; a code not named weighs 1.0, and 0.0 leaves a modality out.
    Returns:
        Scalar: sum over modalities of beta times the mean over pages of KL(teacher || scores); at least 0.
    Raises:
        ShapeError: the three shapes differ.
        InputError: group is not of whole numbers, or a weight is negative.
    Source: ours; a soft form of arXiv 2510.16803's single-modal supervision.
    """
    return _by_modality(_kl, scores, teacher, group, weights)


def tied_tail(teacher: Tensor, group: Tensor, *, depth: float) -> Tensor:
    """A teacher's scores with everything far below the best of its modality made equal.

    A ranker trained to find the relevant results says little by the order of the others; tied, they only stay below.
    The scores count as log-odds: what falls ``depth`` or more below the best has at most e^-depth of its odds.

    Shapes:
        teacher: [B, L] float; NaN = no opinion
        group: [B, L] int modality code; -1 = padding
    Returns:
        [B, L] teacher scores, NaN kept.
    Raises:
        ShapeError: the shapes differ.
        InputError: group is not of whole numbers, or depth is not above 0.
    Source: ours; the listwise form of arXiv 2510.16803 orders every result.
    """
    _check_groups(teacher, group)
    check_number("depth", depth)
    tied = teacher
    for code in sorted(set(group.flatten().tolist())):
        mine = (group == code) & ~torch.isnan(teacher)
        best = teacher.masked_fill(~mine, -torch.inf).max(dim=1, keepdim=True).values
        tied = torch.where(mine, torch.maximum(teacher, best - depth), tied)
    return tied


def cross_modal_hinge(
    scores: Tensor,
    targets: Tensor,
    group: Tensor,
    mask: Tensor,
    *,
    margin: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Where people put an item of one modality above one of another, it should lead by a margin.

    Shapes:
        scores, targets: [B, L] float; NaN in targets = nobody looked
        group: [B, L] int modality code; -1 = padding
        mask: [B, L] bool; True = the item counts
        weights: [B, L] float, or None = 1 everywhere
    Args:
        margin: the lead, in score units, from which a pair costs nothing.
        weights: of the targets; a pair weighs the product of both, 0 leaves an item out.
    Returns:
        Scalar: weighted mean over a page's strict pairs of different modalities, then over pages that have one; 0.0
        (with gradient) when there are none.
    Raises:
        ShapeError: the shapes differ.
        InputError: the mask is not bool, group is not of whole numbers, or the margin or a weight is negative.
    Source: own reconstruction (cross-modal preferences of an annotated page).
    """
    _check_groups(scores, group, targets=targets, mask=mask)
    check_number("margin", margin, zero_allowed=True)
    usable = usable_items(targets, mask) & (group >= 0)
    values = functional.relu(margin - differences(safe_scores(scores, usable)))
    return _mean_over_weighted_pairs(values, ordered_pairs(targets, usable) & _apart(group), usable, weights)


def iso_tie(
    scores: Tensor,
    anchors: Tensor,
    group: Tensor,
    mask: Tensor,
    *,
    eps: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Items of equal grade in different modalities should score alike.

    Shapes:
        scores, anchors: [B, L] float; anchors = grades, NaN = not an anchor
        group: [B, L] int modality code; -1 = padding
        mask: [B, L] bool; True = the item counts
        weights: [B, L] float, or None = 1 everywhere
    Args:
        eps: the distance, in score units, up to which a pair costs nothing.
        weights: of the anchors; a pair weighs the product of both, 0 leaves an item out.
    Returns:
        Scalar: weighted mean of max(0, |f_i - f_j| - eps) over a page's pairs, then over pages that have one; 0.0
        (with gradient) when there are none.
    Raises:
        ShapeError: the shapes differ.
        InputError: the mask is not bool, group is not of whole numbers, or eps or a weight is negative.
    Source: own reconstruction (iso-label anchors).
    """
    _check_groups(scores, group, anchors=anchors, mask=mask)
    check_number("eps", eps, zero_allowed=True)
    usable = usable_items(anchors, mask) & (group >= 0)
    equal = usable.unsqueeze(2) & usable.unsqueeze(1) & (anchors.unsqueeze(2) == anchors.unsqueeze(1))
    values = functional.relu(differences(safe_scores(scores, usable)).abs() - eps)
    return _mean_over_weighted_pairs(values, equal & _apart(group), usable, weights)


def _by_modality(
    loss: Loss, scores: Tensor, teacher: Tensor, group: Tensor, weights: Mapping[int, float] | None
) -> Tensor:
    _check_groups(scores, group, teacher=teacher)
    for code, beta in (weights or {}).items():
        check_number(f"weights[{code}]", beta, zero_allowed=True)
    total = safe_scores(scores, usable_items(teacher, group >= 0)).sum() * 0.0  # keeps the gradient when all is empty
    for code in sorted(set(group.flatten().tolist())):
        beta = 1.0 if weights is None else weights.get(code, 1.0)
        if code >= 0 and beta > 0:
            total = total + beta * loss(scores, teacher, group == code)
    return total


def _standardised_kl(
    scores: Tensor, teacher: Tensor, mask: Tensor, *, tau_teacher: float, tau_student: float
) -> Tensor:
    usable = usable_items(teacher, mask)
    safe, opinions = safe_scores(scores, usable), safe_scores(teacher, usable)
    number = usable.sum(1, keepdim=True).clamp(min=1)
    centred = torch.where(usable, opinions - opinions.sum(1, keepdim=True) / number, 0.0)
    # First to unit size: squares of very small or very large opinions would leave the range of float32.
    centred = centred / centred.abs().amax(1, keepdim=True).clamp(min=torch.finfo(centred.dtype).tiny)
    deviation = (centred.square().sum(1, keepdim=True) / number).sqrt()
    standard = centred / torch.where(deviation > 0, deviation, 1.0)
    wanted = torch.where(usable, standard / tau_teacher, torch.nan).to(safe.dtype)
    return _kl(safe / tau_student, wanted, usable)


def _kl(scores: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    usable = usable_items(teacher, mask)
    wanted = masked_log_softmax(safe_scores(teacher, usable), usable)
    given = masked_log_softmax(safe_scores(scores, usable), usable)
    per_page = (wanted.exp() * (wanted - given)).sum(1)
    return mean_over_pages(per_page, differ(teacher, usable))


def _mean_over_weighted_pairs(values: Tensor, pairs: Tensor, usable: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return mean_over_pairs(values, pairs)
    check_lists(values[:, :, 0], weights=weights)
    of = counted_weights(weights, usable).to(values.dtype)
    # Of each page the largest becomes 1: products of very small ones would leave the range of float32.
    of = of / of.amax(1, keepdim=True).clamp(min=torch.finfo(of.dtype).tiny)
    share = torch.where(pairs, of.unsqueeze(2) * of.unsqueeze(1), 0.0)
    number = share.sum((1, 2))
    per_page = (share * torch.where(pairs, values, 0.0)).sum((1, 2)) / torch.where(number > 0, number, 1.0)
    return mean_over_pages(per_page, number > 0)


def _check_groups(scores: Tensor, group: Tensor, **others: Tensor) -> None:
    check_lists(scores, group=group, **others)
    if group.is_floating_point() or group.dtype == torch.bool:
        raise InputError(
            f"group: got dtype {group.dtype}; allowed: whole numbers, a modality code each, -1 = padding; use .long()"
        )


def _apart(group: Tensor) -> Tensor:
    return group.unsqueeze(2) != group.unsqueeze(1)
