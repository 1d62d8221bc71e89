"""Grading a whole list by few questions, where its order can be trusted: searches for the grades' edges.

A search is a generator without I/O: it yields the index of the result to ask about, is sent that result's grade, and
returns the grades of the whole list, asked and inferred. ``next`` gives the first question, ``send`` each further one,
``StopIteration.value`` is what was found. Any other way to search fits the same interface.

    search = bisect_grades(50, levels=4)
    index = next(search)                  # then: index = search.send(grade), until StopIteration

What was answered is the only state: ``next_question`` finds the question again from the answers alone.

Noise-free bisection takes the list to fall monotonically and answers to be right. Where either is not so it still ends,
at most one question a result, but what it infers may be wrong: audit it (``buying``).
Source: own derivation.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError

GradeSearch: TypeAlias = Generator[int, float, list[float]]
"""Yields an index, is sent its grade, returns the grade of every index."""


def bisect_grades(n: int, levels: int) -> GradeSearch:
    """Grade a list of ``n`` results by asking about few: the noise-free search.

    A stretch whose two ends have the same grade has that grade all along; of the others the longest is asked about,
    in its middle (``next_question``). Above the list stands the highest grade, below it 0.

    Args:
        n: results, best first.  levels: grades run from 0 to ``levels - 1``.
    Returns:
        A generator; it asks at most ``worst_case_questions(n, levels)`` questions where grades fall along the list.
    Raises:
        InputError: fewer than 0 results or 2 levels at once; a grade that is none of the levels when it is sent.
    """
    _check(n, levels)
    return _bisect(n, levels)


def _bisect(n: int, levels: int) -> GradeSearch:
    answers: dict[int, float] = {}
    while (index := next_question(n, levels, answers)) is not None:
        answers[index] = yield index
    return [float(grade) for grade in fill_between(n, levels, answers) if grade is not None]


def next_question(n: int, levels: int, answers: Mapping[int, float]) -> int | None:
    """What the noise-free search asks after these answers; None = every grade is known.

    Of the longest stretch with different ends (the first of equally long ones) it is the index nearest to the middle
    that keeps the worst case least. Bisection proper, which always takes the middle, may need one question or two more:
    9 for a list of 10, where 8 do.

    Args:
        answers: index -> grade, in any order.
    Raises:
        InputError: sizes, an index or a grade out of range.
    """
    longest: tuple[int, int, int] | None = None
    for (above, high), (below, low) in pairwise(_known(n, levels, answers)):
        inside = below - above - 1
        if inside and high != low and (longest is None or inside > longest[1]):
            longest = above + 1, inside, abs(high - low)
    if longest is None:
        return None
    first, inside, steps = longest
    return first + _best_cut(inside, steps)


def fill_between(n: int, levels: int, answers: Mapping[int, float]) -> list[float | None]:
    """The grades asked, and those inferred: of stretches whose ends agree. None = not known yet.

    Raises:
        InputError: sizes, an index or a grade out of range.
    """
    grades: list[float | None] = [None] * n
    for (above, high), (below, low) in pairwise(_known(n, levels, answers)):
        if high == low:
            grades[above + 1 : below] = [float(high)] * (below - above - 1)
    for index, grade in answers.items():
        grades[index] = float(grade)
    return grades


def worst_case_questions(n: int, levels: int) -> int:
    """Most questions that ``bisect_grades`` asks of a list whose grades fall along it; no search can promise fewer.

    Exact, by dynamic programming: ``V(m, k)`` of ``m`` results between two grades ``k`` apart is one question at the
    best place and the worst way to share out the ``k`` steps above and below it.

    Raises:
        InputError: fewer than 0 results, or fewer than 2 levels.
    """
    _check(n, levels)
    return int(_worst_cases(n, levels - 1)[n, min(levels - 1, n)])


def question_bound(n: int, levels: int) -> int:
    """A closed form that ``worst_case_questions`` does not exceed: (L-1) * (floor(log2(n / (L-1))) + 2).

    For lists too short for it, n < 2 (L-1), it is n: nothing is asked twice.

    Raises:
        InputError: fewer than 0 results, or fewer than 2 levels.
    """
    _check(n, levels)
    steps = levels - 1
    return n if n < 2 * steps else steps * ((n // steps).bit_length() + 1)


def _check(n: int, levels: int) -> None:
    if n < 0 or levels < 2:
        raise InputError(
            f"bisection: got n={n}, levels={levels}; allowed: 0 results or more, 2 levels or more; levels=4 means the "
            "grades 0 to 3"
        )


def _known(n: int, levels: int, answers: Mapping[int, float]) -> list[tuple[int, int]]:
    """Indices with their grades in order of the list, with the ends beyond it."""
    _check(n, levels)
    for index, grade in answers.items():
        if not 0 <= index < n:
            raise InputError(f"bisection: got an answer on index {index}; allowed: 0 to {n - 1}; drop it")
        if not (math.isfinite(grade) and grade == int(grade) and 0 <= grade < levels):
            raise InputError(
                f"bisection: index {index}: got grade {grade:g}; allowed: whole numbers from 0 to {levels - 1}; raise "
                "levels, or round the grades"
            )
    return [(-1, levels - 1), *((index, int(answers[index])) for index in sorted(answers)), (n, 0)]


def _best_cut(inside: int, steps: int) -> int:
    """Where to ask in a stretch, counted from its first result."""
    worst = _worst_of_cuts(_worst_cases(inside, steps), inside, min(steps, inside))
    places = np.flatnonzero(worst == worst.min())
    return int(places[np.argmin(np.abs(2 * places - (inside - 1)))])  # the upper one of two as near


def _worst_of_cuts(table: NDArray[np.int64], inside: int, steps: int) -> NDArray[np.int64]:
    """For each place to ask, the questions that may be needed on both sides of it; ``[inside]``."""
    above = table[:inside]
    shares = [above[:, part] + above[::-1, steps - part] for part in range(steps + 1)]
    return np.asarray(np.max(shares, axis=0), np.int64)


def _worst_cases(n: int, steps: int) -> NDArray[np.int64]:
    """``V(m, k)`` for at least m <= n and k <= min(steps, n)."""
    # In powers of two, so that lists of many lengths share few tables.
    return _table(1 << max(n - 1, 0).bit_length(), min(steps, n))


@lru_cache(maxsize=256)
def _table(n: int, steps: int) -> NDArray[np.int64]:
    table = np.zeros((n + 1, steps + 1), np.int64)
    for inside in range(1, n + 1):
        for k in range(1, steps + 1):
            table[inside, k] = 1 + _worst_of_cuts(table, inside, k).min()
    table.setflags(write=False)
    return table
