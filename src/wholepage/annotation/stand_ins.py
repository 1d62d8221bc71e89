"""More stand-ins for people: one who answers without looking, and one who looks and errs as people do.

``oracles`` has the perfect one and one whose errors are any grade. Like those, each answers the same question the same
way whenever it is asked, and an answer depends on no other question.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.draws import drawn, drawn_share
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Choice, Judgments, Question, Verdict

Habit = Literal["constant", "random", "middle"]
_HABITS = ("constant", "random", "middle")
_CHOICES = (Choice.LEFT, Choice.SAME, Choice.RIGHT)


class SpammingAnnotator:
    """Answers without looking: what is on the page changes nothing.

    Args:
        levels: how many grades there are.
        habit: ``constant`` (one grade and one side, drawn by the seed, for everything), ``random`` (any grade or
            choice, each as likely), ``middle`` (the middle grade, upper where there are two, and ``same``).
        seed: what is drawn.
    Raises:
        InputError: fewer than 2 levels, or another habit.
    """

    def __init__(self, levels: int, habit: Habit, seed: int) -> None:
        _check_levels("SpammingAnnotator", levels)
        if habit not in _HABITS:
            raise InputError(f"SpammingAnnotator: got habit={habit!r}; allowed: {', '.join(_HABITS)}; choose one")
        self.levels, self.habit, self.seed = levels, habit, seed
        self.name = f"spamming(habit={habit}, levels={levels}, seed={seed})"

    def answer(self, question: Question) -> Verdict:
        """A grade or a choice by habit."""
        asked = (question.page.query_id, question.left_id, question.right_id or "")
        drawn_for = asked if self.habit == "random" else ()
        if question.right_id is None:
            middle = self.levels // 2
            draw = drawn(self.seed, "grade", *drawn_for) % self.levels
            return Verdict(grade=float(middle if self.habit == "middle" else draw))
        if self.habit == "middle":
            return Verdict(choice=Choice.SAME)
        sides = _CHOICES if self.habit == "random" else (Choice.LEFT, Choice.RIGHT)
        return Verdict(choice=sides[drawn(self.seed, "choice", *drawn_for) % len(sides)])


class CarefulAnnotator:
    """Looks, and errs as people do: by one grade, more to one side when strict or lenient, and for the left when near.

    A result is misread with chance ``slip``, then as a neighbouring grade; of the lowest and the highest there is one
    neighbour only. Comparisons follow the grades as read. Where the two look equal, or the right one looks better by
    a single grade, the answer moves one step to the left with chance ``left_bias``.

    Args:
        judgments: a grade for all that will be asked, whole numbers from 0 to ``levels - 1``.
        levels: how many grades there are.
        slip: the chance that a result is misread.
        lean: -1 misreads downwards only (strict), 1 upwards only (lenient), 0 either way as often. At -1 the lowest
            and at 1 the highest grade is always read right.
        left_bias: the chance of a step to the left in near comparisons.
        seed: what is misread, and where the bias shows.
    Raises:
        InputError: fewer than 2 levels, or a chance or lean out of range.
    """

    def __init__(
        self,
        judgments: Judgments,
        levels: int,
        *,
        slip: float = 0.1,
        lean: float = 0.0,
        left_bias: float = 0.05,
        seed: int,
    ) -> None:
        _check_levels("CarefulAnnotator", levels)
        for what, got, low in (("slip", slip, 0.0), ("lean", lean, -1.0), ("left_bias", left_bias, 0.0)):
            if not low <= got <= 1.0:
                raise InputError(f"CarefulAnnotator: got {what}={got}; allowed: {low:g} to 1; change it")
        self._known = PerfectAnnotator(judgments)
        self.levels, self.slip, self.lean, self.left_bias, self.seed = levels, slip, lean, left_bias, seed
        self.name = f"careful(slip={slip:g}, lean={lean:g}, left_bias={left_bias:g}, levels={levels}, seed={seed})"

    def answer(self, question: Question) -> Verdict:
        """The grade as read, or the better of two as they were read.

        Raises:
            InputError: a result asked about has no known grade, or none of the levels.
        """
        left = self._read(question, question.left_id)
        if question.right_id is None:
            return Verdict(grade=float(left))
        ahead = left - self._read(question, question.right_id)
        pair = (question.page.query_id, question.left_id, question.right_id)
        if ahead in (0, -1) and drawn_share(self.seed, "side", *pair) < self.left_bias:
            ahead += 1
        return Verdict(choice=Choice.SAME if ahead == 0 else Choice.LEFT if ahead > 0 else Choice.RIGHT)

    def confusion(self) -> NDArray[np.float64]:
        """How likely each grade is read as which.

        Shapes:
            return: [levels, levels], true grade by grade read; rows sum to 1
        """
        table = np.zeros((self.levels, self.levels))
        for true in range(self.levels):
            for read, share in self._neighbours(true).items():
                table[true, read] = self.slip * share
            table[true, true] = 1.0 - table[true].sum()
        return table

    def _read(self, question: Question, result_id: str) -> int:
        true = self._known.answer(Question(question.page, result_id)).grade
        level = next((grade for grade in range(self.levels) if grade == true), None)
        if level is None:
            raise InputError(
                f"annotator {self.name!r}: query {question.page.query_id!r}: result {result_id!r} has grade {true}; "
                f"allowed: whole numbers from 0 to {self.levels - 1}; raise levels, or round the grades"
            )
        read, passed = level, 0.0
        draw = drawn_share(self.seed, "read", question.page.query_id, result_id)
        for neighbour, share in self._neighbours(level).items():
            if passed <= draw < passed + self.slip * share:
                read = neighbour
            passed += self.slip * share
        return read

    def _neighbours(self, true: int) -> dict[int, float]:
        """The grades that a result may be misread as, and the share of misreadings that go there."""
        down, up = (1.0 - self.lean) / 2.0, (1.0 + self.lean) / 2.0
        shares = {true - 1: down, true + 1: up}
        inside = {grade: share for grade, share in shares.items() if 0 <= grade < self.levels and share > 0.0}
        whole = sum(inside.values())
        return {grade: share / whole for grade, share in inside.items()}


def _check_levels(who: str, levels: int) -> None:
    if levels < 2:
        raise InputError(f"{who}: got levels={levels}; allowed: 2 or more; 4 means the grades 0 to 3")
