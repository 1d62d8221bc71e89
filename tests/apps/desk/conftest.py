"""A desk to test: a store with people of every role, a campaign of all kinds of task, and browsers without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from wholepage.annotation.events import Kind, Opened, Task
from wholepage.annotation.people import Person, Role, ScryptCost
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.apps.desk.app import create_app
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

CHEAP = ScryptCost(n=16, r=1, p=1)
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
GUIDELINE = "# Grades\n\n- **0** off\n- **3** just right"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time go by."""
        self.now += timedelta(seconds=seconds)


class Form(dict[str, str]):
    """The hidden and given fields of a form, with where it goes; ``buttons`` are those that send a value."""

    def __init__(self, action: str, method: str) -> None:
        super().__init__()
        self.action, self.method = action, method
        self.buttons: list[tuple[str, str]] = []


class Seen(HTMLParser):
    """A page as a browser without scripts has it: its forms, its elements, its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._form: Form | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get"))
            self.forms.append(self._form)
        elif self._form is not None and tag == "button" and "name" in given:
            self._form.buttons.append((given["name"], given.get("value", "")))
        elif self._form is not None and tag in ("input", "textarea", "select") and "name" in given:
            self._form[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        self.text += data

    def form(self, ending: str) -> Form:
        """The first form that goes to an address with this ending."""
        return next(form for form in self.forms if form.action.endswith(ending))


class Browser:
    """A browser without scripts: keeps cookies, fills in forms of the pages it has seen."""

    def __init__(self, app: FastAPI, token: str = "", *, base_url: str = "http://desk.test") -> None:
        self.client = TestClient(app, base_url=base_url, follow_redirects=False, raise_server_exceptions=True)
        if token:
            self.client.cookies.set("desk-session", token)

    def get(self, url: str, *, json: bool = False) -> Response:
        """Ask for a page."""
        return self.client.get(url, headers={"accept": "application/json" if json else "text/html"})

    def see(self, url: str) -> Seen:
        """A page that must be there."""
        answer = self.get(url)
        assert answer.status_code == 200, (url, answer.status_code, answer.text[:2000])
        return Seen(answer.text)

    def post(self, url: str, fields: dict[str, Any], *, json: bool = False) -> Response:
        """Send fields as they are."""
        return self.client.post(url, data=fields, headers={"accept": "application/json" if json else "text/html"})

    def send(self, form: Form, *, json: bool = False, **fields: Any) -> Response:
        """Send a form with more fields."""
        return self.post(form.action, {**form, **fields}, json=json)

    def csrf(self) -> str:
        """The token of this browser's forms."""
        return next(a["content"] for t, a in self.see("/").elements if t == "meta" and a.get("name") == "csrf")


class World:
    """A desk with everybody in it."""

    def __init__(self, folder: Path, address: str | Path, **settings: Any) -> None:
        self.clock = Clock()
        self.folder = folder
        self.address = address
        self.store = Store.open(address, clock=self.clock, cost=CHEAP)
        self.plan = plan(folder)
        self.open_campaign("shoes", self.plan, **settings)
        self.app = create_app(self.store, clock=self.clock)
        self.people: dict[str, Person] = {}
        for name, role in (
            ("ann", Role.ANNOTATOR), ("ben", Role.ANNOTATOR), ("rex", Role.REVIEWER), ("mia", Role.MANAGER),
            ("ada", Role.ADMIN),
        ):  # fmt: skip
            self.people[name] = self.store.add_person(Person(f"p-{name}", name, role), f"{name}-long-password")

    def open_campaign(self, campaign_id: str, plan: Plan, *, guideline: str = GUIDELINE, **settings: Any) -> None:
        """One more campaign."""
        chosen = Settings(**{"name": "Red shoes", "gold_share": 0.0} | settings)
        opened = Opened("p-ada", "2026-11-21T12:00:00.000Z", chosen, plan.sha256, guideline)
        self.store.create_campaign(campaign_id, plan, opened)

    def browser(self, name: str = "") -> Browser:
        """A browser of somebody who is signed in; of nobody without a name."""
        return Browser(self.app, self.store.open_session(self.people[name]) if name else "")


def picture(folder: Path, name: str, colour: str, *, noise: bool = False) -> ImageRef:
    """A picture in a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    made = Image.fromarray(pixels).resize((900, 700)) if noise else Image.new("RGB", (60, 40), colour)
    made.save(folder / name)
    return ImageRef(str(folder / name))


def plan(folder: Path) -> Plan:
    """Two pages of all modalities; grades of everything, a pair, and two orders of the first page."""
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30), "blue").save(buffer, format="PNG")
    data = ImageRef("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    first = Page(
        Query("q1", "red shoes", image=picture(folder, "asked.png", "red")),
        (
            Result("t1", Modality.TEXT, "A text about red shoes"),
            Result("i1", Modality.IMAGE, "A red shoe", (picture(folder, "shoe.jpg", "red", noise=True),)),
            Result("v1", Modality.VIDEO, "A film", (picture(folder, "f1.png", "green"), data)),
            Result("a1", Modality.ANSWER, "Red shoes are\n\nshoes that are red."),
        ),
    )
    second = Page(
        Query("q2", "blue hats"),
        (Result("t1", Modality.TEXT, "Hats"), Result("i1", Modality.IMAGE, "", (ImageRef(str(folder / "gone.png")),))),
    )
    orders = {"q1": {"bm25": Ranking("q1", ("t1", "i1", "v1", "a1")), "smar": Ranking("q1", ("a1", "i1", "t1", "v1"))}}
    pair = Task.pair(Kind.PREFERENCE, "q1", "t1", "i1")
    return Plan(pages=(first, second), selected={"q1": ("t1", "i1"), "q2": ("i1",)}, pairs=(pair,), page_orders=orders)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A desk on SQLite."""
    made = World(tmp_path, tmp_path / "desk.db")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One desk for the tests of a module that leave its campaign ``shoes`` and its people as they are."""
    folder = tmp_path_factory.mktemp("desk")
    made = World(folder, folder / "desk.db")
    yield made
    made.store.close()


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes desks whose campaign has settings of its own."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path, tmp_path / f"desk-{len(made)}.db", **settings))
        return made[-1]

    yield make
    for one in made:
        one.store.close()
