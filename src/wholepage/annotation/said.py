"""What was answered about the results of one list, and what every engine checks of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from wholepage.pages.errors import InputError


class Said(msgspec.Struct, frozen=True, order=True):
    """Somebody's grade of one result of a list.

    Attributes:
        index: place of the result in the list, 0 = the best.
        grade: a whole number from 0.
        who: the annotator, person or model.
    """

    index: int
    grade: int
    who: str


def check_sizes(n: int, levels: int, overlap: int) -> None:
    """Refuse a list that no engine can search.

    Raises:
        InputError: fewer than 0 results, 2 levels or 1 answer.
    """
    if n < 0 or levels < 2 or overlap < 1:
        raise InputError(
            f"engine: got n={n}, levels={levels}, overlap={overlap}; allowed: 0 results or more, 2 levels or more, 1 "
            "answer a result or more; levels=4 means the grades 0 to 3"
        )


def check_said(n: int, levels: int, said: Iterable[Said]) -> list[Said]:
    """The answers in an order of their own, so that nothing depends on the order they came in.

    Raises:
        InputError: an index or a grade out of range, or somebody answered twice about the same result.
    """
    found = sorted(said)
    seen: set[tuple[int, str]] = set()
    for one in found:
        index, grade, who = one.index, one.grade, one.who
        if not 0 <= index < n:
            raise InputError(f"engine: got an answer on index {index}; allowed: 0 to {n - 1}; drop it")
        if not 0 <= grade < levels or grade != int(grade):
            raise InputError(
                f"engine: index {index}: got grade {grade:g}; allowed: whole numbers from 0 to {levels - 1}; raise "
                "levels, or round the grades"
            )
        if (index, who) in seen:
            raise InputError(
                f"engine: index {index}: got two answers by {who!r}; allowed: one a person, for their error would be "
                "the same; pass the one that stands"
            )
        seen.add((index, who))
    return found


def by_index(said: Sequence[Said]) -> dict[int, list[int]]:
    """The grades given to each index, lowest first."""
    found: dict[int, list[int]] = {}
    for one in sorted(said):
        found.setdefault(one.index, []).append(one.grade)
    return found
