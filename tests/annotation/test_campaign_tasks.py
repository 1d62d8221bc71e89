"""Which task is next: pages, people and leases, gold, audits, budgets, and how much work it is to find out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from wholepage.annotation.anchors import worst_case_questions
from wholepage.annotation.bisection import Bisection
from wholepage.annotation.campaign import Assignment, Campaign
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    Entry,
    Event,
    GoldSet,
    Kind,
    Opened,
    Postponed,
    Purpose,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.hmm import MonotoneHmm
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.tasks import Queue
from wholepage.annotation.weighing import Weighing
from wholepage.pages import Choice, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import BudgetSpent, Halted, InputError

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


# ------------------------------------------------------------------ pages and people


def test_selected_results_in_their_order_then_pairs_then_page_orders() -> None:
    pair = Task.pair(Kind.PREFERENCE, "q0", "t0", "t2")
    orders = {"q0": {"x": Ranking("q0", ("t0", "t1", "t2")), "y": Ranking("q0", ("t2", "t1", "t0"))}}
    plan = plan_of(2, 3, selected={"q0": ("t2", "t0")}, pairs=(pair,), page_orders=orders)
    desk = Desk(plan)
    expected = [Task.grade("q0", "t2"), Task.grade("q0", "t0"), pair, Task.pair(Kind.PAGES, "q0", "x", "y")]
    assert [one.task for one in desk.run(["ann"])] == expected
    assert desk.campaign.progress().finished


def test_a_person_stays_on_a_page_until_nothing_is_left_there() -> None:
    desk = Desk(plan_of(5, 6, 3), engine="bisect", audit_share=0.0)
    asked = [one.task.query_id for one in desk.run(["ann"])]
    changes = sum(one != other for one, other in pairwise(asked))
    assert changes == 4
    assert Counter(asked).keys() == {f"q{i}" for i in range(5)}


def test_a_person_does_not_leave_a_page_for_an_earlier_one() -> None:
    desk = Desk(plan_of(3, 4))
    first, second = desk.ask("ann").task, desk.ask("bob").task
    assert first.query_id != second.query_id
    desk.give_back("ann", first)
    desk.say("bob", second)
    assert desk.campaign.next_task("bob", desk.leases).task.query_id == second.query_id
    assert desk.campaign.next_task("cy", desk.leases).task == first


def test_another_seed_takes_pages_in_another_order() -> None:
    orders = set()
    for seed in range(4):
        asked = [one.task.query_id for one in Desk(plan_of(6, 2), seed=seed).run(["ann"])]
        orders.add(tuple(dict.fromkeys(asked)))
    assert len(orders) == 4


@pytest.mark.parametrize("engine", ["selected", *SEARCHING])
def test_people_spread_over_pages_while_there_are_pages(engine: str) -> None:
    desk = Desk(plan_of(6, 8), engine=engine)
    for who in ("ann", "bob", "cy", "di"):
        desk.ask(who)
    assert len({one.task.query_id for _, one in desk.asked}) == 4


@pytest.mark.parametrize("engine", ["selected", *SEARCHING])
@pytest.mark.parametrize("overlap", [1, 2])
def test_more_people_than_questions_and_nobody_in_anothers_place(engine: str, overlap: int) -> None:
    desk = Desk(plan_of(2, 4), engine=engine, overlap=overlap)
    crew = [f"p{i}" for i in range(12)]
    for who in crew:
        desk.ask(who)
    assert all(len(holders) <= overlap for holders in desk.leases.values())
    if engine == "selected":
        assert sum(map(len, desk.leases.values())) == min(12, 8 * overlap)
    if engine == "bisect":  # one open stretch a list: nobody is asked what another's answer may tell
        assert {len(holders) for holders in desk.leases.values()} == {overlap}
        assert len(desk.leases) == 2


def test_weighing_engines_have_further_questions_for_who_comes_late() -> None:
    desk = Desk(plan_of(1, 12), engine="hmm")
    tasks = [desk.ask(who).task for who in ("ann", "bob", "cy")]
    assert len(set(tasks)) == 3


def test_with_overlap_one_goes_ahead_and_the_other_confirms() -> None:
    desk = Desk(plan_of(1, 10), engine="bisect", overlap=2, audit_share=0.0)
    alone = [one.task for one in desk.run(["ann"])]
    assert 0 < len(alone) <= worst_case_questions(10, 4)
    assert not desk.campaign.progress().finished
    assert [one.task for one in desk.run(["bob"])] == sorted(alone)
    assert desk.campaign.progress().finished
    assert desk.campaign.next_task("cy") is None


def test_who_contradicts_opens_the_search_again() -> None:
    desk = Desk(plan_of(1, 30), engine="bisect", overlap=2, audit_share=0.0, escalate_spread=3)
    desk.run(["ann"], lambda who, task: 3)
    before = desk.campaign.questions
    desk.run(["bob"], lambda who, task: 1)  # the lower of two counts: 3 and 1 is 1
    assert desk.campaign.questions > 2 * before
    assert desk.campaign.progress().finished is False
    desk.run(["ann", "bob"], lambda who, task: {"ann": 3, "bob": 1}[who])
    assert desk.campaign.progress().finished


@pytest.mark.parametrize("overlap", [1, 2, 3])
@pytest.mark.parametrize("crew", [1, 3, 5])
def test_bisection_keeps_its_worst_case_whoever_answers(overlap: int, crew: int) -> None:
    plan = plan_of(6, 17, 9)
    desk = Desk(plan, engine="bisect", overlap=overlap, audit_share=0.0)
    desk.run([f"p{i}" for i in range(max(crew, overlap))])
    asked = Counter((task.query_id, desk.campaign.modality(task.query_id, task.left_id)) for task, _ in answers(desk))
    bounds = {
        Modality.TEXT: overlap * worst_case_questions(17, 4),
        Modality.ANSWER: overlap * worst_case_questions(9, 4),
    }
    assert len(asked) == 12
    assert all(count <= bounds[modality] for (_, modality), count in asked.items())
    labels = desk.campaign.labels()
    assert {Task.grade(g.query_id, g.result_id): int(g.grade) for g in labels.judgments} == desk.truth


def answers(desk: Desk) -> Iterator[tuple[Task, str]]:
    for page in desk.plan.pages:
        for result_id in page.result_ids:
            task = Task.grade(page.query_id, result_id)
            yield from ((task, who) for who in desk.campaign.replies(task))


def test_the_side_shown_first_is_drawn_for_each_person_and_task() -> None:
    pairs = tuple(Task.pair(Kind.PREFERENCE, "q0", f"t{i}", f"t{i + 1}") for i in range(40))
    campaign = Desk(plan_of(1, 41, pairs=pairs)).campaign
    first = {who: [campaign.assignment(who, task).left_first for task in pairs] for who in ("ann", "bob")}
    assert first["ann"] != first["bob"]
    assert all(10 <= sum(sides) <= 30 for sides in first.values())
    assert first["ann"] == [campaign.assignment("ann", task).left_first for task in pairs]
    assert campaign.assignment("ann", Task.grade("q0", "t0")).left_first


def test_one_annotator_alone_gets_around_what_they_cannot_grade() -> None:
    desk = Desk(plan_of(1, 20), engine="bisect", audit_share=0.0)
    first = desk.campaign.next_task("ann").task
    desk.happens(Skipped("ann", "t", first, SkipReason.BROKEN))
    done = [one.task for one in desk.run(["ann"])]
    assert first not in done
    assert done
    said = {(g.query_id, g.result_id): int(g.grade) for g in desk.campaign.labels().judgments}
    assert all(desk.truth[Task.grade(*key)] == grade for key, grade in said.items())
    assert len(said) >= 18  # all but what was skipped and what hangs on it


def test_undo_puts_the_same_task_first_again() -> None:
    desk = Desk(plan_of(3, 9), engine="hmm")
    first = desk.ask("ann").task
    desk.say("ann", first)
    moved_on = desk.campaign.next_task("ann")
    desk.happens(Undone("ann", "t", desk.campaign.seq))
    assert desk.campaign.next_task("ann").task == first
    desk.say("ann", first)
    assert desk.campaign.next_task("ann") == moved_on


# ------------------------------------------------------------------ gold


def gold_desk(share: float, seed: int = 0) -> tuple[Desk, list[Task]]:
    desk = Desk(plan_of(40, 10), gold_share=share, seed=seed)
    gold = [Task.grade(f"q{i}", "t3") for i in range(40)]
    for task in gold:
        desk.happens(GoldSet("boss", "t", task, grade=desk.truth[task]))
    return desk, gold


def places_of_gold(desk: Desk, who: str) -> list[int]:
    mine = [one for by, one in desk.asked if by == who]
    return [place for place, one in enumerate(mine) if one.purpose is Purpose.GOLD]


def test_gold_is_mixed_in_at_its_share_and_asked_once_of_each() -> None:
    desk, gold = gold_desk(0.2)
    desk.run(["ann", "bob"])
    for who in ("ann", "bob"):
        mine = [one for by, one in desk.asked if by == who]
        tested = [one.task for one in mine if one.purpose is Purpose.GOLD]
        assert len(tested) == len(set(tested))
        assert set(tested) <= set(gold)
        # 40 of 200 expected at the most; three standard deviations of a binomial share around it.
        assert abs(len(tested) / len(mine) - 0.2) < 3 * (0.2 * 0.8 / len(mine)) ** 0.5
    work = [one.task for _, one in desk.asked if one.purpose is Purpose.WORK]
    assert not set(work) & set(gold)
    assert len(work) == len(set(work)) == 360


def test_the_place_of_gold_tells_nothing() -> None:
    desk, _ = gold_desk(0.2)
    desk.run(["ann", "bob"])
    ann, bob = places_of_gold(desk, "ann"), places_of_gold(desk, "bob")
    assert ann != bob
    assert len({later - earlier for earlier, later in pairwise(ann)}) >= 4
    other, _ = gold_desk(0.2, seed=1)
    other.run(["ann", "bob"])
    assert places_of_gold(other, "ann") != ann


def test_no_gold_without_work_and_none_that_was_answered_before() -> None:
    desk = Desk(plan_of(1, 3), gold_share=0.99, overlap=2)
    known = Task.grade("q0", "t1")
    desk.say("ann", known)
    desk.happens(GoldSet("boss", "t", known, grade=0))
    assert [one.purpose for one in desk.run(["ann"])] == [Purpose.WORK, Purpose.WORK]
    bobs = desk.run(["bob"])
    assert sorted(one.purpose for one in bobs) == [Purpose.GOLD, Purpose.WORK, Purpose.WORK]
    fresh = Desk(plan_of(1, 1), gold_share=0.99)
    fresh.happens(GoldSet("boss", "t", Task.grade("q0", "t0"), grade=0))
    assert fresh.campaign.next_task("ann") is None


def test_postponed_gold_comes_back_as_gold() -> None:
    desk = Desk(plan_of(1, 3), gold_share=0.99)
    gold = Task.grade("q0", "t1")
    desk.happens(GoldSet("boss", "t", gold, grade=0))
    assert desk.campaign.next_task("ann").purpose is Purpose.GOLD
    desk.happens(Postponed("ann", "t", gold))
    asked = desk.run(["ann"])
    assert [one.task for one in asked] == [Task.grade("q0", "t0"), Task.grade("q0", "t2"), gold]
    assert asked[-1].purpose is Purpose.GOLD


def test_a_spammer_is_paused_and_what_they_said_is_asked_again() -> None:
    desk, _ = gold_desk(0.2)
    chance = random.Random(3)
    desk.run(["ann", "spam", "bob"], lambda who, task: chance.randint(0, 3) if who == "spam" else None)
    quality = desk.campaign.quality()
    assert quality["spam"].paused is not None
    assert quality["spam"].counts is False
    assert quality["ann"].paused is None
    assert quality["spam"].answers < 100
    assert quality["spam"].error > 0.4
    assert quality["ann"].error < 0.1
    labels = desk.campaign.labels().judgments
    assert {Task.grade(g.query_id, g.result_id): int(g.grade) for g in labels} == desk.truth


# ------------------------------------------------------------------ models


def test_models_are_tested_by_gold_outside_of_what_is_selected() -> None:
    desk = Desk(plan_of(2, 3, selected={"q0": ("t0",)}))
    gold = Task.grade("q1", "t2")
    desk.happens(GoldSet("boss", "t", gold, grade=1))
    asked = desk.run(["model:m"])
    assert {(one.task, one.purpose) for one in asked} == {
        (Task.grade("q0", "t0"), Purpose.WORK),
        (gold, Purpose.GOLD),
    }


def test_models_are_asked_everything_once_and_fill_no_place() -> None:
    pair = Task.pair(Kind.PREFERENCE, "q1", "t0", "t2")
    desk = Desk(plan_of(3, 5, pairs=(pair,)), engine="bisect", audit_share=0.0)
    gold = Task.grade("q2", "t4")
    desk.happens(GoldSet("boss", "t", gold, grade=desk.truth[gold]))
    asked = desk.run(["model:m"], lambda who, task: 0)
    assert {one.task for one in asked} == {*desk.truth, pair}
    assert len(asked) == 16
    assert [one.task for one in asked if one.purpose is Purpose.GOLD] == [gold]
    assert desk.campaign.labels().judgments.by_result("q0") == {}
    desk.run(["ann"])
    assert desk.campaign.progress().finished
    assert {
        Task.grade(g.query_id, g.result_id): int(g.grade)
        for g in desk.campaign.labels().judgments
        if hasattr(g, "grade")
    } == desk.truth


# ------------------------------------------------------------------ audits and budgets


@pytest.mark.parametrize("engine", SEARCHING)
@pytest.mark.parametrize("crew", [1, 4])
@pytest.mark.parametrize("overlap", [1, 2])
def test_audits_are_their_share_of_what_is_inferred(engine: str, crew: int, overlap: int) -> None:
    desk = Desk(plan_of(10, 20), engine=engine, audit_share=0.25, overlap=overlap)
    desk.run([f"p{i}" for i in range(max(crew, overlap))])
    progress, labels = desk.campaign.progress(), desk.campaign.labels()
    assert labels.inferred > 20
    assert progress.audits == progress.audits_done == labels.inferred // 4
    assert labels.certificate.audited == progress.audits
    assert labels.certificate.inferred == labels.inferred
    assert desk.campaign.ledger().by_purpose[Purpose.AUDIT] == overlap * progress.audits
    assert progress.finished
    work = [one.purpose for _, one in desk.asked]
    if crew == overlap == 1:
        assert work == sorted(work, key=[Purpose.WORK, Purpose.AUDIT].index)


def test_audits_come_page_by_page_too() -> None:
    plan = plan_of(2, 20)
    desk = Desk(plan, dict.fromkeys(truth_of(plan), 0), engine="bisect", audit_share=0.5)
    while (first := desk.ask("ann")).purpose is Purpose.WORK:
        desk.say("ann", first.task)
    second = desk.ask("bob")
    assert second.purpose is Purpose.AUDIT
    assert second.task.query_id != first.task.query_id
    desk.give_back("ann", first.task)
    for task in (second.task, first.task):
        desk.say("bob", task)
        assert desk.ask("bob").task.query_id == task.query_id


def test_nothing_is_proven_of_lists_that_are_not_done() -> None:
    desk = Desk(plan_of(1, 20), engine="bisect", audit_share=1.0, overlap=2)
    desk.run(["ann"])
    labels = desk.campaign.labels()
    assert labels.inferred > 5
    assert labels.certificate is None
    desk.run(["bob"])
    assert desk.campaign.labels().certificate.inferred == labels.inferred


def test_what_is_audited_does_not_depend_on_the_grades() -> None:
    drawn = []
    for truth_seed in (0, 1):
        plan = plan_of(4, 6)
        truth = dict.fromkeys(truth_of(plan), 3 * truth_seed)  # all alike, so that the same are asked and inferred
        desk = Desk(plan, truth, engine="bisect", audit_share=0.5)
        desk.run(["ann"])
        drawn.append({one.task for _, one in desk.asked if one.purpose is Purpose.AUDIT})
    assert len(drawn[0]) >= 4
    other = Desk(plan_of(4, 6), dict.fromkeys(truth_of(plan), 0), engine="bisect", audit_share=0.5, seed=9)
    other.run(["ann"])
    assert {one.task for _, one in other.asked if one.purpose is Purpose.AUDIT} != drawn[0]


def test_an_audit_that_contradicts_asks_nothing_more() -> None:
    desk = Desk(plan_of(3, 30), engine="bisect", audit_share=0.2)
    desk.run(["ann"], lambda who, task: None if desk.campaign.purpose(task) is Purpose.WORK else 0)
    progress = desk.campaign.progress()
    assert progress.finished
    assert desk.campaign.labels().certificate.wrong > 0
    assert progress.audits == desk.campaign.labels().inferred // 5


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("decided", [False, True])
def test_an_audit_answer_serves_when_the_engine_asks_for_it(overlap: int, decided: bool) -> None:
    plan = plan_of(1, 12)
    truth = {task: 3 if int(task.left_id[1:]) < 6 else 0 for task in truth_of(plan)}
    desk = Desk(plan, truth, engine="bisect", audit_share=1.0, overlap=overlap, escalate_spread=4)
    desk.run(["ann", "bob"][:overlap])
    before = desk.campaign.labels()
    edge = Task.grade("q0", "t5")
    audited = {task for task in truth if any(r.purpose is Purpose.AUDIT for r in desk.campaign.replies(task).values())}
    assert before.certificate.audited == before.inferred == len(audited) == 9
    assert edge not in audited
    for who in ("ann", "bob")[:overlap]:
        desk.happens(Undone(who, "t", next(seq for seq, act in desk.campaign.history(who) if act.task == edge)))
    if decided:
        for task in sorted(audited):
            desk.happens(Adjudicated("rev", "t", task, grade=truth[task]))
    for who in ("cy", "di")[:overlap]:
        desk.say(who, edge, 0)  # now the edge must be sought higher up, where all is known from audits
    assert desk.campaign.next_task("eve") is None
    labels = desk.campaign.labels()
    assert desk.campaign.progress().finished
    assert labels.certificate.audited == labels.inferred < 9
    assert labels.certificate.wrong == 0
    assert labels.judgments.by_result("q0") == {task.left_id: 0.0 if task == edge else g for task, g in truth.items()}


def test_an_audit_that_nobody_can_do_is_another_ones_turn() -> None:
    desk = Desk(plan_of(2, 20), engine="bisect", audit_share=0.2)
    while (found := desk.ask("ann")).purpose is Purpose.WORK:
        desk.say("ann", found.task)
    desk.give_back("ann", found.task)
    progress = desk.campaign.progress()
    assert (progress.all.lists_done, progress.audits_done, progress.finished) == (2, 0, False)
    for who in ("ann", "bob"):
        desk.happens(Skipped(who, "t", found.task, SkipReason.BROKEN))
    done = [one.task for one in desk.run(["ann"])]
    progress = desk.campaign.progress()
    assert found.task not in done
    assert progress.finished
    assert len(done) == progress.audits == progress.audits_done
    assert progress.waiting == 1


def test_what_is_no_longer_inferred_is_not_audited() -> None:
    plan = plan_of(2, 40)
    desk = Desk(plan, dict.fromkeys(truth_of(plan), 0), engine="bisect", audit_share=0.5)
    while (found := desk.ask("ann")).purpose is Purpose.WORK:
        desk.say("ann", found.task)
    desk.give_back("ann", found.task)
    both = desk.campaign.progress().audits
    seq, last = desk.campaign.history("ann")[0]
    desk.happens(Undone("ann", "t", seq))  # the list is not done any more
    left = desk.campaign.progress().audits
    assert left == both // 2 >= 15
    assert desk.campaign.next_task("bob").task == last.task
    desk.happens(Postponed("bob", "t", last.task))
    audits = []
    while (found := desk.ask("bob")).purpose is Purpose.AUDIT:
        audits.append(found.task.query_id)
        desk.say("bob", found.task)
    assert len(audits) == left
    assert last.task.query_id not in audits
    assert found.task == last.task
    desk.give_back("bob", found.task)
    desk.run(["bob"])
    progress = desk.campaign.progress()
    assert progress.finished
    assert progress.audits == progress.audits_done == both


@pytest.mark.parametrize("overlap", [2, 3])
def test_an_audit_on_which_people_differ_counts_when_it_is_decided(overlap: int) -> None:
    desk = Desk(plan_of(2, 20), engine="bisect", audit_share=0.2, overlap=overlap)
    audits = []

    def says(who: str, task: Task) -> int | None:
        if desk.campaign.purpose(task) is Purpose.WORK:
            return None
        audits.append(task)
        return {"ann": 0, "bob": 3}[who]

    desk.run(["cy"][: overlap - 2], says)  # no audits while others have not confirmed what cy said
    desk.run(["ann", "bob"], says)
    assert desk.campaign.progress().finished
    assert all(len(desk.campaign.replies(task)) == 2 for task in audits)
    inferred = desk.campaign.labels().inferred
    assert {one.task for one in desk.campaign.waiting()} == set(audits)
    assert desk.campaign.progress().audits == len(set(audits)) == inferred // 5 > 1
    assert desk.campaign.labels().certificate.audited == 0
    first = audits[0]
    desk.happens(Adjudicated("rev", "t", first, grade=desk.truth[first]))
    labels = desk.campaign.labels()
    assert (labels.certificate.audited, labels.certificate.wrong, labels.inferred) == (1, 0, inferred)


@pytest.mark.parametrize("engine", SEARCHING)
@pytest.mark.parametrize("budget", [7, 40, 61])
@pytest.mark.parametrize("crew", [1, 5])
def test_a_budget_is_spent_and_part_of_it_on_audits(engine: str, budget: int, crew: int) -> None:
    desk = Desk(plan_of(12, 20), engine=engine, budget_questions=budget, audit_share=0.2)
    desk.run([f"p{i}" for i in range(crew)])
    ledger = desk.campaign.ledger()
    assert ledger.questions == budget
    audits, labels = ledger.by_purpose[Purpose.AUDIT], desk.campaign.labels()
    # What is not needed for audits is asked as work, and the last list of 20 may then be inferred after all.
    wanted = min(budget // 5, labels.inferred // 5)
    assert wanted - 20 // 5 < audits <= wanted
    assert audits > budget // 10 or budget == 7 or engine != "bisect"
    if labels.inferred:
        assert labels.certificate.audited == audits
    with pytest.raises(BudgetSpent):
        desk.campaign.next_task("p0")


@pytest.mark.parametrize("gold_share", [0.0, 0.3])
def test_no_more_than_the_rest_of_a_budget_goes_to_work_and_gold(gold_share: float) -> None:
    desk = Desk(plan_of(20, 40), engine="bisect", budget_questions=100, audit_share=0.1, gold_share=gold_share)
    for place in range(20):
        task = Task.grade(f"q{place}", "t17")
        desk.happens(GoldSet("boss", "t", task, grade=desk.truth[task]))
    desk.run(["ann", "bob", "cy"])
    spent = desk.campaign.ledger().by_purpose
    assert desk.campaign.progress().audits > 10
    assert (spent[Purpose.WORK] + spent[Purpose.GOLD], spent[Purpose.AUDIT]) == (90, 10)
    assert bool(spent[Purpose.GOLD]) is bool(gold_share)


def test_what_is_kept_for_audits_stays_for_who_can_do_them() -> None:
    plan = plan_of(8, 12)
    desk = Desk(plan, dict.fromkeys(truth_of(plan), 3), engine="bisect", budget_questions=20, audit_share=0.25)
    while (found := desk.ask("ann")).purpose is Purpose.WORK:
        desk.say("ann", found.task)
    assert desk.campaign.questions == 15
    skipped = []
    while found is not None and found.purpose is Purpose.AUDIT:
        skipped.append(found.task)
        desk.happens(Skipped("ann", "t", found.task, SkipReason.OTHER))
        desk.give_back("ann", found.task)
        found = desk.ask("ann")
    assert desk.campaign.progress().audits == len(skipped)
    assert found is None  # as many audits are open as questions are left
    assert len(skipped) >= 5
    assert [one.purpose for one in desk.run(["bob"])] == [Purpose.AUDIT] * 5


@pytest.mark.parametrize("engine", ["selected", *SEARCHING])
def test_answers_and_leases_are_never_above_the_budget(engine: str) -> None:
    desk = Desk(plan_of(5, 8), engine=engine, budget_questions=9)
    given = []
    for number in range(30):
        try:
            found = desk.ask(f"p{number}")
        except BudgetSpent:
            break
        given.append(found)
    assert len([one for one in given if one]) <= 9
    if engine == "selected":
        assert len(given) == 9


# ------------------------------------------------------------------ the same for everybody, always


@pytest.mark.parametrize("engine", ["selected", *SEARCHING])
def test_a_log_read_anew_gives_the_same_next_task(engine: str) -> None:
    plan, chance = plan_of(4, 7, 3), random.Random(5)
    entries: list[Entry] = []
    desk = Desk(plan, engine=engine, overlap=2, gold_share=0.2)
    apply = desk.campaign.apply
    desk.campaign.apply = lambda entry: (entries.append(entry), apply(entry))[1]  # type: ignore[method-assign]
    opened = Entry(1, Opened("boss", "t", desk.campaign.settings, plan.sha256, ""), "")
    for _ in range(60):
        who = chance.choice(["ann", "bob", "cy"])
        found = desk.ask(who)
        if found is not None:
            desk.say(who, found.task, chance.randint(0, 3))
        anew = Campaign.replay(plan, [opened, *entries])
        for person in ("ann", "bob", "cy", "new"):
            assert anew.next_task(person, desk.leases) == desk.campaign.next_task(person, desk.leases)


# ------------------------------------------------------------------ how much work it is


@pytest.fixture
def questions_asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often engines were asked."""
    calls: Counter[str] = Counter()
    for kind in (Bisection, Weighing):
        for name in ("questions", "posterior"):
            whole = getattr(kind, name)

            def counted(*args: Any, _whole: Any = whole, _name: str = name, **named: Any) -> Any:
                calls[_name] += 1
                return _whole(*args, **named)

            monkeypatch.setattr(kind, name, counted)
    return calls


