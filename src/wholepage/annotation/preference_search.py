"""Edges of grades from comparisons: which results of a list are as good as an anchor whose grade is known.

Comparing two results is easier than grading one. Where the list falls, the results better than an anchor come first,
then those that are the same, then those worse; both edges are found by halving. Those between have the anchor's grade.

    steps = search_stretches(50, {3: 4, 2: 17, 1: 30})          # grade -> where its anchor stands
    left, right = next(steps)                                   # then: steps.send(choice), until StopIteration

A search is a generator without I/O; what was answered is the only state (``next_comparison``). What is better than an
anchor is better than the anchors of lower grades, and the other way round; "the same" is said of two results only and
never handed on, for small differences add up.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import NamedTuple

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Choice


class Stretch(NamedTuple):
    """Results that are the same as an anchor: from ``first`` to before ``end``; none when both are equal."""

    first: int
    end: int


class _Edges(NamedTuple):
    """Where both edges may lie: the first result that is not better, the first that is worse; both ends included."""

    not_better: tuple[int, int]
    worse: tuple[int, int]


Compared = Mapping[tuple[int, int], Choice]
"""(anchor's grade, index compared with the anchor) -> the better side, ``left`` = the anchor."""


def search_stretches(n: int, anchors: Mapping[int, int]) -> Generator[tuple[int, int], Choice, dict[int, Stretch]]:
    """Find the stretches of a list that are as good as each anchor.

    Each edge takes at most ``ceil(log2(n + 1))`` questions where grades fall along the list, often fewer, since one
    answer may tell of several edges.

    Args:
        n: results, best first.
        anchors: grade -> the index of a result that has it. A number below 0, another for each, stands for an anchor
            that is no result of the list, such as one of another modality.
    Returns:
        A generator; it yields (the anchor's index, the index to compare with it), is sent the better side, and returns
        each anchor's stretch by grade.
    Raises:
        InputError: an anchor lies beyond the list, or two are the same result.
    """
    _check(n, anchors)
    return _search(n, dict(anchors))


def _search(n: int, anchors: Mapping[int, int]) -> Generator[tuple[int, int], Choice, dict[int, Stretch]]:
    said: dict[tuple[int, int], Choice] = {}
    while (question := next_comparison(n, anchors, said)) is not None:
        grade, index = question
        said[grade, index] = yield anchors[grade], index
    return stretches(n, anchors, said)


def next_comparison(n: int, anchors: Mapping[int, int], said: Compared) -> tuple[int, int] | None:
    """What the search asks after these answers: the anchor's grade and the index to compare; None = all is found.

    Raises:
        InputError: anchors or answers that are not of the list.
    """
    for grade in sorted(anchors, reverse=True):
        for low, high in _edges(n, anchors, said, grade):
            if low < high:
                return grade, (low + high) // 2
    return None


def stretches(n: int, anchors: Mapping[int, int], said: Compared) -> dict[int, Stretch]:
    """What the answers so far prove to be as good as each anchor, if the list falls.

    Raises:
        InputError: anchors or answers that are not of the list.
    """
    found = {}
    for grade in sorted(anchors, reverse=True):
        (_, first), (end, _) = _edges(n, anchors, said, grade)
        found[grade] = Stretch(first, max(first, end))
    return found


def grades_between(n: int, found: Mapping[int, Stretch]) -> list[int | None]:
    """The grades that stretches tell; None = none does, or two do."""
    grades: list[int | None] = [None] * n
    told = [0] * n
    for grade, (first, end) in found.items():
        for index in range(first, end):
            grades[index] = grade
            told[index] += 1
    return [grade if count == 1 else None for grade, count in zip(grades, told, strict=True)]


def _edges(n: int, anchors: Mapping[int, int], said: Compared, grade: int) -> _Edges:
    _check(n, anchors, said)
    # What is strict holds for anchors beyond, too: better than a better one, worse than a worse one.
    listed = {of: index for of, index in anchors.items() if index >= 0}
    better = [i for (of, i), choice in said.items() if choice is Choice.RIGHT and of >= grade]
    better += [index for of, index in listed.items() if of > grade]
    worse = [i for (of, i), choice in said.items() if choice is Choice.LEFT and of <= grade]
    worse += [index for of, index in listed.items() if of < grade]
    same = [i for (of, i), choice in said.items() if choice is Choice.SAME and of == grade]
    same += [index for of, index in listed.items() if of == grade]
    after_better, before_worse = 1 + max(better, default=-1), min(worse, default=n)
    # Where answers contradict each other nothing more is asked, and no stretch holds what was said to be different.
    return _Edges(
        (after_better, max(after_better, min([*same, before_worse]))),
        (min(before_worse, 1 + max([*same, after_better - 1])), before_worse),
    )


def _check(n: int, anchors: Mapping[int, int], said: Compared | None = None) -> None:
    places = list(anchors.values())
    if n < 0 or max(places, default=-1) >= n or len(set(places)) != len(places):
        raise InputError(
            f"preference search: got anchors {dict(anchors)} of a list of {n}; allowed: a different index each, up to "
            f"{n - 1}, below 0 for those that are not of the list; name one anchor a grade"
        )
    strange = sorted((of, i) for of, i in said or () if of not in anchors or not 0 <= i < n or i == anchors[of])
    if strange:
        raise InputError(
            f"preference search: got answers on {strange[:5]}; allowed: the grade of an anchor, and another index from "
            f"0 to {n - 1}; drop them"
        )
