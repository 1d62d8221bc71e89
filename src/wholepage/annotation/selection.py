"""Which results to ask people about: of each modality's list a share, within a budget of labels.

How to choose is a value (``strategies``). What is drawn for a query depends on the seed and the query's id alone, never
on its neighbours or on the order of pages. Counts are exact: a share is read as the decimal it is written as, so
``0.29`` of 100 results are 29.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np

from wholepage.annotation.draws import drawn, drawn_share, half_up
from wholepage.annotation.strategies import (
    Active,
    Anchors,
    Bottom,
    Concentrated,
    Random,
    Spread,
    Strategy,
    Top,
    WholePages,
    Window,
    parse_strategy,
)
from wholepage.pages.errors import InputError, NoRanker, ShapeError
from wholepage.pages.model import Modality, Page, Ranking

__all__ = [
    "Active",
    "Anchors",
    "Bottom",
    "Concentrated",
    "Counts",
    "ListKey",
    "Random",
    "Selection",
    "Spread",
    "Strategy",
    "Top",
    "WholePages",
    "Window",
    "check_rankings",
    "drawn_from_strata",
    "lists_of",
    "parse_strategy",
    "select",
]

Counts = Literal["within-budget", "at-least-one"]
ListKey: TypeAlias = tuple[str, Modality]
"""Names the list of one modality on the page of one query."""

PAGE_SHARE = Fraction(1, 3)
"""Of the lists of a page, what ``Concentrated`` buys."""


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is bought, and of how much.

    Attributes:
        bought: result ids to ask about, in page order, by query; a page of which nothing is bought has ``()``.
        full: labels that judging all pages once would take.
        strategy: its spec.  counts: how the share was made whole.  seed: of the draw.
    Raises:
        InputError: an id is named twice, more is bought than there is, or the strategy cannot be read.
    """

    bought: dict[str, tuple[str, ...]]
    full: int
    strategy: str
    counts: Counts
    seed: int

    def __post_init__(self) -> None:
        parse_strategy(self.strategy)
        for query_id, ids in self.bought.items():
            if len(set(ids)) != len(ids):
                raise InputError(
                    f"selection: query {query_id!r}: got {len(ids)} ids, {len(set(ids))} of them different; "
                    "allowed: each result once; remove the repeats"
                )
        if self.labels > self.full:
            raise InputError(
                f"selection: got {self.labels} labels of {self.full}; allowed: at most all; mend the field full"
            )

    @property
    def labels(self) -> int:
        """How many labels are bought."""
        return sum(map(len, self.bought.values()))

    @property
    def share(self) -> float:
        """Labels bought over labels of judging everything; 0.0 where there is nothing to judge."""
        return self.labels / self.full if self.full else 0.0

    def to_json(self) -> bytes:
        """The selection as one JSON object, queries sorted by id."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, text: bytes | str) -> Selection:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: it is not JSON, or not a selection.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"selection: got {error}; allowed: the JSON that Selection.to_json writes") from error


def select(
    pages: Sequence[Page],
    rankings_by_modality: Sequence[Mapping[Modality, Ranking]],
    strategy: Strategy,
    *,
    seed: int,
    counts: Counts = "within-budget",
) -> Selection:
    """Choose the results to ask people about.

    ``within-budget`` buys floor(p * all results) labels in all, never more: each list gets floor(p * its length), the
    rest goes to modalities by largest remainder and inside a modality to lists by a hash of the query, with chances in
    proportion to what each list lost by rounding down. The hash is the query's: a page favoured in one modality is
    favoured in the others too, so that its labels can be compared. Whole pages are taken in the order of the hash,
    leaving out those that no longer fit; so are the pages of ``Concentrated``. Windows share out all results among
    them, so that one may cost a label more than floor(p * all results): floor(hi * all) - floor(lo * all).
    ``at-least-one`` buys max(1, p * length rounded half up) of every list (or pages), as the paper does; short lists
    make that cost more than p.

    Args:
        pages: each query once.
        rankings_by_modality: for each page the order of each modality's results; ``Random`` and ``WholePages`` do not
            need them.
        strategy: what to buy of a list.
        seed: of everything random.
        counts: how a share becomes a whole number.
    Raises:
        ShapeError: not one mapping of rankings a page.
        NoRanker: the strategy needs the order of a modality that has none.
        DecodingError: a ranking is not a permutation of its modality's results.
        InputError: a query comes twice, ``counts`` is something else, or the budget buys no label.
    Source: arXiv 2510.16803, Top-P and random-P annotation.
    """
    if counts not in get_args(Counts):
        raise InputError(f"select: got counts={counts!r}; allowed: {', '.join(get_args(Counts))}; choose one")
    if isinstance(strategy, (Anchors, Active)):
        raise InputError(
            f"select: got {strategy.spec}, whose questions depend on answers; allowed: strategies that need none, such "
            f"as concentrated(p={strategy.p}); call buying.buy with an annotator, or buying.opening for the first step"
        )
    check_rankings(pages, rankings_by_modality, strategy)
    full = sum(map(len, pages))
    if isinstance(strategy, WholePages):
        whole = _whole_pages(pages, strategy, seed, counts)
        bought = {page.query_id: page.result_ids if page.query_id in whole else () for page in pages}
    else:
        lists = lists_of(pages, rankings_by_modality)
        if isinstance(strategy, Window):
            chosen = _window(lists, strategy, seed, counts)
        else:
            taken = _counts({key: len(ids) for key, ids in lists.items()}, strategy, seed, counts)
            chosen = {key: set(_take(strategy, ids, taken[key], key, seed)) for key, ids in lists.items()}
        bought = {
            page.query_id: tuple(r.result_id for r in page.results if r.result_id in chosen[page.query_id, r.modality])
            for page in pages
        }
    selection = Selection(bought, full, strategy.spec, counts, seed)
    if full and not selection.labels:
        raise InputError(
            f"select: got {strategy.spec} of {full} results on {len(pages)} pages, which buys no label; allowed: one "
            f"label at least; raise p, bring more pages, or count with counts='at-least-one'"
        )
    return selection


def check_rankings(pages: Sequence[Page], rankings: Sequence[Mapping[Modality, Ranking]], strategy: Strategy) -> None:
    """Refuse pages and rankings that a strategy cannot choose from.

    Raises:
        ShapeError: not one mapping of rankings a page.
        NoRanker: the strategy needs the order of a modality that has none.
        DecodingError: a ranking is not a permutation of its modality's results.
        InputError: a query comes twice.
    """
    if len(pages) != len(rankings):
        raise ShapeError(
            f"select: got {len(rankings)} mappings of rankings for {len(pages)} pages; allowed: one a page, in the "
            "same order; {} for a page without rankings"
        )
    seen: dict[str, int] = {}
    for index, (page, by_modality) in enumerate(zip(pages, rankings, strict=True)):
        if seen.setdefault(page.query_id, index) != index:
            raise InputError(
                f"select: pages[{seen[page.query_id]}] and pages[{index}] are both of query {page.query_id!r}; "
                "allowed: each query once; merge or rename them"
            )
        for modality, ranking in by_modality.items():
            ranking.check(page.only(modality))
        missing = [m.value for m in page.modalities if m not in by_modality]
        if missing and strategy.reads_ranks:
            raise NoRanker(
                f"select: pages[{index}] of query {page.query_id!r}: got no ranking of {missing}; allowed: one for "
                f"each modality present, as {strategy.spec} reads ranks; rank it, or use random(p={strategy.p})"
            )


def lists_of(pages: Sequence[Page], rankings: Sequence[Mapping[Modality, Ranking]]) -> dict[ListKey, tuple[str, ...]]:
    """Result ids of each modality of each page in their ranking's order; in page order where there is no ranking."""
    lists: dict[ListKey, tuple[str, ...]] = {}
    for page, by_modality in zip(pages, rankings, strict=True):
        for modality in page.modalities:
            ranked = by_modality.get(modality)
            lists[page.query_id, modality] = ranked.result_ids if ranked else page.only(modality).result_ids
    return lists


