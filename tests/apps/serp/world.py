"""A small shelf with results of all kinds, rankers without a model, and a campaign that takes grades."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from tests.apps.desk.conftest import CHEAP, START, Clock, Form, Seen

from wholepage.annotation.events import Event, Opened
from wholepage.annotation.people import Person, Role
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.apps.serp.app import SerpSettings, create_serp
from wholepage.apps.serp.judging import JudgeInto
from wholepage.apps.serp.shelf import Shelf
from wholepage.pages.errors import EndpointError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import Ranker, ranking_of
from wholepage.rankers.calibration import Calibration

GUIDELINE = "# Grades\n\n- **0** off\n- **1** near\n- **2** good\n- **3** just right"


def png(colour: str, size: tuple[int, int] = (60, 40)) -> str:
    """A picture as an address that holds it."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def pages(folder: Path) -> tuple[Page, ...]:
    """Three pages: one of all kinds, one with a picture that is gone, one that is empty."""
    Image.new("RGB", (900, 700), "red").save(folder / "shoe.png")
    shoe = ImageRef(str(folder / "shoe.png"))
    first = Page(
        Query("q1", "Red shoes", image=ImageRef(png("red"))),
        (
            Result("t1", Modality.TEXT, "A text about red shoes"),
            Result("i1", Modality.IMAGE, "A red shoe", (shoe,)),
            Result("i2", Modality.IMAGE, "", (ImageRef(png("maroon")),)),
            Result("v1", Modality.VIDEO, "A film of shoes", (ImageRef(png("green")), ImageRef(png("blue")))),
            Result("a1", Modality.ANSWER, "Red shoes are\n\nshoes that are red."),
            Result("t2", Modality.TEXT, "Laces, " * 200),
        ),
    )
    second = Page(
        Query("q2", "blue hats"),
        (
            Result("t1", Modality.TEXT, "Blue hats keep their shape"),
            Result("i1", Modality.IMAGE, "", (ImageRef(str(folder / "gone.png")),)),
            Result("x", Modality.TEXT, "A text about red shoes"),
        ),
    )
    return first, second, Page(Query("q3", "nothing at all"))


class Backwards:
    """Ranks pages from their end, and notes what it was asked."""

    name = "backwards"

    def __init__(self) -> None:
        self.asked: list[Page] = []

    def rank(self, given: Sequence[Page]) -> list[Ranking]:
        self.asked += given
        return [Ranking(page.query_id, page.result_ids[::-1], by="from the end") for page in given]


class Lengths:
    """Scores a result by the length of its text; without text it has no opinion."""

    name = "lengths"

    def score(self, given: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [
            np.array([len(r.text) / 100 if r.text else np.nan for r in page.results], dtype=np.float32)
            for page in given
        ]


class Calibrated:
    """A ranker of whole pages that stands on single-modal ones and gives probabilities."""

    name = "calibrated"
    calibration = Calibration(2.0, -0.5, 2.0, 40)

    def __init__(self) -> None:
        self.single = Lengths()

    def rank(self, given: Sequence[Page]) -> list[Ranking]:
        scores = [-of for of in self.single.score(given)]
        return [ranking_of(page, of, "shortest first") for page, of in zip(given, scores, strict=True)]


class Failing:
    """Fails as long as it is told to."""

    name = "failing"

    def __init__(self, error: Exception | None = None) -> None:
        self.error: Exception | None = error or EndpointError("got no answer of http://10.0.0.7:9/secret")

    def rank(self, given: Sequence[Page]) -> list[Ranking]:
        if self.error is not None:
            raise self.error
        return [Ranking(page.query_id, page.result_ids) for page in given]


class Looker:
    """Somebody who looks at the page: a browser without scripts."""

    def __init__(self, app: Callable[..., Any], token: str = "") -> None:
        self.client = TestClient(app, base_url="http://look.test", follow_redirects=False)
        if token:
            self.client.cookies.set("desk-session", token)

    def get(self, url: str, *, json: bool = False) -> Any:
        """Ask for an address."""
        return self.client.get(url, headers={"accept": "application/json" if json else "text/html"})

    def see(self, url: str) -> Seen:
        """A page that must be there."""
        answer = self.get(url)
        assert answer.status_code == 200, (url, answer.status_code, answer.text[:2000])
        return Seen(answer.text)

    def post(self, url: str, fields: dict[str, Any], *, json: bool = False) -> Any:
        """Send fields as they are."""
        return self.client.post(url, data=fields, headers={"accept": "application/json" if json else "text/html"})

    def send(self, form: Form, *, json: bool = False, **fields: Any) -> Any:
        """Send a form with more fields."""
        return self.post(form.action, {**form, **fields}, json=json)


class World:
    """A result page over a shelf, with a campaign of its pages and people who may grade."""

    def __init__(self, folder: Path, given: Sequence[Page] | None = None, **settings: Any) -> None:
        self.folder, self.clock = folder, Clock()
        self.pages = tuple(given) if given is not None else pages(folder)
        self.store = Store.open(folder / "serp.db", clock=self.clock, cost=CHEAP)
        known = {person.name for person in self.store.people()}
        for name, role in (("ann", Role.ANNOTATOR), ("ben", Role.ANNOTATOR), ("mia", Role.MANAGER)):
            if name not in known:
                self.store.add_person(Person(f"p-{name}", name, role), f"{name}-long-password")
        if "shoes" not in self.store.campaign_ids():
            plan = Plan(pages=self.pages[:2])
            chosen = Settings(**{"name": "Shoes & hats", "gold_share": 0.0} | settings)
            at = START.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self.store.create_campaign("shoes", plan, Opened("p-mia", at, chosen, plan.sha256, GUIDELINE))
        self.judge = JudgeInto(self.store, "shoes", clock=self.clock)
        self.app = app_of(self.pages, judge_into=self.judge)

    def looker(self, name: str = "") -> Looker:
        """A browser of somebody who is signed in; of nobody without a name."""
        return Looker(self.app, self.store.open_session(f"p-{name}") if name else "")

    def said(self) -> list[Event]:
        """What people did, as the log has it."""
        return [entry.event for entry in self.store.entries("shoes")][1:]


def rankers() -> dict[str, Ranker]:
    """Rankers by name."""
    return {"backwards": Backwards(), "calibrated": Calibrated(), "failing": Failing()}


def app_of(given: Sequence[Page], **options: Any) -> Any:
    """A result page alone."""
    chosen = options.pop("rankers", None) or rankers()
    settings = SerpSettings(**options.pop("settings", {}))
    return create_serp(Shelf(given, name=options.pop("name", "shoes")), chosen, settings=settings, **options)
