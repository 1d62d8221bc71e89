"""SMAR: train the page reranker on few page judgments, kept consistent with strong single-modal rankers.

L = page_weight * L_page + align_weight * sum_m beta_m L_m, one forward pass of the mixed page; the terms only look at
different groups of its scores. Source: arXiv 2510.16803 as told in METHODS A2; losses in ``losses`` and ``alignment``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors, feature_names
from wholepage.rankers.whole_page import PageHead, WholePageRanker
from wholepage.training.alignment import aligned_kl, aligned_listwise, aligned_within, tied_tail
from wholepage.training.batches import Lesson, PageBatch, collate, lessons, supervise
from wholepage.training.loop import LoopConfig, Progress, content_hash, device_of, run
from wholepage.training.losses import check_number, list_mle
from wholepage.training.single_modal import LIKENESS, SingleModalFit
from wholepage.training.workers import Workers

Alignment = Literal["none", "listwise", "pairwise", "kl"]
_FORMS: dict[str, Callable[..., Tensor]] = {
    "listwise": aligned_listwise,
    "pairwise": aligned_within,
    "kl": aligned_kl,
}


class SmarConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the page reranker is trained.

    Attributes:
        align: form of the single-modal supervision; ``none`` = page labels alone (SFT).
        align_weight: of all alignment terms; betas: of single modalities, 1.0 where not named.
        teacher_depth: log-odds below the best of a modality from which a teacher's order counts no more.
        page_weight: of the page labels; 0 = alignment alone.
        members: heads trained from different seeds, whose scores are averaged.
        width, layers, heads, dropout: of the page head.  keep: principal directions of the frozen vectors.
        read_as: a modality that training does not see -> the known one it is read as.
        loop: the training loop's settings.
    """

    align: Alignment = "listwise"
    align_weight: float = 1.0
    betas: dict[Modality, float] = {}
    teacher_depth: float = 2.0
    page_weight: float = 1.0
    members: int = 3
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    keep: int = 128
    read_as: dict[Modality, Modality] = msgspec.field(default_factory=lambda: dict(LIKENESS))
    loop: LoopConfig = LoopConfig()

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InputError(f"SmarConfig.members: got {self.members}; allowed: 1 or more; 3 is usual")
        weights = {"page_weight": self.page_weight, "align_weight": self.align_weight}
        weights |= {f"betas[{modality!s}]": beta for modality, beta in self.betas.items()}
        for name, weight in weights.items():
            check_number(f"SmarConfig.{name}", weight, zero_allowed=True)
        check_number("SmarConfig.teacher_depth", self.teacher_depth)
        if self.page_weight == 0 and (self.align == "none" or self.align_weight == 0):
            raise InputError("SmarConfig: got neither page labels nor alignment; allowed: at least one; set a weight")


def fit_featurizer(
    pages: Sequence[Page], fit: SingleModalFit, vectors: ResultVectors, config: SmarConfig
) -> Featurizer:
    """Fit the reading of pages; it uses no page label, so several training runs can share it."""
    known = {modality for page in pages for modality in page.modalities}
    read_as = {new: like for new, like in config.read_as.items() if new not in known and like in known}
    names = feature_names(pages)
    return Featurizer.fit(fit.upstream, vectors, pages, fit.out_of_fold, names, read_as, keep=config.keep)


