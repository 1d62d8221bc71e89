"""The endpoint of a model against a real HTTP server on this machine: patience, refusals, memory, a key kept secret."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wholepage.annotation.model_judge import Message, ModelAnnotator
from wholepage.apps.chat_endpoint import ChatEndpoint, Usage
from wholepage.pages import Choice, EndpointError, ImageRef, InputError, Modality, Page, Query, Question, Result
from wholepage.pages.errors import RecordError
from wholepage.pages.images import to_data_uri

ASKED: list[Message] = [{"role": "user", "content": "how good?"}]
KEY = "sk-very-secret"


def reply(content: str | None = '{"grade": 2}', **more: Any) -> dict[str, Any]:
    """What a server answers."""
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": usage,
        **more,
    }


class Stub:
    """A server that gives scripted answers in turn, the last again and again.

    An answer is (status, headers, body); a body may be bytes, JSON, or a function of the handler that writes it.
    """

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str], Any]] = [(200, {}, reply())]
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                with stub.lock:
                    stub.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(raw)))
                    status, headers, body = stub.script[min(len(stub.seen), len(stub.script)) - 1]
                if callable(body):
                    body(self)
                    return
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                pass

        self.lock, self.over = threading.Lock(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def stop(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_KEY", KEY)
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def endpoint(stub: Stub) -> Iterator[Callable[..., ChatEndpoint]]:
    made: list[ChatEndpoint] = []

    def make(**options: Any) -> ChatEndpoint:
        options = {"sleep": options.pop("waits", []).append, "timeout_s": 10.0, **options}
        made.append(ChatEndpoint(options.pop("url", stub.url), "m-1", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# ------------------------------------------------------------------ one answer


def test_an_answer_and_what_it_cost(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    model = endpoint(prompt_price=2.0, completion_price=10.0, options={"max_tokens": 50, "seed": 3})
    assert model(ASKED) == '{"grade": 2}'
    ((path, headers, body),) = stub.seen
    assert path == "/v1/chat/completions"
    assert body == {"model": "m-1", "messages": ASKED, "temperature": 0.0, "max_tokens": 50, "seed": 3}
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert model.usage == Usage(
        requests=1, answers=1, prompt_tokens=100, completion_tokens=7, cost=pytest.approx((200 + 70) / 1e6)
    )


def test_temperature_can_be_left_out(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    endpoint(options={"temperature": None})(ASKED)
    assert "temperature" not in stub.seen[0][2]


def test_a_server_that_does_not_count_tokens(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(200, {}, {"choices": [{"message": {"content": "yes"}}]})]
    model = endpoint(prompt_price=5.0)
    assert model(ASKED) == "yes"
    assert model.usage == Usage(requests=1, answers=1, untold=1)


def test_pictures_go_as_data(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    dot = to_data_uri(Image.new("RGB", (1, 1), "red"))
    page = Page(Query("q", "a dot"), (Result("a", Modality.IMAGE, images=(ImageRef(dot),)),))
    assert ModelAnnotator(endpoint(), "m-1", levels=4).answer(Question(page, "a")).grade == 2.0
    urls = [p["image_url"]["url"] for p in stub.seen[0][2]["messages"][1]["content"] if p["type"] == "image_url"]
    assert len(urls) == 1
    assert urls[0].startswith("data:image/jpeg;base64,")


# ------------------------------------------------------------------ patience


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_busy_server_is_asked_again(status: int, stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(status, {}, {"error": {"message": "slow down"}})] * 3 + [(200, {}, reply())]
    waits: list[float] = []
    model = endpoint(waits=waits)
    assert model(ASKED) == '{"grade": 2}'
    assert waits == [0.5, 1.0, 2.0]
    assert (model.usage.requests, model.usage.repeated, model.usage.answers) == (4, 3, 1)


def test_the_server_says_how_long_to_wait(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    began = datetime.now(UTC)
    soon = format_datetime(began + timedelta(seconds=20), usegmt=True)
    past = format_datetime(began - timedelta(seconds=20), usegmt=True)
    asked = ["7", "1.5", soon, past, "whenever", ""]
    stub.script = [(429, {"Retry-After": text}, b"") for text in asked] + [(200, {}, reply())]
    waits: list[float] = []
    endpoint(waits=waits, tries=9)(ASKED)
    assert waits[:2] == [7.0, 1.5]
    gone = (datetime.now(UTC) - began).total_seconds()
    assert 19 - gone <= waits[2] <= 20  # the header has whole seconds
    assert waits[3] == 0.0
    assert waits[4:] == [8.0, 16.0]


def test_who_asks_for_too_long_a_pause_is_left_alone(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(429, {"Retry-After": "3600"}, {"error": "quota"})]
    waits: list[float] = []
    with pytest.raises(EndpointError, match=r"HTTP 429 .*quota.*it asks for 3600 s") as caught:
        endpoint(waits=waits)(ASKED)
    assert (caught.value.reason, waits, len(stub.seen)) == ("busy", [], 1)


def test_patience_ends(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(503, {}, b"down")]
    waits: list[float] = []
    with pytest.raises(EndpointError, match="HTTP 503 'down', 4 times") as caught:
        endpoint(waits=waits, tries=4, longest_wait_s=1.0)(ASKED)
    assert (caught.value.reason, waits, len(stub.seen)) == ("busy", [0.5, 1.0, 1.0], 4)


def test_a_slow_server(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    never = (200, {}, lambda handler: stub.over.wait(120))
    stub.script = [never, (200, {}, reply())]
    assert endpoint(timeout_s=1.0)(ASKED) == '{"grade": 2}'
    stub.script = [never]
    model = endpoint(timeout_s=0.2, tries=2)
    with pytest.raises(EndpointError, match=r"timeout: got no whole answer within 0\.2 s, 2 times") as caught:
        model(ASKED)
    assert caught.value.reason == "timeout"
    assert (model.usage.requests, model.usage.answers) == (2, 0)


def test_an_answer_that_trickles(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "400")
        handler.end_headers()
        try:
            for _ in range(400):  # who waits for all of it has it 20 s later, and tells another reason
                handler.wfile.write(b" ")
                if stub.over.wait(0.05):
                    return
        except OSError:
            return

    stub.script = [(200, {}, trickle)]
    with pytest.raises(EndpointError) as caught:
        endpoint(timeout_s=0.3, tries=1)(ASKED)
    assert caught.value.reason == "timeout"


def test_nobody_there(endpoint: Callable[..., ChatEndpoint], stub: Stub) -> None:
    waits: list[float] = []
    with socket.socket() as held:  # nobody else gets the port, and nobody listens on it
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=r"unreachable: got ConnectError .* 3 times") as caught:
            endpoint(url=url, waits=waits, tries=3)(ASKED)
    assert (caught.value.reason, len(waits), stub.seen) == ("unreachable", 2, [])


def test_a_connection_that_breaks_is_made_anew(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    stub.script = [(200, {}, hang_up), (200, {}, reply())]
    model = endpoint()
    assert model(ASKED) == '{"grade": 2}'
    assert model.usage.repeated == 1


# ------------------------------------------------------------------ what is no answer


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 204, 301])
def test_a_refusal_is_not_repeated(status: int, stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(status, {"Location": "http://127.0.0.1:9/"}, b"" if status == 204 else {"error": "no such model"})]
    with pytest.raises(EndpointError, match=f"refused: got HTTP {status}") as caught:
        endpoint()(ASKED)
    assert (caught.value.reason, len(stub.seen)) == ("refused", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>proxy</html>",
        b"[]",
        b"{}",
        b'{"choices": {}}',
        b'{"choices": [{}]}',
        b'{"choices": [1]}',
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": 3}}]}',
        b"[" * 100_000,
        reply(None),
        reply(""),
        {"choices": []},
        {"error": {"message": "in a 200"}},
    ],
    ids=str,
)
def test_what_is_no_answer_is_an_error(
    body: Any, stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path
) -> None:
    stub.script = [(200, {}, body)]
    model = endpoint(cache=tmp_path)
    with pytest.raises(EndpointError, match="malformed") as caught:
        model(ASKED)
    assert caught.value.reason == "malformed"
    assert len(str(caught.value)) < 1000
    assert list(tmp_path.rglob("*.json")) == []  # nothing of it is remembered


def test_a_refusal_of_the_model_is_told(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(200, {}, {"choices": [{"message": {"content": None, "refusal": "I cannot look at this."}}]})]
    with pytest.raises(EndpointError, match=r"a refusal, 'I cannot look at this\.'"):
        endpoint()(ASKED)


def test_an_endless_answer_is_cut_off(stub: Stub, endpoint: Callable[..., ChatEndpoint]) -> None:
    stub.script = [(200, {}, b" " * (5 * 2**20))]
    with pytest.raises(EndpointError, match="more than 4194304 bytes"):
        endpoint()(ASKED)


# ------------------------------------------------------------------ the key


def test_the_key_goes_to_the_server_and_nowhere_else(
    stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path
) -> None:
    model = endpoint(api_key_env="TEST_KEY", cache=tmp_path)
    model(ASKED)
    assert stub.seen[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(model)
    (kept,) = tmp_path.rglob("*.json")
    assert KEY not in kept.read_text()
    stub.script = [(401, {}, {"error": f"Incorrect API key provided: {KEY}."})]
    with pytest.raises(EndpointError) as caught:
        model([{"role": "user", "content": "other"}])
    assert KEY not in str(caught.value)
    assert "provided: ***" in str(caught.value)
    stub.script = [(200, {}, f"echo {KEY}".encode())]
    with pytest.raises(EndpointError) as caught:
        model([{"role": "user", "content": "other"}])
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", [None, "", "  ", "two\nlines", "schlüssel"])
def test_without_a_key_nothing_is_sent(
    key: str | None, stub: Stub, endpoint: Callable[..., ChatEndpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY")
    if key is not None:
        monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(InputError, match="'TEST_KEY'") as caught:
        endpoint(api_key_env="TEST_KEY")(ASKED)
    assert stub.seen == []
    assert not (key and key.strip()) or key not in str(caught.value)


# ------------------------------------------------------------------ memory


def test_the_same_is_never_asked_twice(stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path) -> None:
    stub.script = [(200, {}, reply("one")), (200, {}, reply("two"))]
    first = endpoint(cache=tmp_path, prompt_price=1.0)
    assert [first(ASKED), first(ASKED)] == ["one", "one"]
    again = endpoint(cache=tmp_path, prompt_price=1.0)
    assert again(ASKED) == "one"
    assert (first.usage.requests, first.usage.remembered) == (1, 1)
    assert again.usage == Usage(remembered=1)  # and costs nothing
    assert endpoint(cache=tmp_path, options={"seed": 1})(ASKED) == "two"  # another request
    assert len(stub.seen) == 2


def test_a_judging_that_was_interrupted_goes_on(
    stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path
) -> None:
    page = Page(Query("q", "shoes"), tuple(Result(f"r{i}", Modality.TEXT, f"shoe {i}") for i in range(6)))
    stub.script = [(200, {}, reply())] * 3 + [(401, {}, {"error": "credit used up"})]

    def judged(model: ChatEndpoint) -> list[float | None]:
        annotator = ModelAnnotator(model, "m-1", levels=4)
        return [annotator.answer(Question(page, result_id)).grade for result_id in page.result_ids]

    with pytest.raises(EndpointError, match="credit used up"):
        judged(endpoint(cache=tmp_path))
    stub.script = [(200, {}, reply())]
    model = endpoint(cache=tmp_path)
    assert judged(model) == [2.0] * 6
    assert (model.usage.remembered, model.usage.requests) == (3, 3)


def test_a_malformed_answer_is_asked_about_anew_even_when_remembered(
    stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path
) -> None:
    page = Page(Query("q", "shoes"), (Result("a", Modality.TEXT, "shoe"), Result("b", Modality.TEXT, "lamp")))
    stub.script = [
        (200, {}, reply("I think A")),
        (200, {}, reply('{"choice": "A"}')),
        (200, {}, reply('{"choice": "B"}')),
    ]
    for _ in range(2):
        annotator = ModelAnnotator(endpoint(cache=tmp_path), "m-1", levels=4)
        assert annotator.answer(Question(page, "a", "b")).choice is Choice.LEFT
    assert len(stub.seen) == 3


def test_a_damaged_memory_is_told(stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path) -> None:
    model = endpoint(cache=tmp_path)
    model(ASKED)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text('{"model": "m-1"')
    with pytest.raises(RecordError, match=f"{kept.name}:1"):
        model(ASKED)


def test_threads_share_an_endpoint(stub: Stub, endpoint: Callable[..., ChatEndpoint], tmp_path: Path) -> None:
    model = endpoint(cache=tmp_path, prompt_price=1.0)
    said: list[str] = []
    threads = [
        threading.Thread(
            target=lambda n=n: said.extend(model([{"role": "user", "content": f"{n} {i}"}]) for i in range(5))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ['{"grade": 2}'] * 40
    assert (model.usage.answers, model.usage.prompt_tokens) == (40, 4000)
    assert model.usage.cost == pytest.approx(40 * 100 / 1e6)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("ftp://x/v1", {}, "base_url: got 'ftp://x/v1'"),
        ("x/v1", {}, "base_url"),
        ("http://", {}, "base_url"),
        ("http://x:port/v1", {}, "base_url"),
        ("http://me:pass@x/v1", {}, "no user"),
        ("http://x/v1?key=1", {}, "no user, query"),
        ("http://x", {"timeout_s": 0}, "timeout_s: got 0"),
        ("http://x", {"timeout_s": float("inf")}, "timeout_s: got inf"),
        ("http://x", {"tries": 0}, "tries: got 0"),
        ("http://x", {"longest_wait_s": -1}, "longest_wait_s: got -1"),
        ("http://x", {"prompt_price": -1}, "price: got -1"),
        ("http://x", {"options": {"model": "other"}}, r"options: got \['model'\]"),
        ("http://x", {"options": {"stream": True}}, r"options: got \['stream'\]"),
    ],
)
def test_bad_options_are_refused(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ChatEndpoint(url, "m", **options)


def test_it_closes_its_connections(stub: Stub) -> None:
    with ChatEndpoint(stub.url, "m-1") as model:
        model(ASKED)
    with pytest.raises(RuntimeError, match="closed"):
        model([{"role": "user", "content": "after"}])
