"""Distillation from captions in a planted world: what a picture is worth is its brightness, and captions tell it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kendalltau

from wholepage.pages.errors import ImageError, InputError, ShapeError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.rankers.permutation_teacher import Declined
from wholepage.training.caption_lists import CaptionDistillation, distil_captions, kendall_tau
from wholepage.training.near_duplicates import Nearness
from wholepage.training.taught import ListKind, TaughtList

Make = Callable[..., Page]
WORTH = re.compile(r"worth (\d+)")


class TellsTheTruth:
    """A captioner that reads a picture's worth off its corner; nothing is to be said of pictures in ``silent``."""

    name = "truth"

    def __init__(self, silent: Sequence[int] = ()) -> None:
        self.silent = silent
        self.shown: list[str] = []

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        self.shown += [ref.uri for ref in images]
        worths = [Image.open(ref.uri).convert("RGB").getpixel((0, 0))[0] for ref in images]  # type: ignore[index]
        return ["" if worth in self.silent else f"worth {worth}" for worth in worths]


class Reader:
    """Ranks texts by their worth, plus noise that depends on where they stand."""

    def __init__(self, noise: float = 0.0, name: str = "reader") -> None:
        self.noise, self.name = noise, name
        self.asked: list[Page] = []

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        self.asked += pages
        return [self._rank(page) for page in pages]

    def _rank(self, page: Page) -> Ranking:
        seed = hashlib.sha256("/".join((page.query_id, *page.result_ids)).encode()).digest()
        worth = np.array([float(WORTH.findall(result.text)[0]) for result in page.results])
        worth += self.noise * np.random.default_rng(list(seed)).standard_normal(len(page))
        return Ranking(page.query_id, tuple(page.result_ids[i] for i in np.argsort(-worth, kind="stable")))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make("q", [90, 20, 50])``: a page of pictures ``r90``, ``r20``, ``r50`` that look quite different."""

    def page(name: str, worths: Sequence[int], same: Sequence[tuple[str, int]] = ()) -> Page:
        results = []
        for result_id, worth in [*((f"r{worth}", worth) for worth in worths), *same]:
            path = tmp_path / f"{name}-{result_id}.png"
            look = np.random.default_rng(worth).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(look).resize((48, 48), Image.Resampling.NEAREST)
            if result_id != f"r{worth}":
                picture = picture.resize((30, 30))
            picture.putpixel((0, 0), (worth, 0, 0))
            picture.save(path)
            results.append(Result(result_id, Modality.IMAGE, "old words", (ImageRef(str(path)),), {"clicks": 3.0}))
        return Page(Query(name, f"about {name}"), tuple(results))

    return page


def by_id(one: TaughtList) -> dict[str, float]:
    return dict(zip(one.page.result_ids, one.targets, strict=True))


# ------------------------------------------------------------------ the planted world


def test_true_captions_give_the_true_order_with_gold_first(make: Make) -> None:
    pages = [make("q0", [30, 90, 60, 10]), make("q1", [5, 20, 100, 80])]
    teacher = Reader()
    lists, report = distil_captions(pages, {"q0": {"r90"}, "q1": {"r80"}}, TellsTheTruth(), teacher)
    assert [by_id(one) for one in lists] == [
        {"r30": 2.0, "r90": 4.0, "r60": 3.0, "r10": 1.0},
        {"r5": 1.0, "r20": 2.0, "r100": 3.0, "r80": 4.0},  # the right one is put before a better one
    ]
    assert [one.page.result_ids for one in lists] == [page.result_ids for page in pages]
    assert {one.teacher for one in lists} == {"truth > reader"}
    assert (report.pages, report.kept, report.dropped, report.forced, report.mean_tau) == (2, 2, {}, 1, 1.0)
    assert (report.near_duplicates, report.without_caption, report.described) == (0, 0, 8)
    assert (report.teaching.asked, report.teaching.refused) == (4, {})


def test_the_student_sees_pixels_only_and_the_teacher_words_only(make: Make) -> None:
    page, teacher, captioner = make("q0", [30, 90, 60]), Reader(), TellsTheTruth()
    (one,), _ = distil_captions([page], {"q0": {"r90"}}, captioner, teacher)
    assert one.kind is ListKind.IMAGE
    assert one.page == Page(page.query, tuple(Result(r.result_id, Modality.IMAGE, images=r.images)
                                              for r in page.results))  # fmt: skip
    assert len(captioner.shown) == 3
    assert [sorted(result.text for result in asked.results) for asked in teacher.asked] == [
        ["worth 30", "worth 60", "worth 90"]
    ] * 2
    assert all(not result.images and not result.features for asked in teacher.asked for result in asked.results)


def test_the_two_orders_shown_differ(make: Make) -> None:
    pages = [make(f"q{i}", [30, 90, 60][: 2 + i % 2]) for i in range(12)]
    teacher = Reader()
    settings = CaptionDistillation(least_pictures=2)
    distil_captions(pages, {page.query_id: {"r90"} for page in pages}, TellsTheTruth(), teacher, settings=settings)
    shown: dict[str, set[tuple[str, ...]]] = {}
    for asked in teacher.asked:
        shown.setdefault(asked.query_id, set()).add(asked.result_ids)
    assert {len(orders) for orders in shown.values()} == {2}
    first = {orders.result_ids for orders in teacher.asked if orders.query_id.endswith(("1", "3", "5", "7", "9"))}
    assert len(first) > 3  # drawn for each query


def test_a_teacher_that_does_not_agree_with_itself_is_filtered_out(make: Make) -> None:
    worths = [10, 25, 40, 55, 70, 85, 100, 115]
    pages = [make(f"q{i}", worths) for i in range(12)]
    gold = {page.query_id: {"r115"} for page in pages}
    kept = []
    for noise in (0.0, 15.0, 60.0, 1e4):
        lists, report = distil_captions(pages, gold, TellsTheTruth(), Reader(noise))
        assert report.kept == len(lists) == 12 - sum(report.dropped.values())
        assert set(report.dropped) <= {"disagrees", "gold_fell"}
        kept.append(len(lists))
        for one in lists:  # what stays is near the truth
            assert kendalltau(one.targets, worths).statistic > 0.4
    assert kept[0] == 12
    assert kept[1] >= 6
    assert kept[3] <= 2
    assert kept == sorted(kept, reverse=True)
    _, report = distil_captions(pages, gold, TellsTheTruth(), Reader(1e4))
    assert report.dropped["disagrees"] >= 9
    assert report.mean_tau is not None
    assert abs(report.mean_tau) < 0.3


def test_tau_decides_at_its_limit(make: Make) -> None:
    """The teacher swaps neighbours when shown the second order: tau is known exactly."""
    page = make("q", [10, 20, 30, 40, 50])

    class Swaps(Reader):
        def _rank(self, page: Page) -> Ranking:
            ids = list(super()._rank(page).result_ids)
            if len(self.asked) > 1:
                ids[1], ids[3] = ids[3], ids[1]  # three pairs of ten: tau .4
            return Ranking(page.query_id, tuple(ids))

    for limit, expected in ((0.4, 1), (0.41, 0)):
        lists, report = distil_captions([page], {"q": {"r50"}}, TellsTheTruth(), Swaps(),
                                        settings=CaptionDistillation(min_tau=limit))  # fmt: skip
        assert report.mean_tau == pytest.approx(0.4)
        assert len(lists) == expected
        if expected:
            assert by_id(lists[0]) == {"r50": 5.0, "r40": 3.0, "r30": 3.0, "r20": 3.0, "r10": 1.0}


def test_gold_that_fell_too_far(make: Make) -> None:
    page = make("q", [10, 20, 30, 40, 50, 60, 70])

    def distilled(gold: set[str], worst: int) -> tuple[list[TaughtList], dict[str, int]]:
        settings = CaptionDistillation(worst_gold_rank=worst)
        lists, report = distil_captions([page], {"q": gold}, TellsTheTruth(), Reader(), settings=settings)
        return lists, report.dropped

    assert distilled({"r30"}, 4) == ([], {"gold_fell": 1})
    assert len(distilled({"r30"}, 5)[0]) == 1
    assert distilled({"r70", "r30"}, 3) == ([], {"gold_fell": 1})
    (one,), _ = distilled({"r60", "r30"}, 4)  # three wrong ones stand before it
    assert by_id(one) == {"r60": 7.0, "r30": 6.0, "r70": 5.0, "r50": 4.0, "r40": 3.0, "r20": 2.0, "r10": 1.0}


def test_near_duplicates_are_dropped_and_gold_is_kept(make: Make) -> None:
    page = make("q", [10, 20, 30, 90], same=[("copy-of-20", 20), ("copy-of-90", 90), ("copy-of-30", 30)])
    captioner = TellsTheTruth()
    (one,), report = distil_captions([page], {"q": {"copy-of-90", "copy-of-30", "r30"}}, captioner, Reader())
    assert one.page.result_ids == ("r10", "r20", "r30", "copy-of-90", "copy-of-30")
    assert report.near_duplicates == 2
    assert len(captioner.shown) == 5  # nobody describes what is dropped
    (one,), report = distil_captions([page], {"q": {"r90"}}, captioner, Reader(),
                                     settings=CaptionDistillation(nearness=None))  # fmt: skip
    assert (len(one.page), report.near_duplicates) == (7, 0)
    lists, report = distil_captions([page], {"q": {"r90"}}, captioner, Reader(),
                                    settings=CaptionDistillation(nearness=Nearness(64, 255)))  # fmt: skip
    assert (lists, report.dropped, report.near_duplicates) == ([], {"short": 1}, 6)


def test_pictures_without_a_caption_are_left_out(make: Make) -> None:
    pages = [make("q0", [10, 20, 30, 90]), make("q1", [10, 15, 90, 95])]
    lists, report = distil_captions(pages, {"q0": {"r90"}, "q1": {"r95"}}, TellsTheTruth([20, 95]), Reader())
    assert [one.page.result_ids for one in lists] == [("r10", "r30", "r90")]
    assert (report.without_caption, report.dropped) == (2, {"no_gold": 1})


def test_pages_without_gold_cost_nothing(make: Make) -> None:
    pages = [make("q0", [10, 20, 90]), make("q1", [10, 20, 90]), make("q2", [10, 90])]
    captioner, teacher = TellsTheTruth(), Reader()
    gold = {"q0": {"elsewhere"}, "q2": {"r90"}}
    lists, report = distil_captions(pages, gold, captioner, teacher)
    assert (lists, captioner.shown, teacher.asked) == ([], [], [])
    assert (report.dropped, report.mean_tau) == ({"no_gold": 2, "short": 1}, None)
    assert distil_captions([], {}, captioner, teacher)[0] == []


def test_a_list_that_the_teacher_declines_is_counted(make: Make) -> None:
    pages = [make(f"q{i}", [10, 20, 90]) for i in range(3)]

    class Declines(Reader):
        def answers(self, pages: Sequence[Page]) -> list[Ranking | Declined]:
            return [self._answer(page) for page in pages]

        def _answer(self, page: Page) -> Ranking | Declined:
            self.asked.append(page)
            if page.query_id == "q1" and len(self.asked) > 3:  # in its second turn only
                return Declined("q1", "refused")
            ranking = self._rank(page)
            return Ranking("q2", ranking.result_ids[:2]) if page.query_id == "q2" else ranking

    lists, report = distil_captions(pages, {f"q{i}": {"r90"} for i in range(3)}, TellsTheTruth(), Declines())
    assert [one.page.query_id for one in lists] == ["q0"]
    assert report.dropped == {"declined": 2}
    assert report.teaching.refused == {"refused": 1}


# ------------------------------------------------------------------ kept, and refused


def test_a_killed_run_goes_on(make: Make, tmp_path: Path) -> None:
    pages = [make(f"q{i}", [10, 20, 30 + i, 90]) for i in range(4)]
    gold = {page.query_id: {"r90"} for page in pages}

    class Dies(Reader):
        def rank(self, pages: Sequence[Page]) -> list[Ranking]:
            if self.asked:
                raise KeyboardInterrupt
            return super().rank(pages)

    with pytest.raises(KeyboardInterrupt):
        distil_captions(pages, gold, TellsTheTruth(), Dies(), kept=tmp_path / "kept")
    captioner, teacher = TellsTheTruth(), Reader()
    lists, report = distil_captions(pages, gold, captioner, teacher, kept=tmp_path / "kept")
    assert (len(captioner.shown), len(teacher.asked)) == (0, 4)  # the second turn of each
    assert (report.described, report.teaching.asked, report.teaching.remembered) == (0, 4, 4)
    assert report.remembered == len({hashlib.sha256(Path(r.images[0].uri).read_bytes()).digest()
                                     for page in pages for r in page.results})  # fmt: skip
    assert lists == distil_captions(pages, gold, TellsTheTruth(), Reader())[0]
    turned = distil_captions(pages[::-1], gold, TellsTheTruth(), Reader())[0]
    assert turned[::-1] == lists


def test_frames_of_a_video_are_described_together(make: Make) -> None:
    page = make("q", [10, 20, 90])
    film = Result("film", Modality.VIDEO, images=tuple(image for r in page.results for image in r.images))

    class Listens(Reader):
        def _rank(self, page: Page) -> Ranking:
            assert "worth 10 worth 20 worth 90" in {result.text for result in page.results}
            return super()._rank(page)

    (one,), _ = distil_captions([Page(page.query, (film, *page.results[1:]))], {"q": {"film"}}, TellsTheTruth(),
                                Listens())  # fmt: skip
    assert one.page.results[0] == film
    assert by_id(one)["film"] == 3.0


def test_what_cannot_be_is_refused(make: Make) -> None:
    page = make("q", [10, 20, 90])
    text = Page(page.query, (*page.results, Result("t", Modality.TEXT, "words")))
    with pytest.raises(InputError, match=r"query 'q': got results\[3\] 't' without a picture"):
        distil_captions([text], {}, TellsTheTruth(), Reader())
    with pytest.raises(InputError, match=r"\['q'\] more than once"):
        distil_captions([page, page], {}, TellsTheTruth(), Reader())
    gone = Page(page.query, (*page.results, Result("g", Modality.IMAGE, images=(ImageRef("gone.png"),))))
    with pytest.raises(ImageError, match=r"query 'q': results\[3\] 'g'"):
        distil_captions([gone], {"q": {"r90"}}, TellsTheTruth(), Reader())


@pytest.mark.parametrize("wrong", [{"min_tau": 1.1}, {"min_tau": -1.1}, {"worst_gold_rank": 0}, {"least_pictures": 1}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        CaptionDistillation(**wrong)


# ------------------------------------------------------------------ Kendall's tau


def test_tau_against_scipy() -> None:
    draw = np.random.default_rng(0)
    for n in (2, 3, 7, 20):
        for _ in range(20):
            a, b = draw.permutation(n), draw.permutation(n)
            assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)
    assert kendall_tau([1, 2, 3], [1, 2, 3]) == 1.0
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1.0
    assert kendall_tau([1, 1], [1, 2]) == 0.0
    for wrong in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], [])):
        with pytest.raises(ShapeError):
            kendall_tau(*wrong)
