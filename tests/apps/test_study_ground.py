"""What a study's cells stand on: pages thinned, read, kept and read back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from wholepage.apps.study_ground import Ground, content_of, load, prepare, teachers_of, thinned
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.errors import WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.matching import ResultVectors
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer

ONCE = LoopConfig(epochs=1)
TOWERS = TowerConfig(folds=2, loop=ONCE, teacher_loop=ONCE)
SMAR = SmarConfig(members=1, keep=8, loop=ONCE)
WORLD = Synthetic(20, seed=3, results_per_modality=(4, 5))
TRAIN, TEST = list(WORLD.pages("train")), list(WORLD.pages("dev"))


@pytest.fixture(scope="module")
def vectors(hashed_words: TextEncoder) -> ResultVectors:
    return ResultVectors(hashed_words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, vectors: ResultVectors) -> Path:
    folder = tmp_path_factory.mktemp("grounds")
    prepare(
        {0: folder / "whole", 4: folder / "thin"},
        (TRAIN, WORLD.judgments("train")),
        (TEST, WORLD.judgments("dev")),
        vectors,
        TOWERS,
        SMAR,
        folder=folder / "checkpoints",
    )
    return folder


@pytest.fixture(scope="module")
def ground(place: Path) -> Ground:
    return load(place / "whole")


def test_what_is_kept_is_what_was_read(ground: Ground, vectors: ResultVectors) -> None:
    fit = fit_single_modal(TRAIN, WORLD.judgments("train"), vectors, TOWERS)
    featurizer = fit_featurizer(TRAIN, fit, vectors, SMAR)
    assert [page.result_ids for page in ground.train.pages] == [page.result_ids for page in TRAIN]
    for kept, page in zip(ground.test.pages, TEST, strict=True):
        assert [r.modality for r in kept.results] == [r.modality for r in page.results]
    for kept, read in zip(ground.train.items, featurizer.read(TRAIN, fit.out_of_fold), strict=True):
        for one, other in ((kept.query, read.query), (kept.item, read.item), (kept.numbers, read.numbers)):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(kept.group, read.group)
    for kept, read in zip(ground.test.items, featurizer.read(TEST), strict=True):
        np.testing.assert_array_equal(kept.numbers, read.numbers)
    for scores, given in zip(ground.train.single, fit.out_of_fold, strict=True):
        np.testing.assert_array_equal(scores, given)
    for kept, by in zip(ground.train.teachers(), fit.teachers, strict=True):
        assert {m: r.result_ids for m, r in kept.items()} == {m: r.result_ids for m, r in by.items()}


def test_what_people_said_is_kept(ground: Ground) -> None:
    for side, split in ((ground.train, "train"), (ground.test, "dev")):
        said = WORLD.judgments(split)
        for page in side.pages:
            assert side.judgments.by_result(page.query_id) == said.by_result(page.query_id)


def test_nobody_teaches_on_the_test_side(ground: Ground) -> None:
    assert all(np.isnan(scores).all() for scores in ground.test.taught)
    assert ground.test.teachers() == [{} for _ in TEST]


def test_thinned_grounds_hold_thinned_pages(place: Path) -> None:
    thin = load(place / "thin")
    assert [page.result_ids for page in thin.train.pages] == [thinned(page, 4).result_ids for page in TRAIN]
    assert [len(of) for of in thin.test.items] == [len(thinned(page, 4)) for page in TEST]
    for page, by in zip(thin.train.pages, thin.train.teachers(), strict=True):
        for modality, ranking in by.items():
            ranking.check(page.only(modality))


def test_a_damaged_ground_is_refused(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "whole", copy)
    arrays = next(copy.glob("*.safetensors"))
    data = arrays.read_bytes()
    arrays.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsError):
        load(copy)


def page_of(texts: int, images: int) -> Page:
    results = [Result(f"t{i}", Modality.TEXT, "a") for i in range(texts)]
    results += [Result(f"a{i}", Modality.ANSWER, "b") for i in range(images)]
    return Page(Query("q"), tuple(results))


@pytest.mark.parametrize(("ratio", "left"), [(0, 9), (1, 9), (2, 6), (4, 3), (12, 1), (100, 1)])
def test_thinning_keeps_the_commonest_whole(ratio: int, left: int) -> None:
    thin = thinned(page_of(12, 9), ratio)
    assert len(thin.only(Modality.TEXT)) == 12
    assert len(thin.only(Modality.ANSWER)) == left


def test_thinning_depends_on_nothing_but_ids() -> None:
    page = page_of(12, 9)
    turned = Page(page.query, page.results[::-1])
    assert set(thinned(page, 4).result_ids) == set(thinned(turned, 4).result_ids)
    assert thinned(page_of(3, 0), 4) == page_of(3, 0)


def test_content_tells_pages_and_grades_apart() -> None:
    page = page_of(2, 1)
    said = Judgments.from_mapping({"q": {"t0": 1}})
    assert content_of([page], said) == content_of([page], said)
    assert content_of([page], said) != content_of([page], Judgments())
    assert content_of([page], said) != content_of([thinned(page_of(2, 2), 0)], said)


def test_only_those_who_teach_have_an_order() -> None:
    page = page_of(2, 2)
    scores = np.array([1.0, 2.0, 3.0, np.nan], np.float32)
    found = teachers_of(page, scores, [Modality.TEXT, Modality.VIDEO])
    assert {m: r.result_ids for m, r in found.items()} == {Modality.TEXT: ("t1", "t0")}
