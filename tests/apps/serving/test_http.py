"""The door: who is let in, before what, for how long; and what every answer says of itself."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from wholepage.apps.serving import counted, incoming, problems
from wholepage.apps.serving.calls import Call, Draining, Outcome, Overloaded
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.keys import Keys, digest_of
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.operations import OPERATIONS
from wholepage.apps.serving.wire import Family
from wholepage.pages.errors import WholepageError

from .fakes import FakeEngine, served

KEY = "a-key-of-enough-letters"
BODY = {"query": "where", "documents": ["here", "where"]}
PATHS = [one.path for one in OPERATIONS]
GOOD = {one.path: next(iter(one.examples.values())) for one in OPERATIONS}


def raw(
    app: Any,
    chunks: Iterable[bytes | Callable[[], Awaitable[None]]],
    headers: dict[str, str] | None = None,
    path: str = "/v1/rerank",
    *,
    whole: bool = True,
) -> tuple[int, dict[str, str], bytes, int]:
    """Status, headers and body of an answer, and how many chunks of the request's body were read.

    A chunk that can be called is waited for before the next; after the last the client hangs up. A body that is not
    ``whole`` says that there is more to come.
    """
    given = list(chunks)
    sent: list[dict[str, Any]] = []
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        while read < len(given):
            chunk = given[read]
            read += 1
            if isinstance(chunk, bytes):
                return {
                    "type": "http.request",
                    "body": chunk,
                    "more_body": not whole or any(isinstance(later, bytes) for later in given[read:]),
                }
            await chunk()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "client": ("x", 1),
        "server": ("x", 80),
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in {"content-type": "application/json", **(headers or {})}.items()
        ],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = sent[0]
    return (
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message["body"] for message in sent[1:]),
        read,
    )


async def stays() -> None:
    """A client that waits."""
    await asyncio.sleep(60)


def pause(seconds: float) -> Callable[[], Awaitable[None]]:
    """A pause of the client."""
    return lambda: asyncio.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``clock(0.01)``: from now on the server's clock goes on by so much at each look, and by itself not at all."""

    def goes(step_s: float) -> None:
        looks = count()
        stub = SimpleNamespace(perf_counter=lambda: next(looks) * step_s)
        for module in (incoming, counted):
            monkeypatch.setattr(module, "time", stub)

    return goes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("refuse", "status"), [(Overloaded("the queue is full", 2.3), 429), (Draining("on its way out"), 503)]
)
def test_a_full_or_leaving_engine_refuses_before_a_byte_is_read(path: str, refuse: Exception, status: int) -> None:
    engine = FakeEngine(refuse=refuse)
    found, headers, body, read = raw(create_app(engine), [b"{"], {"content-length": "1"}, path)
    assert (found, read, engine.calls) == (status, 0, [])
    assert headers.get("retry-after") == ("3" if status == 429 else None)
    assert str(refuse) in body.decode()


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_is_refused_before_the_engine_is_asked(path: str) -> None:
    engine, settings = FakeEngine(), ServingSettings()
    app = create_app(engine, settings, keys=Keys([digest_of(KEY)], settings))
    for given in ({}, {"authorization": "Bearer nope"}):
        status, headers, _, read = raw(app, [b"{"], {"content-length": "1", **given}, path)
        assert (status, read, engine.admitted) == (401, 0, 0)
        assert headers["www-authenticate"] == "Bearer"
    good = json.dumps(GOOD[path]).encode()
    assert raw(app, [good, stays], {"authorization": f"Bearer {KEY}"}, path)[0] == 200


