"""Which results to ask people about: of each modality's list a share, within a budget of labels.

A strategy is a value that prints, hashes and is read back: ``parse_strategy("top(p=0.1)") == Top(0.1)``. What is drawn
for a query depends on the seed and the query's id alone, never on its neighbours or on the order of pages. Counts are
exact: a share is read as the decimal it is written as, so ``0.29`` of 100 results are 29.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np

from wholepage.pages.errors import InputError, NoRanker, ShapeError
from wholepage.pages.model import Modality, Page, Ranking

Counts = Literal["within-budget", "at-least-one"]
_List: TypeAlias = tuple[str, Modality]


class _Share(msgspec.Struct, frozen=True):
    p: float

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, (int, float)) or not 0 < self.p <= 1:
            raise InputError(f"{_name(self)}: got p={self.p!r}; allowed: above 0, at most 1; 0.1 buys one label in ten")

    @property
    def spec(self) -> str:
        """The strategy as text; ``parse_strategy`` reads it back."""
        return f"{_name(self)}(p={float(self.p)!r})"

    def __str__(self) -> str:
        return self.spec

    @property
    def exact(self) -> Fraction:
        """The share as the decimal it is written as, free of binary rounding."""
        return Fraction(repr(float(self.p)))


class Top(_Share, frozen=True):
    """The share p from the top of each modality's list.

    Source: arXiv 2510.16803, Top-P.
    """


class Random(_Share, frozen=True):
    """The share p of each modality's results, drawn at random; looks at no ranking."""


class Spread(_Share, frozen=True):
    """The share p of each modality's list from all heights: one at random out of each of as many equal strata."""


class WholePages(_Share, frozen=True):
    """Few pages, each judged whole; looks at no ranking."""


class Concentrated(_Share, frozen=True):
    """A third of each list, its head and one of each stratum below, on as few pages as the share pays for.

    The head is always asked about, for where few results are relevant it is the only one likely to be.

    Between ``Spread``, which compares few results on every page, and ``WholePages``, which sees few queries: pairs of
    labels on one page grow with the square of the labels, and it is pairs that tell how modalities compare.
    """


Strategy: TypeAlias = Top | Random | Spread | Concentrated | WholePages
_STRATEGIES: dict[str, type[Strategy]] = {
    "top": Top,
    "random": Random,
    "spread": Spread,
    "concentrated": Concentrated,
    "whole_pages": WholePages,
}
_PAGE_SHARE = Fraction(1, 3)  # of a page's lists that ``Concentrated`` buys


def parse_strategy(text: str) -> Strategy:
    """Read a strategy from its spec, such as ``"top(p=0.1)"``.

    Raises:
        InputError: another name, another form, or a share out of range.
    """
    found = re.fullmatch(r"\s*(\w+)\s*\(\s*p\s*=\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\)\s*", text, re.ASCII)
    named = _STRATEGIES.get(found[1]) if found else None
    try:
        share = float(found[2]) if found else math.nan
    except ValueError:
        share = math.nan
    if named is None or math.isnan(share):
        raise InputError(
            f"strategy: got {text!r}; allowed: {', '.join(f'{name}(p=0.1)' for name in _STRATEGIES)}, with 0 < p <= 1; "
            "write one of these"
        )
    return named(share)


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
    leaving out those that no longer fit; so are the pages of ``Concentrated``.
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
    _check(pages, rankings_by_modality, strategy)
    full = sum(map(len, pages))
    if isinstance(strategy, WholePages):
        whole = _whole_pages(pages, strategy, seed, counts)
        bought = {page.query_id: page.result_ids if page.query_id in whole else () for page in pages}
    else:
        lists = _lists(pages, rankings_by_modality)
        sizes = {key: len(ids) for key, ids in lists.items()}
        taken = _counts(sizes, strategy, seed, counts)
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


def _check(pages: Sequence[Page], rankings: Sequence[Mapping[Modality, Ranking]], strategy: Strategy) -> None:
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
        if missing and isinstance(strategy, (Top, Spread, Concentrated)):
            raise NoRanker(
                f"select: pages[{index}] of query {page.query_id!r}: got no ranking of {missing}; allowed: one for "
                f"each modality present, as {strategy.spec} reads ranks; rank it, or use random(p={strategy.p})"
            )


def _lists(pages: Sequence[Page], rankings: Sequence[Mapping[Modality, Ranking]]) -> dict[_List, tuple[str, ...]]:
    lists: dict[_List, tuple[str, ...]] = {}
    for page, by_modality in zip(pages, rankings, strict=True):
        for modality in page.modalities:
            ranked = by_modality.get(modality)
            lists[page.query_id, modality] = ranked.result_ids if ranked else page.only(modality).result_ids
    return lists


