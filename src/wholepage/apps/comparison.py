"""The experiment behind ``wholepage demo`` and ``wholepage compare``: one table of SMAR beside honest baselines.

Everybody gets the same single-modal rankers and the same reading of the pages. What differs is who may look at how
many page labels; that cost stands beside every score.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.oracles import PerfectAnnotator, ask
from wholepage.annotation.selection import Selection, parse_strategy, select
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.significance import bca_interval, compare_to
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Ranker, ranking_of
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
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import Progress
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_smar

REFERENCE = "smar_10"
MEASURE = "nDCG@10"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a comparison does.

    Attributes:
        strategy: how page labels are chosen, such as ``random`` or ``top``; the share is added.
        shares: of page labels bought for SMAR; the first also for SFT, LambdaMART and isotonic.
        seed: of the choice, of training, and of the intervals.
        towers, smar: how the rankers are trained.
        level: of the intervals.
    """

    strategy: str = "random"
    shares: tuple[float, ...] = (0.1, 0.3)
    seed: int = 0
    towers: TowerConfig = TowerConfig()
    smar: SmarConfig = SmarConfig()
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.shares:
            raise InputError("Settings.shares: got none; allowed: one or more in (0, 1]; 0.1 and 0.3 are usual")


class Row(msgspec.Struct, frozen=True):
    """One ranker of the table.

    Attributes:
        ndcg, low, high: mean nDCG@10 (linear gain) with its interval.
        cross_pair_accuracy: share of pairs of different modality and grade put in the right order.
        labels: page labels it was trained on.
        difference, p_holm: from the reference ranker, None for the reference itself.
    """

    ranker: str
    ndcg: float
    low: float
    high: float
    cross_pair_accuracy: float
    exposure_gap: float
    labels: int
    difference: float | None
    p_holm: float | None

    def to_json(self) -> dict[str, Any]:
        """The row under the names that ``--json`` prints."""
        return {
            "ranker": self.ranker,
            "ndcg@10": self.ndcg,
            "low": self.low,
            "high": self.high,
            "cross_pair_accuracy": None if math.isnan(self.cross_pair_accuracy) else self.cross_pair_accuracy,
            "exposure_gap@10": None if math.isnan(self.exposure_gap) else self.exposure_gap,
            "labels": self.labels,
            f"difference_vs_{REFERENCE}": self.difference,
            f"p_holm_vs_{REFERENCE}": self.p_holm,
        }


@dataclass(frozen=True)
class Trained:
    """All rankers of a comparison, trained on one set of pages.

    Attributes:
        rankers: by the name in the table.  labels: page labels each was trained on.
        single_modal_labels: what the single-modal rankers were trained on.
        selections: what was bought, by share.
        seconds: of each part of the training.
    """

    rankers: dict[str, Ranker]
    labels: dict[str, int]
    full_labels: int
    single_modal_labels: int
    selections: dict[float, Selection] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> WholePageRanker:
        """The reference ranker, SMAR with the first share."""
        found = self.rankers[REFERENCE]
        if not isinstance(found, WholePageRanker):
            raise InputError(f"comparison: got {found!r} as {REFERENCE}; allowed: a WholePageRanker; train one")
        return found

    def rank(self, pages: Sequence[Page]) -> dict[str, list[Ranking]]:
        """Every ranker's order of the pages."""
        return {
            name: [Ranking(r.query_id, r.result_ids, r.scores, name) for r in ranker.rank(pages)]
            for name, ranker in self.rankers.items()
        }


@dataclass(frozen=True)
class Outcome:
    """A finished comparison: the table, and what it was measured on."""

    rows: list[Row]
    rankings: dict[str, list[Ranking]]
    pages: list[Page]
    judgments: Judgments
    trained: Trained
    settings: Settings
    measured_on: str = ""

    @property
    def model(self) -> WholePageRanker:
        return self.trained.model


