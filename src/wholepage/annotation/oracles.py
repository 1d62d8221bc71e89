"""Stand-ins for people: annotators that answer from known judgments, perfectly or with a stated error; and asking.

They measure what a strategy of annotation is worth before anybody is paid. ``ask`` drives a person's, a model's or a
stand-in's answers through the same questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from wholepage.annotation.selection import Selection
from wholepage.pages.errors import BudgetSpent, InputError
from wholepage.pages.judgments import Choice, Grade, Judgments, Question, Verdict
from wholepage.pages.model import Page
from wholepage.pages.protocols import Annotator


class PerfectAnnotator:
    """Answers every question as the known judgments say: the mean grade, or the side of the higher one.

    Args:
        judgments: a grade for all that will be asked.
    """

    name = "perfect"

    def __init__(self, judgments: Judgments) -> None:
        self._known = {query_id: judgments.by_result(query_id) for query_id in judgments.query_ids}

    def answer(self, question: Question) -> Verdict:
        """The grade of the one result asked about, or which of two has the higher grade.

        Raises:
            InputError: a result asked about has no known grade.
        """
        left = self._grade(question.page.query_id, question.left_id)
        if question.right_id is None:
            return Verdict(grade=left)
        right = self._grade(question.page.query_id, question.right_id)
        return Verdict(choice=Choice.SAME if left == right else Choice.LEFT if left > right else Choice.RIGHT)

    def _grade(self, query_id: str, result_id: str) -> float:
        grade = self._known.get(query_id, {}).get(result_id)
        if grade is None:
            raise InputError(
                f"annotator {self.name!r}: query {query_id!r}: got a question on {result_id!r}, which nobody graded; "
                f"allowed: the {len(self._known.get(query_id, {}))} graded results; ask about these, or bring its grade"
            )
        return grade


class NoisyAnnotator(PerfectAnnotator):
    """Errs on a share of the results, and errs the same way whenever asked again.

    A result is misread with chance ``error``, then as any of the other grades, each as likely. What is misread depends
    on the seed and on the result alone: on no other question, and a larger error misreads more, never others.
    Comparisons follow the grades as read.

    Args:
        judgments: a grade for all that will be asked, whole numbers from 0 to ``levels - 1``.
        error: the chance that a result is misread.
        levels: how many grades there are.
        seed: which results are misread.
    Raises:
        InputError: an error outside [0, 1], or fewer than 2 levels.
    """

    def __init__(self, judgments: Judgments, error: float, levels: int, seed: int) -> None:
        if not 0 <= error <= 1:
            raise InputError(f"NoisyAnnotator: got error={error}; allowed: 0 to 1; 0.1 misreads one result in ten")
        if levels < 2:
            raise InputError(f"NoisyAnnotator: got levels={levels}; allowed: 2 or more; 4 means the grades 0 to 3")
        super().__init__(judgments)
        self.error, self.levels, self.seed = error, levels, seed
        self.name = f"noisy(error={error:g}, levels={levels}, seed={seed})"

    def _grade(self, query_id: str, result_id: str) -> float:
        true = super()._grade(query_id, result_id)
        if true not in range(self.levels):
            raise InputError(
                f"annotator {self.name!r}: query {query_id!r}: result {result_id!r} has grade {true:g}; allowed: whole "
                f"numbers from 0 to {self.levels - 1}; raise levels, or round the grades"
            )
        digest = hashlib.sha256(msgspec.json.encode([self.seed, query_id, result_id])).digest()
        draw = np.random.default_rng(int.from_bytes(digest, "big"))
        misread, steps = draw.random() < self.error, draw.integers(1, self.levels)
        return float((true + steps) % self.levels) if misread else true


def ask(
    pages: Sequence[Page],
    selection: Selection,
    annotator: Annotator,
    *,
    budget_questions: int | None = None,
    who: str | None = None,
) -> Judgments:
    """Buy the selected grades, one question each, page by page in page order.

    Args:
        pages: hold every selected query; pages of which nothing is selected cost nothing.
        selection: what to buy.
        annotator: who answers.
        budget_questions: how many questions may be asked; None = as many as selected.
        who: the name the grades go by; None = the annotator's.
    Returns:
        One grade for each selected result.
    Raises:
        BudgetSpent: the budget is smaller than the selection; nothing has been asked then.
        InputError: a selected query is not among the pages or comes twice, or the annotator answered a question for a
            grade with a choice.
        PageError: a selected result is not on its page.
    """
    if budget_questions is not None and selection.labels > budget_questions:
        raise BudgetSpent(
            f"ask: got a selection of {selection.labels} labels; allowed: the budget of {budget_questions} questions; "
            "select a smaller share or raise the budget (nothing was asked)"
        )
    by_query = {page.query_id: page for page in pages}
    if len(by_query) != len(pages):
        raise InputError(
            f"ask: got {len(pages)} pages of {len(by_query)} queries; allowed: each query once; merge them"
        )
    strange = [query_id for query_id, ids in selection.bought.items() if ids and query_id not in by_query]
    if strange:
        raise InputError(
            f"ask: got a selection on queries {sorted(strange)[:5]} that have no page here; allowed: the "
            f"{len(pages)} queries given; pass the pages that were selected from"
        )
    questions = [Question(page, result_id) for page in pages for result_id in selection.bought.get(page.query_id, ())]
    return Judgments([ask_one(question, annotator, who) for question in questions])


def ask_one(question: Question, annotator: Annotator, who: str | None = None) -> Grade:
    """Buy one grade.

    Args:
        who: the name the grade goes by; None = the annotator's.
    Raises:
        InputError: the annotator answered the question for a grade with a choice.
    """
    verdict = annotator.answer(question)
    if verdict.grade is None:
        raise InputError(
            f"annotator {annotator.name!r}: query {question.page.query_id!r}: answered the question for a grade of "
            f"{question.left_id!r} with the choice {verdict.choice!r}; allowed: a grade; mend the annotator"
        )
    return Grade(question.page.query_id, question.left_id, verdict.grade, annotator.name if who is None else who)
