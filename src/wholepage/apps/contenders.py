"""Who stands in the table: every ranker of a comparison, trained on the same pages.

Everybody gets the same single-modal rankers and the same reading of the pages. What differs is who may look at how
many page labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.buying import Purchase, buy
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.annotation.selection import Selection, parse_strategy
from wholepage.apps.bought import Bought, check_brought
from wholepage.apps.remembered import ReadOnce, ScoredOnce
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Ranker, ranking_of
from wholepage.rankers.context_aware import ContextAware
from wholepage.rankers.features import Featurizer
from wholepage.rankers.fusion import (
    IsotonicMerge,
    MinMaxMerge,
    RawMerge,
    ReciprocalRankFusion,
    RoundRobin,
    ZScoreMerge,
)
from wholepage.rankers.lambdamart import LambdaMart
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import WholePageRanker, head_spread
from wholepage.training.context_aware import ContextAwareConfig, fit_context_aware
from wholepage.training.folds import labels_of
from wholepage.training.loop import LoopConfig, Progress
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_smar
from wholepage.training.workers import Workers

REFERENCE = "smar_10"
"""What everything is compared with, where the labels are not brought."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a comparison does.

    Attributes:
        strategy: how page labels are chosen (``annotation.selection``), by name; the share is added.
        shares: of page labels bought for SMAR; the first also, the very same, for all others that read some. Everything
            is compared with SMAR at the first share. Where labels are brought there is one: theirs.
        seed: of the choice, of training, and of the intervals.
        towers, smar: how the rankers are trained.
        sft_loop: how the page head is trained where nothing aligns it; longer, it would fit few labels too closely.
        level: of the intervals.
    """

    strategy: str = "concentrated"
    shares: tuple[float, ...] = (0.1, 0.3)
    seed: int = 0
    towers: TowerConfig = TowerConfig()
    smar: SmarConfig = SmarConfig()
    sft_loop: LoopConfig = LoopConfig()
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise InputError(
                f"Settings.shares: got {self.shares}; allowed: one or more, above 0 to 1; (0.1, 0.3) is usual"
            )
        if len(set(map(_percent, self.shares))) != len(self.shares):
            raise InputError(
                f"Settings.shares: got {self.shares}; allowed: each once, as rows are named by them; remove the repeats"
            )

    @property
    def reference(self) -> str:
        """The row that the others are compared with."""
        return f"smar_{_percent(self.shares[0])}"


@dataclass(frozen=True)
class Trained:
    """All rankers of a comparison, trained on one set of pages.

    Attributes:
        rankers: by the name in the table.  labels: page labels each was trained on.
        single_modal_labels: what the single-modal rankers were trained on.
        selections: what was bought, by share; nothing where labels were brought.
        seconds: of each part of the training.
        reference: the row that the others are compared with.
    """

    rankers: dict[str, Ranker]
    labels: dict[str, int]
    full_labels: int
    single_modal_labels: int
    selections: dict[float, Selection] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reference: str = REFERENCE

    @property
    def model(self) -> WholePageRanker:
        """The reference ranker, SMAR with the first share."""
        found = self.rankers[self.reference]
        if not isinstance(found, WholePageRanker):
            raise InputError(f"comparison: got {found!r} as {self.reference}; allowed: a WholePageRanker; train one")
        return found

    def rank(self, pages: Sequence[Page]) -> dict[str, list[Ranking]]:
        """Every ranker's order of the pages."""
        return {
            name: [Ranking(r.query_id, r.result_ids, r.scores, name) for r in ranker.rank(pages)]
            for name, ranker in self.rankers.items()
        }


class FeatureRanker:
    """A model of the page head's numeric features, LambdaMART or the context-aware ranker, as a Ranker."""

    def __init__(self, featurizer: Featurizer, model: LambdaMart | ContextAware, name: str) -> None:
        self.featurizer, self.model, self._name = featurizer, model, name

    @property
    def name(self) -> str:
        return self._name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first."""
        scores = self.model.predict([items.numbers for items in self.featurizer.read(pages)])
        return [ranking_of(page, given, self.name) for page, given in zip(pages, scores, strict=True)]


def train_rankers(
    pages: Sequence[Page],
    judgments: Judgments,
    vectors: ResultVectors,
    settings: Settings,
    *,
    brought: Bought | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train single-modal rankers, buy page labels, and train every ranker of the table.

    Single-modal rankers learn from the order of labels within a modality. Page rankers see page grades of the
    results that were bought and of no others.

    Args:
        judgments: what the collection knows: within a modality for the single-modal rankers, of the whole page for the
            rows that read all page labels, and for a strategy to buy from.
        brought: page labels that were bought before, in a campaign; None = the strategy buys.
        folder: keeps checkpoints, so that a killed run resumes; None = nothing is kept.
        workers: trains small networks side by side; None = one after another.
    Raises:
        InputError: labels are brought on queries or results that are not among the pages.
    """
    pages = list(pages)
    if brought is not None:
        check_brought(pages, brought)
        settings = msgspec.structs.replace(settings, shares=(brought.share(sum(map(len, pages))),))
    seconds: dict[str, float] = {}
    towers = msgspec.structs.replace(
        settings.towers, loop=msgspec.structs.replace(settings.towers.loop, seed=settings.seed)
    )
    start = time.perf_counter()
    fit = fit_single_modal(pages, judgments, vectors, towers, folder=folder, workers=workers, progress=progress)
    seconds["single-modal rankers"] = time.perf_counter() - start
    smar = msgspec.structs.replace(settings.smar, loop=msgspec.structs.replace(settings.smar.loop, seed=settings.seed))
    start = time.perf_counter()
    featurizer = ReadOnce.of(fit_featurizer(pages, fit, vectors, smar))
    seconds["reading pages"] = time.perf_counter() - start
    work = _Work(
        pages, judgments, fit, vectors, settings, smar, featurizer, folder, workers, progress, seconds, brought
    )
    return work.trained()


