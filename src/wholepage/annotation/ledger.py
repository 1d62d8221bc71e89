"""What a campaign has cost, and what it saved: never told without the error that this bought."""

from __future__ import annotations

from collections import Counter

import msgspec

from wholepage.annotation.answers import is_model
from wholepage.annotation.certificate import Certificate
from wholepage.annotation.events import Answered, Kind, Purpose, Skipped, Task
from wholepage.annotation.labels import Labelling
from wholepage.annotation.searches import Searches
from wholepage.annotation.state import State


class Saving(msgspec.Struct, frozen=True):
    """How many questions were spared, and at what error.

    Attributes:
        questions: that people answered; gold, overlap, audits and adjudications count.
        full: one grade for every result.
        share: 1 - questions / full; below 0 where overlap costs more than inference saves. 0.0 of no results.
        finished: whether all lists are done: before that, what is spared is not yet labelled either.
        claimed_error: of all labels, by the engine's own reckoning; None = it has none.
        certificate: what the audit proves of the inferred labels; None = there are none to audit.
    """

    questions: int
    full: int
    share: float
    finished: bool
    claimed_error: float | None
    certificate: Certificate | None


class Ledger(msgspec.Struct, frozen=True):
    """The cost of a campaign.

    Attributes:
        questions: all answers that stand, adjudications and models' included.
        by_purpose, by_kind, by_modality, by_person: the same, by what they are. By modality are the grades; by modality
            pair (``image/text``) the preferences.
        of_models: answers of models among them.
        skipped: tasks that somebody could not answer.  taken_back: what was undone.
        seconds, seconds_by_person: that people spent, also on what was skipped or taken back; no answer counts for more
            than ``costs.longest_s``.
        money: what that costs.  budget_questions, budget_money: what there is; None = no limit.
        labelled: results that have a grade by people.  inferred: results that have one by inference.
        saving: what was spared, with its error.
    """

    questions: int
    by_purpose: dict[Purpose, int]
    by_kind: dict[Kind, int]
    by_modality: dict[str, int]
    by_modality_pair: dict[str, int]
    by_person: dict[str, int]
    of_models: int
    skipped: int
    taken_back: int
    seconds: float
    seconds_by_person: dict[str, float]
    money: float
    budget_questions: int | None
    budget_money: float | None
    labelled: int
    inferred: int
    saving: Saving


def ledger_of(state: State, searches: Searches, labelling: Labelling, *, finished: bool) -> Ledger:
    """What was spent so far.

    Args:
        finished: whether all lists are done.
    """
    purposes, kinds = Counter[Purpose](), Counter[Kind]()
    modalities, pairs, people = Counter[str](), Counter[str](), Counter[str]()
    for task, record in state.records.items():
        spent = [(who, _purpose(who, reply.event)) for who, reply in record.replies.items()]
        if record.decided:
            spent.append((record.decided[1].who, Purpose.ADJUDICATION))
        for who, purpose in spent:
            purposes[purpose] += 1
            kinds[task.kind] += 1
            people[who] += 1
        if not spent:
            continue
        if task.kind is Kind.GRADE:
            modalities[state.list_of[task.query_id, task.left_id][1].value] += len(spent)
        elif task.kind is Kind.PREFERENCE:
            pairs[modality_pair(state, task)] += len(spent)
    claimed, _ = labelling.claimed_errors()
    questions, full = state.asked - state.asked_of_models, state.plan.results
    acts = [act for person in state.people.values() for act in person.acts.values()]
    return Ledger(
        questions=state.asked,
        by_purpose={purpose: purposes[purpose] for purpose in Purpose},
        by_kind={kind: kinds[kind] for kind in Kind},
        by_modality=dict(sorted(modalities.items())),
        by_modality_pair=dict(sorted(pairs.items())),
        by_person=dict(sorted(people.items())),
        of_models=state.asked_of_models,
        skipped=sum(isinstance(act, Skipped) for act in acts),
        taken_back=sum(person.taken_back for person in state.people.values()),
        seconds=state.seconds,
        seconds_by_person={w: p.seconds for w, p in sorted(state.people.items()) if not is_model(w)},
        money=state.money(),
        budget_questions=state.budget_questions,
        budget_money=state.budget_money,
        labelled=sum(task.kind is Kind.GRADE for task in state.labelled),
        inferred=sum(task not in state.labelled for search in searches for task in search.inferred),
        saving=Saving(
            questions, full, 1.0 - questions / full if full else 0.0, finished, claimed, labelling.certificate()
        ),
    )


def modality_pair(state: State, task: Task) -> str:
    """The two modalities of a preference, in the order of the alphabet: ``image/text``."""
    return "/".join(sorted(state.list_of[task.query_id, side][1].value for side in (task.left_id, task.right_id)))


def _purpose(who: str, event: Answered) -> Purpose:
    """Why an answer was asked; nothing is audited by models, even if they are asked the same task."""
    return Purpose.WORK if is_model(who) and event.purpose is Purpose.AUDIT else event.purpose
