"""A campaign that people work on now: its log in the store, replayed in memory, with a clock and with leases.

Many threads may share a ``LiveCampaign``, and many processes a campaign. What is returned has been committed.

A task that somebody is given, or takes, is kept for them (a lease) for ``settings.lease_s``. Nobody answers what is not
kept for them. An answer that comes after the lease has ended still counts as long as nobody else needs the place.
Whoever sends the same again, because of a double click or a response that was lost, gets the entry they made, not a
second one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

from wholepage.annotation.answers import is_model
from wholepage.annotation.campaign import Assignment
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
    Paused,
    Postponed,
    Resumed,
    Skipped,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.live_log import LiveLog
from wholepage.annotation.moments import stamp
from wholepage.annotation.transaction import KEPT_AFTER, Transaction
from wholepage.pages.errors import Halted, InputError
from wholepage.pages.judgments import Choice


class LiveCampaign(LiveLog):
    """A campaign of a store, ready for ``next`` and ``answer``; arguments and ``read`` are as in ``LiveLog``."""

    # -------------------------------------------------------------- annotators

    def next(self, who: str) -> Assignment | None:
        """What to put before somebody now, kept for them from now on; None = nothing for them at the moment.

        What they have before them already is given again, and kept anew.

        Raises:
            Halted: the campaign is closed, or it or the person is paused.
            BudgetSpent: answers and leases are as many as may be asked, or the money is spent.
        """

        def found(transaction: Transaction, now: datetime) -> Assignment | None:
            held: dict[Task, list[str]] = {}
            mine: Assignment | None = None
            leases = transaction.leases()
            if any(lease.until < now - KEPT_AFTER for lease in leases):
                transaction.forget_leases(now)
            for lease in reversed([lease for lease in leases if lease.until > now]):  # what ends last was given last
                if lease.who != who:
                    held.setdefault(lease.task, []).append(lease.who)
                elif not self._open(who, lease.task, now):
                    transaction.release(lease.task, who)
                elif mine is None:
                    mine = self._campaign.assignment(who, lease.task)
            assignment = mine or self._campaign.next_task(who, held)
            if assignment is not None:
                self._lease(transaction, assignment.task, who, now)
            return assignment

        return self._alone(found, durable=False)

    def take(self, who: str, task: Task) -> Assignment:
        """Put before somebody a task that they chose themselves, on a page they look at; kept for them from now on.

        Raises:
            InputError: there is no such task, they have answered it, it is decided or has its answers, or others have
                it before them.
            Halted, BudgetSpent: as ``next``.
        """

        def kept(transaction: Transaction, now: datetime) -> Assignment:
            self._campaign.check(self._trial(who, task, now))
            if not self._room(transaction, who, task, now):
                raise InputError(f"{task.key}: others have it before them; allowed: no more people; take another task")
            self._lease(transaction, task, who, now)
            return self._campaign.assignment(who, task)

        return self._alone(kept, durable=False)

    def answer(
        self,
        who: str,
        task: Task,
        *,
        grade: int | None = None,
        choice: Choice | None = None,
        seconds: float,
        guideline: int,
        source: Literal["person", "model", "import"] = "person",
    ) -> Entry:
        """Write an answer; the same answer sent again gives the same entry.

        Args:
            who: a person's id, or a model's name.
            task: as ``next`` or ``take`` gave it.
            grade, choice: as the task asks; the choice is of the task's sides, not of the screen's.
            seconds: how long it took.
            guideline: the version they had before them.
            source: ``import`` needs no lease.
        Returns:
            The entry, committed; why the task was asked is found from the campaign.
        Raises:
            InputError: they were not given the task, it was given to somebody else in the meantime, they gave another
                answer before, or the answer is none to this task.
            Halted, BudgetSpent: as ``next``.
        """

        def written(transaction: Transaction, now: datetime) -> Entry:
            before = self._campaign.replies(task).get(who)
            if before is not None and (before.grade, before.choice) == (grade, choice):
                return next(entry for entry in reversed(self._entries()) if entry.event == before)
            if source != "import":
                self._check_given(transaction, who, task, now)
            event = Answered(
                who, stamp(now), task, grade=grade, choice=choice, seconds=seconds,
                purpose=self._campaign.purpose(task), guideline=guideline, source=source,
            )  # fmt: skip
            return self._finish(transaction, event, task)

        return self._alone(written)

    def skip(self, who: str, task: Task, reason: SkipReason, note: str = "", *, seconds: float = 0.0) -> Entry:
        """Write that somebody cannot answer; they are not asked again.

        Raises:
            InputError, Halted: as ``answer``.
        """
        return self._set_aside(who, task, lambda at: Skipped(who, at, task, reason, note, seconds))

    def later(self, who: str, task: Task) -> Entry:
        """Write that somebody wants to be asked after everything else.

        Raises:
            InputError, Halted: as ``answer``.
        """
        return self._set_aside(who, task, lambda at: Postponed(who, at, task))

    def escalate(self, who: str, task: Task, note: str = "") -> Entry:
        """Ask a reviewer to decide a task that somebody has before them, or has answered.

        Raises:
            InputError, Halted: as ``answer``.
        """
        return self._set_aside(who, task, lambda at: Escalated(who, at, task, note))

    def undo(self, who: str, seq: int | None = None) -> Entry:
        """Take back somebody's latest answer, skip or postponement, and put the task before them again.

        Args:
            who: whose.
            seq: which, by its place in the log; sent twice it is taken back once. None = the latest.
        Raises:
            InputError: there is nothing of theirs that may be taken back.  Halted: as ``next``.
        """

        def written(transaction: Transaction, now: datetime) -> Entry:
            acts = self._campaign.history(who)
            if seq is None and not acts:
                raise InputError(f"undo: {who!r} has nothing to take back; allowed: what they did last; go on instead")
            event = Undone(who, stamp(now), acts[0][0] if seq is None else seq)
            again = self._again(event)
            if again is not None:
                return again
            entry = self._write(transaction, event)
            task = next(act.task for place, act in acts if place == event.seq)
            if self._room(transaction, who, task, now):
                self._lease(transaction, task, who, now)
            return entry

        return self._alone(written)

    # -------------------------------------------------------------- reviewers and managers

    def adjudicate(
        self,
        who: str,
        task: Task,
        *,
        grade: int | None = None,
        choice: Choice | None = None,
        seconds: float = 0.0,
        note: str = "",
    ) -> Entry:
        """Decide a task for good.

        Raises:
            InputError: it is decided already, the reviewer has answered it, or the answer is none to this task.
            Halted: the campaign is closed.  BudgetSpent: no question is left.
        """
        return self._simply(
            lambda at: Adjudicated(who, at, task, grade=grade, choice=choice, seconds=seconds, note=note), once=True
        )

    def set_gold(self, who: str, task: Task, *, grade: int | None = None, choice: Choice | None = None) -> Entry:
        """Say the right answer to a task, which tests annotators from now on; no answer = it is gold no longer.

        Raises:
            InputError: no such task, or no answer to it.  Halted: the campaign is closed.
        """
        return self._simply(lambda at: GoldSet(who, at, task, grade=grade, choice=choice))

    def pause(self, who: str, person: str = "", reason: str = "") -> Entry:
        """Stop an annotator, whose tasks others are given then; nobody named = the whole campaign.

        Raises:
            Halted: the campaign is closed.
        """

        def written(transaction: Transaction, now: datetime) -> Entry:
            entry = self._write(transaction, Paused(who, stamp(now), person, reason))
            for lease in transaction.leases():
                if lease.who == person:
                    transaction.release(lease.task, person)
            return entry

        return self._alone(written)

    def resume(self, who: str, person: str = "") -> Entry:
        """Let an annotator, or the whole campaign, go on.

        Raises:
            Halted: the campaign is closed.
        """
        return self._simply(lambda at: Resumed(who, at, person))

    def change_guideline(self, who: str, text: str) -> Entry:
        """Give annotators a new version of the guideline.

        Raises:
            InputError: it is empty.  Halted: the campaign is closed.
        """
        return self._simply(lambda at: GuidelineChanged(who, at, text), once=True)

    def change_budget(self, who: str, *, questions: int | None = None, money: float | None = None) -> Entry:
        """Set what may be spent in all; None = no limit of this kind.

        Raises:
            InputError: below 0.  Halted: the campaign is closed.
        """
        return self._simply(lambda at: BudgetChanged(who, at, questions, money))

    def close(self, who: str) -> Entry:
        """End the campaign.

        Raises:
            Halted: it is closed already, by somebody else.
        """
        return self._simply(lambda at: Closed(who, at), once=True)

    # -------------------------------------------------------------- what they have in common

    def _simply(self, event_at: Callable[[str], Event], *, once: bool = False) -> Entry:
        """Write an event that needs no lease; with ``once``, the same again gives the entry that is there."""

        def written(transaction: Transaction, now: datetime) -> Entry:
            event = event_at(stamp(now))
            again = self._again(event) if once else None
            return again or self._write(transaction, event)

        return self._alone(written)

    def _set_aside(self, who: str, task: Task, event_at: Callable[[str], Event]) -> Entry:
        def written(transaction: Transaction, now: datetime) -> Entry:
            event = event_at(stamp(now))
            again = self._again(event)
            if again is not None:
                return again
            if not (isinstance(event, Escalated) and who in self._campaign.replies(task)):
                self._check_given(transaction, who, task, now)
            return self._finish(transaction, event, task)

        return self._alone(written)

    # -------------------------------------------------------------- leases

    def _check_given(self, transaction: Transaction, who: str, task: Task, now: datetime) -> None:
        mine = [lease for lease in transaction.leases() if (lease.task, lease.who) == (task, who)]
        if not mine:
            raise InputError(
                f"{task.key}: got an answer of {who!r}, who was not given it; allowed: the task that was given last; "
                "ask for the next one"
            )
        if mine[0].until <= now and not self._room(transaction, who, task, now):
            raise InputError(
                f"{task.key}: got an answer of {who!r} after {stamp(mine[0].until)}, until when it was kept for them; "
                "allowed: in time, as somebody else has it now; ask for the next one"
            )

    def _finish(self, transaction: Transaction, event: Event, task: Task) -> Entry:
        """Write what somebody did with a task that was kept for them."""
        entry = self._write(transaction, event)
        transaction.release(task, event.who)
        return entry

    def _lease(self, transaction: Transaction, task: Task, who: str, now: datetime) -> None:
        until = now + timedelta(seconds=self._campaign.settings.lease_s)
        mine = [lease.until for lease in transaction.leases(now) if lease.who == who and lease.task != task]
        # What ends last is given again first: a clock that stands must not make two of them equal.
        transaction.lease(task, who, max([until, *(other + timedelta(milliseconds=1) for other in mine)]))

    def _room(self, transaction: Transaction, who: str, task: Task, now: datetime) -> bool:
        """Whether somebody may have a task besides the others who answered it or have it before them."""
        if is_model(who) or task in self._campaign.gold:
            return True
        others = {lease.who for lease in transaction.leases(now) if lease.task == task} | set(
            self._campaign.replies(task)
        )
        return sum(o != who and not is_model(o) for o in others) < self._campaign.settings.overlap

    def _open(self, who: str, task: Task, now: datetime) -> bool:
        """Whether somebody's answer to a task would be taken."""
        try:
            self._campaign.check(self._trial(who, task, now))
        except Halted:
            raise
        except InputError:
            return False
        return True

    def _trial(self, who: str, task: Task, now: datetime) -> Answered:
        """Some answer to a task, to see whether one would be taken."""
        said: dict[str, Any] = {"grade": 0} if task.kind is Kind.GRADE else {"choice": Choice.SAME}
        source: Literal["person", "model"] = "model" if is_model(who) else "person"
        return Answered(who, stamp(now), task, purpose=self._campaign.purpose(task), source=source, **said)
