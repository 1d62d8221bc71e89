"""Stand-ins for people: what they answer, what they get wrong, and what asking costs."""

from __future__ import annotations

import pytest

from wholepage.annotation.oracles import NoisyAnnotator, PerfectAnnotator, ask
from wholepage.annotation.selection import Random, Selection, select
from wholepage.pages import (
    Annotator,
    BudgetSpent,
    Choice,
    Grade,
    InputError,
    Judgments,
    Modality,
    Page,
    PageError,
    Query,
    Question,
    Result,
    Verdict,
)


def page(query_id: str, count: int) -> Page:
    return Page(Query(query_id), tuple(Result(f"r{i}", Modality.TEXT, "words") for i in range(count)))


PAGES = [page(f"q{i}", 20) for i in range(100)]
TRUTH = Judgments.from_mapping({p.query_id: {r: i % 4 for i, r in enumerate(p.result_ids)} for p in PAGES}, "editor")


def selection_of(bought: dict[str, tuple[str, ...]], full: int = 2000) -> Selection:
    return Selection(bought, full, "top(p=0.1)", "within-budget", 0)


class Counting:
    """A double that notes what it is asked, and answers 1, or what it is told to."""

    name = "counting"

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.verdict = verdict or Verdict(grade=1.0)

    def answer(self, question: Question) -> Verdict:
        self.asked.append((question.page.query_id, question.left_id))
        return self.verdict


# ------------------------------------------------------------------ perfect


def test_the_perfect_annotator_says_what_is_known() -> None:
    perfect = PerfectAnnotator(TRUTH)
    assert isinstance(perfect, Annotator)
    assert perfect.answer(Question(PAGES[0], "r3")) == Verdict(grade=3.0)
    assert perfect.answer(Question(PAGES[0], "r3", "r2")) == Verdict(choice=Choice.LEFT)
    assert perfect.answer(Question(PAGES[0], "r2", "r3")) == Verdict(choice=Choice.RIGHT)
    assert perfect.answer(Question(PAGES[0], "r2", "r6")) == Verdict(choice=Choice.SAME)


def test_the_perfect_annotator_averages_people() -> None:
    both = Judgments([Grade("q0", "r0", 1.0, "ann"), Grade("q0", "r0", 2.0, "bob")])
    assert PerfectAnnotator(both).answer(Question(PAGES[0], "r0")) == Verdict(grade=1.5)


@pytest.mark.parametrize("annotator", [PerfectAnnotator(Judgments()), NoisyAnnotator(Judgments(), 0.5, 4, 0)])
def test_nobody_invents_a_grade(annotator: Annotator) -> None:
    with pytest.raises(InputError, match="nobody graded"):
        annotator.answer(Question(PAGES[0], "r0"))


# ------------------------------------------------------------------ noisy


def answers(annotator: Annotator) -> dict[tuple[str, str], float]:
    given = {(p.query_id, r): annotator.answer(Question(p, r)).grade for p in PAGES for r in p.result_ids}
    return {item: grade for item, grade in given.items() if grade is not None}


TRUE = answers(PerfectAnnotator(TRUTH))


def misread(error: float, seed: int = 0) -> set[tuple[str, str]]:
    given = answers(NoisyAnnotator(TRUTH, error, 4, seed))
    return {item for item in TRUE if given[item] != TRUE[item]}


def test_errors_come_as_often_as_stated_and_as_any_other_grade() -> None:
    wrong = misread(0.25)
    assert abs(len(wrong) - 500) < 5 * 20  # 2000 results, standard deviation 19.4
    given = answers(NoisyAnnotator(TRUTH, 0.25, 4, 0))
    for grade in range(4):
        said = [given[item] for item in wrong if TRUE[item] == grade]
        assert set(said) == set(range(4)) - {grade}
        assert all(abs(said.count(other) - len(said) / 3) < 30 for other in set(said))


