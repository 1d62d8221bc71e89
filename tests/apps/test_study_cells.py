"""One cell of a study: who may see what, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.apps import study_cells
from wholepage.apps.study_cells import Done, dealt_anew, measure_cell, measured, run_cell
from wholepage.apps.study_ground import Ground, Side, load, prepare
from wholepage.apps.study_recipe import Cell, Method
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments, Question, Verdict
from wholepage.pages.model import Modality
from wholepage.pages.protocols import ranking_of
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.matching import ResultVectors
from wholepage.training.context_aware import fit_context_aware
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

ONCE = LoopConfig(epochs=1)
SMAR = SmarConfig(members=2, keep=8, loop=ONCE)
WORLD = Synthetic(24, seed=3, results_per_modality=(4, 5))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, hashed_words: TextEncoder) -> Path:
    folder = tmp_path_factory.mktemp("grounds")
    prepare(
        {0: folder / "whole"},
        (list(WORLD.pages("train")), WORLD.judgments("train")),
        (list(WORLD.pages("dev")), WORLD.judgments("dev")),
        ResultVectors(hashed_words),
        TowerConfig(folds=2, loop=ONCE, teacher_loop=ONCE),
        SMAR,
        folder=folder / "checkpoints",
    )
    return folder / "whole"


@pytest.fixture(scope="module")
def ground(place: Path) -> Ground:
    return load(place)


def cell(method: Method, share: float = 0.2, strategy: str = "concentrated(p=0.2)", **changes: object) -> Cell:
    form = {"smar": "listwise", "align_only": "listwise", "sft": "none"}.get(method, "")
    made = Cell("cost", method, "", strategy, share, form, 0.0, 0, 0, 0)
    return msgspec.structs.replace(made, **changes)


METHODS: tuple[Method, ...] = ("smar", "sft", "lambdamart", "context", "isotonic")
FREE: tuple[Method, ...] = ("align_only", "zscore", "minmax", "rrf", "raw", "round_robin")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_measures_every_query(ground: Ground, method: Method) -> None:
    done = measure_cell(ground, cell(method), SMAR)
    assert set(done.queries) == {page.query_id for page in ground.test.pages}
    assert 0 < done.labels <= 0.2 * done.full_labels
    assert all(0 <= one.ndcg <= 1 and 0 <= one.cross_right <= one.cross_pairs for one in done.queries.values())
    assert done == measure_cell(ground, cell(method), SMAR)


@pytest.mark.parametrize("method", FREE)
def test_methods_without_labels_pay_nothing_and_see_none(ground: Ground, method: Method) -> None:
    done = measure_cell(ground, cell(method, 0.0, ""), SMAR)
    assert done.labels == 0
    blind = replace(ground, train=replace(ground.train, judgments=Judgments()))
    assert measure_cell(blind, cell(method, 0.0, ""), SMAR).queries == done.queries


@pytest.mark.parametrize("method", METHODS)
def test_grades_that_were_not_bought_change_nothing(ground: Ground, method: Method) -> None:
    """Every grade is exchanged for another, but for those of the pages on which something was bought."""
    from wholepage.annotation.selection import parse_strategy, select

    strategy = "concentrated(p=0.2)"
    bought = select(ground.train.pages, ground.train.teachers(), parse_strategy(strategy), seed=0).bought
    said = {
        page.query_id: {
            i: grade if i in bought[page.query_id] else 3 - grade
            for i, grade in ground.train.judgments.by_result(page.query_id).items()
        }
        for page in ground.train.pages
    }
    other = replace(ground, train=replace(ground.train, judgments=Judgments.from_mapping(said)))
    assert measure_cell(other, cell(method), SMAR).queries == measure_cell(ground, cell(method), SMAR).queries


@pytest.mark.parametrize("method", ["smar", "sft", "lambdamart"])
@pytest.mark.parametrize("strategy", ["active(p=0.3)", "anchors(p=0.2)"])
def test_strategies_that_go_by_answers_see_only_those_they_paid_for(
    ground: Ground, method: Method, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not asked for is exchanged: then the same is asked, and the same comes out."""
    asked: set[tuple[str, str]] = set()
    answer = PerfectAnnotator.answer

    def recorded(self: PerfectAnnotator, question: Question) -> Verdict:
        asked.add((question.page.query_id, question.left_id))
        return answer(self, question)

    monkeypatch.setattr(PerfectAnnotator, "answer", recorded)
    wanted = cell(method, strategy=strategy)
    done = measure_cell(ground, wanted, SMAR)
    assert len(asked) == done.labels < done.full_labels
    paid = set(asked)
    said = {
        page.query_id: {
            i: grade if (page.query_id, i) in paid else 3 - grade
            for i, grade in ground.train.judgments.by_result(page.query_id).items()
        }
        for page in ground.train.pages
    }
    asked.clear()
    other = replace(ground, train=replace(ground.train, judgments=Judgments.from_mapping(said)))
    assert measure_cell(other, wanted, SMAR) == done
    assert asked == paid


