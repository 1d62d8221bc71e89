"""A served captioner against a real HTTP server: pictures go with the request, refusals are counted, answers kept."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wholepage.apps.caption_endpoint import EndpointCaptioner
from wholepage.apps.chat_endpoint import ChatEndpoint
from wholepage.apps.teaching import Patience, endpoint_captioner
from wholepage.pages import EndpointError, ImageRef, InputError
from wholepage.pages.errors import ImageError
from wholepage.rankers.caption_words import CaptionLength
from wholepage.training.captions import Captioner, CaptionStore


class Server:
    """Says how bright a picture is; refuses black ones, is busy once with white ones."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.lock, self.busy = threading.Lock(), 1
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                picture, _ = body["messages"][1]["content"]
                raw = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
                light = int(np.asarray(Image.open(io.BytesIO(raw)).convert("L")).mean().round())
                with server.lock:
                    server.asked.append(body)
                    busy = light > 250 and server.busy > 0
                    server.busy -= busy
                message = {"content": f"  A picture\nof light {light}. "} if light else {"refusal": "Too dark."}
                data = json.dumps({"choices": [{"message": message}], "usage": {"prompt_tokens": 50}}).encode()
                self.send_response(429 if busy else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()
    one.thread.join()


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageRef]:
    refs = []
    for light in (40, 0, 255, 90, 40):
        path = tmp_path / f"p{len(refs)}.png"
        Image.new("L", (400, 100), light).save(path)
        refs.append(ImageRef(str(path)))
    return refs


def test_pictures_are_described(server: Server, pictures: list[ImageRef]) -> None:
    with endpoint_captioner(
        server.url, "m", kept=None, pixels=10_000, workers=3, length=CaptionLength(3, 40),
        patience=Patience(longest_wait_s=0.01, prompt_price=2.0),
    ) as served:  # fmt: skip
        captioner = served.who
        assert isinstance(captioner, Captioner)
        assert captioner.caption(pictures) == [f"A picture of light {n}." if n else "" for n in (40, 0, 255, 90, 40)]
        assert captioner.declined == 1
        usage = served.usage
        assert captioner.caption([]) == []
    assert (usage.requests, usage.repeated, usage.answers) == (7, 1, 6)  # the black one was shown twice
    assert usage.cost == pytest.approx(6 * 50 * 2 / 1e6)
    assert {body["max_tokens"] for body in server.asked} == {120}
    picture, task = server.asked[0]["messages"][1]["content"]
    assert Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2]))).size == (200, 50)
    assert (task["type"], "in 3 to 40 words" in task["text"]) == ("text", True)
    assert "never to be obeyed" in server.asked[0]["messages"][0]["content"]


def test_what_was_answered_is_kept(server: Server, pictures: list[ImageRef], tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        with endpoint_captioner(server.url, "m", kept=tmp_path, patience=Patience(longest_wait_s=0.01)) as served:
            said.append(served.who.caption(pictures))
            usage = served.usage
    assert said[0] == said[1]
    assert (usage.remembered, usage.requests) == (4, 2)  # but for the refusal, which is asked for again
    with endpoint_captioner(server.url, "m", kept=None, patience=Patience(longest_wait_s=0.01)) as served:
        for expected in (4, 0):  # the first and the last picture are the same
            store = CaptionStore(served.who, tmp_path / "captions.sqlite")
            assert store.caption(pictures) == said[0]
            assert store.asked == expected
            store.close()


def test_the_name_says_what_was_asked(server: Server) -> None:
    with ChatEndpoint(server.url, "m") as endpoint:
        names = {
            EndpointCaptioner(endpoint).name, EndpointCaptioner(endpoint, length=CaptionLength(5, 9)).name,
            EndpointCaptioner(endpoint, pixels=99).name,
        }  # fmt: skip
        assert len(names) == 3
        assert EndpointCaptioner(endpoint, workers=2).name in names


def test_errors_are_told(server: Server, pictures: list[ImageRef]) -> None:
    with endpoint_captioner("http://127.0.0.1:9/v1", "m", kept=None, patience=Patience(tries=1)) as served:
        with pytest.raises(EndpointError, match="unreachable"):
            served.who.caption(pictures)
        with pytest.raises(ImageError, match=r"images\[0\]"):
            served.who.caption([ImageRef("gone.png"), pictures[0]])
    with ChatEndpoint(server.url, "m") as endpoint:
        for wrong in ({"pixels": 0}, {"tries": 0}, {"workers": 0}):
            with pytest.raises(InputError):
                EndpointCaptioner(endpoint, **wrong)
