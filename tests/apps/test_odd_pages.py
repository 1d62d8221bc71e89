"""Pages as they come: four modalities, two hundred results, a modality with a single one, and one modality alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from wholepage.annotation.buying import buy
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.annotation.selection import parse_strategy
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Query
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

WORLD = Synthetic(24, seed=5, results_per_modality=(4, 6))
ONCE = LoopConfig(epochs=1)
SMAR = SmarConfig(members=2, keep=8, loop=ONCE)


def long_page(query_id: str, size: int) -> Page:
    """A page of so many results of all modalities: those of many queries under one."""
    results = [
        msgspec.structs.replace(result, result_id=f"{page.query_id}/{result.result_id}")
        for page in [*WORLD.pages("train"), *WORLD.pages("dev")]
        for result in page.results
    ]
    return Page(Query(query_id, next(iter(WORLD.pages("train"))).query.text), tuple(results[:size]))


def with_a_single(page: Page, modality: Modality, query_id: str) -> Page:
    """The page with one result of the modality."""
    kept = [r.result_id for r in page.results if r.modality is not modality]
    kept.append(page.only(modality).result_ids[0])
    return msgspec.structs.replace(page.keep(kept), query=msgspec.structs.replace(page.query, query_id=query_id))


@dataclass(frozen=True)
class Taught:
    pages: list[Page]
    said: Judgments
    fit: SingleModalFit
    vectors: ResultVectors
    ranker: WholePageRanker


@pytest.fixture(scope="module")
def taught(hashed_words: TextEncoder) -> Taught:
    usual = list(WORLD.pages("train"))
    said = WORLD.judgments("train")
    grades = {page.query_id: said.by_result(page.query_id) for page in usual}
    long = long_page("long", 200)
    grades["long"] = {r.result_id: float(i % 4) for i, r in enumerate(long.results)}
    single = with_a_single(usual[0], Modality.VIDEO, "single")
    alone = Page(Query("alone", usual[1].query.text), usual[1].only(Modality.ANSWER).results)
    for page, like in ((single, usual[0]), (alone, usual[1])):
        grades[page.query_id] = {i: grades[like.query_id][i] for i in page.result_ids}
    pages = [*usual, long, single, alone]
    judgments = Judgments.from_mapping(grades)
    vectors = ResultVectors(hashed_words)
    fit = fit_single_modal(pages, judgments, vectors, TowerConfig(folds=2, loop=ONCE, teacher_loop=ONCE))
    bought = buy(
        pages, fit.teachers, parse_strategy("concentrated(p=0.3)"), PerfectAnnotator(judgments), seed=0
    ).judgments
    return Taught(pages, judgments, fit, vectors, fit_smar(pages, bought, fit, vectors, SMAR))


def test_the_pages_are_odd(taught: Taught) -> None:
    kinds = {page.query_id: page.modalities for page in taught.pages}
    assert kinds["long"] == tuple(Modality)
    assert kinds["alone"] == (Modality.ANSWER,)
    by_id = {page.query_id: page for page in taught.pages}
    assert len(by_id["long"]) == 200
    assert len(by_id["single"].only(Modality.VIDEO)) == 1


def test_every_result_gets_a_place(taught: Taught) -> None:
    for page, ranking in zip(taught.pages, taught.ranker.rank(taught.pages), strict=True):
        ranking.check(page)
        assert ranking.scores is not None
        assert all(score is not None and np.isfinite(score) for score in ranking.scores)


def test_a_long_page_is_scored_whatever_stands_beside_it(taught: Taught) -> None:
    together = taught.ranker.score(taught.pages)
    for page, scores in zip(taught.pages, together, strict=True):
        np.testing.assert_allclose(taught.ranker.score([page])[0], scores, atol=1e-5)


def test_a_long_page_is_scored_in_any_order(taught: Taught) -> None:
    page = next(page for page in taught.pages if page.query_id == "long")
    order = np.random.default_rng(0).permutation(len(page))
    turned = Page(page.query, tuple(page.results[i] for i in order))
    np.testing.assert_allclose(taught.ranker.score([turned])[0], taught.ranker.score([page])[0][order], atol=1e-4)


def test_doubts_and_model_folders_know_odd_pages(taught: Taught, tmp_path: Path) -> None:
    taught.ranker.save(tmp_path / "model")
    loaded = WholePageRanker.load(tmp_path / "model", taught.vectors)
    for one, other in zip(loaded.score(taught.pages), taught.ranker.score(taught.pages), strict=True):
        np.testing.assert_array_equal(one, other)
    for page, doubt in zip(taught.pages, loaded.doubts(taught.pages), strict=True):
        assert doubt.shape == (len(page),)
        assert np.isfinite(doubt).all()


@pytest.mark.parametrize(
    "spec",
    ["top(p=0.1)", "bottom(p=0.1)", "window(lo=0.2, hi=0.4)", "random(p=0.1)", "spread(p=0.1)", "concentrated(p=0.1)",
     "whole_pages(p=0.3)", "anchors(p=0.3)", "active(p=0.3)"],
)  # fmt: skip
def test_every_strategy_buys_on_odd_pages(taught: Taught, spec: str) -> None:
    def doubts(so_far: Judgments) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        assert len(so_far)
        return taught.ranker.doubts(taught.pages)

    found = buy(
        taught.pages, taught.fit.teachers, parse_strategy(spec), PerfectAnnotator(taught.said), seed=1, doubts=doubts
    )
    everything = sum(map(len, taught.pages))
    assert 0 < found.labels <= parse_strategy(spec).p * everything + 1
    asked = {(query_id, i) for query_id, ids in found.selection.bought.items() for i in ids}
    for query_id, result_id in asked:
        assert found.judgments.by_result(query_id)[result_id] == taught.said.by_result(query_id)[result_id]
