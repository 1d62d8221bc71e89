"""What is fetched, as whom, within which limits, and what is made of bad servers."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wholepage.apps.serving.fetch import FetchRefused, FetchSettings, SafeFetcher
from wholepage.pages.errors import ImageError

from .ssrf_corpus import PUBLIC, PUBLIC_V6
from .web_stub import Answer, Names, Network, Web, http, redirect

SRC = str(Path(__file__).parents[3] / "src")
CONTEXT = httpcore.default_ssl_context()  # once: it takes a while to read
URL = "http://good.example/a.png"
NAMES = {"good.example": [[PUBLIC]], "other.example": [[PUBLIC]]}


def picture(kind: str = "PNG", side: int = 3) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, 2), "red").save(buffer, kind)
    return buffer.getvalue()


PNG = picture()
_HEAD = b"IHDR" + struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
HUGE = PNG[:12] + _HEAD + struct.pack(">I", zlib.crc32(_HEAD)) + PNG[33:]


def fetcher(server: Web | None, connect: Any = None, **settings: Any) -> SafeFetcher:
    servers = {} if server is None else {PUBLIC: server}
    return SafeFetcher(FetchSettings(**settings), Names(NAMES), connect or Network(servers), CONTEXT)


async def came(answer: Answer, url: str = URL, **settings: Any) -> tuple[bytes | ImageError, Web]:
    async with Web(answer) as server:
        try:
            return await fetcher(server, **settings).fetch(url), server
        except ImageError as error:
            return error, server


def of(answer: bytes | Answer, **settings: Any) -> bytes | ImageError:
    return asyncio.run(came(answer if callable(answer) else lambda _: answer, **settings))[0]


# ------------------------------------------------------------------ as whom


def test_nothing_of_this_server_goes_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine good.example login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))

    async def run() -> None:
        async with (
            Web(lambda target: redirect("/b?x=1") if target == "/a" else http(PNG)) as server,
            Web(lambda _: http(PNG)) as proxy,
        ):
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert await fetcher(server).fetch("http://good.example/a") == PNG
            assert proxy.hits == 0
            lines = "Host: good.example", "User-Agent: wholepage", "Accept: image/*", "Accept-Encoding: identity"
            for head, target in zip(server.heads, ("/a", "/b?x=1"), strict=True):
                expected = [f"GET {target} HTTP/1.1", *lines, "Connection: close", "", ""]
                assert head.decode() == "\r\n".join(expected)

    asyncio.run(run())


def test_the_user_agent_is_as_set() -> None:
    found, server = asyncio.run(came(lambda _: http(PNG), user_agent="shop-search/2 (+https://shop.example)"))
    assert found == PNG
    assert b"\r\nUser-Agent: shop-search/2 (+https://shop.example)\r\n" in server.heads[0]


# ------------------------------------------------------------------ what comes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_come_as_they_are(kind: str) -> None:
    raw = picture(kind)
    assert of(http(raw, kind="image/whatever; charset=x")) == raw
    half = len(raw) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (raw[:half], raw[half:])) + b"0\r\n\r\n"
    assert of(http(parts, "Transfer-Encoding: chunked")) == raw


ANSWERS: list[tuple[str, bytes, str, str]] = [
    ("not there", http(status="404 Not Found"), "missing", "got status 404; allowed: 200"),
    ("not there any more", http(status="410 Gone"), "missing", "got status 410"),
    ("broken", http(status="500 Oh"), "unreadable", "got status 500"),
    ("forbidden", http(PNG, status="403 No"), "unreadable", "got status 403"),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", "unreadable", "got status 204"),
    ("a part", http(PNG, status="206 Partial Content"), "unreadable", "got status 206"),
    ("not modified", b"HTTP/1.1 304 Not Modified\r\n\r\n", "unreadable", "got status 304"),
    ("another protocol", b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "unreadable", "is none of HTTP"),
    ("several", http(status="300 Multiple"), "unreadable", "got status 300"),
    ("a redirect to nowhere", http(status="302 Found"), "unreadable", "got status 302 without an address"),
    ("a web page", http(b"<html>", kind="text/html"), "unreadable", "type 'text/html'; allowed: image/"),
    ("a picture that says it is a file", http(PNG, kind="application/octet-stream"), "unreadable", "content type"),
    ("no type at all", http(PNG, kind=None), "unreadable", "got the content type ''"),
    ("a web page that says it is a picture", http(b"<html>"), "unreadable", "begin b'<html>'"),
    ("a drawing", http(b"<svg xmlns='x'/>", kind="image/svg+xml"), "unreadable", "begin b'<svg xml'"),
    ("nothing", http(), "unreadable", "0 bytes that begin"),
    ("gzip", http(PNG, "Content-Encoding: gzip"), "unreadable", "got bytes encoded as 'gzip'"),
    ("gzip behind identity", http(PNG, "Content-Encoding: identity, gzip"), "unreadable", "encoded as"),
    ("gzip, after all", http(PNG, "Content-Encoding: identity", "Content-Encoding: br"), "unreadable", "encoded"),
    ("cut short", http(PNG, f"Content-Length: {len(PNG) + 1}"), "unreadable", "got an answer that broke off"),
    ("cut in a chunk", http(b"10\r\nabc", "Transfer-Encoding: chunked"), "unreadable", "broke off"),
    ("a chunk of no length", http(b"x\r\nabc", "Transfer-Encoding: chunked"), "unreadable", "is none of HTTP"),
    ("two lengths", http(PNG, "Content-Length: 5", "Content-Length: 6"), "unreadable", "is none of HTTP"),
    ("a length below nothing", http(PNG, "Content-Length: -1"), "unreadable", "is none of HTTP"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", "unreadable", "is none of HTTP"),
    ("silence", b"", "unreadable", "is none of HTTP"),
    ("more than allowed, by its word", http(PNG, "Content-Length: 99999999999"), "too-large", "got more than 10485760"),
    ("a size beyond all", http(HUGE), "too-large", "Image size (4294836225 pixels)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reason", "said"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_what_is_no_picture_says_why(answer: bytes, reason: str, said: str) -> None:
    error = of(answer)
    assert isinstance(error, ImageError)
    assert not isinstance(error, FetchRefused)
    assert error.reason == reason
    assert said in str(error)
    assert str(error).startswith(f"image '{URL}' is {reason}: ")
    assert PUBLIC not in str(error)


def test_a_length_that_is_too_small_cuts_and_one_picture_in_it_is_whole() -> None:
    assert of(http(PNG + b"more", f"Content-Length: {len(PNG)}")) == PNG


def test_types_may_be_named() -> None:
    types = ("image/png", "application/")
    assert of(http(PNG, kind="Application/Octet-Stream"), content_types=types) == PNG
    assert of(http(PNG, kind="IMAGE/PNG ;q"), content_types=types) == PNG
    assert isinstance(of(http(PNG, kind="image/pngs"), content_types=types), ImageError)


def test_limits_of_bytes_and_pixels_are_exact() -> None:
    assert of(http(PNG), max_bytes=len(PNG), max_pixels=6) == PNG
    for answer in (http(PNG), http(PNG, "Transfer-Encoding: x")[: -len(PNG)], http(b"")):
        assert answer
    chunked = http(b"%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG), "Transfer-Encoding: chunked")
    until_close = http(PNG, "Content-Length: 0").replace(b"Content-Length: 0\r\n", b"")
    for answer in (http(PNG), chunked, until_close):
        assert of(answer, max_bytes=len(PNG)) == PNG
        error = of(answer, max_bytes=len(PNG) - 1)
        assert isinstance(error, ImageError)
        assert f"is too-large: got more than {len(PNG) - 1} bytes; allowed: {len(PNG) - 1}" in str(error)
    error = of(http(PNG), max_pixels=5)
    assert isinstance(error, ImageError)
    assert "is too-large: got 3 x 2 = 6 pixels; allowed: 5" in str(error)


# ------------------------------------------------------------------ servers that will not end


async def _forever(head: bytes, part: bytes, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    yield head
    while True:
        yield part
        await asyncio.sleep(pause_s)


ENDLESS: list[tuple[str, bytes, bytes, float, str]] = [
    ("a body", http()[:-4].replace(b"\r\nContent-Length: 0", b"") + b"\r\n\r\n", bytes(2**16), 0.0, "too-large"),
    ("chunks", http(b"", "Transfer-Encoding: chunked"), b"ffff\r\n" + bytes(0xFFFF) + b"\r\n", 0.0, "too-large"),
    ("chunks of one byte", http(b"", "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 999, 0.0, "unreadable"),
    ("extensions of a chunk", http(b"", "Transfer-Encoding: chunked") + b"1;", b"x" * 9999, 0.0, "unreadable"),
    ("headers", b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 999, 0.0, "unreadable"),
    ("one header", b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 9999, 0.0, "unreadable"),
    ("answers before the answer", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0.0, "too-large"),
    ("a body, byte by byte", http(b"", "Content-Length: 1000"), b"x", 0.05, "unreadable"),
    ("headers, byte by byte", b"HTTP/1.1 200 OK\r\n", b"X", 0.05, "unreadable"),
    ("silence", b"", b"", 0.05, "unreadable"),
]


@pytest.mark.parametrize(
    ("head", "part", "pause_s", "reason"), [case[1:] for case in ENDLESS], ids=[case[0] for case in ENDLESS]
)
def test_what_never_ends_is_ended(head: bytes, part: bytes, pause_s: float, reason: str) -> None:
    began = time.monotonic()
    error = of(lambda _: _forever(head, part, pause_s), max_bytes=2**20, total_s=0.5 if pause_s else 60.0)
    assert isinstance(error, ImageError)
    assert error.reason == reason
    assert ("no whole answer within 0.5 s" in str(error)) == bool(pause_s)
    assert "no whole answer within 60 s" not in str(error)
    assert time.monotonic() - began < 60


def test_slow_names_and_slow_connections_end_in_time() -> None:
    async def never(*_: object) -> Any:
        await asyncio.sleep(60)

    async def run() -> None:
        for one in (SafeFetcher(FetchSettings(total_s=0.2), never, None, CONTEXT), fetcher(None, never, total_s=0.2)):
            with pytest.raises(
                ImageError, match=r"got no whole answer within 0\.2 s; allowed: 0\.2 s in all"
            ) as caught:
                await one.fetch(URL)
            assert caught.value.reason == "unreadable"
            assert one.counts == {"unreadable": 1}

    asyncio.run(run())


def test_a_fetch_that_is_cancelled_leaves_nothing_open() -> None:
    async def run() -> None:
        async with Web(lambda _: _forever(http(b"", "Content-Length: 100000"), b"x", 0.01)) as server:
            one = fetcher(server, at_once=1)
            first, second = (asyncio.ensure_future(one.fetch(URL)) for _ in range(2))
            while not server.now:
                await asyncio.sleep(0.01)
            second.cancel()
            first.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
            assert first.cancelled()
            assert second.cancelled()
            while server.now:
                await asyncio.sleep(0.01)
            assert one.counts == {"cancelled": 2}
            assert not one._of_host
            assert not one._places.locked()
            assert server.hits == 1

    asyncio.run(asyncio.wait_for(run(), 60))


def test_fetches_at_once_are_few_in_all_and_fewer_a_host() -> None:
    async def run(urls: list[str], most: int) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            while server.most < most:  # until so many have come at once
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)  # and one more would have, if it were let
            yield http(PNG)

        async with Web(lambda _: slowly()) as server:
            one = fetcher(server, at_once=5, per_host=2)
            assert await asyncio.gather(*(one.fetch(url) for url in urls)) == [PNG] * len(urls)
            assert server.most == most
            assert one.counts == {"fetched": len(urls)}
            assert not one._of_host

    asyncio.run(run([URL] * 6, 2))
    asyncio.run(run([URL, "http://other.example/"] * 4, 4))
    asyncio.run(run([f"http://{PUBLIC}/", URL, "http://other.example/"] * 3, 5))


def test_one_address_that_does_not_answer_is_passed_over() -> None:
    async def run() -> None:
        async with Web(lambda _: http(PNG)) as server:
            names = Names({"good.example": [[PUBLIC_V6, PUBLIC]], "lost.example": [[PUBLIC_V6] * 9 + ["8.8.8.8"]]})
            network = Network({PUBLIC: server})
            one = SafeFetcher(FetchSettings(), names, network, CONTEXT)
            assert await one.fetch(URL) == PNG
            assert network.called == [(PUBLIC_V6, 80), (PUBLIC, 80)]
            with pytest.raises(ImageError, match=r"is unreadable: got no connection; allowed: a server") as caught:
                await one.fetch("http://lost.example/")
            assert "2606" not in str(caught.value)
            assert network.called[2:] == [(PUBLIC_V6, 80), ("8.8.8.8", 80)]
            assert one.counts == {"fetched": 1, "unreadable": 1}

    asyncio.run(run())


@given(st.binary(max_size=300) | st.builds(lambda head, body: http(body, *head), st.lists(
    st.sampled_from(["Content-Length: 3", "Transfer-Encoding: chunked", "Connection: close", "Location: /b", ": x",
                     "Content-Encoding: gzip", "X: \xff", "Content-Length: 1e3", "Transfer-Encoding: gzip, chunked"]),
    max_size=4), st.binary(max_size=60) | st.just(PNG)))  # fmt: skip
def test_any_answer_is_a_picture_or_an_error(answer: bytes) -> None:
    found = of(answer, total_s=5.0, max_redirects=1)
    assert isinstance(found, ImageError) or found.startswith(b"\x89PNG")


MEMORY = """
import asyncio, gzip, sys
sys.path.insert(0, sys.argv[1])
from ssrf_corpus import PUBLIC
from web_stub import Names, Network, Web, http
from wholepage.apps.serving.fetch import FetchSettings, SafeFetcher
from wholepage.pages.errors import ImageError

