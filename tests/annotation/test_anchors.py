"""Bisection of grades: against every list there is, and every way to ask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.anchors import (
    bisect_grades,
    fill_between,
    next_question,
    question_bound,
    worst_case_questions,
)
from wholepage.pages import InputError


def falling(n: int, levels: int) -> Iterator[tuple[int, ...]]:
    """Every list of n grades that fall along it."""
    return combinations_with_replacement(range(levels - 1, -1, -1), n)


def searched(grades: Sequence[int], levels: int) -> tuple[list[int], list[float]]:
    """The indices asked, in turn, and what was found."""
    search = bisect_grades(len(grades), levels)
    asked: list[int] = []
    try:
        asked.append(next(search))
        while True:
            asked.append(search.send(grades[asked[-1]]))
    except StopIteration as done:
        return asked, done.value


@cache
def least_worst_case(n: int, steps: int) -> int:
    """Plain recursion over every place to ask and every answer: the game against the worst list."""
    if n == 0 or steps == 0:
        return 0
    return 1 + min(
        max(least_worst_case(above, part) + least_worst_case(n - 1 - above, steps - part) for part in range(steps + 1))
        for above in range(n)
    )


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("n", range(11))
def test_every_falling_list_is_found_within_the_worst_case(n: int, levels: int) -> None:
    most = 0
    for grades in falling(n, levels):
        asked, found = searched(grades, levels)
        assert found == list(grades)
        assert len(set(asked)) == len(asked)
        most = max(most, len(asked))
    assert most == worst_case_questions(n, levels) <= question_bound(n, levels)


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 12])
def test_no_search_promises_fewer_and_the_closed_bound_holds(levels: int) -> None:
    for n in range(60):
        assert worst_case_questions(n, levels) == least_worst_case(n, levels - 1)
        assert worst_case_questions(n, levels) <= question_bound(n, levels)


def test_the_figures_of_the_method() -> None:
    assert [worst_case_questions(n, 4) for n in (10, 50, 100)] == [8, 15, 18]
    assert question_bound(50, 4) == 3 * (math.floor(math.log2(50 / 3)) + 2) == 18
    assert question_bound(5, 4) == 5
    assert worst_case_questions(1000, 2) == math.ceil(math.log2(1001))  # two grades: one edge among 1001 places


def test_a_list_of_one_grade_costs_what_its_ends_do_not_say() -> None:
    assert searched([0] * 7, 4)[1] == [0.0] * 7
    assert len(searched([3] * 7, 4)[0]) == len(searched([0] * 7, 4)[0]) == 3  # one edge, at an end of the list
    assert searched([], 4) == ([], [])


def test_a_list_in_no_order_ends_and_keeps_what_was_asked() -> None:
    for grades in product(range(3), repeat=5):
        asked, found = searched(grades, 3)
        assert len(set(asked)) == len(asked) <= 5
        assert all(found[index] == grades[index] for index in asked)
        assert len(found) == 5


@given(st.lists(st.integers(0, 3), max_size=40))
def test_replaying_the_answers_asks_the_same_in_any_order(grades: list[int]) -> None:
    asked, found = searched(grades, 4)
    for done in range(len(asked) + 1):
        answers = {index: float(grades[index]) for index in reversed(asked[:done])}
        assert next_question(len(grades), 4, answers) == (asked[done] if done < len(asked) else None)
        known = fill_between(len(grades), 4, answers)
        assert all(known[index] == grades[index] for index in answers)
    assert fill_between(len(grades), 4, answers) == found


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 10), st.randoms())))
def test_a_search_broken_off_infers_only_between_ends_that_agree(of: tuple[int, int, object]) -> None:
    n, steps, draw = of
    grades = sorted((draw.randrange(4) for _ in range(n)), reverse=True)  # type: ignore[attr-defined]
    asked = searched(grades, 4)[0][:steps]
    known = fill_between(n, 4, {index: grades[index] for index in asked})
    for index, grade in enumerate(known):
        above = next((grades[i] for i in sorted(asked, reverse=True) if i < index), 3)
        below = next((grades[i] for i in sorted(asked) if i > index), 0)
        if index in asked or above == below:
            assert grade == grades[index]
        else:
            assert grade is None


@pytest.mark.parametrize("grade", [4, -1, 1.5, math.nan, math.inf])
def test_an_unknown_grade_is_refused_when_it_is_sent(grade: float) -> None:
    search = bisect_grades(9, 4)
    next(search)
    with pytest.raises(InputError, match="whole numbers from 0 to 3"):
        search.send(grade)


@pytest.mark.parametrize(("n", "levels"), [(-1, 4), (5, 1), (5, 0)])
def test_sizes_out_of_range_are_refused_at_once(n: int, levels: int) -> None:
    for ask in (bisect_grades, worst_case_questions, question_bound):
        with pytest.raises(InputError, match="bisection"):
            ask(n, levels)


def test_an_answer_beyond_the_list_is_refused() -> None:
    with pytest.raises(InputError, match="index 5"):
        next_question(5, 4, {5: 1.0})
    with pytest.raises(InputError, match="index -1"):
        fill_between(5, 4, {-1: 1.0})
