"""Data and addresses that try to be more than text, against the whole result page; and its headers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.apps.desk.conftest import Seen
from tests.apps.desk.shown import NO_FORMS, PAYLOADS
from tests.apps.desk.test_hostile import ADDRESS, LOADS, html_text, skeleton

from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

from .world import Backwards, Calibrated, Failing, Looker, World, app_of, pages

EVERYTHING = " ".join(PAYLOADS.values())
Skeleton = set[tuple[str, tuple[str, ...]]]


def bad_pages(text: str, folder: Path) -> tuple[Page, ...]:
    """Pages all of whose fields are the text, as far as a field may be."""
    shoe = pages(folder)[0].results[1].images[0]
    results = (
        Result(f"t{text}", Modality.TEXT, text),
        Result(f"i{text}", Modality.IMAGE, text, (ImageRef(f"/nowhere/{text}.png"),)),
        Result(f"j{text}", Modality.IMAGE, text, (shoe,)),
        Result(f"v{text}", Modality.VIDEO, text, (ImageRef(f"data:{text}"), ImageRef(f"https://evil.example/{text}"))),
        Result(f"w{text}", Modality.VIDEO, text, (shoe, shoe)),
        Result(f"a{text}", Modality.ANSWER, text),
        Result(f"l{text}", Modality.TEXT, text * 9),
    )
    return Page(Query(f"q{text}", text, image=ImageRef(f"zip:{text}!/x")), results), Page(Query(f"e{text}", text + "x"))


def walk(folder: Path, text: str) -> dict[str, str]:
    """Everything that people can come to see, with the text in every place that takes one."""
    folder.mkdir(exist_ok=True)
    name, given = text.strip() or "x", bad_pages(text, folder)
    world = World(folder, given, name=text)
    rankers = {name: Backwards(), "calibrated": Calibrated(), f"{name} fails": Failing()}
    app = app_of(given, name=text, rankers=rankers, judge_into=world.judge)
    asked = quote(text[:400], safe="")
    fails = quote(f"{name} fails", safe="")
    urls = [
        "/", f"/?q={asked}", f"/?q={asked}%20more", "/?q=zebra", "/?page=0", "/?page=1", "/?page=9",
        "/?page=0&order=calibrated&beside=received", f"/?page=0&order={asked}", f"/?page={asked}",
        f"/?page=0&order={fails}", f"/?page=0&beside={asked}", f"/serp/static/{asked[:80]}",
        f"/serp/sign-in?next={asked}", f"/{asked[:200]}", f"/?q={asked * 3}",
    ]  # fmt: skip
    seen = {}
    for who in ("", "ann"):
        looker = Looker(app, world.store.open_session(f"p-{who}") if who else "")
        seen |= {f"{who} {url}": looker.get(url).text for url in urls}
    form = next(f for f in Seen(seen["ann /?page=0"]).forms if f.action == "/serp/judge")
    seen["grade"] = looker.send(form, grade=text[:200]).text
    seen["order"] = looker.send(form, grade="9", order=text[:200]).text
    nobody = Looker(app)
    signing = next(f for f in nobody.see("/serp/sign-in").forms if f.action == "/serp/sign-in")
    seen["wrong"] = nobody.send(signing, name=text[:150], password=text, next=text[:900]).text
    world.store.close()
    return seen


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    """All elements that pages of harmless data have."""
    folder = tmp_path_factory.mktemp("harmless")
    texts = {"short": "red shoes", "long": "red shoes, " * 40}
    return {e for name, text in texts.items() for html in walk(folder / name, text).values() for e in skeleton(html)}


@pytest.mark.parametrize("kind", [*PAYLOADS, "everything"])
def test_nothing_of_the_data_becomes_markup(tmp_path: Path, harmless: Skeleton, kind: str) -> None:
    text, shown = PAYLOADS.get(kind, EVERYTHING), 0
    for where, html in walk(tmp_path / "bad", text).items():
        seen = Seen(html)
        assert skeleton(html) <= harmless, (where, skeleton(html) - harmless)
        for tag, attributes in seen.elements:
            assert tag not in ("iframe", "object", "embed", "base", "style", "foreignobject"), (where, tag)
            assert not any(name.startswith("on") for name in attributes), (where, tag, attributes)
            for name in LOADS:
                if name in attributes:
                    assert ADDRESS.fullmatch(attributes[name]), (where, tag, name, attributes[name])
            if tag == "script":
                assert re.fullmatch(r"/serp/static/serp\.js\?v=[0-9a-f]+", attributes["src"])
        shown += text[:40].strip() in html_text(seen)
    assert shown >= 5, "the text is not even shown"


def test_every_answer_has_the_headers(world: World) -> None:
    ann = world.looker("ann")
    urls = ["/", "/?page=0", "/?q=red+hats", "/?page=99", "/nowhere", "/serp/suggest?q=r", "/serp/static/serp.css",
            "/serp/pictures/0/1/0", "/serp/pictures/9/9/9", "/serp/sign-in"]  # fmt: skip
    answers = [ann.get(url) for url in urls]
    answers += [ann.post("/serp/judge", {}), ann.client.post("/serp/judge", content=b"x" * 600_000), ann.post("/", {})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers
        if "static" not in str(answer.url) and "pictures/0" not in str(answer.url):
            assert answer.headers["cache-control"] == "no-store"
    policy = answers[0].headers["content-security-policy"].split("; ")
    assert {"img-src 'self'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "connect-src 'self'",
            "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)  # fmt: skip


def test_nobody_gets_a_cookie_where_nobody_grades(tmp_path: Path) -> None:
    looker = Looker(app_of(pages(tmp_path)))
    for url in ("/", "/?page=0", "/?page=99"):
        answer = looker.get(url)
        assert "set-cookie" not in answer.headers
        assert "<form" not in answer.text.replace('<form class="find', "")


@pytest.mark.parametrize(("body", "kind"), NO_FORMS)
def test_bodies_that_are_no_forms(world: World, body: bytes, kind: str) -> None:
    for path in ("/serp/judge", "/serp/sign-in", "/serp/sign-out"):
        answer = world.looker("ann").client.post(path, content=body, headers={"content-type": kind})
        assert answer.status_code == 422


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = World(tmp_path_factory.mktemp("shared"))
    yield made, made.looker("ann")
    made.store.close()


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["0", "1", "-1", "1e999", "nan", "received", "calibrated", "\x00", "9" * 400, "x" * 3000, "٣"]),
)


@settings(max_examples=60)
@given(
    path=st.sampled_from(["/", "/serp/suggest", "/serp/sign-in", "/serp/judge", "/serp/sign-in "]),
    fields=st.dictionaries(
        st.sampled_from(["q", "page", "order", "beside", "all", "from", "next", "grade", "result", "name", "password",
                         "said"]), VALUES, max_size=5),
    post=st.booleans(),
)  # fmt: skip
def test_no_request_breaks_the_page(shared: Any, path: str, fields: dict[str, str], post: bool) -> None:
    world, looker = shared
    if post:
        token = world.__dict__.setdefault(
            "token", next(a["content"] for t, a in looker.see("/").elements if a.get("name") == "csrf")
        )
        answer = looker.post(path.strip(), {**fields, "csrf": token})
    else:
        answer = looker.client.get(path.strip(), params=fields, headers={"accept": "text/html"})
    assert answer.status_code in (200, 303, 401, 403, 404, 405, 409, 422, 429), (path, fields, answer.status_code)
