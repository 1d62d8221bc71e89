"""What answers come to: labels, certificate, ledger, quality, agreement; held against a known truth."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from scipy import stats

from wholepage.annotation.agreement import krippendorff_alpha
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.engines import Said, engine_of
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
    Purpose,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.labels import PagePreference
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.pages import Choice, Grade, Modality, Page, Preference, Query, Ranking, Result
from wholepage.pages.errors import BudgetSpent, Halted


def plan_of(pages: int, texts: int, answers: int = 0, **more: Any) -> Plan:
    made = []
    for number in range(pages):
        results = [Result(f"t{i}", Modality.TEXT, "words") for i in range(texts)]
        results += [Result(f"a{i}", Modality.ANSWER, "words") for i in range(answers)]
        made.append(Page(Query(f"q{number}", "words"), tuple(results)))
    orders = {p.query_id: {m: Ranking(p.query_id, p.only(m).result_ids) for m in p.modalities} for p in made}
    return Plan(tuple(made), orders, **more)


def truth_of(plan: Plan, *, slips: float = 0.0, seed: int = 0) -> dict[Task, int]:
    """Grades that fall along every list, but for results that are misplaced."""
    draw, found = np.random.default_rng(seed), {}
    for query_id, lists in plan.orders.items():
        for ranking in lists.values():
            grades = np.sort(draw.integers(0, 4, len(ranking)))[::-1]
            for result_id, grade in zip(ranking.result_ids, grades, strict=True):
                slipped = draw.random() < slips
                found[Task.grade(query_id, result_id)] = int(draw.integers(0, 4)) if slipped else int(grade)
    return found


class Log:
    def __init__(self, plan: Plan, **settings: Any) -> None:
        self.campaign = Campaign(plan)
        given = Settings(**({"name": "test", "gold_share": 0.0} | settings))
        self.happens(Opened("boss", "t", given, plan.sha256, ""))

    def happens(self, *events: Event) -> None:
        for event in events:
            self.campaign.apply(Entry(self.campaign.seq + 1, event, ""))

    def say(self, who: str, task: Task, value: int | Choice, seconds: float = 0.0) -> None:
        said: dict[str, Any] = {"choice": value} if isinstance(value, Choice) else {"grade": value}
        source = "model" if who.startswith("model:") else "person"
        purpose = self.campaign.purpose(task)
        self.happens(Answered(who, "t", task, **said, purpose=purpose, seconds=seconds, source=source))

    def run(self, people: list[str], truth: dict[Task, int], error: float = 0.0, seed: int = 0) -> None:
        chance, working = random.Random(seed), list(people)
        while working:
            for who in tuple(working):
                try:
                    found = self.campaign.next_task(who)
                except (BudgetSpent, Halted):
                    found = None
                if found is None:
                    working.remove(who)
                    continue
                right = truth[found.task]
                wrong = chance.choice([grade for grade in range(4) if grade != right])
                self.say(who, found.task, wrong if chance.random() < error else right)


SMALL = plan_of(1, 4)
T0, T1, T2, T3 = (Task.grade("q0", f"t{i}") for i in range(4))


# ------------------------------------------------------------------ labels


def test_who_a_label_is_by_and_which_stands() -> None:
    log = Log(SMALL, overlap=2, escalate_spread=3)
    log.say("ann", T0, 3)
    log.say("ann", T1, 1)
    log.say("bob", T1, 2)
    log.say("ann", T2, 1)
    log.happens(Adjudicated("rev", "t", T2, grade=3), GoldSet("boss", "t", T3, grade=2))
    log.say("ann", T3, 0)
    labels = log.campaign.labels()
    assert list(labels.judgments) == [
        Grade("q0", "t0", 3.0, "ann"),
        Grade("q0", "t1", 1.0, "people"),
        Grade("q0", "t2", 3.0, "adjudicated"),
        Grade("q0", "t3", 2.0, "gold"),
    ]
    assert (labels.weights, labels.inferred, labels.certificate, labels.claimed_error) == ({}, 0, None, None)
    said = log.campaign.answers()
    assert [(g.result_id, g.who, g.grade) for g in said.grades("q0")] == [
        ("t0", "ann", 3.0), ("t1", "ann", 1.0), ("t1", "bob", 2.0), ("t2", "ann", 1.0), ("t3", "ann", 0.0),
    ]  # fmt: skip


def test_preferences_are_every_persons_unless_decided() -> None:
    one, two, three = (Task.pair(Kind.PREFERENCE, "q0", "t0", f"t{i}") for i in (1, 2, 3))
    orders = {"q0": {"x": Ranking("q0", ("t0", "t1", "t2", "t3")), "y": Ranking("q0", ("t3", "t1", "t2", "t0"))}}
    log = Log(plan_of(1, 4, pairs=(one, two, three), page_orders=orders), overlap=2)
    whole = Task.pair(Kind.PAGES, "q0", "x", "y")
    for task, ann, bob in ((one, "left", "same"), (two, "left", "right"), (whole, "right", "right")):
        log.say("ann", task, Choice(ann))
        log.say("bob", task, Choice(bob))
    log.happens(Adjudicated("rev", "t", two, choice=Choice.RIGHT), GoldSet("boss", "t", three, choice=Choice.SAME))
    labels = log.campaign.labels()
    assert list(labels.judgments.preferences("q0")) == [
        Preference("q0", "t0", "t1", Choice.LEFT, "ann"),
        Preference("q0", "t0", "t1", Choice.SAME, "bob"),
        Preference("q0", "t0", "t2", Choice.RIGHT, "adjudicated"),
        Preference("q0", "t0", "t3", Choice.SAME, "gold"),
    ]
    assert labels.pages == (
        PagePreference("q0", "x", "y", Choice.RIGHT, "ann"),
        PagePreference("q0", "x", "y", Choice.RIGHT, "bob"),
    )
    assert len(log.campaign.answers()) == 4


@pytest.mark.parametrize("engine", ["bayes", "hmm"])
@pytest.mark.parametrize("audit_share", [0.0, 0.5])
def test_inferred_labels_are_the_engines_and_weigh_their_posterior(engine: str, audit_share: float) -> None:
    plan = plan_of(1, 12)
    log = Log(plan, engine=engine, audit_share=audit_share, tau=0.15)
    log.run(["ann"], truth_of(plan))
    replies = {i: reply for i in range(12) for reply in log.campaign.replies(Task.grade("q0", f"t{i}")).values()}
    said = [Said(i, int(r.grade or 0), "ann") for i, r in replies.items() if r.purpose is Purpose.WORK]
    audited = [f"t{i}" for i, r in replies.items() if r.purpose is Purpose.AUDIT]
    posterior = engine_of(log.campaign.settings, 12).posterior(said)
    labels = log.campaign.labels()
    inferred = [grade for grade in labels.judgments.grades("q0") if grade.who == "inferred"]
    assert len(inferred) + len(audited) == labels.inferred == 12 - len(said)
    assert len(audited) == labels.inferred * audit_share // 1
    assert inferred
    for grade in inferred:
        row = posterior[int(grade.result_id[1:])]
        assert grade.grade == row.argmax()
        assert labels.weights["q0"][grade.result_id] == pytest.approx(row.max(), abs=1e-12)
    told = [g for g in labels.judgments.grades("q0") if g.result_id not in audited]
    left = [1 - posterior[int(g.result_id[1:]), int(g.grade)] for g in told]
    assert labels.claimed_error == pytest.approx(np.mean(left))
    unasked = set(range(12)) - {one.index for one in said}
    assert labels.claimed_inferred_error == pytest.approx(np.mean([1 - posterior[i].max() for i in unasked]))


def test_of_a_list_broken_off_only_what_is_sure_is_inferred() -> None:
    plan = plan_of(1, 40)
    truth = {Task.grade("q0", f"t{i}"): 3 if i < 20 else 0 for i in range(40)}
    log = Log(plan, engine="bisect", budget_questions=3, audit_share=0.0)
    log.run(["ann"], truth)
    graded = log.campaign.labels().judgments.by_result("q0")
    assert 3 < len(graded) < 40
    assert all(truth[Task.grade("q0", i)] == grade for i, grade in graded.items())


def test_gold_and_decisions_tell_the_search() -> None:
    plan = plan_of(1, 30)
    truth = {Task.grade("q0", f"t{i}"): 3 if i < 10 else 0 for i in range(30)}
    edge = [Task.grade("q0", "t9"), Task.grade("q0", "t10")]
    log = Log(plan, engine="bisect", audit_share=0.0)
    log.happens(GoldSet("boss", "t", edge[0], grade=3), Adjudicated("rev", "t", edge[1], grade=0))
    assert log.campaign.next_task("ann") is None
    assert log.campaign.labels().judgments.by_result("q0") == {task.left_id: float(g) for task, g in truth.items()}
    assert log.campaign.questions == 1


def test_what_is_known_of_an_annotator_is_reckoned_with() -> None:
    blind = ((0.25,) * 4,) * 4  # their answers tell nothing
    log = Log(plan_of(1, 6, confusions={"bob": blind}), engine="bayes", audit_share=0.0, overlap=3)
    before = log.campaign._searches.of_page("q0")[0].found.posterior
    log.say("bob", T0, 1)
    assert log.campaign._searches.of_page("q0")[0].found.posterior == pytest.approx(before)
    log.say("ann", T0, 1)
    assert log.campaign._searches.of_page("q0")[0].found.posterior[0, 1] > before[0, 1] + 0.1


@pytest.mark.parametrize("engine", ["bayes", "hmm"])
def test_gold_is_beyond_doubt(engine: str) -> None:
    log = Log(plan_of(1, 1), engine=engine, audit_share=0.0)
    log.happens(GoldSet("boss", "t", T0, grade=2))
    assert log.campaign.progress().finished
    assert log.campaign.progress().all.claimed_error < 1e-4


def test_what_waits_is_taken_out_of_its_list() -> None:
    plan = plan_of(1, 9)
    log = Log(plan, engine="bisect", audit_share=0.0)
    truth = {Task.grade("q0", f"t{i}"): 3 if i < 4 else 0 for i in range(9)}
    first = log.campaign.next_task("ann").task
    log.happens(Escalated("ann", "t", first, "torn"))
    log.run(["ann"], truth)
    graded = log.campaign.labels().judgments.by_result("q0")
    assert set(graded) == {task.left_id for task in truth} - {first.left_id}
    assert log.campaign.progress().finished
    log.happens(Adjudicated("rev", "t", first, grade=truth[first]))
    assert log.campaign.progress().finished
    assert log.campaign.labels().judgments.by_result("q0") == {task.left_id: float(g) for task, g in truth.items()}


def test_models_count_only_where_asked_to_and_nobody_else_has_spoken() -> None:
    log = Log(SMALL)
    for task, grade in ((T0, 1), (T1, 1), (T2, 1), (T3, 2)):
        log.say("model:m", task, grade)
    log.say("model:z", T3, 0)
    log.say("ann", T0, 1)
    log.say("ann", T1, 3)
    log.happens(Skipped("ann", "t", T3, SkipReason.OTHER))
    assert log.campaign.labels().judgments.by_result("q0") == {"t0": 1.0, "t1": 3.0}
    labels = log.campaign.labels(models=True)
    assert [(g.result_id, g.who, g.grade) for g in labels.judgments.grades("q0")] == [
        ("t0", "ann", 1.0), ("t1", "ann", 3.0), ("t2", "model:m", 1.0), ("t3", "model:m", 2.0),
    ]  # fmt: skip
    assert labels.weights == {"q0": {"t2": 2 / 4, "t3": 2 / 4}}  # right once of two


def test_models_are_held_against_what_people_said_not_against_what_was_inferred() -> None:
    plan = plan_of(1, 40)
    truth = {Task.grade("q0", f"t{i}"): 3 if i < 20 else 0 for i in range(40)}
    log = Log(plan, engine="bisect", budget_questions=3, audit_share=0.0)
    log.run(["ann"], truth)
    by = {grade.result_id: grade.who for grade in log.campaign.labels().judgments.grades("q0")}
    log.happens(BudgetChanged("boss", "t", None))
    for task, grade in truth.items():
        log.say("model:m", task, 3 - grade if by.get(task.left_id) == "inferred" else grade)
    assert "inferred" in by.values()
    weights = log.campaign.labels(models=True).weights["q0"]
    unlabelled = {task.left_id for task in truth} - set(by)
    assert {weights[result_id] for result_id in unlabelled} == {(3 + 1) / (3 + 2)}


def test_training_takes_the_labels() -> None:
    batches = pytest.importorskip("wholepage.training.batches")
    pair = Task.pair(Kind.PREFERENCE, "q0", "a0", "t0")
    plan = plan_of(2, 10, 5, pairs=(pair,))
    log = Log(plan, engine="hmm", tau=0.2)
    truth = truth_of(plan)
    log.say("ann", pair, Choice.LEFT)
    log.run(["ann"], truth)
    labels = log.campaign.labels()
    pages = batches.supervise(plan.pages, labels.judgments, None, labels.weights)
    for page in pages:
        assert not np.isnan(page.grades).any()
        assert ((page.weights > 0) & (page.weights <= 1)).all()
        assert (page.weights < 1).sum() == len(labels.weights[page.page.query_id])
    assert len(pages[0].pairs) == 1


# ------------------------------------------------------------------ the certificate


@pytest.mark.parametrize("engine", ["bisect", "hmm"])
def test_the_certificate_says_what_the_truth_says(engine: str) -> None:
    plan = plan_of(30, 20)
    truth = truth_of(plan, slips=0.15)
    log = Log(plan, engine=engine, audit_share=0.3, tau=0.15)
    log.run(["ann", "bob"], truth)
    labels, certificate = log.campaign.labels(), log.campaign.labels().certificate
    asked = {task: [reply.purpose for reply in log.campaign.replies(task).values()] for task in truth}
    audited = [task for task, purposes in asked.items() if Purpose.AUDIT in purposes]
    by_people = {task for task, purposes in asked.items() if Purpose.WORK in purposes}
    assert certificate.audited == len(audited) == labels.inferred * 3 // 10
    assert certificate.inferred == len(truth) - len(by_people)
    # Without the audits' answers the same engine infers the same: what it had wrong of them is what was found.
    wrong = 0
    for query_id, lists in plan.orders.items():
        ids = lists[Modality.TEXT].result_ids
        tasks = [Task.grade(query_id, result_id) for result_id in ids]
        said = [Said(i, truth[task], "ann") for i, task in enumerate(tasks) if task in by_people]
        best = engine_of(log.campaign.settings, len(ids)).posterior(said).argmax(1)
        wrong += sum(truth[task] != best[i] for i, task in enumerate(tasks) if task in audited)
    assert certificate.wrong == wrong > 0
    assert certificate.rate == wrong / len(audited)
    # The whole truth is within the bound, and audited labels are mended.
    left = {Task.grade(g.query_id, g.result_id): g.grade for g in labels.judgments if isinstance(g, Grade)}
    errors = sum(left[task] != grade for task, grade in truth.items()) + wrong
    assert errors / labels.inferred <= certificate.bound
    assert certificate.bound <= stats.beta.ppf(0.95, wrong + 1, len(audited) - wrong) + 1e-12
    assert all(left[task] == truth[task] for task in audited)
    if engine == "bisect":
        trust = (len(audited) - wrong + 1) / (len(audited) + 2)
        assert {weight for of in labels.weights.values() for weight in of.values()} == {trust}


def test_bounds_hold_as_often_as_they_say() -> None:
    held = 0
    for seed in range(40):
        plan = plan_of(6, 15)
        truth = truth_of(plan, slips=0.2, seed=seed)
        log = Log(plan, engine="bisect", audit_share=0.3, seed=seed)
        log.run(["ann"], truth)
        labels = log.campaign.labels()
        graded = {Task.grade(g.query_id, g.result_id): g.grade for g in labels.judgments if isinstance(g, Grade)}
        wrong = sum(graded[task] != grade for task, grade in truth.items()) + labels.certificate.wrong
        held += wrong / labels.inferred <= labels.certificate.bound
    # At 95 % each, fewer than 33 of 40 have a chance below one in ten thousand.
    assert held >= 33


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_claimed_errors_are_near_the_real_ones(error: float) -> None:
    plan = plan_of(60, 20)
    truth = truth_of(plan, slips=0.1, seed=4)
    log = Log(plan, engine="hmm", annotator_error=error, audit_share=0.2, tau=0.12)
    log.run(["ann", "bob"], truth, error)
    labels = log.campaign.labels()
    graded = {Task.grade(g.query_id, g.result_id): g.grade for g in labels.judgments if isinstance(g, Grade)}
    audited = {t for t in truth if any(r.purpose is Purpose.AUDIT for r in log.campaign.replies(t).values())}
    rest = [task for task in truth if task not in audited]
    real = np.mean([graded[task] != truth[task] for task in rest])
    assert labels.claimed_error == pytest.approx(real, abs=0.04)


# ------------------------------------------------------------------ ledger, progress


def test_the_ledger_adds_up() -> None:
    pair = Task.pair(Kind.PREFERENCE, "q0", "a0", "t0")
    plan = plan_of(2, 3, 2, pairs=(pair,))
    log = Log(plan, overlap=2)
    log.happens(GoldSet("boss", "t", T0, grade=1))
    log.say("ann", T0, 1, 4.0)
    log.say("ann", T1, 1, 6.0)
    log.say("bob", T1, 1, 1.0)
    log.say("bob", Task.grade("q0", "a1"), 2, 1.0)
    log.say("ann", pair, Choice.LEFT, 2.0)
    log.say("model:m", T1, 1, 9.0)
    log.say("ann", T2, 3, 5.0)
    log.happens(Undone("ann", "t", log.campaign.seq), Skipped("ann", "t", T2, SkipReason.OTHER, seconds=1.0))
    log.happens(Adjudicated("rev", "t", T2, grade=0, seconds=7.0))
    ledger = log.campaign.ledger()
    assert ledger.questions == 7 == sum(ledger.by_purpose.values()) == sum(ledger.by_kind.values())
    assert ledger.by_purpose == {Purpose.WORK: 5, Purpose.GOLD: 1, Purpose.AUDIT: 0, Purpose.ADJUDICATION: 1}
    assert ledger.by_kind == {Kind.GRADE: 6, Kind.PREFERENCE: 1, Kind.PAGES: 0}
    assert ledger.by_modality == {"answer": 1, "text": 5}
    assert ledger.by_modality_pair == {"answer/text": 1}
    assert ledger.by_person == {"ann": 3, "bob": 2, "model:m": 1, "rev": 1}
    assert (ledger.of_models, ledger.skipped, ledger.taken_back) == (1, 1, 1)
    assert ledger.seconds == 4 + 6 + 1 + 1 + 2 + 5 + 1 + 7
    assert ledger.seconds_by_person == {"ann": 18.0, "bob": 2.0, "rev": 7.0}
    assert (ledger.labelled, ledger.inferred) == (4, 0)
    saving = ledger.saving
    assert (saving.questions, saving.full, saving.finished) == (6, 10, False)
    assert saving.share == pytest.approx(0.4)


def test_saving_comes_with_its_error() -> None:
    plan = plan_of(10, 50)
    truth = truth_of(plan)
    log = Log(plan, engine="bisect", audit_share=0.1)
    log.run(["ann"], truth)
    saving = log.campaign.ledger().saving
    assert saving.finished
    assert saving.questions == log.campaign.questions
    assert saving.share == 1 - saving.questions / 500
    assert 0.5 < saving.share < 0.75
    assert saving.claimed_error == 0.0
    assert saving.certificate.wrong == 0
    assert saving.certificate.bound < 0.1


def test_progress_counts_lists_and_results() -> None:
    plan = plan_of(2, 8, 4)
    log = Log(plan, engine="bisect", audit_share=0.5, budget_questions=60)
    start = log.campaign.progress()
    assert (start.all.lists, start.all.lists_done, start.all.results, start.all.answered) == (4, 0, 24, 0)
    assert (start.questions_left, start.finished, start.all.claimed_error) == (60, False, None)
    assert {name: part.results for name, part in start.by_modality.items()} == {"answer": 8, "text": 16}
    log.run(["ann"], truth_of(plan))
    end = log.campaign.progress()
    assert (end.all.lists_done, end.finished, end.all.claimed_error) == (4, True, 0.0)
    assert end.all.answered + end.all.inferred == 24
    assert end.audits == end.audits_done == (end.all.inferred + end.audits_done) // 2
    assert end.questions_left == 60 - end.questions
    assert sum(part.lists_done for part in end.by_modality.values()) == 4
    assert sum(part.answered for part in end.by_modality.values()) == end.all.answered


def test_progress_of_what_is_selected() -> None:
    plan = plan_of(1, 3, 2, selected={"q0": ("t0", "a0")})
    log = Log(plan, overlap=2)
    assert (log.campaign.progress().all.lists, log.campaign.progress().all.lists_done) == (2, 0)
    log.say("ann", T0, 1)
    assert log.campaign.progress().all.lists_done == 0
    log.say("bob", T0, 1)
    assert log.campaign.progress().all.lists_done == 1
    log.run(["ann", "bob"], truth_of(plan))
    assert log.campaign.progress().finished


# ------------------------------------------------------------------ people


def test_quality_of_annotators() -> None:
    log = Log(plan_of(1, 12), overlap=3, escalate_spread=4)
    gold = [Task.grade("q0", f"t{i}") for i in range(4)]
    log.happens(*(GoldSet("boss", "t", task, grade=1) for task in gold))
    for task, grade in zip(gold, (1, 1, 1, 0), strict=True):
        log.say("ann", task, grade, 3.0)
    other = Task.grade("q0", "t9")
    log.say("ann", other, 2, 100.0)
    log.say("bob", other, 2, 1.0)
    log.say("cy", other, 0, 1.0)
    log.say("model:m", other, 2)
    log.happens(Skipped("bob", "t", gold[0], SkipReason.OTHER, seconds=2.0))
    quality = log.campaign.quality()
    assert set(quality) == {"ann", "bob", "cy", "model:m"}
    ann = quality["ann"]
    assert (ann.answers, ann.skipped, ann.gold_right, ann.gold_asked, ann.median_s) == (5, 0, 3, 4, 3.0)
    assert (ann.gold_low, ann.gold_high) == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson, 3 of 4
    assert (ann.agreement, ann.compared) == (0.5, 2)
    assert ann.error == pytest.approx((1 + 2 * 0.1) / (4 + 2))
    assert (ann.seconds, ann.paused, ann.counts) == (112.0, None, True)
    assert (quality["bob"].skipped, quality["bob"].answers, quality["bob"].gold_asked) == (1, 1, 0)
    assert quality["bob"].error == pytest.approx(0.1)
    assert (quality["cy"].agreement, quality["cy"].compared) == (0.0, 2)
    assert quality["model:m"].counts is False
    assert quality["model:m"].compared == 3


def test_agreement_by_modality_and_pair() -> None:
    pairs = tuple(Task.pair(Kind.PREFERENCE, "q0", f"t{i}", f"a{i}") for i in range(4))
    log = Log(plan_of(1, 4, 4, pairs=pairs), overlap=2, escalate_spread=4)
    texts, answers = [(0, 0), (1, 2), (3, 3), (2, 2)], [(0, 3), (3, 0), (1, 1), (2, 0)]
    for name, units in (("t", texts), ("a", answers)):
        for place, (ann, bob) in enumerate(units):
            log.say("ann", Task.grade("q0", f"{name}{place}"), ann)
            log.say("bob", Task.grade("q0", f"{name}{place}"), bob)
            log.say("model:m", Task.grade("q0", f"{name}{place}"), 0)
    for pair, ann, bob in zip(pairs, "lsrl", "lsrs", strict=True):
        names = {"l": Choice.LEFT, "s": Choice.SAME, "r": Choice.RIGHT}
        log.say("ann", pair, names[ann])
        log.say("bob", pair, names[bob])
    found = log.campaign.agreement()
    assert found.grades.alpha == pytest.approx(krippendorff_alpha(texts + answers))
    assert found.by_modality["text"].alpha == pytest.approx(krippendorff_alpha(texts))
    assert found.by_modality["answer"].alpha == pytest.approx(krippendorff_alpha(answers))
    said = [(-1, -1), (0, 0), (1, 1), (-1, 0)]
    assert found.by_modality_pair["answer/text"].alpha == pytest.approx(krippendorff_alpha(said))
    assert found.preferences.alpha == found.by_modality_pair["answer/text"].alpha
    assert found.grades.low <= found.grades.alpha <= found.grades.high
    assert found.pages is None


def test_agreement_is_not_told_where_it_is_not_defined() -> None:
    log = Log(plan_of(1, 2, 1), overlap=2)
    log.say("ann", T0, 1)
    found = log.campaign.agreement()
    assert (found.grades, found.preferences, found.pages) == (None, None, None)
    assert found.by_modality == {"answer": None, "text": None}