@dataclass
class _Work:
    pages: list[Page]
    judgments: Judgments
    fit: SingleModalFit
    vectors: ResultVectors
    settings: Settings
    smar: SmarConfig
    featurizer: Featurizer
    folder: Path | None
    workers: Workers | None
    progress: Progress | None
    seconds: dict[str, float]
    brought: Bought | None
    rankers: dict[str, Ranker] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def trained(self) -> Trained:
        upstream = ScoredOnce(self.fit.upstream)
        for name, merge in (
            ("raw", RawMerge),
            ("zscore", ZScoreMerge),
            ("minmax", MinMaxMerge),
            ("rrf", ReciprocalRankFusion),
            ("round_robin", RoundRobin),
        ):
            self._keep(name, merge(upstream), 0)
        first = self.settings.shares[0]
        purchases: dict[float, Purchase] = {}
        if self.brought is None:
            purchases = {share: self._buy(share) for share in self.settings.shares}
        bought = {share: Bought.of(given) for share, given in purchases.items()}
        if self.brought is not None:
            bought[first] = self.brought
        few = bought[first]
        everything = self.judgments.restrict({page.query_id: page.result_ids for page in self.pages})
        isotonic = IsotonicMerge(upstream, read_as=self.smar.read_as)
        self._timed("isotonic", lambda: isotonic.fit(self.pages, few.judgments, self.fit.out_of_fold))
        self._keep(f"isotonic_{_percent(first)}", isotonic, few.labels)
        self._trees("lambdamart", few.judgments, few.labels)
        self._trees("lambdamart_100", everything, len(everything))
        self._context("context", few)
        self._head("align_only", Judgments(), 0, page_weight=0.0)
        self._head(f"sft_{_percent(first)}", few.judgments, few.labels, bought=few, align="none", loop=self._sft_loop)
        for share, given in bought.items():
            self._head(f"smar_{_percent(share)}", given.judgments, given.labels, bought=given)
        self._head("sft_100", everything, len(everything), align="none", loop=self._sft_loop)
        selections = {share: given.selection for share, given in purchases.items()}
        return Trained(
            self.rankers,
            self.labels,
            len(everything),
            self.fit.labels,
            selections=selections,
            seconds=self.seconds,
            reference=self.settings.reference,
        )

    @property
    def _sft_loop(self) -> LoopConfig:
        return msgspec.structs.replace(self.settings.sft_loop, seed=self.settings.seed)

    def _buy(self, share: float) -> Purchase:
        strategy = parse_strategy(f"{self.settings.strategy}(p={share})")
        annotator = PerfectAnnotator(self.judgments)
        return buy(self.pages, self.fit.teachers, strategy, annotator, seed=self.settings.seed, doubts=self._doubts)

    def _doubts(self, so_far: Judgments) -> list[NDArray[np.float32]]:
        """How far heads trained on what is bought so far disagree about the training pages."""
        ranker = self._fit("doubts", so_far, {}, None, {}, None)
        return head_spread(ranker.heads, self.featurizer.read(self.pages, self.fit.out_of_fold))[1]

    def _keep(self, name: str, ranker: Ranker, labels: int) -> None:
        self.rankers[name], self.labels[name] = ranker, labels

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = make()
        self.seconds[name] = time.perf_counter() - start
        return made

    def _trees(self, name: str, given: Judgments, labels: int) -> None:
        features, grades = self._numbers(given)
        trees = self._timed(name, lambda: LambdaMart(num_threads=1).fit(features, grades, seed=self.settings.seed))
        self._keep(name, FeatureRanker(self.featurizer, trees, name), labels)

    def _context(self, name: str, given: Bought) -> None:
        features, grades = self._numbers(given.judgments)
        net = self._timed(
            name,
            lambda: fit_context_aware(
                features,
                grades,
                ContextAwareConfig(members=self.smar.members),
                seed=self.settings.seed,
                folder=None if self.folder is None else self.folder / name,
                workers=self.workers,
                progress=self.progress,
            ),
        )
        self._keep(name, FeatureRanker(self.featurizer, net, name), given.labels)

    def _numbers(self, given: Judgments) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        items = self.featurizer.read(self.pages, self.fit.out_of_fold)
        return [of.numbers for of in items], [labels_of(page, given) for page in self.pages]

    def _head(self, name: str, given: Judgments, labels: int, *, bought: Bought | None = None, **changes: Any) -> None:
        weights = bought.weights if bought else {}
        spec = bought.strategy if bought else None
        folder = None if self.folder is None else self.folder / name
        ranker = self._timed(name, lambda: self._fit(name, given, weights, spec, changes, folder))
        self._keep(name, ranker, labels)

    def _fit(
        self,
        name: str,
        given: Judgments,
        weights: Mapping[str, Mapping[str, float]],
        strategy: str | None,
        changes: Mapping[str, Any],
        folder: Path | None,
    ) -> WholePageRanker:
        return fit_smar(
            self.pages,
            given,
            self.fit,
            self.vectors,
            msgspec.structs.replace(self.smar, **changes),
            featurizer=self.featurizer,
            weights=weights,
            folder=folder,
            workers=self.workers,
            made_of={"strategy": strategy, "seed": self.settings.seed},
            name=name,
            progress=self.progress,
        )


def _percent(share: float) -> str:
    return f"{100 * share:g}".replace(".", "_")
