"""Coresets: planted clusters, promises about order and budget, and what each strategy does to coverage."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.training import coreset as module
from wholepage.training.coreset import Coreset, CoresetConfig, Quota, Strategy, coreset, quotas
from wholepage.training.taught import ListKind, TaughtList

STRATEGIES = get_args(Strategy)
BY_CLUSTER = ("uncertain", "central", "stratified")
SIZES = (120, 60, 30, 12, 6, 3)


def taught(name: str, *, ids: str = "", targets: tuple[float, ...] = (2.0, 1.0), who: str = "teacher") -> TaughtList:
    """A list whose content is a name; ids, targets and teacher may differ."""
    results = (Result(f"{ids}a", Modality.TEXT, f"{name} a"), Result(f"{ids}b", Modality.TEXT, f"{name} b"))
    return TaughtList(Page(Query(f"{ids}{name}", name), results), targets, who)


def some(count: int) -> list[TaughtList]:
    return [taught(f"list {i}") for i in range(count)]


def blobs(sizes: tuple[int, ...], dim: int, spread: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Vectors around random centres that lie some 2 * sqrt(2 * dim) apart, and which centre."""
    draw = np.random.default_rng(seed)
    centres = 2 * draw.standard_normal((len(sizes), dim))
    of = np.repeat(np.arange(len(sizes)), sizes)
    return centres[of] + spread * draw.standard_normal((len(of), dim)), of


def content(found: Coreset, lists: list[TaughtList]) -> set[str]:
    return {one.page.query.text for one in found.of(lists)}


# ------------------------------------------------------------------ clusters


@pytest.mark.parametrize("strategy", BY_CLUSTER)
def test_every_planted_cluster_is_represented_by_its_quota(strategy: Strategy) -> None:
    vectors, of = blobs(SIZES, 8, 0.2, 0)
    found = coreset(some(len(of)), vectors, CoresetConfig(24, strategy, clusters=6))
    assert [report.size for report in found.clusters] == list(SIZES)
    assert Counter(of[list(found.indices)].tolist()) == dict(enumerate(quotas(SIZES, 24)))
    assert [report.kept for report in found.clusters] == quotas(SIZES, 24)
    assert [of[report.example] for report in found.clusters] == list(range(6))


def test_random_looks_at_no_cluster() -> None:
    vectors, of = blobs(SIZES, 8, 0.2, 0)
    lists = some(len(of))
    first = coreset(lists, vectors, CoresetConfig(24, "random", clusters=6))
    assert coreset(lists, -(vectors**2), CoresetConfig(24, "random", clusters=3)).indices == first.indices
    drawn = [coreset(lists, vectors, CoresetConfig(24, "random", clusters=2, seed=s)).indices for s in range(60)]
    share = np.bincount(of[np.concatenate(drawn)], minlength=6) / (60 * 24)
    assert share == pytest.approx(np.array(SIZES) / sum(SIZES), abs=0.03)  # three standard errors of the largest


def test_between_two_blobs_is_where_doubt_is() -> None:
    draw = np.random.default_rng(1)
    right = np.stack([1 + 0.1 * draw.standard_normal(40), 0.3 * draw.standard_normal(40)], axis=1)
    between = np.array([[0.05, 0.1], [0.1, -0.2], [0.15, 0.0]])
    half = np.concatenate([right, between])
    vectors = np.concatenate([half, half * [-1, 1]])  # mirrored: the boundary is the line x = 0
    lists = some(len(vectors))
    found = coreset(lists, vectors, CoresetConfig(6, clusters=2))
    assert found.indices == (40, 41, 42, 83, 84, 85)
    assert [report.size for report in found.clusters] == [43, 43]
    assert all(report.kept_confidence < report.confidence for report in found.clusters)
    central = coreset(lists, vectors, CoresetConfig(6, "central", clusters=2))
    near = np.argsort(np.linalg.norm(half - half.mean(axis=0), axis=1))[:3]
    assert central.indices == tuple(sorted([*near, *(near + 43)]))
    assert {report.example for report in central.clusters} == {near[0], near[0] + 43}


def test_clusters_by_themselves_follow_the_square_root() -> None:
    vectors, of = blobs((200,), 4, 1.0, 0)
    lists = some(len(of))
    assert len(coreset(lists, vectors, CoresetConfig(50)).clusters) == 10
    assert len(coreset(lists, vectors, CoresetConfig(4)).clusters) == 4
    assert len(coreset(lists, vectors, CoresetConfig(4, clusters=7)).clusters) == 7
    assert len(coreset(lists[:1], vectors[:1], CoresetConfig(4)).clusters) == 1


