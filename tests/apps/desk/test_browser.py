"""The desk in a real browser: whole sessions by keyboard, on pages with pictures, against a real server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect, sync_playwright

from wholepage.annotation.events import Answered, Escalated, Postponed, Skipped, SkipReason, Undone
from wholepage.pages.judgments import Choice
from wholepage.pages.model import Result

from .browsing import CHROMIUM, PASSWORD, PATIENCE_S, QUIET, SETTLED_MS, Served, Someone
from .shown import PAYLOADS

# From here on, nothing of this page happens by itself after a while.
NO_TIMERS = "window.setTimeout = () => 0"
# A key that is held down, hit again before its answer is away, and once more when the next card has only just come.
HITS = """() => {
  window.hits = 0;
  const hit = (repeat) => {
    window.hits += 1;
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "0", repeat, bubbles: true}));
  };
  new MutationObserver((changes, watch) => {
    if (!changes.some((one) => [...one.addedNodes].some((node) => node.id === "desk"))) return;
    watch.disconnect();
    hit(false);
  }).observe(document.body, {childList: true, subtree: true});
  for (const repeat of [false, true, true, false]) hit(repeat);
}"""

if not CHROMIUM.exists() and not os.environ.get("CI"):
    pytest.skip(f"no browser: {CHROMIUM} is not there; install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("desk"))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, headless=True)
        yield browser
        browser.close()


@pytest.fixture
def ann(desk: Served, chromium: Browser) -> Iterator[Someone]:
    person = Someone(desk, chromium, "ann")
    yield person
    person.check()
    person.leave()


def asked(person: Someone) -> str:
    """The asked result, as its element is called."""
    return str(person.page.locator(".asked").get_attribute("id"))


def test_a_session_of_grades_by_keyboard_only(ann: Someone, desk: Served) -> None:
    page = ann.page
    ann.context.clear_cookies()
    ann.go("/")
    page.wait_for_url("**/sign-in*")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{desk.address}/")
    link = page.get_by_role("listitem").filter(has_text="Campaign grades").get_by_role("link", name="Work")
    for _ in range(60):  # the way there by keyboard
        if link.evaluate("(link) => link === document.activeElement"):
            break
        page.keyboard.press("Tab")
    asked_for = time.monotonic()
    page.keyboard.press("Enter")
    page.wait_for_url("**/campaigns/grades/work")
    pages, seen = desk.pages, []

    def result(element: str) -> Result:
        return next(iter(pages.values())).results[int(element[1:]) - 1]

    for count, grade in enumerate("3210", start=1):
        box = page.locator(".asked")
        expect(box).to_be_in_viewport()
        for picture in box.locator("img").all():
            picture.evaluate("(img) => img.decode()")
            assert picture.evaluate("(img) => img.naturalWidth") == 64
        seen.append(asked(ann))
        ann.page.wait_for_timeout(SETTLED_MS)
        answered = time.monotonic()
        page.keyboard.press(grade)
        event = ann.wait("grades", count)[-1]
        assert isinstance(event, Answered)
        assert (event.task.left_id, event.grade) == (result(seen[-1]).result_id, int(grade))
        assert 0 < event.seconds < time.monotonic() - asked_for  # no longer than the card was there
        asked_for = answered
        expect(page.locator("#says")).to_have_text(f"Grade {grade}: Saved.")
    assert len(set(seen)) == 4

    ann.press("u")
    assert isinstance(ann.wait("grades", 5)[-1], Undone)
    assert asked(ann) == seen[-1]
    ann.press("2")
    assert ann.wait("grades", 6)[-1].grade == 2

    put_off = asked(ann)
    ann.press("l")
    assert isinstance(ann.wait("grades", 7)[-1], Postponed)
    skipped = asked(ann)
    assert skipped != put_off
    ann.press("x")
    expect(page.get_by_text("Why can it not be answered?")).to_be_visible()
    ann.press("2")
    event = ann.wait("grades", 8)[-1]
    assert isinstance(event, Skipped)
    assert (event.task.left_id, event.reason) == (result(skipped).result_id, SkipReason.UNCLEAR_QUERY)

    assert asked(ann) == put_off  # nothing else is left
    ann.press("e")
    page.keyboard.type("2 handles or 3? x")  # keys of the card, typed into a note, are only text
    page.keyboard.press("Control+Enter")
    event = ann.wait("grades", 9)[-1]
    assert isinstance(event, Escalated)
    assert event.note == "2 handles or 3? x"
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to do just now")
    assert page.evaluate("window.jumps") < 0.02
    ann.press("u")
    ann.wait("grades", 10)
    assert asked(ann) == skipped  # the latest that can be taken back: a reviewer has been asked already


def test_keys_that_answer_nothing(ann: Someone, desk: Served) -> None:
    ann.go("/campaigns/network/work")
    page = ann.page
    before = asked(ann)
    ann.press("?")
    expect(page.get_by_text("give the grade", exact=True)).to_be_visible()
    ann.press("3")  # closes the list of keys, answers nothing
    expect(page.get_by_text("give the grade", exact=True)).not_to_be_visible()
    ann.press("x", "Escape")
    expect(page.get_by_text("Why can it not be answered?")).not_to_be_visible()
    guide = page.locator(".guide")
    expect(guide).to_be_visible()
    ann.press("g")
    expect(guide).not_to_be_visible()
    page.reload()
    expect(guide).not_to_be_visible()  # as it was left
    ann.press("G")
    expect(guide).to_be_visible()
    ann.press("Control+3", "Alt+2", "9", "q", "Enter", "Space")
    page.get_by_role("button", name="just right").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.evaluate("scrollTo(0, 0)")
    ann.press("f")
    expect(page.locator(".asked")).to_be_in_viewport()
    link = page.locator("[data-zoom]").first
    link.click()
    large = page.locator("dialog.zoom img")
    expect(large).to_be_visible()
    expect(large).to_have_attribute("src", desk.address + str(link.get_attribute("href")))
    ann.press("2", "Escape")
    expect(large).not_to_be_visible()
    page.locator("[data-play]").first.click()
    expect(page.locator(".film.playing .picture.now").first).to_be_visible()
    assert asked(ann) == before
    assert desk.said("network") == []


def test_nothing_is_lost_when_the_network_fails(ann: Someone, desk: Served) -> None:
    ann.go("/campaigns/network/work")
    page, first = ann.page, asked(ann)
    trouble = page.locator("#trouble")
    ann.context.set_offline(True)
    ann.press("1")
    expect(trouble).to_contain_text("Not saved yet")
    ann.press("2", "3")  # no second answer while the first one is on its way
    assert asked(ann) == first
    ann.context.set_offline(False)
    event = ann.wait("network", 1)[-1]
    assert (event.grade, event.task.left_id) == (
        1,
        desk.pages[event.task.query_id].results[int(first[1:]) - 1].result_id,
    )
    expect(trouble).not_to_be_visible()
    expect(page.locator(f"#{first}.asked")).to_have_count(0)

    # The answer arrives but the response is lost, and the page is loaded anew: it is sent again, and counts once.
    second = asked(ann)
    lost = []

    def lose(route: Route) -> None:
        lost.append(route.fetch(max_redirects=0).status)
        route.abort()

    page.evaluate(NO_TIMERS)  # nothing is sent again but by the page that is loaded anew
    page.route("**/answer", lose, times=1)
    ann.press("2")
    expect(trouble).to_contain_text("Not saved yet")
    assert lost == [200]
    assert len(desk.said("network")) == 2
    page.reload()
    expect(page.locator("#says")).to_contain_text("Saved")
    assert [event.grade for event in ann.wait("network", 2)] == [1, 2]
    expect(page.locator(f"#{second}.asked")).to_have_count(0)

    # A server that fails is asked again; a key held down or hit twice answers one card.
    page.evaluate(NO_TIMERS)
    page.route("**/answer", lambda route: route.fulfill(status=503, body="later"), times=1)
    ann.press("3")
    expect(trouble).to_be_visible()
    page.get_by_role("button", name="Send now").click()
    ann.wait("network", 3)
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate(HITS)
    assert [event.grade for event in ann.wait("network", 4)] == [1, 2, 3, 0]
    assert page.evaluate("window.hits") == 5
    page.wait_for_timeout(SETTLED_MS)  # held down until the next card takes keys
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '0', repeat: true, bubbles: true}))")
    assert page.locator(".busy").count() == 0
    ann.context.clear_cookies()
    ann.press("2")
    expect(trouble).to_contain_text("signed out")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/sign-in?next=*")
    assert len(desk.said("network")) == 4


def test_comparisons_by_keyboard(ann: Someone, desk: Served) -> None:
    ann.go("/campaigns/pairs/work")
    page = ann.page
    meant = {"ArrowLeft": 0, "ArrowDown": None, "ArrowRight": 1, "1": 0, " ": None, "3": 1}
    for count, (key, side) in enumerate(meant.items(), start=1):
        places = page.locator(".was").all_inner_texts()
        ann.press(key)
        event = ann.wait("pairs", count)[-1]
        results = [desk.pages[event.task.query_id].results[int(place.split()[1]) - 1].result_id for place in places]
        assert sorted(results) == [event.task.left_id, event.task.right_id]
        better = {Choice.LEFT: event.task.left_id, Choice.RIGHT: event.task.right_id, Choice.SAME: None}[event.choice]
        assert better == (None if side is None else results[side])
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to do just now")


def test_whole_pages_by_keyboard(ann: Someone, desk: Served) -> None:
    ann.go("/campaigns/orders/work")
    page = ann.page
    for count, (key, side) in enumerate({"ArrowRight": 1, "2": None, "ArrowLeft": 0}.items(), start=1):
        columns = page.locator(".order")
        tops = columns.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
        page.mouse.move(200, 400)
        page.mouse.wheel(0, 300)
        while page.evaluate("scrollY") < 200:
            page.wait_for_timeout(20)
        moved = columns.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
        assert moved[0] == moved[1] < tops[0] == tops[1]  # both scroll together
        expect(page.get_by_role("button", name="better").first).to_be_in_viewport()
        first = columns.nth(0).locator(".result").first
        text, kind = first.locator(".words").all_inner_texts(), first.locator(".chip").inner_text()
        ann.press(key)
        event = ann.wait("orders", count)[-1]
        shown = desk.pages[event.task.query_id].results
        left_is_one = (text == [shown[0].text] if shown[0].text else text == []) and kind.lower()[:3] in (
            {"image": "pic"}.get(shown[0].modality, shown[0].modality[:3]),
        )
        # Orders are "one" and "two"; the task has "one" on its left.
        right_side = None if side is None else ("one" if (side == 0) == left_is_one else "two")
        assert {Choice.LEFT: "one", Choice.RIGHT: "two", Choice.SAME: None}[event.choice] == right_side


def test_without_scripts(desk: Served, chromium: Browser) -> None:
    ben = Someone(desk, chromium, "ben", java_script_enabled=False)
    ben.go("/campaigns/plain/work")
    for count, name in enumerate(("good", "Offensive", "Undo", "Later"), start=1):
        if name == "Offensive":
            ben.page.locator("summary", has_text="Skip").click()
        with ben.page.expect_navigation():
            ben.page.get_by_role("button", name=name).click()
        ben.wait("plain", count)
    kinds = [type(event) for event in desk.said("plain")]
    assert kinds == [Answered, Skipped, Undone, Postponed]
    assert desk.said("plain")[0].grade == 2
    expect(ben.page.locator(".notice")).to_be_visible()
    ben.check()
    ben.leave()


def test_nothing_of_the_data_runs(desk: Served, chromium: Browser) -> None:
    eve = Someone(desk, chromium, "ann")
    eve.go("/campaigns/payloads/work")
    kinds = set()
    for count in range(1, 8):
        said = eve.page.locator(".query").inner_text()
        assert said.strip()
        kinds.add(eve.page.locator("#desk").get_attribute("class"))
        assert (
            eve.page.locator("iframe, foreignObject, main script, main style, main link, [onerror], [onload]").count()
            == 0
        )
        eve.press("2" if count % 3 else "e")
        if not count % 3:
            eve.page.keyboard.insert_text(list(PAYLOADS.values())[count // 3])
            eve.page.keyboard.press("Control+Enter")
        eve.wait("payloads", count)
    eve.check()
    eve.leave()
    for name, paths in {
        "mia": ("", "/campaigns/payloads/board", "/campaigns/payloads/manage", "/campaigns/payloads/gold", "/people",
                "/campaigns/payloads/guideline", *(f"/campaigns/payloads/gold/{page}" for page in range(0, 13, 3))),
        "rex": ("/campaigns/payloads/review",),
        "<i>eve</i>": ("/people", "/campaigns/%3Cscript%3E/work", "/campaigns/payloads/gold/999"),
    }.items():  # fmt: skip
        person = Someone(desk, chromium, name)
        for path in paths:
            person.go(path)
            person.check()
        if name == "rex":
            for row in range(person.page.locator(".queue a").count()):
                person.go("/campaigns/payloads/review")
                person.page.locator(".queue a").nth(row).click()
                expect(person.page.locator("#question")).to_be_visible()
                person.check()
        person.leave()


def test_board_and_other_pages_on_any_screen(desk: Served, chromium: Browser) -> None:
    paths = ["/", "/campaigns/grades/board", "/campaigns/grades/manage", "/campaigns/grades/gold", "/people"]
    for width, scheme in ((1280, "light"), (390, "dark")):
        mia = Someone(desk, chromium, "mia", viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in paths:
            mia.go(path)
            assert mia.page.evaluate("document.documentElement.scrollWidth") <= width, path
            red, green, blue = json.loads(
                mia.page.evaluate("getComputedStyle(document.body).backgroundColor")
                .replace("rgb(", "[")
                .replace(")", "]")
            )
            assert (red + green + blue > 384) == (scheme == "light")
        mia.go("/campaigns/grades/board")
        expect(mia.page.get_by_role("img", name="Done: 50 %", exact=True)).to_be_visible()
        expect(mia.page.get_by_role("rowheader", name="ann")).to_have_count(2)
        mia.check()
        mia.leave()


def test_the_policy_is_really_there(desk: Served, chromium: Browser) -> None:
    """A script or a style that a page carries in itself does nothing."""
    mia = Someone(desk, chromium, "mia")
    mia.go("/campaigns/grades/board")
    mia.page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.ran = 1'; document.head.append(one);"
        "document.body.setAttribute('style', 'color: red')"
    )
    until = time.monotonic() + PATIENCE_S
    while mia.page.evaluate("window.blocked.length") < 2 and time.monotonic() < until:
        mia.page.wait_for_timeout(20)  # the browser tells of it a moment later
    assert mia.page.evaluate("[window.ran, window.blocked.length]") == [0, 2]
    mia.leave()