class LambdaMartRanker:
    """LambdaMART on the page head's numeric features, as a Ranker."""

    def __init__(self, featurizer: Featurizer, trees: LambdaMart, name: str) -> None:
        self.featurizer, self.trees, self._name = featurizer, trees, name

    @property
    def name(self) -> str:
        return self._name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first."""
        scores = self.trees.predict([items.numbers for items in self.featurizer.read(pages)])
        return [ranking_of(page, given, self.name) for page, given in zip(pages, scores, strict=True)]


def train_rankers(
    pages: Sequence[Page],
    judgments: Judgments,
    vectors: ResultVectors,
    settings: Settings,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train single-modal rankers, buy page labels, and train every ranker of the table.

    Single-modal rankers learn from the order of labels within a modality. Page rankers see page grades of the
    results that were bought and of no others.

    Args:
        folder: keeps checkpoints, so that a killed run resumes; None = nothing is kept.
    """
    pages = list(pages)
    seconds: dict[str, float] = {}
    towers = msgspec.structs.replace(
        settings.towers, loop=msgspec.structs.replace(settings.towers.loop, seed=settings.seed)
    )
    start = time.perf_counter()
    fit = fit_single_modal(pages, judgments, vectors, towers, folder=folder, progress=progress)
    seconds["single-modal rankers"] = time.perf_counter() - start
    smar = msgspec.structs.replace(settings.smar, loop=msgspec.structs.replace(settings.smar.loop, seed=settings.seed))
    start = time.perf_counter()
    featurizer = fit_featurizer(pages, fit, vectors, smar)
    seconds["reading pages"] = time.perf_counter() - start
    work = _Work(pages, judgments, fit, vectors, settings, smar, featurizer, folder, progress, seconds)
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
    progress: Progress | None
    seconds: dict[str, float]
    rankers: dict[str, Ranker] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def trained(self) -> Trained:
        upstream = self.fit.upstream
        for name, merge in (
            ("raw", RawMerge),
            ("zscore", ZScoreMerge),
            ("minmax", MinMaxMerge),
            ("rrf", ReciprocalRankFusion),
            ("round_robin", RoundRobin),
        ):
            self._keep(name, merge(upstream), 0)
        chosen = {share: self._buy(share) for share in self.settings.shares}
        bought = {share: ask(self.pages, choice, PerfectAnnotator(self.judgments)) for share, choice in chosen.items()}
        first = self.settings.shares[0]
        few, everything = bought[first], self.judgments.restrict({p.query_id: p.result_ids for p in self.pages})
        isotonic = self._timed("isotonic", lambda: IsotonicMerge(upstream).fit(self.pages, few))
        self._keep(f"isotonic_{_percent(first)}", isotonic, len(few))
        self._trees("lambdamart", few)
        self._trees("lambdamart_100", everything)
        self._head("align_only", Judgments(), page_weight=0.0)
        self._head(f"sft_{_percent(first)}", few, align="none")
        for share, given in bought.items():
            self._head(f"smar_{_percent(share)}", given, chosen=chosen[share])
        self._head("sft_100", everything, align="none")
        return Trained(
            self.rankers, self.labels, len(everything), self.fit.labels, selections=chosen, seconds=self.seconds
        )

    def _buy(self, share: float) -> Selection:
        strategy = parse_strategy(f"{self.settings.strategy}(p={share})")
        return select(self.pages, self.fit.teachers, strategy, seed=self.settings.seed)

    def _keep(self, name: str, ranker: Ranker, labels: int) -> None:
        self.rankers[name], self.labels[name] = ranker, labels

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = make()
        self.seconds[name] = time.perf_counter() - start
        return made

    def _trees(self, name: str, given: Judgments) -> None:
        features = [items.numbers for items in self.featurizer.read(self.pages, self.fit.out_of_fold)]
        grades = [_grades(page, given) for page in self.pages]
        trees = self._timed(name, lambda: LambdaMart(num_threads=2).fit(features, grades, seed=self.settings.seed))
        self._keep(name, LambdaMartRanker(self.featurizer, trees, name), len(given))

    def _head(self, name: str, given: Judgments, *, chosen: Selection | None = None, **changes: Any) -> None:
        ranker = self._timed(
            name,
            lambda: fit_smar(
                self.pages,
                given,
                self.fit,
                self.vectors,
                msgspec.structs.replace(self.smar, **changes),
                featurizer=self.featurizer,
                folder=None if self.folder is None else self.folder / name,
                made_of={"strategy": chosen.strategy if chosen else None, "seed": self.settings.seed},
                name=name,
                progress=self.progress,
            ),
        )
        self._keep(name, ranker, len(given))


