"""What happened to each result between two orders of one page: exact facts, nothing guessed.

A result's way is told whole by what it passed and what passed it: the places it rose are the results it passed, less
those that passed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from wholepage.pages.model import Modality, Page

Kinds = tuple[tuple[Modality, int], ...]


class Move(msgspec.Struct, frozen=True):
    """The way of one result.

    Attributes:
        place, was: its places after and before, 1 = first.
        passed, passed_by: by kind, how many results were before it and are after it now, and the reverse.
        own: its place among the results of its kind after; ``of`` = how many these are.
    """

    place: int
    was: int
    passed: Kinds
    passed_by: Kinds
    own: int
    of: int

    @property
    def rise(self) -> int:
        """Places it rose; below 0 = fell."""
        return self.was - self.place


def moves(page: Page, before: Sequence[str], after: Sequence[str]) -> dict[str, Move]:
    """The way of every result of a page from one order to another, by id.

    Args:
        page: tells the kinds.
        before, after: all ids of the page, best first.
    """
    kind = {result.result_id: result.modality for result in page.results}
    was = {result_id: place for place, result_id in enumerate(before)}
    count = Counter(kind.values())
    seen: Counter[Modality] = Counter()
    found = {}
    for place, result_id in enumerate(after):
        seen[kind[result_id]] += 1
        start = was[result_id]
        found[result_id] = Move(
            place=place + 1,
            was=start + 1,
            passed=_by_kind(kind[other] for other in after[place + 1 :] if was[other] < start),
            passed_by=_by_kind(kind[other] for other in after[:place] if was[other] > start),
            own=seen[kind[result_id]],
            of=count[kind[result_id]],
        )
    return found


def _by_kind(kinds: Iterable[Modality]) -> Kinds:
    count = Counter(kinds)
    return tuple((modality, count[modality]) for modality in Modality if count[modality])
