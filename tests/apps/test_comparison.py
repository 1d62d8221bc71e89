"""The comparison: who may see which labels, who stands in the table, and what the table says."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wholepage.apps import contenders
from wholepage.apps.bought import Bought
from wholepage.apps.comparison import MEASURE, Outcome, Row, compare, cross_validate, measure
from wholepage.apps.contenders import REFERENCE, Settings, Trained, train_rankers
from wholepage.apps.remembered import ReadOnce, ScoredOnce
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.rankers.features import Featurizer, PageItems
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

TEXT, ANSWER = Modality.TEXT, Modality.ANSWER
ONCE = LoopConfig(epochs=1)
SETTINGS = Settings(
    towers=TowerConfig(folds=2, loop=ONCE, teacher_loop=ONCE), smar=SmarConfig(members=1, keep=8, loop=ONCE)
)
ROWS = ["raw", "zscore", "minmax", "rrf", "round_robin", "isotonic_10", "lambdamart", "lambdamart_100", "context"]
ROWS += ["align_only", "sft_10", "smar_10", "smar_30", "sft_100"]


class HashedWords:
    """A text encoder: every word adds its own pseudo-random direction."""

    name, dim = "hashed-words", 16

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(self.dim)
        for word in re.findall(r"\w+", text.lower()):
            total += np.random.default_rng(list(hashlib.sha256(word.encode()).digest())).standard_normal(self.dim)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)


@dataclass(frozen=True)
class World:
    train: list[Page]
    train_said: Judgments
    test: list[Page]
    test_said: Judgments


def vectors() -> ResultVectors:
    return ResultVectors(HashedWords())


def ids(pages: Sequence[Page]) -> dict[str, tuple[str, ...]]:
    return {page.query_id: page.result_ids for page in pages}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> World:
    made = Synthetic(queries=24, results_per_modality=(3, 4), modalities=(TEXT, ANSWER))
    return World(list(made.pages("train")), made.judgments("train"), list(made.pages("dev")), made.judgments("dev"))


@dataclass(frozen=True)
class Watched:
    outcome: Outcome
    given: dict[str, Judgments]


def watch(patch: pytest.MonkeyPatch) -> dict[str, Judgments]:
    """Note which page grades every head is trained on."""
    given: dict[str, Judgments] = {}

    def noted(pages: Sequence[Page], judgments: Judgments, *args: Any, name: str, **more: Any) -> WholePageRanker:
        given[name] = judgments
        return fit_smar(pages, judgments, *args, name=name, **more)

    patch.setattr(contenders, "fit_smar", noted)
    return given


@pytest.fixture(scope="module")
def watched(world: World) -> Watched:
    with pytest.MonkeyPatch.context() as patch:
        given = watch(patch)
        outcome = compare(world.train, world.train_said, world.test, world.test_said, vectors(), SETTINGS)
    return Watched(outcome, given)


# --- who may see what -------------------------------------------------------------------------------------------------


def test_heads_are_given_what_was_bought_and_nothing_else(world: World, watched: Watched) -> None:
    trained = watched.outcome.trained
    full = sum(len(page) for page in world.train)
    assert trained.full_labels == full == len(world.train_said)
    for share, name in ((0.1, "smar_10"), (0.3, "smar_30")):
        bought = trained.selections[share].bought
        assert {query_id: set(watched.given[name].by_result(query_id)) for query_id in bought} == {
            query_id: set(result_ids) for query_id, result_ids in bought.items()
        }
        for query_id, result_ids in bought.items():  # and they are the true grades
            truth = world.train_said.by_result(query_id)
            assert watched.given[name].by_result(query_id) == {result_id: truth[result_id] for result_id in result_ids}
        assert trained.labels[name] == trained.selections[share].labels == len(watched.given[name])
        assert 0 < trained.labels[name] <= share * full
    assert watched.given["sft_10"] == watched.given["smar_10"]
    assert watched.given["align_only"] == Judgments()
    assert watched.given["sft_100"].restrict(ids(world.train)) == world.train_said


def test_labels_are_what_each_row_was_trained_on(watched: Watched) -> None:
    trained = watched.outcome.trained
    ten, thirty, full = trained.selections[0.1].labels, trained.selections[0.3].labels, trained.full_labels
    wanted = dict.fromkeys(ROWS, 0) | dict.fromkeys(("isotonic_10", "lambdamart", "context", "sft_10", "smar_10"), ten)
    wanted |= {"smar_30": thirty, "sft_100": full, "lambdamart_100": full}
    assert {row.ranker: row.labels for row in watched.outcome.rows} == wanted
    assert trained.model.made_of["page_labels"] == ten


def test_page_grades_that_were_not_bought_change_nothing(
    world: World, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The single-modal rankers learn from orders within a modality, so they stay fixed; the rest is trained anew."""
    fit = fit_single_modal(world.train, world.train_said, vectors(), SETTINGS.towers)
    bought = {page.query_id: set[str]() for page in world.train}
    for selection in watched.outcome.trained.selections.values():
        for query_id, result_ids in selection.bought.items():
            bought[query_id].update(result_ids)
    lied = Judgments.from_mapping(
        {
            page.query_id: {
                result_id: grade if result_id in bought[page.query_id] else 3 - grade
                for result_id, grade in world.train_said.by_result(page.query_id).items()
            }
            for page in world.train
        },
        who="world",
    )
    assert lied != world.train_said

    def fixed(*args: Any, **more: Any) -> SingleModalFit:
        return fit

    monkeypatch.setattr(contenders, "fit_single_modal", fixed)
    rankings = train_rankers(world.train, lied, vectors(), SETTINGS).rank(world.test)
    true = watched.outcome.rankings
    knows_all = {"sft_100", "lambdamart_100"}
    for name in ROWS:
        if name not in knows_all:
            assert rankings[name] == true[name], name
    assert all(rankings[name] != true[name] for name in knows_all)  # the lie was there to be seen