def measure(
    rankings: Mapping[str, Sequence[Ranking]],
    pages: Sequence[Page],
    judgments: Judgments,
    labels: Mapping[str, int],
    settings: Settings,
) -> list[Row]:
    """The table: mean nDCG@10 with BCa interval, page measures, and Holm-corrected permutation tests.

    Raises:
        InputError: the reference ranker is not among the rankings, or a page has no ranking.
    """
    if REFERENCE not in rankings:
        raise InputError(
            f"comparison: got rankers {sorted(rankings)}; allowed: with {REFERENCE!r} among them; train it"
        )
    said = judgments.restrict({page.query_id: page.result_ids for page in pages})
    values = {name: evaluate(given, said, [MEASURE]).of(MEASURE) for name, given in rankings.items()}
    page_values = {name: evaluate_pages(given, pages, said) for name, given in rankings.items()}
    others = {name: of for name, of in values.items() if name != REFERENCE}
    tests = {
        test.name: test for test in compare_to(values[REFERENCE], others, seed=settings.seed, level=settings.level)
    }
    rows = []
    for name, of in values.items():
        each = np.array(list(of.values()))
        low, high = bca_interval(each, level=settings.level, seed=settings.seed)
        rows.append(
            Row(
                name,
                float(each.mean()),
                low,
                high,
                page_values[name].mean("PairAccuracy(cross)"),
                page_values[name].mean("ExposureGap@10"),
                labels[name],
                tests[name].difference if name in tests else None,
                tests[name].p_holm if name in tests else None,
            )
        )
    return rows


def compare(
    train_pages: Sequence[Page],
    train_judgments: Judgments,
    test_pages: Sequence[Page],
    test_judgments: Judgments,
    vectors: ResultVectors,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train on one set of pages, measure on another.

    Raises:
        InputError: a query is in both sets.
    """
    shared = {page.query_id for page in train_pages}.intersection(page.query_id for page in test_pages)
    if shared:
        raise InputError(
            f"comparison: got queries {sorted(shared)[:3]} in both training and test pages; allowed: none shared; "
            "choose other splits"
        )
    trained = train_rankers(train_pages, train_judgments, vectors, settings, folder=folder, progress=progress)
    pages = list(test_pages)
    rankings = trained.rank(pages)
    rows = measure(rankings, pages, test_judgments, trained.labels, settings)
    return Outcome(rows, rankings, pages, test_judgments, trained, settings)


def cross_validate(
    folds: Iterable[tuple[Sequence[Page], Sequence[Page]]],
    judgments: Judgments,
    vectors: ResultVectors,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train and rank fold by fold, measure all test pages together; ``labels`` are the mean over folds.

    Args:
        folds: pairs of training and test pages.
    """
    rankings: dict[str, list[Ranking]] = {}
    pages: list[Page] = []
    trained: list[Trained] = []
    for index, (train, test) in enumerate(folds):
        place = None if folder is None else folder / f"fold-{index}"
        outcome = compare(train, judgments.restrict(_ids(train)), test, judgments.restrict(_ids(test)), vectors,
                          settings, folder=place, progress=progress)  # fmt: skip
        for name, given in outcome.rankings.items():
            rankings.setdefault(name, []).extend(given)
        pages.extend(test)
        trained.append(outcome.trained)
    labels = {name: round(float(np.mean([t.labels[name] for t in trained]))) for name in rankings}
    rows = measure(rankings, pages, judgments, labels, settings)
    return Outcome(rows, rankings, pages, judgments, trained[0], settings)


def _ids(pages: Sequence[Page]) -> dict[str, tuple[str, ...]]:
    return {page.query_id: page.result_ids for page in pages}


def _grades(page: Page, judgments: Judgments) -> NDArray[np.float32]:
    given = judgments.by_result(page.query_id)
    return np.array([given.get(result_id, np.nan) for result_id in page.result_ids], np.float32)


def _percent(share: float) -> str:
    return f"{100 * share:g}".replace(".", "_")
