"""What may happen in a campaign, what an event changes, and what taking it back restores."""

from __future__ import annotations

from typing import Any

import pytest

from wholepage.annotation.answers import Why, middle, too_wide
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    BudgetChanged,
    Closed,
    Entry,
    Escalated,
    Event,
    GoldSet,
    GuidelineChanged,
    Kind,
    Opened,
    Paused,
    Postponed,
    Purpose,
    Resumed,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.hmm import usual_hmm
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Costs, Settings
from wholepage.pages import Choice, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import BudgetSpent, Halted, InputError

IDS = ("a", "b", "c", "d")
A, B, C, D = (Task.grade("q", one) for one in IDS)
PAIR = Task.pair(Kind.PREFERENCE, "q", "a", "b")
ORDERS = Task.pair(Kind.PAGES, "q", "new", "old")
PAGE = Page(Query("q", "words"), tuple(Result(one, Modality.TEXT, "words") for one in IDS))
PLAN = Plan(
    (PAGE,),
    pairs=(PAIR,),
    page_orders={"q": {"old": Ranking("q", IDS), "new": Ranking("q", IDS[::-1])}},
)


class Log:
    """A campaign and what happened in it."""

    def __init__(self, plan: Plan = PLAN, **settings: Any) -> None:
        self.campaign = Campaign(plan)
        self.plan = plan
        given = Settings(**({"name": "test", "gold_share": 0.0} | settings))
        self.happens(Opened("boss", "t", given, plan.sha256, "be good"))

    def happens(self, *events: Event) -> Campaign:
        for event in events:
            self.campaign.apply(Entry(self.campaign.seq + 1, event, ""))
        return self.campaign

    def answers(self, who: str, task: Task, value: int | Choice, **named: Any) -> Campaign:
        return self.happens(answer(who, task, value, purpose=self.campaign.purpose(task), **named))


def answer(who: str, task: Task, value: int | Choice = 1, **named: Any) -> Answered:
    return Answered(who, "t", task, **said(value), **named)


def said(value: int | Choice) -> dict[str, Any]:
    return {"choice": value} if isinstance(value, Choice) else {"grade": value}


# ------------------------------------------------------------------ the order of things


def test_opened_comes_first_once_and_with_its_plan() -> None:
    empty = Campaign(PLAN)
    assert empty.seq == 0
    with pytest.raises(InputError, match="'opened' is the first event"):
        empty.check(answer("ann", A))
    for asked in (lambda: empty.next_task("ann"), lambda: empty.settings, empty.labels, empty.progress):
        with pytest.raises(InputError, match="'opened' first"):
            asked()
    with pytest.raises(InputError, match="the SHA-256 of this plan"):
        empty.check(Opened("boss", "t", Settings("x"), "0" * 64, ""))
    log = Log()
    with pytest.raises(InputError, match="'opened' again"):
        log.campaign.check(Opened("boss", "t", Settings("x"), PLAN.sha256, ""))


@pytest.mark.parametrize("seq", [1, 3])
def test_entries_have_no_gaps(seq: int) -> None:
    log = Log()
    with pytest.raises(InputError, match=f"got entry {seq}; allowed: 2"):
        log.campaign.apply(Entry(seq, answer("ann", A), ""))
    assert log.campaign.seq == 1
    assert not log.campaign.replies(A)


def test_searching_engines_need_an_order_of_every_list() -> None:
    with pytest.raises(InputError, match=r"no order of its \['text'\] results"):
        Log(engine="bisect")


def test_an_engine_of_other_levels_is_refused() -> None:
    plan = Plan((PAGE,), {"q": {Modality.TEXT: Ranking("q", IDS)}}, hmm=usual_hmm(3))
    with pytest.raises(InputError, match="HMM parameters of 3 levels"):
        Log(plan, engine="hmm", levels=4)


