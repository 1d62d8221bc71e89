"""The result page in a real browser, on a desk and on a phone: nothing strange happens, everything can be reached."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from tests.apps.desk.browsing import CHROMIUM, PATIENCE_S, QUIET, WATCH
from tests.apps.desk.shown import PAYLOADS

from wholepage.annotation.events import Answered, Undone
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.model import Modality, Query, Result
from wholepage.pages.model import Page as ResultPage

from .world import World

if not CHROMIUM.exists() and not os.environ.get("CI"):
    pytest.skip(f"no browser: {CHROMIUM} is not there; install chromium", allow_module_level=True)

# What of a page's text is too weak against its ground, by the rule of WCAG 2: 4.5 to 1, large letters 3 to 1.
CONTRAST = """() => {
  const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const part = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = (one) => {
    const layers = [];
    for (let e = one; e; e = e.parentElement) layers.push(rgb(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const weak = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const box = one.getBoundingClientRect();
    if (!own || one.closest(".hidden, .here, [hidden], svg, .thumbs") || !box.width || !box.height) continue;
    const style = getComputedStyle(one);
    const back = ground(one);
    const [a, b] = [light(over(rgb(style.color), back)), light(back)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) weak.push(`${one.className}: ${one.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""  # noqa: E501


class Served:
    """A result page that a real server serves from a thread."""

    def __init__(self, folder: Path) -> None:
        generated = list(Synthetic(3, 7, results_per_modality=(2, 3), folder=folder).pages("train"))
        picture = next(r.images[0] for r in generated[0].results if r.modality is Modality.IMAGE)
        bad = [
            ResultPage(
                Query(f"bad {n}", text),
                (
                    Result("t", Modality.TEXT, text),
                    Result("i", Modality.IMAGE, text, (picture,)),
                    Result("v", Modality.VIDEO, text, (picture, picture)),
                    Result("a", Modality.ANSWER, text * 40),
                ),
            )
            for n, text in enumerate(PAYLOADS.values())
        ]
        self.world = World(folder, [*generated, *bad])
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.world.app, log_level="error"))
        self._thread = Thread(target=self._server.run, args=([listening],))
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self.world.store.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("serp"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, headless=True)
        yield browser
        browser.close()


class Someone:
    """Somebody before a browser that notes whatever should not happen there."""

    def __init__(self, served: Served, chromium: Browser, name: str = "", **options: Any) -> None:
        self.served, self.strange = served, list[str]()
        self.context = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.strange.append(f"error {error}"))
        self.page.on("console", lambda line: self.strange.append(f"console {line.text} {line.location['url']}"))
        self.page.on("dialog", lambda dialog: (self.strange.append(dialog.message), dialog.accept()))
        self.context.on("request", lambda request: self._request(request.url))
        self.scripts = options.get("java_script_enabled", True)
        if name:
            token = served.world.store.open_session(f"p-{name}")
            self.context.add_cookies([{"name": "desk-session", "value": token, "url": served.address}])

    def _request(self, url: str) -> None:
        if not url.startswith((self.served.address, "data:")):
            self.strange.append(f"request {url}")

    def go(self, path: str) -> Page:
        """Open a page by its address."""
        self.page.goto(self.served.address + path)
        return self.page

    def leave(self) -> None:
        """Nothing strange happened; close the window."""
        if self.scripts:
            assert self.page.evaluate("[window.ran, window.blocked]") == [0, []]
        assert self.strange == []
        self.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_fits_and_can_be_read(served: Served, chromium: Browser, width: int, scheme: str) -> None:
    ann = Someone(
        served, chromium, "ann", viewport={"width": width, "height": 780}, color_scheme=scheme,
        is_mobile=width < 500, has_touch=width < 500,
    )  # fmt: skip
    for path in ("/", "/?page=0&order=calibrated", "/?page=0&beside=received", "/?q=rings", "/?q=qqq",
                 "/?page=1&order=failing"):  # fmt: skip
        page = ann.go(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.jumps") < 0.02, path
        page.evaluate("for (const one of document.querySelectorAll('details.why')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(CONTRAST) == [], path
        assert page.locator("h1").count() == 1
        assert page.evaluate("[...document.querySelectorAll('img')].every((one) => one.hasAttribute('alt'))")
    ann.leave()


def test_searching_by_keyboard(served: Served, chromium: Browser) -> None:
    one = Someone(served, chromium)
    page, asked = one.go("/?page=1"), served.world.pages[0].query.text
    page.locator("h1").click()
    page.keyboard.press("/")
    box = page.locator("#q")
    expect(box).to_be_focused()

    def only_the_last(route: Route) -> None:
        # Lines that come for the first letters would be replaced later, and with them the one that is chosen.
        whole = parse_qs(urlsplit(route.request.url).query)["q"] == [asked[:4]]
        route.continue_() if whole else route.fulfill(json=[])

    page.route("**/serp/suggest?*", only_the_last)
    box.press_sequentially(asked[:4])
    line = page.get_by_role("option").first
    expect(line).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(line).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", str(line.get_attribute("id")))
    page.keyboard.press("Escape")
    expect(line).not_to_be_visible()
    expect(box).to_have_value(asked[:4])
    box.fill(asked)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(asked)
    expect(page.locator(".how")).to_contain_text("with its own page")
    one.leave()


def test_frames_pictures_and_the_drawing(served: Served, chromium: Browser) -> None:
    one = Someone(served, chromium)
    page = one.go("/?page=0&order=received")
    film = page.locator("[data-film]").first
    frames = film.locator("[data-frame]")
    frames.nth(2).hover()
    expect(frames.nth(2)).to_have_class("picture now")
    assert film.locator(".stage img").get_attribute("src") == frames.nth(2).locator("img").get_attribute("src")
    frames.nth(1).focus()
    expect(frames.nth(1)).to_have_class("picture now")
    film.locator(".stage").click()
    large = page.locator("dialog.zoom img")
    expect(large).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(large).not_to_be_visible()
    film.locator(".play").click()
    expect(film.locator(".play")).to_have_attribute("aria-pressed", "true")
    film.locator(".play").click()
    page = one.go("/?page=0&beside=received")
    page.locator("#r0").hover()
    expect(page.locator("#l0")).to_have_class(re.compile("lit"))
    expect(page.locator(".slope.lit")).to_have_attribute("data-key", "k0")
    one.leave()


def test_grading_on_a_phone(served: Served, chromium: Browser) -> None:
    ann = Someone(served, chromium, "ann", viewport={"width": 360, "height": 780}, is_mobile=True, has_touch=True)
    page = ann.go("/?page=0&order=received")
    form = page.locator("#r1 [data-judge]")
    button = form.get_by_role("button", name="2")
    box = button.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    button.tap()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#says")).to_have_text("Saved: grade 2.")
    page.reload()
    expect(button).to_have_attribute("aria-pressed", "true")
    form.get_by_role("button", name="Take back").tap()
    expect(page.locator("#says")).to_have_text("Taken back.")
    events = wait(served, 2)
    assert [type(event) for event in events] == [Answered, Undone]
    ann.context.clear_cookies()
    button.tap()
    page.wait_for_url("**/serp/sign-in?next=*")
    assert len(wait(served, 2)) == 2
    ann.strange = [
        line for line in ann.strange if "401" not in line and "403" not in line
    ]  # chromium notes the refusal
    ann.leave()


def wait(served: Served, count: int) -> list[Any]:
    """The log once it has so many events."""
    until = time.monotonic() + PATIENCE_S
    while len(served.world.said()) < count and time.monotonic() < until:
        time.sleep(0.02)
    return served.world.said()


def test_without_scripts(served: Served, chromium: Browser) -> None:
    before = len(served.world.said())
    ben = Someone(served, chromium, "ben", java_script_enabled=False)
    page = ben.go("/")
    page.get_by_role("searchbox").fill(served.world.pages[0].query.text)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="calibrated").first.click()
    page.locator("#r2 .why summary").click()
    expect(page.locator("#r2 .because")).to_contain_text("As received")
    page.locator("#r2").get_by_role("button", name="3").click()
    expect(page.locator("#r2 [aria-pressed='true']")).to_have_text("3: just right")
    page.get_by_role("navigation", name="Beside").get_by_role("link", name="backwards").click()
    expect(page.locator(".column")).to_have_count(2)
    assert len(wait(served, before + 1)) == before + 1
    ben.leave()


def test_nothing_of_the_data_runs(served: Served, chromium: Browser) -> None:
    one = Someone(served, chromium, "ann")
    for number in range(len(served.world.pages)):
        page = one.go(f"/?page={number}&order=calibrated&beside=received")
        bad = "iframe, foreignObject, main script, main style, main link, [onerror], [onload]"
        assert page.locator(bad).count() == 0
    box = one.go("/").locator("#q")
    for text in ("<", "window", "javascript", '"'):
        box.fill(text)
        page.wait_for_timeout(250)
        assert page.locator("[role=option] *:not(b)").count() == 0
    one.leave()


def test_the_policy_is_really_there(served: Served, chromium: Browser) -> None:
    """A script or a style that a page carries in itself does nothing."""
    one = Someone(served, chromium)
    page = one.go("/?page=0")
    page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.ran = 1'; document.head.append(one);"
        "document.body.setAttribute('style', 'color: red')"
    )
    until = time.monotonic() + PATIENCE_S
    while page.evaluate("window.blocked.length") < 2 and time.monotonic() < until:
        page.wait_for_timeout(20)  # the browser tells of it a moment later
    assert page.evaluate("[window.ran, window.blocked.length]") == [0, 2]
    one.context.close()
