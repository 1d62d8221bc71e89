"""Which task is next: pages, people and leases, gold, models, and how much work it is to find out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from wholepage.annotation.anchors import worst_case_questions
from wholepage.annotation.bisection import Bisection
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import (
    Entry,
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
from wholepage.annotation.tasks import Queue
from wholepage.annotation.weighing import Weighing
from wholepage.pages import Modality, Ranking
from wholepage.pages.errors import InputError

from .played import SEARCHING, Desk, plan_of

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
