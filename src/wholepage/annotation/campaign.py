"""A campaign of annotation: its log of events, read from the first to the last, and what follows from it.

A pure state machine: no clock, no files, no chance but the seed of its settings. Everything it says is a function of
the plan and of the events, so that a log read anew gives the same campaign and the same next task for everybody.

    campaign = Campaign.replay(plan, entries)
    assignment = campaign.next_task("ann", leases)     # what to put before ann
    campaign.check(event)                              # may this happen now?
    campaign.apply(entry)                              # it has

The rules, in short. Nobody is asked the same twice. A task gets ``overlap`` answers of different people, people who
have it before them counted; engines that weigh evidence may want fewer. Answers of models are kept apart: they cost,
but count neither to the overlap nor for any label. Who fails at gold is paused, and their answers do not count (what
they answered is asked of others) until a manager resumes them; somebody a manager pauses keeps their answers. What is
taken back is as if it had not been, but for the time spent on it. What a reviewer decides is final.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from wholepage.annotation import rules
from wholepage.annotation.answers import Escalation, Value, value_of
from wholepage.annotation.audits import Audits
from wholepage.annotation.events import Answered, Entry, Event, Purpose, Task
from wholepage.annotation.labels import Labelling, Labels
from wholepage.annotation.ledger import Ledger, ledger_of
from wholepage.annotation.plan import Plan
from wholepage.annotation.progress import Progress, lists_done, progress_of
from wholepage.annotation.quality import Agreements, Quality, agreements_of, quality_of
from wholepage.annotation.searches import Searches
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import Act, State
from wholepage.annotation.tasks import Assignment, Queue
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page

__all__ = ["Assignment", "Campaign"]

_NO_LEASES: Mapping[Task, Collection[str]] = {}


class Campaign:
    """What a campaign's events come to.

    Args:
        plan: what is asked about.
    """

    def __init__(self, plan: Plan) -> None:
        self._state = State(plan)
        self._searches: Searches | None = None
        self._audits: Audits | None = None
        self._queue: Queue | None = None
        self._labelling: Labelling | None = None

    @classmethod
    def replay(cls, plan: Plan, entries: Iterable[Entry]) -> Campaign:
        """The campaign of a log.

        Raises:
            InputError: an entry out of turn, or an event that may not happen where it stands.
            BudgetSpent: an event that cost more than there was.
        """
        campaign = cls(plan)
        for entry in entries:
            campaign.apply(entry)
        return campaign

    def check(self, event: Event) -> None:
        """Refuse an event that may not happen now.

        Raises:
            InputError: it may not; the message says why.  Halted: its author, or everybody, is paused, or the campaign
                is closed.
            BudgetSpent: it would cost a question or money that is not there.
        """
        rules.check(self._state, event)

    def apply(self, entry: Entry) -> None:
        """Take in the next entry of the log; one that is refused changes nothing.

        Raises:
            InputError, BudgetSpent: as ``check``; an entry out of turn.
        """
        if entry.seq != self.seq + 1:
            raise InputError(
                f"campaign: got entry {entry.seq}; allowed: {self.seq + 1}, the next one; read the log from its "
                "beginning, without gaps"
            )
        self.check(entry.event)
        self._state.fold(entry.event)
        if self._queue is None:
            self._searches = Searches(self._state, self.settings)
            self._audits = Audits(self._state, self._searches, self.settings)
            self._queue = Queue(self._state, self._searches, self._audits, self.settings)
            self._labelling = Labelling(self._state, self._searches, self._audits, self.settings)

    # -------------------------------------------------------------- for those who ask and answer

    def next_task(self, who: str, leased: Mapping[Task, Collection[str]] = _NO_LEASES) -> Assignment | None:
        """What to ask somebody next; None = nothing for them now.

        Args:
            leased: by task, who has it before them now; a lease of ``who`` does not count.
        Raises:
            Halted: the campaign is closed, or it or the annotator is paused.
            BudgetSpent: answers and leases are as many as may be asked, or the money is spent.
            InputError: the campaign has not been opened.
        """
        return self._opened().next(who, leased)

    def assignment(self, who: str, task: Task) -> Assignment:
        """A task as it is put to somebody now."""
        queue = self._opened()
        return queue.assignment(who, task, queue.purpose(task))

    def purpose(self, task: Task) -> Purpose:
        """Why a task is asked now: what the answer to it must name.

        Raises:
            InputError: the plan holds no such thing.
        """
        rules.check_task(self._state, task)
        return self._opened().purpose(task)

    def history(self, who: str) -> list[tuple[int, Act]]:
        """What somebody may take back, the latest first."""
        return [(seq, act) for seq, act in reversed(self._state.person(who).acts.items()) if self._may_undo(act)]

    def _may_undo(self, act: Act) -> bool:
        return not self.closed and self.decision(act.task) is None

    def _opened(self) -> Queue:
        if self._queue is None:
            raise InputError("campaign: got no events; allowed: 'opened' first; open it")
        return self._queue

    # -------------------------------------------------------------- what is known

    @property
    def plan(self) -> Plan:
        """What is asked about."""
        return self._state.plan

    @property
    def settings(self) -> Settings:
        """As the campaign was opened; the budget may have been changed since (``budget_questions``, ``budget_money``).

        Raises:
            InputError: the campaign has not been opened.
        """
        if self._state.settings is None:
            raise InputError("campaign: got no events; allowed: 'opened' first; open it")
        return self._state.settings

    @property
    def seq(self) -> int:
        """Place in the log of the last entry; 0 = none."""
        return self._state.seq

    @property
    def guideline(self) -> str:
        """What annotators are told now (Markdown)."""
        return self._state.guideline

    @property
    def guideline_version(self) -> int:
        """Of the guideline, from 1."""
        return self._state.guideline_version

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._state.closed

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody who did anything, sorted; models too."""
        return tuple(sorted(self._state.who))

    @property
    def budget_questions(self) -> int | None:
        """Questions that may be asked in all, as the budget is now; None = no limit."""
        return self._state.budget_questions

    @property
    def budget_money(self) -> float | None:
        """Money that may be spent in all, as the budget is now; None = no limit."""
        return self._state.budget_money

    @property
    def questions(self) -> int:
        """Questions asked so far, gold, audits, adjudications and models' answers included."""
        return self._state.asked

    def paused(self, who: str = "") -> str | None:
        """Why an annotator may not go on, in words; of nobody: why the campaign may not. None = on they go."""
        try:
            rules.check_at_work(self._state, who)
        except InputError as error:
            return str(error)
        return None

    def page(self, query_id: str) -> Page:
        """The page of a query.

        Raises:
            InputError: there is none.
        """
        page = self._state.page_of.get(query_id)
        if page is None:
            raise InputError(
                f"campaign: got query {query_id!r}; allowed: the {len(self._state.page_of)} queries of the plan; take "
                "queries from tasks"
            )
        return page

    def modality(self, query_id: str, result_id: str) -> Modality:
        """Of a result.

        Raises:
            InputError: it is not on the page.
        """
        rules.check_task(self._state, Task.grade(query_id, result_id))
        return self._state.list_of[query_id, result_id][1]

    def replies(self, task: Task) -> dict[str, Answered]:
        """Answers to a task that stand, by who, in the order of the log."""
        return {who: reply.event for who, reply in self._state.record(task).replies.items()}

    def decision(self, task: Task) -> Value | None:
        """What a reviewer has decided; None = nothing."""
        decided = self._state.record(task).decided
        return value_of(decided[1]) if decided else None

    @property
    def gold(self) -> dict[Task, Value]:
        """Tasks that test annotators, with the right answers."""
        known = {task: self._state.record(task).known() for task in sorted(self._state.gold)}
        return {task: value for task, value in known.items() if value is not None}

    def waiting(self) -> list[Escalation]:
        """What a reviewer is to decide, in the order of the tasks."""
        found = []
        for task, why in sorted(self._state.waiting.items()):
            record = self._state.records[task]
            answers = tuple((who, v) for who, r in record.replies.items() if (v := value_of(r.event)) is not None)
            skips = [(who, note) for who, (_, note) in record.skips.items()]
            found.append(Escalation(task, why, answers, (*skips, *record.escalations)))
        return found

    def done_by(self, who: str) -> int:
        """Tasks that somebody has answered or skipped."""
        return self._state.person(who).turns

    # -------------------------------------------------------------- what it comes to

    def labels(self, *, models: bool = False) -> Labels:
        """The labels so far, to train and to measure with.

        Args:
            models: models' grades too, where there is no other.
        """
        return self._parts()[2].labels(models=models)

    def answers(self) -> Judgments:
        """What everybody said, as they said it: models too, and people whose answers do not count.

        Comparisons of page orders are not among them.
        """
        return self._parts()[2].answers()

    def ledger(self) -> Ledger:
        """What was spent and spared so far."""
        searches, _, labelling = self._parts()
        done = lists_done(self._state, searches, self.settings)
        return ledger_of(self._state, searches, labelling, finished=all(done.values()))

    def progress(self) -> Progress:
        """How far the campaign is."""
        searches, audits, _ = self._parts()
        return progress_of(self._state, searches, audits, self.settings)

    def quality(self) -> dict[str, Quality]:
        """What is known of everybody who answered or skipped, by name; models too."""
        return quality_of(self._state, self.settings)

    def agreement(self) -> Agreements:
        """How far people agree beyond chance: in all, by modality, by modality pair."""
        return agreements_of(self._state, self.settings)

    def _parts(self) -> tuple[Searches, Audits, Labelling]:
        if self._searches is None or self._audits is None or self._labelling is None:
            raise InputError("campaign: got no events; allowed: 'opened' first; open it")
        return self._searches, self._audits, self._labelling