def test_confusions_of_another_size_are_refused() -> None:
    plan = Plan((PAGE,), {"q": {Modality.TEXT: Ranking("q", IDS)}}, confusions={"ann": ((1.0, 0.0), (0.0, 1.0))})
    with pytest.raises(InputError, match=r"confusion of 'ann': got shape \(2, 2\)"):
        Log(plan, engine="bayes", levels=4)


def test_nothing_happens_after_the_end() -> None:
    log = Log()
    log.answers("ann", A, 1)
    log.happens(Closed("boss", "t"))
    assert log.campaign.closed
    for event in (answer("bob", A), Undone("ann", "t", 2), GuidelineChanged("boss", "t", "x"), Closed("boss", "t")):
        with pytest.raises(Halted, match="closed"):
            log.campaign.check(event)
    with pytest.raises(Halted, match="closed"):
        log.campaign.next_task("ann")
    assert log.campaign.history("ann") == []
    assert log.campaign.labels().judgments.by_result("q") == {"a": 1.0}


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (answer("", A), "who=''"),
        (answer("gold", A), "who='gold'"),
        (answer("inferred", A), "who='inferred'"),
        (answer("ann", Task.grade("q9", "a")), "query 'q9'"),
        (answer("ann", Task.grade("q", "z")), "a task on 'z'"),
        (answer("ann", Task.pair(Kind.PREFERENCE, "q", "a", "z"), Choice.LEFT), "a task on 'z'"),
        (answer("ann", Task.pair(Kind.PAGES, "q", "new", "other"), Choice.LEFT), "a task on 'other'.*orders"),
        (answer("ann", A, 4), "grade 4; allowed: 0 to 3"),
        (answer("ann", A, guideline=2), "guideline 2; allowed: 1 to 1"),
        (answer("ann", A, guideline=0), "guideline 0"),
        (answer("ann", A, source="model"), "source 'model'"),
        (answer("model:m", A), "source 'person'"),
        (answer("ann", A, purpose=Purpose.GOLD), "allowed: work or audit"),
        (answer("ann", A, purpose=Purpose.ADJUDICATION), "allowed: work or audit"),
        (answer("ann", A, purpose=Purpose.AUDIT), "an engine that infers"),
        (Skipped("ann", "t", Task.grade("q", "z"), SkipReason.OTHER), "a task on 'z'"),
        (Skipped("ann", "t", A, SkipReason.OTHER, seconds=-1.0), "seconds=-1.0"),
        (Undone("ann", "t", 1), "takes back entry 1"),
        (Escalated("model:m", "t", A), "models answer, skip and undo"),
        (GoldSet("boss", "t", A), "it is no gold"),
        (GoldSet("boss", "t", A, grade=9), "grade 9"),
        (Adjudicated("rev", "t", A, grade=9), "grade 9"),
        (Adjudicated("rev", "t", A, grade=1, seconds=float("nan")), "seconds=nan"),
        (GuidelineChanged("boss", "t", "  "), "an empty guideline"),
        (BudgetChanged("boss", "t", questions=-1), "questions=-1"),
        (BudgetChanged("boss", "t", money=float("inf")), "money=inf"),
    ],
)
def test_what_is_wrong_is_refused(event: Event, named: str) -> None:
    log = Log(overlap=3)
    with pytest.raises(InputError, match=named):
        log.campaign.apply(Entry(2, event, ""))
    assert log.campaign.seq == 1


def test_nobody_answers_twice_and_no_task_has_too_many_answers() -> None:
    log = Log(overlap=2)
    log.answers("ann", A, 1)
    with pytest.raises(InputError, match="'ann' has answered it"):
        log.campaign.check(answer("ann", A))
    log.answers("bob", A, 1)
    with pytest.raises(InputError, match="it has its 2 answers"):
        log.campaign.check(answer("cy", A))


def test_a_new_guideline_has_a_number() -> None:
    log = Log()
    assert (log.campaign.guideline, log.campaign.guideline_version) == ("be good", 1)
    log.happens(GuidelineChanged("boss", "t", "be better"))
    assert (log.campaign.guideline, log.campaign.guideline_version) == ("be better", 2)
    log.happens(answer("ann", A, guideline=1), answer("bob", B, guideline=2))
    assert log.campaign.replies(B)["bob"].guideline == 2


