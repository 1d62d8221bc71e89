"""How far annotators agree: Krippendorff's alpha with its interval, the plain share of equal answers, Cohen's kappa.

What was judged is a *unit*: a result with its grades, a pair of results with its choices. A unit is given as the
answers to it, in any order: a list, or a row of a table of units by annotators with NaN where somebody gave none. Who
gave which answer does not matter to alpha, so any number of annotators may have answered any part of the units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wholepage.pages.errors import InputError, ShapeError

Metric = Literal["nominal", "ordinal", "interval"]
Units: TypeAlias = "Sequence[Sequence[float]] | NDArray[np.floating]"
_METRICS = ("nominal", "ordinal", "interval")
_WEIGHTS = ("none", "linear", "quadratic")
_CELLS_AT_ONCE = 2_000_000


class UndefinedAgreement(InputError):
    """Agreement cannot be told from these answers.

    Attributes:
        reason: ``no-pairs`` (no unit has two answers) or ``no-variation`` (all answers are the same, so that chance
            would have agreed as well).
    """

    def __init__(self, reason: Literal["no-pairs", "no-variation"], message: str) -> None:
        self.reason = reason
        super().__init__(message)

    def __reduce__(self) -> tuple[type[UndefinedAgreement], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class Agreement(msgspec.Struct, frozen=True):
    """Krippendorff's alpha, and between which bounds it may lie.

    Attributes:
        alpha: 1 = everybody says the same, 0 = no better than chance, below 0 = they disagree on purpose.
        low, high: percentile interval of the bootstrap over units.
        level: of the interval.
        metric: how far apart two answers are.
        units: how many had two answers or more; the others say nothing.
        answers: how many those units had.
        undefined: share of the resamples that had no variation and were left out of the interval.
    """

    alpha: float
    low: float
    high: float
    level: float
    metric: Metric
    units: int
    answers: int
    undefined: float


class _Table(NamedTuple):
    """Units with two answers or more; units with the same answers are one row.

    Shapes:
        categories: [V] the different answers, ascending
        counts: [P, V] how often each was given to a unit of the row
        times: [P] units of the row
    """

    categories: NDArray[np.float64]
    counts: NDArray[np.float64]
    times: NDArray[np.int64]


def krippendorff_alpha(units: Units, metric: Metric = "ordinal") -> float:
    """How far annotators agree beyond chance, from the answers to each unit.

    Args:
        units: one row a unit, the answers to it; NaN = somebody gave none. Rows may differ in length.
        metric: ``nominal`` (the same or not), ``ordinal`` (how many answers lie between), ``interval`` (the square of
            the difference).
    Returns:
        Alpha, at most 1.
    Raises:
        UndefinedAgreement: no unit has two answers, or all answers are the same.
        InputError: another metric, or an infinite answer.
    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability.
    """
    table = _table(units, metric)
    return float(_alphas(table, table.times[None, :].astype(np.float64), metric)[0])


def agreement(
    units: Units, metric: Metric = "ordinal", *, level: float = 0.95, resamples: int = 1000, seed: int
) -> Agreement:
    """Krippendorff's alpha and its interval: units are drawn anew, each with all of its answers.

    The result depends neither on the order of the units nor on the order of the answers.

    Args:
        units, metric: as in ``krippendorff_alpha``.
        level: of the interval.
        resamples: how often all units are drawn anew, with replacement.
        seed: of the draws.
    Raises:
        UndefinedAgreement: no unit has two answers, or all answers are the same.
        InputError: another metric, an infinite answer, a level outside (0, 1), or resamples below 1.
    Source: Zapf et al. 2016, Measuring inter-rater reliability for nominal data.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level: got {level}; allowed: between 0 and 1, both excluded; 0.95 is usual")
    if resamples < 1:
        raise InputError(f"resamples: got {resamples}; allowed: 1 or more; 1000 is usual")
    table = _table(units, metric)
    alpha = float(_alphas(table, table.times[None, :].astype(np.float64), metric)[0])
    total = int(table.times.sum())
    # Units with the same answers are alike, so that drawing units is drawing how many there are of each row.
    drawn = np.random.default_rng(seed).multinomial(total, table.times / total, size=resamples)
    step = max(1, _CELLS_AT_ONCE // table.counts.size)
    parts = [_alphas(table, drawn[i : i + step].astype(np.float64), metric) for i in range(0, resamples, step)]
    found = np.concatenate(parts)
    defined = found[~np.isnan(found)]
    tails = (1.0 - level) / 2.0
    low, high = np.quantile(defined, [tails, 1.0 - tails]) if len(defined) else (alpha, alpha)
    return Agreement(
        alpha=alpha,
        low=float(low),
        high=float(high),
        level=level,
        metric=metric,
        units=total,
        answers=int((table.counts.sum(axis=1) * table.times).sum()),
        undefined=1.0 - len(defined) / resamples,
    )


def pairwise_agreement(units: Units) -> float:
    """The share of pairs of answers to the same unit that are equal; chance is not taken out.

    Args:
        units: as in ``krippendorff_alpha``.
    Raises:
        UndefinedAgreement: no unit has two answers.
        InputError: an infinite answer.
    """
    _, counts = _counted(units)
    pairs = int((counts.sum(axis=1) * (counts.sum(axis=1) - 1)).sum())
    if not pairs:
        raise _no_pairs()
    return int((counts * (counts - 1)).sum()) / pairs


def cohen_kappa(one: ArrayLike, other: ArrayLike, weights: Literal["none", "linear", "quadratic"] = "none") -> float:
    """How far two annotators agree beyond what their own habits would make them agree by chance.

    Unlike alpha it takes each annotator's habits as given: two who never use the same grades have a kappa of 0.

    Args:
        weights: ``none`` counts every difference alike, ``linear`` by its size, ``quadratic`` by the square of it.
    Shapes:
        one, other: [units] the answers of each, paired by place; units that only one answered (NaN) are left out
    Raises:
        ShapeError: not two equal, one-dimensional shapes.
        UndefinedAgreement: no unit was answered by both, or both gave one and the same answer throughout.
        InputError: other weights, or an infinite answer.
    Source: Cohen 1968, Weighted kappa.
    """
    if weights not in _WEIGHTS:
        raise InputError(f"weights: got {weights!r}; allowed: {', '.join(_WEIGHTS)}; choose one")
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError(f"one, other: got {a.shape} and {b.shape}; allowed: equal lengths; pair them by unit")
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = _finite(a[both]), _finite(b[both])
    if not len(a):
        raise _no_pairs()
    gaps = np.abs(a[:, None] - b[None, :])
    apart = (gaps > 0).astype(np.float64) if weights == "none" else gaps if weights == "linear" else gaps**2
    expected = apart.mean()
    if expected == 0.0:
        raise _no_variation(a[0], len(a))
    return float(1.0 - np.diagonal(apart).mean() / expected)


def _alphas(table: _Table, times: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Alpha of each resample, NaN where its answers are all the same.

    Shapes:
        times: [B, P] units of each row in each resample
        return: [B]
    """
    sizes = table.counts.sum(axis=1)
    margins = times @ table.counts  # [B, V]
    given = margins.sum(axis=1)
    if metric == "nominal":
        # Ordered pairs that differ: all but those of equal answers.
        within = sizes**2 - (table.counts**2).sum(axis=1)
        observed = times @ (within / (sizes - 1.0))
        chance = given**2 - (margins**2).sum(axis=1)
    else:
        # An ordinal distance is the distance of midranks, which each resample has its own of.
        at = np.cumsum(margins, axis=1) - margins / 2.0 if metric == "ordinal" else _from_zero(table)[None, :]
        first, second = at @ table.counts.T, (at**2) @ table.counts.T  # [B or 1, P]
        within = 2.0 * (sizes * second - first**2)
        within[:, (table.counts > 0).sum(axis=1) == 1] = 0.0  # equal answers: no rounding makes them differ
        observed = (times * within / (sizes - 1.0)).sum(axis=1)
        chance = 2.0 * (given * (margins * at**2).sum(axis=1) - (margins * at).sum(axis=1) ** 2)
    varied = (margins > 0).sum(axis=1) > 1
    alphas = np.full(len(times), np.nan)
    alphas[varied] = 1.0 - (given[varied] - 1.0) * observed[varied] / chance[varied]
    capped: NDArray[np.float64] = np.minimum(alphas, 1.0)  # rounding may go over
    return capped


def _from_zero(table: _Table) -> NDArray[np.float64]:
    """Answers counted from the lowest: large numbers with small differences keep their digits."""
    shifted: NDArray[np.float64] = table.categories - table.categories[0]
    return shifted


def _table(units: Units, metric: Metric) -> _Table:
    if metric not in _METRICS:
        raise InputError(f"metric: got {metric!r}; allowed: {', '.join(_METRICS)}; choose one")
    categories, counts = _counted(units)
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        raise _no_pairs()
    given = counts.sum(axis=0) > 0
    if given.sum() == 1:
        raise _no_variation(float(categories[given][0]), int(counts.sum()))
    patterns, times = np.unique(counts[:, given], axis=0, return_counts=True)
    return _Table(categories[given], patterns.astype(np.float64), times.astype(np.int64))


def _counted(units: Units) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different answers [V], and how often each was given to each unit [U, V]."""
    rows = [np.asarray(unit, dtype=np.float64) for unit in units]
    for index, row in enumerate(rows):
        if row.ndim != 1:
            raise ShapeError(f"units[{index}]: got shape {row.shape}; allowed: one row of answers; pass one row a unit")
    values = np.concatenate([np.empty(0), *rows])
    unit_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])[~np.isnan(values)]
    categories, place = np.unique(_finite(values[~np.isnan(values)]), return_inverse=True)
    cells = np.bincount(unit_of * len(categories) + place, minlength=len(rows) * len(categories))
    return categories, cells.reshape(len(rows), len(categories)).astype(np.int64)


def _finite(answers: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.isinf(answers).any():
        raise InputError("answers: got an infinite one; allowed: finite numbers, NaN for none; mend or drop it")
    return answers


def _no_pairs() -> UndefinedAgreement:
    return UndefinedAgreement(
        "no-pairs",
        "agreement: got no unit with two answers; allowed: one at least; let two people answer some of the same units",
    )


def _no_variation(answer: float, answers: int) -> UndefinedAgreement:
    return UndefinedAgreement(
        "no-variation",
        f"agreement: got {answers} answers that all are {answer:g}; allowed: two different ones; where nothing varies, "
        "chance agrees as well as people do: look at pairwise_agreement",
    )
