"""The noise-free engine: bisection (``anchors``) of a list that falls, asked of people who do not err.

Answers may contradict that all the same. Then what was said is kept, and only between two answers that agree is
anything inferred.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation import anchors
from wholepage.annotation.said import Said, by_index, check_said, check_sizes


class Bisection:
    """Search for the edges of grades, taking every answer to be right.

    Several people's answers to one index count as their median, the lower of two in the middle. Where grades fall along
    the list and answers are right it asks of at most ``anchors.worst_case_questions(n, levels)`` results, however many
    people answer at once: questions in different open stretches do not wait for one another.

    Args:
        n: results, best first.  levels: grades run from 0 to ``levels - 1``.
        overlap: people who answer each question.
    Raises:
        InputError: sizes out of range; of the methods: an answer out of range, or two by the same person on one result.
    """

    def __init__(self, n: int, levels: int, overlap: int = 1) -> None:
        check_sizes(n, levels, overlap)
        self.n, self.levels, self.overlap = n, levels, overlap

    def next_question(self, said: Sequence[Said], but: Collection[int] = ()) -> int | None:
        """The index to ask about next; None = every grade is known, or all that are not are in ``but``."""
        found = self.questions(said, 1, but)
        return found[0] if found else None

    def questions(self, said: Sequence[Said], count: int, but: Collection[int] = ()) -> list[int]:
        """Up to ``count`` different indices, best first: those that lack answers, then one an open stretch.

        Args:
            said: the answers so far.
            but: indices that may not be asked about now, such as those the person has answered.
        """
        given = by_index(check_said(self.n, self.levels, said))
        found = [index for index in sorted(given) if len(given[index]) < self.overlap and index not in but]
        stretches = sorted(self._open(_medians(given)), key=lambda one: (one[0] - one[1], one[0]))
        for first, end, high, low in stretches:
            if len(found) >= count:
                break
            # A stretch is a list of its own with as many grades as lie between its ends.
            cut = anchors.next_question(end - first, abs(high - low) + 1, {})
            if cut is not None and first + cut not in but:
                found.append(first + cut)
        return found[:count]

    def posterior(self, said: Sequence[Said]) -> NDArray[np.float64]:
        """1 for grades that are known, the same for all that are still possible where they are not: ``[n, levels]``."""
        answers = _medians(by_index(check_said(self.n, self.levels, said)))
        found = np.zeros((self.n, self.levels))
        for index, grade in enumerate(anchors.fill_between(self.n, self.levels, answers)):
            if grade is not None:
                found[index, int(grade)] = 1.0
        for first, end, high, low in self._open(answers):
            bottom, top = min(low, high), max(low, high)
            found[first:end, bottom : top + 1] = 1.0 / (top - bottom + 1)
        return found

    def claimed_error(self, said: Sequence[Said]) -> float:
        """Mean over the results of what the posterior leaves to grades other than the likeliest."""
        return mean_error(self.posterior(said))

    def _open(self, answers: dict[int, float]) -> list[tuple[int, int, int, int]]:
        """Stretches whose ends differ: first index, the one after the last, grade above, grade below."""
        ends = [(-1, self.levels - 1), *((i, int(answers[i])) for i in sorted(answers)), (self.n, 0)]
        return [
            (above + 1, below, high, low)
            for (above, high), (below, low) in pairwise(ends)
            if below > above + 1 and high != low
        ]


def mean_error(posterior: NDArray[np.float64]) -> float:
    """Mean over the rows of 1 less the largest value; 0 of no rows.

    Shapes:
        posterior: [n, levels]
    """
    return float(np.mean(1.0 - posterior.max(1))) if len(posterior) else 0.0


def _medians(given: dict[int, list[int]]) -> dict[int, float]:
    return {index: float(grades[(len(grades) - 1) // 2]) for index, grades in given.items()}
