"""Reading the order out of free text that a model wrote: what counts as a mention, and every repair counted.

Only an identifier in square brackets is a mention: ``I considered all 4 passages: [2] > [1]`` says nothing of a fourth.
Needed where the model could not be held to the automaton (``permutation``), and to count how often that goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

from wholepage.pages.errors import DecodingError, InputError, shorten
from wholepage.rankers.permutation import Order

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Repairs:
    """What had to be mended in answers to make them permutations; add them up over windows.

    Attributes:
        duplicated: items named again in the ranking; the first mention counts.
        unknown: brackets in the ranking that hold no identifier; passed over.
        missing: items that should have been named and were not; appended in the order of the prompt.
        stray: mentions of an item outside the ranking; passed over.
        unjoined: neighbours in the ranking with something else than ``>`` between them.
        none_found: answers without any mention; the order of the prompt stands.
    """

    duplicated: int = 0
    unknown: int = 0
    missing: int = 0
    stray: int = 0
    unjoined: int = 0
    none_found: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __bool__(self) -> bool:
        return any(astuple(self))


@dataclass(frozen=True)
class Parsed:
    """An order read from text, a permutation always, and what it took."""

    order: Order
    repairs: Repairs


def parse_permutation(
    text: str, identifiers: Sequence[str], *, depth: int | None = None, strict: bool = False
) -> Parsed:
    """The order that an answer means.

    A mention is an identifier in square brackets, to the letter, spaces inside allowed. The ranking is the run of
    brackets joined by ``>`` that names most items; of equally long ones the last. Where nothing is joined, all brackets
    of the text are the ranking, as in a numbered list.

    Args:
        text: what was generated; put an opening bracket that was forced in front of it.
        identifiers: as written in the prompt, in the order of the items.
        depth: how many items the answer was asked to name; ``None`` = all.
        strict: refuse what needs any repair.
    Raises:
        DecodingError: ``strict``, and something had to be mended.
        InputError: two items share an identifier.
    """
    item = {name: i for i, name in enumerate(identifiers)}
    if len(item) < len(identifiers):
        raise InputError(
            f"answer: got {len(identifiers)} identifiers, {len(item)} of them different; allowed: one an item; draw "
            "them from a checked pool"
        )
    brackets = list(_BRACKETS.finditer(text))
    found = [item.get(bracket[1].strip()) for bracket in brackets]
    gaps = [text[a.end() : b.start()].strip() for a, b in pairwise(brackets)]
    first, last = _ranking(found, gaps)
    named = [i for i in found[first:last] if i is not None]
    order = list(dict.fromkeys(named))
    asked = len(item) if depth is None else min(depth, len(item))
    repairs = Repairs(
        duplicated=len(named) - len(order),
        unknown=last - first - len(named),
        missing=max(asked - len(order), 0),
        stray=sum(i is not None for i in found[:first] + found[last:]),
        unjoined=sum(gap != ">" for gap in gaps[first : last - 1]),
        none_found=int(bool(item) and not named),
    )
    if strict and repairs:
        raise DecodingError(
            f"answer: got {shorten(text)!r}, which takes {repairs}; allowed: each of {len(item)} identifiers once, "
            "joined by '>'; decode with the automaton, or allow repairs"
        )
    return Parsed((*order, *sorted(set(range(len(item))).difference(order))), repairs)


def _ranking(found: Sequence[int | None], gaps: Sequence[str]) -> tuple[int, int]:
    """First bracket of the ranking, and the one behind its last."""
    cuts = [0, *(i + 1 for i, gap in enumerate(gaps) if gap != ">"), len(found)]
    runs = [(a, b) for a, b in pairwise(cuts) if b - a > 1]
    if not runs:
        return 0, len(found)
    return max(runs, key=lambda run: (len({*found[slice(*run)]} - {None}), run))
