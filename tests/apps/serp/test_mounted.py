"""The result page on the serving app: at its own addresses, beside every client's interface, over the same engine."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient
from tests.apps.serving.fakes import FakeEngine

from wholepage.apps.serp.app import serp_routes
from wholepage.apps.serp.served import served_rankers
from wholepage.apps.serp.shelf import Shelf
from wholepage.apps.serving.calls import Call, Outcome, Overloaded
from wholepage.apps.serving.http import create_app

from .world import Backwards, pages


def longest_first(call: Call) -> Outcome:
    """Results by the length of their texts; no opinion on those without."""
    lengths = [len(result.text) for result in call.page.results]
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return Outcome(tuple(order), tuple(float(n) if n else None for n in lengths), "served: longest first")


def test_both_live_on_one_server(tmp_path: Path) -> None:
    app = create_app(FakeEngine(), routes=serp_routes(Shelf(pages(tmp_path), name="shoes"), {"back": Backwards()}))
    client = TestClient(app)
    assert "3 queries" in client.get("/").text
    page = client.get("/?page=0")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'")
    assert "x-request-id" in page.headers
    assert client.get("/serp/static/serp.css").headers["content-type"].startswith("text/css")
    assert client.get("/serp/pictures/0/1/0").status_code == 200
    ranked = client.post("/v2/rerank", json={"model": "words", "query": "red", "documents": ["blue", "red"]})
    assert [one["index"] for one in ranked.json()["results"]] == [1, 0]
    assert client.get("/healthz").json() == {"status": "ok"}
    # What is at neither is answered as the serving app answers, and what is below /serp/ as the page does.
    assert client.get("/nowhere").headers["content-type"] == "application/json"
    assert client.get("/v2/rerank").status_code == 405
    assert client.get("/serp/nowhere").headers["content-type"].startswith("text/html")
    assert client.post("/", json={}).status_code == 405


def test_models_of_the_server_order_the_page(tmp_path: Path) -> None:
    engine = FakeEngine(outcome=longest_first)
    rankers = served_rankers(engine)
    assert list(rankers) == ["words", "other-words"]
    app = create_app(engine, routes=serp_routes(Shelf(pages(tmp_path), name="shoes"), rankers))
    with TestClient(app) as client:
        html = client.get("/?page=0&order=other-words").text
        assert [line.split('"')[0][1:] for line in html.split('id="')[1:] if line[0] == "r"] == [
            "5", "4", "0", "3", "1", "2",
        ]  # fmt: skip
        assert "served: longest first" in html
        assert "no opinion" in html
        assert {call.model for call in engine.calls} == {"other-words"}
        asked = len(engine.calls)
        assert client.get("/?page=0&order=other-words&beside=received").status_code == 200
        assert len(engine.calls) == asked  # kept


def test_a_full_server_is_said(tmp_path: Path) -> None:
    engine = FakeEngine(fail=Overloaded("the queue is full", 1.0))
    routes = serp_routes(Shelf(pages(tmp_path), name="shoes"), served_rankers(engine))
    with TestClient(create_app(engine, routes=routes)) as client:
        assert "words could not order this page. It did not answer." in client.get("/?page=0").text