# --- who stands in the table ------------------------------------------------------------------------------------------


def test_all_rows_are_there_and_order_every_page_whole(world: World, watched: Watched) -> None:
    outcome = watched.outcome
    assert [row.ranker for row in outcome.rows] == ROWS == list(outcome.rankings)
    for name, given in outcome.rankings.items():
        assert [ranking.query_id for ranking in given] == [page.query_id for page in world.test]
        for ranking, page in zip(given, world.test, strict=True):
            assert sorted(ranking.result_ids) == sorted(page.result_ids)
            assert ranking.by == name
    orders = {name: tuple(r.result_ids for r in given) for name, given in outcome.rankings.items()}
    assert len(set(orders.values())) > len(ROWS) // 2  # they are not one ranker under many names


def test_rows_as_json(watched: Watched) -> None:
    for row in watched.outcome.rows:
        told = row.to_json()
        assert set(told) == {
            "ranker", "ndcg@10", "low", "high", "cross_pair_accuracy", "exposure_gap@10", "labels",
            "difference_vs_smar_10", "p_holm_vs_smar_10",
        }  # fmt: skip
        assert (told["ranker"], told["ndcg@10"], told["labels"]) == (row.ranker, row.ndcg, row.labels)
        assert 0 <= told["low"] <= told["ndcg@10"] <= told["high"] <= 1
    empty = Row("raw", 0.5, 0.4, 0.6, math.nan, math.nan, 0, None, None).to_json()
    assert (empty["cross_pair_accuracy"], empty["exposure_gap@10"]) == (None, None)  # JSON has no NaN


@pytest.mark.parametrize("shares", [(), (0.0,), (0.1, 1.5), (0.1, 0.1)])
def test_shares_name_rows_so_each_is_real_and_there_once(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"Settings\.shares: got .*; allowed: "):
        Settings(shares=shares)


def test_the_first_share_is_what_all_is_compared_with() -> None:
    assert Settings().reference == REFERENCE
    assert Settings(shares=(0.25, 0.1)).reference == "smar_25"


def test_a_model_that_was_not_trained_is_an_error(watched: Watched) -> None:
    other = Trained({REFERENCE: watched.outcome.trained.rankers["raw"]}, {}, 0, 0)
    with pytest.raises(InputError, match="WholePageRanker"):
        _ = other.model


def test_labels_that_are_brought_stand_in_place_of_a_strategy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given = watch(monkeypatch)
    few = world.train[:6]
    said = Judgments([Grade(p.query_id, i, float(n % 3), "ann") for p in few for n, i in enumerate(p.result_ids)])
    brought = Bought(said, 12, "campaign: selected", {})
    outcome = compare(*_sides(world), vectors(), SETTINGS, brought=brought)
    share = brought.share(sum(map(len, world.train)))
    name = f"smar_{100 * share:g}"
    assert [row.ranker for row in outcome.rows if row.p_holm is None] == [name] != [REFERENCE]
    assert given[name] == given[f"sft_{100 * share:g}"] == said
    labels = {row.ranker: row.labels for row in outcome.rows}
    assert labels[name] == labels["lambdamart"] == labels["context"] == 12  # what was asked, not what came of it
    assert [row.ranker for row in outcome.rows if row.ranker.startswith("smar_")] == [name]
    assert outcome.model.made_of["strategy"] == "campaign: selected"
    assert f"p_holm_vs_{name}" in outcome.rows[0].to_json()


