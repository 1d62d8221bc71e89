"""What engines that weigh evidence have in common: they ask where an answer tells most, until little is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.bisection import mean_error
from wholepage.annotation.falling import LEAST_ERROR, Falling, Reading, confusion_of, evidence_of, gains, read
from wholepage.annotation.said import Said, check_said, check_sizes
from wholepage.pages.errors import InputError, ShapeError

Confusion: TypeAlias = Sequence[Sequence[float]] | NDArray[np.float64]
"""From a result's grade (row) to the annotator's answer (column); rows sum to 1."""

_DIGITS = 9  # gains that differ by less are equal: the first of them is asked about


class Weighed(NamedTuple):
    """A grade, asked for or inferred, and how far it is to be believed: its weight in training, above 0 to 1."""

    grade: int
    weight: float


def weighed(posterior: NDArray[np.float64]) -> list[Weighed]:
    """Each result's likeliest grade with its probability; of equally likely grades the lowest.

    Shapes:
        posterior: [n, levels]
    """
    grades = posterior.argmax(1) if len(posterior) else np.zeros(0, int)
    return [Weighed(int(grade), float(row[grade])) for grade, row in zip(grades, posterior, strict=True)]


class Weighing:
    """An engine on the prior of a list; ``BayesianBisection`` and ``MonotoneHmm`` say which.

    Args:
        prior: of the list; its steps tell the length.
        n: results, best first.
        error: chance that an annotator of whom nothing is known gives a wrong answer.
        tau: asks until the mean posterior error is no larger.
        overlap: most answers to one question, each by another person.
        people: how many people there are; None = enough for ``overlap``. The error of one person persists, so that an
            answered question is put to others only, and where there are none, a neighbour is asked about.
        confusions: of annotators of whom more is known.
    """

    def __init__(
        self,
        prior: Falling,
        n: int,
        *,
        error: float,
        tau: float,
        overlap: int,
        people: int | None,
        confusions: Mapping[str, Confusion] | None,
    ) -> None:
        levels = prior.start.shape[1]
        check_sizes(n, levels, overlap)
        if not 0 <= error < 0.5 or not 0 <= tau < 1 or (people is not None and people < 1):
            raise InputError(
                f"engine: got error={error}, tau={tau}, people={people}; allowed: an error from 0 to below .5, tau "
                "from 0 to below 1, 1 person or more; error=.1 expects one wrong answer in ten"
            )
        self.n, self.levels, self.error, self.tau = n, levels, error, tau
        self.overlap = overlap if people is None else min(overlap, people)
        self._prior, self._usual = prior, confusion_of(error, levels)
        self._confusions = {who: checked_confusion(who, table, levels) for who, table in (confusions or {}).items()}
        self._usual.setflags(write=False)

    def next_question(self, said: Sequence[Said], but: Collection[int] = ()) -> int | None:
        """The index whose answer is expected to tell most; None = enough is known, or nothing may be asked.

        Args:
            said: the answers so far.
            but: indices that may not be asked about now, such as those the person has answered.
        """
        found = self.questions(said, 1, but)
        return found[0] if found else None

    def questions(self, said: Sequence[Said], count: int, but: Collection[int] = ()) -> list[int]:
        """Up to ``count`` different indices for as many people at once, best first.

        Each further one is what would be asked if those before it were answered as is likeliest.

        Args:
            said, but: as for ``next_question``.
        """
        given = check_said(self.n, self.levels, said)
        evidence = self._evidence(given)
        reading = read(self._prior, evidence) if self.n else None
        if reading is None or self._done(reading, evidence):
            return []
        counts = Counter(one.index for one in given)
        closed = {index for index in range(self.n) if index in but or counts[index] >= self.overlap}
        found: list[int] = []
        while len(found) < count and len(closed) < self.n:
            told = np.round(gains(reading.grades, self._usual), _DIGITS)
            told[list(closed)] = -1.0
            index = int(np.argmax(told))
            found.append(index)
            closed.add(index)
            if len(found) < count:
                answer = int(np.argmax(reading.grades[index] @ self._usual))
                evidence[index] = evidence[index] * self._usual[:, answer]
                reading = read(self._prior, evidence)
        return found

    def posterior(self, said: Sequence[Said]) -> NDArray[np.float64]:
        """Probability of every grade given the answers: ``[n, levels]``, rows sum to 1."""
        return self.reading(said).grades

    def claimed_error(self, said: Sequence[Said]) -> float:
        """Mean over the results of what the posterior leaves to grades other than the likeliest."""
        return mean_error(self.posterior(said))

    def reading(self, said: Sequence[Said]) -> Reading:
        """All that the answers tell."""
        given = check_said(self.n, self.levels, said)
        if not self.n:
            return Reading(np.zeros((0, self.levels)), self._prior.weights, 0.0)
        return read(self._prior, self._evidence(given))

    def _evidence(self, said: Sequence[Said]) -> NDArray[np.float64]:
        return evidence_of(self.n, said, self._usual, self._confusions)

    def _done(self, reading: Reading, evidence: NDArray[np.float64]) -> bool:
        return mean_error(reading.grades) <= self.tau


def checked_confusion(who: str, table: Confusion, levels: int) -> NDArray[np.float64]:
    """A confusion as an array, in which nothing is quite impossible.

    Raises:
        InputError: a row that does not sum to 1, or holds less than 0.
        ShapeError: it is not [levels, levels].
    """
    found = np.asarray(table, np.float64)
    if found.shape != (levels, levels):
        raise ShapeError(
            f"confusion of {who!r}: got shape {found.shape}; allowed: ({levels}, {levels}); give a row a grade"
        )
    if not np.isfinite(found).all() or (found < 0).any() or np.abs(found.sum(1) - 1).max() > 1e-6:
        raise InputError(
            f"confusion of {who!r}: got {found.tolist()}; allowed: rows of numbers from 0 up that sum to 1; divide "
            "each row by its sum"
        )
    possible = np.maximum(found, LEAST_ERROR)
    return np.asarray(possible / possible.sum(1, keepdims=True))
