"""What goes out of a campaign and what comes in: one door for all formats, and what each cannot carry.

    events           everything: the log itself, with its chain
    grades           who graded what how, JSONL                       judgments that ``wholepage train`` reads
    pairs            who preferred what, JSONL                        "
    labels           what the answers come to, JSONL                  "
    qrels            the grades of the labels, as TREC tools read them
    quepid           the same as the ratings of a Quepid case
    quepid-book      who graded what how, as a Quepid book
    label-studio     grade tasks and what was said to them; -pairs and -pages for the other kinds

An export is deterministic. What is read back is events, to be appended to the log of a campaign with the same pages;
``events``, ``grades``, ``pairs``, ``quepid-book`` and ``label-studio`` bring the answers that went out, which stand for
the same labels. ``LOSSES`` says what each leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from wholepage.annotation.answers import RESERVED, is_model
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.event_lines import read_entries, write_entries
from wholepage.annotation.events import Answered, Entry, Event, Kind, Task
from wholepage.annotation.formats import Format
from wholepage.annotation.label_studio import TURNED, Address, label_studio_json, to_label_studio
from wholepage.annotation.label_studio_answers import from_label_studio
from wholepage.annotation.plan import Plan
from wholepage.annotation.quepid import from_quepid, to_quepid, to_quepid_book
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Grade, Judgments, Preference
from wholepage.pages.lines import atomic_write, text_of
from wholepage.pages.records import read_judgments, read_qrels, write_judgments, write_qrels

_SAID = "how long answers took, and under which guideline; skips, gold, decisions, pauses, and what was taken back"
_FINAL = f"who said what, and when; preferences; which grades are inferred and how sure they are; {_SAID}"
_STUDIO = (
    "tasks of the other kinds; what was taken back and the time it took; postponements, escalations, pauses, changes "
    "of guideline and budget"
)
LOSSES: Mapping[Format, str] = {
    Format.EVENTS: "nothing",
    Format.GRADES: f"comparisons; {_SAID}",
    Format.PAIRS: f"grades; comparisons of whole pages; {_SAID}",
    Format.LABELS: f"what each person said, where there were several; weights; comparisons of whole pages; {_SAID}",
    Format.QRELS: _FINAL,
    Format.QUEPID: f"query ids (Quepid has words only); {_FINAL}",
    Format.QUEPID_BOOK: f"query ids (Quepid has words only); when; comparisons; {_SAID}",
    Format.LABEL_STUDIO: _STUDIO,
    Format.LABEL_STUDIO_PAIRS: _STUDIO,
    Format.LABEL_STUDIO_PAGES: _STUDIO,
}
"""What a format cannot carry, as a sentence to show beside the export."""

STUDIO_KINDS = {
    Format.LABEL_STUDIO: Kind.GRADE,
    Format.LABEL_STUDIO_PAIRS: Kind.PREFERENCE,
    Format.LABEL_STUDIO_PAGES: Kind.PAGES,
}
"""Formats of Label Studio -> the kind of task they carry."""
_NOBODY: Mapping[str, int | str] = {}


def export_campaign(
    path: str | Path,
    to: Format,
    plan: Plan,
    entries: Sequence[Entry],
    *,
    people: Mapping[str, int | str] = _NOBODY,
    address: Address | None = None,
) -> int:
    """Write a campaign in a format, whole or not at all; ``LOSSES`` says what the format cannot carry.

    Args:
        path: ``.gz`` packs it, but for Quepid and Label Studio, which read plain files.
        plan, entries: of the campaign.
        people, address: for Label Studio, as in ``to_label_studio``.
    Returns:
        How many records were written: entries, answers, lines, tasks.
    Raises:
        InputError: the log is not one of this plan, or something in it that the format cannot hold.
        ChainBroken: the log was changed.
        RecordError: the file cannot be written, or an id has white space (``qrels``).
    """
    if to is Format.EVENTS:
        return write_entries(path, entries)
    if to in STUDIO_KINDS:
        records = to_label_studio(STUDIO_KINDS[to], plan, entries, people=people, address=address)
        return _write(path, label_studio_json(records), len(records))
    campaign = Campaign.replay(plan, entries)
    labels, said = campaign.labels().judgments, campaign.answers()
    match to:
        case Format.GRADES:
            return write_judgments(path, _of(said, Grade))
        case Format.PAIRS:
            return write_judgments(path, _of(said, Preference))
        case Format.LABELS:
            return write_judgments(path, labels)
        case Format.QRELS:
            return write_qrels(path, labels)
    text = to_quepid(labels, plan.pages) if to is Format.QUEPID else to_quepid_book(said, plan.pages)
    return _write(path, text.encode(), max(0, text.count("\n") - 1))


def import_events(
    path: str | Path,
    of: Format,
    plan: Plan,
    *,
    at: str,
    who: str = "import",
    people: Mapping[str, int | str] = _NOBODY,
) -> list[Event]:
    """Read what was said from a file, as events in the order in which they are to be appended.

    A file of ``events`` is a whole log: its first event opens a campaign. The others are what was said in one that is
    open; what may not happen there (an answer too many, a grade that it does not have) the campaign refuses.

    Args:
        plan: of the campaign; queries and results must be of its pages.
        at: the moment of answers that come without one.
        who: whose answers are that come without a name (``qrels``, ``quepid``).
        people: for Label Studio, as in ``to_label_studio``.
    Raises:
        RecordError: the file cannot be read; file, line and field are named.
        InputError: ``labels``, which are no answers; answers by such names; a grade that is not whole; or something
            that is not on the plan's pages.
    """
    match of:
        case Format.EVENTS:
            return [entry.event for entry in read_entries(path)]
        case Format.LABEL_STUDIO | Format.LABEL_STUDIO_PAIRS | Format.LABEL_STUDIO_PAGES:
            said = from_label_studio(_read(path), path, people=people)
            _check_kind(path, STUDIO_KINDS[of], [event.task for event in said])
            return list(said)
        case Format.GRADES | Format.PAIRS:
            judgments = _only(path, Grade if of is Format.GRADES else Preference)
        case Format.QRELS:
            judgments = read_qrels(path)
        case Format.QUEPID | Format.QUEPID_BOOK:
            judgments = from_quepid(text_of(path, 0, _read(path)), plan.pages, path)
        case Format.LABELS:
            raise InputError(
                f"import of {path}: got labels, which nobody said; allowed: answers (grades, pairs, events); export "
                "one of these"
            )
    return list(to_answers(judgments, plan, at=at, who=who))


def to_answers(judgments: Judgments, plan: Plan, *, at: str, who: str = "import") -> list[Answered]:
    """What people judged, as answers to tasks of a plan, by query, then by what was judged and by whom.

    Args:
        at: the moment of those that come without one.
        who: the author of those that come without one.
    Raises:
        InputError: a query or result that is not on the plan's pages, a grade that is not whole, a pair compared both
            ways by one person, or an author whose name marks labels and not answers.
    """
    pages = {page.query_id: set(page.result_ids) for page in plan.pages}
    answers: dict[tuple[Task, str], Answered] = {}
    for said in judgments:
        ids = (said.result_id,) if isinstance(said, Grade) else (said.left_id, said.right_id)
        if not set(ids) <= pages.get(said.query_id, set()):
            raise InputError(
                f"import: query {said.query_id!r}: got a judgment of {', '.join(map(repr, ids))}; allowed: results of "
                f"the {len(pages)} pages of the plan; import it where its page is"
            )
        author = said.who or who
        if author in RESERVED:
            raise InputError(
                f"import: query {said.query_id!r}: got a judgment by {author!r}; allowed: who said it, for "
                f"{', '.join(RESERVED)} mark labels that no single person gave; export answers, not labels"
            )
        answer = _answer(said, author, said.when or at)
        if answers.setdefault((answer.task, author), answer) is not answer:
            raise InputError(
                f"import: {answer.task.key}: got two comparisons by {author!r}; allowed: one; remove one of them"
            )
    return list(answers.values())


def _answer(said: Grade | Preference, who: str, at: str) -> Answered:
    source: Literal["model", "import"] = "model" if is_model(who) else "import"
    if isinstance(said, Grade):
        if said.grade != int(said.grade):
            raise InputError(
                f"import: query {said.query_id!r}, result {said.result_id!r}: got grade {said.grade}; allowed: whole "
                "ones; round it, or bring what each person said"
            )
        task = Task.grade(said.query_id, said.result_id)
        return Answered(who, at, task, grade=int(said.grade), source=source)
    task = Task.pair(Kind.PREFERENCE, said.query_id, said.left_id, said.right_id)
    choice = said.choice if task.left_id == said.left_id else TURNED[said.choice]
    return Answered(who, at, task, choice=choice, source=source)


def _of(judgments: Judgments, kind: type[Grade] | type[Preference]) -> Iterator[Grade | Preference]:
    return (said for said in judgments if isinstance(said, kind))


def _only(path: str | Path, kind: type[Grade] | type[Preference]) -> Judgments:
    """The judgments of a file that holds one kind only."""
    judgments = read_judgments(path)
    other = sum(not isinstance(said, kind) for said in judgments)
    if other:
        wanted = "grades" if kind is Grade else "pairs"
        raise RecordError(path, 0, "file", f"{other} records that are none of the {wanted}", wanted, "split the file")
    return judgments


def _check_kind(path: str | Path, kind: Kind, tasks: Iterable[Task]) -> None:
    for task in tasks:
        if task.kind is not kind:
            raise RecordError(path, 0, "file", task.key, f"tasks of the kind {kind.value!r}", "name its own format")


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RecordError(path, 0, "file", error.strerror or str(error), "a file to read", "check the path") from error


def _write(path: str | Path, raw: bytes, records: int) -> int:
    with atomic_write(path, "wb") as file:
        file.write(raw)
    return records