def test_errors_persist_and_grow_only() -> None:
    noisy = NoisyAnnotator(TRUTH, 0.3, 4, 1)
    first = answers(noisy)
    assert answers(noisy) == first
    backwards = {(p.query_id, r): noisy.answer(Question(p, r)).grade for p in PAGES[::-1] for r in p.result_ids[::-1]}
    assert backwards == first
    assert misread(0.1) < misread(0.3)
    assert misread(0.3, seed=1) != misread(0.3, seed=2)


def test_no_error_is_perfect_and_all_error_is_never_right() -> None:
    assert misread(0.0) == set()
    assert misread(1.0) == set(TRUE)


def test_comparisons_follow_the_grades_as_read() -> None:
    noisy = NoisyAnnotator(TRUTH, 0.5, 4, 3)
    read = answers(noisy)
    for p in PAGES[:20]:
        left, right = read[p.query_id, "r1"], read[p.query_id, "r2"]
        choice = Choice.SAME if left == right else Choice.LEFT if left > right else Choice.RIGHT
        assert noisy.answer(Question(p, "r1", "r2")) == Verdict(choice=choice)


def test_noise_needs_a_scale() -> None:
    with pytest.raises(InputError, match=r"error=1\.5"):
        NoisyAnnotator(TRUTH, 1.5, 4, 0)
    with pytest.raises(InputError, match="levels=1"):
        NoisyAnnotator(TRUTH, 0.5, 1, 0)
    with pytest.raises(InputError, match="whole numbers from 0 to 2"):
        NoisyAnnotator(TRUTH, 0.0, 3, 0).answer(Question(PAGES[0], "r3"))
    half = Judgments.from_mapping({"q0": {"r0": 1.5}})
    with pytest.raises(InputError, match=r"grade 1\.5"):
        NoisyAnnotator(half, 0.0, 4, 0).answer(Question(PAGES[0], "r0"))


# ------------------------------------------------------------------ asking


def test_asking_buys_what_was_selected_and_nothing_else() -> None:
    selection = select(PAGES, [{}] * len(PAGES), Random(0.1), seed=0)
    bought = ask(PAGES, selection, PerfectAnnotator(TRUTH))
    assert len(bought) == selection.labels == 200
    for p in PAGES:
        assert set(bought.by_result(p.query_id)) == set(selection.bought[p.query_id])
        assert bought.by_result(p.query_id).items() <= TRUTH.by_result(p.query_id).items()
    assert {said.who for said in bought} == {"perfect"}
    assert {said.who for said in ask(PAGES, selection, PerfectAnnotator(TRUTH), who="ann")} == {"ann"}


def test_each_question_is_asked_once_in_page_order() -> None:
    counting = Counting()
    ask(PAGES[:3], selection_of({"q2": ("r1",), "q0": ("r0", "r5"), "q1": ()}), counting, budget_questions=3)
    assert counting.asked == [("q0", "r0"), ("q0", "r5"), ("q2", "r1")]


def test_a_budget_too_small_is_told_before_anything_is_paid() -> None:
    counting = Counting()
    with pytest.raises(BudgetSpent, match="budget of 2 questions"):
        ask(PAGES, selection_of({"q0": ("r0", "r1", "r2")}), counting, budget_questions=2)
    assert counting.asked == []


def test_what_cannot_be_asked_is_refused_before_anything_is_paid() -> None:
    counting = Counting()
    with pytest.raises(InputError, match="no page here"):
        ask(PAGES[:1], selection_of({"q9": ("r0",)}), counting)
    with pytest.raises(InputError, match="each query once"):
        ask(PAGES[:1] * 2, selection_of({"q0": ("r0",)}), counting)
    with pytest.raises(PageError, match="'zz'"):
        ask(PAGES, selection_of({"q0": ("r0",), "q1": ("zz",)}), counting)
    assert counting.asked == []


def test_a_choice_is_no_grade() -> None:
    with pytest.raises(InputError, match="choice"):
        ask(PAGES, selection_of({"q0": ("r0",)}), Counting(Verdict(choice=Choice.SAME)))
