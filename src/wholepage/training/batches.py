"""What training sees of a page: the page, what people said of it, and how other rankers order it.

Page + Judgments + teacher Rankings -> ``SupervisedPage`` -> ``Lesson`` -> ``PageBatch`` of padded tensors.

A grade has a weight: 1.0 when people said it, less when it was inferred and may be wrong (its posterior probability).
The weight is 0 where there is no grade; ``weights=None`` stands for 1.0 at every grade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import InputError, PageError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import scores_on
from wholepage.rankers.features import PageItems
from wholepage.rankers.whole_page import ItemBatch, pad_items
from wholepage.training.preferences import PagePairs, PairBatch, no_pairs, pad_pairs, pairs_of


@dataclass(frozen=True)
class SupervisedPage:
    """A page with what is known of it.

    Attributes:
        grades: page grades in the page's order; NaN = nobody looked.
        teachers: how each modality's own ranker orders that modality's results.
        weights: of the grades, 0 where there is none; None = 1.0 each.
        pairs: the results that were compared.
    Shapes:
        grades, weights: [len(page)]
    """

    page: Page
    grades: NDArray[np.float32]
    teachers: Mapping[Modality, Ranking]
    weights: NDArray[np.float32] | None = None
    pairs: PagePairs = field(default_factory=no_pairs)

    def teacher_scores(self) -> NDArray[np.float32]:
        """The teachers' scores in the page's order, NaN = no opinion; comparable within one modality only."""
        scores = np.full(len(self.page), np.nan, np.float32)
        for modality, ranking in self.teachers.items():
            rows = [i for i, result in enumerate(self.page.results) if result.modality is modality]
            scores[rows] = scores_on(self.page.only(modality), ranking)
        return scores


def supervise(
    pages: Sequence[Page],
    judgments: Judgments,
    teachers: Sequence[Mapping[Modality, Ranking]] | None = None,
    weights: Mapping[str, Mapping[str, float]] | None = None,
) -> list[SupervisedPage]:
    """Put pages, what was said of them and teacher rankings together.

    Args:
        teachers: one mapping a page; None = no teacher.
        weights: of grades, ``{query_id: {result_id: weight}}``, above 0 and up to 1; a grade not named weighs 1.0.
    Raises:
        ShapeError: not one mapping a page.
        PageError: an answer is about a result that is not on its page (or query not among the pages), or a weight is
            about a result without a grade.
        InputError: a weight is not above 0 and up to 1.
        DecodingError: a teacher's ranking is not a permutation of its modality's results.
    """
    if teachers is not None and len(teachers) != len(pages):
        raise ShapeError(f"supervise: got {len(teachers)} teachers for {len(pages)} pages; allowed: one mapping a page")
    known = {page.query_id for page in pages}
    for what, asked in (("judgments", judgments.query_ids), ("weights", tuple(weights or ()))):
        strangers = [query_id for query_id in asked if query_id not in known]
        if strangers:
            raise PageError(
                f"supervise: got {what} of queries {strangers[:3]} without a page; allowed: queries of the "
                f"{len(pages)} pages; pass their pages, or judgments.restrict(...) to the pages at hand"
            )
    supervised = []
    for index, page in enumerate(pages):
        grades = judgments.by_result(page.query_id)
        odd = set(grades).difference(page.result_ids)
        if odd:
            raise PageError(
                f"supervise: query {page.query_id!r}: got grades of {sorted(odd)[:3]}; allowed: results of the page; "
                "pass the pages that were judged"
            )
        row = np.array([grades.get(result_id, np.nan) for result_id in page.result_ids], np.float32)
        given = dict(teachers[index]) if teachers is not None else {}
        for modality, ranking in given.items():
            ranking.check(page.only(modality))
        trust = None if weights is None else _weights(page, row, weights.get(page.query_id, {}))
        pairs = pairs_of(page, judgments.preferences(page.query_id))
        supervised.append(SupervisedPage(page, row, given, trust, pairs))
    return supervised


def _weights(page: Page, grades: NDArray[np.float32], given: Mapping[str, float]) -> NDArray[np.float32]:
    graded = {result_id for result_id, grade in zip(page.result_ids, grades, strict=True) if not np.isnan(grade)}
    for result_id, weight in given.items():
        if result_id not in graded:
            raise PageError(
                f"supervise: query {page.query_id!r}: got a weight of {result_id!r}, which has no grade; allowed: "
                f"the {len(graded)} graded results of the page; drop the weight, or pass the grade"
            )
        if not 0 < weight <= 1:  # NaN included
            raise InputError(
                f"supervise: query {page.query_id!r}, result {result_id!r}: got weight {weight}; allowed: above 0 and "
                "up to 1, the probability that the grade is right; leave out the grade instead of weighing it 0"
            )
    return np.array([given.get(i, 1.0) if i in graded else 0.0 for i in page.result_ids], np.float32)


@dataclass(frozen=True)
class Lesson:
    """One page ready to learn from.

    Shapes:
        grades, teacher: [n], NaN = nobody looked / no opinion
        weights: [n] of the grades, 0 where there is none; None = 1.0 each
    """

    items: PageItems
    grades: NDArray[np.float32]
    teacher: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None
    pairs: PagePairs = field(default_factory=no_pairs)


def lessons(items: Sequence[PageItems], pages: Sequence[SupervisedPage]) -> list[Lesson]:
    """Put item vectors beside what is known of their pages.

    Raises:
        ShapeError: item vectors and pages do not belong together.
    """
    if [len(i) for i in items] != [len(p.grades) for p in pages]:
        raise ShapeError(
            f"lessons: got {[len(i) for i in items][:5]} items for pages of {[len(p.grades) for p in pages][:5]} "
            "results; allowed: the same lengths; read the same pages in the same order"
        )
    return [
        Lesson(of, page.grades, page.teacher_scores(), page.weights, page.pairs)
        for of, page in zip(items, pages, strict=True)
    ]


@dataclass(frozen=True)
class PageBatch:
    """Padded pages with what they teach.

    Shapes:
        items: see ``ItemBatch``; grades, teacher: [B, L], NaN = nobody looked / no opinion / padding
        weights: [B, L] of the grades, 0 where there is none; None = 1.0 each
        pairs: see ``PairBatch``; None = no page has any
    """

    items: ItemBatch
    grades: Tensor
    teacher: Tensor
    weights: Tensor | None = None
    pairs: PairBatch | None = None

    def __len__(self) -> int:
        return len(self.grades)

    def to(self, device: torch.device) -> PageBatch:
        """The same batch on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        pairs = None if self.pairs is None else self.pairs.to(device)
        return PageBatch(self.items.to(device), self.grades.to(device), self.teacher.to(device), weights, pairs)


def collate(batch: Sequence[Lesson]) -> PageBatch:
    """Pad lessons to the longest of them."""
    items = pad_items([lesson.items for lesson in batch])
    grades, teacher = np.full((2, *items.mask.shape), np.nan, np.float32)
    for row, lesson in enumerate(batch):
        grades[row, : len(lesson.grades)] = lesson.grades
        teacher[row, : len(lesson.teacher)] = lesson.teacher
    weights = pairs = None
    if any(lesson.weights is not None for lesson in batch):
        weights = torch.from_numpy((~np.isnan(grades)).astype(np.float32))
        for row, lesson in enumerate(batch):
            if lesson.weights is not None:
                weights[row, : len(lesson.weights)] = torch.from_numpy(lesson.weights)
    if any(len(lesson.pairs) for lesson in batch):
        pairs = pad_pairs([lesson.pairs for lesson in batch])
    return PageBatch(items, torch.from_numpy(grades), torch.from_numpy(teacher), weights, pairs)


def shuffled(count: int, batch_size: int, *, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Indices of one epoch in batches; a pure function of (seed, epoch), so that a resumed run draws the same.

    Raises:
        ShapeError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ShapeError(f"shuffled: got batch_size {batch_size}; allowed: 1 or more; lower it only for memory")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]
