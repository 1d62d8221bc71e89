"""What a listwise ranker is told about its first answer: the teacher's order, in three forms.

The scores of a list are the logits of its results' letters at the first place of the answer (arXiv 2601.20623).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from wholepage.pages.errors import InputError
from wholepage.training.losses import plackett_luce, soft_cross_entropy, weighted_ranknet

Form = Literal["plackett_luce", "ranknet_lm", "soft_cross_entropy"]


class ListwiseObjective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How wrong an answer is.

    Attributes:
        form: ``plackett_luce``: the teacher's whole order should be likely. ``ranknet_lm``: the first letter should
            be the best result's, and pairs ordered, those at the top above all (FIRST). ``soft_cross_entropy``: the
            probability of being named first halves from place to place (ZipRerank).
        temperature, top_k: of ``plackett_luce``.  pairs: weight of RankNet in ``ranknet_lm``.
        decay: of ``soft_cross_entropy``.
        guide: weight of the same loss at the words of the query that is said again behind the results: they too shall
            name the best. Without it a small model that starts from nothing did not find out where to look; 0 = none.
    Raises:
        InputError: a value that is not allowed.
    Source: arXiv 2601.20623 (temperature), 2406.15657 (FIRST).
    """

    form: Form = "plackett_luce"
    temperature: float = 1.0
    top_k: int | None = None
    pairs: float = 10.0
    decay: float = 0.5
    guide: float = 0.0

    def __post_init__(self) -> None:
        if (
            self.temperature <= 0
            or min(self.pairs, self.guide) < 0
            or not 0 < self.decay < 1
            or (self.top_k is not None and self.top_k < 1)
        ):
            raise InputError(
                f"objective: got {self}; allowed: temperature above 0, top_k from 1, pairs and guide from 0, "
                "decay between 0 and 1; choose again"
            )

    def loss(self, logits: Sequence[Tensor], targets: Sequence[Sequence[float]]) -> Tensor:
        """The mean over lists.

        Args:
            logits: of each list's letters, as shown; lists may differ in length.  targets: of the same results.
        """
        longest = max(map(len, targets))
        device = logits[0].device
        scores = torch.stack([torch.nn.functional.pad(one.float(), (0, longest - len(one))) for one in logits])
        wanted = torch.full((len(targets), longest), torch.nan, device=device)
        for row, one in zip(wanted, targets, strict=True):
            row[: len(one)] = torch.tensor(one, device=device)
        mask = ~torch.isnan(wanted)
        if self.form == "plackett_luce":
            return plackett_luce(scores, wanted, mask, temperature=self.temperature, top_k=self.top_k)
        if self.form == "soft_cross_entropy":
            return soft_cross_entropy(scores, wanted, mask, decay=self.decay)
        return first_letter(scores, wanted, mask) + self.pairs * weighted_ranknet(scores, wanted, mask)


def first_letter(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """How unlikely the best result is to be named first, among the letters of the list; equally good ones share.

    Shapes:
        scores, targets: [B, L] float; mask: [B, L] bool; return: scalar
    Source: the language modelling part of FIRST (arXiv 2406.15657), over the letters shown.
    """
    held = torch.where(mask, scores, -1e30)
    best = mask & (targets == torch.where(mask, targets, -torch.inf).amax(dim=1, keepdim=True))
    wanted = best.float() / best.sum(dim=1, keepdim=True).clamp(min=1)
    return cross_entropy(held, wanted)
