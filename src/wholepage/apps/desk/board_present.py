"""From a campaign to its board."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from wholepage.annotation.agreement import Agreement
from wholepage.annotation.answers import Value
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Kind
from wholepage.annotation.ledger import Ledger
from wholepage.annotation.moments import stamp
from wholepage.annotation.people import Person
from wholepage.annotation.progress import Progress
from wholepage.annotation.quality import Agreements
from wholepage.apps.desk.board_views import AgreementRow, BoardView, CountRow, ModalityRow, QualityRow, SavingRow
from wholepage.apps.desk.present import campaign_view
from wholepage.pages.judgments import Choice

_SAID = {Choice.LEFT: "left is better", Choice.SAME: "the same", Choice.RIGHT: "right is better"}


def board_view(
    campaign_id: str,
    campaign: Campaign,
    person: Person,
    *,
    names: Mapping[str, str],
    broken_pictures: int,
    at: datetime,
) -> BoardView:
    """Everything that the board shows.

    Args:
        campaign_id: as addresses name it.
        campaign: as it stands.
        person: who looks.
        names: of people, by id.
        broken_pictures: how many are known not to be shown.
        at: when this is.
    """
    progress, ledger, agreement = campaign.progress(), campaign.ledger(), campaign.agreement()
    return BoardView(
        campaign=campaign_view(campaign_id, campaign, person),
        guideline_version=campaign.guideline_version,
        answers=ledger.questions,
        share=share_of(progress),
        lists_done=progress.all.lists_done,
        lists_total=progress.all.lists,
        modalities=tuple(
            ModalityRow(name, part.lists_done, part.lists, ledger.by_modality.get(name, 0), part.claimed_error)
            for name, part in progress.by_modality.items()
        ),
        questions_left=progress.questions_left,
        money_left=progress.money_left,
        purposes=tuple(CountRow(purpose.value, count) for purpose, count in ledger.by_purpose.items() if count),
        by_modality=_by_modality(ledger),
        by_person=_by_person(ledger, names),
        seconds=ledger.seconds,
        money=ledger.money,
        agreement=_agreement(agreement),
        pairs=tuple(_alpha(name.replace("/", " / "), found) for name, found in agreement.by_modality_pair.items()),
        annotators=quality_rows(campaign, names),
        saving=_saving(ledger),
        waiting=progress.waiting,
        broken_pictures=broken_pictures,
        at=stamp(at),
    )


def share_of(progress: Progress) -> float:
    """How much of a campaign is done, 0 to 1: lists and comparisons, each counted by the questions it could take."""
    known = progress.all.answered + progress.all.inferred
    results = progress.all.results if progress.all.lists_done < progress.all.lists else known
    total, done = results + progress.comparisons, known + progress.comparisons_done
    return 1.0 if progress.finished else min(done / total, 0.99) if total else 1.0


def quality_rows(campaign: Campaign, names: Mapping[str, str]) -> tuple[QualityRow, ...]:
    """Everybody who answered or skipped, by name."""
    rows = [
        QualityRow(
            who=who,
            name=names.get(who, who),
            answers=found.answers,
            gold_right=found.gold_right,
            gold_asked=found.gold_asked,
            gold_low=found.gold_low if found.gold_asked else None,
            gold_high=found.gold_high if found.gold_asked else None,
            agreement=found.agreement,
            median_seconds=found.median_s,
            error=found.error if found.error_of else None,
            paused=found.paused is not None,
        )
        for who, found in campaign.quality().items()
    ]
    return tuple(sorted(rows, key=lambda row: (row.name.casefold(), row.who)))


def said_of(value: Value) -> str:
    """A right answer in words, of the sides of the task."""
    return _SAID[value] if isinstance(value, Choice) else f"grade {value}"


def _by_modality(ledger: Ledger) -> tuple[CountRow, ...]:
    rows = [CountRow(name, count) for name, count in ledger.by_modality.items()]
    rows += [CountRow(name.replace("/", " / "), count) for name, count in ledger.by_modality_pair.items()]
    pages = ledger.by_kind.get(Kind.PAGES, 0)
    return (*rows, CountRow("whole pages", pages)) if pages else tuple(rows)


def _by_person(ledger: Ledger, names: Mapping[str, str]) -> tuple[CountRow, ...]:
    everybody = dict.fromkeys([*ledger.by_person, *ledger.seconds_by_person])
    rows = [
        CountRow(names.get(who, who), ledger.by_person.get(who, 0), ledger.seconds_by_person.get(who))
        for who in everybody
    ]
    return tuple(sorted(rows, key=lambda row: (-row.questions, row.name.casefold())))


def _agreement(found: Agreements) -> tuple[AgreementRow, ...]:
    rows = [_alpha("all", found.grades), *(_alpha(name, alpha) for name, alpha in found.by_modality.items())]
    more = (("comparisons", found.preferences), ("whole pages", found.pages))
    return (*rows, *(_alpha(name, alpha) for name, alpha in more if alpha is not None))


def _alpha(name: str, found: Agreement | None) -> AgreementRow:
    if found is None:
        return AgreementRow(name, 0)
    return AgreementRow(name, found.units, found.alpha, found.low, found.high)


def _saving(ledger: Ledger) -> SavingRow:
    saving, certificate = ledger.saving, ledger.saving.certificate
    row = SavingRow(saving.questions, saving.full, saving.share, ledger.inferred, saving.claimed_error)
    if certificate is None or not certificate.audited:
        return row
    return SavingRow(
        row.asked, row.full, row.saving, row.inferred, row.claimed_error,
        certificate.audited, certificate.wrong, certificate.bound, certificate.confidence,
    )  # fmt: skip