def test_a_key_that_asks_too_often_is_told_when_to_come_back() -> None:
    settings = ServingSettings(requests_per_s=0.1, burst=2)
    keys = Keys([digest_of(KEY)], settings, clock=lambda: 100.0)
    browser = TestClient(create_app(FakeEngine(), settings, keys=keys))
    answers = [browser.post("/v2/rerank", json=BODY, headers={"authorization": f"Bearer {KEY}"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "10"
    assert set(answers[2].json()) == {"id", "message"}


def test_which_looks_need_a_key() -> None:
    settings = ServingSettings()
    browser = TestClient(create_app(FakeEngine(), settings, keys=Keys([digest_of(KEY)], settings)))
    for path in ("/v1/models", "/info"):
        assert browser.get(path).status_code == 401
        assert browser.get(path, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    for path in ("/health", "/healthz", "/readyz", "/ping", "/metrics", "/openapi.json"):
        assert browser.get(path).status_code == 200


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    app = create_app(FakeEngine(), ServingSettings(max_body_bytes=100))
    status, headers, _, read = raw(app, [b"x" * 50, b"x" * 51], {"content-length": "101"})
    assert (status, read, headers["connection"]) == (413, 0, "close")
    assert raw(app, [b"x"], {"content-length": "9" * 40})[0] == 413


def test_a_body_that_does_not_say_is_read_up_to_the_cap() -> None:
    app = create_app(FakeEngine(), ServingSettings(max_body_bytes=100))
    status, headers, _, read = raw(app, [b"x" * 50] * 9)
    assert (status, read, headers["connection"]) == (413, 3, "close")
    body = json.dumps(BODY).encode()
    assert raw(app, [body[:20], body[20:], stays])[0] == 200


def test_bodies_under_way_have_room_together() -> None:
    """While one is ranked another of its size is told to come back; afterwards there is room again."""
    body = json.dumps(BODY).encode()
    size = {"content-length": str(len(body))}
    inner: list[int] = []

    class Asking(FakeEngine):
        async def rank(self, call: Call) -> Outcome:
            if not inner:
                inner.append(0)
                inner.append(await asyncio.to_thread(lambda: raw(app, [body, stays], size)[0]))
            return await super().rank(call)

    room = ServingSettings(max_body_bytes=len(body), max_bytes_under_way=2 * len(body) - 1)
    app = create_app(Asking(), room)
    assert raw(app, [body, stays], size)[0] == 200
    assert inner == [0, 429]
    assert raw(app, [body, stays], size)[0] == 200
    assert raw(app, [b"{", stays])[0] == 400
    assert raw(app, [body, stays])[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "Application/JSON; charset=utf-8"}, 200),
        ({"content-type": "application/vnd.api+json"}, 200),
        ({"content-encoding": "identity"}, 200),
    ],
)
def test_types_of_body(headers: dict[str, str], status: int) -> None:
    assert raw(create_app(FakeEngine()), [json.dumps(BODY).encode(), stays], headers)[0] == status


def test_a_client_that_hangs_up_frees_its_place() -> None:
    engine = FakeEngine(wait_s=60)
    body = json.dumps(BODY).encode()
    began = time.monotonic()
    status, *_ = raw(create_app(engine), [body, pause(0.05)])
    assert (status, engine.cancelled, engine.running) == (499, 1, 0)
    assert time.monotonic() - began < 30


def test_a_client_that_hangs_up_while_it_sends() -> None:
    engine = FakeEngine()
    assert raw(create_app(engine), [b'{"que', pause(0.01)], whole=False)[0] == 499
    assert not engine.calls


def test_a_real_client_that_hangs_up_frees_its_place() -> None:
    engine = FakeEngine(wait_s=600)
    body = json.dumps(BODY).encode()
    with served(create_app(engine)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            head = (
                f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            line.sendall(head.encode() + b"\r\n\r\n" + body)
            until = time.monotonic() + 60
            while not engine.running and time.monotonic() < until:
                time.sleep(0.005)
            assert engine.running == 1
        while engine.running and time.monotonic() < until:
            time.sleep(0.005)
    assert (engine.running, engine.cancelled) == (0, 1)


def test_a_large_body_that_is_refused_does_not_break_the_line() -> None:
    """A client that sends all of its body before it listens still hears why it was refused, on a line that stays."""
    import httpx

    body = json.dumps({"query": "q", "documents": ["x" * 4_000_000]}).encode()
    with served(create_app(FakeEngine(refuse=Overloaded("full", 1.0)))) as address, httpx.Client() as client:
        for _ in range(3):
            answer = client.post(f"{address}/v1/rerank", content=body, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert "connection" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "settings", "given_s"),
    [
        (None, ServingSettings(timeout_s=7.0), 7.0),
        ("1500", ServingSettings(), 1.5),
        ("900000", ServingSettings(max_timeout_s=45.0), 45.0),
    ],
)
def test_the_engine_is_told_how_long_the_client_waits(
    asked: str | None, settings: ServingSettings, given_s: float, clock: Callable[[float], None]
) -> None:
    engine = FakeEngine()
    clock(0.01)
    headers = {} if asked is None else {"x-request-timeout-ms": asked}
    assert raw(create_app(engine, settings), [json.dumps(BODY).encode(), stays], headers)[0] == 200
    assert given_s - 0.5 < engine.calls[0].timeout_s < given_s


@pytest.mark.parametrize("asked", ["0", "-5", "1.5", "soon", "", "\u00b2", "1e3", "9" * 99])
def test_a_time_that_is_no_number_is_refused(asked: str) -> None:
    app = create_app(FakeEngine())
    status, _, body, _ = raw(app, [b"{}"], {"x-request-timeout-ms": asked})
    assert (status, b"X-Request-Timeout-Ms" in body) == (422, True)


def test_when_the_time_runs_out_the_work_is_cancelled(clock: Callable[[float], None]) -> None:
    engine = FakeEngine(wait_s=60)
    clock(0.0)  # however long it takes to read the request, it is given to the engine
    began = time.monotonic()
    status, _, body, _ = raw(
        create_app(engine), [json.dumps(BODY).encode(), stays], {"x-request-timeout-ms": "50"}, "/v2/rerank"
    )
    assert (status, engine.cancelled) == (504, 1)
    assert "within 0.05 s" in json.loads(body)["message"]
    assert time.monotonic() - began < 30


def test_a_body_that_comes_too_slowly_is_not_waited_for(clock: Callable[[float], None]) -> None:
    clock(0.0)  # however long it takes until the body is looked at, it has time left
    status, _, body, _ = raw(
        create_app(FakeEngine()), [b'{"query":', stays, b'"q"}'], {"x-request-timeout-ms": "50"}, "/score"
    )
    assert status == 408
    assert json.loads(body)["error"]["message"].startswith("got 9 bytes of a body in 0.05 s")


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("", False)]
)
def test_every_answer_has_the_requests_id(given: str, kept: bool) -> None:
    browser = TestClient(create_app(FakeEngine()))
    for method, path in (("GET", "/health"), ("POST", "/v2/rerank"), ("GET", "/nowhere"), ("POST", "/score")):
        answer = browser.request(method, path, json=BODY, headers={"x-request-id": given})
        found = answer.headers["x-request-id"]
        assert (found == given) is kept
        assert len(found) == len(given) if kept else len(found) == 32
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_an_error_without_a_name_is_told_without_its_words() -> None:
    def outcome(_call: Call) -> Outcome:
        raise ZeroDivisionError("/secret/place")

    app = create_app(FakeEngine(outcome=outcome))
    with pytest.raises(ZeroDivisionError):
        TestClient(app).post("/v2/rerank", json=BODY)
    answer = TestClient(app, raise_server_exceptions=False).post("/v2/rerank", json=BODY)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("order", "scores"), [((0, 0), (1.0, 2.0)), ((0, 1), (float("nan"), 2.0)), ((0,), (1.0,)), ((0, 1), (None, 1.0))]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_order_is_never_told(path: str, order: tuple[int, ...], scores: tuple[float | None, ...]) -> None:
    app = create_app(FakeEngine(outcome=lambda call: Outcome(order, scores, "broken")))
    body = {"query": "q", "texts": ["a", "b"]} if path == "/rerank" else {"query": "q", "documents": ["a", "b"]}
    if "score" in path:
        body = {"queries": "q", "documents": ["a", "b"]}
    answer = TestClient(app).post(path, json=body)
    assert answer.status_code == (424 if path == "/rerank" else 500)
    assert "broken" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2/rerank", 405), ("DELETE", "/score", 405), ("POST", "/health", 405), ("GET", "/v2/nowhere", 404),
     ("GET", "/docs", 404), ("GET", "/redoc", 404), ("POST", "/v1/rerank/", 404)],
)  # fmt: skip
def test_what_is_not_served(method: str, path: str, status: int) -> None:
    answer = TestClient(create_app(FakeEngine())).request(method, path)
    assert answer.status_code == status
    assert ("allow" in answer.headers) is (status == 405)
    assert set(answer.json()) <= {"id", "message", "detail", "error", "error_type"}