def test_who_acted() -> None:
    log = Log()
    log.answers("zoe", A, 1)
    log.happens(answer("model:m", A, source="model"), Paused("boss", "t", "idle"))
    assert log.campaign.people == ("boss", "model:m", "zoe")
    assert log.campaign.done_by("zoe") == 1
    assert log.campaign.done_by("idle") == 0


# ------------------------------------------------------------------ skips, later, undo


def test_who_skips_is_not_asked_again_and_two_skips_wait_for_a_reviewer() -> None:
    log = Log()
    log.happens(Skipped("ann", "t", A, SkipReason.BROKEN))
    assert log.campaign.next_task("ann").task == B
    assert log.campaign.next_task("bob").task == A
    with pytest.raises(InputError, match="skipped or escalated"):
        log.campaign.check(answer("ann", A))
    assert log.campaign.waiting() == []
    log.happens(Skipped("bob", "t", A, SkipReason.OTHER, note="no picture"))
    (waiting,) = log.campaign.waiting()
    assert (waiting.task, waiting.why) == (A, Why.SKIPPED)
    assert waiting.notes == (("ann", "broken"), ("bob", "no picture"))
    assert log.campaign.next_task("cy").task == B


def test_skips_of_models_do_not_count() -> None:
    log = Log()
    log.happens(Skipped("ann", "t", A, SkipReason.BROKEN), Skipped("model:m", "t", A, SkipReason.BROKEN))
    assert log.campaign.waiting() == []


def test_later_is_after_everything_else_and_in_its_order() -> None:
    log = Log()
    log.happens(Postponed("ann", "t", B), Postponed("ann", "t", A))
    order = []
    while (found := log.campaign.next_task("ann")) is not None:
        order.append(found.task)
        log.answers("ann", found.task, 1 if found.task.kind is Kind.GRADE else Choice.SAME)
    assert order == [C, D, PAIR, ORDERS, B, A]
    assert log.campaign.done_by("ann") == 6


def test_postponed_again_is_last_again() -> None:
    log = Log(Plan((PAGE,)))
    log.happens(*(Postponed("ann", "t", task) for task in (A, B, C, D, A)))
    assert log.campaign.next_task("ann").task == B
    log.happens(Undone("ann", "t", 6))
    assert log.campaign.next_task("ann").task == A


def test_undo_is_of_ones_own_and_opens_the_task_again() -> None:
    log = Log()
    log.answers("ann", A, 3)
    log.happens(Skipped("ann", "t", B, SkipReason.OTHER))
    assert [seq for seq, _ in log.campaign.history("ann")] == [3, 2]
    with pytest.raises(InputError, match="'bob' takes back entry 2"):
        log.campaign.check(Undone("bob", "t", 2))
    log.happens(Undone("ann", "t", 2))
    assert log.campaign.next_task("ann").task == A
    assert log.campaign.replies(A) == {}
    assert [seq for seq, _ in log.campaign.history("ann")] == [3]
    with pytest.raises(InputError, match="takes back entry 2"):
        log.campaign.check(Undone("ann", "t", 2))
    log.answers("ann", A, 1)
    assert log.campaign.labels().judgments.by_result("q") == {"a": 1.0}


# ------------------------------------------------------------------ reviewers


def test_a_reviewer_decides_for_good_and_did_not_answer() -> None:
    log = Log(overlap=2)
    log.answers("ann", A, 0)
    log.answers("bob", A, 3)
    assert [(one.task, one.why, one.answers) for one in log.campaign.waiting()] == [
        (A, Why.SPREAD, (("ann", 0), ("bob", 3)))
    ]
    with pytest.raises(InputError, match="'ann' has answered it; allowed: a reviewer who has not"):
        log.campaign.check(Adjudicated("ann", "t", A, grade=2))
    log.happens(Adjudicated("rev", "t", A, grade=2))
    assert log.campaign.waiting() == []
    assert log.campaign.decision(A) == 2
    assert log.campaign.labels().judgments.by_result("q") == {"a": 2.0}
    for event in (
        Adjudicated("other", "t", A, grade=1), Undone("ann", "t", 2), answer("cy", A), Escalated("cy", "t", A),
        Skipped("cy", "t", A, SkipReason.OTHER), Postponed("cy", "t", A),
    ):  # fmt: skip
        with pytest.raises(InputError, match="a reviewer has decided it"):
            log.campaign.check(event)
    assert log.campaign.history("ann") == []
    assert log.campaign.questions == 3


