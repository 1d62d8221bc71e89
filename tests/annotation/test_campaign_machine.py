"""Random people do random things that are allowed, and whatever they do, the campaign keeps its promises."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    BudgetChanged,
    Entry,
    Escalated,
    Event,
    GoldSet,
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
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.pages import Choice, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import BudgetSpent, Halted, InputError

PEOPLE = ("ann", "bob", "cy", "model:m")
PLACES = st.integers(0, 10**6)
WHO = st.sampled_from(PEOPLE)


def small_plan() -> Plan:
    pages = []
    for number in range(3):
        results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(5)]
        results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(number)]
        pages.append(Page(Query(f"q{number}", "words"), tuple(results)))
    orders = {p.query_id: {m: Ranking(p.query_id, p.only(m).result_ids) for m in p.modalities} for p in pages}
    ids = pages[2].result_ids
    return Plan(
        tuple(pages),
        orders,
        selected={"q0": ("t0", "t3"), "q2": ids},
        pairs=(Task.pair(Kind.PREFERENCE, "q1", "t0", "a0"),),
        page_orders={"q2": {"ours": Ranking("q2", ids), "theirs": Ranking("q2", ids[::-1])}},
    )


PLAN = small_plan()
TASKS = [Task.grade(page.query_id, i) for page in PLAN.pages for i in page.result_ids] + list(PLAN.comparisons())


def said(task: Task, draw: int) -> dict[str, Any]:
    if task.kind is Kind.GRADE:
        return {"grade": draw % 3}
    return {"choice": tuple(Choice)[draw % 3]}


class CampaignMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []
        self.leases: dict[str, Task] = {}
        self.campaign = Campaign(PLAN)
        self.answers: dict[tuple[str, Task], int] = {}  # by our own count, apart from the campaign's

    # ------------------------------------------------ what happens

    @initialize(
        engine=st.sampled_from(["selected", "bisect", "bayes", "hmm"]),
        overlap=st.integers(1, 2),
        budget=st.sampled_from([None, 4, 12, 25]),
        audit=st.sampled_from([0.0, 0.3, 1.0]),
        seed=st.integers(0, 5),
        gold=st.sampled_from([2, 4, 100]),
    )
    def open(self, engine: Any, overlap: int, budget: int | None, audit: float, seed: int, gold: int) -> None:
        chosen = Settings(
            "test", engine=engine, levels=3, overlap=overlap, tau=0.2, gold_share=0.4, gold_floor=0.7,
            audit_share=audit, budget_questions=budget, seed=seed,
        )  # fmt: skip
        self.happens(Opened("boss", "t", chosen, PLAN.sha256, "be good"))
        for task in TASKS[::gold]:
            self.happens(GoldSet("boss", "t", task, **said(task, 0)))
        self.work(seed, turns=80, crew=len(PEOPLE), wrong=1)

    def happens(self, event: Event) -> bool:
        """Whether the campaign lets it."""
        before = self.campaign.seq
        entry = Entry(len(self.log) + 1, event, "")
        try:
            self.campaign.apply(entry)
        except (InputError, BudgetSpent):
            assert self.campaign.seq == before
            return False
        self.log.append(entry)
        return True

    def held(self) -> dict[Task, list[str]]:
        found: dict[Task, list[str]] = {}
        for who, task in self.leases.items():
            found.setdefault(task, []).append(who)
        return found

    @rule(seed=PLACES, turns=st.integers(1, 60), crew=st.integers(1, len(PEOPLE)), wrong=st.sampled_from([0, 1, 3]))
    def work(self, seed: int, turns: int, crew: int, wrong: int) -> None:
        """People ask, and answer what they were given, all in between one another."""
        chance = random.Random(seed)
        for _ in range(turns):
            who = chance.choice(PEOPLE[-crew:])
            if who in self.leases:
                self.answer(who, chance.randint(0, wrong), 3)
            else:
                self.ask(who)

    def ask(self, who: str) -> None:
        if who in self.leases:
            return
        try:
            assignment = self.campaign.next_task(who, self.held())
        except (Halted, BudgetSpent):
            return
        if assignment is None:
            return
        task = assignment.task
        assert (who, task) not in self.answers
        budget = self.campaign.budget_questions
        assert budget is None or len(self.answers) + self.decided() + len(self.leases) < budget
        if assignment.purpose is not Purpose.GOLD and not who.startswith("model:"):
            people = {by for (by, about) in self.answers if about == task and not by.startswith("model:")}
            failing = {by for by in people if self.fails(by)}
            others = {by for by, about in self.leases.items() if about == task and not by.startswith("model:")}
            assert len(people - failing | others) < self.campaign.settings.overlap
        assert (assignment.purpose is Purpose.GOLD) == (task in self.campaign.gold)
        if not who.startswith("model:"):
            assert assignment == self.campaign.assignment(who, task)
        self.leases[who] = task

    def answer(self, who: str, draw: int, seconds: int) -> None:
        task = self.leases.pop(who, None)
        if task is None:
            return
        self.budget_holds()
        source = "model" if who.startswith("model:") else "person"
        event = Answered(
            who, "t", task, **said(task, draw), seconds=seconds, purpose=self.campaign.purpose(task), source=source
        )
        if self.happens(event):
            self.answers[who, task] = len(self.log)

    @rule(who=WHO)
    def skip(self, who: str) -> None:
        self.ask(who)
        task = self.leases.pop(who, None)
        if task is not None:
            self.happens(Skipped(who, "t", task, SkipReason.BROKEN))

    @rule(who=WHO)
    def later(self, who: str) -> None:
        self.ask(who)
        task = self.leases.pop(who, None)
        if task is not None:
            self.happens(Postponed(who, "t", task))

    @rule(who=WHO, note=st.sampled_from(["", "hm"]))
    def escalate(self, who: str, note: str) -> None:
        self.ask(who)
        task = self.leases.pop(who, None)
        if task is not None:
            self.happens(Escalated(who, "t", task, note))

    @rule(who=WHO, draw=PLACES)
    def undo(self, who: str, draw: int) -> None:
        acts = self.campaign.history(who)
        if acts:
            seq, act = acts[draw % len(acts)]
            if self.happens(Undone(who, "t", seq)) and isinstance(act, Answered):
                del self.answers[who, act.task]

    @rule(draw=PLACES, value=PLACES, unset=st.booleans())
    def set_gold(self, draw: int, value: int, unset: bool) -> None:
        task = TASKS[draw % len(TASKS)]
        self.happens(GoldSet("boss", "t", task, **({} if unset else said(task, value))))

    @rule(draw=PLACES, value=PLACES, who=st.sampled_from(["rev", "ann"]))
    def decide(self, draw: int, value: int, who: str) -> None:
        waiting = [escalation.task for escalation in self.campaign.waiting()] or TASKS[:1]
        task = waiting[draw % len(waiting)]
        self.happens(Adjudicated(who, "t", task, **said(task, value)))

    @rule(who=st.sampled_from(["", *PEOPLE]))
    def pause(self, who: str) -> None:
        self.happens(Paused("boss", "t", who))
        if who:
            self.leases.pop(who, None)

    @rule(who=st.sampled_from(["", *PEOPLE]))
    def resume(self, who: str) -> None:
        self.happens(Resumed("boss", "t", who))

    @precondition(lambda self: self.campaign.budget_questions is not None)
    @rule(more=st.integers(0, 10))
    def pay_more(self, more: int) -> None:
        self.happens(BudgetChanged("boss", "t", (self.campaign.budget_questions or 0) + more))

    @rule(who=WHO, draw=PLACES, how=st.sampled_from(["answer", "skip", "later"]))
    def do_and_undo(self, who: str, draw: int, how: str) -> None:
        """What is taken back leaves nothing behind but the time it took."""
        self.leases.pop(who, None)
        try:
            assignment = self.campaign.next_task(who, self.held())
        except (Halted, BudgetSpent):
            return
        if assignment is None:
            return
        task, before = assignment.task, self.seen(self.campaign)
        model = who.startswith("model:")
        if how == "answer" or model:
            event: Event = Answered(
                who, "t", task, **said(task, draw), purpose=assignment.purpose, source="model" if model else "person"
            )
        else:
            event = Skipped(who, "t", task, SkipReason.OTHER) if how == "skip" else Postponed(who, "t", task)
        if self.happens(event) and self.happens(Undone(who, "t", len(self.log))):
            assert self.seen(self.campaign) == before
        elif isinstance(event, Answered) and event == self.log[-1].event:
            self.answers[who, task] = len(self.log)  # the answer itself has paused them

    # ------------------------------------------------ what is seen of it

    def seen(self, campaign: Campaign) -> dict[str, Any]:
        """All that a campaign says, but for time and what was taken back."""
        labels = campaign.labels(models=True)
        found: dict[str, Any] = {
            "labels": (list(labels.judgments), labels.weights, labels.pages, labels.certificate),
            "errors": (labels.claimed_error, labels.claimed_inferred_error),
            "progress": campaign.progress(),
            "quality": {w: msgspec.structs.replace(q, median_s=None, seconds=0) for w, q in campaign.quality().items()},
            "ledger": msgspec.structs.replace(campaign.ledger(), seconds=0, seconds_by_person={}, taken_back=0),
            "waiting": campaign.waiting(),
            "gold": campaign.gold,
        }
        for who in PEOPLE:
            found[f"history of {who}"] = campaign.history(who)
            for leased in ({}, {task: holders for task, holders in self.held().items() if who not in holders}):
                try:
                    found[f"next of {who}, {len(leased)}"] = campaign.next_task(who, leased)
                except (Halted, BudgetSpent) as error:
                    found[f"next of {who}, {len(leased)}"] = str(error)
        return found

    def decided(self) -> int:
        return sum(isinstance(entry.event, Adjudicated) for entry in self.log)

    def fails(self, who: str) -> bool:
        quality = self.campaign.quality().get(who)
        return quality is not None and not quality.counts

    @invariant()
    def budget_holds(self) -> None:
        budget = self.campaign.budget_questions
        assert self.campaign.questions == len(self.answers) + self.decided()
        assert budget is None or self.campaign.questions <= budget

    def teardown(self) -> None:
        if not self.log:
            return
        anew = Campaign.replay(PLAN, self.log)
        assert self.seen(anew) == self.seen(self.campaign)
        assert anew.ledger() == self.campaign.ledger()
        assert sum(map(bool, anew.ledger().by_person.values())) <= len(PEOPLE) + 1
        for (who, task), _ in self.answers.items():
            assert who in anew.replies(task)


TestCampaignMachine = CampaignMachine.TestCase
TestCampaignMachine.settings = hypothesis_settings(max_examples=150, stateful_step_count=15, deadline=None)
