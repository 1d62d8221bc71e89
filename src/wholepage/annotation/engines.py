"""Engines: which result of a list to ask about next, and what the answers so far tell of all of them.

An engine searches one list: the results of one modality, best first. It is immutable; everything is a function of the
answers, in whatever order they came, so that a log of answers is all there is to keep.

    engine = engine_of(settings, n=50)
    steps = search(engine)
    index = next(steps)                              # then: index = steps.send((grade, who)), until StopIteration

===========  =====================  ==========  ==================================================
``engine``   takes the list to      people to   stops when
===========  =====================  ==========  ==================================================
``bisect``   fall                   be right    every grade is known or inferred
``bayes``    fall                   err         the mean posterior error is ``tau`` or less
``hmm``      fall with exceptions   err         the mean posterior error is ``tau`` or less
===========  =====================  ==========  ==================================================
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.bayes import BayesianBisection
from wholepage.annotation.bisection import Bisection
from wholepage.annotation.hmm import HmmParameters, MonotoneHmm, usual_hmm
from wholepage.annotation.said import Said
from wholepage.annotation.settings import Settings
from wholepage.annotation.weighing import Confusion, Weighed, weighed
from wholepage.pages.errors import InputError

__all__ = [
    "BayesianBisection",
    "Bisection",
    "Engine",
    "HmmParameters",
    "MonotoneHmm",
    "Said",
    "Weighed",
    "engine_of",
    "search",
    "weighed",
]


class Engine(Protocol):
    """Chooses questions about one list of ``n`` results with grades from 0 to ``levels - 1``.

    ``but`` holds indices that may not be asked about now. No index is proposed that has as many answers as the engine
    wants of different people. ``questions`` are different ones for several people at once, best first; the first is
    ``next_question``. ``posterior`` is ``[n, levels]``, rows sum to 1; ``claimed_error`` the mean over the results of
    what it leaves to grades other than the likeliest.
    """

    n: int
    levels: int

    def next_question(self, said: Sequence[Said], but: Collection[int] = ...) -> int | None: ...

    def questions(self, said: Sequence[Said], count: int, but: Collection[int] = ...) -> list[int]: ...

    def posterior(self, said: Sequence[Said]) -> NDArray[np.float64]: ...

    def claimed_error(self, said: Sequence[Said]) -> float: ...


def search(engine: Engine) -> Generator[int, tuple[int, str], NDArray[np.float64]]:
    """Ask to the end: yields an index, is sent its grade and who gave it, returns the posterior.

    Raises:
        InputError: a grade that is none of the levels, or a second answer by the same person, when it is sent.
    """
    said: list[Said] = []
    while (index := engine.next_question(said)) is not None:
        grade, who = yield index
        said.append(Said(index, grade, who))
    return engine.posterior(said)


def engine_of(
    settings: Settings,
    n: int,
    *,
    hmm: HmmParameters | None = None,
    confusions: Mapping[str, Confusion] | None = None,
    people: int | None = None,
) -> Engine:
    """The engine that a campaign's settings name, for a list of ``n``.

    Args:
        hmm: what ``hmm`` believes of lists; None = ``usual_hmm``, which no pilot list has taught.
        confusions: of annotators of whom more is known than ``settings.annotator_error``.
        people: how many people there are, where that is known.
    Raises:
        InputError: the engine is ``selected``, which searches nothing; ``hmm`` is of other levels.
        ShapeError: a confusion is not [levels, levels].
    """
    if settings.engine == "bisect":
        return Bisection(n, settings.levels, settings.overlap)
    if settings.engine == "bayes":
        return BayesianBisection(
            n,
            settings.levels,
            settings.annotator_error,
            settings.tau,
            overlap=settings.overlap,
            people=people,
            confusions=confusions,
        )
    if settings.engine == "hmm":
        parameters = usual_hmm(settings.levels) if hmm is None else hmm
        if parameters.levels != settings.levels:
            raise InputError(
                f"engine: got HMM parameters of {parameters.levels} levels; allowed: {settings.levels}, as the "
                "campaign's settings say; fit them anew"
            )
        return MonotoneHmm(
            n,
            parameters,
            settings.tau,
            confusions,
            error=settings.annotator_error,
            overlap=settings.overlap,
            people=people,
        )
    raise InputError(
        f"engine: got {settings.engine!r}, which asks about all that is listed; allowed: bisect, bayes or hmm; make no "
        "engine for it"
    )
