"""What a study found, as pure functions of its rows: curves, needed shares, what alignment is worth.

Queries are what is sampled: a query's value is its mean over seeds, and every interval is a bootstrap over queries.
What the seeds add stands beside it: the spread of their means. Each comparison draws with the same chance, so a number
does not depend on what else was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.significance import bca_interval, not_worse
from wholepage.evaluation.study_samples import Arm, Sample, gather, paired
from wholepage.evaluation.study_table import Measured
from wholepage.pages.errors import InputError


class Draw(msgspec.Struct, frozen=True):
    """How chance is estimated.

    Attributes:
        margin: how much nDCG@10 counts as not worse.
        level: of the intervals.  resamples: of the bootstrap, and permutations of the tests.  seed: of both.
    Raises:
        InputError: a margin below 0 or not finite. The others are checked where they are used.
    """

    margin: float = 0.005
    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0.0):
            raise InputError(f"margin: got {self.margin}; allowed: 0 or more, finite; 0.005 is usual for nDCG")


DRAW = Draw()


class Point(msgspec.Struct, frozen=True):
    """What an arm reached.

    Attributes:
        share, labels: of the page labels bought; labels are of one training, the mean over folds and seeds.
        queries, seeds: how many.
        ndcg, low, high: the mean over queries and seeds, and its interval over queries.
        seed_std: standard deviation of the seeds' means; None with one seed.
        cross, cross_low, cross_high: the same of the queries' shares of cross-modal pairs in the right order, over the
            queries that have such pairs; None where fewer than two do.
    """

    share: float
    labels: float
    queries: int
    seeds: int
    ndcg: float
    low: float
    high: float
    seed_std: float | None
    cross: float | None
    cross_low: float | None
    cross_high: float | None


class Curve(msgspec.Struct, frozen=True):
    """One method (and variant) on one collection; points by share, rising."""

    collection: str
    method: str
    variant: str
    full_labels: float
    points: tuple[Point, ...]


class Difference(msgspec.Struct, frozen=True):
    """One arm against another, paired by query.

    Attributes:
        share, labels: of the arm.  ndcg, other: what the two reached.
        difference, low, high: ndcg - other, and its interval over queries.
        seed_low, seed_high: the least and the largest difference among the seeds.
        not_worse, better: see ``NonInferiority``.
    """

    share: float
    labels: float
    ndcg: float
    other: float
    difference: float
    low: float
    high: float
    seed_low: float
    seed_high: float
    not_worse: bool
    better: bool


class Needed(msgspec.Struct, frozen=True):
    """How few labels SMAR needs to match page labels alone, all of them.

    Attributes:
        collection, variant: where, and which SMAR.
        full_labels: all page labels.  reference: what SFT reaches with them; None = not measured, nothing is known.
        differences: SMAR at each share against it, shares rising.
        not_worse_at, better_at: the smallest share at which it holds; None = at none measured.
        not_worse_from, better_from: the smallest share from which on it holds at every larger measured share too. This
            is fixed-sequence testing from the largest share down: all claims together keep the level of one.
    """

    collection: str
    variant: str
    full_labels: float
    reference: float | None
    differences: tuple[Difference, ...]
    not_worse_at: float | None
    not_worse_from: float | None
    better_at: float | None
    better_from: float | None


class Half(msgspec.Struct, frozen=True):
    """SMAR against SFT with twice the labels, ``double`` of them and ``double_labels``."""

    collection: str
    variant: str
    double: float
    double_labels: float
    against: Difference


def reached(arm: Arm, sample: Sample, draw: Draw) -> Point:
    """What an arm reached, from its sample.

    Raises:
        InputError: fewer than two queries.
    """
    seeds = sample.ndcg.mean(axis=0)
    low, high = _interval(sample.ndcg.mean(axis=1), draw)
    has_pairs = ~np.isnan(sample.cross).all(axis=1)
    cross = np.nanmean(sample.cross[has_pairs], axis=1) if has_pairs.sum() > 1 else None
    cross_low, cross_high = (None, None) if cross is None else _interval(cross, draw)
    return Point(
        arm.share,
        sample.labels,
        len(sample.queries),
        len(sample.seeds),
        float(sample.ndcg.mean()),
        low,
        high,
        float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
        None if cross is None else float(cross.mean()),
        cross_low,
        cross_high,
    )


def curves(rows: Iterable[Measured], experiment: str, *, draw: Draw = DRAW) -> list[Curve]:
    """What each method reached at each share, by collection, method and variant.

    Raises:
        InputError: rows that do not fit together (see ``study_samples.gather``), or fewer than two queries.
    """
    found = []
    for collection, arms in gather(rows, experiment).items():
        for method, variant in dict.fromkeys((arm.method, arm.variant) for arm in arms):
            line = {arm: sample for arm, sample in arms.items() if (arm.method, arm.variant) == (method, variant)}
            full = math.fsum(sample.full_labels for sample in line.values()) / len(line)
            points = tuple(reached(arm, sample, draw) for arm, sample in line.items())
            found.append(Curve(collection, method, variant, full, points))
    return found


def needed(
    rows: Iterable[Measured],
    *,
    experiment: str = "cost",
    method: str = "smar",
    reference: str = "sft",
    draw: Draw = DRAW,
) -> list[Needed]:
    """The smallest share of page labels with which SMAR matches SFT with all of them, by collection and variant.

    Raises:
        InputError: rows that do not fit together, or queries that only one of the two measured.
    """
    found = []
    for collection, arms in gather(rows, experiment).items():
        for variant, line in _lines(arms, method).items():
            whole = _partner(arms, reference, variant, 1.0)
            shown = () if whole is None else tuple(_compared(collection, a, s, whole, draw) for a, s in line.items())
            full = math.fsum(sample.full_labels for sample in line.values()) / len(line)
            found.append(
                Needed(
                    collection,
                    variant,
                    full if whole is None else whole.full_labels,
                    None if whole is None else float(whole.ndcg.mean()),
                    shown,
                    _first_at(shown, lambda one: one.not_worse),
                    _first_from(shown, lambda one: one.not_worse),
                    _first_at(shown, lambda one: one.better),
                    _first_from(shown, lambda one: one.better),
                )
            )
    return found


def half(
    rows: Iterable[Measured],
    *,
    experiment: str = "cost",
    method: str = "smar",
    reference: str = "sft",
    draw: Draw = DRAW,
) -> list[Half]:
    """SMAR at each share p against SFT at 2p, wherever both were measured: does alignment stand for half of the labels?

    Raises:
        InputError: rows that do not fit together, or queries that only one of the two measured.
    """
    found = []
    for collection, arms in gather(rows, experiment).items():
        for variant, line in _lines(arms, method).items():
            for arm, sample in line.items():
                double = _partner(arms, reference, variant, 2 * arm.share) if arm.share > 0 else None
                if double is not None:
                    against = _compared(collection, arm, sample, double, draw)
                    found.append(Half(collection, variant, 2 * arm.share, double.labels, against))
    return found


def _lines(arms: Mapping[Arm, Sample], method: str) -> dict[str, dict[Arm, Sample]]:
    """The arms of a method by variant."""
    lines: dict[str, dict[Arm, Sample]] = {}
    for arm, sample in arms.items():
        if arm.method == method:
            lines.setdefault(arm.variant, {})[arm] = sample
    return lines


def _partner(arms: Mapping[Arm, Sample], method: str, variant: str, share: float) -> Sample | None:
    """The arm of another method at this share: with the same variant, without one, or the only one there is."""
    there = [a for a in arms if a.method == method and math.isclose(a.share, share, rel_tol=1e-9)]
    for wanted in (variant, ""):
        same = [arm for arm in there if arm.variant == wanted]
        if same:
            return arms[same[0]]
    return arms[there[0]] if len(there) == 1 else None


def _interval(values: NDArray[np.float64], draw: Draw) -> tuple[float, float]:
    return bca_interval(values, level=draw.level, resamples=draw.resamples, seed=draw.seed)


def _compared(collection: str, arm: Arm, sample: Sample, other: Sample, draw: Draw) -> Difference:
    a, b = paired(sample, other, f"{collection}: {arm.method} {arm.variant!r} at {arm.share:g}")
    found = not_worse(
        a.mean(axis=1),
        b.mean(axis=1),
        margin=draw.margin,
        level=draw.level,
        resamples=draw.resamples,
        seed=draw.seed,
    )
    seeds = a.mean(axis=0) - (b.mean(axis=0) if sample.seeds == other.seeds else b.mean())
    return Difference(
        arm.share,
        sample.labels,
        float(a.mean()),
        float(b.mean()),
        found.difference,
        found.low,
        found.high,
        float(seeds.min()),
        float(seeds.max()),
        found.not_worse,
        found.better,
    )


def _first_at(differences: Sequence[Difference], holds: Callable[[Difference], bool]) -> float | None:
    return next((one.share for one in differences if holds(one)), None)


def _first_from(differences: Sequence[Difference], holds: Callable[[Difference], bool]) -> float | None:
    found = None
    for one in reversed(differences):
        if not holds(one):
            break
        found = one.share
    return found