@pytest.mark.parametrize(("spread", "waits"), [(1, True), (2, True), (3, False)])
def test_grades_apart_wait(spread: int, waits: bool) -> None:
    log = Log(overlap=3, escalate_spread=spread)
    log.answers("ann", A, 1)
    log.answers("bob", A, 3)
    assert bool(log.campaign.waiting()) is waits
    found = log.campaign.next_task("cy")
    assert (found.task == A) is not waits


@pytest.mark.parametrize(
    ("one", "other", "waits"),
    [(Choice.LEFT, Choice.RIGHT, True), (Choice.LEFT, Choice.SAME, False), (Choice.RIGHT, Choice.RIGHT, False)],
)
@pytest.mark.parametrize("task", [PAIR, ORDERS])
def test_choices_left_and_right_wait(task: Task, one: Choice, other: Choice, waits: bool) -> None:
    log = Log(overlap=2, escalate_spread=1)
    log.answers("ann", task, one)
    log.answers("bob", task, other)
    assert [escalation.task for escalation in log.campaign.waiting()] == [task] * waits


def test_escalated_by_hand_even_after_an_answer() -> None:
    log = Log(overlap=2)
    log.answers("ann", A, 1)
    log.happens(Escalated("ann", "t", A, "not sure"), Escalated("bob", "t", B))
    assert [(one.task, one.why, one.notes) for one in log.campaign.waiting()] == [
        (A, Why.ESCALATED, (("ann", "not sure"),)),
        (B, Why.ESCALATED, (("bob", ""),)),
    ]
    assert log.campaign.next_task("cy").task == C


def test_undone_answers_no_longer_wait() -> None:
    log = Log(overlap=2)
    log.answers("ann", A, 0)
    log.answers("bob", A, 3)
    log.happens(Undone("bob", "t", 3))
    assert log.campaign.waiting() == []


# ------------------------------------------------------------------ gold and pauses


def with_gold(*tasks: Task, **settings: Any) -> Log:
    log = Log(**({"overlap": 2} | settings))
    log.happens(*(GoldSet("boss", "t", task, grade=0) for task in tasks))
    return log


def test_three_wrong_gold_answers_of_three_pause_and_two_do_not() -> None:
    # The upper end of the 95 % Wilson interval: of 0 of 2 it is .658, of 0 of 3 .562, of 0 of 4 .490.
    log = with_gold(A, B, C, D, gold_floor=0.6)
    log.answers("ann", A, 1)
    log.answers("ann", B, 1)
    assert log.campaign.paused("ann") is None
    log.answers("ann", C, 1)
    assert log.campaign.quality()["ann"].gold_high == pytest.approx(0.5615, abs=1e-4)
    assert "0 of 3 test questions" in str(log.campaign.paused("ann"))
    for event in (answer("ann", D, purpose=Purpose.GOLD), Undone("ann", "t", 6), Skipped("ann", "t", D, "other")):
        with pytest.raises(Halted, match="0 of 3"):
            log.campaign.check(event)
    with pytest.raises(Halted, match="0 of 3"):
        log.campaign.next_task("ann")
    assert log.campaign.paused("bob") is None


