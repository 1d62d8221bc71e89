"""What the monotone HMM believes of lists, learned from pilot lists that were graded whole.

Expectation maximisation: each round raises the objective, the log-likelihood plus that of the pseudo-counts; ``climb``
shows it round by round. Pilot lists are those of one ranker and modality: lists of another ranker fall otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.falling import Falling, Passes, confusion_of, kinds_given, passes, total_log
from wholepage.annotation.hmm import HmmParameters, as_rows, places, prior_of
from wholepage.pages.errors import InputError

_Array = NDArray[np.float64]

KINDS, RESAMPLES, ROUNDS = 6, 4, 100
_ENOUGH = 1e-5
"""A fit has arrived when a round gains no more than this part of the objective."""


@dataclass(frozen=True)
class _Tables:
    """Probabilities, or the counts that they come from, as arrays; fields as of ``HmmParameters``."""

    weights: _Array
    start: _Array
    falls: _Array
    slips: _Array

    def prior(self, n: int) -> Falling:
        return prior_of(self.weights, self.start, self.falls, self.slips, n)

    def plus(self, other: _Tables) -> _Tables:
        return _Tables(*(a + b for a, b in zip(_fields(self), _fields(other), strict=True)))

    def normalised(self) -> _Tables:
        return _Tables(*(table / table.sum(-1, keepdims=True) for table in _fields(self)))

    def log_prior(self, pseudo: _Tables) -> float:
        """Logarithm of the pseudo-counts' prior, but for a constant."""
        pairs = zip(_fields(self), _fields(pseudo), strict=True)
        return float(sum((counts[counts > 0] * np.log(table[counts > 0])).sum() for table, counts in pairs))


class _Group(NamedTuple):
    """Different pilot lists of one length: how often each comes, and what is known of its grades ``[n, lists, L]``."""

    counts: _Array
    evidence: _Array


class Round(NamedTuple):
    """A round of the climb: what is believed, and how well that fits the lists and the pseudo-counts."""

    believed: _Tables
    objective: float

    @property
    def parameters(self) -> HmmParameters:
        """What is believed, as it is kept."""
        return _together([self.believed])


