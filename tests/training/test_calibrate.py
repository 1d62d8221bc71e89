"""Calibration by cross-fitting, and user features, on the planted world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from wholepage.pages.errors import InputError, PageError, WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Query
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.page_head import head_scores
from wholepage.training.calibrate import CalibrateConfig, cross_fitted_scores, fit_calibration
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_smar

TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
TOWER_LOOP = LoopConfig(epochs=20, batch_size=16, learning_rate=0.02)
TOWERS = TowerConfig(folds=2, rank=8, hidden=8, dropout=0.0, loop=TOWER_LOOP, teacher_loop=TOWER_LOOP)
CONFIG = SmarConfig(
    members=1, width=16, layers=1, heads=2, dropout=0.0, loop=LoopConfig(epochs=20, batch_size=8, learning_rate=5e-3)
)
SHORT = msgspec.structs.replace(CONFIG, loop=LoopConfig(epochs=2, batch_size=16))
TWO = CalibrateConfig(folds=2, threshold=3.0)
SIZES = {TEXT: 6, IMAGE: 5, VIDEO: 1}


def only(judgments: Judgments, query_ids: Sequence[str]) -> Judgments:
    return Judgments.from_mapping({q: judgments.by_result(q) for q in query_ids if judgments.by_result(q)})


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(60, SIZES)


@pytest.fixture(scope="module")
def vectors(planted: SimpleNamespace) -> Any:
    return planted.fake_vectors()


@pytest.fixture(scope="module")
def fit(made: Any, vectors: Any) -> SingleModalFit:
    return fit_single_modal(made.pages, made.single(), vectors, TOWERS)


@pytest.fixture(scope="module")
def bought(made: Any) -> Judgments:
    """Some results of two pages in three."""
    some = made.lifted({IMAGE: 2}, share=0.5)
    return only(some, [page.query_id for i, page in enumerate(made.pages) if i % 3])


def test_every_judged_page_is_scored_by_heads_that_have_not_seen_it(
    made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments
) -> None:
    found = cross_fitted_scores(made.pages, bought, fit, vectors, SHORT, TWO)
    graded = [bool(bought.by_result(page.query_id)) for page in made.pages]
    assert [not np.isnan(scores).any() for scores in found] == graded
    # Other grades of one page move the scores of the other fold's pages, and no score of its own fold's.
    judged = [i for i, is_graded in enumerate(graded) if is_graded]
    first = judged[0]
    grades = {q: dict(bought.by_result(q)) for q in bought.query_ids}
    turned = {i: 5 - grade for i, grade in grades[made.pages[first].query_id].items()}
    changed = Judgments.from_mapping({**grades, made.pages[first].query_id: turned})
    again = cross_fitted_scores(made.pages, changed, fit, vectors, SHORT, TWO)
    held = [i for i in judged if (found[i] == again[i]).all()]
    assert first in held
    assert len(held) == len(judged) // 2
    # The head that scored that fold, trained by hand without its pages.
    rows = [i for i in range(len(made.pages)) if i not in held]
    pages, kept = [made.pages[i] for i in rows], only(bought, [made.pages[i].query_id for i in rows])
    featurizer = fit_featurizer(made.pages, fit, vectors, SHORT)
    one = fit_smar(pages, kept, fit.subset(rows), vectors, SHORT, featurizer=featurizer)
    items = featurizer.read([made.pages[i] for i in held], [fit.out_of_fold[i] for i in held])
    for i, expected in zip(held, head_scores(one.heads, items), strict=True):
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def test_it_repeats_itself_and_resumes(
    made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments, tmp_path: Path
) -> None:
    first = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO, folder=tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["fold-0", "fold-1"]
    resumed = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO, folder=tmp_path / "a")
    again = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO)
    assert first == resumed == again
    longer = msgspec.structs.replace(SHORT, loop=LoopConfig(epochs=3, batch_size=16))
    with pytest.raises(WeightsError, match="another run"):
        fit_calibration(made.pages, bought, fit, vectors, longer, TWO, folder=tmp_path / "a")


def test_probabilities_of_new_pages_are_what_they_say(
    made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments, planted: SimpleNamespace
) -> None:
    held = planted.world(60, SIZES, prefix="held")
    truth = held.lifted({IMAGE: 2})
    calibration = fit_calibration(made.pages, bought, fit, vectors, CONFIG, CalibrateConfig(folds=3, threshold=3.0))
    assert calibration.threshold == 3.0
    assert calibration.labels == sum(len(bought.by_result(q)) for q in bought.query_ids)
    ranker = fit_smar(made.pages, bought, fit, vectors, CONFIG).calibrated(calibration)
    given = np.concatenate(ranker.probabilities(held.pages))
    hits = np.concatenate([[truth.by_result(p.query_id)[i] >= 3 for i in p.result_ids] for p in held.pages])
    assert abs(given.mean() - hits.mean()) < 0.06
    base = hits.mean() * (1 - hits.mean())
    assert ((given - hits) ** 2).mean() < 0.85 * base
    # Hardly worse than the best map there is, the one fitted on the new pages' own labels.
    scores = np.concatenate(ranker.score(held.pages))
    best = Calibration.fit(scores, np.where(hits, 3, 0).astype(np.float32), threshold=3.0)

    def log_loss(p: Any) -> float:
        return float(-np.log(np.where(hits, p, 1 - p)).mean())

    assert log_loss(given.astype(np.float64)) < log_loss(best.probabilities(scores).astype(np.float64)) + 0.01


def test_a_fold_has_as_many_heads_as_asked(made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments) -> None:
    three, told = msgspec.structs.replace(SHORT, members=3), []

    def count(done: int, total: int, what: str) -> None:
        told.append(what)

    for members, expected in ((None, 3), (1, 1), (2, 2)):
        told.clear()
        asked = msgspec.structs.replace(TWO, members=members)
        cross_fitted_scores(made.pages, bought, fit, vectors, three, asked, progress=count)
        assert len(set(told)) == 2 * expected


def test_posteriors_weigh_grades(made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments) -> None:
    every = {q: dict.fromkeys(bought.by_result(q), 1.0) for q in bought.query_ids}
    plain = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO)
    same = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO, weights=every)
    assert (same.slope, same.intercept) == pytest.approx((plain.slope, plain.intercept), rel=1e-4, abs=1e-4)
    half = {q: {r: 0.1 if grade < 3 else 1.0 for r, grade in bought.by_result(q).items()} for q in every}
    other = fit_calibration(made.pages, bought, fit, vectors, SHORT, TWO, weights=half)
    assert other.intercept > plain.intercept


def test_too_little_to_calibrate_is_refused(made: Any, fit: SingleModalFit, vectors: Any, bought: Judgments) -> None:
    one = only(bought, [made.pages[1].query_id])
    with pytest.raises(InputError, match="got 1 judged pages among 60; allowed: 2 or more"):
        fit_calibration(made.pages, one, fit, vectors, SHORT, TWO)
    with pytest.raises(InputError, match="got 0 relevant of"):
        fit_calibration(made.pages, bought, fit, vectors, SHORT, CalibrateConfig(folds=2, threshold=9.0))
    with pytest.raises(PageError):
        fit_calibration(made.pages[:3], bought, fit.subset([0, 1, 2]), vectors, SHORT, TWO)


@pytest.mark.parametrize("bad", [{"folds": 1}, {"members": 0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match="allowed"):
        CalibrateConfig(**bad)


# ---------------------------------------------------------------- who asks


def asked_by_likes(pages: list[Page]) -> list[Page]:
    """Every other user likes pictures, the others texts."""
    return [
        Page(Query(p.query_id, p.query.text, user={"likes": "images" if i % 2 else "texts"}), p.results)
        for i, p in enumerate(pages)
    ]


def by_likes(made: Any, pages: list[Page]) -> Judgments:
    """Page grades in which the user's modality is lifted above the other."""
    lifted = {"images": made.lifted({IMAGE: 4}), "texts": made.lifted({TEXT: 4})}
    return Judgments.from_mapping({p.query_id: lifted[str(p.query.user["likes"])].by_result(p.query_id) for p in pages})


@pytest.mark.parametrize("layers", [0, 1])
def test_the_order_across_modalities_is_learned_from_who_asks(
    layers: int, made: Any, fit: SingleModalFit, vectors: Any, planted: SimpleNamespace
) -> None:
    config = msgspec.structs.replace(CONFIG, layers=layers)
    pages = asked_by_likes(made.pages)
    judgments = by_likes(made, pages)
    held = planted.world(30, SIZES, prefix="held")
    new = asked_by_likes(held.pages)
    truth = by_likes(held, new)
    knowing = fit_smar(pages, judgments, fit, vectors, config)
    assert knowing.featurizer.users.dim == 2
    blind = fit_smar(made.pages, judgments, fit, vectors, config)
    assert blind.featurizer.users.dim == 0
    told = planted.pair_accuracy(knowing.rank(new), new, truth, across=True)
    untold = planted.pair_accuracy(blind.rank(new), new, truth, across=True)
    assert told > 0.95
    assert untold < 0.75
    other = [Page(Query(p.query_id, p.query.text, user={"likes": "texts"}), p.results) for p in new]
    assert planted.pair_accuracy(knowing.rank(other), new, truth, across=True) < 0.75
