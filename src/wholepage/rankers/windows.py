"""Ordering a long list by ordering few of its items at a time: generators of windows, without I/O.

A strategy yields a list of windows that do not depend on each other, is sent their orders, and returns the order of all
items. A window is a tuple of item numbers; its order tells which place of the window is best, second, and so on:
``(2, 0, 1)`` for the window ``(7, 8, 9)`` means 9, 7, 8. Nothing is ever lost, whatever the orders say.

    plan = WindowPlan("sliding", window=20, stride=10)              # or sliding(..), tournament(..), heap_top_k(..)
    driven = drive([plan.start(len(page)) for page in pages], rank_windows)     # all queries together, round by round

Where the orders contradict each other nowhere the first ``top_k`` are exact (``sliding``: the first window - stride).
Source: sliding windows arXiv 2304.09542, set-wise sorting arXiv 2310.09497.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from wholepage.pages.errors import DecodingError, InputError
from wholepage.rankers.permutation import Order

Window: TypeAlias = tuple[int, ...]
"""Item numbers, at least two, in the order in which they are to be shown."""

Strategy: TypeAlias = Generator[list[Window], Sequence[Order], Order]
"""Yields windows, is sent the order of each, returns the order of all items."""

StrategyName = Literal["sliding", "tournament", "heap"]


class Asked(NamedTuple):
    """A window to order, and which of the strategies driven together asks for it."""

    query: int
    window: Window


class Driven(NamedTuple):
    """What came of a strategy: the order of all items, the windows it took, and the rounds it took part in."""

    order: Order
    windows: int
    rounds: int


def drive(strategies: Sequence[Strategy], rank_windows: Callable[[list[Asked]], Sequence[Order]]) -> list[Driven]:
    """Advances many strategies together: each round asks for the windows of all of them at once.

    Args:
        strategies: fresh generators, one a query.
        rank_windows: gives the order of each window, best place first; how it cuts a round into batches is its affair.
    Returns:
        One result a strategy, in their order.
    Raises:
        DecodingError: not one order a window, or one that is no permutation of its window's places.
    """
    told: list[Driven | None] = [None] * len(strategies)
    windows, rounds = [0] * len(strategies), [0] * len(strategies)
    answers: list[Sequence[Order] | None] = [None] * len(strategies)
    while running := [query for query, result in enumerate(told) if result is None]:
        asked: list[Asked] = []
        for query in running:
            try:
                said = answers[query]
                batch = next(strategies[query]) if said is None else strategies[query].send(said)
            except StopIteration as done:
                told[query] = Driven(tuple(done.value), windows[query], rounds[query])
                continue
            windows[query], rounds[query] = windows[query] + len(batch), rounds[query] + 1
            asked += [Asked(query, window) for window in batch]
            answers[query] = []
        orders = rank_windows(asked) if asked else []
        _check_count(orders, asked)
        for (query, _), order in zip(asked, orders, strict=True):
            answers[query] = [*(answers[query] or ()), order]
    return [result for result in told if result is not None]


@dataclass(frozen=True)
class WindowPlan:
    """Which strategy, and its sizes.

    Attributes:
        strategy: ``sliding``, ``tournament`` or ``heap``.
        window: items ordered at a time.
        stride, passes: of sliding windows.  top_k: how many of the first must be exact, of the other two.
    Raises:
        InputError: an unknown strategy, or a size out of range.
    """

    strategy: StrategyName = "sliding"
    window: int = 20
    stride: int = 10
    passes: int = 1
    top_k: int = 10

    def __post_init__(self) -> None:
        if self.strategy not in ("sliding", "tournament", "heap"):
            raise InputError(
                f"windows: got strategy {self.strategy!r}; allowed: 'sliding', 'tournament' or 'heap'; choose one"
            )
        self.start(0)

    def start(self, n: int) -> Strategy:
        """The strategy for a list of ``n`` items.

        Raises:
            InputError: ``n`` is negative.
        """
        if self.strategy == "sliding":
            return sliding(n, self.window, self.stride, self.passes)
        if self.strategy == "tournament":
            return tournament(n, self.window, self.top_k)
        return heap_top_k(n, self.window, self.top_k)

    def windows_needed(self, n: int) -> int:
        """How many windows a list of ``n`` items takes: exactly, but for ``heap``, which may take fewer.

        Raises:
            InputError: ``n`` is negative.
        """
        _check(n, self.window)
        if n < 2:
            return 0
        if self.strategy == "sliding":
            return self.passes * (max(0, -(-(n - self.window) // self.stride)) + 1)
        wanted = min(self.top_k, n)
        return (_tournament_plan if self.strategy == "tournament" else _heap_plan)(n, self.window, wanted)[0]


def sliding(n: int, window: int = 20, stride: int = 10, passes: int = 1) -> Strategy:
    """Orders the last window, moves ``stride`` towards the front, orders again: the best travel along.

    Every window is of full width, the last one stands at the front. ``passes * (ceil((n - window) / stride) + 1)``
    windows, one after the other; one a pass for lists within a window, none for lists of less than two. The first
    ``window - stride`` are exact.

    Raises:
        InputError: at once: fewer than 0 items, a window below 2, a stride that is not 1 to ``window``, no pass.
    """
    _check(n, window)
    if not 1 <= stride <= window or passes < 1:
        raise InputError(
            f"sliding windows: got stride {stride}, {passes} passes; allowed: strides from 1 to the window's {window}, "
            "1 pass or more; half a window is usual"
        )
    return _sliding(n, window, stride, passes)


def _sliding(n: int, window: int, stride: int, passes: int) -> Strategy:
    order = list(range(n))
    for _ in range(passes if n > 1 else 0):
        for first in (*range(n - window, 0, -stride), 0):
            place = slice(first, first + window)
            (order[place],) = yield from _asked([tuple(order[place])])
    return tuple(order)


def tournament(n: int, window: int = 20, top_k: int = 10) -> Strategy:
    """Rounds of groups, of which the best go on, until one window holds all that are left.

    The groups of a round do not depend on each other, and how many there are depends on the sizes alone. Items that
    fill no group pass to the next round. Where a window is too small to tell ``top_k`` at once, another tournament is
    held among the others. Behind the first ``top_k`` all others stand in the order received.

    Raises:
        InputError: at once: fewer than 0 items, a window below 2, ``top_k`` below 1.
    """
    _check(n, window, top_k)
    return _tournament(n, window, min(top_k, n))


def _tournament(n: int, window: int, wanted: int) -> Strategy:
    share = _tournament_plan(n, window, wanted)[1]
    best: list[int] = []
    while len(best) < wanted:
        found = set(best)
        left = [item for item in range(n) if item not in found]
        kept = min(share if len(left) > window else n, wanted - len(best))
        while len(left) > window:
            byes, groups = _groups(len(left), window, kept)
            winners = yield from _asked([tuple(left[i] for i in group) for group in groups])
            # In the order received again: where an item stood in its group shall not sway the next round.
            left = sorted([*left[:byes], *(item for order in winners for item in order[:kept])])
        if len(left) > 1:
            (left,) = yield from _asked([tuple(left)])
        best += left[:kept]
    return _with_rest(best, n)


def _groups(count: int, window: int, kept: int) -> tuple[int, list[range]]:
    """How many pass unasked, from the front; and the groups, each dealt from the whole list and larger than kept."""
    full, over = divmod(count, window)
    byes, groups = (over, full) if over <= kept else (0, full + 1)
    return byes, [range(byes + i, count, groups) for i in range(groups)]


@lru_cache(maxsize=1024)
def _tournament_plan(n: int, window: int, wanted: int) -> tuple[int, int]:
    """Fewest windows, and how many winners a group must have for that; of equally good numbers the largest."""
    plans = []
    for share in range(1, max(min(wanted, window - 1), 1) + 1):
        windows, found = 0, 0
        while found < wanted:
            left = n - found
            kept = min(share if left > window else n, wanted - found)
            while left > window:
                byes, groups = _groups(left, window, kept)
                windows, left = windows + len(groups), byes + kept * len(groups)
            windows, found = windows + (left > 1), found + kept
        plans.append((windows, -share))
    windows, share = min(plans)
    return windows, -share


def heap_top_k(n: int, window: int = 20, top_k: int = 10) -> Strategy:
    """A heap of ordered blocks: a window holds the heads of several, and what it tells is used as far as it goes.

    First all blocks of ``window`` items are ordered at once. A node above merges several streams: some heads of each
    stand in its window; it asks again when a stream that goes on has none left there. The others follow as received.

    Raises:
        InputError: at once: fewer than 0 items, a window below 2, ``top_k`` below 1.
    """
    _check(n, window, top_k)
    return _heap(n, window, min(top_k, n))


def _heap(n: int, window: int, wanted: int) -> Strategy:
    blocks = [tuple(range(i, min(i + window, n))) for i in range(0, n, window)]
    orders = yield from _asked([block for block in blocks if len(block) > 1])
    orders += [list(block) for block in blocks if len(block) == 1]  # at most one, the last
    arity = _heap_plan(n, window, wanted)[1]
    level = [_Node((), order[:wanted], 0) for order in orders]
    while len(level) > 1:
        level = [_Node(level[i : i + arity], [], min(window // arity, wanted)) for i in range(0, len(level), arity)]
    best: list[int] = []
    while len(best) < wanted:
        while asking := level[0].asking():
            told = yield from _asked([node.window for node in asking])
            for node, order in zip(asking, told, strict=True):
                node.take(order)
        best.append(level[0].ready.pop(0))
    return _with_rest(best, n)


class _Node:
    """A stream of items, best first: a block in order, or a merge of streams.

    ``ready`` is known to come next; ``heads`` are those taken from each stream, at most ``share``, still to be ordered.
    """

    def __init__(self, streams: Sequence[_Node], ready: list[int], share: int) -> None:
        self.streams, self.ready, self._share = streams, ready, share
        self.heads: list[list[int]] = [[] for _ in streams]

    @property
    def ended(self) -> bool:
        return not self.ready and not any(self.heads) and all(stream.ended for stream in self.streams)

    @property
    def window(self) -> Window:
        return tuple(sorted(item for heads in self.heads for item in heads))

    def asking(self) -> list[_Node]:
        """The nodes whose windows must be ordered before something is ready here; none when something is, or never."""
        if self.ready:
            return []
        waiting: list[_Node] = []
        for stream, heads in zip(self.streams, self.heads, strict=True):
            while len(heads) < self._share and not stream.ended:
                if more := stream.asking():
                    waiting += more
                    break
                heads.append(stream.ready.pop(0))
        if waiting or self.ended:
            return waiting
        going = [tuple(heads) for heads in self.heads if heads]
        if len(going) == 1:  # nobody left to compare with
            self.take(going[0])
            return []
        return [self]

    def take(self, order: Sequence[int]) -> None:
        """Make ready what an order of the window decides: until a stream that goes on has no head left."""
        of = {item: i for i, heads in enumerate(self.heads) for item in heads}
        for item in order:
            self.ready.append(item)
            self.heads[of[item]].remove(item)
            if not self.heads[of[item]] and not self.streams[of[item]].ended:
                return


@lru_cache(maxsize=1024)
def _heap_plan(n: int, window: int, wanted: int) -> tuple[int, int]:
    """Most windows that can be needed, and how many streams a node must merge to need fewest."""
    blocks = -(-n // window)
    plans = []
    for arity in range(2, window + 1):
        share = min(window // arity, wanted)
        nodes, most, held = blocks, blocks - (n % window == 1), []
        while nodes > 1:
            nodes = -(-nodes // arity)
            held.append(nodes)
        given = wanted
        for nodes in reversed(held):
            # A window decides ``share`` items or more, or all there are. A node above holds ``share`` of each stream.
            most += given // share + nodes
            given = min(given + nodes * arity * share, n)
        plans.append((most, arity))
    return min(plans)


def _with_rest(best: Sequence[int], n: int) -> Order:
    found = set(best)
    return (*best, *(item for item in range(n) if item not in found))


def _asked(windows: list[Window]) -> Generator[list[Window], Sequence[Order], list[list[int]]]:
    """The items of each window in their order."""
    if not windows:
        return []
    orders = yield windows
    _check_count(orders, windows)
    for window, order in zip(windows, orders, strict=True):
        if sorted(order) != list(range(len(window))):
            raise DecodingError(
                f"windows: got the order {tuple(order)[:20]} for a window of {len(window)}; allowed: each place from 0 "
                f"to {len(window) - 1} once; send places in the window, not items"
            )
    return [[window[place] for place in order] for window, order in zip(windows, orders, strict=True)]


def _check_count(orders: Sequence[Order], asked: Sequence[object]) -> None:
    if len(orders) != len(asked):
        raise DecodingError(
            f"windows: got {len(orders)} orders for {len(asked)} windows; allowed: one each; answer every window"
        )


def _check(n: int, window: int, top_k: int = 1) -> None:
    if n < 0 or window < 2 or top_k < 1:
        raise InputError(
            f"windows: got {n} items, windows of {window}, top_k {top_k}; allowed: from 0, 2 and 1; 20 and 10 are usual"
        )
