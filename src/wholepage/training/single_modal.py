"""Single-modal rankers from single-modal labels, and how they see their own training pages.

Each modality has a ranker of its own kind: a small tower on frozen vectors, a cross-encoder that is fine-tuned, or one
that the caller brings. For every modality that is trained here the queries are dealt into folds, and a member is
trained without each fold: the members together are the ranker; a training page is read with the one that has not seen
it (``out_of_fold``), as a new page will be. One more member, trained on all queries, is the teacher that alignment
follows (``teachers``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.nested import SavedScorer
from wholepage.training.cross_encoder import CrossEncoderConfig, CrossEncoderFit, fit_cross_encoder
from wholepage.training.folds import enough, fold_of, labels_of
from wholepage.training.loop import Progress
from wholepage.training.towers import LIKENESS, TowerConfig, fit_tower
from wholepage.training.workers import Workers

__all__ = [
    "LIKENESS",
    "Rankers",
    "SingleModalFit",
    "SingleModalKind",
    "TowerConfig",
    "fit_ranker",
    "fit_single_modal",
    "fold_of",
]

SingleModalKind: TypeAlias = TowerConfig | CrossEncoderConfig | Scorer
"""What orders a modality: a tower or a cross-encoder to be trained so, or a ranker that saw no label of the pages."""

Rankers: TypeAlias = Mapping[Modality, SingleModalKind]


class Fitted(Protocol):
    """A modality's ranker, and how it sees the training pages."""

    @property
    def scorer(self) -> Scorer: ...

    def see(self, parts: Sequence[Page] | None = None) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Scores of pages of one modality without their own labels, and by the teacher; None = the training pages."""
        ...


@dataclass(frozen=True)
class GivenFit:
    """A ranker that the caller brought: having seen no label of the pages, it is its own teacher."""

    scorer: Scorer
    parts: Sequence[Page]

    def see(self, parts: Sequence[Page] | None = None) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Its scores of the pages, twice."""
        pages = self.parts if parts is None else parts
        found = self.scorer.score(pages) if pages else []
        if len(found) != len(pages):
            raise ShapeError(
                f"scorer {self.scorer.name!r}: got {len(found)} arrays for {len(pages)} pages; allowed: one a page; "
                "an empty page gets an empty array"
            )
        return [(scores, scores) for scores in found]


@dataclass(frozen=True)
class SingleModalFit:
    """Trained single-modal rankers with their view of the training pages.

    Attributes:
        upstream: the rankers, for new pages.
        out_of_fold: each training page scored by rankers that have not seen it, ``[len(page)]`` an array.
        teachers: each training page's modalities as the teacher orders them.
        labels: how many single-modal labels the trained modalities had.
        truncated: labelled training texts that were longer than their cross-encoder reads, by modality.
    """

    upstream: SingleModal
    out_of_fold: list[NDArray[np.float32]]
    teachers: list[dict[Modality, Ranking]]
    labels: int
    truncated: Mapping[Modality, int] = field(default_factory=dict)

    def subset(self, rows: Sequence[int]) -> SingleModalFit:
        """The same rankers with the view of some of the training pages."""
        return replace(self, out_of_fold=[self.out_of_fold[i] for i in rows], teachers=[self.teachers[i] for i in rows])


