"""Few, good lists of many: clusters of lists that are alike, and from each those that a light classifier doubts.

A list that lies between two clusters is worth more to a student than the hundredth from the middle of one. What is kept
depends on what the lists hold, on their vectors and on the seed; never on the order of the lists.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError, require
from wholepage.pages.model import ImageRef, Page
from wholepage.training.list_clusters import (
    Confidence,
    Coverage,
    cluster,
    coverage,
    from_means,
    pseudo_label_confidence,
    scaled,
)
from wholepage.training.taught import ListKind, TaughtList

Strategy: TypeAlias = Literal["uncertain", "central", "stratified", "random"]
Quota: TypeAlias = Literal["sqrt", "size"]

_POWER: Mapping[str, int] = MappingProxyType({"size": 1, "sqrt": 2})


class CoresetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep of a stage's lists.

    Attributes:
        budget: lists to keep; all distinct ones when there are no more.
        strategy: which lists of a cluster come first. ``uncertain``: those whose own cluster the classifier finds least
            probable. ``central``: those nearest to the cluster's mean. ``stratified``: at random; they cover the rest
            more closely than the doubtful ones. ``random`` draws from all lists and does not look at clusters. The last
            three are there to compare with.
        clusters: None = the square root of half the number of distinct lists, and no more than the budget. Never more
            than there are distinct vectors.
        quota: what a cluster's share of the budget grows with, its size or the square root of it; see ``quotas``.
        seed: of the clusters' first centres and of what is drawn.
    Raises:
        InputError: a setting out of range; it is named.
    """

    budget: int
    strategy: Strategy = "uncertain"
    clusters: int | None = None
    quota: Quota = "sqrt"
    seed: int = 0

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, object, bool, str], ...] = (
            ("budget", self.budget, self.budget >= 1, "1 or more"),
            ("strategy", self.strategy, self.strategy in get_args(Strategy), ", ".join(get_args(Strategy))),
            ("clusters", self.clusters, self.clusters is None or self.clusters >= 1, "1 or more, or None"),
            ("quota", self.quota, self.quota in get_args(Quota), ", ".join(get_args(Quota))),
            ("seed", self.seed, 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        )
        for name, got, right, allowed in ranges:
            if not right:
                raise InputError(f"CoresetConfig.{name}: got {got!r}; allowed: {allowed}; change it")


class ClusterReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a cluster.

    Attributes:
        size: distinct lists in it.  kept: of them.
        confidence: the classifier's mean, over all its lists; kept_confidence: over those kept, None where none is.
        example: index of the list nearest to the cluster's mean; look at it to see what the cluster is about.
    """

    size: int
    kept: int
    confidence: float
    kept_confidence: float | None
    example: int


class Coreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lists kept, and what that did.

    Attributes:
        indices: of the lists kept, rising.
        lists: how many there were.  duplicates: of them, left out because the same page is there already.
        kinds: kept lists by kind, kinds without one left out.
        clusters: the largest first.
        coverage: of the distinct lists, in the units of the vectors given.
        rounds: that the classifier was trained; 0 = there was one cluster, so every confidence is 1.
        config: as asked.
    """

    indices: tuple[int, ...]
    lists: int
    duplicates: int
    kinds: dict[ListKind, int]
    clusters: tuple[ClusterReport, ...]
    coverage: Coverage
    rounds: int
    config: CoresetConfig

    @property
    def share(self) -> float:
        """Lists kept over all lists."""
        return len(self.indices) / self.lists

    @property
    def shares(self) -> dict[ListKind, float]:
        """Share of each kind among the lists kept."""
        return {kind: count / len(self.indices) for kind, count in self.kinds.items()}

    def of(self, lists: Sequence[TaughtList]) -> list[TaughtList]:
        """The lists kept, in the order given.

        Raises:
            ShapeError: not as many lists as there were.
        """
        if len(lists) != self.lists:
            raise ShapeError(
                f"coreset: got {len(lists)} lists; allowed: the {self.lists} it was chosen from; pass them all"
            )
        return [lists[i] for i in self.indices]


def coreset(lists: Sequence[TaughtList], vectors: NDArray[np.floating], config: CoresetConfig) -> Coreset:
    """Choose few lists to train on: of each cluster those that a light classifier is least sure of.

    Lists of one page (same query, same results in the same order, whatever their ids and targets) are kept once: the
    first by the hash of all that the list holds. The rest are sorted by their hash, clustered by k-means, and a linear
    classifier stopped early learns to tell the clusters apart; its probability of a list's own cluster is the
    confidence. Each cluster gives its quota, in the order of the strategy; ties go by the hash.

    The same lists, vectors and seed give the same result on one machine, for all of it runs on one thread.

    Args:
        vectors: ``list_vectors(...)``, or any others; their scale does not matter.
    Shapes:
        vectors: [len(lists), dim], finite
    Raises:
        InputError: no list.
        ShapeError: not one vector a list, or numbers that are not finite.
        MissingExtra: scikit-learn is not installed whole.
    Source: ours, for the coreset that arXiv 2601.20623 is said to train on; a classifier's probability of the own label
        as confidence: Swayamdipta et al. 2020, Dataset cartography.
    """
    rows = _checked(lists, vectors)
    names, order = zip(*_distinct(lists, rows), strict=True)
    rows = rows[list(order)]
    with require("threadpoolctl", "train").threadpool_limits(limits=1):  # sums over threads do not repeat
        points = scaled(rows)
        labels = cluster(points, _how_many(config, len(order)), seed=config.seed)
        sure, apart = pseudo_label_confidence(points, labels), from_means(points, labels)
        chosen = _choose(config, names, labels, sure, apart)
        covered = coverage(rows, chosen)
    kinds = [lists[order[i]].kind for i in chosen]
    return Coreset(
        indices=tuple(sorted(order[i] for i in chosen)),
        lists=len(lists),
        duplicates=len(lists) - len(order),
        kinds={kind: kinds.count(kind) for kind in ListKind if kind in kinds},
        clusters=_reports(order, labels, sure, apart, chosen),
        coverage=covered,
        rounds=sure.rounds,
        config=config,
    )


def quotas(sizes: Sequence[int], budget: int, quota: Quota = "sqrt") -> list[int]:
    """How many lists of each cluster are kept: in all the budget, or everything where there is no more.

    First every cluster gives one, the largest first. Each further one comes from the cluster for which weight / (2 *
    given + 1) is largest (Sainte-Laguë), the weight being the size or its square root, until a cluster has no more. A
    larger budget never takes from a cluster what a smaller one gave it. Ties go to the larger cluster, then to the
    earlier.

    Raises:
        InputError: a cluster of no list, a negative budget, or an unknown quota.
    """
    if budget < 0 or quota not in _POWER or any(size < 1 for size in sizes):
        raise InputError(
            f"quotas: got sizes {list(sizes)[:5]}, budget {budget}, quota {quota!r}; allowed: sizes of 1 or more, a "
            f"budget of 0 or more, {', '.join(_POWER)}; change it"
        )
    given = [0] * len(sizes)
    # Squared where the weight is a square root: fractions compare exactly.
    heap = [(0, Fraction(0), -size, place) for place, size in enumerate(sizes)]
    heapq.heapify(heap)
    for _ in range(min(budget, sum(sizes))):
        place = heapq.heappop(heap)[-1]
        given[place] += 1
        if given[place] < sizes[place]:
            worth = Fraction(sizes[place], (2 * given[place] + 1) ** _POWER[quota])
            heapq.heappush(heap, (1, -worth, -sizes[place], place))
    return given


def _checked(lists: Sequence[TaughtList], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    if not lists:
        raise InputError("coreset: got no list; allowed: one or more; see what the teacher left")
    given = np.asarray(vectors)
    if given.dtype.kind not in "fiu" or given.ndim != 2 or len(given) != len(lists) or not given.shape[1]:
        raise ShapeError(
            f"coreset: got vectors {given.shape} of {given.dtype} for {len(lists)} lists; allowed: "
            f"({len(lists)}, dim) numbers; pass list_vectors(lists, ...)"
        )
    if not np.isfinite(given).all():
        bad = np.flatnonzero(~np.isfinite(given).all(axis=1))
        raise ShapeError(
            f"coreset: got numbers that are not finite in vectors {bad[:5].tolist()}; allowed: finite; mend the encoder"
        )
    return given.astype(np.float64)


def _distinct(lists: Sequence[TaughtList], rows: NDArray[np.float64]) -> list[tuple[str, int]]:
    """Hash of the page and index of each distinct list, sorted: of lists of one page the first by all they hold."""
    keys = sorted((_page_hash(one.page), _hash(one), rows[i].tobytes(), i) for i, one in enumerate(lists))
    first: dict[str, int] = {}
    for page_hash, _, _, index in keys:
        first.setdefault(page_hash, index)
    return list(first.items())


def _page_hash(page: Page) -> str:
    """Of what a student sees: ids do not count, and a picture is its bytes where their hash is known."""

    def seen(ref: ImageRef) -> ImageRef:
        return ImageRef(ref.sha256.lower()) if ref.sha256 else ref

    query = msgspec.structs.replace(page.query, query_id="query", image=page.query.image and seen(page.query.image))
    results = [
        msgspec.structs.replace(result, result_id=str(place), images=tuple(map(seen, result.images)))
        for place, result in enumerate(page.results)
    ]
    return _hash(Page(query, tuple(results)))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(msgspec.to_builtins(value), sort_keys=True).encode()).hexdigest()


def _how_many(config: CoresetConfig, lists: int) -> int:
    return config.clusters or max(1, min(round(math.sqrt(lists / 2)), config.budget))


def _choose(
    config: CoresetConfig,
    names: Sequence[str],
    labels: NDArray[np.intp],
    sure: Confidence,
    apart: NDArray[np.float64],
) -> list[int]:
    """Rows kept; they are sorted by their hash, so that the row itself breaks ties."""
    if config.strategy == "uncertain":
        first = np.argsort(sure.values, kind="stable")
    elif config.strategy == "central":
        first = np.argsort(apart, kind="stable")
    else:
        drawn = [hashlib.sha256(f"coreset:{config.seed}:{name}".encode()).digest() for name in names]
        first = np.array(sorted(range(len(names)), key=lambda i: drawn[i]))
    if config.strategy == "random":
        return sorted(int(i) for i in first[: config.budget])
    sizes = np.bincount(labels).tolist()
    given = quotas(sizes, config.budget, config.quota)
    return sorted(int(i) for label, count in enumerate(given) for i in first[labels[first] == label][:count])


def _reports(
    order: Sequence[int],
    labels: NDArray[np.intp],
    sure: Confidence,
    apart: NDArray[np.float64],
    chosen: Sequence[int],
) -> tuple[ClusterReport, ...]:
    kept = np.zeros(len(labels), bool)
    kept[list(chosen)] = True
    reports = []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        mine = members[kept[members]]
        reports.append(
            ClusterReport(
                size=len(members),
                kept=len(mine),
                confidence=float(sure.values[members].mean()),
                kept_confidence=float(sure.values[mine].mean()) if len(mine) else None,
                example=order[members[apart[members].argmin()]],
            )
        )
    return tuple(reports)
