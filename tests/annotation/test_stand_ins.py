"""Stand-ins who spam and who err as people do: what they answer, how often, and the same whenever asked."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from wholepage.annotation.agreement import cohen_kappa
from wholepage.annotation.oracles import PerfectAnnotator, ask
from wholepage.annotation.selection import Random, select
from wholepage.annotation.stand_ins import CarefulAnnotator, SpammingAnnotator
from wholepage.pages import Annotator, Choice, InputError, Judgments, Modality, Page, Query, Question, Result

LEVELS = 4
PAGES = [Page(Query(f"q{i}"), tuple(Result(f"r{j}", Modality.TEXT, "words") for j in range(20))) for i in range(150)]
TRUTH = Judgments.from_mapping({p.query_id: {r: i % LEVELS for i, r in enumerate(p.result_ids)} for p in PAGES})
ITEMS = [(page, result_id) for page in PAGES for result_id in page.result_ids]
TRUE = np.array([i % LEVELS for _ in PAGES for i in range(20)])
HABITS = ("constant", "random", "middle")


def grades(annotator: Annotator) -> np.ndarray:
    return np.array([annotator.answer(Question(page, result_id)).grade for page, result_id in ITEMS])


def choices(annotator: Annotator, gap: int) -> Counter[Choice | None]:
    """Answers to pairs whose right side is ``gap`` grades better."""
    asked = [
        Question(page, f"r{left}", f"r{right}")
        for page in PAGES
        for left in range(20)
        for right in range(20)
        if left != right and right % LEVELS - left % LEVELS == gap and abs(left - right) < 8
    ]
    return Counter(annotator.answer(question).choice for question in asked)


def careful(**options: float) -> CarefulAnnotator:
    return CarefulAnnotator(TRUTH, LEVELS, seed=1, **options)


# ------------------------------------------------------------------ spam


@pytest.mark.parametrize("habit", HABITS)
def test_spam_has_nothing_to_do_with_the_truth(habit: str) -> None:
    spammer = SpammingAnnotator(LEVELS, habit, seed=3)  # type: ignore[arg-type]
    assert isinstance(spammer, Annotator)
    given = grades(spammer)
    assert abs(cohen_kappa(TRUE, given)) < 0.03
    assert set(given) <= set(range(LEVELS))
    other_truth = [page.keep(page.result_ids) for page in PAGES[:3]]
    assert [spammer.answer(Question(p, "r4")) for p in other_truth] == [
        spammer.answer(Question(p, "r4")) for p in PAGES[:3]
    ]


def test_habits_are_what_they_say() -> None:
    constant = [set(grades(SpammingAnnotator(LEVELS, "constant", seed=s))) for s in range(12)]
    assert all(len(found) == 1 for found in constant)
    assert len(set().union(*constant)) == LEVELS  # every seed has its own
    sides = [set(choices(SpammingAnnotator(LEVELS, "constant", seed=s), 2)) for s in range(8)]
    assert {frozenset(one) for one in sides} == {frozenset({Choice.LEFT}), frozenset({Choice.RIGHT})}
    assert (
        set(grades(SpammingAnnotator(4, "middle", seed=0))) == set(grades(SpammingAnnotator(5, "middle", 0))) == {2.0}
    )
    assert set(choices(SpammingAnnotator(LEVELS, "middle", seed=0), 1)) == {Choice.SAME}
    shares = np.bincount(grades(SpammingAnnotator(LEVELS, "random", seed=0)).astype(int)) / len(ITEMS)
    assert shares == pytest.approx(np.full(LEVELS, 0.25), abs=0.03)
    drawn = choices(SpammingAnnotator(LEVELS, "random", seed=0), 2)
    assert min(drawn.values()) / drawn.total() > 0.3


# ------------------------------------------------------------------ care


def test_care_errs_by_one_grade_as_often_as_it_says() -> None:
    given = grades(careful(slip=0.2))
    assert set(np.abs(given - TRUE)) == {0, 1}
    table = np.array([[np.mean(given[true == TRUE] == read) for read in range(LEVELS)] for true in range(LEVELS)])
    expected = careful(slip=0.2).confusion()
    assert expected.sum(axis=1) == pytest.approx(np.ones(LEVELS))
    assert expected[0].tolist() == pytest.approx([0.8, 0.2, 0, 0])
    assert expected[1].tolist() == pytest.approx([0.1, 0.8, 0.1, 0])
    assert table == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize(("lean", "sign"), [(-1.0, -1), (1.0, 1)])
def test_strict_and_lenient_err_to_one_side(lean: float, sign: int) -> None:
    given = grades(careful(slip=0.3, lean=lean))
    assert set((given - TRUE) * sign) == {0, 1}
    end = 0 if lean < 0 else LEVELS - 1
    assert set(given[end == TRUE]) == {end}
    middle = (TRUE > 0) & (TRUE < LEVELS - 1)
    assert np.mean(given[middle] != TRUE[middle]) == pytest.approx(0.3, abs=0.03)
    half = grades(careful(slip=0.3, lean=lean / 2))
    assert np.mean((half - TRUE)[middle] * sign > 0) == pytest.approx(0.3 * 0.75, abs=0.03)


def test_near_comparisons_lean_to_the_left() -> None:
    biased = careful(slip=0.0, left_bias=0.25)
    equal, worse, far = choices(biased, 0), choices(biased, 1), choices(biased, 2)
    assert equal[Choice.LEFT] / equal.total() == pytest.approx(0.25, abs=0.02)
    assert equal[Choice.RIGHT] == 0
    assert worse[Choice.SAME] / worse.total() == pytest.approx(0.25, abs=0.02)
    assert worse[Choice.LEFT] == 0
    assert set(far) == {Choice.RIGHT}
    assert set(choices(biased, -1)) == set(choices(biased, -2)) == {Choice.LEFT}
    assert set(choices(careful(slip=0.0, left_bias=0.0), 0)) == {Choice.SAME}


def test_comparisons_follow_the_grades_as_read() -> None:
    annotator = careful(slip=0.4, left_bias=0.0)
    for page in PAGES[:20]:
        read = [annotator.answer(Question(page, r)).grade for r in ("r1", "r2")]
        ahead = (read[0] or 0.0) - (read[1] or 0.0)
        expected = Choice.SAME if ahead == 0 else Choice.LEFT if ahead > 0 else Choice.RIGHT
        assert annotator.answer(Question(page, "r1", "r2")).choice is expected


def test_without_slips_and_bias_care_is_perfect() -> None:
    annotator = careful(slip=0.0, left_bias=0.0)
    assert (grades(annotator) == TRUE).all()
    selection = select(PAGES, [{}] * len(PAGES), Random(0.1), seed=0)
    assert ask(PAGES, selection, annotator, who="x") == ask(PAGES, selection, PerfectAnnotator(TRUTH), who="x")


# ------------------------------------------------------------------ both


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: SpammingAnnotator(LEVELS, "random", seed),
        lambda seed: CarefulAnnotator(TRUTH, LEVELS, slip=0.3, left_bias=0.3, seed=seed),
    ],
)
def test_the_same_question_gets_the_same_answer_in_any_order(make) -> None:
    one, again, other = make(7), make(7), make(8)
    pairs = [Question(page, "r0", "r4") for page in PAGES]
    forwards = [one.answer(question) for question in pairs]
    assert [again.answer(question) for question in reversed(pairs)] == forwards[::-1]
    assert (grades(one) == grades(again)).all()
    assert (grades(one) != grades(other)).any()
    assert [other.answer(question) for question in pairs] != forwards
    assert one.name == again.name != other.name


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="levels=1"):
        SpammingAnnotator(1, "middle", 0)
    with pytest.raises(InputError, match="habit='lazy'"):
        SpammingAnnotator(4, "lazy", 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="levels=1"):
        CarefulAnnotator(TRUTH, 1, seed=0)
    for wrong in ({"slip": 1.1}, {"lean": -1.5}, {"left_bias": -0.1}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
            careful(**wrong)
    with pytest.raises(InputError, match=r"grade 3\.0; allowed: whole numbers from 0 to 2"):
        CarefulAnnotator(TRUTH, 3, seed=0).answer(Question(PAGES[0], "r3"))
    with pytest.raises(InputError, match="nobody graded"):
        CarefulAnnotator(Judgments(), 3, seed=0).answer(Question(PAGES[0], "r3"))
