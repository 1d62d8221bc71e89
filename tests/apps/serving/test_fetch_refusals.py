"""No address of the corpus, and none that can be made up, brings the fetcher to a host that is not public."""

from __future__ import annotations

import asyncio
import io
import socket
from ipaddress import IPv6Address, ip_address
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wholepage.apps.serving import fetch
from wholepage.apps.serving.fetch import FetchRefused, FetchSettings, SafeFetcher
from wholepage.pages.errors import ImageError, InputError

from .ssrf_corpus import ALLOWED, NOT_PUBLIC, PUBLIC, PUBLIC_V6, REFUSED, Vector
from .test_addresses_allowed import public
from .test_web_addresses import ADDRESSES, PIECES
from .web_stub import Names, Network, Web, http, redirect

_BUFFER = io.BytesIO()
Image.new("RGB", (3, 2), "red").save(_BUFFER, "PNG")
PNG = _BUFFER.getvalue()
CONTEXT = httpcore.default_ssl_context()  # once: it takes a while to read
INSIDE = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"


async def tried(vector: Vector) -> tuple[bytes | ImageError, Web, Web, Network]:
    """What comes of a vector; with the public server, the one inside that must never be called, and the network."""

    def answer(target: str) -> bytes:
        to = vector.redirects.get(target)
        return redirect(to) if to is not None else http(PNG)

    async with Web(answer) as server, Web(lambda _: INSIDE + PNG) as canary:
        # Behind NAT64, the address of the public server is another one.
        servers = {PUBLIC: server, PUBLIC_V6: server, "64:ff9b::5db8:d70e": server}
        network = Network(servers, canary)
        fetcher = SafeFetcher(FetchSettings(**vector.settings), Names(vector.names), network, CONTEXT)
        try:
            return await fetcher.fetch(vector.url, at="documents[1]"), server, canary, network
        except ImageError as error:
            return error, server, canary, network


def test_the_corpus_is_large_and_has_no_name_twice() -> None:
    names = [vector.name for vector in (*REFUSED, *ALLOWED)]
    assert len(set(names)) == len(names)
    assert len(REFUSED) >= 250


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.name)
def test_what_is_refused_calls_nobody_inside(vector: Vector) -> None:
    found, server, canary, network = asyncio.run(tried(vector))
    assert isinstance(found, FetchRefused)
    assert found.why == vector.why
    assert canary.hits == 0
    assert {address for address, _ in network.called} <= {PUBLIC}
    if vector.why != "redirect":
        assert server.hits == 0
    assert str(found).startswith("documents[1]: image ")
    said = str(found).partition(f"{found.uri!r}")[2]
    behind = {answer for turns in vector.names.values() for turn in turns for answer in turn}
    behind |= {to.partition("://")[2].partition("/")[0].strip("[]") for to in vector.redirects.values()} - {""}
    assert not [address for address in behind if address in said and address not in vector.url]


@pytest.mark.parametrize("vector", ALLOWED, ids=lambda vector: vector.name)
def test_what_is_allowed_comes_from_where_it_was_checked(vector: Vector) -> None:
    found, server, canary, _ = asyncio.run(tried(vector))
    assert found == PNG
    assert canary.hits == 0
    assert server.hits == len(vector.redirects) + 1


def test_without_the_check_of_addresses_the_canary_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "why_refused", lambda *_: "")
    vectors = [vector for vector in REFUSED if vector.why == "address"][::4]
    reached = [vector.name for vector in vectors if asyncio.run(tried(vector))[2].hits]
    assert len(reached) > len(vectors) * 3 // 4


def test_an_address_is_looked_up_once_and_called_as_it_was_found() -> None:
    async def run() -> None:
        names = Names({"good.example": [[PUBLIC], ["127.0.0.1"]]})
        async with Web(lambda _: http(PNG)) as server:
            network = Network({PUBLIC: server})
            assert await SafeFetcher(None, names, network, CONTEXT).fetch("http://good.example/") == PNG
            assert names.asked == {"good.example": 1}
            assert network.called == [(PUBLIC, 80)]
            assert b"\r\nHost: good.example\r\n" in server.heads[0]

    asyncio.run(run())


def test_a_name_of_this_network_and_a_name_of_nobody_are_told_in_the_same_words() -> None:
    inside = Vector("", "http://inside.example/", "address", {"inside.example": [["10.1.2.3"]]})
    nobody = Vector("", "http://inside.example/", "address", {})
    told = [str(asyncio.run(tried(vector))[0]) for vector in (inside, nobody)]
    assert told[0] == told[1]


