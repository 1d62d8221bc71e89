"""Label Studio's JSON and interface: the shape it has, words that stay words, what is read back, what is refused."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wholepage.annotation.event_lines import linked
from wholepage.annotation.events import Answered, Event, GoldSet, Kind, Opened, Purpose, Skipped, SkipReason, Task
from wholepage.annotation.label_studio import label_studio_json, labelling_config, to_label_studio, web_address
from wholepage.annotation.label_studio_answers import from_label_studio
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.pages import Choice, ImageError, ImageRef, InputError, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import RecordError

AT = "2026-11-21T12:30:00.250Z"
PICTURE = ImageRef("https://pictures.example/a.png?x=1&y=2")
PAGE = Page(
    Query("q", "red shoes", image=PICTURE),
    (
        Result("a", Modality.TEXT, "first\nsecond <b>bold</b>"),
        Result("b", Modality.VIDEO, "", (PICTURE, PICTURE)),
        Result("c", Modality.ANSWER, "an answer"),
    ),
)
ORDERS = {"q": {"new": Ranking("q", ("c", "a", "b")), "old": Ranking("q", ("a", "b", "c"))}}
PLAN = Plan((PAGE,), page_orders=ORDERS)
GRADE, PAIR, BOTH = (
    Task.grade("q", "a"),
    Task.pair(Kind.PREFERENCE, "q", "a", "c"),
    Task.pair(Kind.PAGES, "q", "new", "old"),
)
OPENED = Opened("boss", AT, Settings(name="t"), PLAN.sha256, "g")


def exported(kind: Kind, *events: Event, **options: Any) -> list[dict[str, Any]]:
    """As a file would hold them."""
    raw = label_studio_json(to_label_studio(kind, PLAN, linked([OPENED, *events]), **options))
    return json.loads(raw)


def read(records: Any, **options: Any) -> list[Any]:
    return from_label_studio(json.dumps(records).encode(), **options)


def native(said: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """A task as a project exports it that people annotated there."""
    control = {"to_name": "result", "origin": "manual", "id": "x1", **said}
    annotation = {
        "id": 7,
        "completed_by": 3,
        "result": [control],
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 4.25,
        "created_at": "2026-11-21T12:30:00.250399Z",
        "updated_at": "2026-11-21T12:31:00Z",
        "draft_created_at": None,
        "prediction": {},
        "result_count": 1,
        "unique_id": "u",
        "import_id": None,
        "last_action": None,
        "task": 1,
        "project": 2,
        "updated_by": 3,
        "parent_prediction": None,
        "parent_annotation": None,
        **more,
    }
    (task,) = exported(Kind.GRADE, tasks=[GRADE])
    return [
        {
            **task,
            "annotations": [annotation],
            "predictions": [],
            "file_upload": "f.json",
            "drafts": [],
            "meta": {},
            "created_at": AT,
            "updated_at": AT,
            "inner_id": 1,
            "total_annotations": 1,
            "project": 2,
            "comment_count": 0,
        }
    ]


def chosen(*grades: str, name: str = "grade") -> dict[str, Any]:
    return {"from_name": name, "type": "choices", "value": {"choices": list(grades)}}


# ------------------------------------------------------------------ the interface


@pytest.mark.parametrize("kind", Kind)
def test_interface_and_tasks_belong_together(kind: Kind) -> None:
    task = {Kind.GRADE: GRADE, Kind.PREFERENCE: PAIR, Kind.PAGES: BOTH}[kind]
    (record,) = exported(kind, tasks=[task])
    root = ElementTree.fromstring(labelling_config(kind, 4))
    shown = {tag.get("value", "").removeprefix("$"): tag.get("name") for tag in root.iter("HyperText")}
    assert set(shown) <= set(record["data"])
    controls = {tag.get("name"): tag.get("toName", "").split(",") for tag in root.iter() if tag.get("toName")}
    assert set(controls) == ({"grade", "skip"} if kind is Kind.GRADE else {"better", "same", "skip"})
    assert {name for names in controls.values() for name in names} <= set(shown.values())
    assert {c.get("value") for c in root.find("Choices[@name='skip']") or ()} == {reason.value for reason in SkipReason}
    if kind is Kind.GRADE:
        assert [c.get("value") for c in root.find("Choices[@name='grade']") or ()] == ["0", "1", "2", "3"]


def test_levels_are_checked() -> None:
    for levels in (1, 11):
        with pytest.raises(InputError, match=f"levels={levels}"):
            labelling_config(Kind.GRADE, levels)


# ------------------------------------------------------------------ the tasks


def test_an_answer_has_label_studio_s_shape() -> None:
    event = Answered("ann", AT, GRADE, grade=2, seconds=3.5, purpose=Purpose.GOLD, guideline=2)
    (record,) = exported(Kind.GRADE, event, people={"ann": 12})
    (annotation,) = record["annotations"]
    (result,) = annotation.pop("result")
    assert annotation == {
        "id": 2,
        "task": 1,
        "completed_by": 12,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": AT,
        "updated_at": AT,
        "lead_time": 3.5,
    }
    meta = result.pop("meta")["wholepage"]
    assert result == {
        "id": "e2",
        "from_name": "grade",
        "to_name": "result",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": ["2"]},
    }
    assert meta == {
        "seq": 2,
        "event": "answered",
        "who": "ann",
        "at": AT,
        "seconds": 3.5,
        "purpose": "gold",
        "guideline": 2,
    }
    assert (record["id"], record["predictions"]) == (1, [])
    assert json.loads(record["data"]["task"]) == ["grade", "q", "a"]


@pytest.mark.parametrize("seed", range(6))
def test_sides_are_exchanged_on_the_screen_and_not_in_what_is_read(seed: int) -> None:
    events = [Answered(who, AT, PAIR, choice=choice) for who, choice in zip("xyz", Choice, strict=True)]
    (record,) = exported(Kind.PREFERENCE, *events, seed=seed)
    left = "an answer" if record["data"]["turned"] else "first"
    assert left in record["data"]["left"]
    values = [annotation["result"][0]["value"] for annotation in record["annotations"]]
    expected = [{"selected": "left"}, {"choices": ["same"]}, {"selected": "right"}]
    assert values == (expected[::-1] if record["data"]["turned"] else expected)
    assert [a["result"][0]["to_name"] for a in record["annotations"]] == ["better", "left", "better"]
    assert read([record]) == events


def test_both_sides_come_to_the_left() -> None:
    turned = {exported(Kind.PREFERENCE, tasks=[PAIR], seed=seed)[0]["data"]["turned"] for seed in range(12)}
    assert turned == {False, True}


def test_models_are_predictions() -> None:
    events = [
        Answered("model:m", AT, PAIR, choice=Choice.LEFT, source="model"),
        Answered("ann", AT, PAIR, choice=Choice.LEFT),
    ]
    (record,) = exported(Kind.PREFERENCE, *events)
    (prediction,) = record["predictions"]
    assert prediction["model_version"] == "model:m"
    assert prediction["result"][0]["to_name"] == "left"  # what Label Studio's own check of predictions wants
    assert len(record["annotations"]) == 1
    assert read([record]) == events


def test_users_by_number_and_by_email() -> None:
    events = [Answered(who, AT, GRADE, grade=1) for who in ("ann", "bob", "eve")]
    (record,) = exported(Kind.GRADE, *events, people={"ann": 3, "bob": "bob@example.org"})
    assert [a.get("completed_by") for a in record["annotations"]] == [3, {"email": "bob@example.org"}, None]


def test_whole_pages_are_shown_in_their_orders() -> None:
    (record,) = exported(Kind.PAGES, tasks=[BOTH])
    sides = [record["data"][side] for side in ("left", "right")]
    first = sides[1] if record["data"]["turned"] else sides[0]
    assert first.index("an answer") < first.index("first")
    assert [side.count("<li>") for side in sides] == [3, 3]


def test_pictures_need_an_address_that_a_browser_opens(tmp_path: Path) -> None:
    (record,) = exported(Kind.GRADE, tasks=[Task.grade("q", "b")])
    assert record["data"]["result"].count('src="https://pictures.example/a.png?x=1&amp;y=2"') == 2
    assert "https://pictures.example" in record["data"]["query"]
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    local = Plan((Page(Query("q"), (Result("a", Modality.IMAGE, images=(ImageRef(str(tmp_path / "a.png")),)),)),))
    with pytest.raises(InputError, match=r"a\.png'; allowed: http"):
        to_label_studio(Kind.GRADE, local, tasks=[GRADE], address=web_address)
    (record,) = to_label_studio(Kind.GRADE, local, tasks=[GRADE])
    assert 'src="data:image/png;base64,' in record["data"]["result"]
    (record,) = to_label_studio(Kind.GRADE, local, tasks=[GRADE], address=lambda ref: "/data/local-files/?d=a.png")
    assert 'src="/data/local-files/?d=a.png"' in record["data"]["result"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match="missing"):
        to_label_studio(Kind.GRADE, local, tasks=[GRADE])


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


PAYLOADS = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "</p><iframe src=javascript:alert(1)>",
    "<svg/onload=1>",
    "&lt;script&gt;",
    "<!--",
    "<![CDATA[x]]>",
    '" onmouseover="alert(1)',
    "\x00<b>\x1b",
    "a\nb\r\nc",
    "{{7*7}} ${7*7}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_words_of_results_stay_words(payload: str) -> None:
    evil = Page(Query("q", payload), (Result("a", Modality.TEXT, payload), Result("c", Modality.TEXT, payload)))
    plan = Plan((evil,), page_orders={"q": {n: Ranking("q", ("a", "c")) for n in ("new", "old")}})
    for kind, task in ((Kind.GRADE, GRADE), (Kind.PREFERENCE, PAIR), (Kind.PAGES, BOTH)):
        (record,) = to_label_studio(kind, plan, tasks=[task])
        for name, text in record["data"].items():
            if name in ("task", "turned"):
                continue
            found = _Tags()
            found.feed(text)
            assert set(found.tags) <= {"p", "br", "ol", "li"}
            said = payload.replace("\r\n", "\n").replace("\n", "").replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
            assert said in "".join(found.words)


def test_an_address_cannot_leave_its_attribute() -> None:
    page = Page(
        Query("q", "x"), (Result("a", Modality.IMAGE, images=(ImageRef('https://x/"><script>alert(1)</script>'),)),)
    )
    (record,) = to_label_studio(Kind.GRADE, Plan((page,)), tasks=[GRADE])
    found = _Tags()
    found.feed(record["data"]["result"])
    assert found.tags == ["p", "img"]


# ------------------------------------------------------------------ what people said there


def test_answers_given_in_label_studio_are_read() -> None:
    (event,) = read(native(chosen("3")), people={"carol": 3})
    assert event == Answered("carol", AT, GRADE, grade=3, seconds=4.25, source="import")
    assert read(native(chosen("3")))[0].who == "label-studio:3"
    (event,) = read(native(chosen("0"), completed_by={"id": 3, "email": "c@example.org", "first_name": "C"}))
    assert (event.who, event.grade) == ("c@example.org", 0)
    assert (
        read(native(chosen("0"), completed_by={"id": 3, "email": "c@example.org"}), people={"c": "c@example.org"})[
            0
        ].who
        == "c"
    )


def test_stars_begin_at_one() -> None:
    (event,) = read(native({"from_name": "grade", "type": "rating", "value": {"rating": 4}}))
    assert event.grade == 3


def test_skips_given_in_label_studio_are_read() -> None:
    (event,) = read(native(chosen("broken", name="skip"), was_cancelled=True, lead_time=1.5))
    assert event == Skipped("label-studio:3", AT, GRADE, SkipReason.BROKEN, seconds=1.5)
    (event,) = read(native({"from_name": "comment", "type": "textarea", "value": {"text": ["?"]}}, was_cancelled=True))
    assert event.reason is SkipReason.OTHER
    assert isinstance(read(native(chosen("2"), was_cancelled=True))[0], Skipped)  # an answer that was not given


def test_a_changed_answer_counts_as_it_is_now() -> None:
    before = Answered("ann", AT, GRADE, grade=2, seconds=3.0, guideline=2)
    (record,) = exported(Kind.GRADE, before)
    record["annotations"][0]["result"][0]["value"]["choices"] = ["0"]
    assert read([record]) == [Answered("ann", AT, GRADE, grade=0, seconds=3.0, guideline=2)]
    record["annotations"][0]["was_cancelled"] = True
    assert read([record]) == [Skipped("ann", AT, GRADE, SkipReason.OTHER, seconds=3.0)]
    (record,) = exported(Kind.GRADE, Skipped("ann", AT, GRADE, SkipReason.LANGUAGE, "note", 2.0))
    assert read([record]) == [Skipped("ann", AT, GRADE, SkipReason.LANGUAGE, "note", 2.0)]
    record["annotations"][0] |= {"was_cancelled": False}
    record["annotations"][0]["result"][0] |= {"from_name": "grade", "value": {"choices": ["1"]}}
    assert read([record]) == [Answered("ann", AT, GRADE, grade=1, seconds=2.0)]


def test_what_was_exported_comes_first_then_what_is_new_by_time() -> None:
    other = Task.grade("q", "c")
    events = [Answered("ann", AT, other, grade=1), GoldSet("boss", AT, GRADE, grade=3)]
    records = exported(Kind.GRADE, *events)
    late, early = (native(chosen("2"), created_at=f"2026-11-2{day}T00:00:00Z")[0]["annotations"][0] for day in (5, 4))
    early["completed_by"] = 9
    records[0]["annotations"] = [late, early, *records[0]["annotations"]]
    found = read(records)
    assert found[:2] == events
    assert [event.who for event in found[2:]] == ["label-studio:9", "label-studio:3"]


def test_predictions_made_elsewhere_are_a_model_s() -> None:
    (record,) = native(chosen("2"))
    record["annotations"] = []
    record["predictions"] = [{"model_version": "v1", "score": 0.4, "created_at": AT, "result": [chosen("1")]}]
    assert read([record]) == [Answered("model:v1", AT, GRADE, grade=1, source="model")]


@settings(max_examples=40)
@given(st.data())
def test_what_stands_comes_back(data: st.DataObject) -> None:
    who = st.sampled_from(["ann", "bob", "é<&>", "model:m"])
    words = st.sampled_from(["", "what is this?", "<b>\n\u2028\u00e9", "\"'"])
    events: dict[tuple[str, str], Event] = {}
    for _ in range(data.draw(st.integers(0, 8))):
        name, result = data.draw(who), data.draw(st.sampled_from("abc"))
        seconds = data.draw(st.floats(0, 1e6))
        task = Task.grade("q", result)
        source = "model" if name.startswith("model:") else data.draw(st.sampled_from(["person", "import"]))
        events[name, result] = data.draw(
            st.one_of(
                st.builds(
                    Answered,
                    st.just(name),
                    st.just(AT),
                    st.just(task),
                    grade=st.integers(0, 9),
                    seconds=st.just(seconds),
                    purpose=st.sampled_from(Purpose),
                    guideline=st.integers(1, 3),
                    source=st.just(source),
                ),
                st.builds(Skipped, st.just(name), st.just(AT), st.just(task), st.sampled_from(SkipReason), words),
            )
        )
    assert read(exported(Kind.GRADE, *events.values())) == list(events.values())


# ------------------------------------------------------------------ what is refused


AT_0 = "[0].annotations[0].result"


def stars(rating: object) -> dict[str, Any]:
    return {"from_name": "grade", "type": "rating", "value": {"rating": rating}}


def with_predictions(*predictions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**native(chosen("3"))[0], "predictions": list(predictions)}]


@pytest.mark.parametrize(
    ("records", "field"),
    [
        (native(chosen("3"))[0], "file"),
        ([3], "[0]"),
        ([{}], "[0].data"),
        ([{"data": {}}], "[0].data.task"),
        ([{"data": {"task": 3}}], "[0].data.task"),
        ([{"data": {"task": '["grade","q"]'}}], "[0].data.task"),
        ([*native(chosen("3")), {"data": {"task": "x"}}], "[1].data.task"),
        (native(chosen("3", "2")), f"{AT_0}[0].value"),
        (native(chosen()), f"{AT_0}[0].value"),
        (native({"from_name": "grade", "type": "choices", "value": {}}), f"{AT_0}[0].value"),
        (native({"from_name": "grade", "type": "textarea", "value": {"text": ["3"]}}), f"{AT_0}[0].value"),
        (native(chosen("good")), f"{AT_0}[0].value.choices"),
        (native(chosen("-1")), f"{AT_0}[0].value.choices"),
        (native(chosen("²")), f"{AT_0}[0].value.choices"),
        (native(chosen("bored", name="skip")), f"{AT_0}[0].value.choices"),
        (native(stars(0)), f"{AT_0}[0].value.rating"),
        (native(stars(2.5)), f"{AT_0}[0].value.rating"),
        (native(chosen("3"), result=[]), AT_0),
        (native(chosen("3"), result=[chosen("3"), chosen("broken", name="skip")]), AT_0),
        (native(chosen("3"), result="[]"), AT_0),
        (native(chosen("3"), completed_by=None), "[0].annotations[0].completed_by"),
        (native(chosen("3"), completed_by={}), "[0].annotations[0].completed_by"),
        (native(chosen("3"), created_at="yesterday"), "[0].annotations[0].created_at"),
        (native(chosen("3"), lead_time=-1), "[0].annotations[0].lead_time"),
        (native({**chosen("3"), "meta": {"wholepage": 3}}), f"{AT_0}[0].meta.wholepage"),
        (
            native({**chosen("3"), "meta": {"wholepage": {"seq": 2, "event": "answered", "who": 3, "at": AT}}}),
            f"{AT_0}[0].meta.wholepage",
        ),
        (
            native({**chosen("3"), "meta": {"wholepage": {"seq": 2, "event": "closed", "who": "a", "at": AT}}}),
            f"{AT_0}[0].meta.wholepage",
        ),
        ([{**native(chosen("3"))[0], "annotations": [{}]}], AT_0),
        (with_predictions({"result": [chosen("1")], "created_at": AT}), "[0].predictions[0].model_version"),
        (with_predictions({"model_version": "m"}), "[0].predictions[0].result"),
    ],
)
def test_what_is_no_answer_is_refused_with_its_place(records: Any, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(records, path="ls.json")
    assert caught.value.path == "ls.json"
    assert caught.value.field == field


def test_the_same_person_answers_once() -> None:
    twice = native(chosen("3"))
    twice[0]["annotations"] *= 2
    with pytest.raises(RecordError, match=r"annotations\[1\].*a second one by 'label-studio:3'"):
        read(twice)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda raw: raw[:-3], 3),
        (lambda raw: raw.replace(b'"annotations"', b'"annotations', 2), 2),
        (lambda raw: raw.replace(b'"id":2', b'"id":NaN'), 2),
        (lambda raw: raw.replace(b'"was_cancelled":false', b'"was_cancelled":"no"').replace(b'"no"', b"false", 1), 3),
        (lambda raw: raw + b"x", 3),
        (lambda raw: b"\xff" + raw, 0),
        (lambda raw: b"", 1),
        (lambda raw: b'{"tasks": []}', 1),
        (lambda raw: raw.replace(b",\n{", b"\n{"), 2),
        (lambda raw: raw.replace(b"}\n]", b"},\n]"), 4),
        (lambda raw: b"[" + b"[" * 200_000, 1),
    ],
)
def test_a_damaged_file_is_refused_at_its_line(damage: Any, line: int) -> None:
    events = [Answered("ann", AT, Task.grade("q", r), grade=1) for r in "ab"]
    raw = damage(label_studio_json(to_label_studio(Kind.GRADE, PLAN, linked([OPENED, *events]))))
    with pytest.raises(RecordError) as caught:
        from_label_studio(raw, "ls.json")
    assert caught.value.line == line


def test_files_of_any_layout_are_read() -> None:
    records = exported(
        Kind.GRADE, Answered("ann", AT, GRADE, grade=1), Answered("ann", AT, Task.grade("q", "c"), grade=2)
    )
    raw = label_studio_json(records)
    assert len(raw.splitlines()) == 4  # one task a line
    events = from_label_studio(raw)
    assert len(events) == 2
    for layout in (
        json.dumps(records, indent=4),
        json.dumps(records),
        "\ufeff" + json.dumps(records, ensure_ascii=False),
    ):
        assert from_label_studio(layout.encode()) == events
    assert from_label_studio(b" [ ] \n") == []


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (PAIR, "tasks of the kind 'grade'"),
        (Task.grade("zz", "a"), "1 queries of the plan"),
        (Task.grade("q", "zz"), "'zz'"),
    ],
)
def test_tasks_that_are_not_there_are_refused(task: Task, words: str) -> None:
    with pytest.raises(InputError, match=words):
        to_label_studio(Kind.GRADE, PLAN, tasks=[task])


def test_orders_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="'older'"):
        to_label_studio(Kind.PAGES, PLAN, tasks=[Task.pair(Kind.PAGES, "q", "new", "older")])
