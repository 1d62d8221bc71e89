from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.rankers.lambdamart import LambdaMart, canonical

Rows = list[NDArray[np.floating]]
SMALL = {"n_estimators": 20}


def make(pages: int = 12, seed: int = 0) -> tuple[Rows, Rows]:
    rng = np.random.default_rng(seed)
    x: Rows = [rng.normal(size=(int(rng.integers(8, 15)), 3)) for _ in range(pages)]
    return x, [np.clip(np.round(rows[:, 0] * 1.5), 0, 3) for rows in x]


def test_it_learns_the_feature_that_matters() -> None:
    model = LambdaMart().fit(*make(30), seed=1)
    unseen, grades = make(5, seed=9)
    for scores, grade in zip(model.predict(unseen), grades, strict=True):
        assert scores.dtype == np.float32
        assert np.corrcoef(scores, grade)[0, 1] > 0.8


def test_row_order_does_not_matter() -> None:
    x, y = make()
    rng = np.random.default_rng(3)
    orders = [rng.permutation(len(rows)) for rows in x]
    shuffled = LambdaMart().fit(
        [rows[o] for rows, o in zip(x, orders, strict=True)],
        [grades[o] for grades, o in zip(y, orders, strict=True)],
        seed=1,
        params=SMALL,
    )
    plain = LambdaMart().fit(x, y, seed=1, params=SMALL)
    for a, b in zip(plain.predict(x), shuffled.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_canonical_rows_are_sorted_by_content() -> None:
    x, y = canonical(np.array([[2.0, 1], [1, 5], [2, 0], [1, 5]]), np.array([0.0, 3, 1, 2]))
    np.testing.assert_array_equal(x, [[1, 5], [1, 5], [2, 0], [2, 1]])
    np.testing.assert_array_equal(y, [2, 3, 1, 0])


def test_unlabelled_rows_and_pages_are_left_out() -> None:
    x, y = make()
    wider = [np.vstack([rows, np.full((2, 3), 99.0)]) for rows in x] + [np.ones((4, 3))]
    marked = [np.append(grades, [np.nan, np.nan]) for grades in y] + [np.full(4, np.nan)]
    a = LambdaMart().fit(x, y, seed=1, params=SMALL).predict(x)
    b = LambdaMart().fit(wider, marked, seed=1, params=SMALL).predict(x)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_grades_need_not_be_whole() -> None:
    x, y = make()
    whole = LambdaMart().fit(x, y, seed=1, params=SMALL).predict(x)
    shifted = LambdaMart().fit(x, [g * 0.5 for g in y], seed=1, params=SMALL).predict(x)
    assert any(not np.array_equal(a, b) for a, b in zip(whole, shifted, strict=True))  # gains follow the grades
    assert np.corrcoef(np.concatenate(shifted), np.concatenate(y))[0, 1] > 0.7


def test_threads_and_neighbours_do_not_change_a_page() -> None:
    x, y = make()
    one = LambdaMart(num_threads=1).fit(x, y, seed=1, params=SMALL)
    two = LambdaMart(num_threads=2).fit(x, y, seed=1, params=SMALL)
    for rows, a, b in zip(x, one.predict(x), two.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one.predict([rows])[0], a)


def test_empty_pages_get_empty_scores() -> None:
    model = LambdaMart().fit(*make(), seed=1, params=SMALL)
    assert [len(s) for s in model.predict([np.zeros((0, 3)), np.ones((2, 3)), np.zeros((0, 3))])] == [0, 2, 0]
    assert [len(s) for s in model.predict([np.zeros((0, 3))])] == [0]
    assert model.predict([]) == []


def test_save_and_load(tmp_path: Path) -> None:
    x, y = make()
    model = LambdaMart().fit(x, y, seed=1, params=SMALL)
    model.save(tmp_path / "m")
    for a, b in zip(model.predict(x), LambdaMart.load(tmp_path / "m").predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    config = json.loads((tmp_path / "m" / "manifest.json").read_text())["config"]
    assert (config["seed"], config["features"], config["params"]["n_estimators"]) == (1, 3, 20)
    (tmp_path / "m" / "model.txt").write_text("tree")
    with pytest.raises(WeightsError, match=r"model\.txt"):
        LambdaMart.load(tmp_path / "m")


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    x, y = make(2)
    with pytest.raises(InputError, match="without a grade"):
        LambdaMart().fit(x, [np.full(len(g), np.nan) for g in y], seed=1)
    with pytest.raises(InputError, match="negative"):
        LambdaMart().fit(x, [g - 5 for g in y], seed=1)
    with pytest.raises(ShapeError, match="2 pages and 1"):
        LambdaMart().fit(x, y[:1], seed=1)
    with pytest.raises(ShapeError, match="page 0"):
        LambdaMart().fit([x[0], x[1][:, :2]], y, seed=1)
    with pytest.raises(ShapeError, match="page 1"):
        LambdaMart().fit(x, [y[0], y[1][:-1]], seed=1)
    with pytest.raises(InputError, match="fit or load"):
        LambdaMart().predict(x)
    with pytest.raises(InputError, match="before save"):
        LambdaMart().save(tmp_path / "m")
    with pytest.raises(ShapeError, match=r"features\[0\]"):
        LambdaMart().fit(x, y, seed=1, params=SMALL).predict([np.ones((2, 4))])
