"""SMAR: train the page reranker on few page judgments, kept consistent with strong single-modal rankers.

The settings and what is minimised are in ``objective``. Source: arXiv 2510.16803.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, overload

import msgspec
import numpy as np
from torch import Tensor, nn

from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page
from wholepage.pages.protocols import Ranker
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors, feature_names
from wholepage.rankers.whole_page import PageHead, WholePageRanker
from wholepage.training.batches import Lesson, PageBatch, SupervisedPage, lessons, supervise
from wholepage.training.heads import Make, Score, fit_heads, useful_rows
from wholepage.training.loop import Progress, content_hash
from wholepage.training.objective import Alignment, SmarConfig, smar_loss
from wholepage.training.single_modal import SingleModalFit
from wholepage.training.teachers import page_hash
from wholepage.training.trust import trusting
from wholepage.training.workers import Workers

__all__ = [
    "Alignment",
    "Backbone",
    "Make",
    "Score",
    "SmarConfig",
    "fit_featurizer",
    "fit_heads",
    "fit_smar",
    "smar_loss",
]


def fit_featurizer(
    pages: Sequence[Page], fit: SingleModalFit, vectors: ResultVectors, config: SmarConfig
) -> Featurizer:
    """Fit the reading of pages; it uses no page label, so several training runs can share it."""
    known = {modality for page in pages for modality in page.modalities}
    read_as = {new: like for new, like in config.read_as.items() if new not in known and like in known}
    names = feature_names(pages)
    return Featurizer.fit(fit.upstream, vectors, pages, fit.out_of_fold, names, read_as, keep=config.keep)


class Backbone(Protocol):
    """A network that is trained in place of the page head; it goes to the workers by pickle when there are several."""

    def prepare(self, pages: Sequence[Page]) -> None:
        """Called once, before all else, with the pages that teach; ``rows`` of ``score`` count them."""
        ...

    def make(self, example: Lesson, config: SmarConfig) -> nn.Module:
        """See ``Make``."""
        ...

    def score(self, module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
        """See ``Score``."""
        ...

    def ranker(
        self, featurizer: Featurizer, modules: Sequence[nn.Module], made_of: Mapping[str, Any], name: str
    ) -> Ranker:
        """The reranker of the trained members."""
        ...


@overload
def fit_smar(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = ...,
    *,
    featurizer: Featurizer | None = ...,
    weights: Mapping[str, Mapping[str, float]] | None = ...,
    backbone: None = ...,
    folder: Path | None = ...,
    workers: Workers | None = ...,
    made_of: Mapping[str, Any] | None = ...,
    name: str = ...,
    progress: Progress | None = ...,
) -> WholePageRanker: ...


@overload
def fit_smar(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = ...,
    *,
    featurizer: Featurizer | None = ...,
    weights: Mapping[str, Mapping[str, float]] | None = ...,
    backbone: Backbone,
    folder: Path | None = ...,
    workers: Workers | None = ...,
    made_of: Mapping[str, Any] | None = ...,
    name: str = ...,
    progress: Progress | None = ...,
) -> Ranker: ...


def fit_smar(
    pages: Sequence[Page],
    judgments: Judgments,
    fit: SingleModalFit,
    vectors: ResultVectors,
    config: SmarConfig = SmarConfig(),  # noqa: B008 - frozen
    *,
    featurizer: Featurizer | None = None,
    weights: Mapping[str, Mapping[str, float]] | None = None,
    backbone: Backbone | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    made_of: Mapping[str, Any] | None = None,
    name: str = "smar",
    progress: Progress | None = None,
) -> Ranker:
    """Train the page reranker.

    Args:
        pages: training pages; all of them teach alignment, judged or not.
        judgments: the page grades and preferences that were bought, and nothing else.
        fit: the single-modal rankers, with their view of these pages in this order.
        vectors: the frozen encoders.
        featurizer: fitted on these pages already; None = fit it.
        weights: of page grades that may be wrong, ``{query_id: {result_id: weight}}``: above 0 and up to 1, such as
            the posterior of an inferred grade; a grade not named weighs 1.0. See ``list_mle`` for what a weight does.
        backbone: a network in place of the page head; None = the page head.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
        made_of: written into the model folder beside what this function knows itself.
    Returns:
        A ``WholePageRanker``, or what the backbone makes of its members.
    Raises:
        PageError: a judgment is about a result that is not on its page, or a weight about one without a grade.
        InputError: nothing teaches, or a weight is out of range.
    """
    supervised = supervise(pages, judgments, fit.teachers, weights)
    featurizer = featurizer or fit_featurizer(pages, fit, vectors, config)
    taught = lessons(featurizer.read(pages, fit.out_of_fold), supervised)
    followed, figures = trusting(taught, config)
    useful = useful_rows(taught, followed, name)
    content = ""
    if backbone is not None:
        backbone.prepare([pages[i] for i in useful])
        content = content_hash([page_hash(pages[i]) for i in useful], ())
    heads = fit_heads(
        [taught[i] for i in useful],
        followed,
        make=None if backbone is None else backbone.make,
        score=None if backbone is None else backbone.score,
        content=content,
        folder=folder,
        workers=workers,
        progress=progress,
        name=name,
    )
    facts = {**_labels(supervised), "single_modal_labels": fit.labels, "pages": len(pages)}
    facts |= {"config": msgspec.to_builtins(config), **figures, **(made_of or {})}
    if backbone is not None:
        return backbone.ranker(featurizer, heads, facts, name)
    return WholePageRanker(featurizer, cast("list[PageHead]", heads), facts, name=name)


def _labels(supervised: Sequence[SupervisedPage]) -> dict[str, int]:
    """How many labels taught; those of weight below 1 and the compared pairs are named only where there are any."""
    counts = {
        "page_labels": sum(int((~np.isnan(page.grades)).sum()) for page in supervised),
        "page_labels_below_weight_1": sum(
            int(((page.weights > 0) & (page.weights < 1)).sum()) for page in supervised if page.weights is not None
        ),
        "page_pairs": sum(len(page.pairs) for page in supervised),
    }
    return {what: number for what, number in counts.items() if number or what == "page_labels"}