def test_more_clusters_than_distinct_vectors() -> None:
    vectors = np.repeat(np.eye(3), 5, axis=0)
    found = coreset(some(15), vectors, CoresetConfig(6, clusters=9))
    assert [(report.size, report.kept) for report in found.clusters] == [(5, 2)] * 3
    alike = coreset(some(15), np.ones((15, 4)), CoresetConfig(6, clusters=9))
    assert [(report.size, report.kept, report.confidence) for report in alike.clusters] == [(15, 6, 1.0)]
    assert alike.rounds == 0
    assert coreset(some(15), np.zeros((15, 4)), CoresetConfig(6)).indices == alike.indices
    # One cluster, all as sure: the hash decides, as it does for vectors that differ.
    assert coreset(some(15), np.arange(15.0)[:, None], CoresetConfig(6, clusters=1)).indices == alike.indices


# ------------------------------------------------------------------ promises


@given(
    distinct=st.integers(1, 40),
    repeats=st.integers(0, 8),
    budget=st.integers(1, 60),
    strategy=st.sampled_from(STRATEGIES),
    quota=st.sampled_from(get_args(Quota)),
    clusters=st.none() | st.integers(1, 12),
    values=st.integers(1, 6),
    seed=st.integers(0, 3),
)
@settings(max_examples=60)
def test_the_budget_is_met_whatever_the_order(
    distinct: int,
    repeats: int,
    budget: int,
    strategy: Strategy,
    quota: Quota,
    clusters: int | None,
    values: int,
    seed: int,
) -> None:
    draw = np.random.default_rng([distinct, repeats, values, seed])
    which = np.concatenate([np.arange(distinct), draw.integers(distinct, size=repeats)])
    vectors = draw.integers(values, size=(distinct, 2))[which].astype(np.float32)  # many alike
    lists = [taught(f"list {i}", ids=f"{n} ") for n, i in enumerate(which)]
    config = CoresetConfig(budget, strategy, clusters, quota, seed)
    found = coreset(lists, vectors, config)
    kept = content(found, lists)
    assert len(kept) == len(found.indices) == min(budget, distinct)
    assert list(found.indices) == sorted(found.indices)
    assert (found.lists, found.duplicates) == (distinct + repeats, repeats)
    assert sum(report.size for report in found.clusters) == distinct
    assert sum(report.kept for report in found.clusters) == len(kept)
    order = draw.permutation(len(lists))
    shuffled = [lists[i] for i in order]
    again = coreset(shuffled, vectors[order], config)
    assert {one.page.query_id for one in again.of(shuffled)} == {one.page.query_id for one in found.of(lists)}
    assert again.coverage == found.coverage
    assert [without_example(r) for r in again.clusters] == [without_example(r) for r in found.clusters]
    assert [shuffled[r.example] for r in again.clusters] == [lists[r.example] for r in found.clusters]