def fit_single_modal(
    pages: Sequence[Page],
    judgments: Judgments,
    vectors: ResultVectors,
    config: TowerConfig = TowerConfig(),  # noqa: B008 - frozen
    *,
    rankers: Rankers | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> SingleModalFit:
    """Train one ranker a modality from that modality's labels alone.

    Labels are compared within one modality of one page only; nothing compares results of different modalities.
    A modality is trained when at least ``folds`` of its pages have labels that differ, not all of them in one fold.
    Any other gets no ranker, no scores (NaN) and no teacher, unless ``config.fallback`` names one that has a ranker.

    Args:
        pages, judgments: training pages with single-modal labels; labels of other results are not read.
        vectors: the frozen encoders.
        config: of every modality that ``rankers`` does not name.
        rankers: how single modalities are ordered. A ranker given here must not have learned from labels of these
            pages: its scores are taken for what it will say of new ones, and it is its own teacher.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
    Raises:
        InputError: no modality has enough pages whose labels differ, or a modality that is to have a cross-encoder
            has too few texts.
        NoRanker: a ranker given is for another modality.
        ShapeError: a ranker given returned not one score a result.
    """
    kinds: Rankers = {} if rankers is None else rankers
    fits: dict[Modality, Fitted] = {}
    labels = 0
    for modality in Modality:
        kind = kinds.get(modality, config)
        parts = [page.only(modality) for page in pages if modality in page.modalities]
        if not isinstance(kind, TowerConfig | CrossEncoderConfig):
            fits[modality] = GivenFit(kind, parts)
            continue
        grades = [labels_of(part, judgments) for part in parts]
        if enough(parts, grades, kind.folds):
            also = [other for other, like in config.fallback.items() if like is modality]
            fits[modality] = _fit(modality, parts, grades, vectors, kind, also, folder, workers, progress)
            labels += int(sum((~np.isnan(given)).sum() for given in grades))
    if not fits:
        raise InputError(
            f"single-modal training: got no modality with {config.folds} pages of differing labels, in two folds or "
            f"more, among {len(pages)} pages; allowed: at least one; judge more, or set TowerConfig.folds lower"
        )
    own = dict(fits)
    for new, like in config.fallback.items():
        if new not in own and like in own and _may_order(own[like].scorer, new):
            fits[new] = own[like]
    out_of_fold = [np.full(len(page), np.nan, np.float32) for page in pages]
    teachers: list[dict[Modality, Ranking]] = [{} for _ in pages]
    for modality, fit in fits.items():
        rows = [i for i, page in enumerate(pages) if modality in page.modalities]
        parts = [pages[i].only(modality) for i in rows]
        seen = fit.see(None if modality in own else parts)
        for row, part, (honest, taught) in zip(rows, parts, seen, strict=True):
            teachers[row][modality] = ranking_of(part, taught, f"{fit.scorer.name}-teacher")
            out_of_fold[row][[r.modality is modality for r in pages[row].results]] = honest
    scorers: dict[Modality, Scorer] = {modality: fit.scorer for modality, fit in fits.items()}
    cut = {modality: fit.truncated for modality, fit in own.items() if isinstance(fit, CrossEncoderFit)}
    return SingleModalFit(SingleModal(scorers, missing="last"), out_of_fold, teachers, labels, cut)


class TrainedRanker(NamedTuple):
    """A single-modal ranker trained for itself.

    Attributes:
        labels: of its modality on the training pages.  truncated: labelled texts longer than it reads.
    """

    scorer: SavedScorer
    labels: int
    truncated: int


def fit_ranker(
    modality: Modality,
    pages: Sequence[Page],
    judgments: Judgments,
    kind: TowerConfig | CrossEncoderConfig,
    vectors: ResultVectors | None = None,
    *,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> TrainedRanker:
    """Train the ranker of one modality, for itself.

    It is the same that ``fit_single_modal`` would train for it. It orders the modalities that are like it, too.

    Args:
        pages, judgments: training pages; results of other modalities, and their labels, are not looked at.
        kind: how it is trained.
        vectors: the frozen encoders, which a tower needs.
        folder, workers, progress: see ``fit_single_modal``.
    Raises:
        InputError: too few pages have labels of this modality that differ, or a tower is asked for without vectors.
    """
    parts = [page.only(modality) for page in pages if modality in page.modalities]
    grades = [labels_of(part, judgments) for part in parts]
    if not enough(parts, grades, kind.folds):
        raise InputError(
            f"{modality.value} ranker: got too few pages of differing labels among {len(pages)}, {len(parts)} of which "
            f"hold {modality.value} results; allowed: {kind.folds} at least, in two folds or more; judge more, or set "
            "folds lower"
        )
    also = [new for new, like in LIKENESS.items() if like is modality]
    fit = _fit(modality, parts, grades, vectors, kind, also, folder, workers, progress)
    scorer = fit.scorer
    if not isinstance(scorer, SavedScorer):
        raise InputError(f"{modality.value} ranker: got {scorer.name!r}; allowed: a kind that can be saved; mend it")
    labels = int(sum((~np.isnan(given)).sum() for given in grades))
    return TrainedRanker(scorer, labels, fit.truncated if isinstance(fit, CrossEncoderFit) else 0)


def _fit(
    modality: Modality,
    parts: Sequence[Page],
    grades: Sequence[NDArray[np.float32]],
    vectors: ResultVectors | None,
    kind: TowerConfig | CrossEncoderConfig,
    also: Sequence[Modality],
    folder: Path | None,
    workers: Workers | None,
    progress: Progress | None,
) -> Fitted:
    if isinstance(kind, CrossEncoderConfig):
        return fit_cross_encoder(
            modality, parts, grades, kind, also=also, folder=folder, workers=workers, progress=progress
        )
    if vectors is None:
        raise InputError(f"{modality.value} tower: got no encoders; allowed: ResultVectors; pass vectors=...")
    return fit_tower(
        modality, parts, grades, vectors, kind, also=also, folder=folder, workers=workers, progress=progress
    )


def _may_order(scorer: Scorer, modality: Modality) -> bool:
    """A ranker of one modality says what it may order besides; one that says nothing orders whatever it gets."""
    return not isinstance(scorer, SavedScorer) or modality in (scorer.modality, *scorer.also)
