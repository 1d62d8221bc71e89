"""The rows of a study put together: for each arm, a number for each query and seed.

An arm is what a study compares: a method, with a variant, at a share of the labels, on one collection. Queries are what
is sampled; the folds only say which training measured them, so they are pooled.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.study_table import Measured
from wholepage.pages.errors import InputError


class Arm(msgspec.Struct, frozen=True):
    """What is compared: a method, what is varied, and the share of the page labels it may see."""

    method: str
    variant: str
    share: float


@dataclass(frozen=True)
class Sample:
    """What an arm reached on each query, with each seed.

    Attributes:
        queries: their ids, sorted.  seeds: sorted.
        ndcg: one value each.  cross: share of cross-modal pairs in the right order; NaN = the query has no such pair.
        labels, full_labels: of one training, the mean over folds and seeds.
        strategy: how the labels were chosen.
    Shapes:
        ndcg, cross: [queries, seeds] float
    """

    queries: tuple[str, ...]
    seeds: tuple[int, ...]
    ndcg: NDArray[np.float64]
    cross: NDArray[np.float64]
    labels: float
    full_labels: float
    strategy: str


def gather(rows: Iterable[Measured], experiment: str) -> dict[str, dict[Arm, Sample]]:
    """The samples of an experiment, by collection and arm.

    A collection that several studies measured is told apart by the study's name.

    Returns:
        Collections by name; their arms by method, variant (numbers in it by size) and share. Empty when the
        experiment has no rows.
    Raises:
        InputError: an arm has a query twice, two strategies, two label counts in one training, or queries that only
            some of its seeds measured.
    """
    chosen = [row for row in rows if row.experiment == experiment]
    studies: dict[str, set[str]] = defaultdict(set)
    for row in chosen:
        studies[row.collection].add(row.study)
    grouped: dict[str, dict[Arm, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for row in chosen:
        alone = len(studies[row.collection]) == 1
        place = row.collection if alone else f"{row.collection} ({row.study})"
        grouped[place][Arm(row.method, row.variant, row.share)].append(row)
    return {
        place: {arm: _sample(f"{experiment}, {place}, {_named(arm)}", grouped[place][arm]) for arm in arms}
        for place in sorted(grouped)
        for arms in [sorted(grouped[place], key=lambda arm: (arm.method, by_size(arm.variant), arm.share))]
    }


def by_size(text: str) -> tuple[tuple[float, str], ...]:
    """A key that sorts texts with their numbers by size: ``4:1`` before ``16:1``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((float(part), "") if index % 2 else (-math.inf, part) for index, part in enumerate(parts))


def paired(a: Sample, b: Sample, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of two samples on the same queries.

    Shapes:
        returns: [queries, seeds of a], [queries, seeds of b]
    Raises:
        InputError: a query that only one of them measured.
    """
    apart = sorted(set(a.queries).symmetric_difference(b.queries))
    if apart:
        raise InputError(
            f"{where}: got {len(apart)} queries that only one of the two measured, such as {apart[:3]}; allowed: the "
            "same queries; let the study finish, and measure both on one split"
        )
    return a.ndcg, b.ndcg


def _sample(where: str, rows: Sequence[Measured]) -> Sample:
    _one("strategy", where, {row.strategy for row in rows}, "name the strategy in the variant")
    cells: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    values: dict[tuple[str, int], Measured] = {}
    for row in rows:
        twin = values.get((row.query_id, row.seed))
        if twin is not None:
            raise InputError(
                f"{where}: got query {row.query_id!r} twice for seed {row.seed}, in folds {twin.fold} and {row.fold}; "
                "allowed: once; report each study once, and name what differs in the variant"
            )
        values[row.query_id, row.seed] = row
        cells[row.seed, row.fold].add((row.labels, row.full_labels))
    for (seed, fold), counts in cells.items():
        _one("label count", f"{where}, seed {seed}, fold {fold}", counts, "count the labels of the whole training")
    queries, seeds = sorted({query for query, _ in values}), sorted({seed for _, seed in values})
    if len(values) != len(queries) * len(seeds):
        lost = next((q, s) for q in queries for s in seeds if (q, s) not in values)
        raise InputError(
            f"{where}: got no value of query {lost[0]!r} with seed {lost[1]}, though another seed has one; allowed: "
            "the same queries for each seed; let the study finish"
        )
    table = [[values[query, seed] for seed in seeds] for query in queries]
    labels = [np.mean([next(iter(cells[s, f])) for s, f in cells if s == seed], axis=0) for seed in seeds]
    bought, full = np.mean(labels, axis=0).tolist()
    return Sample(
        tuple(queries),
        tuple(seeds),
        np.array([[row.ndcg for row in line] for line in table], dtype=np.float64),
        np.array(
            [[row.cross_right / row.cross_pairs if row.cross_pairs else math.nan for row in line] for line in table],
            dtype=np.float64,
        ),
        bought,
        full,
        rows[0].strategy,
    )


def _one(what: str, where: str, found: set[str] | set[tuple[int, int]], do: str) -> None:
    if len(found) != 1:
        raise InputError(f"{where}: got more than one {what}: {sorted(found)[:3]}; allowed: one; {do}")


def _named(arm: Arm) -> str:
    return f"{arm.method} {arm.variant!r} at {arm.share:g}"