def test_answers_of_the_failed_are_asked_of_others_until_they_are_resumed() -> None:
    log = with_gold(B, C, D, overlap=1)
    log.answers("ann", A, 3)
    assert log.campaign.next_task("bob").task == PAIR
    for task in (B, C, D):
        log.answers("ann", task, 3)
    assert "a" not in log.campaign.labels().judgments.by_result("q")
    assert log.campaign.next_task("bob").task == A
    assert log.campaign.quality()["ann"].counts is False
    log.happens(Resumed("boss", "t", "ann"))
    assert log.campaign.paused("ann") is None
    assert log.campaign.labels().judgments.by_result("q")["a"] == 3.0
    assert log.campaign.next_task("bob").task == PAIR
    assert (log.campaign.quality()["ann"].gold_asked, log.campaign.quality()["ann"].counts) == (0, True)
    assert log.campaign.next_task("ann").task == PAIR  # never the same twice


def test_gold_that_is_mended_or_taken_away_acquits() -> None:
    log = with_gold(A, B, C)
    for task in (A, B, C):
        log.answers("ann", task, 2)
    assert log.campaign.paused("ann") is not None
    log.happens(GoldSet("boss", "t", A, grade=2))
    assert log.campaign.paused("ann") is None  # 1 of 3: the bound is .79
    log.happens(GoldSet("boss", "t", A, grade=0))
    assert log.campaign.paused("ann") is not None
    log.happens(GoldSet("boss", "t", C))
    assert log.campaign.paused("ann") is None
    assert log.campaign.gold == {A: 0, B: 0}
    assert log.campaign.purpose(C) is Purpose.WORK


def test_a_decision_stands_above_gold() -> None:
    log = with_gold(A, B, C)
    for task in (A, B, C):
        log.answers("ann", task, 2)
    log.happens(Adjudicated("rev", "t", A, grade=2))
    assert log.campaign.paused("ann") is None
    assert log.campaign.gold == {A: 2, B: 0, C: 0}
    assert log.campaign.labels().judgments.by_result("q")["a"] == 2.0


def test_gold_answers_that_differ_do_not_wait() -> None:
    log = with_gold(A)
    log.answers("ann", A, 0)
    log.answers("bob", A, 3)
    log.answers("cy", A, 3)  # more than the overlap: each person once
    assert log.campaign.waiting() == []
    with pytest.raises(InputError, match="allowed: gold"):
        log.campaign.check(answer("di", A))


def test_a_manager_pauses_one_or_all_and_answers_stay() -> None:
    log = Log()
    log.answers("ann", A, 1)
    log.happens(Paused("boss", "t", "ann", "holiday"))
    assert "holiday" in str(log.campaign.paused("ann"))
    with pytest.raises(Halted, match="holiday"):
        log.campaign.next_task("ann")
    assert log.campaign.labels().judgments.by_result("q") == {"a": 1.0}
    assert log.campaign.next_task("bob").task == B
    log.happens(Paused("boss", "t", reason="fire"))
    with pytest.raises(Halted, match="fire"):
        log.campaign.next_task("bob")
    log.happens(Resumed("boss", "t"))
    assert log.campaign.paused() is None
    with pytest.raises(Halted, match="holiday"):
        log.campaign.check(answer("ann", B))
    log.happens(Resumed("boss", "t", "ann"))
    assert log.campaign.next_task("ann").task == B


def test_the_campaigns_pause_does_not_clear_gold() -> None:
    log = with_gold(A, B, C)
    for task in (A, B, C):
        log.answers("ann", task, 2)
    log.happens(Paused("boss", "t"), Resumed("boss", "t"))
    assert "0 of 3" in str(log.campaign.paused("ann"))


# ------------------------------------------------------------------ budget


