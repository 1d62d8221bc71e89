"""A campaign that people work on: leases, answers once, what others write, and what a retry gives."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    GoldSet,
    Kind,
    Postponed,
    Purpose,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.plan import Plan
from wholepage.annotation.store import Store
from wholepage.annotation.transaction import Transaction
from wholepage.pages.errors import BudgetSpent, Halted, InputError, StoreError
from wholepage.pages.judgments import Choice

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 30, 0, 250_999, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def live(begin: Begin, time: Time) -> Callable[..., LiveCampaign]:
    """``live(pages, results, **settings)``: a new campaign, of whose tasks each is kept for 100 seconds."""

    def made(pages: int = 2, results: int = 3, **settings: object) -> LiveCampaign:
        begun = begin(pages, results, clock=time, **{"lease_s": 100.0, **settings})
        return LiveCampaign(begun.store, "shoes", time)

    return made


Live: TypeAlias = Callable[..., LiveCampaign]


def grade(live: LiveCampaign, who: str, task: Task, grade: int = 2) -> Any:
    return live.answer(who, task, grade=grade, seconds=3.5, guideline=1)


def everything(live: LiveCampaign, *people: str) -> list[Task]:
    """Let people answer in turn until nothing is left."""
    done = []
    while any(found := [(who, live.next(who)) for who in people]):
        given = [(who, assignment.task) for who, assignment in found if assignment]
        if not given:
            return done
        for who, task in given:
            grade(live, who, task)
            done.append(task)
    return done


# --- next and answer --------------------------------------------------------------------------------------------------


def test_an_answer_is_an_entry_of_the_log(live: Live, time: Time) -> None:
    live = live()
    assignment = live.next("ann")
    assert assignment.purpose is Purpose.WORK
    time.pass_s(7.5)
    entry = grade(live, "ann", assignment.task, 3)
    assert entry.event == Answered("ann", "2026-11-21T12:30:07.750Z", assignment.task, grade=3, seconds=3.5)
    assert list(live._store.entries("shoes"))[-1] == entry
    assert live.read().replies(assignment.task) == {"ann": entry.event}
    assert live._store.verify("shoes") == 2


def test_what_one_has_is_given_again_and_kept_anew(live: Live, time: Time) -> None:
    live = live()
    first = live.next("ann")
    for _ in range(3):
        time.pass_s(99)
        assert live.next("ann") == first
        assert live.next("bob").task != first.task
    assert grade(live, "ann", first.task).event.task == first.task
    assert live.next("ann").task != first.task


def test_a_task_comes_free_when_its_time_is_over(live: Live, time: Time) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    assert live.next("bob") is None
    time.pass_s(99.999)
    assert live.next("bob") is None
    time.pass_s(0.001)
    assert live.next("bob").task == task
    assert live.next("ann") is None


def test_an_answer_that_is_late_counts_while_nobody_needs_the_place(live: Live, time: Time) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    time.pass_s(10_000)
    assert grade(live, "ann", task).seq == 2


def test_an_answer_that_is_late_is_refused_when_somebody_else_has_the_task(live: Live, time: Time) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    time.pass_s(100)
    assert live.next("bob").task == task
    with pytest.raises(InputError, match="somebody else has it now"):
        grade(live, "ann", task)
    assert grade(live, "bob", task).seq == 2
    with pytest.raises(InputError, match="somebody else has it now"):
        grade(live, "ann", task)
    assert live.read().questions == 1


def test_a_late_answer_has_a_place_of_its_own_with_overlap(live: Live, time: Time) -> None:
    live = live(1, 1, overlap=2, escalate_spread=3)
    task = live.next("ann").task
    time.pass_s(100)
    assert live.next("bob").task == task
    assert grade(live, "ann", task).seq == 2  # two may answer: she and bob
    assert live.next("carol") is None
    assert grade(live, "bob", task).seq == 3


def test_nobody_answers_what_they_were_not_given(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    other = next(
        Task.grade("q000", f"r{i:02d}") for i in range(3) if f"r{i:02d}" != task.left_id or task.query_id != "q000"
    )
    for who, wanted in (("bob", task), ("ann", other), ("ann", Task.grade("nowhere", "r00"))):
        with pytest.raises(InputError, match="was not given it"):
            grade(live, who, wanted)
    for set_aside in (
        lambda: live.skip("bob", task, SkipReason.OTHER),
        lambda: live.later("bob", task),
        lambda: live.escalate("bob", task),
    ):
        with pytest.raises(InputError, match="was not given it"):
            set_aside()
    assert live.read().seq == 1


def test_what_is_imported_needs_no_lease(live: Live) -> None:
    live = live()
    task = Task.grade("q001", "r01")
    entry = live.answer("ann", task, grade=1, seconds=0, guideline=1, source="import")
    assert entry.event.source == "import"
    with pytest.raises(InputError):
        live.answer("ann", Task.grade("q001", "r99"), grade=1, seconds=0, guideline=1, source="import")


def test_answers_are_checked(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    for wrong in ({"grade": 4}, {"grade": -1}, {"choice": Choice.SAME}, {}, {"grade": 1, "guideline": 2}):
        with pytest.raises(InputError):
            live.answer("ann", task, **{"seconds": 1.0, "guideline": 1, **wrong})
    with pytest.raises(InputError):
        live.answer("ann", task, grade=1, seconds=float("nan"), guideline=1)
    assert live.read().seq == 1
    assert live.next("ann").task == task  # still theirs
    assert grade(live, "ann", task).seq == 2


def test_text_that_cannot_be_written_is_refused_and_nothing_else(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    with pytest.raises(InputError, match="not Unicode"):
        live.skip("ann", task, SkipReason.OTHER, "half a pair: \ud800")
    assert live.skip("ann", task, SkipReason.OTHER, "\x00 <script>alert(1)</script> \u202e 🙂").seq == 2
    assert live._store.verify("shoes") == 2


def test_all_is_answered_once_then_nothing_is_left(live: Live) -> None:
    live = live(3, 4)
    done = everything(live, "ann", "bob", "carol")
    assert sorted(done) == sorted(set(done))
    assert len(done) == 12
    assert live.next("dan") is None


def test_models_answer_beside_people(live: Live) -> None:
    live = live(1, 1)
    task = live.next("model:judge").task
    entry = live.answer("model:judge", task, grade=1, seconds=0.5, guideline=1, source="model")
    assert live.next("model:judge") is None
    assert live.next("ann").task == task
    assert grade(live, "ann", task).seq == entry.seq + 1


def test_comparisons_are_answered_by_the_side_of_the_task(begin: Begin, time: Time) -> None:
    begun = begin(1, 3, clock=time)
    pair = Task.pair(Kind.PREFERENCE, "q000", "r01", "r00")
    plan = Plan(pages=begun.plan.pages, selected={"q000": ()}, pairs=(pair,))
    opened = begun.first.event
    begun.store.create_campaign("pairs", plan, type(opened)(opened.who, opened.at, opened.settings, plan.sha256, "x"))
    live = LiveCampaign(begun.store, "pairs", time)
    assert live.next("ann").task == pair
    entry = live.answer("ann", pair, choice=Choice.LEFT, seconds=2.0, guideline=1)
    assert (entry.event.choice, entry.event.task.left_id) == (Choice.LEFT, "r00")
    with pytest.raises(InputError):
        live.answer("ann", pair, choice=Choice.RIGHT, seconds=2.0, guideline=1)


# --- the same again ---------------------------------------------------------------------------------------------------


def test_the_same_answer_again_is_the_same_entry(live: Live, time: Time) -> None:
    live = live()
    task = live.next("ann").task
    entry = grade(live, "ann", task)
    time.pass_s(5)
    assert live.answer("ann", task, grade=2, seconds=9.0, guideline=1) == entry
    live.next("ann")
    assert grade(live, "ann", task) == entry
    with pytest.raises(InputError):
        grade(live, "ann", task, 1)
    other = LiveCampaign(live._store, "shoes", time)
    assert grade(other, "ann", task) == entry
    live.close("boss")
    assert grade(live, "ann", task) == entry  # whoever lost the response still gets it
    assert live._store.verify("shoes") == 3


@pytest.mark.parametrize(
    "act",
    [
        lambda live, task: live.skip("ann", task, SkipReason.BROKEN, "no picture", seconds=2.0),
        lambda live, task: live.later("ann", task),
        lambda live, task: live.escalate("ann", task, "odd"),
        lambda live, task: live.adjudicate("rev", task, grade=1, note="clear"),
        lambda live, task: live.change_guideline("boss", "Grade with care."),
        lambda live, task: live.close("boss"),
    ],
)
def test_the_same_act_again_is_the_same_entry(live: Live, time: Time, act: Callable[[Any, Task], Any]) -> None:
    live = live()
    task = live.next("ann").task
    entry = act(live, task)
    time.pass_s(1)
    assert act(live, task) == entry
    assert act(LiveCampaign(live._store, "shoes", time), task) == entry
    assert live._store.verify("shoes") == entry.seq == 2


def test_a_guideline_that_was_changed_by_another_since_is_changed_again(live: Live) -> None:
    live = live()
    live.change_guideline("boss", "One.")
    live.change_guideline("chief", "Two.")
    live.change_guideline("boss", "One.")
    assert (live.read().guideline, live.read().guideline_version) == ("One.", 4)


def test_many_clicks_at_once_are_one_answer(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    entries = []
    threads = [threading.Thread(target=lambda: entries.append(grade(live, "ann", task))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 12
    assert len(set(entries)) == 1
    assert live._store.verify("shoes") == 2


# --- skip, later, undo, escalate --------------------------------------------------------------------------------------


def test_who_skips_is_not_asked_again_but_others_are(live: Live) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    entry = live.skip("ann", task, SkipReason.LANGUAGE, "Finnish?", seconds=4.0)
    assert entry.event == Skipped("ann", entry.event.at, task, SkipReason.LANGUAGE, "Finnish?", 4.0)
    assert live.next("ann") is None
    assert live.next("bob").task == task


def test_later_comes_after_everything_else(live: Live) -> None:
    live = live(1, 3)
    first = live.next("ann").task
    assert isinstance(live.later("ann", first).event, Postponed)
    rest = [live.next("ann").task]
    grade(live, "ann", rest[0])
    rest.append(live.next("ann").task)
    grade(live, "ann", rest[1])
    assert first not in rest
    assert live.next("ann").task == first


def test_what_is_taken_back_is_before_one_again(live: Live, time: Time) -> None:
    live = live()
    first = live.next("ann").task
    grade(live, "ann", first, 0)
    second = live.next("ann").task
    entry = live.undo("ann")
    assert entry.event == Undone("ann", entry.event.at, 2)
    assert live.next("bob").task not in (first, second)
    assert live.next("ann").task == first
    grade(live, "ann", first, 3)
    assert live.next("ann").task == second
    assert {who: r.grade for who, r in live.read().replies(first).items()} == {"ann": 3}


def test_a_named_entry_is_taken_back_once(live: Live) -> None:
    live = live()
    seqs = []
    for _ in range(2):
        seqs.append(grade(live, "ann", live.next("ann").task).seq)
    undone = live.undo("ann", seqs[0])
    assert live.undo("ann", seqs[0]) == undone
    assert [seq for seq, _ in live.read().history("ann")] == [seqs[1]]
    assert live.undo("ann").event.seq == seqs[1]
    with pytest.raises(InputError, match="nothing to take back"):
        live.undo("ann")
    with pytest.raises(InputError):
        live.undo("bob", seqs[0])


def test_a_skip_that_is_taken_back_does_not_push_another_out(live: Live) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    live.skip("ann", task, SkipReason.OTHER)
    assert live.next("bob").task == task
    live.undo("ann")
    assert live.next("ann") is None
    assert grade(live, "bob", task).seq == 4


def test_a_doubt_after_the_answer_goes_to_a_reviewer(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    grade(live, "ann", task)
    live.escalate("ann", task, "not sure")
    assert [e.task for e in live.read().waiting()] == [task]
    entry = live.adjudicate("rev", task, grade=0, seconds=9.0, note="see guideline 3")
    assert entry.event == Adjudicated("rev", entry.event.at, task, grade=0, seconds=9.0, note="see guideline 3")
    assert live.read().waiting() == []
    with pytest.raises(InputError, match="reviewer has decided"):
        live.adjudicate("other", task, grade=1)


# --- managers ---------------------------------------------------------------------------------------------------------


def test_who_is_paused_gives_back_what_they_had(live: Live) -> None:
    live = live(1, 1)
    task = live.next("ann").task
    live.pause("boss", "ann", "too fast")
    with pytest.raises(Halted, match="too fast"):
        live.next("ann")
    with pytest.raises(InputError, match="was not given it"):
        grade(live, "ann", task)
    assert live.next("bob").task == task
    live.skip("bob", task, SkipReason.OTHER)
    live.resume("boss", "ann")
    assert live.next("ann").task == task


def test_a_pause_of_all_and_the_end(live: Live) -> None:
    live = live()
    task = live.next("ann").task
    live.pause("boss", reason="lunch")
    for act in (lambda: live.next("ann"), lambda: grade(live, "ann", task), lambda: live.later("ann", task)):
        with pytest.raises(Halted):
            act()
    live.resume("boss")
    assert live.next("ann").task == task
    live.close("boss")
    for act in (lambda: live.next("ann"), lambda: grade(live, "ann", task), lambda: live.close("chief")):
        with pytest.raises(Halted):
            act()


def test_gold_is_found_by_the_campaign_not_by_the_client(live: Live) -> None:
    live = live(1, 6, gold_share=0.5, gold_floor=0.0)
    gold = Task.grade("q000", "r03")
    entry = live.set_gold("boss", gold, grade=2)
    assert entry.event == GoldSet("boss", entry.event.at, gold, grade=2)
    purposes = {}
    for who in ("ann", "bob"):
        while (assignment := live.next(who)) is not None:
            purposes[who, assignment.task] = grade(live, who, assignment.task).event.purpose
    assert [key for key, purpose in purposes.items() if purpose is Purpose.GOLD] == [
        key for key in purposes if key[1] == gold
    ]
    assert (("ann", gold) in purposes) or (("bob", gold) in purposes)


def test_leases_count_for_the_budget(live: Live, time: Time) -> None:
    live = live(2, 3, budget_questions=3)
    first = live.next("ann").task
    grade(live, "ann", first)
    live.next("ann")
    second = live.next("bob").task
    with pytest.raises(BudgetSpent):
        live.next("carol")
    time.pass_s(100)
    assert live.next("carol") is not None
    live.change_budget("boss", questions=2)
    assert grade(live, "bob", second).seq == 4
    with pytest.raises(BudgetSpent):
        live.next("carol")
    live.change_budget("boss", questions=None)
    assert live.next("carol") is not None


# --- others -----------------------------------------------------------------------------------------------------------


def test_what_another_process_writes_is_seen_before_anything_is_done(live: Live, time: Time, address: str) -> None:
    live = live(1, 4)
    with Store.open(address, clock=time) as store:
        other = LiveCampaign(store, "shoes", time)
        mine, theirs = live.next("ann").task, other.next("bob").task
        assert mine != theirs
        assert grade(other, "bob", theirs).seq == 2
        assert live.read().replies(theirs).keys() == {"bob"}
        assert grade(live, "ann", mine).seq == 3
        other.change_guideline("boss", "New.")
        assert live.read().guideline == "New."
        # Who is sent to another process goes on with what they have.
        assert other.next("ann") == live.next("ann")
        assert sorted([mine, theirs, *everything(other, "ann", "bob")]) == [
            Task.grade("q000", f"r0{i}") for i in range(4)
        ]
        assert live.next("ann") is None
        assert live.read().seq == other.read().seq == live._store.verify("shoes")


def test_a_new_start_goes_on_where_the_old_one_stopped(live: Live, time: Time) -> None:
    live = live(2, 3)
    task = live.next("ann").task
    grade(live, "ann", task)
    given = live.next("ann")
    again = LiveCampaign(live._store, "shoes", time)
    assert again.next("ann") == given
    assert again.read().history("ann") == live.read().history("ann")


def test_who_reads_keeps_what_they_read(live: Live) -> None:
    live = live(1, 4)
    before = live.read()
    task = live.next("ann").task
    grade(live, "ann", task)
    after = live.read()
    assert (before.seq, after.seq) == (1, 2)
    assert before.replies(task) == {}
    assert isinstance(after, Campaign)
    del before, after
    gc.collect()
    kept = [id(reader) for reader in live._readers]
    assert len(kept) == 2
    assert live.read().seq == 2  # made of one that was given back, and given back at once
    assert sorted(id(reader) for reader in live._readers) == sorted(kept)


def test_readers_and_writers_at_once(live: Live) -> None:
    live = live(10, 10)
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        last = 0
        while not stop.is_set():
            campaign = live.read()
            seq, questions = campaign.seq, campaign.questions
            if (
                seq < last
                or questions != seq - 1
                or sum(len(campaign.history(p)) for p in campaign.people) != questions
            ):
                wrong.append((last, seq, questions))
            last = seq

    readers = [threading.Thread(target=look) for _ in range(3)]
    writers = [threading.Thread(target=everything, args=(live, who)) for who in ("ann", "bob", "carol")]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert live.read().questions == 100


# --- what cannot be written has not happened --------------------------------------------------------------------------


def test_a_commit_that_fails_leaves_no_trace(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    live = live()
    task = live.next("ann").task

    def fails(self: Transaction) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "flush", fails)
        for act in (lambda: grade(live, "ann", task), lambda: live.close("boss"), lambda: live.next("bob")):
            with pytest.raises(StoreError, match="disk is full"):
                act()
    assert live.read().seq == 1
    assert live.next("ann").task == task
    assert grade(live, "ann", task).seq == 2
    assert live._store.verify("shoes") == 2


def test_a_failure_in_one_s_work_is_one_s_own(live: Live) -> None:
    live = live(4, 4)
    outcomes: dict[str, object] = {}
    gate = threading.Barrier(8)

    def act(number: int) -> None:
        gate.wait()
        who = f"p{number}"
        try:
            outcomes[who] = (
                live.next(who)
                if number % 2
                else live.answer(who, Task.grade("q000", "r00"), grade=1, seconds=1, guideline=1)
            )
        except InputError as error:
            outcomes[who] = error

    threads = [threading.Thread(target=act, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        outcome = outcomes[f"p{number}"]
        assert isinstance(outcome, InputError) != bool(number % 2), outcome
        if isinstance(outcome, InputError):
            assert f"'p{number}'" in str(outcome)


def test_an_error_after_writing_keeps_nothing_of_its_batch(live: Live) -> None:
    live = live()
    task = live.next("ann").task

    def careless(transaction: Transaction, now: datetime) -> None:
        live._write(transaction, Postponed("ann", "2026-11-21T12:30:00.250Z", task))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        live._alone(careless)
    assert live.read().seq == 1
    assert live.next("ann").task == task
    assert live._store.verify("shoes") == 1
