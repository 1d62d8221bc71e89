"""Is the difference more than luck: paired tests and intervals over queries.

Everything is per query and paired: two rankers are compared on the queries both answered. Every random draw comes from
the seed given, and each comparison of a table uses that same seed, so a result does not depend on what stands beside it
(its Holm correction does, as it must).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from wholepage.pages.errors import InputError, ShapeError


class Comparison(msgspec.Struct, frozen=True):
    """One ranker against the reference.

    Attributes:
        name: of the ranker.  queries: how many were compared.
        difference: its mean minus the reference's.  low, high: BCa interval of it.
        p: of the two-sided permutation test.  p_holm: corrected for all comparisons of the table.
    """

    name: str
    queries: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


class NonInferiority(msgspec.Struct, frozen=True):
    """Whether one ranker is not worse than another by more than a margin.

    Attributes:
        queries: how many were compared.
        difference: the mean of a - b.  low, high: its two-sided interval.
        margin, level: what was asked.
        not_worse: the whole interval lies above -margin.  better: it lies above 0.
    """

    queries: int
    difference: float
    low: float
    high: float
    margin: float
    level: float
    not_worse: bool
    better: bool


def permutation_test(a: ArrayLike, b: ArrayLike, *, permutations: int = 10_000, seed: int) -> float:
    """How often luck alone would make two rankers differ this much in the mean, whoever is called a.

    For each query the two values are exchanged or not; all ways are tried when there are at most ``permutations`` of
    them, else that many random ones (then the p-value counts the observed way too, and is never 0).

    Shapes:
        a, b: [queries] float, paired by place
    Returns:
        The two-sided p-value, in (0, 1]; 1.0 when no query differs.
    Raises:
        ShapeError: not two equal, one-dimensional shapes.
        InputError: no query, a value that is not finite, or permutations below 1.
    Source: Smucker, Allan, Carterette 2007, A comparison of statistical significance tests for IR evaluation.
    """
    first, second = _numbers("a", a), _numbers("b", b)
    if first.shape != second.shape:
        raise ShapeError(f"a, b: got {first.shape} and {second.shape}; allowed: equal lengths; pair them by query")
    if permutations < 1:
        raise InputError(f"permutations: got {permutations}; allowed: 1 or more; 10000 is usual")
    return _flip_test(first - second, permutations, seed)


def bca_interval(values: ArrayLike, *, level: float = 0.95, resamples: int = 5000, seed: int) -> tuple[float, float]:
    """Where the mean over all queries of this kind may lie, by the bias-corrected, accelerated bootstrap.

    Where the correction is undefined (numbers so alike that their spread vanishes), it is the percentile interval.

    Shapes:
        values: [queries] float, two or more
    Returns:
        low, high; both the value itself when all values are equal.
    Raises:
        InputError: fewer than two values, one that is not finite, a level outside (0, 1), or resamples below 1.
    Source: Efron 1987, Better bootstrap confidence intervals.
    """
    numbers = _numbers("values", values)
    if len(numbers) < 2:
        raise InputError("values: got 1; allowed: 2 or more; one query says nothing of the others")
    if not 0.0 < level < 1.0:
        raise InputError(f"level: got {level}; allowed: between 0 and 1, both excluded; 0.95 is usual")
    if resamples < 1:
        raise InputError(f"resamples: got {resamples}; allowed: 1 or more; 5000 is usual")
    if (numbers == numbers[0]).all():
        return float(numbers[0]), float(numbers[0])
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of the undefined correction that is handled here
            interval = stats.bootstrap(
                (numbers,),
                np.mean,
                n_resamples=resamples,
                confidence_level=level,
                method=method,
                batch=max(1, 2_000_000 // len(numbers)),  # the same draws as at once, in less memory
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    return float(interval.low), float(interval.high)


def not_worse(
    a: ArrayLike,
    b: ArrayLike,
    *,
    margin: float = 0.005,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int,
) -> NonInferiority:
    """Is a as good as b, but for a margin too small to matter: a test of non-inferiority, paired by query.

    Both answers are read off the lower end of the two-sided interval (BCa bootstrap over queries), so that at 95 % each
    is wrong in about 2.5 of 100 cases at the border. Not to be shown not worse is not to be worse: look at ``high``.

    Args:
        a, b: where there are several seeds, their mean for each query: what is drawn anew is queries.
        margin: what counts as nothing, in the unit of the values.
    Shapes:
        a, b: [queries] float, paired by place
    Raises:
        ShapeError: not two equal, one-dimensional shapes.
        InputError: fewer than two queries, a value or margin that is not finite, a margin below 0, or an option of
            ``bca_interval`` out of range.
    Source: Piaggio et al. 2012, Reporting of noninferiority and equivalence randomized trials (CONSORT).
    """
    if not (math.isfinite(margin) and margin >= 0.0):
        raise InputError(f"margin: got {margin}; allowed: 0 or more, finite; 0.005 is usual for nDCG")
    first, second = _numbers("a", a), _numbers("b", b)
    if first.shape != second.shape:
        raise ShapeError(f"a, b: got {first.shape} and {second.shape}; allowed: equal lengths; pair them by query")
    low, high = bca_interval(first - second, level=level, resamples=resamples, seed=seed)
    difference = math.fsum((first - second).tolist()) / len(first)
    return NonInferiority(len(first), difference, low, high, margin, level, low > -margin, low > 0.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for having been tested together, each in its own place.

    Raises:
        InputError: one is not between 0 and 1.
    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    for index, p in enumerate(p_values):
        if not 0.0 <= p <= 1.0:
            raise InputError(f"p_values[{index}]: got {p}; allowed: 0 to 1; leave out what was not tested")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = highest
    return corrected


def compare_to(
    reference: Mapping[str, float],
    others: Mapping[str, Mapping[str, float]],
    *,
    seed: int,
    level: float = 0.95,
    permutations: int = 10_000,
    resamples: int = 5000,
) -> list[Comparison]:
    """Each ranker against the reference: by how much, between what bounds, and is it more than luck.

    Args:
        reference: the reference's value for each query (``Evaluation.of(measure)``).
        others: by ranker name, theirs; for the same queries. Queries where either value is NaN are left out, and
            ``Comparison.queries`` says how many were not.
    Returns:
        One comparison a ranker, in the order of ``others``.
    Raises:
        InputError: the queries differ, fewer than two can be compared, or an option is out of range.
    """
    rows = []
    for name, other in others.items():
        differences = _paired(reference, name, other)
        low, high = bca_interval(differences, level=level, resamples=resamples, seed=seed)
        p = permutation_test(differences, np.zeros_like(differences), permutations=permutations, seed=seed)
        rows.append((name, differences, low, high, p))
    corrected = holm([p for *_, p in rows])
    return [
        Comparison(name, len(d), math.fsum(d.tolist()) / len(d), low, high, p, p_holm)
        for (name, d, low, high, p), p_holm in zip(rows, corrected, strict=True)
    ]


def _flip_test(differences: NDArray[np.float64], permutations: int, seed: int) -> float:
    found = stats.permutation_test(
        (differences,),
        lambda d, axis: np.mean(d, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, 2_000_000 // len(differences)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return float(min(1.0, found.pvalue))


def _paired(reference: Mapping[str, float], name: str, other: Mapping[str, float]) -> NDArray[np.float64]:
    apart = sorted(set(reference).symmetric_difference(other))
    if apart:
        raise InputError(
            f"{name!r} against the reference: got {len(apart)} queries that only one of them has, such as {apart[:3]}; "
            "allowed: the same queries; evaluate both on one split"
        )
    pairs = np.array([(other[q], reference[q]) for q in sorted(reference)], dtype=np.float64).reshape(-1, 2)
    known = pairs[~np.isnan(pairs).any(axis=1)]
    if len(known) < 2:
        raise InputError(
            f"{name!r} against the reference: got {len(known)} queries that both have a value for; allowed: 2 or more; "
            "evaluate more queries"
        )
    return _numbers(name, known[:, 0] - known[:, 1])


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ShapeError(f"{name}: got shape {numbers.shape}; allowed: [queries]; pass one value a query")
    if len(numbers) == 0:
        raise InputError(f"{name}: got no value; allowed: one a query; evaluate some queries first")
    if not np.isfinite(numbers).all():
        place = int(np.argmin(np.isfinite(numbers)))
        raise InputError(f"{name}[{place}]: got {numbers[place]}; allowed: finite numbers; leave that query out")
    return numbers
