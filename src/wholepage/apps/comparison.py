"""The experiment behind ``wholepage demo`` and ``wholepage compare``: one table of SMAR beside honest baselines.

``contenders`` trains them; here they are measured, and the cost stands beside every score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wholepage.apps.bought import Bought
from wholepage.apps.contenders import REFERENCE, Settings, Trained, train_rankers
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.significance import bca_interval, compare_to
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import Progress
from wholepage.training.workers import Workers

MEASURE = "nDCG@10"


class Row(msgspec.Struct, frozen=True):
    """One ranker of the table.

    Attributes:
        ndcg, low, high: mean nDCG@10 (linear gain) with its interval.
        cross_pair_accuracy: share of pairs of different modality and grade put in the right order.
        labels: page labels it was trained on.
        difference, p_holm: from the reference ranker, None for the reference itself.
        reference: its name.
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
    reference: str = REFERENCE

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
            f"difference_vs_{self.reference}": self.difference,
            f"p_holm_vs_{self.reference}": self.p_holm,
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
    reference = settings.reference
    if reference not in rankings:
        raise InputError(
            f"comparison: got rankers {sorted(rankings)}; allowed: with {reference!r} among them; train it"
        )
    said = judgments.restrict({page.query_id: page.result_ids for page in pages})
    values = {name: evaluate(given, said, [MEASURE]).of(MEASURE) for name, given in rankings.items()}
    page_values = {name: evaluate_pages(given, pages, said) for name, given in rankings.items()}
    others = {name: of for name, of in values.items() if name != reference}
    tests = {
        test.name: test for test in compare_to(values[reference], others, seed=settings.seed, level=settings.level)
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
                reference,
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
    brought: Bought | None = None,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train on one set of pages, measure on another.

    Args:
        brought: page labels that were bought before; None = the strategy buys.
    Raises:
        InputError: a query is in both sets, or labels are brought on other pages.
    """
    shared = {page.query_id for page in train_pages}.intersection(page.query_id for page in test_pages)
    if shared:
        raise InputError(
            f"comparison: got queries {sorted(shared)[:3]} in both training and test pages; allowed: none shared; "
            "choose other splits"
        )
    trained = train_rankers(
        train_pages, train_judgments, vectors, settings,
        brought=brought, folder=folder, workers=workers, progress=progress,
    )  # fmt: skip
    if brought is not None:
        settings = msgspec.structs.replace(settings, shares=(brought.share(sum(map(len, train_pages))),))
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
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train and rank fold by fold, measure all test pages together.

    Counts of labels are means over folds; the model kept is the first fold's.

    Args:
        folds: pairs of training and test pages.
    """
    rankings: dict[str, list[Ranking]] = {}
    pages: list[Page] = []
    trained: list[Trained] = []
    for index, (train, test) in enumerate(folds):
        place = None if folder is None else folder / f"fold-{index}"
        outcome = compare(train, judgments.restrict(_ids(train)), test, judgments.restrict(_ids(test)), vectors,
                          settings, folder=place, workers=workers, progress=progress)  # fmt: skip
        for name, given in outcome.rankings.items():
            rankings.setdefault(name, []).extend(given)
        pages.extend(test)
        trained.append(outcome.trained)
    labels = {name: _mean(of.labels[name] for of in trained) for name in rankings}
    rows = measure(rankings, pages, judgments, labels, settings)
    first = replace(
        trained[0],
        labels=labels,
        full_labels=_mean(of.full_labels for of in trained),
        single_modal_labels=_mean(of.single_modal_labels for of in trained),
    )
    return Outcome(rows, rankings, pages, judgments, first, settings)


def _mean(counts: Iterable[int]) -> int:
    return round(float(np.mean(list(counts))))


def _ids(pages: Sequence[Page]) -> dict[str, tuple[str, ...]]:
    return {page.query_id: page.result_ids for page in pages}
