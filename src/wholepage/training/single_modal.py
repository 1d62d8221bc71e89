"""Single-modal rankers from single-modal labels, and how they see their own training pages.

One tower a modality. For every modality the queries are dealt into folds, and a tower is trained without each fold:
the towers together are the ranker; a training page is read with the one that has not seen it (``out_of_fold``), as a
new page will be. One more tower, trained on all queries, is the teacher that alignment follows (``teachers``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

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
from wholepage.training.loop import LoopConfig, Progress, content_hash, device_of, run
from wholepage.training.losses import gain_softmax
from wholepage.training.workers import Workers

LIKENESS = {Modality.ANSWER: Modality.TEXT, Modality.VIDEO: Modality.IMAGE}
"""What a modality without labels is like: an answer reads as a text, a video looks as its frames do."""


class TowerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the single-modal rankers are trained.

    Attributes:
        folds: towers a modality, at least 2.  keep: principal directions of the frozen vectors.
        rank, hidden, dropout: of a tower.  loop: the training loop's settings.
        teacher_dropout, teacher_loop: the same for the teacher, which is to tell its training pages' labelled order
            as closely as it can, and is never asked about a new page. Its seed is taken from ``loop``.
        fallback: a modality without a ranker of its own -> the modality whose ranker orders it too.
    """

    folds: int = 5
    keep: int = 256
    rank: int = 64
    hidden: int = 32
    dropout: float = 0.1
    loop: LoopConfig = LoopConfig(epochs=30, learning_rate=2e-3)
    teacher_dropout: float = 0.0
    teacher_loop: LoopConfig = LoopConfig(epochs=60, learning_rate=3e-3, weight_decay=0.0)
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
        labels: how many single-modal labels the trained modalities had.
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
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> SingleModalFit:
    """Train one ranker a modality from that modality's labels alone.

    Labels are compared within one modality of one page only; nothing compares results of different modalities.
    A modality is trained when at least ``folds`` of its pages have labels that differ, not all of them in one fold.
    Any other gets no ranker, no scores (NaN) and no teacher, unless ``config.fallback`` names a trained one for it.

    Args:
        pages, judgments: training pages with single-modal labels; labels of other results are not read.
        vectors: the frozen encoders.
        folder: keeps checkpoints, one sub-folder a tower; None = nothing is kept.
        workers: trains towers side by side; None = one after another.
    Raises:
        InputError: no modality has enough pages whose labels differ.
    """
    fits: dict[Modality, _ModalityFit] = {}
    labels = 0
    for modality in Modality:
        parts = [page.only(modality) for page in pages if modality in page.modalities]
        grades = [_labels(part, judgments) for part in parts]
        if _enough(parts, grades, config.folds):
            fits[modality] = _fit_modality(
                modality, parts, grades, vectors, config, folder, workers or Workers(), progress
            )
            labels += int(sum((~np.isnan(given)).sum() for given in grades))
    if not fits:
        raise InputError(
            f"single-modal training: got no modality with {config.folds} pages of differing labels, in two folds or "
            f"more, among {len(pages)} pages; allowed: at least one; judge more, or set TowerConfig.folds lower"
        )
    for new, like in config.fallback.items():
        if new not in fits and like in fits:
            parts = [page.only(new) for page in pages if new in page.modalities]
            fits[new] = replace(fits[like], items=fits[like].scorer.reader.read(parts) if parts else [])
    out_of_fold = [np.full(len(page), np.nan, np.float32) for page in pages]
    teachers: list[dict[Modality, Ranking]] = [{} for _ in pages]
    for modality, fit in fits.items():
        rows = [i for i, page in enumerate(pages) if modality in page.modalities]
        parts = [pages[i].only(modality) for i in rows]
        for row, part, (honest, taught) in zip(rows, parts, fit.see(parts, config.folds), strict=True):
            out_of_fold[row][[r.modality is modality for r in pages[row].results]] = honest
            teachers[row][modality] = ranking_of(part, taught, f"{fit.scorer.name}-teacher")
    scorers: dict[Modality, Scorer] = {modality: fit.scorer for modality, fit in fits.items()}
    return SingleModalFit(SingleModal(scorers, missing="last"), out_of_fold, teachers, labels)


def fold_of(query_id: str, folds: int) -> int:
    """The fold a query belongs to: a hash of its id, so that it never depends on the other queries.

    The hash is salted, so that these folds cut across the folds of a cross-validation around them.
    """
    return int.from_bytes(hashlib.sha256(f"single-modal:{query_id}".encode()).digest()[:8], "big") % folds