def test_labels_brought_for_other_pages_are_refused(world: World) -> None:
    brought = Bought(Judgments([Grade("nobody", "x", 1.0)]), 1, "campaign")
    with pytest.raises(InputError, match="nobody"):
        compare(*_sides(world), vectors(), SETTINGS, brought=brought)


def _sides(world: World) -> tuple[list[Page], Judgments, list[Page], Judgments]:
    return world.train, world.train_said, world.test, world.test_said


# --- remembering what was read ----------------------------------------------------------------------------------------


class CountedScorer:
    """Scores by the length of the text, and counts how often it is asked."""

    name = "counted"

    def __init__(self) -> None:
        self.asked = 0

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        self.asked += 1
        return [np.array([len(r.text) for r in page.results], np.float32) for page in pages]


def same_items(ours: Sequence[PageItems], theirs: Sequence[PageItems]) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(ours, theirs, strict=True)
        for part in ("query", "item", "numbers", "group")
    )


def test_scored_once_is_the_scorer(world: World) -> None:
    plain, counted = CountedScorer(), CountedScorer()
    once = ScoredOnce(counted)
    assert once.name == "counted"
    first, second, again = world.test[:3], world.test[3:6], world.test[:3]
    turned = first[::-1]
    for pages in (first, second, again, turned, first[:2], [], first):
        found = once.score(pages)
        assert [a.tolist() for a in found] == [a.tolist() for a in plain.score(pages)]
    assert counted.asked == 7
    once.score(list(first))  # another list of the same pages
    assert counted.asked == 7


def test_pages_of_the_same_name_are_not_taken_for_each_other() -> None:
    once = ScoredOnce(CountedScorer())
    short, long = (Page(Query("q", "words"), (Result("a", TEXT, text),)) for text in ("a", "abc"))
    assert [float(once.score([page])[0][0]) for page in (short, long, short)] == [1.0, 3.0, 1.0]


def test_read_once_is_the_featurizer(world: World, watched: Watched) -> None:
    once = watched.outcome.model.featurizer
    assert isinstance(once, ReadOnce)
    plain = Featurizer(once.upstream, once.vectors, once.known, once.scale, once.vector_scale, once.read_as)
    first, second = world.test[:3], world.test[3:6]
    for pages in (first, second, first, first[::-1], first[:2], first):
        assert same_items(once.read(pages), plain.read(pages))
    assert once.read(first) is once.read(list(first))
    assert not same_items(once.read(first), once.read(second))


def test_read_once_with_scores_neither_uses_nor_leaves_a_memory(world: World, watched: Watched) -> None:
    once = ReadOnce.of(watched.outcome.model.featurizer)
    pages = world.test[:3]
    scores = [np.arange(len(page), dtype=np.float32) for page in pages]
    before = once.read(pages)
    given = once.read(pages, scores)
    assert same_items(given, Featurizer.read(once, pages, scores))
    assert not same_items(given, before)
    assert once.read(pages) is before


# --- what the table says ----------------------------------------------------------------------------------------------


def test_ndcg_is_what_ir_measures_says(world: World, watched: Watched) -> None:
    qrels = [
        ir_measures.Qrel(page.query_id, result_id, int(grade))
        for page in world.test
        for result_id, grade in world.test_said.by_result(page.query_id).items()
    ]
    for row in watched.outcome.rows:
        run = [
            ir_measures.ScoredDoc(ranking.query_id, result_id, float(-place))
            for ranking in watched.outcome.rankings[row.ranker]
            for place, result_id in enumerate(ranking.result_ids)
        ]
        wanted = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
        assert row.ndcg == pytest.approx(wanted, abs=1e-9)


def test_cross_pair_accuracy_by_brute_force(world: World, watched: Watched) -> None:
    row = next(row for row in watched.outcome.rows if row.ranker == "zscore")
    values = []
    for ranking, page in zip(watched.outcome.rankings["zscore"], world.test, strict=True):
        grade, place = world.test_said.by_result(page.query_id), ranking.positions()
        right = [
            place[a.result_id] < place[b.result_id]
            for a in page.results
            for b in page.results
            if a.modality is not b.modality and grade[a.result_id] > grade[b.result_id]
        ]
        if right:
            values.append(sum(right) / len(right))
    assert row.cross_pair_accuracy == pytest.approx(sum(values) / len(values))