def without_example(report: Any) -> Any:
    return msgspec.structs.replace(report, example=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_many_lists_is_no_matter(strategy: Strategy) -> None:
    vectors, of = blobs((80, 50, 40, 30), 6, 1.5, 3)
    lists = some(len(of))
    order = np.random.default_rng(0).permutation(len(lists))
    config = CoresetConfig(30, strategy, seed=7)
    found = coreset(lists, vectors, config)
    again = coreset([lists[i] for i in order], vectors[order], config)
    assert sorted(order[list(again.indices)]) == list(found.indices)
    assert found == coreset(lists, vectors, config)
    assert again.coverage == found.coverage


def test_the_scale_of_the_vectors_is_no_matter() -> None:
    vectors, of = blobs((80, 50, 40, 30), 6, 1.5, 3)
    lists = some(len(of))
    found = coreset(lists, vectors, CoresetConfig(30))
    for scale in (2.0**-300, 8.0, 2.0**400):
        large = coreset(lists, vectors * scale, CoresetConfig(30))
        assert large.indices == found.indices
        assert large.coverage.mean == found.coverage.mean * scale
    assert coreset(lists, vectors.astype(np.float32), CoresetConfig(30)).indices == found.indices
    assert len(coreset(lists, np.round(vectors).astype(np.int64), CoresetConfig(30)).indices) == 30


def test_seeds_draw_differently() -> None:
    vectors, of = blobs((100,), 6, 1.5, 3)
    lists = some(len(of))
    for strategy in ("stratified", "random"):
        found = {coreset(lists, vectors, CoresetConfig(10, strategy, seed=seed)).indices for seed in range(5)}
        assert len(found) == 5
    # What is drawn for the others is where k-means begins: in a cloud without clusters it ends elsewhere.
    assert len({coreset(lists, vectors, CoresetConfig(10, "central", 9, seed=seed)).indices for seed in range(5)}) > 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_of_all_keeps_all(strategy: Strategy) -> None:
    vectors, _ = blobs((20, 10), 3, 1.0, 0)
    found = coreset(some(30), vectors, CoresetConfig(30, strategy))
    assert found.indices == tuple(range(30)) == coreset(some(30), vectors, CoresetConfig(99, strategy)).indices
    assert (found.coverage.mean, found.coverage.worst, found.share) == (0.0, 0.0, 1.0)


def test_a_cluster_that_gives_nothing_says_so() -> None:
    vectors, of = blobs(SIZES, 8, 0.2, 0)
    found = coreset(some(len(of)), vectors, CoresetConfig(4, clusters=6))
    assert [report.kept for report in found.clusters] == [1, 1, 1, 1, 0, 0]
    assert [report.kept_confidence is None for report in found.clusters] == [False] * 4 + [True] * 2


# ------------------------------------------------------------------ the same list again


def test_a_page_is_kept_once_whatever_its_ids_targets_and_teacher() -> None:
    lists = [
        taught("one"),
        taught("one", ids="x"),
        taught("one", targets=(1.0, 2.0)),
        taught("one", who="another"),
        taught("two"),
    ]
    vectors = np.arange(10.0).reshape(5, 2)
    found = coreset(lists, vectors, CoresetConfig(9))
    assert found.duplicates == 3
    assert content(found, lists) == {"one", "two"}
    kept = found.of(lists)
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        shuffled = [lists[i] for i in order]
        assert {repr(x) for x in coreset(shuffled, vectors[order], CoresetConfig(9)).of(shuffled)} == {
            repr(x) for x in kept
        }


def picture(uri: str, sha256: str | None = None) -> Result:
    return Result("p", Modality.IMAGE, images=(ImageRef(uri, sha256),))


def words(text: str, result_id: str = "w") -> Result:
    return Result(result_id, Modality.TEXT, text)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ([picture("a.png", "AB" * 32), words("x")], [picture("b.png", "ab" * 32), words("x")], True),
        ([picture("a.png"), words("x")], [picture("a.png"), words("x", "other id")], True),
        ([picture("a.png"), words("x")], [picture("b.png"), words("x")], False),
        ([words("x", "1"), words("y", "2")], [words("y", "2"), words("x", "1")], False),
        ([words("x", "1"), words("y", "2")], [words("x", "1"), words("y ", "2")], False),
        ([words("x", "1"), words("\ud800", "2")], [words("x", "1"), words("\ud801", "2")], False),
    ],
)
def test_what_makes_pages_the_same(left: list[Result], right: list[Result], same: bool) -> None:
    lists = [TaughtList(Page(Query(f"q{i}", "q"), tuple(r)), (1.0, 0.0), "t") for i, r in enumerate((left, right))]
    assert coreset(lists, np.eye(2), CoresetConfig(2)).duplicates == same


def test_kinds_are_counted() -> None:
    mixed = [TaughtList(Page(Query(f"m{i}", f"m{i}"), (picture("a"), words("x"))), (1.0, 0.0), "t") for i in range(3)]
    found = coreset([*mixed, *some(1)], np.eye(4), CoresetConfig(9))
    assert found.kinds == {ListKind.MIXED: 3, ListKind.TEXT: 1}
    assert found.shares == {ListKind.MIXED: 0.75, ListKind.TEXT: 0.25}


def test_what_was_found_goes_into_json_and_back() -> None:
    vectors, _ = blobs((20, 10), 3, 1.0, 0)
    found = coreset(some(30), vectors, CoresetConfig(7, clusters=9))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Coreset) == found


# ------------------------------------------------------------------ quotas


