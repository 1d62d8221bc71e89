"""What a campaign's answers come to: labels to train and to measure with, and what is known of their errors."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from wholepage.annotation.answers import ADJUDICATED, GOLD, INFERRED, PEOPLE, Record, Value, is_model, value_of
from wholepage.annotation.audits import Audits
from wholepage.annotation.certificate import Certificate, audit_certificate
from wholepage.annotation.events import Kind, Task
from wholepage.annotation.searches import Searches
from wholepage.annotation.settings import Settings
from wholepage.annotation.state import State
from wholepage.pages.judgments import Choice, Grade, Judgments, Preference


class PagePreference(msgspec.Struct, frozen=True, order=True):
    """Somebody's comparison of two orders of a page, which are named as in the plan."""

    query_id: str
    left: str
    right: str
    choice: Choice
    who: str


class Labels(msgspec.Struct, frozen=True):
    """The labels of a campaign.

    Attributes:
        judgments: one grade a result, by who gave it: the one annotator, ``people`` (the median of several, the lower
            of two), ``adjudicated`` or ``gold`` (which stand above), ``inferred`` (nobody was asked), a model. And what
            each person preferred; a decision or gold stands in place of all of them.
        weights: of grades that are inferred or a model's: how far they are to be believed, above 0 to 1, by query and
            result.
        pages: what each person preferred of two orders of a page.
        inferred: inferred labels, those that were audited among them.
        claimed_error: mean over the labels of the searched lists of what the posterior leaves to other grades, but for
            audited ones, of which the engine was not told; None = no list was searched, or there are no labels.
        claimed_inferred_error: the same over the inferred labels, audited ones too: what the certificate tests.
        certificate: what the audit proves of the inferred labels of lists that are done (of all, where the budget has
            left some undone); None = there are none.
    """

    judgments: Judgments
    weights: dict[str, dict[str, float]] = {}
    pages: tuple[PagePreference, ...] = ()
    inferred: int = 0
    claimed_error: float | None = None
    claimed_inferred_error: float | None = None
    certificate: Certificate | None = None


