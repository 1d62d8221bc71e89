"""What is shown: the start, a page in one order and in two, why a result moved, and addresses that lead nowhere."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.apps.desk.conftest import Seen

from wholepage.apps.serp.app import SerpSettings, create_serp
from wholepage.apps.serp.look import Look
from wholepage.apps.serp.shelf import Shelf
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Query, Result

from .world import Calibrated, Looker, app_of, pages


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    return Looker(app_of(pages(tmp_path)))


def places(seen: Seen, prefix: str = "r") -> list[int]:
    """Numbers of the results as they stand on the page, as received."""
    items = [a for t, a in seen.elements if t == "li" and a.get("class", "").startswith("result ")]
    return [int(a["id"][1:]) for a in items if a["id"].startswith(prefix)]


def links(seen: Seen) -> dict[str, str]:
    return {a["href"]: a.get("aria-current", "") for t, a in seen.elements if t == "a" and "href" in a}


def test_the_start_tells_what_is_here(looker: Looker) -> None:
    seen = looker.see("/")
    text = " ".join(seen.text.split())
    assert "3 queries, 9 results." in text
    assert "4 texts" in text
    assert "1 answer" in text
    assert {"/?page=0", "/?page=1", "/?page=2"} <= set(links(seen))
    assert "calibrated" in text
    assert any(t == "label" for t, _ in seen.elements)


def test_a_page_is_shown_in_the_order_of_the_first_ranker(looker: Looker) -> None:
    seen = looker.see("/?page=0")
    assert places(seen) == [5, 4, 3, 2, 1, 0]
    assert places(looker.see("/?q=red+SHOES")) == [5, 4, 3, 2, 1, 0]
    assert places(looker.see("/?page=0&order=received")) == [0, 1, 2, 3, 4, 5]
    assert "A query of shoes, with its own page: 6 results." in seen.text
    assert links(seen)["/?page=0&order=backwards"] == "true"
    assert "written by a language model" in seen.text


def test_two_orders_stand_side_by_side(looker: Looker) -> None:
    seen = looker.see("/?page=0&order=calibrated&beside=backwards")
    assert places(seen, "l") == [5, 4, 3, 2, 1, 0]
    assert places(seen) == [1, 3, 0, 4, 5, 2]
    headings = [line.strip() for line in seen.text.splitlines()]
    assert "backwards" in headings
    assert links(seen)["/?page=0&order=calibrated&beside=backwards"] == "true"
    assert links(seen)["/?page=0&order=calibrated"] == ""  # nothing beside it


def why(html: str, result: int) -> dict[str, str]:
    """The facts that one result is explained with, and under ``""`` the sentences."""
    item = re.search(rf'<li class="result [a-z ]+" id="r{result}".*?</li>', html, re.DOTALL)[0]
    facts = re.findall(r"<dt>(.*?)</dt><dd>(.*?)(?: <small>(.*?)</small>)?</dd>", item)
    words = re.search(r"</(?:dl|progress)>\s*<p>(.*?)</p>", item, re.DOTALL)[1]
    return {name: f"{value} ({note})" if note else value for name, value, note in facts} | {"": words}


def test_why_a_result_moved(looker: Looker) -> None:
    html = looker.get("/?page=0&order=calibrated").text
    # As received: t1 i1 i2 v1 a1 t2. The shortest text first: i1 v1 t1 a1 t2, then i2, which has none.
    chance = 100 / (1 + math.exp(-(2.0 * -0.22 - 0.5)))
    assert why(html, 0) == {
        "Among texts alone": "2nd of 2",
        "As received": "1st of 6",
        "Now": "3rd of 6 (1st text from the top)",
        "Score": "-0.22",
        "Calibrated": f"{chance:.0f} % (chance of grade 2 or better)",
        "": "1 picture and 1 video passed it.",
    }
    assert why(html, 3) | {"Score": "", "Calibrated": ""} == {
        "Among video alone": "1st of 1",
        "As received": "4th of 6",
        "Now": "2nd of 6 (1st video from the top)",
        "Score": "",
        "Calibrated": "",
        "": "It passed 1 text and 1 picture.",
    }
    assert why(html, 2)["Score"] == "no opinion"
    assert "Calibrated" not in why(html, 2)
    assert 'title="up 2, from 4th"' in html
    assert 'title="down 3, from 3rd"' in html


def test_as_received_nothing_is_explained(looker: Looker) -> None:
    seen = looker.see("/?page=0&order=received")
    assert "Why" not in seen.text
    assert not any(t == "svg" and a.get("class") == "slopes" for t, a in seen.elements)


def test_a_free_search_says_what_it_did(looker: Looker) -> None:
    text = looker.see("/?q=red+hats").text
    assert "Free search in all of shoes, as no query there is just this: 4 results hold a word of it." in text
    assert "Results without words (2) cannot be found so." in text
    assert looker.see("/?q=red+hats&order=received&beside=backwards")


def test_nothing_found_leads_on(looker: Looker) -> None:
    seen = looker.see("/?q=zebra")
    assert "no result holds any of these words" in seen.text
    assert "/?page=0" in links(seen)
    assert "This page came without results." in looker.see("/?page=2").text


def test_a_ranker_that_fails_is_said_beside_the_others(looker: Looker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="wholepage.serp"):
        seen = looker.see("/?page=0&order=failing&beside=backwards")
    assert "failing could not order this page." in seen.text
    assert "secret" not in seen.text
    assert "secret" in caplog.text
    assert places(seen) == [0, 1, 2, 3, 4, 5]
    assert places(seen, "l") == [5, 4, 3, 2, 1, 0]


def test_a_picture_that_is_gone_is_said(looker: Looker) -> None:
    seen = looker.see("/?page=1")
    assert "The picture is not where it should be." in seen.text
    assert not any(a.get("src", "").startswith("/serp/pictures/1/1/") for _, a in seen.elements)


def test_many_results_are_shown_when_asked_for(tmp_path: Path) -> None:
    page = Page(Query("q", "x"), tuple(Result(f"r{i}", Modality.TEXT, f"t{i}") for i in range(80)))
    looker = Looker(app_of([page], settings={"shown": 50}))
    seen = looker.see("/?page=0")
    assert len(places(seen)) == 50
    assert "Show 30 more" in seen.text
    assert "/?page=0&all=1" in links(seen)
    assert len(places(looker.see("/?page=0&all=1"))) == 80


def test_long_texts_are_cut_and_whole(looker: Looker) -> None:
    seen = looker.see("/?page=0")
    assert ("Laces, " * 200).strip() in " ".join(seen.text.split())
    assert any(t == "details" and a.get("class") == "words" for t, a in seen.elements)


def test_without_rankers_pages_are_as_received(tmp_path: Path) -> None:
    looker = Looker(create_serp(Shelf(pages(tmp_path), name="x"), {}))
    assert places(looker.see("/?page=0")) == [0, 1, 2, 3, 4, 5]


def test_suggestions_are_queries_with_their_pages(looker: Looker) -> None:
    found = looker.get("/serp/suggest?q=ha&order=calibrated", json=True).json()
    assert found == [{"text": "blue hats", "url": "/?page=1&order=calibrated"}]
    assert len(looker.get("/serp/suggest", json=True).json()) == 3


def test_pictures_are_encoded_anew_and_kept(looker: Looker) -> None:
    small = looker.get("/serp/pictures/0/1/0")
    assert max(Image.open(io.BytesIO(small.content)).size) == 640
    large = looker.get("/serp/pictures/0/1/0?size=large")
    assert max(Image.open(io.BytesIO(large.content)).size) == 900
    assert small.headers["content-security-policy"] == "default-src 'none'"
    assert small.headers["cache-control"] == "private, max-age=600"
    again = looker.client.get("/serp/pictures/0/1/0", headers={"if-none-match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert Image.open(io.BytesIO(looker.get("/serp/pictures/0/3/1").content)).getpixel((0, 0)) == (0, 0, 255)
    assert Image.open(io.BytesIO(looker.get("/serp/pictures/0/query").content)).getpixel((0, 0)) == (255, 0, 0)
    gone = looker.get("/serp/pictures/1/1/0")
    assert (gone.status_code, gone.headers["content-type"]) == (404, "image/svg+xml")


@pytest.mark.parametrize(
    "path",
    ["9/0/0", "0/9/0", "0/1/9", "0/0/0", "-1/0/0", "x/0/0", "1/query", "0/1/0/0", "1e3/0/0", "0/1/%2e%2e", "٣/0/0",
     "0/1/..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd/0/0", "0/1/" + "9" * 5000, "0/1/file:%2f%2f%2fetc%2fpasswd", "..",
     "0/1/0%00"],
)  # fmt: skip
def test_no_address_becomes_a_path(looker: Looker, path: str) -> None:
    answer = looker.get(f"/serp/pictures/{path}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path", ["/serp/static/../app.py", "/serp/static/%2e%2e%2fapp.py", "/serp/static/", "/serp/static/x", "/serp/",
             "/docs", "/openapi.json", "/serp/sign-in", "/serp/judge"],
)  # fmt: skip
def test_there_is_nothing_else(looker: Looker, path: str) -> None:
    assert looker.get(path).status_code == 404


def test_static_files_are_kept_as_long_as_they_are_the_same(looker: Looker) -> None:
    seen = looker.see("/")
    style = next(a["href"] for t, a in seen.elements if t == "link" and "serp.css" in a.get("href", ""))
    assert "immutable" in looker.get(style).headers["cache-control"]
    assert looker.get("/serp/static/serp.css").headers["cache-control"] == "no-cache"
    assert looker.get("/serp/static/icon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("url", "status"),
    [("/?page=9", 404), ("/?page=x", 404), ("/?page=-1", 404), ("/?order=nobody&page=0", 422),
     ("/?q=" + "x" * 401, 422), ("/?page=0&beside=nobody", 422), ("/?page=" + "9" * 30, 404), ("/?from=x", 200),
     ("/?from=99999", 200),
     ("/?q=%00", 200), ("/?q=%ff%fe", 200), ("/?page=0&page=1", 200), ("/?q=%20%20", 200)],
)  # fmt: skip
def test_odd_addresses(looker: Looker, url: str, status: int) -> None:
    answer = looker.get(url)
    assert answer.status_code == status
    told = looker.get(url, json=True)
    if status != 200:
        assert "What moved" not in answer.text
        assert told.json()["status"] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_do_nothing(looker: Looker, method: str) -> None:
    for url in ("/", "/serp/suggest", "/serp/pictures/0/1/0", "/serp/static/serp.css"):
        assert looker.client.request(method, url).status_code == 405


def test_errors_that_nobody_foresaw_tell_nothing(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        def rank(self, given: Any) -> Any:
            raise ZeroDivisionError("a secret of the program")

    looker = Looker(app_of(pages(tmp_path), rankers={"broken": Broken()}))
    looker.client = type(looker.client)(looker.client.app, raise_server_exceptions=False)
    answer = looker.client.get("/?page=0", headers={"accept": "text/html"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_settings_are_checked() -> None:
    for name in ("shown", "kept", "at_once"):
        with pytest.raises(InputError, match=name):
            SerpSettings(**{name: 0})


@given(
    q=st.text(max_size=60),
    page=st.none() | st.integers(0, 10**8),
    order=st.text(max_size=20),
    beside=st.text(max_size=9),
)
def test_an_address_says_what_is_looked_at(q: str, page: int | None, order: str, beside: str) -> None:
    look = Look(q.replace("\0", " ").strip(), page, order, beside)
    try:
        url = look.url()
    except UnicodeEncodeError:  # half of a pair; no browser sends one
        return
    assert Look.within(url) == look


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/?page=1", "//evil.example/?page=1", "/\\evil.example", "javascript:alert(1)", "/serp/judge",
     "", "?page=1", "http:/?page=1", "/?page=x", "/?q=" + "x" * 999, "/?" + "&".join(f"a{i}=1" for i in range(99)),
     "http://[::1", "/%0d%0aset-cookie:x=1"],
)  # fmt: skip
def test_people_are_sent_nowhere_else(url: str) -> None:
    assert Look.within(url) == Look()
    assert Look().url() == "/"


def test_a_slow_ranker_does_not_keep_the_start_waiting(tmp_path: Path) -> None:
    go, begun = Event(), Event()

    class Slow(Calibrated):
        def rank(self, given: Any) -> Any:
            begun.set()
            go.wait(120)
            return super().rank(given)

    app: Callable[..., Any] = app_of(pages(tmp_path), rankers={"slow": Slow()}, settings={"at_once": 1})
    with Looker(app).client as client:
        waiting = Thread(target=client.get, args=("/?page=0",))
        waiting.start()
        assert begun.wait(60)
        assert client.get("/").status_code == 200
        assert client.get("/serp/pictures/0/1/0").status_code == 200
        go.set()
        waiting.join()
