"""Single-modal rankers from single-modal labels, and how they see their own training pages.

One tower a modality. For every modality the queries are dealt into folds, and a tower is trained without each fold:
the towers together are the ranker; a training page is read with the one that has not seen it (``out_of_fold``), as a
new page will be. One more tower, trained on all queries, is the teacher that alignment follows (``teachers``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors, feature_names
from wholepage.rankers.tower import Tower, TowerItems, TowerReader, TowerScorer, tower_scores
from wholepage.training.loop import LoopConfig, Progress, run
from wholepage.training.losses import gain_softmax


LIKENESS = {Modality.ANSWER: Modality.TEXT, Modality.VIDEO: Modality.IMAGE}
"""What a modality without labels is like: an answer reads as a text, a video looks as its frames do."""


class TowerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the single-modal rankers are trained.

    Attributes:
        folds: towers a modality, at least 2.  keep: principal directions of the frozen vectors.  rank, hidden, dropout: of a tower.  loop: the training loop's settings.
        fallback: a modality without labels -> the modality whose ranker orders it too.
    """

    folds: int = 5
    keep: int = 256
    rank: int = 64
    hidden: int = 32
    dropout: float = 0.1
    loop: LoopConfig = LoopConfig(epochs=30, learning_rate=2e-3)
    fallback: dict[Modality, Modality] = msgspec.field(default_factory=lambda: dict(LIKENESS))

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"TowerConfig.folds: got {self.folds}; allowed: 2 or more; 5 is usual")


@dataclass(frozen=True)
class SingleModalFit:
    """Trained single-modal rankers with their view of the training pages.

    Attributes:
        upstream: the rankers, for new pages.
        out_of_fold: each training page scored by towers that have not seen it, ``[len(page)]`` an array.
        teachers: each training page's modalities as the teacher orders them.
        labels: how many single-modal labels were used.
    """

    upstream: SingleModal
    out_of_fold: list[NDArray[np.float32]]
    teachers: list[dict[Modality, Ranking]]
    labels: int

    def subset(self, rows: Sequence[int]) -> SingleModalFit:
        """The same rankers with the view of some of the training pages."""
        return SingleModalFit(
            self.upstream, [self.out_of_fold[i] for i in rows], [self.teachers[i] for i in rows], self.labels
        )


