"""What training sees of a page: grades in their places, teachers in theirs, nothing invented, nothing lost."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import DecodingError, PageError, ShapeError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.rankers.features import PageItems
from wholepage.training.batches import Lesson, SupervisedPage, collate, lessons, shuffled, supervise

TEXT, IMAGE, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.ANSWER


@pytest.fixture
def page(planted: SimpleNamespace) -> Page:
    """text0 image0 text1 image1 text2, mixed."""
    mixed: Page = planted.world(1, {TEXT: 3, IMAGE: 2}).pages[0]
    assert [r.modality for r in mixed.results] == [TEXT, IMAGE, TEXT, IMAGE, TEXT]
    return mixed


def items(count: int, *, fill: float = 1.0, group: int = 0) -> PageItems:
    return PageItems(
        np.full(2, fill, np.float32),
        np.full((count, 3), fill, np.float32),
        np.full((count, 4), fill, np.float32),
        np.full(count, group, np.int64),
    )


def lesson(count: int, fill: float) -> Lesson:
    return Lesson(items(count, fill=fill), np.full(count, fill, np.float32), np.full(count, -fill, np.float32))


# --- supervise --------------------------------------------------------------------------------------------------------


def test_grades_stand_in_the_pages_order_and_nan_where_nobody_looked(page: Page) -> None:
    said = Judgments.from_mapping({"q0": {"text2": 3.0, "image0": 0.0}})
    (known,) = supervise([page], said)
    np.testing.assert_array_equal(known.grades, np.float32([np.nan, 0.0, np.nan, np.nan, 3.0]))
    assert known.grades.dtype == np.float32
    assert known.teachers == {}
    assert np.isnan(known.teacher_scores()).all()


def test_two_people_are_averaged(page: Page) -> None:
    said = Judgments([Grade("q0", "text0", 1.0, "ann"), Grade("q0", "text0", 2.0, "bob")])
    assert supervise([page], said)[0].grades[0] == 1.5


def test_a_page_without_answers_is_all_nan_and_kept(page: Page) -> None:
    (known,) = supervise([page], Judgments())
    assert np.isnan(known.grades).all()
    assert len(known.grades) == 5


def test_a_judgment_of_a_stranger_result_is_refused(page: Page) -> None:
    said = Judgments.from_mapping({"q0": {"text0": 1.0, "ghost": 2.0}})
    with pytest.raises(PageError, match=r"'q0'.*ghost.*allowed: results of the page"):
        supervise([page], said)


def test_a_judgment_of_a_stranger_query_is_refused(page: Page) -> None:
    said = Judgments.from_mapping({"q0": {"text0": 1.0}, "elsewhere": {"text0": 2.0}})
    with pytest.raises(PageError, match="elsewhere"):
        supervise([page], said)


@pytest.mark.parametrize("count", [0, 2])
def test_not_one_mapping_of_teachers_a_page_is_refused(page: Page, count: int) -> None:
    with pytest.raises(ShapeError, match=f"got {count} teachers for 1 pages"):
        supervise([page], Judgments(), [{}] * count)


@pytest.mark.parametrize(
    "wrong",
    [
        Ranking("q0", ("text0", "text1")),  # one lost
        Ranking("q0", ("text0", "text1", "text2", "image0")),  # one of another modality
        Ranking("q1", ("text0", "text1", "text2")),  # of another query
    ],
)
def test_a_teacher_that_is_no_permutation_of_its_modality_is_refused(page: Page, wrong: Ranking) -> None:
    with pytest.raises(DecodingError):
        supervise([page], Judgments(), [{TEXT: wrong}])


# --- teachers ---------------------------------------------------------------------------------------------------------


def test_teacher_scores_find_their_places_among_other_modalities(page: Page) -> None:
    teachers = {
        IMAGE: Ranking("q0", ("image1", "image0"), (5.0, 4.0), "pictures"),
        TEXT: Ranking("q0", ("text2", "text0", "text1"), (0.3, 0.2, None), "words"),
    }
    (known,) = supervise([page], Judgments(), [teachers])
    # text0 image0 text1 image1 text2
    np.testing.assert_array_equal(known.teacher_scores(), np.float32([0.2, 4.0, np.nan, 5.0, 0.3]))


def test_an_order_without_scores_becomes_negated_ranks(page: Page) -> None:
    (known,) = supervise([page], Judgments(), [{TEXT: Ranking("q0", ("text1", "text2", "text0"))}])
    np.testing.assert_array_equal(known.teacher_scores(), np.float32([-2.0, np.nan, 0.0, np.nan, -1.0]))


def test_a_teacher_of_an_absent_modality_says_nothing(page: Page) -> None:
    (known,) = supervise([page], Judgments(), [{ANSWER: Ranking("q0", ())}])
    assert np.isnan(known.teacher_scores()).all()


def test_an_empty_page_passes() -> None:
    (known,) = supervise([Page(Query("q", "words"))], Judgments(), [{}])
    assert known.grades.shape == known.teacher_scores().shape == (0,)


# --- lessons and batches ----------------------------------------------------------------------------------------------


def test_lessons_want_items_of_the_same_pages() -> None:
    page = Page(Query("q", "words"), (Result("a", TEXT, "A"), Result("b", TEXT, "B")))
    known = SupervisedPage(page, np.float32([1.0, np.nan]), {TEXT: Ranking("q", ("b", "a"))})
    (one,) = lessons([items(2)], [known])
    np.testing.assert_array_equal(one.grades, np.float32([1.0, np.nan]))
    np.testing.assert_array_equal(one.teacher, np.float32([-1.0, 0.0]))
    for wrong in ([items(3)], [items(2), items(2)], []):
        with pytest.raises(ShapeError, match="allowed: the same lengths"):
            lessons(wrong, [known])


def test_padding_is_nan_in_what_is_known_and_minus_one_in_the_groups() -> None:
    batch = collate([lesson(1, 2.0), lesson(3, 5.0)])
    assert len(batch) == 2
    nan = math.nan
    np.testing.assert_array_equal(batch.grades.numpy(), np.float32([[2, nan, nan], [5, 5, 5]]))
    np.testing.assert_array_equal(batch.teacher.numpy(), np.float32([[-2, nan, nan], [-5, -5, -5]]))
    assert batch.items.group.tolist() == [[0, -1, -1], [0, 0, 0]]
    assert batch.items.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.items.query.shape == (2, 2)
    np.testing.assert_array_equal(batch.items.item[0, 1:].numpy(), np.zeros((2, 3)))
    np.testing.assert_array_equal(batch.items.numbers[0, 1:].numpy(), np.zeros((2, 4)))
    assert batch.grades.dtype == batch.teacher.dtype == torch.float32


def test_a_page_is_the_same_alone_and_padded() -> None:
    alone, both = collate([lesson(2, 3.0)]), collate([lesson(2, 3.0), lesson(4, 1.0)])
    for name in ("item", "numbers", "group", "mask"):
        assert torch.equal(getattr(both.items, name)[0, :2], getattr(alone.items, name)[0])
    assert torch.equal(both.grades[0, :2], alone.grades[0])


def test_a_batch_moves_as_a_whole() -> None:
    moved = collate([lesson(2, 3.0)]).to(torch.device("meta"))
    parts = [*vars(moved.items).values(), moved.grades, moved.teacher]
    assert len(parts) == 8
    assert {part.device.type for part in parts} == {"meta"}


# --- order ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_draws_everything_once_and_repeats_itself(count: int, size: int, seed: int, epoch: int) -> None:
    np.random.seed(count)  # must not matter
    first = [b.tolist() for b in shuffled(count, size, seed=seed, epoch=epoch)]
    np.random.seed(7)
    again = [b.tolist() for b in shuffled(count, size, seed=seed, epoch=epoch)]
    assert first == again
    assert sorted(i for b in first for i in b) == list(range(count))
    assert [len(b) for b in first] == [size] * (count // size) + ([count % size] if count % size else [])


def test_epochs_and_seeds_draw_differently() -> None:
    drawn = {
        tuple(np.concatenate(list(shuffled(50, 8, seed=seed, epoch=epoch))).tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(drawn) == 16


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    small, large = (np.concatenate(list(shuffled(50, size, seed=1, epoch=2))).tolist() for size in (7, 50))
    assert small == large


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ShapeError, match="got batch_size 0"):
        list(shuffled(3, 0, seed=0, epoch=0))
