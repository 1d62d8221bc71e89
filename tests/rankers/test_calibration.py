"""Calibration against scikit-learn, its promises, and the ranker that carries it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.pages.model import Modality, Page, Query
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.features import Featurizer
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.tower import Tower, TowerReader, TowerScorer
from wholepage.rankers.weights import load_model, read_manifest, save_model
from wholepage.rankers.whole_page import PageHead, WholePageRanker, head_spread

TEXT, IMAGE, VIDEO, ANSWER = Modality
nan = math.nan


def drawn(count: int, slope: float, intercept: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores, and grades of 0 and 2 drawn with the planted probability."""
    random = np.random.default_rng(seed)
    scores = random.normal(2.0, 3.0, count).astype(np.float32)
    chance = 1 / (1 + np.exp(-(slope * scores + intercept)))
    return scores, np.where(random.random(count) < chance, 2, 0).astype(np.float32)


def platt_by_sklearn(scores: Any, grades: Any, weights: Any = None) -> tuple[float, float]:
    """The same map: each result twice, with its smoothed target as weight of being relevant."""
    trust = np.ones(len(scores)) if weights is None else weights
    yes = grades >= 1
    up, down = trust[yes].sum(), trust[~yes].sum()
    target = np.where(yes, (up + 1) / (up + 2), 1 / (down + 2))
    model = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
    both = np.concatenate([scores, scores]).astype(np.float64)[:, None]
    model.fit(both, [1] * len(scores) + [0] * len(scores), np.concatenate([trust * target, trust * (1 - target)]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


@pytest.mark.parametrize(("count", "slope", "intercept"), [(12, 0.8, -1.0), (500, 0.3, -3.0), (500, 4.0, 2.0)])
def test_the_map_is_that_of_scikit_learn(count: int, slope: float, intercept: float) -> None:
    scores, grades = drawn(count, slope, intercept)
    found = Calibration.fit(scores, grades)
    assert (found.slope, found.intercept) == pytest.approx(platt_by_sklearn(scores, grades), rel=1e-3, abs=1e-3)
    assert (found.threshold, found.labels) == (1.0, count)


def test_weights_count_as_so_many_results() -> None:
    scores, grades = drawn(80, 0.5, 0.0)
    weights = np.random.default_rng(1).uniform(0.1, 1.0, 80).astype(np.float32)
    found = Calibration.fit(scores, grades, weights=weights)
    assert (found.slope, found.intercept) == pytest.approx(
        platt_by_sklearn(scores, grades, weights), rel=1e-3, abs=1e-3
    )
    again = Calibration.fit(np.repeat(scores, 2), np.repeat(grades, 2), weights=np.full(160, 0.5, np.float32))
    plain = Calibration.fit(scores, grades)
    assert (again.slope, again.intercept) == pytest.approx((plain.slope, plain.intercept), rel=1e-6)


def test_it_finds_what_was_planted() -> None:
    found = Calibration.fit(*drawn(40_000, 0.7, -1.5))
    assert found.slope == pytest.approx(0.7, abs=0.03)
    assert found.intercept == pytest.approx(-1.5, abs=0.06)


def test_what_nobody_graded_is_left_out_and_order_does_not_matter() -> None:
    scores, grades = drawn(200, 0.7, -1.5)
    more = np.append(scores, [nan, 50.0]).astype(np.float32), np.append(grades, [nan, nan]).astype(np.float32)
    assert Calibration.fit(*more) == Calibration.fit(scores, grades)
    order = np.random.default_rng(0).permutation(200)
    turned = Calibration.fit(scores[order], grades[order])
    assert turned.slope == pytest.approx(Calibration.fit(scores, grades).slope, rel=1e-9)


def test_separable_scores_stay_finite() -> None:
    found = Calibration.fit(np.float32([1, 2, 3, 4]), np.float32([0, 0, 3, 3]))
    low, *_, high = found.probabilities(np.float32([1, 2, 3, 4]))
    assert 0 < low <= 0.26  # the smoothed target of two is 1 / 4
    assert 0.74 <= high < 1


def test_a_shift_and_a_stretch_of_the_scores_change_no_probability() -> None:
    scores, grades = drawn(300, 0.7, -1.5)
    plain, moved = Calibration.fit(scores, grades), Calibration.fit(1000 * scores + 5e4, grades)
    np.testing.assert_allclose(plain.probabilities(scores), moved.probabilities(1000 * scores + 5e4), atol=1e-3)


def test_no_order_changes() -> None:
    scores = np.sort(np.random.default_rng(0).normal(0, 30, 500)).astype(np.float32)
    given = Calibration(0.2, -1.0, 1.0).probabilities(scores)
    assert (np.diff(given) >= 0).all()
    assert given.min() >= 0
    assert given.max() <= 1


def test_entropy_is_that_of_a_coin() -> None:
    calibration, scores = Calibration(2.0, 0.5, 1.0), np.float32([-900, -2, -0.25, 0.3, 2, 900])
    p = 1 / (1 + np.exp(-(2.0 * scores[1:-1].astype(np.float64) + 0.5)))
    expected = [0.0, *(-p * np.log2(p) - (1 - p) * np.log2(1 - p)), 0.0]
    np.testing.assert_allclose(calibration.entropies(scores), expected, atol=1e-6)
    assert calibration.entropies(scores)[2] == 1.0


def test_like_gives_the_probabilities_of_the_other() -> None:
    scores, _ = drawn(400, 1.0, 0.0)
    teacher = Calibration(0.8, -1.0, 2.0, 77)
    student = Calibration.like(teacher, scores, 0.5 * scores + 3)
    assert (student.slope, student.intercept) == pytest.approx((1.6, -5.8), rel=1e-4)
    assert (student.threshold, student.labels) == (2.0, 77)


@pytest.mark.parametrize(
    ("scores", "grades", "error", "match"),
    [
        ([1, 2, 3], [0, 1], ShapeError, "allowed: \\[n\\] each"),
        ([[1, 2]], [[0, 1]], ShapeError, "allowed: \\[n\\] each"),
        ([1, 2, 3], [1, 1, 1], InputError, "got 3 relevant of 3 graded"),
        ([1, 2, 3], [0, 0, nan], InputError, "got 0 relevant of 2 graded"),
        ([1, 2], [nan, nan], InputError, "got 0 relevant of 0 graded"),
        ([1, nan, 3], [0, 1, 1], InputError, "not finite"),
        ([3, 2, 1, 0], [0, 0, 1, 1], InputError, "score no higher"),
        ([2, 2, 2], [0, 1, 0], InputError, "score no higher"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores: Any, grades: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Calibration.fit(np.array(scores, np.float32), np.array(grades, np.float32))


@pytest.mark.parametrize("numbers", [(0.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (nan, 0.0, 1.0), (1.0, math.inf, 1.0)])
def test_a_map_that_would_turn_the_order_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="a slope above 0"):
        Calibration(*numbers)


# ---------------------------------------------------------------- the ranker


@pytest.fixture(scope="module")
def pages(make_page: Any) -> list[Page]:
    kinds = [TEXT, IMAGE, VIDEO, TEXT, IMAGE, TEXT]  # a video is the only one of its modality
    made = [make_page(f"q{i}", kinds) for i in range(8)]
    return [
        Page(Query(p.query_id, p.query.text, user={"city": "rome" if i % 2 else "oslo", "age": float(i)}), p.results)
        for i, p in enumerate(made)
    ]


@pytest.fixture(scope="module")
def ranker(vectors: ResultVectors, pages: list[Page]) -> WholePageRanker:
    reader = TowerReader.fit(vectors, pages, ())
    torch.manual_seed(0)
    tower = TowerScorer(
        TEXT, reader, [Tower(16, reader.vector_scale.dim, 4, rank=4, hidden=3)], also=[IMAGE, VIDEO, ANSWER]
    )
    upstream = SingleModal(dict.fromkeys(Modality, tower))
    featurizer = Featurizer.fit(upstream, vectors, pages, upstream.score(pages), ("clicks",), {ANSWER: TEXT}, keep=10)
    sizes = {"width": 16, "heads": 2, "user_dim": featurizer.users.dim}
    heads = [PageHead(16, 10, len(featurizer.scale.names), **sizes) for _ in range(3)]
    for head in heads:
        torch.nn.init.normal_(head.user_gain.weight)
    return WholePageRanker(featurizer, heads)


@pytest.fixture(scope="module")
def calibrated(ranker: WholePageRanker) -> WholePageRanker:
    return ranker.calibrated(Calibration(1.7, -0.1, 2.0, 30))


def test_probabilities_are_ordered_as_the_scores(calibrated: WholePageRanker, pages: list[Page]) -> None:
    for scores, given in zip(calibrated.score(pages), calibrated.probabilities(pages), strict=True):
        np.testing.assert_allclose(given, 1 / (1 + np.exp(-(1.7 * scores.astype(np.float64) - 0.1))), atol=1e-6)
        np.testing.assert_array_equal(np.argsort(given), np.argsort(scores))


def test_calibration_changes_no_ranking(calibrated: WholePageRanker, ranker: WholePageRanker, pages: Any) -> None:
    assert calibrated.rank(pages) == ranker.rank(pages)
    assert ranker.calibration is None
    assert calibrated.name == ranker.name


def test_doubts_by_committee_and_by_entropy(calibrated: WholePageRanker, make_page: Any, pages: list[Page]) -> None:
    asked = [*pages, Page(Query("none", "red")), make_page("long", [TEXT, IMAGE, VIDEO, ANSWER] * 50)]
    items = calibrated.featurizer.read(asked)
    assert calibrated.calibration is not None
    for page, found, std in zip(asked, calibrated.doubts(asked), head_spread(calibrated.heads, items)[1], strict=True):
        assert found.shape == (len(page),)
        np.testing.assert_array_equal(found, std)
    for found, scores in zip(calibrated.doubts(asked, "entropy"), calibrated.score(asked), strict=True):
        np.testing.assert_array_equal(found, calibrated.calibration.entropies(scores))
    for by in ("committee", "entropy"):
        for page, found in zip(asked, calibrated.doubts(asked, by), strict=True):
            np.testing.assert_allclose(calibrated.doubts([page], by)[0], found, atol=1e-5)


def test_what_it_cannot_tell_is_refused(ranker: WholePageRanker, pages: list[Page]) -> None:
    with pytest.raises(InputError, match="asked for probabilities without a calibration"):
        ranker.probabilities(pages)
    with pytest.raises(InputError, match="asked for entropy without a calibration"):
        ranker.doubts(pages, "entropy")
    with pytest.raises(InputError, match="got 1 heads; allowed: 2 or more"):
        WholePageRanker(ranker.featurizer, ranker.heads[:1]).doubts(pages)
    with pytest.raises(InputError, match="doubts by 'margin'; allowed: 'committee', 'entropy'"):
        ranker.doubts(pages, "margin")  # type: ignore[arg-type]


def test_a_saved_ranker_keeps_users_and_calibration(
    calibrated: WholePageRanker, vectors: ResultVectors, pages: list[Page], make_page: Any, tmp_path: Path
) -> None:
    calibrated.save(tmp_path / "m")
    again = WholePageRanker.load(tmp_path / "m", vectors)
    assert again.calibration == calibrated.calibration
    assert again.featurizer.users.fields == calibrated.featurizer.users.fields
    asked = [*pages, make_page("nobody", [TEXT, IMAGE])]
    for first, second in zip(calibrated.probabilities(asked), again.probabilities(asked), strict=True):
        np.testing.assert_array_equal(first, second)
    stranger = Page(Query(pages[0].query_id, pages[0].query.text), pages[0].results)
    assert np.abs(again.score([stranger])[0] - again.score(pages[:1])[0]).max() > 1e-3


def test_a_folder_without_users_or_calibration_names_neither(
    ranker: WholePageRanker, vectors: ResultVectors, tmp_path: Path
) -> None:
    old = ranker.featurizer
    plain = Featurizer(old.upstream, vectors, old.known, old.scale, old.vector_scale, old.read_as)
    WholePageRanker(plain, [PageHead(16, 10, len(old.scale.names), width=16)]).save(tmp_path / "m")
    config = read_manifest(tmp_path / "m").config
    assert not {"users", "calibration"} & set(config)
    assert "user_dim" not in config["sizes"]
    assert WholePageRanker.load(tmp_path / "m", vectors).calibration is None


@pytest.mark.parametrize(
    "change",
    [
        {"users": []},
        {"users": [{"name": "age"}]},
        {"users": 3},
        {"calibration": {"slope": -1.0, "intercept": 0.0, "threshold": 1.0}},
        {"calibration": {"slope": 1.0}},
        {"calibration": "none"},
    ],
)
def test_settings_that_do_not_fit_the_heads_are_refused(
    change: dict[str, Any], calibrated: WholePageRanker, vectors: ResultVectors, tmp_path: Path
) -> None:
    calibrated.save(tmp_path / "m")
    config, arrays = load_model(tmp_path / "m", "whole-page")
    upstream = calibrated.featurizer.upstream
    save_model(tmp_path / "bad", "whole-page", json.loads(json.dumps({**config, "towers": {}, **change})), arrays)
    with pytest.raises(WeightsError):
        WholePageRanker.load(tmp_path / "bad", vectors, upstream)