def test_a_real_server_on_loopback_is_not_called() -> None:
    """The system's own names and network, nothing in their place."""

    async def run() -> None:
        async with Web(lambda _: http(PNG)) as canary:
            fetcher = SafeFetcher(FetchSettings(ports=(canary.port,)), ssl_context=CONTEXT)
            for host in ("127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0"):
                with pytest.raises(FetchRefused):
                    await fetcher.fetch(f"http://{host}:{canary.port}/a.png")
            assert canary.hits == 0
            assert fetcher.counts == {"refused": 7}
            fetcher.close()

    asyncio.run(run())


def test_the_system_is_asked_for_whole_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: str, port: object, **_: Any) -> list[Any]:
        asked.append((host, port))
        return [(socket.AF_INET6, 1, 6, "", ("fe80::1%2", 0, 0, 2)), (socket.AF_INET, 1, 6, "", ("10.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    fetcher = SafeFetcher(ssl_context=CONTEXT)
    with pytest.raises(FetchRefused) as caught:
        asyncio.run(fetcher.fetch("http://good.example/"))
    assert caught.value.why == "address"
    assert asked == [("good.example.", None)]
    fetcher.close()


@given(
    ADDRESSES | PIECES.map(lambda rest: f"http://good.example{rest}"),
    st.lists(st.ip_addresses().map(str) | st.sampled_from([*NOT_PUBLIC.values(), PUBLIC]) | st.text(), max_size=2),
)
def test_any_text_leads_to_an_error_or_to_a_public_address(text: str, answers: list[str]) -> None:
    called = []

    async def connect(address: str, port: int, timeout_s: float) -> Any:
        called.append((ip_address(address), port))
        raise httpcore.ConnectError("nobody here")

    async def names(_: str) -> list[str]:
        return answers

    with pytest.raises(ImageError) as caught:
        asyncio.run(SafeFetcher(FetchSettings(), names, connect, ssl_context=CONTEXT).fetch(text))
    assert isinstance(caught.value, FetchRefused) != bool(called)
    for address, port in called:
        assert public(address)
        assert not (isinstance(address, IPv6Address) and address.scope_id)
        assert port in (80, 443)


@given(ADDRESSES | PIECES)
def test_any_redirect_leads_to_an_error_or_to_a_public_address(location: str) -> None:
    if not location.strip() or any((ord(c) < 32 and c != "\t") or "\ud800" <= c <= "\udfff" for c in location):
        return

    async def run() -> None:
        async with Web(lambda _: redirect(location)) as server, Web(lambda _: INSIDE + PNG) as canary:
            network = Network({PUBLIC: server}, canary)
            settings = FetchSettings(schemes=("http",), max_redirects=1)
            with pytest.raises(ImageError):
                await SafeFetcher(settings, Names({"good.example": [[PUBLIC]]}), network, CONTEXT).fetch(
                    "http://good.example/"
                )
            assert all(public(ip_address(address)) for address, _ in network.called)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schemes": ()}, "schemes: got ()"),
        ({"schemes": ("ftp",)}, "schemes: got ('ftp',)"),
        ({"ports": (0,)}, "ports: got (0,)"),
        ({"ports": ()}, "ports: got ()"),
        ({"hosts": ("localhost",)}, "hosts: got ('localhost',)"),
        ({"hosts": ("127.0.0.1",)}, "hosts: got "),
        ({"hosts": ("*.example.org",)}, "hosts: got "),
        ({"hosts": ("",)}, "hosts: got "),
        ({"refused_networks": ("10.0.0.1/8",)}, "network: got '10.0.0.1/8'"),
        ({"max_redirects": -1}, "max_redirects: got -1"),
        ({"total_s": 0.0}, "total_s: got 0.0"),
        ({"total_s": float("nan")}, "total_s: got nan"),
        ({"connect_s": float("inf")}, "connect_s: got inf"),
        ({"max_bytes": 0}, "max_bytes: got 0"),
        ({"max_pixels": 0}, "max_pixels: got 0"),
        ({"at_once": 0}, "at_once: got 0"),
        ({"per_host": 0}, "per_host: got 0"),
        ({"user_agent": "a\r\nX: y"}, "user_agent: got 'a\\r\\nX: y'"),
        ({"user_agent": ""}, "user_agent: got ''"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        FetchSettings(**settings)
    assert str(caught.value).startswith(said)
    assert "; allowed: " in str(caught.value)
