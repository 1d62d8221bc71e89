"""What people preferred, as pairs of results of a page, and how wrong scores are about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wholepage.pages.errors import InputError, PageError, ShapeError
from wholepage.pages.judgments import Choice, Preference
from wholepage.pages.model import Page
from wholepage.training.losses import check_number, mean_over_pages, safe_scores


@dataclass(frozen=True)
class PagePairs:
    """The compared pairs of a page.

    Attributes:
        index: places in the page's order, the better one first; of a tie the earlier first.
        strict: False = a tie.
        share: of the answers about these two results that said so; the shares of two results add up to 1.
    Shapes:
        index: [p, 2]; strict, share: [p]
    """

    index: NDArray[np.int64]
    strict: NDArray[np.bool_]
    share: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class PairBatch:
    """The pairs of several pages, padded.

    Shapes:
        index: [B, P, 2] int, 0 in padding; strict: [B, P] bool; share: [B, P] float, 0 = padding
    """

    index: Tensor
    strict: Tensor
    share: Tensor

    def to(self, device: torch.device) -> PairBatch:
        """The same pairs on a device."""
        return PairBatch(self.index.to(device), self.strict.to(device), self.share.to(device))


def no_pairs() -> PagePairs:
    """The pairs of a page on which nothing was compared."""
    return PagePairs(np.zeros((0, 2), np.int64), np.zeros(0, np.bool_), np.zeros(0, np.float32))


def pairs_of(page: Page, preferences: Sequence[Preference]) -> PagePairs:
    """The preferences said of a page.

    Two results that were compared several times, by different people or the other way round, count as one pair whose
    answers share its weight: people who contradict each other are averaged, as their grades are.

    Raises:
        PageError: a preference is about a result that is not on the page.
    """
    places = {result_id: place for place, result_id in enumerate(page.result_ids)}
    votes: Counter[tuple[int, int, bool]] = Counter()
    for said in preferences:
        odd = [result_id for result_id in (said.left_id, said.right_id) if result_id not in places]
        if odd:
            raise PageError(
                f"query {page.query_id!r}: got a preference about {odd[0]!r}; allowed: results of the page; pass the "
                "pages that were judged"
            )
        left, right = places[said.left_id], places[said.right_id]
        if said.choice is Choice.SAME:
            votes[min(left, right), max(left, right), False] += 1
        else:
            votes[(left, right, True) if said.choice is Choice.LEFT else (right, left, True)] += 1
    if not votes:
        return no_pairs()
    about: Counter[frozenset[int]] = Counter()
    for (one, other, _), number in votes.items():
        about[frozenset((one, other))] += number
    said_so = sorted(votes)
    return PagePairs(
        np.array([[one, other] for one, other, _ in said_so], np.int64),
        np.array([strict for *_, strict in said_so], np.bool_),
        np.array([votes[key] / about[frozenset(key[:2])] for key in said_so], np.float32),
    )


def pad_pairs(pages: Sequence[PagePairs]) -> PairBatch:
    """Pad the pairs of pages to the most of them; there may be none at all."""
    most = max(len(pairs) for pairs in pages)
    index = np.zeros((len(pages), most, 2), np.int64)
    strict = np.zeros((len(pages), most), np.bool_)
    share = np.zeros((len(pages), most), np.float32)
    for row, pairs in enumerate(pages):
        index[row, : len(pairs)], strict[row, : len(pairs)] = pairs.index, pairs.strict
        share[row, : len(pairs)] = pairs.share
    return PairBatch(torch.from_numpy(index), torch.from_numpy(strict), torch.from_numpy(share))


def preferred(scores: Tensor, pairs: PairBatch, mask: Tensor, *, margin: float = 1.0, eps: float = 0.0) -> Tensor:
    """What people preferred should lead by a margin, what they called the same should score alike.

    Shapes:
        scores: [B, L] float
        mask: [B, L] bool; True = a result, to which alone pairs may point
    Args:
        margin: the lead, in score units, from which a preference costs nothing.
        eps: the distance, in score units, up to which a tie costs nothing.
    Returns:
        Scalar: mean of max(0, margin - (f_i - f_j)) of preferences and max(0, |f_i - f_j| - eps) of ties over a
        page's pairs, weighted by their shares, then over the pages that have one; 0.0 (with gradient) when there are
        none.
    Raises:
        ShapeError: the numbers of pages or results differ.
        InputError: a pair points outside its page, or margin or eps is negative or not finite.
    Source: L_x and L_tie of ``objective``, on pairs instead of grades.
    """
    check_number("margin", margin, zero_allowed=True)
    check_number("eps", eps, zero_allowed=True)
    if scores.shape != mask.shape or pairs.index.shape[:1] != scores.shape[:1]:
        raise ShapeError(
            f"preferred: got scores {tuple(scores.shape)}, mask {tuple(mask.shape)}, pairs of {len(pairs.index)} "
            "pages; allowed: one [pages, items] and pairs of as many pages; collate them together"
        )
    safe = safe_scores(scores, mask)
    if not pairs.index.shape[1]:
        return safe.sum() * 0.0
    asked, flat = pairs.share > 0, pairs.index.flatten(1)
    inside = (flat >= 0) & (flat < scores.shape[1])
    held = inside & mask.gather(1, torch.where(inside, flat, 0))
    if not bool((held.view_as(pairs.index).all(2) | ~asked).all()):
        raise InputError("preferred: got a pair outside its page; allowed: places of its results; collate it anew")
    better, worse = safe.gather(1, torch.where(held, flat, 0)).view_as(pairs.index).unbind(2)
    ahead = better - worse
    cost = torch.where(pairs.strict, functional.relu(margin - ahead), functional.relu(ahead.abs() - eps))
    total = pairs.share.sum(1)
    per_page = (torch.where(asked, cost, 0.0) * pairs.share).sum(1) / torch.where(total > 0, total, 1.0)
    return mean_over_pages(per_page, total > 0)
