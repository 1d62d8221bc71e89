"""What people said of pages: questions, verdicts, and the immutable collection of their answers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from wholepage.pages.errors import PageError
from wholepage.pages.model import Page


class Choice(StrEnum):
    """The answer to "which is better?"."""

    LEFT = "left"
    SAME = "same"
    RIGHT = "right"


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One result to grade (``right_id`` is None), or two of one page to compare.

    Raises:
        PageError: an id is not on the page, or both are the same.
    """

    page: Page
    left_id: str
    right_id: str | None = None

    def __post_init__(self) -> None:
        ids = self.page.result_ids
        for result_id in (self.left_id, self.right_id):
            if result_id is not None and result_id not in ids:
                raise PageError(
                    f"question on {self.page.query_id!r}: got {result_id!r}; allowed: one of the page's {len(ids)} "
                    "ids; ask about results of the page"
                )
        if self.left_id == self.right_id:
            raise PageError(
                f"question on {self.page.query_id!r}: got {self.left_id!r} on both sides; allowed: two different "
                "results; drop the pair"
            )


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to a Question: a grade (0 = worst) or a choice, exactly one of them."""

    grade: float | None = None
    choice: Choice | None = None

    def __post_init__(self) -> None:
        if (self.grade is None) == (self.choice is None):
            raise PageError(
                f"verdict: got grade={self.grade}, choice={self.choice}; allowed: exactly one; "
                "answer the question asked"
            )
        if self.grade is not None:
            _check_grade(self.grade, "verdict")


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody's grade of one result on its page; 0 = worst, higher is better, finite."""

    query_id: str
    result_id: str
    grade: float
    who: str = ""
    when: str = ""

    def __post_init__(self) -> None:
        _check_grade(self.grade, f"grade of {self.query_id!r}/{self.result_id!r}")


class Preference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody's comparison of two results of one page.

    Raises:
        PageError: both sides are the same result.
    """

    query_id: str
    left_id: str
    right_id: str
    choice: Choice
    who: str = ""
    when: str = ""

    def __post_init__(self) -> None:
        if self.left_id == self.right_id:
            raise PageError(
                f"preference on {self.query_id!r}: got {self.left_id!r} on both sides; allowed: two different results; "
                "drop the pair"
            )


_Said = TypeVar("_Said", Grade, Preference)


class Judgments:
    """Everything people said, immutable, looked up by query.

    Two answers by one person about the same thing: the later in the order given stands.
    Answers of different people are all kept; ``by_result`` averages them.

    Args:
        grades, preferences: in the order they were given.
    """

    __slots__ = ("_grades", "_preferences")

    def __init__(self, grades: Iterable[Grade] = (), preferences: Iterable[Preference] = ()) -> None:
        self._grades = _index(grades, lambda said: (said.result_id, said.who))
        self._preferences = _index(preferences, lambda said: (said.left_id, said.right_id, said.who))

    @classmethod
    def from_mapping(cls, grades: Mapping[str, Mapping[str, float]], who: str = "") -> Judgments:
        """Judgments from ``{query_id: {result_id: grade}}``."""
        return cls(Grade(query, result, float(g), who) for query, of in grades.items() for result, g in of.items())

    def grades(self, query_id: str) -> tuple[Grade, ...]:
        """What was graded for one query; empty when nothing was."""
        return self._grades.get(query_id, ())

    def preferences(self, query_id: str) -> tuple[Preference, ...]:
        """What was compared for one query; empty when nothing was."""
        return self._preferences.get(query_id, ())

    def by_result(self, query_id: str) -> dict[str, float]:
        """Mean grade of each graded result of a query, over the people who graded it."""
        given: dict[str, list[float]] = defaultdict(list)
        for said in self.grades(query_id):
            given[said.result_id].append(said.grade)
        return {result_id: math.fsum(values) / len(values) for result_id, values in given.items()}

    @property
    def query_ids(self) -> tuple[str, ...]:
        """Queries with at least one answer, sorted."""
        return tuple(sorted({*self._grades, *self._preferences}))

    def __iter__(self) -> Iterator[Grade | Preference]:
        for query_id in self.query_ids:
            yield from self.grades(query_id)
            yield from self.preferences(query_id)

    def __len__(self) -> int:
        return sum(map(len, self._grades.values())) + sum(map(len, self._preferences.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Judgments):
            return NotImplemented
        return self._grades == other._grades and self._preferences == other._preferences

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Judgments({len(self)} answers on {len(self.query_ids)} queries)"

    def merge(self, other: Judgments) -> Judgments:
        """Both together; where the same person answered the same thing twice, ``other`` stands."""
        return Judgments(
            [*_flat(self._grades), *_flat(other._grades)], [*_flat(self._preferences), *_flat(other._preferences)]
        )

    def restrict(self, bought: Mapping[str, Iterable[str]]) -> Judgments:
        """Only what was said of the named results: ``{query_id: result_ids}``.

        A preference stays when both of its sides are named.
        """
        wanted = {query_id: set(ids) for query_id, ids in bought.items()}
        return Judgments(
            (g for g in _flat(self._grades) if g.result_id in wanted.get(g.query_id, ())),
            (p for p in _flat(self._preferences) if {p.left_id, p.right_id} <= wanted.get(p.query_id, set())),
        )

    def to_qrels(self) -> dict[str, dict[str, int]]:
        """``{query_id: {result_id: grade}}`` with whole grades, as TREC tools want them.

        A mean grade that is not whole is rounded down, so that nothing becomes relevant by rounding.
        """
        return {q: {r: math.floor(g) for r, g in self.by_result(q).items()} for q in self.query_ids if self.grades(q)}


def _check_grade(grade: float, where: str) -> None:
    if not math.isfinite(grade) or grade < 0:
        raise PageError(f"{where}: got {grade}; allowed: finite numbers from 0 up; shift the scale or drop the grade")


def _index(said: Iterable[_Said], key: Callable[[_Said], tuple[str, ...]]) -> dict[str, tuple[_Said, ...]]:
    latest: dict[str, dict[tuple[str, ...], _Said]] = defaultdict(dict)
    for answer in said:
        latest[answer.query_id][key(answer)] = answer
    return {query_id: tuple(of[k] for k in sorted(of)) for query_id, of in latest.items()}


def _flat(index: Mapping[str, tuple[_Said, ...]]) -> Iterator[_Said]:
    for query_id in sorted(index):
        yield from index[query_id]
