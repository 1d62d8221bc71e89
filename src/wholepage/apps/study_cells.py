"""One cell of a study: buy page labels, train one method on them, measure it query by query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.buying import buy
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.annotation.selection import parse_strategy
from wholepage.annotation.strategies import Active
from wholepage.apps.study_ground import Ground, Side, load
from wholepage.apps.study_recipe import Cell, Method
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page_measures import cross_pairs
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.lines import atomic_write
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker, ranking_of
from wholepage.rankers.fusion import (
    IsotonicMerge,
    MinMaxMerge,
    RawMerge,
    ReciprocalRankFusion,
    RoundRobin,
    ZScoreMerge,
)
from wholepage.rankers.lambdamart import LambdaMart
from wholepage.rankers.page_head import PageHead, head_scores, head_spread, tempered
from wholepage.training.batches import Lesson, lessons, supervise
from wholepage.training.context_aware import ContextAwareConfig, fit_context_aware
from wholepage.training.folds import labels_of
from wholepage.training.loop import Progress
from wholepage.training.smar import SmarConfig, fit_heads
from wholepage.training.workers import on_one_thread

MEASURE = "nDCG@10"
_MERGES: dict[str, Callable[..., Ranker]] = {
    "raw": RawMerge,
    "zscore": ZScoreMerge,
    "minmax": MinMaxMerge,
    "rrf": ReciprocalRankFusion,
    "round_robin": RoundRobin,
}


class OneQuery(msgspec.Struct, frozen=True):
    """How one query came out: nDCG@10, and cross-modal pairs of different grade, in the right order and in all."""

    ndcg: float
    cross_right: int
    cross_pairs: int


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cell that is finished.

    Attributes:
        labels: page labels bought, of ``full_labels``.
        queries: every query of the test side.
    """

    cell: Cell
    labels: int
    full_labels: int
    queries: dict[str, OneQuery]


@dataclass(frozen=True)
class Bought:
    """What a cell's page labels are.

    Attributes:
        weights: of inferred grades (``anchors``), by query and result. Only the page head reads them: to the others
            an inferred grade is as good as one that was asked for.
        labels: what was asked for, and so paid.
    """

    judgments: Judgments
    weights: Mapping[str, Mapping[str, float]]
    labels: int


def run_cell(
    ground_folder: Path, cell: Cell, config: SmarConfig, out: Path, *, progress: Progress | None = None
) -> None:
    """Do a cell and write what came out; a pure function of its arguments, for a process of its own.

    Every process computes on one thread, so that the numbers do not depend on how many there are.

    Args:
        ground_folder: written by ``study_ground.prepare``.
        out: the file to write, whole or not at all.
    Raises:
        InputError: as ``measure_cell``; names the cell.
        WeightsError: the ground is damaged.
    """
    try:
        with on_one_thread():
            done = measure_cell(_ground(ground_folder), cell, config)
    except InputError as error:
        how = cell.strategy or f"share {cell.share:g}"
        raise InputError(f"cell {cell.method}, {how}, seed {cell.seed}, fold {cell.fold}: {error}") from error
    with atomic_write(out, "wb") as file:
        file.write(msgspec.json.encode(done, order="deterministic"))
    if progress:
        progress(1, 1, "cell")


def measure_cell(ground: Ground, cell: Cell, config: SmarConfig) -> Done:
    """Buy, train and measure.

    Raises:
        InputError: the strategy cannot be read, or nothing teaches.
    """
    train = dealt_anew(ground.train, cell.shuffled, cell.seed)
    bought = _buy(train, cell, config)
    scores = _METHODS[cell.method](ground, train, bought, cell, config)
    rankings = [ranking_of(page, of, cell.method) for page, of in zip(ground.test.pages, scores, strict=True)]
    return Done(cell.work, bought.labels, len(train.judgments), measured(rankings, ground.test))


def measured(rankings: Sequence[Ranking], side: Side) -> dict[str, OneQuery]:
    """Every query of a side, by id."""
    values = evaluate(rankings, side.judgments, [MEASURE]).of(MEASURE)
    found = {}
    for page, ranking in zip(side.pages, rankings, strict=True):
        right, pairs = cross_pairs(ranking, page, side.judgments.by_result(page.query_id))
        found[page.query_id] = OneQuery(float(values[page.query_id]), right, pairs)
    return found


def dealt_anew(side: Side, share: float, seed: int) -> Side:
    """The side with worse teachers: of each modality's list a share of the results change places by chance."""
    if share == 0:
        return side
    taught = []
    for index, (page, scores) in enumerate(zip(side.pages, side.taught, strict=True)):
        worse = scores.copy()
        for code in np.unique(modalities := np.array([list(Modality).index(r.modality) for r in page.results])):
            rows = np.flatnonzero(modalities == code)
            draw = np.random.default_rng([seed, index, int(code)])
            moved = draw.permutation(rows)[: round(share * len(rows))]
            worse[moved] = worse[draw.permutation(moved)]
        taught.append(worse)
    return replace(side, taught=taught)


