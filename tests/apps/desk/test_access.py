"""Every route against every role, and against nobody, a foreign token and a campaign that is not there."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from wholepage.annotation.people import Person, Role
from wholepage.apps.desk.access import ACCESS, ANYBODY, INVITABLE, NotAllowed, NotSignedIn, check_role
from wholepage.apps.desk.app import create_app

from .conftest import Browser, World

PATH = {
    "campaign": "shoes", "page": "0", "result": "1", "number": "0", "person": "p-ben", "token": "no-such-token",
}  # fmt: skip
NAME = {"/static/{name}": "desk.css", "/campaigns/{campaign}/export/{name}": "events.jsonl"}
# What a role that may gets; of what is not here 200 for GET, 303 for POST.
STATUS: dict[tuple[str, str], int] = {
    ("POST", "/sign-in"): 401,
    ("POST", "/invite/{token}"): 401,
    ("GET", "/campaigns/{campaign}/review/task"): 422,
    ("POST", "/campaigns/{campaign}/review/decide"): 422,
    ("POST", "/campaigns/{campaign}/answer"): 422,
    ("POST", "/campaigns/{campaign}/skip"): 422,
    ("POST", "/campaigns/{campaign}/later"): 422,
    ("POST", "/campaigns/{campaign}/escalate"): 422,
    ("POST", "/campaigns/{campaign}/undo"): 409,
    ("POST", "/people/invite"): 200,
    ("POST", "/people/{person}/renew"): 200,
}
FIELDS: dict[str, dict[str, Any]] = {
    "/sign-in": {"name": "ann", "password": "wrong"},
    "/invite/{token}": {"name": "eve", "password": "x" * 12, "again": "x" * 12},
    "/campaigns/{campaign}/guideline": {"text": "Be exact."},
    "/campaigns/{campaign}/budget": {"questions": "10", "money": ""},
    "/campaigns/{campaign}/pause": {"person": "p-ben", "reason": "lunch"},
    "/campaigns/{campaign}/resume": {"person": "p-ben"},
    "/campaigns/{campaign}/close": {"confirm": "shoes"},
    "/campaigns/{campaign}/gold": {"task": '["grade","q1","t1"]', "answer": "3", "page": "0"},
    "/people/invite": {"role": "annotator"},
    "/people/{person}/role": {"role": "reviewer"},
}
ROLES = {"ann": Role.ANNOTATOR, "rex": Role.REVIEWER, "mia": Role.MANAGER, "ada": Role.ADMIN}


@pytest.fixture(scope="module")
def browsers(shared: World) -> dict[str, tuple[Browser, str]]:
    """A browser of each role that is signed in, with the token of its forms."""
    found = {name: shared.browser(name) for name in ROLES}
    return {name: (browser, browser.csrf()) for name, browser in found.items()}


def url_of(path: str, **places: str) -> str:
    """A path with its places filled in."""
    return re.sub(r"{(\w+)}", lambda place: {**PATH, "name": NAME.get(path, ""), **places}[place[1]], path)


def ask(browser: Browser, method: str, path: str, token: str, **places: str) -> Any:
    """Ask for a route with fields that are right."""
    url, fields = url_of(path, **places), dict(FIELDS.get(path, {}))
    if "confirm" in fields:
        fields["confirm"] = places.get("campaign", PATH["campaign"])
    return browser.get(url) if method == "GET" else browser.post(url, {**fields, "csrf": token})


def test_every_route_has_its_line_and_every_line_its_route(shared: World) -> None:
    routes = shared.app.routes
    assert all(isinstance(route, APIRoute) for route in routes), routes
    assert sorted((method, route.path) for route in routes for method in route.methods) == sorted(ACCESS)


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_roles(shared: World, browsers: dict[str, tuple[Browser, str]], method: str, path: str) -> None:
    campaign = f"c{sorted(ACCESS).index((method, path))}"
    person = shared.store.add_person(Person(campaign, campaign, Role.ANNOTATOR)).person_id
    shared.open_campaign(campaign, shared.plan, overlap=9)
    first = True
    for name, role in ROLES.items():
        browser, token = browsers[name] if path != "/sign-out" else (shared.browser(name), browsers[name][1])
        token = browser.csrf() if path == "/sign-out" else token
        browser.get(f"/campaigns/{campaign}/work")  # so that they have a part in it
        before = shared.store.head(campaign).seq
        status = ask(browser, method, path, token, campaign=campaign, person=person).status_code
        if role not in ACCESS[method, path]:
            assert status == 403, (name, status)
            assert shared.store.head(campaign).seq == before
        elif first:
            assert status == STATUS.get((method, path), 200 if method == "GET" else 303), (name, status)
            first = False
        else:  # the campaign may be closed by now, but not to them
            assert status in (200, 303, 409, STATUS.get((method, path))), (name, status)


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_nobody(shared: World, method: str, path: str) -> None:
    browser = shared.browser()
    browser.get("/sign-in")
    answer = ask(browser, method, path, "")
    if ACCESS[method, path] != ANYBODY:
        assert answer.status_code == (303 if method == "GET" else 401)
        if method == "GET":
            assert answer.headers["location"].startswith("/sign-in?next=%2F")
        scripted = browser.client.request(method, url_of(path), headers={"accept": "application/json"})
        assert scripted.status_code == 401
        assert scripted.json()["next"].startswith("/sign-in?next=")
    elif method == "GET":
        assert answer.status_code == 200
    else:
        assert answer.status_code == 403  # its form comes from nowhere


@pytest.mark.parametrize(("method", "path"), sorted(line for line in ACCESS if line[0] != "GET"))
def test_foreign_tokens(shared: World, browsers: dict[str, tuple[Browser, str]], method: str, path: str) -> None:
    """Of somebody else, of another session of the same person, none, changed, and the session itself."""
    (ada, mine), before = browsers["ada"], shared.store.head("shoes").seq
    another = shared.browser("ada").csrf()
    for token in (
        "",
        "0" * 64,
        browsers["mia"][1],
        another,
        mine[:-1],
        mine.upper(),
        ada.client.cookies["desk-session"],
    ):
        assert ask(ada, method, path, token).status_code == 403, token
    other_site = ada.client.post(
        url_of(path), data={**FIELDS.get(path, {}), "csrf": mine}, headers={"sec-fetch-site": "cross-site"}
    )
    assert other_site.status_code == 403
    assert shared.store.head("shoes").seq == before
    assert shared.store.person("p-ben").role is Role.ANNOTATOR
    assert shared.store.person("p-ben").active


@pytest.mark.parametrize(("method", "path"), sorted(line for line in ACCESS if "{campaign}" in line[1]))
def test_no_such_campaign(browsers: dict[str, tuple[Browser, str]], method: str, path: str) -> None:
    for campaign in ("hats", "..", "shoes%2F..", "%00", "x" * 300):
        browser, token = browsers["ada"]
        assert ask(browser, method, path, token, campaign=campaign).status_code == 404, campaign
    for name, role in ROLES.items():
        browser, token = browsers[name]
        status = ask(browser, method, path, token, campaign="hats").status_code
        assert status == (404 if role in ACCESS[method, path] else 403), name


def test_a_route_without_a_line_is_closed() -> None:
    for role in Role:
        with pytest.raises(NotAllowed, match="nobody"):
            check_role("GET", "/new", role)
    with pytest.raises(NotSignedIn):
        check_role("GET", "/new", None)


def test_a_new_route_of_the_app_is_closed(world: World) -> None:
    app = create_app(world.store, clock=world.clock)
    app.add_api_route("/new", lambda: {"secret": 1}, methods=["GET"])
    browser = Browser(app, world.store.open_session("p-ada"))
    assert browser.get("/new").status_code == 403


def test_pictures_only_for_those_with_a_part(world: World) -> None:
    for url in ("/pictures/shoes/0/1/0", "/pictures/shoes/0/query"):
        ann = world.browser("ann")
        assert ann.get(url).status_code == 404
        ann.see("/campaigns/shoes/work")
        assert ann.get(url).status_code == 200
        world.app.state.desk._joined.clear()  # as after a new start: the lease is in the store
        assert ann.get(url).status_code == 200
        ben = world.browser("ben")
        assert ben.get(url).status_code == 404
        with world.store.transaction("shoes") as transaction:
            for lease in transaction.leases():
                transaction.release(lease.task, lease.who)
        world.app.state.desk._joined.clear()
        assert ann.get(url).status_code == 404


def test_managers_invite_annotators_and_reviewers_admins_everybody(world: World) -> None:
    for name in ("mia", "ada"):
        browser = world.browser(name)
        token = browser.csrf()
        for role in Role:
            status = browser.post("/people/invite", {"role": role.value, "csrf": token}).status_code
            assert status == (200 if role in INVITABLE[ROLES[name]] else 403), (name, role)
        assert browser.post("/people/invite", {"role": "king", "csrf": token}).status_code == 422


def test_access_ends_with_the_role_the_person_and_the_session(world: World) -> None:
    mia = world.browser("mia")
    assert mia.get("/people").status_code == 200
    world.store.set_role("p-mia", Role.ANNOTATOR)
    assert mia.get("/people").status_code == 403
    world.store.deactivate("p-mia")
    assert mia.get("/").status_code == 303
    ann = world.browser("ann")
    world.clock.pass_by(13 * 3600)
    assert ann.get("/").status_code == 303
    ben = world.browser("ben")
    token = ben.csrf()
    session = ben.client.cookies["desk-session"]
    assert ben.post("/sign-out", {"csrf": token}).status_code == 303
    assert Browser(world.app, session).get("/").status_code == 303


def test_nobody_changes_themselves(world: World) -> None:
    ada = world.browser("ada")
    token = ada.csrf()
    assert ada.post("/people/p-ada/role", {"role": "annotator", "csrf": token}).status_code == 422
    assert ada.post("/people/p-ada/deactivate", {"csrf": token}).status_code == 422
    assert ada.post("/people/p-nobody/deactivate", {"csrf": token}).status_code == 404
    assert world.store.person("p-ada").role is Role.ADMIN
