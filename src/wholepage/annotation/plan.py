"""What a campaign works on and never changes: its pages, the orders of their lists, what is asked of them.

A plan is made once, kept beside the log of the campaign, and named in the log's first event by the SHA-256 of its
bytes, so that a log is never read with another plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import combinations

import msgspec

from wholepage.annotation.events import Kind, Task
from wholepage.annotation.hmm import HmmParameters
from wholepage.pages.errors import DecodingError, InputError, PageError
from wholepage.pages.model import Modality, Page, Ranking


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What there is to ask about.

    Attributes:
        pages: each query once.
        orders: by query and modality, the order of that list, best first; the searching engines need all of them, the
            engine ``selected`` none.
        selected: by query, the results to grade, in the order they are asked; for the engine ``selected`` alone. Empty
            = every result of every page; else of a query that is not named nothing is graded.
        pairs: preference tasks to ask besides.
        page_orders: by query and name, orders of the whole page; each two of a query make a task.
        hmm: what the engine ``hmm`` believes of lists; None = what is believed where there were no pilot lists.
        confusions: of annotators of whom more is known than ``settings.annotator_error``: from a result's grade (row)
            to their answer (column), as ``confusion_fit`` learns them; for ``bayes`` and ``hmm``.
    Raises:
        InputError: no page, a query that comes twice or has no page, a result that is not on its page or comes twice,
            an order that is no permutation of its list, a pair that is not one or comes twice.
    """

    pages: tuple[Page, ...]
    orders: dict[str, dict[Modality, Ranking]] = {}
    selected: dict[str, tuple[str, ...]] = {}
    pairs: tuple[Task, ...] = ()
    page_orders: dict[str, dict[str, Ranking]] = {}
    hmm: HmmParameters | None = None
    confusions: dict[str, tuple[tuple[float, ...], ...]] = {}

    def __post_init__(self) -> None:
        by_query = {page.query_id: page for page in self.pages}
        if not self.pages or len(by_query) != len(self.pages):
            raise InputError(
                f"plan: got {len(self.pages)} pages of {len(by_query)} queries; allowed: one page at least, each query "
                "once; merge or drop pages"
            )
        for what in ("orders", "selected", "page_orders"):
            strange = sorted(set(getattr(self, what)) - set(by_query))
            if strange:
                raise InputError(
                    f"plan: {what}: got the queries {strange[:5]}, which have no page; allowed: queries of the "
                    f"{len(by_query)} pages; bring their pages, or leave them out"
                )
        for query_id, lists in self.orders.items():
            for modality, ranking in lists.items():
                _check_order(f"orders of the {modality.value} results", ranking, by_query[query_id].only(modality))
        for query_id, orders in self.page_orders.items():
            for name, ranking in orders.items():
                _check_order(f"page order {name!r}", ranking, by_query[query_id])
                if not name:
                    raise InputError(f"plan: query {query_id!r}: got a page order without a name; name each order")
        for query_id, ids in self.selected.items():
            _check_selected(by_query[query_id], ids)
        _check_pairs(self.pairs, by_query)

    def to_json(self) -> bytes:
        """The plan as one JSON object; equal plans give the same bytes."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, text: bytes | str) -> Plan:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: it is not JSON, or no plan.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(f"plan: got {error}; allowed: the JSON that Plan.to_json writes") from error

    @property
    def sha256(self) -> str:
        """Of ``to_json``, in hex: what ``Opened.pages_sha256`` must say."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def results(self) -> int:
        """Results on all pages: the questions of one full annotation."""
        return sum(map(len, self.pages))

    def graded(self, page: Page) -> tuple[str, ...]:
        """The results of a page that the engine ``selected`` asks about."""
        return self.selected.get(page.query_id, ()) if self.selected else page.result_ids

    def comparisons(self) -> Iterator[Task]:
        """All tasks that are no grades: the pairs as given, then each two orders of a page by query and name."""
        yield from self.pairs
        for query_id in sorted(self.page_orders):
            for one, other in combinations(sorted(self.page_orders[query_id]), 2):
                yield Task.pair(Kind.PAGES, query_id, one, other)


def _check_order(what: str, ranking: Ranking, page: Page) -> None:
    try:
        ranking.check(page)
    except DecodingError as error:
        raise InputError(f"plan: query {page.query_id!r}: {what}: {error}") from error


def _check_selected(page: Page, ids: tuple[str, ...]) -> None:
    if len(set(ids)) != len(ids):
        raise InputError(
            f"plan: selected: query {page.query_id!r}: got {len(ids)} ids, {len(set(ids))} of them different; allowed: "
            "each result once; remove the repeats"
        )
    try:
        page.keep(ids)
    except PageError as error:
        raise InputError(f"plan: selected: {error}") from error


def _check_pairs(pairs: tuple[Task, ...], by_query: dict[str, Page]) -> None:
    if len(set(pairs)) != len(pairs):
        raise InputError(
            f"plan: got {len(pairs)} pairs, {len(set(pairs))} of them different; allowed: each once; remove the repeats"
        )
    for task in pairs:
        page = by_query.get(task.query_id)
        ids = page.result_ids if page else ()
        if task.kind is not Kind.PREFERENCE or not {task.left_id, task.right_id} <= set(ids):
            raise InputError(
                f"plan: pairs: got {task.key}; allowed: preference tasks on two results of one of the pages; drop it, "
                "or bring its page"
            )
