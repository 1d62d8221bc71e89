"""A small tower on frozen vectors, trained from one modality's labels, once without each fold of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page
from wholepage.rankers.matching import ResultVectors, feature_names
from wholepage.rankers.tower import Tower, TowerItems, TowerReader, TowerScorer, tower_scores
from wholepage.training.folds import fold_of, teaches
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
class TowerFit:
    """A trained modality: the towers that each miss one fold, in their order, and the one that saw everything.

    Attributes:
        items: the training pages as the towers read them.  queries: their ids.
    """

    scorer: TowerScorer
    teacher: Tower
    items: Sequence[TowerItems]
    queries: Sequence[str]

    def see(self, parts: Sequence[Page] | None = None) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Scores of pages, each by the tower that has not seen its query, and by the teacher.

        Args:
            parts: results of one modality on training pages; None = those it was trained on.
        """
        items = self.items if parts is None else self.scorer.reader.read(parts) if parts else []
        queries = self.queries if parts is None else [part.query_id for part in parts]
        honest: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(items)
        folds = len(self.scorer.towers)
        for fold, tower in enumerate(self.scorer.towers):
            mine = [i for i, query_id in enumerate(queries) if fold_of(query_id, folds) == fold]
            for i, scores in zip(mine, tower_scores(tower, [items[i] for i in mine]), strict=True):
                honest[i] = scores
        return list(zip(honest, tower_scores(self.teacher, items), strict=True))


def fit_tower(
    modality: Modality,
    parts: Sequence[Page],
    grades: Sequence[NDArray[np.float32]],
    vectors: ResultVectors,
    config: TowerConfig,
    *,
    also: Sequence[Modality] = (),
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> TowerFit:
    """Train a modality's towers, one without each fold, and its teacher.

    Args:
        parts: training pages, results of the modality alone.  grades: their labels, ``[len(part)]``, NaN = none.
        also: modalities the ranker may order too.
        folder: keeps checkpoints, one sub-folder a tower; None = nothing is kept.
        workers: trains towers side by side; None = one after another.
    """
    reader = TowerReader.fit(vectors, parts, feature_names(parts), keep=config.keep)
    items = reader.read(parts)
    folds = np.array([fold_of(part.query_id, config.folds) for part in parts])

    def task(rows: NDArray[np.intp], name: str, settings: TowerConfig, seed: int) -> tuple[Any, ...]:
        teaching = [int(i) for i in rows if teaches(grades[i])]
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
    *towers, teacher = (workers or Workers()).each(
        _train_tower, tasks, progress=progress, what=f"{modality.value} rankers"
    )
    scorer = TowerScorer(modality, reader, towers, also=also)
    return TowerFit(scorer, teacher, items, [part.query_id for part in parts])


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