@dataclass(frozen=True)
class _ModalityFit:
    """A trained modality: the towers that each miss one fold, in their order, and the one that saw everything."""

    scorer: TowerScorer
    teacher: Tower
    items: Sequence[TowerItems]

    def see(self, parts: Sequence[Page], folds: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Scores of the pages read as ``items``, each by the tower that has not seen its query and by the teacher."""
        items = self.items
        honest: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(parts)
        for fold, tower in enumerate(self.scorer.towers):
            mine = [i for i, part in enumerate(parts) if fold_of(part.query_id, folds) == fold]
            for i, scores in zip(mine, tower_scores(tower, [items[i] for i in mine]), strict=True):
                honest[i] = scores
        return zip(honest, tower_scores(self.teacher, items), strict=True)


def _fit_modality(
    modality: Modality,
    parts: Sequence[Page],
    grades: Sequence[NDArray[np.float32]],
    vectors: ResultVectors,
    config: TowerConfig,
    folder: Path | None,
    workers: Workers,
    progress: Progress | None,
) -> _ModalityFit:
    reader = TowerReader.fit(vectors, parts, feature_names(parts), keep=config.keep)
    items = reader.read(parts)
    folds = np.array([fold_of(part.query_id, config.folds) for part in parts])
    also = [other for other, like in config.fallback.items() if like is modality]

    def task(rows: NDArray[np.intp], name: str, settings: TowerConfig, seed: int) -> tuple[Any, ...]:
        teaching = [int(i) for i in rows if _teaches(grades[i])]
        return (
            [items[i] for i in teaching],
            [grades[i] for i in teaching],
            msgspec.structs.replace(settings, loop=msgspec.structs.replace(settings.loop, seed=seed)),
            None if folder is None else folder / f"{modality.value}-{name}",
            f"{modality.value} ranker, {name}",
        )

    base = config.loop.seed * 1000
    tasks = [task(np.flatnonzero(folds != k), f"without fold {k + 1}", config, base + k) for k in range(config.folds)]
    close = msgspec.structs.replace(config, dropout=config.teacher_dropout, loop=config.teacher_loop)
    tasks.append(task(np.arange(len(parts)), "teacher", close, base + config.folds))
    *towers, teacher = workers.each(_train_tower, tasks, progress=progress, what=f"{modality.value} rankers")
    return _ModalityFit(TowerScorer(modality, reader, towers, also=also), teacher, items)


def _train_tower(
    items: Sequence[TowerItems],
    grades: Sequence[NDArray[np.float32]],
    config: TowerConfig,
    folder: Path | None,
    what: str,
    *,
    progress: Progress | None = None,
) -> Tower:
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
        where = device_of(module)
        item = _padded([items[i].item for i in rows]).to(where)
        query = torch.from_numpy(np.stack([items[i].query for i in rows])).to(where)
        numbers = _padded([items[i].numbers for i in rows]).to(where)
        targets = _padded([grades[i] for i in rows], np.nan).to(where)
        scores = module(query.unsqueeze(1), item, numbers)
        return gain_softmax(scores, targets, ~torch.isnan(targets))

    content = content_hash(
        config,
        (a for page, given in zip(items, grades, strict=True) for a in (page.query, page.item, page.numbers, given)),
    )
    return run(make, len(items), loss, config.loop, content=content, folder=folder, progress=progress, what=what)


def _padded(arrays: Sequence[NDArray[np.float32]], fill: float = 0.0) -> Tensor:
    width = max(len(array) for array in arrays)
    padded = np.full((len(arrays), width, *arrays[0].shape[1:]), fill, np.float32)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)


def _labels(part: Page, judgments: Judgments) -> NDArray[np.float32]:
    given = judgments.by_result(part.query_id)
    return np.array([given.get(result_id, np.nan) for result_id in part.result_ids], np.float32)


def _enough(parts: Sequence[Page], grades: Sequence[NDArray[np.float32]], folds: int) -> bool:
    """Whether the towers can be trained: enough pages that teach, some of them outside of any one fold."""
    teaching = [part.query_id for part, given in zip(parts, grades, strict=True) if _teaches(given)]
    return len(teaching) >= folds and len({fold_of(query_id, folds) for query_id in teaching}) > 1


def _teaches(grades: NDArray[np.float32]) -> bool:
    known = grades[~np.isnan(grades)]
    return len(known) > 1 and bool(known.min() < known.max())
