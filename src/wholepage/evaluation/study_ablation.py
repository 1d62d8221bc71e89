"""Ablations of a study: the arms of one experiment, each against a reference, corrected for being tested together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.significance import bca_interval, holm, permutation_test
from wholepage.evaluation.study import DRAW, Draw, Point, reached
from wholepage.evaluation.study_samples import Arm, Sample, by_size, gather
from wholepage.evaluation.study_table import Measured
from wholepage.pages.errors import InputError

_BY_VARIANT = ("where", "budget", "loss")


class Ablated(msgspec.Struct, frozen=True):
    """One arm of an ablation.

    Attributes:
        reference: the arm it is compared with; None = it is the reference, or there is nothing to compare with.
        queries: compared, those that both measured; 0 without a reference.
        difference, low, high, p, p_holm: from the reference; p is the two-sided permutation test's, corrected for all
            comparisons of this experiment on this collection. None without a reference.
    """

    collection: str
    method: str
    variant: str
    strategy: str
    point: Point
    reference: Arm | None
    queries: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None


def ablation(
    rows: Iterable[Measured], experiment: str, *, reference: str | None = None, draw: Draw = DRAW
) -> list[Ablated]:
    """Each arm of an experiment, and its difference from a reference.

    Args:
        rows: of the study.
        experiment: its name.
        reference: a variant or a method. An arm is compared with that variant of its own method, or with that method at
            its own variant, and at its own share, each where it was measured; else with the only such arm there is;
            else with none. None = the first of these that was measured: a variant that begins with ``random``, the
            method ``sft`` (but where ways to spend labels or losses are compared), the first variant.
        draw: how chance is estimated.
    Raises:
        InputError: rows that do not fit together, two arms with fewer than two queries in common, or a reference that
            no collection has.
    """
    found: list[Ablated] = []
    known = False
    for collection, measured in gather(rows, experiment).items():
        arms = _merged(measured)
        name = _usual_reference(experiment, arms) if reference is None else reference
        candidates = [arm for arm in arms if name in (arm.variant, arm.method)]
        known = known or bool(candidates)
        twins = {arm: None if arm in candidates else _counterpart(arm, candidates, name) for arm in arms}
        found += _ablated(collection, arms, twins, draw)
    if found and not known:
        raise InputError(
            f"ablation {experiment!r}: got reference={reference!r}; allowed: a variant or method that was measured: "
            f"{sorted({one.variant for one in found} | {one.method for one in found})}; name one of them"
        )
    return found


def _merged(arms: Mapping[Arm, Sample]) -> dict[Arm, Sample]:
    """The arms, where a method that no variant touches, while they touch another, is one arm without a variant."""
    lines: dict[tuple[str, float], list[Sample]] = {}
    for arm, sample in arms.items():
        lines.setdefault((arm.method, arm.share), []).append(sample)
    untouched = {
        line
        for line, samples in lines.items()
        if len(samples) > 1
        and all(one.queries == samples[0].queries and np.array_equal(one.ndcg, samples[0].ndcg) for one in samples)
    }
    if {method for method, _ in lines} == {method for method, _ in untouched}:
        return dict(arms)
    merged: dict[Arm, Sample] = {}
    for arm, sample in arms.items():
        alone = (arm.method, arm.share) in untouched
        merged.setdefault(Arm(arm.method, "", arm.share) if alone else arm, sample)
    return merged


def _ablated(collection: str, arms: Mapping[Arm, Sample], twins: Mapping[Arm, Arm | None], draw: Draw) -> list[Ablated]:
    pairs = {arm: _shared(collection, arms[arm], arms[twin]) for arm, twin in twins.items() if twin is not None}
    tested = {
        arm: permutation_test(d, np.zeros_like(d), permutations=draw.resamples, seed=draw.seed)
        for arm, d in pairs.items()
    }
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    found = []
    for arm, sample in arms.items():
        point = reached(arm, sample, draw)
        names = (collection, arm.method, arm.variant, sample.strategy, point)
        if arm not in pairs:
            found.append(Ablated(*names, None, 0, None, None, None, None, None))
            continue
        d = pairs[arm]
        low, high = bca_interval(d, level=draw.level, resamples=draw.resamples, seed=draw.seed)
        mean = math.fsum(d.tolist()) / len(d)
        found.append(Ablated(*names, twins[arm], len(d), mean, low, high, tested[arm], corrected[arm]))
    return found


def _shared(collection: str, a: Sample, b: Sample) -> NDArray[np.float64]:
    """a - b on the queries of both: a page that is thinned out may lose all that was relevant."""
    mine, theirs = (dict(zip(s.queries, s.ndcg.mean(axis=1).tolist(), strict=True)) for s in (a, b))
    both = [query for query in a.queries if query in theirs]
    if len(both) < 2:
        raise InputError(
            f"{collection}: got {len(both)} queries that both arms measured; allowed: 2 or more; measure them on one "
            "split"
        )
    return np.array([mine[query] - theirs[query] for query in both], dtype=np.float64)


def _usual_reference(experiment: str, arms: Iterable[Arm]) -> str:
    variants = sorted({arm.variant for arm in arms}, key=by_size)
    drawn = [variant for variant in variants if variant.startswith("random")]
    if drawn:
        return drawn[0]
    others = experiment not in _BY_VARIANT and {arm.method for arm in arms} > {"sft"}
    return "sft" if others else variants[0]


def _counterpart(arm: Arm, candidates: Sequence[Arm], name: str) -> Arm | None:
    left = [one for one in candidates if one.variant == name and one.method == arm.method]
    left = left or [one for one in candidates if one.method == name and one.variant == arm.variant] or [*candidates]
    left = [one for one in left if one.share == arm.share] or left
    return left[0] if len(left) == 1 else None
