"""Data that tries to be more than text, and requests that no browser of ours would send, against the whole desk."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.annotation.events import Kind, Task
from wholepage.annotation.people import Person, Role
from wholepage.annotation.plan import Plan
from wholepage.apps.desk.access import ACCESS
from wholepage.apps.desk.app import create_app
from wholepage.apps.desk.security import MAX_BODY_BYTES
from wholepage.pages.errors import StoreError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

from .conftest import Browser, Seen, World
from .shown import NO_FORMS, PAYLOADS

EVERYTHING = " ".join(PAYLOADS.values())
ADDRESS = re.compile(r"(/(?!/)|#).*", re.DOTALL)
LOADS = (
    "href",
    "src",
    "action",
    "formaction",
    "srcset",
    "data",
    "poster",
    "background",
    "style",
    "srcdoc",
    "http-equiv",
)


def evil_plan(text: str) -> Plan:
    """Pages all of whose fields are the text, as far as a field may be."""
    results = (
        Result(f"t{text}", Modality.TEXT, text),
        Result(f"i{text}", Modality.IMAGE, text, (ImageRef(f"/nowhere/{text}.png"),)),
        Result(f"v{text}", Modality.VIDEO, text, (ImageRef(f"data:{text}"), ImageRef(f"https://evil.example/{text}"))),
        Result(f"a{text}", Modality.ANSWER, text),
    )
    page = Page(Query(f"q{text}", text, image=ImageRef(f"zip:{text}!/x")), results)
    ids = page.result_ids
    orders = {
        page.query_id: {
            f"A{text}": Ranking(page.query_id, ids, by=text), f"B{text}": Ranking(page.query_id, ids[::-1], by=text)
        }
    }  # fmt: skip
    pair = Task.pair(Kind.PREFERENCE, page.query_id, ids[0], ids[1])
    return Plan(pages=(page,), selected={page.query_id: ids[:2]}, pairs=(pair,), page_orders=orders)


def walk(world: World, text: str) -> dict[str, str]:
    """Everything that people of all roles can come to see, with the text in every field that takes one."""
    world.open_campaign("evil", evil_plan(text), guideline=f"# {text}\n\n- **0** {text}\n\n```\n{text}\n```", name=text)
    name = f"<i>{text[:60]}" if text.isprintable() else "<i>eve"
    world.people["eve"] = world.store.add_person(Person(f"p{name}"[:80].strip(), name[:80].strip(), Role.ADMIN))
    for someone in ("ann", "eve"):
        browser = world.browser(someone)
        for _ in range(2):
            browser.send(browser.see("/campaigns/evil/work").form("/escalate"), note=text)
    ann, eve = world.browser("ann"), world.browser("eve")
    pages = {}
    for step in range(3):
        pages[f"card {step}"] = ann.get("/campaigns/evil/work").text
        form = Seen(pages[f"card {step}"])
        if any(f.action.endswith("/answer") for f in form.forms):
            answers = form.form("/answer")
            pages[f"refused {step}"] = ann.send(answers, grade=text, choice=text).text
            ann.send(answers, **dict([answers.buttons[0]]))
    live = world.app.state.desk.live("evil")
    live.pause("p-ada", world.people["ann"].person_id, text)
    live.set_gold("p-ada", Task.grade(f"q{text}", f"a{text}"), grade=1)
    listed = Seen(eve.get("/campaigns/evil/review").text)
    links = [a["href"] for t, a in listed.elements if t == "a" and "/review/task" in a.get("href", "")]
    assert links
    urls = ["/", "/people", *links, *(f"/campaigns/evil/{p}" for p in (
        "work", "guideline", "review", "board", "manage", "gold", "gold/0", "gold?search=%3Cscript%3E&first=1",
    ))]  # fmt: skip
    pages |= {f"eve {url}": eve.get(url).text for url in urls}
    pages["paused"] = ann.get("/campaigns/evil/work").text
    nobody = world.browser()
    form = nobody.see("/sign-in").form("/sign-in")
    pages["wrong"] = nobody.send(form, name=text[:150], password=text, next=text).text
    pages["invite"] = nobody.post("/invite/x", {**form, "name": text[:150], "password": text, "again": "no"}).text
    pages["lost"] = nobody.client.get("/<script>alert(1)</script>", headers={"accept": "text/html"}).text
    pages["confirm"] = eve.post("/campaigns/evil/close", {"csrf": eve.csrf(), "confirm": text}).text
    pages["person"] = eve.post("/campaigns/evil/pause", {"csrf": eve.csrf(), "person": text}).text
    pages["role"] = eve.post("/people/invite", {"csrf": eve.csrf(), "role": text}).text
    return pages


def skeleton(html: str) -> set[tuple[str, tuple[str, ...]]]:
    """Which elements a page has, with the names of their attributes."""
    return {(tag, tuple(sorted(attributes))) for tag, attributes in Seen(html).elements}


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, tuple[str, ...]]]:
    """All elements that pages of harmless data have."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    for name, text in (("short", "red shoes"), ("long", "*red* **shoes** `x` " * 20)):
        folder = tmp_path_factory.mktemp(name)
        world = World(folder, folder / "desk.db")
        urls = ("/", "/people", *(f"/campaigns/shoes/{p}" for p in ("work", "board", "manage", "gold", "gold/0")))
        own = [world.browser("ada").get(url).text for url in urls]
        found = found.union(*map(skeleton, [*own, *walk(world, text).values()]))
        world.store.close()
    return found


