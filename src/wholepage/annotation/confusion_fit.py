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
from wholepage.pages.errors import InputError

_Array = NDArray[np.float64]
_ENOUGH = 1e-6


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
    error: float = 0.1,
    strength: float = 4.0,
    rounds: int = 50,
) -> dict[str, _Array]:
    """Learn each annotator's confusion: from a result's grade (row) to their answer (column), rows sum to 1.

    Whether two annotators are right or wrong where they differ is told by a third, or by where the result stands in
    its list; with one annotator a list tells little, and they stay close to what was expected.

    Args:
        lists: answers of any people on any results.
        parameters: what is believed of lists.
        error: chance of a wrong answer that is expected beforehand, each wrong one as likely.
        strength: answers to each grade that this expectation counts as.
        rounds: at most so many.
    Raises:
        InputError: an answer or number out of range, or two answers by one person on a result.
    """
    if rounds < 1:
        raise InputError(f"fit_confusions: got rounds={rounds}; allowed: 1 or more; 50 is usual")
    steps = climb(lists, parameters, error=error, strength=strength)
    before = next(steps)
    for here in islice(steps, rounds - 1):
        arrived = here.objective - before.objective <= _ENOUGH * abs(here.objective)
        before = here
        if arrived:
            break
    return before.confusions


def climb(
    lists: Sequence[Answers], parameters: HmmParameters, *, error: float = 0.1, strength: float = 4.0
) -> Iterator[Round]:
    """The fit round by round and without end; the objective never falls.

    Args:
        lists, parameters, error, strength: as for ``fit_confusions``.
    Raises:
        InputError: an answer or number out of range, or two answers by one person on a result.
    """
    if not 0 < error < 0.5 or not strength > 0:
        raise InputError(
            f"fit_confusions: got error={error}, strength={strength}; allowed: an error above 0, below .5, a strength "
            "above 0; .1 and 4 are usual"
        )
    known = [Answers(of.n, check_said(of.n, parameters.levels, of.said)) for of in lists if of.n]
    pseudo = strength * confusion_of(error, parameters.levels)
    who = sorted({one.who for of in known for one in of.said})
    priors = {n: parameters.prior(n) for n in sorted({of.n for of in known})}
    return _climb(known, priors, dict.fromkeys(who, pseudo / strength), pseudo)


def _climb(
    lists: Sequence[Answers], priors: Mapping[int, Falling], believed: dict[str, _Array], pseudo: _Array
) -> Iterator[Round]:
    usual = pseudo / pseudo.sum(1, keepdims=True)
    while True:
        objective = sum(float((pseudo * np.log(table)).sum()) for table in believed.values())
        counts = {who: pseudo.copy() for who in believed}
        for n, said in lists:
            evidence = evidence_of(n, said, usual, believed)
            found = read(priors[n], evidence)
            objective += found.log_likelihood + _left_out(said, believed, evidence)
            for one in said:
                counts[one.who][:, one.grade] += found.grades[one.index]
        yield Round(believed, objective)
        believed = {who: table / table.sum(1, keepdims=True) for who, table in counts.items()}


def _left_out(said: Sequence[Said], believed: Mapping[str, _Array], evidence: _Array) -> float:
    """What ``evidence_of`` divides by, as a logarithm: the likelihood of the answers under their likeliest grade."""
    logs = np.zeros(evidence.shape)
    for one in said:
        logs[one.index] += np.log(believed[one.who][:, one.grade])
    return float(logs.max(1).sum())
