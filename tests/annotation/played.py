"""Campaigns played by hand: plans, grades that fall along every list, and people with leases at a desk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wholepage.annotation.campaign import Assignment, Campaign
from wholepage.annotation.events import (
    Answered,
    Entry,
    Event,
    Kind,
    Opened,
    Task,
)
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.pages import Choice, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import BudgetSpent, Halted

SEARCHING = ("bisect", "bayes", "hmm")


def plan_of(pages: int, texts: int, answers: int = 0, **more: Any) -> Plan:
    made = []
    for number in range(pages):
        results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
        results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
        made.append(Page(Query(f"q{number}", "words"), tuple(results)))
    orders = {p.query_id: {m: Ranking(p.query_id, p.only(m).result_ids) for m in p.modalities} for p in made}
    return Plan(tuple(made), orders, **more)


def truth_of(plan: Plan, levels: int = 4, seed: int = 0) -> dict[Task, int]:
    """Grades that fall along every list."""
    draw, found = np.random.default_rng(seed), {}
    for query_id, lists in plan.orders.items():
        for ranking in lists.values():
            grades = np.sort(draw.integers(0, levels, len(ranking)))[::-1]
            found |= {Task.grade(query_id, i): int(g) for i, g in zip(ranking.result_ids, grades, strict=True)}
    return found


class Desk:
    """A campaign, people with leases, and what they were asked in which order."""

    def __init__(self, plan: Plan, truth: dict[Task, int] | None = None, **settings: Any) -> None:
        self.plan, self.truth = plan, truth_of(plan) if truth is None else truth
        self.campaign = Campaign(plan)
        self.leases: dict[Task, list[str]] = {}
        self.asked: list[tuple[str, Assignment]] = []
        given = Settings(**({"name": "test", "gold_share": 0.0} | settings))
        self.happens(Opened("boss", "t", given, plan.sha256, ""))

    def happens(self, event: Event) -> None:
        self.campaign.apply(Entry(self.campaign.seq + 1, event, ""))

    def ask(self, who: str) -> Assignment | None:
        found = self.campaign.next_task(who, self.leases)
        if found is not None:
            if not who.startswith("model:"):
                assert found == self.campaign.assignment(who, found.task)
            self.leases.setdefault(found.task, []).append(who)
            self.asked.append((who, found))
        return found

    def give_back(self, who: str, task: Task) -> None:
        self.leases[task].remove(who)
        if not self.leases[task]:
            del self.leases[task]

    def say(self, who: str, task: Task, grade: int | None = None) -> None:
        purpose = self.campaign.purpose(task)
        if task in self.leases and who in self.leases[task]:
            self.give_back(who, task)
        said: dict[str, Any] = {"choice": Choice.LEFT}
        if task.kind is Kind.GRADE:
            said = {"grade": self.truth[task] if grade is None else grade}
        source = "model" if who.startswith("model:") else "person"
        self.happens(Answered(who, "t", task, **said, purpose=purpose, source=source))

    def run(self, people: list[str], answer: Callable[[str, Task], int | None] = lambda *_: None) -> list[Assignment]:
        """Everybody asks and answers in turn, one task at a time each, until nobody is given any more."""
        given: dict[str, Assignment] = {}
        done: list[Assignment] = []
        while True:
            idle = 0
            for who in people:
                if who in given:
                    assignment = given.pop(who)
                    self.say(who, assignment.task, answer(who, assignment.task))
                    done.append(assignment)
                try:
                    found = self.ask(who)
                except (BudgetSpent, Halted):
                    found = None
                if found is None:
                    idle += 1
                else:
                    given[who] = found
            if idle == len(people):
                return done