def _take(strategy: Strategy, ids: tuple[str, ...], count: int, key: _List, seed: int) -> Sequence[str]:
    if isinstance(strategy, Top):
        return ids[:count]
    query_id, modality = key
    draw = np.random.default_rng(_hash(seed, query_id, modality.value))
    if isinstance(strategy, Random):
        # Sorted, and the head of one permutation: the order received changes nothing, and more labels keep the fewer.
        return [sorted(ids)[i] for i in draw.permutation(len(ids))[:count]]
    if isinstance(strategy, Concentrated) and count:
        return [ids[0], *_one_of_each_stratum(ids[1:], count - 1, draw)]
    return _one_of_each_stratum(ids, count, draw)


def _one_of_each_stratum(ids: tuple[str, ...], count: int, draw: np.random.Generator) -> list[str]:
    edges = [stratum * len(ids) // count for stratum in range(count + 1)] if count else []
    return [ids[draw.integers(low, high)] for low, high in pairwise(edges)]


def _counts(sizes: Mapping[_List, int], strategy: Strategy, seed: int, counts: Counts) -> dict[_List, int]:
    """How many labels of each list are bought."""
    if isinstance(strategy, Concentrated):
        return _concentrated(sizes, strategy, seed, counts)
    return _at_least_one(sizes, strategy) if counts == "at-least-one" else _within_budget(sizes, strategy, seed)


def _concentrated(sizes: Mapping[_List, int], strategy: Concentrated, seed: int, counts: Counts) -> dict[_List, int]:
    """A third (or p, where that is more) of each list of the pages first in the order of the hash.

    Pages are taken while they fit into the budget; ``at-least-one`` takes the page that crosses it too.
    """
    share = max(_PAGE_SHARE, strategy.exact)
    pages: dict[str, list[_List]] = {}
    for key in sizes:
        pages.setdefault(key[0], []).append(key)
    left = math.floor(strategy.exact * sum(sizes.values()))
    taken = dict.fromkeys(sizes, 0)
    for query_id in sorted(pages, key=lambda query_id: _hash(seed, query_id)):
        wanted = {key: min(sizes[key], max(1, _half_up(share * sizes[key]))) for key in pages[query_id]}
        cost = sum(wanted.values())
        if cost <= left or (counts == "at-least-one" and left > 0):
            taken |= wanted
            left -= cost
    return taken


def _at_least_one(sizes: Mapping[_List, int], strategy: Strategy) -> dict[_List, int]:
    return {key: max(1, _half_up(strategy.exact * size)) for key, size in sizes.items()}


def _within_budget(sizes: Mapping[_List, int], strategy: Strategy, seed: int) -> dict[_List, int]:
    taken = {key: math.floor(strategy.exact * size) for key, size in sizes.items()}
    for modality, quota in _quotas(sizes, strategy, seed).items():
        keys = sorted((key for key in sizes if key[1] is modality), key=lambda key: _hash(seed, key[0]))
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


def _quotas(sizes: Mapping[_List, int], strategy: Strategy, seed: int) -> dict[Modality, int]:
    """Labels of each modality: floor(p * all results) shared out by largest remainder."""
    totals = {m: sum(size for key, size in sizes.items() if key[1] is m) for m in Modality}
    quotas = {m: math.floor(strategy.exact * total) for m, total in totals.items() if total}
    left = math.floor(strategy.exact * sum(totals.values())) - sum(quotas.values())
    lost = {m: strategy.exact * totals[m] - quotas[m] for m in quotas}
    for modality in sorted(quotas, key=lambda m: (-lost[m], _hash(seed, m.value)))[:left]:
        quotas[modality] += 1
    return quotas


def _whole_pages(pages: Sequence[Page], strategy: WholePages, seed: int, counts: Counts) -> set[str]:
    order = sorted((page for page in pages if len(page)), key=lambda page: _hash(seed, page.query_id))
    if counts == "at-least-one":
        return {page.query_id for page in order[: max(1, _half_up(strategy.exact * len(order)))]}
    left = math.floor(strategy.exact * sum(map(len, pages)))
    fits: set[str] = set()
    for page in order:
        if len(page) <= left:
            fits.add(page.query_id)
            left -= len(page)
    return fits


def _half_up(number: Fraction) -> int:
    return math.floor(number + Fraction(1, 2))


def _hash(seed: int, *parts: str) -> int:
    return int.from_bytes(hashlib.sha256(msgspec.json.encode([seed, *parts])).digest(), "big")


def _name(strategy: _Share) -> str:
    return next((name for name, kind in _STRATEGIES.items() if isinstance(strategy, kind)), "share")
