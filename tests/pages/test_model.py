"""The nouns: their rules, and the small things they can do."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages import DecodingError, ImageRef, InputError, Modality, Page, PageError, Query, Ranking, Result

QUERY = Query("q", "red shoes")


def text(result_id: str) -> Result:
    return Result(result_id, Modality.TEXT, f"text of {result_id}")


def picture(result_id: str, modality: Modality = Modality.IMAGE) -> Result:
    return Result(result_id, modality, images=(ImageRef(f"{result_id}.png"),))


PAGE = Page(QUERY, (text("c"), picture("a"), text("b"), picture("v", Modality.VIDEO)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ImageRef(""), "empty address"),
        (lambda: Query(""), "empty id"),
        (lambda: Query("q", user={"age": math.nan}), r"user\['age'\].*nan"),
        (lambda: Result("", Modality.TEXT, "x"), "empty id"),
        (lambda: Result("a", Modality.TEXT), "neither text nor images"),
        (lambda: Result("a", Modality.IMAGE, "a caption"), "'image' without images"),
        (lambda: Result("a", Modality.VIDEO, "a transcript"), "'video' without images"),
        (lambda: Result("a", Modality.TEXT, "x", features={"clicks": math.inf}), r"features\['clicks'\].*inf"),
        (
            lambda: Page(QUERY, (text("a"), text("b"), text("a"))),
            r"results\[0\] and results\[2\] that share the id 'a'",
        ),
        (lambda: Ranking("q", ("a", "b", "a")), r"\['a'\] more than once"),
        (lambda: Ranking("q", ("a", "b"), (1.0,)), "1 scores for 2 results"),
        (lambda: Ranking("q", ("a", "b"), (1.0, math.nan)), "'b' got score nan"),
        (lambda: Ranking("q", ("a",), (-math.inf,)), "'a' got score -inf"),
        (lambda: PAGE.keep(["a", "z"]), r"\['z'\] that are not on the page"),
        (lambda: Result("a", "text", "x"), "modality 'text', a str"),
        (lambda: Result("a", Modality.TEXT, "x", features={"clicks": np.float32("nan")}), r"features\['clicks'\]"),
        (lambda: Ranking("q", ("a", "b")).top(-1), r"top\(-1\)"),
    ],
)
def test_a_broken_rule_says_what_was_got_and_what_is_allowed(make: Callable[[], object], said: str) -> None:
    with pytest.raises(PageError, match=said) as caught:
        make()
    assert "got " in str(caught.value)
    assert "; allowed: " in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InputError)


def test_texts_and_answers_may_have_pictures_and_pictures_may_have_no_text() -> None:
    assert Result("a", Modality.TEXT, images=(ImageRef("x.png"),)).text == ""
    assert Result("a", Modality.ANSWER, "so it is").images == ()
    assert picture("a").text == ""


def test_a_page_of_no_results_is_allowed() -> None:
    page = Page(QUERY)
    assert len(page) == 0
    assert page.result_ids == ()
    assert page.modalities == ()
    assert page.only(Modality.TEXT) == page


def test_only_and_keep_leave_the_order_received() -> None:
    assert PAGE.only(Modality.TEXT).result_ids == ("c", "b")
    assert PAGE.only(Modality.ANSWER).result_ids == ()
    assert PAGE.keep(["b", "a", "b"]).result_ids == ("a", "b")
    assert PAGE.keep([]).query is PAGE.query


def test_modalities_come_in_the_order_of_the_enum_whatever_the_page() -> None:
    turned = Page(QUERY, PAGE.results[::-1])
    assert PAGE.modalities == turned.modalities == (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)


def test_top_and_positions() -> None:
    ranking = Ranking("q", ("b", "a", "c"), (3.0, 2.0, None), "me")
    assert ranking.top(2) == Ranking("q", ("b", "a"), (3.0, 2.0), "me")
    assert ranking.top(9) == ranking
    assert ranking.top(0) == Ranking("q", (), (), "me")
    assert Ranking("q", ("b", "a")).top(1) == Ranking("q", ("b",))
    assert ranking.positions() == {"b": 0, "a": 1, "c": 2}


@pytest.mark.parametrize(
    ("ranking", "said"),
    [
        (Ranking("other", PAGE.result_ids), "'other'"),
        (Ranking("q", ("a", "b", "c")), r"lost \['v'\]"),
        (Ranking("q", ("a", "b", "c", "v", "x")), r"invented \['x'\]"),
    ],
)
def test_what_is_no_permutation_of_the_page_is_refused(ranking: Ranking, said: str) -> None:
    with pytest.raises(DecodingError, match=said):
        ranking.check(PAGE)


@given(st.permutations(PAGE.result_ids))
def test_every_permutation_of_the_page_passes(ids: list[str]) -> None:
    ranking = Ranking("q", tuple(ids))
    assert ranking.check(PAGE) is ranking


def test_nothing_can_be_changed() -> None:
    with pytest.raises(AttributeError):
        PAGE.results = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        QUERY.text = "blue"  # type: ignore[misc]


def test_equal_by_value_after_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PAGE), type=Page) == PAGE


def test_the_default_features_are_not_shared() -> None:
    one, other = text("a"), text("b")
    one.features["x"] = 1.0
    assert other.features == {}
    assert Result("c", Modality.TEXT, "x").features == {}