@pytest.mark.parametrize("kind", [*PAYLOADS, "everything"])
def test_nothing_of_the_data_becomes_markup(
    world: World, harmless: set[tuple[str, tuple[str, ...]]], kind: str
) -> None:
    text = PAYLOADS.get(kind, EVERYTHING)
    shown = 0
    for where, html in walk(world, text).items():
        seen = Seen(html)
        assert skeleton(html) <= harmless, (where, skeleton(html) - harmless)
        for tag, attributes in seen.elements:
            assert tag not in ("iframe", "object", "embed", "base", "style", "foreignobject"), (where, tag)
            assert not any(name.startswith("on") for name in attributes), (where, tag, attributes)
            for name in LOADS:
                if name in attributes:
                    assert ADDRESS.fullmatch(attributes[name]), (where, tag, name, attributes[name])
            if tag == "script":
                assert re.fullmatch(r"/static/desk\.js\?v=[0-9a-f]+", attributes["src"])
        shown += text[:40] in html_text(seen)
    assert shown >= 5, "the text is not even shown"


def html_text(seen: Seen) -> str:
    """What a person can read, values of attributes included."""
    return seen.text + " ".join(value for _, attributes in seen.elements for value in attributes.values())


def test_every_answer_has_the_headers(world: World) -> None:
    ada = world.browser("ada")
    urls = ["/", "/nowhere", "/people", "/campaigns/shoes/work", "/campaigns/hats/work", "/healthz", "/static/desk.css"]
    answers = [ada.get(url) for url in [*urls, "/campaigns/shoes/board.json", "/pictures/shoes/0/1/0"]]
    answers += [world.browser().get("/"), world.browser().get("/sign-in"), ada.post("/people/invite", {})]
    answers.append(ada.client.post("/sign-in", content=b"x" * (MAX_BODY_BYTES + 1)))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        kept = answer.headers["cache-control"]
        assert kept == ("no-store" if "static" not in str(answer.url) and "pictures" not in str(answer.url) else kept)
        assert "server" not in answer.headers
    policy = answers[0].headers["content-security-policy"]
    for part in ("img-src 'self'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "connect-src 'self'",
                 "frame-ancestors 'none'", "base-uri 'none'"):  # fmt: skip
        assert part in policy.split("; ")


def test_errors_that_nobody_foresaw_tell_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = world.browser("ada")
    ada.client = type(ada.client)(
        world.app, base_url="http://desk.test", follow_redirects=False, raise_server_exceptions=False,
        cookies=ada.client.cookies,
    )  # fmt: skip

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of the program")

    monkeypatch.setattr(world.store, "campaign_ids", broken)
    answer = ada.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert ada.get("/", json=True).json()["ok"] is False


def test_a_store_that_does_not_answer_is_503_without_its_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise StoreError("store postgresql://u@db.internal/x: got: database is locked")

    ada = world.browser("ada")
    monkeypatch.setattr(world.store, "campaign_ids", busy)
    answer = ada.get("/")
    assert answer.status_code == 503
    assert "db.internal" not in answer.text


def test_large_bodies_are_not_read(world: World) -> None:
    browser = world.browser()
    answer = browser.client.post("/sign-in", content=b"name=" + b"x" * MAX_BODY_BYTES)
    assert answer.status_code == 413

    def endless() -> Any:
        for _ in range(10_000):
            yield b"x" * 10_000

    assert browser.client.post("/sign-in", content=endless()).status_code == 413


@pytest.mark.parametrize(("body", "kind"), NO_FORMS)
def test_bodies_that_are_no_forms(world: World, body: bytes, kind: str) -> None:
    ada = world.browser("ada")
    answer = ada.client.post("/people/invite", content=body, headers={"content-type": kind})
    assert answer.status_code == 422


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_do_nothing(world: World, method: str) -> None:
    ada = world.browser("ada")
    for url in ("/", "/people", "/campaigns/shoes/close", "/healthz"):
        assert ada.client.request(method, url).status_code == 405


