"""Edges from comparisons: what is found is true, within the questions promised, and ties are never handed on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.preference_search import (
    Stretch,
    grades_between,
    next_comparison,
    search_stretches,
    stretches,
)
from wholepage.pages import InputError
from wholepage.pages.judgments import Choice

LISTS = st.lists(st.integers(0, 3), max_size=40).map(lambda grades: sorted(grades, reverse=True))


def compared(anchor: float, other: float) -> Choice:
    """What somebody says who sees the anchor on the left."""
    return Choice.SAME if anchor == other else Choice.LEFT if anchor > other else Choice.RIGHT


def searched(grades: Sequence[float], anchors: dict[int, int]) -> tuple[list[tuple[int, int]], dict[int, Stretch]]:
    """The pairs asked about, in turn, and what was found."""
    steps, asked = search_stretches(len(grades), anchors), []
    grade_at = {index: grade for grade, index in anchors.items()}
    try:
        asked.append(next(steps))
        while True:
            left, right = asked[-1]
            asked.append(steps.send(compared(grade_at[left], grades[right])))
    except StopIteration as done:
        return asked, done.value


def some_anchors(grades: Sequence[int], draw: random.Random) -> dict[int, int]:
    """Of some grades a result of the list, of others one from elsewhere."""
    found = {}
    for grade in range(4):
        here = [index for index, of in enumerate(grades) if of == grade]
        if draw.random() < 0.7:
            found[grade] = draw.choice(here) if here and draw.random() < 0.7 else -1 - grade
    return found


@given(LISTS, st.randoms(use_true_random=False))
def test_what_is_found_is_true_within_two_edges_an_anchor(grades: list[int], draw: random.Random) -> None:
    anchors = some_anchors(grades, draw)
    asked, found = searched(grades, anchors)
    assert len(set(asked)) == len(asked) <= 2 * len(anchors) * math.ceil(math.log2(len(grades) + 1))
    assert grades_between(len(grades), found) == [grade if grade in anchors else None for grade in grades]
    for grade, (first, end) in found.items():
        assert first == sum(of > grade for of in grades)
        assert end - first == grades.count(grade)


@pytest.mark.parametrize("n", range(1, 18))
def test_each_edge_of_one_anchor_takes_the_questions_of_a_bisection(n: int) -> None:
    """An anchor from elsewhere, every place of both edges there is."""
    most = 0
    for first in range(n + 1):
        for end in range(first, n + 1):
            grades = [2] * first + [1] * (end - first) + [0] * (n - end)
            asked, found = searched(grades, {1: -1})
            assert found == {1: Stretch(first, end)}
            most = max(most, len(asked))
    assert most <= 2 * math.ceil(math.log2(n + 1))


@given(LISTS, st.randoms(use_true_random=False))
def test_replaying_the_answers_asks_the_same_in_any_order(grades: list[int], draw: random.Random) -> None:
    anchors = some_anchors(grades, draw)
    asked, found = searched(grades, anchors)
    grade_at = {index: grade for grade, index in anchors.items()}
    said = [((grade_at[left], right), compared(grade_at[left], grades[right])) for left, right in asked]
    for done in range(len(said) + 1):
        question = next_comparison(len(grades), anchors, dict(draw.sample(said[:done], done)))
        assert question == (said[done][0] if done < len(said) else None)
    assert stretches(len(grades), anchors, dict(reversed(said))) == found


def test_strict_answers_hold_for_anchors_beyond() -> None:
    anchors = {3: -1, 1: -2}
    said = {(3, 4): Choice.RIGHT, (1, 9): Choice.LEFT}  # 4 is better than a 3, 9 worse than a 1
    for grade in (3, 1):
        (first, end) = stretches(12, anchors, said)[grade]
        assert (first, end) == (12, 12) or first >= 5  # nothing is proved the same yet
    question = next_comparison(12, anchors, said)
    assert question is not None
    assert 5 <= question[1] <= 8  # neither anchor is compared above 5, or below 9


def test_ties_are_never_handed_on() -> None:
    anchors = {2: 3, 1: -1}
    said = {(2, index): Choice.SAME for index in (2, 4)} | {(2, 5): Choice.LEFT, (2, 1): Choice.RIGHT}
    assert stretches(9, anchors, said)[2] == Stretch(2, 5)
    # 4 is the same as the 2, which does not make it better than the 1: it may be the same as that, too.
    assert stretches(9, anchors, said | {(1, 4): Choice.SAME})[1].first == 4
    assert grades_between(9, stretches(9, anchors, said | {(1, 4): Choice.SAME}))[2:5] == [2, 2, None]


@given(st.integers(1, 12), st.dictionaries(st.tuples(st.integers(1, 3), st.integers(0, 11)), st.sampled_from(Choice)))
def test_contradictions_end_and_keep_what_was_said(n: int, given: dict[tuple[int, int], Choice]) -> None:
    anchors = {1: -1, 2: n // 2, 3: -2}
    said = {key: choice for key, choice in given.items() if key[1] < n and key[1] != anchors[key[0]]}
    draw = random.Random(n)
    while (question := next_comparison(n, anchors, said)) is not None:
        assert question not in said
        said[question] = draw.choice(list(Choice))
    for grade, (first, end) in stretches(n, anchors, said).items():
        assert 0 <= first <= end <= n
        assert all(said.get((grade, index), Choice.SAME) is Choice.SAME for index in range(first, end))


def test_an_empty_list_and_no_anchor_ask_nothing() -> None:
    assert searched([], {1: -1}) == ([], {1: Stretch(0, 0)})
    assert searched([2, 1], {}) == ([], {})
    assert grades_between(3, {2: Stretch(0, 2), 1: Stretch(1, 3)}) == [2, None, 1]  # two tell: neither is believed


@pytest.mark.parametrize("anchors", [{1: 5}, {1: 2, 2: 2}, {1: -1, 3: -1}])
def test_anchors_must_be_of_the_list_and_different(anchors: dict[int, int]) -> None:
    with pytest.raises(InputError, match="preference search: got anchors"):
        search_stretches(5, anchors)


@pytest.mark.parametrize("key", [(2, 1), (1, 5), (1, -1), (1, 3)])
def test_answers_on_something_else_are_refused(key: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="preference search: got answers on"):
        next_comparison(5, {1: 3}, {key: Choice.SAME})
