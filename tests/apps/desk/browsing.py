"""A desk that is served, and somebody before it with a real browser: what the browser tests share."""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect

from wholepage.annotation.events import Kind, Opened, Task
from wholepage.annotation.people import Person, Role, ScryptCost
from wholepage.annotation.plan import Plan
from wholepage.annotation.settings import Costs, Settings
from wholepage.annotation.store import Store
from wholepage.apps.desk.app import create_app
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.model import Modality, Query, Ranking, Result
from wholepage.pages.model import Page as ResultPage

from .shown import PAYLOADS

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_S = 60  # for whatever comes sooner or later
expect.set_options(timeout=PATIENCE_S * 1000)
PASSWORD = "a long password"
SETTLED_MS = 220  # after as long, a card takes keys
GUIDELINE = "# Grades\n\n- 0: off\n- 1: near\n- 2: good\n- 3: just right\n\nLook at **everything**."
# Runs before anything of the page does: what was blocked, what ran, what moved.
WATCH = """
window.ran = 0; window.blocked = []; window.jumps = 0;
addEventListener("securitypolicyviolation", (event) => window.blocked.push(event.violatedDirective));
new PerformanceObserver((list) => {
  for (const jump of list.getEntries()) if (!jump.hadRecentInput) window.jumps += jump.value;
}).observe({type: "layout-shift", buffered: true});
"""


class Served:
    """A desk that a real server serves from a thread, with people and a campaign of every kind."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "desk.db", cost=ScryptCost(n=16, r=1, p=1))
        for name, role in (
            ("ann", Role.ANNOTATOR), ("ben", Role.ANNOTATOR), ("rex", Role.REVIEWER), ("mia", Role.MANAGER),
            ("<i>eve</i>", Role.ADMIN),
        ):  # fmt: skip
            self.store.add_person(Person(f"p-{name}", name, role), PASSWORD)
        generated = list(Synthetic(4, 7, results_per_modality=(2, 2), folder=folder).pages("train"))
        self.pages = {page.query_id: page for page in (*generated, *bad_pages())}
        first = generated[0]
        ids = first.result_ids
        several = tuple(r.result_id for r in first.results if r.modality is Modality.IMAGE) + ids
        whole = {page.query_id: page.result_ids for page in bad_pages()}
        pairs = tuple(Task.pair(Kind.PREFERENCE, first.query_id, *pair) for pair in pairwise(ids))[:6]
        orders = {
            page.query_id: {
                "one": Ranking(page.query_id, page.result_ids), "two": Ranking(page.query_id, page.result_ids[::-1]),
            }
            for page in generated
        }  # fmt: skip
        bad_pairs = tuple(Task.pair(Kind.PREFERENCE, page.query_id, "t", "i") for page in bad_pages())
        self.open("grades", Plan(pages=(first,), selected={first.query_id: tuple(dict.fromkeys(several))[:6]}))
        self.open("network", Plan(pages=(generated[1],)))
        self.open("plain", Plan(pages=(generated[2],)))
        self.open("pairs", Plan(pages=(first,), selected={first.query_id: ()}, pairs=pairs))
        self.open("orders", Plan(pages=tuple(generated), selected=dict.fromkeys(orders, ()), page_orders=orders))
        self.open("payloads", Plan(pages=bad_pages(), selected=whole, pairs=bad_pairs), PAYLOADS["closing"])
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(create_app(self.store), log_level="error"))
        self._thread = Thread(target=self._server.run, args=([listening],))
        self._thread.start()

    def open(self, campaign_id: str, plan: Plan, more: str = "") -> None:
        """Begin a campaign."""
        settings = Settings(name=f"Campaign {campaign_id} {more}", gold_share=0.0, costs=Costs(hourly=36.0))
        at = "2026-11-21T12:00:00.000Z"
        opened = Opened(
            "p-mia", at, settings, plan.sha256, GUIDELINE + "\n\n" + "\n\n".join(PAYLOADS.values()) * bool(more)
        )
        self.store.create_campaign(campaign_id, plan, opened)

    def said(self, campaign_id: str) -> list[Any]:
        """What people did, in order."""
        return [entry.event for entry in self.store.entries(campaign_id)][1:]

    def stop(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self.store.close()


def bad_pages() -> tuple[ResultPage, ...]:
    """Pages whose every text tries to run."""
    picture = next(r.images[0] for r in next(Synthetic(1, 3).pages("train")).results if r.modality is Modality.IMAGE)
    made = []
    for name, payload in {**PAYLOADS, "null": "a\0<script>window.ran=1</script>", "long": "<b>x" * 5_000}.items():
        results = (
            Result("t", Modality.TEXT, payload),
            Result("i", Modality.IMAGE, payload, (picture,)),
            Result("v", Modality.VIDEO, payload, (picture, picture)),
            Result(payload[:200].replace("\0", ""), Modality.ANSWER, payload),
        )
        made.append(ResultPage(Query(f"{name} {payload[:200]}".replace("\0", ""), payload), results))
    return tuple(made)


class Someone:
    """Somebody who is signed in, before a browser that notes whatever should not happen there."""

    def __init__(self, desk: Served, chromium: Browser, name: str, **options: Any) -> None:
        self.desk, self.strange = desk, list[str]()
        self.context: BrowserContext = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.strange.append(f"error {error}"))
        self.page.on("dialog", self._dialog)
        self.context.on("request", lambda request: self._request(request.url))
        self.scripts = options.get("java_script_enabled", True)
        token = desk.store.open_session(next(p for p in desk.store.people() if p.name == name))
        self.context.add_cookies([{"name": "desk-session", "value": token, "url": desk.address}])

    def _dialog(self, dialog: Any) -> None:
        if dialog.type != "beforeunload":
            self.strange.append(f"dialog {dialog.message}")
        dialog.accept()

    def _request(self, url: str) -> None:
        if not url.startswith((self.desk.address, "data:")):
            self.strange.append(f"request {url}")

    def go(self, path: str) -> None:
        """Open a page by its address."""
        self.page.goto(self.desk.address + path)

    def press(self, *keys: str) -> None:
        """Press keys, each on a card that has come to rest."""
        for key in keys:
            self.page.wait_for_timeout(SETTLED_MS)
            self.page.keyboard.press(key)

    def wait(self, campaign_id: str, count: int) -> list[Any]:
        """The log once it has so many events of people, and the card after that is shown."""
        until = time.monotonic() + PATIENCE_S
        while len(self.desk.said(campaign_id)) < count and time.monotonic() < until:
            self.page.wait_for_timeout(20)
        events = self.desk.said(campaign_id)
        assert len(events) == count, events
        expect(self.page.locator(".busy")).to_have_count(0)
        return events

    def check(self) -> None:
        """Nothing strange happened, here or on the server."""
        if self.scripts:
            assert self.page.evaluate("[window.ran, window.blocked]") == [0, []]
        assert self.strange == []

    def leave(self) -> None:
        """Close the browser's window."""
        self.context.close()