@pytest.mark.parametrize(
    ("sizes", "budget", "quota", "wanted"),
    [
        ([60, 30, 10], 10, "size", [6, 3, 1]),
        ([64, 16, 4], 14, "sqrt", [8, 4, 2]),
        ([100, 1, 1], 50, "size", [48, 1, 1]),
        ([5, 5, 5], 4, "size", [2, 1, 1]),
        ([3, 5, 4], 2, "sqrt", [0, 1, 1]),
        ([3, 2], 9, "sqrt", [3, 2]),
        ([3, 2], 0, "sqrt", [0, 0]),
    ],
)
def test_quotas_by_hand(sizes: list[int], budget: int, quota: Quota, wanted: list[int]) -> None:
    assert quotas(sizes, budget, quota) == wanted


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8), budget=st.integers(0, 120))
@pytest.mark.parametrize("quota", get_args(Quota))
def test_quotas_take_the_best_of_all_quotients(quota: Quota, sizes: list[int], budget: int) -> None:
    power = {"size": 1, "sqrt": 2}[quota]
    places = [  # every list of every cluster at once, against one at a time
        (n > 0, -Fraction(size, (2 * n + 1) ** power) if n else 0, -size, cluster)
        for cluster, size in enumerate(sizes)
        for n in range(size)
    ]
    best = Counter(place[-1] for place in sorted(places)[:budget])
    found = quotas(sizes, budget, quota)
    assert found == [best[cluster] for cluster in range(len(sizes))]
    assert all(less <= more for less, more in zip(found, quotas(sizes, budget + 1, quota), strict=True))


@pytest.mark.parametrize(("sizes", "budget", "quota"), [([0, 1], 1, "size"), ([1], -1, "size"), ([1], 1, "log")])
def test_quotas_that_cannot_be_are_refused(sizes: list[int], budget: int, quota: Any) -> None:
    with pytest.raises(InputError, match=f"budget {budget}, quota '{quota}'"):
        quotas(sizes, budget, quota)


# ------------------------------------------------------------------ coverage of the strategies


@pytest.mark.parametrize("spread", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_doubt_costs_coverage(spread: float, seed: int) -> None:
    """In 8 dimensions: central lists cover best, doubtful ones worst; only draws from all lists miss clusters."""
    vectors, of = blobs((150, 100, 50, 30, 20, 10, 5, 5), 8, spread, seed)
    lists = some(len(of))
    mean = {}
    for strategy in STRATEGIES:
        found = coreset(lists, vectors, CoresetConfig(40, strategy, clusters=8, seed=seed))
        rest = np.setdiff1d(np.arange(len(of)), found.indices)
        nearest = cdist(vectors[rest], vectors[list(found.indices)]).min(axis=1)
        assert found.coverage.mean == pytest.approx(nearest.mean())
        assert found.coverage.worst == pytest.approx(nearest.max())
        mean[strategy] = found.coverage.mean
    assert mean["central"] < mean["stratified"] < mean["uncertain"]


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.zeros((4, 2)), r"got vectors \(4, 2\) of float64 for 5 lists"),
        (np.zeros(5), r"\(5,\)"),
        (np.zeros((5, 0)), r"\(5, 0\)"),
        (np.zeros((5, 2, 1)), r"\(5, 2, 1\)"),
        (np.array([["a"]] * 5), "of <U1"),
        (np.zeros((5, 2), complex), "complex128"),
        (np.where(np.eye(5, 3) > 0, np.nan, 1.0), r"not finite in vectors \[0, 1, 2\]"),
        (np.array([[0.0], [0.0], [0.0], [np.inf], [0.0]]), r"not finite in vectors \[3\]"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(vectors: NDArray[Any], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        coreset(some(5), vectors, CoresetConfig(2))


def test_no_list_is_refused() -> None:
    with pytest.raises(InputError, match="got no list"):
        coreset([], np.zeros((0, 3)), CoresetConfig(2))
    with pytest.raises(ShapeError, match="got 4 lists; allowed: the 5"):
        coreset(some(5), np.eye(5), CoresetConfig(2)).of(some(4))


@pytest.mark.parametrize(
    ("name", "value"),
    [("budget", 0), ("strategy", "best"), ("clusters", 0), ("quota", "log"), ("seed", -1), ("seed", 2**32)],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"CoresetConfig\.{name}: got {value!r}"):
        CoresetConfig(**({"budget": 3} | {name: value}))  # type: ignore[arg-type]


def test_it_runs_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    clustered = module.cluster

    def watched(*args: Any, **named: Any) -> Any:
        seen.append({pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
        return clustered(*args, **named)

    monkeypatch.setattr(module, "cluster", watched)
    with threadpoolctl.threadpool_limits(limits=2):
        coreset(some(20), np.random.default_rng(0).standard_normal((20, 3)), CoresetConfig(5))
    assert seen == [{1}]
