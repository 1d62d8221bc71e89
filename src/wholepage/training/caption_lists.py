"""Lists of pictures, distilled from captions: a ranker of texts judges the words, the student sees the pixels.

    lists, report = distil_captions(pages, gold, captioner, teacher, kept=Path("teachers"))

Each picture is described without the query, the teacher of texts ranks the descriptions twice, shown in two orders; a
list on which it does not agree with itself, or where it holds the picture known to be right for a poor one, is left
out. In the lists that stay the right picture is put first. Source: arXiv 2601.20623, stage 1b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef, Modality, Page, Result
from wholepage.pages.protocols import Ranker
from wholepage.rankers.encoders import Progress, ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_options import shuffles
from wholepage.training.captions import Captioner, CaptionStore
from wholepage.training.list_teachers import Teacher, TeachingCost, points, teach
from wholepage.training.near_duplicates import Glance, Nearness, glance, same_groups
from wholepage.training.taught import TaughtList

NO_GOLD, SHORT, DECLINED, DISAGREES, GOLD_FELL = "no_gold", "short", "declined", "disagrees", "gold_fell"
"""Why a list is left out: no right picture with a caption; too few pictures; the teacher declined; it ranked otherwise
in another order; it holds the right picture for a poor one."""


class CaptionDistillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lists stay.

    Attributes:
        min_tau: Kendall's tau of the teacher's two orders, at least.
        worst_gold_rank: of every right picture in the mean order, other right ones not counted.
        nearness: of pictures that count as the same; None = all are kept.
        least_pictures: of a list.
        seed: of the orders in which the teacher is shown a list.
    Raises:
        InputError: a number out of range.
    """

    min_tau: float = 0.6
    worst_gold_rank: int = 5
    nearness: Nearness | None = Nearness()
    least_pictures: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not -1 <= self.min_tau <= 1 or self.worst_gold_rank < 1 or self.least_pictures < 2:
            raise InputError(
                f"caption distillation: got min_tau {self.min_tau}, worst_gold_rank {self.worst_gold_rank}, "
                f"least_pictures {self.least_pictures}; allowed: -1 to 1; 1 or more; 2 or more; change it"
            )


class DistillationReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of pages.

    Attributes:
        pages: given.  kept: lists made of them.  dropped: the others, by reason.
        near_duplicates: pictures left out, for another one of their list shows the same.
        without_caption: pictures left out, for the captioner had nothing to say of them.
        described: pictures that the captioner was asked about.  remembered: different ones it had described before.
        forced: lists kept whose right pictures did not all stand first by themselves.
        mean_tau: of the teacher's two orders, over the lists that it ranked twice; None = there were none.
        teaching: what the teacher's orders took, two a list.
    """

    pages: int
    kept: int
    dropped: dict[str, int]
    near_duplicates: int
    without_caption: int
    described: int
    remembered: int
    forced: int
    mean_tau: float | None
    teaching: TeachingCost


@dataclass
class _Sheet:
    """One page on its way: its pictures that count yet, the right ones among them, and why it is left out, if it is."""

    page: Page
    gold: Set[str]
    dropped: str = ""

    def keep(self, result_ids: Iterable[str]) -> int:
        """Leave out all others; returns how many that were."""
        before, self.page = len(self.page), self.page.keep(result_ids)
        self.gold = self.gold & set(self.page.result_ids)
        return before - len(self.page)


def distil_captions(
    pages: Sequence[Page],
    gold: Mapping[str, Set[str]],
    captioner: Captioner,
    teacher: Ranker | Teacher,
    *,
    settings: CaptionDistillation = CaptionDistillation(),  # noqa: B008 - frozen
    kept: Path | None = None,
    open_picture: OpenPicture = open_image,
    read: ReadBytes = read_image_bytes,
    progress: Progress | None = None,
) -> tuple[list[TaughtList], DistillationReport]:
    """Lists of pictures in the order of their captions, the right picture first.

    Args:
        pages: candidates of each query, pictures all of them (several of one result are frames of a video, of which
            the first says whether another result is the same).
        gold: by query id, the ids of the results known to be right; those that are not on the page do not count.
        captioner: describes each picture once, without the query.
        teacher: ranks texts.
        kept: folder of captions and rankings, from which a killed run goes on; None = nothing is kept.
        open_picture, read: how pictures are opened and their bytes read.
    Returns:
        The lists, in the order of their pages, of pixels alone: neither captions nor the results' own texts and
        features; and what became of the pages.
    Raises:
        InputError: a result without a picture, two pages of one query, or a folder that cannot be.
        ImageError: a picture cannot be read.
        DecodingError: the captioner or the teacher did not answer as it must.
    """
    _check(pages)
    sheets = [_Sheet(page, gold.get(page.query_id, set()) & set(page.result_ids)) for page in pages]
    same = _drop_same(_going(sheets, settings), settings.nearness, open_picture)
    store = CaptionStore(captioner, None if kept is None else kept / "captions.sqlite", read=read, progress=progress)
    captions, silent = _described(_going(sheets, settings), store)
    asked = _going(sheets, settings)
    turns = [
        teach(teacher, [_shown(sheet, captions, turn, settings.seed) for sheet in asked], kept=kept, progress=progress)
        for turn in (0, 1)
    ]
    judged = _judged(asked, [turn.lists for turn in turns], settings)
    kept_ones = [one for one in judged if not one.sheet.dropped]
    lists = [one.taught(f"{captioner.name} > {teacher.name}") for one in kept_ones]
    taus = [one.tau for one in judged if one.whole]
    dropped = Counter(sheet.dropped for sheet in sheets if sheet.dropped)
    return lists, DistillationReport(
        len(pages), len(lists), dict(sorted(dropped.items())), same, silent, store.asked, store.remembered,
        sum(one.gold_rank > 1 for one in kept_ones), float(np.mean(taus)) if taus else None,
        turns[0].cost + turns[1].cost,
    )  # fmt: skip


def kendall_tau(left: Sequence[float] | NDArray[np.floating], right: Sequence[float] | NDArray[np.floating]) -> float:
    """How far two orders of the same things agree: 1 = wholly, -1 = one is the other turned round; tau-a.

    Pairs that are equal in one of the two count as neither.

    Raises:
        ShapeError: lengths that differ, or less than two things.
    """
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ShapeError(f"kendall_tau: got shapes {a.shape} and {b.shape}; allowed: [n] twice, n of 2 or more")
    agree = np.sign(a[:, None] - a[None, :]) * np.sign(b[:, None] - b[None, :])
    return float(agree.sum() / (len(a) * (len(a) - 1)))


def _check(pages: Sequence[Page]) -> None:
    twice = [query_id for query_id, count in Counter(page.query_id for page in pages).items() if count > 1]
    if twice:
        raise InputError(
            f"caption distillation: got {twice[:5]} more than once; allowed: one page a query; name queries apart"
        )
    for page in pages:
        for i, result in enumerate(page.results):
            if not result.images:
                raise InputError(
                    f"query {page.query_id!r}: got results[{i}] {result.result_id!r} without a picture; allowed: "
                    "pictures and videos; leave other results out"
                )


def _going(sheets: Sequence[_Sheet], settings: CaptionDistillation) -> list[_Sheet]:
    """The pages of which lists can still come; the others are told to be dropped."""
    for sheet in sheets:
        sheet.dropped = NO_GOLD if not sheet.gold else SHORT if len(sheet.page) < settings.least_pictures else ""
    return [sheet for sheet in sheets if not sheet.dropped]


def _drop_same(sheets: Sequence[_Sheet], nearness: Nearness | None, open_picture: OpenPicture) -> int:
    """Of results of a page that show the same, keep the right ones, else the first; returns how many were dropped."""
    if nearness is None:
        return 0
    glances: dict[ImageRef, Glance] = {}
    count = 0
    for sheet in sheets:
        page, ids = sheet.page, sheet.page.result_ids
        for i, result in enumerate(page.results):
            if result.images[0] not in glances:
                place = f"query {page.query_id!r}: results[{i}] {result.result_id!r}"
                glances[result.images[0]] = glance(open_picture(result.images[0], at=place))
        kept: list[str] = []
        for group in same_groups([glances[result.images[0]] for result in page.results], nearness):
            kept += [ids[i] for i in group if ids[i] in sheet.gold] or [ids[group[0]]]
        count += sheet.keep(kept)
    return count


def _described(sheets: Sequence[_Sheet], store: CaptionStore) -> tuple[dict[ImageRef, str], int]:
    """What all pictures show; and how many results were dropped, for there is nothing to say of them."""
    refs = list(dict.fromkeys(ref for sheet in sheets for result in sheet.page.results for ref in result.images))
    try:
        captions = dict(zip(refs, store.caption(refs), strict=True))
    finally:
        store.close()
    silent = 0
    for sheet in sheets:
        silent += sheet.keep([result.result_id for result in sheet.page.results if _words(result, captions)])
    return captions, silent


def _judged(
    sheets: Sequence[_Sheet], turns: Sequence[Sequence[TaughtList]], settings: CaptionDistillation
) -> list[_Judged]:
    """The pages with what the teacher said in its turns; those that do not stay are told to be dropped."""
    by_query = [{one.page.query_id: one for one in turn} for turn in turns]
    judged = [_Judged(sheet, [of.get(sheet.page.query_id) for of in by_query]) for sheet in sheets]
    for one in judged:
        one.sheet.dropped = one.fault(settings)
    return judged


def _words(result: Result, captions: Mapping[ImageRef, str]) -> str:
    return " ".join(filter(None, (captions[ref].strip() for ref in result.images)))


def _shown(sheet: _Sheet, captions: Mapping[ImageRef, str], turn: int, seed: int) -> Page:
    """The texts of a page, in one of two orders."""
    texts = [Result(one.result_id, Modality.TEXT, _words(one, captions)) for one in sheet.page.results]
    one, other = shuffles(sheet.page.result_ids, 2, seed=seed, request=sheet.page.query_id)
    if one == other:
        other = one[::-1]
    return Page(sheet.page.query, tuple(texts[i] for i in (one, other)[turn]))


class _Judged:
    """A page with the two orders that the teacher gave it.

    Attributes:
        whole: whether it ordered all of the page, twice.  tau: of its orders.  gold_rank: the worst of a right
            picture among the wrong ones.
    """

    def __init__(self, sheet: _Sheet, orders: Sequence[TaughtList | None]) -> None:
        self.sheet, ids = sheet, sheet.page.result_ids
        found = [dict(zip(one.page.result_ids, one.targets, strict=True)) for one in orders if one is not None]
        self.whole = len(found) == len(orders) and all(len(of) == len(ids) for of in found)
        self.tau, self.gold_rank = 1.0, 1
        if self.whole:
            rows = np.array([[of[result_id] for result_id in ids] for of in found])
            self._mean = rows.mean(axis=0)
            self._gold = np.array([result_id in sheet.gold for result_id in ids])
            self.tau = kendall_tau(rows[0], rows[1])
            self.gold_rank = 1 + int((self._mean[~self._gold] > self._mean[self._gold].min()).sum())

    def fault(self, settings: CaptionDistillation) -> str:
        """Why the list is left out; "" = it is not."""
        if not self.whole:
            return DECLINED
        if self.tau < settings.min_tau or len(set(self._worth())) < 2:
            return DISAGREES
        return GOLD_FELL if self.gold_rank > settings.worst_gold_rank else ""

    def taught(self, teacher: str) -> TaughtList:
        """The list: pixels alone, the right pictures before all others."""
        bare = tuple(
            Result(one.result_id, one.modality if one.modality is Modality.VIDEO else Modality.IMAGE, images=one.images)
            for one in self.sheet.page.results
        )
        return TaughtList(Page(self.sheet.page.query, bare), self._worth(), teacher)

    def _worth(self) -> tuple[float, ...]:
        return points(self._mean + self._gold * (len(self._mean) + 1.0))
