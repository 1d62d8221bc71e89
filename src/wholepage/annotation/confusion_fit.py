"""How single annotators err, learned from their answers alone.

The scheme of Dawid and Skene: guess the truth from everybody's answers, count each annotator's answers beside it, guess
again. Here the guess also knows that lists fall (``hmm``), which tells more than as many independent results would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.falling import Falling, confusion_of, evidence_of, read
from wholepage.annotation.hmm import HmmParameters
from wholepage.annotation.said import Said, check_said
from wholepage.annotation.weighing import Confusion, checked_confusion
from wholepage.pages.errors import InputError

_Array = NDArray[np.float64]
_ENOUGH = 1e-6

STRENGTH = 20.0
"""Answers to each grade that what is expected beforehand counts as."""


class Answers(NamedTuple):
    """What was said about one list of ``n`` results."""

    n: int
    said: Sequence[Said]


class Round(NamedTuple):
    """A round of the climb: each annotator's confusion, and how well that fits the answers and what was expected."""

    confusions: dict[str, _Array]
    objective: float


def fit_confusions(
    lists: Sequence[Answers],
    parameters: HmmParameters,
    *,
    known: Mapping[str, Confusion] | None = None,
    error: float = 0.1,
    strength: float = STRENGTH,
    rounds: int = 50,
) -> dict[str, _Array]:
    """Learn each annotator's confusion: from a result's grade (row) to their answer (column), rows sum to 1.

    Who is right where two annotators differ is told by a third, by where the result stands in its list, and best by
    gold: give its answers a name of their own, and that name ``known`` as the identity. Without gold, grades that are
    rarely given may drift towards what the most annotators call them.

    Args:
        lists: answers of any people on any results.
        parameters: what is believed of lists.
        known: confusions that are not learned; they are not among those returned.
        error: chance of a wrong answer that is expected beforehand, each wrong one as likely.
        strength: answers to each grade that this expectation counts as.
        rounds: at most so many.
    Raises:
        InputError: an answer or number out of range, or two answers by one person on a result.
        ShapeError: a confusion is not [levels, levels].
    """
    if rounds < 1:
        raise InputError(f"fit_confusions: got rounds={rounds}; allowed: 1 or more; 50 is usual")
    steps = climb(lists, parameters, known=known, error=error, strength=strength)
    before = next(steps)
    for here in islice(steps, rounds - 1):
        arrived = here.objective - before.objective <= _ENOUGH * abs(here.objective)
        before = here
        if arrived:
            break
    return before.confusions


def climb(
    lists: Sequence[Answers],
    parameters: HmmParameters,
    *,
    known: Mapping[str, Confusion] | None = None,
    error: float = 0.1,
    strength: float = STRENGTH,
) -> Iterator[Round]:
    """The fit round by round and without end; the objective never falls.

    Args:
        lists, parameters, known, error, strength: as for ``fit_confusions``.
    Raises:
        InputError: an answer or number out of range, or two answers by one person on a result.
        ShapeError: a confusion is not [levels, levels].
    """
    if not 0 < error < 0.5 or not strength > 0:
        raise InputError(
            f"fit_confusions: got error={error}, strength={strength}; allowed: an error above 0, below .5, a strength "
            f"above 0; .1 and {STRENGTH:g} are usual"
        )
    sure = {name: checked_confusion(name, table, parameters.levels) for name, table in (known or {}).items()}
    answers = [Answers(of.n, check_said(of.n, parameters.levels, of.said)) for of in lists if of.n]
    pseudo = strength * confusion_of(error, parameters.levels)
    who = sorted({one.who for of in answers for one in of.said}.difference(sure))
    priors = {n: parameters.prior(n) for n in sorted({of.n for of in answers})}
    return _climb(answers, priors, sure, dict.fromkeys(who, pseudo / strength), pseudo)


def _climb(
    lists: Sequence[Answers],
    priors: Mapping[int, Falling],
    sure: Mapping[str, _Array],
    believed: dict[str, _Array],
    pseudo: _Array,
) -> Iterator[Round]:
    usual = pseudo / pseudo.sum(1, keepdims=True)
    while True:
        objective = sum(float((pseudo * np.log(table)).sum()) for table in believed.values())
        counts = {who: pseudo.copy() for who in believed}
        for n, said in lists:
            tables = {**believed, **sure}
            evidence = evidence_of(n, said, usual, tables)
            found = read(priors[n], evidence)
            objective += found.log_likelihood + _left_out(said, tables, evidence)
            for one in said:
                if one.who not in sure:
                    counts[one.who][:, one.grade] += found.grades[one.index]
        yield Round(believed, objective)
        believed = {who: table / table.sum(1, keepdims=True) for who, table in counts.items()}


def _left_out(said: Sequence[Said], tables: Mapping[str, _Array], evidence: _Array) -> float:
    """What ``evidence_of`` divides by, as a logarithm: the likelihood of the answers under their likeliest grade."""
    logs = np.zeros(evidence.shape)
    for one in said:
        logs[one.index] += np.log(tables[one.who][:, one.grade])
    return float(logs.max(1).sum())
