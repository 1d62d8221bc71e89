"""The noise-free engine: never above the exact worst case, whoever answers at once, whatever they say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.anchors import bisect_grades, worst_case_questions
from wholepage.annotation.bisection import Bisection
from wholepage.annotation.said import Said
from wholepage.pages import InputError


@cache
def least_worst_case(n: int, steps: int) -> int:
    """The game against the worst list, by recursion; asking in the lower half mirrors asking in the upper one."""
    if n == 0 or steps == 0:
        return 0
    if steps > n:
        return least_worst_case(n, n)
    return 1 + min(
        max(least_worst_case(above, part) + least_worst_case(n - 1 - above, steps - part) for part in range(steps + 1))
        for above in range((n + 1) // 2)
    )


def asked(grades: Sequence[int], levels: int, at_once: int = 1) -> list[Said]:
    """All answers, so many people at a time."""
    engine = Bisection(len(grades), levels)
    said: list[Said] = []
    while found := engine.questions(said, at_once):
        said += [Said(index, grades[index], "p") for index in found]
    return said


def adversary(n: int, levels: int) -> int:
    """Questions against answers chosen, one by one, so that what is left takes longest."""
    engine = Bisection(n, levels)
    said: list[Said] = []
    known = {-1: levels - 1, n: 0}
    while (index := engine.next_question(said)) is not None:
        above, below = max(i for i in known if i < index), min(i for i in known if i > index)

        def left(grade: int, above: int = above, below: int = below, index: int = index) -> int:
            return least_worst_case(index - above - 1, known[above] - grade) + least_worst_case(
                below - index - 1, grade - known[below]
            )

        known[index] = max(range(known[below], known[above] + 1), key=left)
        said.append(Said(index, known[index], "p"))
    return len(said)


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("n", range(9))
def test_every_falling_list_is_found_within_the_worst_case(n: int, levels: int) -> None:
    most = 0
    for grades in combinations_with_replacement(range(levels - 1, -1, -1), n):
        said = asked(grades, levels)
        found = Bisection(n, levels).posterior(said)
        assert found.argmax(1).tolist() == list(grades)
        assert (found.max(1) == 1).all()
        assert Bisection(n, levels).claimed_error(said) == 0
        most = max(most, len(said))
    assert most == worst_case_questions(n, levels) == least_worst_case(n, levels - 1)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_long_lists_stay_within_the_worst_case(levels: int) -> None:
    """All n up to 200: the table against the recursion, an adversary, random lists, and several people at once."""
    draw = random.Random(levels)
    for n in range(201):
        worst = worst_case_questions(n, levels)
        assert worst == least_worst_case(n, levels - 1)
        assert adversary(n, levels) == worst
        for at_once in (1, 2, 5):
            grades = sorted((draw.choice(range(draw.randint(1, levels))) for _ in range(n)), reverse=True)
            said = asked(grades, levels, at_once)
            assert len(said) <= worst
            assert Bisection(n, levels).posterior(said).argmax(1).tolist() == grades


@given(st.lists(st.integers(0, 3), max_size=40))
def test_asks_as_the_search_it_wraps(grades: list[int]) -> None:
    grades.sort(reverse=True)
    search, said = bisect_grades(len(grades), 4), []
    try:
        index = next(search)
        while True:
            said.append(Said(index, grades[index], "p"))
            index = search.send(grades[index])
    except StopIteration as done:
        found = done.value
    assert asked(grades, 4) == said
    assert found == grades


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.dictionaries(st.integers(0, n - 1),
       st.lists(st.integers(0, 3), min_size=1, max_size=3)), st.randoms())))  # fmt: skip
def test_whatever_is_said_all_stays_well_defined(case: tuple[int, dict[int, list[int]], random.Random]) -> None:
    n, given_grades, draw = case
    said = [Said(index, grade, f"p{k}") for index, of in given_grades.items() for k, grade in enumerate(of)]
    mixed = draw.sample(said, len(said))
    engine = Bisection(n, 4, overlap=3)
    posterior = engine.posterior(said)
    np.testing.assert_allclose(posterior.sum(1), 1.0)
    np.testing.assert_array_equal(posterior, engine.posterior(mixed))
    assert engine.questions(said, 5) == engine.questions(mixed, 5)
    for index, grades in given_grades.items():
        assert posterior[index, sorted(grades)[(len(grades) - 1) // 2]] == 1  # kept as said
    steps = 0
    while (index := engine.next_question(said)) is not None:
        said.append(Said(index, draw.randrange(4), f"n{steps}"))
        steps += 1
    assert steps <= 3 * n
    assert engine.claimed_error(said) == 0


def test_inferred_is_only_what_lies_between_answers_that_agree() -> None:
    engine = Bisection(7, 4)
    posterior = engine.posterior([Said(1, 2, "a"), Said(3, 2, "a"), Said(5, 3, "a")])
    assert posterior.tolist() == [
        [0, 0, 0.5, 0.5],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0.5, 0.5],  # the answers rise: either may be
        [0, 0, 0, 1],
        [0.25, 0.25, 0.25, 0.25],
    ]
    assert engine.claimed_error([Said(1, 2, "a"), Said(3, 2, "a"), Said(5, 3, "a")]) == pytest.approx(1.75 / 7)


def test_a_question_is_put_to_as_many_people_as_wanted() -> None:
    engine = Bisection(9, 2, overlap=3)
    first = engine.next_question([])
    assert first is not None
    said = [Said(first, 1, "a")]
    assert engine.next_question(said) == first
    other = engine.questions(said, 5, but=[first])  # who has answered it goes on elsewhere
    assert other
    assert first not in other
    said += [Said(first, 0, "b"), Said(first, 0, "c")]
    assert engine.posterior(said)[first].tolist() == [1, 0]  # the median
    assert Bisection(9, 2, overlap=2).posterior(said[:2])[first].tolist() == [1, 0]  # the lower of two
    assert engine.next_question(said) != first


def test_people_at_once_get_different_stretches() -> None:
    engine = Bisection(50, 4)
    said = [Said(20, 2, "a"), Said(35, 1, "a")]
    found = engine.questions(said, 10)
    assert len(found) == 3
    assert sum(index < 20 for index in found) == sum(index > 35 for index in found) == 1
    assert engine.next_question(said) == found[0]
    assert engine.questions(said, 10, but=[found[0]]) == found[1:]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([Said(9, 1, "a")], "index 9"),
        ([Said(-1, 1, "a")], "index -1"),
        ([Said(2, 4, "a")], "whole numbers from 0 to 3"),
        ([Said(2, -1, "a")], "whole numbers from 0 to 3"),
        ([Said(2, 1, "a"), Said(2, 1, "a")], "two answers by 'a'"),
    ],
)
def test_answers_that_cannot_be_are_refused(said: list[Said], message: str) -> None:
    for ask in (Bisection(9, 4).next_question, Bisection(9, 4).posterior):
        with pytest.raises(InputError, match=message):
            ask(said)


@pytest.mark.parametrize(("n", "levels", "overlap"), [(-1, 4, 1), (5, 1, 1), (5, 4, 0)])
def test_sizes_out_of_range_are_refused(n: int, levels: int, overlap: int) -> None:
    with pytest.raises(InputError, match="engine: got n="):
        Bisection(n, levels, overlap)
