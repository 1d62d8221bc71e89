"""What a study found, against plain means over the same rows, and what its statements need to hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from statistics import fmean, stdev
from zlib import crc32

import msgspec
import numpy as np
import pytest

from wholepage.evaluation.significance import bca_interval, holm, not_worse, permutation_test
from wholepage.evaluation.study import Draw, curves, half, needed
from wholepage.evaluation.study_ablation import Ablated, ablation
from wholepage.evaluation.study_samples import Arm, by_size, gather
from wholepage.evaluation.study_table import Measured
from wholepage.pages.errors import InputError

DRAW = Draw(resamples=300)
QUERIES = 60


def cell(
    method: str,
    share: float,
    level: float,
    *,
    experiment: str = "cost",
    collection: str = "c",
    variant: str = "",
    strategy: str | None = None,
    study: str = "s",
    seeds: Iterable[int] = (0, 1),
    queries: int = QUERIES,
    spread: float = 0.01,
) -> list[Measured]:
    """A cell in two folds of 100 and 50 labels: each query has its own level, each row some chance."""
    own = np.random.default_rng(1).normal(0, 0.1, queries)
    spec = strategy if strategy is not None else f"top(p={share})" if 0 < share < 1 else ""
    found = []
    for seed in seeds:
        chance = np.random.default_rng(crc32(f"{method} {share} {variant} {seed}".encode()))
        noise = chance.normal(0, 1, queries)
        noise = spread * (noise - noise.mean())  # so that the mean is the level, exactly
        for i in range(queries):
            fold, full = i % 2, 100 if i % 2 else 50
            labels, pairs = round(share * full), i % 4
            value = float(level + own[i] - own.mean() + noise[i])
            found.append(
                Measured(
                    *(study, experiment, collection, method, variant, spec, share, seed, fold, labels, full),
                    *(f"q{i:02}", value, min(pairs, seed + 1), pairs),
                )
            )
    return found


def cost(smar: dict[float, float], sft: dict[float, float], **same: object) -> list[Measured]:
    rows = [row for share, level in smar.items() for row in cell("smar", share, level, **same)]  # type: ignore[arg-type]
    return rows + [row for share, level in sft.items() for row in cell("sft", share, level, **same)]  # type: ignore[arg-type]


# ------------------------------------------------------------------ curves


def test_points_are_means_over_queries_and_seeds() -> None:
    rows = cost({0.1: 0.5, 0.5: 0.6}, {1.0: 0.6}) + cell("zscore", 0.0, 0.4, seeds=[0])
    random.Random(0).shuffle(rows)
    found = {(one.method, point.share): point for one in curves(rows, "cost", draw=DRAW) for point in one.points}
    assert list(found) == [("sft", 1.0), ("smar", 0.1), ("smar", 0.5), ("zscore", 0.0)]
    for (method, share), point in found.items():
        mine = [row for row in rows if (row.method, row.share) == (method, share)]
        by_seed = [fmean(row.ndcg for row in mine if row.seed == seed) for seed in {row.seed for row in mine}]
        assert point.ndcg == pytest.approx(fmean(row.ndcg for row in mine))
        assert point.low < point.ndcg < point.high
        assert point.labels == pytest.approx(75 * share)
        assert (point.queries, point.seeds) == (QUERIES, len(by_seed))
        assert point.seed_std == (None if len(by_seed) == 1 else pytest.approx(stdev(by_seed), abs=1e-12))
        cross = {
            row.query_id: fmean(r.cross_right / r.cross_pairs for r in mine if r.query_id == row.query_id)
            for row in mine
            if row.cross_pairs
        }
        assert point.cross == pytest.approx(fmean(cross.values()))
        values = [fmean(r.ndcg for r in mine if r.query_id == query) for query in sorted({r.query_id for r in mine})]
        assert (point.low, point.high) == pytest.approx(bca_interval(values, resamples=300, seed=0))


def test_a_point_does_not_depend_on_what_else_was_measured_nor_on_order() -> None:
    alone = curves(cell("smar", 0.1, 0.5), "cost", draw=DRAW)
    rows = cell("smar", 0.1, 0.5)[::-1] + cell("sft", 0.1, 0.5) + cell("smar", 0.1, 0.5, collection="d")
    assert alone[0] in curves(rows, "cost", draw=DRAW)


def test_what_has_no_pairs_has_no_accuracy() -> None:
    rows = [msgspec.structs.replace(row, cross_right=0, cross_pairs=0) for row in cell("smar", 0.1, 0.5)]
    (line,) = curves(rows, "cost", draw=DRAW)
    assert (line.points[0].cross, line.points[0].cross_low) == (None, None)


def test_other_experiments_are_left_out() -> None:
    assert curves(cell("smar", 0.1, 0.5, experiment="where"), "cost", draw=DRAW) == []
    assert needed([], draw=DRAW) == half([], draw=DRAW) == ablation([], "where", draw=DRAW) == []


def test_one_collection_of_two_studies_is_two() -> None:
    rows = cell("smar", 0.1, 0.5) + cell("smar", 0.1, 0.6, study="transfer")
    assert [line.collection for line in curves(rows, "cost", draw=DRAW)] == ["c (s)", "c (transfer)"]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda rows: [*rows, rows[0]], r"'q00' twice for seed 0"),
        (lambda rows: [*rows, msgspec.structs.replace(rows[0], fold=1)], "in folds 0 and 1"),
        (lambda rows: rows[1:], "no value of query 'q00' with seed 0"),
        (lambda rows: [*rows[1:], msgspec.structs.replace(rows[0], strategy="x")], "more than one strategy"),
        (lambda rows: [*rows[1:], msgspec.structs.replace(rows[0], labels=1)], "more than one label count"),
    ],
)
def test_rows_that_do_not_fit_are_refused(spoil: Callable[[list[Measured]], list[Measured]], named: str) -> None:
    with pytest.raises(InputError, match=named):
        gather(spoil(cell("smar", 0.1, 0.5)), "cost")


def test_one_query_says_nothing() -> None:
    with pytest.raises(InputError, match="2 or more"):
        curves(cell("smar", 0.1, 0.5, queries=1), "cost", draw=DRAW)


def test_numbers_in_variants_sort_by_size() -> None:
    assert sorted(["16:1", "as it is", "4:1", "4:0.5", ""], key=by_size) == ["", "4:0.5", "4:1", "16:1", "as it is"]


# ------------------------------------------------------------------ needed, half


def test_the_smallest_shares_are_found() -> None:
    levels = {0.01: 0.55, 0.1: 0.6, 0.3: 0.62, 1.0: 0.63}
    (found,) = needed(cost(levels, {0.1: 0.5, 1.0: 0.6}), draw=DRAW)
    assert (found.not_worse_at, found.not_worse_from, found.better_at, found.better_from) == (0.1, 0.1, 0.3, 0.3)
    assert found.reference == pytest.approx(0.6)
    assert found.full_labels == 75
    assert [one.difference for one in found.differences] == pytest.approx([-0.05, 0.0, 0.02, 0.03], abs=1e-9)
    assert all(one.ndcg - one.other == pytest.approx(one.difference) for one in found.differences)


def test_a_lucky_share_is_told_from_one_that_holds() -> None:
    (found,) = needed(cost({0.1: 0.62, 0.3: 0.55, 0.5: 0.6, 1.0: 0.62}, {1.0: 0.6}), draw=DRAW)
    assert (found.not_worse_at, found.not_worse_from, found.better_at, found.better_from) == (0.1, 0.5, 0.1, 1.0)
    (found,) = needed(cost({0.1: 0.62, 1.0: 0.55}, {1.0: 0.6}), draw=DRAW)
    assert (found.not_worse_at, found.not_worse_from) == (0.1, None)
    (found,) = needed(cost({0.1: 0.5}, {1.0: 0.6}), draw=DRAW)
    assert (found.not_worse_at, found.better_at, found.better_from) == (None, None, None)


def test_differences_are_those_of_means_over_seeds_paired_by_query() -> None:
    rows = cost({0.1: 0.598}, {1.0: 0.6})
    (found,) = needed(rows, draw=DRAW)
    means = {
        method: [fmean(r.ndcg for r in rows if (r.method, r.query_id) == (method, f"q{i:02}")) for i in range(QUERIES)]
        for method in ("smar", "sft")
    }
    same = not_worse(means["smar"], means["sft"], resamples=300, seed=0)
    (one,) = found.differences
    assert (one.difference, one.low, one.high) == pytest.approx((same.difference, same.low, same.high))
    assert (one.not_worse, one.better) == (same.not_worse, same.better)


def test_the_band_of_seeds_pairs_equal_seeds() -> None:
    rows = cell("smar", 0.1, 0.5, seeds=[0]) + cell("smar", 0.1, 0.7, seeds=[1])
    rows += cell("sft", 1.0, 0.5, seeds=[0]) + cell("sft", 1.0, 0.69, seeds=[1])
    (one,) = needed(rows, draw=DRAW)[0].differences
    assert (one.seed_low, one.seed_high) == pytest.approx((0.0, 0.01))
    rows = [row for row in rows if (row.method, row.seed) != ("sft", 1)]
    (one,) = needed(rows, draw=DRAW)[0].differences
    assert (one.seed_low, one.seed_high) == pytest.approx((0.0, 0.2))


def test_without_the_reference_nothing_is_said() -> None:
    (found,) = needed(cost({0.1: 0.6}, {0.3: 0.6}), draw=DRAW)
    assert (found.reference, found.differences, found.not_worse_at, found.better_at) == (None, (), None, None)
    assert needed(cell("sft", 1.0, 0.6), draw=DRAW) == []


def test_half_pairs_a_share_with_its_double() -> None:
    rows = cost({0.1: 0.6, 0.15: 0.6, 0.2: 0.5, 0.5: 0.7}, {0.2: 0.6, 0.3: 0.61, 0.4: 0.6, 1.0: 0.65})
    found = half(rows, draw=DRAW)
    assert [(one.against.share, one.double) for one in found] == [(0.1, 0.2), (0.15, 0.3), (0.2, 0.4), (0.5, 1.0)]
    assert [one.against.difference for one in found] == pytest.approx([0, -0.01, -0.1, 0.05], abs=1e-9)
    assert [one.against.not_worse for one in found] == [True, False, False, True]
    assert [one.double_labels for one in found] == [15, 22.5, 30, 75]
    assert half(cost({0.0: 0.6, 0.2: 0.6}, {0.1: 0.6, 1.0: 0.6}), draw=DRAW) == []


def test_queries_that_only_one_measured_are_refused() -> None:
    rows = cell("smar", 0.1, 0.6) + cell("sft", 1.0, 0.6, queries=QUERIES - 1)
    with pytest.raises(InputError, match=r"1 queries that only one .*'q59'"):
        needed(rows, draw=DRAW)


def test_a_margin_is_a_size() -> None:
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="margin"):
            Draw(margin=margin)


# ------------------------------------------------------------------ ablations


def swept(experiment: str, arms: dict[tuple[str, str, float], float]) -> list[Measured]:
    return [
        row
        for (method, variant, share), level in arms.items()
        for row in cell(method, share, level, experiment=experiment, variant=variant, strategy="x")
    ]


def references(found: list[Ablated]) -> dict[Arm, Arm | None]:
    return {Arm(one.method, one.variant, one.point.share): one.reference for one in found}


def test_an_ablation_is_corrected_for_all_its_comparisons() -> None:
    levels = {("smar", "random", 0.2): 0.6, ("smar", "top", 0.2): 0.605, ("smar", "window", 0.2): 0.55}
    rows = swept("where", levels)
    found = {one.variant: one for one in ablation(rows, "where", draw=DRAW)}
    assert found["random"].reference is None
    assert found["random"].p_holm is None
    means = {v: [fmean(r.ndcg for r in rows if (r.variant, r.query_id) == (v, f"q{i:02}")) for i in range(QUERIES)]
             for v in found}  # fmt: skip
    p = [permutation_test(means[v], means["random"], permutations=300, seed=0) for v in ("top", "window")]
    assert [found[v].p for v in ("top", "window")] == pytest.approx(p)
    assert [found[v].p_holm for v in ("top", "window")] == pytest.approx(holm(p))
    assert found["window"].difference == pytest.approx(-0.05)
    assert found["window"].high is not None
    assert found["window"].high < -0.04


def test_an_arm_is_compared_with_its_own_counterpart() -> None:
    levels = {(m, v, s): 0.5 for m, s in (("smar", 0.1), ("sft", 0.1), ("zscore", 0.0)) for v in ("1:1", "8:1")}
    found = references(ablation(swept("imbalance", levels), "imbalance", draw=DRAW))
    assert found[Arm("smar", "8:1", 0.1)] == Arm("sft", "8:1", 0.1)
    assert found[Arm("zscore", "1:1", 0.0)] == Arm("sft", "1:1", 0.1)
    found = references(ablation(swept("imbalance", levels), "imbalance", reference="1:1", draw=DRAW))
    assert found[Arm("smar", "8:1", 0.1)] == Arm("smar", "1:1", 0.1)
    assert found[Arm("smar", "1:1", 0.1)] is None
    levels = {("smar", v, s): 0.5 for v in ("whole", "few") for s in (0.1, 0.2)}
    found = references(ablation(swept("budget", levels), "budget", reference="whole", draw=DRAW))
    assert found[Arm("smar", "few", 0.2)] == Arm("smar", "whole", 0.2)


def test_a_method_that_the_variant_does_not_touch_is_one_arm() -> None:
    same = cell("sft", 0.1, 0.5, experiment="alignment", strategy="x")
    rows = swept("alignment", {("smar", "align=kl", 0.1): 0.6, ("smar", "align=listwise", 0.1): 0.61})
    for variant in ("align=kl", "align=listwise"):
        rows += [msgspec.structs.replace(row, variant=variant) for row in same]
    found = references(ablation(rows, "alignment", draw=DRAW))
    assert found == {
        Arm("sft", "", 0.1): None,
        Arm("smar", "align=kl", 0.1): Arm("sft", "", 0.1),
        Arm("smar", "align=listwise", 0.1): Arm("sft", "", 0.1),
    }


def test_thinned_pages_are_compared_on_the_queries_of_both() -> None:
    rows = swept("imbalance", {("smar", "1:1", 0.1): 0.5, ("smar", "8:1", 0.1): 0.6})
    rows = [row for row in rows if (row.variant, row.query_id) != ("8:1", "q07")]
    found = {one.variant: one for one in ablation(rows, "imbalance", draw=DRAW)}
    assert (found["1:1"].point.queries, found["8:1"].point.queries, found["8:1"].queries) == (60, 59, 59)
    apart = [msgspec.structs.replace(row, query_id=f"{row.variant}{row.query_id}") for row in rows]
    with pytest.raises(InputError, match="0 queries that both"):
        ablation(apart, "imbalance", draw=DRAW)


def test_a_reference_nobody_measured_is_refused() -> None:
    rows = swept("loss", {("smar", "plain", 0.1): 0.5, ("smar", "tanh", 0.1): 0.4})
    with pytest.raises(InputError, match=r"reference='none'.*\['plain', 'smar', 'tanh'\]"):
        ablation(rows, "loss", reference="none", draw=DRAW)