@pytest.mark.parametrize("strategy", ["anchors(p=0.2)", "active(p=0.2)", "top(p=0.2)", "window(lo=0.0, hi=0.2)"])
def test_every_strategy_keeps_the_budget(ground: Ground, strategy: str) -> None:
    done = measure_cell(ground, cell("smar", strategy=strategy), SMAR)
    assert 0 < done.labels <= 0.21 * done.full_labels


def test_a_doubt_that_heads_do_not_have_is_refused(ground: Ground) -> None:
    with pytest.raises(InputError, match="committee"):
        measure_cell(ground, cell("smar", strategy="active(p=0.2, by=entropy)"), SMAR)


def test_networks_of_the_context_aware_ranker_are_as_many_as_heads(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counted(*given: Any, **named: Any) -> Any:
        made = fit_context_aware(*given, **named)
        counts.append(len(made.nets))
        return made

    monkeypatch.setattr(study_cells, "fit_context_aware", counted)
    measure_cell(ground, cell("context"), SMAR)
    assert counts == [SMAR.members]


def test_a_cell_that_cannot_be_done_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cell smar, active\(p=0.2, by=entropy\), seed 4, fold 0: .*committee"):
        run_cell(place, cell("smar", strategy="active(p=0.2, by=entropy)", seed=4), SMAR, tmp_path / "cell.json")
    assert not (tmp_path / "cell.json").exists()


def test_all_labels_are_all(ground: Ground) -> None:
    done = measure_cell(ground, cell("sft", 1.0, ""), SMAR)
    assert done.labels == done.full_labels == len(ground.train.judgments)


def test_the_seed_matters(ground: Ground) -> None:
    one, other = (measure_cell(ground, cell("smar", seed=seed), SMAR).queries for seed in (0, 1))
    assert one != other


def test_worse_teachers_hold_the_same_scores_elsewhere(ground: Ground) -> None:
    side = ground.train
    assert dealt_anew(side, 0.0, 0) is side
    for share in (0.5, 1.0):
        worse = dealt_anew(side, share, 0)
        moved = 0
        for page, scores, other in zip(side.pages, side.taught, worse.taught, strict=True):
            for modality in page.modalities:
                mine = [r.modality is modality for r in page.results]
                np.testing.assert_array_equal(np.sort(scores[mine]), np.sort(other[mine]))
            moved += int((scores[~np.isnan(scores)] != other[~np.isnan(scores)]).sum())
        total = sum(int((~np.isnan(scores)).sum()) for scores in side.taught)
        assert 0.4 * share * total < moved <= share * total + len(side.pages) * len(Modality)
    np.testing.assert_array_equal(dealt_anew(side, 0.5, 7).taught[0], dealt_anew(side, 0.5, 7).taught[0])


def test_worse_teachers_are_worse(ground: Ground) -> None:
    done = measure_cell(ground, cell("smar", shuffled=1.0), SMAR)
    assert done.queries != measure_cell(ground, cell("smar"), SMAR).queries


def test_a_perfect_order_is_measured_as_one(ground: Ground) -> None:
    side: Side = ground.test
    by = [side.judgments.by_result(page.query_id) for page in side.pages]
    best = [
        ranking_of(page, np.array([of[i] for i in page.result_ids]), "best")
        for page, of in zip(side.pages, by, strict=True)
    ]
    for one in measured(best, side).values():
        assert one.cross_right == one.cross_pairs
        assert one.ndcg == pytest.approx(1.0) or one.ndcg == 0.0


def test_a_cell_is_kept_whole(place: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(2)]
    for file in files:
        run_cell(place, cell("smar"), SMAR, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    done = msgspec.json.decode(files[0].read_bytes(), type=Done)
    assert done.cell == cell("smar").work
    assert done.queries == measure_cell(load(place), cell("smar"), SMAR).queries
