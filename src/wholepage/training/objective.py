"""What SMAR minimises: its settings, the loss of a batch of pages, and which pages teach anything under them.

L = page_weight * L_page + pair_weight * L_pair + cross_weight * L_cross + tie_weight * L_tie
    + align_weight * sum_m beta_m L_m

from one forward pass of the mixed page; the terms only look at different groups of its scores. The first four are about
what people said (grades, preferences, grades of different modalities), the last about the single-modal rankers.
Source: arXiv 2510.16803; losses in ``losses``, ``alignment`` and ``preferences``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality
from wholepage.training import folds
from wholepage.training.alignment import (
    aligned_kl,
    aligned_listwise,
    aligned_odds,
    aligned_within,
    cross_modal_hinge,
    iso_tie,
    tied_tail,
)
from wholepage.training.batches import Lesson, PageBatch
from wholepage.training.loop import LoopConfig
from wholepage.training.losses import MeanOver, check_number, list_mle
from wholepage.training.preferences import preferred
from wholepage.training.single_modal import LIKENESS

Alignment = Literal["none", "listwise", "pairwise", "kl", "odds"]

_CODES = {modality: code for code, modality in enumerate(Modality)}


class SmarConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the page reranker is trained.

    Attributes:
        align: form of the single-modal supervision; ``none`` = people's answers alone (SFT).
        align_mean: what the listwise form divides by, see ``aligned_listwise``; ``ordered`` for long or uneven lists.
        align_weight: of all alignment terms; betas: of single modalities, 1.0 where not named.
        teacher_depth: log-odds below the best of a modality from which a teacher's order counts no more; ``odds`` has
            no need of it.
        teacher_trust: ``measured`` = a modality's beta shrinks with the pair accuracy of its teacher on the bought
            grades (``trust``), so that a teacher that guesses fades out; ``given`` = betas as they stand.
        page_weight: of the page grades; 0 = they teach no order.
        pair_weight: of people's preferences.
        cross_weight: of a hinge on pairs of different modalities that differ in grade; tie_weight: of a tie of those
            that are equal in grade.
        margin: score units by which the better of a pair should lead, wherever pairs teach.
        tie_eps: score units that results said to be equal may lie apart.
        members: heads trained from different seeds, whose scores are averaged.
        width, layers, heads, dropout: of the page head.  keep: principal directions of the frozen vectors.
        read_as: a modality that training does not see -> the known one it is read as.
        loop: the training loop's settings. Alignment keeps a long training from fitting the few labels alone; without
            it half as many epochs are better.
    """

    align: Alignment = "listwise"
    align_mean: MeanOver = "items"
    align_weight: float = 1.0
    betas: dict[Modality, float] = {}
    teacher_depth: float = 2.0
    teacher_trust: Literal["given", "measured"] = "given"
    page_weight: float = 1.0
    pair_weight: float = 1.0
    cross_weight: float = 0.0
    tie_weight: float = 0.0
    margin: float = 1.0
    tie_eps: float = 0.0
    members: int = 3
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    keep: int = 128
    read_as: dict[Modality, Modality] = msgspec.field(default_factory=lambda: dict(LIKENESS))
    loop: LoopConfig = LoopConfig(epochs=30)

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InputError(f"SmarConfig.members: got {self.members}; allowed: 1 or more; 3 is usual")
        named = ("page_weight", "pair_weight", "cross_weight", "tie_weight", "align_weight", "margin", "tie_eps")
        weights = {name: getattr(self, name) for name in named}
        weights |= {f"betas[{modality!s}]": beta for modality, beta in self.betas.items()}
        for name, weight in weights.items():
            check_number(f"SmarConfig.{name}", weight, zero_allowed=True)
        check_number("SmarConfig.teacher_depth", self.teacher_depth)
        if not (self.aligns or self.page_weight or self.pair_weight or self.cross_weight or self.tie_weight):
            raise InputError(
                "SmarConfig: got neither people's answers nor alignment; allowed: at least one; set a weight above 0"
            )

    @property
    def aligns(self) -> bool:
        """Whether single-modal rankers teach."""
        return self.align != "none" and self.align_weight > 0


def smar_loss(scores: Tensor, batch: PageBatch, config: SmarConfig) -> Tensor:
    """The training loss of a batch of pages.

    Betas are taken as they stand: ``fit_heads`` has put the trust in the teachers into them.

    Shapes:
        scores: [B, L]
    Returns:
        Scalar; 0.0 (with gradient) when nothing in the batch teaches.
    Source: arXiv 2510.16803.
    """
    total = scores.sum() * 0.0
    items, grades = batch.items, batch.grades
    if config.page_weight:
        total = total + config.page_weight * list_mle(scores, grades, items.mask, weights=batch.weights)
    if config.pair_weight and batch.pairs is not None:
        total = total + config.pair_weight * preferred(
            scores, batch.pairs, items.mask, margin=config.margin, eps=config.tie_eps
        )
    if config.cross_weight:
        total = total + config.cross_weight * cross_modal_hinge(
            scores, grades, items.group, items.mask, margin=config.margin, weights=batch.weights
        )
    if config.tie_weight:
        total = total + config.tie_weight * iso_tie(
            scores, grades, items.group, items.mask, eps=config.tie_eps, weights=batch.weights
        )
    if config.aligns:
        teacher = batch.teacher
        if config.align != "odds":
            teacher = tied_tail(teacher, items.group, depth=config.teacher_depth)
        betas = {_CODES[modality]: beta for modality, beta in config.betas.items()}
        total = total + config.align_weight * _form(config)(scores, teacher, items.group, weights=betas)
    return torch.as_tensor(total)


def teaches(lesson: Lesson, config: SmarConfig) -> bool:
    """Whether a page has a say in the loss."""
    group, grades = lesson.items.group, lesson.grades
    if config.pair_weight and len(lesson.pairs):
        return True
    if config.page_weight and folds.teaches(grades):
        return True
    if config.cross_weight and _cross_pairs(grades, group, strict=True):
        return True
    if config.tie_weight and _cross_pairs(grades, group, strict=False):
        return True
    return config.aligns and any(
        config.betas.get(modality, 1.0) > 0 and folds.teaches(lesson.teacher[group == code])
        for modality, code in _CODES.items()
    )


def _form(config: SmarConfig) -> Callable[..., Tensor]:
    forms: dict[str, Callable[..., Tensor]] = {
        "listwise": partial(aligned_listwise, mean_over=config.align_mean),
        "pairwise": partial(aligned_within, margin=config.margin),
        "kl": aligned_kl,
        "odds": aligned_odds,
    }
    return forms[config.align]


def _cross_pairs(grades: NDArray[np.float32], group: NDArray[np.int64], *, strict: bool) -> bool:
    """Whether two graded results of different modalities differ (strict) or agree in grade."""
    known = ~np.isnan(grades)
    of, codes = grades[known], group[known]
    alike = of[:, None] == of[None, :]
    return bool(((codes[:, None] != codes[None, :]) & (alike != strict)).any())
