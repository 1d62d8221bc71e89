"""What people said: who is heard, what is kept, what is averaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages import (
    Choice,
    Grade,
    Judgments,
    Modality,
    Page,
    PageError,
    Preference,
    Query,
    Question,
    Result,
    Verdict,
)

PAGE = Page(Query("q"), tuple(Result(i, Modality.TEXT, i) for i in "abc"))
NAMES = st.sampled_from(["a", "b", "c"])
WHO = st.sampled_from(["", "ann", "bob"])
QUERIES = st.sampled_from(["q1", "q2"])
GRADES = st.lists(st.builds(Grade, QUERIES, NAMES, st.floats(0, 5), WHO), max_size=15)
PREFERENCES = st.lists(
    st.tuples(QUERIES, st.permutations("abc"), st.sampled_from(Choice), WHO).map(
        lambda said: Preference(said[0], said[1][0], said[1][1], said[2], said[3])
    ),
    max_size=15,
)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Question(PAGE, "z"), "'z'"),
        (lambda: Question(PAGE, "a", "z"), "'z'"),
        (lambda: Question(PAGE, "a", "a"), "both sides"),
        (lambda: Verdict(), "exactly one"),
        (lambda: Verdict(1.0, Choice.LEFT), "exactly one"),
        (lambda: Verdict(-1.0), "-1.0"),
        (lambda: Grade("q", "a", math.nan), "nan"),
        (lambda: Grade("q", "a", math.inf), "inf"),
        (lambda: Grade("q", "a", -0.5), "-0.5"),
        (lambda: Preference("q", "a", "a", Choice.SAME), "both sides"),
    ],
)
def test_a_broken_rule_says_what_was_got_and_what_is_allowed(make: Callable[[], object], said: str) -> None:
    with pytest.raises(PageError, match=said) as caught:
        make()
    assert "; allowed: " in str(caught.value)


def test_questions_to_grade_and_to_compare() -> None:
    assert Question(PAGE, "a").right_id is None
    assert Question(PAGE, "a", "b").right_id == "b"
    assert Verdict(0.0).choice is None
    assert Verdict(choice=Choice.SAME).grade is None


def test_the_later_answer_of_one_person_stands() -> None:
    said = Judgments(
        [Grade("q", "a", 1.0, "ann"), Grade("q", "a", 3.0, "ann")],
        [Preference("q", "a", "b", Choice.LEFT, "ann"), Preference("q", "a", "b", Choice.RIGHT, "ann")],
    )
    assert [g.grade for g in said.grades("q")] == [3.0]
    assert [p.choice for p in said.preferences("q")] == [Choice.RIGHT]
    assert len(said) == 2


def test_answers_of_different_people_are_all_kept_and_averaged() -> None:
    said = Judgments([Grade("q", "a", 1.0, "ann"), Grade("q", "a", 2.0, "bob"), Grade("q", "b", 0.0, "bob")])
    assert len(said.grades("q")) == 3
    assert said.by_result("q") == {"a": 1.5, "b": 0.0}
    assert said.to_qrels() == {"q": {"a": 1, "b": 0}}  # 1.5 is not yet 2


def test_nothing_said_is_empty_and_not_an_error() -> None:
    said = Judgments()
    assert said.grades("q") == ()
    assert said.preferences("q") == ()
    assert said.by_result("q") == {}
    assert said.query_ids == ()
    assert len(said) == 0
    assert list(said) == []


def test_queries_with_preferences_only_are_named_but_have_no_qrels() -> None:
    said = Judgments([Grade("q2", "a", 1.0)], [Preference("q1", "a", "b", Choice.LEFT)])
    assert said.query_ids == ("q1", "q2")
    assert said.to_qrels() == {"q2": {"a": 1}}


def test_merge_lets_the_other_stand_and_changes_neither() -> None:
    mine = Judgments([Grade("q", "a", 1.0), Grade("q", "b", 1.0)])
    other = Judgments([Grade("q", "a", 2.0)])
    assert mine.merge(other).by_result("q") == {"a": 2.0, "b": 1.0}
    assert other.merge(mine).by_result("q") == {"a": 1.0, "b": 1.0}
    assert mine.by_result("q") == {"a": 1.0, "b": 1.0}


def test_restrict_keeps_a_preference_when_both_sides_were_bought() -> None:
    said = Judgments(
        [Grade("q", "a", 1.0), Grade("q", "c", 1.0), Grade("r", "a", 1.0)],
        [Preference("q", "a", "b", Choice.LEFT), Preference("q", "a", "c", Choice.LEFT)],
    )
    kept = said.restrict({"q": iter(["a", "b"])})
    assert list(kept) == [Grade("q", "a", 1.0), Preference("q", "a", "b", Choice.LEFT)]


def test_unequal_to_other_things_and_without_a_hash() -> None:
    assert Judgments() != {}
    with pytest.raises(TypeError):
        hash(Judgments())
    assert repr(Judgments([Grade("q", "a", 1.0)])) == "Judgments(1 answers on 1 queries)"


@given(GRADES)
def test_averages_and_last_words_by_brute_force(grades: list[Grade]) -> None:
    said = Judgments(grades)
    for query_id in ("q1", "q2"):
        last = {(g.result_id, g.who): g.grade for g in grades if g.query_id == query_id}
        ids = {result_id for result_id, _ in last}
        found = said.by_result(query_id)
        assert set(found) == ids
        for result_id in ids:
            assert found[result_id] == pytest.approx(fmean(v for (r, _), v in last.items() if r == result_id))


@given(GRADES, PREFERENCES)
def test_iterating_tells_everything_in_an_order_of_its_own(grades: list[Grade], preferences: list[Preference]) -> None:
    said = Judgments(grades, preferences)
    told = list(said)
    again = Judgments(
        [g for g in reversed(told) if isinstance(g, Grade)], [p for p in told[::-1] if isinstance(p, Preference)]
    )
    assert again == said
    assert list(again) == told
    assert len(told) == len(said)


@given(GRADES, PREFERENCES, GRADES)
def test_merge_is_what_telling_both_in_turn_would_be(
    grades: list[Grade], preferences: list[Preference], more: list[Grade]
) -> None:
    assert Judgments(grades, preferences).merge(Judgments(more)) == Judgments([*grades, *more], preferences)


@given(GRADES)
def test_from_mapping_gives_back_its_mapping(grades: list[Grade]) -> None:
    said = Judgments(grades)
    mapping = {query_id: said.by_result(query_id) for query_id in said.query_ids}
    again = Judgments.from_mapping(mapping, who="all")
    assert {query_id: again.by_result(query_id) for query_id in again.query_ids} == mapping
    assert all(g.who == "all" for g in again if isinstance(g, Grade))
