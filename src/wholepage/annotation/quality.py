"""How good annotators are: by gold, by what reviewers decided, by what others said."""

from __future__ import annotations

from collections import Counter
from statistics import median

import msgspec

from wholepage.annotation import agreement as alphas
from wholepage.annotation.agreement import Agreement, UndefinedAgreement
from wholepage.annotation.answers import Value, is_model, value_of
from wholepage.annotation.certificate import wilson_interval
from wholepage.annotation.events import Answered, Kind, Skipped, Task
from wholepage.annotation.ledger import modality_pair
from wholepage.annotation.rules import check_at_work
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State
from wholepage.pages.errors import Halted
from wholepage.pages.judgments import Choice

_PRIOR = 2.0
_PLACES = {Choice.LEFT: -1.0, Choice.SAME: 0.0, Choice.RIGHT: 1.0}


class Quality(msgspec.Struct, frozen=True):
    """What is known of one annotator.

    Attributes:
        answers, skipped: how many stand.
        gold_right, gold_asked: of gold, since they were last resumed.
        gold_low, gold_high: the 95 % Wilson interval of the share that is right.
        paused: why they may not go on, in words; None = they may. The whole campaign's pause does not count.
        counts: whether their answers count for labels.
        agreement: share of the answers by other people to the same tasks that equal theirs; None = there are none.
        compared: how many such answers there are.
        error: estimated chance of a wrong answer, from gold and decided tasks; ``settings.annotator_error`` counts for
            two of them.
        error_of: gold and decided tasks that they answered.
        median_s: seconds of an answer, half of them took longer; None = no answers.
        seconds: that they spent in all.
    """

    answers: int
    skipped: int
    gold_right: int
    gold_asked: int
    gold_low: float
    gold_high: float
    paused: str | None
    counts: bool
    agreement: float | None
    compared: int
    error: float
    error_of: int
    median_s: float | None
    seconds: float


class Agreements(msgspec.Struct, frozen=True):
    """Krippendorff's alpha of people's answers that count; None where it is not defined.

    Attributes:
        grades: of all grades.  by_modality: of the grades of each modality of the plan.
        preferences: of all preferences.  by_modality_pair: of those between two modalities, such as ``image/text``.
        pages: of comparisons of page orders.
    """

    grades: Agreement | None
    by_modality: dict[str, Agreement | None]
    preferences: Agreement | None
    by_modality_pair: dict[str, Agreement | None]
    pages: Agreement | None


def quality_of(state: State, settings: Settings) -> dict[str, Quality]:
    """What is known of everybody who answered or skipped, by name; models too."""
    agreed, compared, wrong, known_of = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for record in state.records.values():
        known = record.known()
        values = {who: value_of(reply.event) for who, reply in record.replies.items()}
        for who, value in values.items():
            others = [said for other, said in values.items() if other != who and not is_model(other)]
            agreed[who] += sum(said == value for said in others)
            compared[who] += len(others)
            if known is not None:
                wrong[who] += value != known
                known_of[who] += 1
    found = {}
    for who, person in sorted(state.people.items()):
        took = [act.seconds for act in person.acts.values() if isinstance(act, Answered)]
        skipped = sum(isinstance(act, Skipped) for act in person.acts.values())
        if not took and not skipped:
            continue
        right, asked = state.gold_results(who, since=person.resumed)
        low, high = wilson_interval(right, asked)
        found[who] = Quality(
            answers=len(took),
            skipped=skipped,
            gold_right=right,
            gold_asked=asked,
            gold_low=low,
            gold_high=high,
            paused=_paused(state, who),
            counts=who not in state.failed and not is_model(who),
            agreement=agreed[who] / compared[who] if compared[who] else None,
            compared=compared[who],
            error=(wrong[who] + _PRIOR * settings.annotator_error) / (known_of[who] + _PRIOR),
            error_of=known_of[who],
            median_s=median(took) if took else None,
            seconds=person.seconds,
        )
    return found


def agreements_of(state: State, settings: Settings) -> Agreements:
    """How far people agree beyond chance, in all and by modality."""
    grades: dict[str, list[list[float]]] = {m.value: [] for page in state.plan.pages for m in page.modalities}
    pairs: dict[str, list[list[float]]] = {}
    pages: list[list[float]] = []
    for task, record in sorted(state.records.items()):
        unit = [_place(value_of(reply.event)) for reply in record.people(state.failed)]
        _units_of(state, task, grades, pairs, pages).append(unit)
    seed = settings.seed
    return Agreements(
        _alpha([unit for units in grades.values() for unit in units], seed),
        {name: _alpha(units, seed) for name, units in sorted(grades.items())},
        _alpha([unit for units in pairs.values() for unit in units], seed),
        {name: _alpha(units, seed) for name, units in sorted(pairs.items())},
        _alpha(pages, seed),
    )


def _units_of(
    state: State,
    task: Task,
    grades: dict[str, list[list[float]]],
    pairs: dict[str, list[list[float]]],
    pages: list[list[float]],
) -> list[list[float]]:
    if task.kind is Kind.GRADE:
        return grades[state.list_of[task.query_id, task.left_id][1].value]
    return pages if task.kind is Kind.PAGES else pairs.setdefault(modality_pair(state, task), [])


def _place(value: Value | None) -> float:
    return _PLACES[value] if isinstance(value, Choice) else float(value or 0)


def _alpha(units: list[list[float]], seed: int) -> Agreement | None:
    try:
        return alphas.agreement(units, seed=seed)
    except UndefinedAgreement:
        return None


def _paused(state: State, who: str) -> str | None:
    if state.closed or state.halted:
        return None
    try:
        check_at_work(state, who)
    except Halted as halted:
        return str(halted)
    return None