def fit_smar(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = SmarConfig(),  # noqa: B008 - frozen
    *,
    featurizer: Featurizer | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    made_of: Mapping[str, Any] | None = None,
    name: str = "smar",
    progress: Progress | None = None,
) -> WholePageRanker:
    """Train the page reranker.

    Args:
        pages: training pages; all of them teach alignment, judged or not.
        judgments: the page grades that were bought, and nothing else.
        fit: the single-modal rankers, with their view of these pages in this order.
        vectors: the frozen encoders.
        featurizer: fitted on these pages already; None = fit it.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
        made_of: written into the model folder beside what this function knows itself.
    Raises:
        PageError: a judgment is about a result that is not on its page.
        InputError: nothing teaches.
    """
    supervised = supervise(pages, judgments, fit.teachers)
    featurizer = featurizer or fit_featurizer(pages, fit, vectors, config)
    taught = lessons(featurizer.read(pages, fit.out_of_fold), supervised)
    useful = [lesson for lesson in taught if _teaches(lesson, config)]
    if not useful:
        raise InputError(
            f"{name}: got no page that teaches among {len(pages)}; allowed: at least one page with two grades that "
            "differ, or alignment to single-modal rankers; buy more judgments"
        )
    content = _content(useful, config)
    members = [
        (
            useful,
            msgspec.structs.replace(
                config, loop=msgspec.structs.replace(config.loop, seed=config.loop.seed * 1000 + k)
            ),
            content,
            None if folder is None else folder / f"member-{k}",
            f"{name}, head {k + 1} of {config.members}",
        )
        for k in range(config.members)
    ]
    heads = (workers or Workers()).each(_train_head, members, progress=progress, what=f"{name}, heads")
    facts = {
        "page_labels": int(sum((~np.isnan(page.grades)).sum() for page in supervised)),
        "single_modal_labels": fit.labels,
        "pages": len(pages),
        "config": msgspec.to_builtins(config),
    }
    return WholePageRanker(featurizer, heads, {**facts, **(made_of or {})}, name=name)


def _train_head(
    useful: Sequence[Lesson],
    config: SmarConfig,
    content: str,
    folder: Path | None,
    what: str,
    *,
    progress: Progress | None = None,
) -> PageHead:
    return run(
        partial(_make_head, useful[0], config),
        len(useful),
        partial(_batch_loss, useful, config),
        config.loop,
        content=content,
        folder=folder,
        progress=progress,
        what=what,
    )


def smar_loss(scores: Tensor, batch: PageBatch, config: SmarConfig) -> Tensor:
    """The training loss of a batch of pages.

    Shapes:
        scores: [B, L]
    Returns:
        Scalar; 0.0 (with gradient) when nothing in the batch teaches.
    Source: METHODS A2.
    """
    total = scores.sum() * 0.0
    if config.page_weight:
        total = total + config.page_weight * list_mle(scores, batch.grades, batch.items.mask)
    if config.align != "none" and config.align_weight:
        codes = {modality: code for code, modality in enumerate(Modality)}
        teacher = tied_tail(batch.teacher, batch.items.group, depth=config.teacher_depth)
        weights = {codes[modality]: beta for modality, beta in config.betas.items()}
        aligned = _FORMS[config.align](scores, teacher, batch.items.group, weights=weights)
        total = total + config.align_weight * aligned
    return torch.as_tensor(total)


def _make_head(example: Lesson, config: SmarConfig) -> PageHead:
    items = example.items
    return PageHead(
        len(items.query),
        items.item.shape[1],
        items.numbers.shape[1],
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        dropout=config.dropout,
    )


def _batch_loss(taught: Sequence[Lesson], config: SmarConfig, module: nn.Module, rows: list[int]) -> Tensor:
    batch = collate([taught[i] for i in rows]).to(device_of(module))
    items = batch.items
    return smar_loss(module(items.query, items.item, items.numbers, items.mask), batch, config)


def _teaches(lesson: Lesson, config: SmarConfig) -> bool:
    if config.page_weight and _ordered(lesson.grades):
        return True
    if config.align == "none" or not config.align_weight:
        return False
    return any(
        config.betas.get(modality, 1.0) > 0 and _ordered(lesson.teacher[lesson.items.group == code])
        for code, modality in enumerate(Modality)
    )


def _ordered(values: NDArray[np.float32]) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 1 and bool(known.min() < known.max())


def _content(taught: Sequence[Lesson], config: SmarConfig) -> str:
    return content_hash(
        config,
        (
            array
            for lesson in taught
            for items in (lesson.items,)
            for array in (items.query, items.item, items.numbers, items.group, lesson.grades, lesson.teacher)
        ),
    )
