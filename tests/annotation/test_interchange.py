"""Out of a campaign and in again: every format gives back what it says it carries, and refuses what is damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.event_lines import entry_lines, linked, read_entries, read_entry_lines, write_entries
from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    Closed,
    Entry,
    Escalated,
    Event,
    GoldSet,
    GuidelineChanged,
    Kind,
    Opened,
    Postponed,
    Purpose,
    Skipped,
    SkipReason,
    Task,
    Undone,
    encode_event,
)
from wholepage.annotation.formats import Format
from wholepage.annotation.interchange import LOSSES, export_campaign, import_events, to_answers
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.pages import Choice, Grade, InputError, Judgments, Modality, Page, Preference, Query, Ranking, Result
from wholepage.pages.errors import ChainBroken, RecordError
from wholepage.pages.records import read_judgments, read_qrels

PAGES = tuple(
    Page(Query(f"q{n}", text), tuple(Result(f"r{i}", Modality.TEXT, f"words {i}") for i in range(5)))
    for n, text in enumerate(["red shoes", "=cmd|' /C calc'!A0", 'a "quoted", thing'])
)
PAIRS = (Task.pair(Kind.PREFERENCE, "q0", "r0", "r1"), Task.pair(Kind.PREFERENCE, "q1", "r3", "r2"))
ORDERS = {"q0": {"new": Ranking("q0", PAGES[0].result_ids), "old": Ranking("q0", PAGES[0].result_ids[::-1])}}
PLAN = Plan(PAGES, pairs=PAIRS, page_orders=ORDERS)
BOTH = Task.pair(Kind.PAGES, "q0", "new", "old")


def g(query: int, result: int) -> Task:
    return Task.grade(f"q{query}", f"r{result}")


def opened(**settings: object) -> Opened:
    return Opened("boss", moment(0), Settings(name="t", overlap=2, **settings), PLAN.sha256, "How to grade")  # type: ignore[arg-type]


def moment(second: int) -> str:
    return f"2026-11-21T12:{second // 60:02d}:{second % 60:02d}.{second % 1000:03d}Z"


def said(second: int, who: str, task: Task, value: int | Choice, **more: object) -> Answered:
    grade, choice = (None, value) if isinstance(value, Choice) else (value, None)
    return Answered(who, moment(second), task, grade=grade, choice=choice, seconds=second / 8, **more)  # type: ignore[arg-type]


EVENTS: tuple[Event, ...] = (
    opened(),
    GoldSet("boss", moment(1), g(2, 0), grade=3),
    said(2, "ann", g(0, 0), 3),
    said(3, "bob", g(0, 0), 2),
    said(4, "ann", g(2, 0), 3, purpose=Purpose.GOLD),
    said(5, "bob", g(1, 1), 0),
    Undone("bob", moment(6), 6),
    said(7, "bob", g(1, 1), 1),
    Skipped("ann", moment(8), g(1, 1), SkipReason.LANGUAGE, "what is this?", 2.5),
    said(9, "model:m", g(0, 0), 1, source="model"),
    GuidelineChanged("boss", moment(10), "New words"),
    said(11, "ann", PAIRS[0], Choice.LEFT, guideline=2),
    said(12, "bob", PAIRS[0], Choice.SAME),
    said(13, "ann", PAIRS[1], Choice.RIGHT),
    said(14, "bob", BOTH, Choice.LEFT),
    Postponed("ann", moment(15), g(0, 3)),
    said(16, "ann", g(0, 4), 0),
    said(17, "bob", g(0, 4), 3),
    Escalated("bob", moment(18), g(0, 2), "help"),
    Adjudicated("eve", moment(19), g(0, 4), grade=1, seconds=4.0, note="as it says"),
    said(20, "model:m", PAIRS[1], Choice.SAME, source="model"),
    GoldSet("boss", moment(21), g(1, 4), grade=0),
    GoldSet("boss", moment(22), g(1, 4)),
)
LOG = tuple(linked(EVENTS))
CAMPAIGN = Campaign.replay(PLAN, LOG)
LONG = tuple(linked((*EVENTS, Closed("boss", moment(30)))))


def again(events: Iterable[Event], *first: Event) -> Campaign:
    """A new campaign of the same plan with the events appended."""
    return Campaign.replay(PLAN, linked([opened(), *first, *events]))


# ------------------------------------------------------------------ the log itself


def test_a_log_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert write_entries(path, LOG) == len(LOG)
    assert read_entries(path) == list(LOG)
    replayed = Campaign.replay(PLAN, read_entries(path, last_hash=LOG[-1].hash))
    assert replayed.labels() == CAMPAIGN.labels()
    assert replayed.ledger() == CAMPAIGN.ledger()
    for who in ("ann", "bob", "new"):
        assert replayed.next_task(who) == CAMPAIGN.next_task(who)
    lines = path.read_bytes().splitlines()
    assert json.loads(lines[3])["seq"] == 4
    assert json.loads(lines[3])["event"]["who"] == "bob"
    write_entries(tmp_path / "again.jsonl", read_entries(path))
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    packed = tmp_path / "log.jsonl.gz"
    write_entries(packed, LOG)
    assert read_entries(packed) == list(LOG)


def test_hashes_are_what_the_entry_says() -> None:
    import hashlib

    previous = "0" * 64
    for entry in LOG:
        previous = hashlib.sha256(previous.encode() + b"\n" + encode_event(entry.event)).hexdigest()
        assert entry.hash == previous


def test_every_flipped_byte_is_found_at_its_line() -> None:
    """Each byte of a short log turned into several others; only blanks around the values mean the same."""
    lines = list(entry_lines(LOG[:4]))
    found = 0
    for number, line in enumerate(lines, start=1):
        for at in range(len(line)):
            for flip in (1, 2, 32):
                changed = line[:at] + bytes([line[at] ^ flip]) + line[at + 1 :]
                if changed.strip() != changed or b"\n" in changed:
                    continue
                damaged = [*lines[: number - 1], changed, *lines[number:]]
                try:
                    entries = list(read_entry_lines(enumerate(damaged, start=1), "log"))
                except RecordError as error:
                    assert error.line == number  # noqa: PT017
                    found += 1
                else:
                    assert entries == list(LOG[:4]), changed
    assert found > 3000


@pytest.mark.parametrize(
    ("damage", "line", "field"),
    [
        (lambda lines: lines[:2] + lines[3:], 3, "seq"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3, "seq"),
        (lambda lines: lines[1:], 1, "seq"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2, "seq"),
        (lambda lines: [lines[0], lines[1].replace(b'"grade":3', b'"grade":2'), *lines[2:]], 2, "hash"),
        (lambda lines: [lines[0], lines[1].replace(b'"seq":2', b'"seq":2,"more":1'), *lines[2:]], 2, "more"),
        (lambda lines: [lines[0], b"not json", *lines[2:]], 2, "line"),
        (lambda lines: [lines[0], b'{"seq": 2}', *lines[2:]], 2, "event"),
        (lambda lines: [], 0, "file"),
    ],
)
def test_a_damaged_log_is_refused_at_its_line(damage, line: int, field: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(damage(list(entry_lines(LOG)))) + b"\n" * bool(damage([b""] * 9)))
    with pytest.raises(RecordError) as caught:
        read_entries(path)
    assert (caught.value.path, caught.value.line, caught.value.field) == (str(path), line, field)


def test_an_event_that_is_none_is_refused_though_its_hash_is_right() -> None:
    from wholepage.annotation.chain import GENESIS, entry_hash

    for body, field in (
        (b'{"event":"danced","who":"a","at":"b"}', "event"),
        (b'{"event":"closed","who":1}', "event.who"),
    ):
        line = msgspec.json.encode({"seq": 1, "event": msgspec.Raw(body), "hash": entry_hash(GENESIS, body)})
        with pytest.raises(RecordError) as caught:
            list(read_entry_lines([(1, line)], "log"))
        assert caught.value.field.startswith(field)


def test_a_missing_end_is_found_by_who_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_entries(path, LOG[:-1])
    assert len(read_entries(path)) == len(LOG) - 1
    with pytest.raises(RecordError, match="bring the whole log"):
        read_entries(path, last_hash=LOG[-1].hash)


def test_a_broken_log_is_not_written(tmp_path: Path) -> None:
    wrong = [*LOG[:3], Entry(4, LOG[3].event, "0" * 64)]
    with pytest.raises(ChainBroken, match="row 4"):
        write_entries(tmp_path / "log.jsonl", wrong)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize("to", Format)
def test_exports_are_deterministic_and_say_what_they_lose(to: Format, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert export_campaign(tmp_path / name, to, PLAN, LOG) > 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert LOSSES[to]


def test_the_guide_says_what_is_lost() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "interchange.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]+) \|$", guide, re.MULTILINE))
    assert rows == {to.value: LOSSES[to] for to in Format}


def back(to: Format, tmp_path: Path) -> list[Event]:
    export_campaign(tmp_path / "file", to, PLAN, LOG)
    return import_events(tmp_path / "file", to, PLAN, at=moment(59))


def test_events_make_the_same_campaign(tmp_path: Path) -> None:
    events = back(Format.EVENTS, tmp_path)
    assert events == list(EVENTS)
    replayed = Campaign.replay(PLAN, linked(events))
    assert (replayed.labels(), replayed.ledger(), replayed.quality()) == (
        CAMPAIGN.labels(), CAMPAIGN.ledger(), CAMPAIGN.quality(),
    )  # fmt: skip


def test_grades_and_pairs_bring_the_same_answers(tmp_path: Path) -> None:
    grades, pairs = back(Format.GRADES, tmp_path), back(Format.PAIRS, tmp_path)
    assert {event.source for event in grades + pairs if isinstance(event, Answered)} == {"import", "model"}
    made = again([*grades, *pairs])
    assert made.answers() == CAMPAIGN.answers()
    undecided = [e for e in EVENTS[1:] if not isinstance(e, GoldSet | Adjudicated) and getattr(e, "task", None) != BOTH]
    plain = [msgspec.structs.replace(e, purpose=Purpose.WORK) if isinstance(e, Answered) else e for e in undecided]
    plain = [e for e in plain if not isinstance(e, Undone | Skipped | Postponed | Escalated)]
    first_try = next(e for e in plain if isinstance(e, Answered) and e.at == moment(5))
    assert made.labels() == again([e for e in plain if e is not first_try]).labels()


def test_labels_are_what_training_reads(tmp_path: Path) -> None:
    export_campaign(tmp_path / "labels.jsonl", Format.LABELS, PLAN, LOG)
    assert read_judgments(tmp_path / "labels.jsonl") == CAMPAIGN.labels().judgments
    export_campaign(tmp_path / "grades.jsonl.gz", Format.GRADES, PLAN, LOG)
    read = read_judgments(tmp_path / "grades.jsonl.gz")
    assert read.grades("q0") == CAMPAIGN.answers().grades("q0")
    with pytest.raises(InputError, match="labels, which nobody said"):
        import_events(tmp_path / "labels.jsonl", Format.LABELS, PLAN, at=moment(0))
    export_campaign(tmp_path / "g", Format.LABELS, PLAN, LOG)
    with pytest.raises(RecordError, match="none of the grades"):
        import_events(tmp_path / "g", Format.GRADES, PLAN, at=moment(0))


@pytest.mark.parametrize("to", [Format.QRELS, Format.QUEPID])
def test_final_grades_come_back_as_grades_of_one(to: Format, tmp_path: Path) -> None:
    events = back(to, tmp_path)
    assert {event.who for event in events} == {"import"}
    assert {event.at for event in events} == {moment(59)}
    assert again(events).labels().judgments.to_qrels() == CAMPAIGN.labels().judgments.to_qrels()
    named = import_events(tmp_path / "file", to, PLAN, at=moment(59), who="old tool")
    assert {event.who for event in named} == {"old tool"}
    if to is Format.QRELS:
        assert read_qrels(tmp_path / "file").to_qrels() == CAMPAIGN.labels().judgments.to_qrels()


def test_a_book_brings_everybody_s_grades(tmp_path: Path) -> None:
    made = again(back(Format.QUEPID_BOOK, tmp_path)).answers()
    expected = [
        msgspec.structs.replace(said, when=moment(59)) for said in CAMPAIGN.answers() if isinstance(said, Grade)
    ]
    assert made == Judgments(expected)


def test_label_studio_brings_back_what_stands(tmp_path: Path) -> None:
    kinds = (Format.LABEL_STUDIO, Format.LABEL_STUDIO_PAIRS, Format.LABEL_STUDIO_PAGES)
    events = [event for to in kinds for event in back(to, tmp_path)]
    undone = EVENTS[5]
    expected = [e for e in EVENTS if isinstance(e, Answered | Skipped | Adjudicated | GoldSet) and e is not undone]
    expected = [e for e in expected if not (isinstance(e, GoldSet) and e.task == g(1, 4))]  # set and taken away
    assert sorted(events, key=EVENTS.index) == expected
    made = again(expected_order(events), GuidelineChanged("boss", moment(0), "New words"))
    assert made.labels() == CAMPAIGN.labels()
    assert made.answers() == CAMPAIGN.answers()
    assert made.gold == CAMPAIGN.gold


def test_gold_that_was_set_again_stands_where_it_first_stood(tmp_path: Path) -> None:
    events = (opened(), GoldSet("boss", moment(1), g(0, 0), grade=3), said(2, "ann", g(0, 0), 3, purpose=Purpose.GOLD))
    log = tuple(linked((*events, GoldSet("boss", moment(3), g(0, 0), grade=2))))
    export_campaign(tmp_path / "file", Format.LABEL_STUDIO, PLAN, log)
    found = import_events(tmp_path / "file", Format.LABEL_STUDIO, PLAN, at=moment(0))
    assert found == [GoldSet("boss", moment(3), g(0, 0), grade=2), events[2]]
    assert again(found).gold == Campaign.replay(PLAN, log).gold == {g(0, 0): 2}


def expected_order(events: list[Event]) -> list[Event]:
    """Files of several kinds are appended by time."""
    return sorted(events, key=lambda event: event.at)


# ------------------------------------------------------------------ answers from judgments


def test_pairs_are_turned_to_the_order_of_their_task() -> None:
    judgments = Judgments(preferences=[Preference("q0", "r4", "r2", Choice.LEFT, "ann", moment(3))])
    (answer,) = to_answers(judgments, PLAN, at=moment(0))
    assert (answer.task, answer.choice) == (Task.pair(Kind.PREFERENCE, "q0", "r2", "r4"), Choice.RIGHT)
    assert (answer.who, answer.at, answer.source) == ("ann", moment(3), "import")
    (model,) = to_answers(Judgments([Grade("q0", "r0", 2.0, "model:x")]), PLAN, at=moment(0))
    assert (model.source, model.at) == ("model", moment(0))


@pytest.mark.parametrize(
    ("judgments", "words"),
    [
        (Judgments([Grade("q9", "r0", 1.0)]), "'q9'.*'r0'"),
        (Judgments([Grade("q0", "zz", 1.0)]), "'zz'"),
        (Judgments(preferences=[Preference("q0", "r0", "zz", Choice.SAME)]), "'r0', 'zz'"),
        (Judgments([Grade("q0", "r0", 1.5, "ann")]), r"grade 1\.5"),
        (Judgments([Grade("q0", "r0", 1.0, "inferred")]), "by 'inferred'"),
        (Judgments([Grade("q0", "r0", 1.0, "people")]), "export answers, not labels"),
        (
            Judgments(
                preferences=[Preference("q0", a, b, Choice.LEFT, "ann") for a, b in (("r0", "r1"), ("r1", "r0"))]
            ),
            "two comparisons by 'ann'",
        ),
    ],
)
def test_what_is_no_answer_here_is_refused(judgments: Judgments, words: str) -> None:
    with pytest.raises(InputError, match=words):
        to_answers(judgments, PLAN, at=moment(0))


@pytest.mark.parametrize("of", [to for to in Format if to is not Format.LABELS])
def test_a_missing_or_foreign_file_is_a_record_error(of: Format, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nothing here"):
        import_events(tmp_path / "nothing here", of, PLAN, at=moment(0))
    (tmp_path / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    with pytest.raises(RecordError, match="binary"):
        import_events(tmp_path / "binary", of, PLAN, at=moment(0))


def test_a_file_of_another_kind_of_task_is_refused(tmp_path: Path) -> None:
    export_campaign(tmp_path / "file", Format.LABEL_STUDIO_PAIRS, PLAN, LOG)
    with pytest.raises(RecordError, match="tasks of the kind 'pages'"):
        import_events(tmp_path / "file", Format.LABEL_STUDIO_PAGES, PLAN, at=moment(0))


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    nameless = Plan((Page(Query("q0"), PAGES[0].results),))
    log = tuple(
        linked([Opened("boss", moment(0), Settings(name="t"), nameless.sha256, "g"), said(1, "ann", g(0, 0), 1)])
    )
    with pytest.raises(InputError, match="no words"):
        export_campaign(path, Format.QUEPID, nameless, log)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_closed_campaign_is_exported_too(tmp_path: Path) -> None:
    assert export_campaign(tmp_path / "file", Format.EVENTS, PLAN, LONG) == len(LONG)
    assert export_campaign(tmp_path / "file", Format.QRELS, PLAN, LONG) > 0
