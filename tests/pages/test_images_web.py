"""Pictures from the web: only when asked for, and servers of all manners."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wholepage.pages import ImageError, ImageRef
from wholepage.pages.images import image_sha256, open_image, read_image_bytes

PIXELS = np.random.default_rng(7).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def encoded() -> bytes:
    """The picture as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers by path, as good and bad servers do."""

    def do_GET(self) -> None:
        raw = encoded()
        match self.path:
            case "/a.png":
                self._answer(200, raw)
            case "/moved":
                self._answer(302, b"", Location="/a.png")
            case "/to-file":
                self._answer(302, b"", Location="file:///etc/hostname")
            case "/to-ftp":
                self._answer(302, b"", Location="ftp://127.0.0.1/a.png")
            case "/round":
                self._answer(302, b"", Location="/round")
            case "/cut":
                self._answer(200, raw[:50], length=len(raw))
            case "/claims":
                self._answer(200, raw, length=10**9)
            case "/endless":
                self._answer(200, bytes(10**6), length=None)
            case "/slow":  # until the client hangs up
                self.send_response(200)
                self.end_headers()
                while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
                    self.wfile.write(b"x")
                    self.wfile.flush()
            case "/silent":
                self.server.stopped.wait()  # type: ignore[attr-defined]
            case "/stuck":
                self._answer(200, b"x", length=None)
                self.wfile.flush()
                self.server.stopped.wait()  # type: ignore[attr-defined]
            case "/broken":
                self._answer(500, b"")
            case _:
                self._answer(404, b"")

    def _answer(self, status: int, body: bytes, length: int | None = -1, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients here hang up on purpose."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = _Quiet(("127.0.0.1", 0), _Server)
    serving.stopped = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.stopped.set()  # type: ignore[attr-defined]
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_the_web_is_read_when_asked_for(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for path in ("/a.png", "/moved"):
        assert np.array_equal(np.asarray(open_image(ImageRef(server + path), allow_http=True)), PIXELS)
    assert image_sha256(ImageRef(f"{server}/a.png"), allow_http=True) == hashlib.sha256(encoded()).hexdigest()


@pytest.mark.parametrize(
    ("path", "reason", "said"),
    [
        ("/none", "missing", "got status 404"),
        ("/broken", "unreadable", "got status 500"),
        ("/to-file", "unreadable", "got (an error while fetching|status 302)"),
        ("/to-ftp", "unreadable", "redirect to ftp:"),
        ("/round", "unreadable", "got status 302"),
        ("/cut", "unreadable", "an error while fetching"),
        ("/claims", "too-large", "got 1000000000 bytes or more"),
        ("/endless", "too-large", "bytes or more; allowed: 100000"),
    ],
)
def test_bad_servers_are_image_errors(
    server: str, monkeypatch: pytest.MonkeyPatch, path: str, reason: str, said: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ImageError, match=said) as caught:
        read_image_bytes(ImageRef(server + path), allow_http=True, max_bytes=100_000, timeout_s=60, at="query")
    assert caught.value.reason == reason


@pytest.mark.parametrize("path", ["/slow", "/silent", "/stuck"])
def test_servers_that_keep_one_waiting_are_image_errors(
    server: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A byte now and then, no answer at all, and one that stops halfway."""
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ImageError, match=r"more than 0\.3 s") as caught:
        read_image_bytes(ImageRef(server + path), allow_http=True, timeout_s=0.3, at="query")
    assert caught.value.reason == "unreadable"


def test_a_server_that_is_gone_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ImageError, match="an error while fetching"):
        read_image_bytes(ImageRef("http://127.0.0.1:1/a.png"), allow_http=True)
    with pytest.raises(ImageError, match=r"is scheme: got ftp:; allowed: .*http"):
        read_image_bytes(ImageRef("ftp://127.0.0.1:1/a.png"), allow_http=True)