def test_every_answer_counts_and_none_is_above_the_budget() -> None:
    log = Log(budget_questions=4, overlap=2)
    log.happens(GoldSet("boss", "t", D, grade=1))
    log.answers("ann", A, 1)
    log.answers("ann", D, 1)
    log.happens(answer("model:m", A, source="model"), Adjudicated("rev", "t", B, grade=0))
    assert log.campaign.questions == 4
    for event in (answer("ann", C), answer("model:m", B, source="model"), Adjudicated("rev", "t", C, grade=1)):
        with pytest.raises(BudgetSpent, match="4 questions asked; allowed: 4"):
            log.campaign.check(event)
    with pytest.raises(BudgetSpent, match="4 questions asked"):
        log.campaign.next_task("ann")
    log.happens(Skipped("ann", "t", C, SkipReason.OTHER))  # costs no question
    log.happens(Undone("ann", "t", 3))
    assert log.campaign.questions == 3
    log.happens(answer("bob", C))
    log.happens(BudgetChanged("boss", "t", 5))
    assert log.campaign.budget_questions == 5
    assert log.campaign.next_task("ann") is not None
    log.happens(BudgetChanged("boss", "t", None))
    assert log.campaign.budget_questions is None


def test_leases_count_against_the_budget() -> None:
    log = Log(budget_questions=2)
    log.answers("ann", A, 1)
    assert log.campaign.next_task("ann", {B: ["ann"]}).task == B
    with pytest.raises(BudgetSpent, match="1 questions asked and 1 being answered; allowed: 2"):
        log.campaign.next_task("ann", {B: ["bob"]})
    log.happens(Paused("boss", "t", "bob"))
    assert log.campaign.next_task("ann", {B: ["bob"]}).task == B  # bob's answer would not be taken


def test_money_is_counted_and_ends() -> None:
    costs = Costs(hourly=36.0, per_answer=0.5, per_model_answer=0.25, longest_s=60.0)
    log = Log(costs=costs, budget_money=4.0)
    log.answers("ann", A, 1, seconds=10.0)  # .10 for the time, .50 for the answer
    assert log.campaign.ledger().money == pytest.approx(0.6)
    log.happens(answer("model:m", A, source="model", seconds=1000.0))
    assert log.campaign.ledger().money == pytest.approx(0.85)
    log.happens(Skipped("ann", "t", B, SkipReason.OTHER, seconds=20.0))
    assert log.campaign.ledger().money == pytest.approx(1.05)
    log.answers("ann", C, 1, seconds=4000.0)  # a minute at most
    assert log.campaign.ledger().money == pytest.approx(2.15)
    log.happens(answer("bob", D, source="import", seconds=50.0))  # paid for elsewhere
    assert log.campaign.ledger().money == pytest.approx(2.15)
    log.happens(Undone("ann", "t", 5))  # the answer is not paid, the minute is
    assert log.campaign.ledger().money == pytest.approx(1.65)
    log.happens(Adjudicated("rev", "t", B, grade=1, seconds=30.0))
    assert log.campaign.ledger().money == pytest.approx(2.45)
    log.answers("ann", C, 1, seconds=60.0)
    log.answers("ann", PAIR, Choice.LEFT, seconds=0.0)
    assert log.campaign.ledger().money == pytest.approx(4.05)
    with pytest.raises(BudgetSpent, match=r"4.05 spent; allowed: 4.00"):
        log.campaign.next_task("ann")
    log.happens(BudgetChanged("boss", "t", money=5.0))
    assert log.campaign.next_task("ann") is not None


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([2], 2),
        ([3, 1], 1),
        ([3, 0, 1], 1),
        ([0, 1, 2, 3], 1),
        ([Choice.LEFT], Choice.LEFT),
        ([Choice.LEFT, Choice.RIGHT], Choice.SAME),
        ([Choice.LEFT, Choice.SAME], Choice.SAME),
        ([Choice.RIGHT, Choice.LEFT, Choice.RIGHT], Choice.RIGHT),
        ([Choice.RIGHT, Choice.RIGHT, Choice.RIGHT, Choice.LEFT], Choice.RIGHT),
    ],
)
def test_the_middle(values: list[int | Choice], expected: int | Choice | None) -> None:
    assert middle(values) == expected
    assert middle(values[::-1]) == expected


def test_what_is_too_wide() -> None:
    assert too_wide([1, 3, 2], 2)
    assert not too_wide([1, 2], 2)
    assert not too_wide([], 1)
    assert not too_wide([Choice.SAME, Choice.LEFT], 1)
