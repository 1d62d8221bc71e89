"""People at the desk, from the invitation to the decision, in browsers without scripts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wholepage.annotation.events import (
    Adjudicated,
    Answered,
    Entry,
    Escalated,
    Kind,
    Postponed,
    Purpose,
    SkipReason,
    Task,
    Undone,
)
from wholepage.annotation.people import Role
from wholepage.annotation.settings import Costs
from wholepage.apps.labels_out import export_campaign
from wholepage.pages.judgments import Choice

from .conftest import Browser, Form, Seen, World

WORK = "/campaigns/shoes/work"
REVIEW = "/campaigns/shoes/review"


def events(world: World) -> list[Any]:
    """What the log holds, without the opening."""
    return [entry.event for entry in world.store.entries("shoes")][1:]


def card(browser: Browser) -> tuple[Seen, Form]:
    """The next card and its form of answers."""
    seen = browser.see(WORK)
    return seen, seen.form("/answer")


def kind_of(form: Form) -> str:
    """What the buttons of a card send: ``grade`` or ``choice``."""
    return form.buttons[0][0]


def answer(browser: Browser, value: str | None = None) -> Form:
    """Answer the next card, with its first button when no value is given."""
    _, form = card(browser)
    name, first = form.buttons[0]
    done = browser.send(form, **{name: value or first})
    assert done.status_code == 303, done.text
    assert done.headers["location"] == WORK
    return form


def until(browser: Browser, wanted: Callable[[Seen, Form], bool]) -> tuple[Seen, Form]:
    """The first card that is wanted, those before it answered."""
    for _ in range(10):
        seen, form = card(browser)
        if wanted(seen, form):
            return seen, form
        answer(browser)
    raise AssertionError("no such card")


def test_invitation_to_work(world: World) -> None:
    ada = world.browser("ada")
    made = ada.post("/people/invite", {"role": "annotator", "csrf": ada.csrf()})
    link = made.text.split("http://desk.test")[1].split('"')[0].split("<")[0]
    new = world.browser()
    form = new.see(link).form(link)
    assert new.send(form, name="Eve", password="short", again="short").status_code == 422
    differs = new.send(form, name="Eve", password="a long password", again="another password")
    assert differs.status_code == 422
    assert "the same twice" in differs.text
    came = new.send(form, name="  Eve  ", password="a long password", again="a long password")
    assert came.status_code == 303
    assert "Eve" in new.see("/").text
    assert new.get(WORK).status_code == 200
    again = world.browser()
    used = again.send(again.see(link).form(link), name="Bob", password="a long password", again="a long password")
    assert used.status_code == 401
    person = next(person for person in world.store.people() if person.name == "Eve")
    assert person.role is Role.ANNOTATOR


def test_sign_in_and_out(world: World) -> None:
    browser = world.browser()
    landed = browser.get("/campaigns/shoes/work?x=1")
    assert landed.headers["location"] == "/sign-in?next=%2Fcampaigns%2Fshoes%2Fwork%3Fx%3D1"
    form = browser.see(landed.headers["location"]).form("/sign-in")
    wrong = browser.send(form, name="ann", password="not it")
    assert wrong.status_code == 401
    assert Seen(wrong.text).form("/sign-in")["name"] == "ann"
    came = browser.send(form, name="ANN", password="ann-long-password")
    assert (came.status_code, came.headers["location"]) == (303, "/campaigns/shoes/work?x=1")
    cookies = came.headers.get_list("set-cookie")
    assert all("HttpOnly" in c and "SameSite=Lax" in c and "Path=/" in c for c in cookies)
    out = browser.send(browser.see("/").form("/sign-out"))
    assert (out.status_code, out.headers["location"]) == (303, "/sign-in?said=left")
    assert browser.get("/").status_code == 303


def test_sign_in_is_throttled(world: World) -> None:
    browser = world.browser()
    form = browser.see("/sign-in").form("/sign-in")
    found = [browser.send(form, name="ann", password=f"guess {i}").status_code for i in range(8)]
    assert found[:5] == [401] * 5
    assert found[-1] == 429
    assert int(browser.send(form, name="ann", password="ann-long-password").headers["retry-after"]) > 0
    world.clock.pass_by(3600)
    assert browser.send(form, name="ann", password="ann-long-password").status_code == 303


@pytest.mark.parametrize(
    "there", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "evil", "/\tx", "", "/" * 2000]
)
def test_sign_in_leads_nowhere_else(world: World, there: str) -> None:
    browser = world.browser()
    form = browser.see("/sign-in").form("/sign-in")
    came = browser.send(form, name="ann", password="ann-long-password", next=there)
    assert came.headers["location"] == "/"


def test_a_whole_campaign_by_two_people(worlds: Callable[..., World]) -> None:
    world = worlds(overlap=2, escalate_spread=2)
    for name, grade in (("ann", "3"), ("ben", "0")):
        browser = world.browser(name)
        for _ in range(20):
            seen = browser.see(WORK)
            if not any(form.action.endswith("/answer") for form in seen.forms):
                break
            form = seen.form("/answer")
            world.clock.pass_by(4)
            value = grade if kind_of(form) == "grade" else "same"
            assert browser.send(form, **{kind_of(form): value, "active_ms": "2500"}).status_code == 303
        assert "Nothing to do" in seen.text
    said = [event for event in events(world) if isinstance(event, Answered)]
    assert len(said) == len(events(world)) == 2 * 5
    assert {event.seconds for event in said} == {2.5}
    assert {event.task.kind for event in said} == set(Kind)
    rex = world.browser("rex")
    assert len([e for e in rex.see(REVIEW).elements if e[0] == "a" and "/review/task?" in e[1].get("href", "")]) >= 3
    decided = 0
    while links := [e[1]["href"] for e in rex.see(REVIEW).elements if "/review/task?" in e[1].get("href", "")]:
        seen = rex.see(links[0])
        assert "grade 3" in seen.text
        assert "grade 0" in seen.text
        assert "ann" not in seen.text.replace("annotator", "").split()
        done = rex.send(seen.form("/decide"), grade="2", note="as the guideline says")
        assert (done.status_code, done.headers["location"]) == (303, f"{REVIEW}?said=decided")
        decided += 1
    assert decided == 3
    assert sum(isinstance(event, Adjudicated) for event in events(world)) == 3
    assert world.store.verify("shoes") == 1 + 10 + 3
    state = world.app.state.desk.live("shoes").read()
    assert state.progress().finished
    assert state.labels().judgments.by_result("q1") == {"t1": 2.0, "i1": 2.0}


def test_the_screens_side_becomes_the_tasks_side(worlds: Callable[..., World]) -> None:
    """Whoever sees a result on the left and says left has chosen that result, however the task names it."""
    firsts = set()
    world = worlds(overlap=9)
    for name in ("ann", "ben", "rex", "mia", "ada"):
        browser = world.browser(name)
        form = until_task(world, browser, name, PAIR)
        shown = world.app.state.desk.live("shoes").read().assignment(f"p-{name}", PAIR)
        firsts.add(shown.left_first)
        assert browser.send(form, choice="left").status_code == 303
        said = state_reply(world, PAIR, f"p-{name}")
        assert said.choice is (Choice.LEFT if shown.left_first else Choice.RIGHT)
        assert browser.send(browser.see(WORK).form("/undo")).status_code == 303  # or it would go to a reviewer
    assert firsts == {True, False}, "draw other names: all five were shown the same side first"


def _leases(world: World) -> list[Any]:
    with world.store.transaction("shoes") as transaction:
        return transaction.leases()


def state_reply(world: World, task: Task, who: str) -> Answered:
    """What somebody answered."""
    return world.app.state.desk.live("shoes").read().replies(task)[who]


PAIR = Task.pair(Kind.PREFERENCE, "q1", "t1", "i1")
PAGES = Task.pair(Kind.PAGES, "q1", "bm25", "smar")
TEXT = {"t1": "A text about red shoes", "i1": "A red shoe", "v1": "A film", "a1": "Red shoes are"}


def until_task(world: World, browser: Browser, name: str, task: Task) -> Form:
    """The card of a task before somebody."""
    _, form = until(browser, lambda seen, form: any(x.task == task and x.who == f"p-{name}" for x in _leases(world)))
    return form


def test_pairs_show_the_sides_that_are_asked(world: World) -> None:
    ann = world.browser("ann")
    until_task(world, ann, "ann", PAIR)
    shown = world.app.state.desk.live("shoes").read().assignment("p-ann", PAIR)
    ids = ["i1", "t1"][:: 1 if shown.left_first else -1]
    html = ann.get(WORK).text
    left, right = html.index('aria-label="Left"'), html.index('aria-label="Right"')
    assert left < right < html.index("</article>", right)
    assert TEXT[ids[0]] in html[left:right]
    assert TEXT[ids[1]] not in html[left:right]
    assert TEXT[ids[1]] in html[right : html.index("</article>", right)]


def test_orders_are_shown_without_names(world: World) -> None:
    ann = world.browser("ann")
    form = until_task(world, ann, "ann", PAGES)
    html = ann.get(WORK).text
    shown = world.app.state.desk.live("shoes").read().assignment("p-ann", PAGES)
    for label, name in zip(
        ("Page A", "Page B"), ("bm25", "smar") if shown.left_first else ("smar", "bm25"), strict=True
    ):
        start = html.index(f'aria-label="{label}"')
        column = html[start : html.index("</section>", start)]
        order = sorted(TEXT, key=lambda result_id: column.index(TEXT[result_id]))
        assert tuple(order) == world.plan.page_orders["q1"][name].result_ids
    told = [html]
    world.app.state.desk.live("shoes").pause("p-mia", "p-ann")
    told += [ann.send(form, choice=choice, json=True).text for choice in ("right", "up", "")]
    world.app.state.desk.live("shoes").resume("p-mia", "p-ann")
    told += [ann.send(form, choice="right", json=True).text for _ in range(2)]  # not kept for them any more
    told += [ann.send(form, choice="right", grade="9").text, ann.get(WORK).text]
    form = ann.see(WORK).form("/answer")
    assert ann.send(form, choice="right").status_code == 303
    told += [ann.send(form, choice="left").text, ann.get(WORK).text, ann.get("/").text]
    told += [ann.send(ann.see(WORK).form("/undo"), json=True, seq="99").text]
    for text in told:
        assert "bm25" not in text
        assert "smar" not in text
    said = state_reply(world, PAGES, "p-ann")
    assert said.choice is (Choice.RIGHT if shown.left_first else Choice.LEFT)


def test_skip_later_escalate_undo(world: World) -> None:
    ann = world.browser("ann")
    seen = ann.see(WORK)
    first = _leases(world)[0].task
    assert ann.send(seen.form("/skip"), reason="unclear-query", note="what shoes?").status_code == 303
    seen = ann.see(f"{WORK}?said=skipped")
    assert "Skipped." in seen.text
    second = next(lease.task for lease in _leases(world) if lease.who == "p-ann")
    assert second != first
    assert ann.send(seen.form("/later")).status_code == 303
    seen = ann.see(WORK)
    third = next(lease.task for lease in _leases(world) if lease.who == "p-ann")
    assert third not in (first, second)
    assert ann.send(seen.form("/escalate"), note="both are right").status_code == 303
    skipped, postponed, escalated = events(world)
    assert (skipped.task, skipped.reason, skipped.note) == (first, SkipReason.UNCLEAR_QUERY, "what shoes?")
    assert isinstance(postponed, Postponed)
    assert isinstance(escalated, Escalated)
    assert (escalated.task, escalated.note) == (third, "both are right")
    rex = world.browser("rex")
    link = next(e[1]["href"] for e in rex.see(REVIEW).elements if "/review/task?" in e[1].get("href", ""))
    assert "both are right" in rex.see(link).text
    form = ann.see(WORK).form("/undo")
    world.clock.pass_by(1)
    done = ann.send(form)
    assert (done.status_code, done.headers["location"]) == (303, f"{WORK}?said=undone")
    undone = events(world)[-1]
    assert isinstance(undone, Undone)
    assert undone.seq == 3
    ann.see(WORK)
    assert [lease.task for lease in _leases(world) if lease.who == "p-ann"][-1] == second


def test_undo_brings_the_card_back_and_only_ones_own(world: World) -> None:
    ann, ben = world.browser("ann"), world.browser("ben")
    first = answer(ann, "3")
    answer(ben, "1")
    seen = ann.see(WORK)
    assert "Undo" in seen.text
    done = ann.send(seen.form("/undo"), json=True)
    assert done.json() == {"ok": True, "seq": 4, "next": WORK, "notice": "Taken back."}
    assert events(world)[-1].seq == 2
    _, again = card(ann)
    assert again["ticket"].split(".")[0] == first["ticket"].split(".")[0]
    assert ann.send(again, grade="2").status_code == 303
    said = events(world)[-1]
    assert (said.who, said.grade, said.task) == ("p-ann", 2, events(world)[0].task)
    nothing = world.browser("rex")
    nothing.see(WORK)
    refused = nothing.post(f"{WORK[:-5]}/undo", {"csrf": nothing.csrf()}, json=True)
    assert refused.status_code == 409
    assert refused.json()["next"] == WORK


def test_undo_sent_twice_takes_back_once(world: World) -> None:
    ann = world.browser("ann")
    answer(ann, "3")
    answer(ann, "2")
    form = {"csrf": ann.csrf(), "seq": "3"}
    assert [ann.post("/campaigns/shoes/undo", form).status_code for _ in range(2)] == [303, 303]
    assert [event.seq for event in events(world) if isinstance(event, Undone)] == [3]


def test_the_same_answer_twice_is_one_and_another_is_none(world: World) -> None:
    ann = world.browser("ann")
    _, form = card(ann)
    found = [ann.send(form, json=True, grade="3").json() for _ in range(3)]
    assert found == [{"ok": True, "seq": 2, "next": WORK, "notice": ""}] * 3
    answer(ann)
    assert ann.send(form, json=True, grade="3").json()["seq"] == 2
    other = ann.send(form, json=True, grade="1")
    assert other.status_code == 409
    assert other.json()["next"] == WORK
    assert "Undo" in other.json()["message"]
    page = ann.send(form, grade="1")
    assert page.status_code == 409
    assert WORK in [a.get("href") for t, a in Seen(page.text).elements if t == "a"]
    assert len(events(world)) == 2


@pytest.mark.parametrize("what", ["skip", "later", "escalate"])
def test_setting_aside_twice_is_once(world: World, what: str) -> None:
    ann = world.browser("ann")
    form = ann.see(WORK).form(f"/{what}")
    for _ in range(2):
        assert ann.send(form, reason="other", note="n").status_code == 303
    answer(ann)
    again = ann.send(form, reason="other", note="n")
    assert again.status_code == 303
    assert len(events(world)) == 2


def test_an_answer_after_its_time(world: World) -> None:
    """Counts while nobody else needs the place, and is refused with a friendly page when somebody has it."""
    ann, ben = world.browser("ann"), world.browser("ben")
    _, form = card(ann)
    world.clock.pass_by(901)
    assert ann.send(form, grade="3").status_code == 303
    _, form = card(ann)
    world.clock.pass_by(901)
    mine = next(lease.task for lease in _leases(world) if lease.who == "p-ann")
    for _ in range(10):
        card(ben)
        if any(lease.who == "p-ben" and lease.task == mine for lease in _leases(world)):
            break
        answer(ben)
    late = ann.send(form, **{kind_of(form): form.buttons[0][1]})
    assert late.status_code == 409
    assert "next card" in Seen(late.text).text
    answer(ben)
    after = ann.send(form, json=True, **{kind_of(form): form.buttons[0][1]})
    assert after.status_code == 409
    assert "Others have answered" in after.json()["message"]
    assert "grade" not in after.json()["message"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda live: live.close("p-mia"), "The campaign is over"),
        (lambda live: live.pause("p-mia"), "The campaign is paused"),
        (lambda live: live.pause("p-mia", "p-ann", "talk to me"), "You are paused"),
        (lambda live: live.change_budget("p-mia", questions=0), "The budget is spent"),
    ],
)
def test_cards_when_work_stops(world: World, change: Callable[[Any], Entry], reason: str) -> None:
    ann = world.browser("ann")
    _, form = card(ann)
    change(world.app.state.desk.live("shoes"))
    stopped = ann.send(form, grade="3")
    assert stopped.status_code == 409
    assert reason in ann.see(WORK).text


def test_seconds_are_the_smaller_plausible(world: World) -> None:
    ann = world.browser("ann")
    for active, expected in (("2000", 2.0), ("99000", 10.0), ("", 10.0), ("-5", 10.0), ("nan", 10.0), ("x", 10.0)):
        seen = ann.see(WORK)
        if not any(form.action.endswith("/answer") for form in seen.forms):
            break
        world.clock.pass_by(6)
        form = ann.see(WORK).form("/answer")  # loading the page again stops no clock
        world.clock.pass_by(4)
        assert ann.send(form, active_ms=active, **dict([form.buttons[0]])).status_code == 303
        assert events(world)[-1].seconds == expected, active


@pytest.mark.parametrize(
    "bad", ["", "x", "1.2.3", "0.1.5." + "0" * 64, "9.1.5." + "0" * 64, "0.1.99999999999999999.a", "é.1.1.1"]
)
def test_made_up_tickets(world: World, bad: str) -> None:
    ann = world.browser("ann")
    ann.see(WORK)
    answered = ann.post("/campaigns/shoes/answer", {"csrf": ann.csrf(), "ticket": bad, "grade": "3"})
    assert answered.status_code in (409, 422)
    assert not events(world)


def test_tickets_are_for_one_session_person_and_campaign(world: World) -> None:
    world.open_campaign("hats", world.plan)
    ann, ben = world.browser("ann"), world.browser("ben")
    _, form = card(ann)
    ben.see(WORK)
    ann.see("/campaigns/hats/work")
    for browser, campaign in ((ben, "shoes"), (world.browser("ann"), "shoes"), (ann, "hats")):
        refused = browser.post(
            f"/campaigns/{campaign}/answer", {"csrf": browser.csrf(), "ticket": form["ticket"], "grade": "3"}
        )
        assert refused.status_code == 409
    assert ann.send(form, grade="3").status_code == 303


@pytest.mark.parametrize(
    "fields", [{}, {"grade": "4"}, {"grade": "-1"}, {"grade": "3.0"}, {"grade": "x"}, {"choice": "left"}]
)
def test_answers_that_are_none(world: World, fields: dict[str, str]) -> None:
    ann = world.browser("ann")
    _, form = card(ann)
    assert ann.send(form, **fields).status_code in (409, 422)
    assert not events(world)
    assert ann.send(form, grade="3").status_code == 303


def test_gold_is_found_by_the_desk_and_told_to_nobody(worlds: Callable[..., World]) -> None:
    world = worlds(gold_share=0.9, overlap=5)
    live = world.app.state.desk.live("shoes")
    gold = Task.grade("q1", "v1")
    live.set_gold("p-mia", gold, grade=1)
    ann = world.browser("ann")
    form = until_task(world, ann, "ann", gold)
    pages = [ann.get(WORK).text, ann.send(form, json=True, grade="3").text, ann.get(WORK).text, ann.get("/").text]
    assert state_reply(world, gold, "p-ann").purpose is Purpose.GOLD
    assert not any("gold" in page.lower() for page in pages)
    assert not any('"purpose"' in page for page in pages)


def test_managers_change_what_they_may(world: World) -> None:
    mia = world.browser("mia")
    seen = mia.see("/campaigns/shoes/manage")
    assert mia.send(seen.form("/guideline"), text="# New\n\nBe exact.").status_code == 303
    assert mia.send(seen.form("/guideline"), text="# New\r\n\r\nBe exact.").status_code == 303
    assert mia.send(seen.form("/guideline"), text="  ").status_code == 422
    assert mia.send(seen.form("/budget"), questions="1,000", money="12.5").status_code == 303
    assert mia.send(seen.form("/budget"), questions="many", money="").status_code == 422
    live = world.app.state.desk.live("shoes")
    state = live.read()
    assert (state.guideline, state.guideline_version) == ("# New\n\nBe exact.", 2)
    assert (state.budget_questions, state.budget_money) == (1000, 12.5)
    token = mia.csrf()
    url = "/campaigns/shoes"
    assert (
        mia.post(f"{url}/gold", {"csrf": token, "task": Task.grade("q1", "a1").key, "answer": "2"}).status_code == 303
    )
    assert (
        mia.post(f"{url}/gold", {"csrf": token, "task": Task.grade("q1", "no").key, "answer": "2"}).status_code == 404
    )
    assert mia.post(f"{url}/gold", {"csrf": token, "task": "x", "answer": "2"}).status_code == 422
    assert live.read().gold == {Task.grade("q1", "a1"): 2}
    assert "grade 2" in mia.see("/campaigns/shoes/manage").text
    assert mia.post(f"{url}/gold", {"csrf": token, "task": Task.grade("q1", "a1").key, "answer": ""}).status_code == 303
    assert live.read().gold == {}
    assert mia.post(f"{url}/pause", {"csrf": token, "person": "p-ann", "reason": "r"}).status_code == 303
    assert mia.post(f"{url}/pause", {"csrf": token, "person": "p-who"}).status_code == 404
    assert live.read().paused("p-ann") is not None
    assert mia.post(f"{url}/resume", {"csrf": token, "person": "p-ann"}).status_code == 303
    assert live.read().paused("p-ann") is None
    assert mia.post(f"{url}/close", {"csrf": token, "confirm": "no"}).status_code == 422
    assert mia.post(f"{url}/close", {"csrf": token, "confirm": "shoes"}).status_code == 303
    assert live.read().closed
    assert mia.post(f"{url}/budget", {"csrf": token, "questions": "1"}).status_code == 409


def test_gold_pages_can_be_set_and_found(world: World) -> None:
    mia = world.browser("mia")
    listed = mia.see("/campaigns/shoes/gold?search=HATS")
    assert "blue hats" in listed.text
    assert "red shoes" not in listed.text
    seen = mia.see("/campaigns/shoes/gold/0")
    forms = [form for form in seen.forms if form.action == "/campaigns/shoes/gold"]
    assert len(forms) == 4 + 1 + 1
    for form in forms:
        assert (
            mia.send(form, answer=form.buttons[0][1], page="0").headers["location"]
            == "/campaigns/shoes/gold/0?said=saved"
        )
    assert len(world.app.state.desk.live("shoes").read().gold) == 6


def test_the_board_says_what_the_campaign_says(worlds: Callable[..., World]) -> None:
    world = worlds(overlap=2, costs=Costs(hourly=36.0))
    for name, value in (("ann", "3"), ("ben", "2")):
        browser = world.browser(name)
        for _ in range(3):
            _, form = card(browser)
            world.clock.pass_by(5)
            browser.send(form, **{kind_of(form): value if kind_of(form) == "grade" else "same"})
    board = json.loads(world.browser("mia").get("/campaigns/shoes/board.json").text)
    state = world.app.state.desk.live("shoes").read()
    ledger, progress = state.ledger(), state.progress()
    assert board["answers"] == ledger.questions == 6
    assert board["seconds"] == ledger.seconds == 30.0
    assert board["money"] == pytest.approx(0.3)
    assert board["lists_total"] == progress.all.lists == 6
    assert {row["name"]: row["answers"] for row in board["annotators"]} == {"ann": 3, "ben": 3}
    assert sum(row["questions"] for row in board["by_modality"]) == 6
    assert board["saving"]["full"] == 6
    assert board["at"] == "2026-11-21T12:00:30.000Z"
    assert msgspec.json.decode(msgspec.json.encode(board)) == board


def test_downloads_are_what_the_command_exports(world: World, tmp_path: Path) -> None:
    ann = world.browser("ann")
    for _ in range(5):
        answer(ann)
    mia = world.browser("mia")
    log = mia.get("/campaigns/shoes/export/events.jsonl")
    assert log.headers["content-disposition"] == 'attachment; filename="shoes-events.jsonl"'
    lines = [msgspec.json.decode(line, type=Entry) for line in log.text.splitlines()]
    assert lines == list(world.store.entries("shoes"))
    export_campaign(world.store, "shoes", tmp_path / "out")
    packed = zipfile.ZipFile(io.BytesIO(mia.get("/campaigns/shoes/export/campaign.zip").content))
    assert {Path(name).name: packed.read(name) for name in packed.namelist()} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()
    }
    seen = mia.see("/campaigns/shoes/manage")
    urls = [a["href"] for t, a in seen.elements if t == "a" and "/export/" in a.get("href", "")]
    assert len(urls) == 11
    for url in urls:
        first, second = mia.get(url), mia.get(url)
        assert first.status_code == 200
        assert first.content == second.content
        assert len(first.content) > 1
    assert mia.get("/campaigns/shoes/export/passwords").status_code == 404


def test_people_come_back_and_go(world: World) -> None:
    ada = world.browser("ada")
    token = ada.csrf()
    made = ada.post("/people/p-ben/renew", {"csrf": token})
    link = made.text.split("http://desk.test")[1].split('"')[0].split("<")[0]
    ben = world.browser()
    back = ben.send(ben.see(link).form(link), name="Ben", password="quite a new one", again="quite a new one")
    assert back.status_code == 303
    assert world.store.person("p-ben").name == "Ben"
    assert ada.post("/people/p-ben/deactivate", {"csrf": token}).status_code == 303
    assert ben.get("/").status_code == 303
    assert ada.post("/people/p-ben/activate", {"csrf": token}).status_code == 303
    assert world.store.person("p-ben").active
    assert ada.post("/people/p-ben/role", {"csrf": token, "role": "manager"}).status_code == 303
    assert world.store.person("p-ben").role is Role.MANAGER


def test_skips_by_two_go_to_review(worlds: Callable[..., World]) -> None:
    world = worlds(overlap=3)
    task = Task.grade("q2", "i1")
    for name in ("ann", "ben"):
        browser = world.browser(name)
        until_task(world, browser, name, task)
        assert browser.send(browser.see(WORK).form("/skip"), reason="broken").status_code == 303
    assert [found.task for found in world.app.state.desk.live("shoes").read().waiting()] == [task]
    rex = world.browser("rex")
    link = next(e[1]["href"] for e in rex.see(REVIEW).elements if "/review/task?" in e[1].get("href", ""))
    assert "broken" in rex.see(link).text
