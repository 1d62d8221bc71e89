"""Make an ensemble small: one narrow head that gives the scores of all members together, learned without labels.

The teacher is the mean score of the ensemble, on any pages: the training pages, or what users asked yesterday. The
student copies the differences between the results of a page by squared error. The divergence of softmaxes, the usual
choice, sees little but the top of a page whose teacher is sure; the scores of a listwise loss are log-odds, in which
the order of the tail counts as much as that of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import Page
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.features import PageItems
from wholepage.rankers.page_head import PageHead, head_scores, pad_items
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import LoopConfig, Progress, content_hash, device_of, run
from wholepage.training.losses import check_number


class DistillConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the small head is trained.

    Attributes:
        width, layers, heads, dropout: of the head; nothing here is noise to guard against, hence no dropout.
        level_weight: of the squared difference of a page's mean score. No order needs it, but probabilities do.
        loop: the training loop's settings.
    """

    width: int = 32
    layers: int = 1
    heads: int = 2
    dropout: float = 0.0
    level_weight: float = 0.1
    loop: LoopConfig = LoopConfig(epochs=60, learning_rate=3e-3, weight_decay=0.0)

    def __post_init__(self) -> None:
        for name in ("width", "heads"):
            if getattr(self, name) < 1:
                raise InputError(f"DistillConfig.{name}: got {getattr(self, name)}; allowed: 1 or more; set it higher")
        if self.layers < 0 or not 0 <= self.dropout < 1:
            raise InputError(
                f"DistillConfig: got layers={self.layers}, dropout={self.dropout}; allowed: layers of 0 or more, "
                "dropout from 0 to below 1; change them"
            )
        check_number("DistillConfig.level_weight", self.level_weight, zero_allowed=True)


def distill(
    ranker: WholePageRanker,
    pages: Sequence[Page],
    config: DistillConfig = DistillConfig(),  # noqa: B008 - frozen
    *,
    single_modal: Sequence[NDArray[np.float32]] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> WholePageRanker:
    """Teach one small head the scores of a ranker.

    Args:
        ranker: the teacher; its reading of pages is shared.
        pages: to learn from; no label is needed, and a few hundred pages or more are wanted.
        single_modal: scores to read the pages with, as ``SingleModalFit.out_of_fold`` has for the pages on which the
            single-modal rankers were trained; None = ask the rankers.
        folder: keeps the checkpoint, from which a killed run goes on; None = nothing is kept.
    Returns:
        A ranker named ``<name>-small`` of one head. Where the teacher is calibrated it is too: by the map that brings
        its scores closest to the teacher's probabilities on these pages.
    Raises:
        InputError: no page has a result, or a calibrated teacher whose order the small head did not learn at all.
        ShapeError: ``single_modal`` does not fit the pages.
        NoRanker: a page holds a modality that the teacher cannot read.
        WeightsError: the folder holds the checkpoint of another run.
    Source: squared error on a teacher's scores: Ba and Caruana 2014, Do deep nets really need to be deep?
    """
    name = f"{ranker.name}-small"
    items = [page for page in ranker.featurizer.read(pages, single_modal) if len(page)]
    if not items:
        raise InputError(f"{name}: got no page with results among {len(pages)}; allowed: at least one; pass pages")
    wanted = head_scores(ranker.heads, items)
    head = run(
        partial(_make_head, items[0], config),
        len(items),
        partial(_batch_loss, items, wanted, config),
        config.loop,
        content=_content(items, wanted, config),
        folder=folder,
        progress=progress,
        what=name,
    )
    facts = {"heads": len(ranker.heads), "pages": len(items), "config": msgspec.to_builtins(config)}
    small = WholePageRanker(ranker.featurizer, [head], {**ranker.made_of, "distilled": facts}, name=name)
    if ranker.calibration is None:
        return small
    its, mine = np.concatenate(wanted), np.concatenate(head_scores([head], items))
    return small.calibrated(Calibration.like(ranker.calibration, its, mine))


def distill_loss(scores: Tensor, wanted: Tensor, mask: Tensor, *, level_weight: float = 0.1) -> Tensor:
    """Squared error of the differences within pages, and a little of the pages' means; every page counts alike.

    Shapes:
        scores, wanted: [B, L]; mask: [B, L] bool, True = a result; what lies in padding does not matter
    Returns:
        Scalar, the mean over the pages that have results; 0.0 (with gradient) when none has.
    Raises:
        ShapeError: the shapes differ.
    """
    if not scores.shape == wanted.shape == mask.shape:
        raise ShapeError(
            f"distill_loss: got {tuple(scores.shape)}, {tuple(wanted.shape)}, {tuple(mask.shape)}; allowed: one [B, L]"
        )
    error = torch.where(mask, scores - wanted, 0.0)
    count = mask.sum(dim=1).clamp(min=1)
    level = error.sum(dim=1) / count
    within = (torch.where(mask, error - level[:, None], 0.0) ** 2).sum(dim=1) / count
    pages = mask.any(dim=1).sum().clamp(min=1)
    return torch.as_tensor((within + level_weight * level**2).sum() / pages)


def _make_head(example: PageItems, config: DistillConfig) -> PageHead:
    return PageHead.reading(
        example, width=config.width, layers=config.layers, heads=config.heads, dropout=config.dropout
    )


def _batch_loss(
    items: Sequence[PageItems],
    wanted: Sequence[NDArray[np.float32]],
    config: DistillConfig,
    module: nn.Module,
    rows: list[int],
) -> Tensor:
    where = device_of(module)
    batch = pad_items([items[i] for i in rows]).to(where)
    targets = torch.zeros(batch.mask.shape)
    for row, i in enumerate(rows):
        targets[row, : len(wanted[i])] = torch.from_numpy(wanted[i])
    scores = module(batch.query, batch.item, batch.numbers, batch.mask, batch.user)
    return distill_loss(scores, targets.to(where), batch.mask, level_weight=config.level_weight)


def _content(items: Sequence[PageItems], wanted: Sequence[NDArray[np.float32]], config: DistillConfig) -> str:
    return content_hash(
        config, (array for page, scores in zip(items, wanted, strict=True) for array in (*page.arrays(), scores))
    )
