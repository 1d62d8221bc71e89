"""Which inferred labels are asked for after all, and what a budget pays for."""

from __future__ import annotations

import pytest

from wholepage.annotation.events import (
    Adjudicated,
    GoldSet,
    Postponed,
    Purpose,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.pages.errors import BudgetSpent

from .played import SEARCHING, Desk, plan_of, truth_of


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
