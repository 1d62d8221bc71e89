"""Fit the map from scores to probabilities without new labels: by cross-fitting over the judged pages.

A head is surer of the pages it learned from than of new ones, so its scores on them would make probabilities that are
too sure. Here the judged pages are dealt into folds; for each fold heads are trained without its pages and score them,
as they will new pages. The cost is that of training ``folds`` rerankers (``folds`` x ``members`` heads), and no label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.features import Featurizer, PageItems
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import head_scores
from wholepage.training.batches import Lesson, lessons, supervise
from wholepage.training.loop import Progress
from wholepage.training.single_modal import SingleModalFit
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_heads
from wholepage.training.workers import Workers


class CalibrateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the calibration is fitted.

    Attributes:
        folds: of the judged pages, at least 2; never more than there are judged pages.
        members: heads a fold; None = as many as the reranker has. The mean of several heads is surer, and rightly so,
            than one: with fewer heads than the reranker has the cost falls, and its probabilities are not sure enough.
        threshold: the lowest grade that counts as relevant.
    """

    folds: int = 5
    members: int | None = None
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"CalibrateConfig.folds: got {self.folds}; allowed: 2 or more; 5 is usual")
        if self.members is not None and self.members < 1:
            raise InputError(f"CalibrateConfig.members: got {self.members}; allowed: 1 or more, or None; leave it out")


def fit_calibration(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = SmarConfig(),  # noqa: B008 - frozen
    calibrate: CalibrateConfig = CalibrateConfig(),  # noqa: B008 - frozen
    *,
    weights: Mapping[str, Mapping[str, float]] | None = None,
    featurizer: Featurizer | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """The calibration of the reranker that ``fit_smar`` makes of the same arguments.

    Args:
        pages, judgments, fit, vectors, config, weights, featurizer: as ``fit_smar`` was given them.
        calibrate: folds, heads a fold, and what counts as relevant.
        folder: keeps checkpoints, one sub-folder a fold; None = nothing is kept.
        workers: trains folds side by side; None = one after another.
    Raises:
        InputError: fewer than two judged pages, no relevant or only relevant results among the grades, or a reranker
            that puts the relevant no higher than the others.
        PageError: a judgment is about a result that is not on its page.
    Source: cross-fitting as of Platt 1999 section 2.1, over pages.
    """
    supervised = supervise(pages, judgments, fit.teachers, weights)
    found = cross_fitted_scores(
        pages,
        judgments,
        fit,
        vectors,
        config,
        calibrate,
        weights=weights,
        featurizer=featurizer,
        folder=folder,
        workers=workers,
        progress=progress,
    )
    trust = [np.ones(len(page.grades), np.float32) if page.weights is None else page.weights for page in supervised]
    return Calibration.fit(
        np.concatenate(found),
        np.concatenate([page.grades for page in supervised]),
        threshold=calibrate.threshold,
        weights=np.concatenate(trust),
    )


def cross_fitted_scores(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = SmarConfig(),  # noqa: B008 - frozen
    calibrate: CalibrateConfig = CalibrateConfig(),  # noqa: B008 - frozen
    *,
    weights: Mapping[str, Mapping[str, float]] | None = None,
    featurizer: Featurizer | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """Each judged page scored by heads that have seen neither its grades nor its order by the single-modal rankers.

    Args: as of ``fit_calibration``.
    Returns:
        An array ``[len(page)]`` a page; NaN on pages that nobody graded, which teach in every fold.
    Raises:
        InputError, PageError: as ``fit_calibration``; or nothing teaches without one of the folds.
    """
    supervised = supervise(pages, judgments, fit.teachers, weights)
    judged = [i for i, page in enumerate(supervised) if not np.isnan(page.grades).all()]
    if len(judged) < 2:
        raise InputError(
            f"calibration: got {len(judged)} judged pages among {len(pages)}; allowed: 2 or more, to leave some out; "
            "judge more pages"
        )
    featurizer = featurizer or fit_featurizer(pages, fit, vectors, config)
    taught = lessons(featurizer.read(pages, fit.out_of_fold), supervised)
    settings = msgspec.structs.replace(config, members=calibrate.members or config.members)
    folds = _folds({i: pages[i].query_id for i in judged}, calibrate.folds)
    tasks = [
        (
            [lesson for i, lesson in enumerate(taught) if i not in held],
            [taught[i].items for i in held],
            settings,
            None if folder is None else folder / f"fold-{fold}",
            f"calibration, fold {fold + 1}",
        )
        for fold, held in enumerate(folds)
    ]
    scored = (workers or Workers()).each(_score_fold, tasks, progress=progress, what="calibration, folds")
    found = [np.full(len(page), np.nan, np.float32) for page in pages]
    for held, scores in zip(folds, scored, strict=True):
        for i, given in zip(held, scores, strict=True):
            found[i] = given
    return found


def _score_fold(
    taught: Sequence[Lesson],
    held: Sequence[PageItems],
    config: SmarConfig,
    folder: Path | None,
    what: str,
    *,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    return head_scores(fit_heads(taught, config, folder=folder, progress=progress, name=what), held)


def _folds(query_ids: Mapping[int, str], folds: int) -> list[list[int]]:
    """Pages dealt into folds of like size, none empty, in the order of a hash: the order of the pages is no matter."""
    order = sorted(query_ids, key=lambda i: hashlib.sha256(f"calibration:{query_ids[i]}".encode()).digest())
    return [sorted(order[fold::folds]) for fold in range(min(folds, len(order)))]
