"""Who asks, as columns: learned from training pages, the same for anybody who reads them later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from wholepage.pages.errors import PageError, WeightsError
from wholepage.pages.model import Modality, Page, Query
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.users import MOST_VALUES, UserColumns, UserField


def page_of(index: int, user: Mapping[str, float | str]) -> Page:
    return Page(Query(f"q{index}", "red shoe", user=dict(user)))


def fitted(*users: Mapping[str, float | str]) -> UserColumns:
    return UserColumns.fit([page_of(i, user) for i, user in enumerate(users)])


def test_a_number_is_squeezed_and_scaled_by_its_middle_and_spread() -> None:
    ages = [3.0, 5.0, 8.0, 12.0, 20.0, 1000.0, -4.0]
    columns = fitted(*({"age": age} for age in ages))
    squeezed = np.sign(ages) * np.log1p(np.abs(ages))
    low, middle, high = np.quantile(squeezed, [0.1, 0.5, 0.9])
    assert columns.fields == (UserField("age"),)
    for age, value in zip(ages, squeezed, strict=True):
        [read] = columns.read(page_of(0, {"age": age}))
        assert read == pytest.approx((value - middle) / ((high - low) / 2), abs=1e-5)
    assert columns.read(page_of(0, {"age": 1e30})).tolist() == [5.0]
    assert columns.read(page_of(0, {})).tolist() == [0.0]


def test_a_number_that_some_lack_says_whether_it_is_known() -> None:
    columns = fitted({"age": 3.0}, {}, {"age": 9.0})
    assert columns.dim == 2
    assert columns.read(page_of(0, {"age": 9.0}))[1] == 1.0
    assert columns.read(page_of(0, {})).tolist() == [0.0, 0.0]


def test_a_string_has_one_column_a_value_and_a_new_value_reads_as_none() -> None:
    columns = fitted({"city": "rome"}, {"city": "oslo"}, {}, {"city": "rome"})
    assert columns.fields == (UserField("city", ("oslo", "rome")),)
    assert columns.read(page_of(0, {"city": "rome"})).tolist() == [0.0, 1.0]
    assert columns.read(page_of(0, {"city": "lima"})).tolist() == [0.0, 0.0]
    assert columns.read(page_of(0, {})).tolist() == [0.0, 0.0]


def test_only_the_most_frequent_values_have_columns() -> None:
    users = [{"id": f"u{i:03}"} for i in range(MOST_VALUES + 10)]
    columns = fitted(*users, {"id": "u073"}, {"id": "u072"})
    [field] = columns.fields
    assert len(field.values) == columns.dim == MOST_VALUES
    assert {"u073", "u072", "u000", "u061"} <= set(field.values)
    assert "u062" not in field.values


def test_what_does_not_vary_is_not_read_and_what_training_lacks_says_nothing() -> None:
    columns = fitted({"site": "shop", "age": 3.0}, {"site": "shop", "age": 3.0})
    assert columns.dim == 0
    assert columns.read(page_of(0, {"site": "news", "height": 2.0})).shape == (0,)
    assert fitted({}, {}).dim == 0
    assert fitted({"site": "shop"}, {}).dim == 1


def test_the_order_of_fields_and_pages_does_not_matter() -> None:
    users: list[dict[str, float | str]] = [{"b": 1.0, "a": "x"}, {"a": "y", "b": 7.0}, {"a": "x", "b": 3.0, "c": 2.0}]
    first, second = fitted(*users), fitted(*({k: u[k] for k in reversed(u)} for u in reversed(users)))
    assert [field.name for field in first.fields] == ["a", "b", "c"]
    assert first.fields == second.fields
    for user in users:
        np.testing.assert_array_equal(first.read(page_of(0, user)), second.read(page_of(0, user)))


def test_a_field_of_two_kinds_is_refused() -> None:
    with pytest.raises(PageError, match=r"'q1': user\['age'\]: got 'old'; allowed: a number"):
        fitted({"age": 3.0}, {"age": "old"})
    with pytest.raises(PageError, match=r"user\['city'\]: got 3.0; allowed: a string"):
        fitted({"city": "rome"}, {}).read(page_of(0, {"city": 3.0}))
    with pytest.raises(PageError, match=r"user\['age'\]: got '3'; allowed: a number"):
        fitted({"age": 3.0}, {}).read(page_of(0, {"age": "3"}))


def test_settings_and_arrays_bring_it_back() -> None:
    columns = fitted({"age": 3.0, "city": "rome"}, {"age": 40.0}, {"city": "oslo", "age": 7.0, "visits": 9.0})
    again = UserColumns.from_settings(json.loads(json.dumps(columns.settings())), columns.arrays())
    assert again.fields == columns.fields
    for user in ({"age": 11.0, "city": "oslo"}, {"visits": 1.0}, {}):
        np.testing.assert_array_equal(again.read(page_of(0, user)), columns.read(page_of(0, user)))
    nothing = UserColumns()
    assert nothing.settings() == []
    assert nothing.arrays() == {}
    assert UserColumns.from_settings([], {}).dim == 0


@pytest.mark.parametrize("settings", [[{"name": 3}], [{"name": "a", "kind": "x"}], "a", [{"name": "a"}, {"name": "b"}]])
def test_settings_that_describe_nothing_are_refused(settings: Any) -> None:
    one = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match="user columns"):
        UserColumns.from_settings(settings, {"users.centre": one, "users.spread": one})


def test_the_featurizer_reads_who_asks_beside_the_results(vectors: ResultVectors, make_page: Any) -> None:
    kinds = [Modality.TEXT, Modality.IMAGE]

    def asked(index: int, user: dict[str, float | str]) -> Page:
        page = make_page(f"q{index}", kinds)
        return Page(Query(page.query_id, page.query.text, user=user), page.results)

    users: list[dict[str, float | str]] = [{"city": "rome", "age": 3.0}, {"city": "oslo", "age": 9.0}, {"age": 4.0}]
    pages = [asked(i, user) for i, user in enumerate(users)]
    scores = [np.zeros(2, np.float32) for _ in pages]

    class Nothing:
        name = "nothing"

        def score(self, pages: Any) -> Any:
            return [np.zeros(len(page), np.float32) for page in pages]

    with_users = Featurizer.fit(Nothing(), vectors, pages, scores, ())
    without = Featurizer.fit(Nothing(), vectors, [make_page(f"q{i}", kinds) for i in range(3)], scores, ())
    assert with_users.users.dim == 3
    assert without.users.dim == 0
    for page, items, plain in zip(pages, with_users.read(pages), without.read(pages), strict=True):
        np.testing.assert_array_equal(items.user, with_users.users.read(page))
        assert plain.user.shape == (0,)
        for name in ("query", "item", "numbers", "group"):
            np.testing.assert_array_equal(getattr(items, name), getattr(plain, name))