def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))

async def body(head):
    yield head
    while True:
        yield bytes(2**16)

ANSWERS = {
    "/gzip": http(gzip.compress(bytes(2**26)), "Content-Encoding: gzip"),
    "/fits": http(b"", f"Content-Length: {10 * 2**20}"),
    "/endless": b"HTTP/1.1 200 OK\\r\\nContent-Type: image/png\\r\\n\\r\\n",
}

def answer(target):
    return ANSWERS[target] if target == "/gzip" else body(ANSWERS[target])

async def run():
    async with Web(answer) as server:
        names = [f"h{i}.example" for i in range(12)]
        looked_up = Names({name: [[PUBLIC]] for name in names})
        one = SafeFetcher(FetchSettings(total_s=60.0), looked_up, Network({PUBLIC: server}))
        before = peak()
        for target in ("gzip", "endless", "fits"):
            found = await asyncio.gather(*(one.fetch(f"http://{n}/{target}") for n in names), return_exceptions=True)
            assert all(isinstance(error, ImageError) for error in found), found
            del found
        print(peak() - before, dict(one.counts))

asyncio.run(run())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here, which tells of memory")
def test_twelve_bombs_at_once_take_less_than_300_megabytes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(Path(__file__).parent)],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": SRC},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown, counts = done.stdout.split(" ", 1)
    assert int(grown) < 300, grown
    assert counts.strip() == "{'unreadable': 24, 'too-large': 12}"


# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of ``good.example`` and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example", "-keyout", "key.pem",
         "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


async def over_tls(
    certificate: Path, answer: Answer, check: Callable[[SafeFetcher, Web, list[str | None]], Awaitable[None]]
) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    asked: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: asked.append(name)
    believed = ssl.create_default_context(cafile=str(certificate))
    async with Web(answer, ssl=served) as server:
        one = SafeFetcher(FetchSettings(), Names(NAMES), Network({PUBLIC: server}), believed)
        await check(one, server, asked)


def test_tls_asks_for_the_name_and_believes_no_other(certificate: Path) -> None:
    async def check(one: SafeFetcher, server: Web, asked: list[str | None]) -> None:
        assert await one.fetch("https://good.example/a.png") == PNG
        assert asked == ["good.example"]
        with pytest.raises(
            ImageError, match=r"got a certificate that is not this host's, or is not believed"
        ) as caught:
            await one.fetch("https://other.example/a.png")
        assert caught.value.reason == "unreadable"
        assert asked == ["good.example", "other.example"]
        assert len(server.heads) == 1
        strict = SafeFetcher(FetchSettings(), Names(NAMES), Network({PUBLIC: server}), CONTEXT)
        with pytest.raises(ImageError, match="a certificate"):
            await strict.fetch("https://good.example/a.png")
        with pytest.raises(ImageError, match=r"got an answer that broke off|got no connection"):
            await one.fetch("http://good.example:443/a.png")

    asyncio.run(over_tls(certificate, lambda _: http(PNG), check))


def test_no_redirect_leaves_tls(certificate: Path) -> None:
    async def check(one: SafeFetcher, server: Web, _asked: list[str | None]) -> None:
        with pytest.raises(FetchRefused, match=r"got a redirect from https to http; allowed: https all the way"):
            await one.fetch("https://good.example/down")
        assert await one.fetch("https://good.example/up") == PNG
        assert len(server.heads) == 3

    def answer(target: str) -> bytes:
        to = {"/down": "http://good.example/a.png", "/up": "//good.example/a.png"}.get(target)
        return redirect(to, "308 Permanent") if to else http(PNG)

    asyncio.run(over_tls(certificate, answer, check))


def test_a_handshake_that_never_ends_is_ended_and_closed() -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(2**16):
                pass
            gone.set()
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)

        async def connect(_address: str, _port: int, timeout_s: float) -> httpcore.AsyncNetworkStream:
            return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s)

        with pytest.raises(ImageError, match="no whole answer within"):
            await fetcher(None, connect, total_s=0.3).fetch("https://good.example/")
        await asyncio.wait_for(gone.wait(), 60)
        server.close()
        await server.wait_closed()

    asyncio.run(run())