def fit_hmm(
    lists: Sequence[Sequence[int]],
    levels: int,
    *,
    kinds: int = KINDS,
    resamples: int = RESAMPLES,
    error: float = 0.0,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> HmmParameters:
    """Learn what lists are like.

    Pilot lists are few, and what fits them best is too sure of itself. So several resamples of them are fitted, and all
    fits are believed together: where they differ the posterior stays wide, and an engine claims no more than it knows.

    Args:
        lists: the grades of each pilot list in the ranker's order, best first; of any lengths, in any order.
        levels: grades run from 0 to ``levels - 1``.
        kinds: of lists, each resample's own.
        resamples: drawn with replacement; 1 = the lists themselves are fitted, once.
        error: chance of a wrong grade in the pilot lists, each wrong one as likely.
        rounds: most rounds of a fit.
        seed: of the draws.
    Returns:
        ``kinds * resamples`` kinds of lists.
    Raises:
        InputError: no list that holds a result, or a grade or number out of range.
    """
    if resamples < 1 or rounds < 1:
        raise InputError(f"fit_hmm: got resamples={resamples}, rounds={rounds}; allowed: 1 or more; raise them")
    _check(lists, levels, kinds, error)
    known = sorted(tuple(one) for one in lists if len(one))
    found = []
    for index in range(resamples):
        draws = np.random.default_rng([seed, index]).integers(len(known), size=len(known))
        part = known if resamples == 1 else [known[i] for i in draws]
        found.append(_top(climb(part, levels, kinds, error, deepest=max(map(len, known))), rounds))
    return _together(found)


def climb(
    lists: Sequence[Sequence[int]], levels: int, kinds: int = KINDS, error: float = 0.0, deepest: int = 0
) -> Iterator[Round]:
    """One fit, round by round and without end; the objective never falls.

    At first the kinds are shares of the lists by their mean grade.

    Args:
        lists, levels, kinds, error: as for ``fit_hmm``.
        deepest: tables are made for lists of such a length at least.
    Raises:
        InputError: no list that holds a result, or a grade or number out of range.
    """
    _check(lists, levels, kinds, error)
    groups = _groups(lists, levels, error)
    deep = max(deepest, *(len(group.evidence) for group in groups), 2)
    pseudo = _pseudo_counts(kinds, int(places(deep - 1)[-1]) + 1, levels)
    neutral = pseudo.normalised()
    first = [_expected(neutral, group, shares) for group, shares in zip(groups, _by_mean(groups, kinds), strict=True)]
    return _climb(groups, _summed([pseudo, *(counts for counts, _ in first)]).normalised(), pseudo)


def _climb(groups: Sequence[_Group], believed: _Tables, pseudo: _Tables) -> Iterator[Round]:
    while True:
        found = [_expected(believed, group) for group in groups]
        yield Round(believed, sum(logs for _, logs in found) + believed.log_prior(pseudo))
        believed = _summed([pseudo, *(counts for counts, _ in found)]).normalised()


def _together(fits: Sequence[_Tables]) -> HmmParameters:
    """Several fits as one belief: their kinds side by side, each fit as likely."""
    return HmmParameters(
        tuple(float(weight) / len(fits) for fit in fits for weight in fit.weights),
        tuple(row for fit in fits for row in as_rows(fit.start)),
        tuple(tuple(as_rows(step) for step in table) for fit in fits for table in fit.falls),
        tuple(as_rows(table) for fit in fits for table in fit.slips),
    )


def _top(rounds: Iterator[Round], most: int) -> _Tables:
    before = next(rounds)
    for _, here in zip(range(most - 1), rounds, strict=False):
        arrived = here.objective - before.objective <= _ENOUGH * abs(here.objective)
        before = here
        if arrived:
            break
    return before.believed


def _expected(believed: _Tables, group: _Group, shares: _Array | None = None) -> tuple[_Tables, float]:
    """Counts expected of a group's lists given what is believed, and their log-likelihood.

    Args:
        shares: of each list in each kind, [kinds, lists]; None = what is believed.
    """
    prior = believed.prior(len(group.evidence))
    found = passes(prior, group.evidence)
    if shares is None:
        shares = kinds_given(believed.weights, found.log_likelihoods)
    shares = shares * group.counts
    explained = (found.levels / found.emitted) * shares[..., None]
    counts = _Tables(
        shares.sum(1),
        (found.levels[0] * shares[..., None]).sum(1),
        _expected_falls(prior, found, shares, believed.falls.shape),
        (np.swapaxes(explained, -1, -2) @ group.evidence[:, None]).sum(0) * believed.slips,
    )
    return counts, float(group.counts @ total_log(believed.weights, found.log_likelihoods))


def _expected_falls(prior: Falling, found: Passes, shares: _Array, shape: tuple[int, ...]) -> _Array:
    counts = np.zeros(shape)
    at = np.minimum(places(max(len(prior.steps), 1)), shape[1] - 1)
    above, below = found.above * found.emitted, found.below * found.emitted
    for i, step in enumerate(prior.steps):
        # Of each list the pairs of levels are above x step x below, to be divided by their sum.
        part = above[i] * (shares / ((above[i] @ step) * below[i + 1]).sum(-1))[..., None]
        counts[:, at[i]] += (np.swapaxes(part, -1, -2) @ below[i + 1]) * step
    return counts


def _summed(tables: Sequence[_Tables]) -> _Tables:
    total, *rest = tables
    for table in rest:
        total = total.plus(table)
    return total


def _pseudo_counts(kinds: int, deep: int, levels: int) -> _Tables:
    """What is believed before any list is seen, in counts: levels mostly stay, grades mostly are the level."""
    same = np.eye(levels, dtype=bool)
    falls = np.tril(np.where(same, 1.0, 0.2))
    return _Tables(
        np.full(kinds, 0.5),
        np.full((kinds, levels), 0.2),
        np.tile(falls, (kinds, deep, 1, 1)),
        np.tile(np.where(same, 1.0, 0.1), (kinds, 1, 1)),
    )


def _by_mean(groups: Sequence[_Group], kinds: int) -> list[_Array]:
    """Each group's lists shared out among the kinds: nine tenths to the one that their mean grade falls into."""
    means = [(group.evidence @ np.arange(group.evidence.shape[-1])).mean(0) for group in groups]
    values, counts = np.concatenate(means), np.concatenate([group.counts for group in groups])
    order = np.argsort(values, kind="stable")
    middles = np.empty(len(values))
    middles[order] = (counts[order].cumsum() - counts[order] / 2) / counts.sum()
    shares = np.full((kinds, len(values)), 0.1 / kinds)
    shares[np.minimum((middles * kinds).astype(int), kinds - 1), np.arange(len(values))] += 0.9
    return np.split(shares, np.cumsum([len(of) for of in means])[:-1], axis=1)


def _groups(lists: Sequence[Sequence[int]], levels: int, error: float) -> list[_Group]:
    known = np.eye(levels) if error == 0 else confusion_of(error, levels)
    by_length: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for grades, count in sorted(Counter(tuple(one) for one in lists if len(one)).items()):
        by_length.setdefault(len(grades), []).append((grades, count))
    return [
        _Group(
            np.array([count for _, count in of], np.float64),
            np.ascontiguousarray(known.T[np.array([grades for grades, _ in of]).T]),
        )
        for _, of in sorted(by_length.items())
    ]


def _check(lists: Sequence[Sequence[int]], levels: int, kinds: int, error: float) -> None:
    if levels < 2 or kinds < 1 or not 0 <= error < 0.5:
        raise InputError(
            f"fit_hmm: got levels={levels}, kinds={kinds}, error={error}; allowed: 2 levels or more, 1 kind or more, "
            "an error from 0 to below .5"
        )
    if not any(len(one) for one in lists):
        raise InputError("fit_hmm: got no pilot list that holds a result; allowed: one; grade some lists whole")
    strange = sorted({grade for one in lists for grade in one if grade not in range(levels)})
    if strange:
        raise InputError(
            f"fit_hmm: got grades {strange[:5]}; allowed: whole numbers from 0 to {levels - 1}; raise levels, or round "
            "the grades"
        )


def _fields(tables: _Tables) -> tuple[_Array, ...]:
    return tables.weights, tables.start, tables.falls, tables.slips