def test_framework_serves_no_pages_of_its_own(world: World) -> None:
    ada = world.browser("ada")
    for url in (
        "/docs",
        "/redoc",
        "/openapi.json",
        "/static/",
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/people/",
    ):
        assert ada.get(url).status_code == 404, url


def test_cookies_over_https_go_nowhere_else(world: World) -> None:
    app = create_app(world.store, clock=world.clock, secure_cookies=True)
    browser = Browser(app, base_url="https://desk.test")
    form = browser.see("/sign-in").form("/sign-in")
    came = browser.send(form, name="ann", password="ann-long-password")
    cookies = came.headers.get_list("set-cookie")
    assert cookies[0].startswith("__Host-desk-session=")
    assert all("; Secure" in cookie and "; Path=/;" in cookie and "Domain" not in cookie for cookie in cookies)
    assert came.headers["strict-transport-security"]
    assert browser.get("/").status_code == 200


def test_a_session_that_somebody_else_has_set_is_not_taken_over(world: World) -> None:
    """Signing in makes a new session and ends the old one of that browser."""
    ann = world.browser("ann")
    old = ann.client.cookies["desk-session"]
    form = ann.see("/sign-in").form("/sign-in")
    came = ann.send(form, name="ben", password="ben-long-password")
    assert came.status_code == 303
    assert world.store.session(old) is None
    assert "ben" in ann.see("/").text


def test_notes_are_kept_short(world: World, tmp_path: Path) -> None:
    ann = world.browser("ann")
    form = ann.see("/campaigns/shoes/work").form("/escalate")
    assert ann.send(form, note="x" * 2001).status_code == 422
    assert ann.send(form, note="x" * 2000).status_code == 303


NAMES = (
    "name", "password", "again", "next", "ticket", "grade", "choice", "active_ms", "reason", "note", "seq", "text",
    "questions", "money", "person", "task", "answer", "page", "role", "confirm",
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["0", "-1", "1e999", "nan", "left", "admin", "p-ben", "\x00", "0.1.1." + "0" * 64, '["grade","q1","t1"]']
    ),
    st.sampled_from(['["pages","q1","a","b"]', '["grade"]', "[[]]", "9" * 400, "x" * 3000, "\ud7ff\uffff\U0010ffff"]),
)
PLACES = st.sampled_from(
    ["shoes", "0", "-1", "%00", "..", "p-ben", "%ff", "%F0%9F%92%A9", "1e9", "x" * 2000, "a%2Fb", "٣"]
)


@settings(max_examples=150)
@given(
    route=st.sampled_from(sorted(line for line in ACCESS if line[1] not in ("/sign-out", "/sign-in"))),
    fields=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    data=st.data(),
)
def test_no_request_breaks_the_desk(shared: World, route: tuple[str, str], fields: dict[str, str], data: Any) -> None:
    ada = shared.__dict__.setdefault("fuzzer", shared.browser("ada"))
    token = shared.__dict__.setdefault("token", ada.csrf())
    method, path = route
    place = data.draw(
        st.dictionaries(st.sampled_from(["campaign", "page", "result", "number", "name", "person"]), PLACES)
    )
    url = re.sub(r"{(\w+)}", lambda found: place.get(found[1], "shoes" if found[1] == "campaign" else "0"), path)
    if method == "GET":
        answer = ada.client.get(url, params=fields, headers={"accept": "text/html"})
    else:
        answer = ada.post(url, {**fields, "csrf": token}, json=data.draw(st.booleans()))
    assert answer.status_code in (200, 303, 401, 403, 404, 405, 409, 422), (url, answer.status_code)


def test_a_damaged_log_stops_its_campaign_alone(world: World) -> None:
    world.open_campaign("hats", world.plan)
    ann = world.browser("ann")
    form = ann.see("/campaigns/hats/work").form("/answer")
    ann.send(form, grade="1")
    with sqlite3.connect(world.address) as database:
        database.execute(
            "UPDATE events SET body = CAST(replace(body, '1', '2') AS BLOB) WHERE campaign = 'hats' AND seq = 2"
        )
    database.close()
    world.app = create_app(world.store, clock=world.clock)  # as after a new start
    ann, mia = world.browser("ann"), world.browser("mia")
    assert "damaged" in ann.see("/").text
    assert ann.get("/campaigns/shoes/work").status_code == 200
    for browser, url in ((ann, "/campaigns/hats/work"), (mia, "/campaigns/hats/board"), (ann, "/pictures/hats/0/1/0")):
        refused = browser.get(url)
        assert refused.status_code == 503
        assert "row 2" not in refused.text