def _take(strategy: Strategy, ids: tuple[str, ...], count: int, key: ListKey, seed: int) -> Sequence[str]:
    if isinstance(strategy, Top):
        return ids[:count]
    if isinstance(strategy, Bottom):
        return ids[len(ids) - count :]
    query_id, modality = key
    draw = np.random.default_rng(drawn(seed, query_id, modality.value))
    if isinstance(strategy, Random):
        # Sorted, and the head of one permutation: the order received changes nothing, and more labels keep the fewer.
        return [sorted(ids)[i] for i in draw.permutation(len(ids))[:count]]
    if isinstance(strategy, Concentrated) and count:
        return [ids[0], *drawn_from_strata(ids[1:], count - 1, draw)]
    return drawn_from_strata(ids, count, draw)


def drawn_from_strata(ids: tuple[str, ...], count: int, draw: np.random.Generator) -> list[str]:
    """One at random out of each of ``count`` equal strata of a list."""
    edges = [stratum * len(ids) // count for stratum in range(count + 1)] if count else []
    return [ids[draw.integers(low, high)] for low, high in pairwise(edges)]


def _window(
    lists: Mapping[ListKey, tuple[str, ...]], strategy: Window, seed: int, counts: Counts
) -> dict[ListKey, set[str]]:
    """The ranks in the band of each list.

    Each result stands at a height of its list, its rank and a part of the next (drawn for the query) over the length,
    so that where a bound falls between two ranks it is now above and now below. The results of all lists in order of
    their heights are cut at floor(lo * all) and floor(hi * all): the cost is exact to one label, and windows that meet
    share out all there is.
    """
    low, high = strategy.bounds
    if counts == "at-least-one":
        chosen = {}
        for key, ids in lists.items():
            first, end = half_up(low * len(ids)), half_up(high * len(ids))
            chosen[key] = set(ids[first:end] or ids[min(first, len(ids) - 1) :][:1])
        return chosen
    places: list[tuple[float, str, Modality, str]] = []
    for (query_id, modality), ids in lists.items():
        part = drawn_share(seed, query_id)
        places += [((rank + part) / len(ids), query_id, modality, result_id) for rank, result_id in enumerate(ids)]
    places.sort()
    chosen = {key: set() for key in lists}
    for _, query_id, modality, result_id in places[math.floor(low * len(places)) : math.floor(high * len(places))]:
        chosen[query_id, modality].add(result_id)
    return chosen


def _counts(sizes: Mapping[ListKey, int], strategy: Strategy, seed: int, counts: Counts) -> dict[ListKey, int]:
    """How many labels of each list are bought."""
    if isinstance(strategy, Concentrated):
        return _concentrated(sizes, strategy, seed, counts)
    return _at_least_one(sizes, strategy) if counts == "at-least-one" else _within_budget(sizes, strategy, seed)


def _concentrated(
    sizes: Mapping[ListKey, int], strategy: Concentrated, seed: int, counts: Counts
) -> dict[ListKey, int]:
    """A third (or p, where that is more) of each list of the pages first in the order of the hash.

    Pages are taken while they fit into the budget; ``at-least-one`` takes the page that crosses it too.
    """
    share = max(PAGE_SHARE, strategy.exact)
    pages: dict[str, list[ListKey]] = {}
    for key in sizes:
        pages.setdefault(key[0], []).append(key)
    left = math.floor(strategy.exact * sum(sizes.values()))
    taken = dict.fromkeys(sizes, 0)
    for query_id in sorted(pages, key=lambda query_id: drawn(seed, query_id)):
        wanted = {key: min(sizes[key], max(1, half_up(share * sizes[key]))) for key in pages[query_id]}
        cost = sum(wanted.values())
        if cost <= left or (counts == "at-least-one" and left > 0):
            taken |= wanted
            left -= cost
    return taken


def _at_least_one(sizes: Mapping[ListKey, int], strategy: Strategy) -> dict[ListKey, int]:
    return {key: max(1, half_up(strategy.exact * size)) for key, size in sizes.items()}


def _within_budget(sizes: Mapping[ListKey, int], strategy: Strategy, seed: int) -> dict[ListKey, int]:
    taken = {key: math.floor(strategy.exact * size) for key, size in sizes.items()}
    for modality, quota in _quotas(sizes, strategy, seed).items():
        keys = sorted((key for key in sizes if key[1] is modality), key=lambda key: drawn(seed, key[0]))
        rests = {key: strategy.exact * sizes[key] - taken[key] for key in keys}
        whole, part = divmod(sum(rests.values(), Fraction(0)), 1)
        extra = quota - sum(taken[key] for key in keys)
        # Systematic sampling: along the sum of the rests, each whole number passed gives its list one label more. The
        # start makes the numbers passed exactly the labels left: the whole part of the sum, or one more.
        passed = Fraction(0) if extra == whole else 1 - part
        for key in keys:
            before, passed = passed, passed + rests[key]
            taken[key] += math.floor(passed) - math.floor(before)
    return taken


def _quotas(sizes: Mapping[ListKey, int], strategy: Strategy, seed: int) -> dict[Modality, int]:
    """Labels of each modality: floor(p * all results) shared out by largest remainder."""
    totals = {m: sum(size for key, size in sizes.items() if key[1] is m) for m in Modality}
    quotas = {m: math.floor(strategy.exact * total) for m, total in totals.items() if total}
    left = math.floor(strategy.exact * sum(totals.values())) - sum(quotas.values())
    lost = {m: strategy.exact * totals[m] - quotas[m] for m in quotas}
    for modality in sorted(quotas, key=lambda m: (-lost[m], drawn(seed, m.value)))[:left]:
        quotas[modality] += 1
    return quotas


def _whole_pages(pages: Sequence[Page], strategy: WholePages, seed: int, counts: Counts) -> set[str]:
    order = sorted((page for page in pages if len(page)), key=lambda page: drawn(seed, page.query_id))
    if counts == "at-least-one":
        return {page.query_id for page in order[: max(1, half_up(strategy.exact * len(order)))]}
    left = math.floor(strategy.exact * sum(map(len, pages)))
    fits: set[str] = set()
    for page in order:
        if len(page) <= left:
            fits.add(page.query_id)
            left -= len(page)
    return fits
