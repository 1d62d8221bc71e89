"""Grades given in place: into the campaign's log, under its rules, by people who are signed in."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from tests.apps.desk.conftest import Seen

from wholepage.annotation.events import Answered, Closed, Paused, Purpose, Skipped, SkipReason, Task, Undone
from wholepage.annotation.live import LiveCampaign
from wholepage.apps.serp.judging import JudgeInto
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Query, Result

from .world import World, pages


def grading(seen: Seen, result: int) -> dict[str, str]:
    """The form that grades a result."""
    return next(f for f in seen.forms if f.action == "/serp/judge" and f["result"] == str(result))


def pressed(seen: Seen) -> list[tuple[str, str]]:
    """Grades that are shown as given."""
    return [
        (a["name"], a["value"]) for t, a in seen.elements if t == "button" and a.get("aria-pressed") == "true"
    ]  # fmt: skip


def test_a_grade_is_one_event_and_survives_a_restart(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0&order=calibrated&beside=backwards"), 3)
    world.clock.pass_by(5)
    answer = ann.send(form, grade="2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?page=0&order=calibrated&beside=backwards#r3"
    (event,) = world.said()
    assert isinstance(event, Answered)
    assert (event.who, event.task, event.grade) == ("p-ann", Task.grade("q1", "v1"), 2)
    assert (event.source, event.purpose, event.guideline) == ("person", Purpose.WORK, 1)
    assert event.seconds > 0
    world.store.close()
    again = World(world.folder)
    assert pressed(again.looker("ann").see("/?page=0&order=received")) == [("grade", "2")]
    assert again.store.verify("shoes") == 2
    again.store.close()


def test_the_same_grade_twice_is_one_event(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    assert ann.send(form, grade="3", json=True).json() == {"ok": True, "next": "/?page=0#r0"}
    assert ann.send(form, grade="3").status_code == 303
    assert len(world.said()) == 1


def test_another_grade_takes_the_first_one_back(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    for grade in ("3", "1", ""):
        assert ann.send(form, grade=grade).status_code == 303
    assert [type(event) for event in world.said()] == [Answered, Undone, Answered, Undone]
    assert pressed(ann.see("/?page=0")) == []
    assert ann.send(form, grade="0").status_code == 303
    assert world.said()[-1].grade == 0
    live = LiveCampaign(world.store, "shoes", world.clock)
    assert {who: r.grade for who, r in live.read().replies(Task.grade("q1", "t1")).items()} == {"p-ann": 0}


def test_free_search_by_a_query_of_the_collection_is_judged_as_its_page(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?q=RED shoes"), 1)
    assert form["page"] == "0"
    assert ann.send(form, grade="1").status_code == 303
    assert world.said()[0].task == Task.grade("q1", "i1")


def test_nobody_grades_who_is_not_signed_in(world: World) -> None:
    seen = world.looker().see("/?page=0")
    assert not [f for f in seen.forms if f.action == "/serp/judge"]
    assert "to grade these results" in seen.text
    form = grading(world.looker("ann").see("/?page=0"), 0)
    nobody = world.looker()
    nobody.see("/?page=0")  # now it has the secret of a visit
    csrf = next(a["content"] for t, a in nobody.see("/").elements if t == "meta" and a.get("name") == "csrf")
    refused = nobody.post("/serp/judge", {**form, "csrf": csrf, "grade": "1"}, json=True)
    assert refused.status_code == 401
    assert refused.json()["next"].startswith("/serp/sign-in")
    assert world.said() == []


def test_forms_of_others_are_refused(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    for bad in ({**form, "csrf": ""}, {**form, "csrf": "0" * 64}, {k: v for k, v in form.items() if k != "csrf"}):
        assert ann.post("/serp/judge", {**bad, "grade": "1"}).status_code == 403
    crossing = ann.client.post("/serp/judge", data={**form, "grade": "1"}, headers={"sec-fetch-site": "cross-site"})
    assert crossing.status_code == 403
    assert world.looker("ben").post("/serp/judge", {**form, "grade": "1"}).status_code == 403
    assert world.said() == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"grade": "4"}, 422), ({"grade": "-1"}, 422), ({"grade": "x"}, 422), ({"result": "99"}, 404),
     ({"result": ""}, 404), ({"result": "9" * 20}, 404), ({"page": "7"}, 404), ({"page": ""}, 404),
     ({"page": "2", "result": "0"}, 404), ({"order": "nobody"}, 303)],
)  # fmt: skip
def test_odd_grades(world: World, changes: dict[str, str], status: int) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    assert ann.post("/serp/judge", {**form, "grade": "1", **changes}).status_code == status
    assert len(world.said()) == (status == 303)


def test_large_bodies_are_not_read(world: World) -> None:
    assert world.looker("ann").client.post("/serp/judge", content=b"x" * 600_000).status_code == 413


def test_as_many_people_as_the_campaign_wants(tmp_path: Path) -> None:
    world = World(tmp_path, overlap=1)
    ann, ben = world.looker("ann"), world.looker("ben")
    late = grading(ben.see("/?page=0"), 0)
    ann.send(grading(ann.see("/?page=0"), 0), grade="3")
    refused = ben.send(late, grade="0", json=True)
    assert (refused.status_code, refused.json()["message"]) == (
        409, "Others are grading it, or have done so in the meantime. Thank you all the same.",
    )  # fmt: skip
    seen = ben.see("/?page=0")
    assert "It has been graded." in seen.text
    assert [f["result"] for f in seen.forms if f.action == "/serp/judge"] == ["5", "4", "3", "2", "1"]
    assert "3" not in [value for _, value in pressed(seen)]  # what others said is not shown
    assert len(world.said()) == 1
    world.store.close()


def test_what_the_desk_has_given_to_somebody_is_left_to_them(world: World) -> None:
    live = LiveCampaign(world.store, "shoes", world.clock)
    task = live.next("p-ben").task
    page = ["q1", "q2"].index(task.query_id)
    result = world.pages[page].result_ids.index(task.left_id)
    ann = world.looker("ann")
    form = grading(ann.see(f"/?page={page}"), result)
    assert ann.send(form, grade="1").status_code == 409
    assert live.answer("p-ben", task, grade=1, seconds=1, guideline=1).seq == 2


def test_what_somebody_set_aside_stays_so(world: World) -> None:
    live = LiveCampaign(world.store, "shoes", world.clock)
    task = live.next("p-ann").task
    live.skip("p-ann", task, SkipReason.LANGUAGE)
    seen = world.looker("ann").see(f"/?page={['q1', 'q2'].index(task.query_id)}")
    assert "You have set it aside at the desk." in seen.text
    assert [type(event) for event in world.said()] == [Skipped]


def test_a_reviewer_has_the_last_word(world: World) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    ann.send(form, grade="3")
    LiveCampaign(world.store, "shoes", world.clock).adjudicate("p-mia", Task.grade("q1", "t1"), grade=0)
    refused = ann.send(form, grade="2", json=True)
    assert (refused.status_code, refused.json()["message"]) == (409, "A reviewer has decided it.")
    assert "Your grade: 3. A reviewer has decided it." in " ".join(ann.see("/?page=0").text.split())


@pytest.mark.parametrize("how", ["closed", "paused", "everybody"])
def test_a_campaign_that_rests_takes_nothing(world: World, how: str) -> None:
    ann = world.looker("ann")
    form = grading(ann.see("/?page=0"), 0)
    live = LiveCampaign(world.store, "shoes", world.clock)
    if how == "closed":
        live.close("p-mia")
    else:
        live.pause("p-mia", "p-ann" if how == "paused" else "")
    assert ann.send(form, grade="2").status_code == 409
    seen = ann.see("/?page=0")
    assert ("The campaign is closed." if how == "closed" else "Grading is paused.") in seen.text
    assert not [f for f in seen.forms if f.action == "/serp/judge"]
    assert type(world.said()[-1]) in (Closed, Paused)


def test_a_spent_budget_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, budget_questions=1)
    ann = world.looker("ann")
    seen = ann.see("/?page=0")
    assert ann.send(grading(seen, 0), grade="2").status_code == 303
    refused = ann.send(grading(seen, 1), grade="2", json=True)
    assert (refused.status_code, refused.json()["message"]) == (409, "The budget of the campaign is spent.")
    assert ann.send(grading(seen, 0), grade="1").status_code == 303  # one's mind may be changed all the same
    assert world.said()[-1].grade == 1
    world.store.close()


def test_gold_is_judged_as_gold(world: World) -> None:
    LiveCampaign(world.store, "shoes", world.clock).set_gold("p-mia", Task.grade("q1", "t1"), grade=3)
    ann = world.looker("ann")
    assert ann.send(grading(ann.see("/?page=0"), 0), grade="3").status_code == 303
    assert world.said()[-1].purpose is Purpose.GOLD


def test_only_what_the_campaign_asks_about(world: World) -> None:
    ann = world.looker("ann")
    for url, words in (
        ("/?q=red+hats", "Results of a free search cannot be graded"),
        ("/?page=2", "This page came without results."),
    ):
        seen = ann.see(url)
        assert words in seen.text
        assert not [f for f in seen.forms if f.action == "/serp/judge"]


def test_a_page_that_is_not_as_planned_is_not_graded(tmp_path: Path) -> None:
    """The result of an id must be the one that the campaign asks about."""
    World(tmp_path).store.close()
    changed = list(pages(tmp_path))
    results = list(changed[0].results)
    results[0] = Result("t1", Modality.TEXT, "Another text")
    changed[0] = Page(changed[0].query, tuple(results))
    changed[1] = Page(Query("q9", "strange"), changed[1].results)
    world = World(tmp_path, changed)
    ann = world.looker("ann")
    seen = ann.see("/?page=0")
    assert {f["result"] for f in seen.forms if f.action == "/serp/judge"} == {"1", "2", "3", "4", "5"}
    assert "This query is not part of the campaign." in ann.see("/?page=1").text
    form = grading(seen, 1)
    assert ann.send(form, result="0", grade="1").status_code == 422
    assert ann.send(form, page="1", grade="1").status_code == 422
    assert world.said() == []
    world.store.close()


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, overlap=2)
    people = {name: world.looker(name) for name in ("ann", "ben")}
    forms = {name: [grading(one.see("/?page=0"), i) for i in range(6)] for name, one in people.items()}

    cookies = {name: f"desk-session={one.client.cookies['desk-session']}" for name, one in people.items()}
    with world.looker().client as client:  # one event loop for all, as in a server

        def grade(name: str, one: int) -> None:
            fields = {**forms[name][one], "grade": str(one % 4)}
            assert client.post("/serp/judge", data=fields, headers={"cookie": cookies[name]}).status_code == 303

        threads = [Thread(target=grade, args=(name, i)) for name in people for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = {(event.who, event.task.left_id): event.grade for event in world.said()}
    ids = world.pages[0].result_ids
    assert found == {(f"p-{name}", ids[i]): i % 4 for name in people for i in range(6)}
    assert world.store.verify("shoes") == 13
    world.store.close()


def test_signing_in_and_out(world: World) -> None:
    one = world.looker()
    seen = one.see("/serp/sign-in?next=/%3Fpage%3D0%26order%3Dcalibrated")
    form = next(f for f in seen.forms if f.action == "/serp/sign-in")
    assert "Shoes & hats" in seen.text
    wrong = one.send(form, name="ann", password="no")
    assert (wrong.status_code, "wrong" in wrong.text) == (401, True)
    came = one.send(form, name="ann", password="ann-long-password")
    assert (came.status_code, came.headers["location"]) == (303, "/?page=0&order=calibrated")
    cookie = next(c for c in came.headers.get_list("set-cookie") if c.startswith("desk-session="))
    assert "HttpOnly; SameSite=Lax" in cookie
    seen = one.see("/?page=0&order=calibrated")
    assert "ann" in seen.text
    out = next(f for f in seen.forms if f.action == "/serp/sign-out")
    assert one.send(out).status_code == 303
    assert "ann" not in one.see("/").text
    for _ in range(9):
        last = one.send(next(f for f in one.see("/serp/sign-in").forms if f.action == "/serp/sign-in"), name="ann",
                        password="no")  # fmt: skip
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) > 0


def test_there_must_be_such_a_campaign(world: World) -> None:
    with pytest.raises(InputError):
        JudgeInto(world.store, "hats")