def fit_single_modal(
    pages: Sequence[Page],
    judgments: Judgments,
    vectors: ResultVectors,
    config: TowerConfig = TowerConfig(),  # noqa: B008 - frozen
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> SingleModalFit:
    """Train one ranker a modality from that modality's labels alone.

    Within a modality only the labels' order on each page is used; nothing compares results of different modalities.

    Args:
        pages, judgments: training pages with single-modal labels.
        vectors: the frozen encoders.
        folder: keeps checkpoints, one sub-folder a tower; None = nothing is kept.
    Raises:
        InputError: no modality has a page whose labels differ.
    """
    out_of_fold = [np.full(len(page), np.nan, np.float32) for page in pages]
    teachers: list[dict[Modality, Ranking]] = [{} for _ in pages]
    scorers: dict[Modality, Scorer] = {}
    labels = 0
    for modality in Modality:
        rows = [i for i, page in enumerate(pages) if modality in page.modalities]
        parts = [pages[i].only(modality) for i in rows]
        grades = [_labels(part, judgments) for part in parts]
        labels += int(sum((~np.isnan(g)).sum() for g in grades))
        if sum(_teaches(g) for g in grades) < config.folds:
            continue
        fit = _fit_modality(modality, parts, grades, vectors, config, folder, progress)
        scorers[modality] = fit.scorer
        for row, part, honest, taught in zip(rows, parts, fit.out_of_fold, fit.in_sample, strict=True):
            out_of_fold[row][[r.modality is modality for r in pages[row].results]] = honest
            teachers[row][modality] = ranking_of(part, taught, f"{fit.scorer.name}-teacher")
    if not scorers:
        raise InputError(
            f"single-modal training: got no modality with {config.folds} pages of differing labels among {len(pages)} "
            "pages; allowed: at least one; judge more, or pass rankers of your own"
        )
    for modality, like in config.fallback.items():
        if modality not in scorers and like in scorers:
            scorers[modality] = scorers[like]
    return SingleModalFit(SingleModal(scorers, missing="last"), out_of_fold, teachers, labels)


def fold_of(query_id: str, folds: int) -> int:
    """The fold a query belongs to: a hash of its id, so that it never depends on the other queries.

    The hash is salted, so that these folds cut across the folds of a cross-validation around them.
    """
    return int.from_bytes(hashlib.sha256(f"single-modal:{query_id}".encode()).digest()[:8], "big") % folds


@dataclass(frozen=True)
class _ModalityFit:
    scorer: TowerScorer
    out_of_fold: list[NDArray[np.float32]]
    in_sample: list[NDArray[np.float32]]


def _fit_modality(
    modality: Modality,
    parts: Sequence[Page],
    grades: Sequence[NDArray[np.float32]],
    vectors: ResultVectors,
    config: TowerConfig,
    folder: Path | None,
    progress: Progress | None,
) -> _ModalityFit:
    reader = TowerReader.fit(vectors, parts, feature_names(parts), keep=config.keep)
    items = reader.read(parts)
    folds = np.array([fold_of(part.query_id, config.folds) for part in parts])
    also = [other for other, like in config.fallback.items() if like is modality]

    def train(rows: NDArray[np.intp], name: str, seed: int) -> Tower:
        teaching = [int(i) for i in rows if _teaches(grades[i])]
        return _train_tower(
            [items[i] for i in teaching],
            [grades[i] for i in teaching],
            msgspec.structs.replace(config, loop=msgspec.structs.replace(config.loop, seed=seed)),
            None if folder is None else folder / f"{modality.value}-{name}",
            progress,
            f"{modality.value} ranker, {name}",
        )

    base = config.loop.seed * 1000
    towers = [train(np.flatnonzero(folds != k), f"without fold {k + 1}", base + k) for k in range(config.folds)]
    teacher = train(np.arange(len(parts)), "teacher", base + config.folds)
    honest: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(parts)
    for k, tower in enumerate(towers):
        mine = [int(i) for i in np.flatnonzero(folds == k)]
        for i, scores in zip(mine, tower_scores(tower, [items[i] for i in mine]), strict=True):
            honest[i] = scores
    return _ModalityFit(TowerScorer(modality, reader, towers, also=also), honest, tower_scores(teacher, items))


def _train_tower(
    items: Sequence[TowerItems],
    grades: Sequence[NDArray[np.float32]],
    config: TowerConfig,
    folder: Path | None,
    progress: Progress | None,
    what: str,
) -> Tower:
    if not items:
        raise InputError(
            f"{what}: got no page to learn from; allowed: pages with differing labels in every fold; judge more pages, or "
            "set TowerConfig.folds lower"
        )
    first = items[0]
    make = partial(
        Tower,
        len(first.query),
        first.item.shape[1],
        first.numbers.shape[1],
        rank=config.rank,
        hidden=config.hidden,
        dropout=config.dropout,
    )

    def loss(module: nn.Module, rows: list[int]) -> Tensor:
        width = max(len(items[i]) for i in rows)
        query = torch.from_numpy(np.stack([items[i].query for i in rows])).unsqueeze(1).expand(-1, width, -1)
        scores = module(query, _padded([items[i].item for i in rows]), _padded([items[i].numbers for i in rows]))
        targets = _padded([grades[i] for i in rows], np.nan)
        return gain_softmax(scores, targets, ~torch.isnan(targets))

    trained = run(
        make, len(items), loss, config.loop, content=_digest(items, grades), folder=folder, progress=progress, what=what
    )
    if not isinstance(trained, Tower):
        raise InputError(f"{what}: got a {type(trained).__name__}; allowed: Tower; pass a plain module to the loop")
    return trained


def _digest(items: Sequence[TowerItems], grades: Sequence[NDArray[np.float32]]) -> str:
    digest = hashlib.sha256()
    for page, given in zip(items, grades, strict=True):
        for array in (page.query, page.item, page.numbers, given):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _padded(arrays: Sequence[NDArray[np.float32]], fill: float = 0.0) -> Tensor:
    width = max(len(array) for array in arrays)
    padded = np.full((len(arrays), width, *arrays[0].shape[1:]), fill, np.float32)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)


def _labels(part: Page, judgments: Judgments) -> NDArray[np.float32]:
    given = judgments.by_result(part.query_id)
    return np.array([given.get(result_id, np.nan) for result_id in part.result_ids], np.float32)


def _teaches(grades: NDArray[np.float32]) -> bool:
    known = grades[~np.isnan(grades)]
    return len(known) > 1 and bool(known.min() < known.max())
