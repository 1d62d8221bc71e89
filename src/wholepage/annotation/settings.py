"""What a campaign of annotation is told once, when it is opened: what to ask, how often, within which budget."""

from __future__ import annotations

from typing import Literal

import msgspec

from wholepage.pages.errors import InputError

EngineName = Literal["selected", "bisect", "bayes", "hmm"]


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers cost, in whatever currency the campaign counts in.

    Attributes:
        hourly: of a person, by the seconds of their answers.
        per_answer: of a person, besides.
        per_model_answer: of a model.
        longest_s: seconds of one answer that count at most; somebody who leaves for lunch is not paid for it.
    """

    hourly: float = 0.0
    per_answer: float = 0.0
    per_model_answer: float = 0.0
    longest_s: float = 300.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A campaign's settings; all have a default that is right for grading pages.

    Attributes:
        name: shown to people.
        engine: how results to grade are chosen. ``selected`` asks all that are listed; ``bisect``, ``bayes`` and
            ``hmm`` search each single-modal list (``annotation.engines``) and infer the rest.
        levels: grades run from 0 to ``levels - 1``; 2 to 10.
        overlap: different people who answer one question; engines that weigh evidence (``bayes``, ``hmm``) ask up to
            as many, the others always as many.
        tau: ``bayes`` and ``hmm`` stop a list when its mean posterior error is no larger; above 0, below 1.
        annotator_error: chance of a wrong answer that engines reckon with before anything is known of an annotator.
        gold_share: share of each annotator's tasks that are gold, where there is gold left.
        gold_floor: an annotator pauses when the upper 95 % Wilson bound of their share of right gold answers is lower.
        audit_share: share of inferred labels that are asked for after all.
        escalate_spread: answers to one task whose grades differ by as much or more, or whose choices are left and
            right, go to a reviewer.
        lease_s: how long a task is kept for who was given it.
        budget_questions, budget_money: what may be spent; None = no limit. Gold, audits and adjudication count.
        costs: what answers cost.
        seed: of everything random.
    Raises:
        InputError: a setting out of range; it is named.
    """

    name: str
    engine: EngineName = "selected"
    levels: int = 4
    overlap: int = 1
    tau: float = 0.05
    annotator_error: float = 0.1
    gold_share: float = 0.05
    gold_floor: float = 0.6
    audit_share: float = 0.1
    escalate_spread: int = 2
    lease_s: float = 900.0
    budget_questions: int | None = None
    budget_money: float | None = None
    costs: Costs = Costs()
    seed: int = 0

    def __post_init__(self) -> None:
        budget = self.budget_questions
        ranges: tuple[tuple[str, object, bool, str], ...] = (
            ("name", self.name, bool(self.name.strip()), "any text"),
            ("levels", self.levels, 2 <= self.levels <= 10, "2 to 10"),
            ("overlap", self.overlap, self.overlap >= 1, "1 or more"),
            ("tau", self.tau, 0 < self.tau < 1, "above 0, below 1"),
            ("annotator_error", self.annotator_error, 0 <= self.annotator_error < 0.5, "0 to below .5"),
            ("gold_share", self.gold_share, 0 <= self.gold_share < 1, "0 to below 1"),
            ("gold_floor", self.gold_floor, 0 <= self.gold_floor <= 1, "0 to 1"),
            ("audit_share", self.audit_share, 0 <= self.audit_share <= 1, "0 to 1"),
            ("escalate_spread", self.escalate_spread, self.escalate_spread >= 1, "1 or more"),
            ("lease_s", self.lease_s, 1 <= self.lease_s <= 86_400, "1 to 86400"),
            ("budget_questions", budget, budget is None or budget >= 0, "0 or more, or none"),
            ("budget_money", self.budget_money, self.budget_money is None or self.budget_money >= 0, "0 or more"),
            ("costs.hourly", self.costs.hourly, self.costs.hourly >= 0, "0 or more"),
            ("costs.per_answer", self.costs.per_answer, self.costs.per_answer >= 0, "0 or more"),
            ("costs.per_model_answer", self.costs.per_model_answer, self.costs.per_model_answer >= 0, "0 or more"),
            ("costs.longest_s", self.costs.longest_s, self.costs.longest_s > 0, "above 0"),
        )
        for name, got, right, allowed in ranges:
            if not right:
                raise InputError(f"campaign settings: {name}: got {got!r}; allowed: {allowed}; change it")
