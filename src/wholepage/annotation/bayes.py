"""Bayesian bisection: the list falls without exception, but people err."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.falling import Falling, Reading, passes
from wholepage.annotation.said import Said, check_said, check_sizes
from wholepage.annotation.weighing import Confusion, Weighing
from wholepage.pages.errors import InputError


class BayesianBisection(Weighing):
    """Search for the ``levels - 1`` edges of a falling list from answers that may be wrong.

    Each edge lies in one of ``n + 1`` slots; every way to place all of them is as likely beforehand. Asked about is the
    result whose answer tells most, which for one edge is the median of its posterior.

    Args:
        n: results, best first.  levels: grades run from 0 to ``levels - 1``.
        error: chance of a wrong answer, below .5; every wrong grade is as likely.
        tau: asks until the mean posterior error is no larger.
        delta: in place of ``tau``: asks until each edge is in one slot with probability ``1 - delta``.
        overlap: most answers to one question, each by another person.
        people: how many people there are; None = enough for ``overlap``.
        confusions: of annotators of whom more is known.
    Raises:
        InputError: a number out of range.
        ShapeError: a confusion is not [levels, levels].
    Source: own derivation; for one edge the scheme of Burnashev and Zigangirov.
    """

    def __init__(
        self,
        n: int,
        levels: int,
        error: float = 0.1,
        tau: float = 0.05,
        *,
        delta: float | None = None,
        overlap: int = 1,
        people: int | None = None,
        confusions: Mapping[str, Confusion] | None = None,
    ) -> None:
        check_sizes(n, levels, overlap)
        if delta is not None and not 0 < delta < 1:
            raise InputError(
                f"engine: got delta={delta}; allowed: above 0, below 1; .05 wants each edge with probability .95"
            )
        super().__init__(
            _uniform(n, levels), n, error=error, tau=tau, overlap=overlap, people=people, confusions=confusions
        )
        self.delta = delta

    def edges(self, said: Sequence[Said]) -> NDArray[np.float64]:
        """Probability that so many results have grade ``g + 1`` or better: ``[levels - 1, n + 1]``, rows sum to 1."""
        given = check_said(self.n, self.levels, said)
        return self._edges(self._evidence(given)) if self.n else np.ones((self.levels - 1, 1))

    def _edges(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        levels = passes(self._prior, evidence[:, None]).levels[:, 0, 0]
        better = levels[:, ::-1].cumsum(1)[:, ::-1][:, 1:].T  # P(grade of i > g), falling along i
        return np.asarray(np.maximum(-np.diff(better, axis=1, prepend=1.0, append=0.0), 0.0))

    def _done(self, reading: Reading, evidence: NDArray[np.float64]) -> bool:
        if self.delta is None:
            return super()._done(reading, evidence)
        return bool((self._edges(evidence).max(1) >= 1 - self.delta).all())


def _uniform(n: int, levels: int) -> Falling:
    """Every falling list is as likely as every other."""
    may_follow = np.tril(np.ones((levels, levels)))
    steps = np.broadcast_to(may_follow, (max(n - 1, 0), 1, levels, levels))
    return Falling(np.ones(1), np.ones((1, levels)), steps, np.eye(levels)[None])
