"""The site as a reader has it who opens it from the disk: nothing is fetched, search finds, pages are not too wide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PAGES = (
    "index", "tutorial", "guides/index", "guides/measuring", "guides/serving", "reference/index", "reference/measures",
    "reference/commands/rank", "reference/api/pages/model", "reference/api/apps/adapters.langchain", "decisions/index",
    "log",
)  # fmt: skip

pytestmark = pytest.mark.slow
if not CHROMIUM.exists() and not os.environ.get("CI"):
    pytest.skip(f"no browser: {CHROMIUM} is not there; install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, headless=True)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_and_fetch_nothing(site: Path, chromium: Browser, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page, elsewhere, wrong = context.new_page(), list[str](), list[str]()
    page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else elsewhere.append(one.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        wide, given = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= given, name
        shown = page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor")
        assert (shown == "rgb(255, 255, 255)") == (scheme == "light"), (name, shown)
        broken = page.evaluate("[...document.images].filter(one => !one.naturalWidth).map(one => one.src)")
        assert broken == []
    assert elsewhere == []
    assert wrong == []
    context.close()


def test_search_finds_from_the_disk(site: Path, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto((site / "reference" / "measures.html").as_uri())
    # by keys, as a reader does: the theme reads the words when a key comes up, and a filled field has none
    page.locator("input.md-search__input").press_sequentially("interleaving")
    # the whole word stands in the address: what was found for its first letters is replaced
    page.locator('.md-search-result__link[href*="guides/online.html?h=interleaving"]').first.click()
    page.wait_for_url("**/guides/online.html?h=interleaving*")
    assert "interleaving" in page.locator("article").inner_text().lower()
    context.close()
