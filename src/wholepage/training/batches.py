"""What training sees of a page: the page, the grades somebody bought, and how other rankers order it.

Page + Judgments + teacher Rankings -> ``SupervisedPage`` -> ``Lesson`` -> ``PageBatch`` of padded tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import PageError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import scores_on
from wholepage.rankers.features import PageItems
from wholepage.rankers.whole_page import ItemBatch, pad_items


@dataclass(frozen=True)
class SupervisedPage:
    """A page with what is known of it.

    Attributes:
        grades: page grades in the page's order; NaN = nobody looked.
        teachers: how each modality's own ranker orders that modality's results.
    Shapes:
        grades: [len(page)]
    """

    page: Page
    grades: NDArray[np.float32]
    teachers: Mapping[Modality, Ranking]

    def teacher_scores(self) -> NDArray[np.float32]:
        """The teachers' scores in the page's order, NaN = no opinion; comparable within one modality only."""
        scores = np.full(len(self.page), np.nan, np.float32)
        for modality, ranking in self.teachers.items():
            rows = [i for i, result in enumerate(self.page.results) if result.modality is modality]
            scores[rows] = scores_on(self.page.only(modality), ranking)
        return scores


def supervise(
    pages: Sequence[Page], judgments: Judgments, teachers: Sequence[Mapping[Modality, Ranking]] | None = None
) -> list[SupervisedPage]:
    """Put pages, bought grades and teacher rankings together; of the judgments only grades are read.

    Args:
        teachers: one mapping a page; None = no teacher.
    Raises:
        ShapeError: not one mapping a page.
        PageError: a grade is about a result that is not on its page (or query not among the pages).
        DecodingError: a teacher's ranking is not a permutation of its modality's results.
    """
    if teachers is not None and len(teachers) != len(pages):
        raise ShapeError(f"supervise: got {len(teachers)} teachers for {len(pages)} pages; allowed: one mapping a page")
    known = {page.query_id for page in pages}
    strangers = [query_id for query_id in judgments.query_ids if query_id not in known]
    if strangers:
        raise PageError(
            f"supervise: got judgments of queries {strangers[:3]} without a page; allowed: queries of the "
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
        supervised.append(SupervisedPage(page, row, given))
    return supervised


@dataclass(frozen=True)
class Lesson:
    """One page ready to learn from.

    Shapes:
        grades, teacher: [n], NaN = nobody looked / no opinion
    """

    items: PageItems
    grades: NDArray[np.float32]
    teacher: NDArray[np.float32]


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
    return [Lesson(i, page.grades, page.teacher_scores()) for i, page in zip(items, pages, strict=True)]


@dataclass(frozen=True)
class PageBatch:
    """Padded pages with what they teach.

    Shapes:
        items: see ``ItemBatch``; grades, teacher: [B, L], NaN = nobody looked / no opinion / padding
    """

    items: ItemBatch
    grades: Tensor
    teacher: Tensor

    def __len__(self) -> int:
        return len(self.grades)

    def to(self, device: torch.device) -> PageBatch:
        """The same batch on a device."""
        i = self.items
        items = ItemBatch(*(part.to(device) for part in (i.query, i.item, i.numbers, i.mask, i.group)))
        return PageBatch(items, self.grades.to(device), self.teacher.to(device))


def collate(batch: Sequence[Lesson]) -> PageBatch:
    """Pad lessons to the longest of them."""
    items = pad_items([lesson.items for lesson in batch])
    grades, teacher = np.full((2, *items.mask.shape), np.nan, np.float32)
    for row, lesson in enumerate(batch):
        grades[row, : len(lesson.grades)] = lesson.grades
        teacher[row, : len(lesson.teacher)] = lesson.teacher
    return PageBatch(items, torch.from_numpy(grades), torch.from_numpy(teacher))


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