@pytest.mark.parametrize("engine", SEARCHING)
def test_only_lists_that_changed_are_searched_again(engine: str, questions_asked: Counter[str]) -> None:
    desk = Desk(plan_of(150, 8, 6), engine=engine, audit_share=0.1)
    people = [f"p{i}" for i in range(20)]
    given = {who: desk.ask(who) for who in people}
    assert questions_asked["questions"] <= 4  # the first question of a list is the same for all of its length
    before = desk.campaign.seq
    for _ in range(10):
        for who in people:
            desk.say(who, given[who].task)
            given[who] = desk.ask(who)
    events = desk.campaign.seq - before
    assert events == 200
    assert questions_asked["questions"] <= 2 * events
    assert questions_asked["posterior"] <= 2 * events


def test_pages_without_anything_for_a_person_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(plan_of(300, 4), overlap=2)
    desk.run(["ann"])  # half of all answers: every page stays open, for others
    looks: Counter[str] = Counter()
    look = Queue._open_to
    monkeypatch.setattr(
        Queue, "_open_to", lambda self, who, task: (looks.update([task.query_id]), look(self, who, task))[1]
    )
    assert desk.campaign.next_task("ann") is None
    assert not looks
    desk.say("bob", desk.ask("bob").task)
    looks.clear()
    assert desk.campaign.next_task("ann") is None
    assert len(looks) == 1


def test_nothing_of_a_stranger_is_taken() -> None:
    campaign = Desk(plan_of(1, 2)).campaign
    with pytest.raises(InputError, match="query 'q9'"):
        campaign.purpose(Task.grade("q9", "t0"))
    with pytest.raises(InputError, match="query 'q9'"):
        campaign.page("q9")
    with pytest.raises(InputError, match="'t9'"):
        campaign.modality("q0", "t9")


def test_the_engine_of_a_plan_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    start = MonotoneHmm.__init__

    def noted(self: MonotoneHmm, n: int, *args: Any, **named: Any) -> None:
        made.append(n)
        start(self, n, *args, **named)

    monkeypatch.setattr(MonotoneHmm, "__init__", noted)
    Desk(plan_of(50, 6, 4), engine="hmm").run(["ann", "bob"])
    assert sorted(set(made)) == [1, 4, 6]
    assert len(made) == 3