class Labelling:
    """Makes labels of what stands in a campaign."""

    def __init__(self, state: State, searches: Searches, audits: Audits, settings: Settings) -> None:
        self._state, self._searches, self._audits, self._settings = state, searches, audits, settings

    def labels(self, *, models: bool = False) -> Labels:
        """All labels, as ``Labels`` says.

        The weight of an inferred grade is its posterior probability; bisection has no doubts of its own, so that there
        it is the share of audited grades that were right, one right and one wrong added.

        Args:
            models: models' grades too, for results that have no other. Their weight is the share of their answers that
                equal the labels, one right and one wrong added.
        """
        grades, preferences, pages = self._said()
        certificate = self.certificate()
        weights: dict[str, dict[str, float]] = {}
        asked = {(grade.query_id, grade.result_id) for grade in grades}
        for task, grade, weight in self._inferred(certificate):
            if (task.query_id, task.left_id) not in asked:
                grades.append(Grade(task.query_id, task.left_id, float(grade), INFERRED))
                weights.setdefault(task.query_id, {})[task.left_id] = weight
        if models:
            grades += self._of_models(grades, weights)
        claimed, claimed_inferred = self.claimed_errors()
        return Labels(
            Judgments(grades, preferences),
            weights,
            tuple(sorted(pages)),
            sum(len(search.inferred) for search in self._searches),
            claimed,
            claimed_inferred,
            certificate,
        )

    def certificate(self) -> Certificate | None:
        """What the audit proves of what it is drawn from; None = that is nothing."""
        inferred, done = self._audits.inferred, self._audits.done()
        if not inferred:
            return None
        return audit_certificate(len(done), sum(was.grade != is_ for _, was, is_ in done), inferred=inferred)

    def claimed_errors(self) -> tuple[float | None, float | None]:
        """Over all labels of searched lists, and over the inferred ones; None = there are none."""
        all_of, inferred_of = [], []
        for search in self._searches:
            inferred_of += [1.0 - one.posterior for one in search.inferred.values()]
            found = search.found
            for index, task in enumerate(found.tasks if found.started else ()):
                record = self._state.records.get(task)
                label = record.label(self._state.failed) if record else None
                if record and record.audited(self._state.failed):
                    continue  # the engine was not told
                if record and record.known() is not None:
                    all_of.append(0.0)
                elif label is not None:
                    all_of.append(1.0 - float(found.posterior[index, int(label)]))
                elif task in search.inferred:
                    all_of.append(1.0 - search.inferred[task].posterior)
        return _mean(all_of), _mean(inferred_of)

    def answers(self) -> Judgments:
        """What everybody said, as they said it: models too, and people whose answers do not count."""
        grades, preferences = [], []
        for task, record in self._state.records.items():
            for who, reply in record.replies.items():
                when, value = reply.event.at, value_of(reply.event)
                if isinstance(value, Choice):
                    if task.kind is Kind.PREFERENCE:
                        preferences.append(
                            Preference(task.query_id, task.left_id, task.right_id, value, who=who, when=when)
                        )
                elif value is not None:
                    grades.append(Grade(task.query_id, task.left_id, float(value), who=who, when=when))
        return Judgments(grades, preferences)

    def _said(self) -> tuple[list[Grade], list[Preference], list[PagePreference]]:
        grades: list[Grade] = []
        preferences: list[Preference] = []
        pages: list[PagePreference] = []
        for task, record in sorted(self._state.records.items()):
            for who, value in self._voices(task, record):
                if not isinstance(value, Choice):
                    grades.append(Grade(task.query_id, task.left_id, float(value), who))
                elif task.kind is Kind.PREFERENCE:
                    preferences.append(Preference(task.query_id, task.left_id, task.right_id, value, who))
                else:
                    pages.append(PagePreference(task.query_id, task.left_id, task.right_id, value, who))
        return grades, preferences, pages

    def _voices(self, task: Task, record: Record) -> Iterator[tuple[str, Value]]:
        """Who says what in the labels: one voice for a grade, every person's for a comparison."""
        known = record.known()
        people = record.people(self._state.failed)
        if known is not None:
            yield (ADJUDICATED if record.decided else GOLD), known
        elif task.kind is Kind.GRADE:
            label = record.label(self._state.failed)
            if label is not None:
                yield (people[0].event.who if len(people) == 1 else PEOPLE), label
        else:
            for reply in people:
                value = value_of(reply.event)
                if value is not None:
                    yield reply.event.who, value

    def _inferred(self, certificate: Certificate | None) -> Iterator[tuple[Task, int, float]]:
        trust = None
        if self._settings.engine == "bisect" and certificate is not None:
            trust = (certificate.audited - certificate.wrong + 1) / (certificate.audited + 2)
        for search in self._searches:
            for task, inferred in search.inferred.items():
                yield task, inferred.grade, inferred.posterior if trust is None else trust

    def _of_models(self, grades: list[Grade], weights: dict[str, dict[str, float]]) -> list[Grade]:
        """The grades of models for results that have none; of several models the first by name."""
        labels = {(grade.query_id, grade.result_id): grade for grade in grades}
        right: dict[str, int] = {}
        compared: dict[str, int] = {}
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for task, record in self._state.records.items():
            if task.kind is not Kind.GRADE:
                continue
            label = labels.get((task.query_id, task.left_id))
            for who in sorted(filter(is_model, record.replies)):
                value = int(record.replies[who].event.grade or 0)
                if label is None:
                    if who not in self._state.failed:
                        found.setdefault((task.query_id, task.left_id), (who, value))
                elif label.who != INFERRED:
                    compared[who] = compared.get(who, 0) + 1
                    right[who] = right.get(who, 0) + (label.grade == value)
        for (query_id, result_id), (who, _) in sorted(found.items()):
            weights.setdefault(query_id, {})[result_id] = (right.get(who, 0) + 1) / (compared.get(who, 0) + 2)
        return [Grade(query_id, result_id, float(value), who) for (query_id, result_id), (who, value) in found.items()]


def _mean(errors: list[float]) -> float | None:
    return sum(errors) / len(errors) if errors else None