@lru_cache(maxsize=1)
def _ground(folder: Path) -> Ground:
    return load(folder)


def _buy(train: Side, cell: Cell, config: SmarConfig) -> Bought:
    """The page labels of a cell: the same to all methods, but for ``active``.

    There the choice follows the doubts of page heads trained on what is bought so far; without alignment where the
    method has none (``sft``), so that its labels are not those of ``smar``. Methods without a head take SMAR's doubts.
    """
    said = train.judgments
    if not cell.share:
        return Bought(Judgments(), {}, 0)
    if not cell.strategy:
        return Bought(said, {}, len(said))
    strategy = parse_strategy(cell.strategy)
    doubts = None
    if isinstance(strategy, Active):
        if strategy.by != "committee":
            raise InputError(
                f"study: got strategy {cell.strategy!r}; allowed: by=committee, for the heads of a study are not "
                "calibrated; change the recipe"
            )

        def doubts(so_far: Judgments) -> Sequence[NDArray[np.float32]]:
            heads = _heads(train, so_far, {}, cell, config)
            return head_spread(heads, train.items)[1]

    found = buy(train.pages, train.teachers(), strategy, PerfectAnnotator(said), seed=cell.seed, doubts=doubts)
    return Bought(found.judgments, found.weights, found.labels)


def _heads(
    train: Side, said: Judgments, weights: Mapping[str, Mapping[str, float]], cell: Cell, config: SmarConfig
) -> list[PageHead]:
    taught = _lessons(train, said, weights)
    chosen = msgspec.structs.replace(
        config,
        align=cell.form or config.align,
        page_weight=0.0 if cell.method == "align_only" else config.page_weight,
        loop=msgspec.structs.replace(config.loop, seed=cell.seed),
    )
    return fit_heads(taught, chosen, name=cell.method)


def _lessons(train: Side, said: Judgments, weights: Mapping[str, Mapping[str, float]]) -> list[Lesson]:
    return lessons(train.items, supervise(train.pages, said, train.teachers(), weights=weights))


_Scores = Sequence[NDArray[np.floating]]


def _by_head(ground: Ground, train: Side, bought: Bought, cell: Cell, config: SmarConfig) -> _Scores:
    heads = _heads(train, bought.judgments, bought.weights, cell, config)
    unseen = [np.array([r.modality in ground.read_as for r in page.results], np.bool_) for page in ground.test.pages]
    scores = head_scores(heads, ground.test.items)
    return [tempered(of, mask) for of, mask in zip(scores, unseen, strict=True)]


def _by_trees(ground: Ground, train: Side, bought: Bought, cell: Cell, config: SmarConfig) -> _Scores:
    grades = [labels_of(page, bought.judgments) for page in train.pages]
    trees = LambdaMart(num_threads=1).fit([of.numbers for of in train.items], grades, seed=cell.seed)
    return trees.predict([of.numbers for of in ground.test.items])


def _by_context(ground: Ground, train: Side, bought: Bought, cell: Cell, config: SmarConfig) -> _Scores:
    grades = [labels_of(page, bought.judgments) for page in train.pages]
    settings = ContextAwareConfig(members=config.members)
    model = fit_context_aware([of.numbers for of in train.items], grades, settings, seed=cell.seed)
    return model.predict([of.numbers for of in ground.test.items])


def _by_isotonic(ground: Ground, train: Side, bought: Bought, cell: Cell, config: SmarConfig) -> _Scores:
    merge = IsotonicMerge(_Known(ground.test), read_as=ground.read_as)
    merge.fit(train.pages, bought.judgments, train.single)
    return merge.score(ground.test.pages)


def _by_merge(ground: Ground, train: Side, bought: Bought, cell: Cell, config: SmarConfig) -> _Scores:
    rankings = _MERGES[cell.method](_Known(ground.test)).rank(ground.test.pages)
    return [
        np.array([-places[i] for i in page.result_ids], np.float64)
        for page, places in zip(ground.test.pages, (r.positions() for r in rankings), strict=True)
    ]


_METHODS: dict[Method, Callable[[Ground, Side, Bought, Cell, SmarConfig], _Scores]] = {
    "smar": _by_head,
    "sft": _by_head,
    "align_only": _by_head,
    "lambdamart": _by_trees,
    "context": _by_context,
    "isotonic": _by_isotonic,
    "zscore": _by_merge,
    "minmax": _by_merge,
    "rrf": _by_merge,
    "raw": _by_merge,
    "round_robin": _by_merge,
}


class _Known:
    """A Scorer of the pages of one side, whose scores are known."""

    name = "single"

    def __init__(self, side: Side) -> None:
        self._by_query = {page.query_id: scores for page, scores in zip(side.pages, side.single, strict=True)}

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [self._by_query[page.query_id] for page in pages]