def test_only_the_reference_is_not_compared_with_itself(watched: Watched) -> None:
    rows = {row.ranker: row for row in watched.outcome.rows}
    assert [name for name, row in rows.items() if row.p_holm is None] == [REFERENCE]
    assert [name for name, row in rows.items() if row.difference is None] == [REFERENCE]
    for name, row in rows.items():
        if row.difference is not None and row.p_holm is not None:
            assert abs(row.difference) == pytest.approx(abs(row.ndcg - rows[REFERENCE].ndcg)), name
            assert 0 < row.p_holm <= 1


def made_up(pages: Sequence[Page], *, best_first: Judgments | None = None) -> list[Ranking]:
    def key(page: Page, result_id: str) -> float:
        return -best_first.by_result(page.query_id)[result_id] if best_first else 0.0

    return [Ranking(p.query_id, tuple(sorted(p.result_ids, key=lambda i, p=p: key(p, i)))) for p in pages]  # type: ignore[misc]


def test_a_perfect_order_measures_one(world: World) -> None:
    rankings = {REFERENCE: made_up(world.test, best_first=world.test_said), "raw": made_up(world.test)}
    best, other = measure(rankings, world.test, world.test_said, {REFERENCE: 5, "raw": 0}, SETTINGS)
    assert (best.ranker, best.ndcg, best.cross_pair_accuracy, best.labels) == (REFERENCE, 1.0, 1.0, 5)
    assert other.ndcg < 1.0
    assert other.difference is not None
    assert abs(other.difference) == pytest.approx(1.0 - other.ndcg)


def test_measure_reads_no_grade_of_other_pages(world: World) -> None:
    rankings = {REFERENCE: made_up(world.test, best_first=world.test_said), "raw": made_up(world.test)}
    labels = dict.fromkeys(rankings, 0)
    more = world.test_said.merge(world.train_said)
    assert measure(rankings, world.test, more, labels, SETTINGS) == measure(
        rankings, world.test, world.test_said, labels, SETTINGS
    )


def test_measure_without_the_reference_or_with_a_page_missing(world: World) -> None:
    whole = made_up(world.test)
    with pytest.raises(InputError, match="smar_10"):
        measure({"raw": whole}, world.test, world.test_said, {"raw": 0}, SETTINGS)
    with pytest.raises(InputError, match=re.escape(repr(world.test[0].query_id))):
        measure({REFERENCE: whole[1:], "raw": whole}, world.test, world.test_said, {REFERENCE: 0, "raw": 0}, SETTINGS)


def test_a_query_in_training_and_test_is_refused(world: World) -> None:
    both = [*world.test, world.train[0]]
    with pytest.raises(InputError, match=re.escape(repr(world.train[0].query_id))):
        compare(world.train, world.train_said, both, world.test_said, vectors(), SETTINGS)


def test_the_same_seed_gives_the_same_rows(world: World, watched: Watched) -> None:
    again = compare(world.train, world.train_said, world.test, world.test_said, vectors(), SETTINGS)
    assert again.rows == watched.outcome.rows
    assert again.rankings == watched.outcome.rankings


def test_cross_validation_measures_every_test_page_once(world: World) -> None:
    pages = [*world.train, *world.test]
    said = world.train_said.merge(world.test_said)
    settings = Settings(shares=(0.1,), towers=SETTINGS.towers, smar=SETTINGS.smar)
    folds = [(pages[14:], pages[:14]), (pages[:14], pages[14:])]  # unequal, so that labels have something to average
    trained: list[Trained] = []

    def noted(*args: Any, **more: Any) -> Trained:
        trained.append(train_rankers(*args, **more))
        return trained[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wholepage.apps.comparison.train_rankers", noted)
        outcome = cross_validate(folds, said, vectors(), settings)
    assert [page.query_id for page in outcome.pages] == [page.query_id for page in pages]
    for given in outcome.rankings.values():
        assert [ranking.query_id for ranking in given] == [page.query_id for page in pages]
    one, other = (t.labels for t in trained)
    assert one["sft_100"] == sum(map(len, pages[14:]))
    assert other["sft_100"] == sum(map(len, pages[:14]))
    for row in outcome.rows:
        assert abs(row.labels - (one[row.ranker] + other[row.ranker]) / 2) <= 0.5, row.ranker
    assert "smar_30" not in outcome.rankings
    by_hand = measure(outcome.rankings, pages, said, {row.ranker: row.labels for row in outcome.rows}, settings)
    assert by_hand == outcome.rows
    assert MEASURE == "nDCG@10"
