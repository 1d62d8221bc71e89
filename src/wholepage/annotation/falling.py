"""Lists whose hidden level falls, and what answers tell of them: exact inference by forward-backward.

A list is of one of several kinds. Its hidden level starts high or low and never rises; a result's grade is its level,
or what the level slips to; an answer is the grade, or what the annotator confuses it with. Given the levels, results
are independent, so that one pass down the list and one up it give every probability: O(kinds * n * levels^2).

Source: own derivation; the passes are those of Rabiner (1989), scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.said import Said

_Array = NDArray[np.float64]
_LEAST = 1e-100
"""Nothing is ever less likely than that: contradicting answers must not divide zero by zero."""

LEAST_ERROR = 1e-6
"""Nobody is so sure that a contradiction is impossible."""


@dataclass(frozen=True)
class Falling:
    """The prior of one list, of a result at least.

    Attributes:
        weights: how likely each kind of list is.
        start: of the first result's level.
        steps: from a result's level (row) to the next one's (column); need not sum to 1, only ratios matter.
        slips: from a result's level (row) to its grade (column).
    Shapes:
        weights: [kinds];  start: [kinds, L];  steps: [n - 1, kinds, L, L];  slips: [kinds, L, L]
    """

    weights: _Array
    start: _Array
    steps: _Array
    slips: _Array

    @cached_property
    def both_ways(self) -> _Array:
        """The steps down the list beside those up it: ``[n - 1, 2 kinds, L, L]``."""
        return np.concatenate([self.steps, np.swapaxes(self.steps[::-1], -1, -2)], axis=1)

    @cached_property
    def flat_slips(self) -> _Array:
        """``[kinds * L, L]``."""
        return np.ascontiguousarray(self.slips.reshape(-1, self.slips.shape[-1]))


class Reading(NamedTuple):
    """What answers tell.

    Attributes:
        grades: probability of each grade, rows sum to 1.
        kinds: probability of each kind of list.
        log_likelihood: of the answers, but for what is the same whatever the prior.
    Shapes:
        grades: [n, L];  kinds: [kinds]
    """

    grades: _Array
    kinds: _Array
    log_likelihood: float


class Passes(NamedTuple):
    """Both passes over one list or many of a length.

    Attributes:
        levels: probability of each level given all answers, rows sum to 1.
        above, below: of each level, what the results above and below say, up to a factor a row.
        emitted: likelihood of the result's own answers.
        log_likelihoods: of all answers, by kind of list.
    Shapes:
        levels, above, below, emitted: [n, kinds, lists, L];  log_likelihoods: [kinds, lists]
    """

    levels: _Array
    above: _Array
    below: _Array
    emitted: _Array
    log_likelihoods: _Array


def read(prior: Falling, evidence: _Array) -> Reading:
    """The posterior of every grade of one list.

    Args:
        evidence: likelihood of the answers on each result for each of its grades, up to a factor; ones = no answer.
    Shapes:
        evidence: [n, L], n at least 1
    """
    found = passes(prior, evidence[:, None])
    kinds = kinds_given(prior.weights, found.log_likelihoods)[:, 0]
    # P(grade | answers) = sum over levels of P(level | answers) P(grade | level, its own answers)
    share = (found.levels / found.emitted)[:, :, 0] * kinds[:, None]
    grades = (share.reshape(len(evidence), -1) @ prior.flat_slips) * evidence
    grades /= grades.sum(1, keepdims=True)
    return Reading(grades, kinds, float(total_log(prior.weights, found.log_likelihoods)[0]))


def passes(prior: Falling, evidence: _Array) -> Passes:
    """Both passes for every kind of list and every list at once.

    Shapes:
        evidence: [n, lists, L], n at least 1
    """
    kinds = len(prior.weights)
    emitted = np.maximum(evidence[:, None] @ np.swapaxes(prior.slips, -1, -2), _LEAST)
    # The pass up the list is a pass down the list turned over: both go side by side.
    own = np.concatenate([emitted, emitted[::-1]], axis=1)
    told = np.empty_like(own)
    told[0, :kinds], told[0, kinds:] = prior.start[:, None], 1.0
    for i in range(1, len(evidence)):
        here = told[i - 1] * own[i - 1]
        here /= here.sum(-1, keepdims=True)
        np.maximum(here @ prior.both_ways[i - 1], _LEAST, out=told[i])
    above, below = told[:, :kinds], told[::-1, kinds:]
    levels = above * emitted
    log_likelihoods = np.log(levels.sum(-1)).sum(0)
    levels *= below
    levels /= levels.sum(-1, keepdims=True)
    return Passes(levels, above, below, emitted, log_likelihoods)


def kinds_given(weights: _Array, log_likelihoods: _Array) -> _Array:
    """Probability of each kind of list: ``[kinds, lists]``."""
    scaled = weights[:, None] * np.exp(log_likelihoods - log_likelihoods.max(0))
    return np.asarray(scaled / scaled.sum(0))


def total_log(weights: _Array, log_likelihoods: _Array) -> _Array:
    """Log-likelihood of each list over all its kinds: ``[lists]``."""
    top = log_likelihoods.max(0)
    return np.asarray(top + np.log(weights @ np.exp(log_likelihoods - top)))


def evidence_of(n: int, said: Sequence[Said], usual: _Array, of: Mapping[str, _Array]) -> _Array:
    """Likelihood of the answers for each grade, the largest 1: ``[n, L]``.

    Args:
        said: in an order of their own, so that rounding does not depend on the order they came in.
        usual: confusion of annotators not in ``of``: from the grade (row) to the answer (column).
    """
    logs = np.zeros((n, len(usual)))
    for one in said:
        logs[one.index] += np.log(of.get(one.who, usual)[:, one.grade])
    return np.maximum(np.exp(logs - logs.max(1, keepdims=True)), _LEAST) if n else logs


def gains(grades: _Array, confusion: _Array) -> _Array:
    """Bits that one more answer on each result is expected to tell of the list: ``[n]``.

    An answer depends on nothing but the result's grade, so that what it tells of the list is what it tells of that
    grade: the entropy of the answer less that of the annotator's confusion.

    Shapes:
        grades: [n, L];  confusion: [L, L]
    """
    return np.asarray(_entropy(grades @ confusion) - grades @ _entropy(confusion))


def confusion_of(error: float, levels: int) -> _Array:
    """An annotator who errs with this chance, each wrong grade as likely: from the grade (row) to the answer."""
    wrong = max(error, LEAST_ERROR)
    return np.asarray(np.where(np.eye(levels, dtype=bool), 1.0 - wrong, wrong / (levels - 1)))


def _entropy(rows: _Array) -> _Array:
    return np.asarray(-(rows * np.log2(np.maximum(rows, _LEAST))).sum(-1))