def test_more_pages_on_the_same_server() -> None:
    app = create_app(FakeEngine(), routes=[Route("/", lambda _request: PlainTextResponse("hello"))])
    answer = TestClient(app).get("/")
    assert (answer.text, answer.headers["x-content-type-options"]) == ("hello", "nosniff")


def metrics_of(browser: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every number of a server, by its name and the values of its labels."""
    text = browser.get("/metrics").text
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted() -> None:
    class Stats(msgspec.Struct):
        queued: int = 3
        done: int = 5
        name: str = "not a number"

    class Counting(FakeEngine):
        def stats(self) -> Stats:
            return Stats()

    browser = TestClient(create_app(Counting()))
    browser.post("/v1/rerank", json=BODY)
    browser.post("/v1/rerank", json={**BODY, "odd": 1})
    browser.post("/v1/rerank", json={})
    for made_up in range(20):
        browser.get(f"/nowhere/{made_up}")
    found = metrics_of(browser)
    assert found["wholepage_requests_total", ("/v1/rerank", "200")] == 2
    assert found["wholepage_requests_total", ("/v1/rerank", "422")] == 1
    assert found["wholepage_requests_total", ("other", "404")] == 20
    assert found["wholepage_request_seconds_count", ("/v1/rerank",)] == 3
    assert found["wholepage_documents_sum", ("jina",)] == 4
    assert found["wholepage_warned_total", ()] == 1
    assert found["wholepage_in_flight", ()] == 1
    assert found["wholepage_ready", ()] == 1
    assert found["wholepage_engine_queued", ()] == 3
    assert found["wholepage_engine_done_total", ()] == 5
    assert not any("name" in name for name, _ in found)


def test_two_servers_count_for_themselves() -> None:
    first, second = TestClient(create_app(FakeEngine())), TestClient(create_app(FakeEngine(ready=False)))
    first.post("/v1/rerank", json=BODY)
    assert ("wholepage_requests_total", ("/v1/rerank", "200")) not in metrics_of(second)
    assert metrics_of(second)["wholepage_ready", ()] == 0


def test_readiness() -> None:
    browser = TestClient(create_app(FakeEngine(ready=False)))
    assert [browser.get(path).status_code for path in ("/readyz", "/health", "/ping", "/healthz")] == [503] * 3 + [200]


def raised() -> list[WholepageError]:
    """One error of every class in the table."""
    made = []
    for row in problems.TABLE:
        arguments: dict[str, tuple[Any, ...]] = {
            "Overloaded": ("full", 1.5), "TooManyRequests": ("often", 0.2), "ImageError": ("data:x", "missing", "gone"),
            "NotServed": ("nothing here", 405),
        }  # fmt: skip
        made.append(row.error(*arguments.get(row.error.__name__, (f"got {row.error.__name__}",))))
    return made


def test_errors_are_told_as_kept() -> None:
    """Status and body of every error for every family; RENEW_GOLDEN=1 writes them anew after a change that is meant."""
    told = {
        f"{type(error).__name__} {family.value}": [
            found.status, msgspec.to_builtins(found.body), found.headers,
        ]
        for error in raised()
        for family in Family
        for found in [problems.problem(error, family, "the-id")]
    }  # fmt: skip
    golden = Path(__file__).parents[2] / "golden" / "errors.json"
    if os.environ.get("RENEW_GOLDEN") == "1":
        golden.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert told == json.loads(golden.read_text(encoding="utf-8"))


def test_every_row_of_the_table_can_be_reached() -> None:
    for error in raised():
        row = next(row for row in problems.TABLE if isinstance(error, row.error))
        assert row.error is type(error)
